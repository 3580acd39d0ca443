"""VAEBM: a VAE's joint density times exp(-E(x)), and the energies by which its two spaces are sampled.

The joint is h(x, z) ∝ p(z) p(x | z) exp(-E(x)) with a Gaussian decoder, p(x | z) = N(μ(z), diag s(z)²), and a Gaussian
prior, N(m, diag r²). With standard normal noise ε = (ε_x, ε_z) the same pair is z = m + r ε_z, x = μ(z) + s(z) ε_x.

Both energies below take one flat state a chain, (B, D + d) with the D pixels (or their noise) first, so that the
kernels and ``sample`` work on them as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from .energy import SmallEnergy
from .protocols import LatentDecoder
from .residual_energy import ResidualEnergy
from .strided_energy import StridedEnergy
from .vae import MLPVAE, ConvVAE

Energy = Callable[[Tensor], Tensor]
PARTS = {kind.__name__: kind for kind in (ConvVAE, MLPVAE, SmallEnergy, StridedEnergy, ResidualEnergy)}
REACH = 100.0  # standard deviations of the prior; the density there is e^-5000


def lost(standardised: Tensor) -> Tensor:
    """(B, n) coordinates in units of a standard normal -> (B,) bool: further out than any draw, or not a number.

    A trajectory of HMC that diverges gets there. Its energy is +inf, which the kernels count as a rejection; asking the
    decoder for a distribution there would stop all chains with an error.
    """
    return ~(standardised.abs() < REACH).all(1)


def _normal(distribution: Distribution, what: str) -> Normal:
    """The coordinates' Normal behind an Independent one, whose mean and standard deviation the maps need."""
    if not (isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal)):
        kind = type(getattr(distribution, "base_dist", distribution)).__name__
        raise ValueError(f"the two spaces are for Gaussians, Independent Normals; this {what} is a {kind}")
    return distribution.base_dist


