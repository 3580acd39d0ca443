"""``ImageSet``: images as uint8 in memory, with their labels, splits and batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .batches import Batches


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [-1, 1], on the images' device."""
    return images.float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """Floats in [-1, 1] (clamped) -> uint8 0..255, rounded."""
    return images.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)


@dataclass(frozen=True)
class ImageSet:
    """A set of images, held as uint8.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64, or None.
        classes: the labels' names.
        name: the catalogue's name of what is in memory; with "_like" when the pixels are not the published ones.
        title: what figures and cards call it; says so when it is a stand-in, a part, or not what was published.
        is_stand_in: True for a built-in set in the place of a real one.
        factors: (N, n_factors) int64, what each image was drawn from, or None; the catalogue names the columns.
        source: where it was found, and what was seen there: number, format, size, share of white.
    """

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    name: str
    title: str
    is_stand_in: bool = False
    factors: Tensor | None = None
    source: str = field(
        default="built in", metadata={"identity": False}
    )  # where files lie does not change what they are

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ValueError(
                f"images must be uint8 of shape (N, C, H, W), got {self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels is not None and self.labels.shape != (len(self.images),):
            raise ValueError(f"{len(self.images)} images need as many labels, got {tuple(self.labels.shape)}")
        if self.factors is not None and (self.factors.ndim != 2 or len(self.factors) != len(self.images)):
            raise ValueError(f"{len(self.images)} images need as many rows of factors, got {tuple(self.factors.shape)}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def scaled(self) -> Tensor:
        """All images as float32 in [-1, 1], (N, C, H, W): four times the memory, so on request only."""
        return to_float(self.images)

    def take(self, index: Tensor) -> ImageSet:
        """The images (and labels, and factors) at ``index``."""
        labels = None if self.labels is None else self.labels[index]
        factors = None if self.factors is None else self.factors[index]
        return replace(self, images=self.images[index], labels=labels, factors=factors)

    def split(self, *fractions: float, seed: int = 0) -> tuple[ImageSet, ...]:
        """Disjoint random parts, such as ``split(0.85, 0.10, 0.05)``; the last takes what rounding leaves."""
        if not fractions or min(fractions) < 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
            raise ValueError(f"the fractions of a split must be non-negative and sum to 1, got {fractions}")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        cuts = [round(len(self) * sum(fractions[: i + 1])) for i in range(len(fractions) - 1)]
        return tuple(self.take(part) for part in torch.tensor_split(order, cuts))

    def loader(
        self,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = True,
        flip: bool = False,
        crop: int = 0,
    ) -> Batches:
        """Batches of uint8 slices, ready for Lightning; convert them on the device with ``to_float``.

        Args:
            flip: mirror half of the images, left to right.
            crop: shift each image by up to so many pixels both ways; what comes in at the edge is its reflection.
        """
        return Batches(self, batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last, flip=flip, crop=crop)
