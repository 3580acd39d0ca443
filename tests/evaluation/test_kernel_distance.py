from fractions import Fraction

import pytest
import torch

from gen_utils.evaluation.kernel_distance import kernel_distance, kernel_interval


def draws(n, d=5, shift=0.0, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_agrees_with_torchmetrics():
    from torchmetrics.image.kid import poly_mmd

    a, b = draws(80), draws(80, shift=0.5, seed=1)
    assert kernel_distance(a, b) == pytest.approx(float(poly_mmd(a, b)), rel=1e-9)


def test_by_hand():
    """Two rows against two, in one dimension: every kernel value can be written down."""
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [0.0]])
    between = ((0 + 1) ** 3 + (0 + 1) ** 3 + (2 + 1) ** 3 + (0 + 1) ** 3) / 4
    assert kernel_distance(a, b) == pytest.approx(1 + 1 - 2 * between)


def test_no_bias_where_frechets_has_one():
    values = [kernel_distance(draws(60, seed=2 * i), draws(40, seed=2 * i + 1)) for i in range(200)]
    mean, spread = torch.tensor(values).mean(), torch.tensor(values).std()
    assert abs(mean) < 4 * spread / 200**0.5 and min(values) < 0 < max(values)


def test_the_interval_covers():
    """Against the distance of 4,000 rows, near enough to the true one."""
    truth = kernel_distance(draws(4000, seed=98), draws(4000, shift=0.3, seed=99))
    hits = 0
    for i in range(20):
        low, high = kernel_interval(draws(200, seed=2 * i), draws(200, shift=0.3, seed=2 * i + 1), n=100, seed=i)
        hits += low <= truth <= high
    assert hits >= 15
    assert kernel_interval(draws(50), draws(50, seed=3), seed=1) == kernel_interval(
        draws(50), draws(50, seed=3), seed=1
    )


def test_far_from_the_origin_it_is_exact():
    """Against fractions: in float64 the kernels themselves, near 1e48, would leave no digit of their differences."""
    a, b = (draws(6, 2, seed=i).mul(64).round() / 64 + 1e8 for i in (0, 1))

    def mean(x, y, same):
        k = [
            (sum(Fraction(p) * Fraction(q) for p, q in zip(u, v, strict=True)) / 2 + 1) ** 3
            for i, u in enumerate(x.tolist())
            for j, v in enumerate(y.tolist())
            if not (same and i == j)
        ]
        return sum(k) / len(k)

    exact = mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)
    assert kernel_distance(a, b) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.parametrize("bad", [torch.zeros(5, 3), torch.zeros(1, 4), torch.full((5, 4), float("inf"))])
def test_bad_features_are_refused(bad):
    with pytest.raises(ValueError, match="features"):
        kernel_distance(torch.randn(5, 4), bad)
