"""Denoisers and noise-conditional energies: what they are where their network is zero, and how E and D belong."""

import pytest
import torch
from torch import nn

from gen_utils.models import EnergyUNet, PlaneNoiseEnergy, ScoreUNet
from gen_utils.models.denoisers import Denoiser, NoiseEnergy, per_row


class Nothing(nn.Module):
    def __init__(self, scalar):
        super().__init__()
        self.scalar = scalar

    def forward(self, u, c):
        return 0 * (u.flatten(1).sum(1) if self.scalar else u)


def stirred(network):
    """A network whose last layers are not zero any more."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network


def test_with_a_network_of_zero_the_data_are_taken_for_a_gaussian():
    x, sigma, spread = torch.randn(6, 3), torch.tensor([0.01, 0.1, 0.5, 1.0, 5.0, 50.0]), 0.7
    wanted = spread**2 / (spread**2 + sigma[:, None] ** 2) * x
    assert torch.allclose(Denoiser(Nothing(False), spread).denoise(x, sigma), wanted, atol=1e-6)
    assert torch.allclose(NoiseEnergy(Nothing(True), spread).denoise(x, sigma), wanted, atol=1e-4)


def test_an_energy_and_its_denoiser_are_potential_and_field():
    """With F = -∇G the two parametrisations are one: c_skip, c_out and c_in follow from the energy's factors."""

    class Quartic(nn.Module):
        def forward(self, u, c):
            return u.pow(4).flatten(1).sum(1) * (1 + c)

    class Field(nn.Module):
        def forward(self, u, c):
            return -4 * u.pow(3) * (1 + c)[:, None]

    x, sigma = torch.randn(8, 2).double(), torch.logspace(-1, 1, 8).double()
    of_energy, plain = NoiseEnergy(Quartic(), 0.5).denoise(x, sigma), Denoiser(Field(), 0.5).denoise(x, sigma)
    assert torch.allclose(of_energy, plain, atol=1e-9)


@pytest.mark.parametrize("kind", [ScoreUNet, EnergyUNet])
def test_the_images_networks_have_the_same_weights_and_shapes(kind):
    network = kind(1, 8, 8)
    assert sum(w.numel() for w in network.parameters()) == sum(w.numel() for w in ScoreUNet(1, 8, 8).parameters())
    assert network.denoise(torch.randn(3, 1, 8, 8), 0.5).shape == (3, 1, 8, 8)
    with pytest.raises(ValueError, match="takes images"):
        network.denoise(torch.randn(3, 1, 9, 9), 0.5)


def asymmetry(denoise, x):
    """Largest |J - Jᵀ| of ∂D/∂x: zero for a gradient field."""
    jacobian = torch.autograd.functional.jacobian(lambda y: denoise(y[None])[0].flatten(), x[0]).reshape(64, 64)
    return float((jacobian - jacobian.T).abs().max())


def test_the_energys_field_is_conservative_and_the_score_networks_is_not():
    x = torch.randn(1, 1, 8, 8)
    energy, score = stirred(EnergyUNet(1, 8, 8)), stirred(ScoreUNet(1, 8, 8))

    def field(y):
        return y - 0.25 * torch.autograd.grad(energy(y, 0.5).sum(), y, create_graph=True)[0]

    assert asymmetry(field, x) < 1e-4 < 1e-3 < asymmetry(lambda y: score.denoise(y, 0.5), x)


def test_the_gradient_reaches_the_weights_only_where_they_learn():
    energy = stirred(PlaneNoiseEnergy(2, 16))
    x = torch.randn(4, 2)
    energy.denoise(x, 1.0).square().sum().backward()
    assert all(w.grad is not None for name, w in energy.named_parameters() if name != "net.net.6.bias")
    with torch.no_grad():
        assert not energy.denoise(x, 1.0).requires_grad


def test_the_energy_at_one_level_is_an_energy_of_x_alone():
    energy, x = stirred(PlaneNoiseEnergy(2, 16)), torch.randn(5, 2)
    assert torch.equal(energy.at(0.3)(x), energy(x, torch.full((5,), 0.3)))


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("inf"), [1.0, 2.0]])
def test_levels_that_are_none_are_refused(sigma):
    with pytest.raises(ValueError, match=r"positive and finite|one for each"):
        per_row(torch.tensor(sigma), torch.zeros(3, 2))


def test_half_sizes_that_do_not_halve_are_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        ScoreUNet(1, 30, 8)


def test_a_network_with_classes_hears_the_label_and_is_asked_by_given():
    network = stirred(ScoreUNet(3, 8, 8, n_classes=3))
    x, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 1])
    asked = network.given(labels).denoise(x, 0.5)
    assert asked.shape == x.shape
    one_by_one = torch.cat([network.given(labels[i : i + 1]).denoise(x[i : i + 1], 0.5) for i in range(4)])
    assert torch.allclose(asked, one_by_one, atol=1e-5)
    assert not torch.allclose(asked, network.given(labels.flip(0)).denoise(x, 0.5), atol=1e-3)
    again = ScoreUNet(**network.config)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.given(labels).denoise(x, 0.5), asked)
    fresh = ScoreUNet(3, 8, 8, n_classes=3)  # begins as if it heard nothing
    assert torch.equal(fresh.given(labels).denoise(x, 0.5), fresh.given(labels.flip(0)).denoise(x, 0.5))
    with pytest.raises(ValueError, match="pass labels"):
        network.denoise(x, 0.5)
    with pytest.raises(ValueError, match="from 0 to 2"):
        network.given(torch.tensor([0, 3, 1, 1]))
    with pytest.raises(ValueError, match="no classes"):
        ScoreUNet(3, 8, 8).given(labels)
