"""MALA and HMC leave their target exactly invariant, and the tests see it when they do not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from gen_utils.models import DoubleWell, Gaussian
from gen_utils.samplers import HMC, MALA, Langevin, State, leapfrog, sample
from gen_utils.samplers.protocol import energy_and_grad

KERNELS = [
    MALA(0.05),
    MALA(0.4),
    MALA(1.2),
    HMC(0.2, 5),
    HMC(0.8, 3),
    HMC(0.98, 4),
    HMC(0.8, 4, jitter=0.6),
    HMC(0.3, 1),
]
PASS, CAUGHT = 4.5, 8.0  # z-scores: chance stays below the first, a wrong kernel must exceed the second


# The usual wrong implementations.


class NoReverseProposal(MALA):
    """A plain Metropolis test, as if the proposal were symmetric."""

    def _log_proposal_ratio(self, grad, new_grad, noise, eta):
        return torch.zeros(len(grad), dtype=grad.dtype)


class SwappedProposal(MALA):
    """Forward and reverse proposal densities exchanged."""

    def _log_proposal_ratio(self, grad, new_grad, noise, eta):
        return -super()._log_proposal_ratio(grad, new_grad, noise, eta)


class Untested(HMC):
    """Leapfrog without the acceptance test."""

    def step(self, energy, state, t, n_steps, generator):
        momentum = torch.randn(state.x.shape, generator=generator, dtype=state.x.dtype)
        x, value, grad, _ = leapfrog(energy, state.x, momentum, state.grad, self.step_size, self.n_leapfrog)
        accept = torch.ones(len(x), dtype=torch.bool)
        return State(x, value, grad, accept, torch.zeros_like(value), ~accept)


@dataclass(frozen=True)
class ClampAfterTest(MALA):
    """The original Bitmoji assignment: propose without walls, test, and clamp what was accepted."""

    low: float = -1.0
    high: float = 1.0

    def step(self, energy, state, t, n_steps, generator):
        new = super().step(energy, state, t, n_steps, generator)
        x = new.x.clamp(self.low, self.high)
        value, grad = energy_and_grad(energy, x)
        return new._replace(x=x, energy=value, grad=grad)


def from_exact_starts(energy, kernel, n_chains, n_steps, generator, dtype=torch.float64, shares=1):
    """Chains that start in their target must stay in it: no warm-up, and no way for an error to hide."""
    x0 = energy.sample(n_chains, generator).to(dtype)
    return sample(energy, x0, kernel, n_steps, keep_every=1, generator=generator, shares=shares)


@pytest.mark.parametrize(("dtype", "shares"), [(torch.float64, 1), (torch.float32, 1), (None, 2), (None, 3)])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_moments_of_a_correlated_gaussian(kernel, dtype, shares, gaussian, generator, moment_z):
    dtype = dtype or torch.float64
    chain = from_exact_starts(gaussian, kernel, 2000, 30, generator, dtype, shares)
    assert chain.x.dtype == chain.path.dtype == chain.energy.dtype == dtype
    assert 0.05 < chain.accept_rate <= 1
    assert moment_z(chain.path, gaussian.mean, gaussian.covariance) < PASS


@pytest.mark.parametrize(
    "kernel",
    [
        Langevin(0.4),  # MALA without its test
        NoReverseProposal(0.4),
        SwappedProposal(0.4),
        Untested(0.8, 3),
    ],
    ids=lambda k: type(k).__name__,
)
def test_the_moment_test_catches_wrong_kernels(kernel, gaussian, generator, moment_z):
    chain = from_exact_starts(gaussian, kernel, 2000, 30, generator)
    assert moment_z(chain.path, gaussian.mean, gaussian.covariance) > CAUGHT


@pytest.mark.parametrize("kernel", [MALA(0.4), HMC(0.5, 5)], ids=str)
def test_far_starts_find_the_target(kernel, gaussian, generator, moment_z):
    x0 = torch.full((2000, 2), 6.0, dtype=torch.float64)
    chain = sample(gaussian, x0, kernel, 150, keep_every=1, generator=generator)
    assert moment_z(chain.path[100:], gaussian.mean, gaussian.covariance) < PASS


# Kinetic energy and proposal densities over all non-batch axes.


@pytest.mark.parametrize("kernel", [MALA(0.6), HMC(0.7, 4)], ids=str)
def test_any_event_shape_is_the_flat_problem(kernel):
    """The same numbers, shaped as images or as vectors, give the same chain bit for bit."""
    scales = torch.linspace(0.5, 2.0, 12, dtype=torch.float64)
    x0 = torch.randn(200, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * scales

    def flat(x):
        return 0.5 * (x / scales).square().sum(1)

    def shaped(x):
        return flat(x.flatten(1))

    a = sample(flat, x0, kernel, 10, generator=torch.Generator().manual_seed(2))
    b = sample(shaped, x0.reshape(200, 1, 3, 4), kernel, 10, generator=torch.Generator().manual_seed(2))
    assert torch.equal(a.x, b.x.flatten(1))
    assert 0 < a.accept_rate < 1


def test_scalar_events(generator):
    """(B,) states, an empty event shape."""
    x0 = torch.randn(4000, generator=generator, dtype=torch.float64)
    for kernel in (MALA(0.5, bounds=(-8.0, 8.0)), HMC(0.5, 4, bounds=(-8.0, 8.0)), Langevin(0.05, bounds=(-8.0, 8.0))):
        x = sample(lambda x: 0.5 * x.square(), x0, kernel, 20, generator=generator).x
        assert x.shape == (4000,)
        assert abs(x.var().item() - 1) < 5 * math.sqrt(2 / 4000) + 0.03  # the last term: Langevin's own bias


# Detailed balance.


def flow_asymmetry(kernel, energy, generator, n=60_000, shares=1):
    """χ² of the flows between bins, one step from exact starts, as a z-score.

    Detailed balance on the bins says that i → j is as frequent as j → i.
    """
    x0 = energy.sample(n, generator)
    x1 = sample(energy, x0, kernel, 1, generator=generator, shares=shares).x
    edges = energy.sample(20_000, generator)[:, 0].quantile(torch.linspace(0, 1, 13, dtype=torch.float64)[1:-1])
    i, j = torch.bucketize(x0[:, 0].contiguous(), edges), torch.bucketize(x1[:, 0].contiguous(), edges)
    flow = torch.bincount(12 * i + j, minlength=144).reshape(12, 12).double()
    both = flow + flow.T
    rows, columns = torch.triu_indices(12, 12, offset=1)
    used = both[rows, columns] > 10  # where the normal approximation holds
    chi2 = ((flow - flow.T).square() / both.clamp(min=1))[rows, columns][used].sum()
    assert used.sum() > 20
    return float((chi2 - used.sum()) / (2 * used.sum()).sqrt())


@pytest.mark.parametrize("shares", [1, 2, 3])
@pytest.mark.parametrize("kernel", [MALA(0.1), MALA(0.3), HMC(0.3, 4), HMC(0.5, 3, jitter=0.5)], ids=str)
def test_detailed_balance_on_bins(kernel, shares, generator):
    assert abs(flow_asymmetry(kernel, DoubleWell(), generator, shares=shares)) < PASS


@pytest.mark.parametrize("kernel", [Langevin(0.1), NoReverseProposal(0.1), SwappedProposal(0.1)], ids=str)
def test_detailed_balance_catches_wrong_kernels(kernel, generator):
    assert flow_asymmetry(kernel, DoubleWell(), generator) > CAUGHT


# The box.


@pytest.fixture(scope="module")
def boxed():
    """A correlated Gaussian cut to [-1, 1]²: exact samples, and its moments by quadrature."""
    energy, generator = Gaussian(), torch.Generator().manual_seed(3)
    draws = energy.sample(40_000, generator)
    inside = draws[(draws.abs() <= 1).all(1)][:4000]
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 500 - 1
    grid = torch.cartesian_prod(u, u)
    weight = torch.softmax(-energy(grid), 0)
    covariance = (grid * weight[:, None]).T @ grid  # the mean is zero by symmetry
    return energy, inside, covariance


@pytest.mark.parametrize("shares", [1, 2, 3])
@pytest.mark.parametrize(
    "kernel",
    [
        MALA(0.05, bounds=(-1.0, 1.0)),
        MALA(0.5, bounds=(-1.0, 1.0)),
        HMC(0.3, 5, bounds=(-1.0, 1.0)),
        HMC(0.5, 8, bounds=(-1.0, 1.0)),
        HMC(0.4, 4, bounds=(-1.0, 1.0), jitter=0.5),
    ],
    ids=str,
)
def test_exact_on_the_box(kernel, shares, boxed, generator, moment_z):
    energy, x0, covariance = boxed
    seen = []

    def watched(x):
        seen.append(x.detach().abs().amax())
        return energy(x)

    chain = sample(watched, x0, kernel, 30, keep_every=1, generator=generator, shares=shares)
    assert torch.stack(seen).max() <= 1  # the energy is never asked outside of its box
    assert chain.n_diverged == 0
    assert (chain.path.abs() == 1).double().mean() < 1e-4
    assert moment_z(chain.path, torch.zeros(2), covariance) < PASS


@pytest.mark.parametrize(("side", "shares"), [(1.0, 1), (-1.0, 1), (1.0, 2), (-1.0, 3)])
@pytest.mark.parametrize("kernel", [MALA(0.3), HMC(0.5, 4), HMC(2.0, 3, jitter=0.5)], ids=str)
def test_exact_with_one_wall(kernel, side, shares, generator):
    """The exponential distribution: a constant force against a wall at zero, the other side open."""
    bounds = (0.0, math.inf) if side > 0 else (-math.inf, 0.0)
    x0 = side * torch.empty(4000, 1, dtype=torch.float64).exponential_(generator=generator)

    def energy(x):
        return side * x.sum(1)

    boxed = replace(kernel, bounds=bounds)
    chain = sample(energy, x0, boxed, 30, keep_every=1, generator=generator, shares=shares)
    assert chain.n_diverged == 0
    assert (side * chain.path >= 0).all()
    for moment in (1, 2, 3):  # E[x^k] = k!, and each chain's average is one independent estimate
        estimate = (side * chain.path).pow(moment).mean(0).flatten()
        error = estimate.std() / math.sqrt(len(estimate))
        assert abs(estimate.mean() - math.factorial(moment)) < PASS * error
    assert chain.accept_rate > 0.3


def test_a_clamp_after_the_test_is_caught(boxed, generator, moment_z):
    energy, x0, covariance = boxed
    chain = sample(energy, x0, ClampAfterTest(0.05), 30, keep_every=1, generator=generator)
    assert (chain.path.abs() == 1).double().mean() > 0.05
    assert moment_z(chain.path, torch.zeros(2), covariance) > CAUGHT


def test_langevin_clamps(boxed, generator):
    energy, x0, _ = boxed
    chain = sample(energy, x0, Langevin(0.1, bounds=(-1.0, 1.0)), 10, keep_every=1, generator=generator)
    assert chain.path.abs().max() == 1


# Rejection.


@pytest.mark.parametrize("kernel", [MALA(2.0), HMC(0.98, 4), MALA(0.5, bounds=(-4.0, 4.0))], ids=str)
def test_a_rejected_state_is_copied_exactly(kernel, gaussian, generator):
    state = kernel.init(gaussian, gaussian.sample(500, generator).clamp(-4, 4).float())
    for t in range(1, 6):  # the very first proposal included
        new = kernel.step(gaussian, state, t, 5, generator)
        stay = ~new.accept
        assert 0 < stay.sum() < 500
        for name in ("x", "energy", "grad"):
            assert torch.equal(getattr(new, name)[stay], getattr(state, name)[stay])
        assert (new.x[new.accept] != state.x[new.accept]).any(1).all()
        assert torch.equal(new.energy, gaussian(new.x))
        state = new


@pytest.mark.parametrize("bad", [torch.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kernel", [MALA(0.5), HMC(0.6, 4)], ids=str)
def test_a_proposal_that_is_not_finite_is_rejected_and_counted(kernel, bad, generator):
    def energy(x):
        return torch.where(x[:, 0] > 1, bad, 0.5 * x.square().sum(1))

    x0 = torch.zeros(1000, 2, dtype=torch.float64)
    chain = sample(energy, x0, kernel, 40, keep_every=1, generator=generator)
    assert chain.n_diverged > 100
    assert torch.isfinite(chain.path).all()
    assert torch.isfinite(chain.energy).all()
    assert (chain.path[..., 0] <= 1).all()
    # What remains is the Gaussian cut at one, exactly: its mean is -φ(1)/Φ(1).
    late = chain.path[20:, :, 0].mean(0)
    exact = -math.exp(-0.5) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(-1 / math.sqrt(2)))
    assert abs(late.mean() - exact) < PASS * late.std() / math.sqrt(1000)


@pytest.mark.parametrize("kernel", [MALA(1e30), HMC(1e20, 5), HMC(1e20, 5, bounds=(-1.0, 1.0))], ids=str)
def test_an_overflowing_trajectory_is_rejected(kernel, generator):
    x0 = torch.rand(50, 3, generator=generator) - 0.5
    chain = sample(lambda x: x.square().square().sum(1), x0, kernel, 3, generator=generator)
    assert torch.isfinite(chain.x).all()
    if kernel.__class__ is MALA or kernel.bounds is None:
        assert chain.accept_rate == 0
        assert chain.n_diverged == 150
        assert torch.equal(chain.x, x0)


def test_one_bad_chain_leaves_the_others_alone(generator):
    """Chains are independent: the neighbour's NaN changes no bit of mine."""
    x0 = torch.zeros(20, 2, dtype=torch.float64)
    for kernel in (MALA(0.3), HMC(0.3, 3)):
        clean = sample(lambda x: 0.5 * x.square().sum(1), x0, kernel, 5, generator=torch.Generator().manual_seed(0))

        def first_is_nan_later(x):
            value = 0.5 * x.square().sum(1)
            moved = (x[:1] != 0).any()
            return torch.cat([torch.where(moved, torch.nan, value[:1]), value[1:]])

        spoilt = sample(first_is_nan_later, x0, kernel, 5, generator=torch.Generator().manual_seed(0))
        assert torch.equal(spoilt.x[1:], clean.x[1:])
        assert torch.equal(spoilt.x[0], x0[0])
        assert spoilt.n_diverged == 5


