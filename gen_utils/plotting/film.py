"""Animations with a slider, as self-contained HTML."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from html import escape

import matplotlib.pyplot as plt
from matplotlib import animation
from matplotlib.figure import Figure
from torch import Tensor

from .images import mosaic


def animate_chain(path: Tensor, steps: Sequence[int], title: str = "", *, columns: int | None = None) -> str:
    """An animation with a slider, as self-contained HTML (frames are embedded JPEGs).

    Args:
        path: (K, B, C, H, W); steps: the K step numbers, shown in the title.
    """
    columns = columns or math.ceil(math.sqrt(path.shape[1]))
    frames = [mosaic(states, columns) for states in path]
    # A figure outside pyplot: it must not be shown a second time, as a still.
    lines = textwrap.wrap(title, 42)
    height, above = 4.6 * frames[0].shape[0] / frames[0].shape[1], 0.15 + 0.25 * (len(lines) + 1)  # inches
    fig = Figure(figsize=(4.6, height + above), dpi=72, layout="none")
    fig.subplots_adjust(0, 0, 1, height / (height + above))
    ax = fig.subplots()
    picture = ax.imshow(frames[0], interpolation="nearest")
    ax.axis("off")

    def show(i: int):
        picture.set_data(frames[i])
        ax.set_title("\n".join([*lines, f"step {steps[i]}"]))
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
