"""Schedules: how a step size or a noise scale changes along a chain.

A schedule is any function ``schedule(t, n_steps) -> float`` with t = 1, ..., n_steps.
Wherever a kernel takes a number it takes a schedule as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int, int], float]


@dataclass(frozen=True)
class constant:
    """The same value at every step."""

    value: float

    def __call__(self, t: int, n_steps: int) -> float:
        return self.value


@dataclass(frozen=True)
class power_decay:
    """``start / t**power``: Robbins-Monro decay, as in Welling & Teh (2011), section 3."""

    start: float
    power: float

    def __call__(self, t: int, n_steps: int) -> float:
        return self.start / t**self.power


@dataclass(frozen=True)
class geometric:
    """``start * (end / start) ** (t / n_steps)``: annealing that arrives exactly at ``end``.

    Raises:
        ValueError: an end that is not positive and finite.
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        if not (0 < self.start < math.inf and 0 < self.end < math.inf):
            raise ValueError(f"a geometric schedule needs positive ends, finite ones, got {self.start} and {self.end}")

    def __call__(self, t: int, n_steps: int) -> float:
        return self.start * (self.end / self.start) ** (t / n_steps)


def value_at(setting: float | Schedule, t: int, n_steps: int) -> float:
    """The value of a setting at step t, whether it is a number or a schedule."""
    return float(setting(t, n_steps) if callable(setting) else setting)
