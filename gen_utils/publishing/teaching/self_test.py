"""The self-test for the first day: ``book/self_test.toml``, a page that checks itself.

    [[question]]
    about = "logsumexp"
    asks = "…"
    choices = ["…", "…"]
    right = 2                # the place of the right one, from 1
    because = "…"
    read = "…"               # where to read what was not known

``book/_static/self_test.js`` makes buttons of the choices; without scripts, the answers are folded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...base.places import BOOK
from .sources import rows


@dataclass(frozen=True)
class Question:
    """A question with its choices."""

    about: str
    asks: str
    choices: list[str]
    right: int
    because: str
    read: str

    def __post_init__(self) -> None:
        if not 1 <= self.right <= len(self.choices) or len(set(self.choices)) < len(self.choices):
            raise TypeError(f"the right choice of {self.about!r} is one of its choices, which all differ")


def questions() -> list[Question]:
    """The questions in order.

    Raises:
        ValueError: the file is not as described above.
    """
    return rows(BOOK / "self_test.toml", Question)


def page(_executed: Mapping[str, Path] | None = None) -> str:
    """All questions, each in a box of its own that names the right choice to the script."""
    return "\n\n".join(_shown(i, question) for i, question in enumerate(questions(), 1))


def _shown(i: int, question: Question) -> str:
    choices = "\n".join(f"{k}. {choice.strip()}" for k, choice in enumerate(question.choices, 1))
    answer = f"**{question.right}.** {question.because.strip()} To read: {question.read.strip()}."
    return (
        f":::::{{container}} self-test right-{question.right}\n"
        f"**{i} · {question.about}.** {question.asks.strip()}\n\n{choices}\n\n"
        f"::::{{dropdown}} Answer\n{answer}\n::::\n:::::\n"
    )