# Half precision: compared, and drawn, in float32.

HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kernel", [MALA(0.5), HMC(0.6, 4), HMC(0.6, 4, jitter=0.5)], ids=str)
def test_no_half_precision_chain_crosses_a_high_wall(kernel, dtype, generator):
    def energy(x):
        return 0.5 * x.square().sum(1) + 1000 * (x[:, 0] > 1).to(x.dtype)

    chain = sample(energy, torch.zeros(4000, 2, dtype=dtype), kernel, 40, keep_every=1, generator=generator)
    assert chain.path.dtype == dtype
    assert (chain.path[..., 0] <= 1).all()
    assert 0.2 < chain.accept_rate < 1


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kernel", [MALA(0.4), HMC(0.8, 3)], ids=str)
def test_moments_in_half_precision(kernel, dtype, generator):
    """Far from zero energy: differences of energies must not be rounded to their size."""
    x0 = torch.randn(4000, 2, generator=generator)

    def energy(x):  # float32 energies of half-precision states, as autocast or a fast copy gives them
        return 0.5 * x.float().square().sum(1) + 1000

    path = sample(energy, x0.to(dtype), kernel, 20, keep_every=1, generator=generator).path.double()
    variance = path.square().mean((0, 2))  # rounding to 8 bits adds less than 1e-5 to it
    assert abs(variance.mean() - 1) < PASS * variance.std() / math.sqrt(len(variance))
    assert path.abs().max() > 4  # tails, which Box-Muller in half precision has not


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", [MALA(0.5), HMC(0.6, 4)], ids=str)
def test_a_uniform_number_of_zero_accepts_nothing_unlikely(kernel, dtype, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **how: torch.zeros(shape, dtype=how["dtype"]))
    x0 = torch.zeros(50, 2, dtype=dtype)
    chain = sample(lambda x: 200.0 * (x != 0).any(1).to(x.dtype) + 0 * x.sum(1), x0, kernel, 3)
    assert chain.accept_rate == 0


def test_gradient_calls_are_counted(gaussian, generator):
    """A MALA step costs one gradient call, an HMC step n_leapfrog, and the start one."""
    calls = []

    def counted(x):
        calls.append(x.requires_grad)
        return gaussian(x)

    x0 = gaussian.sample(3, generator)
    for kernel, expected in ((MALA(0.1), 1 + 7), (HMC(0.1, 4), 1 + 7 * 4), (Langevin(0.1), 1 + 7)):
        calls.clear()
        sample(counted, x0, kernel, 7, generator=generator)
        assert len(calls) == expected
    assert calls.count(False) == 1  # Langevin's last state needs no gradient
