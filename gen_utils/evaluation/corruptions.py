"""Damaged images: by known strength, which a distance must put in order; and as outliers an energy should refuse.

The functions of strength take floats (B, C, H, W) in [-1, 1] and a strength in [0, 1], one number or one an image, and
give floats of the same shape in [-1, 1]. Strength 0 changes nothing. They raise ValueError for other images, another
strength, and images too small or too few for the damage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import to_float, to_uint8
from . import arguments


def blur(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """A Gaussian blur of standard deviation 3 · strength pixels."""
    strength = _per_image(x, strength)
    b, c, h, w = x.shape
    if min(h, w) < 8:
        raise ValueError(f"x must be at least 8 pixels a side, which the blur reaches over, got {h} by {w}")
    sigma = (3.0 * strength).clamp(min=1e-3).view(b, 1)
    taps = torch.arange(-7, 8, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (taps / sigma).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)  # one kernel an image and channel
    flat = F.pad(x.reshape(1, b * c, h, w), (7, 7, 7, 7), mode="reflect")
    flat = F.conv2d(flat, kernel.view(b * c, 1, 1, 15), groups=b * c)
    return F.conv2d(flat, kernel.view(b * c, 1, 15, 1), groups=b * c).view_as(x)


def noise(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian noise of standard deviation 0.5 · strength, clamped to [-1, 1]."""
    strength = _wide(x, strength)
    return (x + 0.5 * strength * torch.randn(x.shape, generator=generator).to(x)).clamp(-1, 1)


