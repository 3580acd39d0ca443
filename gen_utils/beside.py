"""In JupyterLab: below a cell that a reader has run, what the long run has shown there, to be unfolded."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from . import kept_runs
from .base.frontend import can_show_widgets
from .base.sources import text_hash

_FRAME = "border:1px solid #0072b2;border-top:3px solid #0072b2;border-radius:6px;padding:2px 10px;margin-top:6px"


def show_long_run(part: str) -> None:
    """From now on, show the long run's pictures and tables below the cells that are run; nothing where none is kept.

    In a notebook that somebody looks at alone: the press puts both runs side by side itself.
    """
    if not can_show_widgets():
        return
    from IPython import get_ipython

    try:
        run = kept_runs.find(part)
    except kept_runs.Damaged:
        run = None  # the book says why
    events = get_ipython().events
    for known in list(events.callbacks["post_run_cell"]):
        if isinstance(known, _Below):  # the cell that calls this is run again, or another part is
            events.unregister("post_run_cell", known)
    if run is not None:
        events.register("post_run_cell", _Below(run))


class _Below:
    """What IPython calls after each cell."""

    def __init__(self, run: kept_runs.KeptRun) -> None:
        self.run = run

    def __call__(self, result) -> None:
        from IPython.display import HTML, display

        if result.success and (html := below(self.run, result.info.raw_cell)):
            display(HTML(html))


def below(run: kept_runs.KeptRun, source: str) -> str:
    """What to show below a cell, as HTML that is folded; nothing if the long run has no picture or table of it."""
    try:
        key = run.texts.get(text_hash(source))
    except SyntaxError:  # a magic, for instance
        return ""
    if key is None or key in run.studies.values():  # a study shows it by itself
        return ""
    shown = _drawn(run.cells[key], run.folder)
    if not shown:
        return ""
    summary = escape(f"Long run ({run.words.replace('`', '')})")
    return f'<details style="{_FRAME}"><summary>{summary}</summary>{shown}</details>'


def _drawn(outputs: Sequence[dict], folder: Path) -> str:
    """Pictures and text of a cell; empty where it has neither a picture nor a table."""
    found, worth = [], False
    for output in outputs:
        name = output.get("file", "")
        if name.endswith(".webp"):
            data = base64.b64encode((folder / name).read_bytes()).decode()
            found.append(f'<img style="max-width:100%" alt="from the long run" src="data:image/webp;base64,{data}">')
            worth = True
        elif text := "".join(output.get("data", {}).get("text/markdown", "")):
            from nbconvert.filters.markdown_mistune import markdown2html_mistune

            found.append(markdown2html_mistune(text))
            worth = worth or "|---" in text
    return "".join(found) if worth else ""
