"""log p(x) of a denoiser, by following its probability flow from the data to noise.

Along dx/d ln σ = x - D(x, σ) the log density changes by minus the divergence of the right-hand side. So

    log p_low(x) = log N(x_high; 0, σ_high² + σ_d²) + ∫ div(x - D(x, σ)) d ln σ,     from ln σ_low to ln σ_high.

SciPy's Runge-Kutta pair solves it, with steps of its own choosing. (The whole batch takes the same steps; a library
of differentiable solvers would be one dependency more, and nothing here is differentiated.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from ..models.denoisers import Denoises
from . import arguments


class FlowLikelihood(NamedTuple):
    """What ``flow_log_likelihood`` found."""

    log_prob: Tensor  # (B,) nats, float64
    error: Tensor  # (B,) standard error over the probes; zero where the divergence was exact, NaN with a single probe
    x_high: Tensor  # (B, *event) where the flow ended
    evaluations: int  # looks at D for each picture, a gradient with each


def flow_log_likelihood(
    model: Denoises,
    x: Tensor,
    *,
    low: float = 0.002,
    high: float = 80.0,
    n_probes: int | None = 1,
    tolerance: float = 1e-3,
    sigma_data: float | None = None,
    generator: torch.Generator | None = None,
) -> FlowLikelihood:
    """The log density, in nats, of pictures at noise level ``low`` under the flow of D.

    Args:
        model: with ``denoise``. x: (B, *event) floats, such as dequantised bytes.
        low, high: the levels between which the flow runs.
        n_probes: random signs ε by which the divergence is estimated without bias, ε·(∂D/∂x) ε, the same ε all the way
            (Hutchinson); None takes every direction, which is exact and costs a gradient for each dimension.
        tolerance: of the solver, relative and absolute.
        sigma_data: σ_d, the spread of the data at the far end; the model's own when None, or zero if it has none.

    Raises:
        ValueError: levels that do not rise, pictures that are not finite, a solver that gives up.

    Source: Song et al. (2021), section 4.3 and appendix D.2; Grathwohl et al. (2019) for the estimator.
    """
    arguments.finite("x", x)
    low = arguments.number("low", low, above=0)
    high = arguments.number("high", high, above=low)
    tolerance = arguments.number("tolerance", tolerance, above=0, below=1)
    if sigma_data is not None:
        sigma_data = arguments.number("sigma_data", sigma_data, least=0)
    x = x.detach()
    b, d = len(x), x[0].numel()
    probes = _directions(x) if n_probes is None else _signs(x, arguments.whole("n_probes", n_probes, 1), generator)
    looks = 0

    def slope(log_sigma: float, state: np.ndarray) -> np.ndarray:
        nonlocal looks
        looks += 1
        here = torch.as_tensor(state[: b * d].reshape(x.shape)).to(x).requires_grad_()
        with torch.enable_grad():
            seen = model.denoise(here, math.exp(log_sigma))
            backs = [torch.autograd.grad(seen, here, probe, retain_graph=True)[0] * probe for probe in probes]
        traces = torch.stack([back.flatten(1).sum(1).double() for back in backs])
        if n_probes is None:
            traces = traces.sum(0)
        return torch.cat([(here - seen).detach().double().flatten(), (d - traces).flatten()]).cpu().numpy()

    n_traces = 1 if n_probes is None else len(probes)
    start = np.concatenate([x.double().flatten().cpu().numpy(), np.zeros(n_traces * b)])
    found = solve_ivp(slope, (math.log(low), math.log(high)), start, method="RK45", rtol=tolerance, atol=tolerance)
    if not found.success:
        raise ValueError(f"the flow could not be followed: {found.message}")
    end = torch.as_tensor(found.y[:, -1])
    x_high, gained = end[: b * d].reshape(x.shape), end[b * d :].reshape(n_traces, b)
    spread = getattr(model, "sigma_data", 0.0) if sigma_data is None else sigma_data
    variance = high**2 + spread**2
    log_prob = gained - x_high.flatten(1).square().sum(1) / (2 * variance) - d / 2 * math.log(2 * math.pi * variance)
    if n_probes is None:
        error = torch.zeros(b, dtype=torch.float64)
    else:
        error = log_prob.std(0) / math.sqrt(n_traces) if n_traces > 1 else torch.full((b,), math.nan).double()
    return FlowLikelihood(log_prob.mean(0), error, x_high.to(x), looks)


def _directions(x: Tensor) -> list[Tensor]:
    """Every unit vector, for all rows at once."""
    d = x[0].numel()
    return [row.expand(len(x), d).reshape(x.shape) for row in torch.eye(d, dtype=x.dtype, device=x.device)]


def _signs(x: Tensor, n: int, generator: torch.Generator | None) -> list[Tensor]:
    device = x.device if generator is None else generator.device
    return [(2 * torch.randint(0, 2, x.shape, generator=generator, device=device) - 1).to(x) for _ in range(n)]
