"""The tables of what a chain costs, from the files of ``benchmarks/samplers.py`` and ``benchmarks/old_and_new.py``."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from .benchmark_words import machine_words, markdown_table

OURS, FAST, RIVAL = "this package", "this package, fast=True", "torchebm"
NAMES = {
    "bare gradient calls": "gradients alone",
    "list of tensors, backward(), frozen": "list, frozen",
    RIVAL: RIVAL,
    OURS: "ours",
    FAST: "ours, `fast`",
}
ENERGIES = {"mnist": "MNIST", "bitmoji": "Bitmoji", "cifar": "CIFAR-10"}
TRAININGS = {"mnist": "B: MNIST", "bitmoji": "A: Bitmoji", "jem": "D: joint model"}


def samplers(found: Mapping) -> str:
    """Seconds of a chain by energy, cores and batch; the bars; and what more cores would give."""
    told = (
        f"Seconds for a chain of Langevin steps on three trained energies, in one run of "
        f"`python benchmarks/samplers.py` ({machine_words(found['machine'])}; medians of {found['settings']['rounds']} "
        "rounds, in which the samplers take turns). *Gradients alone* is a loop that asks for gradients and does "
        "nothing else, with as many threads inside PyTorch as there are cores; *list, frozen* the usual loop over a "
        "Python list of samples, its weights frozen. The last column is how many times as fast as torchebm ours is, "
        "first as it is, then with `fast=True`."
    )
    seconds: dict[tuple, dict[str, float]] = {}
    for row in [*found["rows"], *found.get("others", [])]:
        where = (row["energy"], row["cores"], row["batch"], row["steps"])
        seconds.setdefault(where, {})[row["sampler"]] = row["seconds"]
    shown = [name for name in NAMES if any(name in times for times in seconds.values())]
    rows = []
    for (energy, cores, batch, steps), times in sorted(seconds.items(), key=_place):
        rival = [_ratio(found, energy, cores, batch, f"{RIVAL} / {ours}") for ours in (OURS, FAST)]
        rows.append(
            [f"{ENERGIES.get(energy, energy)}, {steps} steps", str(cores), str(batch)]
            + [f"{times[name]:.3f}" if name in times else "–" for name in shown]
            + [" · ".join(f"{each:.2f}" for each in rival if each is not None) or "–"]
        )
    header = ["energy", "cores", "batch", *(NAMES[name] for name in shown), "× torchebm"]
    return "\n\n".join([told, markdown_table(header, rows), _bars(found), _more_cores(seconds)]).strip()


def _place(item: tuple[tuple, object]) -> tuple:
    """Where a row of the table stands: by energy, as they are listed, then by cores and batch."""
    energy, *rest = item[0]
    return list(ENERGIES).index(energy) if energy in ENERGIES else len(ENERGIES), energy, *rest


def _ratio(found: Mapping, energy: str, cores: int, batch: int, ratio: str) -> float | None:
    for row in found["ratios"]:
        if (row["energy"], row["cores"], row["batch"], row["ratio"]) == (energy, cores, batch, ratio):
            return row["measured"]
    return None


def _bars(found: Mapping) -> str:
    """A line a bar that was set: met, or by how much it is missed."""
    lines = []
    for row in found["ratios"]:
        if row["bar"] is None:
            continue
        other, ours = (NAMES.get(name, name) for name in row["ratio"].split(" / "))
        verdict = "met" if row["measured"] >= row["bar"] else f"**missed** by {1 - row['measured'] / row['bar']:.0%}"
        lines.append(
            f"- {ENERGIES.get(row['energy'], row['energy'])}, {_cores(row['cores'])}, batch {row['batch']}: {ours} is "
            f"{row['measured']:.2f} times as fast as {other}; the bar of {row['bar']:g}: {verdict}."
        )
    return "\n".join(lines)


def _more_cores(seconds: Mapping[tuple, Mapping[str, float]]) -> str:
    """The measured gain of two cores over one, and what a share that does not divide would leave of four and eight."""
    rows = []
    for (energy, cores, batch, steps), times in seconds.items():
        one = seconds.get((energy, 1, batch, steps))
        if cores != 2 or one is None or OURS not in times or OURS not in one:
            continue
        gain = one[OURS] / times[OURS]
        fixed = min(1.0, max(0.0, 2 / gain - 1))  # Amdahl's law, solved for what stays on one core
        predicted = [f"{1 / (fixed + (1 - fixed) / n):.1f}" for n in (4, 8)]
        rows.append([ENERGIES.get(energy, energy), str(batch), f"{gain:.2f}", f"{fixed:.0%}", *predicted])
    if not rows:
        return ""
    told = (
        "Two cores against one, measured, and a model of more: if a part of the work stays on one core (Amdahl's law), "
        "the measured gain says how large it is, and that says what four and eight cores would give at most. The "
        "columns for four and eight are computed, not measured; caches and memory are shared, and a share needs eight "
        "chains."
    )
    header = ["energy", "batch", "two cores ×", "does not divide", "four ×, model", "eight ×, model"]
    return f"{told}\n\n{markdown_table(header, rows)}"


def old_and_new(found: Mapping) -> str:
    """The same trainings before and after chains were dealt out to the cores."""
    told = (
        f"The same training, seed and number of steps, by commit `{found['old']}`, which ran chains undivided, and by "
        f"`{found['commit']}`, in turns: `python benchmarks/old_and_new.py` ({machine_words(found['machine'])}). Both "
        "walk the same way, so that they come to the same distance; medians, and the ratio's is that of the pairs."
    )
    rows = []
    for name, training in found["trainings"].items():
        old, new = (training["runs"][which] for which in ("old", "new"))
        rows.append([
            TRAININGS.get(name, name),
            f"{training['steps']:,}",
            *(f"{statistics.median(run['seconds'] for run in runs):.1f}" for runs in (old, new)),
            f"{training['ratio']:.2f}",
            *(f"{statistics.median(run['frechet'] for run in runs):.1f}" for runs in (old, new)),
        ])  # fmt: skip
    header = ["training", "steps", "seconds before", "seconds now", "×", "Fréchet distance before", "now"]
    missed = [str(TRAININGS.get(name, name)) for name, each in found["trainings"].items() if each["ratio"] < 1.3]
    verdict = f"**missed** by {', '.join(missed)}" if missed else "met by all"
    return f"{told}\n\n{markdown_table(header, rows)}\n\nThe bar, 1.3 times as fast: {verdict}."


def _cores(n: int) -> str:
    return "one core" if n == 1 else f"{n} cores"
