"""What the estimators ask of a network, whatever its class: methods, their shapes and their units."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor
from torch.distributions import Distribution


@runtime_checkable
class LatentDecoder(Protocol):
    """The half of a latent-variable model that generates: z ~ p(z), then x ~ p(x | z).

    Both are torch Distributions whose ``log_prob`` is in nats.
    """

    def prior(self) -> Distribution:
        """p(z): event (latent,), no batch."""
        ...

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x | z) for z (B, latent): batch (B,), event that of one image, such as (C, H, W)."""
        ...


@runtime_checkable
class LatentVariableModel(LatentDecoder, Protocol):
    """p(x) = ∫ p(z) p(x | z) dz, with an approximation of the posterior: what log p(x) is estimated for.

    Source: Kingma & Welling (2013), section 2.
    """

    def posterior(self, x: Tensor) -> Distribution:
        """q(z | x), the encoder's approximation of p(z | x), for x (B, *event): batch (B,), event (latent,)."""
        ...


@runtime_checkable
class FeatureNetwork(Protocol):
    """A network with a layer in which images are compared."""

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, n_features)."""
        ...
