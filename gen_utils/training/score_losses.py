"""Objectives of energies and scores that need no long chains. Each asks a network for gradients, so it takes one.

- ``denoising_loss``: the score of smoothed data; blind to the weights of modes that the noise does not join.
- ``energy_discrepancy``: energies alone, no gradient; with a wide disturbance it sees those weights.
- ``transport_loss``: an energy whose gradient carries noise to data in unit time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..base.precision import full
from ..models.denoisers import Denoises, beside, per_row
from ..samplers.protocol import one_per_sample

Energy = Callable[[Tensor], Tensor]


def denoising_loss(
    model: Denoises, clean: Tensor, noise: Tensor, sigma: Tensor | float, *, sigma_data: float | None = None
) -> Tensor:
    """Mean squared error of D(x₀ + σ ξ, σ) against x₀, over all elements, each picture with the weight of its level.

    Args:
        clean: x₀, (B, *event); noise: ξ, the same shape, N(0, I); sigma: (B,) or a number.
        sigma_data: σ_d. With it the weight is (σ² + σ_d²)/(σ σ_d)², under which every level begins with loss one.
            None weighs by 1/σ²: half the sum over a picture is then Vincent's ½ σ² ‖score + ξ/σ‖².

    Returns:
        A scalar. Its minimum over D is the posterior mean; over scores, ∇ log p_σ.

    Sources: Vincent (2011), equation 9; Song & Ermon (2019) for the weight 1/σ²; Karras et al. (2022) for the other.
    """
    level = per_row(sigma, clean)
    error = full(model.denoise(clean + beside(level, clean) * noise, level)) - clean
    weight = 1 / level.square()
    if sigma_data is not None:
        weight = weight + 1 / sigma_data**2
    return (weight * error.square().flatten(1).mean(1)).mean()


def energy_discrepancy(
    energy: Energy, x: Tensor, t: float, n_negatives: int, *, w: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Mean over data of log(w/M + 1/M Σⱼ exp(E(x) - E(x + √t ξ + √t ξⱼ))), a contrast with places near the data.

    One disturbance ξ is shared by the M negatives of a point: they come from the smoothed data, and are moved once
    more. With t small this is score matching, with t large maximum likelihood.

    Args:
        x: (B, *event) data; t: variance of each of the two disturbances; n_negatives: M; w: keeps the loss bounded
            where a negative has much the lower energy.

    Returns:
        A scalar, in nats.

    Source: Schröder et al. (2023), equation 8.
    """
    b, m = len(x), n_negatives
    first = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    second = torch.randn((m, *x.shape), generator=generator, dtype=x.dtype, device=x.device)
    negative = x + math.sqrt(t) * (first + second)
    values = one_per_sample(energy(torch.cat([x, negative.flatten(0, 1)])), torch.empty(b * (m + 1)))
    below = values[:b] - values[b:].reshape(m, b)
    if w:
        below = torch.cat([below, below.new_full((1, b), math.log(w))])
    return (below.logsumexp(0) - math.log(m)).mean()


def transport_loss(energy: Energy, noise: Tensor, data: Tensor, time: Tensor) -> Tensor:
    """Mean over the batch of ‖-∇V(x_t) - (x₁ - x₀)‖², x_t on the straight way from noise x₀ to data x₁.

    Args:
        energy: V, which is told no time; noise, data: (B, *event), paired; time: (B,) in [0, 1].

    Source: Balcerak et al. (2025), Energy Matching, the warm-up; pairs as of Tong et al. (2024).
    """
    place = torch.lerp(noise, data, beside(time, data)).detach().requires_grad_()
    (grad,) = torch.autograd.grad(one_per_sample(energy(place), place).sum(), place, create_graph=True)
    return (full(grad) + (data - noise)).square().flatten(1).sum(1).mean()


def paired(noise: Tensor, data: Tensor) -> Tensor:
    """The noise (B, *event) in the order in which the sum of squared distances to the data (B, *event) is least."""
    cost = torch.cdist(noise.flatten(1).double(), data.flatten(1).double()).square()
    _, order = linear_sum_assignment(cost.T.cpu().numpy())
    return noise[torch.as_tensor(order, device=noise.device)]
