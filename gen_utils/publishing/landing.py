"""The notebook that JupyterLab opens first: what the parts are, and what stands in each."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

WELCOME = """\
# Generative models, a workbook

Each part is one notebook. Run it from the top; at an exercise, replace the line `raise NotImplementedError`,
run the cell, and run the check below it.

The texts call the parts by their letters. A code behind a heading, such as (S3), is a letter and a number: one of that
part's goals.

| part | letter | exercises |
|---|---|---|
"""


def landing_notebook(notebooks: Mapping[str, NotebookNode]) -> NotebookNode:
    """A notebook with one row a part: its title as a link, its letter, and how many exercises it has.

    Args:
        notebooks: name -> the part's notebook, in the order of the course.
    """
    rows = []
    for name, notebook in notebooks.items():
        prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        title = re.search(r"^# (.+)$", prose, re.M)
        letter = re.search(r"^## .*\(([A-Z])\d", prose, re.M)  # of the first goal that a heading names
        checks = sum("check" in cell.metadata.get("tags", ()) for cell in notebook.cells)
        link = f"[{name.split('_')[0]} · {title[1] if title else name}]({name}.ipynb)"
        rows.append(f"| {link} | {letter[1] if letter else ''} | {checks} |")
    page = new_notebook(cells=[new_markdown_cell(WELCOME + "\n".join(rows), id="welcome")])
    page.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return page
