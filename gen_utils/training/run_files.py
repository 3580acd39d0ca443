"""The files of a training run: checkpoints and curves, which a killed process leaves whole."""

from __future__ import annotations

import csv
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ..base.files import plain_write_errors, whole_file, write_atomically


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the target and renames: a kill leaves the old checkpoint or the new one, whole.

    Two that train in one folder do not meet either: each writes under a name of its own.
    """

    def save_checkpoint(self, checkpoint, path, storage_options=None) -> None:
        path = Path(path)
        with plain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            _save(checkpoint, file)

    def load_checkpoint(self, path, map_location="cpu", weights_only=None):
        return read_checkpoint(path, map_location)


def read_checkpoint(path: str | os.PathLike, map_location: Any = "cpu") -> dict:
    """What a training run has saved.

    Raises:
        ValueError: a file that is damaged: empty, cut short, changed, or something else altogether.
    """
    damaged = ValueError(f"{path} is damaged; delete it to start afresh")
    # PyTorch reads past bits that have changed; the archive has a checksum of each of its files.
    if not zipfile.is_zipfile(path):
        raise damaged
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise damaged
        held = torch.load(path, map_location=map_location, weights_only=True)
    except (zipfile.BadZipFile, RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise damaged from error
    if not (isinstance(held, dict) and {"global_step", "state_dict", "loops"} <= held.keys()):
        raise damaged
    return held


def _save(checkpoint: dict, file) -> None:
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:  # torch reports a write that failed as a position that surprises it
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


class Curves(CSVLogger):
    """Lightning's logger, but for one moment: at a new column it would empty the file before it fills it anew."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            os.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _CurvesFile(log_dir=self.log_dir)
        return self._experiment


class _CurvesFile(ExperimentWriter):
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=fieldnames)
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(path, text.getvalue().encode())


def read_curves(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """All logged values by name. A resumed run logs into a new file; where two overlap the later one counts.

    The last row of a killed run may have been cut short. It is left out: the run that went on wrote it again.

    Raises:
        ValueError: a file that is damaged.
    """
    found: dict[str, dict[int, float]] = {}
    files = sorted(run_dir.glob("csv/version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    for file in files:
        with open(file, newline="", encoding="utf-8", errors="replace") as lines:
            whole = (line for line in lines if line.endswith("\n"))
            try:
                for row in csv.DictReader(whole):
                    for name, value in row.items():
                        if name not in ("step", "epoch") and value:
                            found.setdefault(name, {})[int(row["step"])] = float(value)
            except (ValueError, KeyError, TypeError, csv.Error):
                raise ValueError(f"{file} is damaged; delete {run_dir} to train afresh") from None
    return {name: sorted(points.items()) for name, points in found.items()}
