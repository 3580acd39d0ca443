"""Runs know themselves: another recipe is another folder, the same is found again, and no folder is mistaken."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from gen_utils.data import load_images
from gen_utils.models import Critic, Generator, SmallClassifier, SmallEnergy
from gen_utils.samplers import Langevin
from gen_utils.training import (
    ClassifierTraining,
    EBMConfig,
    EBMTraining,
    EBMWatch,
    FitConfig,
    TrainingDiverged,
    fit,
    runs,
)
from gen_utils.training.gan import GANConfig, WassersteinGP, train_gan
from gen_utils.training.jem import JEMConfig, train_jem


@pytest.fixture(scope="module")
def images():
    return load_images("digits", limit=96)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("GEN_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


KERNEL = Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))
RECIPE = EBMConfig(kernel=KERNEL, n_steps=2, capacity=64, lr=1e-3)
CONFIG = FitConfig(3, batch_size=16, name="trial", checkpoint_every=2, log_every=1)


def train(images, recipe=RECIPE, config=CONFIG, *, seed=0, width=4, resume=True, callbacks=()):
    torch.manual_seed(seed)
    module = EBMTraining(SmallEnergy(width=width), recipe)
    return fit(module, images, config=config, resume=resume, callbacks=callbacks)


def test_the_same_is_found_again_and_another_number_trains_anew(images, root):
    first = train(images)
    again = train(images)
    assert again.run_dir == first.run_dir and again.resumed_from == 3
    assert first.run_dir.parent == root and first.run_dir.name.startswith("trial-")
    wrong = train(images, replace(RECIPE, lr=0.5))
    assert wrong.run_dir != first.run_dir and wrong.resumed_from == 0
    assert wrong.curve("lr")[1][0] == pytest.approx(0.5)
    assert any(not torch.equal(a, b) for a, b in zip(first.module.parameters(), wrong.module.parameters(), strict=True))


def test_everything_that_is_asked_counts(images):
    probes = {"data": images.scaled()[:4]}
    variants = {
        "the recipe": {},
        "a step size": dict(recipe=replace(RECIPE, kernel=replace(KERNEL, step_size=9.0))),
        "a chain's length": dict(recipe=replace(RECIPE, n_steps=3)),
        "the seed of the chains": dict(recipe=replace(RECIPE, seed=1)),
        "a network's width": dict(width=5),
        "first weights": dict(seed=1),
        "steps": dict(config=replace(CONFIG, max_steps=4)),
        "a batch": dict(config=replace(CONFIG, batch_size=8)),
        "mirrors": dict(config=replace(CONFIG, flip=True)),
        "the order of the data": dict(config=replace(CONFIG, seed=1)),
        "fewer images": dict(images=images.take(torch.arange(95))),
        "another image": dict(images=replace(images, images=images.images.flip(3))),
        "other labels": dict(images=replace(images, labels=images.labels.flip(0))),
        "a watch": dict(callbacks=[EBMWatch(1, probes, n_chains=1, n_steps=2, n_kept=1)]),
        "another watch": dict(callbacks=[EBMWatch(1, probes, n_chains=2, n_steps=2, n_kept=1)]),
        "its probes": dict(callbacks=[EBMWatch(1, {"data": images.scaled()[4:8]}, n_chains=1, n_steps=2, n_kept=1)]),
    }

    def key(images=images, recipe=RECIPE, config=CONFIG, seed=0, width=4, callbacks=()):
        torch.manual_seed(seed)
        module = EBMTraining(SmallEnergy(width=width), recipe)
        return runs.identify(module, images, None, config, callbacks).key

    keys = {name: key(**changes) for name, changes in variants.items()}
    assert len(set(keys.values())) == len(keys), keys
    assert key(config=replace(CONFIG, name="other", run_dir="elsewhere")) == keys["the recipe"]  # only where it lies
    assert key(callbacks=[EBMWatch(1, probes, n_chains=1, n_steps=2, n_kept=1)]) == keys["a watch"]


def test_a_loss_that_a_notebook_writes_counts_too(images):
    def keyed(factor):
        class Mine(ClassifierTraining):
            def training_step(self, batch, i):
                return factor * super().training_step(batch, i)

        torch.manual_seed(0)
        return runs.identify(Mine(SmallClassifier(width=4)), images, None, CONFIG).key

    assert keyed(1.0) == keyed(1.0) != keyed(2.0)


def test_games_and_joint_models_have_folders_of_their_own(images, root):
    def game(**changes):
        torch.manual_seed(0)
        recipe = GANConfig(WassersteinGP(critic_steps=2, **changes))
        return train_gan(
            Generator(latent_dim=4, width=4), Critic(width=4), images, recipe=recipe, config=CONFIG
        ).run_dir

    assert game() == game() != game(weight=5.0)

    def joint(max_recoveries=0, **changes):
        torch.manual_seed(0)
        recipe = JEMConfig(n_steps=2, capacity=64, **changes)
        network = SmallClassifier(width=4)
        return train_jem(network, images, recipe=recipe, config=CONFIG, max_recoveries=max_recoveries)[0].run_dir

    assert joint() == joint() == joint(max_recoveries=2) != joint(weight=0.5)


def test_a_rescued_run_stays_the_run_it_was(images, root):
    class Once(Callback):
        left = 1

        def __identity__(self):
            return "diverges once"

        def on_train_batch_start(self, trainer, *args):
            if trainer.global_step == 2 and Once.left:
                Once.left = 0
                raise TrainingDiverged("for once")

    def joint():
        torch.manual_seed(0)
        config = replace(CONFIG, max_steps=4)
        return train_jem(
            SmallClassifier(width=4), images, recipe=JEMConfig(n_steps=2), config=config, callbacks=[Once()]
        )

    run, recoveries = joint()
    assert len(recoveries) == 1 and run.steps == 4
    again, told = joint()
    assert again.run_dir == run.run_dir and again.resumed_from == 4 and told == recoveries


def test_code_that_changed_is_told_and_the_finished_run_is_loaded(images, capsys, monkeypatch):
    first = train(images)
    assert "another version" not in capsys.readouterr().out
    note = first.run_dir / runs.NOTE
    held = json.loads(note.read_text(encoding="utf-8"))
    held["code"]["gen_utils/samplers/langevin.py"] = "0123456789abcdef"
    note.write_text(json.dumps(held), encoding="utf-8")
    again = train(images)
    said = capsys.readouterr().out
    assert again.resumed_from == 3 and again.run_dir == first.run_dir
    assert said.count("\n") == 1 and "gen_utils/samplers/langevin.py" in said and "delete it" in said
    assert first.run_dir.name in said and str(first.run_dir) not in said


def test_the_code_noted_is_the_code_gone_through(images):
    code = train(images).identity.code
    assert {"gen_utils/losses.py", "gen_utils/training/ebm.py", "gen_utils/models/energy.py"} <= code.keys()
    assert "gen_utils/samplers/langevin.py" in code
    assert not any(name.endswith(("gan.py", "vae.py", "__init__.py", "frechet.py")) for name in code)


def test_a_named_folder_is_not_mistaken_for_another_run(images, tmp_path):
    place = replace(CONFIG, run_dir=tmp_path / "mine")
    train(images, config=place)
    kept = (tmp_path / "mine" / "last.ckpt").read_bytes()
    with pytest.raises(
        ValueError, match=r'mine holds another run: module\.config\.lr was "0\.001" and is "0\.5"'
    ) as told:
        train(images, replace(RECIPE, lr=0.5), place)
    assert "\n" not in str(told.value) and "resume=None" in str(told.value)
    with pytest.raises(ValueError, match="holds another run"):
        train(images.take(torch.arange(90)), config=place)
    assert (tmp_path / "mine" / "last.ckpt").read_bytes() == kept
    longer = train(images, config=replace(place, max_steps=5), seed=7)  # longer, and from unseeded weights: it goes on
    assert longer.resumed_from == 3 and longer.steps == 5
    fresh = train(images, replace(RECIPE, lr=0.5), place, resume=None)
    assert fresh.resumed_from == 0 and fresh.steps == 3


def test_a_folder_that_does_not_hold_what_its_name_says(images, tmp_path):
    first = train(images)
    other = train(images, replace(RECIPE, lr=0.5))
    (first.run_dir / runs.NOTE).write_bytes((other.run_dir / runs.NOTE).read_bytes())
    kept = (first.run_dir / "last.ckpt").read_bytes()
    with pytest.raises(ValueError, match="holds another run"):
        train(images)
    (first.run_dir / runs.NOTE).write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"identity\.json is damaged; delete its folder"):
        train(images)
    assert (first.run_dir / "last.ckpt").read_bytes() == kept


def test_a_network_made_without_its_seed_is_told_how_to_find_its_run(images, capsys):
    first = train(images)
    capsys.readouterr()
    train(images, seed=5)
    said = capsys.readouterr().out
    assert str(first.run_dir) in said and "torch.manual_seed" in said and said.count("\n") == 1


def test_the_note_can_be_read(images):
    run = train(images)
    held = json.loads((run.run_dir / runs.NOTE).read_text(encoding="utf-8"))
    assert held["recipe"]["module"]["network"][""][1]["config"]["holds"]["lr"] == "0.001"
    assert held["recipe"]["train"]["holds"]["title"] == images.title
    assert (run.run_dir / runs.NOTE).stat().st_size < 100_000


def test_an_unfinished_run_is_taken_up_in_its_own_folder(images):
    class Stop(Callback):
        def __identity__(self):
            return "the same callback"

        def on_train_batch_start(self, trainer, *args):
            if trainer.global_step == self.at:
                raise KeyboardInterrupt

    stop = Stop()
    stop.at = 2
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(images, callbacks=[stop])
    stop.at = None
    run = train(images, callbacks=[stop])
    assert run.resumed_from == 2 and run.steps == 3
    assert sys.getsizeof(run.identity.key) and run.run_dir.name == f"trial-{run.identity.key}"


def test_what_a_card_says_comes_from_the_run(images):
    from gen_utils.training.cards import card_facts

    run = train(images)
    told = card_facts(run, kernel=KERNEL, steps=20, start="uniform noise")
    assert told["steps"] == 3 and told["images"] == 96 and told["data"] == images.title
    assert told["settings"]["lr"] == 1e-3 and told["settings"]["batch_size"] == 16 and told["settings"]["n_steps"] == 2
    assert told["settings"]["kernel"] == repr(KERNEL)
    assert told["sampler"] == {"kernel": repr(KERNEL), "steps": 20, "start": "uniform noise"}
    json.dumps(told)
    torch.manual_seed(0)
    other = fit(ClassifierTraining(SmallClassifier(width=4), lr=3e-3), images, config=CONFIG)
    assert card_facts(other)["settings"]["lr"] == 3e-3 and "sampler" not in card_facts(other)


def test_a_fresh_start_that_is_killed_at_once_leaves_nothing_to_go_on_with(images, tmp_path, monkeypatch):
    """Between two recipes in one named folder there is no moment at which the old model passes for the new one."""
    place = replace(CONFIG, run_dir=tmp_path / "mine")
    train(images, config=place)

    def killed(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        train(images, replace(RECIPE, lr=0.5), place, resume=None)
    monkeypatch.undo()
    run = train(images, replace(RECIPE, lr=0.5), place)
    assert run.resumed_from == 0 and run.curve("lr")[1][0] == pytest.approx(0.5)


def test_how_far_a_rescue_shrinks_is_part_of_a_run(images):
    def joint(shrink):
        torch.manual_seed(0)
        recipe = JEMConfig(n_steps=1, capacity=64)
        return train_jem(SmallClassifier(width=4), images, recipe=recipe, config=CONFIG, shrink=shrink)[0].run_dir

    assert joint(0.5) != joint(0.25)
