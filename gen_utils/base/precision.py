"""Where networks may run in half precision, what is summed, compared or taken a logarithm of must not."""

from __future__ import annotations

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """bfloat16 and float16 as float32; anything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def without_autocast(x: Tensor) -> torch.autocast:
    """A block in which products of matrices keep their precision, whatever surrounds it; x: where they are made."""
    return torch.autocast(x.device.type, enabled=False)
