"""SIGKILL at seeded random moments, in training, preparing data, saving a model and executing a notebook.

What kills is a process of its own (``kill_*.py``), which forks its victims: PyTorch is imported once for twenty kills.
The seeds fix how far a victim gets before it is killed; the moment itself also depends on the machine.
"""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gen_utils.training.run_files import read_curves

HERE = Path(__file__).resolve().parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, /proc and SIGKILL as Linux has them"),
]


def under_fire(script, folder):
    """Run one of the scripts on a folder; what it reports."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GEN_HEADLESS": "1", "PYTHONPATH": str(HERE.parents[1])}
    env["XDG_CACHE_HOME"] = str(folder / "cache")
    answer = subprocess.run([sys.executable, str(HERE / script), str(folder)], env=env, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return json.loads((folder / "report.json").read_text())


def same(a, b):
    """Bit for bit, through dictionaries, lists and tensors."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_a_run_killed_twenty_times_ends_bit_equal_to_one_that_was_not(tmp_path):
    report = under_fire("kill_training.py", tmp_path)
    sittings = report["sittings"]
    assert len(sittings) >= 20 and all(sitting["killed"] for sitting in sittings)
    assert sum(sitting["in_writing"] for sitting in sittings) >= 5, "too few kills met the writing of a checkpoint"
    steps = [sitting["step"] for sitting in sittings]
    assert steps == sorted(steps) and 0 < steps[-1] < 60
    assert report["leftover"] == []
    whole, killed = (torch.load(tmp_path / run / "last.ckpt", weights_only=True) for run in ("whole", "killed"))
    for checkpoint in (whole, killed):
        # Killed between two epochs, Lightning may miscount them; the order of our data has a count of its own.
        checkpoint["loops"]["fit_loop"].pop("epoch_progress")
        clock = checkpoint["callbacks"].pop("_Clock")
        assert clock["step"] == 60 and clock["seconds"] > 0
    assert whole["global_step"] == 60
    assert {"state_dict", "optimizer_states", "lr_schedulers", "buffer", "noise", "callbacks"} <= whole.keys()
    different = [key for key in whole if not same(whole[key], killed[key])]
    assert different == [] and whole.keys() == killed.keys()
    curves = read_curves(tmp_path / "whole")
    assert len(curves["loss"]) == 60 and len(curves["val_contrast"]) == 6
    assert read_curves(tmp_path / "killed") == curves


def test_preparing_images_killed_twenty_times_leaves_nothing_half(tmp_path):
    (tmp_path / "root").mkdir()
    random = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "root" / "bitmojis.zip", "w") as archive:
        for i in range(300):
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "PNG")
            archive.writestr(f"bitmojis/{i:04}.png", file.getvalue())
    report = under_fire("kill_data.py", tmp_path)
    sittings = report["sittings"]
    assert sum(sitting["killed"] for sitting in sittings) >= 20  # some more finish before they can be killed
    assert sum(sitting["in_writing"] for sitting in sittings) >= 3, "too few kills met the writing of the file"
    assert not any(sitting["half"] for sitting in sittings)
    at_last = load_file(tmp_path / "at_last.safetensors")
    whole = load_file(tmp_path / "whole.safetensors")["images"]
    assert len(whole) == 270 and torch.equal(at_last["first"], whole) and torch.equal(at_last["again"], whole)


def test_a_model_whose_saving_is_killed_is_the_old_one_or_the_new_one(tmp_path):
    report = under_fire("kill_saving.py", tmp_path)
    sittings = report["sittings"]
    assert len(sittings) >= 40 and all(sitting["killed"] for sitting in sittings)
    assert [sitting["said"] for sitting in sittings if sitting["said"]] == []
    assert all(sitting["whole"] for sitting in sittings)
    assert report["between"] >= 10, "too few kills met the middle of a save"
    assert report["names"] == ["mine.json", "mine.safetensors"]  # the last save swept the leftovers away


def test_a_killed_notebook_leaves_the_old_one_and_no_kernel(tmp_path):
    report = under_fire("kill_notebook.py", tmp_path)
    sittings = report["sittings"]
    assert len(sittings) == 5 and sum(sitting["killed"] for sitting in sittings) >= 4
    assert all(sitting["old"] for sitting in sittings if sitting["killed"])
    assert all(sitting["whole"] for sitting in sittings)
    assert [sitting["survivors"] for sitting in sittings] == [0] * 5
    assert report["names"] == ["99_tiny.ipynb"]
    executed = json.loads((tmp_path / "out" / "99_tiny.ipynb").read_text())
    assert executed["metadata"]["gen_utils"]["seed"] == 100 and "the end is reached 101" in json.dumps(executed)
