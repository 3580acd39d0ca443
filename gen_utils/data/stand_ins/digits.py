"""Handwritten digits that scikit-learn brings along, one at a time and three in the colour channels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..stacked import stack


def digits(split: str) -> tuple[Tensor, Tensor]:
    """Scikit-learn's 1,797 handwritten digits (1,500 train, 297 test), scaled from 8×8 to 28×28.

    Returns:
        images (N, 1, 28, 28) uint8 and labels (N,) int64; the split is the same on every machine.
    """
    from sklearn.datasets import load_digits  # scikit-learn takes a second to import: only when it is needed

    pixels, labels = load_digits(return_X_y=True)  # (N, 64) in 0..16, (N,)
    images = torch.from_numpy(pixels).float().div(16).reshape(-1, 1, 8, 8)  # in [0, 1]
    # 8×8 pixels fill a 24×24 middle, so that strokes are about as wide as MNIST's. Scaling blurs;
    # the steep line afterwards puts the edge of a stroke back within a pixel or two.
    images = F.interpolate(images, size=(24, 24), mode="bicubic", align_corners=False)
    images = F.pad(((images - 0.45) * 2.5 + 0.5).clamp(0, 1), (2, 2, 2, 2))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1797))
    order = order[:1500] if split == "train" else order[1500:]
    return images.mul(255).round().to(torch.uint8)[order], torch.from_numpy(labels).long()[order]


def stacked_digits(split: str) -> tuple[Tensor, Tensor]:
    """Three of ``digits`` in the colour channels: 6,000 train or 1,000 test, as many of each of the 1,000 classes."""
    return stack(*digits(split), 6_000 if split == "train" else 1_000, seed=0)
