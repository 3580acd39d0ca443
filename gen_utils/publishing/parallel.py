"""Several notebooks at once: two parts on two cores, one thread each, end sooner than one after the other on both."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from ..profiles import checked
from .execute import execute

AT_MOST = 4  # a quick part takes up to 1.6 GB


def usual_jobs(profile: str) -> int:
    """As many parts at once as there are cores in ``quick``; one in longer profiles, whose parts fill the machine."""
    return max(1, min(_cores(), AT_MOST)) if profile == "quick" else 1


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

    Each is executed in a process of its own, since papermill changes the working directory of its process. The
    processes share the cores: with two jobs on two cores each has one thread (unless $OMP_NUM_THREADS is set).

    Args:
        jobs: at a time; None: ``usual_jobs``.
        on_done: called with the name, the file and whether it had to run, as soon as a part is there.

    Raises:
        ValueError: an unknown profile, or jobs below 1.
        RuntimeError: a part failed; its notebook, with the error in place, is kept. Those that were running are
            finished and kept.
    """
    jobs = usual_jobs(profile) if jobs is None else jobs
    checked(profile)
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; at least one part must run at a time")
    settings = dict(profile=profile, data_root=data_root, seed=seed, out=out, force=force)
    found: dict[str, Path] = {}

    def done(name: str, path: Path | None, ran: bool, error: str) -> None:
        if path is None:
            raise RuntimeError(f"{name} failed. {error}")
        found[name] = path
        on_done(name, path, ran)

    if min(jobs, len(names)) <= 1:
        for name in names:
            done(name, *_execute(name, settings))
        return found
    context = multiprocessing.get_context("spawn")  # a fork would inherit the locks of torch's threads
    with (
        _threads_each(max(1, _cores() // jobs)),
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent) as pool,
    ):
        # From the last part to the first: the long ones come first, and no core waits for one of them at the end.
        waiting = {pool.submit(_execute, name, settings): name for name in reversed(names)}
        try:
            for future in as_completed(waiting):
                done(waiting[future], *future.result())
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a part's process was killed, perhaps for want of memory; try again with --jobs 1"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: found[name] for name in names}


def _execute(name: str, settings: dict) -> tuple[Path | None, bool, str]:
    """The file, whether it had to run, and what went wrong in words: not every exception can be sent to a process."""
    try:
        return *execute(name, **settings), ""
    except Exception as error:
        kept = settings["out"] / f"{name}.failed.ipynb"
        shown = f"\n{kept} shows where." if type(error).__name__ == "PapermillExecutionError" else ""
        return None, False, f"{error}{shown}"


def _end_with_parent() -> None:
    """A worker whose parent was killed leaves at once, and its kernel after it: two runs must not write one file."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _threads_each(threads: int):
    """What processes started inside read when they import torch."""
    if "OMP_NUM_THREADS" in os.environ:  # somebody has decided already
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
