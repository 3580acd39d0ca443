import gzip
import struct

import pytest
import torch

from gen_utils.data import DataError
from gen_utils.data.readers.idx import read_idx, read_idx_pair


def idx_bytes(array: torch.Tensor) -> bytes:
    header = b"\0\0\x08" + bytes([array.ndim]) + b"".join(struct.pack(">I", d) for d in array.shape)
    return header + bytes(array.flatten().tolist())


IMAGES = torch.arange(60, dtype=torch.uint8).reshape(5, 4, 3)
LABELS = torch.tensor([0, 1, 2, 3, 4], dtype=torch.uint8)


def write_pair(folder, images=IMAGES, labels=LABELS, prefix="train"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


def test_plain_and_gzipped_files_read_the_same(tmp_path):
    (tmp_path / "a").write_bytes(idx_bytes(IMAGES))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx_bytes(IMAGES)))
    assert torch.equal(read_idx(tmp_path / "a"), IMAGES)
    assert torch.equal(read_idx(tmp_path / "a.gz"), IMAGES)


def test_a_pair_gets_a_channel_and_long_labels(tmp_path):
    write_pair(tmp_path)
    images, labels = read_idx_pair(tmp_path, "train")
    assert images.shape == (5, 1, 4, 3) and labels.dtype == torch.int64


@pytest.mark.parametrize("gone", ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_missing_file_is_named(tmp_path, gone):
    write_pair(tmp_path)
    write_pair(tmp_path, prefix="t10k")
    (tmp_path / gone).unlink()
    assert read_idx_pair(tmp_path, "train")[0].shape == (5, 1, 4, 3)
    with pytest.raises(DataError, match=rf"holds no {gone} \(nor {gone}\.gz\)"):
        read_idx_pair(tmp_path, "test")


@pytest.mark.parametrize(
    "written",
    [
        "train-images.idx3-ubyte",
        "train-images.idx3-ubyte.gz",
        "train-images-idx3-ubyte.gz",
        "Train-Images.IDX3-ubyte",
        "train-images-idx3-ubyte/train-images-idx3-ubyte",
    ],
)
def test_names_as_kaggle_has_them(tmp_path, written):
    write_pair(tmp_path)
    data = (tmp_path / "train-images-idx3-ubyte").read_bytes()
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / written).parent.mkdir(exist_ok=True)
    (tmp_path / written).write_bytes(gzip.compress(data) if written.endswith(".gz") else data)
    (tmp_path / "._train-images-idx3-ubyte").write_bytes(b"clutter")
    assert torch.equal(read_idx_pair(tmp_path, "train")[0], IMAGES.unsqueeze(1))


def test_the_first_bytes_say_whether_it_is_gzipped(tmp_path):
    """Browsers unpack some downloads and keep their .gz."""
    (tmp_path / "a.gz").write_bytes(idx_bytes(IMAGES))
    (tmp_path / "b").write_bytes(gzip.compress(idx_bytes(IMAGES)))
    assert torch.equal(read_idx(tmp_path / "a.gz"), IMAGES) and torch.equal(read_idx(tmp_path / "b"), IMAGES)


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-7],
        lambda b: b + b"x",
        lambda b: b[:6],
        lambda b: b"",
        lambda b: b"\0\0\x0d" + b[3:],
        lambda b: b[:4] + b"\xff" * 12 + b[16:],
        lambda b: b[:4] + bytes(4) + b[8:16],
        lambda b: b[:3] + b"\0",
    ],
    ids=["truncated", "too long", "header cut", "empty", "floats", "absurd size", "zero images", "no dimensions"],
)
def test_damage_is_one_error_that_names_the_file(tmp_path, damage):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(idx_bytes(IMAGES)))
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        read_idx(path)


def test_a_truncated_gzip_names_the_file(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES))[:-12])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz"):
        read_idx(path)


def test_labels_of_another_file_are_refused(tmp_path):
    write_pair(tmp_path, labels=LABELS[:3])
    with pytest.raises(DataError, match="do not belong together"):
        read_idx_pair(tmp_path, "train")


def test_a_label_above_nine_is_damage(tmp_path):
    write_pair(tmp_path, labels=torch.tensor([0, 1, 200, 3, 4], dtype=torch.uint8))
    with pytest.raises(DataError, match=r"labels-idx1-ubyte is damaged: it holds the label 200"):
        read_idx_pair(tmp_path, "train")


def test_a_header_that_promises_gigabytes_costs_no_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx_bytes(IMAGES)[:4] + b"\0\x10\0\0" + b"\0\0\0\x20" + b"\0\0\0\x20" + bytes(60))
    tracemalloc.start()
    with pytest.raises(DataError, match="promises 1,073,741,824 bytes"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20
