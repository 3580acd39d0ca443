"""An energy that takes the label as an input: it modulates the features from which the energy is computed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .conditional_energy import LabelledEnergy, refuse_other_labels
from .energy import SmallEnergy
from .shapes import refuse_other


class LabelInputEnergy(LabelledEnergy):
    """E(x, y) with y as an input (C6): Part B's small energy, each convolution scaled and shifted by the label.

    Feature map c of a convolution becomes (1 + γ_yc) h_c + β_yc, a gain and a shift for each label, before SiLU. There
    is one output, so the energies of an image under K labels take K passes through the network, where
    ``ConditionalEnergy``, with one output a class, takes one.

    Args:
        channels, size, width: as in ``SmallEnergy``.
        n_classes: how many labels.

    Source: the class-conditional gains and biases of Du & Mordatch (2019); Perez et al. (2018) for the modulation.
    """

    def __init__(self, channels: int = 1, size: int = 28, width: int = 16, n_classes: int = 10) -> None:
        super().__init__()
        self.config = {"channels": channels, "size": size, "width": width, "n_classes": n_classes}
        self.event_shape, self.n_classes = (channels, size, size), n_classes
        layers = list(SmallEnergy(channels, size, width).net)
        self.convolutions = nn.ModuleList(layer for layer in layers if isinstance(layer, nn.Conv2d))
        self.head = nn.Sequential(*layers[2 * len(self.convolutions) :])
        self.widths = [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)]
        # Small, but not zero: at zero the label would have no say, and no gradient would tell the classes apart.
        self.modulation = nn.Embedding(n_classes, 2 * sum(self.widths))
        nn.init.normal_(self.modulation.weight, std=0.1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] and (B,) int64 -> (B,) energies."""
        refuse_other(x, *self.event_shape)
        refuse_other_labels(x, labels)
        gains, shifts = self.modulation(labels)[:, :, None, None].chunk(2, 1)
        layers = zip(self.convolutions, gains.split(self.widths, 1), shifts.split(self.widths, 1), strict=True)
        for convolution, gain, shift in layers:
            x = F.silu((1 + gain) * convolution(x) + shift)
        return self.head(x).squeeze(-1)

    def class_energies(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, n_classes): the energy of each image under each label."""
        refuse_other(x, *self.event_shape)
        labels = torch.arange(self.n_classes, device=x.device)
        return self(x.repeat_interleave(self.n_classes, 0), labels.repeat(len(x))).view(len(x), self.n_classes)
