"""Training in two processes on the CPU, started by a test: argv = what, folder, processes, steps."""

import hashlib
import json
import sys
from pathlib import Path

import torch

from gen_utils.data import load_images
from gen_utils.models import SmallEnergy
from gen_utils.samplers import Langevin
from gen_utils.training import EBMConfig, EBMTraining, FitConfig, fit


def digest(tensors) -> str:
    data = b"".join(t.detach().cpu().contiguous().numpy().tobytes() for t in tensors)
    return hashlib.sha256(data).hexdigest()[:16]


def energy_module():
    kernel = Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))
    return EBMTraining(SmallEnergy(width=4), EBMConfig(kernel=kernel, n_steps=3, capacity=100))


def main(folder: str, processes: int, steps: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = energy_module()
    images = load_images("digits", limit=160)
    names = {row.numpy().tobytes(): i for i, row in enumerate(images.images)}
    seen, step = [], module.training_step

    def noted(batch, *rest):
        seen.append([names[row.cpu().numpy().tobytes()] for row in batch[0]])
        return step(batch, *rest)

    module.training_step = noted
    run = fit(
        module,
        images,
        config=FitConfig(
            steps, batch_size=16, run_dir=folder, checkpoint_every=5, log_every=1, devices=processes,
            strategy="ddp" if processes > 1 else "auto",
        ),
        resume=True,
    )  # fmt: skip
    rank = module.global_rank
    buffer = [v for v in module.state_dict().values() if v.ndim == 4 and len(v) == 100] or [module.buffer.newest(32)]
    found = {
        "weights": digest(module.energy.state_dict().values()),
        "buffer": digest(buffer),
        "noise": digest([module.noise.get_state()]),
        "seen": seen,
        "steps": run.steps,
        "resumed_from": run.resumed_from,
    }
    Path(folder, f"rank{rank}_{processes}_{steps}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
