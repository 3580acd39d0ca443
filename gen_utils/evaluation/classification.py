"""What a classifier's probabilities are worth: calibration, outliers, attacks, and how sure we are of each figure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import ImageSet, to_float
from ..samplers.kernels import energy_and_grad


@torch.no_grad()
def logits_of(classifier: nn.Module, images: Tensor | ImageSet, *, batch_size: int = 500) -> Tensor:
    """(N, K) float64 logits of uint8 images or of floats in [-1, 1], in eval mode.

    Float64 from here on: in float32 many probabilities of a good classifier are exactly one.
    """
    images = images.images if isinstance(images, ImageSet) else images
    was_training, device = classifier.training, next(classifier.parameters()).device
    classifier.eval()
    try:
        parts = []
        for batch in images.split(batch_size):
            batch = batch.to(device)
            parts.append(classifier(to_float(batch) if batch.dtype == torch.uint8 else batch).double().cpu())
    finally:
        classifier.train(was_training)
    return torch.cat(parts)


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
        ValueError: no images, or labels that do not match.

    Source: Guo et al. (2017), section 2.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise ValueError(f"logits (N, K) need labels (N,), got {tuple(logits.shape)} and {tuple(labels.shape)}")
    confidence, guess = logits.double().softmax(1).max(1)
    edges = torch.linspace(0, 1, n_bins + 1, dtype=torch.float64)
    place = (torch.bucketize(confidence, edges, right=True) - 1).clamp(max=n_bins - 1)
    count = torch.bincount(place, minlength=n_bins).double()
    right = torch.bincount(place, (guess == labels).double(), minlength=n_bins)
    total = torch.bincount(place, confidence, minlength=n_bins)
    return Reliability(edges, count, total / count.clamp(min=1), right / count.clamp(min=1))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The number T that minimises the cross-entropy of logits / T: the cheapest cure for overconfidence.

    One number cannot change which class wins. Fit it on images that are not the test's.

    Source: Guo et al. (2017), section 4.2.
    """
    logits = logits.double()

    def cost(log_t: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_t), labels))

    return math.exp(minimize_scalar(cost, bounds=(-5, 5), method="bounded", options={"xatol": 1e-6}).x)


# --- outliers --------------------------------------------------------------------------------------------------------


def outlier_scores(classifier: nn.Module, x: Tensor, *, batch_size: int = 250) -> dict[str, Tensor]:
    """Three scores of images (N, C, H, W) in [-1, 1], each (N,) float64, high = like the training data.

    - ``log p(x)``: logsumexp of the logits, which is log p(x) up to a constant. For a classifier that was never trained
      as a density it is only a number.
    - ``max p(y|x)``: the log of the largest probability, which orders images as the probability itself does.
    - ``gradient norm``: minus the norm of ∇ log p(x), small where the density is flat, as near a mode.

    Source: Grathwohl et al. (2020), JEM, section 5.3, for all three.
    """
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
    return {name: torch.cat(parts).cpu() for name, parts in found.items()}


# --- attacks ---------------------------------------------------------------------------------------------------------


