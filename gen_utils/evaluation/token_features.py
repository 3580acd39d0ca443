"""Token grids as vectors that can be clustered: histograms, and one-hot codes place by place."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from ..data import to_float
from ..models import VQVAE, GumbelVAE
from . import arguments


def token_histograms(tokens: Tensor, n_codes: int) -> np.ndarray:
    """Tokens (N, h, w) -> (N, n_codes) float32, the square roots of the shares of each code in the grid.

    *Which* codes an image uses, and not where. With the square root (the Hellinger map) the rows have length one, and
    a code that fills the background no longer drowns the others.

    Raises:
        ValueError: no tokens, or tokens that are not 0 to n_codes - 1.
    """
    flat = torch.from_numpy(_tokens(tokens, n_codes))
    counts = torch.zeros(len(flat), n_codes).scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float32))
    return (counts / flat.shape[1]).sqrt().numpy()


def one_hot_tokens(tokens: Tensor, n_codes: int) -> csr_matrix:
    """Tokens (N, h, w) -> sparse (N, h·w·n_codes) float32 with one 1 a place.

    Squared Euclidean distance is then twice the number of places where two grids differ: two codes are the same or
    not, however near their vectors are.

    Raises:
        ValueError: no tokens, or tokens that are not 0 to n_codes - 1.
    """
    flat = _tokens(tokens, n_codes)
    n, places = flat.shape
    columns = flat + n_codes * np.arange(places)
    values = np.ones(flat.size, dtype=np.float32)
    return csr_matrix((values, columns.ravel(), np.arange(0, flat.size + 1, places)), shape=(n, places * n_codes))


@torch.no_grad()
def tokens_and_latents(model: VQVAE | GumbelVAE, images: Tensor, *, batch_size: int = 500) -> tuple[Tensor, np.ndarray]:
    """uint8 images (N, C, H, W) -> tokens (N, h, w) int64 and quantised latents (N, D·h·w) float32, in eval mode.

    Raises:
        ValueError: no images, images that are not uint8, or latents that are not finite.
    """
    arguments.images("images", images, uint8=True)
    batch_size = arguments.whole("batch_size", batch_size, 1)
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    try:
        tokens = torch.cat([model.tokens(to_float(batch.to(device))).cpu() for batch in images.split(batch_size)])
        latents = torch.cat([model.embed(batch.to(device)).flatten(1).cpu() for batch in tokens.split(batch_size)])
    finally:
        model.train(was_training)
    arguments.finite("the latents of images", latents)
    return tokens, latents.numpy()


def _tokens(tokens: Tensor, n_codes: int) -> np.ndarray:
    """(N, h, w) -> (N, h·w) int64, once each is a code of the book."""
    found = arguments.integers("tokens", tokens, ("N", "h", "w"), arguments.whole("n_codes", n_codes, 1))
    return found.reshape(len(found), -1)
