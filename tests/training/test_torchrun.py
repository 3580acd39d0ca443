"""The script of the page on many machines, as it is printed there, in two processes on the CPU."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gen_utils.training.run_files import read_curves

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_printed_script_trains_in_two_processes(tmp_path):
    page = (ROOT / "book" / "many_machines.md").read_text()
    script = next(code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "WORLD_SIZE" in code)
    for printed, small in (
        ('load_images("mnist")', 'load_images("digits", limit=300)'),
        ("EBMConfig()", "EBMConfig(n_steps=5)"),
    ):
        assert printed in script
        script = script.replace(printed, small)
    (tmp_path / "train_many.py").write_text(script)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GEN_HEADLESS": "1", "STEPS": "2"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train_many.py"]
    answer = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=3000)
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert answer.stdout.count("step 2, ") == 2
    assert len(read_curves(tmp_path / "runs" / "mnist_many")["loss"]) >= 1
