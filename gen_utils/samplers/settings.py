"""Checking what a kernel is given: positive numbers, boxes, schedules, starts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

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


def check_bounds(bounds: Bounds | None) -> None:
    if bounds is not None and not (len(bounds) == 2 and bounds[0] < bounds[1]):
        raise ValueError(f"bounds are a pair (low, high) with low < high, such as (-1.0, 1.0), got {bounds}")


def check_start(x: Tensor, bounds: Bounds | None) -> None:
    if x.ndim == 0 or not x.is_floating_point():
        raise ValueError(
            f"the start must be a batch of floats, shape (B, *event), got {x.dtype} of shape {tuple(x.shape)}; "
            "images in 0..255 are scaled to [-1, 1] first"
        )
    if not torch.isfinite(x).all():
        raise ValueError("the start holds values that are not finite; look at what made it before sampling from it")
    if bounds is not None and x.numel() and (x.amin() < bounds[0] or x.amax() > bounds[1]):
        raise ValueError(
            f"the start leaves the box [{bounds[0]}, {bounds[1]}]: its values span "
            f"[{x.amin().item():.3g}, {x.amax().item():.3g}]; clamp it, or widen the bounds"
        )


def setting_at(name: str, setting: float | Schedule, t: int, n_steps: int, *, zero_ok: bool = False) -> float:
    """The value of a number or a schedule at step t, checked."""
    value = value_at(setting, t, n_steps)
    if callable(setting) and not (math.isfinite(value) and (value > 0 or (zero_ok and value == 0))):
        raise ValueError(
            f"the schedule for {name} gave {value} at step {t} of {n_steps}; "
            f"it must stay {'zero or more' if zero_ok else 'positive'} and finite"
        )
    return value
