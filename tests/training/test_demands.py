"""What cannot be trained is refused in one sentence that names the sizes or the setting, before anything is written."""

from dataclasses import replace

import pytest
import torch
from training.modules import CHAIN, CODES, MODULES, black_and_white, digits, game, made, tokens, vae

from gen_utils.data import ImageSet
from gen_utils.models import MLPVAE, VQVAE, Critic, Generator, ResNetClassifier, SmallClassifier, SmoothClassifier
from gen_utils.training import ClassifierTraining, FitConfig, VAETraining, VQVAETraining, fit
from gen_utils.training.ebm import EBMConfig
from gen_utils.training.gan import GANConfig, GANTraining, NonSaturating, Wasserstein, WassersteinGP
from gen_utils.training.jem import JEMConfig
from gen_utils.training.vaebm import VAEBMConfig


def images(*shape, labels=True):
    pixels = torch.zeros(40, *shape, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(40) % 10 if labels else None, (), "made", "made up")


def refused(module, data, folder, match, val=None):
    config = FitConfig(2, batch_size=20, run_dir=folder / "run")
    with pytest.raises(ValueError, match=match) as told:
        fit(module, data, val, config=config)
    assert "\n" not in str(told.value) and not (folder / "run").exists()


def other_size(kind, size):
    return images(1, 9, 9) if kind == "prior" else images(1, size, size)


# Pictures of any size will do for these, as long as their encoders can halve them.
ANY = {"classifier", "vqvae", "gumbel"}


@pytest.mark.parametrize("kind", sorted(MODULES.keys() - ANY))
@pytest.mark.parametrize("size", [32, 27])  # 27 pixels pass through a strided network for 28 without a word
def test_images_of_another_size_are_refused_with_both_sizes(kind, size, tmp_path):
    module, here = made(kind)
    wanted = " × ".join(map(str, here.shape))
    refused(module, other_size(kind, size), tmp_path, f"takes images of {wanted}, and 'made up' has 1 × .*; load them")
    refused(module, here, tmp_path, f"takes images of {wanted}", val=other_size(kind, size))


@pytest.mark.parametrize("kind", sorted(MODULES.keys() - {"prior"}))
def test_colour_for_a_grey_network_is_refused(kind, tmp_path):
    refused(made(kind)[0], images(3, 28, 28), tmp_path, r"takes images of 1 × .*, and 'made up' has 3 × 28 × 28")


def test_sides_that_cannot_be_halved_are_refused(tmp_path):
    refused(made("vqvae")[0], images(1, 30, 30), tmp_path, r"4 must divide their sides, and 'made up' has 30 × 30")


@pytest.mark.parametrize("kind", ["classifier", "jem", "conditional"])
def test_labels_must_be_there_and_be_known(kind, tmp_path):
    module, here = made(kind)
    refused(module, replace(here, labels=None), tmp_path, r"learns from images with labels, and .* has none")
    for labels, found in ((here.labels + 1, "1..10"), (here.labels - 1, "-1..8")):
        refused(module, replace(here, labels=labels), tmp_path, rf"of 10 classes knows the labels 0\.\.9, got {found}")


def test_a_classifier_that_knows_its_size_says_so(tmp_path):
    refused(ClassifierTraining(SmoothClassifier(width=4)), images(1, 32, 32), tmp_path, "1 × 28 × 28")
    refused(ClassifierTraining(ResNetClassifier(3, widths=(4,))), images(1, 32, 32), tmp_path, "3 × any × any")


def test_tokens_that_a_prior_does_not_know(tmp_path):
    data = replace(tokens(), images=tokens().images + 1)
    refused(made("prior")[0], data, tmp_path, r"a prior of 8 codes knows the tokens 0\.\.7, got 8")


def test_a_conditional_game_wants_labels_that_it_knows(tmp_path):
    module = GANTraining(Generator(latent_dim=4, width=4, n_classes=3), Critic(width=4, n_classes=3), GANConfig())
    refused(module, digits(), tmp_path, r"a conditional generator of 3 classes knows the labels 0\.\.2, got 0\.\.9")


# --- likelihoods ---------------------------------------------------------------------------------


