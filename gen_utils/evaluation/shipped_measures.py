"""How each shipped model is measured: one function a kind of model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import nn

from .. import checkpoints
from ..data import ImageSet, load_images, stratified, to_float
from ..models.conditional_energy import classify
from ..models.pixels import dequantise
from ..samplers import UniformStart
from .classification import bootstrap, logits_of, reliability, wilson
from .corruptions import CORRUPTIONS, distances_under_damage
from .coverage import class_coverage, precision_recall
from .frechet import extract_features, frechet_distance
from .kernel_distance import kernel_distance, kernel_interval
from .likelihood import bits_per_dim, importance_weighted
from .measured import Measured, frechet_of, mean_of, share
from .outliers import energies
from .shipped_draws import draw, labels_asked, refined
from .token_features import tokens_and_latents


@dataclass(frozen=True)
class Ask:
    """What is asked of a measure; see ``shipped.measure``."""

    root: str | None
    images: int | None
    seed: int
    chains: bool

    def at_most(self, n: int) -> int:
        """n, or as few as were asked for."""
        return n if self.images is None else min(n, self.images)


def _real(dataset: str, split: str = "test", **options) -> Callable[[str | None], ImageSet]:
    return lambda root: load_images(dataset, split, root=root, stand_in=False, **options)


def _first(images: ImageSet, n: int | None, seed: int = 0) -> ImageSet:
    """n of the images at random (files may come class after class), or all."""
    if n is None or n >= len(images):
        return images
    return images.take(torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n])


def _classifier(model: nn.Module, ask: Ask, *, data) -> dict[str, Measured]:
    test = _first(data(ask.root), ask.images)
    return {"test_accuracy": share(logits_of(model, test).argmax(1) == test.labels, {})}


def _faces(model: nn.Module, ask: Ask) -> dict[str, Measured]:
    """Are a face's features nearest to those of its own mirrored, shifted copy? Is damage put in order?"""
    from ..training.face_features import moved

    sets = [load_images(name, "test", root=ask.root, size=64, stand_in=False) for name in ("bitmoji", "celeba")]
    faces = _first(sets[1], ask.at_most(500))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(ask.seed)
        copies = moved(faces.images, 6)
    a, b = (nn.functional.normalize(extract_features(model, x), dim=1) for x in (faces.images, copies))
    twins = (a @ b.T).argmax(1) == torch.arange(len(a))
    found = {"twin_nearest": share(twins, {"of": len(a), "on": "held-out CelebA"})}
    if ask.images is None:
        real = extract_features(model, load_images("bitmoji", root=ask.root, size=64, stand_in=False))
        curves = distances_under_damage(
            lambda x: frechet_distance(real, extract_features(model, x)), sets[0].images, seed=ask.seed
        )
        ordered = sum(all(x < y for x, y in pairwise(c)) for c in curves.values())
        found["damage_in_order"] = Measured(ordered, None, {"of": len(CORRUPTIONS), "on": "held-out Bitmoji"})
    return found


def _energy(model: nn.Module, ask: Ask, *, data, split, size=None, judge, n, steps) -> dict[str, Measured]:
    """Fréchet distance of fresh chains to a split of the data; how far noise lies above held-out data."""
    held_out = _first(load_images(data, "test", root=ask.root, size=size, stand_in=False), ask.at_most(350))
    noise = UniformStart(model.event_shape).draw(len(held_out), generator=torch.Generator().manual_seed(ask.seed))
    gap = energies(model, noise) - energies(model, held_out.scaled())
    found = {"noise_above_data": mean_of(gap, {"unit": "nats"})}
    if ask.chains:
        network, real = checkpoints.load(judge), load_images(data, split, root=ask.root, size=size, stand_in=False)
        fake = draw(model, ask.at_most(n), data_root=ask.root, seed=ask.seed)
        details = {"features": judge, "chain_steps": steps, "start": "uniform noise"}
        distance = frechet_of(extract_features(network, real), extract_features(network, fake), details)
        found = {"frechet_distance": distance, **found}
    return found


