"""Objectives, each as one function of tensors.

What a network hands over in half precision is computed with in float32: a sum of bfloat16 keeps two digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .base.precision import full, without_autocast


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
    energy_real, energy_fake = _one_each(energy_real=energy_real, energy_fake=energy_fake)
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
    return F.mse_loss(full(reconstruction), x) + beta * F.mse_loss(full(z), code.detach())


def kl_to_uniform(logits: Tensor) -> Tensor:
    """KL(softmax(logits) ‖ uniform) in nats, summed over all places: (B, ..., K) -> (B,)."""
    log_q = full(logits).log_softmax(-1)
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
    return (x - full(reconstruction)).square().flatten(1).sum(1) / (2 * sigma**2) + beta * kl_to_uniform(logits)


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
    logits_real, logits_fake = full(logits_real), full(logits_fake)
    wrong = F.cross_entropy(logits_real, labels)
    if not weight:
        return wrong
    return wrong + weight * contrastive_divergence(-logits_real.logsumexp(1), -logits_fake.logsumexp(1), alpha)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag(exp(log_variance))) ‖ N(0, I)) in nats, summed over the latent axis: (B, d) -> (B,).

    Source: Kingma & Welling (2013), appendix B.
    """
    mean, log_variance = full(mean), full(log_variance)
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(-1)


def beta_elbo(log_likelihood: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """The mean of -log p(x | z) + β KL over the batch, in nats an image; with β = 1 the negative ELBO.

    Args:
        log_likelihood: (B,) log p(x | z) at one draw of the posterior; kl: (B,).

    Source: Kingma & Welling (2013), equation 7; β of Higgins et al. (2017).
    """
    return (beta * full(kl) - full(log_likelihood)).mean()


def gan_critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's cross-entropy from its logits: mean -log D(x) plus mean -log(1 - D(G(z))).

    Args:
        real, fake: (B,) and (B',) logits, D = sigmoid(logit); the fakes carry no graph to the generator.

    Source: Goodfellow et al. (2014), equation 1, with its sign turned.
    """
    real, fake = _one_each(real=real, fake=fake)
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def gan_generator_loss(fake: Tensor) -> Tensor:
    """The non-saturating loss: mean -log D(G(z)), from logits (B,).

    Its gradient is largest where the generator is worst; that of log(1 - D) vanishes there.
    Source: Goodfellow et al. (2014), section 3.
    """
    (fake,) = _one_each(fake=fake)
    return F.softplus(-fake).mean()


def wasserstein_critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean score of fakes minus that of data, (B,) each; minus this, for a 1-Lipschitz critic, bounds W₁ from below.

    Source: Arjovsky, Chintala and Bottou (2017).
    """
    real, fake = _one_each(real=real, fake=fake)
    return fake.mean() - real.mean()


def wasserstein_generator_loss(fake: Tensor) -> Tensor:
    """Minus the mean score of fakes (B,)."""
    (fake,) = _one_each(fake=fake)
    return -fake.mean()


def squared_gradient(scores: Tensor, x: Tensor, *, create_graph: bool = True) -> Tensor:
    """‖∇ₓ score‖² of each sample: scores (B,) computed from x (B, *event), which requires a gradient -> (B,).

    The scores are summed first: a sample's score depends on no other sample, unless the critic has batch norm.
    """
    (grad,) = torch.autograd.grad(scores.sum(), x, create_graph=create_graph)
    return full(grad).square().flatten(1).sum(1)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Mean (‖∇ critic(x̂)‖ - 1)², x̂ between a real and a fake image, each pair at its own random place.

    Args:
        real, fake: (B, *event); no gradient flows to them. generator: of the B places.

    Source: Gulrajani et al. (2017), equation 3.
    """
    real, fake = full(real), full(fake)
    shape = (len(real), *[1] * (real.ndim - 1))
    place = torch.rand(shape, generator=generator, device=real.device, dtype=real.dtype)
    x = torch.lerp(fake.detach(), real.detach(), place).requires_grad_()
    # The root has an infinite slope at 0; a critic with dead units gets there.
    return ((squared_gradient(critic(x), x) + 1e-12).sqrt() - 1).square().mean()


def r1_penalty(critic: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Mean ‖∇ critic‖² at data (B, *event); its usual weight is γ / 2. Source: Mescheder et al. (2018)."""
    x = full(real).detach().requires_grad_()
    return squared_gradient(critic(x), x).mean()


def relativistic_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Mean softplus(-(better - worse)) over pairs, (B,) each: (real, fake) for the critic, (fake, real) for the other.

    Only differences count, so that a generator cannot win by being far on one side of a boundary.
    Source: Jolicoeur-Martineau (2019); with R1 and R2 in Huang et al. (2024), R3GAN.

    Raises:
        ValueError: numbers of scores that do not pair.
    """
    better, worse = _one_each(better=better, worse=worse)
    if len(better) != len(worse):
        raise ValueError(f"scores are compared in pairs, got {len(better)} and {len(worse)}")
    return F.softplus(worse - better).mean()


def ebgan_critic_loss(energy_real: Tensor, energy_fake: Tensor, margin: float) -> Tensor:
    """Mean energy of data plus mean max(0, margin - energy of fakes), (B,) each. Source: Zhao et al. (2017)."""
    energy_real, energy_fake = _one_each(energy_real=energy_real, energy_fake=energy_fake)
    return energy_real.mean() + F.relu(margin - energy_fake).mean()


def pulling_away(codes: Tensor) -> Tensor:
    """Mean squared cosine between the codes (B, d) of different samples: in [0, 1], 1 where all are parallel.

    Source: Zhao et al. (2017), section 2.4.

    Raises:
        ValueError: fewer than two codes.
    """
    n = len(codes)
    if codes.ndim != 2 or n < 2:
        raise ValueError(f"codes must be (B, d) with at least two rows, got {tuple(codes.shape)}")
    codes = F.normalize(full(codes), dim=1)
    with without_autocast(codes):
        cosines = codes @ codes.T
    return (cosines.square().sum() - cosines.diagonal().square().sum()) / (n * (n - 1))


def _one_each(**scores: Tensor) -> tuple[Tensor, ...]:
    """The scores in full precision. A (B, 1) beside a (B,) would broadcast to a (B, B) and train on nonsense."""
    for name, score in scores.items():
        if score.ndim != 1:
            raise ValueError(f"{name} must have one number a sample, shape (B,), got {tuple(score.shape)}")
    return tuple(map(full, scores.values()))
