"""VAEs: shapes and distributions, pixel likelihoods with exact sums, the linear-Gaussian oracle."""

import math

import pytest
import torch
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from gen_utils import checkpoints
from gen_utils.data import to_float
from gen_utils.losses import beta_elbo, gaussian_kl
from gen_utils.models import MLPVAE, ConvVAE, LatentVariableModel, LinearGaussianVAE, SmallEnergy
from gen_utils.models.pixels import DiscretisedLogistic, PixelBernoulli, PixelLikelihood, dequantise

LEVELS = to_float(torch.arange(256, dtype=torch.uint8))  # (256,) from -1 to 1
EXACT_LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1  # float32 levels are off by up to 6e-8


@pytest.mark.parametrize(
    "model",
    [
        ConvVAE((3, 32, 32), latent=4, widths=(4, 4, 8, 8, 8)),
        ConvVAE((3, 64, 64), latent=7, widths=(4, 4, 4, 4, 8), likelihood="discretised_logistic", sigma="learnt"),
        MLPVAE((1, 8, 8), latent=3, hidden=(16, 8)),
        MLPVAE((1, 8, 8), latent=3, hidden=(16, 8), likelihood="gaussian", sigma="calibrated"),
    ],
    ids=lambda m: f"{type(m).__name__} {m.pixels.kind}",
)
def test_the_three_questions(model):
    model.eval()
    x = to_float(torch.randint(0, 2, (5, *model.shape)) * torch.tensor(255, dtype=torch.uint8))
    prior, posterior = model.prior(), model.posterior(x)
    z = posterior.rsample()
    likelihood = model.likelihood(z)
    assert (prior.batch_shape, prior.event_shape) == ((), (model.latent,))
    assert (posterior.batch_shape, posterior.event_shape) == ((5,), (model.latent,))
    assert (likelihood.batch_shape, likelihood.event_shape) == ((5,), model.shape)
    assert all(isinstance(d, Distribution) for d in (prior, posterior, likelihood))
    joint = prior.log_prob(z) + likelihood.log_prob(x)
    assert joint.shape == (5,) and torch.isfinite(joint).all()
    (grad,) = torch.autograd.grad(joint.sum(), z)
    assert torch.isfinite(grad).all() and (grad != 0).any()
    assert likelihood.mean.shape == x.shape and likelihood.mean.abs().max() <= 1
    assert likelihood.support.check(likelihood.sample()).all()
    assert model(x).shape == x.shape and model.sample(3).shape == (3, *model.shape)


