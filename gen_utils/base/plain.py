"""Values as JSON holds them: plain numbers in the place of NumPy's and PyTorch's, and where one is not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any


def plain(value: Any) -> Any:
    """NumPy scalars and tensors without an axis become numbers, tuples lists, keys strings; the rest stays as it is."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def finite_or_none(value: object) -> object:
    """A plain value whose numbers that are not finite are None: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: finite_or_none(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite_or_none(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def not_finite(value: object, place: str = "") -> Iterator[tuple[str, float]]:
    """Where in a plain value a number is not finite, such as ("metrics.frechet.value", nan)."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from not_finite(entry, f"{place}.{key}".lstrip("."))
