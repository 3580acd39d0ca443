"""Attacks: images close to given ones that a classifier gets wrong, and how many it never gets wrong."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..samplers.protocol import energy_and_grad
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
