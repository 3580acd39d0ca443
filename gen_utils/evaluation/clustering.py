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

from . import arguments

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
    x = _rows("features", features, 2)
    n_clusters, n_init = arguments.whole("n_clusters", n_clusters, 2, x.shape[0]), arguments.whole("n_init", n_init, 1)
    x, centre = _centred(x)
    if minibatch if minibatch is not None else x.shape[0] >= 20_000:
        model, n_init = MiniBatchKMeans(n_clusters, batch_size=2048, random_state=seed), max(3, n_init)
    else:
        model = KMeans(n_clusters, random_state=seed)
    # Scikit-learn declares no types, and a checker takes n_init for text, as its default "auto" is: set by name.
    model = model.set_params(n_init=n_init).fit(x)
    model.cluster_centers_ += centre
    return model


def nearest_centroid(features: Features, centroids: np.ndarray) -> np.ndarray:
    """Pseudo-labels: (N, d) features and (K, d) centroids -> (N,) int64, the nearest centroid's number.

    The same rule for the training data and for data the clustering has never seen.

    Raises:
        ValueError: no rows or no centroids, different dimensions, or values that are not finite.
    """
    x, centroids = _rows("features", features), arguments.matrix("centroids", centroids)
    if x.shape[1] != centroids.shape[1]:
        raise ValueError(f"centroids must have the dimension of features, {x.shape[1]}, got {centroids.shape[1]}")
    x, centre = _centred(x)
    return pairwise_distances_argmin(x, (centroids - centre).astype(x.dtype)).astype(np.int64)


def silhouette(features: Features, clusters: ArrayLike, *, n: int = 2000, seed: int = 0) -> float:
    """The mean silhouette coefficient over a random subset of ``n`` points, in [-1, 1].

    The silhouette of a point is (b - a) / max(a, b): a its mean distance to its own cluster, b to the nearest other
    one. It costs n² distances, hence the subset; ``seed`` fixes which.

    Raises:
        ValueError: lengths that differ, all points of the subset in one cluster, or each in its own.

    Source: Rousseeuw (1987).
    """
    x, clusters, n = _rows("features", features), arguments.integers("clusters", clusters), arguments.whole("n", n, 3)
    arguments.equally_long(features=x.shape[0], clusters=len(clusters))
    if n < x.shape[0]:
        index = np.sort(np.random.default_rng(seed).choice(x.shape[0], n, replace=False))
        x, clusters = x[index], clusters[index]
    if not 2 <= len(np.unique(clusters)) < len(clusters):
        raise ValueError(
            f"clusters: a silhouette needs 2 to n - 1 of them among its n = {len(clusters)} points, got "
            f"{len(np.unique(clusters))}"
        )
    return float(silhouette_score(_centred(x)[0], clusters))


def scan_k(
    features: Features, ks: Sequence[int], seeds: Sequence[int], *, n: int = 2000, n_init: int = 1
) -> list[dict]:
    """K-means for every K and seed: rows with ``k``, ``seed``, ``silhouette`` (on n points) and ``clusters`` (N,).

    Raises:
        ValueError: no K or no seed, and what ``kmeans`` and ``silhouette`` refuse.
    """
    arguments.some("ks", ks)
    arguments.some("seeds", seeds)
    x = _rows("features", features, 2)
    rows = []
    for k in ks:
        for seed in seeds:
            model = kmeans(x, k, seed=seed, n_init=n_init)
            clusters = np.asarray(model.labels_)
            value = silhouette(x, clusters, n=n, seed=seed)
            rows.append({"k": k, "seed": seed, "silhouette": value, "clusters": clusters})
    return rows


def best_k(rows: Sequence[dict]) -> int:
    """The K with the largest silhouette, averaged over the seeds; of equals the smallest.

    Args:
        rows: as ``scan_k`` gives them.

    Raises:
        ValueError: no rows, or a silhouette that is not finite.
    """
    arguments.some("rows", rows)
    arguments.vector("silhouette of rows", [row["silhouette"] for row in rows])
    means = {k: np.mean([row["silhouette"] for row in rows if row["k"] == k]) for k in {row["k"] for row in rows}}
    return min(means, key=lambda k: (-means[k], k))


