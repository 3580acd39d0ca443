"""Three digits in the three colour channels: a thousand modes that can be counted.

Source: Metz, Poole, Pfau and Sohl-Dickstein, "Unrolled generative adversarial networks" (2017), section 3.3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .catalog import DataError

COUNT = {"train": 60_000, "test": 10_000}


def stack(images: Tensor, labels: Tensor, n: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Stack random digits, as many of each of the 1,000 classes: what a count of modes is compared with is then flat.

    Args:
        images: (N, 1, H, W) uint8 digits.
        labels: (N,) 0 to 9, each there at least once.
        n: how many to make; a multiple of 1,000 makes the classes equal.

    Returns:
        images (n, 3, H, W) uint8 and labels (n,) int64: red digit · 100 + green · 10 + blue.

    Raises:
        DataError: a digit is missing.
    """
    generator = torch.Generator().manual_seed(seed)
    stacked = (torch.arange(n) % 1000)[torch.randperm(n, generator=generator)]
    digit = torch.stack([stacked // 100, stacked // 10 % 10, stacked % 10], dim=1)  # (n, 3)
    chosen = torch.empty_like(digit)
    for value in range(10):
        places = digit == value
        candidates = (labels == value).nonzero().flatten()
        if len(candidates) == 0:
            raise DataError(f"digits cannot be stacked: there is no {value} among the {len(labels)} that are here")
        pick = torch.randint(len(candidates), (int(places.sum()),), generator=generator)
        chosen[places] = candidates[pick]
    return images.squeeze(1)[chosen], stacked
