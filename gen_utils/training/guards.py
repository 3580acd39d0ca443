"""Stopping before a divergence does harm: losses that are not finite, sick checkpoints, energies that run apart."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn


class TrainingDiverged(RuntimeError):
    """A loss stopped being finite; the message names the last good checkpoint."""


class StopOnNonFinite(Callback):
    """Stops before a loss that is not finite reaches the weights."""

    def __init__(self, last: Path) -> None:
        self.last = last

    def on_before_backward(self, trainer, module, loss) -> None:
        if not torch.isfinite(loss):
            raise TrainingDiverged(
                f"the loss is {loss.item()} at step {trainer.global_step}; {last_good(self.last)}. "
                "Try a smaller learning rate, more steps a chain, or a larger regulariser (alpha)."
            )


def refuse_sick(module: nn.Module, step: int, last: Path) -> None:
    """Not over a good checkpoint with a sick one: a finite loss may have a gradient that is not.

    Raises:
        TrainingDiverged: a weight that is not finite.
    """
    for name, value in module.state_dict().items():
        if not torch.isfinite(value).all():
            raise TrainingDiverged(f"{name} is not finite after step {step}; {last_good(last)}")


def refuse_runaway(contrast: Tensor | float, limit: float, step: int) -> None:
    """Mean energies of data and of samples far apart are a divergence, long before a loss stops being finite.

    Args:
        contrast, limit: nats.

    Raises:
        TrainingDiverged: further apart than ``limit``.
    """
    contrast = float(contrast)
    if abs(contrast) > limit:
        raise TrainingDiverged(
            f"data and samples are {contrast:.0f} nats apart at step {step}, more than "
            f"max_contrast = {limit:g}; the chains no longer keep up with the energy"
        )


def last_good(last: Path) -> str:
    """Where the last good checkpoint is, in words."""
    return f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was written yet"
