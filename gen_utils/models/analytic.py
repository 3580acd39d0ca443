"""Energies with known answers: callables (B, 2) -> (B,) for the sampling playground and for tests.

Each has the exact ``log_z`` = log ∫ exp(-E(x)) dx in nats, the exact ``mean`` (2,) and ``covariance`` (2, 2) in
float64, exact ``sample(n, generator)``, and ``extent``, a box (x_low, x_high, y_low, y_high) that holds all but
about 2e-4 of the probability, for grids and figures. None is normalised, so that log Z is worth finding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Extent = tuple[float, float, float, float]


class Gaussian:
    """E(x) = ½ (x - μ)ᵀ Σ⁻¹ (x - μ), in any dimension D.

    Args:
        covariance: Σ, (D, D), symmetric and positive definite. The default has correlation 0.8.
        mean: μ, (D,); zero when None.

    Raises:
        ValueError: a covariance that is not square, symmetric and positive definite, or a mean of another size.
    """

    def __init__(
        self,
        covariance: Tensor | Sequence[Sequence[float]] = ((1.0, 1.131370849898476), (1.131370849898476, 2.0)),
        mean: Tensor | Sequence[float] | None = None,
    ) -> None:
        sigma = torch.as_tensor(covariance, dtype=torch.float64)
        if sigma.ndim != 2 or sigma.shape[0] != sigma.shape[1] or not torch.allclose(sigma, sigma.T):
            raise ValueError(f"the covariance must be a symmetric (D, D) matrix, got shape {tuple(sigma.shape)}")
        cholesky, failed = torch.linalg.cholesky_ex(sigma)
        if failed:
            raise ValueError("the covariance must be positive definite; all its eigenvalues must exceed zero")
        n_dims = len(sigma)
        self.covariance = sigma
        self.mean = torch.zeros(n_dims, dtype=torch.float64) if mean is None else torch.as_tensor(mean).double()
        if self.mean.shape != (n_dims,):
            raise ValueError(f"the mean must have shape ({n_dims},), got {tuple(self.mean.shape)}")
        self.precision = torch.cholesky_inverse(cholesky)
        self._cholesky = cholesky
        self.log_z = 0.5 * n_dims * math.log(2 * math.pi) + cholesky.diagonal().log().sum().item()

    @property
    def extent(self) -> Extent:
        """Four standard deviations around the mean, of the first two dimensions."""
        spread = 4 * self.covariance.diagonal().sqrt()
        low, high = (self.mean - spread).tolist(), (self.mean + spread).tolist()
        return low[0], high[0], low[1], high[1]

    def __call__(self, x: Tensor) -> Tensor:
        """(B, D) -> (B,)."""
        centred = x - self.mean.to(x)
        return 0.5 * ((centred @ self.precision.to(x)) * centred).sum(1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, D) exact samples, float64."""
        return self.mean + _randn((n, len(self.mean)), generator) @ self._cholesky.T


class Banana:
    """E(x) = x₁²/(2 a²) + (x₂ - b (x₁² - a²))²/(2 s²): a Gaussian bent along a parabola.

    The bend preserves volume, so log Z = log(2π a s). The mean is zero; x₁ and x₂ are uncorrelated, though
    far from independent; var x₁ = a², var x₂ = s² + 2 a⁴ b².

    Source: Haario et al. (1999), centred.
    """

    def __init__(self, scale: float = 1.0, bend: float = 0.7, width: float = 0.4) -> None:
        self.scale, self.bend, self.width = scale, bend, width
        self.log_z = math.log(2 * math.pi * scale * width)
        self.mean = torch.zeros(2, dtype=torch.float64)
        self.covariance = torch.tensor([scale**2, width**2 + 2 * scale**4 * bend**2], dtype=torch.float64).diag()

    @property
    def extent(self) -> Extent:
        """Four standard deviations along the parabola, and four widths beside it."""
        ends = sorted((-self.bend * self.scale**2, 15 * self.bend * self.scale**2))
        return -4 * self.scale, 4 * self.scale, ends[0] - 4 * self.width, ends[1] + 4 * self.width

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 2) -> (B,)."""
        ridge = self.bend * (x[:, 0].square() - self.scale**2)
        return 0.5 * (x[:, 0] / self.scale).square() + 0.5 * ((x[:, 1] - ridge) / self.width).square()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, 2) exact samples, float64."""
        noise = _randn((n, 2), generator)
        first = self.scale * noise[:, 0]
        return torch.stack([first, self.bend * (first.square() - self.scale**2) + self.width * noise[:, 1]], dim=1)


