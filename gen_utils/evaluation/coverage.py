"""Does a generator cover its data? Classes and modes counted, precision and recall of samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from . import arguments


@dataclass(frozen=True)
class ClassCoverage:
    """What a classifier sees in a set of samples.

    Attributes:
        histogram: (K,) counts of the most likely class.
        missing: the classes that no sample is seen as.
        kl: KL(histogram ‖ uniform) in nats; 0 is perfectly even, log K a single class.
        low_confidence: share of samples whose largest probability is under ``threshold``.
        threshold: as it was asked for.
    """

    histogram: Tensor
    missing: tuple[int, ...]
    kl: float
    low_confidence: float
    threshold: float


def class_coverage(logits: Tensor, *, threshold: float = 0.9) -> ClassCoverage:
    """Class coverage of samples from a classifier's logits (N, K).

    A finite even sample has a KL above zero too, about (K - 1) / 2N.

    Raises:
        ValueError: no samples, logits that are not finite, or a threshold outside (0, 1].
    """
    logits = arguments.logits("logits", logits)
    threshold = arguments.number("threshold", threshold, above=0, most=1)
    histogram = logits.argmax(1).bincount(minlength=logits.shape[1])
    return ClassCoverage(
        histogram,
        tuple((histogram == 0).nonzero().flatten().tolist()),
        _kl_to_uniform(histogram),
        (logits.softmax(1).amax(1) < threshold).double().mean().item(),
        threshold,
    )


def stacked_modes(digits: Tensor, *, n_classes: int = 10) -> tuple[int, float]:
    """Modes found among n_classes³ (1,000 for digits), and the KL to a uniform use of them, in nats.

    Args:
        digits: (N, 3) int64, the class seen in each of the three channels.

    Source: the test of Metz et al. (2017) on stacked MNIST, with 25,600 samples as is the custom.

    Raises:
        ValueError: another shape, or a class that is not there.
    """
    n_classes = arguments.whole("n_classes", n_classes, 2)
    classes = torch.from_numpy(arguments.integers("digits", digits, ("N", 3), n_classes))
    place = classes @ torch.tensor([n_classes**2, n_classes, 1])
    histogram = place.bincount(minlength=n_classes**3)
    return int((histogram > 0).sum()), _kl_to_uniform(histogram)


def precision_recall(features_real: Tensor, features_fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Share of fakes inside the data's manifold, and share of data inside the fakes': precision and recall.

    A manifold is the union of balls around its points, each reaching to the point's k-th nearest neighbour in its own
    set, so it depends on how many points there are: compare only figures with equal numbers and one feature network.

    Args:
        features_real, features_fake: (N, d) and (M, d), more than k rows each.

    Source: Kynkäänniemi et al. (2019). (torchmetrics has no such metric.)

    Raises:
        ValueError: different dimensions, no more than k rows, values that are not finite, or k < 1.
    """
    k = arguments.whole("k", k, 1)
    real, fake = (
        torch.from_numpy(array)
        for array in arguments.feature_pair(features_real=features_real, features_fake=features_fake, least=k + 1)
    )
    return _inside(fake, real, k), _inside(real, fake, k)


def _inside(points: Tensor, manifold: Tensor, k: int, rows: int = 2000) -> float:
    """Share of ``points`` that lie in a ball of ``manifold``; distances a few rows at a time."""
    exact = "donot_use_mm_for_euclid_dist"  # the fast way rounds a point's distance to itself away from zero
    radii = [torch.cdist(part, manifold, compute_mode=exact).kthvalue(k + 1).values for part in manifold.split(rows)]
    radius = torch.cat(radii)  # k + 1: each point is its own nearest neighbour
    found = [(torch.cdist(part, manifold, compute_mode=exact) <= radius).any(1) for part in points.split(rows)]
    return torch.cat(found).double().mean().item()


def _kl_to_uniform(histogram: Tensor) -> float:
    shares = histogram.double() / histogram.sum()
    return max(0.0, math.log(len(histogram)) - torch.special.entr(shares).sum().item())
