"""Is everything that a check stands on still what it was? Asked whenever a student's function returns."""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)

import numpy as np
import torch

STANDS_ON = (
    *("builtins", "copy", "functools", "math", "operator", "threading", "numpy", "scipy.special", "scipy.stats"),
    *("torch", "torch.nn", "torch.nn.functional", "torch.autograd", "torch.autograd.functional", "torch.linalg"),
    *("torch.random", "torch.testing"),
)
VARIES = {"Storage"}  # follows the default type
OURS = "gen_utils."
CLASSES = (torch.Tensor, torch.Generator, torch.nn.Module, torch.nn.Parameter, torch.autograd.Function)
_HELD = (FunctionType, BuiltinFunctionType, MethodDescriptorType, WrapperDescriptorType, type, ModuleType, property)
_BUILTIN = set(dir(builtins)) - {"__doc__", "__name__", "__spec__", "__loader__", "__package__"}
_SEEMS = (torch.Tensor, np.ndarray, np.generic, int, float, complex, str, bytes)


class Integrity:
    """What modules and classes hold now, remembered by identity; a function also by its code and its defaults."""

    def __init__(self, modules: Sequence[str] = ()) -> None:
        names = {*STANDS_ON, *modules, *(name for name in sys.modules if name.startswith(OURS))}
        self._spaces = list(_spaces(sorted(names)))
        self._before = [
            {
                key: (value, *_inside(value))
                for key, value in list(space.items())
                if isinstance(value, _HELD) and key not in VARIES
            }
            for _, space in self._spaces
        ]
        self._names = [set(space) for _, space in self._spaces]
        self._loaded = {name: sys.modules[name] for name in names if name in sys.modules}
        self._threads = threading.active_count()

    def broken(self) -> str | None:
        """The name of something that is no longer what it was, or None."""
        if sys.gettrace() or sys.getprofile():
            return "what Python calls at every line"
        for name, module in self._loaded.items():
            if sys.modules.get(name) is not module:
                return f"the module {name}"
        for (name, space), names, before in zip(self._spaces, self._names, self._before, strict=True):
            for key in space.keys() - names:  # a new name hides a builtin, or what a class inherits
                if key in _BUILTIN or isinstance(space, MappingProxyType):
                    return f"{name}.{key}"
            for key, (value, *inside) in before.items():
                now = space.get(key)
                if now is not value or any(a is not b for a, b in zip(inside, _inside(now), strict=True)):
                    return f"{name}.{key}"
        return None

    def quiet(self) -> bool:
        """Do no more threads run than at the beginning?"""
        return threading.active_count() <= self._threads


def watched(function: Callable, integrity: Integrity, found: list[str]) -> Callable:
    """The student's function. After each call it adds to ``found`` what the call has changed, or pretends to be."""

    def answer(*args, **kwargs):
        value = function(*args, **kwargs)
        said = _pretends(value) or integrity.broken()
        if said and said not in found:
            found.append(said)
        return value

    # No functools.wraps: __wrapped__ would lead from here to the function and back.
    answer.__name__, answer.__doc__ = getattr(function, "__name__", "answer"), function.__doc__
    return answer


def _spaces(names: Sequence[str]) -> Iterator[tuple[str, Mapping]]:
    for name in names:
        module = sys.modules.get(name)
        if module is None:
            continue
        yield name, vars(module)
        for value in list(vars(module).values()):  # the energies and decoders of the checks, their results and slips
            if isinstance(value, type) and name.startswith(OURS) and value.__module__ == name:
                yield f"{name}.{value.__name__}", vars(value)
    for each in CLASSES:
        yield each.__name__, vars(each)


def _inside(value: object) -> tuple:
    return (value.__code__, value.__defaults__, value.__kwdefaults__) if isinstance(value, FunctionType) else ()


def _pretends(value: object, depth: int = 0) -> str | None:
    """A value of a class that only seems to be a tensor or a number could answer every comparison with yes."""
    if isinstance(value, (tuple, list)) and depth < 4:
        return next((said for each in value if (said := _pretends(each, depth + 1))), None)
    kind = type(value)
    home = getattr(sys.modules.get(kind.__module__), kind.__name__, None)
    seems = issubclass(kind, _SEEMS) or hasattr(kind, "__torch_function__") or hasattr(kind, "__array__")
    if kind is home or not seems:
        return None
    return f"a {kind.__name__} of its own in place of a plain value"
