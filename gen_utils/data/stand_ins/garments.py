"""Drawn garments: ten grey-shaded silhouettes with Fashion-MNIST's class names. Stand in for Fashion-MNIST.

Every garment is drawn around the origin in pixels of the 28×28 image, x to the right and y down, by a ``_Pen`` that
turns and shifts it. Shoes point to the left, as Fashion-MNIST's do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

_SIDE = 28
_FINE = 4  # drawn so many times finer, then reduced: the antialiasing
_COUNT = {"train": 6_000, "test": 1_000}
_SEED = {"train": 2017, "test": 2018}

Points = list[tuple[float, float]]


def garments(split: str) -> tuple[Tensor, Tensor]:
    """Ten classes of drawn clothes, each with its own cut, grey, pattern, tilt and place.

    Returns:
        images (N, 1, 28, 28) uint8, grey on black, and labels (N,) int64 in the order of Fashion-MNIST's classes, as
        many of each: 6,000 train or 1,000 test, the same on every call.
    """
    rng = np.random.default_rng(_SEED[split])
    labels = rng.permutation(np.arange(_COUNT[split]) % len(_DRAWERS))
    images = np.stack([_draw(_DRAWERS[label], rng) for label in labels])
    images = _cloth(images, may_be_striped=np.isin(labels, _STRIPED), rng=rng)
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))


def _draw(drawer: Callable[[_Pen], None], rng: np.random.Generator) -> np.ndarray:
    canvas = Image.new("L", (_SIDE * _FINE, _SIDE * _FINE))
    drawer(_Pen(canvas, rng))
    return np.asarray(canvas.reduce(_FINE))


def _cloth(images: np.ndarray, may_be_striped: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give plain silhouettes (N, 28, 28) uint8 light from one side, weave and some of them stripes."""
    n = len(images)
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j].astype(np.float32)

    def each(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    light = 1 + each(-0.15, 0.15) * x + each(-0.12, 0.12) * y
    weave = 1 + 0.035 * rng.standard_normal(images.shape, dtype=np.float32)
    across = each(0, 1) < 0.7  # stripes: mostly across, else down
    waves = np.sin(np.where(across, y, x) * each(12, 22) + each(0, 2 * math.pi))
    striped = may_be_striped[:, None, None] & (each(0, 1) < 0.4)
    stripes = 1 - np.where(striped, each(0.1, 0.35), 0) * (waves > 0)
    return (images * light * weave * stripes).clip(0, 255).astype(np.uint8)


class _Pen:
    """Draws in image pixels around the origin, turned and shifted a little; ``near`` varies a measure."""

    def __init__(self, canvas: Image.Image, rng: np.random.Generator) -> None:
        self._draw = ImageDraw.Draw(canvas)
        # One call for all the numbers a garment needs: a call a number would cost more than the drawing.
        self._numbers = iter(rng.random(24).tolist())
        angle, self._size = self.between(-0.09, 0.09), self.between(0.9, 1.04)
        self._cos, self._sin = math.cos(angle) * self._size, math.sin(angle) * self._size
        self._x, self._y = self.between(-0.8, 0.8), self.between(-0.7, 0.7)
        self.grey = self.between(95, 235)
        self.is_dark = self.grey < 150

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._numbers)

    def near(self, value: float, spread: float = 0.6) -> float:
        return self.between(value - spread, value + spread)

    def chance(self, probability: float) -> bool:
        return next(self._numbers) < probability

    def shade(self, factor: float) -> int:
        """The garment's grey, made darker or lighter."""
        return min(255, round(self.grey * factor))

    def _place(self, points: Points) -> Points:
        half = _SIDE / 2
        return [
            (
                _FINE * (half + self._x + self._cos * x - self._sin * y),
                _FINE * (half + self._y + self._sin * x + self._cos * y),
            )
            for x, y in points
        ]

    def fill(self, points: Points, shade: float = 1.0) -> None:
        self._draw.polygon(self._place(points), fill=self.shade(shade))

    def mirrored(self, half: Points, shade: float = 1.0) -> None:
        """A symmetric shape, from the points of its right half, top to bottom."""
        self.fill(half + [(-x, y) for x, y in reversed(half)], shade)

    def both(self, points: Points, shade: float = 1.0) -> None:
        """A shape and its mirror image: sleeves, pockets."""
        self.fill(points, shade)
        self.fill([(-x, y) for x, y in points], shade)

    def line(self, points: Points, shade: float, width: float = 0.5) -> None:
        self._draw.line(self._place(points), fill=self.shade(shade), width=max(1, round(width * _FINE)), joint="curve")

    def disc(self, x: float, y: float, rx: float, ry: float, shade: float) -> None:
        self.fill(_arc(x, y, rx, ry, 0, 2 * math.pi), shade)


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float, n: int = 14) -> Points:
    """Points on an ellipse about (x, y) from angle ``start`` to ``end`` (0 is right, π/2 is down)."""
    steps = [start + (end - start) * i / (n - 1) for i in range(n)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in steps]


