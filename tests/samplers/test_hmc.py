"""HMC's own properties: reversibility, order of the integrator, the identity of exp(-ΔH), resonance, warm-up."""

from __future__ import annotations

import math

import pytest
import torch

from gen_utils.models import Banana, Gaussian
from gen_utils.samplers import HMC, MALA, ChainDiverged, Langevin, leapfrog, sample, warm_up
from gen_utils.samplers.hmc import _reflect
from gen_utils.samplers.metropolis import mean_acceptance
from gen_utils.samplers.protocol import energy_and_grad

BOXES = [None, (-1.0, 1.0), (-1.0, math.inf), (-math.inf, 1.0), (-math.inf, math.inf), (-1.0, 1e308)]


@pytest.mark.parametrize("bounds", BOXES)
def test_reversible(bounds, generator):
    """Forward, turn round, forward again: back at the start, walls or not."""
    energy = Banana()
    x = (torch.rand(300, 2, generator=generator, dtype=torch.float64) * 2 - 1) * 0.99
    p = torch.randn(300, 2, generator=generator, dtype=torch.float64) * 2
    grad = energy_and_grad(energy, x)[1]
    x1, _, grad1, p1 = leapfrog(energy, x, p, grad, 0.1, 15, bounds)
    x2, _, _, p2 = leapfrog(energy, x1, -p1, grad1, 0.1, 15, bounds)
    assert (x1 - x).abs().max() > 0.5
    torch.testing.assert_close(x2, x, atol=1e-8, rtol=0)
    torch.testing.assert_close(-p2, p, atol=1e-8, rtol=0)
    if bounds:
        assert bounds[0] <= x1.min() and x1.max() <= bounds[1]


@pytest.mark.parametrize("bounds", BOXES)
def test_volume_is_kept(bounds):
    """|det ∂(x', p')/∂(x, p)| = 1, by automatic differentiation through the trajectory's closed form."""
    energy = Gaussian()

    def flow(state):
        x, p = state[None, :2], state[None, 2:]
        step = 0.2
        # energy_and_grad detaches, so differentiate the Gaussian's linear gradient by hand.
        p = p - 0.5 * step * x @ energy.precision
        for i in range(10):
            x = x + step * p
            if bounds is not None:
                x, p = _reflect(x, p, bounds)
            p = p - (step if i < 9 else 0.5 * step) * x @ energy.precision
        return torch.cat([x[0], p[0]])

    state = torch.tensor([0.3, -0.7, 1.9, -1.1], dtype=torch.float64)
    determinant = torch.linalg.det(torch.autograd.functional.jacobian(flow, state))
    assert abs(abs(determinant.item()) - 1) < 1e-10


def test_energy_error_is_of_second_order(generator):
    """Halving ε at a fixed length divides ΔH by four."""
    energy = Banana()
    x = energy.sample(500, generator)
    p = torch.randn(500, 2, generator=generator, dtype=torch.float64)
    value, grad = energy_and_grad(energy, x)
    errors = []
    for epsilon in (0.01, 0.005):
        _, new_value, _, new_p = leapfrog(energy, x, p, grad, epsilon, round(0.3 / epsilon))
        errors.append((new_value - value + 0.5 * (new_p.square() - p.square()).sum(1)).abs())
    ratio = (errors[0] / errors[1])[errors[1] > 1e-6]
    assert len(ratio) > 300
    assert abs(ratio.median() - 4) < 0.2


@pytest.mark.parametrize("epsilon", [0.3, 0.7, 1.1])
def test_mean_of_exp_minus_delta_h_is_one(epsilon, generator):
    """E[exp(-ΔH)] = 1 in equilibrium, at any step size; a wrong kinetic energy breaks it."""
    energy = Gaussian(torch.diag(torch.linspace(0.5, 2.0, 6, dtype=torch.float64)))

    def shaped(x):
        return energy(x.flatten(1))

    kernel = HMC(epsilon, 3)
    x = energy.sample(40_000, generator).reshape(-1, 1, 2, 3)
    state = kernel.step(shaped, kernel.init(shaped, x), 1, 1, generator)
    weight = state.log_ratio.exp()
    error = 4.5 * weight.std() / math.sqrt(len(weight))
    assert error < 0.05
    assert abs(weight.mean() - 1) < error
    # ... and the test is sharp: the log ratio without its kinetic part fails it.
    momentum_free = (energy(x.flatten(1)) - shaped(state.x))[state.accept].exp()
    assert abs(momentum_free.mean() - 1) > error


def test_resonance_and_its_cure(generator):
    """At half a period a direction only flips its sign for ever; a jittered length lets it mix."""
    energy = Gaussian(torch.eye(2))
    n_leapfrog = 20
    half_period = math.pi / n_leapfrog
    x0 = torch.full((500, 2), 3.0, dtype=torch.float64)
    stuck = sample(energy, x0, HMC(half_period, n_leapfrog), 41, generator=generator)
    mixed = sample(energy, x0, HMC(half_period, n_leapfrog, jitter=0.5), 41, generator=generator)
    assert stuck.accept_rate > 0.99
    assert stuck.x.mean() < -2.5  # after an odd number of flips
    assert stuck.x.std() < 0.5
    assert abs(mixed.x.mean()) < 4.5 / math.sqrt(1000)
    assert abs(mixed.x.var() - 1) < 4.5 * math.sqrt(2 / 1000)


