"""The tables of chains say what the benchmarks' files say, and whether a bar was met."""

import pytest

from gen_utils.publishing import chain_tables

MACHINE = {"cpu": "A processor", "threads": 2, "torch": "2.11.0+cpu"}


def measured(ours, fast, rival, cores, bar):
    where = {"energy": "mnist", "cores": cores, "batch": 64}
    times = {"bare gradient calls": 0.3, "torchebm": rival, chain_tables.OURS: ours, chain_tables.FAST: fast}
    rows = [{**where, "steps": 60, "sampler": who, "seconds": seconds} for who, seconds in times.items()]
    ratios = [
        {**where, "ratio": f"torchebm / {who}", "measured": round(rival / times[who], 3), "bar": bar}
        for who in (chain_tables.OURS, chain_tables.FAST)
    ]
    return rows, ratios


@pytest.fixture
def found():
    one, two = measured(0.4, 0.2, 0.4, 1, None), measured(0.25, 0.125, 0.35, 2, 1.6)
    return {"machine": MACHINE, "settings": {"rounds": 9}, "rows": one[0] + two[0], "ratios": one[1] + two[1]}


def test_a_row_has_the_seconds_of_all_and_both_ratios(found):
    page = chain_tables.samplers(found)
    assert "| MNIST, 60 steps | 2 | 64 | 0.300 | 0.350 | 0.250 | 0.125 | 1.40 · 2.80 |" in page
    assert "list, frozen |" not in page  # nobody ran it


def test_a_bar_is_met_or_missed_by_so_much(found):
    page = chain_tables.samplers(found)
    assert "2 cores, batch 64: ours is 1.40 times as fast as torchebm; the bar of 1.6: **missed** by 13%." in page
    assert "2 cores, batch 64: ours, `fast` is 2.80 times as fast as torchebm; the bar of 1.6: met." in page


def test_more_cores_are_a_model_from_two(found):
    """1.6 on two cores: a quarter does not divide, so that four give 1/(0.25 + 0.75/4) = 2.3."""
    assert "| MNIST | 64 | 1.60 | 25% | 2.3 | 2.9 |" in chain_tables.samplers(found)
    found["rows"] = [row for row in found["rows"] if row["cores"] == 2]
    assert "model" not in chain_tables.samplers(found)


def test_a_rival_that_was_not_there_leaves_a_dash(found):
    found["rows"] = [row for row in found["rows"] if row["sampler"] != "torchebm"]
    found["ratios"] = []
    assert "| 0.300 | 0.250 | 0.125 | – |" in chain_tables.samplers(found)


def test_old_and_new_come_to_the_same_place_sooner():
    def runs(*seconds):
        return [{"seconds": each, "frechet": 20.04} for each in seconds]

    trainings = {
        "mnist": {"steps": 600, "runs": {"old": runs(60, 62, 61), "new": runs(40, 41, 42)}, "ratio": 1.5},
        "jem": {"steps": 400, "runs": {"old": runs(50), "new": runs(40)}, "ratio": 1.25},
    }
    page = chain_tables.old_and_new({"machine": MACHINE, "old": "abc", "commit": "def", "trainings": trainings})
    assert "| B: MNIST | 600 | 61.0 | 41.0 | 1.50 | 20.0 | 20.0 |" in page
    assert "1.3 times as fast: **missed** by D: joint model." in page
