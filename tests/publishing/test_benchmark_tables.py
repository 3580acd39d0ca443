"""The performance page says what the benchmarks' files say."""

import json

import pytest

from gen_utils.publishing import benchmark_tables as performance


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(performance, "BENCHMARKS", tmp_path)
    return tmp_path


MACHINE = {"cpu": "A processor", "threads": 2, "torch": "2.11.0+cpu"}


def test_what_was_not_run_is_not_on_the_page(results):
    assert performance.page() == ""


def test_a_missed_bar_is_called_missed(results):
    curves = {
        "ours, planned for 60 s": [{"seconds": 60.2, "steps": 700, "frechet": 90.0}],
        "ours, planned for 300 s": [{"seconds": 300.0, "steps": 3500, "frechet": 24.0}],
        "as the assignment writes it": [{"seconds": 600.0, "steps": 1300, "frechet": 80.0}],
    }
    found = {"machine": MACHINE, "title": "A model", "told": "chains", "judge": "digit_classifier", "goal": 25}
    (results / "time_to_quality.json").write_text(json.dumps({"mnist": {**found, "curves": curves}}), encoding="utf-8")
    page = " ".join(performance.page().split())
    assert "ours in a minute at least as good: **missed**" in page and "25 within five minutes: met" in page
    assert "A processor, 2 thread(s), torch 2.11.0)" in page


def test_a_training_that_diverged_keeps_its_row_and_its_best(results):
    def point(seconds, frechet):
        return {"seconds": seconds, "steps": 10, "frechet": frechet, "as_asked": 50.0, "accuracy": 98.0}

    curves = {
        "ours, planned for 60 s": [point(60.0, 30.0)],
        "ours, planned for 300 s": [point(300.0, 24.0)],
        "JEM as published": [point(60.0, 40.0), point(150.0, 90.0), {"seconds": 200.0, "diverged": "too far apart"}],
    }
    found = {"machine": MACHINE, "title": "A model", "told": "chains", "judge": "digit_classifier", "goal": None}
    (results / "time_to_quality.json").write_text(json.dumps({"jem": {**found, "curves": curves}}), encoding="utf-8")
    page = performance.page()
    assert "| JEM as published | 200 | diverged | – | – | – |" in page
    assert "the best of theirs in 200 s is 40.0" in page and "in a minute at least as good: met" in page
    assert "as asked (%) | accuracy (%)" in page and "The bar, " not in page.split("met.")[-1]


def test_the_course_is_added_up(results):
    rows = [{"part": "01_a", "seconds": 10.0, "peak_gb": 1.0}, {"part": "02_b", "seconds": 30.0, "peak_gb": 5.0}]
    bars = {"all parts, quick (s)": 480, "import beyond torch (s)": 0.3, "HTML (s)": 90, "peak of a part (GB)": 4.0}
    found = {"machine": MACHINE, "rows": rows, "html_seconds": 50.0, "bars": bars}
    found["import_seconds"] = {"torch": 1.0, "gen_utils beyond torch": 0.2}
    quick = {**found, "together": {"jobs": 2, "seconds": 25.0, "peak_gb": 5.5}}
    bare = {"machine": MACHINE, "rows": [{"part": "02_b", "peak_gb": 2.5}], "bars": bars}
    (results / "course.json").write_text(json.dumps({"quick": quick, "laptop": bare}), encoding="utf-8")
    quick, laptop = performance.page().split("Profile `laptop`")
    assert "| **one after the other** | **40** | **5.0** |" in quick
    assert "| **2 at a time** | **25** | **5.5** |" in quick and "all parts, quick (s): 25, bar 480, met" in quick
    assert "peak of a part (GB): 5, bar 4, **missed**" in quick and "HTML (s): 50, bar 90, met" in quick
    assert "| 02_b | 2.5 |" in laptop and "The largest: 2.5 GB, bar 4, met." in laptop and "480" not in laptop


def test_recorded_chains_are_held_to_their_bar(results):
    row = {"arithmetic": "float32", "batch": 64, "plain": 0.1, "replayed": 0.025, "recording": 0.5, "apart": 0.0}
    found = {"machine": MACHINE, "device": "A GPU", "n_steps": 60, "rows": [row]}
    (results / "gpu_chains.json").write_text(json.dumps(found), encoding="utf-8")
    assert "five times as fast at batch 64: **missed** (4.0)" in performance.page()


def test_the_kept_files_make_a_page():
    assert "## What does a chain cost?" in performance.page()
