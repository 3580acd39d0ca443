"""Denoising kernels against exact answers: on Gaussian data every step is linear, so moments follow by hand."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from gen_utils.models import ScoreUNet, SmoothedMixture
from gen_utils.samplers import Ancestral, AnnealedLangevin, Kernel, NoiseLevels, ProbabilityFlow, State, sample

SPREAD = 0.5
LEVELS = NoiseLevels(10.0, 0.01)


def gaussian(x, sigma):
    """The denoiser of N(0, SPREAD²)."""
    return SPREAD**2 / (SPREAD**2 + sigma**2) * x


def drawn(kernel, n_steps, n=20_000, seed=0):
    stream = torch.Generator().manual_seed(seed)
    start = kernel.levels.start((2,), n, generator=stream)
    return sample(gaussian, start, kernel, n_steps, generator=stream).x


def test_levels_fall_from_high_to_low_to_zero():
    found = [LEVELS(t, 10) for t in range(11)]
    assert found[0] == pytest.approx(10.0) and found[9] == pytest.approx(0.01) and found[10] == 0
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("order", "rate"), [(1, 2), (2, 4)])
def test_the_flow_of_a_gaussian_scales_and_its_error_falls_with_the_order(order, rate):
    """The exact flow to level σ multiplies by √((s² + σ²)/(s² + σ_high²)); the last step, to zero, is Euler's."""

    def error(n):
        x = torch.ones(1, 1).double()
        kernel, state = ProbabilityFlow(LEVELS, order), None
        state = kernel.init(gaussian, x)
        for t in range(1, n):
            state = kernel.step(gaussian, state, t, n, None)
        return abs(float(state.x) / math.sqrt((SPREAD**2 + 0.01**2) / (SPREAD**2 + 100)) - 1)

    assert error(80) < 0.1 and error(80) / error(160) == pytest.approx(rate, rel=0.25)


def test_the_flow_draws_the_gaussian():
    x = drawn(ProbabilityFlow(LEVELS), 30)
    assert float(x.std()) == pytest.approx(SPREAD * math.sqrt(100 / (SPREAD**2 + 100)), rel=0.02)


def ancestral_variance(n):
    v = LEVELS.high**2
    for t in range(1, n + 1):
        here, there = LEVELS(t - 1, n), LEVELS(t, n)
        a, ratio = SPREAD**2 / (SPREAD**2 + here**2), (there / here) ** 2
        v = (a + ratio * (1 - a)) ** 2 * v + there**2 * (1 - ratio)
    return v


@pytest.mark.parametrize("n", [5, 40])
def test_ancestral_sampling_has_the_moments_of_its_recursion(n):
    x = drawn(Ancestral(LEVELS), n)
    assert float(x.var()) == pytest.approx(ancestral_variance(n), rel=0.03)


def test_ancestral_sampling_approaches_the_gaussian_with_more_steps():
    assert abs(ancestral_variance(200) / SPREAD**2 - 1) < 0.05 < abs(ancestral_variance(5) / SPREAD**2 - 1)


@dataclass(frozen=True)
class NoiseOfThisLevel(Ancestral):
    """The usual slip: as much noise is put back as the *old* level had."""

    def step(self, energy, state, t, n_steps, generator):
        here, there = self.levels(t - 1, n_steps), self.levels(t, n_steps)
        seen = energy(state.x, here)
        ratio = (there / here) ** 2
        noise = torch.randn(state.x.shape, generator=generator) if there else 0
        return State(seen + ratio * (state.x - seen) + here * math.sqrt(1 - ratio) * noise, state.energy, None)


def test_the_moments_find_noise_of_the_wrong_level():
    x = drawn(NoiseOfThisLevel(LEVELS), 40)
    assert float(x.var()) > 1.1 * ancestral_variance(40)


def test_langevin_at_one_level_has_the_variance_of_its_recursion():
    """One level: an autoregression of known variance, 2 r σ²/(1 - a²), a = 1 - r σ²/(s² + σ²)."""
    level = 0.8
    kernel = AnnealedLangevin(NoiseLevels(level, level), rate=0.2, per_level=200)
    stream = torch.Generator().manual_seed(4)
    state = kernel.init(gaussian, torch.zeros(20_000, 1))
    for t in range(1, 100):
        state = kernel.step(gaussian, state, t, 200, stream)
    a = 1 - 0.2 * level**2 / (SPREAD**2 + level**2)
    assert float(state.x.var()) == pytest.approx(2 * 0.2 * level**2 / (1 - a**2), rel=0.04)


def test_annealed_langevin_has_the_moments_of_its_recursion_and_ends_with_a_denoised_point():
    kernel, n = AnnealedLangevin(NoiseLevels(3.0, 0.02), rate=0.1, per_level=20), 300
    v = 9.0
    for t in range(1, n + 1):
        level = kernel.levels((t - 1) // 20, n // 20)
        shrink = SPREAD**2 / (SPREAD**2 + level**2)
        v = shrink**2 * v if t == n else (1 - 0.1 + 0.1 * shrink) ** 2 * v + 0.2 * level**2
    assert float(drawn(kernel, n, n=10_000).var()) == pytest.approx(v, rel=0.04)


@pytest.mark.parametrize(
    ("kernel", "n_steps"),
    [(ProbabilityFlow(), 40), (Ancestral(), 120), (AnnealedLangevin(NoiseLevels(20.0, 0.01), 0.1, 10), 400)],
    ids=lambda value: type(value).__name__,
)
def test_modes_far_apart_are_drawn_with_their_weights(kernel, n_steps):
    """What Langevin at the data's own level cannot do: the smooth levels share the modes out."""
    mixture = SmoothedMixture([[-4.0, 0.0], [4.0, 0.0]], [0.8, 0.2], 0.3)
    stream = torch.Generator().manual_seed(5)
    start = kernel.levels.start((2,), 2000, generator=stream)
    x = sample(mixture.denoise, start, kernel, n_steps, generator=stream).x
    assert float((mixture.nearest(x) == 1).double().mean()) == pytest.approx(0.2, abs=0.05)
    # One level alone keeps the shares of the start.
    one = AnnealedLangevin(NoiseLevels(0.3, 0.3), 0.1, n_steps)
    x = sample(mixture.denoise, torch.randn(2000, 2, generator=stream), one, n_steps, generator=stream).x
    assert abs(float((mixture.nearest(x) == 1).double().mean()) - 0.2) > 0.15


def test_energies_tell_the_noise_that_is_seen():
    chain = sample(gaussian, LEVELS.start((50,), 200), ProbabilityFlow(LEVELS), 20)
    # At the highest level all is noise: half a nat a dimension.
    assert float(chain.energy[0].mean()) == pytest.approx(25, rel=0.1)


def test_kernels_are_kernels_and_networks_draw_by_their_method():
    for kernel in (ProbabilityFlow(), Ancestral(), AnnealedLangevin()):
        assert isinstance(kernel, Kernel) and replace(kernel) == kernel
    network = ScoreUNet(1, 8, 8)
    assert sample(network.denoise, torch.randn(2, 1, 8, 8), Ancestral(), 3).x.shape == (2, 1, 8, 8)
    with pytest.raises(ValueError, match=r"the method network\.denoise"):
        Ancestral().init(network, torch.randn(2, 1, 8, 8))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: NoiseLevels(0.1, 1.0),
        lambda: NoiseLevels(low=0.0),
        lambda: ProbabilityFlow(order=3),
        lambda: AnnealedLangevin(rate=0.0),
        lambda: AnnealedLangevin(per_level=0),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"fall from|positive|order is|at least 1"):
        wrong()
