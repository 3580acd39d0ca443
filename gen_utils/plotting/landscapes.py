"""Densities in the plane: shades, contour lines, states over them, and a film of walkers."""

from __future__ import annotations

import torch
from matplotlib import animation
from matplotlib.figure import Figure
from torch import Tensor

from .film import film_html


def density_on(target, n: int = 160, margin: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """x (n,), y (n,) and the exact density (n, n), rows along y, over the target's extent and a margin around it."""
    x_low, x_high, y_low, y_high = target.extent
    dx, dy = margin * (x_high - x_low), margin * (y_high - y_low)
    x = torch.linspace(x_low - dx, x_high + dx, n, dtype=torch.float64)
    y = torch.linspace(y_low - dy, y_high + dy, n, dtype=torch.float64)
    u, v = torch.meshgrid(x, y, indexing="xy")
    energy = target(torch.stack((u.flatten(), v.flatten()), dim=1))
    return x, y, torch.exp(-energy - target.log_z).reshape(n, n)


def draw_density(target, ax, *, lines: bool = False) -> None:
    """The exact density as shades, or as thin contour lines to draw samples over."""
    x, y, density = density_on(target)
    if lines:
        levels = (density.max() * torch.tensor([0.05, 0.3, 0.7])).tolist()
        ax.contour(x, y, density, levels, colors="black", linewidths=0.6, alpha=0.6)
    else:
        ax.contourf(x, y, density, 24, cmap="cividis")
    x_low, x_high, y_low, y_high = target.extent
    ax.set(xlim=(x_low, x_high), ylim=(y_low, y_high), xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def draw_states(target, states: Tensor, ax, *, color: str = "#D55E00", size: float = 3) -> None:
    """States (N, 2) as points over the contour lines of the exact density."""
    draw_density(target, ax, lines=True)
    ax.scatter(states[:, 0], states[:, 1], s=size, color=color, alpha=0.5, linewidths=0)


def chain_film(target, paths: dict[str, Tensor], frames: list[int], unit: str = "gradient calls") -> str:
    """An animation with a slider, as self-contained HTML: one panel a name, states over the exact density.

    Args:
        paths: (K, B, 2) by name, all of one length K; frames: the K numbers shown in the title, counts of ``unit``.
    """
    fig = Figure(figsize=(2.7 * len(paths), 3.1), dpi=80, layout="none")
    axes = fig.subplots(1, len(paths), squeeze=False)
    fig.subplots_adjust(0.01, 0.01, 0.99, 0.84, wspace=0.04)
    dots = []
    for ax, (name, path) in zip(axes[0], paths.items(), strict=True):
        draw_density(target, ax, lines=True)
        ax.set_title(name, fontsize=10)
        dots.append(ax.plot(*path[0].T, "o", ms=2, color="#D55E00", alpha=0.5, mew=0)[0])

    def show(i: int):
        for dot, path in zip(dots, paths.values(), strict=True):
            dot.set_data(*path[i].T)
        fig.suptitle(f"after {frames[i]} {unit}", fontsize=10)
        return dots

    film = animation.FuncAnimation(fig, show, frames=len(frames), interval=150)
    return film_html(film, f"{', '.join(paths)}: walkers on the density, {frames[0]} to {frames[-1]} {unit}")
