"""Several notebooks at once, in a project that has three tiny ones."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gen_utils.publishing.parallel import execute_all, usual_jobs

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
# %% tags=["parameters"]
profile = "quick"
data_root = ""
seed = 0

# %%
import os, time
from pathlib import Path
here = Path({here!r})
(here / "NAME.began").write_text(os.environ.get("OMP_NUM_THREADS", "unset") + f" {{os.getpid()}}")
"""
WAIT_FOR = """
end = time.monotonic() + 120
while not (here / "{other}.began").exists():
    assert time.monotonic() < end, "the other part did not run at the same time"
    time.sleep(0.02)
"""


@pytest.fixture
def project(tmp_path):
    """A copy of the package with no notebooks yet, and a way to write one."""
    shutil.copytree(ROOT / "gen_utils", tmp_path / "gen_utils", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "notebooks").mkdir()

    def write(name, body):
        text = (HEAD + body).replace("NAME", name).format(here=str(tmp_path))
        (tmp_path / "notebooks" / f"{name}.py").write_text(text)

    return tmp_path, write


def command(folder, *options):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    line = [sys.executable, "-m", "gen_utils", "run", "all", *options]
    return dict(args=line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_parts_run_at_the_same_time_and_share_the_cores(project):
    folder, write = project
    write("01_one", WAIT_FOR.replace("{other}", "02_two"))
    write("02_two", WAIT_FOR.replace("{other}", "01_one"))
    answer = subprocess.run(**command(folder, "--jobs", "2"))
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("wrote ") == 2
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = {(folder / f"{name}.began").read_text().split()[0] for name in ("01_one", "02_two")}
    assert threads == {str(max(1, cores // 2))}
    again = subprocess.run(**command(folder, "--jobs", "2"))
    assert again.stdout.count("up to date") == 2


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_part_that_fails_is_named_and_the_others_are_kept(project, jobs):
    folder, write = project
    write("01_good", "")
    write("02_bad", "raise ValueError('no such thing')\n")
    answer = subprocess.run(**command(folder, "--jobs", str(jobs)))
    assert answer.returncode == 1
    assert "error: 02_bad failed" in answer.stderr and "no such thing" in answer.stderr
    assert "02_bad.failed.ipynb shows where" in answer.stderr
    made = folder / "_build" / "quick" / "notebooks"
    assert sorted(path.name for path in made.iterdir()) == ["01_good.ipynb", "02_bad.failed.ipynb"]
    assert json.loads((made / "01_good.ipynb").read_text())["metadata"]["gen_utils"]["profile"] == "quick"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at /proc to see which processes live")
def test_nothing_goes_on_when_the_command_is_killed(project):
    folder, write = project
    names = ("01_one", "02_two")
    for name in names:
        write(name, "time.sleep(600)\n")
    running = subprocess.Popen(**command(folder, "--jobs", "2"))
    try:
        end = time.monotonic() + 120
        while not all((folder / f"{name}.began").exists() for name in names):
            assert time.monotonic() < end and running.poll() is None
            time.sleep(0.05)
        kernels = [int((folder / f"{name}.began").read_text().split()[1]) for name in names]
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate()
    end = time.monotonic() + 60
    while left := [pid for pid in kernels if alive(pid)]:
        assert time.monotonic() < end, f"still running: {left}"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_process_that_is_killed_is_one_clear_error(project):
    folder, write = project
    write("01_one", "time.sleep(600)\n")
    write("02_two", "import psutil\npsutil.Process(os.getppid()).kill()\ntime.sleep(600)\n")
    answer = subprocess.run(**command(folder, "--jobs", "2"), timeout=120)
    assert answer.returncode == 1 and "--jobs 1" in answer.stderr and "Traceback" not in answer.stderr


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_bad_numbers_and_names_are_refused(tmp_path):
    options = dict(data_root="", seed=0, out=tmp_path)
    with pytest.raises(ValueError, match="at least one"):
        execute_all([], profile="quick", jobs=0, **options)
    with pytest.raises(ValueError, match="unknown profile"):
        execute_all([], profile="quik", **options)


def test_long_profiles_run_one_part_at_a_time():
    assert usual_jobs("laptop") == usual_jobs("full") == 1
    assert 1 <= usual_jobs("quick") <= 4
