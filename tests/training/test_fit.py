"""Training stops and starts without losing a bit."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gen_utils.samplers import Langevin
from gen_utils.training import FitConfig, TrainingDiverged, fit

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("ebm_run", HERE / "ebm_run.py")
ebm_run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ebm_run)
train = ebm_run.train


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run that all others are compared with."""
    return train(tmp_path_factory.mktemp("whole"))


def assert_same(run, watch, whole):
    expected, expected_watch = whole
    for (name, a), (_, b) in zip(run.module.state_dict().items(), expected.module.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(run.module.buffer.images, expected.module.buffer.images)
    assert torch.equal(run.module.noise.get_state(), expected.module.noise.get_state())
    assert watch.steps == expected_watch.steps
    assert all(torch.equal(a, b) for a, b in zip(watch.strips, expected_watch.strips, strict=True))
    assert run.history == expected.history


def test_two_runs_with_one_seed_agree_and_another_seed_differs(tmp_path, whole):
    assert_same(*train(tmp_path / "again"), whole)
    other, _ = train(tmp_path / "other", seed=1, max_steps=5)
    assert other.curve("loss")[1] != whole[0].curve("loss")[1][:5]


def test_history_and_clock(whole):
    run, watch = whole
    assert run.steps == 40 and run.seconds > 0 and run.resumed_from == 0
    assert len(run.curve("loss")[0]) == 40 and len(run.curve("val_contrast")[0]) == 4
    assert watch.steps == [10, 20, 30, 40] and watch.strips[0].shape == (2, 2, 1, 28, 28)
    assert not run.module.training
    with pytest.raises(KeyError, match="contrast"):
        run.curve("lost")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, whole):
    """SIGKILL between two checkpoints; the next sitting finishes, equal to the run that was never killed."""
    env = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    process = subprocess.run([sys.executable, str(HERE / "ebm_run.py"), str(tmp_path), "23"], env=env)
    assert process.returncode == -signal.SIGKILL
    run, watch = train(tmp_path, resume=True)
    assert run.resumed_from == 20
    assert_same(run, watch, whole)


@pytest.mark.parametrize("stop", [9, 13, 20])  # at an epoch's end, inside one, at a validation
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, whole, stop):
    class Stop(Exception):
        pass

    original = ebm_run.EBMTraining.training_step

    def interrupted(self, batch, i):
        if self.trainer.global_step == stop:
            raise Stop
        return original(self, batch, i)

    ebm_run.EBMTraining.training_step = interrupted
    try:
        with pytest.raises(Stop):
            train(tmp_path)
    finally:
        ebm_run.EBMTraining.training_step = original
    assert_same(*train(tmp_path, resume=True), whole)


def test_a_finished_run_is_loaded_and_not_repeated(tmp_path, whole):
    first, _ = train(tmp_path)
    again, watch = train(tmp_path, resume=True)
    assert_same(again, watch, whole)
    assert again.resumed_from == 40 and again.seconds == first.seconds


def test_a_nan_loss_stops_with_advice_and_keeps_the_last_good_checkpoint(tmp_path):
    train(tmp_path, max_steps=10)
    good = torch.load(tmp_path / "last.ckpt", weights_only=True)
    original = ebm_run.EBMTraining.training_step

    def poisoned(self, batch, i):
        loss = original(self, batch, i)
        return loss * float("nan") if self.trainer.global_step == 12 else loss

    ebm_run.EBMTraining.training_step = poisoned
    try:
        with pytest.raises(TrainingDiverged, match=r"step 12; the last good checkpoint is .*last\.ckpt.*learning rate"):
            train(tmp_path, resume=True)
    finally:
        ebm_run.EBMTraining.training_step = original
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] >= good["global_step"]
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())


def test_a_diverging_chain_stops_training_with_advice(tmp_path):
    wild = Langevin(1.0, noise=3e38)  # one step leaves what float32 can hold
    advice = r"non-finite energy after step .*smaller step_size.*no checkpoint was written"
    with pytest.raises(TrainingDiverged, match=advice):
        train(tmp_path, kernel=wild, fast=False)


def test_a_fresh_start_forgets_the_old_curves(tmp_path):
    train(tmp_path, max_steps=10)
    run, _ = train(tmp_path, max_steps=5)
    assert len(run.curve("loss")[0]) == 5 and run.resumed_from == 0


def test_a_missing_checkpoint_is_named(tmp_path, whole):
    with pytest.raises(FileNotFoundError, match=r"gone\.ckpt"):
        fit(whole[0].module, None, config=FitConfig(1, run_dir=tmp_path), resume=tmp_path / "gone.ckpt")


def test_tensorboard_logs_are_written(whole):
    assert list((whole[0].run_dir / "tensorboard").rglob("events*"))
