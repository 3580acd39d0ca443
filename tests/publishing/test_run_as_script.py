"""A notebook as a plain script, for machines without Jupyter."""

import json

import pytest

from gen_utils.base.places import ROOT
from gen_utils.publishing import execute, results

SOURCE = """# %%
import importlib, os, sys
sys.path.insert(0, {root!r})
from gen_utils.report import record

# %% tags=["parameters"]
profile = "quick"  # quick, laptop or full
data_root = ""
seed = 0
{ship}
# %%
record("told", [profile, data_root, seed, {shipped}])
record("check/ex", True)
{more}
"""


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")

    def write(ship="ship = False", shipped="ship", more=""):
        text = SOURCE.format(root=str(ROOT), ship=ship, shipped=shipped, more=more)
        (tmp_path / "01_tiny.py").write_text(text, encoding="utf-8")

    return write


def test_parameters_reach_the_script_and_records_come_back(notebooks):
    notebooks()
    run = execute.run_as_script("01_tiny", profile="laptop", data_root="/some where", seed=3, ship=True)
    assert run["records"]["told"] == ["laptop", "/some where", 3, True] and run["part"] == "01_tiny"
    kept = json.loads(results.keep_records(run).read_text(encoding="utf-8"))
    assert kept["records"] == {"told": ["laptop", "/some where", 3, True]}  # checks are not results
    assert {"date", "commit", "machine", "seconds", "seed", "profile"} <= kept.keys()


def test_a_notebook_without_a_parameter_is_not_given_it(notebooks):
    notebooks(ship="", shipped="None")
    assert (
        execute.run_as_script("01_tiny", profile="quick", data_root="", seed=0, ship=True)["records"]["told"][3] is None
    )


def test_a_failure_is_an_error_and_keeps_nothing(notebooks):
    notebooks(more="raise ValueError('no')")
    with pytest.raises(RuntimeError, match="run the same command again"):
        execute.run_as_script("01_tiny", profile="quick", data_root="", seed=0)
    with pytest.raises(ValueError, match="unknown profile"):
        execute.run_as_script("01_tiny", profile="fast", data_root="", seed=0)
