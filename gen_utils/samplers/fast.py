"""The arithmetic that a machine does fastest, for use inside a chain."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .protocol import Energy, every_module, for_rows
from .purity import is_pure


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


def in_layout(energy: nn.Module, x: Tensor) -> nn.Module:
    """The energy in the layout that a chain from x runs fastest in; the same arithmetic, up to the order of sums.

    On a processor oneDNN reads channels-last convolutions as they lie, and reorders others at every call: a gradient
    of this project's networks then takes 10-40 % longer. So a network with convolutions is used through a copy that
    holds only these weights anew. The rule looks at the network alone: timing both layouts would let the same seed give
    other digits on another day.
    """
    quick = x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    if not (quick and is_pure(energy)):
        return energy
    modules = list(every_module(energy))
    convolves = any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in modules)
    # One whose forward pass was replaced, as torch.compile does, may hold on to the original.
    own = any("forward" in vars(module) or isinstance(module, torch.jit.ScriptModule) for module in modules)
    return _Cast(_channels_last(energy, {}), None) if convolves and not own else energy


def _channels_last(module: nn.Module, seen: dict[int, nn.Module]) -> nn.Module:
    """The module with its four-dimensional weights channels-last; all else is shared, and wants no gradient."""
    if id(module) not in seen:
        twin = seen[id(module)] = module.__new__(type(module))
        vars(twin).update(vars(module))
        children, weights = module._modules.items(), module._parameters.items()
        own = {name: None if child is None else _channels_last(child, seen) for name, child in children}
        vars(twin).update(_modules=own, _parameters={name: _arranged(weight) for name, weight in weights})
    return seen[id(module)]


def _arranged(weight: Tensor | None) -> Tensor | None:
    if weight is None or weight.ndim != 4:
        return None if weight is None else weight.detach()
    return weight.detach().to(memory_format=torch.channels_last)  # contiguous() leaves one channel as it is


class _Cast(nn.Module):
    """An energy asked in its own type and layout; without a type, in that of the state."""

    def __init__(self, energy: Energy, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.energy, self.dtype = energy, dtype

    def forward(self, x: Tensor) -> Tensor:
        if self.dtype is not None:
            x = x.to(self.dtype)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        value = self.energy(x)
        return value if self.dtype is None else value.to(torch.promote_types(self.dtype, torch.float32))

    def for_rows(self, rows: slice) -> _Cast:
        return _Cast(for_rows(self.energy, rows), self.dtype)
