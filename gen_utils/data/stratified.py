"""A split in which every class keeps its share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from .image_set import ImageSet


def stratified(parts: Sequence[ImageSet], fractions: Sequence[float], seed: int) -> list[ImageSet]:
    """One ``ImageSet`` a fraction, each class divided by the same fractions and then shuffled.

    Args:
        parts: labelled sets that are pooled. Images of earlier parts fill earlier sets first, so that what a judge was
            trained on (a training file, say) stays out of the last set where there is room.
        fractions: they sum to 1; the last set takes what rounding leaves.

    Raises:
        ValueError: no labels, or fractions that are no split.
    """
    if not fractions or min(fractions) < 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise ValueError(f"the fractions of a split must be non-negative and sum to 1, got {tuple(fractions)}")
    if any(part.labels is None for part in parts):
        raise ValueError("a stratified split needs labels; use ImageSet.split for images without")
    images, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("images", "labels"))
    pooled = replace(parts[0], images=images, labels=labels, factors=None)
    stream = torch.Generator().manual_seed(seed)
    sizes = [len(part) for part in parts]
    offsets = [sum(sizes[:i]) for i in range(len(parts))]
    order = torch.cat([torch.randperm(n, generator=stream) + at for n, at in zip(sizes, offsets, strict=True)])
    taken: list[list[torch.Tensor]] = [[] for _ in fractions]
    for k in labels.unique():
        own = order[labels[order] == k]
        cuts = [round(len(own) * sum(fractions[: i + 1])) for i in range(len(fractions) - 1)]
        for place, index in zip(taken, torch.tensor_split(own, cuts), strict=True):
            place.append(index)
    shuffled = [torch.cat(index) for index in taken]
    return [pooled.take(index[torch.randperm(len(index), generator=stream)]) for index in shuffled]
