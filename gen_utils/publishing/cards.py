"""A chapter as the book shows it: the long run's outputs in their cells, and a reader's own run beside them.

The result is an ordinary notebook. Where both runs show something, and not the same, the own run's outputs follow in a
cell of their own, folded, with the tag ``own-run``; book/_static/workbook.css makes two cards of them.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from ..base.places import NOTEBOOKS
from ..data import CATALOG
from ..kept_runs import LONG, Damaged, KeptRun, command, find
from ..report import COMPARISON, KIND, MIME, NOTE
from .captions import captioned
from .cell_keys import cell_keys
from .identity import depends_on
from .openings import opened

LONG_RUN, OWN_RUN = "long-run", "own-run"
_FRAME = re.compile(r"data:image/\w+;base64,([A-Za-z0-9+/=\\\n]+)")


def chapter(part: str, own: Path | None = None) -> dict:
    """The notebook of a part, in JSON's terms, with the kept run's outputs and those of the reader's own run.

    Args:
        own: an executed notebook of the present source; None: only what is kept is shown.
    """
    try:
        kept, problem = find(part), ""
    except Damaged as error:
        kept, problem = None, str(error)
    notebook = _source(part) if own is None else json.loads(own.read_text(encoding="utf-8"))
    run = notebook["metadata"].get("gen_utils")
    if run and run["profile"] in LONG:  # the own run is a long one: it is the page
        kept = None
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and not _injected(cell)]
    keys = cell_keys(["".join(cell["source"]) for cell in cells], kept.about["profile"]) if kept else [""] * len(cells)
    after: dict[int, dict] = {}
    prompt, missing = _prompt(part, run) if run else "", 0
    for cell, key in zip(cells, keys, strict=True):
        long = kept.outputs(key) if kept else None
        if kept and long is None:
            missing += 1
        if beside := _show(cell, long, prompt):
            after[id(cell)] = beside
    told = "\n\n".join(_told(part, kept, problem, missing, run))
    merged = []
    for cell in notebook["cells"]:
        merged.append(cell)
        if beside := after.get(id(cell)):
            merged.append(beside)
    notebook["cells"] = [piece for cell in merged for piece in captioned(cell)]
    opened(part, notebook, told)
    return notebook


def _source(part: str) -> dict:
    """A notebook that has not been run."""
    import jupytext
    import nbformat

    notebook = jupytext.read(NOTEBOOKS / f"{part}.py")
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"  # jupytext's differ each time
    return json.loads(nbformat.writes(notebook))


def _injected(cell: dict) -> bool:
    return "injected-parameters" in cell["metadata"].get("tags", ())


def _prompt(part: str, run: Mapping) -> str:
    """What a folded output says: a badge, where a reader's run had to do without the real data."""
    badge = ", on built-in data" if _stand_ins(part, run) else ""
    return f"Your own run ({run['profile']}{badge})"


def _show(cell: dict, long: list[dict] | None, prompt: str) -> dict | None:
    """Put the outputs to be seen into a cell; returns a cell for the own run's, where both are to be seen.

    Args:
        prompt: what the own run's cell says while it is folded; empty without such a run.
    """
    tags = cell["metadata"].get("tags", [])
    own = [output for output in cell["outputs"] if not _unseen(output)]
    # A check's answer is the reader's; the last table has the long run's numbers in a column of its own.
    only_own = "check" in tags or any(output.get("metadata", {}).get(KIND) == COMPARISON for output in own)
    if not long or (own and only_own):
        return None
    cell["outputs"] = [output for output in cell["outputs"] if MIME in output.get("data", {})] + long
    if not prompt or not own or alike(long, own):
        return None
    cell["metadata"]["tags"] = [*tags, LONG_RUN]
    return {
        "cell_type": "code",
        "execution_count": cell["execution_count"],
        "id": f"{cell['id']}-own"[-64:],
        "metadata": {
            "tags": [*(tag for tag in tags if tag == "solution"), "remove-input", "hide-output", OWN_RUN],
            "mystnb": {"code_prompt_show": prompt, "code_prompt_hide": prompt},
        },
        "outputs": own,
        "source": "# the own run's output of the cell above",
    }


def _unseen(output: Mapping) -> bool:
    """A record, or the note on where a study's kept output comes from, which the page says under its title."""
    return MIME in output.get("data", {}) or output.get("metadata", {}).get(KIND) == NOTE


