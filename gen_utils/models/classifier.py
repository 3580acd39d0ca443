"""Classifiers: networks (B, C, H, W) -> (B, n_classes) logits."""

from __future__ import annotations

from torch import Tensor, nn

from .shapes import refuse_other


class SmallClassifier(nn.Module):
    """Three strided convolutions and a feature layer; for 28×28 digits.

    ``features`` (B, n_features) is the layer before the logits. Fréchet distances in this
    workbook are measured there, and name the network they used.
    """

    def __init__(self, channels: int = 1, n_classes: int = 10, n_features: int = 128, width: int = 32) -> None:
        super().__init__()
        self.config = {"channels": channels, "n_classes": n_classes, "n_features": n_features, "width": width}
        self.num_features = n_features  # the name torchmetrics' FrechetInceptionDistance looks for
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * width, n_features),
            nn.ReLU(),
        )
        self.head = nn.Linear(n_features, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, n_features), non-negative."""
        refuse_other(x, self.config["channels"], None, None)
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, n_classes) logits."""
        return self.head(self.features(x))
