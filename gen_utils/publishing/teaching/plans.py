"""Plans of a course: ``book/teaching/plans.toml``, a list of weeks for each plan, and the hours that students need.

    [[twelve]]
    about = "Langevin and its test"
    parts = ["01_sampling_playground"]
    share = 0.5                      # of the parts' reading; 1 where it is left out
    exercises = ["ex-s-langevin"]    # labels; all of the parts' where it is left out
    does = "…"                       # in class

All hours are estimates until somebody has measured them: reading by the words of the chapter, exercises by the minutes
that stand above them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jupytext

from ...base.places import NOTEBOOKS
from ..exercises import exercises_of
from ..openings import WORDS_A_MINUTE
from ..parts import parts, title_of
from .sources import TEACHING, chapter_link, exercise, exercise_link, rows

QUESTION = 15  # minutes for one discussion question, written down
RUNS = 30  # minutes with one chapter's `quick` run: starting it, looking, changing a setting and running again


@dataclass(frozen=True)
class Week:
    """One week of a plan."""

    about: str
    parts: list[str]
    does: str
    share: float = 1.0
    exercises: list[str] = field(default_factory=list)

    @property
    def labels(self) -> list[str]:
        """The labels of its exercises."""
        return self.exercises or [each.label for part in self.parts for each in exercises_of(part)]

    @property
    def hours(self) -> float:
        """Of a student, an estimate."""
        told = [minutes(part) for part in self.parts]
        rest = sum(m["reading"] + m["runs"] + m["questions"] for m in told) * self.share
        return (rest + sum(exercise(label).minutes for label in self.labels)) / 60


def plan(name: str) -> list[Week]:
    """The weeks of a plan.

    Raises:
        ValueError: the file is not as described above.
    """
    return rows(TEACHING / "plans.toml", Week, name)


@functools.cache
def minutes(part: str) -> dict[str, float]:
    """What a student spends on a part, in minutes: reading, exercises, runs, questions. Estimates."""
    prose = [cell.source for cell in jupytext.read(NOTEBOOKS / f"{part}.py").cells if cell.cell_type == "markdown"]
    asked = re.search(r"^## Questions\n(.*?)(?=^## |\Z)", "\n\n".join(prose), re.M | re.S)
    return {
        "reading": sum(len(text.split()) for text in prose) / WORDS_A_MINUTE,
        "exercises": sum(each.minutes for each in exercises_of(part)),
        "runs": RUNS,
        "questions": QUESTION * len(re.findall(r"^\d+\. ", asked[1] if asked else "", re.M)),
    }


def hours(_executed: Mapping[str, Path] | None = None) -> str:
    """A table of a student's hours, a row a part."""
    table = ["| part | reading | exercises | runs | questions | together |", "|---|--:|--:|--:|--:|--:|"]
    total = 0.0
    for part in parts():
        told = minutes(part)
        total += sum(told.values())
        cells = [f"{value / 60:.1f}" for value in (*told.values(), sum(told.values()))]
        table.append(f"| {chapter_link(part, f'{int(part[:2])} · {title_of(part)}')} | {' | '.join(cells)} |")
    table.append(f"| all | | | | | {total / 60:.0f} |")
    return "\n".join(table)


def twelve(_executed: Mapping[str, Path] | None = None) -> str:
    """The plan of twelve weeks, as a table."""
    return _table(plan("twelve"))


def six(_executed: Mapping[str, Path] | None = None) -> str:
    """The plan of six weeks, as a table."""
    return _table(plan("six"))


def _table(weeks: list[Week]) -> str:
    table = ["| week | subject | exercises | hours | in class |", "|--:|---|---|--:|---|"]
    for i, week in enumerate(weeks, 1):
        chapters = ", ".join(chapter_link(part, f"Chapter {int(part[:2])}") for part in week.parts)
        whole = week.labels == [each.label for part in week.parts for each in exercises_of(part)]
        do = "all" if whole else ", ".join(exercise_link(label) for label in week.labels)
        table.append(f"| {i} | {week.about}: {chapters} | {do} | {week.hours:.1f} | {week.does} |")
    table.append(f"| | | | {sum(week.hours for week in weeks):.0f} | |")
    return "\n".join(table)
