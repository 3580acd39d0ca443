"""Training E(x, y): the chains run under the labels of the data, and the buffer keeps the classes apart."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from gen_utils.data import load_images
from gen_utils.models import ConditionalEnergy, SmallEnergy
from gen_utils.models.conditional_energy import Given
from gen_utils.samplers import ClassBuffer, Langevin
from gen_utils.training import EBMConfig, EBMTraining, EBMWatch, FitConfig, fit

KERNEL = Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))


def module(energy=None, **changes):
    torch.manual_seed(0)
    energy = ConditionalEnergy(width=2) if energy is None else energy
    return EBMTraining(energy, EBMConfig(**{"kernel": KERNEL, "n_steps": 2, "fast": False, **changes}))


class Bowls(nn.Module):
    """½ ‖x - m_y‖² with one constant image m_y a class: where a chain ends tells its label."""

    event_shape, n_classes = (1, 4, 4), 3
    centres = torch.tensor([-0.5, 0.0, 0.5])

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))  # Lightning and Adam want something to train

    def class_energies(self, x):
        return 0.5 * (x.flatten(1)[:, None] - self.centres[:, None]).square().sum(-1) + self.bias

    def forward(self, x, labels):
        return self.class_energies(x).gather(1, labels[:, None]).squeeze(1)

    def given(self, labels):
        return Given(self, labels)


def bowls(**changes):
    descent = Langevin(1.0, noise=0.0, bounds=(-1.0, 1.0))  # one step of size 1 ends in the middle of the bowl
    return module(Bowls(), **{"kernel": descent, "n_steps": 1, "data_noise": 0.0, **changes})


@pytest.mark.parametrize("fast", [False, torch.float32])
def test_negatives_run_under_their_labels(fast):
    labels = torch.tensor([2, 0, 1, 1, 0, 2, 2])
    fake = bowls(fast=fast).negatives(7, labels)
    torch.testing.assert_close(fake, Bowls.centres[labels][:, None, None, None].expand_as(fake))


def test_negatives_enter_the_buffer_under_their_labels_and_come_back():
    m, labels = bowls(), torch.tensor([2, 0, 2, 1])
    m.negatives(4, labels)
    assert isinstance(m.buffer, ClassBuffer) and [len(b) for b in m.buffer.classes] == [1, 1, 2]
    for c in range(3):
        stored = m.buffer.classes[c].images
        torch.testing.assert_close(stored, torch.full_like(stored, Bowls.centres[c].item()))
    still = bowls(restart=0.0, n_steps=0)  # no steps: a negative is its start
    first = still.negatives(60, torch.arange(60) % 3)
    second = still.negatives(60, torch.arange(60) % 3)
    for c in range(3):
        assert torch.isin(second[c::3].flatten(1)[:, 0], first[c::3].flatten(1)[:, 0]).all()


def test_a_training_step_takes_the_energy_of_each_label():
    m = bowls(alpha=0.0)
    images = torch.full((3, 1, 4, 4), 255, dtype=torch.uint8)  # 1.0 everywhere, in 16 pixels
    loss = m.training_step((images, torch.tensor([0, 1, 2])), 0)
    # Data are 1.5, 1.0 and 0.5 from their centres; the chains have arrived and have energy zero.
    assert loss.item() == pytest.approx(16 * (1.5**2 + 1.0**2 + 0.5**2) / 2 / 3, rel=1e-5)


@pytest.mark.parametrize("joint_pass", [True, False])
def test_classify_adds_the_cross_entropy(joint_pass):
    images = torch.randint(256, (6, 1, 4, 4), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    plain, with_labels = (
        bowls(classify=weight, joint_pass=joint_pass).training_step((images, labels), 0) for weight in (0.0, 0.7)
    )
    table = Bowls().class_energies(images.float() / 127.5 - 1)
    wrong = (table[torch.arange(6), labels] + (-table).logsumexp(1)).mean()
    assert (with_labels - plain).item() == pytest.approx(0.7 * wrong.item(), rel=1e-4)


def test_classify_needs_labels():
    with pytest.raises(ValueError, match="this energy takes no labels"):
        module(SmallEnergy(width=2), classify=1.0)


def test_images_without_labels_are_refused():
    with pytest.raises(ValueError, match="images with labels, and these have none"):
        bowls().training_step((torch.zeros(2, 1, 4, 4, dtype=torch.uint8),), 0)


# --- whole runs ----------------------------------------------------------------------------------


class Stop(Exception):
    pass


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == self.step:
            raise Stop


def train(folder, *, resume=None, callbacks=()):
    images = load_images("digits", limit=70)  # 4 batches an epoch
    watch = EBMWatch(4, {"data": images.scaled()[:4]}, n_chains=3, n_steps=2, n_kept=2)
    m = module(n_steps=1, capacity=40, classify=0.5, restart=0.2, decay="cosine")
    settings = FitConfig(8, batch_size=16, run_dir=folder, checkpoint_every=3, validate_every=4, log_every=1)
    return fit(m, images, images.take(torch.arange(20)), config=settings, resume=resume, callbacks=[watch, *callbacks])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"))


def test_a_run_logs_what_labels_make_possible(whole):
    for name in ("cross_entropy", "val_accuracy"):
        assert all(value >= 0 for value in whole.curve(name)[1])
    assert whole.curve("val_accuracy")[0] == whole.curve("val_contrast")[0]


def test_a_stopped_run_brings_its_class_buffer_back(whole, tmp_path):
    with pytest.raises(Stop):
        train(tmp_path, callbacks=[StopAt(5)])
    again = train(tmp_path, resume=True)
    assert again.resumed_from == 3
    for mine, theirs in zip(again.module.buffer.classes, whole.module.buffer.classes, strict=True):
        assert torch.equal(mine.images, theirs.images) and mine.state_dict()["next"] == theirs.state_dict()["next"]
    assert torch.equal(again.module.noise.get_state(), whole.module.noise.get_state())
    for (name, a), b in zip(again.module.state_dict().items(), whole.module.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert again.history == whole.history