def test_jitter_shortens_each_chain_by_its_own_share(gaussian, generator):
    """With no force a trajectory's length over its momentum is its duration."""
    seen = []

    def flat(x):
        seen.append(x.detach().clone())
        return 0.0 * x.sum(1)

    kernel = HMC(0.1, 10, jitter=0.5)
    state = kernel.init(flat, torch.zeros(4000, 1, dtype=torch.float64))
    kernel.step(flat, state, 1, 1, generator)
    plain_seed = torch.Generator().manual_seed(20)
    momentum = torch.randn(4000, 1, generator=plain_seed, dtype=torch.float64)
    duration = seen[-1] / momentum
    assert duration.min() >= 0.5 - 1e-9
    assert duration.max() <= 1 + 1e-9
    assert abs(duration.mean() - 0.75) < 4.5 * 0.5 / math.sqrt(12 * 4000)


# Warm-up.


@pytest.mark.parametrize(
    ("kernel", "target"), [(MALA(1e-4), 0.574), (MALA(50.0), 0.574), (HMC(1e-3, 5), 0.8), (HMC(30.0, 5), 0.8)], ids=str
)
def test_warm_up_finds_its_target(kernel, target, generator):
    energy = Gaussian(torch.diag(torch.linspace(0.2, 2.0, 30, dtype=torch.float64)))
    x0 = torch.randn(100, 30, generator=generator, dtype=torch.float64)
    tuned, x = warm_up(energy, x0, kernel, 300, generator=generator)
    assert type(tuned) is type(kernel)
    assert x.shape == x0.shape
    chain = sample(energy, x, tuned, 50, generator=generator)
    assert abs(chain.accept_rate - target) < 0.06


def test_warm_up_keeps_the_other_settings_and_one_seed(gaussian):
    kernel = HMC(0.1, 7, bounds=(-5.0, 5.0), jitter=0.3)
    x0 = torch.zeros(20, 2)
    runs = [warm_up(gaussian, x0, kernel, 30, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])
    assert (runs[0][0].n_leapfrog, runs[0][0].bounds, runs[0][0].jitter) == (7, (-5.0, 5.0), 0.3)
    other, _ = warm_up(gaussian, x0, kernel, 30, target_accept=0.95, generator=torch.Generator().manual_seed(1))
    assert other.step_size < runs[0][0].step_size


def test_warm_up_says_what_is_wrong(gaussian):
    x0 = torch.zeros(4, 2)
    with pytest.raises(ValueError, match="acceptance test"):
        warm_up(gaussian, x0, Langevin(0.1))
    with pytest.raises(ValueError, match="one number"):
        warm_up(gaussian, x0, MALA(lambda t, n: 0.1))
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        warm_up(gaussian, x0, MALA(0.1), target_accept=1.0)
    for n_steps in (0, 2.5):
        with pytest.raises(ValueError, match="n_steps must be at least 1, a whole number"):
            warm_up(gaussian, x0, MALA(0.1), n_steps)
    with pytest.raises(ValueError, match="the start is empty"):
        warm_up(gaussian, x0[:0], MALA(0.1))
    with pytest.raises(ChainDiverged, match="at the start"):
        warm_up(lambda x: x.sum(1) * torch.nan, x0, MALA(0.1))
    with pytest.raises(RuntimeError, match="no proposal was accepted"):
        warm_up(lambda x: torch.where((x != 0).any(1), torch.nan, x.sum(1)), x0, MALA(0.1), 20)


def test_one_leapfrog_step_is_mala(gaussian):
    """HMC with one step of ε and MALA with η = ε²/2 are the same algorithm, noise for noise."""
    x0 = gaussian.sample(500, torch.Generator().manual_seed(0))
    a = sample(gaussian, x0, HMC(0.8, 1), 20, generator=torch.Generator().manual_seed(1))
    b = sample(gaussian, x0, MALA(0.5 * 0.8**2), 20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(a.x, b.x)
    assert a.accept_rate == b.accept_rate
    assert 0.3 < a.accept_rate < 0.99


def test_a_trajectory_has_a_step_and_only_a_test_has_an_acceptance(generator):
    energy, x = Gaussian(), torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="n_leapfrog must be at least 1, got 0"):
        leapfrog(energy, x, x, x, 0.1, 0)
    state = HMC(0.1, 2).init(energy, x)
    with pytest.raises(ValueError, match="no acceptance test"):
        mean_acceptance(state)
    state = HMC(0.1, 2).step(energy, state, 1, 1, generator)
    assert mean_acceptance(state) == pytest.approx(state.log_ratio.clamp(max=0).exp().mean().item())
