"""The mistakes that the checks know by name, read from their source: nothing is run, and nothing is typed in twice.

A check names a mistake in a ``Slip``, in a tuple (name, hint, what it would compute), or where it tells the result.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..exercises import exercises_of
from ..parts import parts
from .sources import chapter_link, folded, heading

SHARED = 4  # exercises that know a mistake, from which on it is one of the course and not of a formula


@functools.cache
def slips_of(part: str) -> dict[str, dict[str, str]]:
    """exercise -> the mistakes that its check knows: name -> the first hint that is given for it."""
    tree = ast.parse(_checks(part).read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    found = {}
    for each in exercises_of(part):
        check = functions[each.name]
        called = {node.id for node in ast.walk(check) if isinstance(node, ast.Name)}
        helpers = [functions[name] for name in functions if name in called and name.startswith("_")]
        names: dict[str, str] = {}
        for function in (check, *helpers):
            for name, hint in _named(function):
                names.setdefault(name, hint)
        found[each.name] = names
    return found


def _checks(part: str) -> Path:
    """The file with a part's checks: named as the part, or as its first word."""
    folder = Path(__file__).parents[2] / "checks"
    whole = folder / f"{part[3:]}.py"
    return whole if whole.exists() else folder / f"{part[3:].split('_')[0]}.py"


def _named(function: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """(name, hint) of every mistake that a function names."""
    words = {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and len(node.targets) == 1
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        pair = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            by = {keyword.arg: keyword.value for keyword in node.keywords}
            if node.func.id in ("Slip", "slip") and len(node.args) >= 2:
                pair = node.args[0], node.args[1]
            elif node.func.id == "told" and len(node.args) + ("slip" in by) >= 4:
                pair = by.get("slip", node.args[-1]), node.args[2]
            elif node.func.id == "wrong" and len(node.args) == 2:
                pair = node.args[1], node.args[0]
        elif isinstance(node, ast.Tuple) and len(node.elts) == 3:
            pair = node.elts[0], node.elts[1]
        if pair is not None:
            name, hint = _text(pair[0], {}), _text(pair[1], words)
            if name and hint and re.search(r"\s.*[.?]$", hint) and len(name) < 40:
                yield name, hint


def _text(node: ast.expr, words: Mapping[str, ast.expr]) -> str:
    """A text of the source; what is computed in it becomes an ellipsis. Empty where it is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.Name) and node.id in words:
        return _text(words[node.id], {})
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, words) + _text(node.right, words)
    if isinstance(node, ast.JoinedStr):
        pieces = [v if isinstance(v, ast.Constant) else getattr(v, "value", v) for v in node.values]
        return "".join(_text(piece, words) or "…" for piece in pieces)
    return ""


def page(_executed: Mapping[str, Path] | None = None) -> str:
    """First the mistakes that many checks know, then those of every exercise, with the first hint."""
    where: dict[str, list[str]] = {}
    for part in parts():
        for each in exercises_of(part):
            for name in slips_of(part)[each.name]:
                where.setdefault(name, []).append(each.number)
    common = [(name, len(found)) for name, found in where.items() if len(found) >= SHARED]
    total = Counter(part for part in parts() for names in slips_of(part).values() for _ in names)
    sections = [
        f"The checks know {sum(total.values())} mistakes by name. Those that turn up in the most exercises:",
        "| mistake | exercises | where |\n|---|--:|---|\n"
        + "\n".join(f"| {name} | {n} | {', '.join(where[name])} |" for name, n in sorted(common, key=lambda c: -c[1])),
    ]
    for part in parts():
        lists = []
        for each in exercises_of(part):
            lines = [f"- *{name}*: {_plain(hint)}" for name, hint in slips_of(part)[each.name].items()]
            title = chapter_link(part, f"{each.number} {each.title}")
            lists.append(f"**{title}**\n\n" + "\n".join(lines))
        sections += [heading(part), folded(f"The {total[part]} mistakes of this part", "\n\n".join(lists))]
    return "\n\n".join(sections)


def _plain(hint: str) -> str:
    """A hint of the checks as Markdown: what would be markup there is text here."""
    return re.sub(r"([\\`*_|<>\[\]$])", r"\\\1", hint)
