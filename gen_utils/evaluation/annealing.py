"""Annealed importance sampling: normalising constants in nats, for energies and for log p(x)."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from ..base.precision import full
from ..samplers import HMC, MALA
from ..samplers.draws import Part
from ..samplers.metropolis import mean_acceptance, sum_event
from ..samplers.protocol import for_rows, frozen, one_per_sample
from ..samplers.settings import check_count
from ..samplers.shares import how_many, in_shares
from . import arguments

LogDensity = Callable[[Tensor], Tensor]


def annealed_importance(
    log_joint: LogDensity,
    z0: Tensor,
    n_temperatures: int,
    *,
    log_base: LogDensity | None = None,
    kernel: HMC | MALA | None = None,
    betas: Tensor | None = None,
    generator: torch.Generator | None = None,
    shares: int | None = None,
) -> Tensor:
    """Annealed importance sampling: log weights whose exponentials have mean Z = ∫ exp(log_joint(z)) dz.

    A chain starts at a sample of the base density and meets a sequence of densities
    base^(1-β) · joint^β, β from 0 to 1; its weight collects the ratio at every change of β. Exp of the result is
    an unbiased estimate of Z for any number of temperatures, so its log is a stochastic lower bound that tightens
    as they grow. With log_joint(z) = log p(x, z) and the prior as the base, Z is p(x); with log_joint = -E, it is
    the energy's Z. ``log_mean_exp`` averages the weights of several chains.

    Args:
        log_joint: (B, *event) -> (B,), not normalised.
        z0: (B, *event) exact samples of the base density, one chain a row.
        n_temperatures: number of changes of β; more are better, and cost one transition each.
        log_base: (B, *event) -> (B,), the normalised log density z0 was drawn from; the standard normal
            distribution when None.
        kernel: HMC or MALA, with a number or a schedule(t, n_temperatures) as step size; the transition at every
            β. When None, HMC of ten leapfrog steps, its step sizes tuned to an acceptance of 0.65 in a shorter
            pilot run and then frozen: adapting in the run itself would bias the weights.
        betas: (n_temperatures + 1,) rising from 0 to 1; a sigmoid, slow at both ends, when None.
        shares: into how many the chains are dealt, see ``sample``; the pilot run is not.

    Returns:
        (B,) log weights, detached, in float32 at least. -inf for a chain that started where the joint density is zero.

    Raises:
        ValueError: betas that do not rise from 0 to 1, a start or a base density that is not finite, a kernel
            without an acceptance test, densities that do not return (B,), log weights that are NaN or +inf.

    Sources: Neal (2001), equations 3-11; Wu et al. (2017), section 3 and appendix, for the schedule and the settings.
    """
    check_count("n_temperatures", n_temperatures)
    if kernel is not None and not isinstance(kernel, (HMC, MALA)):
        raise ValueError(f"each transition must leave its density exactly invariant: use HMC or MALA, not {kernel}")
    if betas is None:
        schedule = sigmoid_betas(n_temperatures)
    else:
        schedule = torch.as_tensor(betas, dtype=torch.float64).tolist()
        rising = all(a < b for a, b in pairwise(schedule))
        if len(schedule) != n_temperatures + 1 or schedule[0] != 0 or schedule[-1] != 1 or not rising:
            raise ValueError(f"betas must be {n_temperatures + 1} numbers rising from 0 to 1")
    z0 = z0.detach()
    base = log_base or standard_normal
    with frozen(log_joint), frozen(base):
        if kernel is None:
            # The pilot begins where the run begins, which cannot move the weights: one step size for all chains.
            kernel = _tuned(_Tempered(log_joint, base), z0, schedule, generator)
        n_shares = min(how_many(shares, density, z0, kernel) for density in (log_joint, log_base or log_joint))
        if n_shares == 1:
            return _anneal(_Tempered(log_joint, base), z0, schedule, kernel, generator)

        def work(rows: slice, part: Part) -> Tensor:
            path = _Tempered(part.watched(for_rows(log_joint, rows)), for_rows(base, rows))
            return _anneal(path, z0[rows], schedule, kernel, cast(torch.Generator, part))

        return torch.cat(in_shares(work, len(z0), n_shares, generator))


def _anneal(
    path: _Tempered, z0: Tensor, betas: list[float], kernel: HMC | MALA, generator: torch.Generator | None
) -> Tensor:
    z, n_temperatures = z0, len(betas) - 1
    log_weight = z0.new_zeros(len(z0), dtype=torch.float64)
    for t in range(1, n_temperatures + 1):
        path.beta = betas[t]
        # The weight is taken at the state before the move. One evaluation serves it and the kernel alike.
        state = kernel.init(path, z)
        log_weight = log_weight + (betas[t] - betas[t - 1]) * path.log_ratio.double()
        if t < n_temperatures:  # the last change of β needs no move after it
            z = kernel.step(path, state, t, n_temperatures, generator).x
    if not (log_weight < math.inf).all():
        raise ValueError(
            "log_joint or log_base gave NaN or infinite densities on the chains; "
            "check them on samples of the base density"
        )
    return log_weight.to(torch.promote_types(z0.dtype, torch.float32))


class _Tempered:
    """The energy of base^(1-β) · joint^β; remembers log joint - log base of its last call."""

    log_ratio: Tensor  # (B,); there from the first call on

    def __init__(self, log_joint: LogDensity, log_base: LogDensity) -> None:
        self.log_joint, self.log_base = log_joint, log_base
        self.beta = 0.0

    def __call__(self, z: Tensor) -> Tensor:
        log_base = full(one_per_sample(self.log_base(z), z, "log_base"))
        log_joint = full(one_per_sample(self.log_joint(z), z, "log_joint"))
        self.log_ratio = (log_joint - log_base).detach()
        return -((1 - self.beta) * log_base + self.beta * log_joint)


def _tuned(
    path: _Tempered, z0: Tensor, betas: list[float], generator: torch.Generator | None, target: float = 0.65
) -> HMC:
    """HMC with a step size for every temperature, from a pilot run over at most 200 of them."""
    n_pilot = min(len(betas) - 1, 200)
    pilot = [betas[round(i * (len(betas) - 1) / n_pilot)] for i in range(n_pilot + 1)]
    log_step, kernel, z = math.log(0.2), HMC(0.2, 10), z0
    log_steps = []
    for beta in pilot[1:]:
        path.beta = beta
        # Repeat the first temperature until the guess has settled; later ones change little from their neighbour.
        for _ in range(2 if log_steps else 40):
            state = replace(kernel, step_size=math.exp(log_step)).step(path, kernel.init(path, z), 1, 1, generator)
            z = state.x
            log_step += 0.2 * (mean_acceptance(state) - target)
        log_steps.append(log_step)

    def step_size(t: int, n_temperatures: int) -> float:
        nearest = min(bisect_left(pilot, betas[t]), n_pilot)
        return math.exp(log_steps[max(nearest, 1) - 1])

    return HMC(step_size, 10)


def sigmoid_betas(n_temperatures: int, slope: float = 4.0) -> list[float]:
    """0 = β₀ < ... < β_T = 1, a sigmoid from -slope to slope rescaled to its ends (Wu et al. 2017).

    Raises:
        ValueError: no temperatures, or a slope that is not above 0 and at most 100, where a step would be rounded away.
    """
    check_count("n_temperatures", n_temperatures)
    slope = arguments.number("slope", slope, above=0, most=100)
    raw = [1 / (1 + math.exp(-slope * (2 * t / n_temperatures - 1))) for t in range(n_temperatures + 1)]
    return [(value - raw[0]) / (raw[-1] - raw[0]) for value in raw]


def standard_normal(z: Tensor) -> Tensor:
    """log N(z; 0, I): (B, *event) -> (B,)."""
    return -0.5 * sum_event(z.square() + math.log(2 * math.pi))
