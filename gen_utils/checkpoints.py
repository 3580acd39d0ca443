"""Trained models: safetensors for the weights, a JSON card beside them that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from . import models

FOLDER = Path(__file__).resolve().parent.parent / "checkpoints"


def names(folder: str | os.PathLike = FOLDER) -> list[str]:
    """The models that are here."""
    return sorted(path.stem for path in Path(folder).glob("*.json"))


def save(
    name: str, module: nn.Module, card: dict, *, folder: str | os.PathLike = FOLDER, dtype: torch.dtype | None = None
) -> Path:
    """Write ``NAME.safetensors`` and ``NAME.json``, each in one atomic step, the card last.

    Args:
        module: one of ``gen_utils.models``, which keeps its constructor's arguments in ``config``.
        card: part, data, profile, seconds, seed, metrics: what a reader should know.
        dtype: store floating-point weights in this type; loading restores float32.
    """
    if getattr(models, type(module).__name__, None) is not type(module):
        raise ValueError(f"only networks of gen_utils.models can be saved by name, got {type(module).__name__}")
    weights = {}
    for key, value in module.state_dict().items():
        value = value.detach().cpu().contiguous()
        weights[key] = value.to(dtype) if dtype is not None and value.is_floating_point() else value
    data = save_tensors(weights)
    card = {
        "name": name,
        "model": type(module).__name__,
        "config": module.config,
        "parameters": sum(p.numel() for p in module.parameters()),
        "sha256": hashlib.sha256(data).hexdigest(),
        **card,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{name}.safetensors", data)
    write_atomically(folder / f"{name}.json", (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    return folder / f"{name}.safetensors"


def read_card(name: str, *, folder: str | os.PathLike = FOLDER) -> dict:
    """The card of one model, or an error that lists the known ones."""
    path = Path(folder) / f"{name}.json"
    if name not in names(folder):
        known = ", ".join(names(folder)) or "none"
        raise FileNotFoundError(f"no trained model {name!r} in {folder}; known: {known}")
    return json.loads(path.read_text())


def load(name: str, *, folder: str | os.PathLike = FOLDER) -> nn.Module:
    """The trained model in eval mode, its card as ``.card``.

    Raises:
        FileNotFoundError: no such model; lists the known ones.
        ValueError: the weights are not those the card describes, or no longer fit the network.
    """
    card = read_card(name, folder=folder)
    path = Path(folder) / f"{name}.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing beside its card; restore it from the repository")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise ValueError(f"{path} is damaged: its hash is not the card's; restore it from the repository")
    kind = getattr(models, card["model"], None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ValueError(f"{name} is a {card['model']}, which gen_utils.models does not have")
    module = kind(**card["config"])
    weights = {key: value.float() if value.is_floating_point() else value for key, value in load_tensors(data).items()}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{name}'s weights no longer fit {card['model']}; retrain it. {error}") from None
    module.card = card
    return module.eval()


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target and rename, so that no reader ever sees half a file."""
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
