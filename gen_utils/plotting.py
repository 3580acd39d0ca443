"""Figures: grids, strips of a chain, curves, and an animation that scrubs. Colours suit colour-blind readers.

The functions draw on the axes they are given or on a new figure and return nothing, so that a call may end a
cell without the figure being shown twice; ``plt.gcf()`` is the figure.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from html import escape

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import animation
from matplotlib.figure import Figure
from torch import Tensor

from .data import to_float

# Okabe & Ito (2008): eight colours that stay apart for readers with any common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


def use_style() -> None:
    """The workbook's look; call it once at the top of a notebook."""
    plt.rcParams.update(
        {
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.alpha": 0.3,
            "figure.dpi": 110,
            "figure.max_open_warning": 0,  # a script shows nothing, and a notebook closes each after its cell
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 11,
            "legend.frameon": False,
            "animation.frame_format": "jpeg",
        }
    )


def mosaic(images: Tensor, columns: int, *, gap: int = 2) -> np.ndarray:
    """(N, C, H, W), uint8 or floats in [-1, 1] -> one (H', W', 3) uint8 picture, white between the images."""
    images = (to_float(images) if images.dtype == torch.uint8 else images).detach().cpu().float()
    n, channels, height, width = images.shape
    rows = math.ceil(n / columns)
    picture = torch.ones(3, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for i, image in enumerate(images.clamp(-1, 1)):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        picture[:, top : top + height, left : left + width] = image.expand(3, -1, -1) if channels == 1 else image
    return ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()


def image_grid(
    images: Tensor, title: str = "", *, columns: int | None = None, ax=None, width: float | None = None
) -> None:
    """A grid of images (N, C, H, W), uint8 or floats in [-1, 1]."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    picture = mosaic(images, columns)
    if ax is None:
        width = width or min(9.0, 0.6 * columns)
        height = width * picture.shape[0] / picture.shape[1]
        _, ax = plt.subplots(figsize=(width, height + (0.4 if title else 0)))
    ax.imshow(picture, interpolation="nearest")
    ax.set_title(title, wrap=True)
    ax.axis("off")


def chain_strip(
    path: Tensor,
    steps: Sequence[int],
    title: str = "",
    *,
    n_chains: int | None = None,
    xlabel: str = "step of the chain",
) -> None:
    """Chains as strips of film: one row a chain, one column a kept state.

    Args:
        path: (K, B, C, H, W), such as ``chain.path``; steps: the K step numbers.
    """
    path = path[:, :n_chains]
    k = len(path)
    image_grid(path.transpose(0, 1).flatten(0, 1), title, columns=k, width=min(9.0, 0.85 * k))
    ax, width = plt.gca(), path.shape[-1] + 2
    ax.axis("on")
    ax.grid(False)
    ax.set_xticks([i * width + path.shape[-1] / 2 for i in range(k)], [str(s) for s in steps])
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.set_xlabel(xlabel)
    for spine in ax.spines.values():
        spine.set_visible(False)


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str = "",
    *,
    xlabel: str = "optimiser step",
    ylabel: str = "",
    smooth: int = 1,
    ax=None,
) -> None:
    """Lines by name, each (x values, y values); ``smooth`` averages over so many points, the raw line stays faint."""
    if ax is None:
        _, ax = plt.subplots(figsize=(7, 3.2))
    for name, (x, y) in lines.items():
        (line,) = ax.plot(x, y, alpha=0.25 if smooth > 1 else 1.0, label=None if smooth > 1 else name)
        if smooth > 1 and len(y) >= smooth:
            mean = np.convolve(y, np.ones(smooth) / smooth, mode="valid")
            ax.plot(x[smooth - 1 :], mean, color=line.get_color(), label=name)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.legend()


def histograms(values: Mapping[str, Tensor], title: str = "", *, xlabel: str = "energy", bins: int = 60) -> None:
    """Overlaid histograms by name, on common bins that leave out the outermost half per cent."""
    everything = torch.cat([v.detach().flatten().float().cpu() for v in values.values()])
    low, high = torch.quantile(everything, torch.tensor([0.005, 0.995])).tolist()
    edges = np.linspace(low, high, bins + 1)
    _, ax = plt.subplots(figsize=(7, 3.4))
    for name, v in values.items():
        ax.hist(
            v.detach().cpu().numpy().clip(low, high), edges, histtype="stepfilled", alpha=0.45, label=name, density=True
        )
    ax.set(title=title, xlabel=xlabel, ylabel="density")
    ax.legend()


def animate_chain(path: Tensor, steps: Sequence[int], title: str = "", *, columns: int | None = None) -> str:
    """An animation with a slider, as self-contained HTML (frames are embedded JPEGs).

    Args:
        path: (K, B, C, H, W); steps: the K step numbers, shown in the title.
    """
    columns = columns or math.ceil(math.sqrt(path.shape[1]))
    frames = [mosaic(states, columns) for states in path]
    # A figure outside pyplot: it must not be shown a second time, as a still.
    fig = Figure(figsize=(4.6, 4.6 * frames[0].shape[0] / frames[0].shape[1] + 0.4), dpi=72, layout="none")
    fig.subplots_adjust(0, 0, 1, 0.92)
    ax = fig.subplots()
    picture = ax.imshow(frames[0], interpolation="nearest")
    ax.axis("off")

    def show(i: int):
        picture.set_data(frames[i])
        ax.set_title(f"{title} – step {steps[i]}" if title else f"step {steps[i]}")
        return (picture,)

    film = animation.FuncAnimation(fig, show, frames=len(frames), interval=120)
    return film_html(film, f"{title or 'Chains'}: {len(frames)} frames, from step {steps[0]} to step {steps[-1]}")


def film_html(film: animation.FuncAnimation, alt: str = "An animation; the slider chooses the frame") -> str:
    """An animation as HTML that asks no other host for anything, its frames as JPEGs (a tenth of PNG's size).

    Args:
        alt: what it shows, for readers who cannot see it.
    """
    # No rc_context: entered before a notebook's first figure, it would undo on leaving the switch to inline drawing
    # that comes with that figure, and no later figure would be shown.
    before = plt.rcParams["animation.frame_format"]
    plt.rcParams["animation.frame_format"] = "jpeg"
    try:
        html = film.to_jshtml(default_mode="once")
    finally:
        plt.rcParams["animation.frame_format"] = before
    html = re.sub(r"<link[^>]*>", "", html)  # the buttons' icons come with the book and with JupyterLab
    html = re.sub(r"""<img id=(["']?)_anim_img""", rf'<img alt="{escape(alt)}" id=\1_anim_img', html)
    return re.sub(r"""<input id=(["']?)_anim_slider""", r'<input aria-label="frame" id=\1_anim_slider', html)


def display_html(html: str) -> None:
    """Show HTML in a notebook; a script has nowhere to show it."""
    if "ipykernel" in sys.modules:
        from IPython.display import HTML, display

        display(HTML(html))
