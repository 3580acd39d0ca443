"""idx files, as MNIST and its relatives are published, to uint8 tensors."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..catalog import DataError
from .bytes import read_up_to, reason

_LARGEST = 2**31  # bytes one idx file may claim to hold; MNIST's largest is 47 MB
_STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_idx(path: Path) -> Tensor:
    """An idx file of unsigned bytes (plain or gzipped, whatever its name) -> uint8 tensor of its header's shape.

    Raises:
        DataError: wrong magic number, or more or fewer bytes than the header promises.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"  # browsers unpack some downloads and keep their .gz
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08":
                raise DataError(f"{path} is not an idx file of bytes (its first bytes are {head!r}); fetch it again")
            dims = file.read(4 * head[3])
            shape = tuple(int(d) for d in np.frombuffer(dims, dtype=">u4")) if len(dims) == 4 * head[3] else ()
            size = math.prod(shape)
            if size == 0 or size > _LARGEST or not shape:
                raise DataError(f"{path}: its header makes no sense (shape {shape}); delete it and fetch it again")
            body = read_up_to(file, size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({reason(error)}); delete it and fetch it again") from error
    if len(body) != size:
        found = "more" if len(body) > size else f"only {len(body):,}"
        raise DataError(
            f"{path} is damaged: its header promises {size:,} bytes and it holds {found}; delete it and fetch it again"
        )
    return torch.frombuffer(bytearray(body), dtype=torch.uint8).reshape(shape)


def idx_files(folder: Path) -> dict[str, Path]:
    """Which of the four files are there, by their official names; a plain one goes before a gzipped one.

    Kaggle's copies are called ``train-images.idx3-ubyte``, or lie in a folder of their own name.
    """
    official = {stem for stems in _STEMS.values() for stem in stems}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = path.name.lower().removesuffix(".gz").replace(".", "-")
        file = path / path.name if path.is_dir() else path
        if stem in official and file.is_file():
            found.setdefault(stem, file)
    return found


def missing_idx(folder: Path) -> list[str]:
    """The official names of those of the four files that are not there."""
    found = idx_files(folder)
    return [stem for stems in _STEMS.values() for stem in stems if stem not in found]


def read_idx_pair(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, H, W) and labels (N,) of one split, from torchvision's layout or Kaggle's.

    Raises:
        DataError: a file is missing or damaged, or the two do not belong together.
    """
    here = idx_files(folder)
    for stem in _STEMS[split]:
        if stem not in here:
            raise DataError(
                f"{folder} holds no {stem} (nor {stem}.gz), only {', '.join(sorted(here)) or 'other files'}; put it "
                "there too, or move the folder away to have the whole set fetched or replaced"
            )
    found = [here[stem] for stem in _STEMS[split]]
    images, labels = (read_idx(path) for path in found)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataError(
            f"{found[0]} holds an array of shape {tuple(images.shape)} and {found[1]} one of {tuple(labels.shape)}: "
            "they do not belong together; fetch both again"
        )
    if labels.max() > 9:
        raise DataError(
            f"{found[1]} is damaged: it holds the label {labels.max()}, above 9; delete it and fetch it again"
        )
    return images.unsqueeze(1), labels.long()
