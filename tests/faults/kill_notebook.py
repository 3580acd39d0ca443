"""A notebook is executed, and the process killed meanwhile, at random moments; then it is executed in peace.

The process that forks adopts orphans, as a desktop's session manager does: a kernel that waits for its parent to
become process 1 would wait for ever.

Usage: kill_notebook.py FOLDER. Writes FOLDER/report.json.
"""

import contextlib
import ctypes
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import forks
import jupytext  # noqa: F401  (every sitting would import these anew)
import nbformat  # noqa: F401
import papermill  # noqa: F401

from gen_utils.publishing import execute as press
from gen_utils.publishing import identity

AIMS = ("anywhere", "in a cell", "kernel starts", "in a cell", "kernel starts")
NOTEBOOK = """
# %% tags=["parameters"]
profile = "quick"
data_root = ""
seed = 0

# %%
import os, time
from pathlib import Path
log = Path({log!r})
log.open("a").write(f"{{os.getpid()}}\\n")
time.sleep(1.0)

# %%
print("the end is reached", seed + 1)
"""


def main(folder):
    draw, report, log = random.Random(0), [], folder / "kernels"
    notebooks = folder / "notebooks"
    press.NOTEBOOKS = identity.NOTEBOOKS = notebooks
    identity.RESULTS = folder / "results"
    notebooks.mkdir()
    (notebooks / "99_tiny.py").write_text(NOTEBOOK.format(log=str(log)))
    out = folder / "out"
    target = out / "99_tiny.ipynb"
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER

    def execute(seed=0):
        press.execute("99_tiny", profile="quick", data_root="", seed=seed, out=out)

    began = time.monotonic()
    forks.finish(forks.start(execute))
    seconds = time.monotonic() - began
    for i, aim in enumerate(AIMS):
        n_kernels, before = len(log.read_text().split()), target.read_bytes()
        pid = forks.start(lambda i=i: execute(seed=i + 1))
        if aim == "anywhere":
            moment = forks.after(draw.uniform(0, 0.7 * seconds))
        elif aim == "in a cell":
            moment = forks.soon_after(lambda n=n_kernels: len(log.read_text().split()) > n, draw.uniform(0, 0.9))
        else:
            moment = forks.soon_after(lambda pid=pid: _children(pid), draw.uniform(0, 0.2))
        killed = forks.kill_when(pid, moment)
        kept = target.read_bytes()
        report.append({"killed": killed, "aim": aim, "old": kept == before, "whole": bool(json.loads(kept))})
        left = _wait_for_orphans(60.0)
        report[-1]["survivors"] = len(left)
        for orphan in left:
            os.kill(orphan, signal.SIGKILL)
    forks.finish(forks.start(lambda: execute(seed=100)))
    found = {"sittings": report, "names": sorted(path.name for path in out.iterdir())}
    (folder / "report.json").write_text(json.dumps({**found, "seconds": time.monotonic() - began}))


def _children(pid):
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # that thread has ended
            found += [int(child) for child in path.read_text().split()]
    return found


def _wait_for_orphans(patience):
    """The kernels that outlive the process that started them, after so many seconds: they are our children now."""
    deadline = time.monotonic() + patience
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return []
        left = _children("self")
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
