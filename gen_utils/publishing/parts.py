"""Which parts there are, and what a user means by a name."""

from __future__ import annotations

import re

from ..base.places import NOTEBOOKS


def parts() -> list[str]:
    """The notebooks, in the order of the course."""
    return sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.py"))


def find_part(part: str) -> str:
    """The notebook a user means by '02', 'ebm_mnist' or '02_ebm_mnist'."""
    found = [name for name in parts() if part in (name, name.split("_")[0], name.split("_", 1)[1])]
    if len(found) != 1:
        raise ValueError(f"unknown part {part!r}; known: {', '.join(parts())}")
    return found[0]


def title_of(part: str) -> str:
    """A notebook's heading."""
    return re.search(r"^# # (.+)$", (NOTEBOOKS / f"{part}.py").read_text(encoding="utf-8"), re.M)[1]
