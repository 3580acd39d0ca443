"""A process that saves model after model under one name is killed, forty times or more; each time the model is loaded.

Usage: kill_saving.py FOLDER. Writes FOLDER/report.json; the models are in FOLDER/models.
"""

import json
import random
import sys
import time
from pathlib import Path

import forks

import gen_utils  # noqa: F401  (before torch: it sets how threads wait)

import torch  # isort: skip

from gen_utils import checkpoints
from gen_utils.models import SmallEnergy

KILLS, BETWEEN = 40, 10  # at least so many, and of them in the middle of a save


def main(folder):
    models, draw, report = folder / "models", random.Random(0), []

    def save_for_ever(first):
        for mark in range(first, first + 10**6):
            save(models, mark)

    began = time.monotonic()
    save(models, 0)
    per_save = (time.monotonic() - began) or 0.01
    mark = between = 0
    while len(report) < 25 * KILLS and (len(report) < KILLS or between < BETWEEN):
        before = mark
        pid = forks.start(lambda first=mark + 1: save_for_ever(first))
        killed = forks.kill_when(pid, forks.after(draw.uniform(0, 4 * per_save)))
        names = sorted(path.name for path in models.iterdir())
        between += any(name.startswith(".mine") for name in names)
        try:
            net = checkpoints.load("mine", folder=models)
            mark = net.card["mark"]
            matches = all(bool((value == mark).all()) for value in net.parameters())
            said = None
        except (ValueError, FileNotFoundError) as error:
            matches, said = False, str(error)
        report.append({"killed": killed, "whole": matches and mark >= before, "said": said})
    save(models, mark + 1)
    names = sorted(path.name for path in models.iterdir())
    seconds = time.monotonic() - began
    (folder / "report.json").write_text(
        json.dumps({"sittings": report, "between": between, "names": names, "seconds": seconds})
    )


def save(folder, mark):
    """A model all of whose weights are the mark, and a card that says so."""
    net = SmallEnergy(width=4)
    with torch.no_grad():
        for weight in net.parameters():
            weight.fill_(mark)
    checkpoints.save("mine", net, {"mark": mark}, folder=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