class Ring:
    """E(x) = (‖x‖ - r)²/(2 s²): a ring of radius r and width s.

    In polar coordinates every moment is a moment of a normal distribution cut at zero: with
    M_k = ∫₀^∞ ρᵏ exp(-(ρ - r)²/(2 s²)) dρ, Z = 2π M₁, the mean is zero and the covariance ½ (M₃/M₁) I.
    """

    def __init__(self, radius: float = 2.0, width: float = 0.25) -> None:
        self.radius, self.width = radius, width
        # ρ = r + s u with u > -c, c = r/s; J_k = ∫ uᵏ exp(-u²/2) du from -c, by parts.
        c = radius / width
        edge = math.exp(-0.5 * c**2)
        j0 = math.sqrt(2 * math.pi) * 0.5 * math.erfc(-c / math.sqrt(2))
        j1, j2, j3 = edge, j0 - c * edge, (c**2 + 2) * edge
        m1 = width * (radius * j0 + width * j1)
        m3 = width * (radius**3 * j0 + 3 * radius**2 * width * j1 + 3 * radius * width**2 * j2 + width**3 * j3)
        self.log_z = math.log(2 * math.pi * m1)
        self.mean = torch.zeros(2, dtype=torch.float64)
        self.covariance = 0.5 * m3 / m1 * torch.eye(2, dtype=torch.float64)

    @property
    def extent(self) -> Extent:
        """The ring and four widths around it."""
        side = self.radius + 4.5 * self.width
        return -side, side, -side, side

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 2) -> (B,)."""
        return 0.5 * ((torch.linalg.vector_norm(x, dim=1) - self.radius) / self.width).square()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, 2) exact samples, float64, the radius by rejection.

        The radius has density ∝ ρ exp(-(ρ - r)²/(2 s²)). Since log(ρ/r) ≤ ρ/r - 1, it lies below a multiple of
        N(r + s²/r, s²), and a draw of that is kept with probability (ρ/r) exp(1 - ρ/r).
        """

        def propose(k: int) -> tuple[Tensor, Tensor]:
            rho = self.radius + self.width**2 / self.radius + self.width * _randn((k,), generator)
            ratio = rho / self.radius
            return rho, torch.where(ratio > 0, ratio * torch.exp(1 - ratio), 0.0)

        rho = _rejection(propose, n, generator)
        angle = 2 * math.pi * _rand((n,), generator)
        return torch.stack([rho * angle.cos(), rho * angle.sin()], dim=1)


