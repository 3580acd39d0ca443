"""The results of single cells on disk: under their identity, whole or not at all, with what made them beside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ..base.files import plain_write_errors, write_atomically
from ..base.identity import describe, digest
from ..training.runs import code_behind

_COUNTS = ("losses.py", "models", "samplers", "training", "evaluation", "data")


@dataclass(frozen=True)
class Cell:
    """One run of the experiment: what went in and what came out."""

    name: str
    seed: int
    values: dict  # numbers, strings and lists that the experiment returned
    tensors: dict[str, Tensor]
    seconds: float
    diverged: str | None  # why it did not finish, or None


@dataclass(frozen=True)
class Study:
    """What all cells of a sweep have in common.

    Attributes:
        experiment: the description of the function (see ``base.identity``): what it does, and all it refers to.
        code: file -> hash, of the package's code that it names, and of what that imports.
    """

    experiment: object
    code: dict[str, str]

    @classmethod
    def of(cls, experiment: Callable) -> Study:
        told = describe(experiment)
        return cls(told, code_behind(told, _COUNTS))

    def key(self, settings: Mapping) -> str:
        """The identity of one cell: the experiment and its settings.

        Raises:
            TypeError: settings that are not plain numbers, strings, lists, dictionaries, or None.
        """
        try:
            json.dumps(settings)
        except TypeError as error:
            raise TypeError(f"a sweep's settings are numbers, strings, lists or dictionaries: {error}") from None
        return digest({"experiment": self.experiment, "settings": describe(dict(settings))})


def write_cell(path: Path, cell: Cell, settings: Mapping, code: Mapping[str, str]) -> None:
    """Keep a finished cell as ``PATH.json`` and, if it has tensors, ``PATH.safetensors``.

    Raises:
        CannotWrite: the disk is full or read-only.
    """
    with plain_write_errors(path.with_suffix(".json")):
        path.parent.mkdir(parents=True, exist_ok=True)
    data = save_tensors(cell.tensors) if cell.tensors else None
    if data is not None:
        write_atomically(path.with_suffix(".safetensors"), data)
    text = {
        "identity": path.name,
        "settings": dict(settings),
        "values": cell.values,
        "has_tensors": bool(cell.tensors),
        "sha256": None if data is None else hashlib.sha256(data).hexdigest(),
        "seconds": cell.seconds,
        "diverged": cell.diverged,
        "torch": torch.__version__,
        "code": dict(code),
    }
    write_atomically(path.with_suffix(".json"), json.dumps(text, indent=1).encode())  # last: it says "finished"


def read_cell(path: Path, label: str, seed: int) -> tuple[Cell, dict[str, str]] | None:
    """A kept cell and the code that made it; None where there is none, or a damaged one, which is to be run again.

    Raises:
        ValueError: a whole file that holds another cell than its name says.
    """
    place = path.with_suffix(".json")
    try:
        kept = json.loads(place.read_text(encoding="utf-8"))
        tensors = {}
        if kept["has_tensors"]:
            data = path.with_suffix(".safetensors").read_bytes()
            if "sha256" in kept and hashlib.sha256(data).hexdigest() != kept["sha256"]:
                return None
            tensors = load_tensors(data)
        held = kept["identity"]
        cell = Cell(label, seed, kept["values"], tensors, kept["seconds"], kept["diverged"])
        code = dict(kept["code"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, SafetensorError):  # damaged: run it again
        return None
    if held != path.name:
        raise ValueError(f"{place} holds the result of another experiment ({held}); move it away, or delete it")
    return cell, code
