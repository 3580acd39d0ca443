"""The moments between two steps, one by one, where a random kill meets only some of them."""

import json

import pytest
import torch

from gen_utils import checkpoints
from gen_utils.experiments.sweep import sweep
from gen_utils.models import SmallEnergy
from gen_utils.training import FitConfig, TrainingDiverged, fit
from gen_utils.training.run_files import Curves, read_curves


class Killed(BaseException):
    pass


def save(folder, which):
    net = SmallEnergy(width=4)
    checkpoints.save("mine", net, {"which": which}, folder=folder)
    return net


@pytest.mark.parametrize("leftover", [False, True], ids=["clean", "after an earlier kill"])
@pytest.mark.parametrize("n_renames", [0, 1, 2, 3])
def test_a_save_stopped_after_any_of_its_renames(tmp_path, monkeypatch, n_renames, leftover):
    """Three: the weights wait; the card speaks of them; they get their name."""
    rename, done = checkpoints.os.replace, []

    def stops(a, b):
        if len(done) == limit:
            raise Killed
        done.append(b)
        rename(a, b)

    old, limit = save(tmp_path, "old"), 2
    if leftover:  # stopped before the last rename: the card speaks of weights that wait
        monkeypatch.setattr(checkpoints.os, "replace", stops)
        old = SmallEnergy(width=4)
        with pytest.raises(Killed):
            checkpoints.save("mine", old, {"which": "old"}, folder=tmp_path)
    monkeypatch.setattr(checkpoints.os, "replace", stops)
    done.clear()
    limit = n_renames
    new = SmallEnergy(width=4)
    try:
        checkpoints.save("mine", new, {"which": "new"}, folder=tmp_path)
    except Killed:
        assert n_renames < 3
    held = checkpoints.load("mine", folder=tmp_path)
    expected = new if n_renames >= 2 else old
    assert held.card["which"] == ("new" if n_renames >= 2 else "old")
    assert all(map(torch.equal, held.state_dict().values(), expected.state_dict().values()))
    limit = 99
    save(tmp_path, "third")
    assert checkpoints.load("mine", folder=tmp_path).card["which"] == "third"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "mine.safetensors"]


def test_a_reader_that_meets_a_save_reads_again(tmp_path, monkeypatch):
    """The card was read, then both files are replaced, then the weights are read."""
    save(tmp_path, "old")
    read, saved = checkpoints.read_card, []

    def late(name, *, folder):
        card = read(name, folder=folder)
        if not saved:
            saved.append(save(tmp_path, "new"))
        return card

    monkeypatch.setattr(checkpoints, "read_card", late)
    assert checkpoints.load("mine", folder=tmp_path).card["which"] == "new"


def test_waiting_weights_are_verified_too(tmp_path, monkeypatch):
    save(tmp_path, "old")
    card = json.loads((tmp_path / "mine.json").read_text())
    (tmp_path / "mine.json").write_text(json.dumps({**card, "sha256": "0" * 64}))
    (tmp_path / f".mine.safetensors.{'0' * 16}").write_bytes(b"half")
    with pytest.raises(ValueError, match="hash"):
        checkpoints.load("mine", folder=tmp_path)


def test_a_damaged_card_is_named(tmp_path):
    save(tmp_path, "old")
    (tmp_path / "mine.json").write_text('{"model": "Sma')
    with pytest.raises(ValueError, match=r"mine\.json is damaged"):
        checkpoints.load("mine", folder=tmp_path)


