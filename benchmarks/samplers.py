"""What does a chain cost? Langevin steps on three trained energies, on one core and on all, against four alternatives.

    python benchmarks/samplers.py                     # about half an hour; prints tables, writes results/samplers.json
    python benchmarks/samplers.py --energies mnist    # about seven minutes
    python benchmarks/samplers.py --steps 2 --rounds 2 --batch 16 --out /dev/null    # does it run at all?

The contenders take turns within each round, so that a busy moment of the machine hits all of them, and a ratio
is the median of the rounds' ratios. Everything but the bare gradient calls includes its replay buffer. On several cores
the others have as many threads inside their operations; this package deals the batch out (see ``samplers/shares.py``).

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
from gen_utils.models import ResidualEnergy, SmallEnergy, StridedEnergy  # noqa: E402
from gen_utils.base.machine import busy_machine  # noqa: E402
from gen_utils.samplers import Langevin, ReplayBuffer, chain, sample  # noqa: E402

# The steps of one chain: sixty as in section B3, fewer where each costs more. What is not trained here is drawn.
ENERGIES: dict[str, tuple[str, Callable[[], nn.Module], int]] = {
    "mnist": ("ebm_mnist", SmallEnergy, 60),
    "bitmoji": ("ebm_bitmoji", lambda: StridedEnergy(3, 32), 10),
    "cifar": ("ebm_cifar", ResidualEnergy, 10),
}
SETTINGS: dict[str, bool | torch.dtype] = {"this package": False, "this package, fast=True": True}
# ratio of times: (contender, ours, cores), and the bar that is set for the MNIST energy by batch
BARS = {
    ("torchebm", "this package", 2): {64: 1.6, 256: 1.4},
    ("torchebm", "this package, fast=True", 2): {64: 2.2, 256: 2.2},
    ("list of tensors, backward(), frozen", "this package", 1): {16: 1.0, 64: 1.0, 256: 1.0},
}


def bare_gradients(energy: nn.Module, x: Tensor, n_steps: int) -> Callable[[], Tensor]:
    """The floor: gradients with respect to x, and nothing else."""

    def run() -> Tensor:
        for _ in range(n_steps):
            y = x.detach().requires_grad_()
            torch.autograd.grad(energy(y).sum(), y)
        return x

    return run


def this_package(energy: nn.Module, x: Tensor, n_steps: int, fast: bool | torch.dtype = False) -> Callable[[], Tensor]:
    kernel = Langevin(STEP, noise=NOISE, grad_clip=CLIP, bounds=BOX)
    buffer = ReplayBuffer(tuple(x.shape[1:]), CAPACITY, RESTART)
    buffer.push(x)
    n, device, stream = len(x), x.device, torch.Generator(x.device).manual_seed(0)

    def run() -> Tensor:
        start = buffer.draw(n, generator=stream).to(device)
        x = sample(energy, start, kernel, n_steps, generator=stream, fast=fast).x
        buffer.push(x)
        return x

    return run


def list_buffer(energy: nn.Module, x: Tensor, n_steps: int, *, freeze: bool) -> Callable[[], Tensor]:
    """The sampler many courses teach; see ``ListBuffer``."""
    held = ListBuffer(x, freeze=freeze)
    return lambda: held.negatives(energy, len(x), n_steps)


def torchebm_langevin(energy: nn.Module, x: Tensor, n_steps: int) -> Callable[[], Tensor] | None:
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
    return lambda: sampler.sample(x=x.clone(), n_steps=n_steps)


def energy_at_the_end(energy: nn.Module, x: Tensor, n_steps: int, fast: bool | torch.dtype) -> tuple[float, float]:
    """Mean over the chains, and its standard error, from one seed: what the arithmetic changes of the result."""
    kernel = Langevin(STEP, noise=NOISE, grad_clip=CLIP, bounds=BOX)
    end = sample(energy, x, kernel, n_steps, generator=torch.Generator(x.device).manual_seed(1), fast=fast).x
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


def compare(name: str, energy: nn.Module, n: int, n_steps: int, cores: int, rounds: int) -> tuple[list, list]:
    """One table: the contenders on one energy at one batch, and the ratios of the others' times to ours."""
    torch.set_num_threads(cores)
    device = next(energy.parameters()).device
    x = torch.rand((n, *energy.event_shape), device=device) * 2 - 1
    contenders = {
        "bare gradient calls": bare_gradients(energy, x, n_steps),
        **{ours: this_package(energy, x, n_steps, fast) for ours, fast in SETTINGS.items()},
        "list of tensors, backward()": list_buffer(energy, x, n_steps, freeze=False),
        "list of tensors, backward(), frozen": list_buffer(energy, x, n_steps, freeze=True),
        "torchebm": torchebm_langevin(energy, x, n_steps),
    }
    seconds = measure({who: run for who, run in contenders.items() if run is not None}, rounds, device)

    def ratio(a: str, b: str) -> float:
        return round(statistics.median(s / t for s, t in zip(seconds[a], seconds[b], strict=True)), 3)

    where = {"energy": name, "cores": cores, "batch": n}
    rows = [
        {
            **where,
            "sampler": who,
            "steps": n_steps,
            "seconds": round(statistics.median(seconds[who]), 4),
            "quartiles": [round(q, 4) for q in statistics.quantiles(seconds[who], n=4)[::2]],
            "times_bare": ratio(who, "bare gradient calls"),
            "energy_at_the_end": energy_at_the_end(energy, x, n_steps, SETTINGS[who]) if who in SETTINGS else None,
        }
        for who in seconds
    ]
    ratios = []
    for other in seconds:
        for ours in SETTINGS if other not in SETTINGS else ():
            bar = BARS.get((other, ours, cores), {}).get(n) if name == "mnist" else None
            ratios.append({**where, "ratio": f"{other} / {ours}", "measured": ratio(other, ours), "bar": bar})
    return rows, ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="two at least")
    parser.add_argument("--energies", nargs="+", choices=ENERGIES, default=list(ENERGIES))
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--cores", type=int, nargs="+", help="one and all when left out")
    parser.add_argument("--steps", type=int, help="of every chain, in the place of each energy's own number")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "samplers.json")
    parser.add_argument("--untuned", action="store_true", help="leave the memory allocator as it is")
    args = parser.parse_args()
    if args.untuned:
        chain.keep_freed_memory = lambda: None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    random.seed(0)
    cores = args.cores or sorted({1, torch.get_num_threads()})
    described = busy_machine()

    rows, ratios = [], []
    print(described)
    for name in args.energies:
        card, untrained, n_steps = ENERGIES[name]
        trained = card in checkpoints.names()
        energy = (checkpoints.load(card) if trained else untrained()).to(device).eval()
        print(f"\n## {name}: {type(energy).__name__}, {'trained' if trained else 'random weights'}\n")
        print("| cores | batch | sampler | seconds | × bare gradients | energy at the end |\n|--:|--:|:--|--:|--:|--:|")
        for n_cores in cores:
            for n in args.batch:
                more, ratios_here = compare(name, energy, n, args.steps or n_steps, n_cores, args.rounds)
                rows += more
                ratios += ratios_here
                for row in more:
                    end = row["energy_at_the_end"]
                    shown = "" if end is None else f"{end[0]:.3f} ± {end[1]:.3f}"
                    times = f"{row['seconds']:.3f} | {row['times_bare']:.2f}"
                    print(f"| {n_cores} | {n} | {row['sampler']} | {times} | {shown} |")
    print("\n| energy | cores | batch | ratio | measured | bar |\n|:--|--:|--:|:--|--:|--:|")
    for r in ratios:
        bar = "" if r["bar"] is None else f"≥ {r['bar']}"
        print(f"| {r['energy']} | {r['cores']} | {r['batch']} | {r['ratio']} | {r['measured']:.2f} | {bar} |")
    # The page of the book shows one energy on all cores; the file has the rest beside it.
    shown = [row for row in rows if (row["energy"], row["cores"]) == (args.energies[0], cores[-1])]
    record = {
        "machine": {**described, "threads": cores[-1]},
        "settings": {
            "n_steps": shown[0]["steps"],
            "tuned_allocator": not args.untuned,
            "step_size": STEP,
            "noise": NOISE,
            "grad_clip": CLIP,
            "rounds": args.rounds,
        },
        "rows": shown,
        "others": [row for row in rows if row not in shown],
        "ratios": ratios,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