def _t_shirt(pen: _Pen) -> None:
    neck, shoulder, hem = pen.near(3, 0.5), pen.near(6.3, 0.4), pen.near(6.6)
    reach, bottom = pen.near(11.5), pen.near(11.5, 1)
    cuff = pen.near(-3.5, 0.8)
    pen.mirrored([(neck, -11.5), (shoulder, -10.5), (6.2, -4), (hem - 0.3, 4), (hem, bottom)])
    pen.both([(shoulder - 1, -10.9), (shoulder + 0.6, -10.3), (reach, cuff - 2), (reach - 3, cuff), (5.8, -4.6)], 0.9)
    _neckline(pen, neck, pen.between(1.8, 4), band=0.8)
    if pen.chance(0.35):  # a print on the chest
        pen.disc(0, -2, pen.between(1.5, 3), pen.between(1.5, 2.5), pen.between(0.45, 0.7))


def _neckline(pen: _Pen, width: float, depth: float, band: float) -> None:
    """A round neck cut out of the shoulders, with a darker band along it."""
    pen.fill(_arc(0, -11.5, width, depth, 0, math.pi), 0.65)
    pen.fill(_arc(0, -12, width - 0.6, depth + 0.5 - band, 0, math.pi), 0)


def _trouser(pen: _Pen) -> None:
    waist, hip, ankle = pen.near(4.3), pen.near(5.3), pen.near(4.9, 0.8)
    crotch, inner = pen.near(-4, 1), pen.near(1.6, 0.5)
    leg = [(hip, -6), (ankle + 0.4, 4), (ankle, 12.8), (inner, 12.8), (0.3, crotch)]
    pen.mirrored([(waist, -12.8), *leg, (0, crotch)])
    pen.mirrored([(waist, -12.8), (waist + 0.2, -11.4)], 0.75)
    pen.line([(0, -11.5), (0, crotch)], 0.7)
    for side in (-1, 1):
        pen.line([(side * (waist - 0.6), -11), (side * (waist - 2), -8.5)], 0.7)
        pen.line([(side * (hip + inner) / 2, -5), (side * (ankle + inner) / 2, 12.5)], 0.88)


def _long_sleeves(pen: _Pen, shoulder: float, reach: float, cuff: float, width: float) -> None:
    """Sleeves that hang down from the shoulders to ``cuff``."""
    pen.both(
        [(shoulder - 1.2, -11), (shoulder + 0.7, -9.8), (reach, cuff - 0.6), (reach - width, cuff), (5.6, -3.5)], 0.9
    )
    # The dark line between sleeve and body, without which the two merge.
    for side in (-1, 1):
        pen.line([(side * 5.9, -5.5), (side * 6, 2)], 0.55)


