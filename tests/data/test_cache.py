"""Prepared once, whole or not at all, and made anew when the source changes."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from gen_utils.data import cache
from gen_utils.data.at_hand import AtHand
from gen_utils.data.cache import cache_folders, prepared, source_identity

ROOT = Path(__file__).resolve().parents[2]
IMAGES = torch.arange(48, dtype=torch.uint8).reshape(4, 3, 2, 2)


@pytest.fixture(autouse=True)
def _own_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Preparer:
    """Counts how often it had to work."""

    def __init__(self, *found):
        self.found, self.calls = found or (IMAGES, torch.arange(4), None), 0

    def __call__(self):
        self.calls += 1
        return self.found


def source(tmp_path, content=b"some images"):
    path = tmp_path / "root" / "faces.zip"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_second_time_is_read_back(tmp_path):
    path, work = source(tmp_path), Preparer(IMAGES, torch.arange(4), torch.ones(4, 6, dtype=torch.int64))
    first = prepared(path.parent, path, "faces-2", "train", work)
    second = prepared(path.parent, path, "faces-2", "train", work)
    assert work.calls == 1
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(first[:3], second[:3], strict=True))
    assert len(list((tmp_path / "root" / "prepared").iterdir())) == 1


def test_what_was_seen_is_kept_with_the_images(tmp_path):
    path, seen = source(tmp_path), AtHand(4, "JPEG", (2, 2), (2, 3), 0.25, 0.125)
    for work in (Preparer(IMAGES, None, None, seen), Preparer()):
        assert prepared(path.parent, path, "faces-2", "train", work).at_hand == seen


def test_missing_labels_stay_missing(tmp_path):
    path, work = source(tmp_path), Preparer(IMAGES, None)
    for _ in range(2):
        images, labels, *_ = prepared(path.parent, path, "faces-2", "train", work)
        assert torch.equal(images, IMAGES) and labels is None
    assert work.calls == 1


def test_another_size_or_split_is_another_file(tmp_path):
    path, work = source(tmp_path), Preparer()
    for name, split in (("faces-2", "train"), ("faces-2", "test"), ("faces-4", "train")):
        prepared(path.parent, path, name, split, work)
    assert work.calls == 3 and len(list((tmp_path / "root" / "prepared").iterdir())) == 3


def test_a_changed_source_is_prepared_anew_and_the_old_file_goes(tmp_path):
    path, work = source(tmp_path), Preparer()
    prepared(path.parent, path, "faces-2", "train", work)
    source(tmp_path, b"other images, more of them")
    prepared(path.parent, path, "faces-2", "train", work)
    os.utime(path, ns=(1, 1))
    prepared(path.parent, path, "faces-2", "train", work)
    assert work.calls == 3 and len(list((tmp_path / "root" / "prepared").iterdir())) == 1


def test_a_changed_file_in_a_folder_is_noticed(tmp_path):
    folder, work = tmp_path / "faces", Preparer()
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.png").write_bytes(b"x")
    prepared(tmp_path, folder, "faces-2", "train", work)
    (folder / "deep" / "b.png").write_bytes(b"x")
    prepared(tmp_path, folder, "faces-2", "train", work)
    assert work.calls == 2


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._a.png", "__MACOSX/._a.png", "readme.txt"])
def test_what_is_no_picture_changes_nothing(tmp_path, name):
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    before = source_identity(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"clutter")
    assert source_identity(folder) == before
    (folder / "b.PNG").write_bytes(b"x")
    assert source_identity(folder) != before


@pytest.mark.parametrize("name", [".DS_Store", "._t10k-images-idx3-ubyte", "Thumbs.db"])
def test_without_pictures_every_file_but_clutter_counts(tmp_path, name):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"x")
    before = source_identity(tmp_path)
    (tmp_path / name).write_bytes(b"clutter")
    assert source_identity(tmp_path) == before
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"x")
    assert source_identity(tmp_path) != before


def test_without_a_home_the_data_root_has_to_do(tmp_path, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folders(tmp_path) == [tmp_path / "prepared", tmp_path / "cache" / "gen_utils"]
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folders(tmp_path) == [tmp_path / "prepared"]
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "~/c")
    assert cache_folders(tmp_path)[-1] == tmp_path / "c" / "gen_utils"


@pytest.mark.parametrize("damage", [b"", b"junk" * 100, None], ids=["empty", "junk", "cut short"])
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    path, work = source(tmp_path), Preparer()
    prepared(path.parent, path, "faces-2", "train", work)
    (kept,) = (tmp_path / "root" / "prepared").iterdir()
    kept.write_bytes(kept.read_bytes()[:-9] if damage is None else damage)
    assert torch.equal(prepared(path.parent, path, "faces-2", "train", work)[0], IMAGES)
    assert work.calls == 2
    prepared(path.parent, path, "faces-2", "train", work)
    assert work.calls == 2


def test_a_read_only_root_is_left_alone(tmp_path):
    path, work = source(tmp_path), Preparer()
    path.parent.chmod(0o555)
    try:
        assert cache_folders(path.parent) == [tmp_path / "cache" / "gen_utils"]
        for _ in range(2):
            prepared(path.parent, path, "faces-2", "train", work)
        assert work.calls == 1 and sorted(path.parent.iterdir()) == [path]
    finally:
        path.parent.chmod(0o755)


def test_with_nowhere_to_write_the_images_are_served_and_it_is_said(tmp_path, monkeypatch, capsys):
    path = source(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(cache, "cache_folders", lambda root: [tmp_path / "file"])
    images, *_ = prepared(path.parent, path, "faces-2", "train", Preparer())
    assert torch.equal(images, IMAGES)
    said = capsys.readouterr().out
    assert str(path) in said and "could not be kept" in said and said.count("\n") == 1


def test_a_failing_write_leaves_nothing(tmp_path, monkeypatch):
    def half(tensors, name, told):
        Path(name).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "save_file", half)
    path = source(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        prepared(path.parent, path, "faces-2", "train", Preparer())
    assert list((tmp_path / "root" / "prepared").iterdir()) == []


def test_a_process_killed_in_the_middle_leaves_nothing_that_is_read(tmp_path):
    """Killed while it writes: no file of the final name; what it left is swept away later."""
    path = source(tmp_path)
    code = f"""
        import os, signal, torch
        from pathlib import Path
        from gen_utils.data import cache
        def killed(tensors, name, told):
            Path(name).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        cache.save_file = killed
        images = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
        cache.prepared(Path({str(path.parent)!r}), Path({str(path)!r}), "faces-2", "train", lambda: (images, None))
    """
    answer = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True)
    assert answer.returncode == -9
    folder = tmp_path / "root" / "prepared"
    (left,) = folder.iterdir()
    assert left.suffix == ".unfinished"
    work = Preparer()
    prepared(path.parent, path, "faces-2", "train", work)
    assert work.calls == 1 and left.exists()  # it may belong to a process that is still at work
    os.utime(left, (time.time() - 7200,) * 2)
    prepared(path.parent, path, "faces-4", "train", work)
    assert not left.exists() and len(list(folder.iterdir())) == 2
