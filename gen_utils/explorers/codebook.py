"""The codebook explorer: change one token of an image and decode; sliders in a live notebook, a figure on paper.

``ipywidgets`` is imported only when the sliders are built, so everything else here works without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from ..plotting.images import mosaic
from .shared import LivePicture


@torch.no_grad()
def swap_token(model: nn.Module, tokens: Tensor, row: int, column: int, codes: Sequence[int] | Tensor) -> Tensor:
    """The images of one token grid (h, w) with the token at (row, column) replaced by each of n codes: (n, C, H, W).

    Raises:
        IndexError: a place outside the grid, or a code that the codebook does not have.
    """
    height, width = tokens.shape
    if not (0 <= row < height and 0 <= column < width):
        raise IndexError(f"({row}, {column}) is outside the grid of {height}×{width} tokens")
    grids = tokens.repeat(len(codes), 1, 1)
    grids[:, row, column] = torch.as_tensor(codes, device=tokens.device)
    return model.decode_tokens(grids).clamp(-1, 1)


@torch.no_grad()
def code_pictures(model: nn.Module, codes: Sequence[int] | Tensor, grid: tuple[int, int]) -> Tensor:
    """What each code paints when it fills the whole grid: (n, C, H, W)."""
    codes = torch.as_tensor(codes, device=model.codebook.device)
    return model.decode_tokens(codes[:, None, None].expand(-1, *grid)).clamp(-1, 1)


@torch.no_grad()
def explorer_figure(model: nn.Module, image: Tensor, row: int, column: int, code: int, title: str = "") -> Figure:
    """One image (C, H, W) in [-1, 1]: its reconstruction, its tokens, the decoded swap, and what the swap changed."""
    tokens = model.tokens(image[None])[0]
    before = model.decode_tokens(tokens[None]).clamp(-1, 1)
    after = swap_token(model, tokens, row, column, [code])
    fig = Figure(figsize=(9, 2.6), layout="constrained")
    axes = fig.subplots(1, 4)
    pixels = image.shape[-1] // tokens.shape[-1]
    for ax, picture, name in ((axes[0], before, "reconstruction"), (axes[2], after, f"token → {code}")):
        ax.imshow(mosaic(picture, 1))
        ax.add_patch(
            Rectangle((column * pixels - 0.5, row * pixels - 0.5), pixels, pixels, fill=False, ec="#D55E00", lw=1.5)
        )
        ax.set_title(name)
    draw_tokens(tokens, axes[1], mark=(row, column))
    axes[1].set_title(f"tokens; here {int(tokens[row, column])}")
    axes[3].imshow((after - before)[0].mean(0), cmap="RdBu_r", vmin=-1.5, vmax=1.5)
    axes[3].set_title("what changed")
    for ax in axes:
        ax.axis("off")
    fig.suptitle(title)
    return fig


def draw_tokens(tokens: Tensor, ax, *, mark: tuple[int, int] | None = None) -> None:
    """A grid of tokens (h, w) as numbers in boxes; equal tokens have equal shades."""
    ax.imshow(tokens, cmap="cividis", alpha=0.35)
    for (i, j), token in zip(
        torch.cartesian_prod(*map(torch.arange, tokens.shape)).tolist(), tokens.flatten(), strict=True
    ):
        ax.text(j, i, str(int(token)), ha="center", va="center", fontsize=6)
    if mark is not None:
        ax.add_patch(Rectangle((mark[1] - 0.5, mark[0] - 0.5), 1, 1, fill=False, ec="#D55E00", lw=1.5))
    ax.axis("off")


def codebook_explorer(model: nn.Module, images: Tensor, title: str = ""):
    """Sliders over image, place and code; every change decodes anew.

    Args:
        images: (N, C, H, W) in [-1, 1] to choose from.

    Returns:
        an ``ipywidgets.VBox``; show it as the last line of a cell. It needs a live kernel (``can_show_widgets``).
    """
    import ipywidgets as widgets

    with torch.no_grad():
        height, width = model.tokens(images[:1]).shape[1:]
    ends = {"image": len(images), "row": height, "column": width, "code": len(model.codebook)}
    sliders = {
        name: widgets.IntSlider(
            value=(n - 1) // 2 if name in ("row", "column") else 0, min=0, max=n - 1, description=name,
            continuous_update=False,
        )
        for name, n in ends.items()
    }  # fmt: skip

    def draw() -> Figure:
        values = {name: slider.value for name, slider in sliders.items()}
        return explorer_figure(model, images[values.pop("image")], **values, title=title)

    picture = LivePicture(draw, 900)
    for slider in sliders.values():
        slider.observe(picture.redraw, names="value")
    picture.redraw()
    return widgets.VBox([*sliders.values(), picture.widget])
