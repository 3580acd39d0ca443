"""``ImageSet``: images as uint8 in memory, with their labels, splits and batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


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
        name: the catalogue's name of what is in memory.
        title: what figures call it; says so when it is a stand-in.
        is_stand_in: True for a built-in set in the place of a real one.
        factors: (N, n_factors) int64, what each image was drawn from, or None; the catalogue names the columns.
    """

    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    name: str
    title: str
    is_stand_in: bool = False
    factors: Tensor | None = None

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
        return tuple(self.images.shape[1:])

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


class Batches:
    """Iterates over an ``ImageSet``: tuples (images,) or (images, labels), straight from memory.

    The order of epoch e depends on (seed, e) alone, flips and crops on (seed, e, position), and both e and the
    position are part of ``state_dict``: a run that was killed in the middle of an epoch takes up at the very next
    batch, with the flips and crops it would have had.

    Of several processes (``torch.distributed``) each takes its share of the batches of one common order, so that an
    epoch is still every image once. The position counts the batches of all of them: a run may resume on another number
    of processes. Where the last, smaller batch is kept (validation), every process gets all batches.
    """

    def __init__(
        self,
        data: ImageSet,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        drop_last: bool,
        flip: bool = False,
        crop: int = 0,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if len(data) == 0 or (drop_last and batch_size > len(data)):
            raise ValueError(
                f"{len(data)} images of {data.name} make no batch of {batch_size}; use a smaller batch_size"
            )
        if not 0 <= crop < min(data.shape[1:]):
            raise ValueError(f"crop must be at least 0 and less than the images' side, got {crop} for {data.shape}")
        self.data, self.batch_size, self.shuffle, self.seed, self.drop_last = data, batch_size, shuffle, seed, drop_last
        self.flip, self.crop = flip, crop
        self.epoch, self.position = 0, 0

    def _share(self) -> tuple[int, int]:
        """This process and the number of processes among which the batches are dealt out."""
        if self.drop_last and torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def __len__(self) -> int:
        whole, rest = divmod(len(self.data), self.batch_size)
        return whole // self._share()[1] + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        rank, processes = self._share()
        end = len(self) * processes
        if not end:
            raise ValueError(
                f"{len(self.data)} images of {self.data.name} make no batch of {self.batch_size} for each of "
                f"{processes} processes; use a smaller batch_size"
            )
        if self.position + processes > end:
            self.epoch, self.position = self.epoch + 1, 0
        order = None
        if self.shuffle:
            # One stream a (seed, epoch) pair: epoch e of seed s must not repeat epoch e - 1 of seed s + 1.
            stream = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
            order = torch.randperm(len(self.data), generator=stream)
        while self.position + processes <= end:
            turn = self.position + rank
            here = slice(turn * self.batch_size, (turn + 1) * self.batch_size)
            index = here if order is None else order[here]
            # index_select copies whole images and is twenty times as fast as indexing with brackets, pixel by pixel.
            images = self.data.images[index] if order is None else self.data.images.index_select(0, index)
            if self.flip or self.crop:
                images = self._moved(images, turn)
            self.position += processes
            yield (images,) if self.data.labels is None else (images, self.data.labels[index])

    def _moved(self, images: Tensor, turn: int) -> Tensor:
        """Batch number ``turn`` (B, C, H, W), flipped and shifted, by one gather whatever was asked for."""
        n, channels, height, width = images.shape
        # A spawned seed sequence a batch: no sum of seed, epoch and position may meet another's.
        mixed = np.random.SeedSequence((abs(self.seed), self.seed < 0, self.epoch, turn))
        stream = torch.Generator().manual_seed(int(mixed.generate_state(1, np.uint64)[0]))
        row, column = torch.arange(height).repeat(n, 1), torch.arange(width).repeat(n, 1)
        if self.crop:
            shift = torch.randint(-self.crop, self.crop + 1, (2, n, 1), generator=stream)
            row, column = _reflected(row + shift[0], height), _reflected(column + shift[1], width)
        if self.flip:
            mirrored = torch.rand(n, 1, generator=stream) < 0.5
            column = torch.where(mirrored, column.flip(1), column)
        source = row.unsqueeze(2) * width + column.unsqueeze(1)  # (B, H, W): where each pixel comes from
        source = source.view(n, 1, -1).expand(-1, channels, -1)
        return images.flatten(2).gather(2, source.to(images.device)).view_as(images)

    def state_dict(self) -> dict:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


def _reflected(index: Tensor, length: int) -> Tensor:
    """Indices that ran over an edge, turned back at it (the edge itself not repeated)."""
    index = index.abs()
    return (length - 1) - ((length - 1) - index).abs()
