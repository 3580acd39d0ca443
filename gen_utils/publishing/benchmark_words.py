"""What the benchmarks' pages share: a table, and a machine in words."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its first column to the left and all others to the right."""
    marks = "|".join(":--" if i == 0 else "--:" for i in range(len(header)))
    return "\n".join([f"| {' | '.join(header)} |", f"|{marks}|", *(f"| {' | '.join(row)} |" for row in rows)])


def machine_words(machine: dict) -> str:
    """One machine, in words."""
    return f"{machine['cpu']}, {machine['threads']} thread(s), torch {machine['torch'].split('+')[0]}"
