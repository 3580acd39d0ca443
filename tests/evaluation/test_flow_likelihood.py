"""Likelihoods by the probability flow: exact on Gaussians, and on a mixture, whose smoothings are known."""

import math

import pytest
import torch

from gen_utils.evaluation.flow_likelihood import flow_log_likelihood
from gen_utils.models import PlaneNoiseEnergy, SmoothedMixture
from gen_utils.models.denoisers import beside, per_row

LOW, HIGH = 0.01, 400.0


class GaussianDenoiser:
    """D of N(0, diag(spread²))."""

    def __init__(self, spread):
        self.spread = torch.as_tensor(spread).double()

    def denoise(self, x, sigma):
        v = self.spread.square()
        return v / (v + beside(per_row(sigma, x), x).square()) * x

    def log_prob(self, x, sigma):
        return torch.distributions.Normal(0.0, (self.spread.square() + sigma**2).sqrt()).log_prob(x).sum(1)


MODEL = GaussianDenoiser([0.3, 1.0, 2.5])
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).double() * MODEL.spread


@pytest.mark.parametrize("n_probes", [None, 4])
def test_a_gaussians_likelihood_is_right_to_a_hundredth(n_probes):
    """The Jacobian is diagonal, so that every probe of signs has the exact trace."""
    found = flow_log_likelihood(MODEL, X, low=LOW, high=HIGH, n_probes=n_probes, tolerance=1e-6)
    exact = MODEL.log_prob(X, LOW)
    assert float((found.log_prob - exact).abs().max()) < 0.02
    assert float(found.error.max()) < 1e-6 and found.evaluations > 20


def test_the_flow_ends_where_the_exact_flow_does():
    found = flow_log_likelihood(MODEL, X, low=LOW, high=HIGH, tolerance=1e-6)
    scale = ((MODEL.spread.square() + HIGH**2) / (MODEL.spread.square() + LOW**2)).sqrt()
    assert torch.allclose(found.x_high, scale * X, rtol=1e-3)


MIXTURE = SmoothedMixture([[-2.0, 0.0], [2.0, 1.0]], [0.8, 0.2], 0.3)


def test_a_mixtures_likelihood_is_right_weights_of_far_modes_too():
    x = MIXTURE.sample(60, torch.Generator().manual_seed(1))
    found = flow_log_likelihood(MIXTURE, x, low=LOW, high=HIGH, n_probes=None, tolerance=1e-5)
    exact = -MIXTURE(x, LOW)
    assert float((found.log_prob - exact).abs().mean()) < 0.02


def test_probes_are_unbiased_and_their_error_is_told():
    x = MIXTURE.sample(400, torch.Generator().manual_seed(2))
    stream = torch.Generator().manual_seed(3)
    found = flow_log_likelihood(MIXTURE, x, low=LOW, high=HIGH, n_probes=8, tolerance=1e-4, generator=stream)
    off = found.log_prob + MIXTURE(x, LOW)
    assert abs(float(off.mean())) < 5 * float(off.std()) / math.sqrt(len(x)) + 0.01
    # Rows whose Jacobian is nearly diagonal have no error; over all, errors are of the size that is told.
    assert float(off.square().mean().sqrt()) == pytest.approx(float(found.error.square().mean().sqrt()), rel=0.5)


def test_an_energys_flow_needs_its_second_derivatives_and_has_them():
    torch.manual_seed(0)
    energy = PlaneNoiseEnergy(2, 16)
    found = flow_log_likelihood(energy, torch.randn(5, 2), n_probes=None, tolerance=1e-4, low=0.05)
    again = flow_log_likelihood(energy, torch.randn(5, 2), n_probes=None, tolerance=1e-4, low=0.05)
    assert torch.isfinite(found.log_prob).all() and again.log_prob.shape == (5,)
    assert all(w.grad is None for w in energy.parameters())


def test_the_usual_slip_has_the_sign_of_the_divergence_wrong():
    """Were the divergence subtracted, the answer would be off by twice ∫ div, tens of nats here."""
    found = flow_log_likelihood(MODEL, X, low=LOW, high=HIGH, n_probes=None, tolerance=1e-4)
    v = MODEL.spread.square() + HIGH**2
    at_the_end = torch.distributions.Normal(0.0, v.sqrt()).log_prob(found.x_high).sum(1)
    turned = 2 * at_the_end - found.log_prob
    assert float((turned - MODEL.log_prob(X, LOW)).abs().min()) > 20


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"low": 0.0}, "low"),
        ({"low": 2.0, "high": 1.0}, "high"),
        ({"n_probes": 0}, "n_probes"),
        ({"tolerance": 0}, "tol"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        flow_log_likelihood(MODEL, X, **settings)
