"""The arithmetic that a machine does fastest, for use inside a chain."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def fast_copy(energy: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy of the energy in the arithmetic this machine does fastest, for use inside a chain.

    Channels-last layout everywhere (convolutions read it without reordering), bfloat16 weights
    where the hardware multiplies them natively. A chain needs only the direction of the gradient,
    so eight bits of mantissa are enough; the loss should be computed with the original. The copy
    costs far less than one step, and is made anew for each chain, so it never holds old weights.
    """
    if dtype is None:
        dtype = torch.bfloat16 if _fast_bfloat16(device) else torch.float32
    clone = copy.deepcopy(energy).requires_grad_(False).to(device, dtype)
    return _Cast(clone.to(memory_format=torch.channels_last), dtype)


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without these instructions bfloat16 is emulated, and slower than float32.
    return device.type == "cpu" and any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


class _Cast(nn.Module):
    def __init__(self, energy: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.energy, self.dtype = energy, dtype

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return self.energy(x).to(torch.promote_types(self.dtype, torch.float32))
