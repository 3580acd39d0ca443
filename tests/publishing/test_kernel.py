"""The press runs notebooks in this Python, whatever is registered under "python3"."""

import json
import sys

import pytest

from gen_utils.publishing import execute, identity
from gen_utils.publishing.kernel import ThisPythonKernel


@pytest.fixture
def another_python(tmp_path, monkeypatch):
    """Registered where Jupyter looks first."""
    folder = tmp_path / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    argv = [str(tmp_path / "another" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Another", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))


def test_the_kernel_is_this_python(another_python):
    command = ThisPythonKernel(kernel_name="python3").format_kernel_cmd(["--more"])
    assert command[0] == sys.executable and command[-1] == "--more"


@pytest.mark.slow
def test_a_notebook_is_executed_by_this_python(another_python, tmp_path, monkeypatch):
    for module in (execute, identity):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    source = "# %% tags=['parameters']\nprofile = 'quick'\n\n# %%\nimport sys\nprint(sys.executable, '✓')\n"
    (tmp_path / "01_tiny.py").write_text(source, encoding="utf-8")
    path, _ = execute.execute("01_tiny", profile="quick", data_root="", seed=0, out=tmp_path / "out")
    (output,) = json.loads(path.read_text(encoding="utf-8"))["cells"][-1]["outputs"]
    assert "".join(output["text"]) == f"{sys.executable} ✓\n"
