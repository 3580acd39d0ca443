"""Sweeps keep what is finished, say what diverged, and run again only what is missing."""

import json
import math
import os
import statistics

import numpy as np
import pytest
import torch
from joblib import parallel_config, register_parallel_backend
from joblib.parallel import ThreadingBackend

from gen_utils.experiments.sweep import Cell, summary, sweep
from gen_utils.samplers import ChainDiverged
from gen_utils.training import TrainingDiverged

CELLS = {"small": dict(width=1), "large": dict(width=3)}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GEN_RUNS", str(tmp_path))
    return tmp_path / "sweeps" / "trial"


class Experiment:
    """Counts its runs; what it returns follows from its settings alone."""

    def __init__(self, fails=None):
        self.calls, self.fails = [], fails or {}

    def __identity__(self):
        return "counts, whatever it has counted"

    def __call__(self, seed, width, scale=1.0):
        self.calls.append((width, seed))
        if (width, seed) in self.fails:
            raise self.fails[width, seed]
        states = torch.randn(width, 2, generator=torch.Generator().manual_seed(seed))
        return {"score": scale * width + seed, "name": f"w{width}", "path": [1, 2.5], "states": states}


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        assert (a.name, a.seed, a.values, a.seconds, a.diverged) == (b.name, b.seed, b.values, b.seconds, b.diverged)
        assert a.tensors.keys() == b.tensors.keys()
        assert all(torch.equal(a.tensors[key], b.tensors[key]) for key in a.tensors)


def test_a_second_run_runs_nothing_and_gives_the_same():
    first, again = Experiment(), Experiment()
    cells = sweep("trial", first, CELLS, seeds=(0, 1), scale=2.0)
    assert first.calls == [(1, 0), (1, 1), (3, 0), (3, 1)]
    assert [cell.values["score"] for cell in cells] == [2.0, 3.0, 6.0, 7.0]
    assert_equal(cells, sweep("trial", again, CELLS, seeds=(0, 1), scale=2.0))
    assert again.calls == []


def test_only_new_cells_and_changed_settings_run():
    sweep("trial", Experiment(), CELLS)
    more, changed, elsewhere = Experiment(), Experiment(), Experiment()
    sweep("trial", more, {**CELLS, "huge": dict(width=9)}, seeds=(0, 1))
    assert more.calls == [(1, 1), (3, 1), (9, 0), (9, 1)]
    sweep("trial", changed, {"small": dict(width=1, scale=5.0)})
    assert changed.calls == [(1, 0)]
    sweep("other", elsewhere, CELLS)
    assert len(elsewhere.calls) == 2


def test_a_cells_settings_override_the_common_ones():
    cells = sweep("trial", Experiment(), {"a": dict(scale=4.0), "b": {}}, width=2, scale=1.0)
    assert [cell.values["score"] for cell in cells] == [8.0, 2.0]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_an_interrupted_sweep_goes_on_where_it_stopped(stop):
    with pytest.raises(type(stop)):
        sweep("trial", Experiment({(3, 0): stop}), CELLS, seeds=(0, 1))
    rest = Experiment()
    cells = sweep("trial", rest, CELLS, seeds=(0, 1))
    assert rest.calls == [(3, 0), (3, 1)] and len(cells) == 4


@pytest.mark.parametrize("error", [TrainingDiverged("the loss is nan at step 7"), ChainDiverged("3 of 4 chains")])
def test_a_diverging_cell_says_so_and_the_sweep_goes_on(error):
    cells = sweep("trial", Experiment({(1, 0): error}), CELLS, seeds=(0, 1))
    assert [cell.diverged for cell in cells] == [str(error), None, None, None]
    assert cells[0].values == {} and cells[0].tensors == {}
    again = Experiment()
    assert_equal(cells, sweep("trial", again, CELLS, seeds=(0, 1)))
    assert again.calls == []  # it would diverge again
    rows = summary(cells, {"score": "score"})
    assert rows[0] == {"variant": "small", "score": "2", "finished": "1 of 2"}


def test_tensors_come_back_equal():
    def experiment(seed):
        whole = torch.randn(4, 6)
        return {
            "floats": whole,
            "columns": whole[:, ::2],  # a view: not contiguous, and of the same memory
            "rows": whole[1:3],
            "same": whole,
            "bytes": torch.arange(6, dtype=torch.uint8).reshape(2, 3),
            "whole numbers": torch.tensor([2**40, -1]),
            "scalar": torch.tensor(0.1, dtype=torch.float64),
            "empty": torch.zeros(0, 3),
            "with a graph": torch.ones(2, requires_grad=True) * 2,
        }

    (cell,) = sweep("trial", experiment, {"one": {}})
    (again,) = sweep("trial", experiment, {"one": {}})
    assert len(again.tensors) == 9
    for name, value in again.tensors.items():
        assert value.dtype == cell.tensors[name].dtype and torch.equal(value, cell.tensors[name]), name
        assert not value.requires_grad


