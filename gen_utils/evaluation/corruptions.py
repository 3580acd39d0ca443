"""Damaged images: by known strength, which a distance must put in order; and as outliers an energy should refuse.

The functions of strength take floats (B, C, H, W) in [-1, 1] and a strength in [0, 1], one number or one an image, and
give floats of the same shape in [-1, 1]. Strength 0 changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data import to_float, to_uint8


def blur(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """A Gaussian blur of standard deviation 3 · strength pixels."""
    b, c, h, w = x.shape
    sigma = (3.0 * _per_image(x, strength)).clamp(min=1e-3).view(b, 1)
    taps = torch.arange(-7, 8, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (taps / sigma).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)  # one kernel an image and channel
    flat = F.pad(x.reshape(1, b * c, h, w), (7, 7, 7, 7), mode="reflect")
    flat = F.conv2d(flat, kernel.view(b * c, 1, 1, 15), groups=b * c)
    return F.conv2d(flat, kernel.view(b * c, 1, 15, 1), groups=b * c).view_as(x)


def noise(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian noise of standard deviation 0.5 · strength, clamped to [-1, 1]."""
    return (x + 0.5 * _wide(x, strength) * torch.randn(x.shape, generator=generator).to(x)).clamp(-1, 1)


def blend(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """A weighted average with another image of the batch; at strength 1 both weigh the same."""
    weight = 0.5 * _wide(x, strength)
    return x + weight * (_others(x, generator) - x)


def patchwork(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """A square of another image is put in a random place; at strength 1 its side is 0.6 of the image's."""
    inside = _squares(x, 0.6 * _per_image(x, strength), generator)
    return torch.where(inside, _others(x, generator), x)


def missing(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """A grey square hides a random place; at strength 1 its side is 0.6 of the image's."""
    return x.masked_fill(_squares(x, 0.6 * _per_image(x, strength), generator), 0.0)


def tint(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """More of the first channel, less of the last: the same shift, 0.5 · strength, in every image."""
    shift = torch.tensor([0.5, 0.0, -0.5], device=x.device).view(1, 3, 1, 1)
    return (x + _wide(x, strength) * shift).clamp(-1, 1)


def checkerboard(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """A pattern of period two, as badly chosen transposed convolutions leave it; at strength 1 its height is 0.4."""
    sign = 1 - 2 * ((torch.arange(x.shape[2])[:, None] + torch.arange(x.shape[3])) % 2).to(x)
    return (x + 0.4 * _wide(x, strength) * sign).clamp(-1, 1)


def mode_drop(x: Tensor, strength: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """The brightest images, a share 0.9 · ``strength``, are thrown away, and others taken twice. One strength for all.

    Brightness is the mean of all pixels, so what is lost goes together: dark hair stays, light hair goes.
    """
    keep = max(2, round(len(x) * (1 - 0.9 * float(strength))))
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
    """
    clean = to_float(images)
    found: dict[str, list[float]] = {}
    for name in names:
        found[name] = []
        for strength in strengths:
            stream = torch.Generator().manual_seed(seed)  # the same noise and places at every strength
            found[name].append(measure(to_uint8(CORRUPTIONS[name](clean, strength, stream))))
    return found


def _per_image(x: Tensor, strength: Tensor | float) -> Tensor:
    return torch.as_tensor(strength, dtype=x.dtype, device=x.device).expand(len(x))


def _wide(x: Tensor, strength: Tensor | float) -> Tensor:
    return _per_image(x, strength).view(-1, 1, 1, 1)


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
    """
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
    """Moved right, with the background (-1) coming in on the left."""
    moved = torch.full_like(images, -1.0)
    moved[..., pixels:] = images[..., :-pixels]
    return moved
