"""A mixture smoothed by a Gaussian is a mixture: against convolution on a grid, and against samples."""

import math

import pytest
import torch

from gen_utils.models import SmoothedMixture

MIXTURE = SmoothedMixture([[-2.0, 0.5], [1.5, -1.0], [0.0, 2.0]], [0.6, 0.3, 0.1], 0.4)


def grid(side=6.0, n=121):
    axis = torch.linspace(-side, side, n, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.2])
def test_every_level_integrates_to_one(sigma):
    x, cell = grid()
    assert abs(float((-MIXTURE(x, sigma)).exp().sum()) * cell - 1) < 1e-3


def test_smoothing_is_the_convolution_with_a_gaussian():
    x, cell = grid()
    at, sigma = torch.tensor([[-1.0, 0.3], [0.2, 0.1], [2.5, -1.5]], dtype=torch.float64), 0.7
    kernel = torch.exp(-(at[:, None] - x).square().sum(2) / (2 * sigma**2)) / (2 * math.pi * sigma**2)
    by_hand = (kernel * (-MIXTURE(x)).exp()).sum(1) * cell
    assert torch.allclose((-MIXTURE(at, sigma)).exp(), by_hand, rtol=1e-3)


@pytest.mark.parametrize("sigma", [0.0, 0.3, 2.0])
def test_the_score_is_minus_the_gradient_of_the_energy(sigma):
    x = (2 * torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).double()).requires_grad_()
    (grad,) = torch.autograd.grad(MIXTURE(x, sigma).sum(), x)
    assert torch.allclose(MIXTURE.score(x, sigma), -grad, atol=1e-10)


def test_the_denoiser_is_the_mean_of_the_clean_point_given_the_noisy_one():
    """By importance: clean samples weighted by how likely the noisy point is from each."""
    clean = MIXTURE.sample(200_000, torch.Generator().manual_seed(1))
    at, sigma = torch.tensor([[-0.5, 0.2], [0.7, 0.4]], dtype=torch.float64), 0.8
    weight = (-(at[:, None] - clean).square().sum(2) / (2 * sigma**2)).softmax(1)
    assert torch.allclose(MIXTURE.denoise(at, sigma), weight @ clean, atol=0.02)


def test_levels_may_differ_from_row_to_row():
    x, levels = torch.randn(5, 2).double(), torch.tensor([0.1, 0.5, 1.0, 2.0, 9.0])
    together = MIXTURE.denoise(x, levels)
    apart = torch.cat([MIXTURE.denoise(x[i : i + 1], float(levels[i])) for i in range(5)])
    assert torch.allclose(together, apart)


def test_samples_have_the_weights_and_the_spread():
    x = MIXTURE.sample(50_000, torch.Generator().manual_seed(2))
    share = MIXTURE.nearest(x).bincount(minlength=3) / len(x)
    assert torch.allclose(share.double(), MIXTURE.weights, atol=0.01)
    blurred = MIXTURE.sample(50_000, torch.Generator().manual_seed(3), sigma=1.5)
    assert torch.allclose(blurred.var(0), x.var(0) + 1.5**2, rtol=0.05)


@pytest.mark.parametrize(
    ("weights", "width", "words"),
    [
        ([1.0], 0.1, "weight for each"),
        ([1.0, -1.0], 0.1, "positive weight"),
        ([1.0, 1.0], 0.0, "width must be positive"),
    ],
)
def test_what_is_no_mixture_is_refused(weights, width, words):
    with pytest.raises(ValueError, match=words):
        SmoothedMixture([[0.0], [1.0]], weights, width)
