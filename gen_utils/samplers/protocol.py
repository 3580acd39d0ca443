"""What energies, kernels and starts are, and how an energy is asked.

A kernel says what one step of a chain does. It is a small frozen dataclass with two functions over explicit state:

    state = kernel.init(energy, x)
    state = kernel.step(energy, state, t, n_steps, generator)      # t = 1, ..., n_steps

The state carries the energy and the gradient at x, so that no kernel computes either twice.
Energies are callables ``(B, *event) -> (B,)``; low energy means likely, p(x) ∝ exp(-E(x)).

The kernels themselves: ``langevin.py`` and ``tamed.py`` (without an acceptance test), ``mala.py`` and ``hmc.py`` (with
one), ``tempering.py`` (several of these at once).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CellType, FunctionType, MethodType
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

Energy = Callable[[Tensor], Tensor]
Bounds = tuple[float, float]


class State(NamedTuple):
    """Where a batch of chains is, and what became of the last proposal.

    The last three fields are None for kernels without an acceptance test.
    """

    x: Tensor  # (B, *event)
    energy: Tensor  # (B,)
    grad: Tensor | None  # (B, *event); None after the last step of a Langevin chain, where nobody needs it
    accept: Tensor | None = None  # (B,) bool: the last proposal was accepted
    log_ratio: Tensor | None = None  # (B,) log of the acceptance ratio before it is cut at one; -inf: impossible
    diverged: Tensor | None = None  # (B,) bool: the last proposal's energy was not finite, and so rejected


@runtime_checkable
class Kernel(Protocol):
    """One step of a chain: what ``sample`` runs.

    ``init`` looks at a start x (B, *event) and raises ValueError for one that the kernel cannot begin from. ``step``
    gives the state after step t of ``n_steps``, and draws from ``generator`` alone (PyTorch's global one when None).
    """

    def init(self, energy: Energy, x: Tensor) -> State: ...

    def step(self, energy: Energy, state: State, t: int, n_steps: int, generator: torch.Generator | None) -> State: ...


@runtime_checkable
class Start(Protocol):
    """Where chains begin: ``draw`` gives n states (n, *event) on the generator's device."""

    def draw(self, n: int, *, labels: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor: ...


def gradient_of(state: State) -> Tensor:
    """∇E at the state's x, (B, *event): where the next step begins.

    Raises:
        ValueError: the state ends a Langevin chain, whose last step leaves the gradient out.
    """
    if state.grad is None:
        raise ValueError(
            "this state has no gradient: it ends a chain whose last step left it out; "
            "begin again there, with kernel.init(energy, state.x)"
        )
    return state.grad


def energy_only(energy: Energy, x: Tensor) -> Tensor:
    """E(x), shape (B,), without a graph."""
    with torch.no_grad():
        return one_per_sample(energy(x), x)


def energy_and_grad(energy: Energy, x: Tensor) -> tuple[Tensor, Tensor]:
    """E(x), shape (B,), and its gradient with respect to x alone.

    The gradients stored on a model's parameters stay as they are.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = (x.clone() if x.is_inference() else x.detach()).requires_grad_()
        value = one_per_sample(energy(x), x)
        grad = torch.autograd.grad(value.sum(), x, allow_unused=True)[0] if value.requires_grad else None
    if grad is None:
        raise ValueError(
            "the energy's value does not depend on x through autograd; compute it from x with torch operations, "
            "without .detach(), .item(), NumPy or no_grad"
        )
    return value.detach(), grad


def one_per_sample(value: Tensor, x: Tensor, what: str = "the energy") -> Tensor:
    """The value itself when it has shape (B,); an error that says what to do when it has not."""
    shape = getattr(value, "shape", None)
    if shape != x.shape[:1]:
        got = type(value).__name__ if shape is None else tuple(shape)
        raise ValueError(
            f"{what} must return one number a sample, shape ({len(x)},), but returned {got}; "
            "drop the extra dimension with .squeeze(-1), or sum over all but the first"
        )
    return value


@contextmanager
def frozen(energy: Energy) -> Iterator[None]:
    """Within it the weights of an energy want no gradient: a chain asks for that of x alone.

    PyTorch then leaves out what only the weights' gradients need, and keeps less for the way back. Afterwards every
    weight is as it was, also after an error. Found are the weights of a module, of what a method is bound to, and of
    what a function or a partial holds.
    """
    weights = [weight for module in every_module(energy) for weight in module._parameters.values()]
    held = [weight for weight in weights if weight is not None and weight.requires_grad and weight.is_leaf]

    def wanting(gradient: bool) -> None:
        for weight in held:
            weight.requires_grad_(gradient)

    try:
        wanting(False)
        yield
    finally:
        try:
            wanting(True)
        finally:  # an interrupt in the midst of it
            wanting(True)


def every_module(energy: Energy) -> Iterator[nn.Module]:
    """Every module of the energy once: itself, what a method is bound to, what a function or a partial holds."""
    seen: set[int] = set()  # like ``module.modules()``, which cannot be asked of a module that has no hash

    def below(module: nn.Module) -> Iterator[nn.Module]:
        if id(module) not in seen:
            seen.add(id(module))
            yield module
            for child in module._modules.values():
                if child is not None:
                    yield from below(child)

    for module in _modules(energy):
        yield from below(module)


def for_rows(energy: Energy, rows: slice) -> Energy:
    """The energy of these rows of the batch alone.

    An energy that is tied to its rows, such as one with a label for each, says by a method ``for_rows(rows)`` what it
    is for some of them; any other is the same for all.
    """
    return energy.for_rows(rows) if hasattr(energy, "for_rows") else energy


def _modules(thing: object, depth: int = 3) -> Iterator[nn.Module]:
    if isinstance(thing, nn.Module):
        yield thing
        return
    inner: list[object] = []
    if depth and isinstance(thing, MethodType):
        inner = [thing.__self__, thing.__func__]
    elif depth and isinstance(thing, functools.partial):
        inner = [thing.func, *thing.args, *thing.keywords.values()]
    elif depth and isinstance(thing, FunctionType):
        inner = [cell.cell_contents for cell in thing.__closure__ or () if _is_filled(cell)]
    elif depth and not isinstance(thing, type) and type(thing).__module__ != "builtins":
        inner = list(getattr(thing, "__dict__", {}).values())
    for value in inner:
        yield from _modules(value, depth - 1)


def _is_filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
