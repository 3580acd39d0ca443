"""Densities fitted to samples, one for each image: a Gaussian, or a mixture of Gaussians by scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, MultivariateNormal, Normal

from . import arguments


def fit_density(
    samples: Tensor | None,
    density: str,
    covariance: str,
    n_components: int,
    shrink: float,
    generator: torch.Generator | None,
) -> Distribution | None:
    """Samples (L, B, d) -> a Distribution over (d,) with batch (B,); None, the standard normal, without samples.

    Args: as for ``posterior_log_ratios``.

    Raises:
        ValueError: an unknown density or covariance, a shrink that is not positive, samples that are not finite, or too
            few for what is fitted.
    """
    if samples is None:
        return None
    arguments.shaped("samples", samples, ("L", "B", "d"))
    arguments.finite("samples", samples)
    n, _, d = samples.shape
    arguments.choice("density", density, ("gaussian", "gmm"))
    arguments.choice("covariance", covariance, ("full", "shrunk", "diagonal"))
    n_components = arguments.whole("n_components", n_components, 1)
    shrink = arguments.number("shrink", shrink, above=0)
    if density == "gmm" and covariance == "shrunk":
        raise ValueError('a mixture is fitted with covariance="full" or "diagonal"; only a Gaussian\'s can be shrunk')
    needed = (d + 2 if covariance == "full" else 3) * (n_components if density == "gmm" else 1)
    if n < needed:
        raise ValueError(f"samples: {n} an image are too few to fit {density} with {covariance} covariance in {d} "
                         f"dimensions: draw at least {needed}, or choose covariance=\"shrunk\"")  # fmt: skip
    if density == "gmm":
        return _mixture(samples, covariance, n_components, shrink, generator)
    mean, deviation = samples.mean(0), samples - samples.mean(0)
    if covariance == "diagonal":
        return Independent(Normal(mean, shrink * deviation.square().mean(0).sqrt().clamp(min=1e-6)), 1)
    if covariance == "shrunk":
        rows = samples.detach().cpu().double().numpy().transpose(1, 0, 2)
        sigma = torch.from_numpy(np.stack([ledoit_wolf(each)[0] for each in rows]))
    else:
        wide = deviation.double()
        sigma = torch.einsum("lbi,lbj->bij", wide, wide) / (n - 1)
    return MultivariateNormal(mean, scale_tril=shrink * _root(sigma).to(samples))


def _root(covariances: Tensor) -> Tensor:
    """Lower triangular roots of covariances (..., d, d), in float64: those of few draws are nearly singular."""
    d = covariances.shape[-1]
    size = covariances.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1.0)
    return torch.linalg.cholesky(covariances + 1e-6 * size[..., None, None] * torch.eye(d).to(covariances))


def _mixture(
    samples: Tensor, covariance: str, n_components: int, shrink: float, generator: torch.Generator | None
) -> Distribution:
    """One ``GaussianMixture`` an image, stacked into one torch mixture."""
    device = None if generator is None else generator.device
    seed = int(torch.randint(2**31 - 1, (), generator=generator, device=device))
    kind = {"full": "full", "diagonal": "diag"}[covariance]
    fits = [
        GaussianMixture(n_components, covariance_type=kind, reg_covar=1e-4, random_state=seed).fit(rows)
        for rows in samples.detach().cpu().double().numpy().transpose(1, 0, 2)
    ]

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(fit, name) for fit in fits]))

    weights, means = stacked("weights_").to(samples), stacked("means_").to(samples)
    covariances = stacked("covariances_")
    if covariance == "diagonal":
        parts: Distribution = Independent(Normal(means, shrink * covariances.sqrt().to(samples)), 1)
    else:
        parts = MultivariateNormal(means, scale_tril=shrink * _root(covariances).to(samples))
    return MixtureSameFamily(Categorical(weights), parts)
