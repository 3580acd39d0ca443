"""What a distance is to be held against: images that cost nothing, and real ones."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data import ImageSet, to_float, to_uint8
from ..samplers import GaussianStart
from . import arguments

REAL, AVERAGES, BY_CLASS, GAUSSIAN, NOISE = (
    "other real images",
    "averages of two",
    "one Gaussian a class",
    "one Gaussian",
    "uniform noise",
)


def controls(images: ImageSet, n: int, *, seed: int = 0) -> dict[str, Tensor]:
    """Sets of ``n`` images from which a model has to differ, or which it has to reach.

    A model that is not nearer to held-out data than one Gaussian of full covariance has learnt less than a mean and
    a covariance tell. One that is no nearer than averages of two may draw blends.

    Args:
        images: those that the model was trained on.

    Returns:
        name -> (n, C, H, W) uint8: other real images, averages of two of them, draws of one Gaussian for each class
        (left out where there are no labels), of one Gaussian for all, and uniform noise.

    Raises:
        ValueError: fewer than two images, or n below 1.
    """
    arguments.whole("n", n, 1)
    arguments.images("images", images.images, least=2)
    stream = torch.Generator().manual_seed(seed)

    def some() -> Tensor:
        return images.images[torch.randint(len(images), (n,), generator=stream)]

    found = {REAL: images.images[torch.randperm(len(images), generator=stream)[:n]] if n <= len(images) else some()}
    found[AVERAGES] = to_uint8((to_float(some()) + to_float(some())) / 2)
    if images.labels is not None:
        found[BY_CLASS] = to_uint8(GaussianStart.fit(images.images, images.labels).draw(n, generator=stream))
    found[GAUSSIAN] = to_uint8(GaussianStart.fit(images.images).draw(n, generator=stream))
    found[NOISE] = torch.randint(256, (n, *images.shape), generator=stream).to(torch.uint8)
    return found
