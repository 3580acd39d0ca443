"""Figures with captions (``report.figure``), as the book numbers them.

MyST-NB takes a caption for a cell, not for an output: a cell with such figures is cut into several, one for each.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..report import CAPTION, FIGURE, KIND


def captioned(cell: dict) -> Iterator[dict]:
    """The cell itself, or the pieces that it is cut into; a figure in a folded cell keeps its caption as a sentence."""
    tags = cell["metadata"].get("tags", [])
    if cell["cell_type"] != "code" or "hide-output" in tags or not any(map(_is_figure, cell["outputs"])):
        yield cell
        return
    groups: list[list[dict]] = [[]]
    for output in cell["outputs"]:
        if output.get("metadata", {}).get(KIND) == CAPTION:
            continue  # the figure's own metadata has it, too
        if _is_figure(output) or (groups[-1] and _is_figure(groups[-1][-1])):
            groups.append([])
        groups[-1].append(output)
    for i, outputs in enumerate(groups):
        metadata = dict(cell["metadata"])
        if i:
            kept = [tag for tag in tags if tag not in ("hide-input", "remove-input")]
            metadata = {**metadata, "tags": [*kept, "remove-input"]}
        if outputs and _is_figure(outputs[0]):
            told = outputs[0]["metadata"]
            figure = {"caption": told["caption"], **({"name": told["name"]} if told["name"] else {})}
            metadata["mystnb"] = {"figure": figure, "image": {"alt": told["alt"]}}
        source = cell["source"] if i == 0 else "# a figure of the cell above"
        yield {**cell, "id": f"{cell['id']}-{i}"[-64:] if i else cell["id"], "metadata": metadata,
               "source": source, "outputs": outputs}  # fmt: skip


def _is_figure(output: dict) -> bool:
    return output.get("metadata", {}).get(KIND) == FIGURE
