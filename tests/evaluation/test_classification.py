"""Calibration, outlier scores, attacks and intervals against exact answers."""

import math

import pytest
import torch
from scipy import stats
from torch import nn
from torchmetrics.functional.classification import multiclass_calibration_error

from gen_utils.evaluation.attacks import pgd, robust_accuracy
from gen_utils.evaluation.classification import fit_temperature, logits_of, outlier_scores, reliability
from gen_utils.evaluation.intervals import bootstrap, welch, wilson


class Linear(nn.Module):
    """Two logits, ±(w · x)/2: the margin of label 1 is w · x, and every attack's best answer is known."""

    def __init__(self, weight):
        super().__init__()
        self.config = {"n_classes": 2}
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        half = (x.flatten(1) @ self.weight) / 2
        return torch.stack((-half, half), 1)


def two_class_logits(confidence, guess):
    log_odds = torch.logit(torch.tensor(confidence, dtype=torch.float64))
    logits = torch.zeros(len(confidence), 2, dtype=torch.float64)
    logits[torch.arange(len(guess)), torch.tensor(guess)] = log_odds
    return logits


# --- calibration ---------------------------------------------------------------------------------


def test_reliability_by_hand():
    logits = two_class_logits([0.625, 0.625, 0.9, 0.9], [0, 1, 1, 1])
    found = reliability(logits, torch.tensor([0, 0, 1, 1]), n_bins=4)
    assert found.count.tolist() == [0, 0, 2, 2]
    assert torch.allclose(found.accuracy, torch.tensor([0.0, 0.0, 0.5, 1.0]).double())
    assert torch.allclose(found.confidence, torch.tensor([0.0, 0.0, 0.625, 0.9]).double())
    assert math.isclose(found.ece, 0.5 * 0.125 + 0.5 * 0.1)


def test_ece_is_torchmetrics_where_nobody_is_certain():
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 7, generator=stream, dtype=torch.float64) * 2
    labels = torch.randint(7, (500,), generator=stream)
    theirs = multiclass_calibration_error(logits.softmax(1), labels, 7, n_bins=15, norm="l1")
    assert math.isclose(reliability(logits, labels).ece, float(theirs), rel_tol=1e-6)  # theirs adds up in float32


def test_certainty_falls_into_the_last_bin():
    logits = torch.tensor([[1000.0, 0.0], [0.0, 1000.0]])
    found = reliability(logits, torch.tensor([0, 0]), n_bins=5)
    assert found.count.tolist() == [0, 0, 0, 0, 2] and found.ece == 0.5


def test_a_calibrated_classifier_has_a_small_ece():
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(40_000, 3, generator=stream)
    labels = torch.multinomial(logits.softmax(1), 1, generator=stream)[:, 0]
    assert reliability(logits, labels).ece < 0.01
    assert reliability(logits * 3, labels).ece > 0.1
    assert math.isclose(fit_temperature(logits * 3, labels), 3, rel_tol=0.03)


def test_the_temperature_is_at_an_end_where_no_temperature_is_the_best():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    assert fit_temperature(logits, labels) == pytest.approx(math.exp(-5))  # all right: the surer the better
    assert fit_temperature(logits, 1 - labels) == pytest.approx(math.exp(5))  # all wrong
    assert fit_temperature(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])) == pytest.approx(math.exp(5))


def test_logits_in_half_precision_are_computed_in_double():
    logits, labels = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]]), torch.tensor([0, 1, 1])
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert reliability(logits.to(dtype), labels.to(torch.uint8)).ece == reliability(logits.double(), labels).ece


def test_reliability_refuses_what_does_not_match():
    with pytest.raises(ValueError, match=r"labels must be \(3,\)"):
        reliability(torch.zeros(3, 2), torch.zeros(2).long())


# --- outliers ------------------------------------------------------------------------------------


def test_scores_of_a_linear_classifier():
    weight = torch.tensor([3.0, -4.0])
    x = torch.tensor([[0.0, 0.0], [1.0, 0.5]]).view(2, 1, 1, 2)
    scores = outlier_scores(Linear(weight), x)
    margin = torch.tensor([0.0, 1.0]).double()
    assert torch.allclose(scores["log p(x)"], (2 * torch.cosh(margin / 2)).log(), atol=1e-6)
    assert torch.allclose(scores["max p(y|x)"], torch.sigmoid(margin).log(), atol=1e-6)
    # d/dx log 2cosh(w·x/2) = tanh(w·x/2) w/2, and ‖w‖ = 5
    assert torch.allclose(scores["gradient norm"], -2.5 * torch.tanh(margin / 2), atol=1e-6)


