"""How each shipped model is measured: one function a kind of model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..data import ImageSet, load_images, stratified, to_float
from ..data.moves import mirrored_and_shifted
from ..evaluation.classification import logits_of, reliability
from ..evaluation.corruptions import CORRUPTIONS, distances_under_damage
from ..evaluation.coverage import class_coverage, precision_recall
from ..evaluation.denoising import denoising_errors
from ..evaluation.frechet import extract_features, frechet_distance
from ..evaluation.intervals import bootstrap, log_mean_exp, wilson
from ..evaluation.kernel_distance import kernel_distance, kernel_interval
from ..evaluation.likelihood import bits_per_dim, importance_log_weights
from ..evaluation.outliers import energies
from ..evaluation.token_features import tokens_and_latents
from ..models.conditional_energy import classify
from ..models.pixels import dequantise
from ..models.quantizer import perplexity
from ..samplers import UniformStart
from .draws import labels_asked, refined
from .figure import Figure, frechet_of, mean_of, share


@dataclass(frozen=True)
class Ask:
    """What is asked of a measure; see ``compare.measure``.

    Attributes:
        draw: n -> uint8 pictures of the model; None for a model that draws none.
        judge: the name of the network in whose features samples are measured, or None.
    """

    root: str | None
    images: int | None
    seed: int
    chains: bool
    draw: Callable[[int], Tensor] | None = None
    judge: str | None = None

    def at_most(self, n: int) -> int:
        """n, or as few as were asked for."""
        return n if self.images is None else min(n, self.images)

    def drawn(self, n: int) -> Tensor:
        """At most n pictures, uint8.

        Raises:
            ValueError: the model draws none.
        """
        if self.draw is None:
            raise ValueError("this model draws no pictures")
        return self.draw(self.at_most(n))

    def judged(self) -> nn.Module:
        """The network that judges.

        Raises:
            ValueError: the registry names none.
        """
        if self.judge is None:
            raise ValueError("the registry names no judge for this model")
        return checkpoints.load(self.judge)


Real = Callable[[str | None], ImageSet]  # data root -> images


def real_set(dataset: str, split: str = "test", **options) -> Real:
    return lambda root: load_images(dataset, split, root=root, stand_in=False, **options)


def _first(images: ImageSet, n: int | None, seed: int = 0) -> ImageSet:
    """n of the images at random (files may come class after class), or all."""
    if n is None or n >= len(images):
        return images
    return images.take(torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n])


def classifier(model: Any, ask: Ask, *, data: Real) -> dict[str, Figure]:
    """A judge: how often it is right."""
    test = _first(data(ask.root), ask.images)
    return {"test_accuracy": share(logits_of(model, test).argmax(1) == test.labels, {})}


def faces(model: Any, ask: Ask) -> dict[str, Figure]:
    """Are a face's features nearest to those of its own mirrored, shifted copy? Is damage put in order?"""
    sets = [load_images(name, "test", root=ask.root, size=64, stand_in=False) for name in ("bitmoji", "celeba")]
    faces = _first(sets[1], ask.at_most(500))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(ask.seed)
        copies = mirrored_and_shifted(faces.images, 6)
    a, b = (nn.functional.normalize(extract_features(model, x), dim=1) for x in (faces.images, copies))
    twins = (a @ b.T).argmax(1) == torch.arange(len(a))
    found = {"twin_nearest": share(twins, {"of": len(a), "on": f"held-out {sets[1].title}"})}
    if ask.images is None:
        real = extract_features(model, load_images("bitmoji", root=ask.root, size=64, stand_in=False))
        curves = distances_under_damage(
            lambda x: frechet_distance(real, extract_features(model, x)), sets[0].images, seed=ask.seed
        )
        ordered = sum(all(x < y for x, y in pairwise(c)) for c in curves.values())
        found["damage_in_order"] = Figure(ordered, None, {"of": len(CORRUPTIONS), "on": f"held-out {sets[0].title}"})
    return found


