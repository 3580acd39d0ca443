"""The larger networks: shapes, rebuilding, gradients, and whether an image's energy is its own."""

import pytest
import torch
from torch import nn

from gen_utils.models import (
    ConditionalEnergy,
    ResidualEnergy,
    ResNet18Energy,
    ResNetClassifier,
    StridedEnergy,
    TenLayerEnergy,
)
from gen_utils.models.conditional_energy import classify

ENERGIES = {
    "residual": lambda size=16: ResidualEnergy(size=size, width=4, blocks=1),
    "residual, full stem": lambda size=16: ResidualEnergy(size=size, width=4, blocks=2, stem_stride=1),
    "residual, coarse stem": lambda size=16: ResidualEnergy(size=size, width=4, stem_stride=4),
    "residual, spectral": lambda size=16: ResidualEnergy(size=size, width=4, blocks=1, spectral=True),
    "strided": lambda size=16: StridedEnergy(size=size, widths=(4, 6, 8)),
    "strided, stem": lambda size=16: StridedEnergy(size=size, widths=(4, 6, 6, 8), stem=3),
    "ten layers, batch": lambda size=16: TenLayerEnergy(size=size, width=4),
    "ten layers, instance": lambda size=16: TenLayerEnergy(size=size, width=4, norm="instance", smooth=True),
    "ten layers, none": lambda size=16: TenLayerEnergy(size=size, width=4, norm="none"),
}
ALONE = [name for name in ENERGIES if name not in ("ten layers, batch", "residual, spectral")]


@pytest.fixture(scope="module")
def resnet18():
    torch.manual_seed(0)
    return ResNet18Energy()


