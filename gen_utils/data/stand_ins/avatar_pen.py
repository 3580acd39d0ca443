"""The pen the avatars are drawn with: it fills smooth outlines. See ``avatars``."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE = 64
_FINE = 4  # drawn so many times finer, then reduced: the antialiasing

Points = list[tuple[float, float]]
Outline = NDArray[np.complex128]  # (n,) points x + iy
Colour = tuple[int, ...]

WHITE, BLACK = (255, 255, 255), (24, 20, 24)


def mix(a: Colour, b: Colour, weight: float) -> Colour:
    """a at weight 0, b at 1."""
    return tuple(round(p + (q - p) * weight) for p, q in zip(a, b, strict=True))


def mirror(half: Points) -> Points:
    """A symmetric outline, from the points of its right half, top to bottom."""
    return half + [(-x, y) for x, y in reversed(half) if x]


def both(shape: Points) -> tuple[Points, Points]:
    """An outline and its mirror image."""
    return shape, [(-x, y) for x, y in shape]


def at(x: float, y: float, points: Points, side: float = 1) -> Points:
    """Points given from (x, y); with side −1 those to the right are to the left."""
    return [(x + side * dx, y + dy) for dx, dy in points]


class Pen:
    """Draws on a white square, in pixels of the image about the middle of the face, and draws lots.

    Outlines are complex numbers x + iy, so that tilt, size and place are one product and one sum.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._canvas = Image.new("RGB", (SIDE * _FINE, SIDE * _FINE), WHITE)
        self._draw = ImageDraw.Draw(self._canvas)
        # One call for all the numbers a face needs: a call a number would cost more than the drawing.
        self._numbers = iter(rng.random(120).tolist())
        tilt, size = self.near(0, 0.07), self.near(1.06, 0.06)
        self._turn = _FINE * size * complex(math.cos(tilt), math.sin(tilt))
        self._origin = _FINE * complex(self.near(SIDE / 2, 1), self.near(34.5, 1.2))

    def image(self) -> np.ndarray:
        """(64, 64, 3) uint8."""
        return np.asarray(self._canvas.reduce(_FINE))

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._numbers)

    def near(self, value: float, spread: float) -> float:
        return self.between(value - spread, value + spread)

    def chance(self, probability: float) -> bool:
        return next(self._numbers) < probability

    def side(self) -> int:
        return 1 if self.chance(0.5) else -1

    def pick(self, options: list | tuple):
        return options[int(next(self._numbers) * len(options))]

    def fill(self, colour: Colour, *shapes: Points, line: float = 0, ink: Colour | None = None) -> None:
        """Smooth shapes in one colour; ``line`` gives them one outline, so wide, darker or in ``ink``."""
        self._fill_all(colour, [_joined(shape, closed=True) for shape in shapes], line, ink)

    def ovals(self, colour: Colour, *ovals: tuple[float, ...], line: float = 0, ink: Colour | None = None) -> None:
        """The same for ovals (x, y, rx, ry)."""
        self._fill_all(colour, [_oval(*oval) for oval in ovals], line, ink)

    def ring(self, colour: Colour, oval: tuple[float, ...], width: float) -> None:
        """The inner rim of an oval: round it, and back along a smaller one."""
        x, y, rx, ry = oval
        rims = [np.append(rim, rim[0]) for rim in (_oval(*oval), _oval(x, y, rx - width, ry - width))]
        self._polygon(colour, np.concatenate([rims[0], rims[1][::-1]]))

    def stroke(self, colour: Colour, points: Points, width: float) -> None:
        """A brush stroke through the points, thin at both ends."""
        z = _joined(points, closed=False)
        way = np.concatenate([z[1:2] - z[:1], z[2:] - z[:-2], z[-1:] - z[-2:-1]])
        across = 1j * way / np.abs(way) * _taper(len(z)) * (width / 2)
        self._polygon(colour, np.concatenate([z + across, (z - across)[::-1]]))

    def _fill_all(self, colour: Colour, outlines: list[Outline], line: float, ink: Colour | None) -> None:
        if line:  # all outlines before all fillings, so that shapes which overlap become one
            ink = ink or mix(colour, BLACK, 0.62)
            for z in outlines:
                way = np.concatenate([z[1:], z[:1]]) - np.concatenate([z[-1:], z[:-1]])
                # Outwards is to the left or to the right, as the outline goes round one way or the other.
                out = -1j if (z.real * way.imag - z.imag * way.real).sum() > 0 else 1j
                self._polygon(ink, z + out * line * way / (np.abs(way) + 1e-9))
        for z in outlines:
            self._polygon(colour, z)

    def _polygon(self, colour: Colour, z: Outline) -> None:
        self._draw.polygon((self._origin + self._turn * z).view(float).tolist(), fill=colour)


def _joined(points: Points, closed: bool) -> Outline:
    return _curve(len(points), closed) @ np.array(points, dtype=float).view(complex)[:, 0]


@cache
def _curve(n: int, closed: bool) -> NDArray[np.complex128]:
    """The matrix that joins n points by a Catmull–Rom curve, with four points on it for each that is given."""
    t = np.arange(0, 1, 0.25)
    weights = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]) / 2
    pieces = n if closed else n - 1
    matrix = np.zeros((4 * pieces, n), dtype=complex)
    for piece in range(pieces):
        for k in range(4):  # the points before, at both ends of and after this piece
            point = piece - 1 + k
            point = point % n if closed else min(max(point, 0), n - 1)
            matrix[4 * piece : 4 * piece + 4, point] += weights[k]
    return matrix if closed else np.vstack([matrix, np.eye(n)[-1:]])


def _oval(x: float, y: float, rx: float, ry: float) -> Outline:
    circle = _circle(16 if rx < 4 else 32)
    return complex(x, y) + rx * circle.real + 1j * ry * circle.imag


@cache
def _circle(n: int) -> Outline:
    return np.exp(2j * np.pi * np.arange(n) / n)


@cache
def _taper(n: int) -> NDArray[np.float64]:
    return np.sin(np.pi * np.linspace(0.06, 0.94, n)) ** 0.6
