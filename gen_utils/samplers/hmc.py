"""Hamiltonian Monte Carlo: long, directed moves, one acceptance test a trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..base.precision import full
from .metropolis import accept_or_stay, energy_loss, normal_like, per_chain, sum_event, uniform_per_chain
from .protocol import Bounds, Energy, State, energy_and_grad, gradient_of
from .schedules import Schedule
from .settings import check_bounds, check_count, check_positive, check_start, setting_at


@dataclass(frozen=True)
class HMC:
    """Hamiltonian Monte Carlo with unit mass: ``n_leapfrog`` gradient calls a step.

    Every chain draws a momentum p ~ N(0, I), follows H(x, p) = E(x) + ½‖p‖² for ``n_leapfrog`` leapfrog
    steps, and accepts the end with probability min(1, exp(H_start - H_end)). The kinetic energy sums over
    all axes but the batch. A trajectory that ends in a NaN or infinite energy is rejected, and counted as
    diverged.

    Args:
        step_size: ε of the leapfrog, a number or a schedule; ``warm_up`` finds one.
        n_leapfrog: leapfrog steps a trajectory, whose length is ε · n_leapfrog.
        bounds: (low, high); the target is exp(-E) on the box. Trajectories bounce off the walls, which
            keeps volume and reversibility, and so the target, exactly. On a side at infinity there is no wall.
        jitter: in [0, 1]; each chain's trajectory is shortened by a random share between 0 and jitter
            (through its step size, which thus never exceeds ε). Cures resonance: a trajectory near half a
            period of some direction only flips its sign, and that direction never mixes.

    Raises:
        ValueError: a setting out of its range, or a start that is not finite or outside the box.

    Sources: Duane et al. (1987); Neal (2011), section 5.3 for the algorithm, 5.4.2 for the random step
    size against periodicity, 5.5.1 for the walls.
    """

    step_size: float | Schedule
    n_leapfrog: int
    bounds: Bounds | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        check_positive("step_size", self.step_size)
        check_count("n_leapfrog", self.n_leapfrog)
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is a share between 0 and 1, got {self.jitter}")
        check_bounds(self.bounds)

    def init(self, energy: Energy, x: Tensor) -> State:
        check_start(x, self.bounds)
        return State(x, *energy_and_grad(energy, x))

    def step(self, energy: Energy, state: State, t: int, n_steps: int, generator: torch.Generator | None) -> State:
        epsilon = setting_at("step_size", self.step_size, t, n_steps)
        momentum = normal_like(state.x, generator)
        if self.jitter:
            share = 1 - self.jitter * uniform_per_chain(state.energy, generator)
            epsilon = epsilon * per_chain(share, state.x).to(state.x.dtype)
        x, new_energy, grad, new_momentum = leapfrog(
            energy, state.x, momentum, gradient_of(state), epsilon, self.n_leapfrog, self.bounds
        )
        momentum, new_momentum = full(momentum), full(new_momentum)
        kinetic_loss = 0.5 * sum_event(momentum.square() - new_momentum.square())
        log_ratio = energy_loss(state.energy, new_energy) + kinetic_loss
        return accept_or_stay(state, x, new_energy, grad, log_ratio, generator)


def leapfrog(
    energy: Energy,
    x: Tensor,
    momentum: Tensor,
    grad: Tensor,
    epsilon: float | Tensor,
    n_leapfrog: int,
    bounds: Bounds | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Follow Hamilton's equations for ``n_leapfrog`` steps of size ``epsilon``.

    Args:
        x, momentum, grad: (B, *event); the gradient is the energy's at x.
        epsilon: a number, or one step size a chain, (B, 1, ..., 1).
        bounds: bounce off the walls of this box.

    Returns:
        x, energy (B,), grad and momentum at the end. Reversible: from the end with the momentum negated the
        same call leads back to the start.

    Raises:
        ValueError: no step at all.

    Source: Neal (2011), equations 5.18-5.20.
    """
    value = None
    momentum = momentum - 0.5 * epsilon * grad
    for i in range(n_leapfrog):
        x = x + epsilon * momentum
        if bounds is not None:
            x, momentum = _reflect(x, momentum, bounds)
        value, grad = energy_and_grad(energy, x)
        # Two half kicks meet between steps: join them into a whole one, except at the end.
        momentum = momentum - (epsilon if i + 1 < n_leapfrog else 0.5 * epsilon) * grad
    if value is None:
        raise ValueError(f"n_leapfrog must be at least 1, got {n_leapfrog}")
    return x, value, grad, momentum


def _reflect(x: Tensor, momentum: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Fold positions outside the box back into it, as often as needed, and turn the momentum at each bounce."""
    low, high = bounds
    width = high - low
    outside = (x < low) | (x > high)  # those inside keep every bit
    if 2 * width > torch.finfo(x.dtype).max:  # one wall at most is near: one bounce
        back = outside
        folded = torch.where(x < low, low + (low - x), high - (x - high))
    else:
        lap = torch.remainder(x - low, 2 * width)  # 0..width: on the way up; width..2 width: on the way back
        back = outside & (lap > width)
        folded = (low + torch.where(lap > width, 2 * width - lap, lap)).clamp(low, high)  # clamped for rounding only
    return torch.where(outside, folded, x), torch.where(back, -momentum, momentum)