def test_a_sweeps_tensors_are_verified_by_their_hash(tmp_path, monkeypatch):
    monkeypatch.setenv("GEN_RUNS", str(tmp_path))
    calls = []

    def experiment(seed):
        calls.append(seed)
        return {"states": torch.zeros(100)}

    sweep("trial", experiment, {"one": {}})
    (held,) = (tmp_path / "sweeps" / "trial").glob("*.safetensors")
    data = bytearray(held.read_bytes())
    data[-1] ^= 1  # still a file that safetensors reads
    held.write_bytes(data)
    (cell,) = sweep("trial", experiment, {"one": {}})
    assert calls == [0, 0] and not cell.tensors["states"].any()
    (card,) = (tmp_path / "sweeps" / "trial").glob("*.json")
    kept = json.loads(card.read_text())
    del kept["sha256"]  # kept before there were hashes
    card.write_text(json.dumps(kept))
    sweep("trial", experiment, {"one": {}})
    assert calls == [0, 0]


def test_curves_survive_a_new_column(tmp_path, monkeypatch):
    """Lightning's own logger empties the file first; a kill then would lose every row."""
    logger = Curves(tmp_path, name="csv", flush_logs_every_n_steps=1)
    logger.log_metrics({"loss": 1.0}, 0)
    logger.log_metrics({"loss": 2.0}, 1)
    monkeypatch.setattr(checkpoints.os, "replace", _killed)
    with pytest.raises(Killed):
        logger.log_metrics({"loss": 3.0, "val": 4.0}, 2)
    assert read_curves(tmp_path) == {"loss": [(0, 1.0), (1, 2.0)]}
    monkeypatch.undo()
    again = Curves(tmp_path, name="csv", flush_logs_every_n_steps=1)
    again.log_metrics({"loss": 3.0}, 2)
    again.log_metrics({"loss": 5.0, "val": 4.0}, 3)
    assert read_curves(tmp_path) == {"loss": [(0, 1.0), (1, 2.0), (2, 3.0), (3, 5.0)], "val": [(3, 4.0)]}


def _killed(*args):
    raise Killed


def test_a_last_row_cut_short_anywhere_is_left_out(tmp_path):
    logger = Curves(tmp_path, name="csv", flush_logs_every_n_steps=1)
    for step in (10, 11, 12):
        logger.log_metrics({"a": 0.5, "val": 0.25 + step}, step)
    (path,) = tmp_path.glob("csv/*/metrics.csv")
    text = path.read_bytes()
    first_two = {"a": [(10, 0.5), (11, 0.5)], "val": [(10, 10.25), (11, 11.25)]}
    start = text.rindex(b"\r\n", 0, len(text) - 2) + 2
    for end in range(start, len(text)):
        path.write_bytes(text[:end])
        assert read_curves(tmp_path) == first_two, text[start:end]


class PoisonedGradient(torch.autograd.Function):
    """A loss that is finite and a gradient that is not."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * float("nan")


def test_weights_that_are_not_finite_do_not_replace_a_good_checkpoint(tmp_path):
    import lightning as L

    from gen_utils.data import load_images, to_float

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.energy = SmallEnergy(width=4)

        def training_step(self, batch, i):
            loss = self.energy(to_float(batch[0])).square().mean()
            return PoisonedGradient.apply(loss) if self.global_step == 3 else loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.energy.parameters(), lr=1e-4)

    config = FitConfig(8, batch_size=8, run_dir=tmp_path, checkpoint_every=1)
    with pytest.raises(TrainingDiverged, match=r"not finite after step 4; the last good checkpoint is .*last\.ckpt"):
        fit(Module(), load_images("digits", limit=64), config=config)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 3 and all(torch.isfinite(v).all() for v in kept["state_dict"].values())


def test_a_fresh_start_does_not_leave_the_old_runs_checkpoint_to_be_resumed(tmp_path):
    import lightning as L

    from gen_utils.data import load_images

    class Stops(L.LightningModule):
        def training_step(self, batch, i):
            raise Killed

        def configure_optimizers(self):
            return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)

    (tmp_path / "last.ckpt").write_bytes(b"of another run")
    with pytest.raises(Killed):
        fit(Stops(), load_images("digits", limit=64), config=FitConfig(2, batch_size=8, run_dir=tmp_path))
    assert not (tmp_path / "last.ckpt").exists()
