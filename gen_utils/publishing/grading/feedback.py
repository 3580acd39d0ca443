"""A page for each student: what each check said of the answer, in the book's words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from html import escape

from ..parts import title_of

STYLE = """
:root { color-scheme: light dark; --quiet: #667; --line: #8884; }
body { font: 17px/1.55 Charter, Georgia, serif; max-width: 44rem; margin: 3rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } td { border-top: 1px solid var(--line); padding: .5rem .6rem .5rem 0;
vertical-align: top; } td:first-child { width: 1.2rem; } td:nth-child(3) { white-space: nowrap; text-align: right; }
code { font-size: .88em; } .quiet, footer { color: var(--quiet); } footer { margin-top: 3rem; font-size: .85rem; }
"""
MARKS = {"passed": "✓", "shown only": "◐", "slip": "◐", "held": "?"}


def page(student: dict, parts: Sequence[str], said: str) -> str:
    """The page, whole in one file and without a script.

    Args:
        student: an entry of the report. parts: those that were asked for. said: the last lines, for everybody.
    """
    name = escape(student["name"])
    points, most = student["points"], student["most"]
    lines = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}: what the checks said</title><style>{STYLE}</style>",
        f"<h1>{name}</h1>",
        f"<p>{points:g} of {most:g} points. {_solved(student)}</p>",
    ]
    for part in parts:
        lines.append(f"<h2>{escape(title_of(part))}</h2>")
        rows = {key: value for key, value in student["exercises"].items() if value["part"] == part}
        if part in student["missing"]:
            lines.append('<p class="quiet">Not handed in.</p>')
            continue
        if part in student["late"]:
            lines.append(f'<p class="quiet">Handed in late{student["late counts"]}.</p>')
        lines.append("<table>")
        for key, row in rows.items():
            lines.append(
                f"<tr><td>{MARKS.get(row['status'], '✗')}<td><code>{escape(key.split('/')[1])}</code>"
                f"<br>{escape(_words(row))}<td>{row['points']:g} of {row['most']:g}"
            )
        lines.append("</table>")
    lines += [f'<p class="quiet">{escape(each)}</p>' for each in student["said"]]
    return "\n".join([*lines, f"<footer>{escape(said)}</footer></html>", ""])


def file_name(name: str, taken: set[str]) -> str:
    """A name for a student's page that every system can hold, and that no other student has."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^\w-]+", "_", letters).strip("_")[:60] or "student"
    if re.fullmatch(r"(?i)con|prn|aux|nul|com\d|lpt\d", stem):  # Windows keeps these for itself
        stem += "_"
    found, number = f"{stem}.html", 1
    while found.casefold() in taken:
        number += 1
        found = f"{stem}-{number}.html"
    taken.add(found.casefold())
    return found


def _solved(student: dict) -> str:
    solved = sum(each["status"] == "passed" for each in student["exercises"].values())
    return f"{solved} of {len(student['exercises'])} exercises are solved."


def _words(row: dict) -> str:
    message = row["message"]
    message = message[:1].upper() + message[1:]
    match row["status"]:
        case "shown only":
            right, tried = row["hidden"]
            return (
                f"Right on the cases that the notebook shows, and on {right} of {tried} hidden sets of others. "
                "What else may the arguments be?"
            )
        case "slip":
            return f"{message} ({row['slip']})"
        case "held":
            return f"Not counted yet: {row['message']}, which no exercise needs. Your teacher will look at it."
    return message
