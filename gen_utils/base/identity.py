"""What a piece of work is asked to do, as plain data: two descriptions are equal when the same is asked.

``describe`` turns settings, networks, data, kernels, callbacks and functions into numbers, strings, lists and
dictionaries; ``identity`` hashes that. Runs and cells of a sweep are kept under their identity, so that a changed
number never brings back an old result, and a changed comment never throws one away.

What counts, and how exactly:

- numbers, strings, containers, dataclasses: every value. A dataclass field with ``metadata={"identity": False}`` is
  left out (where a run lies does not change what it is).
- a network: the class and the plain attributes of every module in it, and its weights, bit by bit.
- whole-number tensors (images, labels): bit by bit. Floating-point tensors outside of a network are results of a
  computation, whose last bits depend on the number of threads: their shape, mean and spread to three digits.
- functions and classes of the libraries and of this package: their name, and what they were given (defaults, closures).
- functions and classes that a notebook defines: what they do, and what they in turn refer to. Of a dictionary of
  settings only the entries that the function reads.
- a number that such a function reads and that nobody has typed, a distance for instance: four digits of it.
- a list, a set or a dictionary that such a function only fills (``seen.append(x)``): that there is one.
- an object with a method ``__identity__``: what that returns.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from .sources import PACKAGE, enclosed_names, global_names, instructions

_DEEPEST = 40  # nested further than any setting: an object that refers to ever new objects


def identity(value: object) -> str:
    """Sixteen hexadecimal digits that change when, and only when, ``describe(value)`` does."""
    return digest(describe(value))


def digest(description: object) -> str:
    """The hash of a description."""
    plain = json.dumps(description, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def describe(value: object) -> object:
    """``value`` as plain data (see above). Raises ValueError for what is nested without end."""
    return _Describer().of(value, 0)


class _Describer:
    """One description: remembers what it is inside of, since functions and modules may refer to each other."""

    def __init__(self) -> None:
        self.inside: set[int] = set()

    def of(self, value: object, depth: int) -> object:
        if value is None or isinstance(value, (bool, int, float, str)):
            return repr(value) if isinstance(value, float) else value  # JSON has no word for NaN
        if isinstance(value, np.generic):
            return self.of(value.item(), depth)
        if depth > _DEEPEST:
            raise ValueError(f"a {type(value).__name__} nested more than {_DEEPEST} deep cannot be told from another")
        if id(value) in self.inside:
            return {"again": getattr(value, "__qualname__", type(value).__qualname__)}
        self.inside.add(id(value))
        try:
            return self._of(value, depth + 1)
        finally:
            self.inside.discard(id(value))

    def _of(self, value: object, depth: int) -> object:
        if hasattr(type(value), "__identity__"):
            return {"class": name_of(type(value)), "identity": self.of(value.__identity__(), depth)}
        if isinstance(value, Mapping):
            if all(isinstance(key, str) for key in value):
                return {"{}": {key: self.of(held, depth) for key, held in value.items()}}
            return {"{}": sorted(([self.of(k, depth), self.of(v, depth)] for k, v in value.items()), key=repr)}
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            return [self.of(item, depth) for item in value]
        if isinstance(value, (set, frozenset)):
            return {"set": sorted((self.of(item, depth) for item in value), key=repr)}
        if isinstance(value, (bytes, range, slice, torch.dtype, torch.device, torch.Size, np.dtype, complex)):
            return repr(value)
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, torch.Generator):
            return {"generator": _hash(value.get_state())}
        if isinstance(value, np.ndarray):
            return (
                self._tensor(torch.from_numpy(np.ascontiguousarray(value)))
                if value.dtype.kind in "biuf"
                else repr(value)
            )
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, nn.Module):
            return self._network(value, depth)
        if isinstance(value, functools.partial):
            return {"partial": [self.of(part, depth) for part in (value.func, list(value.args), value.keywords)]}
        if isinstance(value, MethodType):
            return {"method": [self.of(value.__func__, depth), self.of(value.__self__, depth)]}
        if isinstance(value, FunctionType):
            return self._function(value, depth)
        if isinstance(value, type):
            return self._class(value, depth)
        if isinstance(value, ModuleType):
            return {"module": value.__name__}
        if isinstance(value, BuiltinFunctionType) or not hasattr(value, "__dict__"):
            return {"object": name_of(value if hasattr(value, "__qualname__") else type(value))}
        return {"class": self.of(type(value), depth), "holds": self._fields(value, depth)}

    def _fields(self, value: object, depth: int) -> dict:
        if dataclasses.is_dataclass(value):
            wanted = [f.name for f in dataclasses.fields(value) if f.metadata.get("identity", True)]
            return {name: self.of(getattr(value, name), depth) for name in wanted}
        return {name: self.of(held, depth) for name, held in vars(value).items()}

    def _tensor(self, value: Tensor) -> dict:
        told: dict[str, object] = {"tensor": [str(value.dtype), list(value.shape)]}
        if not value.dtype.is_floating_point or not value.numel():
            return {**told, "holds": _hash(value)}
        return {**told, "mean and spread": _once(value, _summary)}

    def _network(self, network: nn.Module, depth: int) -> dict:
        modules = {}
        for name, module in network.named_modules():
            # A card tells of the weights, which are counted themselves; what is private is Lightning's, or derived.
            own = {k: v for k, v in vars(module).items() if not k.startswith("_") and k not in _MODULES_OWN}
            modules[name] = [self.of(type(module), depth), {k: self.of(v, depth) for k, v in own.items()}]
        weights = hashlib.sha256()
        for name, tensor in sorted(network.state_dict().items()):
            if isinstance(tensor, Tensor):
                weights.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}{_hash(tensor)}".encode())
        return {"network": modules, "weights": weights.hexdigest()[:16]}

    def _function(self, function: FunctionType, depth: int) -> dict:
        told: dict[str, object] = {"function": name_of(function)}
        given = [function.__defaults__, function.__kwdefaults__]
        reads = enclosed_names(function.__code__)
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        held = [self._cell(cell, reads.get(name), depth) for name, cell in cells]
        if any(given) or held:
            told["given"] = [self.of(given, depth), held]
        if not is_library(function):
            told = {**told, "function": function.__qualname__, "does": _written(function.__code__)}
            told["reads"] = self._globals(function.__code__, function.__globals__, depth)
        return told

    def _cell(self, cell: CellType, parts: set[str] | None, depth: int) -> object:
        try:
            value = cell.cell_contents
        except ValueError:  # not filled yet
            return "empty"
        return _FILLED if _only_filled(value, parts) else self.of(value, depth)

    def _globals(self, code: CodeType, names: Mapping, depth: int) -> dict:
        found = {}
        for name, parts in sorted(global_names(code).items(), key=lambda item: item[0]):
            if name not in names:
                continue  # a builtin, or not defined yet
            value = names[name]
            if isinstance(value, float) and len(repr(value)) > _TYPED:
                value = float(f"{value:.4g}")  # a result, whose last digits follow the number of threads
            if _only_filled(value, parts):
                found[name] = _FILLED
            elif parts is not None and isinstance(value, dict):
                found[name] = {part: self.of(value[part], depth) for part in sorted(parts) if part in value}
            else:
                found[name] = self.of(value, depth)
        return found

    def _class(self, kind: type, depth: int) -> object:
        if is_library(kind):
            return name_of(kind)
        methods = {k: v for k, v in vars(kind).items() if not k.startswith("__") or isinstance(v, FunctionType)}
        methods = {k: getattr(v, "__func__", getattr(v, "fget", v)) for k, v in methods.items()}
        return {"class": kind.__qualname__, "of": [self.of(base, depth) for base in kind.__bases__],
                "has": {k: self.of(v, depth) for k, v in methods.items()}}  # fmt: skip


_TYPED = 12  # characters; nobody types a longer number
_FILLS = {"append", "extend", "insert", "add", "update", "setdefault"}
_FILLED = "filled by it"


def _only_filled(value: object, parts: set[str] | None) -> bool:
    """A container that a function adds to and never looks at: what it holds is a result."""
    return bool(parts) and parts <= _FILLS and isinstance(value, (list, set, dict))


_MODULES_OWN = {*vars(nn.Module()), "training", "card", "trainer", "prepare_data_per_node",
                "allow_zero_length_dataloader_with_multiple_devices"}  # fmt: skip
_libraries = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


@functools.cache
def _is_library(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__":
        return False
    if file is None:
        return module in sys.builtin_module_names or module in sys.modules
    place = Path(file).resolve()
    return any(place.is_relative_to(folder) for folder in (*_libraries, PACKAGE))


def is_library(thing: object) -> bool:
    """Is a function or class part of Python, of an installed package or of this one? Else it is the notebook's."""
    return _is_library(getattr(thing, "__module__", None) or "builtins")


