"""Variational auto-encoders: a convolutional one, and one of two dense layers.

Each is a latent-variable model: ``prior()``, ``posterior(x)`` (the encoder's approximation) and ``likelihood(z)``
return torch Distributions over one latent vector or one image, so that every ``log_prob`` has shape (B,), in nats.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from ..base.precision import full
from .modes import evaluating
from .pixels import PixelLikelihood
from .shapes import refuse_other


class _VAE(nn.Module):
    """What both share: an encoder to (B, 2 · latent), a decoder from (B, latent), and what they mean."""

    encoder: nn.Module
    decoder: nn.Module
    _here: Tensor  # empty; it tells the prior which device and dtype the model has

    def __init__(self, shape: tuple[int, int, int], latent: int, likelihood: str, sigma: float | str) -> None:
        super().__init__()
        if latent < 1:
            raise ValueError(f"latent must be at least 1, got {latent}")
        self.shape, self.latent = tuple(shape), latent
        self.pixels = PixelLikelihood(likelihood, sigma)
        self.register_buffer("_here", torch.empty(0), persistent=False)

    def prior(self) -> Independent:
        """N(0, I) over z (latent,)."""
        zero = self._here.new_zeros(self.latent)
        return Independent(Normal(zero, torch.ones_like(zero)), 1)

    def posterior(self, x: Tensor) -> Independent:
        """The encoder's diagonal Gaussian over z, batch (B,), for images (B, C, H, W) in [-1, 1].

        Raises:
            ValueError: images of another shape than the model's.
        """
        refuse_other(x, *self.shape)
        mean, log_variance = full(self.encoder(x)).chunk(2, dim=1)
        # Beyond these bounds exp() would over- or underflow; no trained posterior comes near them.
        return Independent(Normal(mean, torch.exp(0.5 * log_variance.clamp(-20, 10))), 1)

    def likelihood(self, z: Tensor) -> Independent:
        """p(x | z) over images, batch (B,), for z (B, latent).

        Raises:
            ValueError: another number of latent dimensions.
        """
        refuse_other(z, self.latent, what="codes")
        return self.pixels(self.decoder(z))

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions (B, C, H, W): the likelihood's mean at the posterior's mean."""
        return self.likelihood(self.posterior(x).mean).mean

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) in [-1, 1]: the likelihood's means at n draws of the prior, without the pixels' own noise.

        In eval mode, whatever the model's own: batch norm must not learn from draws.
        """
        device = self._here.device if generator is None else generator.device
        z = torch.randn(n, self.latent, generator=generator, device=device).to(self._here)
        with evaluating(self):
            return torch.cat([self.likelihood(part).mean for part in z.split(250)]).clamp(-1, 1)


class ConvVAE(_VAE):
    """Five strided convolution blocks with batch norm and LeakyReLU, and the same turned round as the decoder.

    Args:
        shape: (C, H, W), sides that 2 to the number of blocks divides: 64×64 ends in 2×2, 32×32 in 1×1.
        latent: dimensions of z.
        widths: channels of the blocks.
        likelihood, sigma: see ``PixelLikelihood``.

    Raises:
        ValueError: sides that cannot be halved so often.
    """

    def __init__(
        self,
        shape: tuple[int, int, int] = (3, 64, 64),
        latent: int = 512,
        widths: tuple[int, ...] = (16, 32, 64, 128, 256),
        likelihood: str = "gaussian",
        sigma: float | str = 1.0,
    ) -> None:
        super().__init__(shape, latent, likelihood, sigma)
        self.config = {
            "shape": list(shape), "latent": latent, "widths": list(widths), "likelihood": likelihood, "sigma": sigma,
        }  # fmt: skip
        channels, height, width = shape
        halvings = 2 ** len(widths)
        if height % halvings or width % halvings:
            raise ValueError(f"{len(widths)} blocks halve the image so often that {halvings} must divide its sides, "
                             f"got {height}×{width}")  # fmt: skip
        small = (widths[-1], height // halvings, width // halvings)
        down = [_block(nn.Conv2d(i, o, 3, 2, 1), o) for i, o in zip((channels, *widths[:-1]), widths, strict=True)]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(math.prod(small), 2 * latent))
        outward = (*widths[::-1], widths[0])
        up = [_block(nn.ConvTranspose2d(i, o, 4, 2, 1), o) for i, o in pairwise(outward)]
        self.decoder = nn.Sequential(
            nn.Linear(latent, math.prod(small)),
            nn.Unflatten(1, small),
            *up,
            nn.Conv2d(widths[0], channels, 3, padding=1),
        )


def _block(convolution: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.LeakyReLU())


class MLPVAE(_VAE):
    """Two dense hidden layers each way, for images so small or so simple that no convolution is needed.

    Args:
        shape: (C, H, W); latent: dimensions of z; hidden: the encoder's widths, turned round in the decoder.
        likelihood, sigma: see ``PixelLikelihood``.
    """

    def __init__(
        self,
        shape: tuple[int, int, int] = (1, 64, 64),
        latent: int = 6,
        hidden: tuple[int, ...] = (512, 256),
        likelihood: str = "bernoulli",
        sigma: float | str = 1.0,
    ) -> None:
        super().__init__(shape, latent, likelihood, sigma)
        self.config = {
            "shape": list(shape), "latent": latent, "hidden": list(hidden), "likelihood": likelihood, "sigma": sigma,
        }  # fmt: skip
        n_dims = math.prod(shape)
        self.encoder = nn.Sequential(nn.Flatten(), *_dense((n_dims, *hidden)), nn.Linear(hidden[-1], 2 * latent))
        self.decoder = nn.Sequential(
            *_dense((latent, *hidden[::-1])), nn.Linear(hidden[0], n_dims), nn.Unflatten(1, tuple(shape))
        )


def _dense(widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.Linear(i, o), nn.LeakyReLU()]
    return layers
