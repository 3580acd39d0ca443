"""A batch dealt out to the cores is the same batch: numbers, errors, interrupts, and what is never dealt out."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest
import torch
from torch import nn

from gen_utils.models import ConditionalEnergy, SmallEnergy
from gen_utils.samplers import (
    HMC,
    MALA,
    ChainDiverged,
    ClassBuffer,
    Langevin,
    ProximalLangevin,
    ReplayBuffer,
    UniformStart,
    geometric,
    power_decay,
    sample,
)
from gen_utils.samplers.draws import SharedDraws, Stopped
from gen_utils.samplers.fast import in_layout
from gen_utils.samplers.protocol import Kernel
from gen_utils.samplers.shares import DIVISIBLE, how_many
from gen_utils.samplers.written import _KNOWN

BOX = (-1.0, 1.0)


def fading(t: int, n_steps: int) -> float:
    return 0.02 * (n_steps - t)


KERNELS = [
    Langevin(2.0, noise=0.01, grad_clip=0.03, bounds=BOX),
    Langevin(geometric(1.0, 0.1), noise=power_decay(0.1, 0.5)),
    Langevin(0.1, noise=0.0),
    ProximalLangevin(1.0, 0.05, noise=fading, bounds=BOX),
    MALA(power_decay(0.02, 0.3)),
    MALA(1e-3, bounds=BOX),
    HMC(geometric(0.2, 0.05), 3, bounds=BOX),
    HMC(0.1, 2, jitter=0.5),
]


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)


def stream(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> SmallEnergy:
    torch.manual_seed(0)
    return SmallEnergy(size=16, width=4)


def images(n: int = 7) -> torch.Tensor:
    return 0.5 * UniformStart((1, 16, 16)).draw(n, generator=stream(2))


class Threads(nn.Module):
    """½|x|², and which threads asked for it; with a layer of its own to test."""

    def __init__(self, layer: nn.Module | None = None, pause: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))
        self.layer, self.pause = layer or nn.Identity(), pause
        self.names: set[str] = set()
        self.asked: list[tuple[bool, int]] = []

    def forward(self, x):
        self.names.add(threading.current_thread().name)
        self.asked.append((self.w.requires_grad, torch.get_num_threads()))
        time.sleep(self.pause)
        return 0.5 * self.w * self.layer(x).square().flatten(1).sum(1)


class PerRow(nn.Module):
    """½|x - c|² with a centre for each chain."""

    def __init__(self, centres: torch.Tensor) -> None:
        super().__init__()
        self.centres = centres

    def forward(self, x):
        return 0.5 * (x - self.centres).square().sum(1)

    def for_rows(self, rows):
        return PerRow(self.centres[rows])


def same(a, b, **tolerance) -> None:
    for name in ("x", "path", "energy"):
        one, other = getattr(a, name), getattr(b, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.shape == other.shape and one.dtype == other.dtype
            torch.testing.assert_close(one, other, **tolerance)
    assert (a.accept_rate, a.n_diverged) == (b.accept_rate, b.n_diverged)


# The same chains.


@pytest.mark.parametrize("keep_every", [None, 2])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
def test_dealt_out_or_not_the_chains_are_the_same(kernel, labelled, keep_every):
    torch.manual_seed(0)
    energy = ConditionalEnergy(size=16, width=4).given(torch.arange(7) % 3) if labelled else network()

    def run(shares):
        source = stream()
        chain = sample(energy, images(), kernel, 5, keep_every=keep_every, generator=source, shares=shares)
        return chain, source.get_state()

    whole, after = run(1)
    for shares in (2, 3):
        (a, state), (b, _) = run(shares), run(shares)
        same(a, whole, atol=1e-5, rtol=1e-5)
        same(a, b, atol=0, rtol=0)
        assert torch.equal(state, after)


@pytest.mark.parametrize("kernel", KERNELS[3:], ids=lambda kernel: type(kernel).__name__)
def test_a_function_is_dealt_out_where_the_caller_says_so(kernel):
    x0 = torch.randn(11, 3, generator=stream(), dtype=torch.float64).clamp(-1, 1)
    runs = [sample(lambda x: 0.5 * x.square().sum(1), x0, kernel, 9, keep_every=3, generator=stream(), shares=n)
            for n in (1, 2, 3, 11, 50)]  # fmt: skip
    for run in runs[1:]:
        same(run, runs[0], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS[:1] + KERNELS[5:7], ids=lambda kernel: type(kernel).__name__)
def test_buffers_go_on_alike(kernel):
    def rounds(shares):
        buffer, source, energy = ReplayBuffer((1, 16, 16), 20, 0.3), stream(), network()
        for _ in range(4):
            chain = sample(energy, buffer.draw(6, generator=source), kernel, 3, generator=source, shares=shares)
            buffer.push(chain.x)
        return buffer.images

    for shares in (2, 3):
        torch.testing.assert_close(rounds(shares), rounds(1), atol=1e-5, rtol=1e-5)
        assert torch.equal(rounds(shares), rounds(shares))


def test_buffers_of_classes_go_on_alike():
    torch.manual_seed(0)
    energy, kernel = ConditionalEnergy(size=16, width=4), KERNELS[0]

    def rounds(shares):
        buffer, source = ClassBuffer((1, 16, 16), 10, 40, 0.3), stream()
        for i in range(3):
            labels = torch.randint(10, (8,), generator=stream(i))
            x0 = buffer.draw(8, labels=labels, generator=source)
            chain = sample(energy.given(labels), x0, kernel, 3, generator=source, shares=shares)
            buffer.push(chain.x, labels=labels)
        return buffer.images

    torch.testing.assert_close(rounds(2), rounds(1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fast", [True, torch.float32])
def test_fast_chains_are_dealt_out(fast):
    runs = [sample(network(), images(), KERNELS[0], 3, generator=stream(), fast=fast, shares=n) for n in (1, 2, 2)]
    same(runs[1], runs[0], atol=2e-3, rtol=2e-2)
    same(runs[1], runs[2], atol=0, rtol=0)


def test_the_global_generator_is_drawn_from_as_ever(gaussian):
    ends = []
    for shares in (1, 2):
        torch.manual_seed(3)
        ends += [(sample(gaussian, torch.zeros(6, 2), MALA(0.1), 4, shares=shares).x, torch.rand(1))]
    torch.testing.assert_close(ends[0], ends[1])


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu")])
def test_a_share_knows_what_surrounds_it(around):
    seen = set()

    def energy(x):
        modes = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        seen.add(modes)
        return 0.5 * x.square().sum(1)

    ends = []
    for shares in (1, 2):
        with around():
            ends.append(sample(energy, torch.zeros(6, 2), HMC(0.1, 2), 3, generator=stream(), shares=shares).x)
    assert len(seen) == 1
    torch.testing.assert_close(ends[0].clone(), ends[1].clone())


# What is dealt out, and into how many shares.


def test_each_share_has_a_thread_and_each_thread_one_core(two_threads):
    energy = Threads()
    sample(energy, torch.ones(30, 2), Langevin(0.1), 3, shares=3)
    assert energy.names == {"chains 0", "chains 1", "chains 2"}
    assert set(energy.asked) == {(False, 1)}
    assert torch.get_num_threads() == 2 and energy.w.requires_grad


@pytest.mark.parametrize(
    ("layer", "training", "pure"),
    [
        (nn.Dropout(0.5), True, False),
        (nn.Dropout(0.5), False, True),
        (nn.Dropout(0.0), True, True),
        (nn.BatchNorm1d(4), True, False),
        (nn.BatchNorm1d(4), False, True),
        (nn.BatchNorm1d(4, track_running_stats=False), False, False),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), True, False),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), False, True),
        (nn.GroupNorm(2, 4), True, True),
        (nn.RReLU(), True, False),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU()), True, True),
    ],
    ids=str,
)
def test_an_energy_whose_chains_meet_is_never_dealt_out(layer, training, pure):
    energy = Threads(layer).train(training)
    for asked in (energy, energy.forward, lambda x: energy(x)):
        energy.names.clear()
        sample(asked, torch.rand(8, 4), Langevin(0.01), 2, shares=2)
        assert energy.names == ({"chains 0", "chains 1"} if pure else {"MainThread"})


def test_a_kernel_from_elsewhere_draws_as_it_likes_and_is_not_dealt_out(gaussian):
    class Mine(MALA):
        def step(self, energy, state, t, n_steps, generator):
            torch.rand(1, generator=generator)
            return super().step(energy, state, t, n_steps, generator)

    a, b = (sample(gaussian, torch.zeros(6, 2), Mine(0.1), 4, generator=stream(), shares=n).x for n in (1, 2))
    assert torch.equal(a, b)
    kinds = {kind for kind in _KNOWN.values() if isinstance(kind, type) and hasattr(kind, "step")}
    down_the_levels = {kind for kind in kinds if kind.__module__ == "gen_utils.samplers.denoising"}  # these draw whole
    assert set(DIVISIBLE) == kinds - down_the_levels
    assert all(issubclass(kind, Kernel) for kind in DIVISIBLE)


def test_how_many_shares(two_threads, monkeypatch):
    def shares(energy, n, given=None, event=(1, 16, 16)):
        return how_many(given, energy, torch.zeros(n, *event), Langevin(0.1))

    dense = nn.Sequential(nn.Linear(2, 50), nn.SiLU(), nn.Linear(50, 1))
    labelled = ConditionalEnergy(size=16, width=4).given(torch.zeros(64, dtype=torch.int64))
    monkeypatch.delenv("GEN_CHAINS", raising=False)
    assert shares(network(), 64) == 2
    assert shares(labelled, 64) == 2
    assert shares(network().forward, 64) == 2
    assert shares(network(), 15) == 1  # too few rows
    assert shares(dense, 64, event=(2,)) == 1  # too little work
    assert shares(nn.Linear(784, 2000), 64, event=(784,)) == 2
    assert shares(lambda x: x.sum(1), 64) == 1  # a function may be tied to its rows
    assert shares(nn.Sequential(labelled), 64) == 1  # and so may what is inside
    bound = nn.Conv2d(1, 1, 3)
    bound.centres = torch.zeros(64, 2)
    assert (shares(bound, 64), shares(bound, 32)) == (1, 2)
    assert shares(network(), 5, given=9) == 5
    for said, found in (("1", 1), ("2", 2), ("16", 2), (" ", 2)):
        monkeypatch.setenv("GEN_CHAINS", said)
        assert shares(network(), 64) == found
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("GEN_CHAINS", wrong)
        with pytest.raises(ValueError, match="GEN_CHAINS says how many"):
            shares(network(), 64)
    monkeypatch.delenv("GEN_CHAINS")
    torch.set_num_threads(1)  # a worker among others
    assert shares(network(), 64) == 1
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match="shares must be at least 1, a whole number"):
            shares(network(), 64, given=wrong)


# Errors and interrupts.


def threads_of_new_ones() -> int:
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def no_share_is_left() -> bool:
    return not any(thread.name.startswith("chains") for thread in threading.enumerate())


def test_a_share_that_diverges_ends_all(two_threads):
    energy = Threads(pause=0.01)
    x0 = torch.zeros(8, 2)
    x0[6] = 1e18

    with pytest.raises(ChainDiverged, match=r"at least 1 of 8 chains .* after step 1 of Langevin"):
        sample(energy, x0, Langevin(1e3, noise=0.0), 10_000, shares=2)
    assert len(energy.asked) < 30
    assert energy.w.requires_grad and torch.get_num_threads() == threads_of_new_ones() == 2


def test_the_error_of_a_share_is_the_error_of_all(two_threads):
    def energy(x):
        if len(seen) >= 7:
            raise RuntimeError("no more")
        seen.append(0)
        return x.square().sum(1)

    seen = []
    with pytest.raises(RuntimeError, match="no more"):
        sample(energy, torch.zeros(9, 2), HMC(0.1, 3), 10_000, shares=3)
    assert torch.get_num_threads() == threads_of_new_ones() == 2
    for bad in (torch.full((4, 2), torch.nan), torch.zeros(4, 2, dtype=torch.int64), torch.zeros(0, 2)):
        with pytest.raises(ValueError, match="start"):
            sample(energy, bad, MALA(0.1), 3, shares=2)
    with pytest.raises(ValueError, match="one number a sample"):
        sample(lambda x: x.sum(), torch.zeros(4, 2), MALA(0.1), 3, shares=2)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that interrupts")
@pytest.mark.parametrize("kernel", [Langevin(1e-4, bounds=BOX), HMC(1e-3, 5)], ids=lambda kernel: type(kernel).__name__)
def test_an_interrupt_at_any_moment_ends_all_shares_at_once(kernel, two_threads):
    energy, x0 = network(), images(24)
    moments = random.Random(0)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for _ in range(10):
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012  (the timer may go off at once)
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-4, 0.1))
                sample(energy, x0, kernel, 10**6, shares=2)
            assert all(weight.requires_grad for weight in energy.parameters())
            assert torch.get_num_threads() == threads_of_new_ones() == 2
            deadline = time.monotonic() + 120
            while not no_share_is_left() and time.monotonic() < deadline:
                time.sleep(0.001)
            assert no_share_is_left()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert sample(energy, x0, kernel, 2, shares=2).x.isfinite().all()  # and all is well


# Random numbers.


def test_whoever_is_ahead_draws_and_waits_when_too_far_ahead(monkeypatch):
    monkeypatch.setattr("gen_utils.samplers.draws.MOST_AHEAD", 10)
    draws, kind = SharedDraws(stream(), 4, 2), {"dtype": torch.float64, "device": torch.device("cpu")}
    taken = {0: [], 1: []}

    def take(i, n):
        for count in range(n):
            taken[i].append(draws.take(count, slice(2 * i, 2 * i + 2), torch.randn, (3,), **kind))

    ahead = threading.Thread(target=take, args=(0, 9))
    ahead.start()
    ahead.join(0.2)
    assert ahead.is_alive() and len(taken[0]) == 4
    take(1, 9)
    ahead.join(5)
    whole = stream()
    for pair in zip(taken[0], taken[1], strict=True):
        assert torch.equal(torch.cat(pair), torch.randn((4, 3), generator=whole, dtype=torch.float64))
    draws.stop()
    with pytest.raises(Stopped):
        take(0, 1)


# Layout.


def test_weights_of_one_channel_are_laid_out_too():
    """``contiguous`` would leave them, and every later layer, as they were."""
    first = in_layout(network(), images()).energy.net[0].weight
    assert first.shape == (4, 1, 5, 5) and first.stride() == (25, 1, 5, 1) and not first.requires_grad


def test_convolutions_run_channels_last_on_a_copy(generator):
    energy, seen = network(), []
    layer = energy.net[2]
    original = type(layer).forward

    class Watched(type(layer)):
        def forward(self, x):
            seen.append((self is layer, self.weight.is_contiguous(memory_format=torch.channels_last)))
            return original(self, x)

    layer.__class__ = Watched
    kept = [weight.clone() for weight in energy.parameters()]
    chain = sample(energy, images(), Langevin(0.1), 2, generator=generator)
    assert set(seen) == {(False, True)}
    assert all(torch.equal(a, b) and a.is_contiguous() for a, b in zip(energy.parameters(), kept, strict=True))
    torch.testing.assert_close(chain.energy[-1], energy(chain.x).detach(), atol=1e-6, rtol=1e-5)
    seen.clear()
    sample(energy.double(), images().double(), Langevin(0.1), 1, generator=generator)  # not where it gains nothing
    assert {mine for mine, _ in seen} == {True}
