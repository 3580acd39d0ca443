"""One notebook in a process of its own, which ``parallel`` starts: papermill changes the folder of its process."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path

from ..base.files import write_atomically
from .execute import execute


def attempt(part: str, settings: dict) -> tuple[Path | None, bool, str]:
    """The executed file, whether it had to run, and what went wrong in words."""
    try:
        return *execute(part, **settings), ""
    except Exception as error:
        kept = settings["out"] / f"{part}.failed.ipynb"
        shown = f"\n{kept} shows where." if type(error).__name__ == "PapermillExecutionError" else ""
        return None, False, f"{error}{shown}"


def work(task: str) -> None:
    """Run a notebook and write what ``attempt`` returns.

    Args:
        task: as JSON: part, settings, and answer, the file to write.
    """
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    told = json.loads(task)
    path, ran, error = attempt(told["part"], {**told["settings"], "out": Path(told["settings"]["out"])})
    answer = [None if path is None else str(path), ran, error]
    write_atomically(Path(told["answer"]), json.dumps(answer).encode())


def _leave_with_parent() -> None:
    """When the process that started this one is killed, leave at once: two runs must not write one file."""
    with suppress(OSError):
        os.read(0, 1)  # nothing is ever sent: this returns when the other end of the pipe has closed
    os._exit(1)
