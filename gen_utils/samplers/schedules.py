"""Schedules: how a step size or a noise scale changes along a chain.

A schedule is any function ``schedule(t, n_steps) -> float`` with t = 1, ..., n_steps.
Wherever a kernel takes a number it takes a schedule as well.
"""

from __future__ import annotations

from collections.abc import Callable

Schedule = Callable[[int, int], float]


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return lambda t, n_steps: value


def power_decay(start: float, power: float) -> Schedule:
    """``start / t**power``: Robbins-Monro decay, as in Welling & Teh (2011), section 3."""
    return lambda t, n_steps: start / t**power


def geometric(start: float, end: float) -> Schedule:
    """``start * (end / start) ** (t / n_steps)``: annealing that arrives exactly at ``end``."""
    if start <= 0 or end <= 0:
        raise ValueError(f"a geometric schedule needs positive ends, got {start} and {end}")
    return lambda t, n_steps: start * (end / start) ** (t / n_steps)


def value_at(setting: float | Schedule, t: int, n_steps: int) -> float:
    """The value of a setting at step t, whether it is a number or a schedule."""
    return float(setting(t, n_steps) if callable(setting) else setting)
