"""A classifier read as an energy: exact identities, and a network that samples image by image."""

import pytest
import torch

from gen_utils.models import JointEnergy, SmoothClassifier


@pytest.fixture
def energy():
    return JointEnergy(SmoothClassifier(width=4), (1, 28, 28)).eval()


def images(n=5):
    return torch.rand((n, 1, 28, 28), generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_energies_by_hand():
    class Table(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)

    logits = torch.tensor([[0.0, 0.0], [3.0, 1.0]])
    energy = JointEnergy(Table(), (2,))
    by_hand = -torch.tensor([2.0, torch.e**3 + torch.e]).log()
    assert torch.allclose(energy(logits), by_hand)
    assert torch.equal(energy(logits, torch.tensor([1, 0])), torch.tensor([0.0, -3.0]))


def test_softmax_comes_back(energy):
    """log p(y | x) = E(x) - E(x, y)."""
    x, y = images(), torch.tensor([0, 3, 9, 1, 1])
    expected = energy.classifier(x).log_softmax(1).gather(1, y[:, None]).squeeze(1)
    assert torch.allclose(energy(x) - energy(x, y), expected, atol=1e-6)


def test_the_marginal_sums_over_the_labels(energy):
    x = images()
    each = torch.stack([energy(x, torch.full((5,), k)) for k in range(10)], 1)
    assert torch.allclose(energy(x), -(-each).logsumexp(1), atol=1e-6)


def test_given_is_the_energy_of_one_label(energy):
    x, y = images(), torch.tensor([4, 4, 0, 2, 7])
    assert torch.equal(energy.given(y)(x), energy(x, y))


def test_labels_must_match(energy):
    with pytest.raises(ValueError, match=r"shape \(5,\)"):
        energy(images(), torch.tensor([1, 2]))


def test_an_image_has_its_own_energy_whatever_shares_its_batch():
    network = SmoothClassifier(width=4).train()
    x = images()
    assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-6)
    assert network.features(x).shape == (5, network.num_features)
    again = SmoothClassifier(**network.config)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(x), network(x))