def energy(model: Any, ask: Ask, *, data: str, split: str, n: int, size: int | None = None) -> dict[str, Figure]:
    """Fréchet distance of fresh chains to a split of the data; how far noise lies above held-out data."""
    held_out = _first(load_images(data, "test", root=ask.root, size=size, stand_in=False), ask.at_most(350))
    noise = UniformStart(model.event_shape).draw(len(held_out), generator=torch.Generator().manual_seed(ask.seed))
    gap = energies(model, noise) - energies(model, held_out.scaled())
    found = {"noise_above_data": mean_of(gap, {"unit": "nats"})}
    if ask.chains:
        network, real = ask.judged(), load_images(data, split, root=ask.root, size=size, stand_in=False)
        fake = extract_features(network, ask.drawn(n))
        distance = frechet_of(extract_features(network, real), fake, _drawn_by(model, ask))
        found = {"frechet_distance": distance, **found}
    return found


def denoiser(model: Any, ask: Ask, *, data: Real, n: int) -> dict[str, Figure]:
    """Fréchet distance of draws; the error that is left of noise of width 0.3."""
    real = data(ask.root)
    held_out = _first(real, ask.at_most(1000))
    errors = denoising_errors(
        model, held_out.scaled(), 0.3, generator=torch.Generator().manual_seed(ask.seed), batch_size=100
    )
    found = {"denoising_error": mean_of(errors, {"sigma": 0.3})}
    if ask.chains:
        fake = extract_features(ask.judged(), ask.drawn(n))
        distance = frechet_of(extract_features(ask.judged(), real), fake, _drawn_by(model, ask))
        found = {"frechet_distance": distance, **found}
    return found


def _drawn_by(model: Any, ask: Ask) -> dict:
    """What stands beside the distance of chains: the judge, and the sampler on the card."""
    told = model.card["sampler"]
    return {"features": ask.judge, "chain_steps": told["steps"], "start": told["start"]}


def _on_request(model: Any, ask: Ask, *, guess: Callable) -> dict[str, Figure]:
    """Accuracy, and samples of each class as an independent classifier sees them."""
    judge, test = ask.judged(), load_images("mnist", "test", root=ask.root, stand_in=False)
    some = _first(test, ask.images)
    right = torch.cat([guess(model, to_float(x)) for x in some.images.split(500)]) == some.labels
    fake = ask.drawn(1000)
    agree = logits_of(judge, fake).argmax(1) == labels_asked(len(fake))
    real = extract_features(judge, test)
    return {
        "samples_as_asked": share(agree, {"judge": ask.judge}),
        "frechet_distance": frechet_of(real, extract_features(judge, fake), _drawn_by(model, ask)),
        "accuracy": share(right, {}),
    }


def conditional(model: Any, ask: Ask) -> dict[str, Figure]:
    """A conditional energy: its accuracy, and samples on request."""
    return _on_request(model, ask, guess=classify)


def jem(model: Any, ask: Ask) -> dict[str, Figure]:
    """A classifier read as an energy: its accuracy and calibration, and samples on request."""
    found = _on_request(model, ask, guess=lambda network, x: network(x).argmax(1))
    found["test_accuracy"] = found.pop("accuracy")
    if ask.images is None:
        test = load_images("mnist", "test", root=ask.root, stand_in=False)
        found["ece"] = Figure(reliability(logits_of(model, test), test.labels).ece, None, {"images": len(test)})
    return found


def vqvae(model: Any, ask: Ask, *, data: Real) -> dict[str, Figure]:
    """Reconstructions, and how evenly the codes are used."""
    test = _first(data(ask.root), ask.images)
    with torch.no_grad():
        parts = [((model.reconstruct(x).clamp(-1, 1) - x) / 2).square().flatten(1).mean(1)
                 for x in map(to_float, test.images.split(500))]  # fmt: skip
    found = {"test_mse": mean_of(torch.cat(parts), {"unit": "pixels in [0, 1]"})}
    if ask.images is None:
        tokens, _ = tokens_and_latents(model, test.images)
        used = torch.bincount(tokens.flatten(), minlength=model.config["n_codes"])
        details = {"images": len(test), "codes_in_use": int((used > 0).sum()), "of": len(used)}
        found["perplexity"] = Figure(float(perplexity(used)), None, details)
    return found


