"""The one VAE with exact answers: linear decoder, Gaussian noise. Estimators are tested against it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal, Normal


class LinearGaussianVAE(nn.Module):
    """x = W z + b + σ ε with z ~ N(0, I) and ε ~ N(0, I): log p(x) = log N(x; b, W Wᵀ + σ² I).

    The posterior is exact too, and not diagonal: N(S Wᵀ(x - b)/σ², S) with S = (I + WᵀW/σ²)⁻¹. Everything is computed
    in the dtype of ``weight``; float64 makes an oracle of it.

    Args:
        weight: W, (D, latent).
        bias: b, (D,); zero when None.
        sigma: σ > 0.

    Raises:
        ValueError: shapes that do not fit, or a sigma that is not positive.

    Source: Tipping & Bishop (1999), probabilistic principal components.
    """

    weight: Tensor  # (D, latent)
    bias: Tensor  # (D,)
    _covariance: Tensor  # (latent, latent), the posterior's S

    def __init__(self, weight: Tensor, bias: Tensor | None = None, sigma: float = 1.0) -> None:
        super().__init__()
        weight = torch.as_tensor(weight)
        if weight.ndim != 2 or not weight.is_floating_point():
            raise ValueError(f"weight must be floats of shape (D, latent), got {weight.dtype} {tuple(weight.shape)}")
        bias = weight.new_zeros(len(weight)) if bias is None else torch.as_tensor(bias).to(weight)
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"bias must have shape ({len(weight)},), got {tuple(bias.shape)}")
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.latent, self.sigma = weight.shape[1], float(sigma)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        precision = torch.eye(self.latent).to(weight) + weight.T @ weight / self.sigma**2
        self.register_buffer("_covariance", torch.cholesky_inverse(torch.linalg.cholesky(precision)))

    def log_prob(self, x: Tensor) -> Tensor:
        """The exact log p(x) in nats: (B, D) -> (B,)."""
        noise = torch.full_like(self.bias, self.sigma**2)
        return LowRankMultivariateNormal(self.bias, self.weight, noise).log_prob(x)

    def prior(self) -> Independent:
        """N(0, I) over z (latent,)."""
        zero = self.weight.new_zeros(self.latent)
        return Independent(Normal(zero, torch.ones_like(zero)), 1)

    def posterior(self, x: Tensor) -> MultivariateNormal:
        """The exact p(z | x), batch (B,), for x (B, D)."""
        mean = (x - self.bias) @ self.weight @ self._covariance / self.sigma**2
        return MultivariateNormal(mean, self._covariance.expand(len(x), -1, -1))

    def likelihood(self, z: Tensor) -> Independent:
        """p(x | z), batch (B,), for z (B, latent)."""
        return Independent(Normal(z @ self.weight.T + self.bias, self.sigma), 1)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """(n, D) exact samples of p(x)."""
        z = torch.randn(n, self.latent, generator=generator, dtype=self.weight.dtype)
        noise = torch.randn(n, len(self.bias), generator=generator, dtype=self.weight.dtype)
        return z @ self.weight.T + self.bias + self.sigma * noise
