"""What does the whole course cost? Seconds and peak memory of each part, of the import and of the book.

    python benchmarks/course.py                           # quick, twenty minutes; writes results/course.json
    python benchmarks/course.py --profile laptop 02 03    # the memory of these parts on real data, or of all: hours

In longer profiles finished trainings are not repeated, so their seconds would say nothing and are not kept.
Each part runs as ``python -m gen_utils run PART`` does, in a process of its own; its memory is the largest resident
set of that process and of its kernel, whichever is larger. Quick then runs once more as ``make book`` runs it, with a
part on each core; that memory is of all processes together. The HTML is built from the notebooks that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gen_utils.base.machine import provenance  # noqa: E402
from gen_utils.base.places import BUILD  # noqa: E402
from gen_utils.publishing.parallel import usual_jobs  # noqa: E402
from gen_utils.publishing.parts import find_part, parts  # noqa: E402

BARS = {
    "all parts, quick (s)": 240,
    "the longest part, quick (s)": 45,
    "import beyond torch (s)": 0.3,
    "read (s)": 90,
    "HTML (s)": 90,
    "peak of a part (GB)": 4.0,
}
CAUGHT = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
CHILD = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, "-m", "gen_utils", *sys.argv[1:]]).returncode
print("PEAK", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def run(*arguments: str, **environment: str) -> tuple[float, float]:
    """Seconds and peak resident memory (GB) of one command of the package and all it starts."""
    begin = time.perf_counter()
    command = [sys.executable, "-c", CHILD, *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, **CAUGHT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return time.perf_counter() - begin, int(done.stdout.rsplit("PEAK", 1)[1]) / 2**20  # Linux counts in KiB


def all_at_once(**environment: str) -> tuple[int, float, float]:
    """``run all`` in quick: parts at a time, seconds, and the largest memory (GB) of all its processes together."""
    command = [sys.executable, "-m", "gen_utils", "run", "all", "--force"]
    begin, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        running = psutil.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=said, stderr=said)
        while running.poll() is None:
            peak = max(peak, sum(_resident(each) for each in [running, *_descendants(running)]))
            time.sleep(0.2)
        if running.returncode:
            said.seek(0)
            raise RuntimeError(f"run all failed:\n{said.read()[-4000:]}")
    return usual_jobs("quick"), time.perf_counter() - begin, peak / 2**30


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:  # it has just ended
        return []


def _resident(process: psutil.Process) -> int:
    """Bytes of its own and of shared libraries: these are counted once for each process, so the sum is a bound."""
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def html_seconds(*command: str) -> float:
    """The whole book, none of its pages left from before."""
    shutil.rmtree(BUILD / "quick" / "stage", ignore_errors=True)
    shutil.rmtree(BUILD / "html", ignore_errors=True)
    return run(*command)[0]


def import_seconds(rounds: int = 7) -> tuple[float, float]:
    """torch alone, and what ``import gen_utils`` and its data and samplers add: medians of fresh interpreters."""
    code = (
        "import time; a = time.perf_counter(); import torch; b = time.perf_counter(); "
        "import gen_utils, gen_utils.samplers, gen_utils.models; print(b - a, time.perf_counter() - b)"
    )
    found = []
    for _ in range(rounds + 1):
        answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, **CAUGHT)
        found.append([float(v) for v in answer.stdout.split()])
    alone, added = zip(*found[1:], strict=True)  # the first one reads the files from disk
    return statistics.median(alone), statistics.median(added)


def keep(found: dict, path: Path) -> None:
    """Write one profile's results beside the others'."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(
        json.dumps({**kept, found["profile"]: found}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", help="in longer profiles: these parts only, such as 02; the others' rows stay"
    )
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--data", help="where datasets live; else $GEN_DATA_ROOT, else ./data")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "course.json")
    args = parser.parse_args()
    more = [] if args.data is None else ["--data", args.data]
    if args.profile == "quick":
        quick(args.out, more)
    else:
        memory(args.profile, [find_part(part) for part in args.parts] or parts(), args.out, more)


def memory(profile: str, names: list[str], out: Path, more: list[str]) -> None:
    """Peak memory of some parts in a long profile, each written as soon as it is known."""
    for part in names:
        row = {"part": part, "peak_gb": round(run("run", part, "--profile", profile, "--force", *more)[1], 2)}
        print(row, flush=True)
        kept = json.loads(out.read_text(encoding="utf-8")).get(profile, {"rows": []}) if out.exists() else {"rows": []}
        rows = sorted([row, *(r for r in kept["rows"] if r["part"] != part)], key=lambda each: each["part"])
        keep({**provenance(), "profile": profile, "rows": rows, "bars": BARS}, out)


def quick(out: Path, more: list[str]) -> None:
    """Everything about the quick profile; all is trained anew, as in CI."""
    rows = []
    with tempfile.TemporaryDirectory() as runs:
        for part in parts():
            seconds, peak = run("run", part, "--profile", "quick", "--force", *more, GEN_RUNS=runs)
            rows.append({"part": part, "seconds": round(seconds, 1), "peak_gb": round(peak, 2)})
            print(rows[-1], flush=True)
    found = {**provenance(), "profile": "quick", "rows": rows, "bars": BARS}
    keep(found, out)  # the parts took long: a step that fails later must not lose them
    with tempfile.TemporaryDirectory() as runs:
        jobs, seconds, peak = all_at_once(GEN_RUNS=runs)
    found["together"] = {"jobs": jobs, "seconds": round(seconds, 1), "peak_gb": round(peak, 2)}
    print(found["together"], flush=True)
    torch_alone, added = import_seconds()
    found["import_seconds"] = {"torch": round(torch_alone, 2), "gen_utils beyond torch": round(added, 3)}
    keep(found, out)
    read = html_seconds("read", *more)  # from the kept long runs alone
    html = html_seconds("book", *more)  # from notebooks that have been executed, beside them
    keep({**found, "read_seconds": round(read, 1), "html_seconds": round(html, 1)}, out)
    print(
        f"one by one {sum(r['seconds'] for r in rows):.0f} s; read {read:.0f} s; HTML {html:.0f} s",
        f"import {added:.2f} s",
    )


if __name__ == "__main__":
    main()
