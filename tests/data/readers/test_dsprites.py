"""dSprites' ``.npz``, on files written here in its format; the official file is read where it is."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from gen_utils.data import CATALOG, DataError, load_images
from gen_utils.data.readers.dsprites import read_chosen, read_dsprites, read_factors

NAME = CATALOG["dsprites"].files


def all_factors(sizes=(1, 3, 2, 4, 5, 5)):
    return np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).reshape(-1, len(sizes))


def picture(factors, side=64):
    """(n, side, side) of 0 and 1: each image tells its factors in its first row."""
    images = np.zeros((len(factors), side, side), np.uint8)
    images[:, 0, :6] = factors > 0
    for row, factor in enumerate(factors.T):
        images[np.arange(len(factors)), row + 1, factor] = 1
    return images


def write(path, factors=None, side=64, **changed):
    factors = all_factors() if factors is None else factors
    arrays = {
        "imgs": picture(factors, side),
        "latents_values": factors.astype(np.float64),
        "latents_classes": factors,
        "metadata": np.array({"title": "dSprites"}, dtype=object),  # as in the official file
    }
    np.savez_compressed(path, **{k: v for k, v in (arrays | changed).items() if v is not None})
    return path


@pytest.fixture
def no_unpickling(monkeypatch):
    def fail(*args, **options):
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "load", fail)
    monkeypatch.setattr(pickle, "loads", fail)


def test_images_and_factors_belong_together(tmp_path, no_unpickling, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path / NAME)
    train, test = (load_images("dsprites", split, root=tmp_path) for split in ("train", "test"))
    assert (len(train), len(test)) == (540, 60)
    for images in (train, test, load_images("dsprites", root=tmp_path)):  # the last from the cache
        assert images.shape == (1, 64, 64) and images.classes == ("square", "ellipse", "heart")
        assert torch.equal(images.labels, images.factors[:, 1])
        assert images.images.unique().tolist() == [0, 255]
        assert np.array_equal(images.images[:, 0].numpy() // 255, picture(images.factors.numpy()))
    rows = torch.cat([train.factors, test.factors])
    assert len(rows.unique(dim=0)) == 600  # every image once


def test_wanted_factors(tmp_path):
    path = write(tmp_path / NAME)
    factors = read_factors(path)
    hearts = ((factors[:, 1] == 2) & (factors[:, 4] == 3)).nonzero().flatten().flip(0)
    images = read_chosen(path, hearts)
    assert np.array_equal(images[:, 0].numpy() // 255, picture(factors[hearts].numpy()))
    assert torch.equal(read_chosen(path, torch.tensor([7, 3, 7])), read_chosen(path, torch.tensor([7, 3]))[[0, 1, 0]])
    with pytest.raises(IndexError, match="600"):
        read_chosen(path, torch.tensor([600]))


def test_factors_travel_with_their_images(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path / NAME)
    images = load_images("dsprites", limit=50, size=32, root=tmp_path)
    assert images.factors.shape == (50, 6) and images.shape == (1, 32, 32)
    part = images.split(0.5, 0.5)[1]
    assert torch.equal(part.factors[:, 1], part.labels)


def test_a_large_file_is_never_whole_in_memory(tmp_path):
    """98 MB of images, read in chunks of 4 MB."""
    factors = np.repeat(all_factors(), 40, axis=0)
    path = tmp_path / NAME
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in (("latents_classes", factors), ("imgs", None)):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                if array is not None:
                    np.save(member, array)
                    continue
                header = {"descr": "|u1", "fortran_order": False, "shape": (24_000, 64, 64)}
                np.lib.format.write_array_header_1_0(member, header)
                for part in np.array_split(factors, 24):
                    member.write(picture(part).tobytes())
    tracemalloc.start()
    images = read_chosen(path, torch.arange(0, 24_000, 240))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(images) == 100 and peak < 20e6


def test_headers_written_by_python_2(tmp_path, recwarn):
    """The official file's say (737280L, 64L, 64L)."""
    path = tmp_path / NAME
    factors = all_factors((1, 3, 2, 1, 1, 1))

    def npy(array, text):
        text += b" " * (-(len(text) + 11) % 64) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + array.tobytes()

    with zipfile.ZipFile(path, "w") as archive:
        head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (6L, 64L, 64L), }"
        archive.writestr("imgs.npy", npy(picture(factors), head))
        head = b"{'descr': '<i8', 'fortran_order': False, 'shape': (6L, 6L), }"
        archive.writestr("latents_classes.npy", npy(factors.astype("<i8"), head))
    images, labels, _ = read_dsprites(path, "train")
    assert images.shape == (5, 1, 64, 64) and set(labels.tolist()) <= {0, 1, 2}
    assert not recwarn.list


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("/tmp/gen_utils_was_unpickled",)


DAMAGE = {
    "images are objects": dict(imgs=np.array([Bomb()], dtype=object)),
    "factors are objects": dict(latents_classes=np.array([[Bomb()] * 6], dtype=object)),
    "no images": dict(imgs=None),
    "no factors": dict(latents_classes=None),
    "floats": dict(imgs=np.zeros((600, 64, 64), np.float32)),
    "not square": dict(imgs=np.zeros((600, 64, 32), np.uint8)),
    "fewer images than factors": dict(imgs=np.zeros((20, 64, 64), np.uint8)),
    "five factors": dict(latents_classes=all_factors()[:, :5]),
    "a fourth shape": dict(latents_classes=all_factors((1, 4, 2, 5, 5, 3))),
    "a negative factor": dict(latents_classes=all_factors() - 1),
    "by column": dict(imgs=np.asfortranarray(np.zeros((600, 64, 64), np.uint8))),
    "nothing": dict(imgs=np.zeros((0, 64, 64), np.uint8), latents_classes=np.zeros((0, 6), np.int64)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_error_and_nothing_is_unpickled(tmp_path, no_unpickling, kind):
    path = tmp_path / NAME
    with io.BytesIO() as file:  # np.savez pickles objects by itself: let it, outside the reader
        write(file, **DAMAGE[kind])
        path.write_bytes(file.getvalue())
    with pytest.raises(DataError) as caught:
        read_dsprites(path, "train")
    message = str(caught.value)
    assert str(path) in message and "get it again" in message and "\n" not in message
    assert not os.path.exists("/tmp/gen_utils_was_unpickled")
    assert list(tmp_path.iterdir()) == [path]


def test_a_header_that_promises_more_than_there_is(tmp_path):
    path = tmp_path / NAME
    write(path, all_factors((1, 3, 1, 1, 1, 1)))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["imgs.npy"] = parts["imgs.npy"].replace(b"(3, 64, 64), }        ", b"(2000000, 64, 64), }  ")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(DataError, match="not as long as its header promises"):
        read_dsprites(path, "train")


@pytest.mark.parametrize("cut", [0, 10, 1000, -30])
def test_a_truncated_file(tmp_path, cut):
    path = write(tmp_path / NAME)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"\.npz"):
        read_dsprites(path, "train")


def test_the_official_file(real_root, tmp_path, monkeypatch):
    if not (real_root / NAME).is_file():
        pytest.skip(f"no {NAME} under the data root")
    monkeypatch.setattr("gen_utils.data.cache.cache_folders", lambda root: [tmp_path])
    assert read_factors(real_root / NAME).amax(0).tolist() == [0, 2, 5, 39, 31, 31]
    test = load_images("dsprites", "test", root=real_root)
    assert len(test) == 10_000 and test.images.unique().tolist() == [0, 255]
