"""Tamed Langevin: stable where plain Langevin is not, and its bias is the one that its own step has."""

from __future__ import annotations

import math

import pytest
import torch

from gen_utils.models import DoubleWell, Gaussian
from gen_utils.samplers import ChainDiverged, Langevin, TamedLangevin, sample

PASS, CAUGHT = 4.5, 8.0


def quartic(x):
    """¼ Σ x⁴: (B, D) -> (B,)."""
    return 0.25 * x.square().square().sum(1)


def invariant(drift, eta, reach=4.0, n=321):
    """The density that x' = x - drift(x) + √(2η) ξ keeps, on a grid: u (n,) and probabilities (n,)."""
    u = torch.linspace(-reach, reach, n, dtype=torch.float64)
    step = torch.softmax(-(u[None, :] - (u - drift(u))[:, None]).square() / (4 * eta), 1)
    for _ in range(12):  # 4,096 steps
        step = step @ step
        step = step / step.sum(1, keepdim=True)
    return u, step[n // 2]


def second_moment(tame, eta):
    u, p = invariant(lambda u: tame(eta, u**3), eta)
    return float((p * u**2).sum())


def z_of(kernel, wanted, generator):
    x0 = torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    path = sample(quartic, x0, kernel, 200, keep_every=1, generator=generator).path[50:, :, 0]
    found = path.square().mean(0)
    return abs(float((found.mean() - wanted) / found.std() * math.sqrt(len(found))))


def tamed(eta, g):
    return eta * g / (1 + eta * g.abs())


@pytest.mark.parametrize("eta", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("elementwise", [False, True])
def test_the_second_moment_is_that_of_its_own_invariant_density(eta, elementwise, generator):
    assert z_of(TamedLangevin(eta, elementwise), second_moment(tamed, eta), generator) < PASS


@pytest.mark.parametrize(
    "wrong",
    [
        lambda eta, g: eta * g / (1 + g.abs()),  # tamed by the slope alone: biased at any step
        lambda eta, g: eta * g / (1 + eta * g**2),
        lambda eta, g: (eta * g).clamp(-0.2, 0.2),
    ],
)
def test_another_taming_would_be_seen(wrong, generator):
    assert z_of(TamedLangevin(0.1), second_moment(wrong, 0.1), generator) > CAUGHT


def test_the_bias_goes_to_zero_with_the_step():
    u = torch.linspace(-4, 4, 321, dtype=torch.float64)
    exact = float((torch.softmax(-(u**4) / 4, 0) * u**2).sum())
    bias = [abs(second_moment(tamed, eta) / exact - 1) for eta in (0.16, 0.04, 0.01)]
    assert bias[0] > bias[1] > bias[2] and bias[2] < 0.03


@pytest.mark.parametrize("elementwise", [False, True])
def test_it_comes_back_from_where_langevin_leaves_for_ever(elementwise, generator):
    well, x0 = DoubleWell(), torch.full((100, 2), 8.0)
    with pytest.raises(ChainDiverged):
        sample(well, x0, Langevin(0.15), 100, generator=generator)
    chain = sample(well, x0, TamedLangevin(0.15, elementwise), 400, generator=generator)
    assert chain.x[:, 0].abs().max() < 4
    assert chain.accept_rate == 1


def test_a_step_by_hand():
    x0 = torch.tensor([[3.0, 4.0], [0.0, 0.5]])
    noise = math.sqrt(0.2) * torch.randn(2, 2, generator=torch.Generator().manual_seed(7))

    def one(kernel):
        return sample(lambda x: x.square().sum(1), x0, kernel, 1, generator=torch.Generator().manual_seed(7)).x

    size = torch.tensor([[10.0], [1.0]])  # of the gradient 2x
    torch.testing.assert_close(one(TamedLangevin(0.1)), x0 - 0.2 * x0 / (1 + 0.1 * size) + noise)
    torch.testing.assert_close(one(TamedLangevin(0.1, elementwise=True)), x0 - 0.2 * x0 / (1 + 0.2 * x0) + noise)


def test_on_a_gentle_slope_it_is_langevin(generator):
    energy = Gaussian()
    x0 = 1e-3 * energy.sample(50, generator)
    a = sample(energy, x0, Langevin(1e-4), 3, generator=generator.manual_seed(1)).x
    b = sample(energy, x0, TamedLangevin(1e-4), 3, generator=generator.manual_seed(1)).x
    torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_the_step_may_be_a_schedule_and_must_be_positive():
    x0 = torch.zeros(2, 1)
    chain = sample(quartic, x0, TamedLangevin(lambda t, n: 1e-30), 3, keep_every=1)
    assert chain.path.abs().max() < 1e-10
    for bad in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="step_size"):
            TamedLangevin(bad)
