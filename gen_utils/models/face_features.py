"""A small network whose features tell faces apart and notice damage; for Fréchet distances at 64×64 in colour."""

from __future__ import annotations

from torch import Tensor, nn

from .shapes import refuse_other


class FaceFeatures(nn.Module):
    """Four strided convolutions and two residual ones; (B, 3, 64, 64) -> (B, n_features).

    The last layer is a batch norm without weights: over its training images every feature has mean 0 and variance 1,
    so that no single one decides a distance.
    """

    def __init__(self, n_features: int = 64, width: int = 32) -> None:
        super().__init__()
        self.config = {"n_features": n_features, "width": width}
        self.num_features = n_features  # the name torchmetrics' FrechetInceptionDistance looks for
        self.body = nn.Sequential(
            _down(3, width),
            _down(width, 2 * width),
            _Refine(2 * width),
            _down(2 * width, 4 * width),
            _Refine(4 * width),
            _down(4 * width, 4 * width),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * width, n_features),
            nn.BatchNorm1d(n_features, affine=False),
        )

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [-1, 1] -> (B, n_features), of either sign."""
        refuse_other(x, 3, 64, 64)
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """The features: this network has no logits."""
        return self.features(x)


def _down(c_in: int, c_out: int) -> nn.Sequential:
    """Half the side."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.SiLU()
    )  # fmt: skip


class _Refine(nn.Module):
    """x + act(norm(conv(x))), the size unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.SiLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
