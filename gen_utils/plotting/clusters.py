"""Figures of clusters: silhouettes against K, matrices with numbers in them, and scatter plots by colour.

All draw on the axes they are given and return nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from .style import COLOURS


def silhouette_curves(scans: Mapping[str, Sequence[dict]], ax, *, title: str = "") -> None:
    """Mean silhouette against K, one line a representation; the band runs from the worst to the best seed.

    Args:
        scans: name -> rows with ``k``, ``seed`` and ``silhouette``, such as ``clustering.scan_k`` returns.
    """
    for colour, (name, rows) in zip(COLOURS, scans.items(), strict=False):
        ks = sorted({row["k"] for row in rows})
        values = [[row["silhouette"] for row in rows if row["k"] == k] for k in ks]
        means = [np.mean(v) for v in values]
        ax.plot(ks, means, marker="o", ms=3, color=colour, label=name)
        ax.fill_between(ks, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.2, lw=0)
        best = int(np.argmax(means))
        ax.plot(ks[best], means[best], marker="o", ms=9, mfc="none", color=colour)
    ax.set(xscale="log", xlabel="number of clusters K", ylabel="mean silhouette", title=title)
    ax.set_xticks(ks, [str(k) for k in ks])
    ax.minorticks_off()


def number_matrix(
    table: np.ndarray,
    ax,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    form: str = "{:.0f}",
    size: float = 6.5,
) -> None:
    """A matrix as shades with the numbers written in; zeros are left blank."""
    table = np.asarray(table, dtype=float)
    ax.imshow(table, cmap="Blues", vmin=0, vmax=max(table.max(), 1e-9), aspect="auto")
    for (i, j), value in np.ndenumerate(table):
        text = form.format(value)
        if float(text.replace(",", "")) != 0:
            dark = value > 0.6 * table.max()
            ax.text(j, i, text, ha="center", va="center", fontsize=size, color="white" if dark else "black")
    ax.set_xticks(range(table.shape[1]), columns if columns is not None else range(table.shape[1]))
    ax.set_yticks(range(table.shape[0]), rows if rows is not None else range(table.shape[0]))
    ax.tick_params(length=0, labelsize=7)
    if columns is not None and max(map(len, columns)) > 2:
        ax.tick_params(axis="x", rotation=60)
    ax.grid(False)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.spines[:].set_visible(False)


def coloured_points(points: np.ndarray, groups: np.ndarray, ax, *, names: Sequence[str], title: str = "") -> None:
    """Points (N, 2) in the plane, one colour a group, with the group's name at its median."""
    shades = plt.get_cmap("tab20" if len(names) > 10 else "tab10")
    for g, name in enumerate(names):
        here = points[groups == g]
        if len(here):
            ax.scatter(here[:, 0], here[:, 1], s=4, color=shades(g % shades.N), linewidths=0, alpha=0.7)
            box = {"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1}
            ax.text(*np.median(here, axis=0), name, fontsize=7, ha="center", va="center", bbox=box)
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)
