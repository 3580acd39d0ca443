"""The exam bank: ``book/teaching/exam.toml``.

    [[question]]
    part = "02_ebm_mnist"
    title = "Three pictures"
    asks = "…"
    answer = "…"
    rubric = [[2, "…"], [3, "…"]]   # points, and what they are for; the question is worth their sum

What is asked and answered is Markdown, with formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..parts import parts
from .sources import TEACHING, folded, heading, rows


@dataclass(frozen=True)
class Question:
    """One question of the bank."""

    part: str
    title: str
    asks: str
    answer: str
    rubric: list[list]

    def __post_init__(self) -> None:
        if not self.rubric or any(len(line) != 2 or not isinstance(line[0], int) for line in self.rubric):
            raise TypeError(f"the rubric of {self.title!r} is not a list of [points, what for]")

    @property
    def points(self) -> int:
        return sum(points for points, _ in self.rubric)


def bank() -> list[Question]:
    """All questions, in the order of the file.

    Raises:
        ValueError: the file is not as described above, or a part is unknown.
    """
    found = rows(TEACHING / "exam.toml", Question)
    if unknown := {question.part for question in found} - set(parts()):
        raise ValueError(f"exam.toml: there is no part {', '.join(sorted(unknown))}")
    return found


def page(_executed: Mapping[str, Path] | None = None) -> str:
    """The bank, part by part, with points; answers and rubrics are folded."""
    found = bank()
    number = {id(question): i for i, question in enumerate(found, 1)}
    sections = [f"{len(found)} questions, {sum(question.points for question in found)} points."]
    for part in parts():
        mine = [question for question in found if question.part == part]
        if mine:
            sections.append(heading(part))
            sections += [_shown(number[id(question)], question) for question in mine]
    return "\n\n".join(sections)


def _shown(number: int, question: Question) -> str:
    rubric = "\n".join(["| points | for |", "|--:|---|", *(f"| {n} | {what} |" for n, what in question.rubric)])
    answer = folded("Answer and rubric", f"{question.answer.strip()}\n\n{rubric}")
    return f"**E{number} · {question.title}** ({question.points} points)\n\n{question.asks.strip()}\n\n{answer}"
