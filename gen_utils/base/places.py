"""Where things lie: the workbook's own folders, and those a user chooses with an environment variable."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the workbook's folder; where it is installed as a package, site-packages
NOTEBOOKS = ROOT / "notebooks"
RESULTS = ROOT / "results"
CHECKPOINTS = ROOT / "checkpoints"
BUILD = ROOT / "_build"
BOOK = ROOT / "book"
BENCHMARKS = ROOT / "benchmarks" / "results"


def chosen_folder(variable: str) -> Path | None:
    """The folder or file that an environment variable names, ``~`` expanded; None where it is unset or empty.

    Raises:
        ValueError: it begins with ``~``, and this system knows of no home folder.
    """
    named = os.environ.get(variable, "").strip()
    try:
        return Path(named).expanduser() if named else None
    except RuntimeError:
        raise ValueError(f"{variable} is {named}, and no home folder is known here; give the whole path") from None


def runs_root() -> Path:
    """Where runs lie: $GEN_RUNS, else ./runs."""
    return chosen_folder("GEN_RUNS") or Path("runs")
