"""Objectives, each as one function of tensors."""

from __future__ import annotations

from torch import Tensor


def contrastive_divergence(energy_real: Tensor, energy_fake: Tensor, alpha: float = 0.0) -> Tensor:
    """Mean energy of data minus mean energy of samples, plus α times the mean of both squares.

    Args:
        energy_real: (B,) energies of data.
        energy_fake: (B',) energies of finished chains; the chains carry no graph.
        alpha: weight of the regulariser, which keeps the energies near zero: the first term does
            not change when a constant is added to E, so without it they drift.

    Returns:
        A scalar. Its gradient without the regulariser is the (short-chain) estimate of the
        negative log-likelihood's: Hinton (2002); regulariser from Du & Mordatch (2019), section 3.3.
    """
    for name, energy in (("energy_real", energy_real), ("energy_fake", energy_fake)):
        if energy.ndim != 1:
            raise ValueError(f"{name} must have one number a sample, shape (B,), got {tuple(energy.shape)}")
    contrast = energy_real.mean() - energy_fake.mean()
    if not alpha:
        return contrast
    return contrast + alpha * (energy_real.square().mean() + energy_fake.square().mean())
