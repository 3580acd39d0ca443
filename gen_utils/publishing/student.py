"""The student edition: the notebooks without solutions, and what they need, in one folder to hand out."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

from ..base.files import plain_write_errors
from ..base.places import BOOK, NOTEBOOKS, ROOT
from ..kept_runs import Damaged, find
from .cell_keys import cell_keys
from .chapter_numbers import chapter
from .hosted import add_links, set_up_cell
from .landing import landing_notebook
from .parts import parts
from .plain_markdown import plain_markdown, read_citations
from .repository import Repository, repository

PAGES = {"the glossary": "glossary", "the notation": "notation"}  # of the book, that go along
NOT_SHOWN = {"check", "exercise", "solution"}  # cells whose outputs students make themselves
FOLDED = {"hide-input", "remove-cell"}  # the book folds the first and drops the second
CARRIED = ("gen_utils", "checkpoints", "results", "requirements.txt", "constraints.txt", "LICENSE")

README = """\
# Generative models, a workbook: student edition

You write the heart of each model; a check tells you what is still wrong.

## Once

Python 3.11 or newer (`python3 --version`), up to 6 GB of disk, and a network. In this folder:

```
python3 -m venv .venv
.venv/bin/python -m pip install -r requirements.txt -c constraints.txt
```

(on Windows: `py -m venv .venv`, then `.venv\\Scripts\\python` wherever it says `.venv/bin/python`).

## Each time

```
.venv/bin/python -m gen_utils lab
```

opens JupyterLab at `start_here.ipynb`, which links the parts, the glossary and the notation, and counts what you have
solved. Exercises, equations and algorithms have their numbers from the book. Run a notebook from the top. At each
exercise, replace the line `raise NotImplementedError`, run the cell, and run the check below it. "Run All" stops at the
first exercise that is not solved yet; solve it, and go on with "Run Selected Cell and All Below" (menu Run).

Imports and the code around the figures are folded to a bar: click it to read them. Without the real data, built-in sets
stand in, and the titles say so; every exercise and every check is the same. A finished training is kept in `runs/` and
loaded by the next run; delete that folder to train afresh.

Change `profile = "quick"` near the top to `"laptop"` for real data and longer training;
`.venv/bin/python -m gen_utils data` says how to get the data. Leave `ship = False`: it is for those who make the
trained models that come with the course.

The last table of a notebook has three columns of results: *reported* by a paper, or by the assignment the part grew
from; *long run*, from a longer run of this notebook; and *this run*, yours.

## When you hand in

Save the notebooks with their outputs, then

```
.venv/bin/python -m gen_utils checks --name "Your Name" --out my_checks.json
```

writes what each check said last, and names a notebook that it cannot read. A copy of a notebook counts with the one
it was made from: an exercise is solved when one of them solves it. Hand in that file together with your notebooks.
"""


def student_notebook(part: str, address: Repository | None = None) -> NotebookNode:
    """One part without solutions, in plain Markdown; each check stops "Run All" until it passes.

    Where a long run is kept, cells hold its outputs, so that a student sees what to expect; but for the checks. What
    the book folds is folded in JupyterLab, too, and the marks for our own tools are gone.

    Args:
        address: where the workbook lives in public; then the notebook has its links, and sets itself up where it is
            opened alone.
    """
    notebook = jupytext.read(NOTEBOOKS / f"{part}.py")
    kept = _expect(part, [cell for cell in notebook.cells if cell.cell_type == "code"])
    notebook.cells = [cell for cell in notebook.cells if "solution" not in cell.metadata.get("tags", ())]
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    citations = read_citations(ROOT / "book" / "references.bib")
    number = chapter(f"notebooks/{part}")
    for cell, text in zip(prose, plain_markdown([cell.source for cell in prose], citations, number), strict=True):
        cell.source = text
    if kept:
        prose[0].source = re.sub(r"^(# .+\n)", lambda title: f"{title[1]}\n> {kept}\n", prose[0].source, count=1)
    if address is not None:
        prose[0].source = add_links(prose[0].source, f"notebooks/{part}", address)
        first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
        notebook.cells.insert(first, set_up_cell(address))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(r" *# (?:fmt: |noqa).*$", "", cell.source, flags=re.M)
            cell.source = cell.source.replace("`make lab`", "`python -m gen_utils lab`")  # no Makefile goes along
        if FOLDED & set(cell.metadata.get("tags", ())):
            cell.metadata["jupyter"] = {"source_hidden": True}
        if "check" in cell.metadata.get("tags", ()):
            cell.source = re.sub(r"^(checks\.\w+\(.*\))$", r"\1.or_stop()", cell.source, flags=re.M)
    notebook.cells = [cell for cell in notebook.cells if cell.source]
    for i, cell in enumerate(notebook.cells):
        cell.id = f"{part[:2]}-{i:03d}"  # the same sources give the same file
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "gen_utils": {"part": part},  # a copy under another name still says of what
    }
    return notebook


def _expect(part: str, cells: list[NotebookNode]) -> str:
    """Put the kept long run's outputs into the cells; returns what to say of them, or nothing where none is kept."""
    try:
        run = find(part)
    except Damaged:
        run = None  # the book says why
    if run is None:
        return ""
    for cell, key in zip(cells, cell_keys([cell.source for cell in cells], run.about["profile"]), strict=True):
        if not NOT_SHOWN & set(cell.metadata.get("tags", ())):
            cell.outputs = [nbformat.from_dict(output) for output in run.outputs(key) or ()]
    return (
        f"What you see below the cells is the long run ({run.words}): what to expect. Run a cell, and your own output "
        "takes its place."
    )


def page(name: str) -> NotebookNode:
    """A page of the book as a notebook without code, so that JupyterLab opens it as a page."""
    (text,) = plain_markdown([(BOOK / f"{name}.md").read_text(encoding="utf-8")], {})
    notebook = new_notebook(cells=[new_markdown_cell(text, id=name)])
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return notebook


def write_student_edition(out: Path) -> list[Path]:
    """Write the student edition into a new folder; returns the notebooks.

    Raises:
        FileExistsError: the folder is not empty; nobody's answers are overwritten.
        ValueError: the folder lies in one that goes along itself.
        CannotWrite: the disk is full or read-only.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not an empty folder; name a new one, so that nobody's answers are lost")
    if any(out.is_relative_to(ROOT / name) for name in CARRIED):
        raise ValueError(f"{out} lies in a folder that is copied into it; name one elsewhere")
    with plain_write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{out.name}.", suffix=".partial", dir=out.parent) as work:
            (edition := Path(work) / out.name).mkdir()  # with everybody's permissions, not a temporary folder's
            notebooks = _write(edition)
            if out.exists():
                out.rmdir()
            edition.rename(out)
    return [out / "notebooks" / f"{part}.ipynb" for part in notebooks]


def _write(work: Path) -> list[str]:
    """Fill a folder; returns the parts."""
    (work / "notebooks").mkdir()
    for name in CARRIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__", "*.partial"))
        else:
            shutil.copyfile(ROOT / name, work / name)
    (work / "README.md").write_text(README, encoding="utf-8")
    address = repository()
    notebooks = {part: student_notebook(part, address) for part in parts()}
    for part, notebook in notebooks.items():
        nbformat.write(notebook, work / "notebooks" / f"{part}.ipynb")
    for name in PAGES.values():
        nbformat.write(page(name), work / "notebooks" / f"{name}.ipynb")
    more = {shown: f"{name}.ipynb" for shown, name in PAGES.items()}
    nbformat.write(landing_notebook(work / "notebooks", more), work / "notebooks" / "start_here.ipynb")
    return list(notebooks)
