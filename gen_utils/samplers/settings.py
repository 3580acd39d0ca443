"""Checking what a kernel is given: positive numbers, counts, boxes, schedules, starts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..base.settings import whole
from .protocol import Bounds
from .schedules import Schedule, value_at


def check_positive(
    name: str, setting: float | Schedule | None, *, zero_ok: bool = False, none_ok: bool = False
) -> None:
    """A number that is not positive is an error; schedules are looked at when they are used."""
    if callable(setting) or (none_ok and setting is None):
        return
    wanted = f"{name} must be a number or a schedule(t, n_steps) -> float, got {setting!r}"
    if setting is None:
        raise ValueError(wanted)
    try:
        finite = math.isfinite(setting)
    except TypeError:
        raise ValueError(wanted) from None
    if not finite or setting < 0 or (setting == 0 and not zero_ok):
        raise ValueError(f"{name} must be {'zero or more' if zero_ok else 'positive'} and finite, got {setting}")


def check_count(name: str, count: int, at_least: int = 1) -> None:
    """How many of something must be a whole number."""
    whole(at_least, **{name: count})


def check_bounds(bounds: Bounds | None) -> None:
    """A box has its lower wall first; a wall at infinity is none."""
    if bounds is None:
        return
    try:
        low, high = bounds
        ordered = low < high and not (math.isnan(low) or math.isnan(high))  # words can be compared as well
    except (TypeError, ValueError):
        ordered = False
    if not ordered:
        raise ValueError(
            f"bounds are a pair of numbers (low, high) with low < high, such as (-1.0, 1.0), got {bounds!r}; "
            "a side without a wall is -math.inf or math.inf"
        )


def check_start(x: Tensor, bounds: Bounds | None) -> None:
    if x.ndim == 0 or not x.is_floating_point():
        raise ValueError(
            f"the start must be a batch of floats, shape (B, *event), got {x.dtype} of shape {tuple(x.shape)}; "
            "images in 0..255 are scaled to [-1, 1] first"
        )
    if not x.numel():
        raise ValueError(f"the start is empty, shape {tuple(x.shape)}: give one row a chain, at least one")
    if not torch.isfinite(x).all():
        raise ValueError("the start holds values that are not finite; look at what made it before sampling from it")
    if bounds is None:
        return
    if any(torch.finfo(x.dtype).max < abs(wall) < math.inf for wall in bounds):
        raise ValueError(f"{x.dtype} has no numbers as large as the bounds {bounds}; write math.inf for no wall")
    if x.amin() < bounds[0] or x.amax() > bounds[1]:
        raise ValueError(
            f"the start leaves the box [{bounds[0]}, {bounds[1]}]: its values span "
            f"[{x.amin().item():.3g}, {x.amax().item():.3g}]; clamp it, or widen the bounds"
        )


def setting_at(name: str, setting: float | Schedule, t: int, n_steps: int, *, zero_ok: bool = False) -> float:
    """The value of a number or a schedule at step t, checked."""
    try:
        value = value_at(setting, t, n_steps)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the schedule for {name} gave no number at step {t} of {n_steps}: {error}") from error
    if callable(setting) and not (math.isfinite(value) and (value > 0 or (zero_ok and value == 0))):
        raise ValueError(
            f"the schedule for {name} gave {value} at step {t} of {n_steps}; "
            f"it must stay {'zero or more' if zero_ok else 'positive'} and finite"
        )
    return value