def prior(model: Any, ask: Ask, *, data: Real) -> dict[str, Figure]:
    """Nats of held-out tokens; the distance of decoded draws where there is a judge."""
    test = data(ask.root)
    some = _first(test, ask.images)
    tokens, _ = tokens_and_latents(checkpoints.load(model.card["decoder"]), some.images)
    with torch.no_grad():
        nats = torch.cat([-model.log_prob(part) for part in tokens.long().reshape(-1, *model.grid).split(500)])
    found = {"test_nats": mean_of(nats, {"unit": "nats an image, of tokens"})}
    if ask.judge is not None:
        network = ask.judged()
        fake = extract_features(network, ask.drawn(1000))
        found["frechet_distance"] = frechet_of(extract_features(network, test), fake, {"features": ask.judge})
    return found


def persian(model: Any, ask: Ask) -> dict[str, Figure]:
    """Part F's figures, against the last twentieth of its split, binary."""
    parts = [load_images("persian_digits", split, root=ask.root, stand_in=False) for split in ("train", "test")]
    test = stratified(parts, (0.85, 0.10, 0.05), model.card["seed"])[2]
    judge, fake = ask.judged(), ask.drawn(1000)
    logits = logits_of(judge, fake)
    seen = class_coverage(logits)
    real, features = (extract_features(judge, x) for x in ((test.images >= 128).to(torch.uint8) * 255, fake))
    found = {
        "frechet_distance": frechet_of(real, features, {"features": ask.judge}),
        "low_confidence": share(
            logits.softmax(1).amax(1) < seen.threshold, {"judge": ask.judge, "threshold": seen.threshold}
        ),
    }
    if ask.images is None:
        n = {"images": len(fake)}
        found["classes_missing"] = Figure(len(seen.missing), None, {"of": 10, **n})
        around = bootstrap(lambda f: class_coverage(f).kl, (logits,), n=200, bounds=(0.0, math.inf))
        found["kl_to_uniform"] = Figure(seen.kl, around, {"unit": "nats", **n})
        for key, value in zip(("precision", "recall"), precision_recall(real, features), strict=True):
            found[key] = Figure(value, wilson(round(value * len(real)), len(real)), n)
    return found


def drawn_faces(model: Any, ask: Ask) -> dict[str, Figure]:
    """Distances to training faces."""
    judge, n = ask.judged(), ask.at_most(1000)
    real = extract_features(judge, _first(load_images("bitmoji", root=ask.root, size=64, stand_in=False), 1000))
    fake = extract_features(judge, ask.drawn(n))
    details = {"features": ask.judge}
    found = {"frechet_distance": frechet_of(real, fake, details)}
    if ask.images is None:
        kernel = kernel_interval(real, fake, n=100)
        found["kernel_distance"] = Figure(kernel_distance(real, fake), kernel, {"images": n, **details})
    return found


def vae(model: Any, ask: Ask) -> dict[str, Figure]:
    """Distance of draws, and bits a dimension of held-out faces."""
    test = load_images("celeba", "test", root=ask.root, size=64, stand_in=False)
    n = max(2, ask.at_most(1000) // 20)  # each is decoded 200 times
    x = dequantise(test.images[:n], torch.Generator().manual_seed(ask.seed))
    stream = torch.Generator().manual_seed(ask.seed)
    log_w = [importance_log_weights(model, part, 200, rows=100, generator=stream) for part in x.split(10)]
    nats = log_mean_exp(torch.cat(log_w, 1))
    bits = bits_per_dim(nats, x[0].numel(), levels=128)
    judge = ask.judged()
    train = load_images("celeba", root=ask.root, size=64, stand_in=False)
    real = extract_features(judge, _first(train, 2000, model.card["seed"]))
    fake = extract_features(judge, ask.drawn(1000))
    return {
        "frechet_distance": frechet_of(real, fake, {"features": ask.judge}),
        "bits_per_dim": mean_of(bits, {"estimate": "importance-weighted, K = 200", "pixels": "dequantised bytes"}),
    }


def vaebm(model: Any, ask: Ask, *, real: Real) -> dict[str, Figure]:
    """Distances of decoder means before and after the chains."""
    network, n = ask.judged(), ask.at_most(2000)
    reference = extract_features(network, real(ask.root))
    before, after = (extract_features(network, x) for x in refined(model, n, torch.Generator().manual_seed(ask.seed)))
    details = {"features": ask.judge, "shown": "decoder means"}
    return {
        "frechet_distance": frechet_of(reference, after, details),
        "frechet_distance_vae": frechet_of(reference, before, details),
    }
