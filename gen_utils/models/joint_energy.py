"""A classifier read as an energy: nothing is added to the network, only its logits are read another way."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .conditional_energy import Given


class JointEnergy(nn.Module):
    """E(x) = -log Σ_y exp f(x)[y] of a classifier f; the logits are minus the energies E(x, y).

    p(x, y) ∝ exp f(x)[y]. Summing over y gives this energy, and dividing by it gives softmax back: p(y | x) is the
    classifier's own, whatever the normaliser of x.

    Args:
        classifier: (B, *event) -> (B, K) logits.
        event_shape: shape of one image.

    Source: Grathwohl et al. (2020), JEM, section 3.
    """

    def __init__(self, classifier: nn.Module, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.classifier, self.event_shape = classifier, tuple(event_shape)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, *event) -> (B,): E(x), or E(x, y) when labels (B,) int64 are given."""
        logits = self.classifier(x)
        if labels is None:
            return -torch.logsumexp(logits, 1)
        if labels.shape != x.shape[:1]:
            raise ValueError(f"{len(x)} images need labels of shape ({len(x)},), got {tuple(labels.shape)}")
        return -logits.gather(1, labels[:, None]).squeeze(1)

    def given(self, labels: Tensor) -> Given:
        """x -> E(x, labels), the energy of p(x | y) up to a constant: what ``sample`` wants."""
        return Given(self, labels)
