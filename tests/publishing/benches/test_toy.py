"""The games that a page plays train as PyTorch does: weights after some rounds, from the same weights and points."""

import pytest
import torch

from gen_utils.models import ToyCritic, ToyGenerator
from gen_utils.training.adversaries import NonSaturating, Relativistic

from .node import run

PARTS = ("ops.js", "network.js", "chains.js", "toy.js")
ROUNDS = """
const toy = BENCHES.toy(ops), nets = [[2, 64, 64, 2], [2, 64, 64, 1]].map((sizes) => toy.dense(sizes, () => 0.5));
nets.forEach((net, i) => net.layers.forEach((layer, k) => {
    layer.weight.set(given.weights[i][2 * k]);
    layer.bias.set(given.weights[i][2 * k + 1]);
}));
for (const {real, z} of given.rounds) toy.round(...nets, Float64Array.from(real), Float64Array.from(z), given.game);
answer(nets.map((net) => net.layers.flatMap(({weight, bias}) => [weight, bias])));
"""
GAMES = {
    "plain": (NonSaturating(lr=1e-3, betas=(0.9, 0.999)), {"pairs": False, "gamma": 0, "betas": [0.9, 0.999]}),
    "R3GAN": (Relativistic(lr=1e-3, betas=(0.0, 0.9), gamma=0.2), {"pairs": True, "gamma": 0.2, "betas": [0.0, 0.9]}),
}


@pytest.mark.parametrize("name", GAMES)
def test_rounds_lead_to_the_same_weights(name, tmp_path):
    game, said = GAMES[name]
    generator, critic = ToyGenerator().double(), ToyCritic().double()
    weights = [[p.flatten().tolist() for p in net.parameters()] for net in (generator, critic)]
    optimise_g, optimise_c = (game.optimiser(net.parameters()) for net in (generator, critic))
    rounds = []
    for _ in range(4):
        real, z = torch.randn(32, 2, dtype=torch.float64), torch.randn(32, 2, dtype=torch.float64)
        rounds.append({"real": real.flatten().tolist(), "z": z.flatten().tolist()})
        loss, _ = game.critic_loss(critic, real, generator(z).detach())
        optimise_c.zero_grad()
        loss.backward()
        optimise_c.step()
        loss = game.generator_loss(critic, real, generator(z))
        optimise_g.zero_grad()
        loss.backward()
        optimise_g.step()
    given = {"weights": weights, "rounds": rounds, "game": {**said, "lr": 1e-3}}
    for net, found in zip((generator, critic), run(ROUNDS, tmp_path, given, parts=PARTS), strict=True):
        for parameter, values in zip(net.parameters(), found, strict=True):
            assert torch.allclose(parameter.flatten(), torch.tensor(values, dtype=torch.float64), atol=1e-6)
