"""Parallel tempering leaves every temperature's density as it is, and the tests see it when a swap does not."""

from __future__ import annotations

import math

import pytest
import torch

from gen_utils.samplers import HMC, MALA, Langevin, ParallelTempering, sample, tempering

TEMPERATURES = (1.0, 4.0, 16.0)
KERNELS = [
    (MALA(0.1), MALA(0.6), MALA(3.0)),
    (HMC(0.4, 3, jitter=0.5), HMC(0.9, 3, jitter=0.5), HMC(2.0, 3, jitter=0.5)),
    (MALA(0.1), MALA(0.6), HMC(2.0, 3, jitter=0.5)),
]
PASS, CAUGHT = 4.5, 8.0  # z-scores: chance stays below the first, a wrong swap must exceed the second


def two_modes(x):
    """A quarter of the mass at -4, narrow, and three quarters at 4, wider: -log p(x) for x (B, 1)."""
    there = math.log(0.25 / 0.5) - 0.5 * ((x + 4) / 0.5).square()
    here = math.log(0.75 / 1.0) - 0.5 * (x - 4).square()
    return -torch.logaddexp(there, here).sum(1)


def exact(statistic, temperature):
    """The mean of a statistic under exp(-E/T), by quadrature."""
    u = torch.linspace(-60, 60, 12_001, dtype=torch.float64)[:, None]
    return float((torch.softmax(-two_modes(u) / temperature, 0) * statistic(u[:, 0])).sum())


def left(x):
    return (x < 0).double()


def z_scores(kernel, generator, statistic=left, n=600, steps=200):
    """Of a statistic at every temperature; all chains begin in the narrow mode, and have 100 steps to leave it."""
    x0 = torch.full((n * len(kernel.temperatures), 1), -4.0, dtype=torch.float64)
    path = sample(two_modes, x0, kernel, 100 + steps, keep_every=1, generator=generator).path[100:]
    found = statistic(path[..., 0]).mean(0).unflatten(0, (len(kernel.temperatures), n))  # samplers are independent
    error = found.std(1) / math.sqrt(n)
    wanted = torch.tensor([exact(statistic, T) for T in kernel.temperatures], dtype=torch.float64)
    return ((found.mean(1) - wanted) / error).abs()


@pytest.mark.parametrize("kernels", KERNELS, ids=str)
def test_the_weights_of_two_far_modes(kernels, generator):
    assert exact(left, 1) == pytest.approx(0.25, abs=1e-4)
    assert z_scores(ParallelTempering(kernels, TEMPERATURES), generator).max() < PASS


def test_the_spread_at_every_temperature(generator):
    kernel = ParallelTempering(KERNELS[0], TEMPERATURES)
    assert z_scores(kernel, generator, lambda x: x.square()).max() < PASS


def test_a_single_chain_does_not_find_the_other_mode(generator):
    x0 = torch.full((400, 1), -4.0, dtype=torch.float64)
    for kernel in (MALA(0.1), HMC(0.4, 3)):
        assert (sample(two_modes, x0, kernel, 300, generator=generator).x < 0).all()


# The usual wrong swaps.


class AlwaysSwapped(ParallelTempering):
    def _log_ratio(self, i, colder, hotter):
        return torch.zeros_like(colder)


class TurnedRound(ParallelTempering):
    def _log_ratio(self, i, colder, hotter):
        return super()._log_ratio(i, hotter, colder)


class WithoutTemperatures(ParallelTempering):
    """The test of Metropolis for a move at T = 1."""

    def _log_ratio(self, i, colder, hotter):
        return colder - hotter


class WithOneTemperature(ParallelTempering):
    """As if the hot chain's density did not change."""

    def _log_ratio(self, i, colder, hotter):
        return (colder - hotter) / self.temperatures[i + 1]


class TemperaturesForTheirInverse(ParallelTempering):
    def _log_ratio(self, i, colder, hotter):
        return (self.temperatures[i + 1] - self.temperatures[i]) * (colder - hotter)


WRONG = [AlwaysSwapped, TurnedRound, WithoutTemperatures, WithOneTemperature, TemperaturesForTheirInverse]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda kind: kind.__name__)
def test_a_wrong_swap_is_caught(wrong, generator):
    assert z_scores(wrong(KERNELS[0], TEMPERATURES), generator).max() > CAUGHT


def test_states_that_leave_their_energies_behind_are_caught(generator, monkeypatch):
    whole = tempering._swapped

    def places_only(colder, hotter, *rest):
        a, b = whole(colder, hotter, *rest)
        return a._replace(energy=colder.energy), b._replace(energy=hotter.energy)

    monkeypatch.setattr(tempering, "_swapped", places_only)
    assert z_scores(ParallelTempering(KERNELS[0], TEMPERATURES), generator).max() > CAUGHT


# The state.


