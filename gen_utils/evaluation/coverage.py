"""Does a generator cover its data? Classes and modes counted, precision and recall of samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


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
        ValueError: no samples, or a threshold outside (0, 1].
    """
    if logits.ndim != 2 or not len(logits):
        raise ValueError(f"logits must be (N, K) with N >= 1, got {tuple(logits.shape)}")
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold is a probability in (0, 1], got {threshold}")
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
    if digits.ndim != 2 or digits.shape[1] != 3 or not len(digits):
        raise ValueError(f"digits must be (N, 3), got {tuple(digits.shape)}")
    if digits.min() < 0 or digits.max() >= n_classes:
        raise ValueError(f"classes run from 0 to {n_classes - 1}, got {digits.min()} to {digits.max()}")
    place = digits @ torch.tensor([n_classes**2, n_classes, 1], device=digits.device)
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
        ValueError: different dimensions, too few rows, or k < 1.
    """
    if features_real.ndim != 2 or features_fake.ndim != 2 or features_real.shape[1] != features_fake.shape[1]:
        raise ValueError(
            f"features must be (N, d) and (M, d), got {tuple(features_real.shape)} and {tuple(features_fake.shape)}"
        )
    if k < 1 or min(len(features_real), len(features_fake)) <= k:
        raise ValueError(f"k = {k} neighbours want k >= 1 and more than k rows in each set")
    real, fake = features_real.double(), features_fake.double()
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
