"""Training that is expected to diverge now and then: back to the last good checkpoint, and on more slowly."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from ..base.files import write_atomically
from ..data import ImageSet
from .fit import fit
from .guards import TrainingDiverged
from .run import FitConfig, Run
from .run_files import read_checkpoint
from .runs import identify


@dataclass(frozen=True)
class Recovery:
    """One divergence and what was done about it."""

    reason: str
    from_step: int  # training went on from here: the last good checkpoint, or 0
    lr_factor: float  # and from here on the learning rate is multiplied by this

    def __str__(self) -> str:
        place = f"step {self.from_step}" if self.from_step else "the beginning"
        return f"{self.reason}; went on from {place} with {self.lr_factor:g} times the learning rate"


def fit_with_rescue(
    make_module: Callable[[float], L.LightningModule],
    train: ImageSet,
    val: ImageSet | None = None,
    *,
    config: FitConfig,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    max_recoveries: int = 3,
    shrink: float = 0.5,
) -> tuple[Run, list[Recovery]]:
    """``fit``, and after a divergence again from the last checkpoint with the learning rate times ``shrink``.

    A run that diverges again before it has written a new checkpoint had a sick one: it begins again. What happened is
    kept in ``run_dir/recoveries.json``, so that a killed run resumes bit for bit, and a finished one is loaded,
    whether it diverged on its way or not.

    Args:
        make_module: lr_factor -> a fresh module, whose learning rate is to be multiplied by the factor *after* a
            checkpoint was loaded too: set it at each step, a loaded optimiser brings its old one along.
        seed: of the global random state before each beginning.
        callbacks: as for ``fit``; their states come back with the checkpoint.
        max_recoveries: so many divergences are forgiven.

    Returns:
        The run and its recoveries, the first one first.

    Raises:
        TrainingDiverged: it diverged once more than forgiven; the message tells of the earlier ones.
    """
    if not 0 < shrink < 1:
        raise ValueError(f"shrink is between 0 and 1, got {shrink}")
    torch.manual_seed(seed)
    # The run is the one that was asked for; a rescue only changes its learning rate on the way.
    identity = identify(make_module(1.0), train, val, config, callbacks)
    identity = replace(identity, recipe={**identity.recipe, "shrink": shrink})
    folder = Path(config.run_dir) if config.run_dir is not None else identity.folder(config.name)
    last, notes = folder / "last.ckpt", folder / "recoveries.json"
    recoveries = _read(notes)
    while True:
        torch.manual_seed(seed)
        factor = recoveries[-1].lr_factor if recoveries else 1.0
        module = make_module(factor)
        fresh = [copy.deepcopy(callback) for callback in callbacks]  # a restart must not keep looks at a lost run
        try:
            run = fit(module, train, val, config=config, resume=True, callbacks=fresh, identity=identity)
        except TrainingDiverged as error:
            reason = str(error).split("; ")[0]
            if len(recoveries) >= max_recoveries:
                told = "".join(f" Before: {recovery}." for recovery in recoveries)
                raise TrainingDiverged(f"{reason}; rescued before: {len(recoveries)} times.{told}") from error
            step = step_of(last)
            if step and recoveries and recoveries[-1].from_step == step:
                last.unlink()
                step = 0
            recoveries.append(Recovery(reason, step, factor * shrink))
            write_atomically(notes, json.dumps([vars(r) for r in recoveries], indent=1).encode())
            continue
        for callback, used in zip(callbacks, fresh, strict=True):
            vars(callback).update(vars(used))  # the caller reads its own callbacks
        return run, recoveries


def step_of(checkpoint: Path) -> int:
    """The optimiser step a checkpoint was written at; 0 when there is none."""
    return read_checkpoint(checkpoint)["global_step"] if checkpoint.exists() else 0


def _read(notes: Path) -> list[Recovery]:
    if not notes.exists():
        return []
    try:
        return [Recovery(**row) for row in json.loads(notes.read_text(encoding="utf-8"))]
    except (ValueError, TypeError):
        raise ValueError(f"{notes} is damaged; delete its folder to train afresh") from None
