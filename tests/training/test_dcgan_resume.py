"""H5: a DCGAN whose process is killed in the middle of an epoch goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from gen_utils.data import ImageSet
from gen_utils.models import Critic, Generator
from gen_utils.training import FitConfig
from gen_utils.training.gan import GANConfig, train_gan

ROOT = Path(__file__).resolve().parent.parent.parent
N = 4


def game(folder, steps, resume=True, callbacks=()):
    """A DCGAN of the chapter's shape, tiny; five batches an epoch, so that 2 N steps end inside one."""
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (42, 3, 64, 64), generator=stream, dtype=torch.uint8)
    torch.manual_seed(0)
    generator = Generator((3, 64, 64), 128, 2, norm="batch", latent="uniform")
    critic = Critic((3, 64, 64), 2, layers=3, norm="batch")
    config = FitConfig(steps, batch_size=8, seed=0, run_dir=folder, flip=True, checkpoint_every=N, log_every=1)
    images = ImageSet(pixels, None, (), "dots", "dots")
    recipe = GANConfig(seed=1)
    return train_gan(generator, critic, images, recipe=recipe, config=config, resume=resume, callbacks=callbacks)


CHILD = """
import os, signal, sys
import torch
torch.set_num_threads(int(sys.argv[2]))
from lightning.pytorch.callbacks import Callback
import test_dcgan_resume as here

class Kill(Callback):
    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == here.N + 2:  # two steps after the checkpoint, which are lost
            os.kill(os.getpid(), signal.SIGKILL)

here.game(sys.argv[1], 2 * here.N, callbacks=[Kill()])
"""


def test_killed_resumed_and_equal_bit_for_bit(tmp_path):
    whole = game(tmp_path / "whole", 2 * N)
    places = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    answer = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "killed"), str(torch.get_num_threads())],
        env={**os.environ, "PYTHONPATH": places, "GEN_HEADLESS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == -signal.SIGKILL, answer.stderr
    torch.manual_seed(123)  # what the global stream holds now must not matter
    resumed = game(tmp_path / "killed", 2 * N)
    assert resumed.resumed_from == N and resumed.steps == 2 * N
    for (name, a), (_, b) in zip(whole.module.state_dict().items(), resumed.module.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    kept, again = (torch.load(tmp_path / place / "last.ckpt", weights_only=True) for place in ("whole", "killed"))
    assert len(kept["optimizer_states"]) == 2 and torch.equal(kept["noise"], again["noise"])
    for one, other in zip(kept["optimizer_states"], again["optimizer_states"], strict=True):
        for i, moments in one["state"].items():
            assert all(torch.equal(moments[key], other["state"][i][key]) for key in ("step", "exp_avg", "exp_avg_sq"))
    assert whole.history == resumed.history


def test_without_the_discriminators_optimiser_it_is_another_run(tmp_path):
    whole = game(tmp_path / "whole", 2 * N)
    game(tmp_path / "half", N)
    checkpoint = torch.load(tmp_path / "half" / "last.ckpt", weights_only=True)
    checkpoint["optimizer_states"][0]["state"] = {}
    torch.save(checkpoint, tmp_path / "lost.ckpt")
    forgot = game(tmp_path / "half", 2 * N, resume=tmp_path / "lost.ckpt")
    assert any(
        not torch.equal(a, b)
        for a, b in zip(whole.module.state_dict().values(), forgot.module.state_dict().values(), strict=True)
    )
