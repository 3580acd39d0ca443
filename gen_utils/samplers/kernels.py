"""The protocol every kernel follows, and the pieces all kernels share.

A kernel says what one step of a chain does. It is a small frozen dataclass with two functions over
explicit state:

    state = kernel.init(energy, x)
    state = kernel.step(energy, state, t, n_steps, generator)      # t = 1, ..., n_steps

The state carries the energy and the gradient at x, so that no kernel computes either twice.
Energies are callables ``(B, *event) -> (B,)``; low energy means likely, p(x) ∝ exp(-E(x)).

The kernels themselves: ``langevin.py`` (without an acceptance test), ``mala.py`` and ``hmc.py`` (with one).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .schedules import Schedule, value_at

Energy = Callable[[Tensor], Tensor]
Bounds = tuple[float, float]


class State(NamedTuple):
    """Where a batch of chains is, and what became of the last proposal.

    The last three fields are None for kernels without an acceptance test.
    """

    x: Tensor  # (B, *event)
    energy: Tensor  # (B,)
    grad: Tensor | None  # (B, *event); None after the last step of a Langevin chain, where nobody needs it
    accept: Tensor | None = None  # (B,) bool: the last proposal was accepted
    log_ratio: Tensor | None = None  # (B,) log of the acceptance ratio before it is cut at one; -inf: impossible
    diverged: Tensor | None = None  # (B,) bool: the last proposal's energy was not finite, and so rejected


def energy_only(energy: Energy, x: Tensor) -> Tensor:
    """E(x), shape (B,), without a graph."""
    with torch.no_grad():
        return one_per_sample(energy(x), x)


def energy_and_grad(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
    """E(x), shape (B,), and its gradient with respect to x alone.

    The gradients stored on a model's parameters stay as they are.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = (x.clone() if x.is_inference() else x.detach()).requires_grad_()
        value = one_per_sample(energy(x), x)
        grad = torch.autograd.grad(value.sum(), x, allow_unused=True)[0] if value.requires_grad else None
    if grad is None:
        raise ValueError(
            "the energy's value does not depend on x through autograd; compute it from x with torch operations, "
            "without .detach(), .item(), NumPy or no_grad"
        )
    return value.detach(), grad


def one_per_sample(value: Tensor, x: Tensor, what: str = "the energy") -> Tensor:
    """The value itself when it has shape (B,); an error that says what to do when it has not."""
    shape = getattr(value, "shape", None)
    if shape != x.shape[:1]:
        got = type(value).__name__ if shape is None else tuple(shape)
        raise ValueError(
            f"{what} must return one number a sample, shape ({len(x)},), but returned {got}; "
            "drop the extra dimension with .squeeze(-1), or sum over all but the first"
        )
    return value


def check_positive(
    name: str, setting: float | Schedule | None, *, zero_ok: bool = False, none_ok: bool = False
) -> None:
    """A number that is not positive is an error; schedules are looked at when they are used."""
    if callable(setting) or (none_ok and setting is None):
        return
    try:
        finite = math.isfinite(setting)
    except TypeError:
        raise ValueError(f"{name} must be a number or a schedule(t, n_steps) -> float, got {setting!r}") from None
    if not finite or setting < 0 or (setting == 0 and not zero_ok):
        raise ValueError(f"{name} must be {'zero or more' if zero_ok else 'positive'} and finite, got {setting}")


def check_bounds(bounds: Bounds | None) -> None:
    if bounds is not None and not (len(bounds) == 2 and bounds[0] < bounds[1]):
        raise ValueError(f"bounds are a pair (low, high) with low < high, such as (-1.0, 1.0), got {bounds}")


def check_start(x: Tensor, bounds: Bounds | None) -> None:
    if x.ndim == 0 or not x.is_floating_point():
        raise ValueError(
            f"the start must be a batch of floats, shape (B, *event), got {x.dtype} of shape {tuple(x.shape)}; "
            "images in 0..255 are scaled to [-1, 1] first"
        )
    if not torch.isfinite(x).all():
        raise ValueError("the start holds values that are not finite; look at what made it before sampling from it")
    if bounds is not None and x.numel() and (x.amin() < bounds[0] or x.amax() > bounds[1]):
        raise ValueError(
            f"the start leaves the box [{bounds[0]}, {bounds[1]}]: its values span "
            f"[{x.amin().item():.3g}, {x.amax().item():.3g}]; clamp it, or widen the bounds"
        )


def setting_at(name: str, setting: float | Schedule, t: int, n_steps: int, *, zero_ok: bool = False) -> float:
    """The value of a number or a schedule at step t, checked."""
    value = value_at(setting, t, n_steps)
    if callable(setting) and not (math.isfinite(value) and (value > 0 or (zero_ok and value == 0))):
        raise ValueError(
            f"the schedule for {name} gave {value} at step {t} of {n_steps}; "
            f"it must stay {'zero or more' if zero_ok else 'positive'} and finite"
        )
    return value


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise with x's shape, device and dtype, from one generator."""
    device = x.device if generator is None else generator.device
    return torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device)


def uniform_per_chain(energy: Tensor, generator: torch.Generator | None) -> Tensor:
    """(B,) uniform numbers in [0, 1), on the energy's device and in its dtype, from one generator."""
    device = energy.device if generator is None else generator.device
    return torch.rand(energy.shape, generator=generator, device=device, dtype=energy.dtype).to(energy.device)


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


def accept_or_stay(
    old: State, x: Tensor, energy: Tensor, grad: Tensor, log_ratio: Tensor, generator, allowed: Tensor | None = None
) -> State:
    """The Metropolis-Hastings test, chain by chain: the proposal, or an exact copy of the old state.

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
        grad=torch.where(chosen, grad, old.grad),
        accept=accept,
        log_ratio=log_ratio,
        diverged=~finite if allowed is None else ~finite & allowed,
    )
