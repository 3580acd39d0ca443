"""Disentanglement scores for data whose true factors are known: MIG and DCI. On scikit-learn.

Both compare codes (N, d), usually the encoder's means, with factors (N, k) of whole numbers, and are between 0 and 1.
A factor that never varies, such as dSprites' colour, is left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import mutual_info_score
from sklearn.model_selection import train_test_split

from . import arguments


def mutual_information(codes: ArrayLike, factors: ArrayLike, *, n_bins: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """(d, k) mutual information in nats of each binned code with each factor, and the factors' entropies (k,).

    Args:
        codes: (N, d) floats; each dimension is cut into ``n_bins`` intervals of equal length over its range.
        factors: (N, k) whole numbers; constant columns are left out.

    The plug-in estimate is biased upwards, by about (bins - 1)(values - 1)/(2N): use thousands of images.

    Raises:
        ValueError: shapes that do not match, codes that are not finite, factors that are not whole, no factor
            that varies, or fewer than two bins.
    """
    told, known = _columns(codes, factors)
    n_bins = arguments.whole("n_bins", n_bins, 2)
    binned = [np.digitize(c, np.linspace(c.min(), c.max(), n_bins + 1)[1:-1]) for c in told.T]
    information = np.array([[mutual_info_score(c, f) for f in known.T] for c in binned])
    return information, np.array([mutual_info_score(f, f) for f in known.T])


def mutual_information_gap(codes: ArrayLike, factors: ArrayLike, *, n_bins: int = 20) -> float:
    """MIG: how far ahead the best code of each factor is of the second best, as a share of the factor's entropy.

    1 when every factor is told by one code alone; 0 when two codes tell equally much of each.

    Raises: as ``mutual_information``; fewer than two codes.

    Source: Chen et al. (2018), with the binned means of Locatello et al. (2019).
    """
    information, entropy = mutual_information(codes, factors, n_bins=n_bins)
    if len(information) < 2:
        raise ValueError("codes: the gap between the best code and the second needs at least two codes")
    second, best = np.sort(information, axis=0)[-2:]
    return float(((best - second) / entropy).mean())


class DCI(NamedTuple):
    """Scores in [0, 1], and what they are computed from."""

    disentanglement: float  # each code tells of one factor
    completeness: float  # each factor is told by one code
    informativeness: float  # held-out accuracy of predicting the factors, mean
    importance: np.ndarray  # (d, k), columns sum to one


def dci(codes: ArrayLike, factors: ArrayLike, *, seed: int = 0, n_trees: int = 30, n_jobs: int = 1) -> DCI:
    """Disentanglement, completeness and informativeness, from a random forest's importances of each code.

    A code's disentanglement is one minus the entropy of its importances over the factors, in units of log k, and the
    codes are weighted by their share of all importance; completeness is the same along the other axis. A code that is
    never used weighs nothing.

    Args:
        codes: (N, d); factors: (N, k), predicted as classes; a quarter of the rows is held out.

    Raises: as ``mutual_information``; a single varying factor or a single code, for which entropies say nothing; fewer
        than eight rows; codes that do not vary, or that no tree can use.

    Source: Eastwood & Williams (2018), section 2.
    """
    told, known = _columns(codes, factors, 8)
    n_trees = arguments.whole("n_trees", n_trees, 1)
    if told.shape[1] < 2 or known.shape[1] < 2:
        got = f"{told.shape[1]} and {known.shape[1]}"
        raise ValueError(f"codes and factors: DCI needs two codes and two factors that vary, got {got}")
    width = np.ptp(told, axis=0)
    if not width.any():
        raise ValueError("codes: none varies over the rows, so they tell nothing; look at the encoder")
    # Trees ask only for the order, and scikit-learn's keep float32: far from the origin it would be lost.
    told = (told - told.min(0)) / np.where(width > 0, width, 1)
    train, test = train_test_split(np.arange(len(told)), test_size=0.25, random_state=seed)
    importance, accuracy = [], []
    for factor in known.T:
        forest = RandomForestClassifier(n_trees, max_depth=12, random_state=seed, n_jobs=n_jobs)
        forest.fit(told[train], factor[train])
        importance.append(forest.feature_importances_)
        accuracy.append(forest.score(told[test], factor[test]))
    matrix = np.stack(importance, axis=1)
    if not matrix.any():
        raise ValueError("codes: no tree found a use for any of them; take more rows")
    per_code, per_factor = _purity(matrix), _purity(matrix.T)
    weight = matrix.sum(1) / matrix.sum()
    return DCI(float(weight @ per_code), float(per_factor.mean()), float(np.mean(accuracy)), matrix)


def _purity(importance: np.ndarray) -> np.ndarray:
    """(n, m) -> (n,): one minus the entropy of each row, in units of log m; a row of zeros gets 0."""
    total = importance.sum(1, keepdims=True)
    share = np.divide(importance, total, out=np.full_like(importance, 1 / importance.shape[1]), where=total > 0)
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(1)
    return 1 - entropy / np.log(importance.shape[1])


def _columns(codes: ArrayLike, factors: ArrayLike, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N, d) as float64, and the columns of factors (N, k) that vary."""
    told = arguments.matrix("codes", codes, least).astype(np.float64)
    known = arguments.integers("factors", factors, ("N", "k"))
    arguments.equally_long(codes=len(told), factors=len(known))
    known = known[:, known.max(0) > known.min(0)]
    if known.shape[1] == 0:
        raise ValueError("factors: none varies over the rows, so there is nothing to be told")
    return told, known
