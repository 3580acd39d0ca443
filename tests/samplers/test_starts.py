"""Starts: uniform noise, the replay buffer, class-wise Gaussians."""

from __future__ import annotations

import math

import pytest
import torch

from gen_utils.samplers import GaussianStart, ReplayBuffer, UniformStart


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Uniform.


def test_uniform_fills_its_box(generator):
    x = UniformStart((1, 8, 8), low=-2.0, high=3.0).draw(500, generator=generator)
    assert x.shape == (500, 1, 8, 8)
    assert x.dtype == torch.float32
    assert -2 <= x.min() < -1.99
    assert 2.99 < x.max() <= 3
    assert abs(x.mean() - 0.5) < 4.5 * 5 / math.sqrt(12 * x.numel())


def test_starts_repeat_with_one_seed():
    buffer = ReplayBuffer((4,), restart=0.5)
    buffer.push(torch.randn(20, 4))
    start = GaussianStart.fit(torch.rand(50, 4), torch.arange(50) % 3)
    for source in (UniformStart((4,)), buffer, start):
        torch.manual_seed(9)
        state = torch.get_rng_state()
        assert torch.equal(source.draw(10, generator=seeded(1)), source.draw(10, generator=seeded(1)))
        assert not torch.equal(source.draw(10, generator=seeded(1)), source.draw(10, generator=seeded(2)))
        assert torch.equal(torch.get_rng_state(), state)


def test_an_empty_box():
    with pytest.raises(ValueError, match="low < high"):
        UniformStart((1,), low=1.0, high=1.0)


# Replay buffer.


def test_an_empty_buffer_draws_fresh():
    buffer = ReplayBuffer((2,), restart=0.0)
    assert len(buffer) == 0
    assert torch.equal(buffer.draw(5, generator=seeded()), UniformStart((2,)).draw(5, generator=seeded()))


def test_the_newest_samples_stay():
    buffer = ReplayBuffer((1,), capacity=5, restart=0.0)
    for value in range(0, 8, 2):
        buffer.push(torch.tensor([[value], [value + 1]]).float())
    assert len(buffer) == 5
    assert sorted(buffer.images.flatten().tolist()) == [3, 4, 5, 6, 7]
    buffer.push(torch.arange(100.0, 112.0)[:, None])  # more than it holds
    assert sorted(buffer.images.flatten().tolist()) == [107, 108, 109, 110, 111]
    assert set(buffer.draw(200, generator=seeded()).flatten().tolist()) == {107, 108, 109, 110, 111}


@pytest.mark.parametrize("restart", [0.0, 0.05, 0.5, 1.0])
def test_the_share_of_restarts(restart):
    buffer = ReplayBuffer((1,), restart=restart)
    buffer.push(torch.full((100, 1), 7.0))  # no fresh start can be 7
    n = 20_000
    share = (buffer.draw(n, generator=seeded()) != 7).float().mean().item()
    assert abs(share - restart) <= 4.5 * math.sqrt(restart * (1 - restart) / n)


def test_draws_are_copies():
    buffer = ReplayBuffer((2,), restart=0.0)
    pushed = torch.ones(3, 2)
    buffer.push(pushed)
    pushed.zero_()
    buffer.draw(3, generator=seeded()).fill_(9.0)
    assert torch.equal(buffer.images, torch.ones(3, 2))


def test_pushed_chains_are_detached():
    buffer = ReplayBuffer((2,))
    buffer.push(torch.ones(3, 2, requires_grad=True) * 2)
    assert not buffer.images.requires_grad


def test_labels_reach_the_fresh_starts():
    images = torch.cat([torch.zeros(20, 1), torch.ones(20, 1)]) + 0.01 * torch.randn(40, 1, generator=seeded())
    start = GaussianStart.fit(images, torch.arange(40) // 20)
    buffer = ReplayBuffer((1,), restart=0.5, start=start)
    buffer.push(torch.full((10, 1), 7.0))
    labels = torch.arange(400) % 2
    x = buffer.draw(400, labels=labels, generator=seeded()).flatten()
    fresh = x != 7
    assert 100 < fresh.sum() < 300
    assert ((x[fresh] > 0.5).long() == labels[fresh]).all()


def test_a_batch_larger_than_the_buffer_leaves_its_last_states():
    buffer = ReplayBuffer((1,), capacity=4)
    buffer.push(torch.arange(10.0)[:, None])
    assert buffer.images.flatten().tolist() == [6, 7, 8, 9]


@pytest.mark.parametrize("n_pushed", [0, 3, 5, 13])
def test_a_saved_buffer_resumes_bit_for_bit(n_pushed):
    def filled():
        buffer = ReplayBuffer((1,), capacity=5)
        buffer.push(torch.arange(float(n_pushed))[:3, None])
        buffer.push(torch.arange(float(n_pushed))[3:, None])
        return buffer

    a, b = filled(), ReplayBuffer((1,), capacity=5)
    b.load_state_dict(a.state_dict())
    for buffer in (a, b):
        buffer.push(torch.tensor([[50.0], [51.0]]))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.draw(20, generator=seeded()), b.draw(20, generator=seeded()))


