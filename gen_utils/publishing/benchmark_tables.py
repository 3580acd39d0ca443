"""The benchmarks' tables, from the files that ``benchmarks/*.py`` wrote: for the book's page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from ..base.places import BENCHMARKS, BOOK
from . import chain_tables
from .benchmark_words import machine_words, markdown_table

PICTURE = BOOK / "_static" / "time_to_quality.png"


def was_run(name: str) -> bool:
    """Is there a file that ``benchmarks/NAME.py`` wrote?"""
    return (BENCHMARKS / f"{name}.json").exists()


def results_of(name: str) -> dict:
    """What ``benchmarks/NAME.py`` wrote.

    Raises:
        FileNotFoundError: it has not been run here.
    """
    return json.loads((BENCHMARKS / f"{name}.json").read_text(encoding="utf-8"))


def samplers() -> str:
    """The sampler benchmark."""
    return chain_tables.samplers(results_of("samplers"))


def old_and_new() -> str:
    """Trainings before and after their chains were dealt out."""
    return chain_tables.old_and_new(results_of("old_and_new"))


def data() -> str:
    """The data-loading benchmark."""
    found = results_of("data")
    settings = found["settings"]
    told = (
        f"An epoch of {settings['images']:,} images in batches of {settings['batch']}, as float32 in [−1, 1], in one "
        f"run of `python benchmarks/data.py` ({machine_words(found['machine'])}). Medians over rounds."
    )
    rows = [
        [r["loader"], r["data"] + (f", {r['moved']}" if r["moved"] else ""), f"{r['images_per_second']:,}",
         "" if r["loader"] == "this package" else f"{r['times_slower']:.1f}"]
        for r in found["rows"]
    ]  # fmt: skip
    return told + "\n\n" + markdown_table(["loader", "data", "images a second", "this package is × as fast"], rows)


def time_to_quality() -> str:
    """The workbook's recipes against the original ones, by the clock."""
    sections = []
    for found in sorted(results_of("time_to_quality").values(), key=lambda each: each["title"]):
        told = (
            f"**{found['title']}.** {found['told']}; features of `{found['judge']}`. One run of "
            f"`python benchmarks/time_to_quality.py`, one training after the other ({machine_words(found['machine'])})."
        )
        more = [key for key in ("as_asked", "accuracy") if key in _points(found)[0]]
        header = [
            "recipe",
            "seconds of training",
            "steps",
            "Fréchet distance",
            *(f"{m.replace('_', ' ')} (%)" for m in more),
        ]
        rows = [_row(name, point, more) for name, points in found["curves"].items() for point in points]
        sections.append(f"{told}\n\n{markdown_table(header, rows)}\n\n{_verdict(found)}")
    return "\n\n".join(sections)


def _points(found: dict) -> list[dict]:
    return [point for points in found["curves"].values() for point in points]


def _row(name: str, point: dict, more: list[str]) -> list[str]:
    if "diverged" in point:
        return [name, f"{point['seconds']:.0f}", "diverged", *["–"] * (1 + len(more))]
    values = [f"{point['frechet']:,.1f}", *(f"{point[key]:.1f}" for key in more)]
    return [name, f"{point['seconds']:.0f}", f"{point['steps']:,}", *values]


def _verdict(found: dict) -> str:
    """Ours after a minute against the best that theirs ever had, and against the goal."""
    minute, five, theirs = list(found["curves"].values())
    best = min((point for point in theirs if "frechet" in point), key=lambda point: point["frechet"])
    ours, end = minute[-1], theirs[-1]["seconds"]
    met = ours["frechet"] <= best["frechet"]
    words = (
        f"After {ours['seconds']:.0f} s ours has {ours['frechet']:,.1f}; the best of theirs in {end:.0f} s is "
        f"{best['frechet']:,.1f}. The bar, ours in a minute at least as good: {'met' if met else '**missed**'}."
    )
    if found["goal"] is not None:
        at = five[-1]
        goal_met = at["frechet"] <= found["goal"]
        words += (
            f" After {at['seconds']:.0f} s ours has {at['frechet']:,.1f}; the bar, {found['goal']:g} within five "
            f"minutes: {'met' if goal_met else '**missed**'}."
        )
    return words


def course() -> str:
    """Seconds and memory of every part."""
    return "\n\n".join(
        _quick_course(found) if profile == "quick" else _long_course(profile, found)
        for profile, found in results_of("course").items()
    )


def _quick_course(found: dict) -> str:
    told = f"Profile `quick`, one run of `python benchmarks/course.py` ({machine_words(found['machine'])})."
    rows = [[r["part"], f"{r['seconds']:.0f}", f"{r['peak_gb']:.1f}"] for r in found["rows"]]
    total, peak = sum(r["seconds"] for r in found["rows"]), max(r["peak_gb"] for r in found["rows"])
    together = found["together"]  # as `make book` runs it
    done, memory = f"{together['seconds']:.0f}", f"{together['peak_gb']:.1f}"
    rows.append(["**one after the other**", f"**{total:.0f}**", f"**{peak:.1f}**"])
    rows.append([f"**{together['jobs']} at a time**", f"**{done}**", f"**{memory}**"])
    values = {
        "all parts, quick (s)": together["seconds"],
        "the longest part, quick (s)": max(r["seconds"] for r in found["rows"]),
        "import beyond torch (s)": found["import_seconds"]["gen_utils beyond torch"],
        "read (s)": found.get("read_seconds", math.nan),
        "HTML (s)": found["html_seconds"],
        "peak of a part (GB)": peak,
    }
    held = {name: value for name, value in values.items() if name in found["bars"]}  # a file of before has fewer
    against = "; ".join(f"{name}: {value:.3g}, {_held(value, found['bars'][name])}" for name, value in held.items())
    return f"{told}\n\n{markdown_table(['part', 'seconds', 'peak memory (GB)'], rows)}\n\n{against}."


