"""How well noise is taken away: a figure of a denoiser that needs no samples."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.denoisers import Denoises
from . import arguments


@torch.no_grad()
def denoising_errors(
    model: Denoises,
    images: Tensor,
    sigma: float,
    *,
    generator: torch.Generator | None = None,
    batch_size: int = 250,
) -> Tensor:
    """(N,) mean squared error over the pixels of D(x₀ + σ ξ, σ) against x₀, one draw of the noise a picture.

    Args:
        images: x₀, (N, C, H, W) in [-1, 1]. generator: of the noise.

    Raises:
        ValueError: no images, images of another kind, or a level that is not positive.
    """
    arguments.images("images", images, uint8=False)
    sigma = arguments.number("sigma", sigma, above=0)
    batch_size = arguments.whole("batch_size", batch_size, 1)
    errors = []
    for clean in images.split(batch_size):
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        errors.append((model.denoise(clean + sigma * noise, sigma) - clean).square().flatten(1).mean(1))
    return torch.cat(errors)
