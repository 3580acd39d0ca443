"""MALA: Langevin proposals with a Metropolis-Hastings test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.precision import full
from .metropolis import accept_or_stay, energy_loss, inside_box, normal_like, per_chain, sum_event
from .protocol import Bounds, Energy, State, energy_and_grad, gradient_of
from .schedules import Schedule
from .settings import check_bounds, check_positive, check_start, setting_at


@dataclass(frozen=True)
class MALA:
    """The Metropolis-adjusted Langevin algorithm: exact at any step size, one gradient call a step.

    Proposal: x' = x - η ∇E(x) + √(2η) ξ, accepted with probability min(1, ratio),

        log ratio = E(x) - E(x') + log q(x | x') - log q(x' | x),   q(a | b) = N(a; b - η ∇E(b), 2η I).

    A rejected chain stays where it is, bit for bit, and that copy counts as its next state.

    Args:
        step_size: η, a number or a schedule. Acceptance near 0.57 mixes fastest in many dimensions.
        bounds: (low, high); the target is exp(-E) on the box and zero outside it. A proposal outside is
            rejected, which is exact; clamping it into the box would pile probability on the walls.

    Raises:
        ValueError: a step that is not positive, or a start that is not finite or outside the box.

    Sources: Roberts & Tweedie (1996), section 1.4; Roberts & Rosenthal (1998) for the 0.574.
    """

    step_size: float | Schedule
    bounds: Bounds | None = None

    def __post_init__(self) -> None:
        check_positive("step_size", self.step_size)
        check_bounds(self.bounds)

    def init(self, energy: Energy, x: Tensor) -> State:
        check_start(x, self.bounds)
        return State(x, *energy_and_grad(energy, x))

    def step(self, energy: Energy, state: State, t: int, n_steps: int, generator: torch.Generator | None) -> State:
        eta = setting_at("step_size", self.step_size, t, n_steps)
        grad, noise = gradient_of(state), normal_like(state.x, generator)
        x = torch.add(state.x, grad, alpha=-eta).add_(noise, alpha=math.sqrt(2 * eta))
        allowed = None
        if self.bounds is not None:
            allowed = inside_box(x, self.bounds)
            # The energy may not exist outside the box: evaluate it at the old state there, and reject.
            x = torch.where(per_chain(allowed, x), x, state.x)
        new_energy, new_grad = energy_and_grad(energy, x)
        log_ratio = energy_loss(state.energy, new_energy) + self._log_proposal_ratio(grad, new_grad, noise, eta)
        return accept_or_stay(state, x, new_energy, new_grad, log_ratio, generator, allowed)

    def _log_proposal_ratio(self, grad: Tensor, new_grad: Tensor, noise: Tensor, eta: float) -> Tensor:
        """log q(x | x') - log q(x' | x), shape (B,).

        The noise that would lead back, from x - x' + η ∇E(x') = √(2η) ξ_back, is √(η/2) (∇E(x) + ∇E(x')) - ξ;
        the proposal densities are normal in ξ and ξ_back. Subtracting element by element, before the sum,
        keeps the digits that two large sums of squares would lose in float32.
        """
        noise = full(noise)
        noise_back = (full(grad) + full(new_grad)) * math.sqrt(eta / 2) - noise
        return 0.5 * sum_event(noise.square() - noise_back.square())