def _on_request(model: nn.Module, ask: Ask, *, guess, start, steps) -> dict[str, Measured]:
    """Accuracy, and samples of each class as an independent classifier sees them."""
    judge, test = checkpoints.load("digit_classifier"), load_images("mnist", "test", root=ask.root, stand_in=False)
    some = _first(test, ask.images)
    right = torch.cat([guess(model, to_float(x)) for x in some.images.split(500)]) == some.labels
    fake = draw(model, ask.at_most(1000), data_root=ask.root, seed=ask.seed)
    agree = logits_of(judge, fake).argmax(1) == labels_asked(len(fake))
    details = {"features": "digit_classifier", "chain_steps": steps, "start": start}
    return {
        "samples_as_asked": share(agree, {"judge": "digit_classifier"}),
        "frechet_distance": frechet_of(extract_features(judge, test), extract_features(judge, fake), details),
        "accuracy": share(right, {}),
    }


def _conditional(model: nn.Module, ask: Ask) -> dict[str, Measured]:
    return _on_request(model, ask, guess=classify, start="uniform noise", steps=256)


def _jem(model: nn.Module, ask: Ask) -> dict[str, Measured]:
    found = _on_request(model, ask, guess=lambda m, x: m(x).argmax(1), start="class Gaussians", steps=40)
    found["test_accuracy"] = found.pop("accuracy")
    if ask.images is None:
        test = load_images("mnist", "test", root=ask.root, stand_in=False)
        found["ece"] = Measured(reliability(logits_of(model, test), test.labels).ece, None, {"images": len(test)})
    return found


def _vqvae(model: nn.Module, ask: Ask, *, data) -> dict[str, Measured]:
    from ..training.vqvae import perplexity

    test = _first(data(ask.root), ask.images)
    with torch.no_grad():
        parts = [((model.reconstruct(x).clamp(-1, 1) - x) / 2).square().flatten(1).mean(1)
                 for x in map(to_float, test.images.split(500))]  # fmt: skip
    found = {"test_mse": mean_of(torch.cat(parts), {"unit": "pixels in [0, 1]"})}
    if ask.images is None:
        tokens, _ = tokens_and_latents(model, test.images)
        used = torch.bincount(tokens.flatten(), minlength=model.config["n_codes"])
        details = {"images": len(test), "codes_in_use": int((used > 0).sum()), "of": len(used)}
        found["perplexity"] = Measured(float(perplexity(used)), None, details)
    return found


def _prior(model: nn.Module, ask: Ask, *, data, judge=None) -> dict[str, Measured]:
    test = data(ask.root)
    some = _first(test, ask.images)
    tokens, _ = tokens_and_latents(checkpoints.load(model.card["decoder"]), some.images)
    with torch.no_grad():
        nats = torch.cat([-model.log_prob(part) for part in tokens.long().reshape(-1, *model.grid).split(500)])
    found = {"test_nats": mean_of(nats, {"unit": "nats an image, of tokens"})}
    if judge is not None:
        network = checkpoints.load(judge)
        fake = extract_features(network, draw(model, ask.at_most(1000), data_root=ask.root, seed=ask.seed))
        found["frechet_distance"] = frechet_of(extract_features(network, test), fake, {"features": judge})
    return found


def _persian(model: nn.Module, ask: Ask) -> dict[str, Measured]:
    """Part F's figures, against the last twentieth of its split, binary."""
    parts = [load_images("persian_digits", split, root=ask.root, stand_in=False) for split in ("train", "test")]
    test = stratified(parts, (0.85, 0.10, 0.05), model.card["seed"])[2]
    judge = checkpoints.load("persian_classifier")
    fake = draw(model, ask.at_most(1000), data_root=ask.root, seed=ask.seed)
    logits = logits_of(judge, fake)
    seen = class_coverage(logits)
    real, features = (extract_features(judge, x) for x in ((test.images >= 128).to(torch.uint8) * 255, fake))
    found = {
        "frechet_distance": frechet_of(real, features, {"features": "persian_classifier"}),
        "low_confidence": share(
            logits.softmax(1).amax(1) < seen.threshold, {"judge": "persian_classifier", "threshold": seen.threshold}
        ),
    }
    if ask.images is None:
        n = {"images": len(fake)}
        found["classes_missing"] = Measured(len(seen.missing), None, {"of": 10, **n})
        around = bootstrap(lambda f: class_coverage(f).kl, (logits,), n=200, bounds=(0.0, math.inf))
        found["kl_to_uniform"] = Measured(seen.kl, around, {"unit": "nats", **n})
        for key, value in zip(("precision", "recall"), precision_recall(real, features), strict=True):
            found[key] = Measured(value, wilson(round(value * len(real)), len(real)), n)
    return found


