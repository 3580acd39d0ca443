"""What the output of a notebook's cell hangs on: its own code, and the code of this notebook that it reads.

Two cells have one key when they would do the same: layout, comments and the settings of other profiles do not count.
What they import counts by name; that the package's own code has changed is told elsewhere (``kept_runs``).
"""

from __future__ import annotations

import ast
import hashlib
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..base.sources import written
from ..profiles import PROFILES, columns_read


@dataclass
class _Piece:
    """A statement, one name of an import, or one setting."""

    cell: int
    text: str
    reads: set[str]
    binds: set[str]


def cell_keys(cells: Sequence[str], profile: str) -> list[str]:
    """A key of 16 digits for each code cell of a notebook, in order; the second of two equal ones ends in "-2".

    Args:
        cells: the sources of the code cells, all of them.
        profile: whose settings count.

    Raises:
        SyntaxError: a cell is not Python.
    """
    pieces = _all_pieces([ast.parse(cell).body for cell in cells], profile)
    first: dict[str, int] = {}
    for i, piece in enumerate(pieces):
        for name in piece.binds:
            first.setdefault(name, i)
    made = [piece.text for piece in pieces]
    for _ in range(2):  # a function may read what is bound further down: of that the first round has the text alone
        latest: dict[str, int] = {}  # name -> the piece that bound it last, from the top to here
        before, made = made, []
        for i, piece in enumerate(pieces):
            told = []
            for name in sorted(piece.reads & first.keys()):
                j = latest.get(name, first[name])
                told.append((name, made[j] if j < i else before[j] if j > i else ""))
            made.append(_hash(piece.text, told))
            latest.update(dict.fromkeys(piece.binds, i))
    keys, seen = [], {}
    for i in range(len(cells)):
        key = _hash(*(key for key, piece in zip(made, pieces, strict=True) if piece.cell == i))
        seen[key] = seen.get(key, 0) + 1
        keys.append(key if seen[key] == 1 else f"{key}-{seen[key]}")
    return keys


def _all_pieces(cells: Sequence[Sequence[ast.stmt]], profile: str) -> list[_Piece]:
    """All pieces in order. A setting binds "settings.n_steps"; whatever else binds ``settings`` binds all of them."""
    columns = [column for body in cells for node in body if (column := _columns(node, profile))]
    settings = {name: {f"{name}.{setting}" for setting in values} for name, values in columns}
    pieces = []
    for cell, body in enumerate(cells):
        for node in body:
            pieces += _pieces(cell, node, profile, settings)
    return pieces


def _pieces(cell: int, node: ast.stmt, profile: str, settings: dict[str, set[str]]) -> Iterator[_Piece]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        module = "." * node.level + (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            yield _Piece(cell, f"import {module} {alias.name}", set(), {(alias.asname or alias.name).split(".")[0]})
    elif columns := _columns(node, profile):
        name, values = columns
        for setting, value in values.items():
            yield _Piece(cell, f"{setting}={written(value)}", _reads(value, settings), {f"{name}.{setting}"})
        yield _Piece(cell, name, settings[name], {name})
    else:
        binds = _binds(node)
        for name in binds & settings.keys():
            binds |= settings[name]
        yield _Piece(cell, written(node), _reads(node, settings), binds)


def _columns(node: ast.AST, profile: str) -> tuple[str, dict[str, ast.expr]] | None:
    """Of ``settings = choose(profile, quick=dict(…), …)``: the name, and the profile's own value of each setting."""
    if not (
        isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name)
    ):
        return None
    if getattr(node.value.func, "id", None) != "choose":
        return None
    given = {keyword.arg: keyword.value for keyword in node.value.keywords}
    values: dict[str, ast.expr] = {}
    for column in reversed(PROFILES):  # smoke has quick's, and then its own
        if column in columns_read(profile):
            values |= {entry.arg: entry.value for entry in getattr(given.get(column), "keywords", ()) if entry.arg}
    return node.targets[0].id, values


def _table(node: ast.AST) -> symtable.SymbolTable:
    return symtable.symtable(ast.unparse(node), "cell", "exec")


def _reads(node: ast.AST, settings: dict[str, set[str]]) -> set[str]:
    """Names of the notebook that a piece of code reads, inside its functions too; of settings those that it names."""
    table = _table(node)
    found = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    waiting = list(table.get_children())
    while waiting:
        inner = waiting.pop()
        waiting += inner.get_children()
        found |= {symbol.get_name() for symbol in inner.get_symbols() if symbol.is_global() and symbol.is_referenced()}
    found |= _changed(node)
    for name in found & settings.keys():
        dotted = [each for each in ast.walk(node) if isinstance(each, ast.Attribute) and _is(each.value, name)]
        if len(dotted) == sum(_is(each, name) for each in ast.walk(node)):
            found = (found - {name}) | {f"{name}.{each.attr}" for each in dotted}
    return found


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _binds(node: ast.AST) -> set[str]:
    """Names that a statement gives a value, or changes."""
    symbols = _table(node).get_symbols()
    return {each.get_name() for each in symbols if each.is_assigned() or each.is_namespace()} | _changed(node)


def _changed(node: ast.AST) -> set[str]:
    """Names whose object another is after ``x[…] = …``, ``x.a = …`` or a statement ``x.append(…)``."""
    found = set()
    for each in ast.walk(node):
        if isinstance(each, (ast.Subscript, ast.Attribute)) and isinstance(each.ctx, ast.Store):
            found.add(_root(each))
        if (
            isinstance(each, ast.Expr)
            and isinstance(each.value, ast.Call)
            and isinstance(each.value.func, ast.Attribute)
        ):
            found.add(_root(each.value))
    return {name for name in found if name}


def _root(node: ast.AST) -> str | None:
    while not isinstance(node, ast.Name):
        inner = node.func if isinstance(node, ast.Call) else getattr(node, "value", None)
        if not isinstance(inner, ast.AST):
            return None
        node = inner
    return node.id


def _hash(*told: object) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
