from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from gen_utils.evaluation import clustering
from gen_utils.evaluation.token_features import one_hot_tokens, token_histograms, tokens_and_latents
from gen_utils.models import VQVAE

RNG = np.random.default_rng(0)


@pytest.fixture
def blobs():
    """Four separate groups of 60 points, and their labels in another order."""
    centres = np.array([[0, 0], [20, 0], [0, 20], [20, 20]])
    groups = np.repeat(np.arange(4), 60)
    return centres[groups] + RNG.normal(size=(240, 2)), np.array([2, 0, 3, 1])[groups]


@pytest.mark.parametrize("minibatch", [False, True])
def test_kmeans_finds_separate_groups(blobs, minibatch):
    x, labels = blobs
    model = clustering.kmeans(x, 4, n_init=5, minibatch=minibatch)
    assert clustering.agreement(model.labels_, labels) == {"nmi": 1.0, "ari": 1.0, "accuracy": 1.0}


def test_more_points_than_20_000_are_clustered_in_batches():
    assert type(clustering.kmeans(np.zeros((20_000, 1)) + np.arange(20_000)[:, None], 2)).__name__ == "MiniBatchKMeans"
    assert type(clustering.kmeans(np.arange(30)[:, None], 2)).__name__ == "KMeans"


@pytest.mark.parametrize("k", [-1, 0, 1, 11])
def test_too_few_or_too_many_clusters_are_refused(k):
    with pytest.raises(ValueError, match=f"n_clusters must be between 2 and 10, a whole number, got {k}"):
        clustering.kmeans(np.arange(10.0)[:, None], k)


def test_images_must_be_flattened_first():
    with pytest.raises(ValueError, match="flatten"):
        clustering.kmeans(np.zeros((10, 2, 2)), 2)


def test_pseudo_labels_are_the_nearest_centroids(blobs):
    x, _ = blobs
    model = clustering.kmeans(x, 4, n_init=5)
    assert (clustering.nearest_centroid(x, model.cluster_centers_) == model.labels_).all()
    new = RNG.uniform(-5, 25, (500, 2))
    by_hand = ((new[:, None] - model.cluster_centers_[None]) ** 2).sum(-1).argmin(1)
    assert (clustering.nearest_centroid(new, model.cluster_centers_) == by_hand).all()
    assert (clustering.nearest_centroid(torch.from_numpy(new), model.cluster_centers_) == by_hand).all()


def test_silhouette_by_hand():
    """Points 0, 1 | 5: s(0) = (5 - 1)/5, s(1) = (4 - 1)/4, and a cluster of one has silhouette 0."""
    value = clustering.silhouette(np.array([[0.0], [1.0], [5.0]]), [0, 0, 1])
    assert value == pytest.approx((4 / 5 + 3 / 4 + 0) / 3, abs=1e-6)


def test_silhouette_takes_a_seeded_subset(blobs):
    x, labels = blobs
    a, b, c = (clustering.silhouette(x, labels, n=50, seed=s) for s in (0, 0, 1))
    assert a == b != c and a == pytest.approx(clustering.silhouette(x, labels), abs=0.05)
    with pytest.raises(ValueError, match="clusters: a silhouette needs 2 to n - 1"):
        clustering.silhouette(x, np.zeros(240))


def test_the_scan_finds_the_number_of_groups(blobs):
    rows = clustering.scan_k(blobs[0], (2, 3, 4, 6), (0, 1), n=200, n_init=3)
    assert len(rows) == 8 and clustering.best_k(rows) == 4
    assert rows[0]["clusters"].shape == (240,)


def test_best_k_averages_over_seeds_and_prefers_the_smaller_of_equals():
    rows = [{"k": k, "silhouette": s} for k, s in ((2, 0.1), (2, 0.5), (3, 0.4), (3, 0.4), (5, 0.4), (5, 0.4))]
    assert clustering.best_k(rows) == 3


@pytest.mark.parametrize("seed", range(8))
def test_hungarian_accuracy_is_brute_force(seed):
    rng = np.random.default_rng(seed)
    k, c = rng.integers(2, 6, 2)
    clusters, labels = rng.integers(0, k, 80), rng.integers(0, c, 80)
    table = np.zeros((max(k, c), max(k, c)))
    np.add.at(table, (clusters, labels), 1)
    best = max(sum(table[i, p[i]] for i in range(len(p))) for p in permutations(range(max(k, c))))
    assert clustering.hungarian_accuracy(clusters, labels) == pytest.approx(best / 80)


def test_agreement_is_scikit_learns():
    clusters, labels = RNG.integers(0, 5, 300), RNG.integers(0, 4, 300)
    found = clustering.agreement(torch.from_numpy(clusters), labels)
    assert found["nmi"] == normalized_mutual_info_score(labels, clusters)
    assert found["ari"] == adjusted_rand_score(labels, clusters)


