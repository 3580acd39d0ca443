"""A latent-variable model's joint density, and its posterior as an energy that chains can walk on."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..models import LatentVariableModel
from ..models.vaebm import lost
from ..samplers import Energy
from . import arguments


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
