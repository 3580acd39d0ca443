"""Mirroring and shifting images by whole pixels (interpolation would blur them)."""

from __future__ import annotations

import torch
from torch import Tensor


def mirrored_and_shifted(
    images: Tensor, max_shift: int, *, flip: bool = True, generator: torch.Generator | None = None
) -> Tensor:
    """Each image shifted by up to ``max_shift`` pixels both ways, half of them mirrored, by one gather.

    Args:
        images: (B, C, H, W); what comes in at an edge is the image's reflection there (the edge itself not repeated).
        flip: mirror each with probability ½, left to right.
        generator: of the moves, on the CPU; PyTorch's global one when None.
    """
    n, channels, height, width = images.shape
    row, column = torch.arange(height).repeat(n, 1), torch.arange(width).repeat(n, 1)
    if max_shift:
        shift = torch.randint(-max_shift, max_shift + 1, (2, n, 1), generator=generator)
        row, column = _reflected(row + shift[0], height), _reflected(column + shift[1], width)
    if flip:
        mirrored = torch.rand(n, 1, generator=generator) < 0.5
        column = torch.where(mirrored, column.flip(1), column)
    source = row.unsqueeze(2) * width + column.unsqueeze(1)  # (B, H, W): where each pixel comes from
    source = source.view(n, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, source.to(images.device)).view_as(images)


def _reflected(index: Tensor, length: int) -> Tensor:
    """Indices that ran over an edge, turned back at it (the edge itself not repeated)."""
    index = index.abs()
    return (length - 1) - ((length - 1) - index).abs()
