"""What a student's notebook gets where the workbook has an address: its links, and a first cell that sets it up."""

from __future__ import annotations

from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from .repository import Repository

CELL = Path(__file__).with_name("set_up_cell.py")
TAGS = ["remove-cell", "set-up"]  # folded in JupyterLab, like the cell after it


def add_links(title: str, page: str, repository: Repository) -> str:
    """A notebook's first cell, which begins with its title, with the page's links below the title."""
    heading, _, rest = title.partition("\n")
    links = repository.links(page, heading.removeprefix("# "))
    return f"{heading}\n\n{' · '.join(f'[{link.text}]({link.url})' for link in links)}\n{rest}"


def set_up_cell(repository: Repository) -> NotebookNode:
    """The cell that fetches the release and installs what is missing, where the notebook stands alone."""
    text = CELL.read_text(encoding="utf-8").rstrip()
    return new_code_cell(f'{text}\n\n\nset_up("{repository.archive}")', metadata={"tags": list(TAGS)})
