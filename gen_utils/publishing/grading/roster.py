"""The class, as Canvas or Moodle export it: who should have handed in, under the columns that they import again."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ..gradebook import plain

# What identifies a student in an export of Canvas or of Moodle; their other columns are left out.
IDENTITY = (
    *("Student", "ID", "SIS User ID", "SIS Login ID", "Section"),
    *("Identifier", "Full name", "First name", "Surname", "Last name", "Username", "ID number", "Email address"),
    *("Name", "Email", "Login", "student", "name", "id", "email"),
)
USUAL = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Email address")  # what Canvas asks for, and Moodle


def read_roster(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The identifying columns of an exported table, and its students.

    Raises:
        ValueError: no such table, or none of the columns.
    """
    rows = _rows(path)
    columns = [column for column in IDENTITY if rows and column in rows[0]]
    if not columns:
        raise ValueError(f"{path} has no column that says who a student is, such as {', '.join(USUAL)}")
    people = [{column: row.get(column) or "" for column in columns} for row in rows]
    return columns, [each for each in people if any(each.values()) and "Points Possible" not in each[columns[0]]]


def find(name: str, number: str, people: Sequence[dict[str, str]]) -> dict[str, str] | None:
    """The one student of the roster whom a hand-in's name or number means; None where it is none or not clear which."""
    by_number = [each for each in people if number and number in _numbers(each)]
    if len(by_number) == 1:
        return by_number[0]
    wanted = _letters(name)
    by_name = [each for each in people if wanted and wanted in _spellings(each)]
    return by_name[0] if len(by_name) == 1 else None


def read_times(path: Path) -> dict[str, float]:
    """When each student handed in, from a table with the columns student and time (2026-05-01 23:59, local time).

    Raises:
        ValueError: no such columns, or no such time.
    """
    times = {}
    for row in _rows(path):
        if row.get("student") is None or row.get("time") is None:
            raise ValueError(f"{path} should have the columns student and time")
        times[_letters(row["student"])] = moment(row["time"])
    return times


def time_of(times: dict[str, float], *names: str) -> float | None:
    """A student's entry in ``read_times``, under any of their names."""
    return next((times[_letters(each)] for each in names if _letters(each) in times), None)


def moment(text: str) -> float:
    """A date and a time as seconds since 1970; without a zone, local time.

    Raises:
        ValueError: no such time.
    """
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{plain(text)!r} is no time; write it as 2026-05-01 23:59") from None


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    for encoding in ("utf-8-sig", "cp1252"):  # Excel writes the second
        try:
            return list(csv.DictReader(io.StringIO(text.decode(encoding), newline="")))
        except UnicodeDecodeError:
            continue
        except csv.Error as error:
            raise ValueError(f"{path} is no table: {error}") from None
    raise ValueError(f"{path} is no text")


def _numbers(person: dict[str, str]) -> set[str]:
    found = {person.get(column, "") for column in ("ID", "SIS User ID", "ID number", "id", "Identifier")}
    return found | {each.removeprefix("Participant ") for each in found} - {""}


def _spellings(person: dict[str, str]) -> set[str]:
    """How a file may call a student: Canvas writes the last name first, Moodle as it stands."""
    values = [value for column, value in person.items() if column not in ("Section", "Identifier")]
    names = [re.split(r",\s*", value) for value in values]
    first = person.get("First name", "")
    last = person.get("Surname") or person.get("Last name", "")
    swapped = ["".join(reversed(each)) for each in names if len(each) == 2]
    words = ["".join([*value.split()[1:], *value.split()[:1]]) for value in values]
    return {_letters(each) for each in [*values, *swapped, *words, first + last, last + first]} - {""}


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum() or letter in "@.+")
