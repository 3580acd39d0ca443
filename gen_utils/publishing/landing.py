"""The notebook that JupyterLab opens first: what the parts are, and how far its reader has come."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ..base.places import NOTEBOOKS
from .gradebook import Answers, export_checks

WELCOME = """\
# Generative models, a workbook

Each part is one notebook. Run it from the top; at an exercise, replace the line `raise NotImplementedError`,
run the cell, and run the check below it.

The texts call the parts by their letters. A code behind a heading, such as (S3), is a letter and a number: one of that
part's goals."""

BEHIND = """\
Run the cell above to count again: it reads the notebooks as they were saved last."""

COUNT = """\
import sys

sys.path.insert(0, "..")
from gen_utils.publishing.landing import show_progress

show_progress()"""


def landing_notebook(folder: Path = NOTEBOOKS, more: Mapping[str, str] | None = None) -> NotebookNode:
    """A notebook with one row a part: its title as a link, its letter, and how many of its exercises are solved.

    Args:
        folder: with the parts' .ipynb files. more: shown name -> file beside them, of further pages to link.
    """
    table = new_output("display_data", {"text/markdown": progress(folder), "text/plain": progress(folder)})
    cells = [
        new_markdown_cell(WELCOME, id="welcome"),
        new_code_cell(COUNT, id="progress", outputs=[table], metadata={"jupyter": {"source_hidden": True}}),
        new_markdown_cell(BEHIND, id="again"),
    ]
    if more:
        links = ", ".join(f"[{name}]({file})" for name, file in more.items())
        cells.append(new_markdown_cell(f"At hand while you read: {links}.", id="more"))
    page = new_notebook(cells=cells)
    page.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return page


def progress(folder: Path = NOTEBOOKS) -> str:
    """The table of the parts in a folder, as Markdown; what is solved is what the checks in the saved notebooks say."""
    answers = _answers(folder)
    rows = ["| part | letter | exercises |", "|---|---|---|"]
    done = asked = 0
    for path in sorted(folder.glob("[0-9]*_*.ipynb")):
        try:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
            checks = sum("check" in cell["metadata"].get("tags", ()) for cell in cells)
        except (ValueError, LookupError, TypeError, AttributeError):
            rows.append(f"| [{path.stem}]({path.name}) | | cannot be read: open it and save it again |")
            continue
        title = re.search(r"^# (.+)$", prose, re.M)
        if title is None or not checks or not re.fullmatch(r"\d+_\w+", path.stem):
            continue  # a reader's own notebook, or a copy, whose answers count with the part's
        letter = re.search(r"^## .*\(([A-Z])\d", prose, re.M)  # of the first goal that a heading names
        solved = sum(answer is not None and answer["passed"] for answer in answers.get(path.stem, {}).values())
        done, asked = done + solved, asked + checks
        link = f"[{path.stem.split('_')[0]} · {title[1]}]({path.name})"
        rows.append(f"| {link} | {letter[1] if letter else ''} | solved {solved} of {checks} |")
    return "\n".join([*rows, f"| all | | **solved {done} of {asked}** |"])


def show_progress() -> None:
    """Show the table of the folder in which the notebook runs."""
    from IPython.display import Markdown, display

    display(Markdown(progress(Path.cwd())))


def _answers(folder: Path) -> dict[str, Answers]:
    try:
        return export_checks(folder)["parts"]
    except ValueError:  # nothing has been run yet
        return {}
