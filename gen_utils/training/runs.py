"""What a training run is, and the folder that holds it.

A run is what it is asked to do: every network with its configuration and first weights, objective and optimiser,
``FitConfig``, the images themselves, the callbacks, the seed (see ``base.identity``). From that follows the name of its
folder, so that nobody types a key, and a changed number never brings back an old model. The code that made it is
noted beside: a change there does not throw a finished run away, it is told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..base.files import write_atomically
from ..base.identity import describe, digest
from ..base.places import runs_root
from ..base.sources import PACKAGE, code_hashes, imported_files

NOTE = "identity.json"
_WRAPPERS = ("holds", "network", "class", "identity", "{}")  # of a description; they say nothing to a reader
_TRAINS = ("losses.py", "models", "samplers", "training", "data/batches.py", "data/moves.py", "data/image_set.py")
# What somebody who names a folder may change when the run goes on: how long, how often it is saved, on what.
_MAY_CHANGE = ("max_steps", "checkpoint_every", "log_every", "validate_every", "devices", "num_nodes", "strategy")


@dataclass(frozen=True)
class Identity:
    """One run.

    Attributes:
        recipe: all that was asked, as plain data.
        weights: the hash of the first weights of every network.
        code: file -> hash, of the code that the run goes through.
    """

    recipe: dict
    weights: str
    code: dict[str, str]

    @property
    def key(self) -> str:
        """Names the folder: the recipe, then the first weights."""
        return f"{digest(self.recipe)[:10]}-{self.weights[:6]}"

    def folder(self, name: str) -> Path:
        """``runs/NAME-key``, or under $GEN_RUNS."""
        return runs_root() / f"{name}-{self.key}"


def identify(module: nn.Module, train: object, val: object, config: object, callbacks: Sequence = ()) -> Identity:
    """The identity of a training that has not begun.

    Args:
        module: with its first weights. train, val: image sets. config: a ``FitConfig``.
    """
    told = describe(module)
    # The weights apart: a folder that somebody names may go on from a module made without its seed.
    weights = digest([found.pop("weights") for found in _networks(told)])
    recipe = {
        "module": told,
        "train": describe(train),
        "val": describe(val),
        "config": describe(config),
        "callbacks": describe(list(callbacks)),
    }
    return Identity(recipe, weights, code_behind(recipe))


def code_behind(description: object, within: Sequence[str] = _TRAINS) -> dict[str, str]:
    """File -> hash, of the package's code that a description names, and of what that imports.

    Args:
        within: files and folders of the package that count.
    """
    named = set()
    for text in _strings(description):
        for match in re.findall(rf"\b{PACKAGE.name}(?:\.\w+)+", text):
            parts = match.split(".")
            for end in range(len(parts), 1, -1):
                place = PACKAGE.parent.joinpath(*parts[:end])
                found = next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)
                if found is not None:
                    named.add(found)
                    break
    places = [PACKAGE / place for place in within]
    behind = (path for path in imported_files(named) if path.name != "__init__.py")  # which only pass names on
    return code_hashes(path for path in behind if any(path.is_relative_to(place) for place in places))


def take_folder(folder: Path, identity: Identity, *, named: bool, resuming: bool) -> dict:
    """Make sure that a folder holds this run, or nothing yet, and note what it holds.

    Args:
        named: somebody chose the folder; the run may then differ in how long it is and where it runs.
        resuming: it goes on from what is there; else it starts afresh.

    Returns:
        the note that was there before, or an empty dictionary.

    Raises:
        ValueError: the folder holds another run. Nothing is deleted.
    """
    note = folder / NOTE
    held = read_note(note) if resuming else {}
    if held:
        before, now = held["recipe"], identity.recipe
        differs = list(differences(*(_essentials(before, now) if named else (before, now))))
        if not named and held["weights"] != identity.weights:
            differs.append("the first weights")
        if differs:
            more = f" (and {len(differs) - 1} more)" if len(differs) > 1 else ""
            raise ValueError(
                f"{folder} holds another run: {differs[0]}{more}. Give another run_dir, or resume=None to start afresh"
            )
        return held
    folder.mkdir(parents=True, exist_ok=True)
    text = {"key": identity.key, "weights": identity.weights, "recipe": identity.recipe, "code": identity.code}
    write_atomically(note, (json.dumps(text, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))
    if not named:
        _tell_of_siblings(folder, identity)
    return {}


def read_note(path: Path) -> dict:
    """What a run's folder says that it holds; empty where it says nothing.

    Raises:
        ValueError: a note that cannot be read.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
        return {name: held[name] for name in ("key", "weights", "recipe", "code")}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged; delete its folder to train afresh") from None


def changed_code(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """The files whose code is another than it was."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def tell_of_older_code(place: Path, files: Sequence[str], what: str = "was made") -> None:
    """One line, when a result that is loaded was made by other code than today's."""
    if files:
        shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        if place.is_relative_to(runs_root()):  # a kept run shows this line: no folders of one machine in it
            place = place.relative_to(runs_root().parent)
        print(f"{place} {what} by another version of its code ({shown}); delete it to make it anew.")


def differences(before: object, now: object, path: str = "") -> Iterator[str]:
    """Where two descriptions differ, in words: "config: lr was 0.0005 and is 0.5"."""
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        for key in before:
            inner = (
                path
                if key in ("holds", "network", "class", "identity", "{}") or not key
                else f"{path}.{key}".strip(".")
            )
            yield from differences(before[key], now[key], inner)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from differences(old, new, path if len(before) <= 2 else f"{path}[{i}]")
    elif before != now:
        yield f"{path or 'the recipe'} was {_short(before)} and is {_short(now)}"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _essentials(before: dict, now: dict) -> tuple[dict, dict]:
    """What may not differ where somebody chose the folder: settings, networks, data. Watchers and subclasses may."""

    def essential(recipe: dict, other: dict) -> dict:
        held = {name: value for name, value in recipe["config"]["holds"].items() if name not in _MAY_CHANGE}
        modules, others = recipe["module"]["network"], other["module"]["network"]
        own = {name: value for name, value in modules[""][1].items() if name in others[""][1]}
        return {"config": held, "train": recipe["train"], "val": recipe["val"], "module": {**modules, "": own}}

    return essential(before, now), essential(now, before)


def _tell_of_siblings(folder: Path, identity: Identity) -> None:
    start = folder.name.removesuffix(identity.weights[:6])
    others = [path for path in folder.parent.glob(f"{start}*") if path != folder and (path / "last.ckpt").exists()]
    if others:
        print(
            f"{others[0]} did the same from other first weights. This run begins anew; to find a run again, call "
            "torch.manual_seed before the network is made."
        )


def _networks(description: object) -> Iterator[dict]:
    """Every network in a description, innermost last."""
    if isinstance(description, dict):
        if "weights" in description and "network" in description:
            yield description
        for value in description.values():
            yield from _networks(value)
    elif isinstance(description, list):
        for value in description:
            yield from _networks(value)


def _strings(description: object) -> Iterable[str]:
    if isinstance(description, str):
        yield description
    elif isinstance(description, dict):
        for key, value in description.items():
            yield from _strings(key)
            yield from _strings(value)
    elif isinstance(description, list):
        for value in description:
            yield from _strings(value)
