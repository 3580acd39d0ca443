"""Which energies are functions of each chain alone."""

from __future__ import annotations

from torch import nn

from .protocol import Energy, every_module


def is_pure(energy: Energy) -> bool:
    """No module found in the energy makes chains depend on each other, draws numbers, or changes when it is asked."""
    return not any(_meddles(module) for module in every_module(energy))


def _meddles(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
        return True
    hooks = module._forward_hooks or module._forward_pre_hooks
    if not module.training:
        return bool(hooks)
    if isinstance(module, nn.RReLU):
        return True
    # Buffers in training mode are running statistics, or a power iteration's vectors; recurrent layers and attention
    # have a dropout of their own.
    chance = module.p if isinstance(module, nn.modules.dropout._DropoutNd) else getattr(module, "dropout", 0)
    return bool(hooks or module._buffers or (isinstance(chance, int | float) and chance))
