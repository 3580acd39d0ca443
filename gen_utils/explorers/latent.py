"""Looking at what a latent-variable model's dimensions do: one code, and sliders to move it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..plotting.images import mosaic
from .shared import LivePicture


@torch.no_grad()
def move_code(model: nn.Module, image: Tensor, dims: Sequence[int], values: Sequence[float]) -> Tensor:
    """(C, H, W): the decoded code of one image, some of its dimensions set to new values.

    Args:
        model: has ``posterior`` and ``likelihood``; image: (C, H, W) in [-1, 1]; dims, values: of one length.

    Raises:
        ValueError: as many values as dimensions are needed.
    """
    if len(dims) != len(values):
        raise ValueError(f"{len(dims)} dimensions and {len(values)} values; give one value for each dimension")
    z = model.posterior(image[None]).mean.clone()
    z[0, list(dims)] = torch.as_tensor(values, dtype=z.dtype, device=z.device)
    return model.likelihood(z).mean[0].clamp(-1, 1)


@torch.no_grad()
def explorer_figure(model: nn.Module, image: Tensor, dims: Sequence[int], values: Sequence[float], title: str = ""):
    """Three panels: the image, its reconstruction, and the decoded code with the dimensions moved."""
    fig = Figure(figsize=(7, 2.8), layout="constrained")
    rebuilt = model.likelihood(model.posterior(image[None]).mean).mean[0].clamp(-1, 1)
    pictures = {"image": image, "reconstruction": rebuilt, "moved": move_code(model, image, dims, values)}
    for ax, (name, picture) in zip(fig.subplots(1, 3), pictures.items(), strict=True):
        ax.imshow(mosaic(picture[None].cpu(), 1))
        ax.set_title(name)
        ax.axis("off")
    fig.suptitle(title)
    return fig


def latent_explorer(model: nn.Module, images: Tensor, dims: Sequence[int], title: str = ""):
    """A slider for the image and one for each of ``dims``; every change decodes anew.

    Args:
        images: (N, C, H, W) in [-1, 1] to choose from; dims: the dimensions that get a slider.

    Returns:
        an ``ipywidgets.VBox``; show it as the last line of a cell. It needs a live kernel (``can_show_widgets``).
    """
    import ipywidgets as widgets

    which = widgets.IntSlider(value=0, min=0, max=len(images) - 1, description="image", continuous_update=False)
    moves = [
        widgets.FloatSlider(value=0.0, min=-3.0, max=3.0, step=0.1, description=f"z[{j}]", continuous_update=False)
        for j in dims
    ]
    picture = LivePicture(
        lambda: explorer_figure(model, images[which.value], dims, [move.value for move in moves], title), 700
    )

    @torch.no_grad()
    def start(_change=None) -> None:
        """The sliders begin at the image's own code."""
        code = model.posterior(images[which.value][None]).mean[0]
        for move, j in zip(moves, dims, strict=True):
            move.unobserve(picture.redraw, names="value")
            move.value = round(float(code[j].clamp(-3, 3)), 1)
            move.observe(picture.redraw, names="value")
        picture.redraw()

    which.observe(start, names="value")
    start()
    return widgets.VBox([which, *moves, picture.widget])
