"""Langevin kernels without an acceptance test: plain, and with a bounded step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .metropolis import normal_like
from .protocol import Bounds, Energy, State, energy_and_grad, energy_only, gradient_of
from .schedules import Schedule
from .settings import check_bounds, check_positive, check_start, setting_at


@dataclass(frozen=True)
class Langevin:
    """Langevin dynamics, x ← x - η ∇E(x) + σ ξ with ξ ~ N(0, I).

    Args:
        step_size: η, a number or a schedule. In the ε-form of the papers η = ε²/2.
        noise: σ, a number or a schedule; None means σ = √(2η), the unadjusted Langevin algorithm
            at temperature 1. Any other σ samples, roughly, at temperature T = σ²/(2η).
        grad_clip: bound on each element of the gradient (IGEBM clips at 0.01, section B3 at 0.03).
        bounds: (low, high); the state is clamped to the box after every step.

    Raises:
        ValueError: a setting that is not positive, or a start that is not finite or outside the box.

    Sources: Roberts & Tweedie (1996) for the algorithm and its bias; Du & Mordatch (2019),
    Algorithm 1, for the decoupled noise and the clamps.
    """

    step_size: float | Schedule
    noise: float | Schedule | None = None
    grad_clip: float | None = None
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        check_positive("step_size", self.step_size)
        check_positive("noise", self.noise, zero_ok=True, none_ok=True)
        check_positive("grad_clip", self.grad_clip, none_ok=True)
        check_bounds(self.bounds)

    def init(self, energy: Energy, x: Tensor) -> State:
        check_start(x, self.bounds)
        return State(x, *energy_and_grad(energy, x))

    def step(self, energy: Energy, state: State, t: int, n_steps: int, generator: torch.Generator | None) -> State:
        eta = setting_at("step_size", self.step_size, t, n_steps)
        sigma = math.sqrt(2 * eta) if self.noise is None else setting_at("noise", self.noise, t, n_steps, zero_ok=True)
        grad = gradient_of(state)
        if self.grad_clip is not None:
            grad = grad.clamp(-self.grad_clip, self.grad_clip)
        return _move(energy, state.x, grad, eta, sigma, self.bounds, generator, is_last=t == n_steps)


@dataclass(frozen=True)
class ProximalLangevin:
    """Langevin dynamics that cannot jump: x ← clamp(x - clamp(η ∇E(x), ±max_step) + σ ξ, bounds).

    No element of x moves further than ``max_step`` downhill in one step, however steep the energy is,
    so a chain survives the cliffs of an energy that is still being trained. The noise is not bounded.

    Args:
        step_size: η, a number or a schedule.
        max_step: bound on each element of the gradient's step. A bound c on the gradient itself is η c.
        noise: σ, a number or a schedule; zero, as in JEM++, makes a deterministic descent.
        bounds: (low, high); the state is clamped to the box after every step.

    Raises:
        ValueError: a setting that is not positive, or a start that is not finite or outside the box.

    Source: the proximal SGLD of Yang & Ji (2021), JEM++, as its authors coded it: the clamp to the box
    is the proximal operator of the box's indicator, the element-wise bound a trust region.
    Not the proximal MCMC of Pereyra (2016), which samples a smoothed energy, to a precision one may choose.
    """

    step_size: float | Schedule
    max_step: float
    noise: float | Schedule = 0.0
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        check_positive("step_size", self.step_size)
        check_positive("max_step", self.max_step)
        check_positive("noise", self.noise, zero_ok=True)
        check_bounds(self.bounds)

    def init(self, energy: Energy, x: Tensor) -> State:
        check_start(x, self.bounds)
        return State(x, *energy_and_grad(energy, x))

    def step(self, energy: Energy, state: State, t: int, n_steps: int, generator: torch.Generator | None) -> State:
        eta = setting_at("step_size", self.step_size, t, n_steps)
        sigma = setting_at("noise", self.noise, t, n_steps, zero_ok=True)
        bounded = (eta * gradient_of(state)).clamp_(-self.max_step, self.max_step)
        return _move(energy, state.x, bounded, 1.0, sigma, self.bounds, generator, is_last=t == n_steps)


def _move(
    energy: Energy,
    x: Tensor,
    downhill: Tensor,
    scale: float,
    sigma: float,
    bounds: Bounds | None,
    generator: torch.Generator | None,
    *,
    is_last: bool,
) -> State:
    """x - scale · downhill + σ ξ, clamped to the box, with the energy there."""
    if sigma:
        # The noise's own memory becomes the new state. One large tensor fewer a step keeps the allocator from
        # handing pages back and forth, which was measured to cost more than drawing the noise.
        new = normal_like(x, generator)
        torch.add(x, new, alpha=sigma, out=new).sub_(downhill, alpha=scale)
    else:
        new = torch.sub(x, downhill, alpha=scale)
    if bounds is not None:
        new.clamp_(*bounds)
    if is_last:  # nobody will step on from here: save the backward pass
        return State(new, energy_only(energy, new), None)
    return State(new, *energy_and_grad(energy, new))
