"""Stand-ins: image sets that are built in, so that everything runs with no network and no files; one drawn set a file.

Each is imported when it is drawn: fonts, distance maps and scikit-learn take their time.
"""

from __future__ import annotations

from torch import Tensor

Drawn = tuple[Tensor, Tensor | None] | tuple[Tensor, Tensor, Tensor]  # images, labels[, factors]


def _digits(split: str) -> Drawn:
    from .digits import digits

    return digits(split)


def _stacked_digits(split: str) -> Drawn:
    from .digits import stacked_digits

    return stacked_digits(split)


def _drawn_persian_digits(split: str) -> Drawn:
    from .drawn_persian import drawn_persian_digits

    return drawn_persian_digits(split)


def _garments(split: str) -> Drawn:
    from .garments import garments

    return garments(split)


def _avatars(split: str) -> Drawn:
    from .avatars import avatars

    return avatars(split)


def _sprites(split: str) -> Drawn:
    from .sprites import sprites

    return sprites(split)


def _shapes(split: str) -> Drawn:
    from .shapes import shapes

    return shapes(split)


BUILT_IN = {
    "digits": _digits,
    "stacked_digits": _stacked_digits,
    "drawn_persian_digits": _drawn_persian_digits,
    "garments": _garments,
    "avatars": _avatars,
    "sprites": _sprites,
    "shapes": _shapes,
}
