"""Keeping a long run: whole or not at all, small, and known again cell by cell."""

import json
from pathlib import Path

import pytest
from publishing.kept_run_maker import PART, SOURCE, executed, picture, printed, shown

from gen_utils import kept_runs
from gen_utils.kept_runs import Damaged, find
from gen_utils.publishing import keep
from gen_utils.publishing.cell_keys import cell_keys
from gen_utils.publishing.kept_listing import listing
from gen_utils.report import MIME

OUTPUTS = {
    "draw(x)": [
        picture(1),
        shown({MIME: '{"name": "data", "value": 1}'}),
        shown({"text/markdown": "| a | b |"}, gen_utils="a table"),
    ],
    'print("the same")': [printed("the same\n")],
    'if study("long one"):': [picture(2)],
}


@pytest.fixture
def kept(tiny):
    root = tiny()
    keep.keep_outputs(executed(root / f"{PART}.ipynb", OUTPUTS))
    return root / "results" / f"{PART}.laptop"


def key_of(first_line):
    sources = keep.code_cells(PART)
    keys = cell_keys(sources, "laptop")
    return next(key for key, source in zip(keys, sources, strict=True) if source.startswith(first_line))


def test_a_kept_run_gives_each_cell_what_it_has_shown(kept):
    run = find(PART)
    assert run.about["profile"] == "laptop" and run.about["data"] == {"mnist": True} and run.about["seconds"] == 130.0
    drawn, table = run.outputs(key_of("draw(x)"))  # without the record
    assert drawn["data"]["image/png"] and table["data"]["text/markdown"] == "| a | b |"
    assert run.outputs(key_of("print")) == [printed("the same\n")] and run.outputs(key_of("x = 1")) == []
    assert run.outputs("no such key") is None
    assert run.studies == {"long one": key_of("if study")} and run.size < 50_000
    assert sorted(path.name for path in kept.iterdir()) == ["cell02-0.webp", "cell04-0.webp", "outputs.json"]


def test_a_cell_is_stale_once_its_code_or_what_it_reads_is_another(kept, tiny):
    assert keep.stale_cells(find(PART)) == []
    tiny(SOURCE.replace("draw(x)", "draw( x )  # fmt: skip").replace("# It has", "# It certainly has"))
    assert keep.stale_cells(find(PART)) == []
    tiny(SOURCE.replace("draw(x)\n", "draw(-x)\n"))
    assert keep.stale_cells(find(PART)) == ["draw(-x)"]
    tiny(SOURCE.replace("x = 1", "x = 2"))
    assert keep.stale_cells(find(PART)) == ["x = 2", "draw(x)", 'if study("long one"):', "check(x)", "tell(x)"]


def test_the_listing_names_what_is_stale_and_what_renews_it(kept, tiny, monkeypatch):
    monkeypatch.setattr("gen_utils.publishing.kept_listing.parts", lambda: [PART, "03_other"])
    (first, other) = listing()
    assert first.startswith(f"{PART}: laptop, ") and "no stale cells, no modules changed since" in first
    assert other == "03_other: none; python -m gen_utils run 03 --profile laptop --keep makes one"
    tiny(SOURCE.replace("draw(x)\n", "draw(-x)\n"))
    assert [line.strip() for line in listing()][1:3] == [
        "stale: draw(-x)",
        "again: python -m gen_utils run 02 --profile laptop --keep",
    ]
    (kept / "cell02-0.webp").unlink()
    assert "is missing or is not what the run wrote" in next(listing())


def test_a_newer_run_takes_the_place_of_the_old_one_whole(kept, tiny):
    keep.keep_outputs(executed(tiny() / f"{PART}.ipynb", {"draw(x)": [picture(3)]}))
    assert sorted(path.name for path in kept.iterdir()) == ["cell02-0.webp", "outputs.json"]
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_what_is_not_this_notebooks_long_run_is_refused(kept, tiny):
    before = (kept / "outputs.json").read_bytes()
    with pytest.raises(ValueError, match="a quick run is not kept; known: full, laptop"):
        keep.keep_outputs(executed(tiny() / f"{PART}.ipynb", {}, profile="quick"))
    with pytest.raises(ValueError, match="a run of another version"):
        keep.keep_outputs(executed(tiny() / f"{PART}.ipynb", {}, source=SOURCE.replace("x = 1", "x = 2")))
    assert (kept / "outputs.json").read_bytes() == before
    reformatted = SOURCE.replace("draw(x)\n", "draw(  # it\n    x\n)\n")  # says the same
    assert keep.keep_outputs(executed(tiny() / f"{PART}.ipynb", {}, source=reformatted)) == kept


