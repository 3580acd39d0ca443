"""``fit``: one call that trains any of the workbook's modules, logs, checkpoints and resumes."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from ..data import ImageSet
from ..disk import plainly, runs_root
from ..samplers import ChainDiverged
from .run_files import Curves, WholeCheckpoints, read_curves


class TrainingDiverged(RuntimeError):
    """A loss stopped being finite; the message names the last good checkpoint."""


@dataclass(frozen=True)
class FitConfig:
    """What ``fit`` needs to know beside the module and the data.

    Attributes:
        max_steps: optimiser steps in all (a resumed run counts from its beginning).
        batch_size: images a step.
        seed: of the order of the data; the module owns the rest of its randomness.
        run_dir: logs and checkpoints go there.
        checkpoint_every: steps between two checkpoints.
        validate_every: steps between two passes over the validation set; None for none.
        log_every: steps between two rows of the logs.
        flip, crop: mirror half of the training images; shift each by up to so many pixels.
        precision, devices, num_nodes, strategy: Lightning's own.
    """

    max_steps: int
    batch_size: int = 64
    seed: int = 0
    run_dir: str | os.PathLike = "runs/default"
    checkpoint_every: int = 200
    validate_every: int | None = None
    log_every: int = 10
    flip: bool = False
    crop: int = 0
    precision: str = "32-true"
    devices: int | str = 1
    num_nodes: int = 1
    strategy: str = "auto"


@dataclass(frozen=True)
class Run:
    """What a training run leaves: the module, its curves, how long it took and where it lies."""

    module: L.LightningModule
    history: dict[str, list[tuple[int, float]]]  # name -> [(step, value), ...]
    seconds: float  # of training, over all the sittings of a resumed run
    steps: int
    run_dir: Path
    resumed_from: int = 0  # the step a resumed run went on from

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one logged quantity."""
        if name not in self.history:
            raise KeyError(f"{name!r} was not logged; logged: {', '.join(sorted(self.history))}")
        steps, values = zip(*self.history[name], strict=True)
        return list(steps), list(values)


