"""Energies: networks (B, C, H, W) -> (B,), low where data are likely. No activation at the output."""

from __future__ import annotations

from torch import Tensor, nn

from .shapes import refuse_other


class SmallEnergy(nn.Module):
    """The small convolutional energy of Part B: four stride-2 convolutions, SiLU throughout.

    A smooth activation matters here: the chain follows ∇E, and the gradient of a ReLU network is
    constant between its kinks, so a chain inside one linear piece has nothing to curve along.

    Args:
        channels: of the images.
        size: their height and width, at least 16.
        width: channels of the first convolution; the others have 2, 4 and 4 times as many.

    Attributes:
        net: the layers, the last of them linear; n_features: the numbers it takes. Other networks put their own there.

    Architecture after the deep-energy-models tutorial of Lippe (2020), which has width 16.
    """

    def __init__(self, channels: int = 1, size: int = 28, width: int = 16) -> None:
        super().__init__()
        self.config = {"channels": channels, "size": size, "width": width}
        self.event_shape, self.n_features = (channels, size, size), 4 * width
        out = size
        # The first convolution pads generously, so that the border is seen as often as the middle.
        for kernel, padding in ((5, 4), (3, 1), (3, 1), (3, 1)):
            out = (out + 2 * padding - kernel) // 2 + 1
        self.net = nn.Sequential(
            nn.Conv2d(channels, width, 5, stride=2, padding=4),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(4 * width, 4 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(4 * width * out * out, self.n_features),
            nn.SiLU(),
            nn.Linear(self.n_features, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B,) energies."""
        refuse_other(x, *self.event_shape)
        return self.net(x).squeeze(-1)
