"""``run --keep`` from the command line, in a project that has one tiny part."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """\
# %% [markdown]
# # A tiny part

# %% tags=["parameters"]
profile = "quick"
data_root = ""
seed = 0

# %%
from gen_utils.report import record, say

say(f"The answer of {profile} is {6 * 7}.")
record("answer", 6 * 7)
"""


@pytest.mark.slow
def test_a_long_run_is_kept_with_what_made_it_and_found_again(tmp_path):
    shutil.copytree(ROOT / "gen_utils", tmp_path / "gen_utils", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "02_tiny.py").write_text(SOURCE, encoding="utf-8")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "gen_utils", "run", "02", "--profile", "laptop", "--keep"]

    def run():
        answer = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, encoding="utf-8")
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    said = run()
    assert "wrote _build/laptop/notebooks/02_tiny.ipynb" in said.replace("\\", "/")
    folder = tmp_path / "results" / "02_tiny.laptop"
    held = json.loads((folder / "outputs.json").read_text(encoding="utf-8"))
    numbers = json.loads((folder.parent / "02_tiny.laptop.json").read_text(encoding="utf-8"))
    assert numbers["records"] == {"answer": 42}
    assert held["about"]["machine"]["threads"] == numbers["machine"]["threads"] == 1  # the run's, not the press's
    assert held["about"]["date"] == numbers["date"] and "gen_utils/report.py" in held["modules"]
    (shown,) = [output for outputs in held["cells"].values() for output in outputs]
    assert "".join(shown["data"]["text/markdown"]) == "The answer of laptop is 42."
    assert "up to date:" in run()  # what is kept does not make the run that it was kept from another
