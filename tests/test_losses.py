import pytest
import torch

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
