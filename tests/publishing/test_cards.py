"""A chapter with the long run's outputs and one's own: which of them a reader sees, and what the page says of them."""

import json

import nbformat
import pytest
from publishing.kept_run_maker import COMPARED, PART, SOURCE, executed, picture, printed, shown

from gen_utils.publishing import cards, editions, keep
from gen_utils.report import COMPARISON, MIME, NOTE

LONG = {
    "draw(x)": [picture(1)],
    'print("the same")': [printed("the same\n")],
    'if study("long one"):': [picture(2)],
    "check(x)": [printed("✓ long")],
    "tell(x)": [shown({"text/markdown": "long"})],
}
OWN = {
    "draw(x)": [shown({MIME: "{}"}), picture(7)],
    'print("the same")': [printed("the same\n")],
    'if study("long one"):': [shown({"text/markdown": "from the long run"}, gen_utils=NOTE), picture(2)],
    "check(x)": [printed("✓ own")],
    "tell(x)": [shown({"text/markdown": "own"})],
}


@pytest.fixture
def kept(tiny):
    keep.keep_outputs(executed(tiny() / "laptop" / f"{PART}.ipynb", LONG))
    return tiny


def own(tiny, outputs=OWN, profile="quick"):
    return executed(tiny() / profile / f"{PART}.ipynb", outputs, profile)


def cells(notebook):
    """First line -> what is shown there; one's own under "own: " and the line above."""
    found, line = {}, ""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            beside = cards.OWN_RUN in cell["metadata"].get("tags", ())
            line = line if beside else "".join(cell["source"]).split("\n")[0]
            visible = [output for output in cell["outputs"] if MIME not in output.get("data", {})]
            found[f"own: {line}" if beside else line] = visible
    return found


def said(notebook):
    return "".join(notebook["cells"][0]["source"])


def test_without_a_run_of_ones_own_the_long_run_is_the_page(kept):
    notebook = cards.chapter(PART)
    nbformat.validate(nbformat.from_dict(notebook))
    found = cells(notebook)
    assert (
        found["draw(x)"][0]["data"]["image/png"] and found["x = 1"] == [] and not any("own" in line for line in found)
    )
    told = "MNIST; profile `laptop`, 2 minutes on A processor, 1 of 2 cores, 31 January 2026, seed 0, commit abc1234."
    assert f"**This page shows the long run**: {told}" in said(notebook)
    assert "`python -m gen_utils run 02 --profile laptop --keep`" in said(notebook)
    assert notebook == cards.chapter(PART)  # nothing of it is drawn by lot


def test_the_time_of_a_run_is_that_of_all_its_sittings(tiny):
    outputs = {**LONG, 'print("the same")': [shown({MIME: json.dumps({"name": "earlier_seconds", "value": 3600.0})})]}
    keep.keep_outputs(executed(tiny() / "laptop" / f"{PART}.ipynb", outputs))
    assert "; profile `laptop`, 62 minutes (60 minutes of them in earlier sittings) on A processor" in said(
        cards.chapter(PART)
    )


def test_where_both_show_something_else_ones_own_follows_folded(kept):
    notebook = cards.chapter(PART, own(kept))
    nbformat.validate(nbformat.from_dict(notebook))
    found = cells(notebook)
    assert cards.alike(found["draw(x)"], LONG["draw(x)"]) and cards.alike(found["own: draw(x)"], [picture(7)])
    beside = next(cell for cell in notebook["cells"] if cards.OWN_RUN in cell["metadata"].get("tags", ()))
    assert {"hide-output", "remove-input"} <= set(beside["metadata"]["tags"])
    assert beside["metadata"]["mystnb"]["code_prompt_show"] == "Your own run (quick)"
    assert "**Your own run** stands beside it, folded, in a dashed frame: profile `quick`, 2 minutes, MNIST" in said(
        notebook
    )


