"""The table of grades: a row a student, a column an exercise, as Canvas and Moodle import it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

from ..gradebook import cell


def table(columns: Sequence[str], exercises: Sequence[str], students: Sequence[dict], most: float) -> str:
    """CSV with a total, and what is late, missing or waits for a person.

    Args:
        columns: who a student is. exercises: such as 02/langevin_step. students: the entries of the report.
        most: what the total is out of.
    """
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*map(cell, columns), *exercises, f"total of {most:g}", "late", "missing", "to look at"])
    for student in students:
        points = [student["exercises"][exercise]["points"] for exercise in exercises]
        held = [exercise for exercise in exercises if student["exercises"][exercise]["status"] == "held"]
        rows.writerow(
            [
                *(cell(student["who"].get(column, "")) for column in columns),
                *(f"{each:g}" for each in points),
                f"{sum(points):g}",
                *("; ".join(each) for each in (student["late"], student["missing"], held)),
            ]
        )
    return text.getvalue()
