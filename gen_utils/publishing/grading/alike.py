"""Answers that say the same, pointed out and never judged: two students may have had one thought."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from .statements import Statement, form, size

SMALL = 30  # nodes: a shorter answer leaves little room to differ
COMMON = 0.25  # of the class: what so many write is the usual way to write it


def alike(written: Mapping[tuple[str, str], Statement], solutions: frozenset[str], students: int) -> list[dict]:
    """Groups of students whose answers are equal but for comments and the names of variables.

    Left out are the workbook's own form, short answers, and forms that a quarter of the class shares (four at least).

    Args:
        written: (student, exercise) -> the answer that counted.
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (student, exercise), statement in written.items():
        if size(statement) >= SMALL and (said := form(statement)) not in solutions:
            groups[exercise, said].append(student)
    usual = max(4, COMMON * students)
    found = [
        {"exercise": exercise, "students": sorted(names)}
        for (exercise, _), names in groups.items()
        if 1 < len(names) < usual
    ]
    return sorted(found, key=lambda each: (each["exercise"], each["students"]))
