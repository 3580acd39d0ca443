"""A replay buffer for chains with labels: an old sample of a seven must not be handed out as a three."""

from __future__ import annotations

import torch
from torch import Tensor

from .starts import ReplayBuffer


class ClassBuffer:
    """One ``ReplayBuffer`` a class behind one door; every draw and every push names its labels.

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
        start=None,
    ) -> None:
        if n_classes < 1 or capacity < n_classes:
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
        if labels is None or labels.shape != (n,):
            got = None if labels is None else tuple(labels.shape)
            raise ValueError(f"{n} labelled states need labels of shape ({n},), got {got}")
        if n and not (int(labels.min()) >= 0 and int(labels.max()) < len(self.classes)):
            raise ValueError(f"labels are 0 to {len(self.classes) - 1}, got {labels.unique().tolist()}")
        return labels.cpu()
