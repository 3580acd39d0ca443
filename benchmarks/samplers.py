"""What does a chain cost? Sixty Langevin steps on the MNIST energy of Part B, against four alternatives.

    python benchmarks/samplers.py            # about five minutes; prints a table, writes results/samplers.json

The contenders take turns within each round, so that a busy moment of the machine hits all of them, and a ratio
is the median of the rounds' ratios. Everything but the bare gradient calls includes its replay buffer.

The package's first chain also tunes the process's memory allocator (``gen_utils.samplers.chain.keep_freed_memory``),
from which all contenders gain, the bare calls included; ``--untuned`` shows what all of them cost without it.

torchebm is compared where it is installed (``pip install torchebm``); nothing else needs it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs from a fresh clone as well

import gen_utils  # noqa: E402, F401, I001  (before torch: it tells torch's threads to sleep while they wait)

import torch  # noqa: E402
from list_buffer import BOX, CAPACITY, CLIP, NOISE, RESTART, STEP, ListBuffer  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from gen_utils import checkpoints  # noqa: E402
from gen_utils.models import SmallEnergy  # noqa: E402
from gen_utils.base.machine import busy_machine  # noqa: E402
from gen_utils.samplers import Langevin, ReplayBuffer, chain, sample  # noqa: E402

N_STEPS = 60  # section B3
SETTINGS: dict[str, bool | torch.dtype] = {
    "this package": False,
    "this package, fast=torch.float32": torch.float32,
    "this package, fast=True": True,
}


def bare_gradients(energy: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """The floor: sixty gradients with respect to x, and nothing else."""

    def run() -> Tensor:
        for _ in range(N_STEPS):
            y = x.detach().requires_grad_()
            torch.autograd.grad(energy(y).sum(), y)
        return x

    return run


def this_package(energy: nn.Module, x: Tensor, fast: bool | torch.dtype = False) -> Callable[[], Tensor]:
    kernel = Langevin(STEP, noise=NOISE, grad_clip=CLIP, bounds=BOX)
    buffer = ReplayBuffer(tuple(x.shape[1:]), CAPACITY, RESTART)
    buffer.push(x)
    n, device, stream = len(x), x.device, torch.Generator(x.device).manual_seed(0)

    def run() -> Tensor:
        start = buffer.draw(n, generator=stream).to(device)
        x = sample(energy, start, kernel, N_STEPS, generator=stream, fast=fast).x
        buffer.push(x)
        return x

    return run


def list_buffer(energy: nn.Module, x: Tensor, *, freeze: bool) -> Callable[[], Tensor]:
    """The sampler many courses teach; see ``ListBuffer``."""
    held = ListBuffer(x, freeze=freeze)
    return lambda: held.negatives(energy, len(x), N_STEPS)


def torchebm_langevin(energy: nn.Module, x: Tensor) -> Callable[[], Tensor] | None:
    """torchebm's sampler; it does not clip gradients, which spares it a little work."""
    try:
        from torchebm.core import BaseModel
        from torchebm.samplers import LangevinDynamics
    except ImportError:
        return None

    class Wrapped(BaseModel):
        def __init__(self) -> None:
            super().__init__(device=x.device)
            self.energy = energy

        def forward(self, y: Tensor) -> Tensor:
            return self.energy(y)

    sampler = LangevinDynamics(Wrapped(), step_size=STEP, noise_scale=NOISE, clamp=BOX, device=x.device)
    return lambda: sampler.sample(x=x.clone(), n_steps=N_STEPS)


def energy_at_the_end(energy: nn.Module, x: Tensor, fast: bool | torch.dtype) -> tuple[float, float]:
    """Mean over the chains, and its standard error, from one seed: what the arithmetic changes of the result."""
    kernel = Langevin(STEP, noise=NOISE, grad_clip=CLIP, bounds=BOX)
    end = sample(energy, x, kernel, N_STEPS, generator=torch.Generator(x.device).manual_seed(1), fast=fast).x
    with torch.no_grad():
        final = energy(end).double()  # by the original, whatever the chain ran in
    return round(final.mean().item(), 4), round((final.std() / len(final) ** 0.5).item(), 4)


