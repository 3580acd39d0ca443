"""Small changes to a solution, one at a time: what a check must refuse whenever they change the mathematics."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator

SWAPS = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult], ast.Pow: [ast.Mult],
    ast.Lt: [ast.Gt, ast.LtE], ast.Gt: [ast.Lt, ast.GtE], ast.LtE: [ast.GtE, ast.Lt], ast.GtE: [ast.LtE, ast.Gt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq],
}  # fmt: skip
RENAMED = {"mean": "sum", "sum": "mean", "argmin": "argmax", "square": "abs", "log": "exp", "exp": "log", "any": "all"}
DROPPED = {
    "clamp", "clamp_", "detach", "square", "sqrt", "abs", "exp", "log", "mean", "sum", "flatten", "nan_to_num",
    "double", "relu", "softplus", "normalize", "zero_grad", "unique", "deepcopy",
}  # fmt: skip
NETWORKS = {"energy", "critic", "generator", "network", "decode"}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """(what was changed, the changed source) of every mutant of a function's source."""
    tree = ast.parse(source)
    function = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    seen, said = {ast.unparse(tree)}, Counter()
    statement_of = {}
    for statement in ast.walk(function):  # outer ones first, so that the innermost stays
        if isinstance(statement, ast.stmt):
            statement_of.update(dict.fromkeys(ast.walk(statement), statement))
    for position, node in enumerate(ast.walk(function)):
        for change in changes(node):
            changed = copy.deepcopy(tree)
            inside = next(n for n in ast.walk(changed) if isinstance(n, ast.FunctionDef))
            there = list(ast.walk(inside))[position]
            before = _line(node)
            after = change(there)
            if after is not None and after is not there:
                changed = _Replace(there, after).visit(changed)
            text = ast.unparse(ast.fix_missing_locations(changed))
            if text not in seen:
                seen.add(text)
                what = f"{before} -> {_line(after) if after is not None else _line(there)}"
                if isinstance(node, ast.Constant):
                    what += f" in {_line(statement_of[node])}"
                said[what] += 1
                yield what + (f" (place {said[what]})" if said[what] > 1 else ""), text
    yield from _added(tree, function)


