"""A run goes on where that finishes what was begun; else one sentence says why not."""

import threading

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from training.modules import MODULES, digits, made

from gen_utils.models import SmallClassifier
from gen_utils.training import ClassifierTraining, FitConfig, fit, run_files
from gen_utils.training.gan import GANConfig, GANTraining
from gen_utils.training.rescue import fit_with_rescue
from gen_utils.training.run_files import WholeCheckpoints, read_checkpoint


class Rates(Callback):
    """The learning rate and β₁ that each step was taken with."""

    def __init__(self):
        self.seen = {}

    def __identity__(self):
        return "looks only"

    def on_train_batch_end(self, trainer, module, *args):
        groups = [optimiser.param_groups[0] for optimiser in trainer.optimizers]
        self.seen[trainer.global_step - 1] = [(group["lr"], group.get("betas")) for group in groups]


def config(folder, steps, **changes):
    return FitConfig(steps, **{"batch_size": 20, "run_dir": folder, "log_every": 1, "checkpoint_every": 2, **changes})


def rates(kind, folder, steps, **how):
    module, images = made(kind)
    if isinstance(module, GANTraining):  # its rates fall in the second half
        module.config = GANConfig(module.config.objective, decay="linear")
    watch = Rates()
    fit(module, images, config=config(folder, steps), callbacks=[watch], **how)
    return watch.seen


@pytest.mark.parametrize("kind", MODULES)
def test_a_longer_run_has_the_rates_of_a_run_of_that_length(kind, tmp_path):
    whole = rates(kind, tmp_path / "whole", 8)
    rates(kind, tmp_path / "longer", 4)
    later = rates(kind, tmp_path / "longer", 8, resume=True)
    assert sorted(later) == [4, 5, 6, 7] and later == {step: whole[step] for step in later}
    first = [step[0][0] for _, step in sorted(whole.items())]
    assert len(set(first)) > 1 and first[-1] < max(first)


