"""The solutions of the notebooks, and what stands above them: imports, and the functions that they may call."""

from __future__ import annotations

import ast
import functools
import importlib

import jupytext

from gen_utils.base.places import NOTEBOOKS


@functools.cache
def solved(part: str) -> tuple[dict, dict[str, str]]:
    """(the names that a solution finds, exercise -> the source of its solution) of a part."""
    space, sources, names = {"__name__": "student"}, {}, []
    for cell in jupytext.read(NOTEBOOKS / f"{part}.py").cells:
        tags = cell.metadata.get("tags", ())
        if cell.cell_type != "code" or "exercise" in tags or "check" in tags:
            continue
        if "solution" in tags:
            exec(cell.source, space)
            names.append(cell.source)
            continue
        for node in ast.parse(cell.source).body:
            plain = isinstance(node, ast.FunctionDef) and not (node.args.defaults or any(node.args.kw_defaults))
            if isinstance(node, (ast.Import, ast.ImportFrom)) or plain:
                exec(compile(ast.Module([node], []), part, "exec"), space)
    for source in names:
        sources[ast.parse(source).body[-1].name] = source
    return space, sources


def checks_of(part: str):
    return importlib.import_module(f"gen_utils.checks.{part[3:].replace('sampling_playground', 'sampling')}")
