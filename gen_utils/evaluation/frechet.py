"""The Fréchet distance between two sets of images, in the features of a named network."""

from __future__ import annotations

import numpy as np
import torch
from scipy import linalg
from torch import Tensor, nn

from ..data import ImageSet, to_float


@torch.no_grad()
def extract_features(network: nn.Module, images: Tensor | ImageSet, *, batch_size: int = 500) -> Tensor:
    """(N, d) features of ``network.features`` on uint8 images or on floats in [-1, 1], in eval mode."""
    images = images.images if isinstance(images, ImageSet) else images
    was_training, device = network.training, next(network.parameters()).device
    network.eval()
    try:
        parts = []
        for batch in images.split(batch_size):
            batch = batch.to(device)
            parts.append(network.features(to_float(batch) if batch.dtype == torch.uint8 else batch).flatten(1).cpu())
    finally:
        network.train(was_training)
    return torch.cat(parts)


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """‖μa - μb‖² + tr(Σa + Σb - 2(Σa Σb)^½), in float64.

    Args:
        features_a, features_b: (N, d) and (M, d). The estimate is biased upwards by a term in 1/N,
            so compare only figures with the same N, network and resizing.

    Raises:
        ValueError: different dimensions, fewer than two rows, or values that are not finite.

    Source: Heusel et al. (2017), equation 6; the distance itself is Dowson & Landau's (1982).
    """
    a, b = (np.asarray(f, dtype=np.float64) for f in (features_a, features_b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"features must be (N, d) and (M, d) with at least two rows, got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("the features hold values that are not finite; look at the images before measuring them")
    cov_a, cov_b = (np.atleast_2d(np.cov(f, rowvar=False)) for f in (a, b))
    # The eigenvalues of Σa Σb are real and non-negative; rounding can make the smallest ones not so.
    eigenvalues = linalg.eigvals(cov_a @ cov_b).real.clip(min=0)
    gap = a.mean(0) - b.mean(0)
    return float(gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(eigenvalues).sum())
