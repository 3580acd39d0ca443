"""One call for a whole experiment: build an energy, train it, validate on the way, test it at the end (A6)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from ..data import ImageSet
from ..evaluation.collapse import energy_report
from ..training.ebm import EBMConfig, EBMTraining
from ..training.fit import fit
from ..training.run import FitConfig, Run


def train_validate_test(
    model_class: Callable[..., nn.Module],
    arguments: Mapping,
    train: ImageSet,
    validation: ImageSet,
    test: ImageSet,
    *,
    name: str = "energy",
    run_dir: str | os.PathLike | None = None,
    config: EBMConfig | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    devices: int | str = 1,
    flip: bool = False,
    validate_every: int | None = None,
    checkpoint_every: int = 100,
    callbacks: Sequence[Callback] = (),
) -> tuple[Run, dict[str, float]]:
    """Train ``model_class(**arguments)`` by contrastive divergence, and test what came out.

    Everything random follows from ``seed``: the weights, the order of the data, the chains. Two calls with one
    seed and one machine agree bit for bit, also when the first was killed and the second took it up.
    The curves go to the run's folder for TensorBoard (``tensorboard --logdir runs``) and as CSV.

    Args:
        train, validation, test: the three parts of a dataset.
        config: the recipe; its seed is replaced by ``seed``.
        epochs, max_steps: how long; give one of them.
        name, run_dir: of the run's folder, see ``FitConfig``.
        flip: mirror half of the training images.
        validate_every: steps between validations; an epoch when None.

    Returns:
        The run, and ``energy_report`` on the test images.
    """
    if (epochs is None) == (max_steps is None):
        raise ValueError("say how long to train: either epochs or max_steps")
    per_epoch = max(1, len(train) // batch_size)
    steps = max_steps if max_steps is not None else epochs * per_epoch
    recipe = EBMConfig(**{**vars(config or EBMConfig()), "seed": seed})
    torch.manual_seed(seed)
    settings = FitConfig(
        steps,
        batch_size=batch_size,
        seed=seed,
        name=name,
        run_dir=run_dir,
        checkpoint_every=checkpoint_every,
        validate_every=min(validate_every or per_epoch, steps),
        devices=devices,
        flip=flip,
        log_every=1 if steps <= 200 else 5,
    )
    module = EBMTraining(model_class(**arguments), recipe)
    run = fit(module, train, validation, config=settings, resume=True, callbacks=callbacks)
    generator = torch.Generator().manual_seed(seed)
    return run, energy_report(run.module.energy, test.scaled(), generator)
