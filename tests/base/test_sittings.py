"""What a run's page tells of the sittings before the last."""

from pathlib import Path

import pytest
import torch

from gen_utils import report
from gen_utils.base import sittings
from gen_utils.data import load_images
from gen_utils.experiments.sweep import sweep
from gen_utils.models import SmallClassifier
from gen_utils.training import ClassifierTraining, FitConfig, fit


@pytest.fixture(autouse=True)
def another_process(monkeypatch, tmp_path):
    """One call is one new process, as far as seconds go."""
    monkeypatch.setenv("GEN_RUNS", str(tmp_path))

    def begin():
        monkeypatch.setattr(sittings, "_earlier", {})

    begin()
    return begin


def training():
    torch.manual_seed(0)
    config = FitConfig(2, batch_size=8, name="small")
    return fit(
        ClassifierTraining(SmallClassifier(width=4)), load_images("digits", limit=16), config=config, resume=True
    )


def test_the_first_word_on_a_result_counts():
    sittings.took_before(Path("runs/a"), 0.0)
    sittings.took_before(Path("runs/a"), 7.0)  # made here, loaded again
    sittings.took_before(Path("runs/b"), 5.0)
    sittings.took_before(Path("runs/b"), 5.0)
    assert sittings.earlier_seconds() == 5.0


def test_a_training_that_is_loaded_is_an_earlier_sitting(another_process):
    seconds = training().seconds
    training()
    assert seconds > 0 and sittings.earlier_seconds() == 0
    another_process()
    training()
    assert sittings.earlier_seconds() == seconds
    report.record("notebook_seconds", 1.0)
    assert report.recorded()["earlier_seconds"] == round(seconds, 1)


def test_cells_of_a_sweep_that_are_loaded_are_too(another_process):
    def experiment(seed):
        return {"seed": seed}

    first = sweep("seconds", experiment, {"all": {}}, seeds=(0, 1))
    assert sittings.earlier_seconds() == 0
    another_process()
    sweep("seconds", experiment, {"all": {}}, seeds=(0, 1, 2))
    assert sittings.earlier_seconds() == sum(cell.seconds for cell in first)
