"""Which parts there are, and what a user means by a name."""

from __future__ import annotations

import re

from ..base.places import NOTEBOOKS


def parts() -> list[str]:
    """The notebooks, in the order of the course; not the copies that programs make (02_x-Copy1, 02_x (1))."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.py") if re.fullmatch(r"\d+_\w+", path.stem))


def find_part(part: str) -> str:
    """The notebook a user means by '02', 'ebm_mnist', '02_ebm_mnist' or its file.

    Raises:
        ValueError: there is none, or more than one.
    """
    name = re.sub(r"\.(py|ipynb)$", "", re.split(r"[/\\]", part)[-1])
    found = [each for each in parts() if name in (each, *each.split("_", 1))]
    if name not in found and len(found) > 1:
        raise ValueError(f"{part!r} may be {' or '.join(found)}; give the whole name")
    if not found:
        raise ValueError(f"unknown part {part!r}; known: {', '.join(parts())}")
    return name if name in found else found[0]


def checked_in(source: str) -> list[str]:
    """The exercises whose checks a piece of a notebook calls, in order, by the names of their checks."""
    return re.findall(r"^checks\.(\w+)\(", source, re.M)


def exercises() -> dict[str, list[str]]:
    """part -> its exercises in order, by the names that their checks have."""
    return {part: checked_in(_source(part)) for part in parts()}


def title_of(part: str) -> str:
    """A notebook's heading."""
    return re.findall(r"^# # (.+)$", _source(part), re.M)[0]


def _source(part: str) -> str:
    return (NOTEBOOKS / f"{part}.py").read_text(encoding="utf-8")
