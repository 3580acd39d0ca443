"""What does a batch cost? ``ImageSet.loader`` against torchvision's dataset and PyTorch's DataLoader.

    python benchmarks/data.py            # a few minutes; prints a table, writes results/data.json

Every contender serves the same images, shuffled, in batches of float32 in [-1, 1]: this package converts a batch at a
time, torchvision's way an image at a time, by torchvision's own ``__getitem__`` on the pixels that are here.
The workers are kept between epochs, so that starting them is not counted. The contenders take turns within each round,
so that a busy moment of the machine hits all of them; a figure is the median of the rounds, a ratio the median of
the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs from a fresh clone as well

import gen_utils  # noqa: E402, F401, I001  (before torch: it tells torch's threads to sleep while they wait)

from torch.utils.data import DataLoader, Dataset  # noqa: E402
from torchvision import datasets, transforms  # noqa: E402

from gen_utils.data import ImageSet, load_images, to_float  # noqa: E402
from gen_utils.base.machine import busy_machine  # noqa: E402

KINDS = {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10}
BAR = 10.0  # × the images per second of the DataLoader
MOVED = {"mnist": {"crop": 2}, "cifar10": {"flip": True, "crop": 4}}  # what is usual: no digit is mirrored


def torchvision_dataset(images: ImageSet, kind: type, *, moved: dict | None) -> Dataset:
    """torchvision's dataset class around pixels that are in memory already, as it holds them after its own reading."""
    dataset = kind.__new__(kind)
    pixels = images.images.permute(0, 2, 3, 1)
    dataset.data = pixels.numpy() if kind is datasets.CIFAR10 else pixels.squeeze(3)
    dataset.targets = images.labels.tolist() if kind is datasets.CIFAR10 else images.labels
    channels = images.shape[0]
    steps: list[Callable] = []
    if moved:
        steps.append(transforms.RandomCrop(images.shape[1:], padding=moved["crop"], padding_mode="reflect"))
        if moved.get("flip"):
            steps.append(transforms.RandomHorizontalFlip())
    steps += [transforms.ToTensor(), transforms.Normalize(channels * [0.5], channels * [0.5])]
    dataset.transform, dataset.target_transform = transforms.Compose(steps), None
    return dataset


def run_through(batches: Iterable, *, convert: bool) -> Callable[[], int]:
    """One epoch: how many images came."""

    def run() -> int:
        n = 0
        for images, _ in batches:
            n += len(to_float(images) if convert else images)
        return n

    return run


def contenders(images: ImageSet, kind: type, batch: int, *, moved: dict | None) -> dict[str, Callable[[], int]]:
    theirs = torchvision_dataset(images, kind, moved=moved)
    common = {"batch_size": batch, "shuffle": True, "drop_last": True}
    workers = {
        f"torchvision + DataLoader, {n} workers": DataLoader(theirs, num_workers=n, persistent_workers=n > 0, **common)
        for n in (0, 2)
    }
    return {
        "this package": run_through(images.loader(batch, **(moved or {})), convert=True),
        **{name: run_through(loader, convert=False) for name, loader in workers.items()},
    }


def measure(runs: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Images per second, a round each; the first round is warm-up."""
    speed: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:  # nobody always goes first
            begin = time.perf_counter()
            n = runs[name]()
            if turn:
                speed[name].append(n / (time.perf_counter() - begin))
    return speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=20_000, help="of each dataset")
    parser.add_argument("--data", help="where datasets live; else $GEN_DATA_ROOT, else ./data")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "data.json")
    args = parser.parse_args()
    described = busy_machine()

    rows = []
    for name, kind in KINDS.items():
        images = load_images(name, root=args.data, limit=args.images)
        for moved in (None, MOVED[name]):
            speed = measure(contenders(images, kind, args.batch, moved=moved), args.rounds)
            ours = speed["this package"]
            for contender, measured in speed.items():
                rows.append(
                    {
                        "data": images.title,
                        "moved": " and ".join({"flip": "flips", "crop": "crops"}[key] for key in moved or {}),
                        "loader": contender,
                        "images_per_second": round(statistics.median(measured)),
                        "times_slower": round(statistics.median(a / b for a, b in zip(ours, measured, strict=True)), 2),
                    }
                )

    print(f"{args.images:,} images of each, batches of {args.batch}; {described}\n")
    print("| data | moved | loader | images a second | this package is × as fast |\n|:--|:--|:--|--:|--:|")
    for r in rows:
        shown = f"{r['images_per_second']:,} | {r['times_slower']:.1f}"
        print(f"| {r['data']} | {r['moved']} | {r['loader']} | {shown} |")
    worst = min(row["times_slower"] for row in rows if row["loader"] != "this package" and not row["moved"])
    print(f"\nleast ratio without flips and crops: {worst:.1f} (bar: ≥ {BAR:.0f})")
    settings = {"batch": args.batch, "images": args.images, "rounds": args.rounds, "bar": BAR}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": described, "settings": settings, "rows": rows}
    args.out.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