def test_a_saved_buffer_moves_into_a_larger_one():
    small = ReplayBuffer((1,), capacity=5, restart=0.0)
    small.push(torch.arange(1.0, 4.0)[:, None])
    small.push(torch.arange(4.0, 8.0)[:, None])  # full, and turned over: 3..7 remain
    large = ReplayBuffer((1,), capacity=7, restart=0.0)
    large.load_state_dict(small.state_dict())
    large.push(torch.tensor([[8.0], [9.0], [10.0]]))  # two free places, then the oldest gives way
    assert sorted(large.images.flatten().tolist()) == [4, 5, 6, 7, 8, 9, 10]
    with pytest.raises(ValueError, match="holds 5 samples, this one only 4"):
        ReplayBuffer((1,), capacity=4).load_state_dict(small.state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReplayBuffer((1,), capacity=0), "capacity must be at least 1"),
        (lambda: ReplayBuffer((1,), capacity=2.5), "a whole number, got 2.5"),
        (lambda: ReplayBuffer((2,)).push(torch.zeros(3, 2, dtype=torch.uint8)), "chains are floats.*scale images"),
        (lambda: ReplayBuffer((1,), restart=math.nan), "probability between 0 and 1"),
        (lambda: ReplayBuffer((1,), restart=1.5), "probability between 0 and 1"),
        (lambda: ReplayBuffer((1,)).push(torch.zeros(3, 2)), "holds states of shape"),
    ],
)
def test_a_buffer_used_wrongly(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Gaussians.


def two_classes(n: int = 3000) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated six-dimensional clouds, shaped (1, 2, 3), three times as many of class 2 as of class 5."""
    generator = seeded(4)
    mix = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    labels = torch.where(torch.arange(n) % 4 == 0, 5, 2)
    x = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    for k, c in enumerate((2, 5)):
        x[labels == c] = x[labels == c] @ mix[k].T + 3 * k
    return x.reshape(n, 1, 2, 3), labels


def covariance_z(draws: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor) -> float:
    centred = draws - mean
    rows, columns = torch.triu_indices(6, 6)
    values = torch.cat([centred, centred[:, rows] * centred[:, columns] - covariance[rows, columns]], 1)
    return float((values.mean(0) / values.std(0) * math.sqrt(len(values))).abs().max())


def test_class_wise_mean_and_full_covariance():
    images, labels = two_classes()
    start = GaussianStart.fit(images, labels)
    wanted = torch.tensor([2, 5]).repeat(10_000)
    x = start.draw(20_000, labels=wanted, generator=seeded())
    assert x.shape == (20_000, 1, 2, 3)
    for c in (2, 5):
        data = images[labels == c].flatten(1)
        # The range of the data cuts some tails off; without the clamp the moments are the data's.
        free = start.__class__(**{**start.__dict__, "bounds": (-math.inf, math.inf)})
        draws = free.draw(20_000, labels=torch.full((20_000,), c), generator=seeded()).flatten(1)
        assert covariance_z(draws, data.mean(0), data.T.cov()) < 4.5
        assert covariance_z(draws, data.mean(0), data.T.cov().diagonal().diag()) > 8  # correlations matter
    other = images[labels == 5].flatten(1)
    assert covariance_z(x[wanted == 2].flatten(1), other.mean(0), other.T.cov()) > 8  # and so do classes


def test_without_labels_the_classes_keep_their_shares():
    images, labels = two_classes()
    x = GaussianStart.fit(images, labels).draw(20_000, generator=seeded()).flatten(1)
    centres = torch.stack([images[labels == c].flatten(1).mean(0) for c in (2, 5)])
    expected = 0.75 * centres[0] + 0.25 * centres[1]
    assert ((x.mean(0) - expected).abs() / x.std(0) * math.sqrt(len(x))).max() < 6  # the clamp moves it a little
    pooled = GaussianStart.fit(images)
    assert pooled.mean.shape == (1, 6)
    assert pooled.draw(5, labels=torch.arange(5), generator=seeded()).shape == (5, 1, 2, 3)


def test_uint8_images_are_scaled_to_the_box():
    images = torch.randint(0, 256, (300, 3, 4, 4), generator=seeded(), dtype=torch.uint8)
    images[:, 0, 0, 0] = 255  # a constant pixel: singular without the jitter
    start = GaussianStart.fit(images)
    x = start.draw(500, generator=seeded())
    assert x.dtype == torch.float32
    assert x.abs().max() <= 1
    torch.testing.assert_close(
        start.mean[0], (images.float() / 127.5 - 1).flatten(1).mean(0), rtol=0, atol=1e-5
    )  # fmt: skip
    assert 0.98 < x[:, 0, 0, 0].mean() <= 1


@pytest.mark.parametrize("covariance", ["low_rank", "diagonal"])
def test_cheaper_covariances_keep_every_variance(covariance):
    generator = seeded(5)
    factor = torch.randn(3, 40, generator=generator, dtype=torch.float64)
    data = torch.randn(2000, 3, generator=generator, dtype=torch.float64) @ factor
    data += 0.3 * torch.randn(2000, 40, generator=generator, dtype=torch.float64)
    start = GaussianStart.fit(data, covariance=covariance, rank=3)
    variance = start.spread[0].square() + (0 if start.factor is None else start.factor[0].square().sum(1))
    torch.testing.assert_close(variance, data.var(0) + 1e-4)
    x = start.draw(20_000, generator=seeded())
    assert ((x.var(0) / data.var(0) - 1).abs().max()) < 5 * math.sqrt(2 / 20_000)
    exact, got = data.T.cov(), x.T.cov()
    off = ~torch.eye(40, dtype=torch.bool)
    error = (exact - got)[off].norm() / exact[off].norm()
    assert error < 0.05 if covariance == "low_rank" else error > 0.9


@pytest.mark.parametrize("covariance", ["full", "low_rank", "diagonal"])
def test_a_class_of_one_image(covariance):
    images = torch.rand(4, 5, generator=seeded())
    start = GaussianStart.fit(images, torch.tensor([0, 0, 0, 9]), covariance=covariance)
    x = start.draw(50, labels=torch.full((50,), 9), generator=seeded())
    assert (x - images[3]).abs().max() < 0.06  # what is left is the jitter, of deviation 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianStart.fit(torch.zeros(0, 3)), "at least one image"),
        (lambda: GaussianStart.fit(torch.zeros(3)), "at least one image"),
        (lambda: GaussianStart.fit(torch.zeros(3, 2), torch.zeros(4)), "need as many labels"),
        (lambda: GaussianStart.fit(torch.full((3, 2), torch.nan)), "finite floats"),
        (lambda: GaussianStart.fit(torch.zeros(3, 2, dtype=torch.int64)), "finite floats"),
        (lambda: GaussianStart.fit(torch.zeros(3, 2), covariance="banded"), "covariance is"),
        (lambda: GaussianStart.fit(torch.zeros(3, 2), covariance="low_rank", rank=0), "rank must be at least 1"),
        (
            lambda: GaussianStart.fit(torch.zeros(3, 2), covariance="diagonal", jitter=-1.0),
            "jitter must be zero or more",
        ),
        (lambda: GaussianStart.fit(torch.zeros(3, 2), jitter=math.nan), "jitter must be zero or more"),
        (lambda: GaussianStart.fit(torch.zeros(2, 3, 128, 128)), 'covariance="low_rank" or "diagonal"'),
        (
            lambda: GaussianStart.fit(torch.rand(4, 2), torch.tensor([0, 0, 3, 3])).draw(
                2, labels=torch.tensor([0, 7])
            ),
            r"class \[7\].*knows \[0, 3\]",
        ),
        (
            lambda: GaussianStart.fit(torch.rand(4, 2), torch.tensor([0, 0, 3, 3])).draw(2, labels=torch.tensor([0])),
            "2 draws need as many labels",
        ),
    ],
)
def test_gaussians_used_wrongly(make, message):
    with pytest.raises(ValueError, match=message):
        make()
