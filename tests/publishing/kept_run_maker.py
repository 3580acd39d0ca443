"""A tiny part with a kept run and a run of one's own, for tests."""

import base64
import io
import json

import numpy as np
from PIL import Image

PART = "02_tiny"
SOURCE = """\
# %% [markdown]
# # A tiny part
#
# It has a picture.

# %% tags=["parameters"]
profile = "quick"

# %%
x = 1

# %% tags=["hide-input"]
draw(x)

# %%
print("the same")

# %%
if study("long one"):
    draw(x + 1)

# %% tags=["check"]
check(x)

# %% tags=["solution"]
tell(x)
"""
COMPARED = "| quantity | reported | this run (laptop) |\n|---|---|---|"


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return shown({"image/png": base64.b64encode(stream.getvalue()).decode(), "text/plain": "<Figure>"})


def shown(data, **metadata):
    return {"output_type": "display_data", "metadata": metadata, "data": data}


def printed(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def executed(path, outputs, profile="laptop", source=SOURCE):
    """Write the notebook as papermill does: the parameters injected, and these outputs by a cell's first line."""
    import jupytext
    import nbformat

    notebook = jupytext.reads(source, "py:percent")
    injected = nbformat.v4.new_code_cell(f'profile = "{profile}"')
    injected.metadata["tags"] = ["injected-parameters", "remove-cell"]
    notebook.cells.insert(2, injected)
    made = {"date": "2026-01-31", "commit": "abc1234", "machine": {"cpu": "A processor", "cores": 2, "threads": 1}}
    about = {"profile": profile, "seed": 0, "seconds": 130.0, "data_root": "data", "made": made}
    about["made_from"] = {"data": {"mnist": True}, "modules": {}}
    notebook.metadata["gen_utils"] = about
    notebook = json.loads(nbformat.writes(notebook))
    for i, cell in enumerate(notebook["cells"]):
        cell["id"] = f"cell-{i}"
        if cell["cell_type"] == "code":
            cell["outputs"] = outputs.get("".join(cell["source"]).split("\n")[0], [])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path
