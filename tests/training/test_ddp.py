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
SCRIPT, ROOT = Path(__file__).with_name("ddp_run.py"), Path(__file__).resolve().parent.parent.parent


def run(what, folder, processes, steps):
    """What each process wrote at its end."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GEN_HEADLESS": "1"}
    command = [sys.executable, str(SCRIPT), what, str(folder), str(processes), str(steps)]
    answer = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500)
    assert answer.returncode == 0, answer.stderr[-3000:]
    files = [folder / f"rank{rank}_{processes}_{steps}.json" for rank in range(processes)]
    return [json.loads(file.read_text()) for file in files]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An epoch on two processes, then on with one, then on with two again."""
    folder = tmp_path_factory.mktemp("ddp")
    return [run("energy", folder, 2, 5), run("energy", folder, 1, 15), run("energy", folder, 2, 20)]


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
    assert sorted(chain.from_iterable(runs[1][0]["seen"])) == list(
        range(160)
    )  # ten steps of one process: an epoch, whole


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    """A generator and a critic: two processes, then on with one."""
    folder = tmp_path_factory.mktemp("game")
    return [run("game", folder, 2, 2), run("game", folder, 1, 4)]


def test_a_game_in_two_processes_has_one_generator_one_critic_and_one_average(games):
    together, alone = games
    assert all(together[0][name] == together[1][name] != alone[0][name] for name in ("generator", "critic", "sampler"))
    assert together[0]["noise"] != together[1]["noise"]


def test_a_game_goes_on_with_another_number_of_processes(games):
    assert [found[0]["resumed_from"] for found in games] == [0, 2]
    assert [found[0]["steps"] for found in games] == [2, 4]
