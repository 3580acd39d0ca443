"""Where random numbers come from: a generator, or, for a share of a batch, the rows of what the whole batch draws."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .protocol import Energy

MOST_AHEAD = 2**23  # numbers drawn that some share has not taken yet; 32 MB in float32
Draw = Callable[..., Tensor]  # torch.randn or torch.rand


class Stopped(BaseException):
    """Another share has failed, or the whole is interrupted: this share ends here."""


class SharedDraws:
    """The random numbers of an undivided batch, for shares that run side by side.

    All shares draw in the same order. Whoever is first at a draw makes it, for the whole batch, and it is held until
    the last share has taken its rows; a share that is too far ahead waits. So the numbers are those of the undivided
    batch, whatever the shares and their pace.

    Args:
        generator: the caller's; PyTorch's global one when None.
        n_rows: of the whole batch.
        n_shares: how many take part.
    """

    def __init__(self, generator: torch.Generator | None, n_rows: int, n_shares: int) -> None:
        self.generator, self.n_rows, self.n_shares = generator, n_rows, n_shares
        self.stopped = False
        self._held: dict[int, tuple[Tensor, list[slice]]] = {}  # draw -> numbers, and who has taken them
        self._changed = threading.Condition()

    def take(self, count: int, rows: slice, draw: Draw, event: Sequence[int], **kind: Any) -> Tensor:
        """The rows of the batch's draw number ``count``.

        Raises:
            Stopped: see ``stop``.
        """
        with self._changed:
            while count not in self._held and self._is_full() and not self.stopped:
                self._changed.wait()
            if self.stopped:
                raise Stopped
            if count not in self._held:
                self._held[count] = drawn(draw, (self.n_rows, *event), self.generator, **kind), []
            numbers, takers = self._held[count]
            takers.append(rows)
            if len(takers) == self.n_shares:
                del self._held[count]
                self._changed.notify_all()
            return numbers[rows].data  # autograd counts changes of a view as changes of all rows

    def stop(self) -> None:
        """No share draws again, or asks its energy again: each ends with ``Stopped``."""
        self.stopped = True
        with self._changed:
            self._changed.notify_all()

    def _is_full(self) -> bool:
        return len(self._held) > 3 and sum(numbers.numel() for numbers, _ in self._held.values()) > MOST_AHEAD


class Part:
    """The random numbers of one share: what its kernel gets in the place of a generator."""

    def __init__(self, draws: SharedDraws, rows: slice) -> None:
        self.draws, self.rows, self._count = draws, rows, 0

    def take(self, draw: Draw, event: Sequence[int], **kind: Any) -> Tensor:
        self._count += 1
        return self.draws.take(self._count, self.rows, draw, event, **kind)

    def watched(self, energy: Energy) -> Energy:
        """The energy, which is not asked again after a stop."""

        def ask(x: Tensor) -> Tensor:
            if self.draws.stopped:
                raise Stopped
            return energy(x)

        return ask


Source = torch.Generator | Part | None


def drawn(draw: Draw, shape: Sequence[int], source: Source, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers of shape (B, *event) on the device, from one generator, which may live on another."""
    if isinstance(source, Part):
        return source.take(draw, shape[1:], dtype=dtype, device=device)
    where = device if source is None else source.device
    return draw(shape, generator=source, device=where, dtype=dtype).to(device)
