"""An energy with the label as an input: what the label does to it, and whose label an image gets."""

import pytest
import torch

from gen_utils.models import ConditionalEnergy, LabelInputEnergy, SmallEnergy
from gen_utils.models.conditional_energy import classify
from gen_utils.samplers import Langevin, sample


@pytest.fixture
def energy():
    torch.manual_seed(0)
    return LabelInputEnergy(size=16, width=4, n_classes=3).double()


def images(n=5):
    return torch.rand(n, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1


def test_each_label_gives_an_image_another_energy(energy):
    found = energy.class_energies(images())
    assert found.shape == (5, 3) and all((found[:, i] != found[:, j]).all() for i, j in ((0, 1), (0, 2), (1, 2)))


def test_column_k_is_the_energy_under_label_k_and_no_image_gets_its_neighbours(energy):
    x, labels = images(), torch.tensor([2, 0, 1, 1, 0])
    columns = energy.class_energies(x)
    torch.testing.assert_close(columns.gather(1, labels[:, None]).squeeze(1), energy(x, labels))
    torch.testing.assert_close(energy(x[1:2], labels[1:2]), energy(x, labels)[1:2])


def test_without_modulation_it_is_part_bs_energy_whatever_the_label(energy):
    plain = SmallEnergy(size=16, width=4).double()
    plain.load_state_dict(
        {
            **{f"net.{2 * i}.{k}": v for i, c in enumerate(energy.convolutions) for k, v in c.state_dict().items()},
            **{f"net.{8 + int(k[0])}{k[1:]}": v for k, v in energy.head.state_dict().items()},
        }
    )
    torch.nn.init.zeros_(energy.modulation.weight)
    x = images()
    torch.testing.assert_close(energy.class_energies(x), plain(x)[:, None].expand(5, 3))


def test_a_gain_scales_and_a_shift_moves_each_feature_map(energy):
    torch.nn.init.zeros_(energy.modulation.weight)
    n = sum(energy.widths)
    with torch.no_grad():
        energy.modulation.weight[1, :4], energy.modulation.weight[1, n : n + 4] = 0.5, 0.25  # the first layer, label 1
    x, label = images(), torch.ones(5, dtype=torch.int64)
    wanted = energy(x, label)
    with torch.no_grad():
        first = energy.convolutions[0]
        first.weight *= 1.5
        first.bias.mul_(1.5).add_(0.25)
    torch.testing.assert_close(energy(x, 0 * label), wanted)


def test_the_gradient_reaches_the_images_and_the_modulation_of_the_labels_asked_for_alone(energy):
    x = images().requires_grad_()
    energy(x, torch.tensor([0, 0, 2, 2, 0])).sum().backward()
    assert (x.grad.flatten(1).abs().amax(1) > 0).all()
    rows = energy.modulation.weight.grad.abs().amin(1)
    assert rows[0] > 0 and rows[2] > 0 and not energy.modulation.weight.grad[1].any()


def test_the_lowest_energy_classifies_and_the_sum_over_labels_is_the_marginal(energy):
    x = images()
    assert torch.equal(classify(energy, x), energy.class_energies(x).argmin(1))
    torch.testing.assert_close((-energy.marginal(x)).exp(), (-energy.class_energies(x)).exp().sum(1))


def test_chains_run_under_their_labels_in_fast_arithmetic_too(energy):
    energy, labels = energy.float(), torch.tensor([0, 1, 2, 0])
    start = images(1).float().repeat(4, 1, 1, 1)
    x = sample(energy.given(labels), start, Langevin(1.0, noise=0.0, bounds=(-1.0, 1.0)), 3, fast=True).x
    assert torch.equal(x[0], x[3]) and not torch.equal(x[0], x[1]) and not torch.equal(x[1], x[2])


def test_it_is_rebuilt_from_its_config_and_has_nearly_as_many_parameters_as_one_output_a_class(energy):
    again = LabelInputEnergy(**energy.config).double()
    again.load_state_dict(energy.state_dict())
    assert torch.equal(again.class_energies(images()), energy.class_energies(images()))
    mine, other = (sum(p.numel() for p in kind().parameters()) for kind in (LabelInputEnergy, ConditionalEnergy))
    assert abs(mine - other) < 0.05 * other


def test_labels_that_do_not_fit_are_refused(energy):
    with pytest.raises(ValueError, match=r"5 images need labels of shape \(5,\), got \(3,\)"):
        energy(images(), torch.zeros(3, dtype=torch.int64))
