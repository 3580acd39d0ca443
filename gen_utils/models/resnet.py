"""A residual classifier sized by argument: the judge of colour images, and the start of JEM."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from .shapes import refuse_other


class ResNetClassifier(nn.Module):
    """A pre-activation residual network, (B, C, H, W) in [-1, 1] -> (B, n_classes) logits.

    ``features`` (B, n_features) are the averages of the last feature maps, so that any image size will do;
    Fréchet distances of colour images in this workbook are measured there.

    Args:
        channels: of the images.
        n_classes: how many logits.
        widths: channels of each stage; all but the first stage halve the resolution.
        blocks: residual blocks a stage. ``widths=(64, 128, 256, 512), blocks=2`` has ResNet-18's size,
            ``widths=(160, 320, 640), blocks=4`` that of WRN-28-10.
        norm: "batch", or "none" for a network that shall also be sampled from.
        smooth: SiLU in place of ReLU.

    Source: He et al. (2016), identity mappings, for the order inside a block; Zagoruyko & Komodakis (2016)
    for width in place of depth.
    """

    def __init__(
        self,
        channels: int = 3,
        n_classes: int = 10,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: int = 1,
        norm: str = "batch",
        smooth: bool = True,
    ) -> None:
        super().__init__()
        if norm not in ("batch", "none"):
            raise ValueError(f'norm is "batch" or "none", got {norm!r}')
        self.config = {
            "channels": channels, "n_classes": n_classes, "widths": list(widths), "blocks": blocks,
            "norm": norm, "smooth": smooth,
        }  # fmt: skip
        self.num_features = widths[-1]  # the name torchmetrics' FrechetInceptionDistance looks for
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, padding=1)]
        before = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(_Block(before, width, 2 if stage and not block else 1, norm, smooth))
                before = width
        layers += [_norm(norm, before), nn.SiLU() if smooth else nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(before, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, n_features)."""
        refuse_other(x, self.config["channels"], None, None)
        return self.body(x).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, n_classes) logits."""
        return self.head(self.features(x))


class _Block(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), the shortcut averaged and projected where the shape changes."""

    def __init__(self, before: int, width: int, stride: int, norm: str, smooth: bool) -> None:
        super().__init__()
        self.stride, self.act = stride, F.silu if smooth else F.relu
        self.norm1, self.norm2 = _norm(norm, before), _norm(norm, width)
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.project = nn.Conv2d(before, width, 1) if before != width else nn.Identity()
        if norm == "none":  # without a norm the sum would grow from block to block
            for parameter in self.conv2.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(x))
        shortcut = F.avg_pool2d(x, self.stride) if self.stride > 1 else x
        return self.project(shortcut) + self.conv2(self.act(self.norm2(self.conv1(y))))


def _norm(norm: str, width: int) -> nn.Module:
    return nn.BatchNorm2d(width) if norm == "batch" else nn.Identity()
