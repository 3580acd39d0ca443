"""What the teaching kit stands on: its tables, and the chapters' figures and exercises that a question may refer to."""

from __future__ import annotations

import functools
import re
import tomllib
from pathlib import Path
from typing import TypeVar

import jupytext

from ...base.places import BOOK, NOTEBOOKS, ROOT
from ..exercises import Exercise, all_exercises
from ..parts import title_of

TEACHING = BOOK / "teaching"
_DRAWS = re.compile(r"\b(?:figure|image_grid|curves|suptitle|set_title|set|silhouette_curves|histograms)\(")
Row = TypeVar("Row")


def rows(path: Path, row: type[Row], key: str = "question") -> list[Row]:
    """The tables ``[[question]]`` of a file, each as a row.

    Raises:
        ValueError: the file is missing, is no TOML, or a table has other keys than a row has.
    """
    try:
        return [row(**table) for table in tomllib.loads(path.read_text(encoding="utf-8"))[key]]
    except (OSError, tomllib.TOMLDecodeError, TypeError, KeyError) as error:
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        raise ValueError(f"{shown}: {error}; each [[{key}]] has what {row.__name__} names") from None


@functools.cache
def figure_section(part: str, bears: str) -> str:
    """The heading of the section in which a chapter draws a figure.

    Args:
        bears: the figure's label, or words of its title or caption, as they stand in the notebook.

    Raises:
        ValueError: no cell that draws has these words, or several have.
    """
    heading, found = "", []
    for cell in jupytext.read(NOTEBOOKS / f"{part}.py").cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#{1,3} (.+)$", cell.source, re.M) or [heading])[-1]
        elif bears in cell.source and _DRAWS.search(cell.source):
            found.append(heading)
    if len(found) != 1:
        raise ValueError(f"{part}: {len(found)} cells that draw have the words {bears!r}; a figure is named by one")
    return found[0]


@functools.cache
def _labelled() -> dict[str, Exercise]:
    return {exercise.label: exercise for exercise in all_exercises()}


def exercise(label: str) -> Exercise:
    """The exercise of a label.

    Raises:
        ValueError: there is none.
    """
    if label not in _labelled():
        raise ValueError(f"no exercise has the label {label!r}")
    return _labelled()[label]


def chapter_link(part: str, shown: str) -> str:
    """A link from a page in book/teaching/ to a chapter."""
    return f"[{shown}](../../notebooks/{part}.ipynb)"


def heading(part: str) -> str:
    """A part's heading on a page of the kit, "## 2 · An energy-based model of MNIST"."""
    return f"## {int(part[:2])} · {title_of(part)}"


def exercise_link(label: str) -> str:
    """ "[Exercise 2.3](…)", linked to its chapter."""
    found = exercise(label)
    return chapter_link(found.part, f"Exercise {found.number}")


def folded(title: str, text: str) -> str:
    """Text below a title that opens it, with or without scripts."""
    return f"::::{{dropdown}} {title}\n{text.strip()}\n::::\n"