def test_scores_leave_no_gradients_and_the_mode_as_it_was():
    model = Linear(torch.ones(2)).train()
    outlier_scores(model, torch.zeros(3, 1, 1, 2))
    assert model.training and model.weight.grad is None


# --- attacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "needed"), [("linf", 0.7 / 7), ("l2", 0.7 / 5)])
def test_the_attack_succeeds_exactly_beyond_the_margin(norm, needed):
    """A linear margin m falls to 0 at radius m / ‖w‖ of the dual norm: ‖w‖₁ = 7, ‖w‖₂ = 5."""
    model = Linear(torch.tensor([3.0, -4.0]))
    x, labels = torch.tensor([0.1, -0.1]).view(1, 1, 1, 2), torch.tensor([1])
    for radius, fooled in ((0.97 * needed, False), (1.03 * needed, True)):
        at = pgd(model, x, labels, radius, norm=norm, n_steps=40, generator=torch.Generator().manual_seed(0))
        moved = (at - x).flatten(1)
        assert (moved.abs().amax() if norm == "linf" else moved.norm()) <= radius * (1 + 1e-5)
        assert bool(logits_of(model, at).argmax(1) != labels) == fooled


def test_the_attack_stays_in_the_box_and_radius_zero_changes_nothing():
    model = Linear(torch.tensor([3.0, -4.0]))
    x, labels = torch.tensor([[0.99, -1.0], [0.2, 0.1]]).view(2, 1, 1, 2), torch.tensor([1, 1])
    assert pgd(model, x, labels, 5.0).abs().max() <= 1
    assert torch.equal(pgd(model, x, labels, 0.0), x)


def test_a_very_sure_classifier_is_attacked_too():
    """The cross-entropy's gradient is exactly zero here in float32; the margin's is not."""
    model = Linear(torch.tensor([3000.0, -4000.0]))
    x, labels = torch.tensor([0.1, -0.1]).view(1, 1, 1, 2), torch.tensor([1])
    assert robust_accuracy(model, x, labels, 0.2) == 0


PLAIN = {
    "classifier": Linear(torch.tensor([3.0, -4.0])),
    "x": torch.tensor([[0.1, -0.1], [0.9, 1.0]]).view(2, 1, 1, 2),
    "labels": torch.tensor([1, 0]),
    "radius": 0.3,
}


def attack(function=pgd, **changes):
    return function(**{**PLAIN, **changes})


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("radius", [0.0, 1e-3, 0.3, 5.0])
@pytest.mark.parametrize("n_steps", [1, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_pixel_moves_further_than_the_radius_or_out_of_the_box(norm, radius, n_steps, dtype):
    x = PLAIN["x"].to(dtype)
    at = attack(classifier=Linear(torch.tensor([3.0, -4.0]).to(dtype)), x=x, radius=radius, norm=norm, n_steps=n_steps)
    moved = (at - x).flatten(1)
    assert at.dtype == dtype and at.abs().max() <= 1
    assert (moved.abs().amax(1) if norm == "linf" else moved.norm(dim=1)).max() <= radius + 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.full((2, 1, 1, 2), 128, dtype=torch.uint8)}, "x must be floats"),
        ({"x": 3 * PLAIN["x"]}, "undo a standardisation"),
        ({"bounds": (0.0, 1.0)}, r"x must lie in \[0, 1\]"),
        ({"bounds": (1.0, -1.0)}, "low < high"),
        ({"radius": math.nan}, "radius"),
        ({"radius": math.inf}, "radius"),
        ({"n_steps": 0}, "n_steps"),
        ({"labels": torch.tensor([1, 2])}, "labels must run from 0 to 1"),
        ({"labels": torch.tensor([1])}, r"labels must be \(2,\)"),
    ],
)
@pytest.mark.parametrize("function", [pgd, robust_accuracy])
def test_an_attack_that_could_not_keep_its_promise_is_refused(function, changes, message):
    with pytest.raises(ValueError, match=message):
        attack(function, **changes)


