"""What runs on the project's host: the workflows can be read, and the scripts they call do what they say."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gen_utils import checkpoints
from gen_utils.publishing.parts import parts

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def script(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_needs_no_secret_and_calls_what_is_there(path):
    text = path.read_text(encoding="utf-8")
    told = yaml.safe_load(text)
    assert told["permissions"] and told["jobs"] and "secrets." not in text
    for name in re.findall(r"(?<![\w/])((?:\.github/scripts|lint|tests|notebooks)/[\w./]+\.py)", text):
        assert (ROOT / name).exists(), name
    for command in re.findall(r"python -m gen_utils (.+)", text):
        words = [word for word in re.split(r"[ \"]", command) if re.fullmatch(r"[a-z]+", word)]
        answer = subprocess.run(
            [sys.executable, "-m", "gen_utils", *words[: 2 if words[0] == "models" else 1], "--help"],
            cwd=ROOT,
            capture_output=True,
        )
        assert answer.returncode == 0, command
    for target in re.findall(r"run: make (\w+)", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), target


def test_the_guard_finds_what_is_missing(tmp_path):
    faults = script(ROOT / "lint" / "built_book.py").faults
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "index.html").write_text("<p>a book</p>", encoding="utf-8")
    (tmp_path / "a.png").write_bytes(b"")
    whole = '<img src="../a.png" alt="a"><img src="data:image/png;base64,aa">' * 10
    names = parts()
    for name in names:
        (tmp_path / "notebooks" / f"{name}.html").write_text(whole, encoding="utf-8")
    assert faults(tmp_path) == []
    changes = {
        names[0]: (whole.replace("../a.png", "../b.png"), "shows ../b.png, which is not there"),
        names[1]: ("<p>nothing</p>", "has 0 pictures"),
        names[2]: (whole + "Traceback (most recent call last)", "holds an error of a cell"),
        names[3]: (whole + '<span class="problematic">x</span>', "leads nowhere"),
        names[4]: (whole + "✗ langevin_step", "did not pass"),
    }
    for name, (text, told) in changes.items():
        (tmp_path / "notebooks" / f"{name}.html").write_text(text, encoding="utf-8")
        assert any(told in fault and name in fault for fault in faults(tmp_path)), name
    (tmp_path / "notebooks" / f"{names[5]}.html").unlink()
    (tmp_path / "index.html").unlink()
    assert f"{names[5]}.html is missing" in faults(tmp_path) and "index.html is missing" in faults(tmp_path)


def test_the_newest_release_opens_and_latest_is_last(tmp_path):
    versions = script(ROOT / ".github" / "scripts" / "versions.py")
    for name in ("latest", "v1.9", "v1.10", "v2.0rc1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text("", encoding="utf-8")
    (tmp_path / "not_a_book").mkdir()
    assert versions.write(tmp_path) == ["v2.0rc1", "v1.10", "v1.9", "latest"]
    assert json.loads((tmp_path / "versions.json").read_text(encoding="utf-8"))[0] == "v2.0rc1"
    assert 'href="v2.0rc1/"' in (tmp_path / "index.html").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="holds no book"):
        versions.write(tmp_path / "not_a_book")


def test_the_models_of_a_part_are_found():
    command = [sys.executable, str(ROOT / ".github" / "scripts" / "models_of.py"), "04_ebm_cifar_conditional"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert found == ["ebm_cifar", "ebm_digits_conditional"] and set(found) <= set(checkpoints.names())
