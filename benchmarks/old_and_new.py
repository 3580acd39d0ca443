"""How many seconds does the same training take in another checkout of this project? The two take turns.

    git worktree add ../before COMMIT
    python benchmarks/old_and_new.py --old ../before            # about a quarter of an hour

The workbook's trainings of Parts B, A and D (``contests.py``), so many steps each: one seed, so that both do the same
work, and one distance at the end that says whether they came to the same place. Each training is a process of its own,
and the clock stands while it is measured. Writes results/old_and_new.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("OLD_AND_NEW", HERE.parent))  # whose package is at work, in a worker
sys.path.insert(0, str(ROOT))
sys.path.insert(1, str(HERE))

import gen_utils  # noqa: E402, F401

STEPS = {"mnist": 600, "bitmoji": 60, "jem": 400}  # about a minute each on two cores
BUDGET = 60.0  # seconds, from which Part D's classifier follows


def work(name: str, n_steps: int, root: str | None, samples: int) -> dict:
    """One training in this process: seconds, and the distance at the end."""
    import tempfile
    from dataclasses import replace

    import torch
    from contests import CONTESTS
    from quality_clock import Clock

    from gen_utils.training import fit

    recipe = CONTESTS[name](root, samples, 0).recipe(BUDGET)

    def run(steps: int) -> Clock:
        torch.manual_seed(0)
        clock = Clock([float("inf")], recipe.measure)  # it looks at the end alone
        with tempfile.TemporaryDirectory() as folder:
            config = replace(recipe.data, max_steps=steps, checkpoint_every=steps, run_dir=folder)
            fit(recipe.make(), recipe.images, callbacks=[clock], config=config)
        return clock

    (point,) = run(n_steps).points
    return {"seconds": point["seconds"], "frechet": point["frechet"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contests", nargs="*", default=list(STEPS), help=f"of {', '.join(STEPS)}; all when none")
    parser.add_argument("--old", type=Path, help="a checkout of another commit")
    parser.add_argument("--data", help="where datasets live; else $GEN_DATA_ROOT, else ./data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all steps: 0.02 for a try")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "old_and_new.json")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    steps = {name: max(2, int(args.scale * STEPS[name])) for name in args.contests}
    if args.worker:
        ((name, n_steps),) = steps.items()
        print(json.dumps(work(name, n_steps, args.data, args.samples)))
        return
    if args.old is None or not (args.old / "gen_utils").is_dir():
        parser.error("--old names a checkout of the commit to compare with; git worktree add makes one")
    from gen_utils.base.machine import provenance

    checkouts = {"old": args.old.resolve(), "new": ROOT}
    found = {}
    for name, n_steps in steps.items():
        runs: dict[str, list[dict]] = {"old": [], "new": []}
        for i in range(args.rounds):
            for which in sorted(runs, reverse=bool(i % 2)):  # who begins changes
                command = [
                    sys.executable,
                    __file__,
                    name,
                    "--worker",
                    "--scale",
                    str(args.scale),
                    "--samples",
                    str(args.samples),
                ]
                command += ["--data", args.data] if args.data else []
                env = {**os.environ, "OLD_AND_NEW": str(checkouts[which])}
                answer = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, encoding="utf-8")
                runs[which].append(json.loads(answer.stdout.splitlines()[-1]))
                print(f"{name}, {n_steps} steps, {which}: {runs[which][-1]}", flush=True)
        ratios = [old["seconds"] / new["seconds"] for old, new in zip(runs["old"], runs["new"], strict=True)]
        found[name] = {"steps": n_steps, "runs": runs, "ratio": round(statistics.median(ratios), 3)}
        print(f"{name}: {found[name]['ratio']} times as fast", flush=True)
    kept = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    trainings = {**kept.get("trainings", {}), **found}
    hash_of_old = subprocess.check_output(
        ["git", "-C", str(args.old), "rev-parse", "--short", "HEAD"], encoding="utf-8"
    )
    told = {**provenance(), "old": hash_of_old.strip(), "trainings": trainings}
    args.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