def blend(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """A weighted average with another image of the batch; at strength 1 both weigh the same."""
    weight = 0.5 * _wide(x, strength, least=2)
    return x + weight * (_others(x, generator) - x)


def patchwork(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """A square of another image is put in a random place; at strength 1 its side is 0.6 of the image's."""
    inside = _squares(x, 0.6 * _per_image(x, strength, least=2), generator)
    return torch.where(inside, _others(x, generator), x)


def missing(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """A grey square hides a random place; at strength 1 its side is 0.6 of the image's."""
    hidden = _squares(x, 0.6 * _per_image(x, strength), generator)
    return x.masked_fill(hidden, 0.0)


def tint(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """More of the first channel, less of the last: the same shift, 0.5 · strength, in every image."""
    strength = _wide(x, strength)
    if x.shape[1] != 3:
        raise ValueError(f"x must have three colour channels to be tinted, got {x.shape[1]}")
    shift = torch.tensor([0.5, 0.0, -0.5]).to(x).view(1, 3, 1, 1)
    return (x + strength * shift).clamp(-1, 1)


def checkerboard(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """A pattern of period two, as badly chosen transposed convolutions leave it; at strength 1 its height is 0.4."""
    strength = _wide(x, strength)
    sign = 1 - 2 * ((torch.arange(x.shape[2])[:, None] + torch.arange(x.shape[3])) % 2).to(x)
    return (x + 0.4 * strength * sign).clamp(-1, 1)


def mode_drop(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """The brightest images, a share 0.9 · ``strength``, are thrown away, and others taken twice. One strength for all.
    At least two are kept, so that it takes three images or more.

    Brightness is the mean of all pixels, so what is lost goes together: dark hair stays, light hair goes.
    """
    strength = arguments.number("strength", strength, least=0, most=1)
    arguments.images("x", x, uint8=False, least=3)
    keep = max(2, round(len(x) * (1 - 0.9 * strength)))
    darkest = x.flatten(1).mean(1).argsort()[:keep]
    return x[darkest[torch.arange(len(x)) % keep]]


CORRUPTIONS = {
    "blur": blur,
    "noise": noise,
    "averages of two": blend,
    "patchwork of two": patchwork,
    "missing parts": missing,
    "tint": tint,
    "checkerboard": checkerboard,
    "only the dark ones": mode_drop,
}


def distances_under_damage(
    measure: Callable[[Tensor], float],
    images: Tensor,
    *,
    strengths: Sequence[float] = (0.0, 0.2, 0.4, 0.7, 1.0),
    names: Sequence[str] = tuple(CORRUPTIONS),
    seed: int = 0,
) -> dict[str, list[float]]:
    """The distance of damaged images at each strength, by kind of damage; a judge to trust lets every row grow.

    Args:
        measure: uint8 (N, C, H, W) -> the distance to some fixed other images of the same kind.
        images: (N, C, H, W) uint8, undamaged.

    Raises:
        ValueError: images that are not uint8 or too few, no strengths, an unknown kind of damage, or a distance that is
            not finite.
    """
    arguments.images("images", images, uint8=True)
    arguments.some("strengths", strengths)
    arguments.some("names", names)
    for name in names:
        arguments.choice("names", name, CORRUPTIONS)
    clean = to_float(images)
    found: dict[str, list[float]] = {}
    for name in names:
        found[name] = []
        for strength in strengths:
            stream = torch.Generator().manual_seed(seed)  # the same noise and places at every strength
            distance = measure(to_uint8(CORRUPTIONS[name](clean, strength, stream)))
            found[name].append(arguments.number(f"the measure of {name} at strength {strength}", distance))
    return found


def _per_image(x: Tensor, strength: Tensor | float, least: int = 1) -> Tensor:
    """(B,) strengths, once images and strengths are what the damage takes."""
    arguments.images("x", x, uint8=False, least=least)
    found = torch.as_tensor(strength, dtype=x.dtype, device=x.device)
    if found.ndim:
        arguments.shaped("strength", found, (len(x),))
    if not ((found >= 0) & (found <= 1)).all():
        raise ValueError(f"strength must be between 0 and 1, got {strength}")
    return found.expand(len(x))


def _wide(x: Tensor, strength: Tensor | float, least: int = 1) -> Tensor:
    return _per_image(x, strength, least).view(-1, 1, 1, 1)


def _others(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Every image's partner: never itself, where there are two."""
    step = int(torch.randint(1, max(2, len(x)), (), generator=generator))
    return x.roll(step, 0)


def _squares(x: Tensor, share: Tensor, generator: torch.Generator | None) -> Tensor:
    """(B, 1, H, W) bool: one square an image, its side a share of the image's, in a random place inside."""
    b, _, h, w = x.shape
    u = torch.rand(2, b, generator=generator).to(x)

    def within(n: int, at: Tensor) -> Tensor:
        side = (share * n).round()
        first = (at * (n - side + 1)).floor()
        i = torch.arange(n, dtype=x.dtype, device=x.device)
        return (i >= first[:, None]) & (i < (first + side)[:, None])

    return (within(h, u[0])[:, :, None] & within(w, u[1])[:, None, :]).unsqueeze(1)


def corruptions(images: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Damaged versions of images in [-1, 1], (B, C, H, W) each, by name.

    They go from what any model should refuse (noise) to what needs a real model of digits
    (a digit upside down, or a few pixels away from where digits are).

    Raises:
        ValueError: no images, images of another kind, or of six columns or fewer.
    """
    arguments.images("images", images, uint8=False)
    noise = torch.rand(images.shape, generator=generator) * 2 - 1
    wobble = torch.randn(images.shape, generator=generator)
    return {
        "uniform noise": noise,
        "noisy (σ = 0.3)": (images + 0.3 * wobble).clamp(-1, 1),
        "inverted": -images,
        "upside down": images.flip(-2),
        "mirrored": images.flip(-1),
        "shifted by 6 pixels": shift(images, 6),
    }


def shift(images: Tensor, pixels: int) -> Tensor:
    """Moved right, with the background (-1) coming in on the left.

    Raises:
        ValueError: no images, images of another kind, or a number of pixels that is not 1 to the width less one.
    """
    arguments.images("images", images, uint8=False)
    pixels = arguments.whole("pixels", pixels, 1, images.shape[-1] - 1)
    moved = torch.full_like(images, -1.0)
    moved[..., pixels:] = images[..., :-pixels]
    return moved
