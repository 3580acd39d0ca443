"""What does a recorded chain (a CUDA graph) save on a GPU, and what does the recording cost?

    python benchmarks/gpu_chains.py     # needs a CUDA device, about a minute; writes results/gpu_chains.json

60 Langevin steps on Part B's energy: the plain loop and the replayed recording take turns, batch by batch. The
recording is what ``gen_utils.samplers.graphs.sample_recorded`` makes at the third chain of a kind.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import gen_utils  # noqa: E402, F401, I001

import torch  # noqa: E402

from gen_utils.models import SmallEnergy  # noqa: E402
from gen_utils.base.machine import provenance  # noqa: E402
from gen_utils.samplers import Langevin, UniformStart, graphs  # noqa: E402
from gen_utils.samplers.graphs import sample_recorded  # noqa: E402

KERNEL = Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))
N_STEPS, ROUNDS = 60, 15


def seconds(energy, x, stream, fast) -> float:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    sample_recorded(energy, x, KERNEL, N_STEPS, generator=stream, fast=fast)
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def compare(batch: int, fast: bool) -> dict:
    """One batch size: medians of turns, and how far the two results are apart after the same seed."""
    torch.manual_seed(0)
    energy = SmallEnergy().cuda().eval()
    stream = torch.Generator("cuda").manual_seed(0)
    x = UniformStart((1, 28, 28)).draw(batch, generator=torch.Generator().manual_seed(0)).cuda()
    first = [seconds(energy, x, stream, fast) for _ in range(graphs.RECORD_AT)]  # plain, plain, recorded
    recordings = [held for held in graphs._seen[energy].values() if isinstance(held, graphs._Recording)]
    if len(recordings) != 1:
        raise RuntimeError("the chain was not recorded; the warning above says why")
    plain, replayed = [], []
    for _ in range(ROUNDS):
        with graphs.plain_chains():
            plain.append(seconds(energy, x, stream, fast))
        replayed.append(seconds(energy, x, stream, fast))
    ends = []
    for recorded in (False, True):
        stream.manual_seed(1)
        if recorded:
            ends.append(sample_recorded(energy, x, KERNEL, N_STEPS, generator=stream, fast=fast).x)
        else:
            with graphs.plain_chains():
                ends.append(sample_recorded(energy, x, KERNEL, N_STEPS, generator=stream, fast=fast).x)
    if recordings[0] not in graphs._seen[energy].values():
        raise RuntimeError("the recording was given up during the measurement; the warning above says why")
    return {
        "batch": batch, "arithmetic": "fast=True" if fast else "float32", "plain": statistics.median(plain),
        "replayed": statistics.median(replayed), "recording": first[-1], "spread": [min(replayed), max(replayed)],
        "tf32": torch.backends.cudnn.conv.fp32_precision == "tf32", "reserved_gb": torch.cuda.memory_reserved() / 2**30,
        "apart": (ends[0] - ends[1]).abs().max().item(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu_chains.json")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no CUDA device here; chains are recorded on GPUs only")
    rows = []
    for batch in (16, 64, 256):
        for fast in (False, True):
            rows.append(compare(batch, fast))
            print(rows[-1], flush=True)
    found = {**provenance(), "device": torch.cuda.get_device_name(), "n_steps": N_STEPS, "rows": rows}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
