"""Twenty sittings or more of one training run, each killed; then one that finishes, and a run that nobody kills.

Usage: kill_training.py FOLDER. Writes FOLDER/report.json; the two runs are in FOLDER/killed and FOLDER/whole.
"""

import json
import random
import sys
import time
from pathlib import Path

import forks

import gen_utils  # noqa: F401  (before torch: it sets how threads wait)

import torch  # isort: skip

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "training"))
# What a sitting would import anew each time:
import sklearn.datasets  # noqa: E402, F401
import torch.utils.tensorboard  # noqa: E402
import torchvision.utils  # noqa: E402, F401

import ebm_run  # noqa: E402  isort: skip

KILLS, IN_WRITING, STEPS = 20, 5, 60  # kills: at least so many, and of them in the writing of a checkpoint


def main(folder):
    run, draw, report = folder / "killed", random.Random(0), []
    last = run / "last.ckpt"
    began = time.monotonic()
    forks.finish(forks.start(lambda: ebm_run.train(folder / "whole", max_steps=STEPS, checkpoint_every=1)))
    whole_seconds = time.monotonic() - began
    while len(report) < KILLS or (
        sum(sitting["in_writing"] for sitting in report) < IN_WRITING and len(report) < 2 * KILLS
    ):
        late = len(report) >= KILLS
        wanted = 0 if late else draw.randrange(4)  # checkpoints before the kill; with 0 it may still be starting up
        writing = late or len(report) % 2 == 1  # every other kill aims at the writing of a checkpoint
        delay = draw.uniform(0, 0.002 if writing else 0.05 if wanted else whole_seconds / 10)
        known = _partials(run)  # of processes that were killed; the next one to finish a file removes them
        pid = forks.start(lambda: ebm_run.train(run, resume=True, max_steps=STEPS, checkpoint_every=1))
        killed = forks.kill_when(pid, _Moment(last, known, wanted, writing, delay))
        held = torch.load(last, weights_only=True)["global_step"] if last.exists() else 0
        report.append({"killed": killed, "aimed": writing, "in_writing": bool(_partials(run) - known), "step": held})
    forks.finish(forks.start(lambda: ebm_run.train(run, resume=True, max_steps=STEPS, checkpoint_every=1)))
    found = {"sittings": report, "leftover": [path.name for path in run.glob("*.partial")]}
    (folder / "report.json").write_text(json.dumps({**found, "seconds": time.monotonic() - began}))


def _partials(run):
    return {path.name for path in run.glob("last.ckpt.*.partial")}


class _Moment:
    """So many checkpoints, then perhaps the next one being written, then a delay."""

    def __init__(self, last, known, wanted, writing, delay):
        self.last, self.known, self.wanted, self.writing, self.delay = last, known, wanted, writing, delay
        self.seen, self.count, self.over = self._state(), 0, None

    def _state(self):
        return self.last.stat().st_mtime_ns if self.last.exists() else None

    def __call__(self):
        if self.over is not None:
            return self.over()
        if self.count < self.wanted:
            now = self._state()
            self.count, self.seen = self.count + (now != self.seen), now
        elif not self.writing or _partials(self.last.parent) - self.known:
            self.over = forks.after(self.delay)
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