def test_grey_images_under_a_bernoulli_likelihood_are_refused(tmp_path):
    refused(vae("bernoulli"), digits(), tmp_path, "black and white pixels, and .* has grey ones; binarise the images")
    for module, data in ((vae("bernoulli"), black_and_white()), (vae("bernoulli", binarised=True), digits())):
        run = fit(
            module, data, config=FitConfig(1, batch_size=20, run_dir=tmp_path / str(len(list(tmp_path.iterdir()))))
        )
        assert run.steps == 1


@pytest.mark.parametrize("likelihood", ["bernoulli", "discretised_logistic"])
def test_noise_on_the_pixels_is_refused_where_levels_have_a_probability(likelihood):
    with pytest.raises(ValueError, match=f"a {likelihood} likelihood is of the grey levels.*dequantised=False"):
        vae(likelihood, 0.1, dequantised=True)
    vae(likelihood, 0.1, dequantised=True, objective="mse")  # which asks for no probability


@pytest.mark.parametrize(
    "pixels", [torch.rand(2, 1, 28, 28), 255 * torch.ones(2, 1, 28, 28), torch.zeros(2, 1, 28, 28)]
)
def test_pixels_that_are_not_black_or_white_have_no_probability(pixels):
    model = MLPVAE((1, 28, 28), 2, (8, 8))
    with pytest.raises(ValueError, match=r"a Bernoulli likelihood is of pixels -1 and 1 \(binarise\), got \d+ others"):
        model.likelihood(torch.zeros(2, 2)).log_prob(pixels)


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["max_steps", "batch_size", "checkpoint_every", "validate_every", "log_every", "num_nodes"]
)
@pytest.mark.parametrize("value", [0, -1, 2.5, 1e3, True, "10"])
def test_numbers_of_steps_are_whole_and_positive(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, a whole number, got {value!r}"):
        FitConfig(**{"max_steps": 10, name: value})


@pytest.mark.parametrize("crop", [-1, 0.5])
def test_a_crop_is_a_number_of_pixels(crop):
    with pytest.raises(ValueError, match="crop must be zero or more, a whole number"):
        FitConfig(1, crop=crop)


@pytest.mark.parametrize("kind", [EBMConfig, JEMConfig, VAEBMConfig])
@pytest.mark.parametrize(
    ("setting", "match"),
    [
        (dict(n_steps=-1), "n_steps must be zero or more, a whole number, got -1"),
        (dict(capacity=0), "capacity must be at least 1, a whole number, got 0"),
        (dict(restart=1.5), r"restart is between 0 and 1, got 1\.5"),
        (dict(lr=0.0), r"lr is a positive number, got 0\.0"),
        (dict(lr=float("nan")), "lr is a positive number, got nan"),
        (dict(grad_norm=-1.0), r"grad_norm is a positive number, got -1\.0"),
        (dict(alpha=-0.1), r"alpha is zero or more, got -0\.1"),
        (dict(data_noise=-0.1), "data_noise is zero or more"),
        (dict(warmup=-1), "warmup is zero or more"),
        (dict(decay="linear"), "decay is"),
    ],
)
def test_a_recipe_of_chains_refuses_what_is_no_recipe(kind, setting, match):
    with pytest.raises(ValueError, match=match):
        kind(**setting)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: NonSaturating(lr=0.0), "lr is a positive number"),
        (lambda: Wasserstein(critic_steps=0), "critic_steps must be at least 1, a whole number, got 0"),
        (lambda: Wasserstein(clip=0.0), "clip is a positive number"),
        (lambda: WassersteinGP(weight=-1.0), "weight is zero or more"),
        (lambda: ClassifierTraining(SmallClassifier(), lr=-1e-3), "lr is a positive number"),
        (lambda: VAETraining(MLPVAE((1, 4, 4), likelihood="gaussian"), lr=0), "lr is a positive number"),
        (lambda: VAETraining(MLPVAE((1, 4, 4), likelihood="gaussian"), beta=-1.0), "beta is zero or more"),
        (lambda: VQVAETraining(VQVAE(**CODES), lr=0), "lr is a positive number"),
    ],
)
def test_settings_of_the_other_modules(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_recipe_that_is_one_passes():
    assert EBMConfig(**CHAIN, grad_norm=None).grad_norm is None
    assert game(NonSaturating()).config.objective.lr == 2e-4