class _Joint(nn.Module):
    """What all maps between the two spaces need: the VAE's Gaussians, and where a flat state is cut."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        if not isinstance(vae, LatentDecoder):
            raise ValueError(f"a VAE has prior() and likelihood(z); a {type(vae).__name__} has not")
        vae.eval()  # before it decodes for the first time: batch norm must neither see chains nor learn from them
        prior = _normal(vae.prior(), "prior")
        with torch.no_grad():
            decoded = _normal(vae.likelihood(prior.mean[None]), "decoder")
        self.vae, self.image_shape = vae, tuple(decoded.mean.shape[1:])
        self.n_pixels, self.latent = math.prod(self.image_shape), len(prior.mean)
        self.event_shape = (self.n_pixels + self.latent,)

    def prior(self) -> Normal:
        """p(z), coordinate by coordinate: N(m, r²), each (d,)."""
        return _normal(self.vae.prior(), "prior")

    def decoder(self, z: Tensor) -> Normal:
        """p(x | z), pixel by pixel, for z (B, d): N(μ(z), s²), broadcast to (B, *image_shape)."""
        return _normal(self.vae.likelihood(z), "decoder")

    def split(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D + d) -> pixels (B, *image_shape) and latent part (B, d)."""
        if state.shape[1:] != self.event_shape:
            raise ValueError(f"a state is {self.n_pixels} + {self.latent} numbers, got {tuple(state.shape)}")
        pixels, latent = state.split((self.n_pixels, self.latent), dim=1)
        return pixels.reshape(-1, *self.image_shape), latent

    def decode(self, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ε (B, D + d) -> x (B, *image_shape), and the decoder's mean and standard deviation there."""
        eps_x, eps_z = self.split(eps)
        prior = self.prior()
        decoded = self.decoder(prior.mean + prior.stddev * eps_z)
        # A distribution of pixels is in float32 at least; a half-precision copy of the energy wants the chain's type.
        mean, scale = decoded.mean.to(eps.dtype), decoded.stddev.to(eps.dtype)
        return mean + scale * eps_x, mean, scale


class EpsilonEnergy(_Joint):
    """ε (B, D + d) -> (B,): E(x(ε)) + ½‖ε‖² in nats, up to a constant. exp of minus it is h's density of ε, exactly.

    The change of variables multiplies the density of (x, z) by |det ∂(x, z)/∂ε| = Π s(z) Π r, which cancels the
    normalisers 1/s and 1/r of the two Gaussians. So no log s remains, whether or not s depends on z.

    Args:
        energy: (B, C, H, W) -> (B,).
        vae: has ``prior()`` and ``likelihood(z)``, both Independent Normals. It is put in eval mode.
        jacobian: False leaves the determinant out and so makes a mistake: it is the energy of (x, z), evaluated at
            (x(ε), z(ε)), E + ½‖ε‖² + Σ log s(z). With one fixed s that is a constant and harmless; with a decoder
            whose s depends on z, its chains sample another density.

    Raises:
        ValueError: a decoder or a prior that is not Gaussian.

    Source: Xiao et al. (2021), VAEBM, their section on sampling by reparametrisation; ``jacobian=False`` is what the
    published code computes, but for a lower bound that it puts on s inside log p(x | z) alone, in its square too.
    """

    def __init__(self, energy: Energy, vae: nn.Module, *, jacobian: bool = True) -> None:
        super().__init__(vae)
        self.energy, self.jacobian = energy, jacobian

    def forward(self, eps: Tensor) -> Tensor:
        gone = lost(eps)
        eps = eps.masked_fill(gone[:, None], 0.0)
        x, _, scale = self.decode(eps)
        value = self.energy(x) + 0.5 * eps.square().sum(1)
        if not self.jacobian:
            value = value + scale.expand_as(x).log().flatten(1).sum(1)
        return value.masked_fill(gone, math.inf)


class XZEnergy(_Joint):
    """(x, z) as one state (B, D + d) -> (B,): E(x) - log p(x | z) - log p(z), in nats; the full energy of the pair.

    At constant s it is E(x) + ‖x - μ(z)‖²/2s² + ½‖z‖² + a constant. Its directions differ in stiffness by s², which is
    why chains prefer ε.

    Args, raises: as for ``EpsilonEnergy``.
    """

    def __init__(self, energy: Energy, vae: nn.Module) -> None:
        super().__init__(vae)
        self.energy = energy

    def forward(self, state: Tensor) -> Tensor:
        prior = self.vae.prior()
        gone = lost((self.split(state)[1] - prior.mean) / prior.stddev) | ~torch.isfinite(state).all(1)
        x, z = self.split(state.masked_fill(gone[:, None], 0.0))
        value = self.energy(x) - self.vae.likelihood(z).log_prob(x) - prior.log_prob(z)
        return value.masked_fill(gone, math.inf)


def epsilon_energy(energy: Energy, vae: nn.Module, *, jacobian: bool = True) -> EpsilonEnergy:
    """The callable on ε, see ``EpsilonEnergy``."""
    return EpsilonEnergy(energy, vae, jacobian=jacobian)


def xz_energy(energy: Energy, vae: nn.Module) -> XZEnergy:
    """The callable on (x, z), see ``XZEnergy``."""
    return XZEnergy(energy, vae)


def to_xz(joint: _Joint, eps: Tensor) -> Tensor:
    """ε (B, D + d) -> (x(ε), z(ε)) as one state (B, D + d)."""
    x, _, _ = joint.decode(eps)
    prior = joint.prior()
    return torch.cat((x.flatten(1), prior.mean + prior.stddev * joint.split(eps)[1]), dim=1)


def to_epsilon(joint: _Joint, state: Tensor) -> Tensor:
    """The inverse of ``to_xz``."""
    x, z = joint.split(state)
    prior, decoded = joint.prior(), joint.decoder(z)
    return torch.cat((((x - decoded.mean) / decoded.stddev).flatten(1), (z - prior.mean) / prior.stddev), dim=1)


@dataclass(frozen=True)
class NormalStart:
    """Standard normal noise: in ε-space an exact draw of the VAE, where chains begin.

    Args:
        event_shape: of one state.
    """

    event_shape: tuple[int, ...]

    def draw(self, n: int, *, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """(n, *event_shape) on the generator's device; labels are ignored."""
        device = "cpu" if generator is None else generator.device
        return torch.randn((n, *self.event_shape), generator=generator, device=device)


class VAEBM(nn.Module):
    """A Gaussian VAE and an energy of images, in one module: h(x, z) ∝ p(x, z) exp(-E(x)).

    Args:
        vae, energy: modules, or what a card keeps of them, {"kind": name of the class, **its config}.

    Raises:
        ValueError: a decoder that is not Gaussian, or a part of unknown kind.

    Source: Xiao et al. (2021), VAEBM.
    """

    def __init__(self, vae: nn.Module | dict, energy: nn.Module | dict) -> None:
        super().__init__()
        parts = _part(vae), _part(energy)
        space = epsilon_energy(parts[1], parts[0])
        self.vae, self.energy = space.vae, parts[1]
        self.config = {"vae": _described(self.vae), "energy": _described(self.energy)}
        self.image_shape, self.event_shape, self.latent = space.image_shape, space.event_shape, space.latent

    def train(self, mode: bool = True) -> VAEBM:
        """The energy's mode; the VAE stays in eval mode, because its batch norms must not see chains."""
        super().train(mode)
        self.vae.eval()
        return self

    def in_epsilon(self) -> EpsilonEnergy:
        """The energy of ε that chains run on; it shares the weights."""
        return epsilon_energy(self.energy, self.vae)

    def in_xz(self) -> XZEnergy:
        """The energy of (x, z); it shares the weights."""
        return xz_energy(self.energy, self.vae)

    def start(self) -> NormalStart:
        """Where chains in ε begin: draws of the VAE."""
        return NormalStart(self.event_shape)

    @torch.no_grad()
    def images(self, eps: Tensor, *, mean: bool = False) -> Tensor:
        """ε (B, D + d) -> (B, C, H, W) clamped to [-1, 1]: x(ε), or the decoder's mean μ(z) without the noise."""
        space = self.in_epsilon()
        return torch.cat([space.decode(part)[1 if mean else 0] for part in eps.split(250)]).clamp(-1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """E(x), (B, C, H, W) -> (B,)."""
        return self.energy(x)


def _part(part: nn.Module | dict) -> nn.Module:
    if isinstance(part, nn.Module):
        return part
    settings = dict(part)
    kind = settings.pop("kind", None)
    if kind not in PARTS:
        raise ValueError(f"a VAEBM is made of {', '.join(PARTS)}, not of {kind!r}")
    return PARTS[kind](**settings)


def _described(part: nn.Module) -> dict:
    return {"kind": type(part).__name__, **getattr(part, "config", {})}
