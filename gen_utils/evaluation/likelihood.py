"""Marginal likelihoods of latent-variable models, in nats: lower bounds, an upper bound, and bits per dimension.

A model is a ``LatentVariableModel``, whose posterior is the encoder's approximation. Every estimator comes in two: its
log weights, which tell its error, and the estimate.

    lower, in expectation    importance_weighted (its weights: importance_log_weights); annealed_log_weights;
                             fitted_log_weights, with a proposal fitted to the posterior's draws
    upper, in expectation    posterior_density (its ratios: posterior_log_ratios), appendix D of Kingma & Welling,
                             where the chains have met (PosteriorDraws.rhat)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..models import LatentVariableModel
from ..samplers import HMC
from . import arguments
from .annealing import annealed_importance, sigmoid_betas, standard_normal
from .fitted_density import fit_density
from .intervals import log_mean_exp, log_mean_exp_error, weight_ess
from .latent_posterior import PosteriorDraws, checked_posterior, log_joint, posterior_draws, posterior_energy

__all__ = [
    "annealed_importance",
    "annealed_log_weights",
    "bits_per_dim",
    "fitted_log_weights",
    "importance_log_weights",
    "importance_weighted",
    "log_mean_exp",
    "log_mean_exp_error",
    "log_ratios_at",
    "posterior_density",
    "posterior_draws",
    "posterior_log_ratios",
    "sigmoid_betas",
    "standard_normal",
    "weight_ess",
]

Nats = TypeVar("Nats", Tensor, float)  # a log-likelihood, of many images or of one


def importance_weighted(
    model: LatentVariableModel,
    x: Tensor,
    n_samples: int,
    *,
    proposal: Distribution | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """log (1/K) Σ p(x, z_k) / q(z_k | x), z_k ~ q: a stochastic lower bound of log p(x) that tightens with K.

    Args:
        x: (B, *event) images the model's likelihood can have produced.
        n_samples: K; 1 is a one-sample estimate of the ELBO.
        proposal: q, a Distribution over z with batch (B,); the model's own posterior when None. The weights have a
            finite variance only if it is wide enough: for Gaussians, more than half the posterior's variance in
            every direction.

    Returns:
        (B,) nats, detached.

    Raises:
        ValueError: K < 1, a likelihood that is not a Distribution over one image, images that are not finite or outside
            of its support, weights that are NaN.

    Source: Burda et al. (2016), equation 8.
    """
    return log_mean_exp(importance_log_weights(model, x, n_samples, proposal=proposal, generator=generator))


@torch.no_grad()
def importance_log_weights(
    model: LatentVariableModel,
    x: Tensor,
    n_samples: int,
    *,
    proposal: Distribution | None = None,
    generator: torch.Generator | None = None,
    rows: int = 1000,
) -> Tensor:
    """(K, B) log p(x, z) - log q(z | x) in nats, of K draws for each image; their mean over K estimates the ELBO.

    Args: as for ``importance_weighted``; at most about ``rows`` decoded images are in memory at a time.

    Raises: as ``importance_weighted``.
    """
    n_samples, rows = arguments.whole("n_samples", n_samples, 1), arguments.whole("rows", rows, 1)
    posterior = checked_posterior(model, x)
    proposal = posterior if proposal is None else proposal
    if proposal.batch_shape != x.shape[:1]:
        raise ValueError(f"the proposal needs one distribution an image, batch ({len(x)},), got {proposal.batch_shape}")
    parts, at_once = [], max(1, rows // len(x))
    with _drawing_from(generator):
        for first in range(0, n_samples, at_once):
            z = proposal.sample((min(at_once, n_samples - first),))  # (k, B, latent)
            parts.append(log_joint(model, x, z) - proposal.log_prob(z))
    return arguments.log_weights("log p(x, z) - log q(z | x)", torch.cat(parts), 0)


def posterior_density(
    model: LatentVariableModel,
    x: Tensor,
    n_samples: int,
    *,
    density: str = "gaussian",
    generator: torch.Generator | None = None,
    **settings,
) -> Tensor:
    """Appendix D's estimator, [(1/L) Σ q(z_l) / p(x, z_l)]⁻¹ with z_l from the posterior by HMC; its log, in nats.

    1/p̂ is unbiased when q was fitted to other samples than the z_l, so log p̂ is a stochastic *upper* bound. Its ratios
    have a finite variance only if q is narrow enough: less than twice the posterior's variance in every direction.

    Args:
        n_samples: L, draws an image for the fit, and as many fresh ones for the estimate.
        density: "gaussian", "gmm", or "encoder", the short cut of taking the model's own posterior for q.
        settings: see ``posterior_log_ratios``.

    Returns:
        (B,) nats, detached.

    Raises: as ``posterior_log_ratios``.

    Source: Kingma & Welling (2013), appendix D, which asks for fewer than five latent dimensions.
    """
    ratios = posterior_log_ratios(model, x, n_samples, density=density, generator=generator, **settings)
    return -log_mean_exp(ratios)


def posterior_log_ratios(
    model: LatentVariableModel,
    x: Tensor,
    n_samples: int,
    *,
    density: str = "gaussian",
    covariance: str = "full",
    n_components: int = 3,
    shrink: float = 1.0,
    fresh: bool = True,
    n_chains: int = 4,
    n_warmup: int = 150,
    n_leapfrog: int = 8,
    thin: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """(L, B) log q(z) - log p(x, z) in nats at L posterior samples of each image: the negative estimates.

    HMC runs in u, where z = μ + s u with the encoder's mean and standard deviations, so that one step size suits every
    latent dimension; the change of variables is accounted for. The draws that q is fitted to and those at which it is
    evaluated come from chains with starts of their own. ``posterior_draws`` and ``log_ratios_at`` do the same in two
    steps, for several densities on the same draws, and tell R-hat.

    Args:
        density: "gaussian", "gmm" or "encoder".
        covariance: "full" or "diagonal", of the Gaussian or of every component; "shrunk" (Gaussian only) pulls the full
            one towards a multiple of I, as far as few draws in many dimensions ask for (Ledoit & Wolf 2004). A diagonal
            one is as wide as the posterior's margins, which may be too wide where its dimensions are correlated.
        n_components: of the mixture.
        shrink: factor on q's standard deviations; below 1 makes the ratios safer.
        fresh: False reuses the fitted samples, which biases the estimate downwards: for demonstration.
        n_chains, n_warmup, n_leapfrog, thin: see ``posterior_draws``.

    Raises:
        ValueError: what ``importance_weighted`` refuses; an unknown density or covariance; settings below one; for a
            full covariance, no more draws than latent dimensions.
    """
    _refuse_a_spoilt_encoder(density, covariance, shrink)
    draws = posterior_draws(
        model, x, n_samples, fit=density != "encoder", n_chains=n_chains, n_warmup=n_warmup, n_leapfrog=n_leapfrog,
        thin=thin, generator=generator,
    )  # fmt: skip
    return log_ratios_at(
        draws, density=density, covariance=covariance, n_components=n_components, shrink=shrink,
        fresh=fresh or density == "encoder", generator=generator,
    )  # fmt: skip


def log_ratios_at(
    draws: PosteriorDraws,
    *,
    density: str = "gaussian",
    covariance: str = "full",
    n_components: int = 3,
    shrink: float = 1.0,
    fresh: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """(L, B) what ``posterior_log_ratios`` gives, at draws that were made before.

    Args: as there.

    Raises:
        ValueError: a density that cannot be fitted to these draws, or no draws to fit one to.
    """
    _refuse_a_spoilt_encoder(density, covariance, shrink)
    q = None
    if density != "encoder":
        q = fit_density(draws.rows(fresh=False), density, covariance, n_components, shrink, generator)
    at = draws.rows(fresh)
    log_q = standard_normal(at.flatten(0, 1)).reshape(at.shape[:2]) if q is None else q.log_prob(at)
    return arguments.log_weights("log q(z) - log p(x, z)", log_q - draws.log_joint(at), 0)


def fitted_log_weights(
    draws: PosteriorDraws,
    n_samples: int,
    *,
    covariance: str = "full",
    widen: float = 1.2,
    generator: torch.Generator | None = None,
) -> Tensor:
    """(K, B) log p(x, z) - log q(z) in nats at K draws of q, a Gaussian fitted to the posterior's own draws.

    The lower bound that belongs to appendix D: where the encoder's Gaussian misses the posterior, few of its draws
    count, and one fitted to a chain is a better proposal. It needs no premise about the chains: a q that was fitted to
    bad draws is a bad proposal, and its weights tell.

    Args:
        n_samples: K.
        covariance: see ``posterior_log_ratios``.
        widen: factor on q's standard deviations. Importance sampling wants a q that is wider than the posterior.

    Raises:
        ValueError: no draws or a factor of zero; draws to which no Gaussian can be fitted.
    """
    n_samples = arguments.whole("n_samples", n_samples, 1)
    widen = arguments.number("widen", widen, above=0)
    q = fit_density(draws.rows(fresh=False), "gaussian", covariance, 1, widen, generator)
    assert q is not None  # there are draws
    with _drawing_from(generator), torch.no_grad():
        u = q.sample((n_samples,))
    return arguments.log_weights("log p(x, z) - log q(z)", draws.log_joint(u) - q.log_prob(u), 0)


def _refuse_a_spoilt_encoder(density: str, covariance: str, shrink: float) -> None:
    arguments.choice("density", density, ("gaussian", "gmm", "encoder"))
    if density == "encoder" and (shrink != 1.0 or covariance != "full"):
        raise ValueError("density: the encoder's is taken as it is: shrink and covariance are for fitted ones")


def annealed_log_weights(
    model: LatentVariableModel,
    x: Tensor,
    n_chains: int,
    n_temperatures: int,
    *,
    base: str = "prior",
    kernel: HMC | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """(n_chains, B) log weights of annealed importance sampling; ``log_mean_exp`` of them is a lower bound of log p(x).

    Args:
        base: where the chains begin: "prior", as published, or "posterior", the encoder's, which is nearer.
        kernel: see ``annealed_importance``; tuned in a pilot run when None. Its steps are in units of the base.

    Raises:
        ValueError: what ``importance_weighted`` and ``annealed_importance`` refuse, or an unknown base.

    Source: Wu et al. (2017).
    """
    arguments.choice("base", base, ("prior", "posterior"))
    energy, start = posterior_energy(model, x, n_chains, whiten=base)
    log_w = annealed_importance(
        lambda u: -energy(u), start(generator), n_temperatures, kernel=kernel, generator=generator
    )
    return log_w.reshape(n_chains, len(x))


def bits_per_dim(log_prob: Nats, n_dims: int, *, levels: float = 256) -> Nats:
    """What a log-likelihood means in bits for one grey level: log₂ levels - log p / (D ln 2).

    Args:
        log_prob: nats an image, a tensor or a number.
        n_dims: D, the numbers in one image: channels × height × width.
        levels: how many grey levels lie in one unit of x. A density of x in [0, 1], from bytes as (i + u)/256: 256.
            A density of x in [-1, 1], from bytes as (i + u)/128 - 1: 128. Probabilities of the levels themselves: 1.

    Returns:
        Bits a dimension; eight is what 256 equally likely levels cost.

    Raises:
        ValueError: no dimensions, no levels, or log-probabilities that are NaN or +inf.

    Source: Theis et al. (2016), section 3.1; van den Oord et al. (2016) for the convention.
    """
    n_dims, levels = arguments.whole("n_dims", n_dims, 1), arguments.number("levels", levels, above=0)
    arguments.log_weights("log_prob", torch.as_tensor(log_prob, dtype=torch.float64).reshape(-1), 0)
    return math.log2(levels) - log_prob / (n_dims * math.log(2))


@contextmanager
def _drawing_from(generator: torch.Generator | None) -> Iterator[None]:
    """torch's Distributions draw from the global stream: point it at the generator's for a while."""
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
