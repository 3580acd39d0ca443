"""A zip of images is prepared, and the process killed meanwhile, at least twenty times; then once more, in peace.

Usage: kill_data.py FOLDER, which holds root/bitmojis.zip. Writes FOLDER/report.json and the images that came at last.
"""

import json
import random
import shutil
import sys
import time
from pathlib import Path

import forks
from safetensors.torch import load_file, save_file

from gen_utils.data import load_images

KILLS, IN_WRITING = 20, 3  # at least so many, and of them in the writing of the file


def main(folder):
    root, draw, report = folder / "root", random.Random(0), []
    prepared = root / "prepared"

    def load():
        load_images("bitmoji", root=root, size=96)

    began = time.monotonic()
    forks.finish(forks.start(load))
    seconds = time.monotonic() - began
    whole = {path.name: load_file(path)["images"].clone() for path in prepared.glob("*.safetensors")}
    shutil.rmtree(prepared)
    save_file({"images": next(iter(whole.values()))}, folder / "whole.safetensors")
    while len(report) < 10 * KILLS and (
        sum(sitting["killed"] for sitting in report) < KILLS
        or sum(sitting["in_writing"] for sitting in report) < IN_WRITING
    ):
        known = _unfinished(prepared)
        if len(report) % 2:  # as soon as a new unfinished file is there, or very soon after
            moment = forks.soon_after(lambda known=known: _unfinished(prepared) - known, draw.uniform(0, 0.004))
        else:
            moment = forks.after(draw.uniform(0, 0.8 * seconds))
        pid = forks.start(load)
        killed = forks.kill_when(pid, moment)
        left = list(prepared.glob("*.safetensors"))
        half = [path.name for path in left if path.name not in whole or not _equal(load_file(path), whole[path.name])]
        report.append({"killed": killed, "in_writing": bool(_unfinished(prepared) - known), "half": half})
        for path in left:
            path.unlink()  # it was faster than the kill: the next one prepares again
    images = load_images("bitmoji", root=root, size=96)
    again = load_images("bitmoji", root=root, size=96)
    save_file({"first": images.images, "again": again.images}, folder / "at_last.safetensors")
    (folder / "report.json").write_text(json.dumps({"sittings": report, "seconds": time.monotonic() - began}))


def _unfinished(folder):
    return {path.name for path in folder.glob(".*.unfinished")}


def _equal(held, images):
    return held["images"].equal(images)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
