"""The numbers on the cards, measured again from the weights that ship.

``measure`` runs a model on real data and gives every figure of its card with a 95 % interval; ``compare`` says whether
a card and a measurement agree within what chance may change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..data import ImageSet, load_images, stratified, to_float
from ..models.conditional_energy import classify
from ..models.pixels import dequantise
from ..samplers import UniformStart
from .classification import logits_of, reliability, wilson
from .corruptions import CORRUPTIONS, distances_under_damage
from .coverage import class_coverage, precision_recall
from .disentanglement import dci, mutual_information_gap
from .frechet import extract_features, frechet_distance, frechet_interval
from .kernel_distance import kernel_distance, kernel_interval
from .likelihood import bits_per_dim, importance_weighted
from .outliers import energies
from .shipped_draws import draw, labels_asked, refined
from .token_features import tokens_and_latents


@dataclass(frozen=True)
class Measured:
    """One figure of a model.

    Attributes:
        value: the figure.
        interval: 95 %, of what other images would have given; None where nothing is drawn and nothing left out.
        details: what stands beside the figure on the card: features, judge, images, unit.
        bias: c of a bias c/N in the number of images N, as Fréchet distances have.
    """

    value: float
    interval: tuple[float, float] | None = None
    details: dict = field(default_factory=dict)
    bias: float = 0.0

    def entry(self, digits: int = 4) -> dict:
        """As a card holds it."""
        found = {"value": _rounded(self.value, digits)}
        if self.interval is not None:
            found["interval_95"] = [_rounded(end, digits) for end in self.interval]
        return {**found, **self.details}


def measure(
    name: str, data_root: str | None = None, *, images: int | None = None, seed: int = 1, chains: bool = True
) -> dict[str, Measured]:
    """Every figure of a shipped model, from its weights and real data.

    Args:
        name: of a model in ``checkpoints/``.
        images: how many to draw or to test on, at most; None: as many as the card's figures stand for. Figures that
            mean something only at their full number are then left out.
        seed: of everything drawn.
        chains: False leaves out what needs long chains of an energy, minutes for the colour ones.

    Raises:
        FileNotFoundError: no such model. ValueError: nobody knows how to measure it.
        DataError: the real data are missing; a stand-in would measure something else.
    """
    model = checkpoints.load(name)
    if name not in MEASURES:
        raise ValueError(f"no measure is known for {name}; known: {', '.join(MEASURES)}")
    measuring = MEASURES[name]
    if not chains and getattr(measuring, "func", None) is _energy:
        measuring = partial(measuring, chains=False)
    return measuring(model, data_root, images, seed)


def compare(card: dict, found: dict[str, Measured]) -> list[dict]:
    """One row a figure: what the card says, what was measured, and whether chance explains the difference.

    It does when they differ by less than three standard errors of the difference. A Fréchet distance of fewer images is
    first brought to the card's number by its bias, c/N.
    """
    rows = []
    for key, now in found.items():
        entry = card["metrics"].get(key)
        if entry is None:
            rows.append({"figure": key, "card": None, "now": now.value, "interval": now.interval, "agrees": None})
            continue
        n_card, n_now = entry.get("images", 0), now.details.get("images", 0)
        expected = now.value + (now.bias * (1 / n_card - 1 / n_now) if n_card and n_now else 0.0)
        error = 0.0 if now.interval is None else (now.interval[1] - now.interval[0]) / (2 * 1.96)
        share = n_now / n_card if n_card and n_now else 1.0
        # Half a unit of the card's last digit, and what another processor's rounding may change.
        margin = 3 * error * math.sqrt(1 + share) + 0.002 * abs(entry["value"]) + 1e-3
        agrees = abs(expected - entry["value"]) <= margin
        rows.append(
            {"figure": key, "card": entry["value"], "now": expected, "interval": now.interval, "agrees": agrees}
        )
    return rows


# --- figures that many models share ----------------------------------------------------------------------------------


def _share(hits: Tensor, details: dict) -> Measured:
    k, n = int(hits.sum()), len(hits)
    return Measured(k / n, wilson(k, n), {"images": n, **details})


def _mean(values: Tensor, details: dict) -> Measured:
    values = values.double()
    mean, error = values.mean().item(), values.std().item() / math.sqrt(len(values))
    return Measured(mean, (mean - 1.96 * error, mean + 1.96 * error), {"images": len(values), **details})


def _frechet(real: Tensor, fake: Tensor, details: dict) -> Measured:
    """Fréchet distance of two sets of features; its bias from the halves of the fakes."""
    whole = frechet_distance(real, fake)
    halves = [frechet_distance(real, part) for part in fake.chunk(2)] if len(fake) >= 2 * fake.shape[1] else None
    # F(N) ≈ F + c/N, so that F(N/2) - F(N) ≈ c/N.
    bias = (sum(halves) / 2 - whole) * len(fake) if halves else 0.0
    low, high = frechet_interval(real, fake, n=100)
    width = (high - low) / 2  # the basic interval takes the bias out; the card's figure has it
    return Measured(whole, (max(0.0, whole - width), whole + width), {"images": len(fake), **details}, bias)


def _real(dataset: str, split: str = "test", **options) -> Callable[[str | None], ImageSet]:
    return lambda root: load_images(dataset, split, root=root, stand_in=False, **options)


def _first(images: ImageSet, n: int | None, seed: int = 0) -> ImageSet:
    """n of the images at random (files may come class after class), or all."""
    if n is None or n >= len(images):
        return images
    return images.take(torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n])


def _at_most(n: int, images: int | None) -> int:
    return n if images is None else min(n, images)


# --- one function a kind of model ------------------------------------------------------------------------------------


def _classifier(model, root, images, seed, *, data) -> dict[str, Measured]:
    test = _first(data(root), images)
    return {"test_accuracy": _share(logits_of(model, test).argmax(1) == test.labels, {})}


def _faces(model, root, images, seed) -> dict[str, Measured]:
    """Are a face's features nearest to those of its own mirrored, shifted copy? Is damage put in order?"""
    from ..training.face_features import moved

    sets = [load_images(name, "test", root=root, size=64, stand_in=False) for name in ("bitmoji", "celeba")]
    faces = _first(sets[1], _at_most(500, images))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        copies = moved(faces.images, 6)
    a, b = (nn.functional.normalize(extract_features(model, x), dim=1) for x in (faces.images, copies))
    twins = (a @ b.T).argmax(1) == torch.arange(len(a))
    found = {"twin_nearest": _share(twins, {"of": len(a), "on": "held-out CelebA"})}
    if images is None:
        real = extract_features(model, load_images("bitmoji", root=root, size=64, stand_in=False))
        curves = distances_under_damage(
            lambda x: frechet_distance(real, extract_features(model, x)), sets[0].images, seed=seed
        )
        ordered = sum(all(x < y for x, y in pairwise(c)) for c in curves.values())
        found["damage_in_order"] = Measured(ordered, None, {"of": len(CORRUPTIONS), "on": "held-out Bitmoji"})
    return found


