"""Attacks: images close to given ones that a classifier gets wrong, and how many it never gets wrong."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..samplers.protocol import energy_and_grad
from . import arguments
from .classification import logits_of


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
        x: float32 or float64, within ``bounds``; labels: (N,), the classes that are right.
        radius: in the units of x, kept up to rounding. Where x is in [-1, 1], half of it in the units of [0, 1].
        norm: "linf" bounds each pixel's change, "l2" the change's length.
        n_steps: steps of 2.5 · radius / n_steps.
        bounds: what pixels can be.

    Raises:
        ValueError: images of another type or outside of the bounds, labels that are no classes, an unknown norm, a
            radius that is negative or not finite, no steps, or logits that are not finite.

    Source: Madry et al. (2018), section 2.1; the margin is one of Carlini & Wagner's (2017).
    """
    arguments.choice("norm", norm, ("linf", "l2"))
    radius, n_steps = arguments.number("radius", radius, least=0), arguments.whole("n_steps", n_steps, 1)
    bounds = arguments.span("bounds", bounds)
    arguments.images("x", x, uint8=False, bounds=bounds, slack=0)
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be float32 or float64, got {x.dtype}, whose rounding is of the size of an attack")
    n_classes = logits_of(classifier, x[:1], bounds=bounds).shape[1]
    labels = torch.from_numpy(arguments.integers("labels", labels, (len(x),), n_classes)).to(x.device)
    if radius == 0:
        return x.clone()
    was_training = classifier.training
    classifier.eval()

    def minus_margin(images: Tensor) -> Tensor:
        logits = classifier(images)
        own = F.one_hot(labels, logits.shape[1]).bool()
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
            arguments.finite("the classifier's margin", value)
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
    classifier: nn.Module,
    x: Tensor,
    labels: Tensor,
    radius: float,
    *,
    batch_size: int = 100,
    bounds: tuple[float, float] = (-1.0, 1.0),
    **settings,
) -> int:
    """How many of the images (N, C, H, W) are right and stay right under ``pgd``; ``settings`` are its own.

    Raises:
        ValueError: what ``pgd`` refuses.
    """
    batch_size = arguments.whole("batch_size", batch_size, 1)
    bounds = arguments.span("bounds", bounds)
    arguments.images("x", x, uint8=False, bounds=bounds, slack=0)
    truth = torch.from_numpy(arguments.integers("labels", labels, (len(x),)))
    survived = 0
    for images, own in zip(x.split(batch_size), truth.split(batch_size), strict=True):
        attacked = pgd(classifier, images, own, radius, bounds=bounds, **settings)
        right, still = (logits_of(classifier, each, bounds=bounds).argmax(1) == own for each in (images, attacked))
        survived += int((right & still).sum())
    return survived
