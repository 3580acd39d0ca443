"""A kernel's text is the kernel."""

import pytest

from gen_utils import checkpoints
from gen_utils.samplers import (
    HMC,
    MALA,
    Ancestral,
    AnnealedLangevin,
    Kernel,
    Langevin,
    NoiseLevels,
    ProbabilityFlow,
    ProximalLangevin,
    constant,
    geometric,
    power_decay,
)
from gen_utils.samplers.written import read_kernel


@pytest.mark.parametrize(
    "kernel",
    [
        Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0)),
        Langevin(geometric(0.1, 0.01), noise=power_decay(0.1, 0.55)),
        MALA(constant(1e-4)),
        HMC(0.1, 10, jitter=0.2),
        ProximalLangevin(1.0, max_step=0.1, noise=0.01, bounds=(-1.0, 1.0)),
        ProbabilityFlow(NoiseLevels(40.0, 0.01), order=1),
        Ancestral(),
        AnnealedLangevin(NoiseLevels(20.0), rate=0.2, per_level=3),
    ],
    ids=repr,
)
def test_there_and_back(kernel):
    assert isinstance(kernel, Kernel) and read_kernel(repr(kernel)) == kernel


@pytest.mark.parametrize(
    "text", ["", "Gibbs(0.1)", "Langevin(", "Langevin(-1.0)", "geometric(1.0, 0.5)", "3", "Langevin(__import__('os'))",
             "Langevin(step_size=lambda t, n: 1)", "Langevin(eta=1.0)"],
)  # fmt: skip
def test_what_is_no_kernel_is_refused(text):
    with pytest.raises(ValueError, match="is not a kernel"):
        read_kernel(text)


def test_the_samplers_of_the_cards_can_be_read():
    told = {name: checkpoints.read_card(name).get("sampler") for name in checkpoints.names()}
    drawn = {name: sampler for name, sampler in told.items() if sampler is not None}
    assert {"ebm_mnist", "ebm_bitmoji", "jem_mnist", "vaebm_faces"} <= drawn.keys()
    for sampler in drawn.values():
        assert isinstance(read_kernel(sampler["kernel"]), Kernel) and sampler["steps"] > 0 and sampler["start"]
