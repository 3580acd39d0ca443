"""The five energies that a page trains are trained as PyTorch trains them, and judged as NumPy judges them."""

import json

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from gen_utils.base.places import BOOK
from gen_utils.evaluation.flow_likelihood import flow_log_likelihood
from gen_utils.models import PlaneNoiseEnergy, SmoothedMixture
from gen_utils.samplers import Langevin, sample
from gen_utils.training import score_losses

from .node import run

PARTS = ("ops.js", "network.js", "chains.js", "mixture.js", "energy.js", "objectives.js")
WIDTH, ROWS = 12, 16
MAKE = """
const mixture = BENCHES.mixture(), energies = BENCHES.energy(ops), objectives = BENCHES.objectives(energies, mixture);
const random = chains.random(1), flat = (x) => Float64Array.from(x.flat(2));
const net = energies.make({width: given.width, spread: given.spread}, random);
net.layers.forEach((layer, k) => {
    layer.weight.set(given.weights[2 * k]);
    layer.bias.set(given.weights[2 * k + 1]);
});
const slopes = () => net.layers.flatMap(({weights, biases}) => [weights.slope, biases.slope]);
const weights = () => net.layers.flatMap(({weight, bias}) => [weight, bias]);
"""


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture
def network():
    torch.manual_seed(3)
    return PlaneNoiseEnergy(2, WIDTH, sigma_data=1.7).double()


def found(program: str, folder, network, **given):
    """What a program finds for a network with the same weights, which it has as ``net``."""
    given |= {"width": WIDTH, "spread": network.sigma_data}
    given["weights"] = [p.flatten().tolist() for p in network.parameters()]
    tensors = {key: value.tolist() if isinstance(value, torch.Tensor) else value for key, value in given.items()}
    return run(MAKE + program, folder, tensors, parts=PARTS)


def alike(values, tensors, tolerance=1e-6):  # the frequencies of the levels are in float32 there
    """A page's arrays are PyTorch's, up to so much of the largest."""
    for value, tensor in zip(values, tensors, strict=True):
        difference = (torch.tensor(value, dtype=torch.float64) - tensor.detach().flatten()).abs().max()
        assert difference <= tolerance * max(1.0, float(tensor.detach().abs().max()))


@pytest.mark.parametrize("level", [1.0, 0.1, "each its own"])
def test_energies_gradients_and_curvatures_are_those_of_pytorch(level, network, tmp_path):
    x = double(ROWS, 2)
    sigma = torch.rand(ROWS, dtype=torch.float64) + 0.05 if level == "each its own" else level
    program = """
    const x = flat(given.x), {sigma} = given;
    const value = net.look(x, sigma.length ? Float64Array.from(sigma) : sigma).slice();
    const slope = net.slope().slice(), way = (v) => x.map((_, i) => v[i % 2]);
    const twice = [[1, 0], [0, 1]].map((v) => net.along(way(v), true).second);
    answer([value, slope, twice[0].map((value, i) => value + twice[1][i])]);
    """
    place = x.clone().requires_grad_()
    energy = network(place, sigma)
    (slope,) = torch.autograd.grad(energy.sum(), place, create_graph=True)
    bend = sum(torch.autograd.grad(slope[:, k].sum(), place, retain_graph=True)[0][:, k] for k in (0, 1))
    alike(found(program, tmp_path, network, x=x, sigma=sigma), [energy, slope, bend])


def gradients(network, loss):
    """Of every parameter; zero where the loss does not depend on one, as on the bias that shifts all energies."""
    return torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, materialize_grads=True)


def test_denoising_has_the_gradients_of_pytorch(network, tmp_path):
    clean, noise, sigma = double(ROWS, 2), double(ROWS, 2), double(ROWS).exp()
    program = """
    objectives.denoising(net, flat(given.clean), flat(given.noise), Float64Array.from(given.sigma));
    answer(slopes());
    """
    loss = score_losses.denoising_loss(network, clean, noise, sigma)
    alike(found(program, tmp_path, network, clean=clean, noise=noise, sigma=sigma), gradients(network, loss))


def test_transport_has_the_gradients_of_pytorch(network, tmp_path):
    start, end, time = double(ROWS, 2), double(ROWS, 2), torch.rand(ROWS, dtype=torch.float64)
    program = (
        "objectives.transport(net, flat(given.start), flat(given.end), Float64Array.from(given.time)); answer(slopes())"
    )
    loss = score_losses.transport_loss(network.at(1.0), start, end, time)
    alike(found(program, tmp_path, network, start=start, end=end, time=time), gradients(network, loss))


