"""What the checks said: exported from a student's saved notebooks, gathered by a teacher.

Both read files that somebody else wrote. One that cannot be read is named and left out; the others go on.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ..report import records
from .parts import checked_in, exercises

KIND = "gen_utils checks, version 1"
FORMULA = tuple("=+-@")  # a spreadsheet computes a cell that begins so

# exercise -> {"passed": bool, "slip": the name of the recognised mistake or None}, or None for a check that was not run
Answers = dict[str, dict | None]


def export_checks(folder: Path, name: str = "") -> dict:
    """The last answer of every check in the saved notebooks of a folder, copies merged: solved in one is solved.

    Returns:
        ``kind``, ``name``, ``parts``: part -> exercise -> {"passed": bool, "slip": the recognised mistake or None}, or
        None for a check that has not been run; and ``left out``: notebook -> why.

    Raises:
        ValueError: no notebook in the folder, or no answer in any of them.
    """
    paths = sorted(folder.glob("*.ipynb"))
    if not paths:
        raise ValueError(f"no notebooks in {folder}; run this in the workbook's folder, after saving them")
    found, left_out, known = {}, {}, exercises()
    for path in paths:
        try:
            answers, mark = _answers_in(path)
            if answers:  # the first page and a student's own notebooks have none
                _merge(found.setdefault(part_of(mark, path.stem, answers, known), {}), answers)
        except ValueError as error:
            left_out[plain(path.name)] = str(error)
    if not any(answer for answers in found.values() for answer in answers.values()):
        why = "".join(f"; {notebook} {reason}" for notebook, reason in left_out.items())
        raise ValueError(f"no check has been run in {folder}; run some, save the notebooks, then try again{why}")
    return {"kind": KIND, "name": name, "parts": dict(sorted(found.items())), "left out": left_out}


def gradebook(files: Sequence[Path], known: Mapping[str, Sequence[str]] | None = None) -> tuple[str, list[str]]:
    """A CSV table of many students' exports: a row a file, a column an exercise (1 passed, 0 not, empty: not run).

    The last column counts what is passed, out of all exercises of the workbook.

    Args:
        known: part -> its exercises, which are the columns; else those of this workbook.

    Returns:
        The table, and a sentence for everything that is not in it.

    Raises:
        ValueError: no exercises are known.
    """
    known = exercises() if known is None else known
    if not known:
        raise ValueError("the columns are the workbook's exercises: run this there, not in a student edition")
    files = list(dict.fromkeys(files))
    names = [path.name for path in files]
    columns = [(part, exercise) for part in known for exercise in known[part]]
    text, said = StringIO(), []
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "name", *(f"{part[:2]}/{each}" for part, each in columns), f"passed of {len(columns)}"])
    for path in files:
        file = plain(path.name if names.count(path.name) == 1 else str(path))
        try:
            name, parts, remarks = _hand_in(path, known)
        except ValueError as error:
            said.append(f"{file} is left out: it {error}")
            continue
        said += [f"{file} {remark}" for remark in remarks]
        answers = [parts.get(part, {}).get(exercise) for part, exercise in columns]
        cells = ["" if answer is None else int(answer["passed"]) for answer in answers]
        table.writerow([cell(file), cell(name), *cells, cells.count(1)])
    return text.getvalue(), said


def plain(text: str) -> str:
    """A stranger's text on one line, without what a terminal would obey or a file could not hold."""
    return "".join(letter if letter.isprintable() else "�" for letter in " ".join(text.split()))


def cell(text: str) -> str:
    """A text that a spreadsheet shows, and does not compute."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _answers_in(path: Path) -> tuple[Answers, object]:
    """What the checks in a notebook said last, and the mark that the student edition has put on it."""
    try:
        notebook = _json(path)
        # By the time of running: the cells may have been run in any order.
        cells = sorted(notebook["cells"], key=lambda cell: cell.get("execution_count") or 0)
        found = records({"cells": cells})
        sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        mark = notebook.get("metadata", {}).get("gen_utils", {}).get("part")
    except (LookupError, TypeError, AttributeError):
        raise ValueError("is not a whole notebook; open it in JupyterLab and save it again") from None
    answers = dict.fromkeys(checked_in("\n".join(sources)))
    for key, value in found.items():
        if key.startswith("check/"):
            answers[key.removeprefix("check/")] = _answer(key, value)
    return answers, mark


def _hand_in(path: Path, known: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, Answers], list[str]]:
    """A student's name and answers, and what is to be said about the file."""
    found = _json(path)
    if not isinstance(found, dict) or found.get("kind") != KIND or not isinstance(found.get("parts"), dict):
        raise ValueError("does not hold check results; `python -m gen_utils checks` writes such a file")
    name, parts, remarks = plain(str(found.get("name") or "")), {}, []
    if not name:
        remarks.append("has no name")
    for part, answers in found["parts"].items():
        if not isinstance(answers, dict):
            raise ValueError(f"says nothing that can be read about {plain(part)}")
        answers = {exercise: _answer(f"{part}/{exercise}", answer) for exercise, answer in answers.items()}
        try:
            part = part_of(None, part, answers, known)
        except ValueError:
            remarks.append(f"has answers in {plain(part)}, which is no part of this workbook")
            continue
        strange = [plain(exercise) for exercise in answers if exercise not in known[part]]
        if strange:
            remarks.append(f"has answers to {', '.join(strange)}, no exercise of {part}")
        _merge(parts.setdefault(part, {}), answers)
    left_out = found.get("left out")
    for notebook, reason in left_out.items() if isinstance(left_out, dict) else ():
        remarks.append(f"was written without {plain(notebook)}: it {plain(str(reason))}")
    return name, parts, remarks


def _json(path: Path) -> Any:
    """What a file holds, or None when that is not JSON."""
    try:
        return json.loads(path.read_bytes())  # of bytes it finds out the encoding, and passes over a byte-order mark
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        return None


def _answer(where: str, value: object) -> dict | None:
    """A check's answer, as it is; nothing else may count as passed."""
    if value is None or (isinstance(value, dict) and isinstance(value.get("passed"), bool)):
        return value
    raise ValueError(f"says {plain(json.dumps(value))[:80]} about {plain(where)}, which no check does")


def part_of(mark: object, name: str, answers: Answers, known: Mapping[str, Sequence[str]]) -> str:
    """The part a notebook is of: its mark says so, else its name (02_x-Copy1, Copy of 02_x), else its checks."""
    if isinstance(mark, str) and (mark in known or not known):  # the student edition knows of no other parts
        return mark
    for part in sorted(known, key=len, reverse=True):
        if re.search(rf"(?<![^\W_]){re.escape(part)}(?![^\W_])", name):
            return part
    owners = [part for part in known if answers and set(answers) <= set(known[part])]
    if len(owners) == 1:
        return owners[0]
    raise ValueError("is a copy under another name, and does not say of which part; give it that part's name")


def _merge(into: Answers, more: Answers) -> None:
    """Add the answers of a copy: a passed check counts before a failed one, and both before one that was not run."""
    for exercise, answer in more.items():
        if answer is not None and (into.get(exercise) is None or answer["passed"]):
            into[exercise] = answer
        else:
            into.setdefault(exercise, None)
