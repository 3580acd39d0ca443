"""An energy of images and labels together: one network, one output a class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .energy import SmallEnergy
from .shapes import refuse_other


class LabelledEnergy(nn.Module):
    """What every E(x, y) can do that has ``class_energies``, (B, C, H, W) -> (B, n_classes)."""

    def class_energies(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def marginal(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,): -log Σ_y exp(-E(x, y)), the energy of the image whatever its label."""
        return -torch.logsumexp(-self.class_energies(x), 1)

    def given(self, labels: Tensor) -> Given:
        """The energy of x alone, its labels (B,) fixed: what ``sample`` wants."""
        return Given(self, labels)


class ConditionalEnergy(LabelledEnergy):
    """E(x, y): Part B's small energy with one output a class; the label picks its own (C6).

    The ten energies of an image share all features. p(x | y) ∝ exp(-E(x, y)) for each y, so the energies of two
    classes are comparable only if training compares them.

    Args:
        channels, size, width: as in ``SmallEnergy``.
        n_classes: how many labels.
    """

    def __init__(self, channels: int = 1, size: int = 28, width: int = 16, n_classes: int = 10) -> None:
        super().__init__()
        self.config = {"channels": channels, "size": size, "width": width, "n_classes": n_classes}
        self.event_shape, self.n_classes = (channels, size, size), n_classes
        small = SmallEnergy(channels, size, width)
        self.net = small.net
        self.net[-1] = nn.Linear(small.n_features, n_classes)

    def class_energies(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, n_classes): the energy of each image under each label."""
        refuse_other(x, *self.event_shape)
        return self.net(x)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(B, C, H, W) and (B,) int64 -> (B,) energies."""
        refuse_other_labels(x, labels)
        return self.class_energies(x).gather(1, labels[:, None]).squeeze(1)


class Given(nn.Module):
    """x -> E(x, labels). A module, so that a chain can run on its ``fast`` copy."""

    def __init__(self, energy: nn.Module, labels: Tensor) -> None:
        super().__init__()
        self.energy, self.labels = energy, labels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,)."""
        return self.energy(x, self.labels)

    def for_rows(self, rows: slice) -> Given:
        """The energy of some rows of the batch alone, for chains that are dealt out."""
        return Given(self.energy, self.labels[rows])


def refuse_other_labels(x: Tensor, labels: Tensor) -> None:
    """Is there one label for each image?

    Raises:
        ValueError: another shape.
    """
    if labels.shape != x.shape[:1]:
        raise ValueError(f"{len(x)} images need labels of shape ({len(x)},), got {tuple(labels.shape)}")


def classify(energy: LabelledEnergy, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B,) int64: the label of lowest energy, arg min_y E(x, y)."""
    with torch.no_grad():
        return energy.class_energies(x).argmin(1)
