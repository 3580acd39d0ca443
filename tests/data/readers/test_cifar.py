"""CIFAR-10's binary version and torchvision's copy, on files written here."""

import hashlib
import io
import struct
import tarfile

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from gen_utils.data import CATALOG, DataError, load_images
from gen_utils.data.inventory import overview
from gen_utils.data.readers.cifar import read_cifar_binary
from gen_utils.data.whereabouts import find


def batch(n=3, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (n, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(n) % 10
    return rows


def files():
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    return {name: batch(seed=i) for i, name in enumerate(names)}


def write_folder(root, changed=None):
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for name, rows in (files() | (changed or {})).items():
        (folder / name).write_bytes(rows if isinstance(rows, bytes) else rows.tobytes())
    return folder


def write_archive(root, prefix="cifar-10-batches-bin/"):
    path = root / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, rows in files().items():
            member = tarfile.TarInfo(prefix + name)
            member.size = rows.size
            archive.addfile(member, io.BytesIO(rows.tobytes()))
    return path


@pytest.mark.parametrize("write", [write_folder, write_archive])
def test_images_and_labels_in_order(tmp_path, write):
    write(tmp_path)
    train, test = (load_images("cifar10", split, root=tmp_path) for split in ("train", "test"))
    assert (len(train), len(test)) == (15, 3) and train.shape == CATALOG["cifar10"].shape
    assert train.labels.tolist() == 5 * [0, 1, 2]
    assert (test.images.numpy().reshape(3, -1) == files()["test_batch.bin"][:, 1:]).all()
    assert train.images[3].flatten().tolist() == files()["data_batch_2.bin"][0, 1:].tolist()
    assert not train.is_stand_in


@pytest.mark.parametrize("gone", ["test_batch.bin", "data_batch_3.bin"])
def test_a_missing_batch_is_named_and_nothing_stands_in(tmp_path, gone):
    folder = write_folder(tmp_path)
    (folder / gone).unlink()
    assert f"incomplete: {folder} lacks {gone}" in overview(tmp_path)
    split, whole = ("test", "train") if gone == "test_batch.bin" else ("train", "test")
    with pytest.raises(DataError, match=gone):
        load_images("cifar10", split, root=tmp_path)
    assert not load_images("cifar10", whole, root=tmp_path).is_stand_in


def test_a_folder_without_batches_is_passed_over(tmp_path):
    (tmp_path / "cifar-10-batches-bin").mkdir()
    (tmp_path / "cifar-10-batches-bin" / "readme.html").write_bytes(b"x")
    assert find(CATALOG["cifar10"], tmp_path) is None
    write_archive(tmp_path)
    assert find(CATALOG["cifar10"], tmp_path).name == "cifar-10-binary.tar.gz"


def test_an_archive_whose_paths_lead_outside_is_read_and_never_unpacked(tmp_path):
    write_archive(tmp_path, prefix="../../")
    assert len(load_images("cifar10", root=tmp_path)) == 15
    assert [p.name for p in tmp_path.iterdir()] == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (batch().tobytes()[:-1], "test_batch.bin has 9,218 bytes"),
        (b"", "test_batch.bin has 0 bytes"),
        (b"\x0b" + bytes(3072), "a label above 9"),
    ],
)
def test_damage_is_one_error(tmp_path, damage, said):
    folder = write_folder(tmp_path, {"test_batch.bin": damage})
    with pytest.raises(DataError, match=said) as caught:
        read_cifar_binary(folder, "test")
    assert str(folder) in str(caught.value) and "get it again" in str(caught.value)


def test_a_missing_batch(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_4\.bin cannot be read"):
        read_cifar_binary(folder, "train")


def test_a_truncated_archive(tmp_path):
    path = write_archive(tmp_path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"tar\.gz"):
        read_cifar_binary(path, "test")


def pickled(rows, extra=b""):
    """A batch as Python 2 pickled it (protocol 2), instruction by instruction."""

    def short(text):
        return b"U" + bytes([len(text)]) + text

    pixels, labels = rows[:, 1:].tobytes(), bytes(rows[:, 0])
    return b"".join(
        [
            b"\x80\x02}q\x01(",
            short(b"batch_label") + b"q\x02" + short(b"training batch 1 of 5") + b"q\x03",
            short(b"labels") + b"q\x04]q\x05(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e",
            short(b"data") + b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08",
            b"K\x00\x85" + short(b"b"),
            b"\x87Rq\x0a(K\x01K\x03M\x00\x0c\x86cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R\x89",
            b"T" + struct.pack("<i", len(pixels)) + pixels + b"tb",
            short(b"filenames") + b"](" + short(b"leptodactylus_pentadactylus_s_000004.png") + b"e" + extra + b"u.",
        ]
    )


@pytest.fixture
def torchvision_copy(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rows = batch(3, seed=9)
    (folder / "test_batch").write_bytes(pickled(rows))
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", hashlib.md5(pickled(rows)).hexdigest()]])
    return folder, rows


def test_torchvisions_copy_is_read_without_running_it(torchvision_copy, tmp_path):
    _, rows = torchvision_copy
    images = load_images("cifar10", "test", root=tmp_path)
    assert images.labels.tolist() == rows[:, 0].tolist()
    assert (images.images.numpy().reshape(3, -1) == rows[:, 1:]).all()


def test_another_pickle_in_its_place_is_refused_unread(torchvision_copy, tmp_path):
    folder, rows = torchvision_copy
    bomb = b"cos\nmkdir\n" + b"(V" + str(tmp_path / "ran").encode() + b"\ntR"
    (folder / "test_batch").write_bytes(pickled(rows, extra=b"U\x01x" + bomb))
    with pytest.raises(DataError, match="test_batch is not CIFAR-10's"):
        load_images("cifar10", "test", root=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_even_when_its_instructions_are_listed_nothing_runs(tmp_path):
    from gen_utils.data.readers.cifar import _listed

    rows = batch(2)
    bomb = b"cos\nmkdir\n" + b"(V" + str(tmp_path / "ran").encode() + b"\ntR"
    pixels, labels = _listed(pickled(rows, extra=b"U\x01x" + bomb))
    assert pixels == rows[:, 1:].tobytes() and labels == rows[:, 0].tolist()
    assert not (tmp_path / "ran").exists()
