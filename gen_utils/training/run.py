"""What ``fit`` is told beside the module and the data, and what it leaves."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import lightning as L

from ..base.settings import whole
from .runs import Identity

PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class FitConfig:
    """What ``fit`` needs to know beside the module and the data.

    Attributes:
        max_steps: optimiser steps in all (a resumed run counts from its beginning).
        batch_size: images a step.
        seed: of the order of the data; the module owns the rest of its randomness.
        name: what the run's folder is called, for people; what else tells it from other runs is found out by ``fit``.
        run_dir: logs and checkpoints go there. None: ``runs/NAME-…``, a folder of this run's own (see ``runs``).
        checkpoint_every: steps between two checkpoints.
        validate_every: steps between two passes over the validation set; None for none.
        log_every: steps between two rows of the logs.
        flip, crop: mirror half of the training images; shift each by up to so many pixels.
        precision: "32-true", or "bf16-mixed": networks in bfloat16; weights, losses and distances in float32.
        devices, num_nodes, strategy: Lightning's own.

    Raises:
        ValueError: a number of steps or images that is not a whole one of at least 1; a negative crop; a precision that
            is not supported.
    """

    max_steps: int
    batch_size: int = 64
    seed: int = 0
    name: str = field(default="run", metadata={"identity": False})
    run_dir: str | os.PathLike | None = field(default=None, metadata={"identity": False})
    checkpoint_every: int = 200
    validate_every: int | None = None
    log_every: int = 10
    flip: bool = False
    crop: int = 0
    precision: str = "32-true"
    devices: int | str = 1
    num_nodes: int = 1
    strategy: str = "auto"

    def __post_init__(self) -> None:
        every = {"checkpoint_every": self.checkpoint_every, "log_every": self.log_every}
        if self.validate_every is not None:
            every["validate_every"] = self.validate_every
        whole(1, max_steps=self.max_steps, batch_size=self.batch_size, num_nodes=self.num_nodes, **every)
        whole(0, crop=self.crop)
        if self.precision not in PRECISIONS:
            known = " or ".join(f'"{name}"' for name in PRECISIONS)
            raise ValueError(f"precision is {known}, got {self.precision!r}: no other was tried with every module here")


@dataclass(frozen=True)
class Run:
    """What a training run leaves: the module, its curves, how long it took and where it lies."""

    module: L.LightningModule
    history: dict[str, list[tuple[int, float]]]  # name -> [(step, value), ...]
    seconds: float  # of training, over all the sittings of a resumed run
    steps: int
    run_dir: Path
    resumed_from: int = 0  # the step a resumed run went on from
    identity: Identity | None = None
    data: str = ""  # what the images are called
    images: int = 0  # how many there were
    settings: dict = field(default_factory=dict)  # the recipe as plain values, for a card

    def __identity__(self) -> object:
        """A run is what it was asked to do; how long that took is not part of it."""
        return self.run_dir.name if self.identity is None else self.identity.key

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one logged quantity."""
        if name not in self.history:
            raise KeyError(f"{name!r} was not logged; logged: {', '.join(sorted(self.history))}")
        steps, values = zip(*self.history[name], strict=True)
        return list(steps), list(values)
