"""A classifier one may also sample from: smooth, without norm layers, and cheap."""

from __future__ import annotations

from torch import Tensor, nn

from .energy import SmallEnergy
from .shapes import refuse_other


class SmoothClassifier(nn.Module):
    """Part B's small energy with one logit a class in place of its one output: Part D's classifier.

    SiLU throughout, so that the gradient a chain follows is continuous, and no norm layer, so that an image's energy
    depends on that image alone and not on what shares its batch.

    Args:
        channels, size, width: as in ``SmallEnergy``.
        n_classes: how many logits.
    """

    def __init__(self, channels: int = 1, size: int = 28, width: int = 16, n_classes: int = 10) -> None:
        super().__init__()
        self.config = {"channels": channels, "size": size, "width": width, "n_classes": n_classes}
        small = SmallEnergy(channels, size, width)
        self.net, self.num_features, self._shape = small.net, small.n_features, small.event_shape
        self.net[-1] = nn.Linear(self.num_features, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, num_features), the layer before the logits."""
        refuse_other(x, *self._shape)
        return self.net[:-1](x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, n_classes) logits."""
        refuse_other(x, *self._shape)
        return self.net(x)
