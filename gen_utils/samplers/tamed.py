"""Langevin dynamics for energies whose walls are steeper than a parabola's: the step is tamed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.precision import full
from .metropolis import normal_like, per_chain, sum_event
from .protocol import Energy, State, energy_and_grad, energy_only, gradient_of
from .schedules import Schedule
from .settings import check_positive, check_start, setting_at


@dataclass(frozen=True)
class TamedLangevin:
    """The tamed unadjusted Langevin algorithm, x ← x - η ∇E(x) / (1 + η ‖∇E(x)‖) + √(2η) ξ.

    A step downhill is never longer than 1, so the chain cannot overshoot its way to infinity, as ``Langevin`` does at
    any η where E grows faster than a parabola. Where η ‖∇E‖ is small it is the Langevin step. There is no test: the
    bias that remains shrinks with η.

    Args:
        step_size: η, a number or a schedule.
        elementwise: tame every element of the gradient by its own size, η g_i / (1 + η |g_i|). Then coordinates that do
            not meet in the energy do not meet in the step either.

    Raises:
        ValueError: a step that is not positive, or a start that is not finite.

    Source: Brosse, Durmus, Moulines & Sabanis (2019): TULA, and TULAc for ``elementwise``.
    """

    step_size: float | Schedule
    elementwise: bool = False

    def __post_init__(self) -> None:
        check_positive("step_size", self.step_size)

    def init(self, energy: Energy, x: Tensor) -> State:
        check_start(x, None)
        return State(x, *energy_and_grad(energy, x))

    def step(self, energy: Energy, state: State, t: int, n_steps: int, generator: torch.Generator | None) -> State:
        eta = setting_at("step_size", self.step_size, t, n_steps)
        noise = normal_like(state.x, generator)
        new = torch.add(state.x, noise, alpha=math.sqrt(2 * eta)).sub_(self._downhill(gradient_of(state), eta))
        if t == n_steps:  # nobody will step on from here: save the backward pass
            return State(new, energy_only(energy, new), None)
        return State(new, *energy_and_grad(energy, new))

    def _downhill(self, grad: Tensor, eta: float) -> Tensor:
        if self.elementwise:
            size = grad.abs()
        else:
            size = per_chain(sum_event(full(grad).square()).sqrt(), grad).to(grad.dtype)
        return eta * grad / (1 + eta * size)
