"""What a page computes is what PyTorch computes: outputs, gradients, and a whole chain, step by step."""

import json

import pytest
import torch
from torch import nn

from gen_utils import checkpoints
from gen_utils.models import JointEnergy
from gen_utils.publishing.benches import networks
from gen_utils.samplers import MALA, Langevin, sample
from gen_utils.samplers.written import read_kernel

from .node import run

EVERY = (
    "ebm_mnist",
    "digit_classifier",
    "ebm_digits_conditional",
    "jem_mnist",
    "ebm_bitmoji",
    "vqvae_mnist.encoder",
    "vqvae_mnist.decoder",
    "dcgan_bitmoji",
    "vae_celeba.decoder",
    "vaebm_mnist.energy",
    "vaebm_mnist.encoder",
    "vaebm_mnist.decoder",
)
COMPARE = """
unpacked(BENCHES.networks[given.name]).then((described) => {
    const net = build(described);
    answer({out: net.forward(Float64Array.from(given.x)), gradient: net.backward(Float64Array.from(given.slope))});
});
"""


def last(x: torch.Tensor) -> torch.Tensor:
    """(1, C, H, W) or (1, N) -> flat, channels last."""
    return (x.movedim(1, -1) if x.ndim == 4 else x).flatten()


def compared(net: nn.Module, shape, folder, script: str, name: str):
    """Relative errors of outputs and gradients at a random input."""
    x = torch.rand(1, *shape, dtype=torch.float64, requires_grad=True)
    net = net.double()
    out = net(2 * x - 1)
    slope = torch.randn_like(out)
    (gradient,) = torch.autograd.grad(out, x, slope)
    given = {"name": name, "x": last(2 * x - 1).tolist(), "slope": last(slope).tolist()}
    found = run(COMPARE, folder, given, script)
    pairs = ((last(out.detach()), found["out"]), (last(gradient) / 2, found["gradient"]))
    return [float((torch.tensor(b) - a).norm() / a.norm().detach()) for a, b in pairs]


@pytest.mark.parametrize("name", EVERY)
def test_outputs_and_gradients_are_those_of_pytorch(name, tmp_path):
    model = checkpoints.load(name.split(".")[0])
    shape = networks.event_shape(model, name)
    errors = compared(networks.piece(model, name), shape, tmp_path, networks.script(name), name)
    assert max(errors) < 1e-5


def test_every_layer_that_a_page_knows_is_right(tmp_path):
    class _Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1), nn.Sigmoid())

        def forward(self, x):
            return x + self.body(x)

    net = nn.Sequential(
        nn.Conv2d(2, 3, 5, stride=2, padding=3, bias=False), nn.BatchNorm2d(3), nn.LeakyReLU(0.3), _Residual(),
        nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1), nn.SiLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
        nn.Linear(45, 18), nn.Unflatten(1, (2, 3, 3)), nn.BatchNorm2d(2, affine=False), nn.Tanh(),
    )  # fmt: skip
    for norm in (net[1], net[10]):
        norm.running_mean, norm.running_var = torch.randn_like(norm.running_mean), 1 + torch.rand_like(norm.running_var)
    script = f'BENCHES.networks["all"] = {json.dumps(networks.described(net.eval(), (2, 9, 9)))};'
    assert max(compared(net, (2, 9, 9), tmp_path, script, "all")) < 1e-6


def test_an_unknown_layer_is_refused():
    with pytest.raises(ValueError, match="no layer for GELU"):
        networks.described(nn.Sequential(nn.GELU()), (3,))


@pytest.mark.parametrize("damage", ["a number changed", "cut short"])
def test_damaged_weights_are_noticed(damage, tmp_path):
    script = networks.script("ebm_mnist")
    at = script.index('"data":"') + 1000
    script = (
        script[:at]
        + ("ABCD" if script[at : at + 4] != "ABCD" else "DCBA") * (damage == "a number changed")
        + script[at + 4 :]
    )
    program = "try { build(BENCHES.networks.ebm_mnist); answer('fine') } catch (error) { answer(error.message) }"
    assert run(program, tmp_path, None, script) in (
        "the weights are damaged",
        "The string to be decoded is not correctly encoded.",
    )


CHAIN = """
const {sampler, ...net} = BENCHES.networks[given.name];
let at = 0;
const x = Float64Array.from(given.x), noise = given.noise, states = [], energies = [];
const energy = chains.energyOf(build(net), given.reading);
const walk = chains.langevin(energy, x, sampler, () => noise[at++]);
for (let t = 0; t < given.steps; t++) { energies.push(walk.step()); states.push(Float32Array.from(x)); }
answer({states, energies});
"""


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("ebm_mnist", {"kind": "energy"}),
        ("ebm_digits_conditional", {"kind": "given", "label": 3}),
        ("jem_mnist", {"kind": "joint"}),
        ("jem_mnist", {"kind": "logit", "label": 3}),
    ],
)
def test_a_whole_chain_is_the_same_step_by_step(name, reading, tmp_path, monkeypatch):
    model = checkpoints.load(name)
    kernel, steps = read_kernel(model.card["sampler"]["kernel"]), model.card["sampler"]["steps"]
    label = torch.tensor([reading.get("label", 0)])
    energy = {
        "energy": lambda: model,
        "given": lambda: model.given(label),
        "joint": lambda: JointEnergy(model, (1, 28, 28)),
        "logit": lambda: JointEnergy(model, (1, 28, 28)).given(label),
    }[reading["kind"]]()
    noise = torch.randn(steps, 1, 1, 28, 28)
    draws = iter(noise)
    monkeypatch.setattr("gen_utils.samplers.langevin.normal_like", lambda x, generator: next(draws).clone())
    x = torch.rand(1, 1, 28, 28) * 2 - 1
    chain = sample(energy, x, kernel, steps, keep_every=1)
    given = {"name": name, "reading": reading, "x": last(x).tolist(), "noise": noise.flatten().tolist(), "steps": steps}
    found = run(CHAIN, tmp_path, given, networks.script(name))
    assert (torch.tensor(found["states"]) - chain.path.reshape(steps, -1)).abs().max() < 1e-3
    assert (torch.tensor(found["energies"]) - chain.energy[:, 0]).abs().max() < 1e-3
    assert (chain.path[-1] - x).abs().mean() > 0.1  # and it has moved


