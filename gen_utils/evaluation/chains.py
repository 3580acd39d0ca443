"""Diagnostics of chains: effective sample size, R-hat, autocorrelation, and the divergence from a known density.

All take a path as ``sample(..., keep_every=1).path`` returns it, (K, B, *event): K draws of B chains. Drop the
warm-up first, ``path[K // 2:]``. The formulas are those of arviz-stats; here they get torch's shapes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from arviz_stats.base.array import array_stats
from numpy.typing import ArrayLike
from torch import Tensor

from ..samplers import Energy
from ..samplers.protocol import one_per_sample
from . import arguments

_ROUNDING = 1e-14  # of a path whose values fill [0, 1]: what moves less has not moved


def ess(path: Tensor, *, method: str = "bulk") -> Tensor:
    """Effective sample size of every coordinate: how many independent draws the chains are worth.

    Args:
        path: (K, B, *event), at least four draws a chain.
        method: "bulk" (rank-normalised, for the centre of the distribution), or "mean" or "sd", the one that
            belongs in the standard error of a mean or a standard deviation.

    Returns:
        (*event) float64, whatever the unit of the path. Larger than K · B for chains that alternate; NaN where no chain
        moved, and with "sd" where the distance from the mean never changed in any chain.

    Raises:
        ValueError: fewer than four draws, values that are not finite, an unknown method.

    Source: Vehtari et al. (2021), sections 3 and 4.
    """
    arguments.choice("method", method, ("bulk", "mean", "sd"))
    draws, event = _draws(path)
    result = array_stats.ess(draws, chain_axis=1, draw_axis=0, method=method)
    judged = np.square(draws - draws.mean((0, 1))) if method == "sd" else draws
    moved = (np.ptp(judged, axis=0) > _ROUNDING).any(0)  # the library calls a constant K · B good draws
    return _to_event(np.where(moved, result, np.nan), event)


def split_rhat(path: Tensor) -> Tensor:
    """Split R-hat of every coordinate, rank-normalised and folded: do the chains, and their halves, agree?

    Args:
        path: (K, B, *event), at least four draws of at least two chains.

    Returns:
        (*event) float64; near 1 when they do, above 1.01 too early to stop. NaN where nothing moved, and infinite for
        chains that each stay at a place of their own.

    Raises:
        ValueError: too few draws or chains, or values that are not finite.

    Source: Vehtari et al. (2021), sections 3 and 4.
    """
    draws, event = _draws(path, min_chains=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _to_event(array_stats.rhat(draws, chain_axis=1, draw_axis=0, method="rank"), event)


def autocorrelation(path: Tensor, max_lag: int | None = None) -> Tensor:
    """Autocorrelation of every coordinate at lags 0 to ``max_lag``, averaged over the chains.

    Each chain is centred on its own mean, so a set of chains stuck in different modes looks better than it is, and a
    chain that never moved is left out; R-hat tells.

    Returns:
        (max_lag + 1, *event) float64, 1 at lag 0; NaN where no chain moved.

    Raises:
        ValueError: fewer than four draws, values that are not finite, a lag the path is too short for.
    """
    draws, event = _draws(path)
    longest = len(draws) - 1
    max_lag = longest if max_lag is None else arguments.whole("max_lag", max_lag, 0, longest)
    rho = array_stats.autocorr(np.moveaxis(draws, 0, -1), axis=-1)[..., : max_lag + 1]  # (B, D, lags)
    moved = np.ptp(draws, axis=0) > _ROUNDING  # (B, D); a constant minus its mean is rounding, which correlates well
    total = np.where(moved[..., None], rho, 0).sum(0)
    n_moved = moved.sum(0)[:, None]
    mean = np.divide(total, n_moved, out=np.full_like(total, np.nan), where=n_moved > 0)
    return _to_event(np.moveaxis(mean, -1, 0), event)


def grid_kl(
    samples: Tensor,
    energy: Energy,
    extent: tuple[float, float, float, float],
    *,
    n_bins: int = 40,
    log_z: float | None = None,
    n_points: int = 8,
) -> float:
    """KL divergence, in nats, of a histogram of 2-D samples from the density exp(-E)/Z on the same grid.

    Args:
        samples: (N, 2); one on the edge of the grid is inside.
        energy: (B, 2) -> (B,).
        extent: (x_low, x_high, y_low, y_high) of the grid; the analytic energies have one.
        n_bins: cells a side.
        log_z: log Z of the energy when known; then all outside of the grid is one more cell. When None the
            density is taken to be zero outside, and one sample there makes the divergence infinite.
        n_points: a cell's probability is the mean of n_points² values in it.

    Returns:
        Σ q log(q/p) over the cells, never below zero. Even for N exact samples it is about (cells with mass - 1)/(2N):
        compare chains at the same N, and with exact samples.

    Raises:
        ValueError: samples that are not (N, 2) or not finite, an extent that is not a box, no bins or points, an energy
            that is NaN or nowhere finite, a log_z that gives the grid more than all probability.
    """
    n_bins, n_points = arguments.whole("n_bins", n_bins, 1), arguments.whole("n_points", n_points, 1)
    if len(extent) != 4:
        raise ValueError(f"extent must be (x_low, x_high, y_low, y_high), got {extent}")
    (x_low, x_high), (y_low, y_high) = (arguments.span("extent", extent[i : i + 2]) for i in (0, 2))
    arguments.shaped("samples", samples, ("N", 2))
    samples = torch.from_numpy(arguments.matrix("samples", samples).astype(np.float64))

    # The probability of every cell, from the centres of n_points² equal parts of it.
    fine = n_bins * n_points
    centres = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine
    grid = torch.cartesian_prod(x_low + (x_high - x_low) * centres, y_low + (y_high - y_low) * centres)
    with torch.no_grad():
        log_p = torch.cat([-one_per_sample(energy(part), part) for part in grid.split(65_536)])
    log_p = arguments.log_weights("minus the energy", log_p, 0) + math.log(
        (x_high - x_low) * (y_high - y_low) / fine**2
    )
    log_grid = arguments.number("the energy's log Z in the extent", torch.logsumexp(log_p, 0))
    log_all = log_grid if log_z is None else arguments.number("log_z", log_z)
    if log_grid > log_all + 0.05:
        raise ValueError(f"log_z must be at least {log_grid:.3f}, which is that of the extent alone, got {log_all:.3f}")
    p = (log_p - log_all).exp().reshape(n_bins, n_points, n_bins, n_points).sum((1, 3)).flatten()

    lows = samples.new_tensor([x_low, y_low])
    sides = samples.new_tensor([x_high - x_low, y_high - y_low])
    place = (samples - lows) / sides
    inside = ((place >= 0) & (place <= 1)).all(1)
    cell = (place * n_bins).floor().clamp(0, n_bins - 1).long()
    counts = torch.bincount((cell[:, 0] * n_bins + cell[:, 1])[inside], minlength=n_bins**2).double()
    # The last cell is all that lies outside of the grid.
    q = torch.cat([counts, (~inside).sum().double()[None]]) / len(samples)
    p = torch.cat([p, (1 - p.sum()).clamp(min=0)[None] if log_z is not None else p.new_zeros(1)])
    return max(0.0, float((torch.xlogy(q, q) - torch.xlogy(q, p)).sum()))


def _draws(path: Tensor | None, *, min_chains: int = 1) -> tuple[np.ndarray, tuple[int, ...]]:
    """(K, B, *event) -> (K, B, D) float64, and the event shape; every coordinate moved and scaled to [0, 1].

    No diagnostic depends on place or unit, but the library takes a path of small numbers for a constant.
    """
    if path is None or path.ndim < 2 or path.shape[0] < 4 or path.shape[1] < min_chains:
        got = None if path is None else tuple(path.shape)
        raise ValueError(
            f"the path must be (K, B, *event) with at least 4 draws and {min_chains} chains, got {got}; "
            "run sample(..., keep_every=1) for longer"
        )
    arguments.finite("path", path)
    draws = path.detach().double().cpu().reshape(*path.shape[:2], -1).numpy()
    low, width = draws.min((0, 1)), np.ptp(draws, axis=(0, 1))
    return (draws - low) / np.where(width > 0, width, 1), tuple(path.shape[2:])


def _to_event(values: ArrayLike, event: tuple[int, ...]) -> Tensor:
    """(..., D) -> (..., *event)."""
    values = np.asarray(values, dtype=np.float64)
    return torch.from_numpy(values.reshape((*values.shape[:-1], *event)).copy())