def _energy(model, root, images, seed, *, data, split, size=None, judge, n, steps, chains=True) -> dict[str, Measured]:
    """Fréchet distance of fresh chains to a split of the data; how far noise lies above held-out data."""
    held_out = _first(load_images(data, "test", root=root, size=size, stand_in=False), _at_most(350, images))
    noise = UniformStart(model.event_shape).draw(len(held_out), generator=torch.Generator().manual_seed(seed))
    gap = energies(model, noise) - energies(model, held_out.scaled())
    found = {"noise_above_data": _mean(gap, {"unit": "nats"})}
    if chains:
        network, real = checkpoints.load(judge), load_images(data, split, root=root, size=size, stand_in=False)
        fake = draw(model, _at_most(n, images), data_root=root, seed=seed)
        details = {"features": judge, "chain_steps": steps, "start": "uniform noise"}
        distance = _frechet(extract_features(network, real), extract_features(network, fake), details)
        found = {"frechet_distance": distance, **found}
    return found


def _on_request(model, root, images, seed, *, guess, start, steps) -> dict[str, Measured]:
    """Accuracy, and samples of each class as an independent classifier sees them."""
    judge, test = checkpoints.load("digit_classifier"), load_images("mnist", "test", root=root, stand_in=False)
    some = _first(test, images)
    right = torch.cat([guess(model, to_float(x)) for x in some.images.split(500)]) == some.labels
    fake = draw(model, _at_most(1000, images), data_root=root, seed=seed)
    agree = logits_of(judge, fake).argmax(1) == labels_asked(len(fake))
    details = {"features": "digit_classifier", "chain_steps": steps, "start": start}
    return {
        "samples_as_asked": _share(agree, {"judge": "digit_classifier"}),
        "frechet_distance": _frechet(extract_features(judge, test), extract_features(judge, fake), details),
        "accuracy": _share(right, {}),
    }


