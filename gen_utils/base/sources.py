"""Reading code without running it: what a file imports, and what it says once comments and docstrings are set aside."""

from __future__ import annotations

import ast
import dis
import functools
import hashlib
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType

from .places import ROOT

PACKAGE = Path(__file__).resolve().parents[1]
_SILENT = {"ctx", "kind", "type_comment", "type_params"}  # fields that say nothing, or not in every Python
_HAS_DOCSTRING = 0x4000000  # a flag of Python 3.13; before, the first constant of a function is its docstring or None


def imported_files(paths: Iterable[Path], package: Path = PACKAGE) -> list[Path]:
    """The files of ``package`` that these files import, and that those import, sorted; inside functions too.

    Nothing is imported: the import statements are read. A name that a package's ``__init__`` only passes on leads to
    the file that defines it, and to no other file that the ``__init__`` knows of.

    Args:
        paths: files inside or outside the package; those inside are part of the answer.
        package: the folder of the package.

    Raises:
        SyntaxError: a file that is not Python; the message names it.
    """
    waiting = [Path(path).resolve() for path in paths]
    found: set[Path] = set()
    passed: set[Path] = set()  # the __init__ files on the way, which are not followed
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            followed, on_the_way = _imports(path, path.stat().st_mtime_ns, package)
            waiting += followed
            passed |= on_the_way
    return sorted(path for path in found | passed if path.is_relative_to(package))


@functools.lru_cache(maxsize=1024)
def _imports(path: Path, _changed: int, package: Path) -> tuple[frozenset[Path], frozenset[Path]]:
    """The files that a file's imports lead to, and the ``__init__`` files of the packages on the way."""
    followed: set[Path] = set()
    passed: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module = tuple(alias.name.split("."))
                followed.update(_file(module, package))
                passed.update(_above(module, package))
        elif isinstance(node, ast.ImportFrom):
            module = _module(node, path, package)
            passed.update(_above(module, package))
            for alias in node.names:
                for place in _sources(module, alias.name, package):
                    followed.add(place)
                passed.update(_above((*module, alias.name), package))
    return frozenset(followed), frozenset(passed)


def _module(node: ast.ImportFrom, path: Path, package: Path) -> tuple[str, ...]:
    """The absolute name that a "from" import speaks of."""
    here = path.relative_to(package.parent).parts[:-1] if path.is_relative_to(package) else ()
    base = here[: len(here) - node.level + 1] if node.level else ()
    return (*base, *(node.module.split(".") if node.module else ()))


def _sources(module: tuple[str, ...], name: str, package: Path) -> Iterator[Path]:
    """The file behind ``from module import name``."""
    inner = list(_file((*module, name), package))
    if inner:  # a module of its own
        yield from inner
        return
    for place in _file(module, package):
        if place.name == "__init__.py" and name != "*":
            for node in ast.parse(place.read_text(encoding="utf-8"), str(place)).body:
                if isinstance(node, ast.ImportFrom):
                    for alias in node.names:
                        if (alias.asname or alias.name) == name:
                            yield from _sources(_module(node, place, package), alias.name, package)
                            return
        yield place


def _file(module: tuple[str, ...], package: Path) -> Iterator[Path]:
    """The file of a module of the package; of a package, its ``__init__``."""
    if module and module[0] == package.name:
        place = package.parent.joinpath(*module)
        for path in (place / "__init__.py", place.with_suffix(".py")):
            if path.is_file():
                yield path
                return


def _above(module: tuple[str, ...], package: Path) -> Iterator[Path]:
    """The ``__init__`` files of the packages that hold a module."""
    for end in range(1, len(module)):
        yield from (path for path in _file(module[:end], package) if path.name == "__init__.py")


def code_hash(path: Path) -> str:
    """Changes when a file's code does, and not for a comment, a docstring or a line moved.

    Raises:
        SyntaxError: the file is not Python.
    """
    return _code_hash(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _code_hash(path: Path, _changed: int) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):  # a docstring
                node.body[0] = ast.copy_location(ast.Pass(), first)
                if len(node.body) > 1:
                    del node.body[0]
    code = compile(tree, str(path), "exec", dont_inherit=True)
    return hashlib.sha256(repr(_compiled(code)).encode()).hexdigest()[:16]


