"""The joint loss of JEM, by hand and by its gradient."""

import math

import torch
from torch.nn import functional as F

from gen_utils.losses import joint_loss

REAL, LABELS, FAKE = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]), torch.tensor([0, 0]), torch.zeros(3, 2)


def test_by_hand():
    wrong = (math.log(2) + math.log(4 / 3)) / 2
    contrast = -(math.log(2) + math.log(4)) / 2 + math.log(2)
    assert math.isclose(joint_loss(REAL, LABELS, FAKE, 0.0), wrong, rel_tol=1e-6)
    assert math.isclose(joint_loss(REAL, LABELS, FAKE, 0.5), wrong + 0.5 * contrast, rel_tol=1e-6)
    squares = (math.log(2) ** 2 + math.log(4) ** 2) / 2 + math.log(2) ** 2
    expected = wrong + 0.5 * (contrast + 0.1 * squares)
    assert math.isclose(joint_loss(REAL, LABELS, FAKE, 0.5, 0.1), expected, rel_tol=1e-6)


def test_with_weight_one_the_logsumexp_of_data_cancels():
    """-log p(y | x) - log p(x) = -log p(x, y): the data's gradient is that of minus their own logit alone."""
    real = REAL.clone().requires_grad_()
    joint_loss(real, LABELS, FAKE, 1.0).backward()
    assert torch.allclose(real.grad, -F.one_hot(LABELS, 2) / 2, atol=1e-6)
