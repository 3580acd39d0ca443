"""Drawn Persian digits: ۰ to ۹ from a font, bent and inked differently each time. Stands in for Hoda."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional as F

_SIDE = 28
_FINE = 4  # the templates are drawn so many times finer than the images
_ZERO = 0x06F0  # EXTENDED ARABIC-INDIC DIGIT ZERO; one to nine follow
_COUNT = {"train": 6_000, "test": 1_000}
_SEED = {"train": 1384, "test": 1385}


def drawn_persian_digits(split: str) -> tuple[Tensor, Tensor]:
    """The ten Persian digits of DejaVu Sans, each with its own slant, size, place, wobble and stroke width.

    Returns:
        images (N, 1, 28, 28) uint8, white on black, and labels (N,) int64, as many of each digit: 6,000 train or
        1,000 test, the same on every call.
    """
    n = _COUNT[split]
    generator = torch.Generator().manual_seed(_SEED[split])
    labels = (torch.arange(n) % 10)[torch.randperm(n, generator=generator)]

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    scale = uniform(0.8, 1.15)
    # A picture's pixel asks the template where its ink comes from, so this is the inverse of what the digit undergoes.
    inverse = _inverse_affine(
        angle=uniform(-0.25, 0.25), shear=uniform(-0.3, 0.3), width=scale * uniform(0.8, 1.25), height=scale
    )
    shift = torch.stack([uniform(-2, 2), uniform(-2, 2)], dim=1) * 2 / _SIDE  # (N, 2), in grid_sample's [-1, 1]
    theta = torch.cat([inverse, -(inverse @ shift.unsqueeze(2))], dim=2)  # (N, 2, 3)
    grid = F.affine_grid(theta, [n, 1, _SIDE, _SIDE], align_corners=False)
    # A smooth wobble, under a pixel, keeps straight strokes from looking ruled.
    wobble = 0.04 * torch.randn(n, 2, 4, 4, generator=generator)
    grid = grid + F.interpolate(wobble, size=_SIDE, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)

    depth = F.grid_sample(_templates()[labels], grid, padding_mode="border", align_corners=False)  # (N, 1, 28, 28)
    # Ink is where the depth below the outline is positive: adding to the depth thickens every stroke by as much on
    # both sides, and a slope of one a pixel is the antialiasing.
    extra = uniform(-0.5, 0.6).view(-1, 1, 1, 1)
    images = ((depth + extra) * scale.view(-1, 1, 1, 1) + 0.5).clamp(0, 1)
    return images.mul(255).round().to(torch.uint8), labels


def _templates() -> Tensor:
    """(10, 1, 112, 112): how deep inside its digit's outline each point lies, in pixels of the images; < 0 outside."""
    side = _SIDE * _FINE
    # By its path and not by its name: a search could find another DejaVu on the machine, with other outlines.
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(path, size=round(1.1 * side))
    depths = []
    for digit in range(10):
        canvas = Image.new("L", (side, side))
        draw = ImageDraw.Draw(canvas)
        left, top, right, bottom = draw.textbbox((0, 0), chr(_ZERO + digit), font=font)
        corner = ((side - left - right) / 2, (side - top - bottom) / 2)
        draw.text(corner, chr(_ZERO + digit), fill=255, font=font)
        ink = np.asarray(canvas) > 127
        inside, outside = (np.asarray(distance_transform_edt(part)) for part in (ink, ~ink))
        depths.append(inside - outside)
    return torch.from_numpy(np.stack(depths)).float().div(_FINE).unsqueeze(1)


def _inverse_affine(angle: Tensor, shear: Tensor, width: Tensor, height: Tensor) -> Tensor:
    """All (N,) -> (N, 2, 2), the inverse of: scale, then shear along x, then rotate."""
    cos, sin = angle.cos(), angle.sin()
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rotate_back = torch.stack([cos, sin, -sin, cos], dim=1).view(-1, 2, 2)
    shear_back = torch.stack([one, -shear, zero, one], dim=1).view(-1, 2, 2)
    scale_back = torch.diag_embed(torch.stack([1 / width, 1 / height], dim=1))
    return scale_back @ shear_back @ rotate_back
