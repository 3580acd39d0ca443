"""What the sampler tests share: a correlated Gaussian, and a z-score for the moments of chains."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gen_utils.models import Gaussian


@pytest.fixture(autouse=True)
def one_thread():
    """These tensors are tiny: a second thread only waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def moment_z(path: Tensor, mean: Tensor, covariance: Tensor) -> float:
    """The largest z-score of the first and second moments of (K, B, D) draws.

    Chains are independent of each other, so each chain's average over its draws is one independent estimate,
    and the spread of these over the chains is the Monte-Carlo error, whatever the autocorrelation.
    """
    path = path.double()
    centred = path - mean
    rows, columns = torch.triu_indices(path.shape[2], path.shape[2])
    products = centred[..., rows] * centred[..., columns] - covariance[rows, columns]
    estimates = torch.cat([centred, products], dim=2).mean(0)  # (B, n_moments)
    return float((estimates.mean(0) / estimates.std(0) * len(estimates) ** 0.5).abs().max())


@pytest.fixture(name="moment_z")
def moment_z_fixture():
    return moment_z


@pytest.fixture
def gaussian() -> Gaussian:
    """Correlation 0.8, scales 1 and √2, mean not zero."""
    return Gaussian(mean=[0.5, -1.0])


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)