def _pullover(pen: _Pen) -> None:
    neck, shoulder, hem = pen.near(2.9, 0.4), pen.near(6.2, 0.4), pen.near(6.4, 0.5)
    reach, cuff, bottom = pen.near(11.6, 0.5), pen.near(9, 1), pen.near(11.3, 0.7)
    pen.mirrored([(neck, -11.5), (shoulder, -10.7), (6.1, -4), (hem, 4), (hem, bottom)])
    _long_sleeves(pen, shoulder, reach, cuff, width=3.4)
    pen.mirrored([(hem, bottom - 1.7), (hem - 0.4, bottom)], 0.7)  # ribbed hem and cuffs
    pen.both([(reach - 0.1, cuff - 2.4), (reach, cuff - 0.6), (reach - 3.4, cuff), (reach - 3.4, cuff - 1.8)], 0.7)
    if pen.chance(0.3):  # a roll neck
        pen.mirrored([(neck, -13.2), (neck + 0.3, -11)], 0.75)
    else:
        _neckline(pen, neck, pen.between(2, 3), band=1.1)


def _dress(pen: _Pen) -> None:
    waist, hem, bottom = pen.near(2.9, 0.5), pen.near(6.6, 1.8), pen.near(12.8, 0.5)
    chest, level, neck = pen.near(4.1, 0.4), pen.near(-3.5, 0.8), pen.between(1.4, 2)
    flare = pen.between(0.45, 0.75)
    middle = (waist + flare * (hem - waist), (level + bottom) / 2 + 1)
    strap = [(neck, -9), (neck + 0.8, -12.8), (neck + 1.9, -12.8)]
    pen.mirrored([*strap, (chest, -8.3), (waist, level), middle, (hem, bottom)])
    pen.fill([(-neck - 0.4, -11), (0, pen.between(-9, -6.5)), (neck + 0.4, -11), (0, -14)], 0)
    if pen.chance(0.3):  # short sleeves
        pen.both([(neck + 1.2, -12.8), (chest + 1.2, -11.6), (chest + 2.2, -8), (chest - 0.3, -7.4)], 0.85)
    pen.mirrored([(waist, level - 0.6), (waist + 0.1, level + 0.6)], 0.65)  # the waistband
    for fold in (-0.5, 0, 0.5):
        pen.line([(fold * waist, level + 1), (fold * hem, bottom - 0.3)], 0.82)


def _coat(pen: _Pen) -> None:
    shoulder, hem, bottom = pen.near(6.4, 0.4), pen.near(7.4, 0.6), pen.near(13, 0.4)
    reach, cuff = pen.near(12, 0.4), pen.near(8.5, 0.8)
    pen.mirrored([(2.4, -12.3), (shoulder, -11), (6.3, -4), (hem, bottom)])
    _long_sleeves(pen, shoulder, reach, cuff, width=3.9)
    depth = pen.near(-2.5, 1.5)
    pen.fill([(-1.9, -12.6), (1.9, -12.6), (0.1, depth)], 0.3)  # the lining in the open collar
    pen.both([(1.4, -12.8), (3.1, -12.2), (3.6, -8), (0.2, depth + 0.5)], 0.75)  # lapels
    pen.line([(0, depth), (0, bottom)], 0.2, width=0.9)  # it opens all the way down
    if pen.chance(0.4):  # a belt
        pen.mirrored([(6.4, 1), (6.5, 2.7)], 0.5)
    else:
        for y in (depth + 2, depth + 5):
            pen.disc(1.5, y, 0.5, 0.5, 0.35)
    pen.both([(2.6, 5), (5.4, 4.6), (5.4, 5.7), (2.6, 6.1)], 0.5)  # pockets


