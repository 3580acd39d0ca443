import math

import pytest
import torch

from gen_utils.evaluation.coverage import class_coverage, precision_recall, stacked_modes


def logits_for(classes, confidence, n_classes=4):
    """Logits whose softmax gives ``confidence`` to the class and spreads the rest evenly."""
    odds = torch.tensor([math.log(c / ((1 - c) / (n_classes - 1))) for c in confidence])
    return torch.nn.functional.one_hot(torch.tensor(classes), n_classes) * odds[:, None]


def test_class_coverage_by_hand():
    found = class_coverage(logits_for([0, 0, 1, 3], [0.95, 0.89, 0.91, 0.5]))
    assert found.histogram.tolist() == [2, 1, 0, 1] and found.missing == (2,)
    assert found.kl == pytest.approx(math.log(4) - 1.5 * math.log(2))
    assert found.low_confidence == 0.5 and found.threshold == 0.9
    even = class_coverage(logits_for([0, 1, 2, 3], [0.99] * 4))
    assert even.kl == 0 and even.missing == () and even.low_confidence == 0


def test_class_coverage_of_one_class_is_log_k():
    assert class_coverage(logits_for([2] * 5, [0.99] * 5)).kl == pytest.approx(math.log(4))


def test_class_coverage_refuses_nonsense():
    with pytest.raises(ValueError, match=r"\(N, K\)"):
        class_coverage(torch.zeros(0, 4))
    with pytest.raises(ValueError, match="threshold"):
        class_coverage(torch.zeros(2, 4), threshold=90)


def test_logits_that_are_no_numbers_find_no_class():
    with pytest.raises(ValueError, match="logits: 1 of 8 values are not finite"):
        class_coverage(torch.tensor([[0.0, 1.0, 2.0, math.nan], [0.0, 1.0, 2.0, 3.0]]))
    with pytest.raises(ValueError, match="features_fake: 3 of 3 values are not finite"):
        precision_recall(torch.arange(5.0)[:, None], torch.full((3, 1), math.nan), k=2)


def test_stacked_modes():
    digits = torch.tensor([[0, 0, 0], [9, 9, 9], [9, 9, 9], [1, 2, 3]])
    found, kl = stacked_modes(digits)
    assert found == 3 and kl == pytest.approx(math.log(1000) - 1.5 * math.log(2))
    everything = torch.cartesian_prod(*[torch.arange(10)] * 3)
    assert stacked_modes(everything) == (1000, pytest.approx(0, abs=1e-12))
    # The order of the channels matters: these are two modes.
    assert stacked_modes(torch.tensor([[1, 2, 3], [3, 2, 1]]))[0] == 2
    with pytest.raises(ValueError, match="0 to 9"):
        stacked_modes(torch.tensor([[1, 2, 10]]))


def test_precision_recall_on_a_line():
    # k = 1: every real point's ball reaches 1 far. 0.5 is inside, 4.5 is not.
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    fake = torch.tensor([[0.5], [0.6], [4.5]])
    # Fakes' balls: radius 0.1 around 0.5 and 0.6, 3.9 around 4.5, which holds 1, 2 and 3 (and not 0).
    assert precision_recall(real, fake, k=1) == (pytest.approx(2 / 3), pytest.approx(3 / 4))


def test_precision_recall_of_known_failures():
    stream = torch.Generator().manual_seed(0)
    a, b = torch.randn(400, 2, generator=stream), torch.randn(400, 2, generator=stream)
    same = precision_recall(a, b)
    assert min(same) > 0.85
    assert precision_recall(a, b + 100) == (0, 0)
    collapsed = precision_recall(a, a.mean(0) + 0.01 * b)
    assert collapsed[0] > 0.95 and collapsed[1] < 0.05  # realistic, and nearly all data missing
    scattered = precision_recall(0.01 * a, 3 * b)
    assert scattered[0] < 0.05 and scattered[1] > 0.95


def test_a_set_against_itself_is_perfect():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(1)) * 1000
    assert precision_recall(x, x.clone()) == (1, 1)
    with pytest.raises(ValueError, match=r"features_real must be .* at least 4 rows"):
        precision_recall(x[:3], x)
