"""What a run recorded, kept and shown in another build: the same, in the same order."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from gen_utils import report
from gen_utils.publishing import results

ROWS = [{"variant": "none", "loss": 0.5, "accuracy": 1.0, "a last one": "∇"}, {"variant": "all", "loss": None}]


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """Records a value as a kernel does, and writes the notebook as papermill and JupyterLab do."""

    def write(**values):
        outputs = []
        monkeypatch.setattr(report, "in_notebook", lambda: True)
        monkeypatch.setattr("IPython.display.display", lambda data, raw: outputs.append(data))
        for name, value in values.items():
            report.record(name, value)
        shown = [new_output("display_data", data=data) for data in outputs]
        notebook = new_notebook(cells=[new_code_cell("record(…)", outputs=shown)])
        notebook.metadata["gen_utils"] = {"profile": "laptop", "seed": 0, "seconds": 1.0}
        path = tmp_path / "01_tiny.ipynb"
        for _ in range(2):  # executed, then opened and saved
            nbformat.validate(notebook)
            nbformat.write(notebook, path)
            notebook = nbformat.read(path, as_version=4)
        return path

    for module in (results, report):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return write


def test_a_kept_table_has_its_columns_in_their_order(executed):
    results.keep_results(executed(ablation=ROWS, settings={"z": 1, "a": {"y": 2, "b": 3}}))
    kept = report.kept("01_tiny")["records"]
    assert [list(row) for row in kept["ablation"]] == [list(row) for row in ROWS] and kept["ablation"] == ROWS
    assert list(kept["settings"]) == ["z", "a"] and list(kept["settings"]["a"]) == ["y", "b"]


def test_what_other_records_hold_comes_back_as_it_was(executed):
    path = executed(number=1.5, words=["a", "b\nc"], nothing=None, **{"check/ex": {"passed": True, "slip": None}})
    found = report.records(json.loads(path.read_text(encoding="utf-8")))
    assert found == {"number": 1.5, "words": ["a", "b\nc"], "nothing": None, "check/ex": {"passed": True, "slip": None}}
    results.keep_results(path)
    assert "check/ex" not in report.kept("01_tiny")["records"]