def _drawn_faces(model: nn.Module, ask: Ask) -> dict[str, Measured]:
    judge, n = checkpoints.load("face_features"), ask.at_most(1000)
    real = extract_features(judge, _first(load_images("bitmoji", root=ask.root, size=64, stand_in=False), 1000))
    fake = extract_features(judge, draw(model, n, data_root=ask.root, seed=ask.seed))
    details = {"features": "face_features"}
    found = {"frechet_distance": frechet_of(real, fake, details)}
    if ask.images is None:
        kernel = kernel_interval(real, fake, n=100)
        found["kernel_distance"] = Measured(kernel_distance(real, fake), kernel, {"images": n, **details})
    return found


def _vae(model: nn.Module, ask: Ask) -> dict[str, Measured]:
    test = load_images("celeba", "test", root=ask.root, size=64, stand_in=False)
    x = dequantise(test.images[: ask.at_most(50)], torch.Generator().manual_seed(ask.seed))
    stream = torch.Generator().manual_seed(ask.seed)
    nats = torch.cat([importance_weighted(model, part, 200, generator=stream) for part in x.split(10)])
    bits = bits_per_dim(nats, x[0].numel(), levels=128)
    judge = checkpoints.load("face_features")
    train = load_images("celeba", root=ask.root, size=64, stand_in=False)
    real = extract_features(judge, _first(train, 2000, model.card["seed"]))
    fake = extract_features(judge, draw(model, ask.at_most(1000), data_root=ask.root, seed=ask.seed))
    return {
        "frechet_distance": frechet_of(real, fake, {"features": "face_features"}),
        "bits_per_dim": mean_of(bits, {"estimate": "importance-weighted, K = 200", "pixels": "dequantised bytes"}),
    }


def _vaebm(model: nn.Module, ask: Ask, *, real, judge) -> dict[str, Measured]:
    network, n = checkpoints.load(judge), ask.at_most(2000)
    reference = extract_features(network, real(ask.root))
    before, after = (extract_features(network, x) for x in refined(model, n, torch.Generator().manual_seed(ask.seed)))
    details = {"features": judge, "shown": "decoder means"}
    return {
        "frechet_distance": frechet_of(reference, after, details),
        "frechet_distance_vae": frechet_of(reference, before, details),
    }


MEASURES: dict[str, Callable[..., dict[str, Measured]]] = {
    "digit_classifier": partial(_classifier, data=_real("mnist")),
    "persian_classifier": partial(_classifier, data=_real("persian_digits")),
    "cifar_classifier": partial(_classifier, data=_real("cifar10")),
    "face_features": _faces,
    "ebm_mnist": partial(_energy, data="mnist", split="test", judge="digit_classifier", n=2000, steps=256),
    "ebm_bitmoji": partial(_energy, data="bitmoji", split="train", size=32, judge="cifar_classifier", n=350, steps=400),
    "ebm_cifar": partial(_energy, data="cifar10", split="test", judge="cifar_classifier", n=1000, steps=400),
    "ebm_digits_conditional": _conditional,
    "jem_mnist": _jem,
    "vqvae_mnist": partial(_vqvae, data=_real("mnist")),
    "vqvae_fashion_mnist": partial(_vqvae, data=_real("fashion_mnist")),
    "token_prior_mnist": partial(_prior, data=_real("mnist"), judge="digit_classifier"),
    "token_prior_fashion_mnist": partial(_prior, data=_real("fashion_mnist")),
    "gan_persian_digits": _persian,
    "dcgan_bitmoji": _drawn_faces,
    "vae_celeba": _vae,
    "vaebm_mnist": partial(_vaebm, real=_real("mnist"), judge="digit_classifier"),
    "vaebm_faces": partial(_vaebm, real=_real("celeba", "train", size=32), judge="cifar_classifier"),
}