def test_numbers_that_are_not_finite_become_none():
    (cell,) = sweep("trial", lambda seed: {"bad": math.nan, "far": math.inf, "good": 1.0}, {"one": {}})
    assert cell.values == {"bad": None, "far": None, "good": 1.0}


def test_numpys_numbers_and_arrays_are_kept_as_plain_ones_and_tensors():
    def experiment(seed, width):
        assert type(seed) is int and type(width) is int
        return {
            "single": np.float32(0.5),
            "double": np.float64(0.25),
            "count": np.int64(width),
            "yes": np.bool_(True),
            "lost": np.float32("nan"),
            "scalar array": np.array(2.0),
            "nested": {"rows": [(np.int32(1), math.inf), (2, np.float16(0.5))]},
            "rows": np.arange(6.0).reshape(2, 3)[:, ::-1],
        }

    cells = {"one": dict(width=np.int64(3))}
    (cell,) = sweep("trial", experiment, cells, seeds=np.arange(1))
    assert cell.values == {
        "single": 0.5, "double": 0.25, "count": 3, "yes": True, "lost": None, "scalar array": 2.0,
        "nested": {"rows": [[1, None], [2, 0.5]]},
    }  # fmt: skip
    assert cell.tensors["rows"].tolist() == [[2.0, 1.0, 0.0], [5.0, 4.0, 3.0]]
    assert_equal([cell], sweep("trial", experiment, {"one": dict(width=3)}))
    assert all(type(value) in (float, int, bool, dict, type(None)) for value in cell.values.values())


def test_a_setting_keeps_its_type():
    """A tuple stays one, and so do the keys of a dictionary."""
    seen = []
    experiment = lambda seed, **settings: seen.append(settings) or {"score": 1.0}  # noqa: E731
    sweep("trial", experiment, {"one": dict(widths=(1, 2), names={3: "c"})})
    assert seen == [{"widths": (1, 2), "names": {3: "c"}}]


@pytest.mark.parametrize("result", [{1, 2}, object(), [torch.ones(2)], np.array(["a", "b"])])
def test_a_result_that_cannot_be_kept_is_named(result, folder):
    with pytest.raises(TypeError, match=r"odd is a .*; an experiment returns numbers, strings, lists"):
        sweep("trial", lambda seed: {"fine": 1.0, "odd": result}, {"one": {}})
    assert not list(folder.glob("*"))


