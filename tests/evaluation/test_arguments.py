"""No figure is made from nothing: every public function of the package refuses bad arguments, and names them.

``TABLE`` has one row a function: a call that works, and what must be refused of each argument. A function or an
argument that is added to the package without its row fails here.
"""

import importlib
import inspect
import math
import pkgutil
import re
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from gen_utils import evaluation
from gen_utils.data import ImageSet
from gen_utils.evaluation import latent_posterior
from gen_utils.models import VQVAE, LinearGaussianVAE
from gen_utils.samplers import Langevin, UniformStart

NAN, INF = math.nan, math.inf


def public():
    """name -> function, of all that the modules define."""
    found = {}
    for module in pkgutil.iter_modules(evaluation.__path__):
        part = importlib.import_module(f"{evaluation.__name__}.{module.name}")
        for name, value in vars(part).items():
            if inspect.isfunction(value) and value.__module__ == part.__name__ and not name.startswith("_"):
                found[f"{module.name}.{name}"] = value
    return {name: value for name, value in found.items() if not name.startswith("arguments.")}


PUBLIC = public()

# Not asked for arguments, for these reasons.
EXEMPT = {
    "annealing.standard_normal": "a density, evaluated at every step of a chain",
    "latent_posterior.log_joint": "a density, evaluated at every step of a chain",
    "feature_networks.features_of": "a layer of a network",
    "feature_networks.inception_weights": "takes nothing",
    "feature_networks.has_inception": "takes nothing",
    "intervals.bootstrap": "takes its groups by position: see test_what_the_bootstrap_refuses",
}
# Arguments that are no values: networks, functions, streams and switches, and settings that go on to another function.
FREE = {
    *("classifier", "network", "model", "energy", "kernel", "start", "proposal"),
    *("measure", "statistic", "log_joint", "log_base"),
    *(
        "generator",
        "seed",
        "fast",
        "strict",
        "fresh",
        "fit",
        "draws",
        "minibatch",
        "n_jobs",
        "shares",
        "dim",
        "settings",
    ),
}


# --- what works ----------------------------------------------------------------------------------


class Halves:
    """A denoiser that believes half of what it sees."""

    def denoise(self, x, sigma):
        return x / 2


def pictures(n):
    return ImageSet(torch.arange(n * 16).reshape(n, 1, 4, 4).to(torch.uint8), None, (), "few", "few")


