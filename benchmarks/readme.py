"""Fill the README's figures from the files the runs wrote, so that none is typed in.

    python benchmarks/readme.py

replaces what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` for NAME = results, performance, gallery, draws
the picture at the top with the shipped model, and the book's curves of time to quality.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gen_utils.publishing.benchmark_tables import PICTURE, SECTIONS, results_of, was_run  # noqa: E402
from gen_utils.publishing.benchmark_words import machine_words  # noqa: E402
from gen_utils.shipped.registry import MODELS  # noqa: E402


def results() -> str:
    """What the kept run of Part B recorded."""
    paths = [ROOT / "results" / f"02_ebm_mnist.{profile}.json" for profile in ("full", "laptop")]
    kept = json.loads(next(path for path in paths if path.exists()).read_text(encoding="utf-8"))
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
    """The benchmarks of samplers and data; the book's page has all."""
    return "\n\n".join(SECTIONS[name][1]() for name in ("samplers", "old_and_new", "data") if was_run(name))


def gallery() -> str:
    """One strip a part: the pictures beside the cards, made by ``models evaluate --write``."""
    lines = []
    for name, part in ((row.name, row.part) for row in MODELS.values() if row.part):
        path = ROOT / "checkpoints" / f"{name}.png"
        if path.exists():
            card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            shown = (
                "held-out images, and under each row its reconstructions"
                if name.startswith("vqvae")
                else "samples, not selected"
            )
            picture = f"![{name}: {shown}]({path.relative_to(ROOT).as_posix()})"
            lines.append(f"`{name}` (`{part}`, {card['data']}): {shown}\n\n{picture}")
    return "\n\n".join(lines)


def curves() -> None:
    """Time to quality as a picture, a panel a model: ``book/_static/time_to_quality.png``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    from gen_utils.plotting import plt, use_style

    contests = results_of("time_to_quality") if was_run("time_to_quality") else None
    if contests is None:
        return
    use_style()
    fig, axes = plt.subplots(1, len(contests), figsize=(3.6 * len(contests), 3.4), squeeze=False)
    for ax, found in zip(axes[0], sorted(contests.values(), key=lambda each: each["title"]), strict=True):
        for name, points in found["curves"].items():
            seen = [point for point in points if "frechet" in point]
            ax.plot([p["seconds"] for p in seen], [p["frechet"] for p in seen], "o-", ms=4, label=name)
        if found["goal"] is not None:
            ax.axhline(found["goal"], color="black", lw=0.8, ls="--")
        ax.set(xlabel="seconds of training", yscale="log", title=found["title"])
        ax.yaxis.set_major_formatter(ScalarFormatter())  # 100 and not 10²
        ax.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        ax.legend(fontsize=7)
    axes[0, 0].set_ylabel("Fréchet distance")
    fig.savefig(PICTURE, dpi=110)


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
    text = path.read_text(encoding="utf-8")
    for part in (results, performance, gallery):
        text = fill(text, part.__name__, part())
    path.write_text(text, encoding="utf-8")
    picture()
    curves()
