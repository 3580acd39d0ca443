import pytest
import torch

from gen_utils import losses
from gen_utils.losses import contrastive_divergence


def test_value_by_hand():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0])
    assert contrastive_divergence(real, fake).item() == pytest.approx(2 - 1)
    assert contrastive_divergence(real, fake, 0.1).item() == pytest.approx(1 + 0.1 * (5 + 2))


def test_its_gradient_is_the_likelihoods_when_the_samples_are_exact():
    """E(x) = ½ λ x² has -log p gradient E_data[x²]/2 - 1/(2λ); exact samples estimate the second term."""
    stream = torch.Generator().manual_seed(0)
    lam, n = torch.tensor(2.5, requires_grad=True), 400_000
    data = torch.tensor([0.4, -1.0, 0.7])
    samples = torch.randn(n, generator=stream) / lam.detach().sqrt()
    loss = contrastive_divergence(0.5 * lam * data**2, 0.5 * lam * samples**2)
    (grad,) = torch.autograd.grad(loss, lam)
    exact = (data**2).mean() / 2 - 1 / (2 * lam.detach())
    standard_error = (0.5**0.5 / lam.detach()) / n**0.5  # of the mean of x²/2 under N(0, 1/λ)
    assert abs(grad - exact) < 4 * standard_error


def test_it_wants_low_energy_on_data():
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    contrastive_divergence(real, fake, 0.1).backward()
    assert (real.grad > 0).all() and (fake.grad < 0).all()


def test_a_column_of_energies_is_refused():
    with pytest.raises(ValueError, match=r"energy_fake .* \(4, 1\)"):
        contrastive_divergence(torch.zeros(4), torch.zeros(4, 1))


def halves(*shape):
    return torch.randn(*shape).bfloat16()


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: losses.contrastive_divergence(a[:, 0], b[:, 0], 0.1),
        lambda a, b: losses.joint_loss(a, torch.zeros(len(a), dtype=torch.int64), b),
        lambda a, b: losses.vq_loss(a, b, a, b),
        lambda a, b: losses.kl_to_uniform(a[:, None]),
        lambda a, b: losses.discrete_elbo(a, b, a[:, None]),
        lambda a, b: losses.gaussian_kl(a, b),
        lambda a, b: losses.beta_elbo(a[:, 0], b[:, 0]),
        lambda a, b: losses.gan_critic_loss(a[:, 0], b[:, 0]),
        lambda a, b: losses.gan_generator_loss(a[:, 0]),
        lambda a, b: losses.wasserstein_critic_loss(a[:, 0], b[:, 0]),
        lambda a, b: losses.wasserstein_generator_loss(a[:, 0]),
        lambda a, b: losses.relativistic_loss(a[:, 0], b[:, 0]),
        lambda a, b: losses.ebgan_critic_loss(a[:, 0], b[:, 0], 1.0),
        lambda a, b: losses.pulling_away(a),
    ],
)
def test_a_loss_of_half_precision_numbers_is_computed_in_full(loss):
    """The mean of 300 bfloat16 numbers, taken in bfloat16, is off in its third digit."""
    a, b = halves(300, 6), halves(300, 6)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(a, b)
    expected = loss(a.float(), b.float())
    assert found.dtype == torch.float32 and torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_penalty_takes_data_and_fakes_of_two_precisions():
    weight = torch.randn(6)
    real, fake = torch.randn(50, 6), halves(50, 6)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses.gradient_penalty(lambda x: x @ weight, real, fake)
    assert found.item() == pytest.approx((weight.norm().item() - 1) ** 2, rel=0.05)
