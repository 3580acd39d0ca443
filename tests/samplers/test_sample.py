"""``sample``: seeds, shapes, what it leaves alone, how it fails, and the fast setting."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import nn

from gen_utils.models import SmallEnergy
from gen_utils.samplers import (
    HMC,
    MALA,
    ChainDiverged,
    Langevin,
    ProximalLangevin,
    UniformStart,
    fast_copy,
    sample,
)

KERNELS = [Langevin(0.1), MALA(0.2), HMC(0.2, 3), HMC(0.2, 3, jitter=0.5), ProximalLangevin(0.1, 0.05, noise=0.1)]
BOXED = [
    Langevin(0.1, bounds=(-1, 1)),
    MALA(1e-3, bounds=(-1, 1)),
    HMC(0.05, 3, bounds=(-1, 1)),
    ProximalLangevin(0.1, 0.05, 0.1, bounds=(-1, 1)),
]


@pytest.fixture
def network() -> SmallEnergy:
    torch.manual_seed(0)
    return SmallEnergy(size=16, width=4)


def images(n: int = 5) -> torch.Tensor:
    return UniformStart((1, 16, 16)).draw(n, generator=torch.Generator().manual_seed(1))


# One seed, one chain.


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_one_seed_gives_one_chain(kernel, gaussian):
    x0 = torch.zeros(10, 2)

    def run(seed):
        return sample(gaussian, x0, kernel, 8, keep_every=2, generator=torch.Generator().manual_seed(seed))

    a, b, c = run(1), run(1), run(2)
    assert torch.equal(a.path, b.path)
    assert torch.equal(a.energy, b.energy)
    assert a.accept_rate == b.accept_rate
    assert not torch.equal(a.path, c.path)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_generator_is_the_only_randomness(kernel, gaussian):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    sample(gaussian, torch.zeros(10, 2), kernel, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    # Without one, the global generator is used and reproduces.
    a = sample(gaussian, torch.zeros(10, 2), kernel, 8).x
    torch.manual_seed(3)
    assert torch.equal(sample(gaussian, torch.zeros(10, 2), kernel, 8).x, a)


# What comes back.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_shapes_types_and_energies(kernel, dtype, gaussian, generator):
    x0 = gaussian.sample(6, generator).to(dtype)
    kept = x0.clone()
    chain = sample(gaussian, x0, kernel, 7, keep_every=3, generator=generator)
    assert torch.equal(x0, kept)
    assert chain.x.shape == (6, 2)
    assert chain.path.shape == (2, 6, 2)
    assert chain.energy.shape == (7, 6)
    assert chain.x.dtype == chain.path.dtype == chain.energy.dtype == dtype
    assert not any(tensor.requires_grad for tensor in (chain.x, chain.path, chain.energy))
    torch.testing.assert_close(chain.energy[[2, 5]], torch.stack([gaussian(x) for x in chain.path]))
    torch.testing.assert_close(chain.energy[-1], gaussian(chain.x))
    assert 0 <= chain.accept_rate <= 1
    if isinstance(kernel, (Langevin, ProximalLangevin)):
        assert chain.accept_rate == 1.0


def test_zero_steps_return_the_start(gaussian):
    x0 = torch.randn(4, 2)
    chain = sample(gaussian, x0, MALA(0.1), 0, keep_every=1)
    assert torch.equal(chain.x, x0)
    assert chain.path.shape == (0, 4, 2)
    assert chain.energy.shape == (0, 4)
    assert math.isnan(chain.accept_rate)  # nothing was proposed
    assert sample(gaussian, x0, MALA(0.1), 1).path is None
    for bad, message in ((torch.zeros(3, 2, dtype=torch.int64), "floats"), (torch.full((3, 2), torch.nan), "finite")):
        with pytest.raises(ValueError, match=message):
            sample(gaussian, bad, MALA(0.1), 0)


@pytest.mark.parametrize("kernel", BOXED, ids=str)
def test_an_image_chain_stays_in_its_box(kernel, network, generator):
    chain = sample(network, images(), kernel, 5, generator=generator)
    assert chain.x.shape == (5, 1, 16, 16)
    assert chain.x.abs().max() <= 1


def test_conditional_sampling_needs_no_special_path(generator):
    """An energy closed over labels: each chain finds its own class."""
    centres = torch.tensor([-3.0, 0.0, 3.0], dtype=torch.float64)
    labels = torch.arange(3).repeat(1000)
    x0 = torch.zeros(3000, 1, dtype=torch.float64)
    x = sample(
        lambda x: 0.5 * (x[:, 0] - centres[labels]).square(), x0, HMC(0.5, 3), 40, generator=generator
    ).x  # fmt: skip
    for c in range(3):
        assert abs(x[labels == c].mean() - centres[c]) < 4.5 / math.sqrt(1000)


# What is left alone.


@pytest.mark.parametrize("fast", [False, True, torch.float32])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kernel", BOXED, ids=str)
def test_the_network_is_left_as_found(kernel, training, fast, network, generator):
    network.train(training)
    network.net[0].weight.requires_grad_(False)
    network.net[0].bias.grad = torch.ones_like(network.net[0].bias)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    sample(network, images(), kernel, 3, generator=generator, fast=fast)
    assert network.training is training
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.requires_grad is (name != "net.0.weight")
        if name == "net.0.bias":
            assert torch.equal(parameter.grad, torch.ones_like(parameter))
        else:
            assert parameter.grad is None


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(context, gaussian, generator):
    with context():
        x = sample(gaussian, torch.zeros(3, 2), MALA(0.1), 3, generator=generator).x
    assert not torch.equal(x, torch.zeros(3, 2))


def test_no_graph_is_kept_through_the_chain(network, generator):
    x0 = images().requires_grad_()
    chain = sample(network, x0, Langevin(0.1), 3, generator=generator)
    assert chain.x.grad_fn is None
    assert x0.grad is None


# The fast setting.


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02), (None, 0.02)])
def test_a_fast_copy_has_the_same_energies_within_rounding(dtype, tolerance, network):
    x = images(64)
    exact = network(x).detach()
    fast = fast_copy(network, x.device, dtype)(x).detach()
    assert fast.dtype == torch.float32
    # Rounding errors are relative to the largest numbers in the network, not to a small difference of them.
    assert (fast - exact).abs().max() < tolerance * max(exact.abs().max().item(), 0.1)
    grads = [torch.autograd.grad(e(y).sum(), y)[0] for e in (network, fast_copy(network, x.device, dtype))
             for y in [x.clone().requires_grad_()]]  # fmt: skip
    cosine = torch.cosine_similarity(grads[0].flatten(1), grads[1].flatten(1))
    assert cosine.min() > 1 - 10 * tolerance


def test_fast_energies_along_a_chain(network, generator):
    chain = sample(network, images(64), Langevin(0.5, noise=0.005, bounds=(-1, 1)), 10, generator=generator, fast=True)
    exact = network(chain.x).detach()
    assert (chain.energy[-1] - exact).abs().max() < 0.02 * max(exact.abs().max().item(), 0.1)
    assert chain.x.dtype == torch.float32


def test_a_fast_copy_never_holds_old_weights(network, generator):
    kernel = Langevin(0.1, noise=0.0)
    before = sample(network, images(), kernel, 1, fast=torch.float32).energy
    with torch.no_grad():
        network.net[-1].bias += 5
    after = sample(network, images(), kernel, 1, fast=torch.float32).energy
    torch.testing.assert_close(after, before + 5)


# Divergence.


@pytest.mark.parametrize("kernel", [Langevin(10.0), ProximalLangevin(10.0, max_step=1e30)], ids=str)
def test_a_diverging_chain_says_when_which_and_what_to_try(kernel):
    x0 = torch.full((3, 2), 2.0)
    x0[0] = 0.0
    with pytest.raises(ChainDiverged) as caught:
        sample(lambda x: x.square().square().sum(1), x0, kernel, 20, generator=torch.Generator().manual_seed(0))
    message = str(caught.value)
    for part in ("of 3 chains", "after step", type(kernel).__name__, "step_size", "grad_clip", "bounds"):
        assert part in message


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_energy_that_is_not_finite_at_the_start(kernel, bad):
    def energy(x):
        return torch.where(x[:, 0] == 0, bad, x.square().sum(1))

    with pytest.raises(ChainDiverged, match="1 of 3 chains have a non-finite energy at the start"):
        sample(energy, torch.tensor([[0.0], [1.0], [2.0]]), kernel, 3)


# Bad input.


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize(
    ("energy", "message"),
    [
        (lambda x: x.square().sum(), r"one number a sample, shape \(3,\), but returned \(\)"),
        (lambda x: x.square().sum(1, keepdim=True), r"but returned \(3, 1\)"),
        (lambda x: x, r"but returned \(3, 2\)"),
        (lambda x: 1.0, "but returned float"),
        (lambda x: None, "but returned NoneType"),
        (lambda x: x.detach().sum(1), "through autograd"),
        (lambda x: nn.Parameter(torch.ones(3)), "through autograd"),
    ],
)
def test_a_wrong_energy(kernel, energy, message):
    with pytest.raises(ValueError, match=message):
        sample(energy, torch.zeros(3, 2), kernel, 2)


@pytest.mark.parametrize("value", [torch.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_a_start_that_is_not_finite(kernel, value, gaussian):
    x0 = torch.zeros(3, 2)
    x0[1, 1] = value
    with pytest.raises(ValueError, match="start holds values that are not finite"):
        sample(gaussian, x0, kernel, 2)


@pytest.mark.parametrize("kernel", BOXED, ids=str)
def test_a_start_outside_the_box(kernel, network):
    with pytest.raises(ValueError, match=r"leaves the box \[-1, 1\].*clamp it, or widen the bounds"):
        sample(network, images() * 1.5, kernel, 2)


@pytest.mark.parametrize("x0", [torch.zeros(3, 2, dtype=torch.uint8), torch.tensor(1.0)])
def test_a_start_that_is_no_batch_of_floats(x0, gaussian):
    with pytest.raises(ValueError, match="batch of floats"):
        sample(gaussian, x0, MALA(0.1), 1)


@pytest.mark.parametrize("value", [0, 0.0, -1.0, math.nan, math.inf, None, "0.1"])
@pytest.mark.parametrize(
    "make",
    [
        Langevin,
        MALA,
        lambda s: HMC(s, 5),
        lambda s: ProximalLangevin(s, 1.0),
        lambda s: ProximalLangevin(0.1, s),
    ],
    ids=["Langevin", "MALA", "HMC", "ProximalLangevin", "max_step"],
)
def test_a_step_that_is_not_positive(make, value):
    with pytest.raises(ValueError, match=r"(step_size|max_step) must be"):
        make(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Langevin(0.1, noise=-1.0), "noise must be zero or more"),
        (lambda: Langevin(0.1, grad_clip=0.0), "grad_clip must be positive"),
        (lambda: ProximalLangevin(0.1, 1.0, noise=None), "noise must be"),
        (lambda: HMC(0.1, 0), "n_leapfrog must be at least 1, a whole number"),
        (lambda: HMC(0.1, 2.5), "n_leapfrog must be at least 1, a whole number"),
        (lambda: HMC(0.1, 5, jitter=1.5), "jitter is a share"),
        (lambda: MALA(0.1, bounds=(1.0, -1.0)), "low < high"),
        (lambda: HMC(0.1, 5, bounds=(1.0, 1.0)), "low < high"),
        (lambda: Langevin(0.1, bounds=(0.0,)), "low < high"),
        (lambda: ProximalLangevin(0.1, 1.0, bounds=(math.nan, 1.0)), "low < high"),
        (lambda: Langevin(0.1, bounds=(0.0, math.nan)), "low < high"),
        (lambda: MALA(0.1, bounds=(math.inf, math.inf)), "low < high"),
        (lambda: HMC(0.1, 5, bounds=1.0), "a pair of numbers"),
        (lambda: HMC(0.1, 5, bounds=("a", "b")), "a pair of numbers"),
        (lambda: MALA(0.1, bounds=(None, 1.0)), "a side without a wall is -math.inf"),
    ],
)
def test_other_settings_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_counts(gaussian):
    for n_steps in (-1, 2.5, "3"):
        with pytest.raises(ValueError, match="n_steps must be zero or more, a whole number"):
            sample(gaussian, torch.zeros(2, 2), MALA(0.1), n_steps)
    for keep_every in (0, -2, 1.5):
        with pytest.raises(ValueError, match="keep_every must be at least 1, a whole number"):
            sample(gaussian, torch.zeros(2, 2), MALA(0.1), 1, keep_every=keep_every)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_no_chain_at_all_is_refused(kernel, gaussian):
    with pytest.raises(ValueError, match=r"the start is empty, shape \(0, 2\)"):
        sample(gaussian, torch.zeros(0, 2), kernel, 3)


@pytest.mark.parametrize(
    "bad", [lambda t, n: None, lambda t, n: "a", lambda t: 0.1, lambda t, n: torch.ones(2), lambda t, n: math.nan]
)
@pytest.mark.parametrize("make", [Langevin, MALA, lambda s: HMC(s, 2), lambda s: Langevin(0.1, noise=s)])
def test_a_schedule_without_a_number_is_named(make, bad, gaussian):
    with pytest.raises(ValueError, match=r"the schedule for (step_size|noise) gave (no number|nan) at step 1 of 3"):
        sample(gaussian, torch.zeros(2, 2), make(bad), 3)


@pytest.mark.parametrize("kernel", [Langevin(0.1, bounds=(-1e39, 1)), MALA(0.1, (-1e39, 1)), HMC(0.1, 2, (-1e39, 1))])
def test_a_wall_beyond_the_numbers_of_the_chain_is_refused(kernel, gaussian):
    with pytest.raises(ValueError, match=r"float32 has no numbers as large as the bounds.*math\.inf"):
        sample(gaussian, torch.zeros(2, 2), kernel, 1)
    assert sample(gaussian, torch.zeros(2, 2, dtype=torch.float64), kernel, 1).n_diverged == 0


# CUDA.


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("generator_device", ["cpu", "cuda"])
def test_on_cuda(kernel, generator_device, gaussian, moment_z):
    x0 = gaussian.sample(2000, torch.Generator().manual_seed(0)).float().cuda()

    def run():
        stream = torch.Generator(generator_device).manual_seed(1)
        return sample(gaussian, x0, kernel, 20, keep_every=1, generator=stream)

    a, b = run(), run()
    assert a.x.device.type == a.path.device.type == a.energy.device.type == "cuda"
    assert torch.equal(a.path, b.path)
    if isinstance(kernel, (MALA, HMC)):
        assert moment_z(a.path.cpu(), gaussian.mean, gaussian.covariance) < 4.5
    with pytest.raises(ChainDiverged, match="at the start"):
        sample(lambda x: x.sum(1) * torch.nan, x0, kernel, 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fast_on_cuda(network):
    network.cuda()
    x0 = images(64).cuda()
    chain = sample(network, x0, Langevin(0.5, noise=0.005, bounds=(-1, 1)), 10, fast=True)
    exact = network(chain.x).detach()
    assert (chain.energy[-1] - exact).abs().max() < 0.02 * max(exact.abs().max().item(), 0.1)


# The energy's weights.


class Counting(torch.nn.Module):
    """x -> w · |x|², and whether w wanted a gradient whenever it was asked."""

    def __init__(self):
        super().__init__()
        self.w, self.fixed = torch.nn.Parameter(torch.ones(())), torch.nn.Parameter(torch.ones(()), requires_grad=False)
        self.asked = []

    def forward(self, x):
        self.asked.append(self.w.requires_grad)
        if len(self.asked) == getattr(self, "fails_at", -1):
            raise RuntimeError("no more")
        return self.w * x.square().sum(1)

    def other(self, x):
        return self(x)


@pytest.mark.parametrize("kernel", [Langevin(0.01), MALA(0.01), HMC(0.1, 2)], ids=str)
@pytest.mark.parametrize(
    "hidden_in",
    [
        lambda energy: energy,
        lambda energy: energy.other,
        lambda energy: lambda x: energy(x),
        lambda energy: functools.partial(lambda network, x: network(x), energy),
    ],
    ids=["module", "method", "function", "partial"],
)
def test_the_weights_want_no_gradient_while_a_chain_runs(kernel, hidden_in):
    energy = Counting()
    energy.w.grad = torch.tensor(3.0)
    sample(hidden_in(energy), torch.ones(4, 2), kernel, 3)
    assert len(energy.asked) > 3 and not any(energy.asked)
    assert energy.w.requires_grad and not energy.fixed.requires_grad and energy.w.grad == 3.0


def test_the_weights_are_as_they_were_after_an_error():
    energy = Counting()
    energy.fails_at = 3
    with pytest.raises(RuntimeError, match="no more"):
        sample(energy, torch.ones(4, 2), Langevin(0.01), 5)
    assert energy.asked == [False] * 3 and energy.w.requires_grad and not energy.fixed.requires_grad
