"""Joint training: what it logs, that it resumes bit for bit, and how a diverging run is rescued."""

import json
import math

import pytest
import torch
from torch import nn

from gen_utils.data import load_images
from gen_utils.models import SmoothClassifier
from gen_utils.samplers import GaussianStart, Langevin, ProximalLangevin
from gen_utils.training import FitConfig, TrainingDiverged
from gen_utils.training.jem import JEMConfig, JEMTraining, train_jem
from gen_utils.training.rescue import Recovery, step_of
from gen_utils.training.watches import QualityWatch


@pytest.fixture(scope="module")
def images():
    return load_images("digits", limit=150)


def classifier():
    torch.manual_seed(0)
    return SmoothClassifier(width=4)


def train(folder, images, *, max_steps=20, watchers=(), fresh=None, **changes):
    torch.set_num_threads(1)
    start = None if fresh is None else GaussianStart.fit(images.images, images.labels, covariance="diagonal")
    recipe = JEMConfig(**{"n_steps": 2, "capacity": 64, "warmup": 5, "fast": False, "lr": 1e-3, **changes})
    config = FitConfig(
        max_steps, batch_size=16, run_dir=folder, checkpoint_every=5, validate_every=10, log_every=1
    )  # fmt: skip
    return train_jem(
        classifier(), images, images, recipe=recipe, config=config, start=start, callbacks=watchers
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory, images):
    return train(tmp_path_factory.mktemp("whole"), images)


def cosine(step, max_steps=20):
    return 0.5 * (1 + math.cos(math.pi * step / max_steps))


def assert_same(run, expected):
    for (name, a), (_, b) in zip(run.module.state_dict().items(), expected.module.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(run.module.buffer.images, expected.module.buffer.images)
    assert torch.equal(run.module.noise.get_state(), expected.module.noise.get_state())
    assert run.history == expected.history


class Poisoned:
    """Makes some calls of ``training_step`` go wrong, as ``spoil(self, loss)`` says."""

    def __init__(self, spoil):
        self.spoil = spoil

    def __enter__(self):
        self.original = original = JEMTraining.training_step

        def step(module, batch, i):
            return self.spoil(module, original(module, batch, i))

        JEMTraining.training_step = step
        return self

    def __exit__(self, *error):
        JEMTraining.training_step = self.original


# --- the recipe ----------------------------------------------------------------------------------


def test_it_logs_what_it_promises(whole):
    run, recoveries = whole
    assert recoveries == [] and run.steps == 20 and not run.module.training
    logged = {"loss", "cross_entropy", "accuracy", "contrast", "energy_real", "energy_fake", "lr"}
    assert logged <= run.history.keys() and len(run.curve("loss")[0]) == 20
    assert len(run.curve("val_accuracy")[0]) == len(run.curve("val_energy")[0]) == 2
    for name in ("val_loss", "val_accuracy", "loss", "contrast"):
        assert all(math.isfinite(value) for value in run.curve(name)[1]), name


def test_the_classifier_given_is_left_alone(tmp_path, images):
    before = classifier()
    kept = {name: value.clone() for name, value in before.state_dict().items()}
    config = FitConfig(3, batch_size=16, run_dir=tmp_path)
    run, _ = train_jem(before, images, recipe=JEMConfig(n_steps=1, fast=False), config=config)
    assert all(torch.equal(value, kept[name]) for name, value in before.state_dict().items())
    assert not torch.equal(run.module.classifier.net[0].weight, before.net[0].weight)


def test_the_learning_rate_warms_up_and_falls(whole):
    _, rates = whole[0].curve("lr")
    assert rates[:5] == pytest.approx([1e-3 * (s + 1) / 5 * cosine(s) for s in range(5)], rel=1e-5)
    assert rates[-1] < rates[5] / 10


def test_fresh_chains_begin_at_the_start_given(images):
    start = GaussianStart.fit(images.images, images.labels, covariance="diagonal")
    config = JEMConfig(n_steps=0, fast=False, kernel=ProximalLangevin(1.0, max_step=0.1, bounds=(-1.0, 1.0)))
    module = JEMTraining(classifier(), config, images.shape, start=start)
    x = module.negatives(32)
    assert torch.equal(x, start.draw(32, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(module.buffer.images, x)


def test_chains_run_in_eval_mode_and_the_mode_comes_back(images):
    """The policy for batch norm: while sampling, an image's energy depends on that image alone."""

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.config, self.modes = {"n_classes": 10}, []
            self.norm, self.head = nn.BatchNorm2d(1), nn.Linear(784, 10)

        def forward(self, x):
            self.modes.append(self.norm.training)
            return self.head(self.norm(x).flatten(1))

    network = Watched()
    module = JEMTraining(network, JEMConfig(n_steps=2, fast=False), images.shape).train()
    mean = network.norm.running_mean.clone()
    module.negatives(4)
    assert network.modes and not any(network.modes)
    assert network.norm.training and torch.equal(network.norm.running_mean, mean)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"decay": 0.97}, "cosine"), ({"weight": -1.0}, "zero or more"), ({"classify": 1.0}, "labels")],
)
def test_settings_that_make_no_sense(changes, message, images):
    with pytest.raises(ValueError, match=message):
        JEMTraining(classifier(), JEMConfig(**changes), images.shape)


