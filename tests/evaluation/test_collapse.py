"""The signs of a collapsed energy, on energies whose answers are known."""

import math

import pytest
import torch
from torch import nn

from gen_utils.data import to_float
from gen_utils.evaluation.collapse import chain_length_test, energy_report
from gen_utils.models import Gaussian
from gen_utils.samplers import Langevin, UniformStart


class Energy(nn.Module):
    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, x):
        return self.formula(x)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def template(size=8):
    """Bright in the middle, so that it is no shifted copy of itself."""
    x = torch.full((1, size, size), -1.0)
    x[:, 2:6, 2:6] = 1.0
    return x


def near_the_template(n=200):
    return (template() + 0.3 * torch.randn(n, 1, 8, 8, generator=stream(5))).clamp(-1, 1)


@pytest.mark.parametrize("constant", [0.0, 0.3, -1234.5])
def test_a_constant_energy_has_collapsed(constant):
    report = energy_report(Energy(lambda x: torch.full((len(x),), constant)), near_the_template(), stream())
    assert report["spread"] == pytest.approx(0, abs=1e-3) and report["gap"] == pytest.approx(0, abs=1e-6)
    assert {report[f"auroc_{name}"] for name in ("noise", "shifted", "blend")} == {0.5}


def test_the_distance_to_a_template_knows_noise_and_shifts_but_not_blends():
    report = energy_report(Energy(lambda x: (x - template()).square().mean((1, 2, 3))), near_the_template(), stream())
    assert report["auroc_noise"] == 1.0 and report["auroc_shifted"] == 1.0
    assert report["auroc_blend"] < 0.25  # averaging two noisy copies brings them nearer to the template
    assert report["gap"] > 1.5


def test_the_opposite_energy_has_the_opposite_answers():
    def distance(x):
        return (x - template()).square().mean((1, 2, 3))

    images = near_the_template()
    report, turned = (energy_report(Energy(lambda x, s=s: s * distance(x)), images, stream()) for s in (1, -1))
    for name in ("noise", "shifted", "blend"):
        assert turned[f"auroc_{name}"] == pytest.approx(1 - report[f"auroc_{name}"], abs=1e-6)
    assert turned["gap"] == pytest.approx(-report["gap"]) and turned["spread"] == pytest.approx(report["spread"])


def test_gap_and_spread_by_hand():
    """Two levels: data and blends of data at 0, noise at 1."""
    flat = torch.zeros(50, 1, 4, 4)
    report = energy_report(Energy(lambda x: (x.flatten(1).std(1) > 0.01).float()), flat, stream())
    spread = math.sqrt((50 * (2 / 3) ** 2 + 100 * (1 / 3) ** 2) / 149)  # 50 of 150 at 1, mean ⅓
    assert report["spread"] == pytest.approx(spread, rel=1e-5) and report["gap"] == pytest.approx(1 / spread, rel=1e-5)
    assert report["auroc_noise"] == 1.0 and report["auroc_blend"] == 0.5
    assert report["auroc_shifted"] == 1.0  # the background that comes in is at -1


def test_the_report_does_not_depend_on_the_size_of_the_energy():
    images = near_the_template(60)

    def report(scale, offset):
        formula = Energy(lambda x: scale * (x - template()).square().mean((1, 2, 3)) + offset)
        return energy_report(formula, images, stream())

    small, large = report(1.0, 0.0), report(1000.0, 500.0)
    assert small["gap"] == pytest.approx(large["gap"], rel=1e-4)
    assert small["auroc_noise"] == large["auroc_noise"] and small["auroc_blend"] == pytest.approx(
        large["auroc_blend"], abs=0.01
    )


def test_the_report_repeats_with_its_generator():
    images, energy = near_the_template(30), Energy(lambda x: x.flatten(1).sum(1))
    assert energy_report(energy, images, stream(1)) == energy_report(energy, images, stream(1))
    assert energy_report(energy, images, stream(1)) != energy_report(energy, images, stream(2))


def test_energies_that_are_no_numbers_have_no_report():
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="energies of images"):
            energy_report(Energy(lambda x, v=value: torch.full((len(x),), v)), near_the_template(), stream())


def test_long_chains_of_a_gaussian_arrive_and_stay():
    shape = (1, 4, 4)
    gaussian = Gaussian(0.01 * torch.eye(16), torch.full((16,), 0.2))

    def mean_of(images):
        assert images.dtype == torch.uint8 and images.shape == (40, *shape)
        return to_float(images).mean().item()

    def run(lengths, kernel):
        start = UniformStart(shape, low=-1.0, high=-0.5)
        return chain_length_test(
            lambda x: gaussian(x.flatten(1)), kernel, start, lengths, mean_of, 40, stream(3), fast=False
        )

    # Without noise a step of η pulls the mean by the factor 1 - η/σ² = ½ towards 0.2.
    found = run((0, 1, 2, 40), Langevin(0.005, noise=0.0, bounds=(-1.0, 1.0)))
    assert list(found) == [0, 1, 2, 40] and found[0] == pytest.approx(-0.75, abs=0.03)
    for length in (1, 2, 40):
        assert found[length] == pytest.approx(0.2 + (found[0] - 0.2) * 0.5**length, abs=0.01)
    noisy = run((50, 100), Langevin(0.001, bounds=(-1.0, 1.0)))
    assert all(value == pytest.approx(0.2, abs=0.03) for value in noisy.values())


def test_chains_of_all_lengths_have_the_same_starts_and_noise():
    seen = []
    kernel = Langevin(0.01, noise=0.1, bounds=(-1.0, 1.0))

    def run(lengths):
        return chain_length_test(
            lambda x: x.square().flatten(1).sum(1),
            kernel,
            UniformStart((1, 2, 2)),
            lengths,
            lambda images: seen.append(images) or images.float().mean().item(),
            10,
            stream(4),
        )

    together, alone = run((3, 6)), run((6,))
    assert together[6] == alone[6] and torch.equal(seen[1], seen[2])
