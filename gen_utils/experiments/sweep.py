"""Sweeps: one experiment over a grid of settings and seeds, each cell cached on disk as soon as it is done."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from torch import Tensor
from tqdm.auto import tqdm

from ..base.frontend import interactive
from ..base.places import runs_root
from ..base.plain import finite_or_none, plain
from ..base.sittings import took_before
from ..samplers import ChainDiverged
from ..training.guards import TrainingDiverged
from ..training.runs import changed_code, tell_of_older_code
from .kept import Cell, Study, read_cell, write_cell


def sweep(
    name: str,
    experiment: Callable[..., Mapping],
    cells: Mapping[str, Mapping],
    *,
    seeds: Sequence[int] = (0,),
    **common,
) -> list[Cell]:
    """Run ``experiment(seed=..., **common, **settings)`` for every cell and seed; finished ones come from disk.

    A cell is what it is asked to do: its settings, its seed, and what the experiment does and refers to, the networks,
    data and settings of the notebook included (see ``base.identity``). A changed number anywhere there runs it anew, a
    changed comment does not. Where only the package's own code has changed, the kept result is shown, with one line.

    A run that diverges becomes a cell that says so, and the sweep goes on. Interrupted, it goes on next time with
    the first cell that was not finished.

    With $GEN_JOBS above 1 so many cells run at once, in processes of their own that share the cores (joblib). Inside
    ``joblib.parallel_config(backend="ray", n_jobs=-1)``, or ``"dask"``, they run on that cluster, as many at once as it
    has cores (or as $GEN_JOBS says), if the engine is installed and the folder of results is shared.

    Args:
        name: of the sweep; its results lie in ``runs/sweeps/NAME/``, or under $GEN_RUNS.
        experiment: a function that returns a mapping of numbers, strings, lists, dictionaries and tensors; NumPy's
            numbers count as numbers and its arrays as tensors, and a number that is not finite is kept as None. It gets
            plain settings only (name a kernel, do not pass it), because they are kept beside its result.
        cells: label -> settings that override ``common``.
        seeds: each cell runs once for each.

    Raises:
        TypeError: settings that are not plain numbers, strings, lists, dictionaries, or None; a result that is none of
            these nor a tensor.
        ValueError: a kept file that holds the result of another experiment.
        CannotWrite: the disk is full or read-only; the cells that were finished stay.
    """
    seeds = [_number(seed) for seed in seeds]
    settled = {label: {k: _number(v) for k, v in {**common, **settings}.items()} for label, settings in cells.items()}
    plan = [(label, seed, {**settings, "seed": seed}) for label, settings in settled.items() for seed in seeds]
    folder, study = runs_root() / "sweeps" / name, Study.of(experiment)
    paths = [folder / study.key(settings) for _, _, settings in plan]
    kept = [read_cell(path, label, seed) for (label, seed, _), path in zip(plan, paths, strict=True)]
    older = {file for found in kept if found for file in changed_code(found[1], study.code)}
    tell_of_older_code(folder, sorted(older))
    done = [found and found[0] for found in kept]
    for path, cell in zip(paths, done, strict=True):
        took_before(path, cell.seconds if cell else 0.0)
    waiting = [i for i, cell in enumerate(done) if cell is None]
    engine = _engine(os.environ.get("GEN_JOBS") or None)
    finish = partial(_finish, experiment, study.code)
    with tqdm(total=len(plan), initial=len(plan) - len(waiting), desc=name, disable=not interactive()) as bar:
        if len(waiting) > 1 and effective_n_jobs(engine.n_jobs) > 1:
            # Each cell is written by the process that ran it.
            found = engine(delayed(finish)(i, *plan[i], paths[i]) for i in waiting)
        else:
            found = (finish(i, *plan[i], paths[i]) for i in waiting)
        for i, cell in found:
            done[i] = cell
            bar.set_postfix_str(f"{cell.name}, seed {cell.seed}")
            bar.update()
    return done


def summary(cells: Sequence[Cell], columns: Mapping[str, str], form: str = "{:.3g}", first: str = "variant") -> list:
    """One row a label, for ``report.table``: mean ± standard deviation over the seeds that finished.

    Args:
        columns: heading -> name of a value.
        form: how a number is written.
        first: heading of the labels' column.
    """
    rows = []
    for label in dict.fromkeys(cell.name for cell in cells):
        here = [cell for cell in cells if cell.name == label]
        good = [cell for cell in here if cell.diverged is None]
        row: dict[str, object] = {first: label}
        for heading, key in columns.items():
            values = [cell.values[key] for cell in good if cell.values.get(key) is not None]
            # Where a value is missing, the mean is not to be taken for that over all that finished.
            some = f" ({len(values)} of {len(good)})" if len(values) < len(good) else ""
            row[heading] = _spread(values, form) + some if values else ("diverged" if not good else None)
        row["finished"] = f"{len(good)} of {len(here)}"
        rows.append(row)
    return rows


def _spread(values: Sequence[float], form: str) -> str:
    mean = form.format(statistics.fmean(values))
    return mean if len(values) == 1 else f"{mean} ± {form.format(statistics.stdev(values))}"


def _engine(jobs: str | None) -> Parallel:
    # None: what the surrounding parallel_config says, all of a cluster's cores for instance; 1 where there is none.
    if jobs is not None and (not jobs.removeprefix("-").isdecimal() or int(jobs) == 0):
        raise ValueError(f"GEN_JOBS is how many cells run at once, -1 for one on each core, got {jobs!r}")
    settings = dict(n_jobs=None if jobs is None else int(jobs), batch_size=1, pre_dispatch="n_jobs")
    try:
        return Parallel(return_as="generator_unordered", **settings)  # the bar moves as soon as any cell is done
    except ValueError:  # Ray's backend gives everything at the end
        return Parallel(return_as="list", **settings)


def _finish(
    experiment: Callable, code: dict, i: int, label: str, seed: int, settings: dict, path: Path
) -> tuple[int, Cell]:
    cell = _run(experiment, label, seed, settings)
    write_cell(path, cell, settings, code)
    return i, cell


def _run(experiment: Callable, label: str, seed: int, settings: Mapping) -> Cell:
    started = time.perf_counter()
    found, diverged = {}, None
    try:
        found = dict(experiment(**settings))
    except (TrainingDiverged, ChainDiverged) as error:
        diverged = str(error)
    seconds = time.perf_counter() - started
    found = {
        name: torch.from_numpy(np.ascontiguousarray(value)) if _is_array(value) else value
        for name, value in found.items()
    }
    # Clones: two views of one tensor cannot be written as they are.
    whole = torch.contiguous_format
    tensors = {k: v.detach().cpu().clone(memory_format=whole) for k, v in found.items() if isinstance(v, Tensor)}
    values = {key: _kept(key, value) for key, value in found.items() if not isinstance(value, Tensor)}
    return Cell(label, seed, values, tensors, seconds, diverged)


def _number(value: Any) -> Any:
    """A setting, with a plain number in the place of NumPy's."""
    return value.item() if isinstance(value, np.generic) else value


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.ndim > 0 and value.dtype.kind in "biuf"


def _kept(name: str, value: object) -> object:
    """A result as the file will give it back: what a run shows today, a kept cell shows tomorrow."""
    try:
        return json.loads(json.dumps(finite_or_none(plain(value))))
    except TypeError:
        raise TypeError(
            f"{name} is a {type(value).__name__}; an experiment returns numbers, strings, lists, dictionaries, tensors"
        ) from None
