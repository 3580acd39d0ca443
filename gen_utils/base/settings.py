"""Numbers that somebody chose, each refused in one sentence with its name."""

from __future__ import annotations

import math
from numbers import Integral, Real


def whole(least: int, **settings: object) -> None:
    """Whole numbers from ``least`` on; raises ValueError."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            wanted = "zero or more" if least == 0 else f"at least {least}"
            raise ValueError(f"{name} must be {wanted}, a whole number, got {value!r}")


def positive(**settings: object) -> None:
    """Finite numbers above zero; raises ValueError."""
    for name, value in settings.items():
        if not (isinstance(value, Real) and 0 < float(value) < math.inf):
            raise ValueError(f"{name} is a positive number, got {value!r}")


def not_negative(**settings: object) -> None:
    """Finite numbers from zero on; raises ValueError."""
    for name, value in settings.items():
        if not (isinstance(value, Real) and 0 <= float(value) < math.inf):
            raise ValueError(f"{name} is zero or more, got {value!r}")
