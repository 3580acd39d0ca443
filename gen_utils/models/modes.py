"""Training and eval mode, part by part: what is frozen, or was put into a mode on purpose, stays as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


def train(module: nn.Module) -> None:
    """Training mode for what learns. A part whose weights are all frozen keeps the mode it is in, and what is in it.

    A layer without weights, such as dropout, goes with the part that it belongs to.
    """
    held = _modes(part for frozen in module.modules() if _is_frozen(frozen) for part in frozen.modules())
    module.train()
    _restore(held)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside the block, and after it, also after an error, each part in the mode it was in."""
    held = _modes(module.modules())
    module.eval()
    try:
        yield
    finally:
        _restore(held)


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No weight wants a gradient inside the block; after it, also after an error, those do that did before."""
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)


def _is_frozen(part: nn.Module) -> bool:
    weights = list(part.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)


def _modes(parts) -> list[tuple[nn.Module, bool]]:
    return [(part, part.training) for part in parts]


def _restore(modes: list[tuple[nn.Module, bool]]) -> None:
    for part, mode in modes:
        part.training = mode
