"""A small U-Net of images at a noise level: what a score network and a noise-conditional energy are both made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SmallUNet(nn.Module):
    """(B, C, H, W) and a number a picture (B,) -> (B, C, H, W), at half and a quarter of the resolution.

    Two by two pixels enter as one place: on a processor most of the time goes where the places are many. SiLU
    throughout: an energy made of it is differentiated twice. The last convolution begins at zero.

    Args:
        channels: of the images; size: their height and width, a multiple of four.
        width: channels at half the resolution; a quarter has twice as many.
        n_classes: of a network that is told a label, too, as one more vector; 0 for one without labels.
    """

    def __init__(self, channels: int, size: int, width: int, n_classes: int = 0) -> None:
        super().__init__()
        if size % 4:
            raise ValueError(f"size must be a multiple of 4, got {size}")
        wide, told = 2 * width, 4 * width
        self.label = nn.Embedding(n_classes, told) if n_classes else None
        if self.label is not None:
            nn.init.zeros_(self.label.weight)  # it begins as a network that heard nothing
        self.tell = nn.Sequential(Waves(width), nn.Linear(2 * width, told), nn.SiLU(), nn.Linear(told, told), nn.SiLU())
        self.enter = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.down = nn.ModuleList([_Block(width, width, told), _Block(width, wide, told)])
        self.middle = _Block(wide, wide, told)
        self.up = nn.ModuleList([_Block(2 * wide, wide, told), _Block(wide + width, width, told)])
        self.leave = nn.Sequential(
            nn.GroupNorm(_groups(width), width), nn.SiLU(), _zero(nn.Conv2d(width, 4 * channels, 3, padding=1))
        )

    def forward(self, x: Tensor, c: Tensor, labels: Tensor | None = None) -> Tensor:
        told = self.tell(c)
        if self.label is not None:
            if labels is None:
                raise ValueError("this network draws what a label asks for: pass labels (B,)")
            told = told + self.label(labels)
        fine = self.down[0](self.enter(F.pixel_unshuffle(x, 2)), told)
        coarse = self.down[1](F.avg_pool2d(fine, 2), told)
        h = self.up[0](torch.cat([self.middle(coarse, told), coarse], 1), told)
        h = self.up[1](torch.cat([F.interpolate(h, scale_factor=2.0), fine], 1), told)
        return F.pixel_shuffle(self.leave(h), 2)


class Waves(nn.Module):
    """A number (B,) as sines and cosines (B, 2 n) of fixed frequencies, from 1/4 to 64 radians a unit."""

    rate: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("rate", torch.logspace(-2, 6, n, base=2.0), persistent=False)

    def forward(self, c: Tensor) -> Tensor:
        angle = c[:, None] * self.rate
        return torch.cat([angle.sin(), angle.cos()], 1)


class _Block(nn.Module):
    """Two convolutions beside a straight way; the noise level scales and shifts between them."""

    def __init__(self, into: int, out: int, told: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(_groups(into), into), nn.SiLU(), nn.Conv2d(into, out, 3, padding=1))
        self.tell = nn.Linear(told, 2 * out)
        self.norm = nn.GroupNorm(_groups(out), out)
        self.second = _zero(nn.Conv2d(out, out, 3, padding=1))
        self.straight = nn.Identity() if into == out else nn.Conv2d(into, out, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.tell(told)[:, :, None, None].chunk(2, 1)
        h = self.norm(self.first(x)) * (1 + scale) + shift
        return (self.straight(x) + self.second(F.silu(h))) * math.sqrt(0.5)


def _groups(channels: int) -> int:
    return math.gcd(channels, 8)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
