"""Replay buffers: persistent chains to start from, for one kind of state and for states with labels."""

from __future__ import annotations

import torch
from torch import Tensor

from .protocol import Start
from .settings import check_count
from .starts import UniformStart


class ReplayBuffer:
    """Persistent chains: most starts are old samples, a few are fresh.

    Holds the newest ``capacity`` samples; ``draw`` takes each start from the buffer, or, with
    probability ``restart``, from ``start`` (uniform noise when none is given). While the buffer is
    empty every start is fresh.

    Sources: Tieleman (2008) for persistence; Du & Mordatch (2019) for the restarts.
    """

    def __init__(
        self, event_shape: tuple[int, ...], capacity: int = 8192, restart: float = 0.05, start: Start | None = None
    ) -> None:
        check_count("capacity", capacity)
        if not 0 <= restart <= 1:
            raise ValueError(f"restart is a probability between 0 and 1, got {restart}")
        self.event_shape = tuple(event_shape)
        self.capacity = capacity
        self.restart = restart
        self.start = UniformStart(self.event_shape) if start is None else start
        self._store: Tensor | None = None  # (capacity, *event), made at the first push
        self._next = 0  # where the next push writes
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def images(self) -> Tensor:
        """(size, *event): the samples held, in storage order."""
        if self._store is None:
            return torch.empty((0, *self.event_shape))
        return self._store[: self._size]

    def newest(self, n: int) -> Tensor:
        """(n', *event): the samples pushed last, oldest of them first; fewer when fewer are held."""
        n = min(n, self._size)
        return self.images[torch.arange(self._next - n, self._next) % max(1, self._size)]

    def draw(self, n: int, *, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """(n, *event_shape): old samples, each replaced by a fresh start with probability ``restart``."""
        if self._store is None or self._size == 0:
            return self.start.draw(n, labels=labels, generator=generator)
        device = "cpu" if generator is None else generator.device
        index = torch.randint(self._size, (n,), generator=generator, device=device)
        fresh = torch.rand(n, generator=generator, device=device) < self.restart
        x0 = self._store[index.to(self._store.device)]  # advanced indexing copies: the buffer is safe
        n_fresh = int(fresh.sum())
        if n_fresh:
            some = None if labels is None else labels[fresh.to(labels.device)]
            new = self.start.draw(n_fresh, labels=some, generator=generator)
            x0[fresh.to(x0.device)] = new.to(x0)
        return x0

    def push(self, x: Tensor) -> None:
        """Store finished chains (B, *event); the oldest give way."""
        if x.shape[1:] != self.event_shape:
            raise ValueError(f"the buffer holds states of shape {self.event_shape}, got {tuple(x.shape[1:])}")
        if not x.is_floating_point():
            raise ValueError(f"chains are floats, and {x.dtype} would round them; scale images to [-1, 1] first")
        x = x.detach()[-self.capacity :]
        if self._store is None:
            self._store = x.new_zeros((self.capacity, *self.event_shape))
        index = (self._next + torch.arange(len(x), device=self._store.device)) % self.capacity
        self._store[index] = x.to(self._store)
        self._next = (self._next + len(x)) % self.capacity
        self._size = min(self._size + len(x), self.capacity)

    def state_dict(self) -> dict:
        """What a bit-equal resume needs."""
        return {"images": self.images.clone(), "next": self._next, "size": self._size}

    def load_state_dict(self, state: dict) -> None:
        if state["size"] > self.capacity:
            raise ValueError(f"the saved buffer holds {state['size']} samples, this one only {self.capacity}")
        self._store, self._next, self._size = None, 0, 0
        if state["size"]:
            # A full buffer has its oldest sample at ``next``. Moved into a larger one, the oldest goes first.
            moved = state["size"] < self.capacity and state["next"] != state["size"]
            self.push(state["images"].roll(-state["next"], 0) if moved else state["images"])
            self._next = state["next"] if not moved else state["size"]


class ClassBuffer:
    """One ``ReplayBuffer`` a class behind one door: an old sample of a seven must not be handed out as a three.

    Every draw and every push names its labels.

    Args:
        event_shape: shape of one state.
        n_classes: labels are 0, ..., n_classes - 1.
        capacity: of all classes together, shared evenly.
        restart: chance that a draw is fresh.
        start: where fresh draws come from; uniform noise when None. It is told the labels.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        n_classes: int,
        capacity: int = 8192,
        restart: float = 0.05,
        start: Start | None = None,
    ) -> None:
        check_count("n_classes", n_classes)
        check_count("capacity", capacity)
        if capacity < n_classes:
            raise ValueError(f"{n_classes} classes need a capacity of at least one sample each, got {capacity}")
        self.event_shape = tuple(event_shape)
        self.capacity, self.restart = capacity, restart
        self.classes = [ReplayBuffer(event_shape, capacity // n_classes, restart, start) for _ in range(n_classes)]

    def __len__(self) -> int:
        return sum(len(buffer) for buffer in self.classes)

    @property
    def images(self) -> Tensor:
        """(size, *event): the samples held, class after class."""
        return torch.cat([buffer.images for buffer in self.classes])

    def draw(self, n: int, *, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(n, *event_shape): for each label an old sample of its class, or a fresh start.

        Args:
            labels: (n,) int64.
        """
        labels = self._checked(labels, n)
        x0 = None
        for c in labels.unique().tolist():
            here = (labels == c).nonzero().flatten()
            some = self.classes[c].draw(len(here), labels=labels[here], generator=generator)
            x0 = some.new_empty((n, *self.event_shape)) if x0 is None else x0
            x0[here.to(some.device)] = some.to(x0)
        return torch.empty((0, *self.event_shape)) if x0 is None else x0

    def push(self, x: Tensor, *, labels: Tensor) -> None:
        """Store finished chains (B, *event), each under its label; the oldest of its class give way."""
        labels = self._checked(labels, len(x))
        for c in labels.unique().tolist():
            self.classes[c].push(x[(labels == c).to(x.device)])

    def state_dict(self) -> dict:
        """What a bit-equal resume needs."""
        return {"classes": [buffer.state_dict() for buffer in self.classes]}

    def load_state_dict(self, state: dict) -> None:
        if len(state["classes"]) != len(self.classes):
            raise ValueError(f"the saved buffer has {len(state['classes'])} classes, this one {len(self.classes)}")
        for buffer, saved in zip(self.classes, state["classes"], strict=True):
            buffer.load_state_dict(saved)

    def _checked(self, labels: Tensor | None, n: int) -> Tensor:
        if not isinstance(labels, Tensor) or labels.shape != (n,):
            got = tuple(labels.shape) if isinstance(labels, Tensor) else labels
            raise ValueError(f"{n} labelled states need labels of shape ({n},), got {got}")
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(f"labels are whole numbers, torch.int64, got {labels.dtype}")
        if n and not (int(labels.min()) >= 0 and int(labels.max()) < len(self.classes)):
            raise ValueError(f"labels are 0 to {len(self.classes) - 1}, got {labels.unique().tolist()}")
        return labels.cpu()
