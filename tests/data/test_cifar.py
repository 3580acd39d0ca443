"""CIFAR-10's binary version, on files written here."""

import io
import tarfile

import numpy as np
import pytest

from gen_utils.data import CATALOG, DataError, load_images
from gen_utils.data.cifar import read_cifar_binary


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
