"""Downloads arrive whole or not at all; the network itself is never used here."""

import os
import time

import pytest
from torchvision import datasets

from gen_utils.data import CATALOG, DataError, load_images
from gen_utils.data.download import download


@pytest.fixture
def served(monkeypatch):
    """What the pretended server sends: a function of the path to write to."""
    answer = {}

    def fetch(url, folder, filename, md5):
        answer["send"](os.path.join(folder, filename))

    monkeypatch.setattr(datasets.utils, "download_url", fetch)
    return answer


def write(data):
    def send(path):
        with open(path, "wb") as file:
            file.write(data)

    return send


def fail(path):
    write(b"half of it")(path)
    raise OSError("the line went dead")


def test_a_whole_file_arrives_where_its_reader_looks(tmp_path, served):
    served["send"] = write(b"the archive")
    assert download(CATALOG["cifar10"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-binary.tar.gz"]
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz"):  # found, and it is no archive
        load_images("cifar10", root=tmp_path)


def test_a_broken_one_leaves_nothing(tmp_path, served):
    served["send"] = fail
    assert not download(CATALOG["cifar10"], tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine.txt").write_text("x")
    assert not download(CATALOG["cifar10"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_a_killed_one_left_is_swept_away_after_a_day(tmp_path, served):
    served["send"] = write(b"the archive")
    for name, age in ((".download-old", 2 * 86400), (".download-now", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    download(CATALOG["cifar10"], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".download-now", "cifar-10-binary.tar.gz"]


def test_what_cannot_be_downloaded_is_not_tried(tmp_path):
    assert not download(CATALOG["bitmoji"], tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