def name_of(thing: object) -> str:
    """Such as gen_utils.models.energy.SmallEnergy."""
    return f"{getattr(thing, '__module__', None)}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def _written(code: CodeType) -> str:
    return hashlib.sha256(repr(list(instructions(code))).encode()).hexdigest()[:16]


_LARGE = 2**12  # elements from which on a tensor's description is remembered
_remembered = WeakIdKeyDictionary()  # tensor -> (its version, its description)


def _once(tensor: Tensor, work: Callable[[Tensor], str]) -> str:
    """A large tensor is described once, as long as nobody changes it in place."""
    if tensor.numel() < _LARGE or tensor.is_inference():
        return work(tensor)
    known = _remembered.get(tensor)
    if known is None or known[0] != tensor._version:
        known = _remembered[tensor] = (tensor._version, work(tensor))
    return known[1]


def _hash(tensor: Tensor) -> str:
    """Of a tensor's bytes."""
    return _once(tensor, _hash_of)


def _hash_of(tensor: Tensor) -> str:
    plain = tensor.detach().cpu().contiguous()
    plain = plain.view(torch.uint8) if plain.ndim else plain.reshape(1).view(torch.uint8)
    return hashlib.blake2b(plain.numpy().data, digest_size=12).hexdigest()


def _summary(tensor: Tensor) -> str:
    """Mean and spread to three digits, which the last bits of a computation do not change."""
    spread, mean = torch.std_mean(tensor.detach().double().cpu(), correction=0)
    return f"{mean:.2e} ± {spread:.2e}" if abs(mean) > 1e-3 * spread else f"0 ± {spread:.2e}"