def test_what_is_the_same_is_shown_once(kept):
    found = cells(cards.chapter(PART, own(kept)))
    assert found['print("the same")'] == [printed("the same\n")]
    assert cards.alike(found['if study("long one"):'], [picture(2)])  # shown by the study itself, under its note
    assert [line for line in found if line.startswith("own: ")] == ["own: draw(x)", "own: tell(x)"]


def test_a_check_is_the_readers_and_the_last_table_is_one(kept):
    compared = shown({"text/markdown": COMPARED}, gen_utils=COMPARISON)
    notebook = cards.chapter(PART, own(kept, OWN | {"tell(x)": [compared]}))
    found = cells(notebook)
    assert found["check(x)"] == [printed("✓ own")] and found["tell(x)"] == [compared]


def test_students_get_no_run_of_a_solution(kept):
    text = json.dumps(cards.chapter(PART, own(kept)))
    found = cells(json.loads(editions.notebook(text, editions.STUDENT)))
    assert "own: draw(x)" in found and "tell(x)" not in found and "own: tell(x)" not in found
    assert found["check(x)"] == []


def test_a_cell_that_has_changed_shows_ones_own_run_and_the_page_says_so(kept):
    source = SOURCE.replace("draw(x)\n", "draw(-x)\n")
    kept(source)
    path = executed(kept(source) / "quick" / f"{PART}.ipynb", {"draw(-x)": [picture(9)]}, "quick", source)
    notebook = cards.chapter(PART, path)
    assert cards.alike(cells(notebook)["draw(-x)"], [picture(9)])
    assert "One cell has changed since the long run, which shows nothing there." in said(notebook)
    assert cells(cards.chapter(PART))["draw(-x)"] == []


def test_a_long_run_of_ones_own_is_the_page(kept):
    notebook = cards.chapter(PART, own(kept, OWN, profile="laptop"))
    assert cards.alike(cells(notebook)["draw(x)"], [picture(7)]) and "own: draw(x)" not in cells(notebook)
    assert "**This page shows a long run**: profile `laptop`" in said(notebook)


def test_with_nothing_kept_the_page_shows_ones_own_run_or_says_how_to_get_one(tiny):
    assert "It has not been run here either." in said(cards.chapter(PART))
    notebook = cards.chapter(PART, own(tiny))
    assert "No long run of this chapter is kept yet" in said(notebook) and "What you see is **your own run**" in said(
        notebook
    )
    assert cards.alike(cells(notebook)["draw(x)"], [picture(7)])


def test_a_damaged_long_run_is_said_and_the_chapter_is_there(kept):
    folder = kept() / "results" / f"{PART}.laptop"
    (folder / "outputs.json").write_text("{", encoding="utf-8")
    notebook = cards.chapter(PART, own(kept))
    assert "The long run of this chapter cannot be shown" in said(notebook) and "--keep" in said(notebook)
    assert cards.alike(cells(notebook)["draw(x)"], [picture(7)])


def test_stand_ins_are_called_what_they_are(kept, monkeypatch):
    monkeypatch.setattr(cards, "depends_on", lambda *asked: {"data": {"mnist": None, "digits": None}})
    assert "standing in for MNIST" in said(cards.chapter(PART, own(kept)))


def test_pictures_are_alike_within_what_storing_changes_and_no_further():
    assert cards.alike([picture(1)], [picture(1)]) and not cards.alike([picture(1)], [picture(2)])
    assert not cards.alike([picture(1)], [picture(1), picture(1)]) and not cards.alike([picture(1)], [printed("1")])
    assert not cards.alike([printed("1")], [printed("2")])


@pytest.mark.parametrize(("place", "badge"), [(None, ", on built-in data"), ("somewhere", "")])
def test_a_run_without_the_real_data_bears_a_badge(kept, monkeypatch, place, badge):
    monkeypatch.setattr(cards, "depends_on", lambda *_: {"data": {"mnist": place, "digits": None}})
    notebook = cards.chapter(PART, own(kept))
    beside = next(cell for cell in notebook["cells"] if cards.OWN_RUN in cell["metadata"].get("tags", ()))
    assert beside["metadata"]["mystnb"]["code_prompt_show"] == f"Your own run (quick{badge})"
