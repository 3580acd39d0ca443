"""Clusters and what they are worth: k-means, silhouettes, agreement with labels, pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix, issparse
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import (
    adjusted_rand_score,
    normalized_mutual_info_score,
    pairwise_distances_argmin,
    silhouette_score,
)
from sklearn.metrics.cluster import contingency_matrix

Features = ArrayLike | csr_matrix  # (N, d): an array, a tensor or a sparse matrix


def kmeans(
    features: Features, n_clusters: int, *, seed: int = 0, n_init: int = 1, minibatch: bool | None = None
) -> KMeans | MiniBatchKMeans:
    """K-means with k-means++ starts, fitted; ``.cluster_centers_`` and ``.labels_`` are scikit-learn's.

    Args:
        n_init: so many starts, the best of which is kept.
        minibatch: fit on small batches, a little worse and much faster; by default from 20,000 rows on.

    Raises:
        ValueError: fewer than two clusters, more clusters than rows, or values that are not finite.
    """
    x = _rows(features)
    if not 2 <= n_clusters <= x.shape[0]:
        raise ValueError(f"n_clusters must be between 2 and the {x.shape[0]} points there are, got {n_clusters}")
    if minibatch if minibatch is not None else x.shape[0] >= 20_000:
        model, n_init = MiniBatchKMeans(n_clusters, batch_size=2048, random_state=seed), max(3, n_init)
    else:
        model = KMeans(n_clusters, random_state=seed)
    # Scikit-learn declares no types, and a checker takes n_init for text, as its default "auto" is: set by name.
    return model.set_params(n_init=n_init).fit(x)


def nearest_centroid(features: Features, centroids: np.ndarray) -> np.ndarray:
    """Pseudo-labels: (N, d) features and (K, d) centroids -> (N,) int64, the nearest centroid's number.

    The same rule for the training data and for data the clustering has never seen.
    """
    x = _rows(features)
    return pairwise_distances_argmin(x, np.asarray(centroids, dtype=x.dtype)).astype(np.int64)


def silhouette(features: Features, clusters: ArrayLike, *, n: int = 2000, seed: int = 0) -> float:
    """The mean silhouette coefficient over a random subset of ``n`` points, in [-1, 1].

    The silhouette of a point is (b - a) / max(a, b): a its mean distance to its own cluster, b to the nearest other
    one. It costs n² distances, hence the subset; ``seed`` fixes which.

    Raises:
        ValueError: all points of the subset in one cluster, or each in its own.

    Source: Rousseeuw (1987).
    """
    x, clusters = _rows(features), np.asarray(clusters)
    if n < x.shape[0]:
        index = np.sort(np.random.default_rng(seed).choice(x.shape[0], n, replace=False))
        x, clusters = x[index], clusters[index]
    if not 2 <= len(np.unique(clusters)) < len(clusters):
        raise ValueError(f"a silhouette needs 2 to n - 1 clusters among its {len(clusters)} points")
    return float(silhouette_score(x, clusters))


def scan_k(
    features: Features, ks: Sequence[int], seeds: Sequence[int], *, n: int = 2000, n_init: int = 1
) -> list[dict]:
    """K-means for every K and seed: rows with ``k``, ``seed``, ``silhouette`` (on n points) and ``clusters`` (N,)."""
    x = _rows(features)
    rows = []
    for k in ks:
        for seed in seeds:
            model = kmeans(x, k, seed=seed, n_init=n_init)
            clusters = np.asarray(model.labels_)
            value = silhouette(x, clusters, n=n, seed=seed)
            rows.append({"k": k, "seed": seed, "silhouette": value, "clusters": clusters})
    return rows


def best_k(rows: Sequence[dict]) -> int:
    """The K with the largest silhouette, averaged over the seeds; of equals the smallest."""
    means = {k: np.mean([row["silhouette"] for row in rows if row["k"] == k]) for k in {row["k"] for row in rows}}
    return min(means, key=lambda k: (-means[k], k))


def contingency(
    clusters: ArrayLike, labels: ArrayLike, n_clusters: int | None = None, n_classes: int | None = None
) -> np.ndarray:
    """How many points of each class are in each cluster: (n_clusters, n_classes) int64."""
    clusters, labels = _pair(clusters, labels)
    shape = (n_clusters or int(clusters.max()) + 1, n_classes or int(labels.max()) + 1)
    table = np.zeros(shape, dtype=np.int64)
    np.add.at(table, (clusters, labels), 1)
    return table


def percentages(
    clusters: ArrayLike, labels: ArrayLike, n_clusters: int | None = None, n_classes: int | None = None
) -> np.ndarray:
    """What each cluster is made of: (n_clusters, n_classes), each row sums to 100; an empty cluster's row is zero."""
    table = contingency(clusters, labels, n_clusters, n_classes)
    return 100 * table / np.maximum(table.sum(1, keepdims=True), 1)


def name_clusters(
    clusters: ArrayLike, labels: ArrayLike, n_clusters: int | None = None, n_classes: int | None = None
) -> np.ndarray:
    """A class for every cluster, (n_clusters,) int64: one-to-one as far as it goes, the rest by majority.

    The one-to-one part is the Hungarian matching that puts most points right. With more clusters than classes, the
    clusters it leaves over are named after the class they hold most of.
    """
    table = contingency(clusters, labels, n_clusters, n_classes)
    names = table.argmax(1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    names[rows] = columns
    return names


def hungarian_accuracy(clusters: ArrayLike, labels: ArrayLike) -> float:
    """The share of points that are right under the best one-to-one matching of clusters to classes, in [0, 1].

    With more clusters than classes, the points of unmatched clusters count as wrong.

    Source: the matching is Kuhn's (1955); as a clustering score it is used in Xie et al. (2016).
    """
    clusters, labels = _pair(clusters, labels)
    table = contingency_matrix(clusters, labels)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / len(labels))


def agreement(clusters: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """``nmi`` and ``ari`` as scikit-learn defines them, and the Hungarian ``accuracy``. 1 is perfect in all three."""
    clusters, labels = _pair(clusters, labels)
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "accuracy": hungarian_accuracy(clusters, labels),
    }


def _pair(clusters: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    clusters, labels = np.asarray(clusters), np.asarray(labels)
    if clusters.shape != labels.shape or clusters.ndim != 1 or not len(labels):
        raise ValueError(
            f"clusters and labels must be two non-empty lists of one length, got {clusters.shape} and {labels.shape}"
        )
    return clusters, labels


def _rows(features: Features) -> Any:
    """Whatever holds numbers -> float32 (N, d), sparse ones left sparse.

    Any: SciPy declares no type for what its matrices and arrays have in common.
    """
    x: Any = features if issparse(features) else np.asarray(features)
    if x.ndim != 2:
        raise ValueError(f"features must be (N, d), got {tuple(x.shape)}; flatten images first")
    return x if x.dtype == np.float32 else x.astype(np.float32)
