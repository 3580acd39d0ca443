"""Several notebooks at once, in a project that has two tiny ones; and processes that are killed, with none."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from gen_utils.publishing import parallel
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
began = os.environ.get("OMP_NUM_THREADS", "unset") + f" {{os.getpid()}}"
(here / "NAME.writing").write_text(began, encoding="utf-8")
os.replace(here / "NAME.writing", here / "NAME.began")
"""
WAIT_FOR = """
end = time.monotonic() + 3000
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
        (tmp_path / "notebooks" / f"{name}.py").write_text(text, encoding="utf-8")

    return tmp_path, write


def command(folder, *options):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # of a package that is gone with the test
    line = [sys.executable, "-m", "gen_utils", "run", "all", *options]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    return dict(args=line, cwd=folder, env=environment, **pipes)


def began(folder, name):
    return (folder / f"{name}.began").read_text(encoding="utf-8").split()


BREAK = "raise ValueError('no such thing')\n"


@pytest.mark.slow
def test_parts_share_the_cores_and_one_that_fails_is_named_and_the_others_are_kept(project):
    """First two at the same time, of which one fails; then, one by one, that part mended and a third that fails."""
    folder, write = project
    made = folder / "_build" / "quick" / "notebooks"
    write("01_one", WAIT_FOR.replace("{other}", "02_two"))
    write("02_two", WAIT_FOR.replace("{other}", "01_one") + BREAK)
    answer = subprocess.run(**command(folder, "--jobs", "2"))
    failed(answer, "02_two")
    assert answer.stdout.split() == ["wrote", "_build/quick/notebooks/01_one.ipynb"]
    assert sorted(path.name for path in made.iterdir()) == ["01_one.ipynb", "02_two.failed.ipynb"]
    executed = json.loads((made / "01_one.ipynb").read_text(encoding="utf-8"))
    assert executed["metadata"]["gen_utils"]["profile"] == "quick"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = {began(folder, name)[0] for name in ("01_one", "02_two")}
    assert threads == {str(max(1, cores // 2))}

    write("02_two", "")
    write("03_three", BREAK)
    answer = subprocess.run(**command(folder, "--jobs", "1"))
    failed(answer, "03_three")
    assert "up to date: _build/quick/notebooks/01_one.ipynb" in answer.stdout and answer.stdout.count("wrote ") == 1
    assert sorted(path.name for path in made.iterdir()) == ["01_one.ipynb", "02_two.ipynb", "03_three.failed.ipynb"]


def failed(answer, name):
    """The command has ended with an error that names the part and shows where to look."""
    assert answer.returncode == 1
    assert f"error: {name} failed" in answer.stderr and "no such thing" in answer.stderr
    assert f"{name}.failed.ipynb shows where" in answer.stderr


@pytest.mark.slow
def test_nothing_goes_on_when_the_command_is_killed(project):
    folder, write = project
    names = ("01_one", "02_two")
    for name in names:
        write(name, "time.sleep(3600)\n")
    running = subprocess.Popen(**command(folder, "--jobs", "2"))
    try:
        wait_until(lambda: all((folder / f"{name}.began").exists() for name in names) or running.poll() is not None)
        kernels = [int(began(folder, name)[1]) for name in names]
    finally:
        running.kill()
        running.communicate()
    wait_until(lambda: not any(alive(pid) for pid in kernels))


@pytest.mark.slow
def test_a_process_that_is_killed_is_one_clear_error_and_leaves_no_kernel(project):
    folder, write = project
    write("01_one", "time.sleep(3600)\n")
    write("02_two", WAIT_FOR.replace("{other}", "01_one") + "import psutil\npsutil.Process(os.getppid()).kill()\n")
    answer = subprocess.run(**command(folder, "--jobs", "2"), timeout=3000)
    assert answer.returncode == 1 and "Traceback" not in answer.stderr
    (error,) = answer.stderr.splitlines()
    assert error.startswith("error: the process of 02_two ") and error.endswith("try again with --jobs 1")
    assert not any(alive(int(began(folder, name)[1])) for name in ("01_one", "02_two"))


JOB = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(3600)", sys.argv[1]])
time.sleep(3600)
"""


@pytest.mark.parametrize("trial", range(20))
def test_whichever_process_is_killed_and_whenever_the_others_end_too(trial, tmp_path, monkeypatch):
    """Jobs that sleep in the place of notebooks, each with a process of its own that sleeps, as a kernel might."""
    victim, jobs = trial % 3, 2 + trial % 2
    token, started = f"{tmp_path.name}-{os.getpid()}", []

    def start(running, name, line, environment=None, plainly=parallel.Processes.start):
        plainly(running, name, line, environment)
        started.append(running._running[name])
        if len(started) == min(victim + 1, jobs):  # every other trial at once, before the others are started
            if trial % 4 > 1:
                wait_until(lambda: len(processes_with(token)) > victim)
            started[-1].kill()

    monkeypatch.setattr(parallel.Processes, "start", start)
    monkeypatch.setattr(parallel, "command", lambda *task: [sys.executable, "-S", "-c", JOB, token])
    with pytest.raises(RuntimeError, match=r"killed.*; try again with --jobs 1"):
        execute_all(["a", "b", "c"], profile="quick", data_root="", seed=0, out=tmp_path, force=True, jobs=jobs)
    assert processes_with(token) == [] and all(process.poll() is not None for process in started)


def test_ctrl_c_ends_what_runs(tmp_path, monkeypatch):
    token = f"{tmp_path.name}-{os.getpid()}"

    def interrupted(running):
        wait_until(lambda: len(processes_with(token)) == 4)  # two jobs, and what each has started
        raise KeyboardInterrupt

    monkeypatch.setattr(parallel.Processes, "next_ended", interrupted)
    monkeypatch.setattr(parallel, "command", lambda *task: [sys.executable, "-S", "-c", JOB, token])
    with pytest.raises(KeyboardInterrupt):
        execute_all(["a", "b", "c"], profile="quick", data_root="", seed=0, out=tmp_path, force=True, jobs=2)
    assert processes_with(token) == []


def test_an_error_that_stops_a_process_is_not_taken_for_a_kill(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(parallel, "command", lambda *task: [sys.executable, "-S", "-c", "import no_such_package"])
    with pytest.raises(RuntimeError, match=r"process of b ended early \(exit status 1\).* or says above why"):
        execute_all(["a", "b"], profile="quick", data_root="", seed=0, out=tmp_path, force=True, jobs=2)
    assert "no_such_package" in capfd.readouterr().err


def processes_with(token):
    """Those that live and were given the token as their last argument."""
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if line[-1:] == [token]]


def wait_until(true):
    end = time.monotonic() + 3000
    while not true():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
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
