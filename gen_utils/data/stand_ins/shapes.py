"""Shapes: ten kinds of coloured shapes on textured grounds, 32×32. Stand in for CIFAR-10.

A shape is a signed distance: how far a point lies outside its outline, in units of the shape's size, negative inside.
All pixels of all images with the same shape are computed at once, and a ramp one pixel wide across the outline is the
antialiasing. Points are (x, y) with y down, and a shape's farthest point lies about 1 from the origin.

A pixel's value comes from sums, products and square roots alone, which are the same to the last bit on every machine;
sines and matrix products are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SHAPE_CLASSES = ("disc", "ring", "square", "triangle", "star", "cross", "heart", "crescent", "arrow", "hexagon")

_SIDE = 32
_COUNT = {"train": 5_000, "test": 1_000}
_SEED = {"train": 2009, "test": 2010}

Points = list[tuple[float, float]]


def shapes(split: str) -> tuple[Tensor, Tensor]:
    """Ten classes of shapes, each with its own colour, size, angle, place, shading and ground.

    Returns:
        images (N, 3, 32, 32) uint8 and labels (N,) int64 in the order of ``SHAPE_CLASSES``, as many of each: 5,000
        train or 1,000 test, the same on every call.
    """
    return _draw(_COUNT[split], _SEED[split])


def _draw(n: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % len(SHAPE_CLASSES))
    first, second, shape_colour = _colours(n, rng)
    ground = _mix(first, second, _texture(n, rng))
    depth = _depth(labels, rng)
    # A soft shadow below and to the right lifts the shape off its ground.
    shadow = np.roll(depth, (2, 1), axis=(1, 2))
    ground *= 1 - 0.45 * ((shadow + 2.5) / 4).clip(0, 1)[:, None]
    light = 1 + (depth.clip(0, 3) - 1.5)[:, None] * 0.07 - _ramp(n, rng)[:, None] * 0.22
    images = _mix(ground, shape_colour * light, (depth + 0.5).clip(0, 1))
    images += 0.012 * rng.standard_normal(images.shape, dtype=np.float32)  # as a camera's
    images = (images * 255).round().clip(0, 255).astype(np.uint8)
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


def _mix(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """a and b (N, 3, H, W) or (N, 3, 1, 1), weight (N, H, W): a where it is 0, b where it is 1."""
    return a + (b - a) * weight[:, None]


def _uniform(n: int, rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """(N, 1, 1) float32, to meet (H, W)."""
    return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)


def _turned(x: np.ndarray, y: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points' coordinates along axes that are turned clockwise by angle (N, 1, 1), in radians."""
    angle = angle.astype(np.float64)  # rounded to float32 afterwards, so that the machine's last bit does not matter
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    return x * cos + y * sin, y * cos - x * sin


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """x (1, 32) and y (32, 1), the pixels' centres, from the middle of the image."""
    steps = np.arange(_SIDE, dtype=np.float32) - (_SIDE - 1) / 2
    return steps[None, :], steps[:, None]


# Colours.


