"""Objectives, each as one function of tensors."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F


def contrastive_divergence(energy_real: Tensor, energy_fake: Tensor, alpha: float = 0.0) -> Tensor:
    """Mean energy of data minus mean energy of samples, plus α times the mean of both squares.

    Args:
        energy_real: (B,) energies of data.
        energy_fake: (B',) energies of finished chains; the chains carry no graph.
        alpha: weight of the regulariser, which keeps the energies near zero: the first term does
            not change when a constant is added to E, so without it they drift.

    Returns:
        A scalar. Its gradient without the regulariser is the (short-chain) estimate of the
        negative log-likelihood's: Hinton (2002); regulariser from Du & Mordatch (2019).
    """
    for name, energy in (("energy_real", energy_real), ("energy_fake", energy_fake)):
        if energy.ndim != 1:
            raise ValueError(f"{name} must have one number a sample, shape (B,), got {tuple(energy.shape)}")
    contrast = energy_real.mean() - energy_fake.mean()
    if not alpha:
        return contrast
    return contrast + alpha * (energy_real.square().mean() + energy_fake.square().mean())


def vq_loss(x: Tensor, reconstruction: Tensor, z: Tensor, code: Tensor, beta: float = 0.25) -> Tensor:
    """Squared error plus β times the commitment of the encoder to its codes; every term a mean over all elements.

    Args:
        x, reconstruction: (B, C, H, W); z, code: (B, D, h, w), the latents and the codes they chose.
        beta: weight of ‖z − sg(code)‖². The codebook has no term here: it follows by moving averages.

    Source: van den Oord et al. (2017), equation 3, without its middle term.
    """
    return F.mse_loss(reconstruction, x) + beta * F.mse_loss(z, code.detach())


def kl_to_uniform(logits: Tensor) -> Tensor:
    """KL(softmax(logits) ‖ uniform) in nats, summed over all places: (B, ..., K) -> (B,)."""
    log_q = logits.log_softmax(-1)
    return ((log_q.exp() * log_q).sum(-1) + math.log(logits.shape[-1])).flatten(1).sum(1)


def discrete_elbo(
    x: Tensor, reconstruction: Tensor, logits: Tensor, *, sigma: float = 0.1, beta: float = 1.0
) -> Tensor:
    """The negative evidence lower bound of a discrete VAE, in nats an image and up to a constant: (B,).

    Args:
        x, reconstruction: (B, C, H, W); logits: (B, h, w, K) of the posterior over codes.
        sigma: standard deviation of the Gaussian around the reconstruction, in units of [-1, 1].
        beta: weight of the KL divergence to the uniform prior; 1 is the bound itself.
    """
    return (x - reconstruction).square().flatten(1).sum(1) / (2 * sigma**2) + beta * kl_to_uniform(logits)


def joint_loss(
    logits_real: Tensor, labels: Tensor, logits_fake: Tensor, weight: float = 1.0, alpha: float = 0.0
) -> Tensor:
    """Cross-entropy of the labels plus ``weight`` times the contrastive divergence of E(x) = -logsumexp_y f(x)[y].

    Args:
        logits_real: (B, K) logits of data; labels: (B,) int64.
        logits_fake: (B', K) logits of finished chains, which carry no graph.
        weight: λ. JEM has 1: -log p(x, y) = -log p(y | x) - log p(x), the second term by its chain estimate.
        alpha: weight of the squared energies inside the contrastive divergence.

    Returns:
        A scalar, in nats an image.

    Source: Grathwohl et al. (2020), JEM, section 4.
    """
    wrong = F.cross_entropy(logits_real, labels)
    if not weight:
        return wrong
    return wrong + weight * contrastive_divergence(-logits_real.logsumexp(1), -logits_fake.logsumexp(1), alpha)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag(exp(log_variance))) ‖ N(0, I)) in nats, summed over the latent axis: (B, d) -> (B,).

    Source: Kingma & Welling (2013), appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(-1)


def beta_elbo(log_likelihood: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """The mean of -log p(x | z) + β KL over the batch, in nats an image; with β = 1 the negative ELBO.

    Args:
        log_likelihood: (B,) log p(x | z) at one draw of the posterior; kl: (B,).

    Source: Kingma & Welling (2013), equation 7; β of Higgins et al. (2017).
    """
    return (beta * kl - log_likelihood).mean()
