"""What is here, what is not, and how to get it: the text of ``python -m gen_utils data``."""

from __future__ import annotations

import textwrap
from pathlib import Path

from .at_hand import name_and_title
from .catalog import CATALOG, DataError, Dataset, printable
from .readers.pictures import look_at
from .whereabouts import IDX, find, is_cifar_batches, lacking


def overview(root: Path) -> str:
    """One line a dataset: real and where, or missing and what stands in; then what is built in."""
    lines = [
        printable(f"  {dataset.name:16} {measure(dataset):9} {state(dataset, root)}")
        for dataset in CATALOG.values()
        if dataset.stand_in is not None
    ]
    lines += ["", "  built in:"]
    for dataset in CATALOG.values():
        if dataset.stand_in is None:
            lines.append(f"  {dataset.name:20} {measure(dataset):9} for {dataset.original}")
    return "\n".join(lines)


def state(dataset: Dataset, root: Path) -> str:
    """Is it here, whole, and what its name says? Only picture files are looked at; arrays are when they are read."""
    try:
        source = find(dataset, root)
        if source is None:
            return f"not here: {dataset.stand_in} stands in"
        if missing := lacking(dataset, source):
            return f"incomplete: {source} lacks {', '.join(missing)}"
        if dataset.name in (*IDX, "persian_digits", "dsprites") or is_cifar_batches(source):
            return f"here: {source}"
        _, title = name_and_title(dataset, look_at(source), "all")
    except DataError as error:
        return f"cannot be used: {error}"
    return f"here: {source}" if title == dataset.title else f"here: {source} ({title})"


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
