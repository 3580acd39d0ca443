"""Annealed importance sampling against normalising constants that are known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from gen_utils.evaluation.likelihood import (
    annealed_importance,
    log_mean_exp,
    sigmoid_betas,
    standard_normal,
    weight_ess,
)
from gen_utils.models import DoubleWell, Gaussian, Ring, eight_gaussians
from gen_utils.samplers import HMC, MALA, Langevin


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def wide(n: int, scale: float, generator):
    """Samples of N(0, scale² I) in two dimensions, and its log density."""
    z0 = scale * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return z0, lambda z: standard_normal(z / scale) - 2 * math.log(scale)


def z_score(log_weights: torch.Tensor, log_z: float) -> float:
    """How far the mean weight is from Z, in its Monte-Carlo errors."""
    weight = (log_weights - log_z).exp()
    return float((weight.mean() - 1) / (weight.std() / math.sqrt(len(weight))))


@pytest.mark.parametrize(
    "energy", [Gaussian(), Ring(), eight_gaussians(), DoubleWell()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("kernel", [None, HMC(0.2, 5), MALA(0.02)], ids=str)
def test_log_z_of_the_playground(energy, kernel):
    generator = torch.Generator().manual_seed(0)
    z0, log_base = wide(400, 2.5, generator)
    log_w = annealed_importance(
        lambda z: -energy(z), z0, 100, log_base=log_base, kernel=kernel, generator=generator
    )  # fmt: skip
    assert log_w.shape == (400,)
    assert not log_w.requires_grad
    assert abs(z_score(log_w, energy.log_z)) < 4.5
    error = 4.5 * math.sqrt(1 / weight_ess(log_w) - 1 / 400)
    assert error < 0.5
    assert abs(log_mean_exp(log_w) - energy.log_z) < error


@pytest.mark.parametrize("n_temperatures", [1, 2, 5])
def test_unbiased_for_any_number_of_temperatures(n_temperatures):
    generator = torch.Generator().manual_seed(1)
    energy = Gaussian([[0.5, 0.2], [0.2, 0.8]], mean=[0.5, 0.0])
    z0, log_base = wide(20_000, 1.3, generator)
    log_w = annealed_importance(
        lambda z: -energy(z), z0, n_temperatures, log_base=log_base, kernel=HMC(0.4, 3), generator=generator
    )
    assert abs(z_score(log_w, energy.log_z)) < 4.5


def wrong_order(log_joint, z0, betas, log_base, kernel, generator):
    """The usual slip: the weight is taken after the move in place of before it."""
    z, log_w = z0, torch.zeros(len(z0), dtype=z0.dtype)
    for t in range(1, len(betas)):

        def energy(z, beta=betas[t]):
            return -(1 - beta) * log_base(z) - beta * log_joint(z)

        z = kernel.step(energy, kernel.init(energy, z), 1, 1, generator).x
        log_w += (betas[t] - betas[t - 1]) * (log_joint(z) - log_base(z))
    return log_w  # fmt: skip


def test_the_test_catches_weights_taken_after_the_move():
    generator = torch.Generator().manual_seed(1)
    energy = Gaussian([[0.5, 0.2], [0.2, 0.8]], mean=[0.5, 0.0])
    z0, log_base = wide(20_000, 1.3, generator)
    log_w = wrong_order(lambda z: -energy(z), z0, sigmoid_betas(5), log_base, HMC(0.4, 3), generator)
    assert abs(z_score(log_w, energy.log_z)) > 8


def test_more_temperatures_tighten_the_lower_bound():
    generator = torch.Generator().manual_seed(2)
    energy = Ring()
    z0, log_base = wide(1000, 2.5, generator)
    gaps = [
        energy.log_z - annealed_importance(lambda z: -energy(z), z0, n, log_base=log_base, kernel=HMC(0.15, 8),
                                           generator=generator).mean()
        for n in (5, 30, 180)
    ]  # fmt: skip
    assert gaps[0] > 1.5 * gaps[1] > 2 * gaps[2] > 0


def test_back_from_samples_of_the_energy_it_bounds_log_z_from_above():
    """The roles swapped: the weights then have mean 1/Z (Part J's bracket)."""
    generator = torch.Generator().manual_seed(3)
    energy = Ring()
    _, log_wide = wide(1, 2.5, generator)
    z0 = energy.sample(1000, generator)
    betas = 1 - torch.tensor(sigmoid_betas(30), dtype=torch.float64).flip(0)
    back = annealed_importance(
        log_wide, z0, 30, log_base=lambda z: -energy(z), kernel=HMC(0.15, 8), betas=betas, generator=generator
    )
    assert abs(z_score(back, -energy.log_z)) < 4.5
    assert (-back).mean() > energy.log_z + 3 * back.std() / math.sqrt(1000)
    assert abs(z_score(-back, energy.log_z)) > 4.5  # the mean of the inverse weights is not Z


def test_log_p_of_a_linear_gaussian_model():
    """log p(x) with the prior as base, one exact answer per x, as part G will use it."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    sigma, n_x, n_chains = 0.5, 8, 100
    x = torch.randn(n_x, 3, generator=generator, dtype=torch.float64) @ weight.T
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(6, dtype=torch.float64), weight @ weight.T + sigma**2 * torch.eye(6, dtype=torch.float64)
    )
    repeated = x.repeat(n_chains, 1)

    def log_joint(z):
        residual = (repeated - z @ weight.T) / sigma
        return standard_normal(z) + standard_normal(residual) - 6 * math.log(sigma)

    z0 = torch.randn(n_chains * n_x, 3, generator=generator, dtype=torch.float64)
    log_w = annealed_importance(log_joint, z0, 150, generator=generator).reshape(n_chains, n_x)
    exact = marginal.log_prob(x)
    for i in range(n_x):
        assert abs(z_score(log_w[:, i], exact[i].item())) < 4.5
    assert (log_mean_exp(log_w) - exact).abs().max() < 0.3
    assert (log_w.mean(0) < exact + 0.05).all()


def test_nothing_to_anneal_costs_nothing():
    """Base and target equal: every weight is exactly Z = 1."""
    z0 = torch.randn(20, 3, 2)
    log_w = annealed_importance(standard_normal, z0, 7, kernel=HMC(0.1, 2))
    assert log_w.dtype == torch.float32
    torch.testing.assert_close(log_w, torch.zeros(20))


def test_a_start_where_the_target_is_zero_weighs_nothing():
    generator = torch.Generator().manual_seed(4)

    def half(z):  # a standard normal cut at zero: Z = 1/2
        return torch.where(z[:, 0] > 0, standard_normal(z), -math.inf)

    z0 = torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    log_w = annealed_importance(half, z0, 4, kernel=HMC(0.3, 3), generator=generator)
    assert abs(z_score(log_w, math.log(0.5))) < 4.5
    assert ((z0[:, 0] > 0) == torch.isfinite(log_w)).all()


@pytest.mark.parametrize("kernel", [None, HMC(0.2, 5, jitter=0.3), MALA(0.02)], ids=str)
def test_chains_dealt_out_have_the_same_weights(kernel):
    energy = eight_gaussians()

    def run(shares):
        generator = torch.Generator().manual_seed(7)
        z0, log_base = wide(101, 2.5, generator)
        log_w = annealed_importance(
            lambda z: -energy(z), z0, 10, log_base=log_base, kernel=kernel, generator=generator, shares=shares
        )
        return log_w, generator.get_state()

    whole, after = run(1)
    for shares in (2, 3):
        log_w, state = run(shares)
        torch.testing.assert_close(log_w, whole, atol=1e-9, rtol=1e-9)
        assert torch.equal(state, after)
    assert torch.equal(run(3)[0], log_w)


def test_densities_tied_to_their_rows_are_dealt_out_with_them():
    generator = torch.Generator().manual_seed(8)
    x, z0 = (torch.randn(400, 1, generator=generator, dtype=torch.float64) for _ in range(2))

    class Joint:
        """log N(z; 0, 1) + log N(x; z, 1), one x a row: log p(x) = log N(x; 0, 2)."""

        def __init__(self, x):
            self.x = x

        def __call__(self, z):
            return standard_normal(z) + standard_normal(self.x - z)

        def for_rows(self, rows):
            return Joint(self.x[rows])

    log_w = annealed_importance(Joint(x), z0, 100, kernel=HMC(0.5, 3), generator=generator, shares=2)
    exact = torch.distributions.Normal(0.0, math.sqrt(2)).log_prob(x).flatten()
    assert (log_w - exact).std() < 0.2
    assert abs((log_w - exact).mean()) < 0.05


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_chains_have_weights_in_float32(dtype):
    """log Z = -1000 nats, where bfloat16 has steps of four."""
    generator = torch.Generator().manual_seed(6)
    z0 = torch.randn(200, 2, generator=generator).to(dtype)
    energy = Gaussian([[0.5, 0.2], [0.2, 0.8]])

    def log_joint(z):
        return -energy(z.double()).float() - 1000

    log_w = annealed_importance(log_joint, z0, 20, log_base=lambda z: standard_normal(z.float()), generator=generator)
    assert log_w.dtype == torch.float32
    assert abs(log_mean_exp(log_w.double()) + 1000 - energy.log_z) < 0.3


def test_one_seed_one_answer_and_gradients_left_alone():
    network = torch.nn.Linear(2, 1)

    def run():
        generator = torch.Generator().manual_seed(5)
        z0 = torch.randn(10, 2, generator=generator)
        return annealed_importance(lambda z: standard_normal(z) - network(z)[:, 0], z0, 20, generator=generator)

    assert torch.equal(run(), run())
    assert network.weight.grad is None


def test_helpers():
    log_w = torch.tensor([1000.0, 1000.0 + math.log(3)])
    assert log_mean_exp(log_w).item() == pytest.approx(1000 + math.log(2))
    assert weight_ess(log_w).item() == pytest.approx(16 / 10, rel=1e-3)
    betas = sigmoid_betas(50)
    assert betas[0] == 0
    assert betas[-1] == 1
    assert all(a < b for a, b in pairwise(betas))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_temperatures": 0}, "n_temperatures must be at least 1"),
        ({"n_temperatures": 2.5}, "n_temperatures must be at least 1, a whole number"),
        ({"kernel": Langevin(0.1)}, "exactly invariant"),
        ({"betas": torch.tensor([0.0, 0.5, 1.0])}, "4 numbers rising from 0 to 1"),
        ({"betas": torch.tensor([0.0, 0.6, 0.5, 1.0])}, "rising from 0 to 1"),
        ({"betas": torch.tensor([0.1, 0.3, 0.5, 1.0])}, "rising from 0 to 1"),
        ({"log_joint": lambda z: z.sum()}, "log_joint must return one number a sample"),
        ({"log_joint": lambda z: z.sum(1) * torch.nan}, "gave NaN"),
        ({"log_joint": lambda z: z.sum(1) + math.inf}, "infinite densities"),
        ({"z0": torch.full((4, 2), torch.nan)}, "not finite"),
        ({"z0": torch.zeros(4, 2, dtype=torch.int64)}, "batch of floats"),
        ({"z0": torch.zeros(0, 2)}, "the start is empty"),
    ],
)
def test_bad_arguments(arguments, message):
    settings = {"log_joint": standard_normal, "z0": torch.zeros(4, 2), "n_temperatures": 3, **arguments}
    with pytest.raises(ValueError, match=message):
        annealed_importance(**settings)