def _conditional(model, root, images, seed) -> dict[str, Measured]:
    return _on_request(model, root, images, seed, guess=classify, start="uniform noise", steps=256)


def _jem(model, root, images, seed) -> dict[str, Measured]:
    found = _on_request(model, root, images, seed, guess=lambda m, x: m(x).argmax(1), start="class Gaussians", steps=40)
    found["test_accuracy"] = found.pop("accuracy")
    if images is None:
        test = load_images("mnist", "test", root=root, stand_in=False)
        found["ece"] = Measured(reliability(logits_of(model, test), test.labels).ece, None, {"images": len(test)})
    return found


def _vqvae(model, root, images, seed, *, data) -> dict[str, Measured]:
    from ..training.vqvae import perplexity

    test = _first(data(root), images)
    with torch.no_grad():
        parts = [((model.reconstruct(x).clamp(-1, 1) - x) / 2).square().flatten(1).mean(1)
                 for x in map(to_float, test.images.split(500))]  # fmt: skip
    found = {"test_mse": _mean(torch.cat(parts), {"unit": "pixels in [0, 1]"})}
    if images is None:
        tokens, _ = tokens_and_latents(model, test.images)
        used = torch.bincount(tokens.flatten(), minlength=model.config["n_codes"])
        details = {"images": len(test), "codes_in_use": int((used > 0).sum()), "of": len(used)}
        found["perplexity"] = Measured(float(perplexity(used)), None, details)
    return found


def _prior(model, root, images, seed, *, data, judge=None) -> dict[str, Measured]:
    test = data(root)
    some = _first(test, images)
    tokens, _ = tokens_and_latents(checkpoints.load(model.card["decoder"]), some.images)
    with torch.no_grad():
        nats = torch.cat([-model.log_prob(part) for part in tokens.long().reshape(-1, *model.grid).split(500)])
    found = {"test_nats": _mean(nats, {"unit": "nats an image, of tokens"})}
    if judge is not None:
        network = checkpoints.load(judge)
        fake = extract_features(network, draw(model, _at_most(1000, images), data_root=root, seed=seed))
        found["frechet_distance"] = _frechet(extract_features(network, test), fake, {"features": judge})
    return found


def _persian(model, root, images, seed) -> dict[str, Measured]:
    """Part F's figures, against the last twentieth of its split, binary."""
    parts = [load_images("persian_digits", split, root=root, stand_in=False) for split in ("train", "test")]
    test = stratified(parts, (0.85, 0.10, 0.05), model.card["seed"])[2]
    judge = checkpoints.load("persian_classifier")
    fake = draw(model, _at_most(1000, images), data_root=root, seed=seed)
    seen = class_coverage(logits_of(judge, fake))
    real, features = (extract_features(judge, x) for x in ((test.images >= 128).to(torch.uint8) * 255, fake))
    low = torch.arange(len(fake)) < round(seen.low_confidence * len(fake))
    found = {
        "frechet_distance": _frechet(real, features, {"features": "persian_classifier"}),
        "low_confidence": _share(low, {"judge": "persian_classifier", "threshold": seen.threshold}),
    }
    if images is None:
        n = {"images": len(fake)}
        found["classes_missing"] = Measured(len(seen.missing), None, {"of": 10, **n})
        found["kl_to_uniform"] = Measured(seen.kl, (0.0, 2 * seen.kl), {"unit": "nats", **n})
        for key, value in zip(("precision", "recall"), precision_recall(real, features), strict=True):
            found[key] = Measured(value, wilson(round(value * len(real)), len(real)), n)
    return found


