"""Learning rates that follow from the step and from the length of the run alone.

PyTorch's schedulers remember: a run of 8 steps that goes on to 16 would climb back along its cosine. Here a run that
is made longer goes on with the rate that a run of that length has there.
"""

from __future__ import annotations

import math

import lightning as L
import torch


def cosine(step: int, n_steps: int) -> float:
    """From 1 at the beginning to 0 after ``n_steps``, along half a wave."""
    return _between(1.0, 0.0, step / n_steps)


def one_cycle(step: int, n_steps: int, rise: float = 0.3) -> tuple[float, float]:
    """The rate, from 1/25 up to 1 and down to 4e-6, and Adam's β₁, from 0.95 down to 0.85 and up again.

    Args:
        rise: share of the steps on which the rate climbs.

    Source: Smith and Topin (2019); the numbers are those of PyTorch's OneCycleLR.
    """
    top = rise * (n_steps + 1) - 1
    if step < top:
        return _between(1 / 25, 1.0, step / top), _between(0.95, 0.85, step / top)
    done = (step - top) / (n_steps - top)
    return _between(1.0, 4e-6, done), _between(0.85, 0.95, done)


def _between(start: float, end: float, done: float) -> float:
    """Along half a cosine, and no further than its end."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class StepRate(L.LightningModule):
    """A module that says its learning rate at each step, and is obeyed."""

    def learning_rate(self, step: int) -> float:
        """The rate at an optimiser step, from 0; ``self.trainer.max_steps`` is the length of the run."""
        raise NotImplementedError

    def momentum(self, step: int) -> float | None:
        """Adam's β₁ at an optimiser step; None leaves it as it is."""
        return None

    def on_train_batch_start(self, *_) -> None:
        # At every step: an optimiser that comes from a checkpoint brings its old rate along.
        rate, momentum = self.learning_rate(self.global_step), self.momentum(self.global_step)
        optimiser = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimiser, torch.optim.Optimizer)
        for group in optimiser.param_groups:
            group["lr"] = rate
            if momentum is not None:
                group["betas"] = (momentum, *group["betas"][1:])
