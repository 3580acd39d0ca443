"""``warm_up``: find a step size that accepts as often as wanted, while the chains find their target."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from .chain import check_finite
from .fast import in_layout
from .hmc import HMC
from .mala import MALA
from .metropolis import mean_acceptance
from .protocol import Energy, frozen
from .settings import check_count


def warm_up(
    energy: Energy,
    x0: Tensor,
    kernel: MALA | HMC,
    n_steps: int = 200,
    *,
    target_accept: float | None = None,
    generator: torch.Generator | None = None,
) -> tuple[MALA | HMC, Tensor]:
    """Tune a kernel's step size by dual averaging, all chains sharing one step size.

    After each step the log step size moves against the error, target minus the chains' mean acceptance
    probability; what is returned is a weighted average over the steps, which gives the late ones more
    weight. Discard these steps, and keep the step size fixed afterwards: a chain that adapts for ever is
    not a Markov chain.

    Args:
        x0: (B, *event) starts.
        kernel: MALA or HMC, with a first guess for its step size.
        n_steps: 100 or more are enough for a batch of chains.
        target_accept: 0.574 for MALA and 0.8 for HMC when None.

    Returns:
        The kernel with its new step size, and the chains' last states (B, *event) to go on from.

    Raises:
        ValueError: a kernel without an acceptance test, a schedule as its step size, a target outside (0, 1).
        ChainDiverged: an energy at the start is not finite.
        RuntimeError: no step size was found that accepts anything.

    Source: Hoffman & Gelman (2014), section 3.2.1 and equation 6, with their constants.
    """
    if not isinstance(kernel, (MALA, HMC)):
        raise ValueError(f"only kernels with an acceptance test can be tuned by it, MALA and HMC, got {kernel}")
    if callable(kernel.step_size):
        raise ValueError("warm_up tunes one number; give the kernel a number as its step_size, not a schedule")
    if target_accept is None:
        target_accept = 0.574 if isinstance(kernel, MALA) else 0.8
    if not 0 < target_accept < 1:
        raise ValueError(f"target_accept is a probability strictly between 0 and 1, got {target_accept}")
    check_count("n_steps", n_steps)

    first = math.log(kernel.step_size)
    shrink_to, speed, stabiliser, forget = first + math.log(10), 0.05, 10, 0.75  # μ, γ, t0, κ of the paper
    mean_error, log_average, log_step = 0.0, 0.0, first
    acceptances = []
    x0 = x0.detach()
    if isinstance(energy, nn.Module):
        energy = in_layout(energy, x0)
    with frozen(energy):
        state = kernel.init(energy, x0)
        check_finite(state.energy, 0, kernel)
        for t in range(1, n_steps + 1):
            trial = replace(kernel, step_size=math.exp(log_step))
            state = trial.step(energy, state, t, n_steps, generator)
            acceptances.append(mean_acceptance(state))
            mean_error += (target_accept - acceptances[-1] - mean_error) / (t + stabiliser)
            # Twenty e-folds either way are room for any honest guess, and keep exp() far from 0 and infinity.
            log_step = min(max(shrink_to - math.sqrt(t) / speed * mean_error, first - 20), first + 20)
            weight = t**-forget
            log_average = weight * log_step + (1 - weight) * log_average
    late = acceptances[n_steps // 2 :]
    if max(late) == 0:
        raise RuntimeError(
            f"no proposal was accepted in the last {len(late)} steps of the warm-up, down to a step size of "
            f"{math.exp(log_step):.3g}; check that the energy and its gradient are finite around the start"
        )
    return replace(kernel, step_size=math.exp(log_average)), state.x
