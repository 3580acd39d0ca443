import pytest
import torch

from gen_utils.models import SmallClassifier, SmallEnergy


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 16), (3, 64)])
def test_one_energy_an_image(channels, size):
    energy = SmallEnergy(channels=channels, size=size)
    assert energy(torch.rand(5, channels, size, size) * 2 - 1).shape == (5,)
    assert energy.event_shape == (channels, size, size)


def test_energies_do_not_depend_on_the_rest_of_the_batch():
    energy, x = SmallEnergy().double(), torch.rand(4, 1, 28, 28, dtype=torch.float64)
    assert torch.allclose(energy(x)[2:3], energy(x[2:3]), rtol=1e-12)


def test_the_gradient_with_respect_to_the_image_is_smooth():
    """SiLU: the gradient along a line changes gradually; a ReLU network's would jump."""
    energy = SmallEnergy().double()
    a, b = torch.rand(2, 1, 1, 28, 28, dtype=torch.float64)

    def slope(t):
        x = (a + t * (b - a)).requires_grad_()
        return torch.autograd.grad(energy(x).sum(), x)[0]

    near = (slope(0.5) - slope(0.5 + 1e-6)).norm() / slope(0.5).norm()
    assert 0 < near < 1e-4


def test_config_rebuilds_the_network():
    for net in (SmallEnergy(3, 32, 8), SmallClassifier(3, 7, 20, 8)):
        again = type(net)(**net.config)
        assert [p.shape for p in again.parameters()] == [p.shape for p in net.parameters()]


def test_classifier_shapes():
    net = SmallClassifier().eval()
    x = torch.rand(3, 1, 28, 28)
    assert net(x).shape == (3, 10) and net.features(x).shape == (3, net.num_features)
