"""What each writer of the package says on a full disk and on a read-only one, and what is there afterwards.

Usage: full_disk.py SMALL READ_ONLY REPORT. SMALL is the root of a small file system of its own, READ_ONLY a folder that
may not be written to, with bitmojis.zip in it. Writes REPORT, a JSON file elsewhere.
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import gen_utils  # noqa: F401  (before torch: it sets how threads wait)

import torch  # isort: skip

from gen_utils import checkpoints
from gen_utils.data import load_images
from gen_utils.experiments.sweep import sweep
from gen_utils.models import SmallEnergy
from gen_utils.publishing import execute, identity, results

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
import ebm_run

NOTEBOOK = """
# %% tags=["parameters"]
profile = "quick"
data_root = ""
seed = 0

# %%
1 + 1
"""


def main(small, read_only, report):
    os.environ["GEN_RUNS"], os.environ["XDG_CACHE_HOME"] = str(small / "runs"), str(small / "cache")
    os.environ["MPLCONFIGDIR"] = str(report.parent)
    notebooks = report.parent / "notebooks"
    execute.NOTEBOOKS = identity.NOTEBOOKS = notebooks
    results.RESULTS = identity.RESULTS = small / "results"
    notebooks.mkdir()
    (notebooks / "99_tiny.py").write_text(NOTEBOOK)
    found = {name: check(small, read_only) for name, check in CHECKS.items()}
    report.write_text(json.dumps(found))


def training(small, read_only):
    run, held = small / "runs" / "ebm", []
    original = ebm_run.EBMTraining.training_step

    def fills(self, batch, i):
        if self.trainer.global_step == 12:
            held.append((run / "last.ckpt").read_bytes())
            ballast.enter_context(full(small))
        return original(self, batch, i)

    ebm_run.EBMTraining.training_step = fills
    with contextlib.ExitStack() as ballast:
        said = error_of(lambda: ebm_run.train(run, max_steps=20))
        kept = (run / "last.ckpt").read_bytes() == held[0] and not list(run.glob("*.partial"))
    ebm_run.EBMTraining.training_step = original
    resumed, _ = ebm_run.train(run, resume=True, max_steps=20)
    whole, _ = ebm_run.train(small / "runs" / "whole", max_steps=20)
    same = all(map(torch.equal, resumed.module.state_dict().values(), whole.module.state_dict().values()))
    same = same and resumed.history == whole.history and resumed.resumed_from == 10
    said_read_only = error_of(lambda: ebm_run.train(read_only / "runs" / "ebm", max_steps=2))
    return {"said": said, "kept": kept, "equal": same, "said_read_only": said_read_only}


def a_sweep(small, read_only):
    calls = []

    class Fills:
        def __identity__(self):
            return "one experiment, whatever it has done"

        def __call__(self, seed, n):
            calls.append(n)
            if n == 2 and len(calls) == 2:
                ballast.enter_context(full(small))
            return {"score": float(n), "states": torch.full((500,), float(n))}

    experiment = Fills()

    cells = {"one": {"n": 1}, "two": {"n": 2}}
    with contextlib.ExitStack() as ballast:
        said = error_of(lambda: sweep("trial", experiment, cells))
    again = [cell.values["score"] for cell in sweep("trial", experiment, cells)]
    with runs_in(read_only):
        said_read_only = error_of(lambda: sweep("trial", experiment, cells))
    kept = again == [1.0, 2.0] and calls[:3] == [1, 2, 2]  # the finished cell was not run again
    return {"said": said, "kept": kept, "said_read_only": said_read_only}


def a_model(small, read_only):
    folder, net = small / "models", SmallEnergy(width=4)
    checkpoints.save("mine", net, {"which": "old"}, folder=folder)
    with full(small):
        said = error_of(lambda: checkpoints.save("mine", SmallEnergy(width=4), {"which": "new"}, folder=folder))
        held = checkpoints.load("mine", folder=folder)
    kept = held.card["which"] == "old" and all(map(torch.equal, held.parameters(), net.parameters()))
    said_read_only = error_of(lambda: checkpoints.save("mine", net, {}, folder=read_only / "models"))
    return {"said": said, "kept": kept, "said_read_only": said_read_only}


def notebook(small, read_only):
    out, options = small / "out", {"profile": "quick", "data_root": "", "seed": 0}
    target, _ = execute.execute("99_tiny", **options, out=out)
    before = target.read_bytes()
    with full(small):
        said = error_of(lambda: execute.execute("99_tiny", **options, out=out, force=True))
        said_results = error_of(lambda: results.keep_results(target))
        kept = target.read_bytes() == before
    _, ran = execute.execute("99_tiny", **options, out=out, force=True)
    said_read_only = error_of(lambda: execute.execute("99_tiny", **options, out=read_only / "out"))
    return {"said": said, "said_results": said_results, "kept": kept and ran, "said_read_only": said_read_only}


def data(small, read_only):
    """Images are served all the same, without a cache; what could not be done is said."""
    with full(small):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            first = load_images("bitmoji", root=read_only, size=96)
        left = [str(path) for path in small.rglob("*") if path.suffix in (".unfinished", ".safetensors")]
        left = [path for path in left if "cache" in path]
    with contextlib.redirect_stdout(io.StringIO()) as nothing:
        again = load_images("bitmoji", root=read_only, size=96)  # kept in the user's cache folder
        cached = load_images("bitmoji", root=read_only, size=96)
    same = torch.equal(first.images, again.images) and torch.equal(again.images, cached.images)
    kept = same and not left and not nothing.getvalue() and not (read_only / "prepared").exists()
    return {"said": printed.getvalue(), "kept": kept, "n_cached": len(list((small / "cache").rglob("*.safetensors")))}


CHECKS = {"training": training, "sweep": a_sweep, "model": a_model, "notebook": notebook, "data": data}


@contextlib.contextmanager
def full(small):
    """Fills the file system to the last byte, and frees it again."""
    ballast = small / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def runs_in(folder):
    before = os.environ["GEN_RUNS"]
    os.environ["GEN_RUNS"] = str(folder)
    try:
        yield
    finally:
        os.environ["GEN_RUNS"] = before


def error_of(work):
    try:
        work()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
