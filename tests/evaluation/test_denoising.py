"""The error of a denoiser, where it is known: a Gaussian's posterior variance."""

import pytest
import torch

from gen_utils.evaluation.denoising import denoising_errors


class Shrink:
    def __init__(self, factor):
        self.factor = factor

    def denoise(self, x, sigma):
        return self.factor * x


X = (0.4 * torch.randn(400, 1, 5, 5, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


def error(factor, sigma=0.4):
    return float(denoising_errors(Shrink(factor), X, sigma, generator=torch.Generator().manual_seed(1)).mean())


def test_the_best_denoiser_of_a_gaussian_is_left_with_the_posterior_variance():
    assert error(0.5) == pytest.approx(0.4**2 / 2, rel=0.05)
    assert error(1.0) == pytest.approx(0.4**2, rel=0.05)  # all of the noise
    assert error(0.5) < min(error(0.4), error(0.6))


def test_one_error_a_picture():
    assert denoising_errors(Shrink(0.5), X, 0.1, batch_size=7).shape == (400,)


@pytest.mark.parametrize(("images", "sigma"), [(X[:0], 0.1), (X, 0.0), ((X * 100).to(torch.uint8), 0.1)])
def test_what_makes_no_figure_is_refused(images, sigma):
    with pytest.raises(ValueError, match=r"images|sigma"):
        denoising_errors(Shrink(0.5), images, sigma)
