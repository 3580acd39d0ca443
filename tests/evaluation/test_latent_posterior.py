"""The posterior's energy: what it is on a model with a known posterior, and that chains on it can be dealt out."""

import pytest
import torch

from gen_utils.evaluation.latent_posterior import elbo_surgery, log_joint, posterior_energy
from gen_utils.models.linear_gaussian import LinearGaussianVAE
from gen_utils.samplers import HMC, sample


@pytest.fixture
def model():
    return LinearGaussianVAE(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), sigma=0.5)


@pytest.mark.parametrize("whiten", ["prior", "posterior"])
def test_each_row_is_an_image_in_one_of_its_chains(model, whiten):
    x = torch.randn(4, 5)
    energy, start = posterior_energy(model, x, n_chains=3, whiten=whiten)
    u = start(torch.Generator().manual_seed(1))
    base = model.posterior(x) if whiten == "posterior" else model.prior().expand((4,))
    z = base.mean + base.stddev * u.reshape(3, 4, -1)
    right = -(log_joint(model, x, z) + base.stddev.log().sum(1))
    torch.testing.assert_close(energy(u), right.flatten())


def test_the_energy_of_some_rows_is_that_of_these_rows(model):
    energy, start = posterior_energy(model, torch.randn(4, 5), n_chains=3)
    u = start(None)
    for rows in (slice(0, 5), slice(5, 12)):
        torch.testing.assert_close(energy.for_rows(rows)(u[rows]), energy(u)[rows])


def test_chains_dealt_out_are_those_of_the_whole_batch(model):
    energy, start = posterior_energy(model, torch.randn(4, 5), n_chains=6)
    u = start(torch.Generator().manual_seed(2))
    one, two = (
        sample(energy, u, HMC(0.2, 4), 5, shares=shares, generator=torch.Generator().manual_seed(3))
        for shares in (1, 2)
    )
    torch.testing.assert_close(one, two)


def test_the_surgery_of_a_model_whose_codes_fill_the_prior(model):
    """Codes of the model's own images, by the exact posterior, are as a whole the prior: nothing is wasted."""
    stream = torch.Generator().manual_seed(3)
    x = model.sample(1500, generator=stream)
    torch.manual_seed(4)
    price, told, wasted = elbo_surgery(model, x)
    exact = 0.5 * torch.logdet(torch.eye(3) + model.weight.T @ model.weight / model.sigma**2).item()
    assert price == pytest.approx(told + wasted) and abs(wasted) < 0.1
    assert told == pytest.approx(exact, abs=0.15)
    # Images of one kind only: their codes lie together, which says nothing of any of them.
    torch.manual_seed(4)
    price, told, wasted = elbo_surgery(model, x[:1].repeat(300, 1) + 3)
    assert abs(told) < 1e-3 and wasted == pytest.approx(price, abs=1e-3) and wasted > 1
