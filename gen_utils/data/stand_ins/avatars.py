"""Avatars: cartoon faces on white, 64×64. Stand in for Bitmoji and CelebA.

A face is painted from back to front: hair behind the head, the body, the head, its features, hair before it, glasses.
Lengths are pixels of the image; the origin is between the eyes, x to the right and y down. ``avatar_pen`` is what it
is drawn with, ``avatar_hair`` what is on the head.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .avatar_hair import LONG, SHORT, Look
from .avatar_pen import BLACK, WHITE, Pen, at, both, mirror, mix

_COUNT = {"train": 2_000, "test": 300}
_SEED = {"train": 64, "test": 65}

_SKINS = [(255, 224, 196), (250, 208, 172), (240, 190, 150), (222, 164, 120), (190, 128, 86), (146, 94, 62)]
_SKINS += [(104, 66, 44)]
_HAIRS = [(38, 32, 36), (62, 42, 34), (94, 60, 40), (132, 84, 50), (176, 124, 70), (222, 182, 104), (186, 82, 42)]
_RARE_HAIRS = [(168, 168, 172), (222, 220, 216), (226, 120, 160), (72, 152, 172), (124, 88, 172)]
_EYES = [(74, 46, 30), (96, 62, 36), (62, 104, 70), (64, 116, 168), (92, 112, 124)]
_CLOTHES = [(214, 70, 70), (240, 150, 60), (244, 206, 84), (92, 168, 108), (70, 150, 190), (62, 84, 150)]
_CLOTHES += [(132, 96, 176), (232, 132, 160), (70, 74, 86), (236, 236, 232)]
_FRAMES = [(40, 38, 44), (96, 52, 36), (150, 44, 60), (52, 84, 132), (176, 136, 60)]
_GEMS = [(244, 196, 70), (236, 236, 240), (92, 190, 200), (226, 92, 110)]


def avatars(split: str) -> tuple[Tensor, None]:
    """Cartoon faces, no two alike: skin, hair, eyes, expressions, beards, glasses, scarves, hats and clothes.

    Returns:
        images (N, 3, 64, 64) uint8 on white, 2,000 train or 300 test, the same on every call; and None, as there are
        no classes.
    """
    return _draw(_COUNT[split], _SEED[split]), None


def _draw(n: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    images = np.stack([_avatar(Pen(rng)) for _ in range(n)])
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _avatar(pen: Pen) -> np.ndarray:
    short = pen.chance(0.45)
    behind, before = pen.pick(SHORT if short else LONG)
    look = _look(pen, adorned=pen.chance(0.08 if short else 0.8))
    if behind is not None:
        behind(pen, look)
    _body(pen, look)
    _head(pen, look)
    beard = short and not look.adorned and pen.chance(0.45)
    if beard:
        _beard(pen, look)
    _eyes(pen, look)
    _nose(pen, look)
    _mouth(pen, look)
    if beard and pen.chance(0.8):
        _moustache(pen, look)
    before(pen, look)
    if pen.chance(0.22):
        _glasses(pen, look)
    return pen.image()


def _look(pen: Pen, adorned: bool) -> Look:
    tone = pen.between(0, len(_SKINS) - 1.001)
    skin = mix(_SKINS[int(tone)], _SKINS[int(tone) + 1], tone % 1)
    wide = pen.near(16.2, 1.1)
    hair = pen.pick(_RARE_HAIRS if pen.chance(0.1) else _HAIRS[:3] if tone > 3.6 else _HAIRS)
    return Look(
        wide=wide,
        jaw=wide * pen.between(0.66, 0.84),
        chin=pen.near(20.2, 1.2),
        turn=pen.near(0, 1.4),
        side=pen.side(),
        skin=skin,
        ink=mix(skin, (70, 20, 16), 0.62),
        hair=mix(hair, pen.pick([WHITE, BLACK]), pen.between(0, 0.12)),
        cloth=mix(pen.pick(_CLOTHES), WHITE, pen.between(0, 0.2)),
        adorned=adorned,
    )


def _body(pen: Pen, look: Look) -> None:
    neck = [(0, 12), (6.5, 12), (6.2, 22), (7, 34), (0, 34)]
    pen.fill(mix(look.skin, look.ink, 0.3), mirror(neck), line=0.8, ink=look.ink)
    slope, collar = pen.near(25.5, 0.8), pen.chance(0.5)
    neckline = [(0, 29), (7, slope)] if collar else [(0, 27.5), (5, 26.5), (8, slope)]
    pen.fill(look.cloth, mirror([*neckline, (17, slope + 2), (24, 33), (22, 42), (0, 42)]), line=0.8)
    if collar:
        pen.fill(mix(look.cloth, WHITE, 0.4), *both([(6.6, 23), (9, 26), (4, 31), (1, 29)]), line=0.7)


def _head(pen: Pen, look: Look) -> None:
    w, jaw, ears = look.wide, look.jaw, pen.near(2, 0.8)
    pen.ovals(look.skin, *[(s * (w + 0.4), ears, 2.8, 3.8) for s in (-1, 1)], line=0.8, ink=look.ink)
    for s in (-1, 1):
        inside = at(s * (w + 1), ears, [(0.9, -1.3), (-0.2, -1.2), (-0.1, 1.4)], s)
        pen.stroke(mix(look.skin, look.ink, 0.6), inside, 0.8)
    if look.adorned and pen.chance(0.5):
        r, drop = pen.between(0.9, 1.7), pen.pick([1, 1.5])
        pen.ovals(pen.pick(_GEMS), *[(s * (w + 1.3), ears + 4.2 + r, r, r * drop) for s in (-1, 1)], line=0.5)
    cheek = [(0, -20.5), (0.6 * w, -18.5), (0.95 * w, -10), (w, 0), (0.96 * w, 8), (jaw, 14.8)]
    face = mirror([*cheek, (jaw * pen.between(0.4, 0.6), look.chin - 1.2), (0, look.chin)])
    pen.fill(look.skin, face, line=0.8, ink=look.ink)
    blush = mix(look.skin, (236, 96, 96), pen.between(0.05, 0.3))
    pen.ovals(blush, *[(s * 0.62 * w + look.turn, 7.6, 3.4, 2.1) for s in (-1, 1)])
    if pen.chance(0.12):
        freckles = [(7, 6.6), (9, 7.4), (11, 6.5), (8, 8.6), (10.3, 8.8)]
        spots = [(s * x + look.turn, y, 0.36, 0.36) for s in (-1, 1) for x, y in freckles]
        pen.ovals(mix(look.skin, look.ink, 0.4), *spots)


def _eyes(pen: Pen, look: Look) -> None:
    apart, y = pen.near(7.1, 0.5), pen.near(0.6, 0.6)
    rx, ry = pen.near(3.7, 0.45), pen.near(3.2, 0.55)
    iris = mix(pen.pick(_EYES[:2] if look.skin[0] < 200 else _EYES), BLACK, pen.between(0, 0.2))
    gaze_x, gaze_y = look.turn * 0.35 + pen.near(0, 0.5), y + pen.near(0, 0.35)
    lid, corner = y - ry * pen.near(0.8, 0.25), y + pen.near(0, 0.5)
    smiling, wink = pen.chance(0.08), pen.side() * pen.chance(0.05)
    brow, brow_y, frown = pen.between(1.1, 2.1), y - ry - pen.near(3, 0.7), pen.near(0.2, 1)
    for s in (-1, 1):
        x = s * apart + look.turn
        arch = [(-3.2, 0.6 * frown), (0.8, -0.9), (4.4, 0.8 - 0.3 * frown)]
        pen.stroke(mix(look.hair, BLACK, 0.3), at(x, brow_y, arch, s), brow)
        if smiling or s == wink:
            pen.stroke(BLACK, at(x, y, [(-rx, 0.8), (0, -1.6), (rx, 0.8)]), 1.3)
            continue
        pen.ovals((252, 252, 252), (x, y, rx, ry), line=0.35, ink=look.ink)
        pupil = x + gaze_x
        pen.ovals(mix(iris, BLACK, 0.5), (pupil, gaze_y, 2.25, 2.35))
        pen.ovals(iris, (pupil, gaze_y, 1.85, 1.95))
        pen.ovals(BLACK, (pupil, gaze_y, 1.05, 1.1))
        pen.ovals(WHITE, (pupil + 0.7, gaze_y - 0.8, 0.6, 0.6))
        # The lid is skin over the top of the eye, down to the dark line of the lashes.
        above = [(s * rx, -ry - 0.5), (0, -ry - 1.2), (-s * rx, -ry - 0.5)]
        edge = [(x - s * (rx + 0.3), y - 0.4), (x, lid), (x + s * (rx + 0.3), corner - 0.5)]
        pen.fill(look.skin, edge + at(x, y, above))
        lashes = [(x - s * (rx + 0.3), y + 0.2), (x - s * 1.6, lid + 0.55), (x + s * 1.2, lid + 0.3)]
        pen.stroke(BLACK, [*lashes, (x + s * (rx + 0.7), corner)], 1.25)
        if look.adorned:
            pen.stroke(BLACK, at(x + s * rx, lid, [(-0.9, 1.3), (0.4, 0.6), (1.4, -0.5)], s), 0.9)


def _nose(pen: Pen, look: Look) -> None:
    x, y, w = look.turn * 1.5, pen.near(6.4, 0.7), pen.between(1.5, 2.5)
    kind = pen.between(0, 1)
    if kind < 0.35:  # a button
        pen.ovals(mix(look.skin, look.ink, 0.28), (x, y, w, w * 0.75))
        pen.ovals(mix(look.skin, WHITE, 0.25), (x + 0.3, y - 0.5, w * 0.55, w * 0.3))
    elif kind < 0.7:  # its wings
        wings = [(-w, -0.6), (-0.4 * w, 0.5), (0, 0.2), (0.4 * w, 0.5), (w, -0.6)]
        pen.stroke(look.ink, at(x, y, wings), 0.9)
    else:  # seen a little from the side
        ridge = [(-0.2, -4.5), (0.8 * w, -0.4), (0.5 * w, 0.6), (-0.8, 0.5)]
        pen.stroke(look.ink, at(x, y, ridge, -1 if look.turn < 0 else 1), 0.9)


def _mouth(pen: Pen, look: Look) -> None:
    x, y, w = look.turn * 1.2, pen.near(12.2, 0.6), pen.between(3.6, 6)
    lips = mix(mix(look.skin, (196, 50, 64), 0.62 if look.adorned else 0.3), look.ink, 0.1)
    rim = {"line": 1.1, "ink": lips} if look.adorned else {"line": 0.7, "ink": look.ink}
    kind, full, curl, bend = pen.between(0, 1), pen.between(0.9, 1.7), pen.between(0.6, 2.2), pen.near(0, 0.9)
    if kind < 0.4:  # an open smile
        low = pen.between(3, 5)
        smile = [(-w, -0.8), (0, 0.3), (w, -0.8), (0.75 * w, 0.45 * low), (0, low), (-0.75 * w, 0.45 * low)]
        tongue = [(-0.5 * w, 0.72 * low), (0, 0.6 * low), (0.5 * w, 0.72 * low), (0, low - 0.2)]
        teeth = [(-0.86 * w, -0.5), (0, 0.5), (0.86 * w, -0.5), (0.66 * w, 1), (0, 1.75), (-0.66 * w, 1)]
        pen.fill((96, 26, 34), at(x, y, smile), **rim)
        pen.fill((214, 92, 96), at(x, y, tongue))
        pen.fill(WHITE, at(x, y, teeth))
    elif kind < 0.5:  # all teeth
        grin = [(-w, -1), (0, 0), (w, -1), (0.7 * w, 1.6), (0, 2.6), (-0.7 * w, 1.6)]
        pen.fill(WHITE, at(x, y, grin), **rim)
    elif kind < 0.56:  # oh!
        pen.ovals((96, 26, 34), (x, y + 0.6, 1.7, 2.1), line=0.9, ink=lips)
    else:  # closed, with lips or without
        if look.adorned or kind < 0.75:
            upper = [(-0.75 * w, -0.2), (-0.3 * w, -full), (0, -0.7 * full), (0.3 * w, -full), (0.75 * w, -0.2)]
            pen.fill(lips, at(x, y, [*upper, (0, 1.2 * full + 0.4 * curl)]))
        line = [(-w, -0.5 * curl - bend), (-0.5 * w, 0.2 * curl), (0.5 * w, 0.2 * curl), (w, -0.5 * curl + bend)]
        pen.stroke(mix(look.ink, BLACK, 0.25), at(x, y, line), 1.1)


def _beard(pen: Pen, look: Look) -> None:
    w, jaw, low = look.wide, look.jaw, look.chin + pen.between(0.2, 2.2)
    colour = mix(look.skin, look.hair, 0.35 if pen.chance(0.3) else 0.92)  # a stubble, or grown
    if pen.chance(0.6):
        cheek = pen.between(7.5, 10)
        inner = [(0, 9.3), (4.4, 9.1), (7, cheek), (0.7 * w, cheek - 0.6), (w - 2, 1)]
        outer = [(w - 0.4, -1), (w, 3), (0.97 * w, 8.4), (jaw + 0.3, 15.2), (0.5 * jaw, low - 1.2), (0, low)]
        pen.fill(colour, mirror(inner + outer))
    else:  # a goatee
        pen.fill(colour, mirror([(0, 16), (3.2, 15), (6.5, 10.5), (7.4, 12), (6, 18), (3.5, low - 0.5), (0, low)]))
    pen.ovals(look.skin, (look.turn * 1.2, 15.6, 2.6, 0.8))


def _moustache(pen: Pen, look: Look) -> None:
    w, y = pen.between(4.5, 7), pen.near(9.6, 0.3)
    half = [(0, -0.5), (0.35 * w, -1), (0.8 * w, 0.1), (w, pen.between(-0.6, 2)), (0.7 * w, 1.5), (0, 0.9)]
    pen.fill(look.hair, at(look.turn * 1.3, y, mirror(half)), line=0.35)


def _glasses(pen: Pen, look: Look) -> None:
    frame, x, y, rx = pen.pick(_FRAMES), look.turn, pen.near(1.2, 0.3), pen.between(5, 5.9)
    ry, width = rx * pen.between(0.78, 1), pen.between(0.9, 1.5)
    pen.stroke(frame, at(x, y, [(-2.6, -0.8), (0, -1.5), (2.6, -0.8)]), width)
    for s in (-1, 1):
        pen.stroke(frame, [(x + s * (6.7 + rx), y - 1), (s * (look.wide + 0.8), y - 1.4)], width)
        pen.ring(frame, (x + s * 7.2, y, rx, ry), width)
