"""Curves and histograms by name.

The functions draw on the axes they are given or on a new figure and return nothing, so that a call may end a
cell without the figure being shown twice; ``plt.gcf()`` is the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor


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
    if ax.get_legend_handles_labels()[1]:  # a line too short to be smoothed has no name
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
