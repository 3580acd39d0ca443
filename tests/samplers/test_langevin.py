"""The kernels without a test: ULA's known bias, decoupled noise, clipping, and the bounded step."""

from __future__ import annotations

import math

import pytest
import torch

from gen_utils.models import Gaussian
from gen_utils.samplers import HMC, MALA, Langevin, ProximalLangevin, constant, geometric, power_decay, sample


@pytest.mark.parametrize("eta", [0.05, 0.2, 0.35])
@pytest.mark.parametrize(("dtype", "shares"), [(torch.float64, 1), (torch.float32, 1), (torch.float64, 2), (None, 3)])
def test_ula_has_its_known_stationary_variance(eta, dtype, shares, generator, moment_z):
    """For a Gaussian with precision λ, ULA's variance is (1/λ) / (1 - ηλ/2) in every direction."""
    rotation = torch.linalg.qr(torch.tensor([[1.0, 2.0], [3.0, 1.0]], dtype=torch.float64)).Q
    precisions = torch.tensor([0.8, 4.0], dtype=torch.float64)
    energy = Gaussian(rotation @ torch.diag(1 / precisions) @ rotation.T)
    inflated = rotation @ torch.diag(1 / precisions / (1 - eta * precisions / 2)) @ rotation.T
    # Start in ULA's own stationary law, so that only staying in it passes.
    x0 = Gaussian((inflated + inflated.T) / 2).sample(4000, generator).to(dtype or torch.float32)
    path = sample(energy, x0, Langevin(eta), 60, keep_every=1, generator=generator, shares=shares).path
    assert moment_z(path, energy.mean, inflated) < 4.5
    assert moment_z(path, energy.mean, energy.covariance) > 8  # the bias is visible: this is not the target


@pytest.mark.parametrize("temperature", [0.01, 1.0, 4.0])
def test_decoupled_noise_sets_the_temperature(temperature, generator):
    """T = σ²/(2η), with the same discretisation bias."""
    eta = 0.1
    x0 = math.sqrt(temperature) * torch.randn(8000, 1, generator=generator, dtype=torch.float64)
    kernel = Langevin(eta, noise=math.sqrt(2 * eta * temperature))
    x = sample(lambda x: 0.5 * x.square().sum(1), x0, kernel, 60, generator=generator).x
    exact = temperature / (1 - eta / 2)
    assert abs(x.var() / exact - 1) < 4.5 * math.sqrt(2 / 8000)


def test_a_step_by_hand():
    x0 = torch.tensor([[1.0, -2.0], [0.5, 0.25]])
    noise = torch.randn(2, 2, generator=torch.Generator().manual_seed(7))

    def energy(x):
        return x.square().sum(1)  # gradient 2x

    def one(kernel):
        return sample(energy, x0, kernel, 1, generator=torch.Generator().manual_seed(7)).x

    torch.testing.assert_close(one(Langevin(0.1)), x0 - 0.2 * x0 + math.sqrt(0.2) * noise)
    torch.testing.assert_close(one(Langevin(0.1, noise=0.3)), x0 - 0.2 * x0 + 0.3 * noise)
    torch.testing.assert_close(one(Langevin(0.1, noise=0.0)), x0 - 0.2 * x0)
    torch.testing.assert_close(one(Langevin(0.1, noise=0.0, grad_clip=1.0)), x0 - 0.1 * (2 * x0).clamp(-1, 1))
    torch.testing.assert_close(one(Langevin(0.1, noise=0.3, bounds=(-2, 1))), (0.8 * x0 + 0.3 * noise).clamp(-2, 1))
    torch.testing.assert_close(one(ProximalLangevin(0.1, max_step=0.15)), x0 - (0.2 * x0).clamp(-0.15, 0.15))


def test_proximal_is_langevin_where_the_bound_is_loose(gaussian, generator):
    x0 = gaussian.sample(50, generator)
    a = sample(gaussian, x0, ProximalLangevin(0.1, max_step=1e9, noise=0.2), 10, generator=generator.manual_seed(1))
    b = sample(gaussian, x0, Langevin(0.1, noise=0.2), 10, generator=generator.manual_seed(1))
    torch.testing.assert_close(a.x, b.x)


def test_proximal_survives_a_cliff(generator):
    """An energy so steep that plain Langevin overflows."""
    x0 = torch.randn(20, 3, generator=generator)
    kernel = ProximalLangevin(1.0, max_step=0.1, bounds=(-5.0, 5.0))
    path = sample(lambda x: 1e6 * x.square().square().sum(1), x0, kernel, 30, keep_every=1).path
    assert (path.diff(dim=0).abs() <= 0.1 + 1e-6).all()
    assert path[-1].abs().max() <= 0.11


def test_proximal_equals_jem_plus_plus(gaussian, generator):
    """A bound c on the gradient, as JEM++ coded it, is max_step = η c."""
    x0 = gaussian.sample(50, generator)
    a = sample(gaussian, x0, ProximalLangevin(0.2, max_step=0.2 * 0.5), 5)
    b = sample(gaussian, x0, Langevin(0.2, noise=0.0, grad_clip=0.5), 5)
    torch.testing.assert_close(a.x, b.x)


def test_schedules_reach_the_kernel():
    """With E = x₁ the state moves by exactly the step sizes."""
    x0 = torch.zeros(1, 1, dtype=torch.float64)
    for schedule in (constant(0.3), power_decay(1e-1, 0.75), geometric(1.0, 0.01)):
        path = sample(lambda x: x.sum(1), x0, Langevin(schedule, noise=0.0), 6, keep_every=1).path
        steps = -torch.cat([x0[None], path]).diff(dim=0).flatten()
        torch.testing.assert_close(steps, torch.tensor([schedule(t, 6) for t in range(1, 7)], dtype=torch.float64))


def test_a_noise_schedule_may_end_at_zero_but_not_below(gaussian):
    sample(gaussian, torch.zeros(2, 2), Langevin(0.1, noise=lambda t, n: 1 - t / n), 4)
    with pytest.raises(ValueError, match="schedule for noise gave -1"):
        sample(gaussian, torch.zeros(2, 2), Langevin(0.1, noise=lambda t, n: -1.0), 4)
    with pytest.raises(ValueError, match=r"schedule for step_size gave 0\.0 at step 4 of 4"):
        sample(gaussian, torch.zeros(2, 2), Langevin(lambda t, n: 0.1 * (1 - t / n)), 4)


@pytest.mark.parametrize("kernel", [Langevin(0.1), ProximalLangevin(0.1, 0.5), MALA(0.1), HMC(0.1, 2)])
def test_no_step_begins_where_the_last_left_the_gradient_out(kernel, generator):
    """A Langevin chain ends without the gradient at its last state: nobody needs it, so nobody may rely on it."""
    energy = Gaussian()
    state = Langevin(0.1).init(energy, torch.zeros(3, 2, dtype=torch.float64))
    ended = Langevin(0.1).step(energy, state, 1, 1, generator)
    with pytest.raises(ValueError, match=r"kernel\.init\(energy, state\.x\)"):
        kernel.step(energy, ended, 1, 1, generator)
    assert torch.isfinite(kernel.step(energy, kernel.init(energy, ended.x), 1, 1, generator).x).all()
