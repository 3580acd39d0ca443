"""Chapter 1's landscapes and samplers in a page are those of the package: energies, variances, and steps."""

import pytest
import torch

from gen_utils.models import Banana, DoubleWell, Gaussian, Ring, eight_gaussians
from gen_utils.samplers import HMC, MALA, Langevin, ParallelTempering, sample
from gen_utils.samplers.protocol import energy_and_grad

from .node import run

PARTS = ("plane.js", "chains.js", "ops.js", "network.js")
LANDSCAPES = {
    "gaussian": Gaussian(((1.0, 0.0), (0.0, 4.0))),
    "banana": Banana(),
    "ring": Ring(),
    "eight": eight_gaussians(),
    "well": DoubleWell(),
}


def test_energies_gradients_and_variances_are_those_of_the_package(tmp_path):
    x = torch.randn(50, 2, dtype=torch.float64) * 2
    program = """
    const g = [0, 0];
    answer(Object.values(BENCHES.plane().landscapes).map(({energy, variance}) =>
        [variance, given.map(([x, y]) => [energy(x, y, g), ...g])]));
    """
    found = run(program, tmp_path, x.tolist(), parts=PARTS)
    for (variance, values), target in zip(found, LANDSCAPES.values(), strict=True):
        energy, gradient = energy_and_grad(target, x)
        assert torch.allclose(torch.tensor(values, dtype=torch.float64), torch.column_stack((energy, gradient)))
        assert variance == pytest.approx(float(target.covariance[0, 0]), rel=1e-4)


STEPS = """
let at = 0, place = 0;
const random = {normal: () => given.normal[at++], uniform: () => given.uniform[place++]};
const x = Float64Array.from(given.x);
const {landscapes, walkers} = BENCHES.plane();
const group = walkers(landscapes.banana, x, {kernel: given.kernel, eta: 0.05}, random);
answer(Array.from({length: given.steps}, () => (group.step(), Float64Array.from(x))));
"""
ETA = 0.05
KERNELS = {
    "ula": (Langevin(ETA), 1),
    "mala": (MALA(ETA), 1),
    "hmc": (HMC((2 * ETA) ** 0.5, 10, jitter=0.5), 1),
    "tempering": (ParallelTempering([MALA(ETA * t) for t in (1, 2, 4, 8)], (1.0, 2.0, 4.0, 8.0)), 4),
}


@pytest.mark.parametrize("name", KERNELS)
def test_steps_are_the_same_for_the_same_random_numbers(name, tmp_path, monkeypatch):
    kernel, rows = KERNELS[name]
    normal, uniform = [], []

    def normal_like(x, generator):
        drawn = torch.randn(x.shape, dtype=x.dtype)
        normal.extend(drawn.flatten().tolist())
        return drawn

    def uniform_per_chain(energy, generator):
        drawn = torch.rand(energy.shape, dtype=torch.float64)
        uniform.extend(drawn.tolist())
        return drawn

    for module in ("langevin", "mala", "hmc", "metropolis", "tempering"):
        for name_of, made in (("normal_like", normal_like), ("uniform_per_chain", uniform_per_chain)):
            monkeypatch.setattr(f"gen_utils.samplers.{module}.{name_of}", made, raising=False)
    x = torch.randn(rows, 2, dtype=torch.float64)
    chain = sample(Banana(), x, kernel, 40, keep_every=1)
    given = {"x": x.flatten().tolist(), "kernel": name, "normal": normal, "uniform": uniform, "steps": 40}
    found = torch.tensor(run(STEPS, tmp_path, given, parts=PARTS), dtype=torch.float64)
    assert torch.allclose(found, chain.path.flatten(1), atol=1e-5)
