"""The training calls of a notebook, asked but not answered: what each run would be, and with another number.

A notebook is cut down to the statements that its training calls depend on. They are executed with a ``fit`` that only
notes the identity it was asked for, and hands the module back untrained. Then one number at a time is changed, and what
depends on it is executed again.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from gen_utils.base.places import NOTEBOOKS
from gen_utils.base.sources import global_names
from gen_utils.data.stand_ins import BUILT_IN
from gen_utils.experiments import kept
from gen_utils.experiments.kept import Cell, Study
from gen_utils.profiles import Settings
from gen_utils.publishing.execute import with_parameters
from gen_utils.training import runs
from gen_utils.training.run import Run

TRAINERS = {"fit", "train_gan", "train_jem", "train_vaebm", "train_validate_test", "sweep"}


class Planned(Exception):
    """Inside a sweep nothing is trained: the identity is known, that is enough."""


class Untrained(Run):
    """What a planned run gives back; its curves are flat."""

    def curve(self, name):
        return [1, 2, 3], [1.0, 1.0, 1.0]


class Anything(dict):
    """The values of a cell that nobody ran: each is one, so that what compares them has something to compare."""

    def __missing__(self, key):
        return 1.0

    def get(self, key, default=None):
        return self[key]


class One(float):
    """The number one, and a list of ones where somebody looks into it."""

    def __getitem__(self, i):
        return self


class Measures(Anything):
    """The values of a cell that trains nothing, such as figures of a model that ships: numbers or lists."""

    def __missing__(self, key):
        return One(1.0)


class Plans:
    """Stands in for ``fit`` and ``sweep``; ``keys`` are the identities asked for, in order."""

    def __init__(self):
        self.keys: list[str] = []
        self.inside = False

    def __identity__(self):
        return "plans"

    def fit(self, module, train, val=None, *, config, resume=None, callbacks=(), identity=None):
        identity = identity or runs.identify(module, train, val, config, callbacks)
        self.keys.append(identity.key)
        if self.inside:
            raise Planned
        module.eval()
        for callback in callbacks:
            if hasattr(callback, "values"):
                callback.steps, callback.values = [1], [1.0]
        return Untrained(module, {}, 1.0, config.max_steps, Path("nowhere"), 0, identity, train.title, len(train))

    def sweep(self, name, experiment, cells, *, seeds=(0,), **common):
        study, found, inside = Study.of(experiment), [], self.inside
        text = json.dumps(study.experiment)
        trains = any(trainer in text for trainer in (*TRAINERS - {"fit", "sweep"}, "Plans"))
        for label, settings in cells.items():
            for seed in seeds:
                wanted = {**common, **settings, "seed": seed}
                self.keys.append(study.key(wanted))
                found.append(Cell(label, seed, Anything() if trains else Measures(), {}, 1.0, None))
        self.inside = True
        try:
            if not trains:
                return found  # it trains by itself, a few numbers, at its own cost; or nothing
            for settings in reversed(list(cells.values())):  # until one of them trains
                try:
                    experiment(**{**common, **settings, "seed": next(iter(seeds))})
                except Planned:
                    break
                except Exception:  # what it draws from an untrained network may be of no use to it
                    continue
        finally:
            self.inside = inside
        return found


_DRAWS = dict(BUILT_IN)


@functools.cache
def _drawn(name: str, split: str):
    """A stand-in, drawn once for all parts and limits."""
    return _DRAWS[name](split)


@contextlib.contextmanager
def planning(monkeypatch) -> Iterator[Plans]:
    """``fit`` and ``sweep`` replaced everywhere a notebook or a trainer finds them; data and judges are read once."""
    from gen_utils import checkpoints, samplers
    from gen_utils import data as datasets
    from gen_utils.evaluation import frechet

    whole = samplers.sample
    monkeypatch.setattr(  # what is drawn is of no interest
        samplers,
        "sample",
        lambda energy, x0, kernel, n_steps, **more: whole(energy, x0, kernel, min(n_steps, 1), **more),
    )

    plans = Plans()
    for module in ("training", "training.fit", "training.rescue", "training.gan", "experiments.train_test"):
        monkeypatch.setattr(sys.modules[f"gen_utils.{module}"], "fit", plans.fit)
    monkeypatch.setattr(sys.modules["gen_utils.experiments.sweep"], "sweep", plans.sweep)
    for name in BUILT_IN:
        monkeypatch.setitem(BUILT_IN, name, functools.partial(_drawn, name))
    load = datasets.load_images

    @functools.cache
    def some(*asked, **options):  # enough for what the notebooks take out of a set, and soon seen by a network
        return load(*asked, **options).take(slice(400))

    monkeypatch.setattr(datasets, "load_images", some)

    def features(network, images, **settings):
        return torch.randn(len(images), 8, generator=torch.Generator().manual_seed(len(images)))

    monkeypatch.setattr(frechet, "extract_features", features)
    monkeypatch.setattr(frechet, "frechet_distance", lambda a, b: 1.0)
    monkeypatch.setattr(sys.modules["gen_utils.experiments.train_test"], "energy_report", lambda *asked: Anything())
    for module in (runs, kept):  # which code made it is not part of what a run is
        monkeypatch.setattr(module, "code_behind", lambda *description: {})
    monkeypatch.setattr(checkpoints, "load", functools.lru_cache(maxsize=None)(checkpoints.load))
    yield plans


class Slice:
    """The statements of a notebook that its training calls depend on, executed once."""

    def __init__(self, part: str, plans: Plans, data_root: str):
        source = (NOTEBOOKS / f"{part}.py").read_text(encoding="utf-8")
        source = with_parameters(source, {"profile": "smoke", "data_root": data_root, "seed": 0})
        self.plans, self.body = plans, ast.parse(source).body
        self.stores = [_stores(node) for node in self.body]
        self.loads = [_loads(node) for node in self.body]
        self.functions = {node.name: i for i, node in enumerate(self.body) if isinstance(node, ast.FunctionDef)}
        self.wanted = self._wanted()
        self.space = {"__name__": "__main__"}
        self.keys = self.run(self.wanted)

    def reach(self, i: int) -> set[str]:
        """The names that a statement reads, and those that the functions it calls read."""
        found, waiting = set(), [i]
        while waiting:
            for name in self.loads[waiting.pop()] - found:
                found.add(name)
                if name in self.functions:
                    waiting.append(self.functions[name])
        return found

    def trains(self, i: int) -> bool:
        return not isinstance(self.body[i], ast.FunctionDef) and bool(self.reach(i) & TRAINERS)

    def _wanted(self) -> list[int]:
        """Backward from the training calls: the last statements that define what is needed."""
        targets = {i for i in range(len(self.body)) if self.trains(i) and not _is_import(self.body[i])}
        keep, needed = [], set()
        for i in range(max(targets), -1, -1):
            if i in targets or self.stores[i] & needed or _seeds(self.body[i]):
                keep.append(i)
                needed -= _defines(self.body[i])
                if not isinstance(self.body[i], ast.FunctionDef):  # what a function reads, its callers have asked for
                    needed |= self.reach(i)
        return keep[::-1]

    def run(self, statements: list[int]) -> dict[int, list[str]]:
        """Execute statements; the identities that each asked for."""
        asked = {i: self._execute(i, self.body[i]) for i in statements}
        return {i: keys for i, keys in asked.items() if keys}

    def _execute(self, i: int, node: ast.stmt) -> list[str]:
        self.plans.keys = []
        exec(compile(ast.Module([node], []), f"statement {i}", "exec"), self.space)
        return self.plans.keys

    def after(self, changed: int, names: set[str]) -> list[int]:
        """The statements of the slice from ``changed`` on that depend on it, or on ``names``."""
        names, found = set(names), []
        for i in self.wanted:
            if (
                i == changed
                or (i > changed and not _is_import(self.body[i]) and (self.reach(i) & names))
                or _seeds(self.body[i])
            ):
                found.append(i)
                names |= self.stores[i]
        return found

    def changed(self, i: int, node: ast.stmt | None, space: dict | None = None, names: set[str] = frozenset()) -> bool:
        """Is another run asked for anywhere when statement i is ``node``, or when ``space`` holds other values?"""
        before = dict(self.space)
        self.space.update(space or {})
        statements = [s for s in self.after(i, self.stores[i] | names) if s != i or node is not None]
        try:
            for s in statements:
                keys = self._execute(s, node if s == i else self.body[s])
                if keys and keys != self.keys[s]:
                    return True
            return False
        finally:
            self.space.clear()
            self.space.update(before)

    # --- what can be changed -----------------------------------------------------------------------------------------

    def training_code(self) -> list[int]:
        """The statements that train, and those that define what they read: recipes, networks, games."""
        return [i for i in self.wanted if not _is_import(self.body[i]) and "choose" not in self.loads[i]]

    def settings_read(self) -> set[str]:
        """The entries of the profile that training code reads."""
        return set().union(*(_settings(self.body[i]) for i in self.training_code()))

    def numbers(self) -> Iterator[tuple[str, int, ast.stmt]]:
        """Every number given by name in the training code, changed: (where, statement, the statement with it)."""
        for i in self.training_code():
            calls = [n for n in ast.walk(self.body[i]) if isinstance(n, ast.Call)]
            for c, call in enumerate(calls):
                if getattr(call.func, "id", getattr(call.func, "attr", "")) in _NO_SETTINGS:
                    continue
                for k, word in enumerate(call.keywords):
                    for j, number in enumerate(_numbers(word.value)):
                        for value in other_values(number.value):
                            node = copy.deepcopy(self.body[i])
                            there = [n for n in ast.walk(node) if isinstance(n, ast.Call)][c].keywords[k]
                            _numbers(there.value)[j].value = value
                            yield f"line {number.lineno}: {word.arg}={number.value} -> {value}", i, node


_NO_SETTINGS = {"say", "record", "table", "image_grid", "curves", "print", "subplots", "round", "set", "draw_row"}


def other_values(value: int | float) -> list[int | float]:
    """Other numbers to try, the next one if the first is refused."""
    if isinstance(value, int):
        return [value + 1, 2 * value + 2]
    return [value / 2 if value else 0.25, value * 1.5]


def changed_setting(value: object) -> Iterator[object]:
    """A profile's entry with one of its numbers changed."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return
    if isinstance(value, (int, float)):
        yield from other_values(value)
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            for other in changed_setting(inner):
                yield type(value)([*value[:i], other, *value[i + 1 :]])
                break


