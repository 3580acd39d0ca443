"""Shared by all tests: where real data may be, and quiet, repeatable torch."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
if sys.dont_write_bytecode:  # else each of the many processes that tests start would compile torch and lightning anew
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(ROOT / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import gen_utils  # noqa: E402, F401  (before torch: it sets how threads wait)

import torch  # noqa: E402  # isort: skip

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["GEN_HEADLESS"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # test processes side by side, one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for what the tests start
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Under ``--dist loadfile`` one process begins with the book, the others with the rest; its readers are last."""
    items.sort(key=lambda item: 0 if item.path.name == "test_book.py" else 2 if "built" in item.fixturenames else 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A process takes a file at a time, or a third of a test that says it has three.

    (xdist's own groups, ``--dist loadgroup``, rename the tests, which pytest 9.2 does not let them.)
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class FilesAndThirds(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            third = re.search(r"\[third \d\]$", nodeid)
            return super()._split_scope(nodeid) + (third[0] if third else "")

    return FilesAndThirds(config, log)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def real_root() -> Path:
    """A folder that holds real MNIST, or a skip that says how to provide one."""
    for candidate in (os.environ.get("GEN_DATA_ROOT"), ROOT / "data", ROOT.parent / "shared" / "data"):
        if candidate and (Path(candidate) / "MNIST" / "raw").is_dir():
            return Path(candidate)
    pytest.skip("real MNIST is not here; set GEN_DATA_ROOT to the folder that holds MNIST/raw")


@pytest.fixture
def no_network(monkeypatch):
    """Downloads fail at once, as on a machine without a network."""
    from gen_utils.data import load

    monkeypatch.setattr(load, "_download", lambda *args: None)


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> tuple[Path, str]:
    """The whole book on built-in data, every line run and nothing learnt: the folder, and what the build printed."""
    return build(tmp_path_factory, "smoke", "--jobs", "1")  # the other process is at work too


@pytest.fixture(scope="session")
def built_quick(tmp_path_factory) -> tuple[Path, str]:
    """The book as ``make book`` builds it where there are no data."""
    return build(tmp_path_factory, "quick")


def build(tmp_path_factory, profile: str, *options: str) -> tuple[Path, str]:
    """One build for all test processes."""
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"{profile}_book"
    printed = out / "printed.txt"
    with FileLock(f"{out}.lock"):
        if not printed.exists():
            command = [sys.executable, "-m", "gen_utils", "book", "--profile", profile, "--out", str(out), *options]
            env = {**os.environ, "GEN_RUNS": str(out / "runs"), "GEN_DATA_ROOT": str(out / "no_data")}
            answer = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, encoding="utf-8")
            assert answer.returncode == 0, answer.stdout + answer.stderr
            printed.write_text(answer.stdout, encoding="utf-8")
    return out, printed.read_text(encoding="utf-8")
