"""One small training run, started by the tests in a process of its own so that it can be killed."""

import os
import signal
import sys

import torch
from lightning.pytorch.callbacks import Callback

from gen_utils.data import load_images
from gen_utils.models import SmallEnergy
from gen_utils.samplers import Langevin
from gen_utils.training import EBMConfig, EBMTraining, EBMWatch, FitConfig, fit


class Kill(Callback):
    """SIGKILL in the middle of a run, before a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def train(run_dir, *, resume=None, max_steps=40, seed=0, checkpoint_every=5, callbacks=(), **changes):
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    kernel = Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))
    config = EBMConfig(**{"kernel": kernel, "n_steps": 3, "capacity": 100, "decay": "cosine", "seed": seed, **changes})
    module = EBMTraining(SmallEnergy(width=4), config)
    images = load_images("digits", limit=150)  # 9 batches of 16 an epoch: the run crosses four epochs
    watch = EBMWatch(10, {"data": images.scaled()[:8]}, n_chains=2, n_steps=4, n_kept=2)
    settings = FitConfig(
        max_steps,
        batch_size=16,
        seed=seed,
        run_dir=run_dir,
        checkpoint_every=checkpoint_every,
        validate_every=10,
        log_every=1,
    )
    return fit(module, images, images, config=settings, resume=resume, callbacks=[watch, *callbacks]), watch


if __name__ == "__main__":
    train(sys.argv[1], resume=True, callbacks=[Kill(int(sys.argv[2]))])
