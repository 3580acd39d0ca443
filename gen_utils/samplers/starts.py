"""Starts: where chains begin. A start has ``draw(n, *, labels=None, generator=None) -> x0``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


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
        if not self.low < self.high:
            raise ValueError(f"the box needs low < high, got low={self.low}, high={self.high}")

    def draw(self, n: int, *, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """(n, *event_shape) on the generator's device; labels are ignored."""
        device = None if generator is None else generator.device
        uniform = torch.rand((n, *self.event_shape), generator=generator, device=device)
        return uniform.mul_(self.high - self.low).add_(self.low)


class ReplayBuffer:
    """Persistent chains: most starts are old samples, a few are fresh.

    Holds the newest ``capacity`` samples; ``draw`` takes each start from the buffer, or, with
    probability ``restart``, from ``start`` (uniform noise when none is given). While the buffer is
    empty every start is fresh.

    Sources: Tieleman (2008) for persistence; Du & Mordatch (2019) for the restarts.
    """

    def __init__(self, event_shape: tuple[int, ...], capacity: int = 8192, restart: float = 0.05, start=None) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        if not 0 <= restart <= 1:
            raise ValueError(f"restart is a probability between 0 and 1, got {restart}")
        self.event_shape = tuple(event_shape)
        self.capacity = capacity
        self.restart = restart
        self.start = UniformStart(self.event_shape) if start is None else start
        self._store: Tensor | None = None  # (capacity, *event), made at the first push
        self._next = 0  # where the next push writes
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def images(self) -> Tensor:
        """(size, *event): the samples held, in storage order."""
        if self._store is None:
            return torch.empty((0, *self.event_shape))
        return self._store[: self._size]

    def newest(self, n: int) -> Tensor:
        """(n', *event): the samples pushed last, oldest of them first; fewer when fewer are held."""
        n = min(n, self._size)
        return self.images[torch.arange(self._next - n, self._next) % max(1, self._size)]

    def draw(self, n: int, *, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """(n, *event_shape): old samples, each replaced by a fresh start with probability ``restart``."""
        if self._size == 0:
            return self.start.draw(n, labels=labels, generator=generator)
        device = "cpu" if generator is None else generator.device
        index = torch.randint(self._size, (n,), generator=generator, device=device)
        fresh = torch.rand(n, generator=generator, device=device) < self.restart
        x0 = self._store[index.to(self._store.device)]  # advanced indexing copies: the buffer is safe
        n_fresh = int(fresh.sum())
        if n_fresh:
            some = None if labels is None else labels[fresh.to(labels.device)]
            new = self.start.draw(n_fresh, labels=some, generator=generator)
            x0[fresh.to(x0.device)] = new.to(x0)
        return x0

    def push(self, x: Tensor) -> None:
        """Store finished chains (B, *event); the oldest give way."""
        if x.shape[1:] != self.event_shape:
            raise ValueError(f"the buffer holds states of shape {self.event_shape}, got {tuple(x.shape[1:])}")
        x = x.detach()[-self.capacity :]
        if self._store is None:
            self._store = x.new_zeros((self.capacity, *self.event_shape))
        index = (self._next + torch.arange(len(x), device=self._store.device)) % self.capacity
        self._store[index] = x.to(self._store)
        self._next = (self._next + len(x)) % self.capacity
        self._size = min(self._size + len(x), self.capacity)

    def state_dict(self) -> dict:
        """What a bit-equal resume needs."""
        return {"images": self.images.clone(), "next": self._next, "size": self._size}

    def load_state_dict(self, state: dict) -> None:
        if state["size"] > self.capacity:
            raise ValueError(f"the saved buffer holds {state['size']} samples, this one only {self.capacity}")
        self._store, self._next, self._size = None, 0, 0
        if state["size"]:
            # A full buffer has its oldest sample at ``next``. Moved into a larger one, the oldest goes first.
            moved = state["size"] < self.capacity and state["next"] != state["size"]
            self.push(state["images"].roll(-state["next"], 0) if moved else state["images"])
            self._next = state["next"] if not moved else state["size"]


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
        if covariance not in ("full", "low_rank", "diagonal"):
            raise ValueError(f'covariance is "full", "low_rank" or "diagonal", got {covariance!r}')
        event_shape, n_dims = tuple(images.shape[1:]), images[0].numel()
        if images.dtype == torch.uint8:
            bounds, dtype = (-1.0, 1.0), torch.float32
        elif images.is_floating_point() and torch.isfinite(images).all():
            bounds, dtype = (float(images.min()), float(images.max())), images.dtype
        else:
            raise ValueError(f"images must be uint8 or finite floats, got {images.dtype}")

        classes = None if labels is None else labels.unique()  # sorted
        members = [slice(None)] if labels is None else [labels == c for c in classes]
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

    def _rows(self, n: int, labels: Tensor | None, generator, device) -> Tensor:
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
