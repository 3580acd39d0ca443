"""What a student's function is tried on: fresh arguments for every call, and what it may not do to them."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

_key = 0


def stream(number: int) -> torch.Generator:
    """The random numbers of a check's cases: the same in every process, others under a key."""
    return torch.Generator().manual_seed(number + 1_000_003 * _key)


@contextlib.contextmanager
def hidden_cases(key: int) -> Iterator[None]:
    """Inside, every check draws other cases of the same kind. Key 0 gives those that students see."""
    global _key
    before, _key = _key, key
    try:
        yield
    finally:
        _key = before


@dataclass(frozen=True)
class Case:
    """Arguments, and what is special about them: the end of "in case 2, where …".

    Attributes:
        slip, why: the mistake that is likely when everything is right but such cases.
    """

    arguments: tuple
    about: str = ""
    slip: str = ""
    why: str = ""

    @property
    def where(self) -> str:
        return f", where {self.about}" if self.about else ""

    @classmethod
    def of(cls, case: Case | tuple) -> Case:
        return case if isinstance(case, Case) else cls(tuple(case))


def far(*arguments, about: str = "the values are hundreds of nats apart") -> Case:
    """A case in which a naive exponential is infinite or zero."""
    why = "an exponential over- or underflows there. Subtract the largest exponent first, or use a function that does."
    return Case(arguments, about, "overflow", why)


def fresh(arguments: Sequence) -> tuple[object, ...]:
    """Copies of the tensors and networks among the arguments. A network's parameters bring gradients from "before"."""
    copies = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            argument = argument.detach().clone()
        elif isinstance(argument, nn.Module):
            argument = copy.deepcopy(argument)
            for parameter in argument.parameters():
                parameter.grad = torch.full_like(parameter, 0.5)
        copies.append(argument)
    return tuple(copies)


def same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))


class Watch:
    """The state of everything that a function could change besides what it returns. Called afterwards, it tells.

    Args:
        names: of the arguments, for the message. may_change: the names of those it may change; "critic weights" where
            only these and their gradients may change; "random".
    """

    def __init__(self, arguments: Sequence, names: Sequence[str], may_change: Sequence[str] = ()) -> None:
        if "random" not in may_change:
            _unusual()
        self.random = [] if "random" in may_change else _streams()
        self.dtype, self.recording = torch.get_default_dtype(), torch.is_grad_enabled()
        watched = [(n, a) for n, a in zip(names, arguments, strict=False) if n not in may_change]
        self.tensors = [(n, a, a.detach().clone(), a.requires_grad) for n, a in watched if isinstance(a, Tensor)]
        self.networks = [(n, a, _network(a)) for n, a in watched if isinstance(a, nn.Module)]
        self.trained = [n for n, _ in watched if f"{n} weights" in may_change]

    def __call__(self, value: object = None, copied: Sequence[str] = ()) -> tuple[str, str] | None:
        """(the slip's name, what to tell), or None when all is as it was, and the value no view of the arguments named."""
        for name, tensor, _, _ in self.tensors:
            if name in copied and isinstance(value, Tensor) and _place(value) == _place(tensor):
                return (
                    "view",
                    f"your result is a view of the argument {name}: who writes into one changes both. Return a copy.",
                )
        for name, tensor, before, required in self.tensors:
            if not same_bits(tensor.detach(), before):
                return "input changed", (
                    f"your function writes into the argument {name}, which the caller still needs; build a new tensor."
                )
            if tensor.requires_grad != required:
                return "input changed", (
                    f"your function sets requires_grad on the argument {name} itself, which the caller still needs; do it "
                    "on a detached copy."
                )
        for name, network, before in self.networks:
            after = _network(network)
            for what, (slip, hint) in _NETWORK.items():
                if what in ("weights", "grads") and name in self.trained:
                    continue
                if not _equal(before[what], after[what]):
                    return slip, hint.format(name=name)
        if self.random and not all(map(_equal, self.random, _streams())):
            return "random state", (
                "your function draws from the global random stream, or seeds it; nothing random is wanted but what it is "
                "given."
            )
        if torch.get_default_dtype() != self.dtype or torch.is_grad_enabled() != self.recording:
            return "global state", (
                "your function changes how PyTorch works from now on (its default type, or whether gradients are "
                "recorded); use a with block, which ends."
            )
        return None


_NETWORK = {
    "weights": ("weights changed", "your function changes the weights of {name}, which are not its own to change."),
    "flags": ("frozen", "your function changes requires_grad of the weights of {name}: they would no longer be trained, or "
                        "be trained again."),
    "grads": ("backward", "your function changes the gradients stored on the weights of {name}, which a training step still "
                          "needs: ask torch.autograd.grad for the one gradient that is wanted, in place of backward()."),
    "training": ("training mode", "your function switches {name} between training and evaluation mode, and leaves it so."),
}  # fmt: skip


def _network(network: nn.Module) -> dict[str, list]:
    parameters = list(network.parameters())
    return {
        "weights": [t.detach().clone() for t in network.state_dict().values()],
        "flags": [p.requires_grad for p in parameters],
        "grads": [None if p.grad is None else p.grad.clone() for p in parameters],
        "training": [module.training for module in network.modules()],
    }


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _unusual() -> None:
    """Seeds that no student would choose, so that whoever seeds a global stream is seen to."""
    torch.manual_seed(870_321_543)
    random.seed(870_321_543)
    np.random.seed(870_321_543)  # noqa: NPY002


def _streams() -> list:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return [torch.get_rng_state(), random.getstate(), (kind, keys.tolist(), *rest)]


def _equal(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return same_bits(a, b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return a == b
