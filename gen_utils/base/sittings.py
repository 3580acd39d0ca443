"""Seconds of earlier sittings: what went into the results that this process found on disk.

A long run that is made again finds its trainings there, and the minutes of this sitting alone would tell too little.
"""

from __future__ import annotations

from pathlib import Path

_earlier: dict[Path, float] = {}


def took_before(place: Path, seconds: float) -> None:
    """A result, named by where it lies, took so many seconds before this process; only the first word on it counts.

    Zero says that it was made here, so that to load it again is no earlier sitting.
    """
    _earlier.setdefault(place.absolute(), seconds)


def earlier_seconds() -> float:
    """Seconds in all."""
    return sum(_earlier.values())