def _shirt(pen: _Pen) -> None:
    shoulder, hem, bottom = pen.near(6, 0.4), pen.near(6.1, 0.5), pen.near(11.5, 0.8)
    short = pen.chance(0.35)
    pen.mirrored([(2.6, -12), (shoulder, -10.9), (6, -4), (hem - 0.3, 3), (hem, bottom - 2.5), (hem - 2, bottom)])
    if short:
        pen.both([(shoulder - 1, -11), (shoulder + 0.5, -10.6), (pen.near(10.5), -4.6), (7.4, -2.6), (5.7, -5)], 0.9)
    else:
        reach, cuff = pen.near(10.8, 0.5), pen.near(9, 1)
        _long_sleeves(pen, shoulder, reach, cuff, width=2.7)
        pen.line([(reach - 2.8, cuff - 1.5), (reach, cuff - 2.1)], 0.55)
    pen.fill([(-1.6, -12.6), (1.6, -12.6), (0, -9.5)], 0.25)
    pen.both([(1.5, -13), (2.9, -12), (2.9, -9), (0.1, -9.6)], 1.25)  # the collar's two points
    pen.both([(2.8, -9.1), (0.3, -9.6), (0.3, -9.1), (2.6, -8.5)], 0.5)  # and their shadow
    pen.mirrored([(0.8, -9.4), (0.8, bottom)], 1.12)  # button band
    pen.line([(0.9, -9), (0.9, bottom)], 0.6)
    for i in range(5):
        pen.disc(0, -7.4 + 3.9 * i, 0.55, 0.55, 0.2)
    if pen.chance(0.6):  # a breast pocket
        pen.line([(2.2, -3.5), (2.2, -6.5), (4.8, -6.5), (4.8, -3.5), (2.2, -3.5)], 0.6)


def _sandal(pen: _Pen) -> None:
    heel, sole = pen.between(0.5, 6), pen.between(1.2, 1.9)
    ball, back = pen.near(-4, 1), 5.8 - heel  # the sole lies flat up to the ball of the foot and rises to the heel
    under = [(-12.5, 5.8), (ball, 5.8), (1.5, 5.8 - 0.45 * heel), (7, back), (12, back - 0.2)]
    pen.fill(under + [(x, y + sole) for x, y in reversed(under)], 0.8)
    if pen.chance(0.5):  # a block heel, else a wedge
        pen.fill([(8, back), (12, back), (11.7, 5.8 + sole), (8.8, 5.8 + sole)], 0.7)
    else:
        pen.fill([(ball, 5.8 + sole), (1.5, 6 - 0.45 * heel), (7, back + 0.4), (12, back), (11.6, 5.8 + sole)], 0.7)
    width, top = pen.between(1.1, 1.9), pen.near(3.8, 0.6)
    bright = 1.5 if pen.is_dark else 1.1  # thin straps, drawn dark, would be lost on black
    pen.line(_arc(-8, 6, 3.2, top, math.pi, 2 * math.pi), bright, width)  # toe straps
    if pen.chance(0.7):
        pen.line(_arc(-5.5, 6, 3.2, top + 0.7, math.pi, 2 * math.pi), bright, width)
    ankle = back - pen.between(4.5, 6.5)
    pen.line([(11.5, back), (11.2, ankle)], bright, width)  # the heel's strap and the one round the ankle
    pen.line(_arc(7.6, ankle, 3.7, 1.3, 0, 2 * math.pi), bright, width * 0.8)
    pen.line([(-4.8, 6 - top), (4.2, ankle + 0.5)], bright, width * 0.8)


def _sneaker(pen: _Pen) -> None:
    tongue, collar = pen.near(-4, 0.8), pen.near(-2.6, 0.6)
    toe = pen.near(2.2, 0.6)
    front = [(-12.6, 5), (-12.2, toe + 1), (-9.5, toe - 0.3), (-5, 0.2), (-0.8, tongue), (1.2, tongue)]
    back = [(3.4, collar + 1.3), (7.6, collar + 1.2), (11, collar - 1.3), (12, collar - 0.9), (12.2, 5)]
    pen.fill(front + back)
    pen.fill([(-12.6, 5), (-12.4, toe + 1), (-9.8, toe - 0.1), (-8.2, 5)], 0.75)  # toe cap
    pen.fill([(9, collar), (12, collar - 0.6), (12.2, 5), (9.4, 5)], 0.75)
    pen.fill([(-13, 4.8), (12.6, 4.8), (12.4, 7), (-12.4, 7)], pen.between(1.25, 1.7))  # the pale sole
    pen.line([(-12.6, 7), (12.4, 7)], 0.5, 0.6)
    bright = 1.6 if pen.is_dark else 0.4
    for i in range(4):  # laces
        x, y = -5 + 1.35 * i, 0.2 + (tongue - 0.2) * (0.3 + i) / 4
        pen.line([(x - 0.3, y), (x + 1.2, y + 1.7)], bright, 0.5)
    if pen.chance(0.6):  # a stripe on the side
        pen.line([(0, 4.3), (pen.near(4), 1), (8.5, -0.3)], bright, pen.between(0.7, 1.3))


