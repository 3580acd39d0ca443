"""What an executed notebook depends on: its text, the modules it imports, the models it loads, the data it finds."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ..base.places import CHECKPOINTS, NOTEBOOKS, RESULTS
from ..base.sources import code_hashes, imported_files
from ..data import CATALOG
from ..data.cache import source_identity
from ..data.load import find
from ..kept_runs import LONG
from ..profiles import PROFILES, columns_read

WITHOUT_STUDIES = "quick"  # see ``report.studies``


def fingerprint(part: str, profile: str, data_root: str, seed: int) -> str:
    """Changes when anything changes that the executed notebook depends on."""
    plain = json.dumps(depends_on(part, profile, data_root, seed), sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def depends_on(part: str, profile: str, data_root: str, seed: int) -> dict:
    """All that decides what an executed notebook holds, by name.

    ``notebook``: its text. ``modules``: the code of what it imports, and of what that imports, without comments.
    ``cards``: of the models it names, which hold the hashes of their weights. ``data``: of the datasets that it names,
    under this profile, where each was found, with sizes and times; ``inception``: likewise, for a notebook that asks
    whether it is here. ``results``: kept runs of the same part, which it shows beside its own, unless it is a long run
    itself.
    """
    path = NOTEBOOKS / f"{part}.py"
    source = path.read_text(encoding="utf-8")
    modules = imported_files([path])
    tree = ast.parse(source)
    own = set(_strings(tree, profile))
    # The registry of shipped models names them all. Only studies draw from it; elsewhere a notebook names its own.
    speaking = [module for module in modules if profile != WITHOUT_STUDIES or module.parent.name != "shipped"]
    named = own.union(*(_strings_of(module, module.stat().st_mtime_ns, profile) for module in speaking))
    data = {}
    for name in sorted(own & CATALOG.keys()):
        found = None if CATALOG[name].stand_in is None else find(CATALOG[name], Path(data_root))
        data[name] = None if found is None else [str(found), source_identity(found)]
    return {
        "asked": [profile, data_root, seed],
        "notebook": _hash(source.encode()),
        "modules": code_hashes(modules),
        "cards": {
            card.stem: _hash(card.read_bytes()) for card in sorted(CHECKPOINTS.glob("*.json")) if card.stem in named
        },
        "data": data,
        "inception": _inception() if "has_inception" in source else None,
        "results": {} if profile in LONG else _kept(part),
    }


def _kept(part: str) -> dict[str, str]:
    """Kept runs of a part: their numbers, and what their cells have shown, which names the hashes of its pictures."""
    files = [*RESULTS.glob(f"{part}.*.json"), *RESULTS.glob(f"{part}.*/outputs.json")]
    return {path.relative_to(RESULTS).as_posix(): _hash(path.read_bytes()) for path in sorted(files)}


def _inception() -> list | None:
    from ..evaluation.feature_networks import has_inception, inception_weights  # only one notebook asks

    path = inception_weights()
    return [str(path), path.stat().st_size, path.stat().st_mtime_ns] if has_inception() else None


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


@functools.lru_cache(maxsize=1024)  # a module of the package is read once, not once a part
def _strings_of(path: Path, _changed: int, profile: str) -> frozenset[str]:
    return frozenset(_strings(ast.parse(path.read_text(encoding="utf-8")), profile))


def _strings(node: ast.AST, profile: str) -> Iterator[str]:
    """The string constants of a piece of code that is run: without settings of other profiles, and studies in quick."""
    if profile == WITHOUT_STUDIES and _is_study(node):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        other = isinstance(child, ast.keyword) and child.arg in set(PROFILES) - columns_read(profile)
        if not (other and isinstance(node, ast.Call) and getattr(node.func, "id", None) == "choose"):
            yield from _strings(child, profile)


def _is_study(node: ast.AST) -> bool:
    """``if study("name"):``, see ``report.studies``."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Call) and getattr(node.test.func, "id", "") == "study"
