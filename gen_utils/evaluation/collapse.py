"""Has the energy learnt anything? Three questions that the contrastive loss does not answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..data import to_uint8
from ..samplers import Energy, Kernel, Start, sample
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
    """
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
    """
    x0 = start.draw(n, generator=generator)
    found = {}
    for length in lengths:
        stream = torch.Generator(generator.device).manual_seed(generator.initial_seed() + 1)
        found[length] = measure(to_uint8(sample(energy, x0, kernel, length, generator=stream, fast=fast).x))
    return found