def _compiled(code: CodeType) -> tuple:
    """Bytecode, names and constants, of inner functions too; no line numbers."""
    constants = [_compiled(held) if isinstance(held, CodeType) else _written(held) for held in code.co_consts]
    return code.co_name, code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants


def _written(constant: object) -> str:
    # A set's order changes from process to process.
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)


def written(node: object) -> str:
    """A syntax tree as text that is the same under every Python: layout and comments are gone."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if name not in _SILENT]
        told = [f"{name}={written(value)}" for name, value in fields if value not in (None, [])]
        return f"{type(node).__name__}({', '.join(told)})"
    if isinstance(node, list):
        return f"[{', '.join(map(written, node))}]"
    return repr(node)


def text_hash(source: str) -> str:
    """Of a piece of code: changes with what it says, and not with its layout or a comment.

    Raises:
        SyntaxError: it is not Python.
    """
    return hashlib.sha256(written(ast.parse(source).body).encode()).hexdigest()[:16]


def code_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """File (relative to the workbook) -> ``code_hash``."""
    return {path.relative_to(ROOT).as_posix(): code_hash(path) for path in paths}


def instructions(code: CodeType) -> Iterator[tuple]:
    """What a compiled function does, step by step, with its constants written out and its docstring left out."""
    doc = docstring(code)
    yield "arguments", code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], code.co_flags & 0xF
    for step in dis.get_instructions(code):
        if isinstance(step.argval, CodeType):
            yield step.opname, tuple(instructions(step.argval))
        elif step.opcode in dis.hasconst:
            if doc is None or step.argval != doc:
                yield step.opname, _written(step.argval)
        elif step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            yield (step.opname,)  # where to follows from what stands in between
        else:
            yield step.opname, step.argval if isinstance(step.argval, (str, int, tuple)) else step.argrepr


def docstring(code: CodeType) -> str | None:
    """A compiled function's docstring, if it has one."""
    first = code.co_consts[0] if code.co_consts else None
    if not isinstance(first, str) or code.co_name.startswith("<"):
        return None
    return first if code.co_flags & _HAS_DOCSTRING or not hasattr(inspect, "CO_HAS_DOCSTRING") else None


def global_names(code: CodeType) -> dict[str, set[str] | None]:
    """The global names that a compiled function reads -> the attributes or literal keys that it reads of each.

    None in their place: the name is used in some other way too, so that all of it counts.
    """
    return _names_read(code, ("LOAD_GLOBAL", "LOAD_NAME"))


def enclosed_names(code: CodeType) -> dict[str, set[str] | None]:
    """The same for names of the functions around it."""
    return {name: parts for name, parts in _names_read(code, ("LOAD_DEREF",)).items() if name in code.co_freevars}


def _names_read(code: CodeType, loads: tuple[str, ...]) -> dict[str, set[str] | None]:
    found: dict[str, set[str] | None] = {}

    def note(name: str, parts: set[str] | None) -> None:
        known = found.get(name, set())
        found[name] = None if parts is None or known is None else known | parts

    steps = list(dis.get_instructions(code))
    for i, step in enumerate(steps):
        if step.opname in loads:
            after = steps[i + 1] if i + 1 < len(steps) else None
            narrow = after is not None and (
                after.opname in ("LOAD_ATTR", "LOAD_METHOD")
                or (after.opname == "LOAD_CONST" and isinstance(after.argval, str) and _subscript(steps, i + 2))
            )
            note(step.argval, {after.argval} if narrow and after is not None else None)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            for name, parts in _names_read(inner, loads).items():
                note(name, parts)
    return found


def _subscript(steps: list[dis.Instruction], i: int) -> bool:
    return i < len(steps) and (steps[i].opname == "BINARY_SUBSCR" or steps[i].argrepr == "[]")
