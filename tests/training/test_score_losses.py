"""Objectives without long chains, each against an exact optimum, and the weights that score matching cannot see."""

import math

import pytest
import torch

from gen_utils.models import Gaussian, SmoothedMixture
from gen_utils.samplers import NoiseLevels, ProbabilityFlow, sample
from gen_utils.training.score_losses import denoising_loss, energy_discrepancy, paired, transport_loss

SPREAD = 0.7


class Shrink:
    """D(x, σ) = a x."""

    def __init__(self, a):
        self.a = a

    def denoise(self, x, sigma):
        return self.a * x


def of(model, x, sigma, seed=0, **settings):
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    return float(denoising_loss(model, x, noise, sigma, **settings))


def test_the_denoising_loss_is_least_at_the_posterior_mean():
    x = SPREAD * torch.randn(100_000, 2, generator=torch.Generator().manual_seed(1))
    sigma = 0.5
    best = SPREAD**2 / (SPREAD**2 + sigma**2)
    losses = {a: of(Shrink(a), x, sigma) for a in (best - 0.05, best, best + 0.05, 1.0, 0.0)}
    assert min(losses, key=losses.get) == best
    # The least value: posterior variance over σ².
    assert losses[best] == pytest.approx(best, rel=0.02)


def test_vincents_form_is_half_the_sum_of_squared_score_errors():
    x, noise, sigma = torch.randn(50, 3), torch.randn(50, 3), torch.rand(50) + 0.2
    score = -x - 1

    class Given:
        def denoise(self, y, s):
            return y + s[:, None] ** 2 * score

    vincent = 0.5 * (sigma[:, None] ** 2 * (score + noise / sigma[:, None]).square()).sum(1).mean()
    assert torch.allclose(denoising_loss(Given(), x, noise, sigma) * 3 / 2, vincent, rtol=1e-4)


def test_under_edms_weight_a_gaussian_guess_has_loss_one_at_every_level():
    class Guess:
        def denoise(self, x, sigma):
            return SPREAD**2 / (SPREAD**2 + sigma[:, None] ** 2) * x

    x = SPREAD * torch.randn(100_000, 2, generator=torch.Generator().manual_seed(2))
    for sigma in (0.05, 0.7, 5.0):
        assert of(Guess(), x, sigma, sigma_data=SPREAD) == pytest.approx(1.0, rel=0.03)


def two_modes(share, gap=3.0):
    return SmoothedMixture([[-gap, 0.0], [gap, 0.0]], [1 - share, share], 0.3)


def test_one_small_level_cannot_see_the_weights_of_far_modes():
    """The loss of a mixture with the wrong weights equals that of the right one, to rounding."""
    right, wrong = two_modes(0.2), two_modes(0.9)
    x = right.sample(20_000, torch.Generator().manual_seed(3))
    assert of(wrong, x, 0.3) - of(right, x, 0.3) < 1e-6


def test_larger_levels_see_them():
    """The cure; without it (the level above) the difference is nothing."""
    right, wrong = two_modes(0.2), two_modes(0.9)
    x = right.sample(20_000, torch.Generator().manual_seed(3))
    assert of(wrong, x, 3.0) - of(right, x, 3.0) > 1e-3


def test_drawing_through_all_levels_has_the_weights_and_from_the_small_ones_has_not():
    right = two_modes(0.2)
    stream = torch.Generator().manual_seed(4)

    def share(high):
        kernel = ProbabilityFlow(NoiseLevels(high, 0.01))
        start = kernel.levels.start((2,), 4000, generator=stream).double()
        x = sample(right.denoise, start, kernel, 40, generator=stream).x
        return float((right.nearest(x) == 1).double().mean())

    assert share(80.0) == pytest.approx(0.2, abs=0.03)
    assert abs(share(0.5) - 0.2) > 0.2


def discrepancy(energy, x, t, seed=0, m=16, **settings):
    return float(energy_discrepancy(energy, x, t, m, generator=torch.Generator().manual_seed(seed), **settings))


def test_the_discrepancy_is_least_at_the_datas_energy():
    x = SPREAD * torch.randn(20_000, 2, generator=torch.Generator().manual_seed(5)).double()
    found = {s: discrepancy(Gaussian([[s**2, 0.0], [0.0, s**2]]), x, 0.25) for s in (0.55, 0.7, 0.9)}
    assert min(found, key=found.get) == SPREAD


def test_the_discrepancy_does_not_change_with_a_constant_and_is_nothing_for_a_flat_energy():
    x, energy = torch.randn(50, 2), Gaussian()
    assert discrepancy(lambda y: energy(y) + 100, x, 0.5) == pytest.approx(discrepancy(energy, x, 0.5), abs=1e-4)
    assert discrepancy(lambda y: 0 * y.sum(1), x, 0.5, w=0.0) == pytest.approx(0.0, abs=1e-6)
    assert discrepancy(lambda y: 0 * y.sum(1), x, 0.5, m=4, w=1.0) == pytest.approx(math.log(5 / 4), abs=1e-6)


def test_a_wide_discrepancy_sees_the_weights_and_a_narrow_one_does_not():
    right, wrong = two_modes(0.2, 2.0), two_modes(0.9, 2.0)
    x = right.sample(5_000, torch.Generator().manual_seed(6))
    gap = {t: discrepancy(wrong, x, t) - discrepancy(right, x, t) for t in (0.01, 2.0)}
    assert gap[0.01] < 1e-6 < 0.01 < gap[2.0]


def test_the_negatives_share_one_disturbance():
    """The usual slip, y drawn anew for every negative, has another value where the energy is steep."""
    x, energy = torch.zeros(4000, 1).double(), Gaussian([[0.1]])
    shared = discrepancy(energy, x, 0.5, m=8, w=0.0)
    stream = torch.Generator().manual_seed(7)
    noise = torch.randn(8, 2, 4000, 1, generator=stream, dtype=torch.float64).sum(1) * math.sqrt(0.5)
    values = energy(x) - energy((x + noise).flatten(0, 1)).reshape(8, -1)
    anew = float((values.logsumexp(0) - math.log(8)).mean())
    assert abs(shared - anew) > 0.1


def test_a_potential_that_carries_noise_to_data_has_no_loss():
    """Data = noise + a constant: V(x) = -⟨shift, x⟩ moves every point along its straight way."""
    shift = torch.tensor([2.0, -1.0])
    noise, time = torch.randn(30, 2), torch.rand(30)
    assert float(transport_loss(lambda x: -(x * shift).sum(1), noise, noise + shift, time)) < 1e-10
    # Uphill in place of downhill: twice the shift off.
    loss = transport_loss(lambda x: (x * shift).sum(1), noise, noise + shift, time)
    assert float(loss) == pytest.approx(20.0, rel=1e-5)


def test_the_transport_losss_gradient_reaches_the_energy():
    weight = torch.tensor([1.0, 1.0], requires_grad=True)
    transport_loss(
        lambda x: (weight * x.square()).sum(1), torch.randn(8, 2), torch.randn(8, 2), torch.rand(8)
    ).backward()
    assert weight.grad is not None and torch.isfinite(weight.grad).all()


def test_pairs_are_those_of_least_cost():
    noise, order = torch.randn(20, 2, generator=torch.Generator().manual_seed(8)), torch.randperm(20)
    assert torch.equal(paired(noise, noise[order] + 0.001), noise[order])


def test_energies_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="one number a sample"):
        energy_discrepancy(lambda x: x.sum(1, keepdim=True), torch.randn(4, 2), 0.1, 3)