def perturbed(network):
    """Every parameter moved a little, the ones that start at zero too."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network


def faces(n=4, size=16, channels=3):
    """Coarse patches under a little noise: pooling would average mere noise away."""
    patches = torch.rand(n, channels, 4, 4).repeat_interleave(size // 4, 2).repeat_interleave(size // 4, 3)
    return (1.8 * patches - 0.9) + 0.1 * (torch.rand(n, channels, size, size) * 2 - 1)


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("name", ENERGIES)
def test_one_energy_an_image(name, size):
    energy = ENERGIES[name](size).eval()
    assert energy.event_shape == (3, size, size)
    assert energy(faces(2, size)).shape == (2,) and energy(faces(1, size)).shape == (1,)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_one_energy_an_image_of_the_backbone(resnet18, size):
    assert resnet18.eval()(faces(2, size)).shape == (2,)


@pytest.mark.parametrize("name", ENERGIES)
def test_the_config_rebuilds_the_network(name):
    energy = perturbed(ENERGIES[name]())
    again = type(energy)(**energy.config)
    again.load_state_dict(energy.state_dict())
    x = faces()
    assert torch.equal(energy.eval()(x), again.eval()(x)) and again.event_shape == energy.event_shape


@pytest.mark.parametrize("name", ENERGIES)
def test_the_gradient_reaches_every_pixel(name):
    energy, x = perturbed(ENERGIES[name]()).eval(), faces(2).requires_grad_()
    (grad,) = torch.autograd.grad(energy(x).sum(), x)
    assert torch.isfinite(grad).all() and (grad != 0).all()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ALONE)
def test_an_image_has_its_energy_whatever_its_batch(name, training):
    energy, x = perturbed(ENERGIES[name](64)).train(training), faces(3, 64)
    with torch.no_grad():
        together = energy(x)
        alone = torch.cat([energy(image[None]) for image in x])
    # Measured against how far the images' energies are apart, or the comparison would say nothing.
    assert (together - alone).abs().max() < 0.01 * together.std()


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_instance_norm_leaves_the_energy_something_to_see(size):
    energy = perturbed(ENERGIES["ten layers, instance"](size))
    with torch.no_grad():  # pooled to a constant and then normalised, every image would have the same
        assert energy(faces(3, size)).std() > 1e-4


def test_the_backbones_batch_norms_keep_their_averages(resnet18):
    x = faces(3)
    energy = resnet18.train()
    before = {name: value.clone() for name, value in energy.named_buffers()}
    alone = torch.cat([energy(image[None]) for image in x])
    torch.testing.assert_close(energy(x), alone, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in energy.named_buffers())
    torch.testing.assert_close(energy.eval()(x), alone, rtol=1e-4, atol=1e-4)


def test_the_backbones_gradient_reaches_the_image(resnet18):
    x = faces(1, 32).requires_grad_()
    (grad,) = torch.autograd.grad(resnet18.eval()(x).sum(), x)
    assert torch.isfinite(grad).all() and grad.abs().max() > 0


def test_with_batch_norm_the_energy_is_the_batchs():
    energy, x = perturbed(ENERGIES["ten layers, batch"](32)), faces(6, 32)
    energy.train()
    first, second = energy(x)[:2], energy(x[:2])
    assert (first - second).abs().max() > 0.01
    energy.eval()
    torch.testing.assert_close(energy(x)[:2], energy(x[:2]), rtol=1e-4, atol=1e-4)


def test_a_batch_norm_before_a_linear_output_pins_the_mean_of_every_batch_and_stops_the_chain():
    energy, x = perturbed(TenLayerEnergy(size=16, width=4)).double().train(), faces(6, 16).double().requires_grad_()
    norm, head = energy.net[-3], energy.net[-1]
    predicted = head.weight[0] @ norm.bias + head.bias[0]
    for batch in (x, -x, x.roll(3, -1).square()):
        torch.testing.assert_close(energy(batch).mean(), predicted)
    assert energy(x).std() > 0.01  # single images differ; their mean cannot
    (slope,) = torch.autograd.grad(energy(x).sum(), x)
    assert slope.abs().max() < 1e-12
    gradients = torch.autograd.grad(energy(x).mean() - energy(-x).mean(), list(energy.parameters()))
    assert max(gradient.abs().max() for gradient in gradients) < 1e-12
    (slope,) = torch.autograd.grad(energy.eval()(x).sum(), x)
    assert slope.abs().max() > 1e-3  # in evaluation mode nothing is pinned


def test_a_last_map_of_four_places_is_not_pinned():
    torch.manual_seed(0)
    energy = perturbed(TenLayerEnergy(size=16, width=4, last=2)).double().train()
    x = faces(6, 16).double()
    x[..., :8, :] += 1.0  # bright above
    x.requires_grad_()
    assert (energy(x).mean() - energy(x.flip(-2)).mean()).abs() > 0.01
    (slope,) = torch.autograd.grad(energy(x).sum(), x)
    assert slope.abs().max() > 1e-4
    # What is fixed is the mean over batch and places of each channel.
    last_map = energy.net[:-2](x)
    assert last_map.shape == (6, 16, 2, 2)
    torch.testing.assert_close(last_map.mean((0, 2, 3)), energy.net[-3].bias)


def test_the_ten_layers_end_at_one_pixel_or_at_more():
    for last in (1, 2, 4):
        net = TenLayerEnergy(size=16, width=2, norm="none", last=last).net
        assert sum(isinstance(layer, nn.Conv2d) for layer in net) == 10
        assert net[-1].in_features == 8 * last**2
    for last in (0, 3, 16, 32):
        with pytest.raises(ValueError, match="last is a power of two"):
            TenLayerEnergy(size=16, last=last)


def test_the_ten_layers_end_at_one_pixel():
    for size in (16, 64, 256):
        net = TenLayerEnergy(size=size, width=2, norm="none").net
        assert sum(isinstance(layer, nn.Conv2d) for layer in net) == 10
        assert net[-1].in_features == 8  # twice doubled channels, one pixel


def test_residual_blocks_start_as_their_shortcut():
    energy = ResidualEnergy(size=16, width=4)
    block, x = energy.body[2], torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x), x)


def test_spectral_norm_bounds_the_singular_values():
    energy = perturbed(ResidualEnergy(size=16, width=4, blocks=1, spectral=True)).train()
    with torch.no_grad():
        for _ in range(50):  # each pass takes one more power iteration
            energy(faces(1))
        weights = [layer.weight for layer in energy.modules() if isinstance(layer, nn.Conv2d)]
    largest = [torch.linalg.matrix_norm(weight.flatten(1), 2).item() for weight in weights]
    assert len(largest) == 9 and all(abs(value - 1) < 0.02 for value in largest)


def test_a_missing_download_is_said_and_survived(monkeypatch, capsys):
    from torchvision.models import ResNet18_Weights

    def offline(self, **options):
        raise OSError("no network")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", offline)
    energy = ResNet18Energy(pretrained=True)
    assert not energy.pretrained and "cannot be had (OSError)" in capsys.readouterr().out
    assert energy.config == {"channels": 3, "size": 32, "pretrained": False}


# --- labels --------------------------------------------------------------------------------------


def conditional():
    return perturbed(ConditionalEnergy(size=16, width=4, n_classes=5)).eval()


def test_the_label_picks_its_energy():
    energy, x, labels = conditional(), faces(6, channels=1), torch.tensor([4, 0, 1, 1, 3, 2])
    table = energy.class_energies(x)
    assert table.shape == (6, 5)
    assert energy(x, labels).tolist() == [table[b, y].item() for b, y in enumerate(labels.tolist())]
    assert torch.equal(energy.given(labels)(x), energy(x, labels))
    assert classify(energy, x).tolist() == [row.argmin().item() for row in table]


def test_the_marginal_energy_sums_the_densities():
    energy, x = conditional(), faces(6, channels=1)
    by_hand = -torch.exp(-energy.class_energies(x).double()).sum(1).log()
    torch.testing.assert_close(energy.marginal(x).double(), by_hand, rtol=1e-4, atol=1e-5)
    assert (energy.marginal(x) < energy.class_energies(x).amin(1)).all()


def test_the_conditional_energy_rebuilds_and_has_gradients():
    energy, x = conditional(), faces(2, channels=1).requires_grad_()
    again = ConditionalEnergy(**energy.config)
    again.load_state_dict(energy.state_dict())
    labels = torch.tensor([1, 3])
    assert torch.equal(again(x, labels), energy(x, labels))
    grads = [torch.autograd.grad(energy(x, y).sum(), x)[0] for y in (labels, labels + 1)]
    assert all(torch.isfinite(grad).all() and grad.abs().max() > 0 for grad in grads)
    assert not torch.allclose(*grads)


@pytest.mark.parametrize("size", [16, 28, 32, 64])
def test_conditional_energies_of_every_size(size):
    energy = ConditionalEnergy(channels=3, size=size, width=4)
    assert energy.class_energies(faces(2, size)).shape == (2, 10) and energy.n_classes == 10


# --- the classifier ------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_residual_classifier(norm, size):
    network = perturbed(ResNetClassifier(n_classes=7, widths=(4, 6, 8), blocks=2, norm=norm)).eval()
    x = faces(3, size).requires_grad_()
    features = network.features(x)
    assert features.shape == (3, network.num_features) and network.num_features == 8
    logits = network(x)
    assert logits.shape == (3, 7) and torch.equal(logits, network.head(features))
    (grad,) = torch.autograd.grad(logits.logsumexp(1).sum(), x)
    assert torch.isfinite(grad).all() and grad.abs().max() > 0
    again = ResNetClassifier(**network.config)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(x), logits)


def test_without_a_norm_the_classifier_can_be_sampled_from():
    network, x = perturbed(ResNetClassifier(widths=(4, 6), norm="none")).train(), faces(4)
    alone = torch.cat([network(image[None]) for image in x])
    torch.testing.assert_close(network(x), alone, rtol=1e-4, atol=1e-5)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ResidualEnergy(size=20), "divisible by 8, got 20"),
        (lambda: ResidualEnergy(size=24, stem_stride=4), "divisible by 16, got 24"),
        (lambda: StridedEnergy(size=24), "power of two"),
        (lambda: StridedEnergy(size=8), "power of two"),
        (lambda: StridedEnergy(size=16, widths=(4,) * 5), r"2\*\*5 for 5 widths, got 16"),
        (lambda: TenLayerEnergy(size=8), "from 16 to 1024, got 8"),
        (lambda: TenLayerEnergy(size=48), "power of two"),
        (lambda: TenLayerEnergy(norm="layer"), "got 'layer'"),
        (lambda: ResNet18Energy(channels=1), "3 channels, got 1"),
        (lambda: ResNetClassifier(norm="group"), "got 'group'"),
        (lambda: conditional()(faces(2, channels=1), torch.tensor([1])), r"shape \(2,\), got \(1,\)"),
        (lambda: conditional()(faces(2, channels=1), torch.tensor([[1], [2]])), r"got \(2, 1\)"),
    ],
)
def test_errors_say_what_is_wrong(build, message):
    with pytest.raises(ValueError, match=message):
        build()
