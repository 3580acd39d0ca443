"""A full disk and a read-only folder: one clear error that names the file and the way out; what was there stays."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen_utils.base import files
from gen_utils.base.files import CannotWrite, plain_write_errors, write_atomically
from gen_utils.data import download, load_images, lookup

HERE = Path(__file__).resolve().parent
MOUNT = (
    'mount -t tmpfs -o size=12m tmpfs "$1" && mount -t tmpfs tmpfs "$2" && cp "$3" "$2/bitmojis.zip" '
    '&& mount -o remount,ro "$2" && if [ -n "$4" ]; then exec "$4" "$5" "$1" "$2" "$6"; fi'
)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What ``full_disk.py`` found, in a mount namespace of its own: nothing stays mounted."""
    folder = tmp_path_factory.mktemp("disks")
    for name in ("small", "read_only"):
        (folder / name).mkdir()
    random = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "faces.zip", "w") as archive:
        for i in range(40):
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "PNG")
            archive.writestr(f"bitmojis/{i:04}.png", file.getvalue())
    command = ["unshare", "-rm", "sh", "-c", MOUNT, "sh"]
    command += [str(folder / name) for name in ("small", "read_only", "faces.zip")]
    if shutil.which("unshare") is None or subprocess.run([*command, "", "", ""], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small disk (unshare -rm and tmpfs)")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GEN_HEADLESS": "1", "PYTHONPATH": str(HERE.parents[1])}
    more = [sys.executable, str(HERE / "full_disk.py"), str(folder / "report.json")]
    answer = subprocess.run([*command, *more], env=env, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return json.loads((folder / "report.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "file", "advice"),
    [
        ("training", "/runs/ebm", "set GEN_RUNS"),
        ("sweep", "/trial/", "set GEN_RUNS"),
        ("model", "mine", "free some"),
        ("notebook", "99_tiny", "free some"),
    ],
)
def test_a_full_disk_is_named_and_what_was_there_stays(said, what, file, advice):
    kind, message = said[what]["said"]
    assert kind == "CannotWrite" and "no space left" in message and "\n" not in message
    assert file in message and advice in message
    assert said[what]["kept"]


@pytest.mark.slow
def test_training_goes_on_bit_for_bit_once_there_is_space_again(said):
    assert said["training"]["equal"]


@pytest.mark.slow
def test_results_that_do_not_fit_are_named(said):
    kind, message = said["notebook"]["said_results"]
    assert kind == "CannotWrite" and "99_tiny.quick.json" in message


@pytest.mark.slow
@pytest.mark.parametrize("what", ["training", "sweep", "model", "notebook"])
def test_a_read_only_folder_is_named(said, what):
    kind, message = said[what]["said_read_only"]
    assert kind == "CannotWrite" and "read-only" in message and "read_only/" in message and "\n" not in message


@pytest.mark.slow
def test_images_of_a_read_only_root_come_without_a_cache_too(said):
    message = said["data"]["said"]
    assert "bitmojis.zip was prepared but could not be kept" in message and "space" in message
    assert "XDG_CACHE_HOME" in message and message.count("\n") == 1
    assert said["data"]["kept"] and said["data"]["n_cached"] == 1


def test_a_download_onto_a_full_disk_is_not_taken_for_a_missing_network(tmp_path, monkeypatch):
    def fetch(dataset, folder):
        Path(folder, "half").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "_fetch", fetch)
    with pytest.raises(CannotWrite, match=r"no space left under .*MNIST.*GEN_DATA_ROOT"):
        load_images("mnist", root=tmp_path / "root")
    assert not (tmp_path / "root").exists() or list((tmp_path / "root").iterdir()) == []
    assert lookup("mnist").stand_in  # what would have hidden it


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_failed_write_keeps_the_old_file_and_says_so(tmp_path, monkeypatch, code):
    path = tmp_path / "runs" / "x.json"
    path.parent.mkdir()
    write_atomically(path, b"old")

    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", fail)
    monkeypatch.setenv("GEN_RUNS", str(path.parent))
    with pytest.raises(CannotWrite, match=r"x\.json cannot be written \(.*\).*GEN_RUNS") as caught:
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]
    assert caught.value.__cause__.errno == code
    monkeypatch.setenv("GEN_RUNS", str(tmp_path / "elsewhere"))
    with pytest.raises(CannotWrite) as caught:
        write_atomically(path, b"new")
    assert "GEN_RUNS" not in str(caught.value)  # it would not help


def test_other_errors_pass_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), plain_write_errors(tmp_path):
        (tmp_path / "gone").read_bytes()
