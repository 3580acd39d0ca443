"""The quizzes: ``book/teaching/quiz/PART.toml``.

    [[question]]
    figure = "fig-s-ula"         # the figure's label, or words of its title as they stand in the notebook
    shows = "ULA's variance …"   # what the figure is of, for a reader who looks for it
    exercise = "ex-s-bias"       # the exercise that the question belongs to
    asks = "…"
    answer = "…"

What is asked and answered is Markdown, with formulas; a question may belong to no figure and to no exercise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..parts import parts
from .sources import TEACHING, chapter_link, exercise_link, figure_section, folded, heading, rows


@dataclass(frozen=True)
class Question:
    """One question of a quiz."""

    asks: str
    answer: str
    figure: str = ""
    shows: str = ""
    exercise: str = ""

    def __post_init__(self) -> None:
        if bool(self.figure) != bool(self.shows):
            raise TypeError(f"figure and shows go together; one is missing of {self.asks[:40]!r}")


def quiz(part: str) -> list[Question]:
    """A part's questions; none where it has no quiz.

    Raises:
        ValueError: the file is not as described above.
    """
    path = TEACHING / "quiz" / f"{part}.toml"
    return rows(path, Question) if path.exists() else []


def page(_executed: Mapping[str, Path] | None = None) -> str:
    """All quizzes, part by part, the answers folded."""
    sections = []
    for part in parts():
        if questions := quiz(part):
            shown = [_shown(part, i, question) for i, question in enumerate(questions, 1)]
            sections.append(f"{heading(part)}\n\n" + "\n".join(shown))
    return "\n\n".join(sections)


def _shown(part: str, i: int, question: Question) -> str:
    about = []
    if question.figure:
        where = chapter_link(part, figure_section(part, question.figure))
        about.append(f"Look at the figure of {question.shows}, in {where}.")
    if question.exercise:
        about.append(f"Belongs to {exercise_link(question.exercise)}.")
    told = f"\n\n*{' '.join(about)}*" if about else ""
    return f"**{int(part[:2])}.{i}** {question.asks.strip()}{told}\n\n{folded('Answer', question.answer)}"
