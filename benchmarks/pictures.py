"""The pictures of the README and of the page on performance, drawn from what is kept, so that none is drawn by hand.

    python benchmarks/pictures.py

draws chains of the shipped model, ``book/_static/ebm_mnist.png``, and the curves of time to quality.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gen_utils.publishing.benchmark_tables import PICTURE, results_of, was_run  # noqa: E402


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


if __name__ == "__main__":
    picture()
    curves()
