"""Kernels forked from one process: fresh, each with its own folder and chance, and gone with who asked for them."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from gen_utils.publishing import execute, identity, warm_kernels
from gen_utils.publishing.warm_kernels import DOOR, Forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")
CELLS = """# %% tags=["parameters"]
profile = "quick"

# %%
import os, random, numpy, matplotlib.pyplot as plt
print(os.getppid(), random.random(), numpy.random.rand(), os.getcwd(), "torch" in __import__("sys").modules)
_ = plt.plot([1, 2])
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """One that has imported little."""
    door = str(tmp_path / "door")
    code = f"from gen_utils.publishing import warm_kernels as w; w.IMPORTED = ('numpy', 'not_there'); w.serve({door!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    monkeypatch.setenv(DOOR, door)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_two_chapters_have_fresh_kernels_of_one_process(server, tmp_path, monkeypatch):
    for module in (execute, identity):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    printed = []
    for name in ("01_tiny", "02_tiny"):
        (tmp_path / f"{name}.py").write_text(CELLS, encoding="utf-8")
        path, _ = execute.execute(name, profile="quick", data_root="", seed=0, out=tmp_path / "out")
        text, picture = json.loads(path.read_text(encoding="utf-8"))["cells"][-1]["outputs"]
        assert picture["data"]["image/png"]
        printed.append("".join(text["text"]).split())
    (parent, python, numpy, folder, torch), second = printed
    assert int(parent) == int(second[0]) == server.pid
    assert python != second[1] and numpy != second[2]
    assert folder == second[3] == str(tmp_path) and torch == second[4] == "False"


def kernel(tmp_path) -> Forked:
    arguments = ["-f", str(tmp_path / "connection.json")]
    return Forked({"arguments": arguments, "environment": dict(os.environ), "folder": str(tmp_path)})


def ends(pid: int) -> bool:
    """Waited for, at most a minute: a machine may be busy."""
    until = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_a_kernel_that_is_killed_says_so(server, tmp_path):
    forked = kernel(tmp_path)
    assert forked.poll() is None
    forked.kill()
    assert forked.wait() == -9 and forked.poll() == -9
    forked.terminate()  # once more does no harm


def test_a_kernel_leaves_with_who_asked_for_it(server, tmp_path):
    forked = kernel(tmp_path)
    forked._line.close()  # as when the process that asked is killed
    assert ends(forked.pid)


def test_kernels_leave_with_the_process_they_were_forked_from(server, tmp_path):
    forked = kernel(tmp_path)
    server.stdin.close()
    assert ends(server.pid) and ends(forked.pid)
    assert forked.wait() < 0


def test_without_a_process_that_forks_the_notebook_stops_with_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv(DOOR, str(tmp_path / "nobody"))
    monkeypatch.setattr(warm_kernels, "_PATIENCE", 0.1)
    with pytest.raises(FileNotFoundError):
        kernel(tmp_path)


@pytest.mark.parametrize(("system", "number", "forks"), [("linux", 3, True), ("linux", 2, False), ("darwin", 9, False)])
def test_only_many_kernels_and_only_on_linux(monkeypatch, system, number, forks):
    monkeypatch.setattr(sys, "platform", system)
    assert warm_kernels.wanted(number) == forks
