"""Networks that know the noise level: a denoiser D(x, σ), and an energy E(x, σ) whose gradient denoises.

Both speak of the data smoothed by Gaussian noise, p_σ = p * N(0, σ² I). The score of p_σ and its best denoiser are one
thing, by Tweedie's formula: ∇ log p_σ(x) = (D(x, σ) - x)/σ². An energy has D = x - σ² ∇ₓE.

Networks see inputs and give outputs of unit size whatever σ is. With σ_d the spread of the data and u = x/√(σ² + σ_d²),

    D(x, σ) = σ_d²/(σ² + σ_d²) x + σ σ_d/√(σ² + σ_d²) F(u, ¼ ln σ)
    E(x, σ) = ‖x‖²/(2 (σ² + σ_d²)) + σ_d/σ G(u, ¼ ln σ),        for which F = -∇ᵤ G.

Where F and G are zero, the data are N(0, σ_d² I).

Sources: Karras et al. (2022), table 1, for D; E is the potential of the same; G = ⟨u, f(u)⟩ from Salimans & Ho (2021).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from .shapes import refuse_other
from .unet import SmallUNet, Waves


class Denoises(Protocol):
    """What samplers and likelihoods ask for."""

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """D(x, σ) = E[x₀ | x], (B, *event), for x = x₀ + σ ξ; σ is a number or (B,)."""
        ...


def per_row(sigma: Tensor | float, x: Tensor) -> Tensor:
    """A noise level, one number or (B,), as (B,) in x's type.

    Raises:
        ValueError: levels that are not positive and finite, or not one for each row.
    """
    sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    if sigma.ndim and sigma.shape != x.shape[:1]:
        raise ValueError(f"sigma is one number or one for each of {len(x)} rows, got shape {tuple(sigma.shape)}")
    if not (sigma > 0).all() or not torch.isfinite(sigma).all():
        raise ValueError("noise levels must be positive and finite")
    return sigma.expand(len(x))


def beside(sigma: Tensor, x: Tensor) -> Tensor:
    """(B,) -> (B, 1, ...), to multiply x with."""
    return sigma.reshape(-1, *[1] * (x.ndim - 1))


class Denoiser(nn.Module):
    """D(x, σ) around a network F(u, c), which any subclass puts into ``net``: a score with no energy behind it.

    Args:
        net: (B, *event) and (B,) -> (B, *event). sigma_data: σ_d.
    """

    def __init__(self, net: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.net, self.sigma_data = net, sigma_data

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """(B, *event), levels (B,) or a number -> (B, *event)."""
        level = per_row(sigma, x)
        s, total = beside(level, x), (beside(level, x).square() + self.sigma_data**2).sqrt()
        field = self.net(x / total, level.log() / 4).to(x.dtype)
        return (self.sigma_data / total) ** 2 * x + s * self.sigma_data / total * field

    def score(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """∇ log p_σ(x), (B, *event)."""
        return (self.denoise(x, sigma) - x) / beside(per_row(sigma, x), x).square()

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        return self.denoise(x, sigma)


class NoiseEnergy(nn.Module):
    """E(x, σ) around a scalar network G(u, c): for every σ a density known up to a constant of its own.

    Args:
        net: (B, *event) and (B,) -> (B,). sigma_data: σ_d.
    """

    def __init__(self, net: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.net, self.sigma_data = net, sigma_data

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """(B, *event), levels (B,) or a number -> (B,) energies in nats."""
        level = per_row(sigma, x)
        total = (level.square() + self.sigma_data**2).sqrt()
        u = x / beside(total, x)
        return u.square().flatten(1).sum(1) / 2 + self.sigma_data / level * self.net(u, level.log() / 4).to(x.dtype)

    def score(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """-∇ₓE(x, σ), (B, *event); with a graph to the weights where gradients are recorded and weights want them."""
        learning = torch.is_grad_enabled() and (x.requires_grad or any(w.requires_grad for w in self.parameters()))
        with torch.enable_grad():
            place = x if x.requires_grad else x.detach().requires_grad_()
            (grad,) = torch.autograd.grad(self(place, sigma).sum(), place, create_graph=learning)
        return -grad

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """x - σ² ∇ₓE, (B, *event)."""
        return x + beside(per_row(sigma, x), x).square() * self.score(x, sigma)

    def at(self, sigma: float) -> AtLevel:
        """The energy of x alone at one level: what ``sample`` and Part S's kernels want."""
        return AtLevel(self, sigma)


