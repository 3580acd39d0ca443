"""The two files of a notebook, .py and .ipynb: JupyterLab shows the cells of the .py file, and saves both.

Jupytext refuses to open a pair whose .ipynb is newer and different. Where the .py file is newer, because it was edited
or pulled, it takes that one, and what somebody wrote into the .ipynb with another program would be gone from both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import jupytext

from ..base.files import write_atomically
from ..base.places import BUILD, NOTEBOOKS


def refuse_both_changed(folder: Path = NOTEBOOKS, memory: Path = BUILD / "pairs.json") -> None:
    """Remember the pairs whose files agree.

    Raises:
        ValueError: both files of a pair have changed since they agreed, each in its own way.
    """
    before = _remembered(memory)
    for name, text, notebook in _pairs(folder):
        if text != notebook and name in before and before[name] not in (text, notebook):
            raise ValueError(
                f"{folder / name}.py and {name}.ipynb have both changed since they agreed, and JupyterLab would keep "
                "what the .py file says. Copy over what you want to keep, and delete the other file"
            )
    remember(folder, memory)


def remember(folder: Path = NOTEBOOKS, memory: Path = BUILD / "pairs.json") -> None:
    """Write down what is in the pairs that agree."""
    agree = {name: text for name, text, notebook in _pairs(folder) if text == notebook}
    memory.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(memory, json.dumps(_remembered(memory) | agree, indent=1).encode())


def _remembered(memory: Path) -> dict[str, str]:
    try:
        found = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _pairs(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Name and what stands in the cells, as a hash, of the .py and of the .ipynb file."""
    for text in sorted(folder.glob("[0-9]*.py")):
        notebook = text.with_suffix(".ipynb")
        if notebook.exists():
            yield text.stem, _cells(text), _cells(notebook)


def _cells(path: Path) -> str:
    try:
        cells = [[cell.cell_type, cell.source.strip()] for cell in jupytext.read(path).cells]
    except Exception as error:  # whatever jupytext and nbformat make of a damaged file
        raise ValueError(f"{path} is not a whole notebook; delete it, or put a good copy in its place") from error
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()