@pytest.mark.parametrize("kind", ["json", "safetensors"])
@pytest.mark.parametrize("damage", ["empty", "half", "noise", "gone"])
def test_a_damaged_file_is_run_again(folder, kind, damage):
    cells = sweep("trial", Experiment(), CELLS)
    victim = sorted(folder.glob(f"*.{kind}"))[0]
    data = victim.read_bytes()
    if damage == "gone":
        victim.unlink()
    else:
        victim.write_bytes({"empty": b"", "half": data[: len(data) // 2], "noise": b"\xff\x00[1]" * 9}[damage])
    again = Experiment()
    cells = [(cell.values, cell.tensors["states"].tolist()) for cell in cells]
    assert [(c.values, c.tensors["states"].tolist()) for c in sweep("trial", again, CELLS)] == cells
    assert len(again.calls) == 1


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"has_tensors": false}'])
def test_a_file_of_another_kind_is_run_again(folder, text):
    sweep("trial", Experiment(), CELLS)
    sorted(folder.glob("*.json"))[0].write_text(text)
    again = Experiment()
    sweep("trial", again, CELLS)
    assert len(again.calls) == 1


def test_files_say_what_they_hold(folder):
    sweep("trial", Experiment(), CELLS, scale=2.0)
    kept = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    assert {row["settings"]["width"] for row in kept} == {1, 3}
    assert all(row["settings"]["scale"] == 2.0 and row["torch"] == torch.__version__ for row in kept)


@pytest.mark.parametrize("setting", [torch.ones(2), lambda t: t, {1, 2}, object()])
def test_settings_that_are_not_plain_are_refused_before_anything_runs(setting):
    experiment = Experiment()
    with pytest.raises(TypeError, match="numbers, strings, lists or dictionaries"):
        sweep("trial", experiment, {"good": dict(width=1), "bad": dict(width=1, scale=setting)})
    assert experiment.calls == []


def test_the_summary_by_hand():
    values = [("a", 1.0), ("a", 2.0), ("a", 4.0), ("b", 5.0)]
    cells = [Cell(name, i, {"score": value, "lost": None}, {}, 0.0, None) for i, (name, value) in enumerate(values)]
    cells.append(Cell("a", 9, {}, {}, 0.0, "the loss is nan"))
    cells.append(Cell("c", 0, {}, {}, 0.0, "the loss is nan"))
    rows = summary(cells, {"Score": "score", "Lost": "lost"}, "{:.2f}", first="cell")
    assert math.isclose(statistics.stdev([1, 2, 4]), math.sqrt(7 / 3))
    assert rows == [
        {"cell": "a", "Score": "2.33 ± 1.53", "Lost": None, "finished": "3 of 4"},
        {"cell": "b", "Score": "5.00", "Lost": None, "finished": "1 of 1"},
        {"cell": "c", "Score": "diverged", "Lost": "diverged", "finished": "0 of 1"},
    ]


def test_a_mean_over_some_of_the_seeds_says_so():
    cells = [Cell("a", seed, {"score": value}, {}, 0.0, None) for seed, value in enumerate([1.0, None, 3.0])]
    assert summary(cells, {"Score": "score"}, "{:.1f}")[0]["Score"] == "2.0 ± 1.4 (2 of 3)"


@pytest.mark.slow
def test_cells_side_by_side_give_what_one_after_the_other_gives(tmp_path, monkeypatch):
    offset = torch.tensor(0.5)  # as a notebook's experiment uses what its cells defined

    def experiment(seed, width):
        with open(tmp_path / "calls", "a") as calls:
            calls.write(f"{os.getpid()} {width} {seed}\n")
        if width == 2:
            raise ChainDiverged("too steep")
        return {"score": width + seed + offset.item(), "states": torch.full((width,), float(seed))}

    cells = {**CELLS, "wild": dict(width=2)}
    monkeypatch.setenv("GEN_RUNS", str(tmp_path / "one"))
    expected = sweep("trial", experiment, cells, seeds=(0, 1))
    (tmp_path / "calls").unlink()
    monkeypatch.setenv("GEN_RUNS", str(tmp_path / "two"))
    monkeypatch.setenv("GEN_JOBS", "2")
    sweep("trial", experiment, {"small": CELLS["small"]}, seeds=(0, 1))  # taken up again by the next one
    found = sweep("trial", experiment, cells, seeds=(0, 1))
    for a, b in zip(expected, found, strict=True):
        assert (a.name, a.seed, a.values, a.diverged) == (b.name, b.seed, b.values, b.diverged)
        assert a.tensors.keys() == b.tensors.keys() and all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors)
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    assert sorted(call[1:] for call in calls) == sorted([str(w), s] for w in (1, 2, 3) for s in "01")  # each once
    assert str(os.getpid()) not in {call[0] for call in calls}


class Cluster(ThreadingBackend):
    """Stands in for a cluster's backend: three cores, used when no number is given, and results only at the end."""

    supports_return_generator = False
    asked = ()

    def effective_n_jobs(self, n_jobs):
        return 3 if n_jobs == -1 else n_jobs

    def configure(self, n_jobs=1, parallel=None, **settings):
        Cluster.asked = (*Cluster.asked, n_jobs)
        return super().configure(n_jobs, parallel, **settings)


@pytest.mark.parametrize(("given", "jobs"), [(None, -1), ("2", 2)])
def test_a_surrounding_cluster_is_used(given, jobs, monkeypatch):
    register_parallel_backend("a cluster", Cluster)
    if given:
        monkeypatch.setenv("GEN_JOBS", given)
    Cluster.asked, experiment = (), Experiment()
    with parallel_config(backend="a cluster", n_jobs=-1):
        cells = sweep("trial", experiment, CELLS, seeds=(0, 1))
    assert Cluster.asked == (jobs,)
    assert [cell.values["score"] for cell in cells] == [1.0, 2.0, 3.0, 4.0] and len(experiment.calls) == 4
    assert_equal(cells, sweep("trial", Experiment(), CELLS, seeds=(0, 1)))


def test_a_number_of_jobs_that_is_none_is_refused_and_an_empty_one_is_no_number(monkeypatch):
    for given in ("0", "two", "1.5"):
        monkeypatch.setenv("GEN_JOBS", given)
        with pytest.raises(ValueError, match=f"GEN_JOBS is how many cells run at once.*got '{given}'"):
            sweep("trial", Experiment(), CELLS)
    monkeypatch.setenv("GEN_JOBS", "")
    assert len(sweep("trial", Experiment(), CELLS)) == 2


def processes(seed, width):
    return {"score": width + seed, "process": os.getpid(), "drawn": torch.randn(3), "states": torch.zeros(width)}


@pytest.mark.slow
def test_dask_runs_the_cells_and_each_once(folder):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed (it need not be)")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        parallel_config(backend="dask", n_jobs=-1),
    ):
        assert_spread(folder)


@pytest.mark.slow
def test_ray_runs_the_cells_and_each_once(folder):
    ray = pytest.importorskip("ray", reason="Ray is not installed (it need not be)")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False)
    try:
        register_ray()
        with parallel_config(backend="ray", n_jobs=-1):
            assert_spread(folder)
    finally:
        ray.shutdown()


def assert_spread(folder):
    cells = sweep("trial", processes, CELLS, seeds=(0, 1, 2))
    assert [cell.values["score"] for cell in cells] == [1, 2, 3, 3, 4, 5]
    assert os.getpid() not in {cell.values["process"] for cell in cells}
    assert len(list(folder.glob("*.json"))) == 6  # one file a key
    assert_equal(cells, sweep("trial", processes, CELLS, seeds=(0, 1, 2)))  # read, not run again
