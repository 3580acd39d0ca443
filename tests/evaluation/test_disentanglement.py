"""Disentanglement scores on toy codes whose right answers are plain."""

import numpy as np
import pytest

from gen_utils.evaluation.disentanglement import dci, mutual_information, mutual_information_gap


@pytest.fixture(scope="module")
def factors():
    """2,000 rows of a constant factor and three independent ones, with 4, 5 and 6 values."""
    rng = np.random.default_rng(0)
    return np.stack([np.zeros(2000, int), *(rng.integers(n, size=2000) for n in (4, 5, 6))], axis=1)


def perfect(factors):
    """One code a factor, in another order and scale, and one of pure noise."""
    noise = np.random.default_rng(1).normal(size=len(factors))
    return np.stack([-3.0 * factors[:, 2], noise, 0.1 * factors[:, 3] + 7, factors[:, 1]], axis=1)


def entangled(factors):
    """Four codes that each hold equally much of all three factors."""
    a, b, c = ((f - f.mean()) / f.std() for f in factors[:, 1:].T)
    return np.stack([a + b + c, a - b + c, a + b - c, -a + b + c], axis=1)


def test_a_perfect_code_scores_near_one_and_an_entangled_one_low(factors):
    good, bad = mutual_information_gap(perfect(factors), factors), mutual_information_gap(entangled(factors), factors)
    assert good > 0.95
    assert bad < 0.3


def test_a_code_held_twice_has_no_gap(factors):
    twice = np.concatenate([perfect(factors)] * 2, axis=1)
    assert mutual_information_gap(twice, factors) == pytest.approx(0, abs=1e-12)


def test_mutual_information_of_a_copy_is_the_entropy(factors):
    information, entropy = mutual_information(perfect(factors), factors)
    assert information.shape == (4, 3)  # the constant factor is left out
    shares = np.array([np.bincount(factors[:, 1]) / 2000])
    assert entropy[0] == pytest.approx(-(shares * np.log(shares)).sum())
    assert information[3, 0] == pytest.approx(entropy[0])
    assert information[1].max() < 0.06  # pure noise, and the bias of the plug-in estimate


def test_dci(factors):
    good, bad = dci(perfect(factors), factors, n_trees=10), dci(entangled(factors), factors, n_trees=10)
    assert min(good[:3]) > 0.85 and good.importance.shape == (4, 3)
    assert bad.disentanglement < 0.5 < good.disentanglement
    assert bad.completeness < good.completeness
    assert dci(perfect(factors), factors, n_trees=10).disentanglement == good.disentanglement


@pytest.mark.parametrize(
    ("codes", "true", "message"),
    [
        (np.arange(20.0).reshape(10, 2), np.zeros((4, 2), int), "codes and factors must have one length"),
        (np.full((10, 2), np.nan), np.arange(20).reshape(10, 2), "not finite"),
        (np.arange(20.0).reshape(10, 2), np.zeros((10, 2), int), "factors: none varies"),
    ],
)
def test_bad_arguments(codes, true, message):
    for score in (mutual_information_gap, dci):
        with pytest.raises(ValueError, match=message):
            score(codes, true)
    with pytest.raises(ValueError, match="at least two codes"):
        mutual_information_gap(np.arange(6.0)[:, None], np.arange(6)[:, None])


def test_far_from_the_origin_dci_is_the_same(factors):
    near, far = (dci(perfect(factors) + offset, factors, n_trees=5) for offset in (0, 1e8))
    assert far.informativeness == pytest.approx(near.informativeness, abs=0.01)
    assert far.disentanglement == pytest.approx(near.disentanglement, abs=0.02)


def test_codes_that_never_vary_tell_nothing(factors):
    constant = np.ones((2000, 2))
    information, _ = mutual_information(constant, factors)
    assert (information == 0).all()
    with pytest.raises(ValueError, match="codes: none varies"):
        dci(constant, factors)
