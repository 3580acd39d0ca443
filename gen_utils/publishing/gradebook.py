"""What the checks said: exported from a student's saved notebooks, gathered by a teacher."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from ..report import records

KIND = "gen_utils checks, version 1"


def export_checks(folder: Path, name: str = "") -> dict:
    """The last answer of every check in the saved notebooks of a folder.

    Returns:
        ``kind``, ``name``, and ``parts``: part -> exercise -> {"passed": bool, "slip": the recognised mistake or None}.
        A check that has not been run, or whose notebook was not saved, is not there.

    Raises:
        ValueError: no notebook in the folder, one that cannot be read, or no check in any of them.
    """
    paths = sorted(folder.glob("[0-9]*.ipynb"))
    if not paths:
        raise ValueError(f"no notebooks in {folder}; run this in the workbook's folder, after saving them")
    parts = {}
    for path in paths:
        try:
            found = records(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is not a whole notebook; open it in JupyterLab and save it again") from None
        checks = {key.removeprefix("check/"): value for key, value in found.items() if key.startswith("check/")}
        if checks:
            parts[path.stem] = checks
    if not parts:
        raise ValueError(f"no check has been run in {folder}; run some, save the notebooks, then try again")
    return {"kind": KIND, "name": name, "parts": parts}


def gradebook(files: Sequence[Path]) -> str:
    """A CSV table of many students' exports: a row a file, a column an exercise (1 passed, 0 not, empty: not run).

    Raises:
        ValueError: a file that ``export_checks`` did not write.
    """
    rows = []
    for path in files:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("kind") != KIND:
            raise ValueError(f"{path} does not hold check results; `python -m gen_utils checks` writes such a file")
        rows.append((path.name, found))
    columns = sorted(
        {(part, exercise) for _, found in rows for part, checks in found["parts"].items() for exercise in checks}
    )
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "name", *(f"{part[:2]}/{exercise}" for part, exercise in columns), "passed"])
    for name, found in rows:
        answers = [found["parts"].get(part, {}).get(exercise) for part, exercise in columns]
        cells = ["" if answer is None else int(bool(answer["passed"])) for answer in answers]
        table.writerow([name, found["name"], *cells, sum(cell for cell in cells if cell != "")])
    return text.getvalue()
