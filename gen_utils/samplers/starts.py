"""Starts: where chains begin. A start has ``draw(n, *, labels=None, generator=None) -> x0``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .settings import check_bounds, check_count, check_positive


@dataclass(frozen=True)
class UniformStart:
    """Uniform noise in the box, independently in every coordinate.

    Args:
        event_shape: shape of one state, such as (1, 28, 28).
        low, high: the box.
    """

    event_shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_bounds((self.low, self.high))
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"uniform noise needs two walls, got low={self.low}, high={self.high}")

    def draw(self, n: int, *, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """(n, *event_shape) on the generator's device; labels are ignored."""
        device = None if generator is None else generator.device
        uniform = torch.rand((n, *self.event_shape), generator=generator, device=device)
        return uniform.mul_(self.high - self.low).add_(self.low)


@dataclass(frozen=True, eq=False)
class GaussianStart:
    """One Gaussian a class, or one for all: chains begin at a blurred guess in place of noise.

    Made by ``GaussianStart.fit``. Draws are clamped to the range of the images it was fitted on, so that they
    are admissible starts of a chain in a box.

    Attributes:
        event_shape: shape of one state.
        classes: (C,) the labels known, or None when fitted without labels.
        weights: (C,) their shares of the images; draws without labels follow them.
        mean: (C, D), D the number of elements of one state.
        factor: (C, D, R) or None; ``spread`` (C, D) or None: a draw is mean + factor z + spread ξ.
        bounds: (low, high) of the clamp.

    Source: Yang & Ji (2021), JEM++, the informative initialisation of their chains.
    """

    event_shape: tuple[int, ...]
    classes: Tensor | None
    weights: Tensor
    mean: Tensor
    factor: Tensor | None
    spread: Tensor | None
    bounds: tuple[float, float]

    @classmethod
    def fit(
        cls,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        covariance: str = "full",
        rank: int = 64,
        jitter: float = 1e-4,
    ) -> GaussianStart:
        """Mean and covariance of the images, class by class when labels are given.

        Args:
            images: (N, *event) floats, or uint8, which are scaled from 0..255 to [-1, 1]. Clean ones: the
                noise that training adds to its data does not belong in them.
            labels: (N,) whole numbers.
            covariance: "full" takes a Cholesky factor of Σ + jitter · I, which needs D² numbers a class;
                "low_rank" keeps the ``rank`` leading directions and each element's remaining variance;
                "diagonal" keeps the variances alone.
            jitter: added to every variance, since an image's constant pixels make Σ singular.

        Raises:
            ValueError: images that are not finite or not (N, *event), labels that do not match, an unknown
                covariance, or a full one that would take more than 4 GB.
        """
        if images.ndim < 2 or len(images) == 0:
            raise ValueError(f"images must be (N, *event) with at least one image, got {tuple(images.shape)}")
        if labels is not None and labels.shape != images.shape[:1]:
            raise ValueError(f"{len(images)} images need as many labels, got {tuple(labels.shape)}")
        check_count("rank", rank)
        check_positive("jitter", jitter, zero_ok=True)
        if covariance not in ("full", "low_rank", "diagonal"):
            raise ValueError(f'covariance is "full", "low_rank" or "diagonal", got {covariance!r}')
        event_shape, n_dims = tuple(images.shape[1:]), images[0].numel()
        if images.dtype == torch.uint8:
            bounds, dtype = (-1.0, 1.0), torch.float32
        elif images.is_floating_point() and torch.isfinite(images).all():
            bounds, dtype = (float(images.min()), float(images.max())), images.dtype
        else:
            raise ValueError(f"images must be uint8 or finite floats, got {images.dtype}")

        classes, members = None, [slice(None)]
        if labels is not None:
            classes = labels.unique()  # sorted
            members = [labels == c for c in classes]
        if covariance == "full" and 4 * len(members) * n_dims**2 > 4e9:
            raise ValueError(
                f"a full covariance of {n_dims} dimensions for {len(members)} classes takes "
                f'{4 * len(members) * n_dims**2 / 1e9:.0f} GB; use covariance="low_rank" or "diagonal"'
            )
        means, factors, spreads, counts = [], [], [], []
        for member in members:
            flat = images[member].flatten(1)
            flat = (flat.double() / 127.5 - 1) if images.dtype == torch.uint8 else flat.double()
            mean = flat.mean(0)
            centred = (flat - mean) / max(len(flat) - 1, 1) ** 0.5  # so that Σ = centredᵀ centred
            variance = centred.square().sum(0) + jitter
            means.append(mean.to(dtype))
            counts.append(len(flat))
            if covariance == "full":
                sigma = centred.T @ centred
                sigma.diagonal().add_(jitter)
                factors.append(torch.linalg.cholesky(sigma).to(dtype))
            elif covariance == "low_rank":
                factor = _leading_directions(centred, rank)
                # A class of few images has few directions: the missing ones are zero.
                factors.append(F.pad(factor, (0, min(rank, n_dims) - factor.shape[1])).to(dtype))
                spreads.append((variance - factor.square().sum(1)).clamp(min=jitter).sqrt().to(dtype))
            else:
                spreads.append(variance.sqrt().to(dtype))
        return cls(
            event_shape=event_shape,
            classes=classes,
            weights=torch.tensor(counts, dtype=torch.float32) / len(images),
            mean=torch.stack(means),
            factor=torch.stack(factors) if factors else None,
            spread=torch.stack(spreads) if spreads else None,
            bounds=bounds,
        )

    def draw(self, n: int, *, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """(n, *event_shape) on the generator's device.

        Args:
            labels: (n,) the class of each draw. None: classes in the proportions of the fitted images. Ignored
                when it was fitted without labels.

        Raises:
            ValueError: labels that do not match n, or of a class that was not in the fit.
        """
        device = torch.device("cpu") if generator is None else generator.device
        which = self._rows(n, labels, generator, device)
        mean = self.mean.to(device)
        x = mean[which]
        if self.factor is not None:
            z = torch.randn((n, self.factor.shape[-1]), generator=generator, device=device, dtype=mean.dtype)
            for row in which.unique().tolist():
                x[which == row] += z[which == row] @ self.factor[row].to(device).T
        if self.spread is not None:
            noise = torch.randn(x.shape, generator=generator, device=device, dtype=mean.dtype)
            x += self.spread.to(device)[which] * noise
        return x.clamp_(*self.bounds).reshape(n, *self.event_shape)

    def _rows(self, n: int, labels: Tensor | None, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """(n,) the row of ``mean`` each draw uses."""
        if self.classes is None:
            return torch.zeros(n, dtype=torch.int64, device=device)
        if labels is None:
            return torch.multinomial(self.weights.to(device), n, replacement=True, generator=generator)
        if labels.shape != (n,):
            raise ValueError(f"{n} draws need as many labels, got {tuple(labels.shape)}")
        labels, classes = labels.to(device), self.classes.to(device)
        rows = torch.searchsorted(classes, labels).clamp(max=len(classes) - 1)
        if (classes[rows] != labels).any():
            unknown = labels[classes[rows] != labels].unique().tolist()
            raise ValueError(f"no image of class {unknown} was in the fit; it knows {self.classes.tolist()}")
        return rows


def _leading_directions(centred: Tensor, rank: int) -> Tensor:
    """(D, rank') the leading principal directions of (N, D) rows, each times its standard deviation.

    Subspace iteration from a fixed seed (Halko et al. 2011, algorithm 4.4): no D × D matrix, and no use of
    the caller's randomness.
    """
    rank, width = min(rank, *centred.shape), min(rank + 10, *centred.shape)
    generator = torch.Generator(centred.device).manual_seed(0)
    basis = torch.randn((centred.shape[1], width), generator=generator, device=centred.device, dtype=centred.dtype)
    for _ in range(5):
        basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
    _, scale, rotation = torch.linalg.svd(centred @ basis, full_matrices=False)
    return (basis @ rotation.T)[:, :rank] * scale[:rank]
