"""Has the energy learnt anything? Three questions that the contrastive loss does not answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..data import to_uint8
from ..samplers import Energy, Kernel, Start, sample
from . import arguments
from .corruptions import shift
from .outliers import auroc, energies


def energy_report(energy: nn.Module, images: Tensor, generator: torch.Generator | None = None) -> dict[str, float]:
    """Does the energy tell images apart at all, and does it know more than "this is not noise"?

    Args:
        energy: (B, C, H, W) -> (B,), in eval mode.
        images: (N, C, H, W) held-out data in [-1, 1].

    Returns:
        ``spread``: standard deviation of the energies of data, noise and blends of pairs together, zero for a
            collapsed model; ``gap``: mean energy of uniform noise minus that of data, in units of the spread;
        ``auroc_noise``, ``auroc_shifted``, ``auroc_blend``: how often uniform noise, the data moved sideways by a
            quarter of the width, and the average of two images have a higher energy than data. ½ is blind.

    Raises:
        ValueError: fewer than two images or four columns, images of another kind, energies that are not finite.
    """
    arguments.images("images", images, uint8=False, least=2)
    if images.shape[-1] < 4:
        raise ValueError(f"images must be at least 4 pixels wide to be moved by a quarter, got {images.shape[-1]}")
    noise = torch.rand(images.shape, generator=generator) * 2 - 1
    # An average of two faces has the right colours in the right places and is no face.
    blend = (images + images[torch.randperm(len(images), generator=generator)]) / 2
    moved = shift(images.flip(0), images.shape[-1] // 4)
    levels = {
        "data": energies(energy, images),
        "noise": energies(energy, noise),
        "blend": energies(energy, blend),
        "shifted": energies(energy, moved),
    }
    together = torch.cat([levels["data"], levels["noise"], levels["blend"]])
    spread = together.std().item()
    gap = (levels["noise"].mean() - levels["data"].mean()).item()
    return {
        "spread": spread,
        "gap": gap / spread if spread > 0 else 0.0,
        **{f"auroc_{name}": auroc(levels["data"], levels[name]) for name in ("noise", "shifted", "blend")},
    }


def chain_length_test(
    energy: Energy,
    kernel: Kernel,
    start: Start,
    lengths: Sequence[int],
    measure: Callable[[Tensor], float],
    n: int,
    generator: torch.Generator,
    *,
    fast: bool = False,
) -> dict[int, float]:
    """The quality of chains of several lengths, from the same starts.

    Chains of a good energy improve and stay; those of an energy that was only ever seen by short chains get worse
    again once they run longer than in training. Source: Nijkamp et al. (2020), who call the two kinds of training
    convergent and non-convergent.

    Args:
        energy, kernel: as for ``sample``; start: where all chains begin; lengths: numbers of steps.
        measure: uint8 images (n, C, H, W) -> a number.

    Returns:
        length -> measure of the n chains of that length.

    Raises:
        ValueError: no lengths or one below zero, no chains, or a measure that is not finite.
    """
    arguments.some("lengths", lengths)
    lengths = [arguments.whole("lengths", length, 0) for length in lengths]
    n = arguments.whole("n", n, 1)
    x0 = start.draw(n, generator=generator)
    found = {}
    for length in lengths:
        stream = torch.Generator(generator.device).manual_seed(generator.initial_seed() + 1)
        images = to_uint8(sample(energy, x0, kernel, length, generator=stream, fast=fast).x)
        found[length] = arguments.number(f"the measure after {length} steps", measure(images))
    return found