def test_energy_discrepancy_has_the_gradients_of_pytorch(network, tmp_path, monkeypatch):
    x, first, second = double(ROWS, 2), double(ROWS, 2), double(5, ROWS, 2)
    draws = iter([first, second])
    program = "objectives.discrepancy(net, flat(given.x), flat(given.first), flat(given.second)); answer(slopes())"
    values = found(program, tmp_path, network, x=x, first=first, second=second)
    monkeypatch.setattr(score_losses.torch, "randn", lambda *shape, **_: next(draws))
    loss = score_losses.energy_discrepancy(network.at(1.0), x, 1.0, 5)
    alike(values, gradients(network, loss))


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_chains_and_their_contrast_are_those_of_pytorch(temperature, network, tmp_path, monkeypatch):
    batch, start, noise = double(ROWS, 2), 4 * double(ROWS, 2), double(20, ROWS, 2)
    energy, draws = network.at(1.0), iter(noise)
    program = """
    let at = 0;
    const noise = flat(given.noise), normal = () => noise[at++];
    const ends = objectives.chain(net, flat(given.start), 20, given.temperature, normal);
    objectives.contrast(net, flat(given.batch), ends, given.temperature);
    answer([ends, ...slopes()]);
    """
    given = {"batch": batch, "start": start.clamp(-8, 8), "noise": noise, "temperature": temperature}
    monkeypatch.setattr("gen_utils.samplers.langevin.normal_like", lambda x, generator: next(draws).clone())
    kernel = Langevin(0.02, bounds=(-8.0, 8.0))
    ends = sample(lambda x: energy(x) / temperature, given["start"], kernel, 20).x
    real, fake = energy(batch) / temperature, energy(ends) / temperature
    loss = real.mean() - fake.mean() + 0.01 * (real.square().mean() + fake.square().mean())
    alike(found(program, tmp_path, network, **given), [ends, *gradients(network, loss)], 1e-7)


def test_steps_lead_to_the_same_weights(network, tmp_path):
    rounds = [(double(ROWS, 2), double(ROWS, 2), double(ROWS).exp(), lr) for lr in (2e-3, 1e-3, 5e-4)]
    program = """
    for (const [clean, noise, sigma, lr] of given.rounds) {
        objectives.denoising(net, flat(clean), flat(noise), Float64Array.from(sigma));
        net.step(lr, 0.05);
    }
    answer(weights());
    """
    given = [[a.tolist(), b.tolist(), c.tolist(), lr] for a, b, c, lr in rounds]
    values = found(program, tmp_path, network, rounds=given)
    optimiser = torch.optim.Adam(network.parameters())
    for clean, noise, sigma, lr in rounds:
        optimiser.param_groups[0]["lr"] = lr
        optimiser.zero_grad()
        score_losses.denoising_loss(network, clean, noise, sigma).backward()
        assert torch.nn.utils.clip_grad_norm_(network.parameters(), 0.05) > 0.05  # and so it is clipped
        optimiser.step()
    alike(values, list(network.parameters()), 1e-7)


def test_pairs_have_the_shortest_ways(network, tmp_path):
    noise, data = double(40, 2), double(40, 2)
    (values,) = found(
        "answer([objectives.paired(flat(given.noise), flat(given.data))])", tmp_path, network, noise=noise, data=data
    )
    rows, columns = linear_sum_assignment(torch.cdist(data, noise).square())
    assert rows.tolist() == list(range(40))
    alike([values], [noise[torch.tensor(columns)]])


def test_the_flow_has_the_likelihood_of_the_package(network, tmp_path):
    with torch.no_grad():
        network.net.net[-1].weight *= 0.3  # untrained, its field is wild
    x = 1.5 * double(ROWS, 2)
    program = """
    const walk = objectives.flow(net, flat(given.x), 40);
    let last = {};
    while (!last.done) last = walk.next();
    answer(last.value);
    """
    expected = flow_log_likelihood(network, x, low=0.05, high=30.0, n_probes=None, tolerance=1e-7).log_prob
    assert torch.allclose(
        torch.tensor(found(program, tmp_path, network, x=x), dtype=torch.float64), expected, atol=2e-2
    )


