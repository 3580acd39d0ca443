"""The energy of the face chapters: nothing but strided convolutions, so that two cores can afford long chains."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .shapes import refuse_other


class StridedEnergy(nn.Module):
    """4×4 convolutions of stride 2 down to 2×2 or 1×1 pixels, SiLU, one linear readout; no normalisation.

    Almost all arithmetic is in wide convolutions at low resolution, where processors are at their best.

    Args:
        channels: of the images.
        size: their height and width, a power of two, at least 16.
        widths: channels of each stride-2 convolution; there can be no more than log₂ of the size.
        stem: channels of a 3×3 convolution of stride 1 before them; None for none.
        smooth: False puts a leaky ReLU in the place of SiLU, for comparison.
    """

    def __init__(
        self,
        channels: int = 3,
        size: int = 32,
        widths: Sequence[int] = (64, 128, 256, 256),
        stem: int | None = None,
        smooth: bool = True,
    ) -> None:
        super().__init__()
        if size < 16 or size & (size - 1) or size >> len(widths) < 1:
            raise ValueError(
                f"size is a power of two of at least 2**{len(widths)} for {len(widths)} widths, got {size}"
            )
        self.config = {"channels": channels, "size": size, "widths": list(widths), "stem": stem, "smooth": smooth}
        self.event_shape = (channels, size, size)
        act = nn.SiLU if smooth else lambda: nn.LeakyReLU(0.2)
        layers: list[nn.Module] = []
        before = channels
        if stem:
            layers += [nn.Conv2d(before, stem, 3, padding=1), act()]
            before = stem
        for width in widths:
            layers += [nn.Conv2d(before, width, 4, stride=2, padding=1), act()]
            before = width
        side = size >> len(widths)
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side * side, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B,) energies."""
        refuse_other(x, *self.event_shape)
        return self.net(x).squeeze(-1)