def test_percentages_by_hand_and_in_sum():
    found = clustering.percentages([0, 0, 0, 0, 2], [1, 1, 1, 0, 0], 3, 2)
    assert found.tolist() == [[25.0, 75.0], [0.0, 0.0], [100.0, 0.0]]
    clusters, labels = RNG.integers(0, 12, 500), RNG.integers(0, 10, 500)
    assert clustering.percentages(clusters, labels, 12, 10).sum(1) == pytest.approx(100)


def test_clusters_are_named_one_to_one_and_the_rest_by_majority():
    # Clusters 0 and 1 hold mostly class 0; the matching gives class 1 to cluster 1. Cluster 2 is left over: class 0.
    table = np.array([[9, 0], [8, 7], [5, 1]])
    clusters = np.repeat(np.repeat(np.arange(3), 2), table.ravel())
    labels = np.repeat(np.tile(np.arange(2), 3), table.ravel())
    assert clustering.name_clusters(clusters, labels).tolist() == [0, 1, 0]


@pytest.mark.parametrize("minibatch", [False, True])
def test_far_from_the_origin_clusters_are_the_same(blobs, minibatch):
    """In float64 an offset of 1e8 leaves eight digits; in float32 one of 1e4 leaves three."""
    x, labels = blobs
    for offset, dtype in ((1e8, np.float64), (1e4, np.float32)):
        far = (x + offset).astype(dtype)
        model = clustering.kmeans(far, 4, n_init=5, minibatch=minibatch)
        assert clustering.hungarian_accuracy(model.labels_, labels) == 1
        assert model.cluster_centers_.dtype == dtype
        assert (clustering.nearest_centroid(far, model.cluster_centers_) == model.labels_).all()
        assert clustering.silhouette(far, labels) == pytest.approx(clustering.silhouette(x, labels), abs=1e-3)


def test_whole_numbers_of_any_type_are_labels():
    expected = clustering.contingency([0, 1, 1], [1, 0, 1])
    for dtype in (torch.uint8, torch.int32, torch.float16, torch.float64):
        assert (clustering.contingency(torch.tensor([0, 1, 1], dtype=dtype), [1.0, 0.0, 1.0]) == expected).all()


def test_a_cluster_below_zero_is_none():
    for table in (clustering.contingency, clustering.percentages, clustering.name_clusters):
        with pytest.raises(ValueError, match="clusters must run from 0 to 1, got -1 to 1"):
            table([0, 1, -1], [0, 0, 1])
    assert clustering.hungarian_accuracy([0, 1, -1], [0, 2, 1]) == 1  # there the numbers do not matter


@pytest.mark.parametrize(("a", "b"), [([0, 1], [0]), ([], []), ([[0]], [[0]])])
def test_lists_of_two_lengths_are_refused(a, b):
    with pytest.raises(ValueError, match=r"one length|clusters must be \(N,\)"):
        clustering.agreement(a, b)


# --- tokens as vectors ---------------------------------------------------------------------------


def test_one_hot_distances_count_the_places_that_differ():
    tokens = torch.randint(6, (5, 3, 3))
    x = one_hot_tokens(tokens, 6)
    assert isinstance(x, csr_matrix) and x.shape == (5, 54) and (x.sum(1) == 9).all()
    gap = np.asarray(x.todense())
    for i in range(5):
        for j in range(5):
            assert ((gap[i] - gap[j]) ** 2).sum() == 2 * (tokens[i] != tokens[j]).sum()


def test_a_token_outside_of_the_codebook_is_refused():
    for function in (one_hot_tokens, token_histograms):
        for token in (-1, 4):
            with pytest.raises(ValueError, match="tokens must run from 0 to 3"):
                function(torch.tensor([[[0, token], [1, 2]]]), 4)


def test_histograms_count_and_have_length_one():
    tokens = torch.tensor([[[0, 0], [0, 2]], [[1, 1], [1, 1]]])
    found = token_histograms(tokens, 4)
    assert found == pytest.approx(np.sqrt([[0.75, 0, 0.25, 0], [0, 1, 0, 0]]))
    assert (found**2).sum(1) == pytest.approx(1)


def test_sparse_features_cluster_like_dense_ones():
    tokens = torch.cat((torch.zeros(20, 2, 2), torch.ones(20, 2, 2))).long()
    tokens[::7, 0, 0] = 2
    x = one_hot_tokens(tokens, 3)
    model = clustering.kmeans(x, 2)
    assert clustering.hungarian_accuracy(model.labels_, np.repeat([0, 1], 20)) == 1
    assert (clustering.nearest_centroid(x, model.cluster_centers_) == model.labels_).all()
    assert clustering.silhouette(x, model.labels_, n=30) > 0.5


def test_latents_are_the_codes_of_the_tokens_and_the_mode_is_kept():
    model = VQVAE(n_codes=12, code_dim=4, width=8, n_blocks=1).train()
    images = torch.randint(256, (7, 1, 28, 28), dtype=torch.uint8)
    tokens, latents = tokens_and_latents(model, images, batch_size=3)
    assert tokens.shape == (7, 7, 7) and latents.shape == (7, 4 * 49) and model.training
    assert (latents == model.embed(tokens).flatten(1).numpy()).all()
