import json

import numpy as np
import pytest
import torch

from gen_utils import report
from gen_utils.profiles import PROFILES, choose


def test_record_keeps_plain_values():
    report.record("a", torch.tensor(1.5))
    report.record("b", {"x": np.float32(2.0), "y": [1, torch.tensor(3)]})
    report.record("c", float("nan"))
    kept = report.recorded()
    assert kept["a"] == 1.5 and kept["b"] == {"x": 2.0, "y": [1, 3]} and kept["c"] is None
    json.dumps(kept)


def test_record_refuses_what_json_cannot_hold():
    with pytest.raises(TypeError, match="record numbers"):
        report.record("bad", torch.zeros(3))


def test_records_are_read_back_from_a_notebook():
    output = {"output_type": "display_data", "data": {report.MIME: {"name": "fid", "value": 12.3}}}
    notebook = {"cells": [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": [output, {"text": "x"}]}]}
    assert report.records(notebook) == {"fid": 12.3}


def test_tables_print_as_markdown_in_a_script(capsys):
    report.table(
        [{"run": "a", "value": 1234.5}, {"run": "b", "value": None}, {"run": "c", "value": float("inf")}], "Runs"
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["**Runs**", "", "| run | value |", "|---|---|"]
    assert lines[4:] == ["| a | 1234 |", "| b | – |", "| c | not finite |"]


def test_choose_takes_the_profiles_column():
    for i, profile in enumerate(PROFILES):
        settings = choose(profile, smoke=dict(n=0), quick=dict(n=1), laptop=dict(n=2), full=dict(n=3))
        assert settings.n == settings["n"] == i


def test_smoke_is_quick_but_for_what_it_names():
    settings = choose("smoke", quick=dict(n=1, m=2), laptop=dict(n=3, m=4), full=dict(n=5, m=6), smoke=dict(n=0))
    assert settings == dict(n=0, m=2)
    with pytest.raises(ValueError, match="smoke profile has k, which quick has not"):
        choose("quick", quick=dict(n=1), laptop=dict(n=3), full=dict(n=5), smoke=dict(k=0))


def test_choose_says_what_is_wrong():
    with pytest.raises(ValueError, match="quick, laptop, full"):
        choose("fast", quick={}, laptop={}, full={})
    with pytest.raises(ValueError, match="laptop profile leaves out n"):
        choose("quick", quick=dict(n=0), laptop={}, full=dict(n=2))
    with pytest.raises(AttributeError, match="there are n"):
        _ = choose("quick", quick=dict(n=0), laptop=dict(n=0), full=dict(n=2)).m


def test_a_bar_in_a_cell_does_not_end_it(capsys):
    report.table([{"max p(y|x)": "a|b"}])
    assert [line.replace(r"\|", "") for line in capsys.readouterr().out.splitlines()] == [
        "| max p(yx) |",
        "|---|",
        "| ab |",
    ]


def test_the_row_of_the_last_table_shows_what_each_run_recorded():
    from gen_utils import report

    report.record("a_distance", 12.34)
    report.record("an_empty_one", None)
    row = report.comparison({"a_distance": 5.0}, "quick")
    assert row("distance", "a_distance") == {
        "quantity": "distance", "reported": "–", "long run": "5.0", "this run (quick)": "12.3",
    }  # fmt: skip
    assert row("computed", lambda r: 2 * r["a_distance"], "24", "{:.2f}")["this run (quick)"] == "24.68"
    assert row("empty", "an_empty_one")["this run (quick)"] == "–"
    assert row("missing", lambda r: r["nowhere"]["deep"])["long run"] == "–"
    other = report.comparison({}, "laptop", first="exact", second="kept")
    assert list(other("distance", "a_distance", "1")) == ["quantity", "exact", "this run (laptop)"]  # nothing is kept


def test_a_table_with_this_run_beside_others_says_what_it_is(monkeypatch):
    shown = []
    monkeypatch.setattr(report, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda what, metadata=None, **more: shown.append(metadata))
    three = report.comparison({"only_here": 1.0}, "quick")
    report.table([three("first", "only_here"), three("second", "nowhere")])
    report.table([{"data": "x", "quantity": 1, "this run (quick)": 2}])
    report.table([{"quantity": 1, "run": 2}])
    report.say("A sentence.")
    assert [metadata[report.KIND] for metadata in shown] == [report.COMPARISON] * 2 + ["a table", "a sentence"]


def test_a_table_writes_numpys_numbers_as_it_writes_plain_ones(capsys):
    report.table([{"a": np.float32(0.1), "b": np.float64(1234.5), "c": np.int64(3), "d": np.float32("nan")}])
    assert capsys.readouterr().out.splitlines()[-1] == "| 0.1 | 1234 | 3 | not finite |"
    report.record("numpys", {"a": np.float32(0.5), "b": [np.float64("inf")]})
    assert report.recorded()["numpys"] == {"a": 0.5, "b": [None]}


def test_a_table_without_rows_is_refused():
    with pytest.raises(ValueError, match="a table needs at least one row"):
        report.table([])


class TestStudies:
    """A long study: run in every profile but quick, where the long run's outputs are shown."""

    @pytest.fixture
    def kept(self, tmp_path, monkeypatch):
        from gen_utils import kept_runs

        monkeypatch.setattr(kept_runs, "RESULTS", tmp_path)
        folder = tmp_path / "02_tiny.laptop"
        folder.mkdir()
        about = {"part": "02_tiny", "profile": "laptop", "seed": 0, "seconds": 600.0, "date": "2026-01-01"}
        held = {
            "format": kept_runs.FORMAT,
            "about": about | {"data": {}, "machine": {}, "commit": None},
            "cells": {
                "k": [{"output_type": "display_data", "metadata": {}, "data": {"text/markdown": ["a long ", "table"]}}]
            },
            "texts": {},
            "studies": {"ablation": "k"},
            "files": {},
            "modules": {},
        }
        (folder / "outputs.json").write_text(json.dumps(held), encoding="utf-8")
        return folder

    @pytest.mark.parametrize("profile", ["smoke", "laptop", "full"])
    def test_it_runs_where_it_says_something(self, profile, capsys):
        assert report.studies("02_tiny", profile)("ablation") and not capsys.readouterr().out

    def test_quick_shows_what_the_long_run_has_shown(self, kept, capsys):
        assert not report.studies("02_tiny", "quick")("ablation")
        out = capsys.readouterr().out
        assert "a long table" in out and "run 02 --profile laptop --keep" in out and "10 minutes in all" in out

    def test_quick_says_how_to_run_what_is_not_kept(self, kept, capsys):
        assert not report.studies("02_tiny", "quick")("another")
        assert "the kept long run has not made it" in capsys.readouterr().out
        assert not report.studies("03_none", "quick")("another")
        assert "no long run of this chapter is kept" in capsys.readouterr().out
        (kept / "outputs.json").write_text("{", encoding="utf-8")
        assert not report.studies("02_tiny", "quick")("ablation")
        assert "cannot be read" in capsys.readouterr().out


class TestFigure:
    """A figure with a caption and words for those who cannot see it."""

    def test_it_is_shown_once_with_what_is_told_of_it(self, monkeypatch):
        from matplotlib import pyplot as plt

        shown = []
        monkeypatch.setattr(report, "in_notebook", lambda: True)
        monkeypatch.setattr(
            "IPython.display.display", lambda what, metadata=None, **more: shown.append((what, metadata))
        )
        plt.close("all")
        plt.plot([1, 2])
        report.figure("The line **rises**.", "A line from 1 to 2.", name="fig-line")
        (picture, told), (caption, of) = shown
        assert picture["image/png"].startswith("iVBOR") and picture["text/plain"] == "A line from 1 to 2."
        words = {"caption": "The line **rises**.", "alt": "A line from 1 to 2.", "name": "fig-line"}
        assert told == {report.KIND: report.FIGURE, **words}
        assert caption.data == "The line **rises**." and of == {report.KIND: report.CAPTION}
        assert not plt.get_fignums()  # the notebook would show it again

    def test_a_script_prints_the_caption(self, capsys):
        from matplotlib import pyplot as plt

        plt.plot([1, 2])
        report.figure("The line rises.", "A line.")
        assert capsys.readouterr().out == "The line rises.\n"
        plt.close("all")

    def test_it_needs_words_and_a_picture(self):
        from matplotlib import pyplot as plt

        plt.close("all")
        with pytest.raises(ValueError, match="nothing has been drawn"):
            report.figure("A caption.", "A description.")
        plt.plot([1, 2])
        for caption, alt in (("", "A description."), ("A caption.", " ")):
            with pytest.raises(ValueError, match="one of the two is empty"):
                report.figure(caption, alt)
        plt.close("all")
