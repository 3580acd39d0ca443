"""The Metropolis-Hastings test, chain by chain, and the random numbers that kernels draw."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..base.precision import full
from .draws import Source, drawn
from .protocol import Bounds, State, gradient_of


def accept_or_stay(
    old: State,
    x: Tensor,
    energy: Tensor,
    grad: Tensor,
    log_ratio: Tensor,
    generator: torch.Generator | None,
    allowed: Tensor | None = None,
) -> State:
    """The Metropolis-Hastings test, chain by chain: the proposal, or an exact copy of the old state.

    Energies are compared, and the uniform numbers drawn, in float32 at least, whatever the chain's own type: bfloat16
    has 256 uniform numbers, one of them zero, whose logarithm accepts anything.

    Args:
        x, energy, grad: the proposal, (B, *event), (B,), (B, *event).
        log_ratio: (B,) log of p(x') q(x | x') / (p(x) q(x' | x)). NaN means rejection.
        allowed: (B,) bool; False where the proposal left the box and has probability zero.
    """
    # A NaN anywhere must lose, and so must -inf energies: with torch.where a rejected NaN leaves no trace,
    # where accept * new + (1 - accept) * old would spread it, because 0 * NaN is NaN.
    finite = torch.isfinite(energy) & torch.isfinite(log_ratio)
    possible = finite if allowed is None else finite & allowed
    log_ratio = torch.where(possible, log_ratio, -math.inf)
    accept = possible & (torch.log(uniform_per_chain(log_ratio, generator)) < log_ratio)
    chosen = per_chain(accept, x)
    return State(
        x=torch.where(chosen, x, old.x),
        energy=torch.where(accept, energy, old.energy),
        grad=torch.where(chosen, grad, gradient_of(old)),
        accept=accept,
        log_ratio=log_ratio,
        diverged=~finite if allowed is None else ~finite & allowed,
    )


def energy_loss(old: Tensor, new: Tensor) -> Tensor:
    """E(x) - E(x') of (B,) energies, in float32 at least."""
    return full(old) - full(new)


def mean_acceptance(state: State) -> float:
    """The chains' mean probability of accepting their last proposal: what a step size is tuned by.

    Raises:
        ValueError: the state of a kernel without an acceptance test, or one before the first step.
    """
    if state.log_ratio is None:
        raise ValueError("this state knows of no acceptance test: take a step of MALA or HMC first")
    return float(state.log_ratio.double().clamp(max=0).exp().mean())


def normal_like(x: Tensor, generator: Source) -> Tensor:
    """Standard normal noise with x's shape, device and dtype, from one generator.

    Drawn in float32 at least: in half precision the Box-Muller formula has no tails.
    """
    return drawn(torch.randn, x.shape, generator, dtype=drawn_in(x.dtype), device=x.device).to(x)


def uniform_per_chain(energy: Tensor, generator: Source) -> Tensor:
    """(B,) uniform numbers in (0, 1), on the energy's device, in float32 at least, from one generator."""
    dtype = drawn_in(energy.dtype)
    uniform = drawn(torch.rand, energy.shape, generator, dtype=dtype, device=energy.device)
    # They come in steps of eps / 2, from zero on. Zero stands for all below the first step: half of it.
    return uniform.clamp_(min=torch.finfo(dtype).eps / 4)


def drawn_in(dtype: torch.dtype) -> torch.dtype:
    """The type that random numbers are drawn in: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def per_chain(value: Tensor, x: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), to meet x (B, *event)."""
    return value.reshape(-1, *([1] * (x.ndim - 1)))


def sum_event(values: Tensor) -> Tensor:
    """(B, *event) -> (B,): the sum over everything but the batch."""
    return values.flatten(1).sum(1) if values.ndim > 1 else values


def inside_box(x: Tensor, bounds: Bounds) -> Tensor:
    """(B,) bool: every element of the state lies in the box."""
    inside = (x >= bounds[0]) & (x <= bounds[1])
    return inside.flatten(1).all(1) if x.ndim > 1 else inside
