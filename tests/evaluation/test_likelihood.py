"""Likelihood estimators against the one model with an exact answer, and against misuse."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal

from gen_utils.evaluation.fitted_density import fit_density
from gen_utils.evaluation.likelihood import (
    annealed_log_weights,
    bits_per_dim,
    fitted_log_weights,
    importance_log_weights,
    importance_weighted,
    log_mean_exp,
    log_mean_exp_error,
    log_ratios_at,
    posterior_density,
    posterior_draws,
    posterior_log_ratios,
    weight_ess,
)
from gen_utils.models import MLPVAE, LinearGaussianVAE
from gen_utils.samplers import HMC

N_IMAGES = 4


def oracle(d: int, seed: int = 0):
    """A linear-Gaussian VAE with d latent dimensions, images of it, their exact log p, and its stream."""
    stream = torch.Generator().manual_seed(100 * d + seed)
    weight = torch.randn(2 * d + 5, d, generator=stream, dtype=torch.float64) / math.sqrt(d)
    model = LinearGaussianVAE(weight, sigma=0.5)
    x = model.sample(N_IMAGES, generator=stream)
    return model, x, model.log_prob(x), stream


def scaled(posterior: MultivariateNormal, factor: float) -> MultivariateNormal:
    return MultivariateNormal(posterior.mean, factor**2 * posterior.covariance_matrix)


def z_scores(log_ratios: torch.Tensor) -> torch.Tensor:
    """(B,) how far the mean of exp(log_ratios), whose expectation is 1, is from it in its Monte-Carlo errors."""
    ratio = log_ratios.exp()
    return (ratio.mean(0) - 1) / (ratio.std(0) / math.sqrt(len(ratio)))


@pytest.mark.parametrize("factor", [1.0, 0.9, 1.2])
@pytest.mark.parametrize("d", [2, 10, 50])
def test_importance_weights_average_to_p(d, factor):
    model, x, exact, stream = oracle(d)
    log_w = importance_log_weights(model, x, 2000, proposal=scaled(model.posterior(x), factor), generator=stream)
    assert log_w.shape == (2000, N_IMAGES) and log_w.dtype == torch.float64
    if factor == 1.0:  # with the exact posterior every single weight is p(x)
        torch.testing.assert_close(log_w, exact.expand_as(log_w))
        return
    assert z_scores(log_w - exact).abs().max() < 5
    # Four and a half errors: the weights are skewed in fifty dimensions, their logarithm less so.
    assert ((log_mean_exp(log_w) - exact).abs() < 4.5 * log_mean_exp_error(log_w) + 1e-9).all()
    gap = (log_w.mean(0) - exact).mean().item()  # the ELBO's: KL(q, posterior), known for Gaussians
    assert gap == pytest.approx(-d / 2 * (factor**2 - 1 - 2 * math.log(factor)), abs=0.05 * math.sqrt(d))


@pytest.mark.parametrize("d", [2, 10, 50])
def test_more_draws_tighten_the_lower_bound(d):
    model, x, exact, stream = oracle(d)
    log_w = importance_log_weights(model, x, 4096, proposal=scaled(model.posterior(x), 1.3), generator=stream)
    gaps = [(exact - log_mean_exp(log_w.reshape(-1, k, N_IMAGES), 1)).mean().item() for k in (1, 8, 64)]
    assert gaps[0] > gaps[1] > gaps[2] > -0.05


@pytest.mark.parametrize("shrink", [0.9, 1.1])
@pytest.mark.parametrize(("d", "n"), [(2, 300), (10, 400), (50, 800)])
def test_appendix_d_averages_to_one_over_p(d, n, shrink):
    model, x, exact, stream = oracle(d)
    log_r = posterior_log_ratios(model, x, n, shrink=shrink, n_leapfrog=5, generator=stream)
    assert log_r.shape == (n, N_IMAGES)
    # Four chains an image, four images: the error of one image is itself uncertain, so take their mean.
    error = log_mean_exp_error(log_r, n_chains=4).square().mean().sqrt()
    assert error < 0.7
    # The worst of four images, each error from four means: a Student's t with three degrees of freedom.
    assert (-log_mean_exp(log_r) - exact).abs().max() < 5 * error + 0.05
    if shrink < 1 and d == 2:  # the public call: the same, without the ratios
        estimate = posterior_density(model, x, n, shrink=shrink, n_leapfrog=5, generator=stream)
        assert (estimate - exact).abs().max() < 5 * error + 0.05


def test_the_error_of_chains_is_that_of_their_means():
    """Draws in which every chain repeats itself ten times: the naive error is too small by √10, this one is right."""
    stream = torch.Generator().manual_seed(3)
    draws = 0.3 * torch.randn(50, 8, 200, generator=stream, dtype=torch.float64)  # (draw, chain, image)
    repeated = draws.repeat_interleave(10, 0).flatten(0, 1)
    truth = log_mean_exp(draws.flatten(0, 1)).std()
    naive, honest = (log_mean_exp_error(repeated, n_chains=n).square().mean().sqrt() for n in (None, 8))
    assert honest == pytest.approx(truth.item(), rel=0.15) and naive < 0.5 * truth
    with pytest.raises(ValueError, match="chains"):
        log_mean_exp_error(draws[:, 0], n_chains=7)


@pytest.mark.parametrize("d", [2, 10])
def test_lower_and_upper_bounds_bracket_the_answer(d):
    """Few draws and poor densities, many repetitions: the expectations lie on their sides."""
    model, x, exact, stream = oracle(d)
    low = importance_log_weights(model, x, 800, proposal=scaled(model.posterior(x), 1.4), generator=stream)
    low = log_mean_exp(low.reshape(400, 2, N_IMAGES), 1) - exact
    q = scaled(model.posterior(x), 0.7)
    z = model.posterior(x).sample((800,))
    joint = model.prior().log_prob(z) + torch.stack([model.likelihood(part).log_prob(x) for part in z])
    high = -log_mean_exp((q.log_prob(z) - joint).reshape(400, 2, N_IMAGES), 1) - exact
    assert low.mean() < -3 * low.std() / 40 and high.mean() > 3 * high.std() / 40


def test_reusing_the_fitted_draws_is_biased_and_more_so_in_more_dimensions():
    gaps = []
    for d in (3, 20):
        model, x, exact, stream = oracle(d)
        settings = dict(n_warmup=80, n_leapfrog=5, generator=stream)
        reused = posterior_density(model, x, 120, fresh=False, **settings) - exact
        fresh = posterior_density(model, x, 120, **settings) - exact
        gaps.append((fresh - reused).mean().item())
    assert gaps[1] > gaps[0] and gaps[1] > 1.0
    assert reused.mean() < -0.5  # below the answer, where an upper bound must not be


class TwoHills:
    """x = z² + noise in one latent dimension: the posterior of x = 4 has two hills, near ±2, that no chain crosses."""

    def prior(self):
        return Independent(Normal(torch.zeros(1), 2.0), 1)

    def posterior(self, x):
        return Independent(Normal(torch.zeros(len(x), 1), torch.full((len(x), 1), 1.0)), 1)

    def likelihood(self, z):
        return Independent(Normal(z.square(), 0.8), 1)

    def log_prob(self, x):
        z = torch.linspace(-12, 12, 20_001)[:, None]
        joint = self.prior().log_prob(z) + self.likelihood(z).log_prob(x)
        return torch.logsumexp(joint, 0) + math.log(24 / 20_000)


def test_fresh_draws_are_not_those_of_chains_that_are_stuck_where_the_density_was_fitted():
    model, x, stream = TwoHills(), torch.full((200, 1), 4.0), torch.Generator().manual_seed(4)
    draws = posterior_draws(model, x, 30, n_chains=1, n_warmup=150, generator=stream)
    assert draws.fitted.shape == draws.fresh.shape == (30, 1, 200, 1)
    stuck = [(rows.sign() == rows[:1].sign()).float().mean() for rows in (draws.fitted, draws.fresh)]
    assert min(stuck) > 0.99  # next to no chain changes hills
    same = (draws.fitted[0].sign() == draws.fresh[0].sign()).float().mean()
    assert 0.35 < same < 0.65  # 1 when the fresh chains go on from the fitted ones
    # 1/p̂ is unbiased over the starts. Chains that went on would give 2/p, an "upper bound" of log p - log 2.
    log_r = log_ratios_at(draws, covariance="diagonal", shrink=0.9)
    ratio = (log_r + model.log_prob(x[:1])).exp().mean(0)
    assert ratio.mean().item() == pytest.approx(1, abs=0.3)
    # With several chains R-hat tells that they have not met; on one hill it would be near 1.
    four = posterior_draws(model, x[:6], 40, n_chains=4, n_warmup=150, generator=stream)
    assert four.rhat().min() > 1.5


def test_draws_know_their_energies_and_whether_the_chains_have_met():
    model, x, _, stream = oracle(3)
    draws = posterior_draws(model, x, 402, n_warmup=60, n_leapfrog=6, thin=2, generator=stream)
    assert draws.fresh.shape == (101, 4, N_IMAGES, 3) and draws.rows().shape == (402, N_IMAGES, 3)
    assert draws.energies.shape == (101, 8, N_IMAGES)
    torch.testing.assert_close(-draws.log_joint(draws.rows(fresh=False)), draws.energies[:, :4].flatten(0, 1)[:402])
    torch.testing.assert_close(-draws.log_joint(draws.rows()), draws.energies[:, 4:].flatten(0, 1)[:402])
    assert draws.rhat().shape == (N_IMAGES,) and draws.rhat().max() < 1.1
    only = posterior_draws(model, x, 40, fit=False, n_warmup=20, generator=stream)
    assert only.fitted is None and only.rhat().shape == (N_IMAGES,)
    with pytest.raises(ValueError, match="nothing to fit a density to"):
        log_ratios_at(only)


@pytest.mark.parametrize("d", [2, 10])
def test_one_set_of_draws_gives_a_bound_from_both_sides(d):
    model, x, exact, stream = oracle(d)
    draws = posterior_draws(model, x, 400, n_warmup=80, n_leapfrog=5, generator=stream)
    log_w = fitted_log_weights(draws, 1000, generator=stream)
    assert log_w.shape == (1000, N_IMAGES)
    assert ((log_mean_exp(log_w) - exact).abs() < 5 * log_mean_exp_error(log_w) + 1e-3).all()
    assert weight_ess(log_w).min() > 100
    for shrink in (0.9, 1.0):
        assert (-log_mean_exp(log_ratios_at(draws, shrink=shrink)) - exact).abs().max() < 0.4


def test_a_mixture_and_the_encoder_as_densities():
    for density in ("gmm", "encoder"):
        model, x, exact, stream = oracle(2)
        estimate = posterior_density(model, x, 200, density=density, n_components=2, n_warmup=60, generator=stream)
        assert estimate.shape == (N_IMAGES,) and (estimate - exact).abs().max() < 0.5
    diagonal = posterior_density(model, x, 200, covariance="diagonal", n_warmup=60, generator=stream)
    assert (diagonal - exact).abs().max() < 1.0


def test_a_shrunk_covariance_needs_fewer_draws():
    model, x, exact, stream = oracle(50)
    errors = {}
    for covariance in ("full", "shrunk"):
        estimate = posterior_density(model, x, 120, covariance=covariance, n_warmup=80, n_leapfrog=5, generator=stream)
        errors[covariance] = (estimate - exact).abs().mean()
    assert errors["shrunk"] < errors["full"]


@pytest.mark.parametrize("density", ["gaussian", "gmm"])
def test_a_few_draws_along_one_line_have_a_density(density):
    """In float32 such a covariance, which is nearly singular, was refused on some machines."""
    stream = torch.Generator().manual_seed(0)
    for scale in (1e-3, 1.0, 1e3):
        line = torch.randn(26, 3, 1, generator=stream) * torch.randn(10, generator=stream)
        samples = scale * (line + 1e-4 * torch.randn(26, 3, 10, generator=stream))
        fitted = fit_density(samples, density, "full", 2, 1.0, stream)
        assert fitted.log_prob(samples).isfinite().all() and fitted.sample((5,)).isfinite().all()


@pytest.mark.parametrize(
    ("d", "base", "n", "kernel"),
    [(d, base, 60, None) for d in (2, 10) for base in ("prior", "posterior")] + [(50, "prior", 200, HMC(0.1, 10))],
    ids=str,
)
def test_annealing_finds_p(d, base, n, kernel):
    model, x, exact, stream = oracle(d)
    log_w = annealed_log_weights(model, x, 24, n, base=base, kernel=kernel, generator=stream)
    assert log_w.shape == (24, N_IMAGES)
    assert (log_mean_exp(log_w) - exact).abs().max() < 5 * log_mean_exp_error(log_w).max() + 0.05
    assert (log_w.mean(0) < exact + 0.3).all()


def test_the_estimators_agree_on_a_vae_that_is_not_linear():
    torch.manual_seed(0)
    model = MLPVAE((1, 4, 4), latent=2, hidden=(8, 8)).eval()
    x = model.likelihood(model.prior().sample((3,))).sample()
    stream = torch.Generator().manual_seed(0)
    low = importance_weighted(model, x, 3000, proposal=model.prior().expand((3,)), generator=stream)
    high = posterior_density(model, x, 300, n_warmup=60, n_leapfrog=5, shrink=0.9, generator=stream)
    assert low.shape == high.shape == (3,) and not low.requires_grad
    assert (low - high).abs().max() < 0.3


def test_one_seed_one_answer_and_the_global_stream_left_alone():
    model, x, _, _ = oracle(2)
    before = torch.get_rng_state()
    runs = [importance_weighted(model, x, 5, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*runs) and torch.equal(before, torch.get_rng_state())


# --- bits ------------------------------------------------------------------------------------------


def test_a_unit_variance_gaussian_cannot_score_under_933_bits():
    n_dims = 3 * 8 * 8
    perfect = Independent(Normal(torch.zeros(n_dims), 1.0), 1).log_prob(torch.zeros(n_dims))
    floor = bits_per_dim(perfect, n_dims)
    assert floor.item() == pytest.approx(9.3257, abs=1e-3) and floor > 8
    assert floor.item() == pytest.approx(8 + 0.5 * math.log2(2 * math.pi), abs=1e-5)
    # The same model with pixels in [-1, 1]: twice the standard deviation, half the levels in one unit.
    twice = Independent(Normal(torch.zeros(n_dims), 2.0), 1).log_prob(torch.zeros(n_dims))
    assert bits_per_dim(twice, n_dims, levels=128).item() == pytest.approx(floor.item(), abs=1e-5)
    # The original assignment's figure is the density's, without the levels.
    assert bits_per_dim(-11_821, 64 * 64 * 3, levels=1) == pytest.approx(1.388, abs=1e-3)
    assert bits_per_dim(-11_821, 64 * 64 * 3) > 9.3257


def test_bits_of_uniform_bytes_are_eight():
    assert bits_per_dim(0.0, 10) == pytest.approx(8)  # the uniform density on [0, 1]
    assert bits_per_dim(-10 * math.log(256), 10, levels=1) == pytest.approx(8)
    assert bits_per_dim(torch.tensor([0.0, 0.0]), 10).tolist() == [8, 8]


# --- misuse ----------------------------------------------------------------------------------------


class Bad:
    """A model with one thing wrong."""

    def __init__(self, likelihood):
        self.likelihood = likelihood

    def prior(self):
        return Independent(Normal(torch.zeros(2), 1.0), 1)

    def posterior(self, x):
        return Independent(Normal(torch.zeros(len(x), 2), 1.0), 1)


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        (lambda z: z, "must return a torch Distribution"),
        (lambda z: Normal(torch.zeros(len(z), 4), 1.0), "Independent moves axes"),
        (lambda z: Independent(Normal(torch.zeros(len(z), 5), 1.0), 1), "one distribution an image"),
        (lambda z: Categorical(logits=torch.zeros(len(z), 4)), "one distribution an image"),
    ],
)
@pytest.mark.parametrize("estimate", [importance_weighted, posterior_density])
def test_a_likelihood_that_is_not_one_over_the_image(likelihood, message, estimate):
    with pytest.raises(ValueError, match=message):
        estimate(Bad(likelihood), torch.zeros(3, 4), 4)


def test_images_outside_of_the_support():
    model = MLPVAE((1, 4, 4), latent=2, hidden=(8, 8)).eval()
    with pytest.raises(ValueError, match="3 of 3 images have values outside the support"):
        importance_weighted(model, torch.full((3, 1, 4, 4), 0.3), 2)
    linear, x, _, _ = oracle(2)
    x[1, 0] = math.nan
    with pytest.raises(ValueError, match="x: 1 of 36 values are not finite"):
        posterior_density(linear, x, 50)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: importance_weighted(m, x, 0), "n_samples must be at least 1"),
        (lambda m, x: importance_weighted(m, x, 2, proposal=m.prior()), "one distribution an image"),
        (lambda m, x: posterior_density(m, x, 0), "n_samples must be at least 1"),
        (lambda m, x: posterior_density(m, x, 50, density="kde"), "density must be one of"),
        (lambda m, x: posterior_density(m, x, 8, n_warmup=5, covariance="half"), "covariance must be one of"),
        (lambda m, x: posterior_density(m, x, 3, n_warmup=5), "too few to fit"),
        (lambda m, x: posterior_density(m, x, 8, n_warmup=5, shrink=0.0), "shrink must be a finite number, above 0"),
        (
            lambda m, x: posterior_density(m, x, 9, n_warmup=5, density="gmm", covariance="shrunk"),
            "a mixture is fitted",
        ),
        (lambda m, x: annealed_log_weights(m, x, 2, 2, base="flow"), "base must be one of"),
        (lambda m, x: annealed_log_weights(m, x, 0, 2), "n_chains must be at least 1"),
        (lambda m, x: bits_per_dim(0.0, 0), "n_dims must be at least 1"),
    ],
)
def test_bad_arguments(call, message):
    model, x, _, _ = oracle(2)
    with pytest.raises(ValueError, match=message):
        call(model, x)


def test_error_and_effective_size_of_equal_weights():
    assert log_mean_exp_error(torch.zeros(9, 2)).tolist() == [0, 0]
    assert weight_ess(torch.zeros(9, 2)).tolist() == pytest.approx([9, 9])


def test_the_size_of_weights_does_not_matter():
    for level in (-1.2e6, 0.0, 1.2e6):
        assert weight_ess(torch.full((100,), level)) == 100
        assert weight_ess(torch.tensor([level, level, -math.inf])) == 2
        assert log_mean_exp_error(torch.full((100,), level)) == 0
        assert log_mean_exp(torch.full((100,), level)) == level
    assert weight_ess(torch.full((100_000,), -5.0).half()) == 100_000


def test_one_weight_has_no_error_and_none_no_worth():
    with pytest.raises(ValueError, match="log_weights must hold at least 2"):
        log_mean_exp_error(torch.zeros(1, 5))
    assert log_mean_exp(torch.full((3,), -math.inf)) == -math.inf
    for function in (weight_ess, log_mean_exp_error):
        with pytest.raises(ValueError, match="all along an axis are -inf"):
            function(torch.full((3,), -math.inf))


def test_a_model_in_training_mode_with_batch_norm_is_refused():
    from gen_utils.models import ConvVAE

    x = torch.rand(2, 3, 32, 32) * 2 - 1
    model = ConvVAE((3, 32, 32), latent=4, widths=(4, 8, 8, 8))
    with pytest.raises(ValueError, match=r"\.eval\(\) first"):
        importance_weighted(model.train(), x, 2)
    assert importance_weighted(model.eval(), x, 2).shape == (2,)


def test_the_encoders_density_cannot_be_shrunk():
    model, x, _, _ = oracle(2)
    with pytest.raises(ValueError, match="taken as it is"):
        posterior_log_ratios(model, x, 8, density="encoder", shrink=0.9)