def fit(
    module: L.LightningModule,
    train: ImageSet,
    val: ImageSet | None = None,
    *,
    config: FitConfig,
    resume: str | os.PathLike | bool | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a module on an ``ImageSet`` with Lightning, and return the module with its curves.

    Args:
        module: a LightningModule whose batches are (uint8 images[, labels]).
        train, val: the data; validation runs every ``config.validate_every`` steps.
        resume: True goes on from ``run_dir/last.ckpt`` when there is one (a finished run is
            then loaded, not repeated); a path goes on from that checkpoint; None starts afresh.
        callbacks: further Lightning callbacks.

    Raises:
        TrainingDiverged: the loss or a chain's energy stopped being finite; the last good checkpoint stays on disk.
        FileNotFoundError: ``resume`` names a checkpoint that is not there.
        CannotWrite: the disk is full or read-only; the last checkpoint stays.
    """
    run_dir = Path(config.run_dir)
    last = run_dir / "last.ckpt"
    if resume is True:
        checkpoint = last if last.exists() else None
    elif resume:
        checkpoint = Path(resume)
        if not checkpoint.exists():
            raise FileNotFoundError(f"no checkpoint at {checkpoint}; leave resume out to start afresh")
    else:
        checkpoint = None
    if checkpoint is None:  # a fresh start, killed at once, must not go on with an old run; nor show its curves
        for old in (last, *run_dir.glob("csv/*/metrics.csv")):
            old.unlink(missing_ok=True)

    clock = _Clock()
    loggers = [
        Curves(run_dir, name="csv", flush_logs_every_n_steps=1),
        TensorBoardLogger(run_dir, name="tensorboard"),
    ]
    saver = _Saver(last, config.checkpoint_every, config.validate_every if val is not None else None)
    with _quiet(), plainly(run_dir):
        trainer = L.Trainer(
            max_steps=config.max_steps,
            max_epochs=-1,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=config.strategy,
            precision=config.precision,
            logger=loggers,
            log_every_n_steps=min(config.log_every, config.max_steps),
            val_check_interval=config.validate_every,
            check_val_every_n_epoch=None,
            limit_val_batches=1.0 if val is not None and config.validate_every else 0,
            num_sanity_val_steps=0,
            inference_mode=False,  # validation may run chains, and chains need gradients
            callbacks=[_StopOnNonFinite(last), clock, _RandomState(), *callbacks, saver, *_progress_bar()],
            plugins=[WholeCheckpoints()],
            enable_checkpointing=False,  # _Saver does it
            enable_model_summary=False,
            enable_progress_bar=interactive(),
        )
        batches = train.loader(config.batch_size, seed=config.seed, flip=config.flip, crop=config.crop)
        val_batches = val.loader(config.batch_size, shuffle=False, drop_last=False) if val is not None else None
        try:
            trainer.fit(module, batches, val_batches, ckpt_path=checkpoint, weights_only=True)
        except ChainDiverged as error:
            raise TrainingDiverged(f"at optimiser step {trainer.global_step}: {error}; {_kept(last)}") from error
        if clock.first_step < clock.step:
            saver.save(trainer, module)  # the end is a checkpoint too, whatever checkpoint_every says
    module.eval()
    return Run(module, read_curves(run_dir), clock.seconds, clock.step, run_dir, clock.first_step)


def run_folder(name: str, **settings) -> Path:
    """``runs/NAME-…``, one folder for each combination of settings, so that a resume never mixes two."""
    key = hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:10]
    return runs_root() / f"{name}-{key}"


class _Clock(Callback):
    """Seconds spent training, carried along by the checkpoints."""

    def __init__(self) -> None:
        self.seconds, self.step, self.first_step = 0.0, 0, 0

    def on_train_start(self, trainer, module) -> None:
        self._start, self._before = time.perf_counter(), self.seconds

    def on_train_batch_end(self, trainer, *args) -> None:
        self.seconds, self.step = self._before + time.perf_counter() - self._start, trainer.global_step

    def state_dict(self) -> dict:
        return {"seconds": self.seconds, "step": self.step}

    def load_state_dict(self, state: dict) -> None:
        self.seconds, self.step, self.first_step = state["seconds"], state["step"], state["step"]


class _Saver(Callback):
    """Writes ``last.ckpt`` every so many steps, after the validation of that step and not before it.

    (Lightning's own ModelCheckpoint saves first: a kill in between would lose a validation.)
    """

    def __init__(self, path: Path, every: int, validate_every: int | None) -> None:
        self.path, self.every, self.validate_every = path, every, validate_every

    def on_train_batch_end(self, trainer, module, *args) -> None:
        if trainer.global_step % self.every == 0 and not (
            self.validate_every and trainer.global_step % self.validate_every == 0
        ):
            # Lightning writes the step's row of the curves after this hook; a kill between the checkpoint and the row
            # would lose the row for good, since the resumed run begins with the next step. Twice does no harm.
            trainer._logger_connector.update_train_step_metrics()
            self.save(trainer, module)

    def on_validation_end(self, trainer, module) -> None:
        if trainer.global_step % self.every == 0:
            self.save(trainer, module)

    def save(self, trainer, module) -> None:
        """Not over a good checkpoint with a sick one: a finite loss may have a gradient that is not."""
        for name, value in module.state_dict().items():
            if not torch.isfinite(value).all():
                raise TrainingDiverged(f"{name} is not finite after step {trainer.global_step}; {_kept(self.path)}")
        trainer.save_checkpoint(self.path)


class _RandomState(Callback):
    """PyTorch's global random states, so that a resumed run draws what the whole run would have."""

    _loaded: dict | None = None

    def state_dict(self) -> dict:
        state = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state_all()
        return state

    def load_state_dict(self, state: dict) -> None:
        self._loaded = state

    def on_train_start(self, trainer, module) -> None:  # as late as possible: setting up draws numbers too
        if self._loaded is not None:
            torch.set_rng_state(self._loaded["cpu"].cpu())
            if torch.cuda.is_available() and len(self._loaded.get("cuda", ())) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all([state.cpu() for state in self._loaded["cuda"]])


class _StopOnNonFinite(Callback):
    """Stops before a loss that is not finite reaches the weights."""

    def __init__(self, last: Path) -> None:
        self.last = last

    def on_before_backward(self, trainer, module, loss) -> None:
        if not torch.isfinite(loss):
            raise TrainingDiverged(
                f"the loss is {loss.item()} at step {trainer.global_step}; {_kept(self.last)}. "
                "Try a smaller learning rate, more steps a chain, or a larger regulariser (alpha)."
            )


def _kept(last: Path) -> str:
    return f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was written yet"


def interactive() -> bool:
    """Is anybody there to watch a progress bar?"""
    return "GEN_HEADLESS" not in os.environ and ("ipykernel" in sys.modules or sys.stderr.isatty())


def _progress_bar() -> list[Callback]:
    return [TQDMProgressBar(refresh_rate=10)] if interactive() else []


class _quiet:
    """Keeps Lightning's advice (workers, logging intervals, tips) out of the student's sight."""

    _loggers = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")

    def __enter__(self) -> None:
        self._levels = [(name, logging.getLogger(name).level) for name in self._loggers]
        for name in self._loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", module="lightning")
        self._hook, threading.excepthook = threading.excepthook, self._threads

    def _threads(self, failure) -> None:
        """TensorBoard writes in a thread and raises its error again in the main one: once is enough."""
        if not issubclass(failure.exc_type, OSError):
            self._hook(failure)

    def __exit__(self, *error) -> None:
        threading.excepthook = self._hook
        self._warnings.__exit__(*error)
        for name, level in self._levels:
            logging.getLogger(name).setLevel(level)