VAEBM_CHAIN = """
const {sampler, sigma} = BENCHES.networks["vaebm_mnist.decoder"];
const decoder = build(BENCHES.networks["vaebm_mnist.decoder"]);
const energy = chains.energyOf(build(BENCHES.networks["vaebm_mnist.energy"]), {kind: "energy"});
let at = 0;
const x = Float64Array.from(given.x), states = [];
const joint = chains[given.space](energy, decoder, sigma, 784);
const walk = chains.langevin(joint, x, given.kernel ?? sampler, () => given.noise[at++]);
for (let t = 0; t < given.steps; t++) { walk.step(); states.push(Float32Array.from(x)); }
answer(states);
"""


@pytest.mark.parametrize("space", ["inEpsilon", "inPair"])
def test_a_chain_behind_a_picture_is_the_same(space, tmp_path, monkeypatch):
    model = checkpoints.load("vaebm_mnist")
    kernel, steps = read_kernel(model.card["sampler"]["kernel"]), model.card["sampler"]["steps"]
    noise = torch.randn(steps, 1, *model.event_shape)
    draws = iter(noise)
    monkeypatch.setattr("gen_utils.samplers.langevin.normal_like", lambda x, generator: next(draws).clone())
    x, energy = torch.randn(1, *model.event_shape), model.in_epsilon()
    given = {"space": space}
    if space == "inPair":  # its steps are smaller
        energy, kernel, given["kernel"] = model.in_xz(), Langevin(1e-4, 0.01), {"step_size": 1e-4, "noise": 0.01}
    chain = sample(energy, x, kernel, steps, keep_every=1)
    given |= {"x": x.flatten().tolist(), "noise": noise.flatten().tolist(), "steps": steps}
    script = networks.script("vaebm_mnist.energy") + networks.script("vaebm_mnist.decoder")
    found = torch.tensor(run(VAEBM_CHAIN, tmp_path, given, script))
    assert (found - chain.path.reshape(steps, -1)).abs().max() < 1e-3


MALA_CHAIN = """
let at = 0, place = 0;
const random = {normal: () => given.normal[at++], uniform: () => given.uniform[place++]};
const x = Float64Array.from(given.x), energy = chains.energyOf(build(BENCHES.networks.ebm_mnist), {kind: "energy"});
const walk = chains.clampedMala(energy, x, {step_size: given.eta, bounds: [-1, 1]}, random), states = [];
for (let t = 0; t < given.uniform.length; t++) { walk.step(); states.push(Float32Array.from(x)); }
answer({states, accepted: walk.accepted});
"""


def test_clamped_mala_is_that_of_chapter_three(tmp_path, monkeypatch):
    model, eta, steps = checkpoints.load("ebm_mnist").double(), 0.01, 30
    normal, uniform = torch.randn(steps, 1, 1, 28, 28).double(), torch.rand(steps, dtype=torch.float64)
    uniform[::3] = 1.0  # a third is refused, as far as the test can
    draws, tests = iter(normal), iter(uniform)
    monkeypatch.setattr("gen_utils.samplers.mala.normal_like", lambda x, generator: next(draws).clone())
    monkeypatch.setattr("gen_utils.samplers.metropolis.uniform_per_chain", lambda energy, generator: next(tests)[None])
    kernel = MALA(eta)
    x = 2 * torch.rand(1, 1, 28, 28, dtype=torch.float64) - 1
    given = {"x": x.flatten().tolist(), "eta": eta, "normal": normal.flatten().tolist(), "uniform": uniform.tolist()}
    found = run(MALA_CHAIN, tmp_path, given, networks.script("ebm_mnist"))
    accepted = 0
    for t in range(steps):
        state = kernel.step(model, kernel.init(model, x), t + 1, steps, None)
        accepted += int(state.accept)
        x = state.x.clamp(-1, 1)
        assert (torch.tensor(found["states"][t]) - x.flatten()).abs().max() < 1e-4
    assert found["accepted"] == accepted and 0 < accepted < steps


TWO = """
const energy = chains.energyOf(build(BENCHES.networks.ebm_mnist), {kind: "energy"});
const {sampler} = BENCHES.networks.ebm_mnist;
const start = (seed) => {
  const random = chains.random(seed), x = Float64Array.from({length: 784}, random.uniform);
  return {x, walk: chains.langevin(energy, x, sampler, random.normal)};
};
const alone = start(1);
for (let t = 0; t < 5; t++) alone.walk.step();
const [one, other] = [start(1), start(2)];
for (let t = 0; t < 5; t++) { one.walk.step(); other.walk.step(); }
answer([alone.x, one.x]);
"""


def test_two_chains_of_one_network_do_not_disturb_each_other(tmp_path):
    alone, beside = run(TWO, tmp_path, None, networks.script("ebm_mnist"))
    assert alone == beside
