"""A network drawn from what it does: every layer's kind and the shape of what it gives, recorded in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from .style import COLOURS

_NAMES = {
    "ConvTranspose2d": "transposed conv", "Conv2d": "conv", "Linear": "dense", "BatchNorm2d": "batch norm",
    "InstanceNorm2d": "instance norm", "LeakyReLU": "leaky ReLU", "Unflatten": "unflatten", "Flatten": "flatten",
    "Tanh": "tanh", "ReLU": "ReLU", "SiLU": "SiLU",
}  # fmt: skip
_COLOURS = {"conv": COLOURS[0], "transposed conv": COLOURS[2], "dense": COLOURS[4]}
_PLAIN = ("batch norm", "instance norm", "leaky ReLU", "ReLU", "SiLU", "tanh", "unflatten", "flatten")


@dataclass(frozen=True)
class Layer:
    """One module without children: its kind, the shape (C, H, W) or (d,) of its output, its weights."""

    kind: str
    shape: tuple[int, ...]
    parameters: int
    detail: str = ""  # kernel and stride of a convolution


@torch.no_grad()
def trace_layers(network: nn.Module, example: Tensor) -> list[Layer]:
    """The layers in the order in which one pass of ``example`` (B, ...) goes through them."""
    found: list[Layer] = []

    def hook(module: nn.Module, _, out: Tensor) -> None:
        kind = type(module).__name__
        detail = ""
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            detail = f"{module.kernel_size[0]}×{module.kernel_size[1]}, stride {module.stride[0]}"
        if isinstance(module, nn.LeakyReLU) and module.negative_slope == 0:
            kind = "ReLU"
        count = sum(p.numel() for p in module.parameters())
        found.append(Layer(_NAMES.get(kind, kind), tuple(out.shape[1:]), count, detail))

    leaves = [module for module in network.modules() if not list(module.children())]
    handles = [module.register_forward_hook(hook) for module in leaves]
    modes = [(module, module.training) for module in network.modules()]
    network.eval()  # a batch norm must not take this pass into its averages
    try:
        network(example)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return found


def layer_rows(layers: Sequence[Layer]) -> list[dict]:
    """One row a layer, for ``report.table``."""
    return [
        {
            "layer": " ".join(filter(None, (layer.kind, layer.detail))),
            "gives": "×".join(map(str, layer.shape)),
            "weights": f"{layer.parameters:,}" if layer.parameters else "–",
        }
        for layer in layers
    ]


def draw_network(layers: Sequence[Layer], title: str = "", *, source: tuple[int, ...] | None = None, ax=None) -> None:
    """Boxes from left to right, one a dense or convolution layer; what follows it stands in its label.

    A box is as high as the map's side and as wide as the logarithm of its channels; a vector is a thin bar.

    Args:
        source: shape of the input, drawn first.
    """
    blocks: list[tuple[tuple[int, ...], list[str], str]] = []
    if source is not None:
        blocks.append((source, ["input"], "#999999"))
    for layer in layers:
        if layer.kind in _PLAIN and blocks:
            shape = layer.shape if layer.kind == "unflatten" else blocks[-1][0]
            blocks[-1] = (shape, [*blocks[-1][1], layer.kind], blocks[-1][2])
        else:
            colour = _COLOURS.get(layer.kind, COLOURS[3])
            blocks.append((layer.shape, [" ".join(filter(None, (layer.kind, layer.detail)))], colour))
    if ax is None:
        _, ax = plt.subplots(figsize=(9.4, 3.6))
    tallest = max([shape[-1] for shape, *_ in blocks if len(shape) == 3], default=1)
    for i, (shape, labels, colour) in enumerate(blocks):
        if len(shape) == 3:
            height, width = shape[1] / tallest, 0.08 + 0.06 * max(0.0, torch.tensor(float(shape[0])).log2().item())
        else:
            height, width = 0.25 + 0.6 * min(1.0, shape[0] / 256) if shape else 0.06, 0.06
        ax.add_patch(Rectangle((i - width / 2, 0.5 - height / 2), width, height, facecolor=colour, alpha=0.75, lw=0))
        ax.text(i, 1.06, "×".join(map(str, shape)) or "1", ha="center", va="bottom", fontsize=8)
        ax.text(i, -0.06, "\n".join(labels).replace(", ", "\n"), ha="center", va="top", fontsize=7)
        if i:
            ax.annotate("", (i - 0.36, 0.5), (i - 0.64, 0.5), arrowprops={"arrowstyle": "->", "color": "#555555"})
    ax.set(xlim=(-0.6, len(blocks) - 0.4), ylim=(-0.62, 1.18), title=title)
    ax.axis("off")