class AtLevel(nn.Module):
    """x -> E(x, σ) at one level."""

    def __init__(self, energy: nn.Module, sigma: float) -> None:
        super().__init__()
        self.energy, self.sigma = energy, sigma

    def forward(self, x: Tensor) -> Tensor:
        """(B, *event) -> (B,)."""
        return self.energy(x, self.sigma)


class ScoreUNet(Denoiser):
    """A denoiser of images: ``SmallUNet`` is F.

    Args:
        channels, size, width: of the network. sigma_data: σ_d.
        n_classes: of one that is told a label: ``given(labels)`` denoises, and draws, pictures of those classes.
    """

    def __init__(
        self, channels: int = 1, size: int = 28, width: int = 24, sigma_data: float = 0.6, n_classes: int = 0
    ) -> None:
        super().__init__(SmallUNet(channels, size, width, n_classes), sigma_data)
        self.config = {"channels": channels, "size": size, "width": width, "sigma_data": sigma_data}
        if n_classes:
            self.config["n_classes"] = n_classes
        self.event_shape, self.n_classes = (channels, size, size), n_classes

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        refuse_other(x, *self.event_shape)
        return super().denoise(x, sigma)

    def given(self, labels: Tensor) -> Denoiser:
        """The denoiser of pictures (B, *event) under labels (B,): what samplers and losses ask for, same weights.

        Raises:
            ValueError: a network without classes; labels that it has not.
        """
        if not self.n_classes:
            raise ValueError("this network has no classes to ask for")
        if labels.ndim != 1 or labels.is_floating_point() or ((labels < 0) | (labels >= self.n_classes)).any():
            raise ValueError(f"labels are (B,) whole numbers from 0 to {self.n_classes - 1}")
        return Denoiser(_Asked(self.net, labels), self.sigma_data)


class _Asked(nn.Module):
    """(u, c) -> the field of a network under fixed labels (B,)."""

    def __init__(self, field: nn.Module, labels: Tensor) -> None:
        super().__init__()
        self.field, self.labels = field, labels

    def forward(self, u: Tensor, c: Tensor) -> Tensor:
        return self.field(u, c, self.labels)


class EnergyUNet(NoiseEnergy):
    """An energy of images with the weights of a ``ScoreUNet``: G(u, c) = ⟨u, f(u, c)⟩, f a ``SmallUNet``."""

    def __init__(self, channels: int = 1, size: int = 28, width: int = 24, sigma_data: float = 0.6) -> None:
        super().__init__(_Inner(SmallUNet(channels, size, width)), sigma_data)
        self.config = {"channels": channels, "size": size, "width": width, "sigma_data": sigma_data}
        self.event_shape = (channels, size, size)

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        refuse_other(x, *self.event_shape)
        return super().forward(x, sigma)


class _Inner(nn.Module):
    """⟨u, f(u, c)⟩, (B,)."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, u: Tensor, c: Tensor) -> Tensor:
        return (u * self.field(u, c).to(u.dtype)).flatten(1).sum(1)


class PlaneNoiseEnergy(NoiseEnergy):
    """An energy of points (B, d) at a noise level: a multilayer perceptron of u and the level is G."""

    def __init__(self, n_dims: int = 2, width: int = 64, sigma_data: float = 1.0) -> None:
        super().__init__(_Perceptron(n_dims, width), sigma_data)
        self.config = {"n_dims": n_dims, "width": width, "sigma_data": sigma_data}
        self.event_shape = (n_dims,)


class _Perceptron(nn.Module):
    def __init__(self, n_dims: int, width: int) -> None:
        super().__init__()
        self.waves = Waves(8)
        self.net = nn.Sequential(
            nn.Linear(n_dims + 16, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 1),
        )
        for layer in self.net[:-1]:  # PyTorch's own would shrink the signal at each layer, and leave E flat for long
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, u: Tensor, c: Tensor) -> Tensor:
        return self.net(torch.cat([u, self.waves(c).to(u.dtype)], 1)).squeeze(1)
