"""``Batches``: the images of a set, a batch at a time, straight from memory; each follows from seed and place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .moves import mirrored_and_shifted


class Images(Protocol):
    """What batches are cut from: an ``ImageSet``."""

    @property
    def name(self) -> str: ...

    @property
    def images(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor | None: ...

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...


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
        data: Images,
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
            if order is None:
                index, images = here, self.data.images[here]
            else:
                index = order[here]
                # It copies whole images, twenty times as fast as indexing with brackets, pixel by pixel.
                images = self.data.images.index_select(0, index)
            if self.flip or self.crop:
                images = self._moved(images, turn)
            self.position += processes
            yield (images,) if self.data.labels is None else (images, self.data.labels[index])

    def _moved(self, images: Tensor, turn: int) -> Tensor:
        """Batch number ``turn`` (B, C, H, W), flipped and shifted."""
        # A spawned seed sequence a batch: no sum of seed, epoch and position may meet another's.
        mixed = np.random.SeedSequence((abs(self.seed), self.seed < 0, self.epoch, turn))
        stream = torch.Generator().manual_seed(int(mixed.generate_state(1, np.uint64)[0]))
        return mirrored_and_shifted(images, self.crop, flip=self.flip, generator=stream)

    def state_dict(self) -> dict:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict) -> None:
        self.epoch, self.position = state["epoch"], state["position"]
