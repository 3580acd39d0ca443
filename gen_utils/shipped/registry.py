"""The models that ship, one row each: who trains it, how it draws, how it is measured, who judges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from .. import models
from . import draws, judges, measures
from .figure import Figure


@dataclass(frozen=True)
class Shipped:
    """One row.

    Attributes:
        name: of the files in ``checkpoints/``.
        network: the class of ``gen_utils.models``.
        part: the notebook that trains and ships it; None for a judge.
        measure: (model, ``measures.Ask``) -> the figures of its card.
        draw: (model, n, random numbers, data root) -> pictures in [-1, 1]; None for a judge.
        judge: the network in whose features its samples are measured.
        train: data root, seed -> a run; only judges are trained from here.
    """

    name: str
    network: type[nn.Module]
    part: str | None
    measure: Callable[..., dict[str, Figure]]
    draw: Callable[..., Tensor] | None = None
    judge: str | None = None
    train: Callable | None = None


_mnist, _fashion, _persian, _cifar = map(measures.real_set, ("mnist", "fashion_mnist", "persian_digits", "cifar10"))
_small_faces = measures.real_set("celeba", "train", size=32)
_DIGITS, _PHOTOS, _FACES = "digit_classifier", "cifar_classifier", "face_features"  # who judges

_ROWS = (
    Shipped(
        "digit_classifier",
        models.SmallClassifier,
        None,
        partial(measures.classifier, data=_mnist),
        train=judges.train_digit_classifier,
    ),
    Shipped(
        "persian_classifier",
        models.SmallClassifier,
        None,
        partial(measures.classifier, data=_persian),
        train=judges.train_persian_classifier,
    ),
    Shipped(
        "cifar_classifier",
        models.ResNetClassifier,
        None,
        partial(measures.classifier, data=_cifar),
        train=judges.train_cifar_classifier,
    ),
    Shipped("face_features", models.FaceFeatures, None, measures.faces, train=judges.train_face_features),
    Shipped(
        "ebm_mnist",
        models.SmallEnergy,
        "02_ebm_mnist",
        partial(measures.energy, data="mnist", split="test", n=2000),
        draws.chains,
        _DIGITS,
    ),
    Shipped(
        "ebm_bitmoji",
        models.StridedEnergy,
        "03_ebm_bitmoji",
        partial(measures.energy, data="bitmoji", split="train", size=32, n=350),
        draws.chains,
        _PHOTOS,
    ),
    Shipped(
        "ebm_digits_conditional",
        models.ConditionalEnergy,
        "04_ebm_cifar_conditional",
        measures.conditional,
        draws.on_request,
        _DIGITS,
    ),
    Shipped(
        "ebm_cifar",
        models.ResidualEnergy,
        "04_ebm_cifar_conditional",
        partial(measures.energy, data="cifar10", split="test", n=1000),
        draws.chains,
        _PHOTOS,
    ),
    Shipped("jem_mnist", models.SmoothClassifier, "05_jem", measures.jem, draws.joint, _DIGITS),
    Shipped(
        "vqvae_mnist",
        models.VQVAE,
        "06_dvae_clustering",
        partial(measures.vqvae, data=_mnist),
        draws.rebuilt("mnist"),
    ),
    Shipped(
        "vqvae_fashion_mnist",
        models.VQVAE,
        "06_dvae_clustering",
        partial(measures.vqvae, data=_fashion),
        draws.rebuilt("fashion_mnist"),
    ),
    Shipped(
        "token_prior_mnist",
        models.TokenPrior,
        "06_dvae_clustering",
        partial(measures.prior, data=_mnist),
        draws.decoded,
        _DIGITS,
    ),
    Shipped(
        "token_prior_fashion_mnist",
        models.TokenPrior,
        "06_dvae_clustering",
        partial(measures.prior, data=_fashion),
        draws.decoded,
    ),
    Shipped(
        "gan_persian_digits", models.Generator, "07_gan_wgan", measures.persian, draws.binary, "persian_classifier"
    ),
    Shipped("dcgan_bitmoji", models.Generator, "08_dcgan_bitmoji", measures.drawn_faces, draws.generated, _FACES),
    Shipped("vae_celeba", models.ConvVAE, "09_vae_likelihood", measures.vae, draws.generated, _FACES),
    Shipped(
        "vaebm_mnist",
        models.VAEBM,
        "10_vaebm",
        partial(measures.vaebm, real=_mnist),
        draws.after_chains,
        _DIGITS,
    ),
    Shipped(
        "vaebm_faces",
        models.VAEBM,
        "10_vaebm",
        partial(measures.vaebm, real=_small_faces),
        draws.after_chains,
        _PHOTOS,
    ),
    *(
        Shipped(
            name, network, "11_after_langevin", partial(measures.denoiser, data=_mnist, n=2000), draws.denoised, _DIGITS
        )
        for name, network in (("score_mnist", models.ScoreUNet), ("energy_mnist", models.EnergyUNet))
    ),
)
MODELS: dict[str, Shipped] = {row.name: row for row in _ROWS}


def lookup(name: str) -> Shipped:
    """The row of a model.

    Raises:
        ValueError: a name without a row; lists the known ones.
    """
    if name not in MODELS:
        raise ValueError(f"no row for {name!r} in gen_utils/shipped/registry.py; known: {', '.join(MODELS)}")
    return MODELS[name]