def _bag(pen: _Pen) -> None:
    top, bottom = pen.between(-4, -1), pen.near(11, 0.8)
    wide, narrow = pen.near(11.5, 0.8), pen.near(10, 1.3)
    handle, rise = pen.between(4.5, 8), pen.near(-11.5, 1.2)
    pen.line(_arc(0, top + 0.5, handle, top - rise, math.pi, 2 * math.pi), 0.85, pen.between(1, 1.7))
    pen.mirrored([(narrow, top), (wide, bottom - 1), (wide - 1, bottom)])
    if pen.chance(0.6):  # a flap with a clasp, else a zip and a pocket
        flap = top + pen.between(4, 6.5)
        pen.mirrored([(narrow, top), (narrow - 0.3, flap - 2), (2, flap)], 0.8)
        pen.line([(0.3 - narrow, flap - 2), (-2, flap), (2, flap), (narrow - 0.3, flap - 2)], 0.5)
        pen.disc(0, flap - 0.4, 1.1, 1.1, 1.6 if pen.is_dark else 0.3)
    else:
        pen.line([(1 - narrow, top + 1.5), (narrow - 1, top + 1.5)], 0.45, 0.7)
        low = bottom - 2
        pen.line([(-6, top + 5), (6, top + 5), (6, low), (-6, low), (-6, top + 5)], 0.65)


def _ankle_boot(pen: _Pen) -> None:
    shaft, front, heel = pen.near(-11.5, 1), pen.near(1, 0.6), pen.between(0.8, 3.2)
    ground, toe = 11.0, pen.near(6.2, 0.7)
    sole = ground - 1.2
    upper = [(-12, sole), (-11.8, toe + 1.2), (-9, toe), (-4.5, toe - 2.2), (front - 1.3, 0.5), (front - 0.6, shaft)]
    pen.fill([*upper, (10.6, shaft), (10.2, 1), (11.4, sole - heel)])
    arch = [(2, sole), (6, sole - heel), (11.6, sole - heel), (11.6, sole - heel + 1), (5, ground)]
    pen.fill([(-12.6, sole), *arch, (-12, ground)], 0.5)
    pen.fill([(6.4, sole - heel), (11.6, sole - heel), (11.2, ground), (6.9, ground)], 0.5)
    pen.fill([(front - 0.6, shaft), (10.6, shaft), (10.5, shaft + 1.4), (front - 0.7, shaft + 1.4)], 0.75)
    style = pen.between(0, 1)
    if style < 0.4:  # elastic at the side
        pen.fill([(4, shaft + 1.4), (7.6, shaft + 1.4), (6.6, 2), (5, 2)], 0.6)
    elif style < 0.75:  # laces
        for i in range(5):
            pen.line([(front - 0.9, shaft + 3 + 2.1 * i), (front + 2.2, shaft + 2.2 + 2.1 * i)], 0.4)
    else:  # a strap
        pen.line([(front - 1, 1), (10.3, 0)], 0.6, 1.4)


_DRAWERS = (_t_shirt, _trouser, _pullover, _dress, _coat, _sandal, _shirt, _sneaker, _bag, _ankle_boot)
_STRIPED = [_DRAWERS.index(drawer) for drawer in (_t_shirt, _pullover, _dress, _shirt, _bag)]
