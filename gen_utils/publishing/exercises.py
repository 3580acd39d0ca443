"""The exercises as the notebooks state them: number, title, goal, minutes and points."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import jupytext

from ..base.places import NOTEBOOKS
from .chapter_numbers import chapter
from .parts import checked_in, parts

START = re.compile(
    r"```\{exercise-start\} (?P<title>[^\n]+)\n:label: (?P<label>\S+)\n.*?^```\n(?P<text>.*)", re.M | re.S
)
GOAL = re.compile(r"\*Goal: (?P<goal>.+?[.?]) About (?P<minutes>\d+) minutes, (?P<points>\d+) points?\.\*")


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        number: chapter and place, "2.3". name: of its check, and of the function that the student writes.
        goal: what a student can do afterwards. minutes: that it takes, an estimate. points: that a solution is worth.
        asked: the first sentence of its text. label: that links lead to.
    """

    part: str
    number: str
    title: str
    name: str
    goal: str
    minutes: int
    points: int
    asked: str
    label: str

    @property
    def key(self) -> str:
        """As the grading names it: 02/langevin_step."""
        return f"{self.part[:2]}/{self.name}"


@functools.cache
def exercises_of(part: str) -> tuple[Exercise, ...]:
    """A part's exercises, in order.

    Raises:
        ValueError: one has no line with its goal, or no check of its own.
    """
    cells = jupytext.read(NOTEBOOKS / f"{part}.py").cells
    stated = [found for cell in cells if (found := START.match(cell.source))]
    checked = checked_in("\n".join(cell.source for cell in cells if "check" in cell.metadata.get("tags", ())))
    if len(stated) != len(checked):
        raise ValueError(f"{part} states {len(stated)} exercises and has {len(checked)} checks")
    found = []
    for place, (start, name) in enumerate(zip(stated, checked, strict=True), 1):
        text = " ".join(start["text"].split())
        goal = GOAL.match(text)
        if goal is None:
            raise ValueError(
                f"{part}: the exercise {start['title']!r} does not begin with its goal, minutes and points"
            )
        asked = re.split(r"(?<=[.?])\s", text[goal.end() :].strip(), maxsplit=1)[0]
        number = f"{chapter(f'notebooks/{part}')}.{place}"
        minutes, points = int(goal["minutes"]), int(goal["points"])
        found.append(Exercise(part, number, start["title"], name, goal["goal"], minutes, points, asked, start["label"]))
    return tuple(found)


def all_exercises() -> list[Exercise]:
    """Those of every part, in the order of the course."""
    return [exercise for part in parts() for exercise in exercises_of(part)]
