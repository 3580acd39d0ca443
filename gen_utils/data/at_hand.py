"""What lies in a dataset's place, as far as a look at it tells; it bears the dataset's name only if it is the dataset.

Files are often not what their names say: resized, packed again as JPEG, cut out, a part of the whole, or another set of
the same layout. A look at the number of images, their format and size and a sample of their pixels tells.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from .catalog import Dataset, Published

_LOOKS = 512  # images of an array that are looked at
_SLACK = 0.02  # of the number of images: strays and duplicates do not make another set


@dataclass(frozen=True)
class AtHand:
    """What was found.

    ``count`` images; ``kind`` their files' format, empty for arrays, which every format holds exactly; ``width`` and
    ``height`` the smallest and the largest, in pixels; ``mean`` pixel and share of pure ``white`` pixels of a sample,
    both in [0, 1].
    """

    count: int
    kind: str
    width: tuple[int, int]
    height: tuple[int, int]
    mean: float
    white: float

    @classmethod
    def of_pictures(cls, count: int, sample: Sequence[tuple[str, np.ndarray]]) -> AtHand:
        """Of so many pictures, from the (format, pixels (H, W, 3) uint8) of some."""
        heights, widths = zip(*(pixels.shape[:2] for _, pixels in sample), strict=True)
        mean = float(np.mean([pixels.mean() / 255 for _, pixels in sample]))
        white = float(np.mean([(pixels == 255).all(2).mean() for _, pixels in sample]))
        kinds = " and ".join(sorted({kind for kind, _ in sample}))
        sides = (min(widths), max(widths)), (min(heights), max(heights))
        return cls(count, kinds, *sides, round(mean, 4), round(white, 4))

    @classmethod
    def of_array(cls, images: Tensor) -> AtHand:
        """Of images (N, C, H, W) uint8 whose pixels are the file's own."""
        sample = images[:: max(1, len(images) // _LOOKS)]
        height, width = images.shape[2:]
        white = (sample == 255).all(1).float().mean().item()
        mean = sample.float().mean().item() / 255
        return cls(len(images), "", (width, width), (height, height), round(mean, 4), round(white, 4))

    def __str__(self) -> str:
        """Such as "10,000 JPEG of 64×64, 14 % white"."""
        sides = "×".join(str(low) if low == high else f"{low} to {high}" for low, high in (self.width, self.height))
        white = f", {self.white:.0%} white".replace("%", " %") if self.kind and self.white >= 0.01 else ""
        return f"{self.count:,} {self.kind or 'images'} of {sides}{white}"

    def has_pixels_of(self, published: Published) -> bool:
        """Do format, size and tone fit those of the published files?"""
        bounds = ((self.width, published.width), (self.height, published.height))
        return (
            self.kind in ("", published.kind)
            and all(low <= here[0] and here[1] <= high for here, (low, high) in bounds)
            and published.mean[0] <= self.mean <= published.mean[1]
            and self.white <= published.most_white
        )


class Found(NamedTuple):
    """What a reader returns: images (N, C, H, W) uint8, labels (N,) and factors (N, n) int64, and what it all is."""

    images: Tensor
    labels: Tensor | None = None
    factors: Tensor | None = None
    at_hand: AtHand | None = None


def name_and_title(dataset: Dataset, at_hand: AtHand, part: str) -> tuple[str, str]:
    """The name and the title of what was found in a dataset's place.

    The dataset's own where it is the published one; its title with the count where it is a part of that; else a name
    of its own, with what was seen. ``part`` is "train", "test" or, where the look was at both, "all".
    """
    if (published := dataset.published) is None:  # a built-in set is what it says
        return dataset.name, dataset.title
    whole = published.count(part)
    if not at_hand.has_pixels_of(published) or at_hand.count > (1 + _SLACK) * whole:
        cut_out = " on white" if at_hand.white > published.most_white else ""
        return f"{dataset.name}_like", f"{dataset.like}{cut_out}, {at_hand}"
    if at_hand.count < (1 - _SLACK) * whole:
        return dataset.name, f"{dataset.title}, {at_hand.count:,} of {whole:,} images"
    return dataset.name, dataset.title


def as_text(at_hand: AtHand) -> str:
    return json.dumps(asdict(at_hand))


def from_text(text: str) -> AtHand:
    """Raises KeyError, TypeError or ValueError: it is something else."""
    told: dict[str, Any] = dict(json.loads(text))
    for side in ("width", "height"):
        told[side] = tuple(told[side])
    return AtHand(**told)
