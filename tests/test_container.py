"""The image for hubs and Codespaces cannot be built here; what its files name can be looked up."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
STEPS = [line.split(" ", 1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
BROUGHT = {"pip", "useradd", "chown", "apt-get", "rm"}  # by the image that ours begins with


def test_what_is_copied_into_the_image_is_here():
    copied = [shlex.split(rest)[:-1] for step, rest in STEPS if step == "COPY"]
    names = [name for words in copied for name in words if not name.startswith("--")]
    assert names and all((ROOT / name).exists() for name in names)
    assert "jovyan" in dict(STEPS)["USER"] and "--uid 1000" in DOCKERFILE  # not root, and the number hubs give


def test_what_is_left_out_of_the_image_is_not_needed_in_it():
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    if not tracked:
        pytest.skip("not a clone")
    patterns = [line.rstrip("/") for line in left_out if line and not line.startswith(("#", "*", "."))]
    assert patterns and not [name for name in tracked if name.split("/")[0] in patterns]


def test_the_commands_of_the_image_exist():
    runs = [command.strip() for step, rest in STEPS if step == "RUN" for command in rest.split("&&")]
    config = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    for command in [*runs, config["postCreateCommand"]]:
        words = shlex.split(command)
        if words[:3] == ["python", "-m", "gen_utils"]:
            asked = [sys.executable, "-m", "gen_utils", words[3], "--help"]
            assert subprocess.run(asked, cwd=ROOT, capture_output=True).returncode == 0, command
        else:
            assert words[0] in BROUGHT, command
    assert json.loads(dict(STEPS)["CMD"]) == ["jupyterhub-singleuser"] and '"$JUPYTERHUB"' in DOCKERFILE
    assert all(
        importlib.util.find_spec(name) for name in ("jupyterlab", "notebook", "ipykernel")
    )  # of requirements.txt


def test_the_development_container_is_made_of_the_same_file():
    folder = ROOT / ".devcontainer"
    config = json.loads((folder / "devcontainer.json").read_text(encoding="utf-8"))
    assert (folder / config["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (folder / config["build"]["context"]).resolve() == ROOT
    assert f"useradd --create-home --uid 1000 {config['remoteUser']}" in DOCKERFILE


def test_the_way_out_says_what_it_needs(tmp_path):
    command = [sys.executable, str(ROOT / "lint" / "plain_sphinx.py"), str(tmp_path), str(tmp_path / "html")]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 1 and "holds no _config.yml; make read leaves a stage" in answer.stderr
