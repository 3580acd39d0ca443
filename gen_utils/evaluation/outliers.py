"""Outliers: images that should have high energy, and how well the energy tells them apart."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from ..samplers import Energy
from ..samplers.protocol import energy_only
from . import arguments


@torch.no_grad()
def energies(energy: Energy, images: Tensor, *, batch_size: int = 500) -> Tensor:
    """(N,) energies of images (N, C, H, W) in [-1, 1], a batch at a time.

    Raises:
        ValueError: no images, images of another kind, or energies that are not finite.
    """
    arguments.images("images", images, uint8=False)
    batch_size = arguments.whole("batch_size", batch_size, 1)
    found = torch.cat([energy_only(energy, batch) for batch in images.split(batch_size)])
    arguments.finite("the energies of images", found)
    return found


def auroc(energy_in: Tensor, energy_out: Tensor) -> float:
    """The chance that an outlier has a higher energy than an inlier: 1 is perfect, 0.5 is blind.

    Args:
        energy_in: (N,) energies of held-out data; energy_out: (M,) energies of outliers.

    Raises:
        ValueError: no energies in one of the groups, or energies that are not finite.
    """
    inside, outside = arguments.vector("energy_in", energy_in), arguments.vector("energy_out", energy_out)
    n, m = len(inside), len(outside)
    # Equal energies share their mean rank, so that a pair of them counts one half.
    ranks = rankdata(np.concatenate((inside, outside)))[n:]
    return float((ranks.sum() - m * (m + 1) / 2) / (n * m))
