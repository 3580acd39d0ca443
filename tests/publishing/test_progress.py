"""How far a build has come: what is said, with times that are known and with none."""

import json

import pytest

from gen_utils.publishing import progress
from gen_utils.publishing.progress import Progress


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "BENCHMARKS", tmp_path)
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    said = []

    def start(seconds, jobs=1, measured=None):
        if measured is not None:
            rows = [{"part": part, "seconds": value} for part, value in measured.items()]
            (tmp_path / "course.json").write_text(json.dumps({"quick": {"rows": rows}}), encoding="utf-8")
        told = Progress(list(seconds), "quick", tmp_path / "before", jobs, said.append)

        def end(part, at, ran=True):
            clock[0] = at
            path = tmp_path / f"{part}.ipynb"
            path.write_text(json.dumps({"metadata": {"gen_utils": {"seconds": seconds[part]}}}), encoding="utf-8")
            told.done(part, path, ran)
            return said[-1]

        return end

    return start


def test_the_time_left_follows_from_what_the_rest_took_and_from_todays_pace(build):
    end = build({"01_a": 60.0, "02_b": 60.0, "03_c": 60.0}, measured={"01_a": 30, "02_b": 30, "03_c": 30})
    assert end("01_a", 60.0) == "01_a (quick): ran in 60 s, 2 to go, about 2 min left"
    assert end("02_b", 120.0) == "02_b (quick): ran in 60 s, 1 to go, about 60 s left"
    assert end("03_c", 180.0) == "03_c (quick): ran in 60 s"


def test_two_at_once_take_half_as_long(build):
    end = build(
        {"01_a": 40.0, "02_b": 40.0, "03_c": 40.0, "04_d": 40.0}, 2, dict.fromkeys(("01_a", "02_b", "03_c", "04_d"), 40)
    )
    end("01_a", 40.0)
    assert end("02_b", 40.0).endswith("2 to go, about 40 s left")


def test_nobody_guesses(build):
    end = build({"01_a": 40.0, "02_b": 40.0})
    assert end("01_a", 40.0) == "01_a (quick): ran in 40 s"
    assert end("02_b", 41.0, ran=False) == "02_b (quick): up to date"
