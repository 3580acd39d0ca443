"""Several notebooks at once: two parts on two cores, one thread each, end sooner than one after the other on both."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..base.places import ROOT
from ..profiles import checked
from . import warm_kernels
from .execute import up_to_date
from .processes import Processes
from .worker import attempt

AT_MOST = 4  # a quick part takes up to 1.6 GB


def usual_jobs(profile: str) -> int:
    """As many parts at once as there are cores in short profiles; one in longer ones, whose parts fill the machine."""
    return max(1, min(_cores(), AT_MOST)) if profile in ("smoke", "quick") else 1


def execute_all(
    names: Sequence[str],
    *,
    profile: str,
    data_root: str,
    seed: int,
    out: Path,
    force: bool = False,
    jobs: int | None = None,
    on_done: Callable[[str, Path, bool], object] = lambda name, path, ran: None,
) -> dict[str, Path]:
    """Run notebooks with papermill, ``jobs`` at a time; returns the executed files in the order of ``names``.

    With more than one at a time each has a process of its own. The processes share the cores: with two jobs on two
    cores each has one thread (unless $OMP_NUM_THREADS is set).

    Args:
        jobs: at a time; None: ``usual_jobs``.
        on_done: called with the name, the file and whether it had to run, as soon as a part is there.

    Raises:
        ValueError: an unknown profile, or jobs below 1.
        RuntimeError: a part failed; its notebook, with the error in place, is kept. Those that were running are
            finished and kept. Or a part's process was killed: those that were running are ended too.
    """
    jobs = usual_jobs(profile) if jobs is None else jobs
    checked(profile)
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; at least one part must run at a time")
    out = Path(out).resolve()
    asked: dict[str, Any] = dict(profile=profile, data_root=data_root, seed=seed, out=out)
    found: dict[str, Path] = {}

    def done(name: str, path: Path, ran: bool) -> None:
        found[name] = path
        on_done(name, path, ran)

    for name in [] if force else names:
        if path := up_to_date(name, **asked):
            done(name, path, False)
    waiting, settings = [name for name in names if name not in found], {**asked, "force": force}
    if min(jobs, len(waiting)) > 1 or warm_kernels.wanted(len(waiting)):
        _side_by_side(waiting, settings, jobs, done)
    else:
        for name in waiting:
            path, ran, error = attempt(name, settings)
            if path is None:
                raise RuntimeError(f"{name} failed. {error}")
            done(name, path, ran)
    return {name: found[name] for name in names}


def _side_by_side(waiting: list[str], settings: dict, jobs: int, done: Callable[[str, Path, bool], object]) -> None:
    decided = os.environ.get("OMP_NUM_THREADS")
    threads = {} if decided else {"OMP_NUM_THREADS": str(max(1, _cores() // jobs))}
    failure = None
    with tempfile.TemporaryDirectory() as answers, Processes() as running:
        if warm_kernels.wanted(len(waiting)):
            door = Path(answers, "door")
            running.start_helper(warm_kernels.command(door), threads)
            threads[warm_kernels.DOOR] = str(door)
        while waiting or running:
            while waiting and len(running) < jobs:
                # From the last part to the first: the long ones come first, and no core waits for one at the end.
                name = waiting.pop()
                running.start(name, command(name, settings, Path(answers, name)), threads)
            name, status = running.next_ended()
            answer = _read(Path(answers, name))
            if answer is None:
                raise RuntimeError(f"the process of {name} {_ended(status)}; try again with --jobs 1")
            path, ran, error = answer
            if path is None:  # those that run are finished, no other is begun
                failure = failure or RuntimeError(f"{name} failed. {error}")
                waiting.clear()
            else:
                done(name, Path(path), ran)
    if failure:
        raise failure


def command(name: str, settings: dict, answer: Path) -> list[str]:
    """What runs one notebook in a process of its own."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from gen_utils.publishing.worker import work; "
    task = {"part": name, "settings": {**settings, "out": str(settings["out"])}, "answer": str(answer)}
    return [sys.executable, "-c", code + "work(sys.argv[1])", json.dumps(task)]


def _read(answer: Path) -> tuple[str | None, bool, str] | None:
    """What a process wrote; None if it did not come to that."""
    with suppress(FileNotFoundError):
        return json.loads(answer.read_text(encoding="utf-8"))
    return None


def _ended(status: int) -> str:
    if status < 0:
        return f"was killed (signal {-status}), perhaps for want of memory"
    return f"ended early (exit status {status}): it was killed, perhaps for want of memory, or says above why"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
