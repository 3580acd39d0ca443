"""A workbook of one tiny part, in a folder of its own."""

import jupytext
import nbformat
import pytest
from publishing.kept_run_maker import PART, SOURCE

from gen_utils import kept_runs
from gen_utils.publishing import cards, keep


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The folder; ``tiny(source)`` writes another version of the notebook."""

    def write(source=SOURCE):
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        (tmp_path / "notebooks" / f"{PART}.py").write_text(source, encoding="utf-8")
        assert nbformat.writes(jupytext.reads(source, "py:percent"))
        return tmp_path

    for module in (kept_runs, keep):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    for module in (cards, keep):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(cards, "depends_on", lambda *asked: {"data": {"mnist": "there"}})
    write()
    return write