def _long_course(profile: str, found: dict) -> str:
    told = (
        f"Profile `{profile}`, by `python benchmarks/course.py --profile {profile}` "
        f"({machine_words(found['machine'])}). How long it takes is said at the head of each chapter."
    )
    largest = max(r["peak_gb"] for r in found["rows"])
    verdict = f"The largest: {largest:.1f} GB, {_held(largest, found['bars']['peak of a part (GB)'])}."
    rows = [[r["part"], f"{r['peak_gb']:.1f}"] for r in found["rows"]]
    return f"{told}\n\n{markdown_table(['part', 'peak memory (GB)'], rows)}\n\n{verdict}"


def _held(value: float, bar: float) -> str:
    return f"bar {bar:g}, {'met' if value <= bar else '**missed**'}"


def growth() -> str:
    """Times against sizes, with exponents."""
    found = results_of("growth")
    told = (
        f"Medians of {found['repeats']} repeats, one run of `python benchmarks/growth.py` "
        f"({machine_words(found['machine'])}); the exponent is of the power law through the larger half of the sizes."
    )
    rows = [
        [r["what"], r["against"], f"{r['rows'][0]['value']:,} … {r['rows'][-1]['value']:,}",
         f"{r['rows'][0]['seconds']:.3g} … {r['rows'][-1]['seconds']:.3g}", f"{r['exponent']:.2f}"]
        for r in found["rows"]
    ]  # fmt: skip
    large = [
        [r["covariance"].replace("_", " "), f"{r['seconds']:.2f}", f"{r['megabytes']:,}"]
        for r in found["gaussians_3072"]
    ]
    return (
        told + "\n\n" + markdown_table(["what", "against", "from … to", "seconds", "exponent"], rows)
        + "\n\nClass Gaussians at 3,072 dimensions (32×32 in colour), two classes of 500 images, fitted and drawn "
        "from:\n\n"
        + markdown_table(["covariance", "seconds", "memory added (MB)"], large)
    )  # fmt: skip


def gpu_chains() -> str:
    """Recorded chains against plain ones, on a GPU."""
    found = results_of("gpu_chains")
    told = (
        f"{found['n_steps']} Langevin steps on Part B's energy, in one run of `python benchmarks/gpu_chains.py` "
        f"({found['device']}, torch {found['machine']['torch'].split('+')[0]}). Medians; the recording is made once, "
        "at the third chain of a kind, by `sample` itself; its time is that of this whole chain."
    )
    rows = [
        [r["arithmetic"], str(r["batch"]), f"{1000 * r['plain']:.1f}", f"{1000 * r['replayed']:.1f}",
         f"{r['plain'] / r['replayed']:.1f}", f"{1000 * r['recording']:.0f}", _pays(r), f"{r['apart']:.1g}"]
        for r in found["rows"]
    ]  # fmt: skip
    header = [
        "arithmetic",
        "batch",
        "plain (ms)",
        "replayed (ms)",
        "×",
        "recording (ms)",
        "pays after",
        "largest difference",
    ]
    times = next(r["plain"] / r["replayed"] for r in found["rows"] if r["batch"] == 64 and r["arithmetic"] == "float32")
    verdict = f"The bar, five times as fast at batch 64: {'met' if times >= 5 else '**missed**'} ({times:.1f})."
    return f"{told}\n\n{markdown_table(header, rows)}\n\n{verdict}"


def _pays(row: dict) -> str:
    """Replays after which a recording has paid for itself."""
    saved = row["plain"] - row["replayed"]
    return f"{math.ceil((row['recording'] - row['plain']) / saved)} chains" if saved > 0 else "never"


SECTIONS: dict[str, tuple[str, Callable[[], str]]] = {
    "time_to_quality": ("How soon are samples good?", time_to_quality),
    "course": ("What does the course cost?", course),
    "samplers": ("What does a chain cost?", samplers),
    "old_and_new": ("What did the second core bring?", old_and_new),
    "gpu_chains": ("What does a recorded chain save on a GPU?", gpu_chains),
    "data": ("What does data loading cost?", data),
    "growth": ("How does the cost grow?", growth),
}


FIGURE = """```{figure} _static/time_to_quality.png
:alt: Fréchet distance against seconds of training, a panel a model, for the original recipe and for ours
:width: 100%

Within a panel, data, machine and judge are the same. The dashed line is the distance we aimed at within five minutes.
```"""


def page() -> str:
    """All benchmarks that have been run, a section each."""
    sections = []
    for name, (title, make) in SECTIONS.items():
        if was_run(name):
            drawn = name == "time_to_quality" and PICTURE.exists()  # by `python benchmarks/pictures.py`
            figure = f"{FIGURE}\n\n" if drawn else ""
            sections.append(f"## {title}\n\n{figure}{make()}")
    return "\n\n".join(sections)
