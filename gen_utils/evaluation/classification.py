"""What a classifier's probabilities are worth: calibration and outliers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import ImageSet, to_float
from ..samplers.protocol import energy_and_grad
from . import arguments


@torch.no_grad()
def logits_of(
    classifier: nn.Module,
    images: Tensor | ImageSet,
    *,
    batch_size: int = 100,
    bounds: tuple[float, float] = (-1.0, 1.0),
) -> Tensor:
    """(N, K) float64 logits of uint8 images or of floats within ``bounds``, in eval mode.

    Float64 from here on: in float32 many probabilities of a good classifier are exactly one.

    Raises:
        ValueError: no images, images of another kind, or logits that are not (N, K) and finite.
    """
    images = images.images if isinstance(images, ImageSet) else images
    arguments.images("images", images, bounds=arguments.span("bounds", bounds))
    batch_size = arguments.whole("batch_size", batch_size, 1)
    was_training, device = classifier.training, next(classifier.parameters()).device
    classifier.eval()
    try:
        parts = []
        for batch in images.split(batch_size):
            batch = batch.to(device)
            parts.append(classifier(to_float(batch) if batch.dtype == torch.uint8 else batch).double().cpu())
    finally:
        classifier.train(was_training)
    return arguments.logits("the logits of images", torch.cat(parts))


# --- calibration -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reliability:
    """Predictions sorted into bins by their confidence; empty bins hold zeros."""

    edges: Tensor  # (n_bins + 1,) from 0 to 1
    count: Tensor  # (n_bins,)
    confidence: Tensor  # (n_bins,) mean confidence of the bin
    accuracy: Tensor  # (n_bins,) share of the bin that is right

    @property
    def ece(self) -> float:
        """Expected calibration error: |accuracy - confidence| of each bin, weighted by its share. In [0, 1]."""
        share = self.count / self.count.sum()
        return float((share * (self.accuracy - self.confidence).abs()).sum())


def reliability(logits: Tensor, labels: Tensor, *, n_bins: int = 15) -> Reliability:
    """The bins of a reliability diagram; confidence is the largest probability of an image.

    Bins are [low, high), the last one closed. (torchmetrics' calibration error gives a confidence of exactly 1 a bin
    of its own; otherwise the two agree.)

    Args:
        logits: (N, K); labels: (N,).

    Raises:
        ValueError: no images, logits that are not finite, labels that are not 0 to K - 1 for each row, or no bins.

    Source: Guo et al. (2017), section 2.
    """
    logits, labels = _labelled(logits, labels)
    n_bins = arguments.whole("n_bins", n_bins, 1)
    confidence, guess = logits.softmax(1).max(1)
    edges = torch.linspace(0, 1, n_bins + 1, dtype=torch.float64)
    place = (torch.bucketize(confidence, edges, right=True) - 1).clamp(max=n_bins - 1)
    count = torch.bincount(place, minlength=n_bins).double()
    right = torch.bincount(place, (guess == labels).double(), minlength=n_bins)
    total = torch.bincount(place, confidence, minlength=n_bins)
    return Reliability(edges, count, total / count.clamp(min=1), right / count.clamp(min=1))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The number T that minimises the cross-entropy of logits / T: the cheapest cure for overconfidence.

    One number cannot change which class wins. Fit it on images that are not the test's.

    Args:
        logits: (N, K); labels: (N,).

    Returns:
        T from e⁻⁵ to e⁵: the lower end where every image is right, so that any smaller T is better, and the upper end
        where the logits say no more of the labels than chance.

    Raises:
        ValueError: what ``reliability`` refuses.

    Source: Guo et al. (2017), section 4.2.
    """
    logits, labels = _labelled(logits, labels)

    low, high = -5.0, 5.0  # of log T

    def cost(log_t: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_t), labels))

    own = logits.gather(1, labels[:, None])[:, 0]
    if (own - logits.mean(1)).mean() <= 0:  # minus the slope of the cost in 1/T, at T = ∞
        return math.exp(high)
    if (own == logits.amax(1)).all():
        return math.exp(low)
    return math.exp(minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x)


def _labelled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K) as float64 and labels (N,) as int64, once they belong together."""
    logits = arguments.logits("logits", logits)
    n, n_classes = logits.shape
    return logits, torch.from_numpy(arguments.integers("labels", labels, (n,), n_classes))


# --- outliers --------------------------------------------------------------------------------------------------------


def outlier_scores(classifier: nn.Module, x: Tensor, *, batch_size: int = 250) -> dict[str, Tensor]:
    """Three scores of images (N, C, H, W) in [-1, 1], each (N,) float64, high = like the training data.

    - ``log p(x)``: logsumexp of the logits, which is log p(x) up to a constant. For a classifier that was never trained
      as a density it is only a number.
    - ``max p(y|x)``: the log of the largest probability, which orders images as the probability itself does.
    - ``gradient norm``: minus the norm of ∇ log p(x), small where the density is flat, as near a mode.

    Raises:
        ValueError: no images, images of another kind, or scores that are not finite.

    Source: Grathwohl et al. (2020), JEM, section 5.3, for all three.
    """
    arguments.images("x", x, uint8=False)
    batch_size = arguments.whole("batch_size", batch_size, 1)
    was_training = classifier.training
    classifier.eval()
    found: dict[str, list[Tensor]] = {"log p(x)": [], "max p(y|x)": [], "gradient norm": []}
    try:
        for batch in x.split(batch_size):
            energy, grad = energy_and_grad(lambda images: -classifier(images).double().logsumexp(1), batch)
            found["log p(x)"].append(-energy)
            found["gradient norm"].append(-grad.double().flatten(1).norm(dim=1))
            found["max p(y|x)"].append(logits_of(classifier, batch).log_softmax(1).amax(1))
    finally:
        classifier.train(was_training)
    scores = {name: torch.cat(parts).cpu() for name, parts in found.items()}
    for name, values in scores.items():
        arguments.finite(f"{name} of x", values)
    return scores
