"""The losses of adversarial training against values worked out by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from gen_utils import losses


def scores(seed=0, n=5):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)) * 2


def test_gan_losses_are_the_cross_entropies():
    real, fake = scores(0), scores(1)
    one, zero = torch.ones(5), torch.zeros(5)
    bce = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(losses.gan_critic_loss(real, fake), bce(real, one) + bce(fake, zero))
    torch.testing.assert_close(losses.gan_generator_loss(fake), bce(fake, one))
    far = torch.tensor([-200.0], requires_grad=True)
    losses.gan_generator_loss(far).backward()
    assert far.grad.item() == pytest.approx(-1)  # does not saturate, and does not overflow


def test_wasserstein_losses():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0, 5.0])
    assert losses.wasserstein_critic_loss(real, fake).item() == 0
    assert losses.wasserstein_generator_loss(fake).item() == -2


def test_gradient_penalty_of_linear_and_quadratic_critics():
    w = torch.tensor([3.0, 4.0])
    real, fake = torch.ones(6, 2), torch.zeros(6, 2)
    assert losses.gradient_penalty(lambda x: x @ w, real, fake).item() == pytest.approx((5 - 1) ** 2, rel=1e-5)
    # ½‖x‖²: the gradient is x itself, which lies at place·(1, 1): one place a sample, uniform.
    n = 20_000
    stream = torch.Generator().manual_seed(0)
    seen = losses.gradient_penalty(lambda x: x.square().sum(1) / 2, torch.ones(n, 2), torch.zeros(n, 2), stream).item()
    exact = 2 / 3 - 2 * math.sqrt(2) / 2 + 1  # E(√2 u - 1)²
    assert seen == pytest.approx(exact, abs=4 * 0.3 / math.sqrt(n))


def test_gradient_penalty_has_a_graph_to_the_weights_and_takes_the_norm_of_each_sample():
    w = torch.tensor(2.0, requires_grad=True)
    losses.gradient_penalty(
        lambda x: w * x.flatten(1).sum(1), torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    ).backward()
    assert w.grad.item() == pytest.approx(2 * (2 * 2.0 - 1) * 2, rel=1e-5)  # d/dw (2w - 1)²; each image has four pixels
    dead = losses.gradient_penalty(lambda x: 0 * x.sum(1), torch.ones(3, 2), torch.zeros(3, 2))
    assert dead.item() == pytest.approx(1, abs=1e-5)


def test_r1_is_the_mean_squared_norm():
    x = torch.tensor([[1.0, 2.0], [0.0, 3.0]])

    def critic(x):
        return x.square().sum(1) / 2

    assert losses.r1_penalty(critic, x).item() == pytest.approx((5 + 9) / 2)
    w = torch.tensor(1.5, requires_grad=True)
    losses.r1_penalty(lambda x: w * x.sum(1), x).backward()
    assert w.grad.item() == pytest.approx(2 * 1.5 * 2)
    assert x.grad is None and not x.requires_grad


def test_relativistic_pairs():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0])
    exact = (math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 2
    assert losses.relativistic_loss(real, fake).item() == pytest.approx(exact)
    torch.testing.assert_close(losses.relativistic_loss(real + 9, fake + 9), losses.relativistic_loss(real, fake))
    with pytest.raises(ValueError, match="2 and 3"):
        losses.relativistic_loss(real, torch.zeros(3))


def test_ebgan_margin():
    real, fake = torch.tensor([0.1, 0.3]), torch.tensor([0.5, 2.0])
    assert losses.ebgan_critic_loss(real, fake, margin=1.0).item() == pytest.approx(0.2 + 0.25)


def test_pulling_away_by_hand():
    codes = torch.tensor([[1.0, 0.0], [0.0, 7.0], [1.0, 1.0]])
    assert losses.pulling_away(codes).item() == pytest.approx(4 * 0.5 / 6)  # cosines² 0, ½, ½, each pair twice
    assert losses.pulling_away(torch.eye(4)).item() == pytest.approx(0, abs=1e-6)
    assert losses.pulling_away(torch.ones(4, 3) * torch.arange(1, 5)[:, None]).item() == pytest.approx(1)
    with pytest.raises(ValueError, match="two rows"):
        losses.pulling_away(codes[:1])


@pytest.mark.parametrize("name", ["gan_critic_loss", "wasserstein_critic_loss", "relativistic_loss"])
def test_a_column_of_scores_is_refused(name):
    with pytest.raises(ValueError, match=r"\(4, 1\)"):
        getattr(losses, name)(torch.zeros(4), torch.zeros(4, 1))
