"""Residual energies: nine blocks for colour images, and a classification network's backbone with one output."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from .shapes import refuse_other


class ResidualEnergy(nn.Module):
    """Nine residual blocks in three stages, SiLU, no activation at the output.

    The last convolution of each block starts at zero, so that the network begins as a shallow one and the first
    chains meet a gentle energy. There is no normalisation: an image's energy must not depend on its neighbours
    in the batch.

    Args:
        channels: of the images.
        size: their height and width, at least 16 and divisible by 8 (16 with ``stem_stride`` 4).
        width: channels of the first stage; the others have twice and four times as many.
        blocks: residual blocks a stage.
        stem_stride: 1 keeps the first stage at full resolution, as published networks do; 2 halves it, which
            is four times cheaper and what two cores can afford.
        spectral: divide each convolution's weight by its largest singular value, so that the energy cannot
            become arbitrarily steep.

    Source: Du & Mordatch (2019), appendix, for the kind of network; widths and strides are ours.
    """

    def __init__(
        self,
        channels: int = 3,
        size: int = 32,
        width: int = 64,
        blocks: int = 3,
        stem_stride: int = 2,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        if size % (4 * stem_stride):
            raise ValueError(f"size must be divisible by {4 * stem_stride}, got {size}")
        self.config = {
            "channels": channels, "size": size, "width": width, "blocks": blocks,
            "stem_stride": stem_stride, "spectral": spectral,
        }  # fmt: skip
        self.event_shape = (channels, size, size)
        wrap = spectral_norm if spectral else (lambda layer: layer)
        kernel = 3 if stem_stride == 1 else 2 * stem_stride
        padding = 1 if stem_stride == 1 else stem_stride // 2
        layers: list[nn.Module] = [wrap(nn.Conv2d(channels, width, kernel, stem_stride, padding))]
        before = width
        for stage in range(3):
            for block in range(blocks):
                layers.append(_Block(before, width << stage, 2 if stage and not block else 1, wrap, spectral))
                before = width << stage
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(before, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B,) energies."""
        refuse_other(x, self.event_shape[0], None, None)
        return self.head(F.silu(self.body(x)).sum((2, 3))).squeeze(-1)


class _Block(nn.Module):
    """x + conv(SiLU(conv(SiLU(x)))), averaged down and projected where the shape changes."""

    def __init__(
        self, before: int, width: int, stride: int, wrap: Callable[[nn.Module], nn.Module], spectral: bool
    ) -> None:
        super().__init__()
        self.stride = stride
        first = nn.Conv2d(before, width, 3, stride=stride, padding=1)
        second = nn.Conv2d(width, width, 3, padding=1)
        for parameter in second.parameters():
            nn.init.zeros_(parameter)
        if spectral:  # a zero weight has no singular value to divide by: it starts small instead
            nn.init.normal_(second.weight, std=1e-3)
        self.conv1, self.conv2 = wrap(first), wrap(second)
        self.project = wrap(nn.Conv2d(before, width, 1)) if before != width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.avg_pool2d(x, self.stride) if self.stride > 1 else x
        return self.project(shortcut) + self.conv2(F.silu(self.conv1(F.silu(x))))


class ResNet18Energy(nn.Module):
    """torchvision's ResNet-18 with one linear output: the pretrained backbone of A7.

    Its batch norms always use their stored averages, also in training mode: with the batch's own, the mean
    energy of a batch would hardly depend on its images (chapter A shows it).

    Args:
        channels: 3; the backbone knows colour images only.
        size: height and width of the images.
        pretrained: load ImageNet weights. They are downloaded (45 MB) unless torch's cache has them.

    Attributes:
        pretrained: whether ImageNet weights were loaded; False also when they were asked for and could not be had.
    """

    shift: Tensor  # (3, 1, 1)
    scale: Tensor  # (3, 1, 1)

    def __init__(self, channels: int = 3, size: int = 32, pretrained: bool = False) -> None:
        super().__init__()
        from torchvision.models import ResNet18_Weights, resnet18  # slow to import, and few need it

        if channels != 3:
            raise ValueError(f"ResNet-18 takes colour images with 3 channels, got {channels}")
        # Loading fills in the trained weights; asking for ImageNet's again would be a needless download.
        self.config = {"channels": channels, "size": size, "pretrained": False}
        self.event_shape = (channels, size, size)
        self.pretrained = False
        network = resnet18(weights=None)
        if pretrained:
            try:
                with contextlib.redirect_stderr(io.StringIO()):  # torch announces the file's place on this machine
                    weights = ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=False)
                network.load_state_dict(weights)
                self.pretrained = True
            except (OSError, RuntimeError) as error:  # no network, or a damaged download
                print(
                    f"ResNet-18's ImageNet weights cannot be had ({type(error).__name__}): starting from random ones."
                )
        network.fc = nn.Linear(network.fc.in_features, 1)
        self.net = network
        # The backbone was trained on images normalised by channel; this maps [-1, 1] to that range.
        self.register_buffer("shift", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1) * 2 - 1)
        self.register_buffer("scale", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 2)

    def train(self, mode: bool = True) -> ResNet18Energy:
        super().train(mode)
        for module in self.net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B,) energies."""
        refuse_other(x, 3, None, None)
        return self.net((x - self.shift) / self.scale).squeeze(-1)
