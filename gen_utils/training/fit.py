"""``fit``: one call that trains any of the workbook's modules, logs, checkpoints and resumes."""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from ..base.files import plain_write_errors
from ..base.frontend import interactive
from ..base.sittings import took_before
from ..data import ImageSet
from ..models import modes
from ..samplers import ChainDiverged
from .cards import settings_of
from .guards import StopOnNonFinite, TrainingDiverged, last_good, refuse_sick
from .resuming import SameData
from .run import FitConfig, Run
from .run_files import Curves, WholeCheckpoints, read_curves
from .runs import Identity, changed_code, identify, take_folder, tell_of_older_code


def fit(
    module: L.LightningModule,
    train: ImageSet,
    val: ImageSet | None = None,
    *,
    config: FitConfig,
    resume: str | os.PathLike | bool | None = None,
    callbacks: Sequence[Callback] = (),
    identity: Identity | None = None,
) -> Run:
    """Train a module on an ``ImageSet`` with Lightning, and return the module with its curves.

    Args:
        module: a LightningModule whose batches are (uint8 images[, labels]), in whatever mode: what learns is put into
            training mode, what is frozen stays as it is. Afterwards it is in eval mode.
        train, val: the data; validation runs every ``config.validate_every`` steps.
        resume: True goes on from ``last.ckpt`` of the same run when there is one (a finished run is then loaded, not
            repeated); a path goes on from that checkpoint, whatever it is; None starts afresh.
        callbacks: further Lightning callbacks.
        identity: of the run, where the caller knows it better (a rescue changes the learning rate on the way).

    Raises:
        TrainingDiverged: the loss or a chain's energy stopped being finite; the last good checkpoint stays on disk.
        FileNotFoundError: ``resume`` names a checkpoint that is not there.
        ValueError: images that the module cannot learn from; a folder that holds another run; a checkpoint that is
            damaged, or that cannot be gone on with under this ``config`` (see ``resuming``).
        CannotWrite: the disk is full or read-only; the last checkpoint stays.
    """
    for images in (train, val):
        check = getattr(module, "check_data", None)
        if images is not None and check is not None:
            check(images)
    identity = identity or identify(module, train, val, config, callbacks)
    named = config.run_dir is not None
    run_dir = Path(config.run_dir) if config.run_dir is not None else identity.folder(config.name)
    last = run_dir / "last.ckpt"
    if resume is True:
        checkpoint = last if last.exists() else None
    elif resume:
        checkpoint = Path(resume)
        if not checkpoint.exists():
            raise FileNotFoundError(f"no checkpoint at {checkpoint}; leave resume out to start afresh")
    else:
        checkpoint = None
    with plain_write_errors(run_dir):
        if checkpoint is None:  # a fresh start, killed at once, must not go on with an old run; nor show its curves
            for old in (last, *run_dir.glob("csv/*/metrics.csv")):
                old.unlink(missing_ok=True)
        going_on = resume is True and checkpoint is not None
        held = take_folder(run_dir, identity, named=named, resuming=going_on)

    clock = _Clock()
    loggers = [
        Curves(run_dir, name="csv", flush_logs_every_n_steps=1),
        TensorBoardLogger(run_dir, name="tensorboard"),
    ]
    saver = _Saver(last, config.checkpoint_every, config.validate_every if val is not None else None)
    with _quiet(), plain_write_errors(run_dir):
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
            callbacks=[
                SameData(config, len(train)),
                StopOnNonFinite(last),
                clock,
                _RandomState(),
                *callbacks,
                saver,
                *_progress_bar(),
            ],
            plugins=[WholeCheckpoints()],
            enable_checkpointing=False,  # _Saver does it
            enable_model_summary=False,
            enable_progress_bar=interactive(),
        )
        batches = train.loader(config.batch_size, seed=config.seed, flip=config.flip, crop=config.crop)
        val_batches = val.loader(config.batch_size, shuffle=False, drop_last=False) if val is not None else None
        modes.train(module)
        try:
            trainer.fit(module, batches, val_batches, ckpt_path=checkpoint, weights_only=True)
        except ChainDiverged as error:
            raise TrainingDiverged(f"at optimiser step {trainer.global_step}: {error}; {last_good(last)}") from error
        finally:
            took_before(run_dir, clock.before)
        if clock.first_step < clock.step:
            saver.save(trainer, module)  # the end is a checkpoint too, whatever checkpoint_every says
    module.eval()
    if held:
        finished = clock.first_step == clock.step
        older = changed_code(held["code"], identity.code)
        tell_of_older_code(run_dir, older, "was made" if finished else "was begun")
    return Run(
        module,
        read_curves(run_dir),
        clock.seconds,
        clock.step,
        run_dir,
        clock.first_step,
        identity,
        data=train.title,
        images=len(train),
        settings=settings_of(module, config),
    )


class _Clock(Callback):
    """Seconds spent training, carried along by the checkpoints."""

    def __init__(self) -> None:
        self.seconds, self.step, self.first_step = 0.0, 0, 0
        self.before = 0.0  # in the sittings that a checkpoint tells of

    def on_train_start(self, trainer, module) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer, *args) -> None:
        self.seconds, self.step = self.before + time.perf_counter() - self._start, trainer.global_step

    def state_dict(self) -> dict:
        return {"seconds": self.seconds, "step": self.step}

    def load_state_dict(self, state: dict) -> None:
        self.before = self.seconds = state["seconds"]
        self.step = self.first_step = state["step"]


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
        refuse_sick(module, trainer.global_step, self.path)
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
