"""Fill the README's figures from the files the runs wrote, so that none is typed in.

    python benchmarks/readme.py

replaces what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` for NAME = results, performance, and draws
the picture at the top with the shipped model.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def machine_words(machine: dict) -> str:
    """One machine, in words."""
    return f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch'].split('+')[0]}"


def results() -> str:
    """What the kept run of Part B recorded."""
    paths = [ROOT / "results" / f"02_ebm_mnist.{profile}.json" for profile in ("full", "laptop")]
    kept = json.loads(next(path for path in paths if path.exists()).read_text())
    r = kept["records"]
    auroc = ", ".join(f"{name} {value:.2f}" for name, value in r["auroc"].items())
    return (
        f"Part B, profile `{kept['profile']}` on {r['data']}: {r['train_steps']:,} steps in "
        f"{r['train_seconds'] / 60:.1f} minutes ({machine_words(kept['machine'])}). Fréchet distance of "
        f"{r['frechet_n']:,} fresh 256-step chains from uniform noise, in the features of the shipped digit "
        f"classifier: **{r['frechet_fresh']:.1f}** (real against real {r['frechet_real']:.1f}, uniform noise "
        f"{r['frechet_noise']:,.0f}). Outliers, AUROC: {auroc}."
    )


def performance() -> str:
    """The benchmarks that have been run."""
    return "\n\n".join(part() for name, part in BENCHMARKS.items() if measured(name) is not None)


def measured(name: str) -> dict | None:
    """What ``benchmarks/NAME.py`` wrote, or None."""
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def samplers() -> str:
    """The sampler benchmark."""
    found = measured("samplers")
    n_steps = found["settings"]["n_steps"]
    lines = [
        f"{n_steps} Langevin steps on Part B's energy, in one run of `python benchmarks/samplers.py` "
        f"({machine_words(found['machine'])}). Times are medians; the gradient calls alone are the floor.",
        "",
        "| batch | sampler | seconds | × the bare gradient calls |",
        "|--:|:--|--:|--:|",
    ]
    lines += [f"| {r['batch']} | {r['sampler']} | {r['seconds']:.3f} | {r['times_bare']:.2f} |" for r in found["rows"]]
    return "\n".join(lines)


def data() -> str:
    """The data-loading benchmark."""
    found = measured("data")
    settings = found["settings"]
    lines = [
        f"An epoch of {settings['images']:,} images in batches of {settings['batch']}, as float32 in [−1, 1], in one "
        f"run of `python benchmarks/data.py` ({machine_words(found['machine'])}). Medians over rounds.",
        "",
        "| data | with | loader | images a second | this package is × as fast |",
        "|:--|:--|:--|--:|--:|",
    ]
    for r in found["rows"]:
        shown = "" if r["loader"] == "this package" else f"{r['times_slower']:.1f}"
        lines.append(f"| {r['data']} | {r['moved']} | {r['loader']} | {r['images_per_second']:,} | {shown} |")
    return "\n".join(lines)


BENCHMARKS = {"samplers": samplers, "data": data}


def picture() -> None:
    """Chains of the shipped MNIST energy, from uniform noise: ``book/_static/ebm_mnist.png``."""
    import torch
    from PIL import Image

    from gen_utils import checkpoints
    from gen_utils.plotting import mosaic
    from gen_utils.samplers import Langevin, UniformStart, sample

    stream = torch.Generator().manual_seed(0)
    start = UniformStart((1, 28, 28)).draw(7, generator=stream)
    kernel = Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))
    chain = sample(checkpoints.load("ebm_mnist"), start, kernel, 256, keep_every=1, generator=stream)
    steps = [1, 2, 3, 4, 6, 8, 11, 16, 32, 64, 128, 256]
    film = torch.stack([start, *(chain.path[step - 1] for step in steps)], dim=1).flatten(0, 1)
    image = Image.fromarray(mosaic(film, len(steps) + 1))
    image.resize((3 * image.width, 3 * image.height), Image.NEAREST).save(ROOT / "book" / "_static" / "ebm_mnist.png")


def fill(text: str, name: str, content: str) -> str:
    """The text with the marked part replaced."""
    pattern = re.compile(rf"(<!-- {name} -->).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"README.md has no part marked <!-- {name} --> … <!-- /{name} -->")
    return pattern.sub(lambda match: f"{match[1]}\n{content}\n{match[2]}", text)


if __name__ == "__main__":
    path = ROOT / "README.md"
    text = path.read_text()
    has_run = any(measured(name) is not None for name in BENCHMARKS)
    for part in (results, performance) if has_run else (results,):
        text = fill(text, part.__name__, part())
    path.write_text(text)
    picture()