def test_standardised_images_are_attacked_in_their_own_box():
    x = 3 * PLAIN["x"]
    at = attack(x=x, bounds=(-3.0, 3.0))
    assert (at - x).abs().max() <= 0.3 + 1e-6 and at.abs().max() <= 3
    # The margins are 2.1 and 3.9, and a radius r takes 7 r of them, or what the box leaves.
    assert [attack(robust_accuracy, x=x, bounds=(-3.0, 3.0), radius=r) for r in (0.29, 0.31)] == [2, 1]


def test_robust_accuracy_counts_only_what_was_right():
    model = Linear(torch.tensor([1.0, 0.0]))
    x = torch.tensor([[0.5, 0.0], [0.05, 0.0], [-0.5, 0.0]]).view(3, 1, 1, 2)
    labels = torch.tensor([1, 1, 1])
    assert [robust_accuracy(model, x, labels, r, batch_size=2) for r in (0.0, 0.1, 0.9)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("norm", "radius", "message"), [("l1", 0.1, "linf"), ("l2", -1.0, "radius must be .* at least 0")]
)
def test_the_attack_refuses_nonsense(norm, radius, message):
    with pytest.raises(ValueError, match=message):
        pgd(Linear(torch.ones(2)), torch.zeros(1, 1, 1, 2), torch.tensor([0]), radius, norm=norm)


# --- intervals -----------------------------------------------------------------------------------


def test_wilson_by_hand():
    z = 1.959963984540054
    p, n = 0.8, 50
    centre, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = [(centre + sign * half) / (1 + z**2 / n) for sign in (-1, 1)]
    assert wilson(40, 50) == pytest.approx(expected)
    low, high = wilson(50, 50)
    assert 0.9 < low < 1 and high == 1


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_welch_is_scipys(level):
    one, two = [1.0, 2.0, 4.0, 4.5], [7.0, 3.0]
    by, half = welch(one, two, level)
    expected = stats.ttest_ind(two, one, equal_var=False).confidence_interval(level)
    assert (by - half, by + half) == pytest.approx((expected.low, expected.high))
    assert welch([2.0, 2.0], [5.0, 5.0, 5.0]) == (3.0, 0.0)


def test_welch_covers_the_true_difference_as_often_as_it_says():
    """Of groups of three with spreads 1 and 3; a normal interval would cover it in 83 %."""
    stream = torch.Generator().manual_seed(0)
    groups = torch.randn(2000, 2, 3, generator=stream, dtype=torch.float64) * torch.tensor([1.0, 3.0])[:, None]
    covered = sum(abs(by) <= half for by, half in (welch(a, b) for a, b in groups)) / 2000
    assert 0.94 < covered < 0.99


def test_the_bootstrap_of_a_mean_has_the_usual_width():
    x = torch.randn(400, generator=torch.Generator().manual_seed(0))
    low, high = bootstrap(lambda v: v.mean().item(), (x,), n=1000)
    assert low < x.mean() < high
    assert math.isclose(high - low, 2 * 1.96 * x.std() / 20, rel_tol=0.12)
    assert (low, high) == bootstrap(lambda v: v.mean().item(), (x,), n=1000)


def test_the_bootstrap_goes_against_the_bias_of_a_statistic():
    """A squared mean of n draws exceeds the squared expectation by σ²/n; a resample exceeds it by that once more."""
    x = torch.randn(20, generator=torch.Generator().manual_seed(0)) + 0.3

    def square(v):
        return v.mean().square().item()

    low, high = bootstrap(square, (x,), n=2000)
    assert (low + high) / 2 < square(x) - 0.5 * x.var() / 20
    assert low < 0 and bootstrap(square, (x,), n=2000, bounds=(0.0, math.inf))[0] == 0


def test_the_bootstrap_keeps_rows_together():
    x = torch.arange(50).double()
    assert bootstrap(lambda a, b: (a - b).abs().max().item(), (x, x)) == (0.0, 0.0)
    with pytest.raises(ValueError, match="one length"):
        bootstrap(lambda a, b: 0.0, (x, x[:3]))
