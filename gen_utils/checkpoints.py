"""Trained models: safetensors for the weights, a JSON card beside them that says what they are."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from . import models
from .base.files import plain_write_errors, write_atomically
from .base.machine import provenance
from .base.places import CHECKPOINTS
from .base.plain import not_finite, plain


def names(folder: str | os.PathLike = CHECKPOINTS) -> list[str]:
    """The models that are here, those with a damaged card too; hidden files and other JSON are no models."""
    return sorted(path.stem for path in Path(folder).glob("*.json") if _is_card(path))


def _is_card(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_file():  # macOS leaves "._NAME" beside each file on some disks
        return False
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # no JSON: a damaged card, if there are weights
        return path.with_suffix(".safetensors").exists()
    return isinstance(held, dict) and {"model", "config", "sha256"} <= held.keys()


def save(
    name: str,
    module: nn.Module,
    card: dict,
    *,
    folder: str | os.PathLike = CHECKPOINTS,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write ``NAME.safetensors`` and ``NAME.json``, so that a kill at any moment leaves the old model or the new one.

    Two files cannot be replaced in one step. So the weights first wait under a name that holds their hash; then the
    card is replaced, and with it the model, since ``load`` takes the waiting weights if the card speaks of them;
    then they get their name.

    Args:
        module: one of ``gen_utils.models``, which keeps its constructor's arguments in ``config``.
        card: part, data, profile, seconds, seed, metrics: what a reader should know. Date, commit, machine and the
            command that trains it again are added unless they are there.
        dtype: store floating-point weights in this type; loading restores float32.

    Raises:
        ValueError: not one of the package's networks; metrics without a value; a weight or a number of the card that
            is not finite, or a weight that ``dtype`` cannot hold.
        CannotWrite: the disk is full or read-only; the old model is still there.
    """
    if getattr(models, type(module).__name__, None) is not type(module):
        raise ValueError(f"only networks of gen_utils.models can be saved by name, got {type(module).__name__}")
    for key, entry in card.get("metrics", {}).items():
        if not isinstance(entry, dict) or "value" not in entry:
            raise ValueError(f"a metric is {{'value': ..., and what it stands for}}; {key} is {entry!r}")
    if dtype not in (None, torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"weights are stored in float32, bfloat16 or float16, got {dtype}")
    data = save_tensors({key: _stored(value, key, name, dtype) for key, value in module.state_dict().items()})
    digest = hashlib.sha256(data).hexdigest()
    card = {
        "name": name,
        "model": type(module).__name__,
        "config": module.config,
        "parameters": sum(p.numel() for p in module.parameters()),
        "sha256": digest,
        **provenance(),
        "command": command(name, card.get("profile", "laptop")),
        **card,
    }
    text = _written(card, name)
    folder = Path(folder)
    path, waiting = folder / f"{name}.safetensors", _waiting(folder, name, digest)
    with plain_write_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(waiting, data)
        write_atomically(folder / f"{name}.json", text)
        os.replace(waiting, path)
        for left in folder.glob(glob.escape(_waiting(folder, name, "").name) + "*"):  # by a process that was killed
            left.unlink(missing_ok=True)
    return path


def command(name: str, profile: str = "laptop") -> str:
    """What trains a model again."""
    return f"python -m gen_utils models train {name} --profile {profile} --data path/to/data"


def rewrite_card(name: str, changes: dict, *, folder: str | os.PathLike = CHECKPOINTS) -> dict:
    """Replace parts of a card, its weights left alone; returns the new card.

    Raises:
        FileNotFoundError: no such model. CannotWrite: the disk is full or read-only; the old card is still there.
        ValueError: a number that is not finite.
    """
    text = _written({**read_card(name, folder=folder), **changes}, name)
    write_atomically(Path(folder) / f"{name}.json", text)
    return json.loads(text)


def read_card(name: str, *, folder: str | os.PathLike = CHECKPOINTS) -> dict:
    """The card of one model, or an error that lists the known ones."""
    path = Path(folder) / f"{name}.json"
    if name not in names(folder):
        known = ", ".join(names(folder)) or "none"
        raise FileNotFoundError(f"no trained model {name!r} in {folder}; known: {known}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); restore it from the repository") from None


def load(name: str, *, folder: str | os.PathLike = CHECKPOINTS) -> nn.Module:
    """The trained model in eval mode, its card as ``.card``.

    Raises:
        FileNotFoundError: no such model; lists the known ones.
        ValueError: the weights are not those the card describes, or no longer fit the network.
    """
    card, data = _card_and_weights(name, Path(folder))
    kind = getattr(models, card["model"], None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ValueError(f"{name} is a {card['model']}, which gen_utils.models does not have")
    module = kind(**card["config"])
    weights = {key: value.float() if value.is_floating_point() else value for key, value in load_tensors(data).items()}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        again = card.get("command", command(name, card.get("profile", "laptop")))
        raise ValueError(f"{name}'s weights no longer fit {card['model']}; train it again: {again}. {error}") from None
    module.card = card
    return module.eval()


def _stored(value: Tensor, key: str, name: str, dtype: torch.dtype | None) -> Tensor:
    """A weight as it is written; what loading makes of it must be finite."""
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point():
        return value
    stored = value if dtype is None else value.to(dtype)
    if not torch.isfinite(stored.float()).all():
        if torch.isfinite(value).all():
            raise ValueError(
                f"{key} of {name} reaches {value.abs().max():.3g}, more than {dtype or torch.float32} holds; "
                "take a wider dtype, or train it with smaller weights"
            )
        raise ValueError(f"{key} of {name} is not finite; save a model from before it diverged")
    return stored


def _written(card: dict, name: str) -> bytes:
    """A card as JSON that any program reads: plain numbers, and none that is not finite."""
    card = cast(dict, plain(card))
    for place, value in not_finite(card):
        raise ValueError(f"{place} on the card of {name} is {value}; leave out what could not be measured")
    try:
        return (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode()
    except TypeError as error:
        raise TypeError(f"a card holds numbers, strings, lists and dictionaries; that of {name}: {error}") from None


def _waiting(folder: Path, name: str, digest: str) -> Path:
    """Where new weights lie until the card speaks of them."""
    return folder / f".{name}.safetensors.{digest[:16]}"


def _card_and_weights(name: str, folder: Path) -> tuple[dict, bytes]:
    """A card and the bytes of its weights, verified by their hash."""
    path = folder / f"{name}.safetensors"
    for _ in range(2):  # a model that is being replaced this very moment: once more
        card = read_card(name, folder=folder)
        for place in (path, _waiting(folder, name, card["sha256"])):
            with contextlib.suppress(FileNotFoundError):
                data = place.read_bytes()
                if hashlib.sha256(data).hexdigest() == card["sha256"]:
                    return card, data
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing beside its card; restore it from the repository")
    raise ValueError(f"{path} is damaged: its hash is not the card's; restore it from the repository")
