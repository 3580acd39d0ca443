"""A clock for trainings whose samples are measured on the way: it runs while they train, and stands meanwhile."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from lightning.pytorch.callbacks import Callback

from gen_utils.data import ImageSet
from gen_utils.training import EBMTraining, FitConfig, fit
from gen_utils.training.fit import TrainingDiverged

Measure = Callable[[torch.nn.Module], dict[str, float]]  # an energy -> figures of its samples


class Clock(Callback):
    """Measures at given seconds of training. A callback of the project's own training; a plain loop ticks it by hand.

    Args:
        looks: seconds.
        measure: what is asked of the energy.
        spent: seconds that were needed before this training began.
    """

    def __init__(self, looks: list[float], measure: Measure, spent: float = 0.0) -> None:
        self.looks, self.measure = sorted(looks), measure
        self.seconds, self.points, self._since = spent, [], time.perf_counter()

    def now(self) -> float:
        """Seconds of training so far."""
        return self.seconds + time.perf_counter() - self._since

    def tick(self, energy: torch.nn.Module, step: int, last: bool = False) -> bool:
        """To be called after each step; False when the last look is done. ``last``: nothing follows, look now."""
        if self.looks and (last or self.now() >= self.looks[0]):
            self.seconds, self.looks = self.now(), self.looks[1:]
            found = {name: round(value, 2) for name, value in self.measure(energy).items()}
            self.points.append({"seconds": round(self.seconds, 1), "steps": step, **found})
            print("   ", self.points[-1], flush=True)
            self._since = time.perf_counter()
        return bool(self.looks)

    def start(self) -> None:
        """Setting up is not training."""
        self._since = time.perf_counter()

    def on_train_start(self, trainer, module) -> None:
        self.start()

    def on_train_batch_end(self, trainer, module, *args) -> None:
        self.tick(module.energy, trainer.global_step, last=trainer.global_step == trainer.max_steps)


def trained(
    make: Callable[[], EBMTraining], images: ImageSet, config: FitConfig, clock: Clock, budget: float, trial: int
) -> list[dict]:
    """Train by the project's own ``fit`` for about ``budget`` seconds more; what the clock saw.

    The number of steps, over which learning rates fall, follows from the cost of ``trial`` steps, whose training is
    thrown away.
    """

    def run(n_steps: int, clock: Clock) -> None:
        torch.manual_seed(config.seed)
        with tempfile.TemporaryDirectory() as folder:
            fit(make(), images, callbacks=[clock],
                config=replace(config, max_steps=n_steps, checkpoint_every=n_steps, run_dir=folder))  # fmt: skip

    cost = Clock([], clock.measure)
    run(trial, cost)
    try:
        run(max(len(clock.looks), int(trial * budget / cost.now())), clock)
    except TrainingDiverged as error:
        print(f"    diverged after {clock.now():.0f} s: {error}", flush=True)
        clock.points.append({"seconds": round(clock.now(), 1), "diverged": str(error)})
    return clock.points