def draws(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stream():
    return torch.Generator().manual_seed(0)


class Sums(nn.Module):
    """Three logits of images with eight columns: sums of their parts."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.scale * torch.stack([x[..., i : i + 2].sum((1, 2, 3)) for i in (0, 2, 4)], 1)

    def features(self, x):
        return self(x)


def summed(x):
    return x.flatten(1).sum(1)


@cache
def linear():
    return LinearGaussianVAE(draws(3, 2), sigma=0.5)


@cache
def vqvae():
    return VQVAE(n_codes=8, code_dim=2, width=4, n_blocks=1)


IMAGES = torch.rand(6, 3, 8, 8, generator=stream()) * 2 - 1
BYTES = (torch.rand(6, 3, 8, 8, generator=stream()) * 255).to(torch.uint8)
DIGITS = (torch.rand(6, 1, 28, 28, generator=stream()) * 255).to(torch.uint8)
FEATURES, OTHERS = draws(12, 3), draws(10, 3, seed=1)
LOGITS, LABELS = draws(6, 3), torch.tensor([0, 1, 2, 0, 1, 1])
GROUPS, CLASSES = torch.tensor([0, 1, 2] * 4), torch.tensor([0, 1] * 6)
FACTORS = torch.stack((GROUPS, CLASSES), 1)
TOKENS = torch.arange(8).reshape(2, 2, 2)
PATH = draws(20, 3, 2)
X = draws(2, 3)
LOG_WEIGHTS = draws(8, 2)


# --- what does not -------------------------------------------------------------------------------


def with_one(x, value):
    """x with one entry changed, as floats where it must be."""
    x = x.clone() if x.is_floating_point() else x.double()
    x.view(-1)[0] = value
    return x


def numbers(x, least=1):
    """Nothing, too few rows, NaN, infinities, an axis too few, words."""
    few = [x[: least - 1]] if least > 1 else []
    return [x[:0], *few, with_one(x, NAN), with_one(x, INF), with_one(x, -INF), x[0], np.full(x.shape, "a")]


def whole_numbers(x, n_classes=None):
    """Nothing, another axis, NaN, halves, and numbers that are no class."""
    outside = [] if n_classes is None else [with_one(x, -1).long(), with_one(x, n_classes).long()]
    return [x[:0], x[0], with_one(x, NAN), with_one(x, INF), with_one(x, 0.5), *outside]


def labels(x, n_classes=None):
    return [*whole_numbers(x, n_classes), x[:-1], x[:, None]]


def floats(x, least=1):
    """Images that are none, not floats, or from another box."""
    few = [x[: least - 1]] if least > 1 else []
    other = [x[0], x[:, :, 0], with_one(x, NAN), with_one(x, INF), with_one(x, -INF), 127.5 * (x + 1), 3 * x]
    return [x[:0], *few, *other, x.long(), (127.5 * (x + 1)).to(torch.uint8), x.numpy()]


def uint8(x):
    return [x[:0], x[0], x.float(), x / 127.5 - 1, x.long(), x.numpy()]


def either(x):
    """As uint8 or floats: no images, other integers, floats that are not in [-1, 1]."""
    return [x[:0], x[0], x.long(), x.float(), with_one(x / 127.5 - 1, NAN), with_one(x / 127.5 - 1, INF), x.numpy()]


def count(least=1):
    return [least - 1, -1, least + 0.5, NAN, INF, "three", None]


def log_weights(x, least=1):
    few = [x[: least - 1]] if least > 1 else []
    return [x[:0], *few, with_one(x, NAN), with_one(x, INF), x.long(), torch.tensor(0.0, dtype=torch.float64)]


POSITIVE = [0, -1, NAN, INF, "one", None]
SHARE = [0, 1, -0.1, 95, NAN, "95 %", None]
BOX = [(1.0, -1.0), (0.0, 0.0), (NAN, 1.0), (0.0, NAN), (0.0,), 3, None]
WORD = ["none", "", None, 1]
STRENGTH = [-0.1, 1.1, NAN, INF, torch.full((6,), NAN), torch.full((5,), 0.5)]
DAMAGED = {"x": floats(IMAGES), "strength": STRENGTH}
DAMAGED_IN_PAIRS = {"x": floats(IMAGES, 2), "strength": STRENGTH}
DAMAGE = {"x": IMAGES, "strength": 0.5, "generator": stream()}
PAIR = {"features_a": FEATURES, "features_b": OTHERS}
BAD_PAIR = {"features_a": numbers(FEATURES, 2), "features_b": [*numbers(OTHERS, 2), OTHERS[:, :2]]}
CLUSTERED = {"clusters": GROUPS, "labels": CLASSES}
BAD_CLUSTERED = {"clusters": labels(GROUPS), "labels": labels(CLASSES)}
COUNTED = {**CLUSTERED, "n_clusters": 3, "n_classes": 2}
BAD_COUNTED = {
    "clusters": labels(GROUPS, 3),
    "labels": labels(CLASSES, 2),
    "n_clusters": [0, 2.5, NAN],
    "n_classes": [0, 1.5, NAN],
}
ATTACK = {"classifier": Sums(), "x": IMAGES, "labels": LABELS, "radius": 0.1}
BAD_ATTACK = {
    "x": [*floats(IMAGES), IMAGES.half(), IMAGES * 1.005],
    "labels": labels(LABELS, 3),
    "radius": [-0.1, NAN, INF, "0.1", None],
    "bounds": [*BOX, (-INF, INF)],
}
MODEL = {"model": linear(), "x": X, "generator": stream()}


def a_few_draws():
    return latent_posterior.posterior_draws(linear(), X, 8, n_warmup=5, n_leapfrog=2, generator=stream())


BAD_X = [X[:0], with_one(X, NAN), with_one(X, INF), X[0, 0]]

# name -> (arguments that work, what is refused of each); after "|": what the refusal says in place of the name.
TABLE = {
    "controls.controls": (
        {"images": pictures(4), "n": 5},
        {"images": [pictures(1)], "n": [0, -1, 1.5]},
    ),
    "denoising.denoising_errors": (
        {"model": Halves(), "images": draws(3, 1, 4, 4).clamp(-1, 1), "sigma": 0.5},
        {"images": [draws(0, 1, 4, 4), draws(3, 4)], "sigma": [0, -1, NAN], "batch_size": [0, 1.5]},
    ),
    "flow_likelihood.flow_log_likelihood": (
        {"model": Halves(), "x": draws(2, 2)},
        {
            "x": [draws(2, 2) * NAN],
            "low": [0, -1, NAN],
            "high": [0.001, NAN],
            "n_probes": [0, 1.5],
            "tolerance": [0, 1, NAN],
            "sigma_data": [-1, NAN],
        },
    ),
    "annealing.annealed_importance": (
        {"log_joint": lambda z: -z.square().sum(1), "z0": draws(4, 2), "n_temperatures": 3},
        {
            "z0|start": [draws(0, 2), with_one(draws(4, 2), NAN), with_one(draws(4, 2), INF)],
            "n_temperatures": [0, -1, 1.5, None],
            "betas": [[0, 1], [0, 0.6, 0.5, 1], [1, 0.5, 0.2, 0], [0, NAN, 0.5, 1], [0.1, 0.3, 0.5, 1]],
        },
    ),
    "annealing.sigmoid_betas": ({"n_temperatures": 3}, {"n_temperatures": [0, -1, 1.5], "slope": [*POSITIVE, 1000]}),
    "attacks.pgd": (ATTACK, {**BAD_ATTACK, "norm": WORD, "n_steps": count()}),
    "attacks.robust_accuracy": (ATTACK, {**BAD_ATTACK, "batch_size": count()}),
    "chains.ess": ({"path": PATH}, {"path": [None, *numbers(PATH, 4)[:5], PATH[:, 0, 0]], "method": WORD}),
    "chains.split_rhat": ({"path": PATH}, {"path": [None, *numbers(PATH, 4)[:5], PATH[:, 0, 0], PATH[:, :1]]}),
    "chains.autocorrelation": (
        {"path": PATH, "max_lag": 5},
        {"path": [None, *numbers(PATH, 4)[:5], PATH[:, 0, 0]], "max_lag": [-1, 20, 1.5, NAN, "five"]},
    ),
    "chains.grid_kl": (
        {"samples": draws(9, 2).clamp(-1, 1), "energy": summed, "extent": (-1.0, 1.0, -1.0, 1.0), "n_bins": 4},
        {
            "samples": [*numbers(draws(9, 2))[:-1], draws(9, 3)],
            "extent": [(1, -1, 0, 1), (0, 1, 1, 1), (0, 1, NAN, 1), (0, INF, 0, 1), (0, 1)],
            "n_bins": count(),
            "n_points": count(),
            "log_z": [NAN, INF, -INF, "one", -10.0],
        },
    ),
    "classification.logits_of": (
        {"classifier": Sums(), "images": BYTES},
        {"images": either(BYTES), "batch_size": count(), "bounds": BOX},
    ),
    "classification.reliability": (
        {"logits": LOGITS, "labels": LABELS},
        {"logits": [*numbers(LOGITS), LOGITS[:, :1]], "labels": labels(LABELS, 3), "n_bins": count()},
    ),
    "classification.fit_temperature": (
        {"logits": LOGITS, "labels": LABELS},
        {"logits": [*numbers(LOGITS), LOGITS[:, :1]], "labels": [*labels(LABELS, 3), torch.full((6,), -100)]},
    ),
    "classification.outlier_scores": (
        {"classifier": Sums(), "x": IMAGES},
        {"x": floats(IMAGES), "batch_size": count()},
    ),
    "clustering.kmeans": (
        {"features": FEATURES, "n_clusters": 2},
        {"features": numbers(FEATURES, 2), "n_clusters": [0, 1, 13, 2.5, NAN], "n_init": count()},
    ),
    "clustering.nearest_centroid": (
        {"features": FEATURES, "centroids": OTHERS},
        {"features": numbers(FEATURES), "centroids": [*numbers(OTHERS), OTHERS[:, :2]]},
    ),
    "clustering.silhouette": (
        {"features": FEATURES, "clusters": GROUPS},
        {
            "features": [*numbers(FEATURES), FEATURES[:5]],
            "clusters": [*labels(GROUPS), torch.zeros(12).long(), torch.arange(12)],
            "n": count(3),
        },
    ),
    "clustering.scan_k": (
        {"features": FEATURES, "ks": (2,), "seeds": (0,)},
        {
            "features": numbers(FEATURES, 2),
            "ks": [()],
            "ks|n_clusters": [(1,), (13,), (2.5,)],
            "seeds": [()],
            "n": count(3),
            "n_init": count(),
        },
    ),
    "clustering.best_k": (
        {"rows": [{"k": 2, "silhouette": 0.5}]},
        {"rows": [[], [{"k": 2, "silhouette": NAN}], [{"k": 2, "silhouette": INF}]]},
    ),
    "clustering.contingency": (COUNTED, BAD_COUNTED),
    "clustering.percentages": (COUNTED, BAD_COUNTED),
    "clustering.name_clusters": (COUNTED, BAD_COUNTED),
    "clustering.hungarian_accuracy": (CLUSTERED, BAD_CLUSTERED),
    "clustering.agreement": (CLUSTERED, BAD_CLUSTERED),
    "collapse.energy_report": (
        {"energy": summed, "images": IMAGES, "generator": stream()},
        {"images": [*floats(IMAGES, 2), IMAGES[..., :3]]},
    ),
    "collapse.chain_length_test": (
        {
            "energy": summed,
            "kernel": Langevin(0.01, bounds=(-1.0, 1.0)),
            "start": UniformStart((1, 2, 2)),
            "lengths": (0, 2),
            "measure": lambda x: x.float().mean(),
            "n": 3,
            "generator": stream(),
        },
        {"lengths": [(), (-1,), (1.5,), (NAN,)], "n": count()},
    ),
    "corruptions.blur": (DAMAGE, {"x": [*floats(IMAGES), IMAGES[..., :7]], "strength": STRENGTH}),
    "corruptions.noise": (DAMAGE, DAMAGED),
    "corruptions.blend": (DAMAGE, DAMAGED_IN_PAIRS),
    "corruptions.patchwork": (DAMAGE, DAMAGED_IN_PAIRS),
    "corruptions.missing": (DAMAGE, DAMAGED),
    "corruptions.tint": (DAMAGE, {"x": [*floats(IMAGES), IMAGES[:, :1]], "strength": STRENGTH}),
    "corruptions.checkerboard": (DAMAGE, DAMAGED),
    "corruptions.mode_drop": (DAMAGE, {"x": floats(IMAGES, 3), "strength": STRENGTH}),
    "corruptions.distances_under_damage": (
        {"measure": lambda x: x.double().mean(), "images": BYTES},
        {
            "images": uint8(BYTES),
            "strengths": [()],
            "strengths|strength": [(-0.1,), (2.0,), (NAN,)],
            "names": [(), ("rain",)],
        },
    ),
    "corruptions.corruptions": ({"images": IMAGES, "generator": stream()}, {"images": floats(IMAGES)}),
    "corruptions.shift": (
        {"images": IMAGES, "pixels": 2},
        {"images": floats(IMAGES), "pixels": [0, -1, 8, 1.5, NAN]},
    ),
    "coverage.class_coverage": (
        {"logits": LOGITS},
        {"logits": [*numbers(LOGITS), LOGITS[:, :1]], "threshold": [0, -0.1, 1.1, 90, NAN, "half", None]},
    ),
    "coverage.stacked_modes": (
        {"digits": torch.tensor([[1, 2, 3]])},
        {"digits": [*whole_numbers(torch.tensor([[1, 2, 3]]), 10), torch.zeros(4, 2)], "n_classes": count(2)},
    ),
    "coverage.precision_recall": (
        {"features_real": FEATURES, "features_fake": OTHERS},
        {"features_real": numbers(FEATURES, 4), "features_fake": numbers(OTHERS, 4), "k": count()},
    ),
    "disentanglement.mutual_information": (
        {"codes": FEATURES, "factors": FACTORS},
        {"codes": [*numbers(FEATURES, 2), FEATURES[:5]], "factors": labels(FACTORS), "n_bins": count(2)},
    ),
    "disentanglement.mutual_information_gap": (
        {"codes": FEATURES, "factors": FACTORS},
        {
            "codes": [*numbers(FEATURES, 2), FEATURES[:5], FEATURES[:, :1]],
            "factors": [*labels(FACTORS), torch.zeros(12, 2)],
            "n_bins": count(2),
        },
    ),
    "disentanglement.dci": (
        {"codes": FEATURES, "factors": FACTORS, "n_trees": 3},
        {
            "codes": [*numbers(FEATURES, 8), FEATURES[:9], FEATURES[:, :1], torch.ones(12, 3)],
            "factors": [*labels(FACTORS), torch.zeros(12, 2), FACTORS[:, :1]],
            "n_trees": count(),
        },
    ),
    "feature_networks.feature_network": ({"name": "digit_classifier"}, {"name": WORD}),
    "fitted_density.fit_density": (
        {
            "samples": draws(9, 2, 2),
            "density": "gaussian",
            "covariance": "full",
            "n_components": 2,
            "shrink": 1.0,
            "generator": stream(),
        },
        {
            "samples": numbers(draws(9, 2, 2), 4)[:-1],
            "density": WORD,
            "covariance": WORD,
            "n_components": count(),
            "shrink": POSITIVE,
        },
    ),
    "frechet.extract_features": (
        {"network": Sums(), "images": BYTES},
        {"images": either(BYTES), "batch_size": count()},
    ),
    "frechet.frechet_distance": (PAIR, BAD_PAIR),
    "frechet.frechet_interval": ({**PAIR, "n": 3}, {**BAD_PAIR, "n": count(2), "level": SHARE}),
    "frechet.image_distances": (
        {"network": "digit_classifier", "real": DIGITS, "fake": DIGITS, "resamples": 2, "strict": False},
        {"real": either(DIGITS), "fake": either(DIGITS), "resamples": [1, -1, 2.5, NAN]},
    ),
    "intervals.wilson": (
        {"successes": 3, "n": 5},
        {"successes": [-1, 6, 2.5, NAN, None], "n": [*count(), 2.5], "level": SHARE},
    ),
    "intervals.welch": (
        {"one": [1.0, 2.0, 4.0], "two": [3.0, 3.5]},
        {"one": [[], [1.0], [1.0, NAN]], "two": [[], [1.0], [INF, 1.0]], "level": SHARE},
    ),
    "intervals.log_mean_exp": ({"log_weights": LOG_WEIGHTS}, {"log_weights": log_weights(LOG_WEIGHTS)}),
    "intervals.weight_ess": (
        {"log_weights": LOG_WEIGHTS},
        {"log_weights": [*log_weights(LOG_WEIGHTS), torch.full((3, 2), -INF)]},
    ),
    "intervals.log_mean_exp_error": (
        {"log_weights": LOG_WEIGHTS},
        {
            "log_weights": [*log_weights(LOG_WEIGHTS, 2), torch.full((3, 2), -INF)],
            "n_chains": [0, 1, 3, 2.5, NAN],
        },
    ),
    "kernel_distance.kernel_distance": (PAIR, BAD_PAIR),
    "kernel_distance.kernel_interval": (
        {**PAIR, "n": 3},
        {
            "features_a": numbers(FEATURES, 4),
            "features_b": [*numbers(OTHERS, 4), OTHERS[:, :2]],
            "n": count(2),
            "level": SHARE,
        },
    ),
    "latent_posterior.posterior_energy": (
        {"model": linear(), "x": X, "n_chains": 2},
        {"x": BAD_X, "n_chains": count(), "whiten": WORD},
    ),
    "latent_posterior.posterior_draws": (
        {**MODEL, "n_samples": 6, "n_warmup": 5},
        {
            "x": BAD_X,
            "n_samples": count(),
            "n_chains": count(),
            "n_warmup": count(),
            "n_leapfrog": count(),
            "thin": count(),
        },
    ),
    "latent_posterior.elbo_surgery": ({"model": linear(), "x": X}, {"x": BAD_X, "n_draws": count()}),
    "latent_posterior.checked_posterior": ({"model": linear(), "x": X}, {"x": BAD_X}),
    "likelihood.importance_weighted": ({**MODEL, "n_samples": 2}, {"x": BAD_X, "n_samples": count()}),
    "likelihood.importance_log_weights": (
        {**MODEL, "n_samples": 2},
        {"x": BAD_X, "n_samples": count(), "rows": count()},
    ),
    "likelihood.posterior_density": (
        {**MODEL, "n_samples": 6, "n_warmup": 5},
        {"x": BAD_X, "n_samples": count(), "density": WORD},
    ),
    "likelihood.posterior_log_ratios": (
        {**MODEL, "n_samples": 6, "n_warmup": 5, "n_components": 1},
        {
            "x": BAD_X,
            "n_samples": count(),
            "density": WORD,
            "covariance": WORD,
            "n_components": count(),
            "shrink": POSITIVE,
            "n_chains": count(),
            "n_warmup": count(),
            "n_leapfrog": count(),
            "thin": count(),
        },
    ),
    "likelihood.log_ratios_at": (
        {"draws": a_few_draws(), "n_components": 1},
        {"density": WORD, "covariance": WORD, "n_components": count(), "shrink": POSITIVE},
    ),
    "likelihood.fitted_log_weights": (
        {"draws": a_few_draws(), "n_samples": 3},
        {"n_samples": count(), "covariance": WORD, "widen": POSITIVE},
    ),
    "likelihood.annealed_log_weights": (
        {**MODEL, "n_chains": 2, "n_temperatures": 2},
        {"x": BAD_X, "n_chains": count(), "n_temperatures": [0, -1, 1.5, None], "base": WORD},
    ),
    "likelihood.bits_per_dim": (
        {"log_prob": -3.0, "n_dims": 2},
        {"log_prob": [NAN, INF, torch.tensor([0.0, NAN])], "n_dims": count(), "levels": POSITIVE},
    ),
    "outliers.energies": ({"energy": summed, "images": IMAGES}, {"images": floats(IMAGES), "batch_size": count()}),
    "outliers.auroc": (
        {"energy_in": draws(5), "energy_out": draws(4)},
        {"energy_in": numbers(draws(5)), "energy_out": numbers(draws(4))},
    ),
    "token_features.token_histograms": (
        {"tokens": TOKENS, "n_codes": 8},
        {"tokens": whole_numbers(TOKENS, 8), "n_codes": count()},
    ),
    "token_features.one_hot_tokens": (
        {"tokens": TOKENS, "n_codes": 8},
        {"tokens": whole_numbers(TOKENS, 8), "n_codes": count()},
    ),
    "token_features.tokens_and_latents": (
        {"model": vqvae(), "images": DIGITS},
        {"images": uint8(DIGITS), "batch_size": count()},
    ),
}


def test_every_public_function_and_argument_has_its_row():
    assert set(TABLE) | set(EXEMPT) == set(PUBLIC)
    for name, (_, bad) in TABLE.items():
        told = {argument.split("|")[0] for argument in bad}
        assert told == set(inspect.signature(PUBLIC[name]).parameters) - FREE, name


@pytest.mark.parametrize("name", TABLE)
def test_good_arguments_pass(name):
    PUBLIC[name](**TABLE[name][0])


def refusals():
    for name, (_, bad) in TABLE.items():
        for argument, values in bad.items():
            yield pytest.param(name, argument, values, id=f"{name}-{argument}")


@pytest.mark.parametrize(("name", "argument", "values"), refusals())
def test_a_bad_argument_is_refused_by_name(name, argument, values):
    given, _, word = argument.partition("|")
    for value in values:
        with pytest.raises(ValueError, match=rf"\b{re.escape(word or given)}\b"):
            PUBLIC[name](**{**TABLE[name][0], given: value})


@pytest.mark.parametrize(
    ("groups", "settings", "message"),
    [
        ((), {}, "groups is empty"),
        (((),), {}, "a group of tensors is empty"),
        (((torch.zeros(0),),), {}, "tensor 1 of a group is empty"),
        (((torch.zeros(3), torch.zeros(2)),), {}, "one length"),
        *[(((torch.zeros(3),),), {"n": n}, "n must be at least 2") for n in count(2)],
        *[(((torch.zeros(3),),), {"level": level}, "level must be") for level in SHARE],
        *[(((torch.zeros(3),),), {"bounds": bounds}, "bounds must be") for bounds in BOX],
    ],
)
def test_what_the_bootstrap_refuses(groups, settings, message):
    with pytest.raises(ValueError, match=message):
        importlib.import_module("gen_utils.evaluation.intervals").bootstrap(lambda *x: 0.0, *groups, **settings)


# --- networks and functions whose answers are no numbers -----------------------------------------


def no_number(x):
    return torch.full((len(x),), NAN)


class Broken(Sums):
    def forward(self, x):
        return super().forward(x) * NAN


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("attacks.pgd", {"classifier": Broken()}),
        ("attacks.robust_accuracy", {"classifier": Broken()}),
        ("chains.grid_kl", {"energy": no_number}),
        ("chains.grid_kl", {"energy": lambda x: torch.full((len(x),), INF)}),
        ("classification.logits_of", {"classifier": Broken()}),
        ("classification.outlier_scores", {"classifier": Broken()}),
        ("collapse.energy_report", {"energy": no_number}),
        ("collapse.energy_report", {"energy": lambda x: summed(x) * INF}),
        ("collapse.chain_length_test", {"measure": lambda x: NAN}),
        ("corruptions.distances_under_damage", {"measure": lambda x: NAN}),
        ("frechet.extract_features", {"network": Broken()}),
        ("outliers.energies", {"energy": no_number}),
    ],
)
def test_answers_that_are_no_numbers_are_refused(name, given):
    with pytest.raises(ValueError, match=r"finite|NaN"):
        PUBLIC[name](**{**TABLE[name][0], **given})


def test_a_statistic_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="the statistic"):
        importlib.import_module("gen_utils.evaluation.intervals").bootstrap(lambda x: NAN, (torch.zeros(3),))
