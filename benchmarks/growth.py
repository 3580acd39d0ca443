"""How does the cost grow? Times against sizes, with the exponent of a power law fitted to each.

    python benchmarks/growth.py     # about five minutes; writes results/growth.json

Exponent 1 is linear. Each point is the median of a few repeats; the law is fitted to the larger half of the points,
where fixed costs matter least.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import gen_utils  # noqa: E402, F401, I001

import numpy as np  # noqa: E402
import torch  # noqa: E402

from gen_utils.data import ImageSet  # noqa: E402
from gen_utils.evaluation.clustering import kmeans, silhouette  # noqa: E402
from gen_utils.evaluation.frechet import frechet_distance  # noqa: E402
from gen_utils.models import SmallEnergy, StridedEnergy  # noqa: E402
from gen_utils.base.machine import provenance  # noqa: E402
from gen_utils.samplers import GaussianStart, Langevin, ReplayBuffer, sample  # noqa: E402

COVARIANCES = ("full", "low_rank", "diagonal")
KERNEL = Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))


def chain(steps: int = 20, batch: int = 64, size: int = 28) -> Callable[[], object]:
    torch.manual_seed(0)
    energy = SmallEnergy(1, size, 16) if size == 28 else StridedEnergy(3, size, [16, 32, 32, 32])
    x = torch.rand(batch, *energy.event_shape) * 2 - 1
    stream = torch.Generator().manual_seed(0)
    return lambda: sample(energy.eval(), x, KERNEL, steps, generator=stream)


def buffer(capacity: int) -> Callable[[], object]:
    held = ReplayBuffer((1, 28, 28), capacity)
    held.push(torch.rand(capacity, 1, 28, 28) * 2 - 1)
    stream = torch.Generator().manual_seed(0)

    def turns() -> None:
        for _ in range(50):
            held.push(held.draw(64, generator=stream))

    return turns


def epoch(n: int) -> Callable[[], object]:
    images = ImageSet(
        torch.randint(0, 256, (n, 1, 28, 28), dtype=torch.uint8), torch.zeros(n).long(), ("a",), "made", "Made"
    )
    return lambda: sum(len(batch[0]) for batch in images.loader(64, flip=True))


def clusters(n: int) -> Callable[[], object]:
    x = np.random.default_rng(0).normal(size=(n, 64)).astype(np.float32)

    def both() -> float:
        return silhouette(x, kmeans(x, 10, seed=0).labels_)

    return both


def frechet(d: int = 128, n: int = 2000) -> Callable[[], object]:
    a, b = torch.randn(n, d), torch.randn(n, d)
    return lambda: frechet_distance(a, b)


def gaussians(size: int, covariance: str = "full") -> Callable[[], object]:
    images = torch.randint(0, 256, (1000, 3, size, size), dtype=torch.uint8)
    labels = torch.arange(1000) % 2
    return lambda: GaussianStart.fit(images, labels, covariance=covariance).draw(16, labels=torch.arange(16) % 2)


def measure(
    make: Callable[..., Callable[[], object]], values: Sequence[int], key: str, repeats: int, **more
) -> list[dict]:
    rows = []
    for value in values:
        job = make(**{key: value}, **more)
        job()  # warm-up
        seconds = []
        for _ in range(repeats):
            begin = time.perf_counter()
            job()
            seconds.append(time.perf_counter() - begin)
        rows.append({"value": value, "seconds": round(statistics.median(seconds), 5)})
    return rows


def exponent(rows: Sequence[dict]) -> float:
    """Of the power law through the larger half of the points."""
    tail = rows[len(rows) // 2 - 1 :] if len(rows) > 3 else rows
    x, y = (np.log([row[key] for row in tail]) for key in ("value", "seconds"))
    return round(float(np.polyfit(x, y, 1)[0]), 2)


JOBS = [
    ("a chain", "steps", chain, "steps", (5, 10, 20, 40, 80, 160), {}),
    ("a chain", "batch", chain, "batch", (16, 32, 64, 128, 256, 512), {}),
    ("a chain", "side of a colour image", chain, "size", (16, 32, 64, 128), {"batch": 16}),
    ("50 draws and pushes of a buffer", "capacity", buffer, "capacity", (512, 2048, 8192, 32_768), {}),
    ("an epoch of data, mirrored", "images", epoch, "n", (2500, 5000, 10_000, 20_000, 40_000, 80_000), {}),
    ("k-means and silhouette", "points", clusters, "n", (1000, 2000, 4000, 8000, 16_000), {}),
    ("Fréchet distance, d = 128", "images", frechet, "n", (500, 1000, 2000, 4000, 8000, 16_000), {}),
    ("Fréchet distance, N = 2,000", "features", frechet, "d", (64, 128, 256, 512, 1024), {}),
    ("class Gaussians, full covariance", "side (3·side² dimensions)", gaussians, "size", (8, 16, 24, 32), {}),
]  # fmt: skip


def memory_of(job: Callable[[], object]) -> float:
    """Peak resident memory that a job adds, in MB, where the system tells it; else Python's own."""
    status = Path("/proc/self/status")
    if not status.exists():
        tracemalloc.start()
        job()
        return tracemalloc.get_traced_memory()[1] / 1e6
    status.with_name("clear_refs").write_text("5", encoding="utf-8")  # forget the peak so far
    before = _kilobytes(status, "VmRSS")
    job()
    return (_kilobytes(status, "VmHWM") - before) / 1e3


def memory_in_a_fresh_process(covariance: str) -> int:
    """MB for class Gaussians at 32×32 in colour; a process that has worked before would reuse what it once held."""
    command = [sys.executable, __file__, "--memory", covariance]
    return int(subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout)


def _kilobytes(status: Path, key: str) -> float:
    line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(key))
    return float(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "growth.json")
    parser.add_argument("--memory", choices=COVARIANCES, help="print the memory of these class Gaussians, and no more")
    args = parser.parse_args()
    if args.memory is not None:
        gaussians(8, args.memory)()  # libraries set themselves up
        print(round(memory_of(gaussians(32, args.memory))))
        return
    found = []
    for what, against, make, key, values, more in JOBS:
        rows = measure(make, values, key, args.repeats, **more)
        found.append({"what": what, "against": against, "rows": rows, "exponent": exponent(rows)})
        print(
            f"{what} against {against}: exponent {found[-1]['exponent']}  {[(r['value'], r['seconds']) for r in rows]}",
            flush=True,
        )
    large = [
        {"covariance": kind, **measure(gaussians, (32,), "size", 3, covariance=kind)[0],
         "megabytes": memory_in_a_fresh_process(kind)}
        for kind in COVARIANCES
    ]  # fmt: skip
    print(large)
    record = {**provenance(), "repeats": args.repeats, "rows": found, "gaussians_3072": large}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