def contingency(
    clusters: ArrayLike, labels: ArrayLike, n_clusters: int | None = None, n_classes: int | None = None
) -> np.ndarray:
    """How many points of each class are in each cluster: (n_clusters, n_classes) int64.

    Args:
        clusters, labels: (N,), counted from 0; without ``n_clusters`` or ``n_classes``, up to the largest there is.

    Raises:
        ValueError: no points, lengths that differ, or a number that is no cluster or class.
    """
    clusters, labels = _pair(clusters, labels)
    n_clusters = int(clusters.max()) + 1 if n_clusters is None else arguments.whole("n_clusters", n_clusters, 1)
    n_classes = int(labels.max()) + 1 if n_classes is None else arguments.whole("n_classes", n_classes, 1)
    arguments.integers("clusters", clusters, n_classes=n_clusters)
    arguments.integers("labels", labels, n_classes=n_classes)
    table = np.zeros((n_clusters, n_classes), dtype=np.int64)
    np.add.at(table, (clusters, labels), 1)
    return table


def percentages(
    clusters: ArrayLike, labels: ArrayLike, n_clusters: int | None = None, n_classes: int | None = None
) -> np.ndarray:
    """What each cluster is made of: (n_clusters, n_classes), each row sums to 100; an empty cluster's row is zero.

    Raises: as ``contingency``.
    """
    table = contingency(clusters, labels, n_clusters, n_classes)
    return 100 * table / np.maximum(table.sum(1, keepdims=True), 1)


def name_clusters(
    clusters: ArrayLike, labels: ArrayLike, n_clusters: int | None = None, n_classes: int | None = None
) -> np.ndarray:
    """A class for every cluster, (n_clusters,) int64: one-to-one as far as it goes, the rest by majority.

    The one-to-one part is the Hungarian matching that puts most points right. With more clusters than classes, the
    clusters it leaves over are named after the class they hold most of.

    Raises: as ``contingency``.
    """
    table = contingency(clusters, labels, n_clusters, n_classes)
    names = table.argmax(1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    names[rows] = columns
    return names


def hungarian_accuracy(clusters: ArrayLike, labels: ArrayLike) -> float:
    """The share of points that are right under the best one-to-one matching of clusters to classes, in [0, 1].

    With more clusters than classes, the points of unmatched clusters count as wrong. Which number a cluster has does
    not matter.

    Raises:
        ValueError: no points, lengths that differ, or anything but whole numbers.

    Source: the matching is Kuhn's (1955); as a clustering score it is used in Xie et al. (2016).
    """
    clusters, labels = _pair(clusters, labels)
    table = contingency_matrix(clusters, labels)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / len(labels))


def agreement(clusters: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """``nmi`` and ``ari`` as scikit-learn defines them, and the Hungarian ``accuracy``. 1 is perfect in all three.

    Raises: as ``hungarian_accuracy``.
    """
    clusters, labels = _pair(clusters, labels)
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "accuracy": hungarian_accuracy(clusters, labels),
    }


def _pair(clusters: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    clusters, labels = arguments.integers("clusters", clusters), arguments.integers("labels", labels)
    arguments.equally_long(clusters=len(clusters), labels=len(labels))
    return clusters, labels


def _rows(name: str, features: Features, least: int = 1) -> Any:
    """Whatever holds finite numbers -> (N, d) float32 or float64, sparse ones left sparse.

    Any: SciPy declares no type for what its matrices and arrays have in common.
    """
    if not issparse(features):
        return arguments.matrix(name, features, least)
    x: Any = features
    arguments.shaped(name, x, ("N", "d"), least)
    arguments.finite(name, x.data)
    return x.astype(np.result_type(x.dtype, np.float32), copy=False)


def _centred(x: Any) -> tuple[Any, Any]:
    """Rows about their mean, and that mean: far from the origin, squared lengths would drown distances.

    Sparse rows, which the shift would fill, stay where they are.
    """
    if issparse(x):
        return x, np.zeros(x.shape[1], dtype=x.dtype)
    centre = x.mean(0, dtype=np.float64)
    return x - centre.astype(x.dtype), centre.astype(x.dtype)
