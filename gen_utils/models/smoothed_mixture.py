"""The oracle of denoising: a mixture of Gaussians whose every smoothing is a mixture again, known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class SmoothedMixture:
    """p_σ = Σ_k w_k N(μ_k, (s² + σ²) I), with its energy, score, denoiser and samples at every σ ≥ 0.

    Args:
        means: μ, (K, D); weights: w, (K,), rescaled to sum to one; width: s.

    Raises:
        ValueError: weights that are not one positive number a mean, or a width that is not positive.
    """

    def __init__(
        self, means: Tensor | Sequence[Sequence[float]], weights: Tensor | Sequence[float], width: float
    ) -> None:
        self.means = torch.as_tensor(means, dtype=torch.float64)
        weights = torch.as_tensor(weights, dtype=torch.float64)
        if self.means.ndim != 2 or weights.shape != self.means.shape[:1] or not (weights > 0).all():
            raise ValueError("a mixture has means (K, D) and one positive weight for each")
        if not 0 < width < math.inf:
            raise ValueError(f"the width must be positive, got {width}")
        self.weights, self.width = weights / weights.sum(), width

    def _log_parts(self, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Tensor]:
        """log w_k N(x; μ_k, v I), (B, K), and v = s² + σ², (B, 1)."""
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))[:, None]
        v = self.width**2 + sigma.square()
        squares = (x[:, None, :] - self.means.to(x)).square().sum(2)
        return self.weights.to(x).log() - squares / (2 * v) - x.shape[1] / 2 * (2 * math.pi * v).log(), v

    def __call__(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """-log p_σ(x) in nats, normalised: (B, D), one level or (B,) -> (B,)."""
        return -self._log_parts(x, sigma)[0].logsumexp(1)

    def at(self, sigma: float) -> Callable[[Tensor], Tensor]:
        """The energy at one level."""
        return lambda x: self(x, sigma)

    def score(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """∇ log p_σ(x), (B, D)."""
        parts, v = self._log_parts(x, sigma)
        return (parts.softmax(1) @ self.means.to(x) - x) / v

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x₀ | x₀ + σ ξ = x], (B, D)."""
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))[:, None]
        return x + level.square() * self.score(x, sigma)

    def nearest(self, x: Tensor) -> Tensor:
        """(B, D) -> (B,) which of the means is closest."""
        return (x[:, None, :] - self.means.to(x)).square().sum(2).argmin(1)

    def sample(self, n: int, generator: torch.Generator | None = None, *, sigma: float = 0.0) -> Tensor:
        """(n, D) exact samples of p_σ, float64."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn((n, self.means.shape[1]), generator=generator, dtype=torch.float64)
        return self.means[which] + math.hypot(self.width, sigma) * noise
