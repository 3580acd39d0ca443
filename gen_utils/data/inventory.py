"""What is here, what is not, and how to get it: the text of ``python -m gen_utils data``."""

from __future__ import annotations

import textwrap
from pathlib import Path

from .catalog import CATALOG, Dataset
from .load import find


def overview(root: Path) -> str:
    """One line a dataset: real and where, or missing and what stands in; then what is built in."""
    lines = []
    for dataset in CATALOG.values():
        if dataset.stand_in is not None:
            source = find(dataset, root)
            stand_in = CATALOG[dataset.stand_in]
            state = f"here: {source}" if source else f"not here: {stand_in.name} stands in"
            lines.append(f"  {dataset.name:16} {measure(dataset):9} {state}")
    lines += ["", "  built in:"]
    for dataset in CATALOG.values():
        if dataset.stand_in is None:
            lines.append(f"  {dataset.name:20} {measure(dataset):9} for {dataset.original}")
    return "\n".join(lines)


def directions(dataset: Dataset, root: Path) -> str:
    """How to get one dataset, where to put it, its licence and its page."""
    facts = [dataset.how, f"licence: {dataset.licence}; {dataset.link}"]
    if dataset.stand_in is not None:
        facts.insert(1, f"looked under {root}/ for: {', '.join(dataset.places)}")
    options = {"width": 116, "initial_indent": "    ", "subsequent_indent": "      "}
    lines = [textwrap.fill(fact, break_on_hyphens=False, break_long_words=False, **options) for fact in facts]
    return "\n".join([f"  {dataset.title} ({dataset.name})", *lines])


def measure(dataset: Dataset) -> str:
    """Such as 3×64×64."""
    return "×".join(map(str, dataset.shape))
