"""Flipped bytes in every format: the images, or the package's one error that names the file; nothing else, ever."""

import gzip
import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from gen_utils.data import DataError
from gen_utils.data.readers.cifar import read_cifar_binary
from gen_utils.data.readers.dsprites import read_dsprites
from gen_utils.data.readers.hoda import read_cdb
from gen_utils.data.readers.idx import read_idx
from gen_utils.data.readers.pictures import read_pictures

TRIES = 1000
RNG = np.random.default_rng(4)
PIXELS = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)


def image_bytes(kind, array=PIXELS):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def idx():
    return b"\0\0\x08\x03" + struct.pack(">III", 3, 4, 4) + bytes(range(48))


def cdb():
    head = struct.pack("<HBBBBI", 2005, 8, 4, 0, 0, 3) + bytes(512) + b"\0" + bytes(501)
    return head + 3 * (b"\xff\x01\x04\x03" + struct.pack("<H", 7) + bytes([1, 3, 4, 0, 2, 1, 1]))


def zipped(kind, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for i in range(3):
            archive.writestr(f"faces/{i}.{kind.lower()}", image_bytes(kind))
    return file.getvalue()


def npz():
    file = io.BytesIO()
    factors = np.stack([np.arange(4) % 3] * 6, axis=1)
    images = (RNG.random((4, 8, 8)) < 0.5).astype(np.uint8)
    np.savez_compressed(file, imgs=images, latents_classes=factors, metadata=np.array({}, dtype=object))
    return file.getvalue()


def cifar_archive():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        member.size = 3073
        archive.addfile(member, io.BytesIO(bytes(3073)))
    return file.getvalue()


def from_folder(path):
    """Read the folder that the file lies in."""
    return read_pictures(path.parent, "train", 4)


FORMATS = {
    "idx": ("images-idx3-ubyte", idx(), read_idx),
    "idx.gz": ("images-idx3-ubyte.gz", gzip.compress(idx()), read_idx),
    "zip of PNGs": ("a.zip", zipped("PNG", zipfile.ZIP_STORED), lambda path: read_pictures(path, "train", 4)),
    "zip of JPEGs": ("a.zip", zipped("JPEG"), lambda path: read_pictures(path, "train", 4)),
    "PNG": ("a.png", image_bytes("PNG"), from_folder),
    "JPEG": ("a.jpg", image_bytes("JPEG"), from_folder),
    "cdb": ("a.cdb", cdb(), read_cdb),
    "npz": ("a.npz", npz(), lambda path: read_dsprites(path, "train")),
    "tar.gz": ("a.tar.gz", cifar_archive(), lambda path: read_cifar_binary(path, "test")),
}


@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd metadata that it then reads over
@pytest.mark.parametrize("kind", FORMATS)
def test_a_thousand_damaged_files(tmp_path, kind):
    name, whole, read = FORMATS[kind]
    path = tmp_path / "in" / name
    path.parent.mkdir()
    path.write_bytes(whole)
    read(path)  # undamaged, it is fine
    rng = np.random.default_rng(list(kind.encode()))
    refused = 0
    for _ in range(TRIES):
        damaged = bytearray(whole)
        for at in rng.integers(len(whole), size=rng.integers(1, 4)):
            damaged[at] ^= rng.integers(1, 256)
        path.write_bytes(damaged[: rng.integers(len(whole))] if rng.random() < 0.1 else damaged)
        try:
            read(path)
        except DataError as error:
            refused += 1
            message = str(error)
            assert str(path) in message or str(path.parent) in message
            assert "\n" not in message and len(message) < 600
    assert refused > TRIES / 20
    assert list(tmp_path.rglob("*")) == [path.parent, path]
