"""A latent-variable model's joint density, and its posterior as an energy that chains can walk on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..models import LatentVariableModel
from ..models.vaebm import lost
from ..samplers import HMC, Energy, sample, warm_up
from . import arguments
from .chains import split_rhat


def log_joint(model: LatentVariableModel, x: Tensor, z: Tensor) -> Tensor:
    """log p(x, z) = log p(z) + log p(x | z) in nats: images (B, *event), z (..., B, latent) -> (..., B)."""
    flat = z.reshape(-1, z.shape[-1])
    images = x.expand(*z.shape[:-2], *x.shape).reshape(-1, *x.shape[1:])
    return (model.prior().log_prob(flat) + model.likelihood(flat).log_prob(images)).reshape(z.shape[:-1])


def posterior_energy(
    model: LatentVariableModel, x: Tensor, n_chains: int, whiten: str = "posterior"
) -> tuple[Energy, Callable[[torch.Generator | None], Tensor]]:
    """-log p(x, z(u)) - log |dz/du| as an energy of u, rows (n_chains · B, latent), and a start that draws N(0, I).

    z = μ + s u with the mean and standard deviations of the encoder, or of the prior.
    """
    n_chains = arguments.whole("n_chains", n_chains, 1)
    arguments.choice("whiten", whiten, ("prior", "posterior"))
    with torch.no_grad():
        posterior = checked_posterior(model, x)
        base = posterior if whiten == "posterior" else model.prior().expand(posterior.batch_shape)
        centre, scale = base.mean.detach(), base.stddev.detach()  # (B, latent)
    rows = [each.repeat(n_chains, *[1] * (each.ndim - 1)) for each in (centre, scale, x)]
    energy = _PosteriorEnergy(model, *rows)

    def start(generator: torch.Generator | None) -> Tensor:
        device = centre.device if generator is None else generator.device
        shape = (n_chains * len(x), centre.shape[1])
        return torch.randn(shape, generator=generator, device=device, dtype=centre.dtype).to(centre.device)

    return energy, start


class _PosteriorEnergy:
    """-log p(x, z(u)) - log |dz/du|: row i, an image in one of its chains, has z = centre_i + scale_i u_i."""

    def __init__(self, model: LatentVariableModel, centre: Tensor, scale: Tensor, images: Tensor) -> None:
        self.model, self.centre, self.scale, self.images = model, centre, scale, images

    def __call__(self, u: Tensor) -> Tensor:
        prior = self.model.prior()
        z = self.centre + self.scale * u
        gone = lost((z - prior.mean) / prior.stddev)
        z = z.masked_fill(gone[:, None], 0.0)
        joint = prior.log_prob(z) + self.model.likelihood(z).log_prob(self.images)
        return (-(joint + self.scale.log().sum(1))).masked_fill(gone, math.inf)

    def for_rows(self, rows: slice) -> _PosteriorEnergy:
        """The energy of these rows alone, for chains that are dealt out to the cores."""
        return _PosteriorEnergy(self.model, self.centre[rows], self.scale[rows], self.images[rows])


@dataclass(frozen=True)
class PosteriorDraws:
    """Draws of p(z | x) for each image, by two sets of chains that know nothing of each other, in units of the encoder.

    Attributes:
        energy: of u, for rows (n_chains · B, latent); see ``posterior_energy``.
        n_samples: L, how many draws of each set count for an image.
        fitted, fresh: (K, n_chains, B, latent), the sets' draws u; ``fitted`` is None where only one was asked for.
        energies: (K, sets · n_chains, B), the energy of every draw, the fitted set's chains first.
    """

    energy: Energy
    n_samples: int
    fitted: Tensor | None
    fresh: Tensor
    energies: Tensor

    @property
    def n_chains(self) -> int:
        return self.fresh.shape[1]

    def rows(self, fresh: bool = True) -> Tensor:
        """(L, B, latent) draws of one set, the chains fastest."""
        if not fresh and self.fitted is None:
            raise ValueError("fitted: only fresh draws were made, so there is nothing to fit a density to")
        kept = self.fresh if fresh or self.fitted is None else self.fitted
        return kept.flatten(0, 1)[: self.n_samples]

    @torch.no_grad()
    def log_joint(self, u: Tensor) -> Tensor:
        """log p(x, z(u)) + log |dz/du| in nats: (L, B, latent) -> (L, B)."""
        parts, at_once = [], self.n_chains  # rows of the energy are (chain, image) pairs
        for part in u.split(at_once):
            short = at_once - len(part)
            padded = torch.cat([part, part[:1].expand(short, -1, -1)]) if short else part
            parts.append(-self.energy(padded.flatten(0, 1)).reshape(at_once, -1)[: len(part)])
        return torch.cat(parts)

    def rhat(self) -> Tensor:
        """(B,) the largest split R-hat of an image: over its latent dimensions and its energy, all chains together.

        Near 1 when the chains of both sets agree; infinite where some never moved.

        Raises:
            ValueError: fewer than four draws a chain, or one chain in all.
        """
        sets = [self.fresh] if self.fitted is None else [self.fitted, self.fresh]
        worst = torch.cat([split_rhat(torch.cat(sets, 1)), split_rhat(self.energies)[:, None]], 1).amax(1)
        return worst.nan_to_num(nan=math.inf, posinf=math.inf)


def posterior_draws(
    model: LatentVariableModel,
    x: Tensor,
    n_samples: int,
    *,
    fit: bool = True,
    n_chains: int = 4,
    n_warmup: int = 150,
    n_leapfrog: int = 8,
    thin: int = 1,
    generator: torch.Generator | None = None,
) -> PosteriorDraws:
    """Draws of each image's posterior by Hamiltonian Monte Carlo: a set to fit a density to, and a fresh one.

    The chains of the first set tune the step size. Those of the second begin anew, at draws of the encoder, and forget
    their start with the step size that was found: chains that merely went on would stay in the modes that the density
    was fitted to, and be fresh in name only.

    Args:
        x: (B, *event) images the model's likelihood can have produced.
        n_samples: L, draws an image in each set.
        fit: False leaves the first set out; its chains, once tuned, then give the fresh draws.
        n_chains, n_warmup, n_leapfrog, thin: chains an image in each set, steps to forget the start, leapfrog steps a
            trajectory, trajectories between two draws that are kept.

    Raises:
        ValueError: what ``checked_posterior`` refuses, or settings below one.
    """
    n_samples, thin = arguments.whole("n_samples", n_samples, 1), arguments.whole("thin", thin, 1)
    n_leapfrog, n_warmup = arguments.whole("n_leapfrog", n_leapfrog, 1), arguments.whole("n_warmup", n_warmup, 1)
    energy, start = posterior_energy(model, x, n_chains)
    kernel, u = warm_up(energy, start(generator), HMC(0.1, n_leapfrog, jitter=0.3), n_warmup, generator=generator)

    def draw(u: Tensor) -> tuple[Tensor, Tensor]:
        """(K, n_chains, B, latent) draws and (K, n_chains, B) energies of chains that have forgotten their start."""
        steps = math.ceil(n_samples / n_chains) * thin
        chain = sample(energy, u, kernel, steps, keep_every=thin, generator=generator)
        assert chain.path is not None  # keep_every asks for it
        kept = chain.energy[thin - 1 :: thin].reshape(-1, n_chains, len(x))
        return chain.path.reshape(-1, n_chains, len(x), u.shape[-1]), kept

    if not fit:
        fresh, energies = draw(u)
        return PosteriorDraws(energy, n_samples, None, fresh, energies)
    fitted, first = draw(u)
    u = sample(energy, start(generator), kernel, n_warmup, generator=generator).x
    fresh, second = draw(u)
    return PosteriorDraws(energy, n_samples, fitted, fresh, torch.cat([first, second], 1))


@torch.no_grad()
def elbo_surgery(model: LatentVariableModel, x: Tensor, n_draws: int = 4) -> tuple[float, float, float]:
    """What the codes of these images cost, and the two parts of it: (price, mutual information, marginal KL), in nats.

    With q̄(z) = mean of q(z | x_n) over the N images given, the mean KL(q(z | x_n) ‖ p) is the mean KL(q(z | x_n) ‖ q̄),
    which a code tells of its image, plus KL(q̄ ‖ p), the price of codes that as a whole do not fill the prior. The
    first is estimated at ``n_draws`` draws an image, the second is the difference.

    Args:
        x: (N, *event). The first part cannot exceed log N, and is too small where it comes near: take many images.

    Raises:
        ValueError: what ``checked_posterior`` refuses; fewer than one draw.

    Source: Hoffman & Johnson (2016), equation 8.
    """
    n_draws = arguments.whole("n_draws", n_draws, 1)
    posterior = checked_posterior(model, x)
    z = posterior.sample((n_draws,))  # (S, N, latent)
    own, prior = posterior.log_prob(z), model.prior().log_prob(z)
    every = torch.cat([posterior.log_prob(row[:, None]) for row in z.flatten(0, 1).split(50)])  # (S·N, N)
    marginal = torch.logsumexp(every, 1).reshape(own.shape) - math.log(len(x))
    price, told = (own - prior).mean().item(), (own - marginal).mean().item()
    return price, told, price - told


def checked_posterior(model: LatentVariableModel, x: Tensor) -> Distribution:
    """The posterior, once it is sure that the likelihood is over one image, and that it can produce every image."""
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(f"x must be a batch of images (B, *event), got {tuple(x.shape)}")
    parts = model.modules() if isinstance(model, nn.Module) else ()
    if any(part.training and isinstance(part, nn.modules.batchnorm._NormBase) for part in parts):
        raise ValueError("model is in training mode, where batch norm makes images depend on each other: .eval() first")
    arguments.finite("x", x)
    posterior = model.posterior(x)
    likelihood = model.likelihood(posterior.mean)
    if not isinstance(likelihood, Distribution):
        raise ValueError(f"model.likelihood(z) must return a torch Distribution, got {type(likelihood).__name__}")
    if likelihood.batch_shape != x.shape[:1] or likelihood.event_shape != x.shape[1:]:
        raise ValueError(
            f"model.likelihood(z) must be one distribution an image, batch ({len(x)},) and event {tuple(x.shape[1:])}; "
            f"it has batch {tuple(likelihood.batch_shape)} and event {tuple(likelihood.event_shape)}. "
            "torch.distributions.Independent moves axes from the batch to the event"
        )
    if likelihood.support is None:
        raise ValueError(f"a {type(likelihood).__name__} does not say which images it can produce: it has no support")
    inside = likelihood.support.check(x)
    if not inside.all():
        raise ValueError(
            f"x: {int((~inside).sum())} of {len(x)} images have values outside the support of the likelihood: their "
            "probability is zero. Binarise for a Bernoulli, keep the grey levels for a discretised one"
        )
    return posterior
