"""Keeping a long run: its outputs, made small, go to ``results/PART.PROFILE/`` (``kept_runs`` reads them)."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..base import small_outputs
from ..base.files import plain_write_errors
from ..base.places import NOTEBOOKS, RESULTS, ROOT
from ..base.sources import text_hash
from ..kept_runs import FORMAT, LIMIT, LONG, KeptRun, file_hash
from ..report import MIME, records
from .cell_keys import cell_keys

STUDY = re.compile(r"""\bstudy\(\s*["']([^"']+)["']""")


def keep_outputs(executed: Path) -> Path:
    """Write what an executed notebook has shown to ``results/PART.PROFILE/``, whole or not at all; returns the folder.

    Raises:
        ValueError: a profile that is not kept, a notebook that is not the present one's run, or outputs that are too
            large; the message says which cells are the largest.
        CannotWrite: the disk is full or read-only; what was kept before is still there.
    """
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    run, part = notebook["metadata"]["gen_utils"], executed.stem
    if run["profile"] not in LONG:
        raise ValueError(f"a {run['profile']} run is not kept; known: {', '.join(LONG)}")
    cells = [
        cell
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and "injected-parameters" not in cell["metadata"].get("tags", ())
    ]
    sources = code_cells(part)
    keys = cell_keys(sources, run["profile"])
    if cell_keys(["".join(cell["source"]) for cell in cells], run["profile"]) != keys:
        raise ValueError(f"{executed} is a run of another version of {part}.py; run it again")
    about = {"part": part, **{name: run[name] for name in ("profile", "seed", "seconds")}}
    about["earlier_seconds"] = records(notebook).get("earlier_seconds", 0.0)
    target = RESULTS / f"{part}.{run['profile']}"
    RESULTS.mkdir(exist_ok=True)
    with plain_write_errors(target), tempfile.TemporaryDirectory(dir=RESULTS, prefix=".keeping-") as name:
        for qualities in small_outputs.QUALITIES:
            folder = Path(name) / f"{target.name}.{qualities[0]}"
            folder.mkdir()
            held: dict[str, list[dict]] = {}
            studies: dict[str, str] = {}
            weights: dict[int, int] = {}
            for i, (key, cell) in enumerate(zip(keys, cells, strict=True)):
                shown = [output for output in cell["outputs"] if for_readers(output)]
                held[key] = [small_outputs.packed(o, folder, f"cell{i:02}-{j}", qualities) for j, o in enumerate(shown)]
                studies |= dict.fromkeys(STUDY.findall(sources[i]), key)
                weights[i] = sum(path.stat().st_size for path in folder.glob(f"cell{i:02}-*"))
            files = {path.name: file_hash(path) for path in sorted(folder.iterdir())}
            whole = {
                "format": FORMAT,
                "about": {**about, "data": run["made_from"]["data"], **run["made"]},
                "cells": held,
                "texts": {text_hash(source): key for source, key in zip(sources, held, strict=True)},
                "studies": studies,
                "files": files,
                "modules": run["made_from"]["modules"],
            }
            text = nowhere(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", run["data_root"])
            (folder / "outputs.json").write_text(text, encoding="utf-8")
            size = sum(path.stat().st_size for path in folder.iterdir())
            if size <= LIMIT:
                break
        else:
            raise ValueError(_too_large(part, size, weights, sources))
        if target.exists():
            os.replace(target, Path(name) / "before")
        os.replace(folder, target)
    return target


def nowhere(text: str, data_root: str) -> str:
    """JSON without the folders of the machine on which a notebook ran: its data, the workbook, the user's own."""
    for folder, told in ((data_root, "data"), (str(ROOT), "."), (str(Path.home()), "~")):
        if Path(folder).is_absolute():
            text = text.replace(json.dumps(folder, ensure_ascii=False)[1:-1].rstrip("/\\"), told)
    return text


def for_readers(output: Mapping) -> bool:
    """Is this output part of the chapter? Not what a notebook records, nor a warning, which is for those who run it."""
    return MIME not in output.get("data", {}) and output.get("name") != "stderr"


def _too_large(part: str, size: int, weights: Mapping[int, int], sources: list[str]) -> str:
    largest = sorted(weights, key=lambda i: -weights[i])[:3]
    told = "; ".join(f"{weights[i]:,} bytes of the cell that begins {sources[i].splitlines()[0]!r}" for i in largest)
    return f"the outputs of {part} have {size:,} bytes, more than the {LIMIT:,} that are kept: {told}. Show less there."


def code_cells(part: str) -> list[str]:
    """The sources of a notebook's code cells."""
    import jupytext

    return [cell.source for cell in jupytext.read(NOTEBOOKS / f"{part}.py").cells if cell.cell_type == "code"]


def stale_cells(run: KeptRun) -> list[str]:
    """The first lines of the notebook's cells that the kept run does not have as they are now."""
    sources = code_cells(run.about["part"])
    keys = cell_keys(sources, run.about["profile"])
    return [first_line(source) for source, key in zip(sources, keys, strict=True) if key not in run.cells]


def first_line(source: str) -> str:
    """The first line of a cell that says something."""
    return next((line for line in source.splitlines() if line.strip() and not line.startswith("#")), source[:60])