def measure(contenders: dict[str, Callable[[], Tensor]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:  # nobody always goes first
            if device.type == "cuda":
                torch.cuda.synchronize()
            begin = time.perf_counter()
            contenders[name]()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first round is warm-up
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--threads", type=int, help="PyTorch's default when left out")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "samplers.json")
    parser.add_argument("--untuned", action="store_true", help="leave the memory allocator as it is")
    args = parser.parse_args()
    if args.untuned:
        chain.keep_freed_memory = lambda: None
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    random.seed(0)
    trained = "ebm_mnist" in checkpoints.names()
    energy = (checkpoints.load("ebm_mnist") if trained else SmallEnergy()).to(device).eval()
    described = busy_machine()

    results = []
    lines = ["| batch | sampler | 60 steps, s | × bare gradients | energy at the end |", "|--:|:--|--:|--:|--:|"]
    bars = []
    for n in args.batch:
        x = torch.rand((n, *energy.event_shape), device=device) * 2 - 1
        contenders = {
            "bare gradient calls": bare_gradients(energy, x),
            **{name: this_package(energy, x, fast) for name, fast in SETTINGS.items()},
            "list of tensors, backward()": list_buffer(energy, x, freeze=False),
            "list of tensors, backward(), frozen": list_buffer(energy, x, freeze=True),
            "torchebm": torchebm_langevin(energy, x),
        }
        contenders = {name: run for name, run in contenders.items() if run is not None}
        seconds = measure(contenders, args.rounds, device)

        def ratio(a: str, b: str, seconds: dict[str, list[float]] = seconds) -> float:
            return statistics.median(s / t for s, t in zip(seconds[a], seconds[b], strict=True))

        for name in contenders:
            final = energy_at_the_end(energy, x, SETTINGS[name]) if name in SETTINGS else None
            results.append(
                {
                    "batch": n,
                    "sampler": name,
                    "seconds": round(statistics.median(seconds[name]), 4),
                    "quartiles": [round(q, 4) for q in statistics.quantiles(seconds[name], n=4)[::2]],
                    "times_bare": round(ratio(name, "bare gradient calls"), 3),
                    "energy_at_the_end": final,
                }
            )
            row = results[-1]
            shown = "" if final is None else f"{final[0]:.3f} ± {final[1]:.3f}"
            lines.append(f"| {n} | {name} | {row['seconds']:.3f} | {row['times_bare']:.2f} | {shown} |")
        bars.append((n, "this package / bare gradient calls", ratio("this package", "bare gradient calls"), "≤ 1.05"))
        for other in contenders:
            if other.startswith(("list", "torchebm")):
                for setting, bar in (
                    ("", "≥ 1 (same arithmetic)"),
                    (", fast=torch.float32", "≥ 1.3"),
                    (", fast=True", "≥ 2"),
                ):
                    bars.append((n, f"{other} / this package{setting}", ratio(other, f"this package{setting}"), bar))

    print(f"Energy: {type(energy).__name__}, {'trained' if trained else 'random weights'}; {described}\n")
    print("\n".join(lines) + "\n")
    print("| batch | ratio | measured | bar |\n|--:|:--|--:|:--|")
    for n, what, value, bar in bars:
        print(f"| {n} | {what} | {value:.2f} | {bar} |")
    record = {
        "machine": described,
        "energy": {"model": type(energy).__name__, **energy.config, "trained": trained},
        "settings": {
            "n_steps": N_STEPS,
            "tuned_allocator": not args.untuned,
            "step_size": STEP,
            "noise": NOISE,
            "grad_clip": CLIP,
            "rounds": args.rounds,
        },
        "rows": results,
        "ratios": [{"batch": n, "ratio": what, "measured": round(v, 3), "bar": bar} for n, what, v, bar in bars],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
