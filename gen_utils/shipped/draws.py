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


def _from_noise(model: Any, n: int, stream: torch.Generator, _root) -> tuple[Callable, Tensor]:
    return model, UniformStart(model.event_shape).draw(n, generator=stream)


def _under_labels(model: Any, n: int, stream: torch.Generator, _root) -> tuple[Callable, Tensor]:
    return model.given(labels_asked(n)), UniformStart(model.event_shape).draw(n, generator=stream)


def _from_gaussians(model: Any, n: int, stream: torch.Generator, root) -> tuple[Callable, Tensor]:
    train = load_images("mnist", root=root, stand_in=False).split(0.95, 0.05, seed=model.card["seed"])[0]
    start = GaussianStart.fit(train.images, train.labels).draw(n, labels=labels_asked(n), generator=stream)
    return JointEnergy(model, train.shape).given(labels_asked(n)), start


class Chains:
    """Draws by the chains of the card's sampler.

    Args:
        begin: (model, n, random numbers, data root) -> the energy to descend and the starts.
    """

    def __init__(self, begin: Callable) -> None:
        self.begin = begin

    def __call__(self, model: Any, n: int, stream: torch.Generator, root) -> Tensor:
        """(n, C, H, W) after the card's number of steps."""
        (kernel, steps), (energy, start) = sampler_of(model), self.begin(model, n, stream, root)
        return sample(energy, start, kernel, steps, generator=stream, fast=True).x

    def longer(
        self, model: Any, n: int, stream: torch.Generator, root, times: int, *, steps: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same chains for ``times`` as many steps.

        Args:
            steps: in place of those that the card says.

        Returns:
            (times, n, C, H, W) states after 1, 2, …, ``times`` as many steps as the card says, and their energies
            (times, n) in nats.
        """
        (kernel, usual), (energy, x) = sampler_of(model), self.begin(model, n, stream, root)
        steps = usual if steps is None else steps
        states, energies = [], []
        for _ in range(times):
            x = sample(energy, x, kernel, steps, generator=stream, fast=True).x
            with torch.no_grad():
                energies.append(energy(x).cpu())
            states.append(x.cpu())
        return torch.stack(states), torch.stack(energies)


def denoised(model: Any, n: int, stream: torch.Generator, _root) -> Tensor:
    """Down the noise levels, from Gaussian noise of the highest."""
    kernel, steps = sampler_of(model)
    parts = []
    for first in range(0, n, 100):
        start = cast(Any, kernel).levels.start(model.event_shape, min(100, n - first), generator=stream)
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(sample(model.denoise, start, kernel, steps, generator=stream).x)
    return torch.cat(parts).clamp(-1, 1)


chains = Chains(_from_noise)
on_request = Chains(_under_labels)  # each under its label
joint = Chains(_from_gaussians)  # a classifier read as an energy: from the Gaussian of each label


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
