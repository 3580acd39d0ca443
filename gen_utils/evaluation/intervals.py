"""How sure a figure is: intervals for shares and statistics, errors and worth of importance weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.stats import binomtest, t
from torch import Tensor

from . import arguments


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share, which is sensible near 0 and 1 too. Source: Wilson (1927), by SciPy.

    Raises:
        ValueError: no trials, successes that are not 0 to n, or a level outside (0, 1).
    """
    n = arguments.whole("n", n, 1)
    successes = arguments.whole("successes", successes, 0, n)
    level = arguments.number("level", level, above=0, below=1)
    found = binomtest(successes, n).proportion_ci(level, method="wilson")
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
        ValueError: no rows, tensors of one group that differ in length, fewer than two resamples, a level outside
            (0, 1), or a statistic that is not finite.

    Source: Davison & Hinkley (1997), section 5.2.
    """
    arguments.some("groups", groups)
    for group in groups:
        arguments.some("a group of tensors", group)
        arguments.equally_long(**{f"tensor {i} of a group": len(tensor) for i, tensor in enumerate(group, 1)})
        arguments.some("tensor 1 of a group", group[0])
    n = arguments.whole("n", n, 2)
    level = arguments.number("level", level, above=0, below=1)
    bounds = arguments.span("bounds", bounds, infinite=True)
    stream = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(n):
        index = [torch.randint(len(g[0]), (len(g[0]),), generator=stream) for g in groups]
        resampled = statistic(*(t[i] for g, i in zip(groups, index, strict=True) for t in g))
        values.append(arguments.number("the statistic of a resample", resampled))
    whole = arguments.number("the statistic", statistic(*(t for g in groups for t in g)))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])

    def cut(value: float) -> float:
        return float(min(max(value, bounds[0]), bounds[1]))

    return cut(2 * whole - high), cut(2 * whole - low)


def welch(one: Sequence[float], two: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean of the second group less that of the first, and half of Welch's interval around it.

    Two recipes differ, as far as their seeds can tell, where the difference is larger than the half. Where no group
    varies the half is zero (SciPy's own function gives NaN, and warns).

    Raises:
        ValueError: a group of fewer than two numbers or of other than finite ones, or a level outside (0, 1).

    Source: Welch (1947).
    """
    level = arguments.number("level", level, above=0, below=1)
    means, parts = [], []
    for name, group in (("one", one), ("two", two)):
        values = arguments.vector(name, group)
        arguments.finite(name, values)
        if len(values) < 2:
            raise ValueError(f"{name} must hold at least two numbers, got {len(values)}: one seed has no spread")
        means.append(values.mean())
        parts.append((values.var(ddof=1) / len(values), len(values) - 1))
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / max(sum(part**2 / n for part, n in parts), 1e-300)
    return float(means[1] - means[0]), float(t.ppf((1 + level) / 2, max(1.0, freedom)) * variance**0.5)


def log_mean_exp(log_weights: Tensor, dim: int = 0) -> Tensor:
    """log of the mean of exp(log_weights) along ``dim``, without overflow.

    Raises:
        ValueError: no weights, or log weights that are NaN or +inf. Where all are -inf, so is the result.
    """
    log_weights = arguments.log_weights("log_weights", log_weights, dim)
    return torch.logsumexp(log_weights, dim) - math.log(log_weights.shape[dim])


def weight_ess(log_weights: Tensor, dim: int = 0) -> Tensor:
    """(Σw)²/Σw²: how many equal weights these are worth; 1 means one chain decides everything.

    Raises:
        ValueError: no weights, log weights that are NaN or +inf, or no weight above zero.

    Source: Kong (1992); Neal (2001), section 4, reads 1 + var(w/mean w) the same way.
    """
    weights = _relative(log_weights, dim)
    return weights.sum(dim).square() / weights.square().sum(dim)


def log_mean_exp_error(log_weights: Tensor, dim: int = 0, *, n_chains: int | None = None) -> Tensor:
    """The standard error of ``log_mean_exp``, in nats: that of the mean weight over the mean weight.

    From the weights' own spread, so too small when the largest ones were never drawn; compare ``weight_ess``.

    Args:
        n_chains: None when the weights are independent. Weights of Markov chains are not; with rows (draw, chain) of so
            many chains, chains fastest as ``posterior_log_ratios`` gives them, the error is that of the chains' means,
            whatever the correlation inside a chain.

    Raises:
        ValueError: fewer than two weights, or what ``weight_ess`` refuses; rows that are no multiple of ``n_chains``,
            or fewer than two chains.
    """
    log_weights = arguments.log_weights("log_weights", log_weights, dim, least=2)
    if n_chains is not None:
        n_chains = arguments.whole("n_chains", n_chains, 2)
        if log_weights.shape[dim] % n_chains:
            raise ValueError(f"n_chains must divide the {log_weights.shape[dim]} log_weights, got {n_chains}")
        rows = log_weights.movedim(dim, 0)
        log_weights, dim = log_mean_exp(rows.reshape(-1, n_chains, *rows.shape[1:])), 0
        # The means are independent. Few of them: divide by n - 1, as below it does not matter.
        n = n_chains
        return (1 / weight_ess(log_weights) - 1 / n).clamp(min=0).mul(n / (n - 1)).sqrt()
    n = log_weights.shape[dim]
    return (1 / weight_ess(log_weights, dim) - 1 / n).clamp(min=0).sqrt()


def _relative(log_weights: Tensor, dim: int) -> Tensor:
    """The weights over the largest of them along ``dim``."""
    log_weights = arguments.log_weights("log_weights", log_weights, dim)
    largest = log_weights.amax(dim, keepdim=True)
    if largest.isneginf().any():
        raise ValueError(
            "log_weights: all along an axis are -inf, weights of zero, whose worth cannot be told; draw more"
        )
    return (log_weights - largest).exp()
