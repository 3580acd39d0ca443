"""Toy networks and games for the checks of adversarial training: a step of them takes no time, and repeats exactly."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cases import stream


def flat(network: nn.Module) -> Tensor:
    """All weights in one vector, a copy without a graph."""
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def averages(network: nn.Module) -> Tensor:
    """The running means and variances of its batch norms in one vector, a copy."""
    return torch.cat([b.flatten() for n, b in network.named_buffers() if "running" in n])


def toys(
    number: int, n: int = 6, *, norm: bool = False, sure: bool = False
) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """A generator (n, 3) -> (n, 4) and a discriminator (n, 4) -> (n,), with batch norm or not; real rows and inputs.

    Args:
        sure: the discriminator's logits are hundreds of nats from zero, on either side.
    """
    seed = int(torch.randint(2**31, (), generator=stream(number)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        middle = [nn.BatchNorm1d(4), nn.BatchNorm1d(5)] if norm else [nn.Identity(), nn.Identity()]
        generator = nn.Sequential(nn.Linear(3, 4), middle[0], nn.Tanh())
        # Its norm stands between two bends. Behind the first layer it would hide the scale of what comes in, and before
        # the last one it would give data and fakes the same mean logit.
        critic = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), middle[1], nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0))
        real, z = torch.randn(n, 4) + 1, torch.randn(n, 3)
    if sure:
        with torch.no_grad():
            both = torch.cat((real, copy.deepcopy(generator)(z)))  # on copies, so that no running average moves
            logits = copy.deepcopy(critic)(both)
            critic[4].bias.sub_(logits.mean()).mul_(300 / logits.std())
            critic[4].weight.mul_(300 / logits.std())
    return generator, critic, real, z


def first_optimiser() -> None:
    """Build one: the first of a process imports a good part of PyTorch, which must not run on the student's clock."""
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


class Game:
    """A toy of everything that adversarial training has at hand; ``play`` takes steps of it, all of it exactly repeatable.

    Attributes:
        generator, critic: networks. generator_optimiser, critic_optimiser: Adam.
        step: how many have been taken; the learning rate falls with it.
        noise: a ``torch.Generator``, from which the inputs and the data are drawn.
    """

    def __init__(self, number: int = 3) -> None:
        self.generator, self.critic, _, _ = toys(number)
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), lr=0.01, betas=(0.5, 0.999))
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=0.02, betas=(0.5, 0.9))
        self.step, self.noise = 0, stream(number + 11)

    def play(self, n: int) -> None:
        """Take n steps."""
        for _ in range(n):
            self.step += 1
            for optimiser, lr in ((self.critic_optimiser, 0.02), (self.generator_optimiser, 0.01)):
                optimiser.param_groups[0]["lr"] = lr / self.step**0.5
            real = torch.randn(6, 4, generator=self.noise) + 1
            fake = self.generator(torch.randn(6, 3, generator=self.noise))
            loss = F.softplus(-self.critic(real)).mean() + F.softplus(self.critic(fake.detach())).mean()
            self.critic_optimiser.zero_grad()
            loss.backward()
            self.critic_optimiser.step()
            loss = F.softplus(-self.critic(fake)).mean()
            self.generator_optimiser.zero_grad()
            loss.backward()
            self.generator_optimiser.step()

    def restore(self, state: Mapping) -> None:
        """Take over what is in ``state``; what is missing there stays as in a fresh start."""
        for part in ("generator", "critic", "generator_optimiser", "critic_optimiser"):
            if part in state:
                getattr(self, part).load_state_dict(copy.deepcopy(state[part]))
        self.step = int(state.get("step", 0))
        if "noise" in state:
            self.noise.set_state(state["noise"])