def changes(node: ast.AST) -> Iterator[Callable[[ast.AST], ast.AST | None]]:
    """Functions that change a copy of the node in place, or give what stands in its place."""
    if isinstance(node, ast.BinOp):
        for other in SWAPS.get(type(node.op), []):
            yield lambda n, o=other: setattr(n, "op", o())
    if isinstance(node, ast.Compare):
        for other in SWAPS.get(type(node.ops[0]), []):
            yield lambda n, o=other: n.ops.__setitem__(0, o())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Invert)):
        yield lambda n: n.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda n: ast.Constant(not n.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield lambda n: ast.Constant(n.value + 1)
        yield lambda n: ast.Constant(n.value - 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield lambda n: ast.Constant(n.value + 0.5)
        yield lambda n: ast.Constant(-n.value)
    if isinstance(node, ast.Call):
        yield from _calls(node)
    if isinstance(node, ast.Return) and node.value is not None:
        yield lambda n: setattr(n, "value", ast.UnaryOp(ast.USub(), n.value))
        yield lambda n: setattr(n, "value", ast.Call(ast.Attribute(n.value, "detach"), [], []))
        yield lambda n: setattr(n, "value", ast.Call(ast.Attribute(n.value, "item"), [], []))
        if isinstance(node.value, ast.Tuple):
            for i in range(len(node.value.elts)):
                yield lambda n, i=i: n.value.elts.__setitem__(i, ast.UnaryOp(ast.USub(), n.value.elts[i]))
                yield lambda n, i=i: n.value.elts.__setitem__(
                    i, ast.Call(ast.Attribute(n.value.elts[i], "detach"), [], [])
                )
            yield lambda n: n.value.elts.reverse()
    if isinstance(node, ast.With):  # no_grad forgotten
        yield lambda n: ast.If(ast.Constant(True), n.body, [])
    for block in ("body", "orelse"):
        statements = getattr(node, block, None)
        if isinstance(statements, list) and isinstance(node, ast.stmt):
            for i, statement in enumerate(statements):
                if isinstance(statement, (ast.Expr, ast.AugAssign)) or _assigns_to_itself(statement):
                    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                        continue  # the docstring
                    yield lambda n, b=block, i=i: getattr(n, b).__setitem__(i, ast.Pass())


def _calls(node: ast.Call) -> Iterator[Callable[[ast.AST], ast.AST | None]]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    method = isinstance(node.func, ast.Attribute) and not _is_module(node.func.value)
    if name in RENAMED and isinstance(node.func, ast.Attribute):
        yield lambda n: setattr(n.func, "attr", RENAMED[n.func.attr])
    if name in DROPPED and method:
        yield lambda n: n.func.value
    if name in DROPPED and not method and node.args:
        yield lambda n: n.args[0]
    if len(node.args) == 2 and not any(isinstance(a, ast.Starred) for a in node.args):
        yield lambda n: n.args.reverse()
    for i in range(len(node.keywords)):
        if isinstance(node.keywords[i].value, ast.Constant):
            yield lambda n, i=i: n.keywords.pop(i) and None
    if name == "clamp" and len(node.args) == 2:  # one side only
        yield lambda n: n.args.pop() and None
    for i, argument in enumerate(node.args):
        if isinstance(argument, ast.Name):  # what goes in has lost its graph
            yield lambda n, i=i: n.args.__setitem__(i, ast.Call(ast.Attribute(n.args[i], "detach"), [], []))
    if method and isinstance(node.func.value, ast.Name):
        yield lambda n: setattr(n.func, "value", ast.Call(ast.Attribute(n.func.value, "detach"), [], []))


def _added(tree: ast.Module, function: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """What a solution could do besides."""
    names = [a.arg for a in function.args.args]
    for i, name in enumerate(names):
        if name in NETWORKS:
            yield f"{name} is frozen", _begin(tree, f"for _p in {name}.parameters():\n    _p.requires_grad_(False)")
            yield f"{name}.eval()", _begin(tree, f"{name}.eval()")
        else:
            yield f"{name} is doubled", _begin(tree, f"{name} = {name} * 2")
            yield f"{name} is doubled in place", _end(tree, f"{name} *= 2; assert hasattr({name}, 'dtype')")
            yield f"{name} is detached", _begin(tree, f"{name} = {name}.detach()")
        for other in names[i + 1 :]:
            yield f"{name} and {other} change places", _begin(tree, f"{name}, {other} = {other}, {name}")
    yield "the global stream is seeded", _begin(tree, "import torch as _t; _t.manual_seed(0)")
    yield "all under no_grad", _wrapped(tree, function.name)


def _begin(tree: ast.Module, statements: str) -> str:
    changed = copy.deepcopy(tree)
    function = next(n for n in ast.walk(changed) if isinstance(n, ast.FunctionDef))
    function.body[1:1] = ast.parse(statements).body  # after the docstring
    return ast.unparse(ast.fix_missing_locations(changed))


def _end(tree: ast.Module, statements: str) -> str:
    """After the value has been computed."""
    changed = copy.deepcopy(tree)
    function = next(n for n in ast.walk(changed) if isinstance(n, ast.FunctionDef))
    last = function.body[-1]
    if isinstance(last, ast.Return):
        value = ast.parse("_value = 0").body[0]
        value.value = last.value
        function.body[-1:] = [value, *ast.parse(f"{statements}\nreturn _value".replace("\nreturn _value", "")).body]
        function.body.append(ast.Return(ast.Name("_value", ast.Load())))
    else:
        function.body += ast.parse(statements).body
    return ast.unparse(ast.fix_missing_locations(changed))


def _wrapped(tree: ast.Module, name: str) -> str:
    return f"import torch as _t\n{ast.unparse(tree)}\n_whole = {name}\n{name} = _t.no_grad()(_whole)"


def _line(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) < 90 else f"{text[:60]}…{text[-25:]}"


def _is_module(node: ast.AST) -> bool:
    root = node
    while isinstance(root, ast.Attribute):
        root = root.value
    return isinstance(root, ast.Name) and root.id in {"torch", "F", "np", "math", "nn", "copy"}


def _assigns_to_itself(node: ast.stmt) -> bool:
    """x = f(x): without it, x is what it was."""
    if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
        return False
    return any(isinstance(n, ast.Name) and n.id == node.targets[0].id for n in ast.walk(node.value))


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)
