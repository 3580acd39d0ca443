"""Training in one process or two on the CPU, for a test: argv = how, folder, and sittings such as ``energy 2 5``.

How: ``lightning`` starts the second process itself, as it does for a user. With ``fork`` every process is forked from
one that has imported PyTorch once, in the environment that ``torchrun`` makes.
"""

import hashlib
import json
import os
import socket
import sys
from pathlib import Path

import torch
from forks import finish, start

from gen_utils.data import load_images
from gen_utils.models import Critic, Generator, SmallEnergy
from gen_utils.samplers import Langevin
from gen_utils.training import EBMConfig, EBMTraining, FitConfig, Run, fit
from gen_utils.training.gan import GANConfig, WassersteinGP, train_gan


def digest(tensors) -> str:
    data = b"".join(t.detach().cpu().contiguous().numpy().tobytes() for t in tensors)
    return hashlib.sha256(data).hexdigest()[:16]


def settings(folder: str, processes: int, steps: int) -> FitConfig:
    return FitConfig(
        steps, batch_size=16, run_dir=folder, checkpoint_every=5, log_every=1, devices=processes,
        strategy="ddp" if processes > 1 else "auto",
    )  # fmt: skip


def train_energy(config: FitConfig) -> tuple[Run, dict]:
    """An energy; which images each process has seen, and its buffer."""
    kernel = Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))
    module = EBMTraining(SmallEnergy(width=4), EBMConfig(kernel=kernel, n_steps=3, capacity=100))
    images = load_images("digits", limit=160)
    names = {row.numpy().tobytes(): i for i, row in enumerate(images.images)}
    seen, step = [], module.training_step

    def noted(batch, *rest):
        seen.append([names[row.cpu().numpy().tobytes()] for row in batch[0]])
        return step(batch, *rest)

    module.training_step = noted
    run = fit(module, images, config=config, resume=True)
    buffer = [v for v in module.state_dict().values() if v.ndim == 4 and len(v) == 100] or [module.buffer.newest(32)]
    return run, {"weights": digest(module.energy.state_dict().values()), "buffer": digest(buffer), "seen": seen}


def train_game(config: FitConfig) -> tuple[Run, dict]:
    """A generator and a critic with two steps to the generator's one."""
    images = load_images("digits", limit=160)
    recipe = GANConfig(WassersteinGP(critic_steps=2))
    run = train_gan(Generator(latent_dim=8, width=4), Critic(width=4), images, recipe=recipe, config=config)
    networks = {name: digest(getattr(run.module, name).parameters()) for name in ("generator", "critic", "sampler")}
    return run, networks


def sitting(folder: str, what: str, processes: int, steps: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run, found = {"energy": train_energy, "game": train_game}[what](settings(folder, processes, steps))
    found |= {"noise": digest([run.module.noise.get_state()]), "steps": run.steps, "resumed_from": run.resumed_from}
    Path(folder, f"{what}_rank{run.module.global_rank}_{processes}_{steps}.json").write_text(json.dumps(found))


def as_torchrun(rank: int, processes: int, port: int) -> None:
    where = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=processes, LOCAL_WORLD_SIZE=processes, GROUP_RANK=0)
    where |= dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, TORCHELASTIC_RUN_ID="test")
    os.environ.update({name: str(value) for name, value in where.items()})


def forked(folder: str, what: str, processes: int, steps: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def work(rank: int) -> None:
        if processes > 1:
            as_torchrun(rank, processes, port)
        sitting(f"{folder}/{what}", what, processes, steps)

    for process in [start(lambda rank=rank: work(rank)) for rank in range(processes)]:
        finish(process)


if __name__ == "__main__":
    how, folder, *asked = sys.argv[1:]
    for one in asked:
        what, processes, steps = one.split()
        if how == "fork":
            forked(folder, what, int(processes), int(steps))
        else:
            sitting(f"{folder}/{what}", what, int(processes), int(steps))
