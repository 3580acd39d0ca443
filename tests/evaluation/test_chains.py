"""Diagnostics on chains whose answers are known: independent draws, AR(1), chains stuck in two modes."""

from __future__ import annotations

import math

import pytest
import torch

from gen_utils.evaluation.chains import autocorrelation, ess, grid_kl, split_rhat
from gen_utils.models import Gaussian, eight_gaussians
from gen_utils.samplers import HMC, Langevin, sample


def ar1(rho: float, n_draws: int, n_chains: int, event=(), seed: int = 0) -> torch.Tensor:
    """(K, B, *event) stationary AR(1) chains of variance one."""
    noise = torch.randn((n_draws, n_chains, *event), generator=torch.Generator().manual_seed(seed)).double()
    x = noise.clone()
    for t in range(1, n_draws):
        x[t] = rho * x[t - 1] + math.sqrt(1 - rho**2) * noise[t]
    return x


@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.5, 0.9])
@pytest.mark.parametrize("method", ["bulk", "mean"])
def test_ess_of_ar1(rho, method):
    """ESS = N (1 - ρ)/(1 + ρ); the estimate's own spread is measured on 24 independent coordinates."""
    path = ar1(rho, 2000, 8, (24,))
    values = ess(path, method=method)
    assert values.shape == (24,)
    exact = 16_000 * (1 - rho) / (1 + rho)
    error = 4.5 * values.std() / math.sqrt(24)
    assert abs(values.mean() - exact) < error + 0.05 * exact  # Geyer's truncation is biased by a few per cent
    assert values.mean() > (1.5 if rho < 0 else 0) * 16_000


def test_ess_is_what_the_error_of_a_mean_needs():
    """Across replications the variance of the mean is var/ESS."""
    means = torch.stack([ar1(0.8, 400, 4, (50,), seed).mean((0, 1)) for seed in range(8)]).flatten()
    predicted = 1 / ess(ar1(0.8, 400, 4, (50,)), method="mean").mean()
    assert means.var() / predicted == pytest.approx(1, abs=4.5 * math.sqrt(2 / 400) + 0.1)


def test_chains_that_agree_and_chains_that_do_not():
    good = ar1(0.5, 1000, 4, (3,))
    assert split_rhat(good).max() < 1.01
    stuck = good.clone()
    stuck[:, :2, 1] += 5  # two chains in another mode, one coordinate only
    rhat = split_rhat(stuck)
    assert rhat[1] > 1.5
    assert rhat[[0, 2]].max() < 1.01
    drifting = good + torch.linspace(0, 3, 1000, dtype=torch.float64)[:, None, None]
    assert split_rhat(drifting).min() > 1.1  # the halves disagree: what "split" is for
    wide = good.clone()
    wide[:, 0] *= 6  # same mean, other scale: what folding is for
    assert split_rhat(wide).min() > 1.05


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_autocorrelation_of_ar1(rho):
    path = ar1(rho, 4000, 6, (20,))
    values = autocorrelation(path, 10)
    assert values.shape == (11, 20)
    exact = rho ** torch.arange(11, dtype=torch.float64)
    error = values.std(1) / math.sqrt(20)
    assert ((values.mean(1) - exact).abs() < 4.5 * error + 2e-3).all()
    torch.testing.assert_close(values[0], torch.ones(20, dtype=torch.float64))


@pytest.mark.parametrize("event", [(), (3,), (1, 2, 2)])
def test_any_event_shape(event):
    path = ar1(0.3, 50, 4, event).float()
    assert ess(path).shape == split_rhat(path).shape == event
    assert autocorrelation(path, 7).shape == (8, *event)
    assert ess(path).dtype == torch.float64


def test_a_coordinate_that_never_moved_is_not_a_good_one():
    path = ar1(0.0, 100, 4, (2,))
    path[..., 0] = 3.0
    assert ess(path)[0].isnan()
    assert not ess(path)[1].isnan()
    assert split_rhat(path)[0].isnan()
    assert autocorrelation(path)[:, 0].isnan().all()


