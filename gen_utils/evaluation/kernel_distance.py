"""The kernel distance between two sets of features: unlike Fréchet's, its estimate has no bias."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from . import arguments


def kernel_distance(features_a: Tensor, features_b: Tensor) -> float:
    """The unbiased estimate of MMD² with the cubic kernel (x·y / d + 1)³, in float64.

    Its mean does not depend on N and is 0 for two sets from one distribution; a single value may be below 0.

    Args:
        features_a, features_b: (N, d) and (M, d).

    Raises:
        ValueError: different dimensions, fewer than two rows, or values that are not finite.

    Source: Bińkowski et al. (2018), "Demystifying MMD GANs", which names it the kernel inception distance.
    """
    a, b = arguments.feature_pair(features_a=features_a, features_b=features_b)
    k_aa, k_bb, k_ab = _kernels(a, b)
    return float(_unbiased(k_aa, k_bb, k_ab, np.ones((1, len(a))), np.ones((1, len(b))))[0])


def kernel_interval(
    features_a: Tensor, features_b: Tensor, *, n: int = 200, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """An interval for ``kernel_distance`` that covers other draws of images from the same two sources.

    It comes from ``n`` half-samples, drawn without replacement: half of a finite set varies as a whole set does among
    whole sets. (A bootstrap would take a row twice, and the kernel of a row with itself is what the estimate leaves
    out.) For two sets from one source it is too wide, by up to √3.

    Raises:
        ValueError: what ``kernel_distance`` refuses, fewer than four rows or two half-samples, a level outside (0, 1).
    """
    a, b = arguments.feature_pair(features_a=features_a, features_b=features_b, least=4)
    n = arguments.whole("n", n, 2)
    level = arguments.number("level", level, above=0, below=1)
    kernels, stream = _kernels(a, b), np.random.default_rng(seed)
    halves = [_halves(len(x), n, stream) for x in (a, b)]
    values = _unbiased(*kernels, *halves)
    whole = float(_unbiased(*kernels, np.ones((1, len(a))), np.ones((1, len(b))))[0])
    reach = float(np.quantile(np.abs(values - values.mean()), level))
    return whole - reach, whole + reach


def _kernels(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The kernel k(x, y) - k(x, m) - k(m, y) + k(m, m), m the mean of all rows: within a, within b, and between.

    What depends on one row alone cancels in MMD², and far from the origin it would leave nothing but rounding.
    """
    d, m = a.shape[1], np.concatenate((a, b)).mean(0)
    centred = [x - m for x in (a, b)]
    along = [x @ m / d for x in centred]
    base = m @ m / d + 1  # (x·y / d + 1) = base + along x + along y + across

    def kernel(i: int, j: int) -> np.ndarray:
        across = centred[i] @ centred[j].T / d
        flat = base + along[i][:, None] + along[j]
        whole = flat + across
        rest = across * (whole**2 + whole * flat + flat**2)
        return 3 * (base + flat) * along[i][:, None] * along[j] + rest

    k_aa, k_bb, k_ab = kernel(0, 0), kernel(1, 1), kernel(0, 1)
    np.fill_diagonal(k_aa, 0)  # no row is compared with itself
    np.fill_diagonal(k_bb, 0)
    return k_aa, k_bb, k_ab


def _halves(rows: int, n: int, stream: np.random.Generator) -> np.ndarray:
    """(n, rows) of zeros and ones: which rows each half-sample has."""
    order = stream.random((n, rows)).argsort(axis=1)
    return (order < max(2, rows // 2)).astype(np.float64)


def _unbiased(k_aa: np.ndarray, k_bb: np.ndarray, k_ab: np.ndarray, of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
    """The estimate for each of R selections: of_a (R, N) and of_b (R, M) hold ones at the rows taken."""
    n, m = of_a.sum(1), of_b.sum(1)
    within_a = ((of_a @ k_aa) * of_a).sum(1) / (n * (n - 1))
    within_b = ((of_b @ k_bb) * of_b).sum(1) / (m * (m - 1))
    return within_a + within_b - 2 * ((of_a @ k_ab) * of_b).sum(1) / (n * m)