def _drawn_faces(model, root, images, seed) -> dict[str, Measured]:
    judge, n = checkpoints.load("face_features"), _at_most(1000, images)
    real = extract_features(judge, _first(load_images("bitmoji", root=root, size=64, stand_in=False), 1000))
    fake = extract_features(judge, draw(model, n, data_root=root, seed=seed))
    details = {"features": "face_features"}
    found = {"frechet_distance": _frechet(real, fake, details)}
    if images is None:
        kernel = kernel_interval(real, fake, n=100)
        found["kernel_distance"] = Measured(kernel_distance(real, fake), kernel, {"images": n, **details})
    return found


def _vae(model, root, images, seed) -> dict[str, Measured]:
    test = load_images("celeba", "test", root=root, size=64, stand_in=False)
    x = dequantise(test.images[: _at_most(50, images)], torch.Generator().manual_seed(seed))
    stream = torch.Generator().manual_seed(seed)
    nats = torch.cat([importance_weighted(model, part, 200, generator=stream) for part in x.split(10)])
    bits = bits_per_dim(nats, x[0].numel(), levels=128)
    judge = checkpoints.load("face_features")
    train = load_images("celeba", root=root, size=64, stand_in=False)
    real = extract_features(judge, _first(train, 2000, model.card["seed"]))
    fake = extract_features(judge, draw(model, _at_most(1000, images), data_root=root, seed=seed))
    return {
        "frechet_distance": _frechet(real, fake, {"features": "face_features"}),
        "bits_per_dim": _mean(bits, {"estimate": "importance-weighted, K = 200", "pixels": "dequantised bytes"}),
    }


def _sprites(model, root, images, seed) -> dict[str, Measured]:
    """On dSprites where they are, else on the drawn sprites: whichever the card says."""
    drawn = model.card["data"] != "dSprites"
    test = load_images("sprites" if drawn else "dsprites", "test", root=root, stand_in=False)
    n = _at_most(2000, images)
    with torch.no_grad():
        codes = model.posterior(to_float(test.images[:n])).mean
    factors = test.factors[:n]
    score = dci(codes, factors, seed=seed)
    # Another draw of images moves both by a few hundredths; a bootstrap of a random forest takes minutes.
    about = {"images": n, "of": test.title}
    gap = mutual_information_gap(codes, factors)
    return {
        "mig": Measured(gap, (max(0.0, gap - 0.03), gap + 0.03), about),
        "dci_disentanglement": Measured(
            score.disentanglement, (max(0.0, score.disentanglement - 0.05), score.disentanglement + 0.05), about
        ),
    }


def _vaebm(model, root, images, seed, *, real, judge) -> dict[str, Measured]:
    network, n = checkpoints.load(judge), _at_most(2000, images)
    reference = extract_features(network, real(root))
    before, after = (extract_features(network, x) for x in refined(model, n, torch.Generator().manual_seed(seed)))
    details = {"features": judge, "shown": "decoder means"}
    return {
        "frechet_distance": _frechet(reference, after, details),
        "frechet_distance_vae": _frechet(reference, before, details),
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
    "vae_sprites": _sprites,
    "vaebm_mnist": partial(_vaebm, real=_real("mnist"), judge="digit_classifier"),
    "vaebm_faces": partial(_vaebm, real=_real("celeba", "train", size=32), judge="cifar_classifier"),
}


def _rounded(value: float, digits: int) -> float:
    """To ``digits`` significant digits, or whole where that is more."""
    if not math.isfinite(value) or value == 0:
        return value
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return round(value, places)
