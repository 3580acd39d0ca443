"""What no exercise needs: code that could reach its check, or the machine, is not run before a person has looked at it.

A function and its check share one process, because checks follow gradients into the function, and inside a process
Python keeps no secret. So what an answer may say is bounded beforehand, read from its source.
"""

from __future__ import annotations

import ast

LIBRARIES = {
    *("math", "numpy", "scipy", "sklearn", "torch", "torchvision", "einops", "gen_utils", "matplotlib", "tqdm"),
    *("__future__", "abc", "collections", "contextlib", "copy", "dataclasses", "enum", "fractions", "functools"),
    *("heapq", "itertools", "numbers", "operator", "random", "statistics", "string", "time", "typing", "warnings"),
}
OF_THE_PRESS = {"base", "checks", "cli", "experiments", "explorers", "publishing", "shipped"}  # in gen_utils
# Written as a name, these reach everything. Written as an attribute or imported, the others lead out of a library, into
# a process's frames, or past what the source says.
NAMES = {
    *("__builtins__", "__import__", "__loader__", "__spec__", "breakpoint", "compile", "delattr", "dir", "eval"),
    *("exec", "getattr", "globals", "hasattr", "input", "locals", "memoryview", "open", "setattr", "vars"),
}
ATTRIBUTES = {
    *("builtins", "importlib", "modules", "inspect", "gc", "linecache", "traceback", "checks", "publishing"),
    *("os", "sys", "io", "pathlib", "shutil", "tempfile", "pickle", "subprocess", "multiprocessing", "threading"),
    *("signal", "socket", "asyncio", "distributed", "hub"),
    *("ctypes", "ctypeslib", "cpp_extension", "f2py", "library", "load_library", "overrides", "stride_tricks"),
    *("attrgetter", "methodcaller", "make_dataclass"),
    *("ag_frame", "cr_frame", "gi_frame", "tb_frame", "f_back", "f_globals", "f_locals"),
}
DUNDERS = {
    *("__init__", "__post_init__", "__call__", "__len__", "__getitem__", "__iter__", "__next__"),
    *("__enter__", "__exit__", "__repr__", "__str__", "__name__", "__version__", "__file__"),
}


def objection(node: ast.stmt, outside: frozenset[str] = frozenset()) -> str | None:
    """The first thing that an exercise has no use for, and its line; None where there is nothing.

    Args:
        outside: names that the code has not made itself: modules, and what the workbook defines.
    """
    outside = outside | {name for each in ast.walk(node) for name in _imported(each)}
    plainly = {id(each.func) for each in ast.walk(node) if isinstance(each, ast.Call) and _asks_plainly(each)}
    for each in ast.walk(node):
        if id(each) not in plainly and (said := _said(each, outside)):
            return f"{said} (line {getattr(each, 'lineno', node.lineno)})"
    return None


def _said(node: ast.AST, outside: frozenset[str]) -> str | None:
    match node:
        case ast.Import(names=names):
            return next((f"imports {each.name}" for each in names if not _allowed(each.name)), None)
        case ast.ImportFrom(module=module, names=names, level=level):
            bad = [each.name for each in names if level or each.name == "*" or not _allowed(f"{module}.{each.name}")]
            return f"imports {bad[0]} from {'.' * level}{module or ''}" if bad else None
        case ast.Name(id=name) if name in NAMES or (name.startswith("__") and name not in DUNDERS):
            return f"uses {name}"
        case ast.Attribute(attr=name) if name in ATTRIBUTES or name.startswith("register_module_") or not _public(node):
            return f"reaches for .{name}"
        case ast.Attribute(ctx=ast.Store() | ast.Del()) if _root(node) in outside:
            return f"changes {ast.unparse(node)}, which is not its own"
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) if name.startswith("__") and name not in DUNDERS:
            return f"defines {name}"
        case ast.Call(func=ast.Name(id="type"), args=[_, _, *_]):
            return "makes a type without saying which"
    return None


def _allowed(module: str) -> bool:
    first, *rest = module.split(".")
    if first == "gen_utils" and OF_THE_PRESS.intersection(rest[:1]):
        return False
    return first in LIBRARIES and not any(part in ATTRIBUTES or part.startswith("_") for part in rest)


def _imported(node: ast.AST) -> list[str]:
    names = node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else []
    return [alias.asname or alias.name.split(".")[0] for alias in names]


def _asks_plainly(call: ast.Call) -> bool:
    """``getattr(x, "name")`` with a public name in its text is as good as ``x.name``."""
    match call:
        case ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]):
            return not name.startswith("_") and name not in ATTRIBUTES
    return False


def _public(node: ast.Attribute) -> bool:
    """A public name, or a private one of an object of the student's own class."""
    if not node.attr.startswith("_") or node.attr in DUNDERS:
        return True
    return isinstance(node.value, ast.Name) and node.value.id == "self" and not node.attr.startswith("__")


def _root(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
