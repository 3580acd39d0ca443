"""What a module asks of the data, said by ``fit`` before it makes a folder or takes a step.

A module with a method ``check_data(images)`` is asked for the training images and for those of validation; it raises
ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..data import ImageSet
from ..models.shapes import fits


def demand_shape(images: ImageSet, wanted: Sequence[int | None]) -> None:
    """Images of the network's shape (C, H, W), with None for any size.

    Raises:
        ValueError: others.
    """
    if not fits(images.shape, wanted):
        sizes = " × ".join("any" if size is None else str(size) for size in wanted)
        here = " × ".join(map(str, images.shape))
        raise ValueError(
            f"the network takes images of {sizes}, and {images.title!r} has {here}; load them in that size"
        )


def demand_labels(images: ImageSet, n_classes: int, who: str = "a classifier") -> None:
    """A label for each image, from 0 to n_classes - 1.

    Raises:
        ValueError: none, or others.
    """
    if images.labels is None:
        raise ValueError(f"{who} learns from images with labels, and {images.title!r} has none")
    low, high = int(images.labels.min()), int(images.labels.max())
    if low < 0 or high >= n_classes:
        raise ValueError(f"{who} of {n_classes} classes knows the labels 0..{n_classes - 1}, got {low}..{high}")
