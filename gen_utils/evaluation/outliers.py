"""Outliers: images that should have high energy, and how well the energy tells them apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from ..samplers.kernels import energy_only


def corruptions(images: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Damaged versions of images in [-1, 1], (B, C, H, W) each, by name.

    They go from what any model should refuse (noise) to what needs a real model of digits
    (a digit upside down, or a few pixels away from where digits are).
    """
    noise = torch.rand(images.shape, generator=generator) * 2 - 1
    wobble = torch.randn(images.shape, generator=generator)
    return {
        "uniform noise": noise,
        "noisy (σ = 0.3)": (images + 0.3 * wobble).clamp(-1, 1),
        "inverted": -images,
        "upside down": images.flip(-2),
        "mirrored": images.flip(-1),
        "shifted by 6 pixels": shift(images, 6),
    }


def shift(images: Tensor, pixels: int) -> Tensor:
    """Moved right, with the background (-1) coming in on the left."""
    moved = torch.full_like(images, -1.0)
    moved[..., pixels:] = images[..., :-pixels]
    return moved


@torch.no_grad()
def energies(energy: nn.Module, images: Tensor, *, batch_size: int = 500) -> Tensor:
    """(N,) energies of images in [-1, 1], a batch at a time."""
    return torch.cat([energy_only(energy, batch) for batch in images.split(batch_size)])


def auroc(energy_in: Tensor, energy_out: Tensor) -> float:
    """The chance that an outlier has a higher energy than an inlier: 1 is perfect, 0.5 is blind.

    Args:
        energy_in: (N,) energies of held-out data; energy_out: (M,) energies of outliers.
    """
    # torchmetrics squashes scores outside [0, 1] with a sigmoid, which can make far ones equal; ranks are safe.
    scores = torch.cat((energy_in, energy_out))
    ranks = scores.unique(return_inverse=True)[1].double()
    target = torch.cat((torch.zeros(len(energy_in)), torch.ones(len(energy_out)))).long()
    return float(binary_auroc(ranks / max(ranks.max().item(), 1.0), target))
