"""What the workbook's own notebook says of a part: its exercises, their checks, and what their answers may build on."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass

import jupytext

from ...base.places import NOTEBOOKS
from .statements import Statement, form, latest, statements


@dataclass(frozen=True)
class Exercise:
    """One exercise: its check as the notebook calls it, and the names that the student writes."""

    name: str
    call: str  # checks.langevin_step(langevin_step)
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """One notebook of the workbook, read for grading."""

    name: str
    checks: str  # the module of its checks
    exercises: tuple[Exercise, ...]
    table: dict[str, Statement]  # imports, functions and light values, solutions among them
    solutions: frozenset[str]  # their forms


@functools.cache
def part(name: str) -> Part:
    """Read a part.

    Raises:
        ValueError: its cells do not say which checks they call.
    """
    notebook = jupytext.read(NOTEBOOKS / f"{name}.py")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells = [statements(cell.source) for cell in code]
    table = latest(cells)
    module = table.get("checks")
    if module is None or not isinstance(module.node, ast.ImportFrom):
        raise ValueError(f"{name} does not import its checks by that name")
    tagged = [cell.source for cell in code if "check" in cell.metadata.get("tags", ())]
    solved = [
        s for cell, found in zip(code, cells, strict=True) if "solution" in cell.metadata.get("tags", ()) for s in found
    ]
    return Part(
        name,
        f"{module.node.module}.{module.node.names[0].name}",
        tuple(exercise for source in tagged for exercise in _exercises(source)),
        table,
        frozenset(map(form, solved)),
    )


def _exercises(check_cell: str) -> list[Exercise]:
    found = []
    for node in ast.walk(ast.parse(check_cell)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id == "checks":
            names = [each.id for each in ast.walk(node) if isinstance(each, ast.Name) and each is not owner]
            found.append(Exercise(node.func.attr, ast.unparse(node), tuple(dict.fromkeys(names))))
    return found
