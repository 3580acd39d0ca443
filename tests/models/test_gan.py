import pytest
import torch
from torch import nn

from gen_utils import checkpoints, models
from gen_utils.models import AutoencoderEnergy, Critic, Generator, ToyCritic, ToyGenerator


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64)])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_shapes_and_range(shape, norm):
    torch.manual_seed(0)
    generator = Generator(shape, 16, 4, norm=norm, init="he")
    x = generator(generator.draw(3))
    assert x.shape == (3, *shape) and x.abs().max() <= 1 and x.std() > 0.05
    assert Critic(shape, 4, norm=norm)(x).shape == (3,)
    assert Critic(shape, 4, norm="spectral")(x).shape == (3,)
    energy = AutoencoderEnergy(shape, 4, code_dim=5, norm=norm)
    assert energy.encode(x).shape == (3, 5) and energy(x).shape == x.shape and energy.energy(x).shape == (3,)


def test_the_energy_is_the_mean_squared_error_of_each_image():
    torch.manual_seed(0)
    energy = AutoencoderEnergy((1, 28, 28), 4, norm="none").eval()
    x = torch.rand(2, 1, 28, 28) * 2 - 1
    expected = [nn.functional.mse_loss(energy(one[None]), one[None]) for one in x]
    torch.testing.assert_close(energy.energy(x), torch.stack(expected))


def test_part_h_networks_are_settings():
    critic = Critic((3, 64, 64), 8, layers=3, norm="instance", init="he")
    assert sum(isinstance(m, nn.Conv2d) for m in critic.modules()) == 3
    assert sum(isinstance(m, nn.Linear) for m in critic.modules()) == 1
    generator = Generator((3, 64, 64), 128, 8, latent="uniform")
    z = generator.draw(4000, torch.Generator().manual_seed(0))
    assert z.shape == (4000, 128) and z.abs().max() <= 1
    assert z.std().item() == pytest.approx(3**-0.5, rel=0.01)
    assert Generator((3, 64, 64), 128, 8).draw(4000).std().item() == pytest.approx(1, rel=0.01)


def test_he_weights_keep_the_size_of_a_signal():
    torch.manual_seed(0)
    deep = Generator((3, 64, 64), 128, 64, norm="none", init="he", leak=0.2)
    x = deep.draw(32)
    sizes = []
    for layer in deep.net[:-1]:
        x = layer(x)
        if isinstance(layer, (nn.Linear, nn.ConvTranspose2d)):
            sizes.append(x.square().mean().item())
    assert all(0.5 < size < 4 for size in sizes), sizes  # the maps' edges see fewer taps
    small = Generator((3, 64, 64), 128, 64, norm="none", init="dcgan")
    assert small(small.draw(8)).std() < 0.01  # N(0, 0.02) without a norm: nothing comes through


def test_samples_are_seeded_and_leave_the_mode_alone():
    generator = Generator((1, 28, 28), 8, 4).train()
    a = generator.sample(5, torch.Generator().manual_seed(3), batch_size=2)
    b = generator.sample(5, torch.Generator().manual_seed(3))
    torch.testing.assert_close(a, b)
    assert generator.training and not a.requires_grad


def test_toy_networks():
    generator, critic = ToyGenerator(3, 8), ToyCritic(8)
    points = generator.sample(7)
    assert points.shape == (7, 2) and critic(points).shape == (7,)


@pytest.mark.parametrize("make", [
    lambda: Generator((1, 28, 28), 8, 4, norm="instance", latent="uniform", leak=0.1),
    lambda: Critic((3, 32, 32), 4, layers=2),
    lambda: AutoencoderEnergy((1, 28, 28), 4, code_dim=3),
    lambda: ToyGenerator(3, 8), lambda: ToyCritic(8, 1),
])  # fmt: skip
def test_saved_and_loaded(make, tmp_path):
    torch.manual_seed(0)
    module = make().eval()
    checkpoints.save("x", module, {"metrics": {}}, folder=tmp_path)
    again = checkpoints.load("x", folder=tmp_path)
    assert again.config == module.config
    assert all(
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), again.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Generator((1, 30, 30)), "30 pixels"), (lambda: Generator((1, 28, 14)), "square"),
    (lambda: Generator(norm="layer"), "norm is one of"), (lambda: Generator(init="xavier"), "init is one of"),
    (lambda: Generator(latent="cauchy"), "latent is one of"), (lambda: Critic(layers=6), "6 layers"),
])  # fmt: skip
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_all_are_public():
    assert {"Generator", "Critic", "AutoencoderEnergy", "ToyGenerator", "ToyCritic"} <= set(models.__all__)


def test_a_conditional_generator_hears_the_label():
    generator = Generator((1, 28, 28), latent_dim=8, width=4, n_classes=3)
    stream = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 2, 1, 2])
    z = generator.draw(4, stream, labels=labels)
    assert (
        z.shape == (4, 11) and torch.equal(z[:, 8:].argmax(1), labels) and torch.equal(z[:, 8:].sum(1), torch.ones(4))
    )
    free = generator.draw(3000, stream)[:, 8:].mean(0)
    assert (free - 1 / 3).abs().max() < 4 * (2 / 9 / 3000) ** 0.5  # without labels each is equally likely
    assert generator.sample(5, stream).shape == (5, 1, 28, 28)
    with pytest.raises(ValueError, match="no classes"):
        Generator((1, 28, 28), latent_dim=8, width=4).draw(4, labels=labels)


def test_a_conditional_critic_adds_the_products_of_miyato_and_koyama():
    """score(x, y) = ψ(φ(x)) + v_y · φ(x): the difference of two labels' scores is (v_a - v_b) · φ."""
    critic = Critic((1, 28, 28), width=4, n_classes=3)
    x = torch.rand(5, 1, 28, 28) * 2 - 1
    scores = torch.stack([critic(x, torch.full((5,), k)) for k in range(3)], 1)
    features = critic.net[:-1](x)
    expected = critic.net[-1](features) + features @ critic.by_class.weight.T
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(critic.given(torch.tensor([2, 0, 1, 1, 2]))(x), scores[range(5), [2, 0, 1, 1, 2]])
    with pytest.raises(ValueError, match="under a label"):
        critic(x)


def test_spectral_norm_bounds_every_layer_of_the_critic():
    """Divided by its largest singular value, which SVD gives exactly; the weights that are trained keep their own."""
    torch.manual_seed(0)
    critic = Critic((3, 32, 32), width=4, norm="spectral", init="he")
    assert not any(isinstance(m, torch.nn.BatchNorm2d | torch.nn.InstanceNorm2d) for m in critic.modules())
    x = torch.rand(4, 3, 32, 32) * 2 - 1
    for _ in range(40):  # a step of power iteration each
        critic(x)
    critic.eval()
    layers = [m for m in critic.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 4
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.02)
        assert torch.linalg.matrix_norm(layer.parametrizations.weight.original.flatten(1), 2) > 1.1
    again = Critic(**critic.config).eval()
    again.load_state_dict(critic.state_dict())
    assert torch.equal(again(x), critic(x))
    with pytest.raises(ValueError, match="norm"):
        Generator((3, 32, 32), norm="spectral")