class GaussianMixture:
    """E(x) = -log Σ_k exp(-‖x - μ_k‖²/(2 s²)): round Gaussians of equal weight, in any dimension D.

    log Z = log K + D/2 log(2π s²); the mean is the mean of the μ_k, the covariance theirs plus s² I.

    Args:
        means: μ, (K, D).
        width: s.
    """

    def __init__(self, means: Tensor | Sequence[Sequence[float]], width: float) -> None:
        self.means = torch.as_tensor(means, dtype=torch.float64)
        if self.means.ndim != 2:
            raise ValueError(f"means must have shape (K, D), got {tuple(self.means.shape)}")
        n_means, n_dims = self.means.shape
        self.width = width
        self.log_z = math.log(n_means) + 0.5 * n_dims * math.log(2 * math.pi * width**2)
        self.mean = self.means.mean(0)
        centred = self.means - self.mean
        self.covariance = centred.T @ centred / n_means + width**2 * torch.eye(n_dims, dtype=torch.float64)

    @property
    def extent(self) -> Extent:
        """The means of the first two dimensions, and five widths around them."""
        low, high = (self.means.amin(0) - 5 * self.width).tolist(), (self.means.amax(0) + 5 * self.width).tolist()
        return low[0], high[0], low[1], high[1]

    def __call__(self, x: Tensor) -> Tensor:
        """(B, D) -> (B,)."""
        squares = (x[:, None, :] - self.means.to(x)).square().sum(2)  # (B, K); cdist would lose digits
        return -torch.logsumexp(-0.5 * squares / self.width**2, dim=1)

    def nearest(self, x: Tensor) -> Tensor:
        """(B, D) -> (B,) which of the means is closest: the mode a sample belongs to."""
        return (x[:, None, :] - self.means.to(x)).square().sum(2).argmin(1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, D) exact samples, float64."""
        which = (_rand((n,), generator) * len(self.means)).long().clamp_(max=len(self.means) - 1)
        return self.means[which] + self.width * _randn((n, self.means.shape[1]), generator)


def eight_gaussians(radius: float = 4.0, width: float = 0.5) -> GaussianMixture:
    """Eight modes on a circle: mean zero, covariance (r²/2 + s²) I, log Z = log(16 π s²)."""
    angle = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    return GaussianMixture(radius * torch.stack([angle.cos(), angle.sin()], dim=1), width)


class DoubleWell:
    """E(x) = h (x₁²/c² - 1)² + x₂²/(2 s²): two wells at x₁ = ±c with a barrier of height h between them.

    The mean is zero and the coordinates are independent. Z and var x₁ have no elementary form (they are Bessel
    functions); they are computed once, by the trapezoidal rule in float64, which for a smooth function that dies
    out at both ends is exact to rounding.
    """

    def __init__(self, barrier: float = 3.0, distance: float = 1.5, width: float = 1.0) -> None:
        self.barrier, self.distance, self.width = barrier, distance, width
        # At u = ±(c + 7 c/√h) and beyond, the integrand is below exp(-200).
        reach = distance * (1 + 7 / min(math.sqrt(barrier), 1.0))
        u = torch.linspace(-reach, reach, 20_001, dtype=torch.float64)
        density = torch.exp(-barrier * ((u / distance).square() - 1).square())
        mass = torch.trapezoid(density, u)
        self.log_z = mass.log().item() + 0.5 * math.log(2 * math.pi * width**2)
        self.mean = torch.zeros(2, dtype=torch.float64)
        variance = (torch.trapezoid(density * u.square(), u) / mass).item()
        self.covariance = torch.tensor([variance, width**2], dtype=torch.float64).diag()

    @property
    def extent(self) -> Extent:
        """As far as the energy of a well's wall is below nine, and four widths."""
        side = self.distance * math.sqrt(1 + 3 / math.sqrt(self.barrier))
        return -side, side, -4 * self.width, 4 * self.width

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 2) -> (B,)."""
        well = self.barrier * ((x[:, 0] / self.distance).square() - 1).square()
        return well + 0.5 * (x[:, 1] / self.width).square()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, 2) exact samples, float64, the first coordinate by rejection.

        For v = |x₁|/c > 0, (v² - 1)² = (v - 1)² (v + 1)² ≥ (v - 1)², so N(1, 1/(2h)) lies above the density.
        """

        def propose(k: int) -> tuple[Tensor, Tensor]:
            v = 1 + _randn((k,), generator) / math.sqrt(2 * self.barrier)
            keep = torch.exp(-self.barrier * (v - 1).square() * ((v + 1).square() - 1))
            return v, torch.where(v > 0, keep, 0.0)

        side = torch.where(_rand((n,), generator) < 0.5, -1.0, 1.0)
        first = self.distance * side * _rejection(propose, n, generator)
        return torch.stack([first, self.width * _randn((n,), generator)], dim=1)


def _rejection(propose: Callable[[int], tuple[Tensor, Tensor]], n: int, generator: torch.Generator | None) -> Tensor:
    """(n,) draws: proposals (k,), each kept with the probability that ``propose`` gives beside it."""
    kept = torch.empty(0, dtype=torch.float64)
    while len(kept) < n:
        value, probability = propose(2 * (n - len(kept)) + 16)
        kept = torch.cat([kept, value[_rand(value.shape, generator) < probability]])
    return kept[:n]


def _randn(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _rand(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64)
