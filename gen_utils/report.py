"""What a notebook reports: recorded values, computed sentences and tables.

Everything works in three places: in a notebook, in the HTML book, and printed by a plain script.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence

from . import beside, kept_runs
from .base.frontend import in_notebook
from .base.places import RESULTS
from .base.plain import finite_or_none, plain
from .base.sittings import earlier_seconds

MIME = "application/vnd.gen-utils.record+json"
KIND = "gen_utils"  # in an output's metadata: what it is
COMPARISON, NOTE, FIGURE, CAPTION = "a comparison", "a note", "a figure", "a caption"
_recorded: dict[str, object] = {}


def record(name: str, value) -> None:
    """Keep one result under a name: a number, a string, or lists and dictionaries of them.

    The value becomes part of the executed .ipynb (read it back with ``records``).

    A number that is not finite is kept as None: JSON has no word for it, and the book shows a dash.

    With ``notebook_seconds``, the last of a notebook, go the seconds of what it found on disk: ``earlier_seconds``.

    Raises:
        TypeError: a value that JSON cannot hold; convert tensors with .item() or .tolist().
    """
    held = finite_or_none(plain(value))
    try:
        json.dumps(held)
    except TypeError:
        raise TypeError(f"{name} is a {type(value).__name__}; record numbers, strings, lists or dictionaries") from None
    _recorded[name] = held
    if in_notebook():
        from IPython.display import display

        # Only the private type: the value travels with the notebook and nothing is drawn.
        # As text: who saves a notebook sorts the keys of its objects, and a table would lose the order of its columns.
        display({MIME: json.dumps({"name": name, "value": held})}, raw=True)
    if name == "notebook_seconds":
        record("earlier_seconds", round(earlier_seconds(), 1))


def recorded() -> dict[str, object]:
    """All that this process has recorded so far."""
    return dict(_recorded)


def records(notebook: Mapping) -> dict[str, object]:
    """All that an executed notebook (the parsed .ipynb) recorded, by name."""
    found = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            entry = output.get("data", {}).get(MIME)
            if entry is not None:
                entry = json.loads("".join(entry)) if isinstance(entry, (str, list)) else entry
                found[entry["name"]] = entry["value"]
    return found


def kept(part: str, beside: str = "quick") -> dict | None:
    """The best profile's kept results of a part (full, else laptop), or None.

    Args:
        beside: the profile of the run that asks. A long run is itself what is kept: it gets None.
    """
    if beside in ("full", "laptop"):
        return None
    for profile in ("full", "laptop"):
        path = RESULTS / f"{part}.{profile}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
    return None


def studies(part: str, profile: str) -> Callable[[str], bool]:
    """Makes the question that begins the cell of a long study: does it run here?

        study = report.studies("02_ebm_mnist", profile)
        if study("ablation"):
            ...

    In ``quick`` the answer is no, and what this cell has shown in the kept long run is shown in its place. No other
    cell of the notebook may give the same name: under it the press keeps what the cell shows. Below every other cell
    that a reader runs in ``quick``, what the long run has shown there can be unfolded from then on.

    Args:
        part: the notebook.
    """

    if profile == "quick":
        beside.show_long_run(part)

    def study(name: str) -> bool:
        if profile != "quick":
            return True
        try:
            run, problem = kept_runs.find(part), "no long run of this chapter is kept"
        except kept_runs.Damaged as error:
            run, problem = None, str(error)
        how = 'put `profile = "laptop"` near the top, or run'
        if run is None or name not in run.studies:
            problem = problem if run is None else "the kept long run has not made it"
            command = kept_runs.command(part)
            say(f"*A long study, which `quick` leaves out; {problem}. To run it, {how} `{command}`.*", what=NOTE)
            return False
        say(
            f"*From the long run ({run.words}); `quick` does not repeat it. "
            f"To run it yourself, {how} `{run.command}`.*",
            what=NOTE,
        )
        for output in run.outputs(run.studies[name]) or ():
            _show(output)
        return False

    return study


def _show(output: Mapping) -> None:
    """An output of another run, as in an .ipynb."""
    if output["output_type"] == "stream":
        print("".join(output["text"]), end="")
    elif in_notebook():
        from IPython.display import display

        data = {kind: "".join(value) if isinstance(value, list) else value for kind, value in output["data"].items()}
        display(data, raw=True, metadata=output.get("metadata", {}))
    else:
        shown = output["data"].get("text/markdown") or output["data"].get("text/plain", "")
        print("".join(shown))


def say(text: str, *, what: str = "a sentence") -> None:
    """Show a computed sentence: rendered as Markdown in a notebook, printed in a script.

    Args:
        what: is said; it goes along with the output, so that the book finds a chapter's last table again.
    """
    if in_notebook():
        from IPython.display import Markdown, display

        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].show()  # the cell's figures first, then what is said of them
        display(Markdown(text), metadata={KIND: what})
    else:
        print(text)


def figure(caption: str, alt: str, *, name: str = "") -> None:
    """Show the Matplotlib figure drawn last, numbered in the book, with a caption below it.

    Args:
        caption: Markdown. It begins with what the figure shows, computed where it holds numbers, and says where the
            figure comes from: which data, which run, which model.
        alt: what there is to be seen, for readers who cannot see it; no Markdown.
        name: a label such as "fig-chains", for {numref} in the text.

    Raises:
        ValueError: no caption, no description, or no figure.
    """
    if not caption.strip() or not alt.strip():
        raise ValueError("a figure needs a caption and a description in words; one of the two is empty")
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not pyplot.get_fignums():
        raise ValueError("nothing has been drawn; call figure() after the functions that draw")
    if not in_notebook():
        print(caption)
        return
    from IPython.core.pylabtools import print_figure
    from IPython.display import display

    drawn = pyplot.gcf()
    picture = print_figure(drawn, "png", base64=True)
    pyplot.close(drawn)  # else the notebook would show it once more at the cell's end
    told = {KIND: FIGURE, "caption": caption, "alt": alt, "name": name}
    display({"image/png": picture, "text/plain": alt}, metadata=told, raw=True)
    say(caption, what=CAPTION)


def table(rows: Sequence[Mapping], caption: str = "") -> None:
    """Show rows (one mapping each, the first one's keys are the header) as a Markdown table.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("a table needs at least one row; say what was not found in a sentence")
    header = list(rows[0])
    lines = [f"| {' | '.join(map(_cell, header))} |", f"|{'|'.join('---' for _ in header)}|"]
    lines += [f"| {' | '.join(_cell(row.get(key, '')) for key in header)} |" for row in rows]
    # A column for this run beside others: the chapter's last table, which the book gathers.
    what = COMPARISON if any(str(key).startswith("this run (") for key in header) else "a table"
    say("\n".join(([f"**{caption}**", ""] if caption else []) + lines), what=what)


def comparison(
    kept: Mapping, profile: str, *, form: str = "{:.1f}", first: str = "reported", second: str = "long run"
) -> Callable[..., dict]:
    """Makes the rows of a chapter's last table: what is reported elsewhere, what a kept run has, what this run has.

    Args:
        kept: the records of the kept run, or an empty mapping, which leaves its column out; profile: of this run;
            form: how numbers are written, unless a row says otherwise; first, second: the headings of the first two
            columns.

    Returns:
        ``row(label, what, reported="–", form=form)``: ``what`` is the name of a record, or a function of all records.
        What a run did not record, or recorded as nothing, is a dash.
    """

    def row(label: str, what: str | Callable, reported: str = "–", form: str = form) -> dict:
        def show(records: Mapping) -> str:
            try:
                value = what(records) if callable(what) else records[what]
            except (KeyError, TypeError):
                return "–"
            return "–" if value is None else form.format(value)

        long = {second: show(kept)} if kept else {}
        return {"quantity": label, first: reported, **long, f"this run ({profile})": show(_recorded)}

    return row


def _cell(value) -> str:
    value = plain(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return "not finite"
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "–" if value is None else str(value).replace("|", r"\|")  # a bare one would end the cell