@pytest.mark.parametrize("method", ["bulk", "mean", "sd"])
def test_the_unit_and_the_origin_of_a_path_do_not_matter(method):
    path = ar1(0.95, 500, 4, (3,))
    expected, correlated = ess(path, method=method), autocorrelation(path, 20)
    assert expected.max() < 500
    for scale in (1e-200, 1e-18, 1e18, 1e200):
        torch.testing.assert_close(ess(path * scale, method=method), expected)
        torch.testing.assert_close(autocorrelation(path * scale, 20), correlated)
        torch.testing.assert_close(split_rhat(path * scale), split_rhat(path))
    torch.testing.assert_close(ess(path + 1e8, method=method), expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(autocorrelation(path + 1e8, 20), correlated, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["bulk", "mean", "sd"])
@pytest.mark.parametrize("places", [(0.0, 1.0), (0.1, 0.3), (1e8, 1e8 + 1), (-1e-18, 1e-18)])
def test_chains_stuck_apart_are_worth_nothing(method, places):
    path = torch.tensor(places, dtype=torch.float64).repeat(200, 2)[..., None]
    assert ess(path, method=method).isnan().all()
    assert split_rhat(path).min() > 1e6
    assert autocorrelation(path).isnan().all()


def test_a_chain_that_keeps_its_distance_says_nothing_of_the_spread():
    """HMC at resonance: x, -x, x, …; the mean is known well, and the spread is what the chain began with."""
    signs = (-1.0) ** torch.arange(100, dtype=torch.float64)
    path = signs[:, None] * torch.tensor([1.0, 2.0, 0.5])
    assert ess(path, method="sd").isnan() and ess(path, method="mean") > 300


def test_a_stuck_chain_is_left_out_of_the_autocorrelation():
    path = ar1(0.7, 400, 4, (2,))
    path[:, 1, 0] = 0.1  # one chain, one coordinate; its mean is not exactly 0.1
    found = autocorrelation(path, 10)
    torch.testing.assert_close(found[:, 0], autocorrelation(path[:, [0, 2, 3]], 10)[:, 0])
    torch.testing.assert_close(found[:, 1], autocorrelation(path[..., 1:], 10)[:, 0])


def test_on_real_chains():
    """HMC mixes on a Gaussian; Langevin does not leave its mode of eight."""
    generator = torch.Generator().manual_seed(0)
    energy = Gaussian()
    path = sample(energy, energy.sample(4, generator), HMC(0.6, 4), 500, keep_every=1, generator=generator).path
    assert split_rhat(path).max() < 1.02
    assert ess(path).min() > 400
    modes = eight_gaussians()
    path = sample(modes, modes.means, Langevin(0.01), 300, keep_every=1, generator=generator).path
    assert split_rhat(path).min() > 2


# KL on a grid.


def test_kl_of_exact_samples_is_its_known_bias():
    """The plug-in estimate of zero has mean about (cells - 1)/(2N)."""
    energy, n = Gaussian([[1.0, 0.3], [0.3, 0.5]]), 20_000
    values = torch.tensor(
        [
            grid_kl(energy.sample(n, torch.Generator().manual_seed(s)), energy, (-2.0, 2.0, -2.0, 2.0), n_bins=8,
                    log_z=energy.log_z)
            for s in range(30)
        ]
    )  # fmt: skip
    bias = 64 / (2 * n)  # 64 cells and the outside, less one
    assert abs(values.mean() - bias) < 4.5 * values.std() / math.sqrt(30) + 0.1 * bias


def test_kl_of_a_shifted_gaussian():
    """KL(N(δ, 1) ‖ N(0, 1)) = δ²/2 in each direction."""
    energy = Gaussian(torch.eye(2))
    x = energy.sample(200_000, torch.Generator().manual_seed(0)) + torch.tensor([0.5, -1.0])
    value = grid_kl(x, energy, (-5.0, 5.0, -5.5, 4.5), n_bins=50, log_z=energy.log_z)
    assert value == pytest.approx(0.5 * (0.25 + 1.0), abs=0.02)


def test_kl_sees_a_missing_mode():
    energy = eight_gaussians()
    x = energy.sample(40_000, torch.Generator().manual_seed(0))
    found = x[energy.nearest(x) != 3]
    whole = grid_kl(x, energy, energy.extent, log_z=energy.log_z)
    assert whole < 0.02
    assert grid_kl(found, energy, energy.extent, log_z=energy.log_z) == pytest.approx(math.log(8 / 7), abs=0.02)


def test_kl_outside_the_grid():
    energy = Gaussian(torch.eye(2))
    x = energy.sample(2000, torch.Generator().manual_seed(0))
    narrow = (-1.0, 1.0, -1.0, 1.0)
    assert grid_kl(x, energy, narrow) == math.inf
    assert grid_kl(x, energy, narrow, n_bins=5, log_z=energy.log_z) < 0.05
    inside = x[(x.abs() < 1).all(1)]
    assert grid_kl(inside, energy, narrow, n_bins=5) < 0.05


def test_the_edge_of_the_grid_is_inside():
    """Uniform energy, two by two cells: one sample a cell is a KL of zero, wherever in its cell it lies."""
    corners = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    flat = lambda x: torch.zeros(len(x))  # noqa: E731
    for log_z in (None, math.log(4)):
        assert grid_kl(corners, flat, (-1.0, 1.0, -1.0, 1.0), n_bins=2, log_z=log_z) == pytest.approx(0, abs=1e-6)
    low, high = 0.1, 0.7  # (0.7 - 0.1) / 0.6 is not exactly one
    edge = torch.tensor([[low, low], [low, high], [high, low], [high, high]], dtype=torch.float64)
    assert grid_kl(edge, flat, (low, high, low, high), n_bins=2) == pytest.approx(0, abs=1e-6)


def test_a_divergence_is_never_negative_and_a_wrong_log_z_is_refused():
    flat, corners = lambda x: torch.zeros(len(x)), torch.tensor([[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]])
    assert grid_kl(corners, flat, (-1.0, 1.0, -1.0, 1.0), n_bins=2, log_z=math.log(4) - 0.01) == 0
    with pytest.raises(ValueError, match=r"log_z must be at least 1\.386"):
        grid_kl(corners, flat, (-1.0, 1.0, -1.0, 1.0), n_bins=2, log_z=0.0)


# Bad input.


@pytest.mark.parametrize("function", [ess, split_rhat, autocorrelation])
@pytest.mark.parametrize("path", [torch.zeros(3, 4, 2), torch.zeros(5), None, torch.zeros(5, 0, 2)])
def test_a_path_that_is_too_short(function, path):
    with pytest.raises(ValueError, match="at least 4 draws"):
        function(path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: ess(torch.full((5, 4), torch.nan)), "not finite"),
        (lambda p: ess(p, method="tails"), "method must be one of"),
        (lambda p: split_rhat(p[:, :1]), "2 chains"),
        (lambda p: autocorrelation(p, 10), "max_lag must be between"),
        (lambda p: grid_kl(p, Gaussian(), (-1, 1, -1, 1)), r"samples must be \(N, 2\)"),
        (lambda p: grid_kl(p[0], Gaussian(), (1, -1, -1, 1)), "low < high"),
        (lambda p: grid_kl(p[0] * torch.nan, Gaussian(), (-1, 1, -1, 1)), "not finite"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.randn(10, 4, 2, generator=torch.Generator().manual_seed(0)))
