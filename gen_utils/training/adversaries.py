"""What a generator and its critic play for: one small frozen object a game.

Each says its two losses, its optimisers and how many steps the critic takes for one of the generator, so that the
training (``training.gan``, or a loop of ten lines in a notebook) is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import losses
from ..base.precision import full
from ..base.settings import not_negative, positive, whole


@dataclass(frozen=True)
class Adversary:
    """What the games share.

    Attributes:
        lr, betas: Adam's, of both networks.
        critic_steps: critic steps before each generator step.
    """

    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    critic_steps: int = 1

    def __post_init__(self) -> None:
        positive(lr=self.lr)
        whole(1, critic_steps=self.critic_steps)

    def optimiser(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """One of the two optimisers."""
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas)

    def score(self, critic: nn.Module, x: Tensor) -> Tensor:
        """(B, *event) -> (B,), high where the critic believes in the sample."""
        return critic(x)

    def critic_loss(
        self, critic: nn.Module, real: Tensor, fake: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise and what to log beside it; no gradient flows to the samples.

        Args:
            real, fake: (B, *event). generator: of whatever the loss draws.
        """
        raise NotImplementedError

    def generator_loss(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """The loss to minimise; its gradient flows through the fakes (B, *event). ``real``: for pairs."""
        raise NotImplementedError

    def after_critic_step(self, critic: nn.Module) -> None:
        """What happens to the weights after each critic step: nothing, but for clipping."""

    @property
    def passes(self) -> int:
        """Passes of one batch through one network for one generator step and its critic steps.

        A forward pass counts 1; a backward pass 2 when weights want gradients and 1 when only the input does. It is
        the cost in a unit that does not depend on the machine.
        """
        # Critic: G forward, C forward and backward on data and on fakes. Generator: G and C forward, C to its input, G.
        return self.critic_steps * (1 + 2 * 3) + 5


def _gap(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    return {"wasserstein": full(real.detach()).mean() - full(fake.detach()).mean()}


@dataclass(frozen=True)
class NonSaturating(Adversary):
    """The original game: cross-entropy for the critic, -log D(G(z)) for the generator (Goodfellow et al. 2014).

    Optimiser after DCGAN: Adam, 2e-4, β₁ = 0.5.
    """

    def critic_loss(self, critic, real, fake, generator=None):
        on_real, on_fake = critic(real), critic(fake.detach())
        return losses.gan_critic_loss(on_real, on_fake), _gap(on_real, on_fake)

    def generator_loss(self, critic, real, fake):
        return losses.gan_generator_loss(critic(fake))


@dataclass(frozen=True)
class Wasserstein(Adversary):
    """WGAN with clipped weights: RMSprop, 5e-5, five critic steps, |w| <= 0.01 (Arjovsky et al. 2017).

    The published code takes 100 critic steps for each of the first 25 generator steps; this does not.

    Attributes:
        clip: bound on each of the critic's weights after every step.
    """

    lr: float = 5e-5
    critic_steps: int = 5
    clip: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(clip=self.clip)

    def optimiser(self, parameters):
        return torch.optim.RMSprop(parameters, lr=self.lr)

    def critic_loss(self, critic, real, fake, generator=None):
        on_real, on_fake = critic(real), critic(fake.detach())
        return losses.wasserstein_critic_loss(on_real, on_fake), _gap(on_real, on_fake)

    def generator_loss(self, critic, real, fake):
        return losses.wasserstein_generator_loss(critic(fake))

    @torch.no_grad()
    def after_critic_step(self, critic):
        for weight in filter(lambda weight: weight.requires_grad, critic.parameters()):  # what is frozen stays as it is
            weight.clamp_(-self.clip, self.clip)


@dataclass(frozen=True)
class WassersteinGP(Adversary):
    """WGAN with a penalty on the gradient's norm: Adam, 1e-4, β = (0, 0.9), five critic steps (Gulrajani et al. 2017).

    Attributes:
        weight: λ of the penalty.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.9)
    critic_steps: int = 5
    weight: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(weight=self.weight)

    def critic_loss(self, critic, real, fake, generator=None):
        on_real, on_fake = critic(real), critic(fake.detach())
        penalty = losses.gradient_penalty(critic, real, fake, generator)
        loss = losses.wasserstein_critic_loss(on_real, on_fake) + self.weight * penalty
        return loss, {**_gap(on_real, on_fake), "penalty": penalty.detach()}

    def generator_loss(self, critic, real, fake):
        return losses.wasserstein_generator_loss(critic(fake))

    @property
    def passes(self) -> int:
        # A third forward pass, its gradient to the input, and the way back through both.
        return super().passes + self.critic_steps * (1 + 1 + 4)


@dataclass(frozen=True)
class Relativistic(Adversary):
    """R3GAN's loss: pairs of a real and a fake image, zero-centred penalties at both (Huang et al. 2024).

    Adam with β₁ = 0. Its own network is a modern residual one; here the loss meets the networks of this workbook.

    Attributes:
        gamma: the penalties have weight γ / 2.
        r1, r2: whether the penalty at data, and that at samples, is there.
    """

    betas: tuple[float, float] = (0.0, 0.99)
    gamma: float = 1.0
    r1: bool = True
    r2: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(gamma=self.gamma)

    def critic_loss(self, critic, real, fake, generator=None):
        x_real, x_fake = real.detach().requires_grad_(self.r1), fake.detach().requires_grad_(self.r2)
        on_real, on_fake = critic(x_real), critic(x_fake)
        loss, told = losses.relativistic_loss(on_real, on_fake), _gap(on_real, on_fake)
        for name, on, scores, x in (("r1", self.r1, on_real, x_real), ("r2", self.r2, on_fake, x_fake)):
            if on:
                penalty = losses.squared_gradient(scores, x).mean()
                loss = loss + self.gamma / 2 * penalty
                told[name] = penalty.detach()
        return loss, told

    def generator_loss(self, critic, real, fake):
        with torch.no_grad():
            on_real = critic(real)
        return losses.relativistic_loss(critic(fake), on_real)

    @property
    def passes(self) -> int:
        # A gradient to the input and the way back through it, twice as long; in the generator's step data too.
        return super().passes + self.critic_steps * (int(self.r1) + int(self.r2)) * (1 + 2) + 1


@dataclass(frozen=True)
class EnergyBased(Adversary):
    """EBGAN: the critic is an ``AutoencoderEnergy``, with a margin and the pulling-away term (Zhao et al. 2017).

    Attributes:
        margin: energy (mean squared error a pixel) beyond which fakes no longer push.
        pull: weight of the pulling-away term on the codes of the fakes.
    """

    margin: float = 0.2
    pull: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(margin=self.margin, pull=self.pull)

    def score(self, critic, x):
        return -critic.energy(x)

    def critic_loss(self, critic, real, fake, generator=None):
        on_real, on_fake = critic.energy(real), critic.energy(fake.detach())
        return losses.ebgan_critic_loss(on_real, on_fake, self.margin), _gap(-on_real, -on_fake)

    def generator_loss(self, critic, real, fake):
        codes = critic.encode(fake)
        energy = (critic.decoder(codes) - fake).square().flatten(1).mean(1)
        return energy.mean() + self.pull * losses.pulling_away(codes)
