"""The energy of the original Bitmoji assignment: ten layers, each with its pooling and its norm."""

from __future__ import annotations

from torch import Tensor, nn

from .shapes import refuse_other


class TenLayerEnergy(nn.Module):
    """Ten layers of convolution, activation, pooling and norm, down to a few pixels, and one linear output (A1).

    The pooling halves the resolution as often as it must, spread evenly over the ten layers; in the other layers
    it averages over 3×3 pixels and keeps the size.

    With ``norm="batch"`` and ``last=1`` the mean energy of a batch in training mode is the same number for every batch:
    the last norm has fixed the mean of every feature, and the output is linear in them. With ``last=2`` only the mean
    over the four places is fixed, and each place has its own weights.

    Args:
        channels: of the images.
        size: their height and width, a power of two from 16 to 1024.
        width: channels of the first layers; they double twice on the way down.
        norm: "batch" as written, "instance" (left out from 2×2 pixels on: there the pooling has made a map constant,
            and an instance norm of a constant is its shift, whatever the image), or "none".
        smooth: SiLU in place of the original's leaky ReLU.
        last: height and width of the last map, a power of two below ``size``.

    Raises:
        ValueError: another norm, or sizes that are no such powers of two.
    """

    def __init__(
        self,
        channels: int = 3,
        size: int = 64,
        width: int = 32,
        norm: str = "batch",
        smooth: bool = False,
        last: int = 1,
    ) -> None:
        super().__init__()
        if norm not in ("batch", "instance", "none"):
            raise ValueError(f'norm is "batch", "instance" or "none", got {norm!r}')
        if not 16 <= size <= 1024 or size & (size - 1):
            raise ValueError(f"size is a power of two from 16 to 1024, got {size}")
        if not 1 <= last < size or last & (last - 1):
            raise ValueError(f"last is a power of two from 1 to below size = {size}, got {last}")
        self.config = {
            "channels": channels, "size": size, "width": width, "norm": norm, "smooth": smooth, "last": last,
        }  # fmt: skip
        self.event_shape = (channels, size, size)
        halvings = size.bit_length() - last.bit_length()
        layers: list[nn.Module] = []
        before, side = channels, size
        for layer in range(10):
            out = width << min(layer // 3, 2)
            # Layer l halves when the l-th tenth of the way passes a whole number of halvings.
            halve = (layer + 1) * halvings // 10 > layer * halvings // 10
            layers += [nn.Conv2d(before, out, 3, padding=1), nn.SiLU() if smooth else nn.LeakyReLU(0.2)]
            layers.append(nn.AvgPool2d(2) if halve else nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False))
            side, before = side // 2 if halve else side, out
            if norm == "batch":
                layers.append(nn.BatchNorm2d(out))
            elif norm == "instance" and side > 2:
                layers.append(nn.InstanceNorm2d(out, affine=True))
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * last * last, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B,) energies; in training mode with batch norm, of the batch as a whole."""
        refuse_other(x, *self.event_shape)
        return self.net(x).squeeze(-1)
