"""Pictures of images: mosaics, grids, strips of a chain.

The functions draw on the axes they are given or on a new figure and return nothing, so that a call may end a
cell without the figure being shown twice; ``plt.gcf()`` is the figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from ..data import to_float


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
