"""Two processes on the CPU: one model, a buffer and a noise of its own for each, every image once an epoch."""

import json
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from gen_utils.data import load_images

pytestmark = pytest.mark.slow
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def run(how, folder, *sittings):
    """What each process wrote at the end of each sitting, such as ``energy 2 5``: two processes, until step 5."""
    path = os.pathsep.join([str(ROOT), str(HERE.parent / "faults")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GEN_HEADLESS": "1"}
    command = [sys.executable, str(HERE / "ddp_run.py"), how, str(folder), *sittings]
    answer = subprocess.run(command, env=env, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr[-3000:]
    found = []
    for what, processes, steps in map(str.split, sittings):
        files = [folder / what / f"{what}_rank{rank}_{processes}_{steps}.json" for rank in range(int(processes))]
        found.append([json.loads(file.read_text()) for file in files])
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    (folder / "energy").mkdir()
    (folder / "game").mkdir()
    return folder


@pytest.fixture(scope="module")
def later(folder, begun):
    """On with one process, then with two again; and a generator and a critic: two processes, then on with one."""
    return run("fork", folder, "energy 1 15", "energy 2 20", "game 2 2", "game 1 4")


@pytest.fixture(scope="module")
def begun(folder):
    """An epoch on two processes; Lightning starts the second."""
    return run("lightning", folder, "energy 2 5")


@pytest.fixture(scope="module")
def runs(begun, later):
    return begun + later[:2]


@pytest.fixture(scope="module")
def games(later):
    return later[2:]


def test_both_processes_end_with_the_same_weights(runs):
    for both in (runs[0], runs[2]):
        assert both[0]["weights"] == both[1]["weights"]
    assert len({found[0]["weights"] for found in runs}) == 3  # and every sitting has changed them


def test_each_process_has_its_own_chains(runs):
    for both in (runs[0], runs[2]):
        assert both[0]["buffer"] != both[1]["buffer"] and both[0]["noise"] != both[1]["noise"]


def test_an_epoch_is_every_image_once_over_both(runs):
    first, second = (list(chain.from_iterable(found["seen"])) for found in runs[0])
    assert not set(first) & set(second)
    assert sorted(first + second) == list(range(len(load_images("digits", limit=160))))


def test_a_run_goes_on_with_another_number_of_processes(runs):
    assert [found[0]["resumed_from"] for found in runs] == [0, 5, 15]
    assert [found[0]["steps"] for found in runs] == [5, 15, 20]
    seen = chain.from_iterable(runs[1][0]["seen"])  # ten steps of one process: an epoch, whole
    assert sorted(seen) == list(range(160))


def test_a_game_in_two_processes_has_one_generator_one_critic_and_one_average(games):
    together, alone = games
    assert all(together[0][name] == together[1][name] != alone[0][name] for name in ("generator", "critic", "sampler"))
    assert together[0]["noise"] != together[1]["noise"]


def test_a_game_goes_on_with_another_number_of_processes(games):
    assert [found[0]["resumed_from"] for found in games] == [0, 2]
    assert [found[0]["steps"] for found in games] == [2, 4]
