"""A look at sample quality while a model trains: one number every so many steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from ..data import to_uint8
from ..samplers import UniformStart, sample


class QualityWatch(Callback):
    """Measures samples every ``every`` optimiser steps.

    Args:
        every: steps between two looks.
        measure: uint8 images (n, C, H, W) -> a number, such as a Fréchet distance.
        n: how many samples.
        n_steps: length of fresh chains from uniform noise; None measures the newest negatives of training instead,
            which cost nothing and flatter the model.
        draw: the module -> images, floats in [-1, 1] or uint8; in place of both. It must draw from a stream of its own.

    Attributes:
        steps, values: one entry a look. They are part of the checkpoint.
        pictures: (25, C, H, W) uint8 of each look.
    """

    _kept = ("steps", "values", "pictures")

    def __init__(self, every: int, measure: Callable[[Tensor], float], n: int, *, n_steps: int | None = None,
                 draw: Callable[..., Tensor] | None = None) -> None:  # fmt: skip
        if every < 1 or n < 2:
            raise ValueError(f"a look needs every >= 1 and n >= 2, got {every} and {n}")
        self.every, self.measure, self.n, self.n_steps, self.draw = every, measure, n, n_steps, draw
        self.steps: list[int] = []
        self.values: list[float] = []
        self.pictures: list[Tensor] = []

    def on_train_batch_end(self, trainer, module, *args) -> None:
        if trainer.global_step % self.every:
            return
        if self.draw is not None:
            images = self.draw(module).cpu()
            images = images if images.dtype == torch.uint8 else to_uint8(images)
        else:
            images = to_uint8(module.buffer.newest(self.n)).cpu() if self.n_steps is None else self._fresh(module)
        if len(images) < 2:
            return
        self.steps.append(trainer.global_step)
        self.values.append(float(self.measure(images)))
        self.pictures.append(images[:25].clone())

    def _fresh(self, module) -> Tensor:
        # A stream of its own: looking more often must not change the training.
        stream = torch.Generator(module.device).manual_seed(module.config.seed)
        x0 = UniformStart(module.energy.event_shape).draw(self.n, generator=stream)
        kernel, fast = module.config.kernel, module.config.fast
        return to_uint8(sample(module.energy, x0, kernel, self.n_steps, generator=stream, fast=fast).x).cpu()

    def state_dict(self) -> dict:
        return {name: getattr(self, name) for name in self._kept}

    def load_state_dict(self, state: dict) -> None:
        for name in self._kept:
            setattr(self, name, state[name])
