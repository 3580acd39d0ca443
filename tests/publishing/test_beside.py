"""Below a cell that a reader has run: what the long run has shown there, once, and only where it is worth a look."""

from types import SimpleNamespace

import pytest

from gen_utils import beside
from gen_utils.kept_runs import find
from gen_utils.publishing import keep

from .kept_run_maker import PART, executed, picture, printed, shown

TABLE = shown({"text/markdown": "**A caption**\n\n| a | b |\n|---|---|\n| 1 | 2 |"}, gen_utils="a table")


@pytest.fixture
def run(tiny):
    said = [printed("the same\n")]
    outputs = {"draw(x)": [picture(1), TABLE], 'print("the same")': said, 'if study("long one"):': [picture(2)]}
    keep.keep_outputs(executed(tiny() / f"{PART}.ipynb", outputs))
    return find(PART)


def test_a_picture_and_a_table_are_there_folded(run):
    html = beside.below(run, "draw(x)  # a comment of the reader's own")
    assert html.startswith("<details") and "Long run (profile laptop, 2026-01-31, 2 minutes in all)" in html
    assert "data:image/webp;base64," in html and "<td>1</td>" in html and "<strong>A caption</strong>" in html


@pytest.mark.parametrize("source", ["draw(-x)", 'print("the same")', "x = 1", "%matplotlib inline", ""])
def test_nothing_is_shown_of_other_cells_and_of_mere_words(run, source):
    assert beside.below(run, source) == ""


def test_a_study_shows_the_long_run_by_itself(run):
    assert beside.below(run, 'if study("long one"):\n    draw(x + 1)') == ""


def test_it_is_called_once_a_cell_however_often_it_is_asked_for(run, monkeypatch):
    callbacks = {"post_run_cell": []}
    events = SimpleNamespace(
        callbacks=callbacks,
        register=lambda name, function: callbacks[name].append(function),
        unregister=lambda name, function: callbacks[name].remove(function),
    )
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(events=events))
    beside.show_long_run(PART)
    assert callbacks["post_run_cell"] == []  # nobody looks
    monkeypatch.setattr(beside, "can_show_widgets", lambda: True)
    for _ in range(2):
        beside.show_long_run(PART)
    (below,) = callbacks["post_run_cell"]
    displayed = []
    monkeypatch.setattr("IPython.display.display", lambda html: displayed.append(html.data))
    for success, source in ((True, "draw(x)"), (False, "draw(x)"), (True, "x = 1")):
        below(SimpleNamespace(success=success, info=SimpleNamespace(raw_cell=source)))
    assert len(displayed) == 1 and displayed[0].startswith("<details")
    beside.show_long_run("03_none")
    assert callbacks["post_run_cell"] == []
