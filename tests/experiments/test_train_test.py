"""One call for a whole experiment: it repeats bit for bit, and it can be taken up."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from gen_utils.data import load_images
from gen_utils.experiments.train_test import train_validate_test
from gen_utils.models import SmallEnergy
from gen_utils.samplers import Langevin
from gen_utils.training import EBMConfig

RECIPE = EBMConfig(
    kernel=Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0)),
    n_steps=1,
    capacity=50,
    decay="cosine",
    fast=False,
    seed=99,
)


class Stop(Exception):
    pass


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == self.step:
            raise Stop


@pytest.fixture(scope="module")
def parts():
    return load_images("digits", limit=80).split(0.6, 0.2, 0.2)


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory):
    return run(parts, tmp_path_factory.mktemp("whole"))


def run(parts, folder, **changes):
    settings = dict(run_dir=folder, config=RECIPE, max_steps=5, batch_size=16, seed=3, flip=True, checkpoint_every=2)
    return train_validate_test(SmallEnergy, dict(width=2), *parts, **{**settings, **changes})


def assert_same(first, second):
    a, b = first[0].module.state_dict(), second[0].module.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert first[0].history == second[0].history and first[1] == second[1]


def test_two_calls_with_one_seed_agree_bit_for_bit(parts, whole, tmp_path):
    torch.rand(7)  # what was drawn before must not matter
    assert_same(run(parts, tmp_path), whole)


def test_another_seed_has_other_weights(parts, whole, tmp_path):
    other, _ = run(parts, tmp_path, seed=4, max_steps=1)
    assert not torch.equal(other.module.energy.net[0].weight, whole[0].module.energy.net[0].weight)
    assert other.module.config.seed == 4 and whole[0].module.config.seed == 3


def test_a_stopped_call_is_taken_up_bit_for_bit(parts, whole, tmp_path):
    with pytest.raises(Stop):
        run(parts, tmp_path, callbacks=[StopAt(3)])
    again = run(parts, tmp_path)
    assert again[0].resumed_from == 2
    assert_same(again, whole)


def test_a_finished_call_is_loaded(parts, whole):
    again = run(parts, whole[0].run_dir)
    assert again[0].resumed_from == 5
    assert_same(again, whole)


def test_the_report_is_on_the_test_images(whole):
    run, report = whole
    assert report.keys() == {"spread", "gap", "auroc_noise", "auroc_shifted", "auroc_blend"}
    assert run.steps == 5 and not run.module.training


def test_epochs_are_turned_into_steps_and_each_ends_with_a_validation(parts, tmp_path):
    done, _ = run(parts, tmp_path, max_steps=None, epochs=2, batch_size=20)  # 48 images: two batches an epoch
    assert done.steps == 4 and len(done.curve("val_contrast")[0]) == 2


@pytest.mark.parametrize("length", [dict(max_steps=None), dict(epochs=1, max_steps=5)])
def test_the_length_is_said_once(parts, tmp_path, length):
    with pytest.raises(ValueError, match="either epochs or max_steps"):
        run(parts, tmp_path, **length)
