"""What the avatars wear on their heads: hair, scarves and woollen hats. See ``avatars``.

A style is what lies behind the head, if anything, and what lies before it. Each part is a function of the pen and of
who is drawn, in pixels: the eyes are near y = 0, the top of the skull at −20, the chin near 20, and ``look.wide`` is
half the width of the face.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .avatar_pen import BLACK, WHITE, Colour, Pen, both, mirror, mix

_LINE = 0.8


class Look(NamedTuple):
    """What several parts of a face must agree on."""

    wide: float  # half the face's width
    jaw: float  # half the jaw's
    chin: float  # y of its lowest point
    turn: float  # where the face looks: how far its features are to one side
    side: int  # 1 or −1: to which side the hair is combed
    skin: Colour
    ink: Colour  # of lines on the skin
    hair: Colour
    cloth: Colour
    adorned: bool  # lashes, lips, earrings


def _shine(pen: Pen, look: Look, y: float = -19.5) -> None:
    s = look.side
    pen.stroke(mix(look.hair, WHITE, 0.28), [(-s * 8, y + 3), (-s * 4, y), (s * 1, y - 1)], 1.7)
    pen.stroke(mix(look.hair, BLACK, 0.35), [(s * 4, y + 0.5), (s * 8, y + 2.5), (s * 11, y + 6)], 0.8)


# Before the head.


def crop(pen: Pen, look: Look) -> None:
    w, top, edge = look.wide, pen.near(-24.5, 1), pen.near(-12.5, 1)
    half = [(0, top), (0.62 * w, top + 1.6), (w + 0.6, -13), (w + 0.8, -2), (w - 1.2, 0), (w - 2, -7)]
    pen.fill(look.hair, mirror([*half, (0.62 * w, edge), (0, pen.near(edge, 1))]), line=_LINE)
    _shine(pen, look)


def sweep(pen: Pen, look: Look) -> None:
    w, s, top, low = look.wide, look.side, pen.near(-25.5, 1), pen.between(-10, -6.5)
    outer = [(-w - 0.8, -2), (-w - 0.9, -13), (-0.62 * w, top + 2.6), (0, top), (0.65 * w, top + 2.4), (w + 1.2, -13)]
    inner = [(w + 1, -2), (w - 1, 0), (w - 1.8, low), (0.3 * w, -10.5), (-0.3 * w, -14)]
    parting = [(-0.48 * w, -18), (-0.62 * w, -13), (1.8 - w, -7), (1.2 - w, 0)]
    pen.fill(look.hair, [(s * x, y) for x, y in outer + inner + parting], line=_LINE)
    _shine(pen, look)


def fringe(pen: Pen, look: Look) -> None:
    w, top, edge, lock = look.wide, pen.near(-25, 0.8), pen.near(-7.2, 0.8), pen.between(1, 6)
    half = [(0, top), (0.62 * w, top + 1.8), (w + 1, -13.5), (w + 1.6, -2), (w + 0.6, lock), (w - 1.6, -1)]
    cut = [(w - 2.6, edge), (0.62 * w, edge), (0.52 * w, edge - 1.8), (0.4 * w, edge), (0.14 * w, edge)]
    pen.fill(look.hair, mirror([*half, *cut, (0, edge - 1.8)]), line=_LINE)
    _shine(pen, look, -18)


def curtains(pen: Pen, look: Look) -> None:
    w, top, lock = look.wide, pen.near(-24.8, 0.8), pen.between(3, 12)
    half = [(0, top), (0.62 * w, top + 1.8), (w + 1.4, -13), (w + 2.4, 0), (w + 1.4, lock), (w - 0.6, lock - 3)]
    pen.fill(look.hair, mirror([*half, (w - 2, -3), (0.6 * w, -11), (0, -18)]), line=_LINE)
    _shine(pen, look)


def quiff(pen: Pen, look: Look) -> None:
    w, s, up = look.wide, look.side, pen.between(-28, -25.5)
    outer = [(-w - 0.6, -2), (-w - 0.7, -12), (0.6 - w, -19), (-0.6 * w, up + 2.5), (0, up + 0.5), (0.6 * w, up)]
    front = [(w + 0.3, up + 4), (w - 0.8, -16.5), (w + 0.7, -12), (w + 0.6, -2), (w - 1.4, -1), (w - 2, -9)]
    inner = [(0.6 * w, -14.5), (0, -12.5), (-0.6 * w, -13.5), (2 - w, -9), (1.4 - w, -1)]
    pen.fill(look.hair, [(s * x, y) for x, y in outer + front + inner], line=_LINE)
    _shine(pen, look, -21)


def spikes(pen: Pen, look: Look) -> None:
    w, n = look.wide, 7
    tips = []
    for i in range(n):
        out, a, b = pen.between(6, 9), math.pi * (i + 0.5) / n, math.pi * (i + 1) / n
        tips += 2 * [(-math.cos(a) * (w + 0.6 * out), -9 - math.sin(a) * (9 + out))]  # twice: the curve has a corner
        tips += [(-math.cos(b) * (w + 0.5), -9 - math.sin(b) * 11.5)]
    edge = [(w - 1.6, -2), (w - 2, -9), (0.5 * w, -11.5), (0.2 * w, -14), (-0.1 * w, -11), (-0.5 * w, -13.5)]
    pen.fill(look.hair, [(-w - 0.8, -2), *tips, (w + 0.8, -2), *edge, (2 - w, -9), (1.6 - w, -2)], line=_LINE)


def curls(pen: Pen, look: Look) -> None:
    w = look.wide
    arc = [(math.pi * (0.02 + 0.12 * i), pen.between(4.2, 5.6)) for i in range(9)]
    pen.ovals(look.hair, *[(-math.cos(a) * (w - 1.5), -9 - math.sin(a) * 11.5, r, r) for a, r in arc], line=_LINE)
    pen.ovals(look.hair, *[(x * w, pen.near(-15.5, 0.8), 4.4, 3.8) for x in (-0.6, -0.2, 0.2, 0.6)])
    shades = [mix(look.hair, BLACK, 0.4), mix(look.hair, WHITE, 0.22)]
    for i, (a, r) in enumerate(arc[1:-1]):
        x, y = -math.cos(a) * (w - 3.5), -9.5 - math.sin(a) * 9
        pen.stroke(shades[i % 2], [(x - 0.5 * r, y + 0.3 * r), (x, y - 0.4 * r), (x + 0.5 * r, y + 0.3 * r)], 1)


def buzz(pen: Pen, look: Look) -> None:
    w, edge = look.wide, pen.near(-13, 1)
    half = [(0, -21.3), (0.6 * w, -19.3), (0.97 * w, -10.5), (w + 0.2, -3), (w - 1.6, -3), (w - 2.4, -9)]
    through = mix(look.skin, look.hair, pen.between(0.55, 0.85))
    pen.fill(through, mirror([*half, (0.66 * w, edge), (0, edge - 0.6)]), line=0.6)


def bald(pen: Pen, look: Look) -> None:
    w, s = look.wide, look.side
    pen.stroke(mix(look.skin, WHITE, 0.5), [(-s * 9, -13), (-s * 6.5, -16), (-s * 2, -17.5)], 1.8)
    if pen.chance(0.5):  # some is left at the sides
        tuft = [(w - 1.5, -9), (w + 1.2, -8), (w + 1.8, -2), (w + 0.2, 0.5), (w - 1.4, -3)]
        pen.fill(look.hair, *both(tuft), line=0.6)


def scarf(pen: Pen, look: Look) -> None:
    w, s, low = look.wide, look.side, look.chin
    outer = [(0, -25), (0.65 * w, -23), (w + 3.2, -12), (w + 4, 4), (w, 16), (0.6 * w, low + 4), (-1, low + 6)]
    inner = [(-1, low - 0.2), (0.5 * look.jaw, low - 2), (look.jaw - 0.8, 13.5), (w - 2.4, 6), (w - 2.4, -6)]
    pen.fill(look.cloth, *both([*outer, *inner, (0.62 * w, -12.6), (-1, -14.5)]), line=_LINE)
    fold = mix(look.cloth, BLACK, 0.3)
    pen.stroke(fold, [(s * (w + 1), -8), (s * (w + 0.6), 6), (s * 0.7 * w, 17), (-s * 2, low + 4)], 0.9)
    pen.stroke(fold, [(-s * 3, -17), (-s * 9, -15), (-s * (w - 1.5), -8)], 0.9)


def beanie(pen: Pen, look: Look) -> None:
    w = look.wide + 0.8
    if pen.chance(0.5):
        pen.ovals(mix(look.cloth, WHITE, 0.6), (0, -27, 3.6, 3.4), line=_LINE)
    pen.fill(look.cloth, mirror([(0, -26.5), (0.6 * w, -24.5), (w, -16), (w + 0.4, -9), (0, -10.5)]), line=_LINE)
    band = [(0, -15.5), (0.6 * w, -14.9), (w + 0.4, -13), (w + 1, -8.6), (w - 1, -7.4), (0.6 * w, -9.6), (0, -10.3)]
    pen.fill(mix(look.cloth, pen.pick([WHITE, BLACK]), 0.35), mirror(band), line=_LINE)


# Behind it.


def _fall(pen: Pen, look: Look, width: float, low: float, wave: float) -> None:
    """Hair that hangs down to ``low``, ``width`` past the face, more or less wavy."""
    w = look.wide + width
    waves = [(w + wave, -4), (w - wave, 4), (w + wave, 11), (w - wave, 17), (w + wave, 24)]
    half = [(0, -24.5), (0.6 * w, -22.5), (w - 1, -13), *(point for point in waves if point[1] < low - 1.5)]
    pen.fill(look.hair, mirror([*half, (w - 0.5, low), (0.4 * w, low + 1), (0, low - 1)]), line=_LINE)


def bob(pen: Pen, look: Look) -> None:
    _fall(pen, look, pen.between(2.5, 5), pen.between(13, 18), pen.near(0, 0.3))


def long(pen: Pen, look: Look) -> None:
    _fall(pen, look, pen.between(3, 5.5), pen.between(24, 36), pen.near(0, 0.3))


def wavy(pen: Pen, look: Look) -> None:
    _fall(pen, look, pen.between(4, 6), pen.between(18, 36), pen.between(0.9, 1.6))


def cloud(pen: Pen, look: Look) -> None:
    """Big curls all round."""
    w, reach = look.wide + pen.between(1, 3), math.pi / 2 + pen.between(0.15, 0.9)
    angles = [s * reach * i / 6 for i in range(7) for s in (-1, 1)]  # from straight up
    sizes = [pen.between(5, 6.4) for _ in angles]
    places = [(math.sin(a) * w, -5 - math.cos(a) * (w - 1)) for a in angles]
    pen.ovals(look.hair, *[(x, y, r, r) for (x, y), r in zip(places, sizes, strict=True)], line=_LINE)


def bun(pen: Pen, look: Look) -> None:
    pen.ovals(look.hair, (pen.pick([0, 5]) * look.side, -26, pen.between(4.5, 6.5), pen.between(4, 5)), line=_LINE)


def pigtails(pen: Pen, look: Look) -> None:
    w, y, low = look.wide, pen.near(-8, 4), pen.between(6, 18)
    tail = [(w - 1, y), (w + 4, y - 3), (w + 7.5, y + 3), (w + 6, low - 3), (w + 3, low), (w + 2.6, y + 6)]
    pen.fill(look.hair, *both(tail), line=_LINE)


def ponytail(pen: Pen, look: Look) -> None:
    w, s, low = look.wide, look.side, pen.between(14, 30)
    tail = [(w - 6, -21), (w + 1, -24), (w + 8, -17), (w + 9, -2), (w + 5.5, low), (w + 2.5, low - 4), (w + 2.5, -2)]
    pen.fill(look.hair, [(s * x, y) for x, y in tail], line=_LINE)


def drape(pen: Pen, look: Look) -> None:
    """The scarf's own back."""
    w = look.wide
    half = [(0, -25), (0.65 * w, -23), (w + 3.2, -12), (w + 4, 4), (w + 1, 16), (w + 3, 26), (w + 6, 40), (0, 40)]
    pen.fill(look.cloth, mirror(half), line=_LINE)


# (behind, before); those of the first list go with a beard.
SHORT = [(None, front) for front in (crop, crop, sweep, quiff, spikes, curls, buzz, bald, beanie)]
LONG = [(back, front) for back in (bob, long, wavy) for front in (fringe, sweep, curtains)]
LONG += [(cloud, curls), (cloud, curls), (bun, crop), (bun, fringe), (pigtails, fringe), (ponytail, sweep)]
LONG += [(drape, scarf), (drape, scarf), (long, beanie)]
