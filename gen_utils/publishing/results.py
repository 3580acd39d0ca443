"""Kept results: what a run recorded, as ``results/PART.PROFILE.json``; ``report.kept`` reads them."""

from __future__ import annotations

import json
from pathlib import Path

from ..base.files import write_atomically
from ..base.machine import provenance
from ..base.places import RESULTS
from ..report import records


def keep_results(executed: Path) -> Path:
    """Write what an executed notebook recorded to ``results/PART.PROFILE.json``."""
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    run = notebook["metadata"]["gen_utils"]
    kept = {name: run[name] for name in ("profile", "seed", "seconds", "made") if name in run}
    return keep_records({"part": executed.stem, **kept, "records": records(notebook)})


def keep_records(run: dict) -> Path:
    """Write a run's records to ``results/PART.PROFILE.json``, with the day, the commit and the machine of the run."""
    told = {name: value for name, value in run["records"].items() if not name.startswith("check/")}
    about = {name: run[name] for name in ("part", "profile", "seed", "seconds")}
    result = {**about, **(run.get("made") or provenance()), "records": told}
    path = RESULTS / f"{run['part']}.{run['profile']}.json"
    RESULTS.mkdir(exist_ok=True)
    write_atomically(path, (json.dumps(result, indent=1, ensure_ascii=False) + "\n").encode())
    return path