def test_a_divergence_on_the_plane_is_that_of_numpy(tmp_path):
    program = """
    const mixture = BENCHES.mixture(), {MODES, centres, cell} = mixture, p = mixture.onPlane(MODES);
    const q = mixture.normal(mixture.onPlane({...MODES, weights: given, width: 0.7}).map((value) => 3 + value));
    answer({p, q, kl: mixture.kl(p, q), shares: mixture.shares(MODES, q), centres, cell});
    """
    values = {key: np.array(value) for key, value in run(program, tmp_path, [0.2, 0.5, 0.3], parts=PARTS).items()}
    x = torch.tensor(values["centres"]).reshape(-1, 2)
    logs = []
    for name, weights, width in (("p", [0.6, 0.3, 0.1], 0.4), ("q", [0.2, 0.5, 0.3], 0.7)):
        told = -SmoothedMixture([[-3.0, -1.0], [3.0, -1.0], [0.0, 2.5]], weights, width)(x).numpy()
        logs.append(told - logsumexp(told) - np.log(values["cell"]))
        assert np.allclose(values[name], logs[-1])
    p, q = logs
    assert values["kl"] == pytest.approx(np.sum(np.exp(p) * values["cell"] * (p - q)))
    assert values["kl"] == pytest.approx(np.sum(np.exp(values["p"]) * (values["p"] - values["q"])) * 0.25**2)
    assert values["shares"] == pytest.approx([0.2, 0.5, 0.3], abs=5e-3)


def test_points_of_ink_lie_where_it_was_drawn(tmp_path):
    program = """
    const mixture = BENCHES.mixture(), ink = new Float32Array(784);
    ink[5 * 28 + 3] = 1;
    ink[20 * 28 + 24] = 0.4;
    ink[0] = 0.1;
    const world = mixture.ofInk(ink), random = chains.random(2);
    answer({world, points: mixture.sample(4000, world, random), empty: mixture.ofInk(new Float32Array(784)).weights});
    """
    values = run(program, tmp_path, parts=PARTS)
    assert (
        values["world"] == {"means": [-4.5, 3.64, 4.5, -2.79], "weights": [3, 1], "width": 0.3}
        and values["empty"] == []
    )
    points = np.array(values["points"]).reshape(-1, 2)
    heavy = points[points[:, 0] < 0]
    assert len(heavy) / len(points) == pytest.approx(0.75, abs=0.03)
    assert heavy.mean(0) == pytest.approx([-4.5, 3.64], abs=0.03) and heavy.std(0) == pytest.approx(0.3, abs=0.03)


SHIM = "Object.assign(BENCHES, {kinds: {}, define: (name, kind) => (BENCHES.kinds[name] = kind)});\n"
FIVE = SHIM + "".join(
    (BOOK / "_static" / "benches" / f"{name}.js").read_text(encoding="utf-8") for name in ("pad", "five")
)


@pytest.mark.parametrize("name", ["noise", "persistent", "denoising", "discrepancy", "matching"])
def test_the_objective_that_was_guessed_runs_in_python(name, tmp_path, capsys):
    program = (
        FIVE
        + """
    const {state, COST} = BENCHES.kinds.five;
    const {OBJECTIVES} = BENCHES.objectives(BENCHES.energy(ops), BENCHES.mixture());
    const ink = BENCHES.pad.written(BENCHES.pad.example(3));
    answer({code: BENCHES.kinds.five.python({...state, guess: given, passes: 100, world: "drawn", ink}), COST,
            costs: Object.fromEntries(Object.entries(OBJECTIVES).map(([name, [cost]]) => [name, cost]))});
    """
    )
    values = run(program, tmp_path, name, parts=PARTS)
    assert values["COST"] == values["costs"]
    exec(compile(values["code"], name, "exec"), {})
    assert float(json.loads(capsys.readouterr().out)) > 0


def test_the_same_seed_trains_the_same_energy_and_it_comes_nearer(tmp_path):
    program = """
    const mixture = BENCHES.mixture(), {learner, density} = BENCHES.objectives(BENCHES.energy(ops), mixture);
    const points = mixture.sample(500, mixture.RING, chains.random(1)), p = mixture.onPlane(mixture.RING);
    const trained = () => {
        const made = learner("discrepancy", points, {passes: 3400, width: 12, seed: 1}, chains.random), kls = [];
        for (const steps of [1, 99]) {
            for (let k = 0; k < steps; k++) made.step();
            kls.push(mixture.kl(p, density(made)));
        }
        return [kls, made.share];
    };
    answer([trained(), trained()]);
    """
    first, second = run(program, tmp_path, parts=PARTS)
    (before, after), share = first
    assert first == second and share == 1 and after < before