def pgd(
    classifier: nn.Module,
    x: Tensor,
    labels: Tensor,
    radius: float,
    *,
    norm: str = "linf",
    n_steps: int = 20,
    bounds: tuple[float, float] = (-1.0, 1.0),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images (B, C, H, W) no further than ``radius`` from x that the classifier gets wrong, where the attack finds any.

    Projected gradient ascent from a random point of the ball on the margin, max over wrong classes of f[y] - f[label].
    Unlike the cross-entropy the margin does not go flat where the classifier is very sure, so that a confident network
    does not look robust. An image keeps the first wrong answer; what was never fooled keeps its last state.

    Args:
        radius: in the units of x. Where x is in [-1, 1], half of it in the units of [0, 1].
        norm: "linf" bounds each pixel's change, "l2" the change's length.
        n_steps: steps of 2.5 · radius / n_steps.

    Raises:
        ValueError: an unknown norm or a negative radius.

    Source: Madry et al. (2018), section 2.1; the margin is one of Carlini & Wagner's (2017).
    """
    if norm not in ("linf", "l2"):
        raise ValueError(f'norm is "linf" or "l2", got {norm!r}')
    if radius < 0:
        raise ValueError(f"radius is zero or more, got {radius}")
    was_training = classifier.training
    classifier.eval()
    own = F.one_hot(labels, classifier.config["n_classes"]).bool()

    def minus_margin(images: Tensor) -> Tensor:
        logits = classifier(images)
        return logits[own] - logits.masked_fill(own, -math.inf).amax(1)

    def back(images: Tensor) -> Tensor:
        delta = images - x
        if norm == "linf":
            delta = delta.clamp(-radius, radius)
        else:
            length = delta.flatten(1).norm(dim=1).clamp(min=1e-12)
            delta = delta * (radius / length).clamp(max=1).view(-1, 1, 1, 1)
        return (x + delta).clamp(*bounds)  # x is in the box, so this step moves no pixel away from it

    try:
        noise = torch.rand(x.shape, generator=generator, device=None if generator is None else generator.device)
        at = back(x + radius * (2 * noise - 1).to(x))
        found, fooled = at.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
        step = 2.5 * radius / n_steps
        for i in range(n_steps + 1):
            value, grad = energy_and_grad(minus_margin, at)
            found = torch.where(fooled.view(-1, 1, 1, 1), found, at)
            fooled |= value < 0
            if i == n_steps or bool(fooled.all()):
                break
            if norm == "linf":
                way = grad.sign()
            else:
                way = grad / grad.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
            at = back(at - step * way)
    finally:
        classifier.train(was_training)
    return found


def robust_accuracy(
    classifier: nn.Module, x: Tensor, labels: Tensor, radius: float, *, batch_size: int = 100, **settings
) -> int:
    """How many of the images (N, C, H, W) are right and stay right under ``pgd``; ``settings`` are its own."""
    survived = 0
    for images, truth in zip(x.split(batch_size), labels.split(batch_size), strict=True):
        attacked = pgd(classifier, images, truth, radius, **settings) if radius else images
        right = logits_of(classifier, images).argmax(1) == truth.cpu()
        survived += int((right & (logits_of(classifier, attacked).argmax(1) == truth.cpu())).sum())
    return survived


# --- how sure --------------------------------------------------------------------------------------------------------


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share, which is sensible near 0 and 1 too. Source: Wilson (1927), by SciPy."""
    found = binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def bootstrap(
    statistic: Callable[..., float],
    *groups: tuple[Tensor, ...],
    n: int = 200,
    level: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[float, float]:
    """Basic bootstrap interval of a statistic: each group's rows are drawn anew with replacement, ``n`` times.

    The interval is (2 θ - q_high, 2 θ - q_low), θ the statistic and q the quantiles of its resampled values. It
    reflects the resampling at θ, and so takes out a bias that the percentiles themselves would double: an ECE is too
    high in a small sample, and higher still in a resample. With a strong bias the interval may lie below θ.

    Args:
        statistic: called with the tensors of all groups in order.
        groups: each a tuple of tensors whose rows belong together, such as (logits, labels).
        bounds: what the statistic can be; the interval is cut there.

    Raises:
        ValueError: tensors of one group that differ in length.

    Source: Davison & Hinkley (1997), section 5.2.
    """
    for group in groups:
        if len({len(tensor) for tensor in group}) != 1:
            raise ValueError(f"the tensors of a group have one length, got {[len(t) for t in group]}")
    stream = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(n):
        index = [torch.randint(len(g[0]), (len(g[0]),), generator=stream) for g in groups]
        values.append(statistic(*(t[i] for g, i in zip(groups, index, strict=True) for t in g)))
    whole = statistic(*(t for g in groups for t in g))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return tuple(float(min(max(2 * whole - q, bounds[0]), bounds[1])) for q in (high, low))
