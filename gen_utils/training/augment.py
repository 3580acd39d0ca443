"""Random changes of pictures that a gradient passes through: what a critic sees where there are few pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base.settings import not_negative


@dataclass(frozen=True)
class DiffAugment:
    """Every picture (C, H, W) of a batch in [-1, 1] is changed by draws of its own; the gradient goes through.

    A critic that has few pictures learns them by heart, and its gradient then leads back to those. It cannot, when it
    never sees the same one twice. *Both* kinds of pictures are changed, data and fakes, also in the generator's step:
    were it the data alone, the generator would learn to paint the changes.

    Attributes:
        colour: brightness, saturation and contrast: + U(-½, ½); × U(0, 2) of the difference to the mean of the
            channels; × U(½, 3/2) of the difference to the mean of the picture. Values may leave [-1, 1], as in the
            paper's code.
        translation: a shift by at most this share of the side, whole pixels, each as likely; 0 (grey) moves in.
        cutout: a grey square of this share of the side, its middle anywhere in the picture, parts outside cut off.

    Raises:
        ValueError: a share that is negative or above 1.

    Source: Zhao et al. (2020), "Differentiable augmentation for data-efficient GAN training".
    """

    colour: bool = True
    translation: float = 1 / 8
    cutout: float = 1 / 2

    def __post_init__(self) -> None:
        not_negative(translation=self.translation, cutout=self.cutout)
        for name in ("translation", "cutout"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name} is a share of the side, at most 1, got {getattr(self, name)}")

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), changed; ``generator`` lies where the pictures do."""
        if self.colour:
            x = _coloured(x, generator)
        if self.translation:
            x = _shifted(x, round(self.translation * x.shape[-1]), generator)
        if self.cutout:
            x = _cut(x, round(self.cutout * x.shape[-1]), generator)
        return x


def _coloured(x: Tensor, generator: torch.Generator | None) -> Tensor:
    brightness, saturation, contrast = torch.rand(
        3, len(x), 1, 1, 1, generator=generator, device=x.device, dtype=x.dtype
    )
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    level = x.mean((1, 2, 3), keepdim=True)
    return level + (x - level) * (contrast + 0.5)


def _shifted(x: Tensor, furthest: int, generator: torch.Generator | None) -> Tensor:
    n, _, height, width = x.shape
    down, right = torch.randint(-furthest, furthest + 1, (2, n, 1), generator=generator, device=x.device)
    rows = torch.arange(height, device=x.device) - down + furthest
    columns = torch.arange(width, device=x.device) - right + furthest
    # Grey all round, so that every place of the shifted picture has a place to come from.
    padded = F.pad(x, [furthest] * 4).permute(0, 2, 3, 1)
    which = torch.arange(n, device=x.device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cut(x: Tensor, side: int, generator: torch.Generator | None) -> Tensor:
    n, _, height, width = x.shape
    down = torch.randint(height, (n, 1), generator=generator, device=x.device) - side // 2
    right = torch.randint(width, (n, 1), generator=generator, device=x.device) - side // 2
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    in_rows = (rows >= down) & (rows < down + side)
    in_columns = (columns >= right) & (columns < right + side)
    return x.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)
