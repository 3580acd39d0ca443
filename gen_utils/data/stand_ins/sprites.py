"""Sprites: a white square, ellipse or heart on black, told apart by five factors. Stand in for dSprites.

The factors and their steps are dSprites'; the pixels are our own, so this is not dSprites.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

FACTOR_NAMES = ("colour", "shape", "scale", "orientation", "posX", "posY")
FACTOR_SIZES = (1, 3, 6, 40, 32, 32)
SPRITE_SHAPES = ("square", "ellipse", "heart")

_SIDE = 64
_PATCH = 33  # the largest sprite, at any angle; 33 + 31 steps of one pixel fill the 64
_SLICE = {"train": slice(0, 10_000), "test": slice(10_000, 12_000)}
_SEED = 737_280


def sprites(split: str) -> tuple[Tensor, Tensor, Tensor]:
    """A seeded subset of the 737,280 combinations of factors: 10,000 train, 2,000 test, the same on every call.

    No two images are equal, not even one of train and one of test: each has its own shape, scale and place. The
    orientation alone would not keep them apart, since a square turned by a right angle is the same square.

    Returns:
        images (N, 1, 64, 64) uint8, 0 or 255; labels (N,) int64, the shape; factors (N, 6) int64, the index of each
        factor in the order of ``FACTOR_NAMES``.
    """
    rng = np.random.default_rng(_SEED)
    _, shapes, scales, turns, across, down = FACTOR_SIZES
    chosen = rng.permutation(shapes * scales * across * down)
    shape, scale, x, y = np.unravel_index(chosen, (shapes, scales, across, down))
    turn = rng.integers(turns, size=len(chosen))
    factors = np.stack([np.zeros_like(x), shape, scale, turn, x, y], axis=1)[_SLICE[split]]
    factors = torch.from_numpy(factors.astype(np.int64))
    return render(factors), factors[:, 1].clone(), factors


def render(factors: Tensor) -> Tensor:
    """Draw sprites from their factors, for traversals: change one column, keep the rest.

    Scale 0 to 5 is a size of 0.5 to 1 in equal steps; orientation 0 to 39 an angle of 0 to 2π, both ends included,
    turning clockwise; a step of posX is one pixel to the right, one of posY a pixel down.

    Args:
        factors: (N, 6) integers, column k from 0 to ``FACTOR_SIZES[k] - 1``.

    Returns:
        images (N, 1, 64, 64) uint8, 0 or 255, on the CPU.

    Raises:
        ValueError: a wrong shape, or a factor out of its range.
    """
    factors = torch.as_tensor(factors, device="cpu")
    if factors.ndim != 2 or factors.shape[1] != len(FACTOR_SIZES) or factors.is_floating_point():
        raise ValueError(f"factors must be (N, 6) integers, got {tuple(factors.shape)} {factors.dtype}")
    factors = factors.long()
    sizes = torch.tensor(FACTOR_SIZES)
    wrong = ((factors < 0) | (factors >= sizes)).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        raise ValueError(
            f"{FACTOR_NAMES[column]} of row {row} is {factors[row, column]}; it goes from 0 to {sizes[column] - 1}"
        )
    _, shape, scale, turn, x, y = factors.unbind(dim=1)
    # Places are whole pixels, so that every image is one of 720 patches, moved.
    patches = _patches()[shape, scale, turn]  # (N, 33, 33)
    steps = torch.arange(_PATCH)
    row, column = y[:, None] + steps, x[:, None] + steps  # (N, 33)
    images = torch.zeros(len(factors), _SIDE, _SIDE, dtype=torch.uint8)
    images[torch.arange(len(factors))[:, None, None], row[:, :, None], column[:, None, :]] = patches
    return images.unsqueeze(1)


@cache
def _patches() -> Tensor:
    """(3, 6, 40, 33, 33) uint8: every shape, scale and orientation, white where a pixel's centre is inside."""
    _, _, scales, turns, _, _ = FACTOR_SIZES
    steps = torch.arange(_PATCH, dtype=torch.float64) - _PATCH // 2
    size = torch.linspace(0.5, 1, scales, dtype=torch.float64).view(-1, 1, 1, 1)
    # The last orientation is 2π, which is the first: the remainder makes them equal to the last bit.
    angle = (torch.arange(turns, dtype=torch.float64) % (turns - 1)) * (2 * math.pi / (turns - 1))
    cos, sin = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    x, y = steps / size, steps.view(-1, 1) / size  # a pixel's place on a sprite of full size
    across, up = cos * x + sin * y, sin * x - cos * y  # and on one that is not turned
    inside = torch.stack([_square(across, up), _ellipse(across, up), _heart(across, up)])
    return inside.to(torch.uint8) * 255


def _square(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) < 10.6


def _ellipse(x: Tensor, y: Tensor) -> Tensor:
    return (x / 14.6).square() + (y / 8.4).square() < 1


def _heart(x: Tensor, y: Tensor) -> Tensor:
    """The curve (x² + y² − 1)³ = x² y³, moved so that its centre of mass is the origin."""
    x, y = x / 10.8, y / 10.8 + 0.2935
    return (x.square() + y.square() - 1) ** 3 < x.square() * y**3