# --- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [7, 10])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, images, whole, stop):
    class Stop(Exception):
        pass

    def interrupt(module, loss):
        if module.global_step == stop:
            raise Stop
        return loss

    with Poisoned(interrupt), pytest.raises(Stop):
        train(tmp_path, images)
    run, recoveries = train(tmp_path, images)
    assert run.resumed_from == 5 * (stop // 5) and recoveries == []
    assert_same(run, whole[0])


def test_two_runs_with_one_seed_agree_also_from_class_gaussians(tmp_path, images):
    first, _ = train(tmp_path / "a", images, fresh="gaussian")
    again, _ = train(tmp_path / "b", images, fresh="gaussian")
    assert_same(first, again)


# --- divergence ----------------------------------------------------------------------------------


def test_a_nan_is_rescued_from_the_last_good_checkpoint_with_half_the_step(tmp_path, images):
    left = [1]

    def once(module, loss):
        if module.global_step == 12 and left:
            left.pop()
            return loss * float("nan")
        return loss

    with Poisoned(once):
        run, recoveries = train(tmp_path, images)
    assert run.steps == 20 and [(r.from_step, r.lr_factor) for r in recoveries] == [(10, 0.5)]
    assert "the loss is nan at step 12" in recoveries[0].reason and "0.5 times" in str(recoveries[0])
    rates = dict(zip(*run.curve("lr"), strict=True))
    assert rates[11] == pytest.approx(
        0.5 * 1e-3 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * 11 / 20)).item()), rel=1e-5
    )
    assert all(torch.isfinite(p).all() for p in run.module.parameters())
    # A finished run is loaded, and still tells what happened on its way.
    again, told = train(tmp_path, images)
    assert told == recoveries and again.resumed_from == 20
    assert_same(again, run)


def test_a_rescued_run_resumes_bit_for_bit(tmp_path, images):
    class Stop(Exception):
        pass

    def runs(folder, stop):
        left = [1]

        def spoil(module, loss):
            if module.global_step == 8 and module.lr_factor == 1:
                return loss * float("nan")
            if module.global_step == stop and left:
                left.pop()
                raise Stop
            return loss

        with Poisoned(spoil):
            try:
                return train(folder, images)
            except Stop:
                return train(folder, images)

    run, recoveries = runs(tmp_path / "a", None)
    again, others = runs(tmp_path / "b", 13)
    assert recoveries == others and len(recoveries) == 1
    assert_same(again, run)


def test_a_sick_checkpoint_is_given_up(tmp_path, images):
    """Diverging twice from one checkpoint: the third attempt begins at the classifier again."""

    def twice(module, loss):
        return loss * float("nan") if module.global_step == 7 and module.lr_factor > 0.25 else loss

    looks = QualityWatch(5, lambda pictures: 0.0, 8)
    with Poisoned(twice):
        run, recoveries = train(tmp_path, images, watchers=[looks])
    assert [(r.from_step, r.lr_factor) for r in recoveries] == [(5, 0.5), (0, 0.25)]
    assert "the beginning" in str(recoveries[1])
    assert run.steps == 20 and looks.steps == [5, 10, 15, 20]


def test_energies_running_apart_are_a_divergence_too(tmp_path, images):
    config = FitConfig(5, batch_size=16, run_dir=tmp_path)
    recipe = JEMConfig(n_steps=1, fast=False, max_contrast=1e-12)
    with pytest.raises(TrainingDiverged, match=r"nats apart.*rescued before: 2.*Before: .*0\.5 times"):
        train_jem(classifier(), images, recipe=recipe, config=config, max_recoveries=2)


def test_a_diverging_chain_is_rescued_like_a_loss(tmp_path, images):
    """A chain that leaves float32's range; no smaller learning rate can help, and the message says what was tried."""
    config = FitConfig(5, batch_size=16, run_dir=tmp_path)
    recipe = JEMConfig(n_steps=3, fast=False, kernel=Langevin(1.0, noise=3e38))
    with pytest.raises(TrainingDiverged, match=r"non-finite energy.*rescued before: 1"):
        train_jem(classifier(), images, recipe=recipe, config=config, max_recoveries=1)


def test_what_happened_is_on_disk(tmp_path, images):
    def once(module, loss):
        return loss * float("inf") if module.global_step == 3 and module.lr_factor == 1 else loss

    with Poisoned(once):
        _, recoveries = train(tmp_path, images, max_steps=6)
    kept = json.loads((tmp_path / "recoveries.json").read_text())
    assert [Recovery(**row) for row in kept] == recoveries and kept[0]["from_step"] == 0


@pytest.mark.parametrize("shrink", [0.0, 1.0])
def test_the_step_must_shrink(tmp_path, images, shrink):
    with pytest.raises(ValueError, match="between 0 and 1"):
        train_jem(classifier(), images, recipe=JEMConfig(), config=FitConfig(1, run_dir=tmp_path), shrink=shrink)
    assert step_of(tmp_path / "last.ckpt") == 0
