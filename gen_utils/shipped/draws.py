"""How models draw their pictures, one function a kind: (model, n, random numbers, data root) -> floats in [-1, 1].

Where a model is drawn by chains, the card has the sampler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from .. import checkpoints
from ..data import load_images, to_float
from ..models import JointEnergy
from ..samplers import GaussianStart, Kernel, UniformStart, sample
from ..samplers.written import read_kernel


def labels_asked(n: int) -> Tensor:
    """(n,) the classes that conditional models are asked for: 0, 1, …, 9, 0, 1, …"""
    return torch.arange(n) % 10


def sampler_of(model: Any) -> tuple[Kernel, int]:
    """Kernel and length of the chains behind the figures on a model's card.

    Raises:
        ValueError: a card without a sampler, or with one that is not a kernel.
    """
    told = model.card.get("sampler")
    if not isinstance(told, dict) or not {"kernel", "steps"} <= told.keys():
        raise ValueError(f"the card of {model.card['name']} names no sampler: it wants a kernel and a number of steps")
    return read_kernel(told["kernel"]), int(told["steps"])


def chains(model: Any, n: int, stream: torch.Generator, _root) -> Tensor:
    """From uniform noise."""
    kernel, steps = sampler_of(model)
    start = UniformStart(model.event_shape).draw(n, generator=stream)
    return sample(model, start, kernel, steps, generator=stream, fast=True).x


def denoised(model: Any, n: int, stream: torch.Generator, _root) -> Tensor:
    """Down the noise levels, from Gaussian noise of the highest."""
    kernel, steps = sampler_of(model)
    parts = []
    for first in range(0, n, 100):
        start = cast(Any, kernel).levels.start(model.event_shape, min(100, n - first), generator=stream)
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(sample(model.denoise, start, kernel, steps, generator=stream).x)
    return torch.cat(parts).clamp(-1, 1)


def on_request(model: Any, n: int, stream: torch.Generator, _root) -> Tensor:
    """From uniform noise, each under its label."""
    kernel, steps = sampler_of(model)
    start = UniformStart(model.event_shape).draw(n, generator=stream)
    return sample(model.given(labels_asked(n)), start, kernel, steps, generator=stream, fast=True).x


def joint(model: Any, n: int, stream: torch.Generator, root) -> Tensor:
    """A classifier read as an energy: from the Gaussian of each label."""
    kernel, steps = sampler_of(model)
    train = load_images("mnist", root=root, stand_in=False).split(0.95, 0.05, seed=model.card["seed"])[0]
    start = GaussianStart.fit(train.images, train.labels).draw(n, labels=labels_asked(n), generator=stream)
    energy = JointEnergy(model, train.shape).given(labels_asked(n))
    return sample(energy, start, kernel, steps, generator=stream, fast=True).x


@torch.no_grad()
def decoded(model: Any, n: int, stream: torch.Generator, _root) -> Tensor:
    decoder = checkpoints.load(model.card["decoder"])
    return torch.cat([decoder.decode_tokens(part) for part in model.sample(n, generator=stream).split(500)])


def rebuilt(dataset: str) -> Callable:
    @torch.no_grad()
    def run(model: Any, n: int, stream: torch.Generator, root) -> Tensor:
        held_out = load_images(dataset, "test", root=root, stand_in=False)
        order = torch.randperm(len(held_out), generator=stream)[: -(-n // 2)]
        x = to_float(held_out.images[order])
        rows = zip(x.split(10), model.reconstruct(x).split(10), strict=True)
        return torch.cat([part for row in rows for part in row])[:n]

    return run


def generated(model: Any, n: int, stream: torch.Generator, _root) -> Tensor:
    return model.sample(n, generator=stream)


def binary(model: Any, n: int, stream: torch.Generator, _root) -> Tensor:
    return torch.where(model.sample(n, generator=stream) >= 0, 1.0, -1.0)  # Part F's threshold


def refined(model: Any, n: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
    """n draws of a VAEBM's VAE, and the same after its chains, both as decoder means in [-1, 1]."""
    kernel, steps = sampler_of(model)
    eps = model.start().draw(n, generator=stream)
    ends = [sample(model.in_epsilon(), part, kernel, steps, generator=stream, fast=True).x for part in eps.split(500)]
    return model.images(eps, mean=True), model.images(torch.cat(ends), mean=True)


def after_chains(model: Any, n: int, stream: torch.Generator, _root) -> Tensor:
    """The second of ``refined``."""
    return refined(model, n, stream)[1]
