"""The analytic energies: log Z, moments, samples and energies all tell the same story."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import special

from gen_utils.models import Banana, DoubleWell, Gaussian, GaussianMixture, Ring, eight_gaussians

ENERGIES = [
    Gaussian(),
    Gaussian([[2.0, -0.5], [-0.5, 0.3]], mean=[1.0, -2.0]),
    Banana(),
    Banana(1.5, 0.3, 0.8),
    Ring(),
    Ring(1.0, 0.8),  # so wide that the hole closes
    eight_gaussians(),
    GaussianMixture([[0.0, 1.0], [3.0, -1.0], [-2.0, 0.0]], 0.7),
    DoubleWell(),
    DoubleWell(0.5, 1.0, 2.0),
]
EACH = pytest.mark.parametrize("energy", ENERGIES, ids=lambda e: type(e).__name__)


def quadrature(energy, n: int = 900):
    """log Z, mean and covariance by the midpoint rule on a box twice the size of ``extent``."""
    x_low, x_high, y_low, y_high = energy.extent
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 0.5
    grid = torch.cartesian_prod(x_low + (x_high - x_low) * u, y_low + (y_high - y_low) * u)
    log_p = -energy(grid)
    log_z = torch.logsumexp(log_p, 0) + math.log(4 * (x_high - x_low) * (y_high - y_low) / n**2)
    weight = torch.softmax(log_p, 0)
    mean = weight @ grid
    return log_z.item(), mean, ((grid - mean) * weight[:, None]).T @ (grid - mean), grid, weight


@EACH
def test_log_z_mean_and_covariance_by_quadrature(energy):
    log_z, mean, covariance, grid, weight = quadrature(energy)
    assert log_z == pytest.approx(energy.log_z, abs=1e-4)
    torch.testing.assert_close(mean, energy.mean, atol=1e-3, rtol=0)
    torch.testing.assert_close(covariance, energy.covariance, atol=2e-3, rtol=1e-3)
    x_low, x_high, y_low, y_high = energy.extent
    low, high = torch.tensor([x_low, y_low]), torch.tensor([x_high, y_high])
    outside = ((grid < low) | (grid > high)).any(1)
    assert weight[outside].sum() < 5e-4


@EACH
def test_samples_are_exact(energy):
    """Moments, and the energy's own mean, which sees the shape."""
    n = 40_000
    x = energy.sample(n, torch.Generator().manual_seed(0))
    assert x.shape == (n, 2)
    assert x.dtype == torch.float64
    centred = x - energy.mean
    products = torch.stack([centred[:, 0] ** 2, centred[:, 1] ** 2, centred[:, 0] * centred[:, 1]], 1)
    truth = energy.covariance[[0, 1, 0], [0, 1, 1]]
    _, _, _, grid, weight = quadrature(energy)
    values = torch.cat([centred, products - truth, (energy(x) - weight @ energy(grid))[:, None]], 1)
    z = values.mean(0) / values.std(0) * math.sqrt(n)
    assert z.abs().max() < 4.5


@EACH
def test_samples_repeat_and_types_follow_the_input(energy):
    a, b = (energy.sample(50, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b)
    for dtype in (torch.float32, torch.float64):
        value = energy(a.to(dtype))
        assert value.shape == (50,)
        assert value.dtype == dtype
    torch.testing.assert_close(energy(a.float()).double(), energy(a), rtol=1e-4, atol=1e-4)


@EACH
def test_gradients_are_finite_everywhere(energy):
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [50.0, -80.0]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(energy(x).sum(), x)
    assert torch.isfinite(grad).all()


def test_gaussian_in_any_dimension():
    root = torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covariance = root @ root.T + torch.eye(7)
    energy = Gaussian(covariance, torch.arange(7.0))
    x = energy.sample(5, torch.Generator().manual_seed(0))
    exact = torch.distributions.MultivariateNormal(torch.arange(7.0).double(), covariance)
    torch.testing.assert_close(-energy(x) - energy.log_z, exact.log_prob(x))


@pytest.mark.parametrize("barrier", [0.3, 3.0, 30.0])
def test_double_well_against_bessel_functions(barrier):
    """∫ exp(-h (v² - 1)²) dv = (π/2) e^{-h/2} (I_{-1/4}(h/2) + I_{1/4}(h/2))."""
    distance, width = 1.7, 0.6
    bessel = special.ive(-0.25, barrier / 2) + special.ive(0.25, barrier / 2)
    exact = math.log(distance * math.pi / 2 * bessel) + 0.5 * math.log(2 * math.pi * width**2)
    assert DoubleWell(barrier, distance, width).log_z == pytest.approx(exact, abs=1e-10)


def test_the_eight_modes():
    energy = eight_gaussians()
    assert energy.means.shape == (8, 2)
    assert energy.log_z == pytest.approx(math.log(16 * math.pi * 0.25))
    torch.testing.assert_close(energy.covariance, (8 + 0.25) * torch.eye(2, dtype=torch.float64))
    assert energy.nearest(energy.means).tolist() == list(range(8))
    share = torch.bincount(energy.nearest(energy.sample(8000, torch.Generator().manual_seed(0))), minlength=8)
    assert (share - 1000).abs().max() < 4.5 * math.sqrt(8000 / 8 * 7 / 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian([[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
        (lambda: Gaussian([[1.0, 0.5], [0.2, 1.0]]), "symmetric"),
        (lambda: Gaussian([1.0, 2.0]), "symmetric"),
        (lambda: Gaussian(mean=[0.0]), "mean must have shape"),
        (lambda: GaussianMixture([0.0, 1.0], 1.0), "means must have shape"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