def test_the_architecture_asked_for():
    model = ConvVAE()
    convolutions = [m for m in model.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [16, 32, 64, 128, 256]
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.encoder.modules()) == 5
    assert sum(isinstance(m, torch.nn.LeakyReLU) for m in model.encoder.modules()) == 5
    up = [m.in_channels for m in model.decoder.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
    assert up == [256, 128, 64, 32, 16] and model.latent == 512
    assert MLPVAE().latent == 6 and sum(isinstance(m, torch.nn.Linear) for m in MLPVAE().encoder) == 3


def test_one_seed_one_sample():
    model = MLPVAE((1, 4, 4), latent=2, hidden=(8, 8))
    a, b = (model.sample(3, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvVAE((3, 28, 28)), "32 must divide"),
        (lambda: ConvVAE((3, 32, 32), latent=0), "latent must be at least 1"),
        (lambda: PixelLikelihood("poisson"), "unknown likelihood"),
        (lambda: PixelLikelihood("gaussian", 0.0), "positive number or learnt or calibrated"),
        (lambda: PixelLikelihood("discretised_logistic", "calibrated"), "sigma of a discretised_logistic"),
        (lambda: MLPVAE((1, 4, 4)).posterior(torch.zeros(2, 1, 5, 4)), r"images \(B, 1, 4, 4\)"),
        (lambda: PixelBernoulli(torch.zeros(2)).log_prob(torch.tensor([0.3, 1.0])), r"binarise\), got 1 others in 2"),
        (lambda: LinearGaussianVAE(torch.ones(3)), "shape"),
        (lambda: LinearGaussianVAE(torch.ones(3, 2), sigma=0.0), "sigma must be positive"),
        (lambda: LinearGaussianVAE(torch.ones(3, 2), torch.zeros(2)), "bias must have shape"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loc", [-1.4, -1.0, 0.0, 0.37, 1.0])
@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.5, 5.0])
def test_discretised_logistic_sums_to_one(loc, scale):
    pixel = DiscretisedLogistic(torch.tensor(loc, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64))
    log_p = pixel.log_prob(EXACT_LEVELS)
    assert (log_p <= 1e-12).all() and torch.isfinite(log_p).all()
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_discretised_logistic_is_stable_far_away_and_draws_levels():
    pixel = DiscretisedLogistic(torch.tensor([-1.0, 0.1]), torch.tensor(1e-3))
    x = torch.tensor([1.0, -1.0], requires_grad=False)
    assert torch.isfinite(pixel.log_prob(x)).all()
    torch.manual_seed(0)
    wide = DiscretisedLogistic(torch.tensor(0.2), torch.tensor(0.15))
    draws = wide.sample((20_000,))
    assert wide.support.check(draws).all()
    frequency = (draws == LEVELS[128:129]).double().mean()
    assert frequency.item() == pytest.approx(wide.log_prob(LEVELS[128]).exp().item(), abs=0.003)
    with pytest.raises(ValueError, match=r"256 grey levels .* such as 0\.123"):
        wide.log_prob(torch.tensor(0.123))


def test_bernoulli_sums_to_one_and_its_mean_is_its_draws():
    pixel = PixelBernoulli(torch.tensor([0.7, -2.0]))
    white, black = pixel.log_prob(torch.ones(2)), pixel.log_prob(-torch.ones(2))
    torch.testing.assert_close(white.exp() + black.exp(), torch.ones(2))
    torch.testing.assert_close(pixel.mean, white.exp() - black.exp())
    assert set(pixel.sample((50,)).unique().tolist()) <= {-1.0, 1.0}


def test_dequantised_bytes_stay_in_their_cells():
    images = torch.arange(256, dtype=torch.uint8).repeat(20, 1)
    x = dequantise(images, torch.Generator().manual_seed(0))
    assert x.min() >= -1 and x.max() < 1
    assert torch.equal(((x + 1) * 128).floor().to(torch.uint8), images)
    assert not torch.equal(x[0], x[1])


def test_calibration_finds_the_mean_squared_error():
    head = PixelLikelihood("gaussian", "calibrated")
    for _ in range(400):
        head.calibrate(torch.tensor(0.04))
    assert head.sigma.item() == pytest.approx(0.2, rel=1e-4)
    # And the likelihood is highest there.
    error = torch.randn(5000, generator=torch.Generator().manual_seed(0)) * 0.2
    best = Normal(0, error.square().mean().sqrt()).log_prob(error).mean()
    assert all(best > Normal(0, s).log_prob(error).mean() for s in (0.15, 0.25))


# --- the divergence, the bound, the oracle ---------------------------------------------------------


def test_kl_is_torchs():
    mean, log_variance = torch.randn(6, 5), torch.randn(6, 5)
    q = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    p = Independent(Normal(torch.zeros(6, 5), torch.ones(6, 5)), 1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), kl_divergence(q, p))
    assert beta_elbo(torch.tensor([-3.0, -5.0]), torch.tensor([1.0, 2.0]), beta=2.0).item() == pytest.approx(7.0)


def test_the_oracle_is_exact():
    torch.manual_seed(3)
    weight, bias = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    model = LinearGaussianVAE(weight, bias, sigma=0.6)
    x = model.sample(5, generator=torch.Generator().manual_seed(0))
    marginal = MultivariateNormal(bias, weight @ weight.T + 0.36 * torch.eye(7, dtype=torch.float64))
    torch.testing.assert_close(model.log_prob(x), marginal.log_prob(x))
    # Bayes' rule at any z: log p(x) = log p(x, z) - log p(z | x).
    z = torch.randn(5, 3, dtype=torch.float64)
    bayes = model.prior().log_prob(z) + model.likelihood(z).log_prob(x) - model.posterior(x).log_prob(z)
    torch.testing.assert_close(bayes, model.log_prob(x))


def test_a_trained_model_comes_back(tmp_path):
    model = ConvVAE((1, 32, 32), latent=3, widths=(2, 2, 2, 2, 2), sigma="calibrated").eval()
    model.pixels.calibrate(torch.tensor(0.01))
    checkpoints.save("v", model, {"data": "none", "profile": "quick", "metrics": {}}, folder=tmp_path)
    again = checkpoints.load("v", folder=tmp_path)
    x = torch.rand(2, 1, 32, 32) * 2 - 1
    assert torch.equal(model(x), again(x)) and torch.equal(model.pixels.sigma, again.pixels.sigma)
    assert math.isfinite(again.pixels.sigma.item())


def test_what_the_likelihood_estimators_ask_for_is_a_type(tmp_path):
    for model in (MLPVAE((1, 4, 4), 2, (8,)), ConvVAE((3, 8, 8), 2, (4, 4)), LinearGaussianVAE(torch.ones(3, 2))):
        assert isinstance(model, LatentVariableModel)
    assert not isinstance(SmallEnergy(), LatentVariableModel)
    # It stands beside the networks, and still no card can name it as one.
    checkpoints.save("vae", MLPVAE((1, 4, 4), 2, (8,)), {"data": "none"}, folder=tmp_path)
    checkpoints.rewrite_card("vae", {"model": "LatentVariableModel"}, folder=tmp_path)
    with pytest.raises(ValueError, match="does not have"):
        checkpoints.load("vae", folder=tmp_path)