def _colours(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two for the ground and one that stands out from both, each (N, 3, 1, 1) in [0, 1]."""
    hue = rng.random(n)
    ground = [
        _rgb(hue + rng.normal(0, 0.08, n), rng.uniform(0.15, 0.7, n), rng.uniform(0.25, 0.95, n)) for _ in range(2)
    ]
    # Of several bright candidates the one whose nearer ground colour is farthest.
    tries = _rgb(rng.random((8, n)), rng.uniform(0.45, 0.95, (8, n)), rng.uniform(0.55, 1, (8, n)))  # (8, N, 3)
    weights = np.array([0.5, 0.7, 0.3])  # about how far apart the eye puts two reds, two greens, two blues
    apart = np.min([(weights * (tries - one) ** 2).sum(-1) for one in ground], axis=0)
    best = tries[apart.argmax(axis=0), np.arange(n)]
    first, second, best = (colour.astype(np.float32)[:, :, None, None] for colour in (*ground, best))
    return first, second, best


def _rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The usual hue, saturation, value in [0, 1] (hue goes round) -> (..., 3) in [0, 1]."""
    turned = (hue[..., None] * 6 + np.array([5, 3, 1])) % 6
    return value[..., None] * (1 - saturation[..., None] * np.clip(np.minimum(turned, 4 - turned), 0, 1))


# Grounds: (N, 32, 32) in [0, 1], where between the two colours each pixel lies.


def _texture(n: int, rng: np.random.Generator) -> np.ndarray:
    along, across = _turned(*_grid(), _uniform(n, rng, 0, math.pi))
    period, phase, hardness = _uniform(n, rng, 5, 14), _uniform(n, rng, 0, 1), _uniform(n, rng, 1, 5)
    stripes = _zigzag(along / period + phase)
    checks = stripes * _zigzag(across / period + phase)
    grounds = [
        _ramp(n, rng),
        (0.5 + 0.5 * hardness * stripes).clip(0, 1),
        (0.5 + hardness * checks).clip(0, 1),
        _cloud(n, rng, cells=3),
        _cloud(n, rng, cells=6),
        0.5 * _cloud(n, rng, cells=4) + 0.5 * _cloud(n, rng, cells=16),
    ]
    kind = rng.integers(len(grounds), size=n)
    texture = np.stack(grounds)[kind, np.arange(n)]
    return 0.85 * texture + 0.15 * _cloud(n, rng, cells=8)  # so that no ground is perfectly even


def _zigzag(x: np.ndarray) -> np.ndarray:
    """A wave of straight lines between -1 and 1, of period 1."""
    return 4 * np.abs(x - np.floor(x + 0.5)) - 1


def _ramp(n: int, rng: np.random.Generator) -> np.ndarray:
    """From 0 on one side of the image to 1 on the other, in any direction."""
    along, _ = _turned(*_grid(), _uniform(n, rng, 0, 2 * math.pi))
    return (0.5 + along / _SIDE).clip(0, 1)


def _cloud(n: int, rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise: random values on a coarse grid, joined up."""
    place = (np.arange(_SIDE) + 0.5) / _SIDE * cells
    near = place.astype(int)
    way = (place - near).astype(np.float32)
    way = way * way * (3 - 2 * way)  # flat at the grid's points, so that its lines do not show
    coarse = rng.random((n, cells + 1, cells + 1), dtype=np.float32)
    rows = coarse[:, near] * (1 - way)[:, None] + coarse[:, near + 1] * way[:, None]  # (N, 32, cells + 1)
    return rows[:, :, near] * (1 - way) + rows[:, :, near + 1] * way


# Shapes.


def _depth(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, 32, 32): how many pixels inside the outline of its image's shape each pixel lies; negative outside."""
    n = len(labels)
    radius, aspect = _uniform(n, rng, 8, 13), _uniform(n, rng, 0.88, 1.14)
    # Upright things lean a little; the others turn all the way round.
    lean = np.array([_LEAN[name] for name in SHAPE_CLASSES], dtype=np.float32)[labels]
    angle = lean[:, None, None] * _uniform(n, rng, -1, 1)
    room = (15.5 - radius).clip(1, 5)
    x, y = _grid()
    x = x - room * _uniform(n, rng, -1, 1)
    y = y - room * _uniform(n, rng, -1, 1)
    across, down = _turned(x, y, angle)
    across, down = across / (radius * aspect), down / (radius / aspect)
    depth = np.empty((n, _SIDE, _SIDE), dtype=np.float32)
    for label, name in enumerate(SHAPE_CLASSES):
        mine = labels == label
        depth[mine] = -radius[mine] * _DISTANCE[name](across[mine], down[mine])
    return depth


def _length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y)


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _length(x, y) - 0.92


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(_length(x, y) - 0.72) - 0.24


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A square on its point and a disc on each of its upper sides."""
    x, y = np.abs(x), y - 0.12
    square = (x + np.abs(y)) / math.sqrt(2) - 0.58
    lobe = _length(x - 0.41, y + 0.41) - 0.58
    return np.minimum(square, lobe)


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A disc less another of radius 0.78 at 0.48 to its right."""
    x, y = x - 0.15, np.abs(y)
    tip_x, tip_y = 0.648, 0.762  # where the circles cross
    # Beyond the tips neither circle is near: without this the shadow would show the rest of the disc.
    beyond = x * tip_y - y * tip_x > 0.48 * (tip_y - y).clip(0)
    disc_less_disc = np.maximum(_length(x, y) - 1, 0.78 - _length(x - 0.48, y))
    return np.where(beyond, _length(x - tip_x, y - tip_y), disc_less_disc)


def _polygon(points: Points) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The signed distance of a polygon: to its nearest edge, negative where a ray crosses it an odd number of times."""

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        nearest, inside = np.full_like(x, np.inf), np.zeros(x.shape, dtype=bool)
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
            dx, dy = x1 - x0, y1 - y0
            along = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)).clip(0, 1)
            nearest = np.minimum(nearest, (x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2)
            if dy:
                inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + dx * (y - y0) / dy)
        return np.where(inside, -1, 1) * np.sqrt(nearest)

    return distance


def _corners(n: int, radii: tuple[float, ...] = (1.0,)) -> Points:
    """n points round the origin from the top, at these distances in turn."""
    return [
        (radii[i % len(radii)] * math.sin(2 * math.pi * i / n), -radii[i % len(radii)] * math.cos(2 * math.pi * i / n))
        for i in range(n)
    ]


def _plus(arm: float, end: float) -> Points:
    quarter = [(arm, -end), (arm, -arm), (end, -arm)]
    half = quarter + [(-y, x) for x, y in quarter]
    return half + [(-x, -y) for x, y in half]


_ARROW = [(0, -1), (0.85, -0.1), (0.32, -0.1), (0.32, 0.95), (-0.32, 0.95), (-0.32, -0.1), (-0.85, -0.1)]
_DISTANCE = {
    "disc": _disc,
    "ring": _ring,
    "square": _polygon([(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)]),
    "triangle": _polygon(_corners(3, (1.08,))),
    "star": _polygon(_corners(10, (1.1, 0.48))),
    "cross": _polygon(_plus(0.3, 0.95)),
    "heart": _heart,
    "crescent": _crescent,
    "arrow": _polygon(_ARROW),
    "hexagon": _polygon(_corners(6)),
}
_LEAN = {name: math.pi for name in SHAPE_CLASSES} | {"heart": 0.5, "square": 0.35, "cross": 0.35, "triangle": 0.6}
