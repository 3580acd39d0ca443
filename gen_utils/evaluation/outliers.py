"""Outliers: images that should have high energy, and how well the energy tells them apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import binary_auroc

from ..samplers.protocol import energy_only


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
