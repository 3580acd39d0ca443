"""Code taken apart into what binds a name, so that an exercise runs with what it needs and nothing else.

Of a notebook only imports, functions, classes and light values are looked at. What trains, draws or loads is never run.
"""

from __future__ import annotations

import ast
import builtins
import copy
import functools
import re
import symtable
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

LIGHT = 60  # nodes of a value such as 1e-8, math.log(2 * math.pi) or a short table
LARGEST = 200_000  # characters of one cell
_COMPUTES = {"math", "np", "numpy", "torch"}  # whose calls a light value may hold


class Unreadable(ValueError):
    """A cell that is not Python; the message says where."""


@dataclass(frozen=True)
class Statement:
    """A statement at the top of a cell, under the one name it is looked up by."""

    name: str
    node: ast.stmt
    text: str  # its source, on its own lines of the cell

    @functools.cached_property
    def wants(self) -> set[str]:
        """The names it reads that neither it nor Python brings: not its arguments and variables."""
        return _free(symtable.symtable(self.text, "", "exec")) - _BUILTIN


_BUILTIN = set(dir(builtins))


def statements(cell: str) -> list[Statement]:
    """What a code cell binds, in order.

    Raises:
        Unreadable: the cell is not Python.
    """
    # IPython's own lines (%time, !pip, ?help) become comments, and the others keep their numbers.
    cell = re.sub(r"^(\s*)([%!?].*)$", r"\1pass  # \2", cell, flags=re.M)
    if len(cell) > LARGEST:
        raise Unreadable(f"has {len(cell):,} characters")
    try:
        with warnings.catch_warnings(action="ignore"):
            body = ast.parse(cell).body
    except SyntaxError as error:
        raise Unreadable(f"line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(str(error)[:80] or "nested too deep") from None
    return [statement for node in body for statement in _bindings(cell, node)]


def _bindings(cell: str, node: ast.stmt) -> Iterable[Statement]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:  # one at a time: of "from gen_utils.training import …" only what is needed is loaded
            single = copy.copy(node)
            single.names = [alias]
            name = alias.asname or alias.name.split(".")[0]
            yield Statement(name, single, ast.unparse(single))
        return
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        names = [node.name]
    elif isinstance(node, ast.Assign):
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        names = [node.target.id]
    else:
        return
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
    lines = cell.splitlines()[first - 1 : node.end_lineno]
    for name in names:
        yield Statement(name, node, "\n" * (first - 1) + "\n".join(lines))


def light(statement: Statement) -> bool:
    """May it run because another needs it? What computes for long, or has an effect, may not."""
    value = getattr(statement.node, "value", None)
    if value is None:
        return True
    nodes = list(ast.walk(value))
    calls = [each.func for each in nodes if isinstance(each, ast.Call)]
    return isinstance(value, ast.Lambda) or (len(nodes) <= LIGHT and all(_root(call) in _COMPUTES for call in calls))


def needed(wanted: Statement, lookup: Callable[[str], Statement | None]) -> list[Statement]:
    """What must run before a statement, in an order in which it can, then the statement."""
    order: list[Statement] = []
    seen = {wanted.name}

    def add(statement: Statement) -> None:
        for name in sorted(statement.wants - seen):
            seen.add(name)
            found = lookup(name)
            if found is not None and light(found):
                add(found)
        order.append(statement)

    add(wanted)
    return order


def is_stub(statement: Statement) -> bool:
    """Is nothing written yet? Then its last line is still ``raise NotImplementedError``, and nothing before returns."""
    node = statement.node
    if not isinstance(node, ast.FunctionDef):
        return False
    last = node.body[-1]
    raised = last.exc if isinstance(last, ast.Raise) else None
    raised = raised.func if isinstance(raised, ast.Call) else raised
    unwritten = isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    return unwritten and not any(isinstance(each, ast.Return) for each in ast.walk(node))


def form(statement: Statement) -> str:
    """What it says, whatever its variables are called and its comments say: equal for a copy with other names."""
    node = copy.deepcopy(statement.node)
    names: dict[str, str] = {}
    for each in ast.walk(node):
        if isinstance(each, ast.arg):
            each.annotation = None
            each.arg = names.setdefault(each.arg, f"v{len(names)}")
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            names.setdefault(each.id, f"v{len(names)}")
        elif isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
            each.returns = None
        if (
            isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            and ast.get_docstring(each) is not None
        ):
            each.body = each.body[1:] or [ast.Pass()]
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            each.id = names.get(each.id, each.id)
    return ast.dump(node)


def size(statement: Statement) -> int:
    """How much is written, in nodes of the syntax tree without its leaves' contexts."""
    return sum(not isinstance(each, (ast.expr_context, ast.arguments, ast.arg)) for each in ast.walk(statement.node))


def latest(cells: Sequence[Sequence[Statement]]) -> dict[str, Statement]:
    """name -> the last statement that binds it."""
    return {statement.name: statement for cell in cells for statement in cell}


def first_found(*tables: Mapping[str, Statement]) -> Callable[[str], Statement | None]:
    """Looks a name up in one table after the other."""
    return lambda name: next((table[name] for table in tables if name in table), None)


def _free(scope: symtable.SymbolTable) -> set[str]:
    outermost = scope.get_type() == "module"
    found = {
        each.get_name() for each in scope.get_symbols() if each.is_referenced() and (outermost or each.is_global())
    }
    return found.union(*map(_free, scope.get_children()))


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