def alike(some: Sequence[Mapping], others: Sequence[Mapping]) -> bool:
    """Do two lists of outputs show the same? Pictures and films may differ by what making them small has changed."""
    return len(some) == len(others) and all(_same(a, b) for a, b in zip(some, others, strict=True))


def _same(one: Mapping, other: Mapping) -> bool:
    if one["output_type"] != other["output_type"] or "".join(one.get("text", "")) != "".join(other.get("text", "")):
        return False
    a, b = ({kind: "".join(text) for kind, text in out.get("data", {}).items()} for out in (one, other))
    if a.keys() != b.keys():
        return False
    for kind in a.keys() - {"text/plain"}:
        if kind == "image/png":
            if not _look_alike(a[kind], b[kind]):
                return False
        elif kind == "text/html" and _FRAME.search(a[kind]):
            frames = [_FRAME.findall(html) for html in (a[kind], b[kind])]
            if len(frames[0]) != len(frames[1]) or not _look_alike(frames[0][-1], frames[1][-1]):
                return False
        elif a[kind] != b[kind]:
            return False
    return True


def _look_alike(one: str, other: str) -> bool:
    """Two pictures in base64, within what lossy storing changes."""
    import numpy as np
    from PIL import Image

    found = []
    for text in (one, other):
        with Image.open(io.BytesIO(base64.b64decode(text.replace("\\\n", "")))) as picture:
            found.append(np.asarray(picture.convert("RGB"), dtype=np.float32))
    return found[0].shape == found[1].shape and float(np.abs(found[0] - found[1]).mean()) < 2.0


def _told(part: str, kept: KeptRun | None, problem: str, missing: int, run: dict | None) -> list[str]:
    """What the page says under its title: which run it shows, and how to make it again."""
    own = None if run is None else f"profile `{run['profile']}`, {_duration(run['seconds'])}, {_data_of(part, run)}"
    long = f"`{command(part)}`"
    if kept is None:
        if problem:
            said = [f"**The long run of this chapter cannot be shown**: {problem}."]
        elif run and run["profile"] in LONG:
            return [f"**This page shows a long run**: {own}."]
        else:
            said = [f"**No long run of this chapter is kept yet.** {long} makes one."]
        return [*said, f"What you see is **your own run**: {own}." if own else "It has not been run here either."]
    about, machine = kept.about, kept.about["machine"]
    told = [
        f"**This page shows the long run**: {_data(about['data'])}; profile `{about['profile']}`, "
        f"{_duration(kept.whole_seconds)}{_in_sittings(about)} on {machine.get('gpu') or machine['cpu']}, "
        f"{machine['threads']} of {machine['cores']} cores, {_day(about['date'])}, seed {about['seed']}"
        + (f", commit {about['commit']}" if about["commit"] else "")
        + f". Make it again: `{kept.command}`."
    ]
    if own:
        told.append(f"**Your own run** stands beside it, folded, in a dashed frame: {own}.")
    if missing:
        cells = "One cell has" if missing == 1 else f"{missing} cells have"
        told.append(f"{cells} changed since the long run, which shows nothing there.")
    return told


def _in_sittings(about: Mapping) -> str:
    """Which part of the time was an earlier sitting's; nothing where it is not a twentieth of the whole."""
    earlier = about["earlier_seconds"]
    worth_telling = earlier > 0.05 * (about["seconds"] + earlier)
    return f" ({_duration(earlier)} of them in earlier sittings)" if worth_telling else ""


def _data_of(part: str, run: Mapping) -> str:
    return _data(_found(part, run))


def _found(part: str, run: Mapping) -> dict[str, bool]:
    """Which datasets of a run are here; those of the others that can be built in stand in for them."""
    found = depends_on(part, run["profile"], run["data_root"], run["seed"])["data"]
    return {name: place is not None for name, place in found.items()}


def _stand_ins(part: str, run: Mapping) -> bool:
    return any(not here and name in CATALOG and CATALOG[name].stand_in for name, here in _found(part, run).items())


def _data(found: Mapping[str, bool]) -> str:
    """Real datasets by their titles, built-in ones as what they are and stand for."""
    titles = []
    for name, is_here in found.items():
        dataset = CATALOG.get(name)
        if dataset is None:
            titles.append(name)
        elif is_here or dataset.stand_in is None:
            titles.append(dataset.title)
        else:
            titles.append(f"{CATALOG[dataset.stand_in].title}, standing in for {dataset.title}")
    return ", ".join(dict.fromkeys(titles)) or "no data"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def _day(iso: str) -> str:
    day = date.fromisoformat(iso)
    return f"{day.day} {day:%B %Y}"