def replaced(settings: Settings, name: str, value: object) -> Settings:
    return Settings({**settings, name: value})


def _numbers(node: ast.expr) -> list[ast.Constant]:
    """The numbers of an argument that is a number, or a list of numbers."""
    if isinstance(node, ast.Constant):
        return [node] if isinstance(node.value, (int, float)) and not isinstance(node.value, bool) else []
    if isinstance(node, (ast.Tuple, ast.List)):
        return [n for part in node.elts for n in _numbers(part)]
    return []


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def _seeds(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node).startswith("torch.manual_seed(")


def _stores(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    if _is_import(node):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for n in ast.walk(node):  # cells["x"] = ..., and settings that are filled in place
        if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store) and isinstance(n.value, ast.Name):
            found.add(n.value.id)
    return found


def _defines(node: ast.stmt) -> set[str]:
    """The names that a statement gives a whole new value, whatever they held before."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)) or _is_import(node):
        return _stores(node)
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return set()


def _loads(node: ast.stmt) -> set[str]:
    """The global names that a statement reads; for a definition, that its body reads."""
    if _is_import(node):
        return set()
    found = set(global_names(compile(ast.Module([node], []), "statement", "exec")))
    if not isinstance(node, (ast.Assign, ast.AugAssign)):  # names of its own: of a loop, or assigned inside
        found -= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found


def _settings(node: ast.AST) -> set[str]:
    found = set()
    for n in ast.walk(node):
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "settings":
            found.add(n.attr)
        if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name) and n.value.id == "settings":
            found |= {n.slice.value} if isinstance(n.slice, ast.Constant) else set()
    return found
