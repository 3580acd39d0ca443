"""The Fréchet distance between two sets of images, in the features of a named network."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy import linalg
from torch import Tensor, nn

from ..data import ImageSet, to_float
from . import arguments
from .feature_networks import FrozenFeatures, feature_network, features_of
from .intervals import bootstrap
from .kernel_distance import kernel_interval


@torch.no_grad()
def extract_features(network: nn.Module, images: Tensor | ImageSet, *, batch_size: int = 100) -> Tensor:
    """(N, d) features of ``network.features`` on uint8 images or on floats in [-1, 1], in eval mode.

    A ``FrozenFeatures`` is called as it is.

    Raises:
        ValueError: no images, images of another kind, or features that are not finite.
    """
    images = images.images if isinstance(images, ImageSet) else images
    arguments.images("images", images)
    batch_size = arguments.whole("batch_size", batch_size, 1)
    frozen = isinstance(network, FrozenFeatures)
    was_training, device = network.training, next(network.parameters()).device
    network.eval()
    try:
        parts = []
        for batch in images.split(batch_size):
            batch = batch.to(device)
            if frozen:
                parts.append(network(batch).cpu())
                continue
            parts.append(features_of(network, to_float(batch) if batch.dtype == torch.uint8 else batch).cpu())
    finally:
        network.train(was_training)
    found = torch.cat(parts)
    arguments.finite("the features of images", found)
    return found


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """‖μa - μb‖² + tr(Σa + Σb - 2(Σa Σb)^½), in float64, the covariances divided by N - 1; never below zero.

    Args:
        features_a, features_b: (N, d) and (M, d). The estimate is biased upwards by a term in 1/N,
            so compare only figures with the same N, network and resizing. With N <= d a covariance is singular: the
            value is finite, its bias is not small any more, and ``image_distances`` refuses.

    Raises:
        ValueError: different dimensions, fewer than two rows, or values that are not finite.

    Source: Heusel et al. (2017), equation 6; the distance itself is Dowson & Landau's (1982).
    """
    a, b = arguments.feature_pair(features_a=features_a, features_b=features_b)
    cov_a, cov_b = (np.atleast_2d(np.cov(f, rowvar=False)) for f in (a, b))
    # The eigenvalues of Σa Σb are real and non-negative; rounding can make the smallest ones not so.
    eigenvalues = np.asarray(linalg.eigvals(cov_a @ cov_b), dtype=np.complex128).real.clip(min=0)
    gap = a.mean(0) - b.mean(0)
    return max(0.0, float(gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(eigenvalues).sum()))


def frechet_interval(
    features_a: Tensor, features_b: Tensor, *, n: int = 200, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """A bootstrap interval for the distance of the two *sources* of features, by ``n`` resamples of the rows of both.

    It covers what other images from the same data and the same model would change. It does not cover another training
    run, nor another feature network. As the estimate is biased upwards (by about a constant over N) and a resample
    twice as much, the interval is the basic one, which takes the bias out: it may lie below the estimate itself.

    Raises:
        ValueError: what ``frechet_distance`` and ``bootstrap`` refuse.
    """
    pair = arguments.feature_pair(features_a=features_a, features_b=features_b)
    a, b = map(torch.from_numpy, pair)
    return bootstrap(frechet_distance, (a,), (b,), n=n, level=level, seed=seed, bounds=(0.0, float("inf")))


@dataclass(frozen=True)
class ImageDistances:
    """What ``image_distances`` measured, and in what."""

    network: str
    n_features: int
    n_real: int
    n_fake: int
    frechet: float
    frechet_interval: tuple[float, float] | None  # 95 %, bias taken out; see ``frechet_interval``
    kernel: float
    kernel_interval: tuple[float, float] | None  # 95 %; see ``kernel_interval``

    @property
    def label(self) -> str:
        """What must stand beside the numbers."""
        return f"{self.network} features (d = {self.n_features}), {self.n_real:,} real and {self.n_fake:,} other images"


def image_distances(
    network: str | FrozenFeatures, real: Tensor | ImageSet, fake: Tensor | ImageSet, *, resamples: int = 200,
    strict: bool = True, seed: int = 0,
) -> ImageDistances:  # fmt: skip
    """Fréchet and kernel distance between two sets of images, by torchmetrics, with intervals.

    Args:
        network: a name of ``feature_networks.NETWORKS``, or what ``feature_network`` gave for it.
        real, fake: uint8 (N, C, H, W) or floats in [-1, 1]; each set is passed through the network once.
        resamples: for the intervals; 0 leaves them out.
        strict: False allows N <= d, as when 1,000 images are measured in Inception's 2,048 features.
        seed: of the subsets and resamples; the global stream is left alone.

    Raises:
        ValueError: an unknown network, images of another shape or scale, or too few of them.
    """
    resamples = 0 if resamples == 0 else arguments.whole("resamples", resamples, 2)
    for name, images in (("real", real), ("fake", fake)):
        arguments.images(name, images.images if isinstance(images, ImageSet) else images, least=2)
    frozen = feature_network(network) if isinstance(network, str) else network
    n_real, n_fake, d = len(real), len(fake), frozen.num_features
    if strict and min(n_real, n_fake) <= d:
        raise ValueError(
            f"{min(n_real, n_fake)} images are too few for the {d} features of {frozen.name}: the covariance would be "
            f"singular. Take at least {d + 1} on each side"
        )
    a, b = (extract_features(frozen, images).double() for images in (real, fake))
    frechet, kernel = _by_torchmetrics(a, b, seed)
    between = frechet_interval(a, b, n=resamples, seed=seed) if resamples else None
    around = kernel_interval(a, b, n=resamples, seed=seed) if resamples else None
    return ImageDistances(frozen.name, d, n_real, n_fake, frechet, between, kernel, around)


class _Given(nn.Module):
    """Features in, the same features out: the network has run already, once for both metrics and the intervals."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _by_torchmetrics(a: Tensor, b: Tensor, seed: int) -> tuple[float, float]:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    # Subsets are needed only where the sets differ in size or are large: otherwise one subset is everything.
    size = min(len(a), len(b), 1000)
    subsets = 1 if len(a) == len(b) == size else 50
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # that it keeps the features is known
        torch.manual_seed(seed)
        given = _Given(a.shape[1])
        metrics = (
            FrechetInceptionDistance(given, normalize=True),
            KernelInceptionDistance(given, subsets=subsets, subset_size=size),
        )
        for metric in metrics:
            metric.update(a, real=True)
            metric.update(b, real=False)
        return max(0.0, float(metrics[0].compute())), float(metrics[1].compute()[0])