class OfPyTorch(ClassifierTraining):
    """With a scheduler that remembers, as many programs have it."""

    make = staticmethod(lambda optimiser, n: torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n))

    def on_train_batch_start(self, *_):
        pass

    def configure_optimizers(self):
        optimiser = torch.optim.Adam(self.parameters(), lr=self.lr)
        schedule = self.make(optimiser, self.trainer.max_steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@pytest.mark.parametrize("kind", ["cosine", "cycle"])
def test_a_schedule_that_remembers_its_length_is_not_stretched(kind, tmp_path):
    module = OfPyTorch(SmallClassifier(width=4))
    if kind == "cycle":
        module.make = lambda o, n: torch.optim.lr_scheduler.OneCycleLR(o, 1e-3, total_steps=n + 1)
    fit(module, digits(), config=config(tmp_path, 4))
    with pytest.raises(ValueError, match=r"was made for max_steps = 4 and cannot be stretched to 8; keep 4"):
        fit(module, digits(), config=config(tmp_path, 8), resume=True)
    assert fit(module, digits(), config=config(tmp_path, 4), resume=True).resumed_from == 4


def test_a_schedule_without_a_length_may_go_on(tmp_path):
    module = OfPyTorch(SmallClassifier(width=4))
    module.make = lambda o, n: torch.optim.lr_scheduler.ExponentialLR(o, 0.9)
    fit(module, digits(), config=config(tmp_path, 2))
    run = fit(module, digits(), config=config(tmp_path, 4), resume=True)
    assert run.resumed_from == 2 and run.steps == 4


@pytest.mark.parametrize(("name", "value"), [("batch_size", 15), ("seed", 3)])
def test_other_batches_are_refused_in_the_middle_of_a_run(name, value, tmp_path):
    module, images = made("classifier")
    fit(module, images, config=config(tmp_path, 4))
    with pytest.raises(ValueError, match=rf"holds another run: config\.{name}"):  # a folder is told apart
        fit(module, images, config=config(tmp_path, 8, **{name: value}), resume=True)
    with pytest.raises(ValueError, match=rf"written with {name} = \d+, and now it is {value}: some images would come"):
        fit(module, images, config=config(tmp_path / "b", 8, **{name: value}), resume=tmp_path / "last.ckpt")
    fewer = images.take(torch.arange(40))
    with pytest.raises(ValueError, match=r"written with images = 60, and now it is 40"):
        fit(module, fewer, config=config(tmp_path / "c", 8), resume=tmp_path / "last.ckpt")


def test_every_image_of_an_epoch_comes_once_also_over_a_stop(tmp_path):
    seen = []

    class Looks(ClassifierTraining):
        def training_step(self, batch, i):
            seen.extend(batch[0].flatten(1).sum(1, dtype=torch.int64).tolist())
            return super().training_step(batch, i)

    images = digits()
    for steps, resume in ((2, None), (3, True)):
        fit(Looks(SmallClassifier(width=4)), images, config=config(tmp_path, steps), resume=resume)
    assert sorted(seen) == sorted(images.images.flatten(1).sum(1, dtype=torch.int64).tolist())


def test_a_run_past_its_end_is_not_passed_for_a_shorter_one(tmp_path):
    module, images = made("classifier")
    fit(module, images, config=config(tmp_path, 4))
    with pytest.raises(ValueError, match=r"at step 4, past max_steps = 3; ask for at least as many"):
        fit(module, images, config=config(tmp_path, 3), resume=True)


# --- files ---------------------------------------------------------------------------------------


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "a flipped bit":
        place = data.find(b"state_dict") + len(data) // 2
        data[place] ^= 1
    texts = {"empty": b"", "half": bytes(data[: len(data) // 2]), "text": b"a few words\n" * 99}
    path.write_bytes(texts.get(how, bytes(data)))


@pytest.mark.parametrize("how", ["empty", "half", "text", "a flipped bit", "another archive"])
def test_a_damaged_checkpoint_says_so_and_what_to_do(how, tmp_path):
    module, images = made("classifier")
    fit(module, images, config=config(tmp_path, 4))
    last = tmp_path / "last.ckpt"
    if how == "another archive":
        torch.save({"weights": torch.ones(3)}, last)
    else:
        damage(last, how)
    for resume in (True, last):
        with pytest.raises(ValueError, match=r"last\.ckpt is damaged; delete it to start afresh$"):
            fit(module, images, config=config(tmp_path, 6), resume=resume)
    last.unlink()
    assert fit(module, images, config=config(tmp_path, 6), resume=True).resumed_from == 0


def test_damaged_notes_of_a_rescue_say_so(tmp_path):
    _, images = made("classifier")
    (tmp_path / "recoveries.json").write_text('[{"reason": ', encoding="utf-8")
    with pytest.raises(ValueError, match=r"recoveries\.json is damaged; delete its folder to train afresh"):
        fit_with_rescue(lambda factor: ClassifierTraining(SmallClassifier(width=4)), images, config=config(tmp_path, 2))


@pytest.mark.parametrize("text", ["", "step,loss\nx,y\n", "nonsense\n1\n", "step,loss\n1,two\n"])
def test_damaged_curves_say_so(text, tmp_path):
    place = tmp_path / "csv" / "version_0"
    place.mkdir(parents=True)
    (place / "metrics.csv").write_text(text, encoding="utf-8")
    if not text:
        assert run_files.read_curves(tmp_path) == {}
        return
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged; delete .* to train afresh"):
        run_files.read_curves(tmp_path)


def test_two_that_write_one_checkpoint_at_once_do_not_meet(tmp_path, monkeypatch):
    """While the first one writes, the second one writes and finishes."""
    path, save = tmp_path / "last.ckpt", run_files._save

    def held(step):
        return {"global_step": step, "state_dict": {}, "loops": {}}

    def meets(checkpoint, file):
        save(checkpoint, file)
        if checkpoint["global_step"] == 1:
            other = threading.Thread(target=WholeCheckpoints().save_checkpoint, args=(held(2), path))
            other.start()
            other.join()
            assert read_checkpoint(path)["global_step"] == 2

    monkeypatch.setattr(run_files, "_save", meets)
    WholeCheckpoints().save_checkpoint(held(1), path)
    assert read_checkpoint(path)["global_step"] == 1 and list(tmp_path.iterdir()) == [path]


def test_two_runs_in_one_folder_both_finish(tmp_path):
    class Other(Callback):
        """Trains the same in the same folder, while this run is at its third step."""

        def __identity__(self):
            return "nothing that counts"

        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == 3:
                module, images = made("classifier")
                self.run = fit(module, images, config=config(tmp_path, 6), resume=True)

    other = Other()
    module, images = made("classifier")
    run = fit(module, images, config=config(tmp_path, 6), callbacks=[other])
    again, images = made("classifier")
    again = fit(again, images, config=config(tmp_path, 6), resume=True)
    assert run.steps == other.run.steps == again.steps == again.resumed_from == 6
    assert run.curve("loss")[0] == list(range(6)) == again.curve("loss")[0]
    for mine, its in zip(run.module.state_dict().values(), again.module.state_dict().values(), strict=True):
        assert mine.shape == its.shape
