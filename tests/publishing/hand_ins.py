"""Made-up hand-ins: notebooks of one part, with answers that are right, wrong, or not answers at all."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat

PART = "02_ebm_mnist"
KEY = "02/density_on_grid"
RIGHT = '''
def density_on_grid(energy, cell_area):
    """Energies (H, W) on a grid -> densities (H, W) that integrate to one."""
    probability = torch.softmax(-energy.flatten(), dim=0)
    return probability.reshape(energy.shape) / cell_area
'''
SIGN = RIGHT.replace("-energy", "energy")
STUB = '''
def density_on_grid(energy, cell_area):
    """Energies (H, W) on a grid -> densities (H, W) that integrate to one."""
    raise NotImplementedError
'''


def function(body: str, before: str = "") -> str:
    """An answer with this body."""
    lines = "".join(f"    {line}\n" for line in body.strip().split("\n"))
    return f"{before}\ndef density_on_grid(energy, cell_area):\n{lines}"


def notebook(
    path: Path, *cells: str, check: str = "checks.density_on_grid(density_on_grid).or_stop()", part: str | None = PART
) -> Path:
    """A notebook with these cells and a check, which says itself that it has passed."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in ["import torch", *cells, check]])
    if part:
        book.metadata["gen_utils"] = {"part": part}
    entry = {"name": "check/density_on_grid", "value": {"passed": True, "slip": None}}
    book.cells[-1].outputs = [
        nbformat.v4.new_output("display_data", {"application/vnd.gen-utils.record+json": json.dumps(entry)})
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(book), encoding="utf-8")
    return path