def test_too_much_is_refused_and_the_largest_cell_named(kept, tiny, monkeypatch):
    before = (kept / "outputs.json").read_bytes()
    monkeypatch.setattr(keep, "LIMIT", 900)
    with pytest.raises(ValueError, match=r"more than the 900 that are kept: [\d,]+ bytes of the cell .*draw\(x\)"):
        keep.keep_outputs(executed(tiny() / f"{PART}.ipynb", OUTPUTS))
    assert (kept / "outputs.json").read_bytes() == before


def test_damage_is_one_sentence_with_the_command_that_mends_it(kept, monkeypatch):
    good = (kept / "outputs.json").read_text(encoding="utf-8")

    def refusal(text):
        (kept / "outputs.json").write_text(text, encoding="utf-8")
        with pytest.raises(Damaged, match="run 02 --profile laptop --keep") as caught:
            find(PART)
        return str(caught.value)

    assert "cannot be read" in refusal(good[: len(good) // 2])
    assert "cannot be read" in refusal('{"format": 1}')
    assert "another version of the workbook" in refusal('{"format": 99}')
    assert "of 03_other in the profile laptop" in refusal(good.replace(PART, "03_other"))
    (kept / "outputs.json").write_text(good, encoding="utf-8")
    monkeypatch.setattr(kept_runs, "LIMIT", 1000)
    with pytest.raises(Damaged, match="more than the 1,000 allowed"):
        find(PART)
    monkeypatch.undo()


def test_a_file_that_is_not_the_runs_is_refused(kept):
    (kept / "cell02-0.webp").write_bytes(b"another picture")
    with pytest.raises(Damaged, match=r"cell02-0\.webp is missing or is not what the run wrote"):
        find(PART)
    held = json.loads((kept / "outputs.json").read_text(encoding="utf-8"))
    held["files"] = {"../outside": "0"}
    (kept / "outputs.json").write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(Damaged, match="is missing or is not"):
        find(PART)


def test_no_run_is_no_error(tiny):
    assert find(PART) is None


def test_a_warning_is_for_those_who_run_it_and_is_not_kept(tiny):
    warned = {"output_type": "stream", "name": "stderr", "text": "/some/file.py:3: UserWarning: soon gone"}
    keep.keep_outputs(executed(tiny() / f"{PART}.ipynb", {"x = 1": [warned, printed("one")]}))
    run = find(PART)
    assert run.outputs(key_of("x = 1")) == [printed("one")]


def test_it_names_no_folder_of_the_machine(tiny):
    said = (
        f"no data in /where/my/data/, weights in {Path.home()}/.cache, notebook in {keep.ROOT}/notebooks, 1/2 and </b>"
    )
    assert keep.nowhere(json.dumps(said), "/where/my/data") == json.dumps(
        "no data in data/, weights in ~/.cache, notebook in ./notebooks, 1/2 and </b>"
    )


def test_what_is_too_large_is_packed_again_with_less_quality(tiny, monkeypatch):
    root, tried = tiny(), []

    def packed(output, folder, name, qualities):
        tried.append(qualities)
        (folder / f"{name}.webp").write_bytes(bytes(30 * qualities[0]))
        return {"output_type": "display_data", "data": {}, "metadata": {}, "file": f"{name}.webp"}

    monkeypatch.setattr(keep.small_outputs, "packed", packed)
    run = executed(root / f"{PART}.ipynb", {"draw(x)": [picture(1)]})
    size = keep.keep_outputs(run) and find(PART).size
    monkeypatch.setattr(keep, "LIMIT", size - 1)
    keep.keep_outputs(run)
    assert tried == [keep.small_outputs.QUALITIES[i] for i in (0, 0, 1)] and find(PART).size < size
