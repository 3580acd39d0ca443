"""CIFAR-10 as its author packs it: the binary version, and torchvision's copy of the version for Python.

The binary version is one label byte and 3,072 pixel bytes an image, colour after colour: nothing but bytes, so that is
what is downloaded. The version for Python, which torchvision keeps in ``cifar-10-batches-py/``, holds the same pixels
in a pickle. A pickle is a program, and opening one runs it. Here it is never run: once the file's hash is known to be
the official one, its instructions are listed, and the two pieces of data are picked out of the list.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), and the page of the data set.
"""

from __future__ import annotations

import hashlib
import pickletools
import re
import tarfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..catalog import DataError
from .bytes import read_up_to, reason

ARCHIVE = "cifar-10-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # as the page gives it
_RECORD = 1 + 3 * 32 * 32
_LARGEST = 10_000 * _RECORD  # bytes of one file; the six official ones all have as many
_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_BATCH = re.compile(r"(data_batch_[1-5]|test_batch)(\.bin)?")


def batch_files(folder: Path) -> list[Path]:
    """The batches that are in a folder, of either version."""
    return [path for path in sorted(folder.iterdir()) if _BATCH.fullmatch(path.name)]


def missing_batches(folder: Path) -> list[str]:
    """The names of those of its version's six batches that are not there."""
    binary = folder.name.lower() != "cifar-10-batches-py"
    names = [name if binary else name.removesuffix(".bin") for names in _FILES.values() for name in names]
    return [name for name in names if not (folder / name).is_file()]


def read_cifar_binary(source: Path, split: str) -> tuple[Tensor, Tensor]:
    """One split from ``cifar-10-binary.tar.gz`` or its unpacked folder.

    Returns:
        images (N, 3, 32, 32) uint8 and labels (N,) int64.

    Raises:
        DataError: a file is missing, damaged, or not what it says.
    """
    parts = _from_folder(source, split) if source.is_dir() else _from_archive(source, split)
    rows = []
    for name, data in zip(_FILES[split], parts, strict=True):
        if not data or len(data) % _RECORD or len(data) > _LARGEST:
            raise DataError(
                f"{source}: {name} has {len(data):,} bytes and not {_RECORD:,} for each of up to 10,000 images; "
                "delete it and get it again"
            )
        rows.append(np.frombuffer(data, dtype=np.uint8).reshape(-1, _RECORD))
        if rows[-1][:, 0].max() > 9:
            raise DataError(f"{source}: {name} is damaged: it holds a label above 9; delete it and get it again")
    table = np.concatenate(rows)
    images, labels = table[:, 1:].reshape(-1, 3, 32, 32), table[:, 0].astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels)


def read_cifar_pickled(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """One split from torchvision's ``cifar-10-batches-py/``, without unpickling.

    Returns:
        images (N, 3, 32, 32) uint8 and labels (N,) int64.

    Raises:
        DataError: a file is missing or is not the official one.
    """
    from torchvision.datasets import CIFAR10  # knows the hashes; slow to import

    images, labels = [], []
    for name, md5 in CIFAR10.train_list if split == "train" else CIFAR10.test_list:
        try:
            with open(folder / name, "rb") as file:
                data = read_up_to(file, 2 * _LARGEST)
        except OSError as error:
            raise DataError(f"{folder / name} cannot be read ({reason(error)}); get CIFAR-10 again: {URL}") from error
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
            raise DataError(f"{folder / name} is not CIFAR-10's (its hash differs); delete it and get it again: {URL}")
        pixels, classes = _listed(data)
        images.append(np.frombuffer(pixels, dtype=np.uint8).reshape(len(classes), 3, 32, 32))
        labels += classes
    return torch.from_numpy(np.concatenate(images)), torch.tensor(labels)


def _listed(pickled: bytes) -> tuple[bytes, list[int]]:
    """The pixels and the labels among a pickle's instructions: the longest string, and the numbers after "labels"."""
    pixels, labels, among_labels = "", [], False
    for instruction, value, _ in pickletools.genops(pickled):
        if isinstance(value, str):
            among_labels = value == "labels"
            pixels = max(pixels, value, key=len)
        elif among_labels and instruction.name == "BININT1":
            labels.append(value)
    return pixels.encode("latin-1"), labels


def _from_folder(folder: Path, split: str) -> list[bytes]:
    parts = []
    for name in _FILES[split]:
        try:
            with open(folder / name, "rb") as file:
                parts.append(read_up_to(file, _LARGEST + 1))
        except OSError as error:
            raise DataError(f"{folder / name} cannot be read ({reason(error)}); get {ARCHIVE} again: {URL}") from error
    return parts


def _from_archive(path: Path, split: str) -> list[bytes]:
    """The split's files out of the archive, into memory: nothing is unpacked, wherever its members say they belong."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if name in _FILES[split] and member.isfile() and (file := archive.extractfile(member)) is not None:
                    found[name] = read_up_to(file, _LARGEST + 1)
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError, OverflowError) as error:
        raise DataError(f"{path} cannot be read ({reason(error)}); delete it and get it again: {URL}") from error
    missing = [name for name in _FILES[split] if name not in found]
    if missing:
        raise DataError(f"{path} holds no {missing[0]}; delete it and get it again: {URL}")
    return [found[name] for name in _FILES[split]]