def test_states_bring_their_energies_and_gradients_along(generator):
    kernel = ParallelTempering(KERNELS[0], TEMPERATURES)
    state = kernel.init(two_modes, 4 * torch.randn(300, 1, generator=generator))
    for t in range(1, 20):
        state = kernel.step(two_modes, state, t, 20, generator)
        x = state.x.clone().requires_grad_()
        value = two_modes(x)
        torch.testing.assert_close(state.energy, value.detach(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(state.grad, torch.autograd.grad(value.sum(), x)[0], rtol=1e-4, atol=1e-4)
    assert state.accept.shape == state.log_ratio.shape == state.diverged.shape == (300,)


def test_who_stays_and_does_not_swap_keeps_every_bit(generator):
    """Proposals so wild that none is accepted: rows only change places."""
    kernel = ParallelTempering((MALA(1e30), MALA(1e30)), (1.0, 1.7))
    x0 = torch.linspace(-5, 5, 200)[:, None]
    chain = sample(two_modes, x0, kernel, 5, generator=generator)
    assert chain.accept_rate == 0
    assert not torch.equal(chain.x, x0)
    assert torch.equal(chain.x.sort(0).values, x0)
    assert torch.equal(chain.energy[-1].sort().values, chain.energy[0].sort().values)


@pytest.mark.parametrize("rung", [0, 1])
def test_the_swap_rate_is_that_of_the_swaps(rung, generator):
    """States that do not move: what is left of a step are the swaps."""
    a, b = torch.randn(2, 20_000, 1, generator=generator, dtype=torch.float64).unbind(0)
    kernel = ParallelTempering((MALA(1e30), MALA(1e30)), (1.0, 3.0))
    x0 = torch.cat([a, b] if rung == 0 else [b, a])

    def energy(x):
        return 0.5 * x.square().sum(1)

    x = sample(energy, x0, kernel, 1, generator=generator).x
    expected = kernel.swap_rates(energy(x0)[None])
    assert expected.shape == (1,)
    assert abs((x != x0)[:20_000].double().mean() - expected[0]) < 4.5 * 0.5 / math.sqrt(20_000)


def test_any_event_shape_is_the_flat_problem():
    kernel = ParallelTempering((HMC(0.4, 3), HMC(0.7, 3), HMC(1.2, 3)), (1.0, 3.0, 9.0))
    x0 = torch.randn(30, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def flat(x):
        return x.square().square().sum(1)

    a = sample(flat, x0, kernel, 10, generator=torch.Generator().manual_seed(2))
    shaped = x0.reshape(30, 3, 2, 2)
    b = sample(lambda x: flat(x.flatten(1)), shaped, kernel, 10, generator=torch.Generator().manual_seed(2))
    assert torch.equal(a.x, b.x.flatten(1))


def test_an_energy_that_is_tied_to_its_rows_is_asked_row_by_row(generator):
    class Centred:
        """A parabola around a centre of its own for every row."""

        def __init__(self, centre):
            self.centre = centre

        def __call__(self, x):
            return 0.5 * (x - self.centre).square().sum(1)

        def for_rows(self, rows):
            return Centred(self.centre[rows])

    centre = 50 * torch.arange(40.0).remainder(20)[:, None]  # the same for both temperatures of a sampler
    kernel = ParallelTempering((MALA(0.5), MALA(1.0)), (1.0, 2.0))
    x = sample(Centred(centre), centre, kernel, 50, generator=generator).x
    assert (x - centre).abs().max() < 10


# What is refused.


@pytest.mark.parametrize(
    ("kernels", "temperatures", "said"),
    [
        ((MALA(0.1), MALA(0.1)), (1.0, 1.0), "rise from 1"),
        ((MALA(0.1), MALA(0.1)), (2.0, 4.0), "rise from 1"),
        ((MALA(0.1), MALA(0.1)), (1.0, 0.5), "rise from 1"),
        ((MALA(0.1),), (1.0,), "rise from 1"),
        ((), (), "rise from 1"),
        ((MALA(0.1), MALA(0.1)), (1.0, math.nan), "temperatures must be positive"),
        ((MALA(0.1), MALA(0.1)), (1.0, 2.0, 4.0), "a kernel each"),
        ((MALA(0.1), Langevin(0.1)), (1.0, 2.0), "acceptance test"),
    ],
)
def test_a_ladder_that_makes_no_sense_is_refused(kernels, temperatures, said):
    with pytest.raises(ValueError, match=said):
        ParallelTempering(kernels, temperatures)


def test_a_start_that_cannot_be_dealt_out_is_refused():
    kernel = ParallelTempering(KERNELS[0], TEMPERATURES)
    with pytest.raises(ValueError, match="3 temperatures want as many rows each, got 4"):
        sample(two_modes, torch.zeros(4, 1), kernel, 1)


def test_lists_do_as_well():
    assert ParallelTempering(list(KERNELS[0]), list(TEMPERATURES)) == ParallelTempering(KERNELS[0], TEMPERATURES)
