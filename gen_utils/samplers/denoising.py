"""Kernels that draw with a denoiser D(x, σ): the probability-flow ODE, ancestral sampling, annealed Langevin.

They run in ``sample``, where an energy's kernels do; in the place of the energy they get the function D. A chain begins
at noise of the highest level, ``levels.start``, and ends at level zero:

    levels = NoiseLevels()
    chain = sample(network.denoise, levels.start((1, 28, 28), 64), ProbabilityFlow(levels), 24)

A state's ``energy`` is ½‖x - D(x, σ)‖²/σ² before its last step, in nats: how much noise the network saw. It is about
half the number of pixels while the noise in x is as large as the level says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..base.settings import positive, whole
from .metropolis import normal_like
from .protocol import State
from .settings import check_start


@dataclass(frozen=True)
class NoiseLevels:
    """σ₀ = high > σ₁ > ... > σ_{n-1} = low > σ_n = 0, evenly spaced in σ^(1/bend).

    Raises:
        ValueError: levels that are not positive, or rise.

    Source: Karras et al. (2022), equation 5; a large bend puts most steps where the noise is small.
    """

    high: float = 80.0
    low: float = 0.002
    bend: float = 7.0

    def __post_init__(self) -> None:
        positive(high=self.high, low=self.low, bend=self.bend)
        if self.low > self.high:
            raise ValueError(f"levels fall from high to low, got {self.high} and {self.low}")

    def __call__(self, t: int, n_steps: int) -> float:
        """The level after t of ``n_steps`` steps, t = 0, ..., n_steps."""
        if t >= n_steps:
            return 0.0
        ends = self.high ** (1 / self.bend), self.low ** (1 / self.bend)
        return (ends[0] + (ends[1] - ends[0]) * t / max(1, n_steps - 1)) ** self.bend

    def start(self, event_shape: tuple[int, ...], n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """(n, *event_shape) of N(0, high²)."""
        device = None if generator is None else generator.device
        return self.high * torch.randn((n, *event_shape), generator=generator, device=device)


@dataclass(frozen=True)
class ProbabilityFlow:
    """dx/dσ = (x - D(x, σ))/σ, downwards: no noise is added, and the same start ends at the same picture.

    Args:
        levels: where the steps end. order: 2 is Heun's method, two looks a step but for the last; 1 is Euler's.

    Source: Song et al. (2021), section 4.3; Karras et al. (2022), algorithm 1.
    """

    levels: NoiseLevels = field(default_factory=NoiseLevels)
    order: int = 2

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise ValueError(f"order is 1 (Euler) or 2 (Heun), got {self.order!r}")

    def init(self, energy: Any, x: Tensor) -> State:
        return _begun(energy, x)

    @torch.no_grad()
    def step(self, energy: Any, state: State, t: int, n_steps: int, generator: torch.Generator | None) -> State:
        here, there = self.levels(t - 1, n_steps), self.levels(t, n_steps)
        x = state.x
        seen = energy(x, here)
        slope = (x - seen) / here
        new = x + (there - here) * slope
        if there and self.order == 2:
            new = x + (there - here) / 2 * (slope + (new - energy(new, there)) / there)
        return State(new, _noise_seen(x, seen, here), None)


@dataclass(frozen=True)
class Ancestral:
    """x at the next level given x and the picture D(x, σ) behind it: some noise is taken away, less is put back.

    x ← D + (σ'/σ)² (x - D) + σ' √(1 - (σ'/σ)²) ξ, the law of x₀ + σ' ξ' given x₀ = D and x.

    Source: Ho et al. (2020), equations 6 and 7, for noise that is added and not mixed in.
    """

    levels: NoiseLevels = field(default_factory=NoiseLevels)

    def init(self, energy: Any, x: Tensor) -> State:
        return _begun(energy, x)

    @torch.no_grad()
    def step(self, energy: Any, state: State, t: int, n_steps: int, generator: torch.Generator | None) -> State:
        here, there = self.levels(t - 1, n_steps), self.levels(t, n_steps)
        seen = energy(state.x, here)
        ratio = (there / here) ** 2
        new = seen + ratio * (state.x - seen)
        if there:
            new = new + there * math.sqrt(1 - ratio) * normal_like(new, generator)
        return State(new, _noise_seen(state.x, seen, here), None)


@dataclass(frozen=True)
class AnnealedLangevin:
    """Langevin steps at one level after the other; the very last step takes the noise away, x ← D(x, σ).

    At level σ a step is η = rate · σ²: x ← x + rate (D(x, σ) - x) + √(2 rate) σ ξ, at temperature one.

    Args:
        levels: one for each ``per_level`` steps. rate: η/σ². per_level: steps at a level.

    Source: Song & Ermon (2019), algorithm 1; the last step from Jolicoeur-Martineau et al. (2021).
    """

    levels: NoiseLevels = field(default_factory=NoiseLevels)
    rate: float = 0.1
    per_level: int = 5

    def __post_init__(self) -> None:
        positive(rate=self.rate)
        whole(1, per_level=self.per_level)

    def init(self, energy: Any, x: Tensor) -> State:
        return _begun(energy, x)

    @torch.no_grad()
    def step(self, energy: Any, state: State, t: int, n_steps: int, generator: torch.Generator | None) -> State:
        level = self.levels((t - 1) // self.per_level, math.ceil(n_steps / self.per_level))
        seen = energy(state.x, level)
        told = _noise_seen(state.x, seen, level)
        if t == n_steps:
            return State(seen, told, None)
        new = torch.lerp(state.x, seen, self.rate)
        return State(new + math.sqrt(2 * self.rate) * level * normal_like(new, generator), told, None)


def _begun(energy: Any, x: Tensor) -> State:
    if hasattr(energy, "denoise"):
        raise ValueError("these kernels draw with a denoiser D(x, sigma); give sample the method network.denoise")
    check_start(x, None)
    return State(x, x.new_zeros(len(x)), None)


def _noise_seen(x: Tensor, seen: Tensor, level: float) -> Tensor:
    return ((x - seen) / level).square().flatten(1).sum(1) / 2
