"""What an outcome is worth: a table that a teacher can change with a file of options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..gradebook import plain

# What a check said -> the share of an exercise's points.
SHARES = {
    "passed": 1.0,
    "shown only": 0.5,  # right on the cases that students see, wrong on one that they do not
    "slip": 0.5,  # wrong in a way that has a name
    "wrong": 0.0,
    "not written": 0.0,
    "stopped": 0.0,  # out of time, out of memory, or ended by itself
    "held": 0.0,  # not run, or not believed, before a person has looked
    "missing": 0.0,  # the part was not handed in
}


@dataclass(frozen=True)
class Points:
    """The rules of one grading.

    Attributes:
        shares: outcome -> share of the exercise's points. slips: "02/langevin_step" -> slip -> share.
        worth: "02/langevin_step" -> points; 1 without an entry. late: factor on everything in a late part.
        accept: "student/02/langevin_step" that a person has looked at, so that it is run.
    """

    shares: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))
    slips: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    worth: Mapping[str, float] = field(default_factory=dict)
    late: float = 1.0
    accept: Sequence[str] = ()

    def of(self, exercise: str, outcome: Mapping[str, Any], late: bool) -> float:
        """The points for one exercise, such as 02/langevin_step."""
        share = self.shares[outcome["status"]]
        if outcome["status"] == "slip":
            share = self.slips.get(exercise, {}).get(outcome["slip"], share)
        return round(self.most(exercise) * share * (self.late if late else 1.0), 4)

    def most(self, exercise: str) -> float:
        """What a solved exercise is worth."""
        return self.worth.get(exercise, 1.0)


def read_points(path: Path, stated: Mapping[str, float]) -> Points:
    """The options in a file of JSON: an object with any of points, slips, worth, late and accept.

    Args:
        stated: every exercise, "02/langevin_step", and what its notebook says that it is worth.

    Raises:
        ValueError: not such a file, a name that nothing has, or a number that is no share.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    fields = {"points", "slips", "worth", "late", "accept"}
    if not isinstance(found, dict) or not set(found) <= fields:
        raise ValueError(f"{path} should be an object with any of {', '.join(sorted(fields))}")
    shares, slips, worth = (_object(path, name, found.get(name, {})) for name in ("points", "slips", "worth"))
    _known(path, shares, SHARES)
    _known(path, [*slips, *worth], stated)
    for name, value in [*shares.items(), ("late", found.get("late", 1.0))]:
        _number(path, name, value, 1.0)
    for name, value in worth.items():
        _number(path, name, value, float("inf"))
    for exercise, table in slips.items():
        for slip, value in _object(path, exercise, table).items():
            _number(path, f"{exercise} {slip}", value, 1.0)
    accept = found.get("accept", [])
    if not isinstance(accept, list) or not all(isinstance(each, str) for each in accept):
        raise ValueError(f"{path}: accept should be a list of student/part/exercise")
    return Points({**SHARES, **shares}, slips, {**stated, **worth}, float(found.get("late", 1.0)), tuple(accept))


def _object(path: Path, name: str, value: object) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {plain(name)} should be an object")
    return value


def _known(path: Path, names: Sequence[str] | Mapping, known: Sequence[str] | Mapping) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{path}: {plain(name)!r} is unknown; known: {', '.join(known)}")


def _number(path: Path, name: str, value: object, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        bound = "between 0 and 1" if most == 1 else "0 or more"
        raise ValueError(f"{path}: {plain(name)} is {plain(str(value))}; it should be {bound}")
