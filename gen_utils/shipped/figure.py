"""A figure of a model with its interval, and the kinds of figure that many models share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from ..evaluation.frechet import frechet_distance, frechet_interval
from ..evaluation.intervals import wilson


@dataclass(frozen=True)
class Figure:
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
        found = {"value": rounded(self.value, digits)}
        if self.interval is not None:
            found["interval_95"] = [rounded(end, digits) for end in self.interval]
        return {**found, **self.details}


def share(hits: Tensor, details: dict) -> Figure:
    """The share of True in (N,), with Wilson's interval."""
    k, n = int(hits.sum()), len(hits)
    return Figure(k / n, wilson(k, n), {"images": n, **details})


def mean_of(values: Tensor, details: dict) -> Figure:
    """The mean of (N,), with the interval of its standard error."""
    values = values.double()
    mean, error = values.mean().item(), values.std().item() / math.sqrt(len(values))
    return Figure(mean, (mean - 1.96 * error, mean + 1.96 * error), {"images": len(values), **details})


def frechet_of(real: Tensor, fake: Tensor, details: dict) -> Figure:
    """Fréchet distance of two sets of features; its bias from the halves of the fakes."""
    whole = frechet_distance(real, fake)
    halves = [frechet_distance(real, part) for part in fake.chunk(2)] if len(fake) >= 2 * fake.shape[1] else None
    # F(N) ≈ F + c/N, so that F(N/2) - F(N) ≈ c/N.
    bias = (sum(halves) / 2 - whole) * len(fake) if halves else 0.0
    low, high = frechet_interval(real, fake, n=100)
    width = (high - low) / 2  # the basic interval takes the bias out; the card's figure has it
    return Figure(whole, (max(0.0, whole - width), whole + width), {"images": len(fake), **details}, bias)


def rounded(value: float, digits: int) -> float:
    """To ``digits`` significant digits, or whole where that is more."""
    if not math.isfinite(value) or value == 0:
        return value
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return round(value, places)
