"""``load_images``: the one door to every dataset."""

from __future__ import annotations

import os
import socket
import urllib.error
from pathlib import Path

import torch
from torch import Tensor

from .catalog import DataError, Dataset, lookup
from .hoda import read_hoda
from .image_set import ImageSet
from .readers import read_idx_pair
from .stand_ins import BUILT_IN

_READERS = {"mnist": read_idx_pair, "fashion_mnist": read_idx_pair, "persian_digits": read_hoda}  # (folder, split)
_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}  # classes that download and check hashes
_PATIENCE = 15.0  # seconds without an answer before a download counts as impossible


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The argument, else $GEN_DATA_ROOT, else ./data."""
    return Path(root or os.environ.get("GEN_DATA_ROOT") or "data").expanduser()


def load_images(
    name: str,
    split: str = "train",
    *,
    size: int | None = None,
    limit: int | None = None,
    root: str | os.PathLike | None = None,
    stand_in: bool = True,
) -> ImageSet:
    """Load a dataset by name: a local copy, else a download, else its built-in stand-in (said aloud).

    Args:
        name: such as "mnist"; ``python -m gen_utils data`` lists them all.
        split: "train" or "test".
        size: resize to size×size, with antialiasing.
        limit: keep a random subset of so many images, the same one every time.
        root: where the data live; else $GEN_DATA_ROOT, else ./data.
        stand_in: with False, missing data is an error that says what to fetch and where to put it.

    Raises:
        DataError: unknown name, missing data without a stand-in, or a damaged file.
    """
    dataset = lookup(name)
    if split not in ("train", "test"):
        raise DataError(f"unknown split {split!r}; known: train, test")
    if dataset.stand_in is None:
        images = _built_in(dataset, split)
    else:
        found = _read(dataset, split, data_root(root)) or _download(dataset, split, data_root(root))
        if found is not None:
            images = ImageSet(*found, classes=dataset.classes, name=name, title=dataset.title)
        elif stand_in:
            replacement = lookup(dataset.stand_in)
            images = _built_in(replacement, split, instead_of=dataset.title)
            print(f"{dataset.title} is not under {data_root(root)}/: using {images.title}. To get it: {dataset.how}.")
        else:
            tried = "could not download it" if name in _TORCHVISION else "it cannot be downloaded automatically"
            raise DataError(
                f"{dataset.title} is missing: looked in {data_root(root) / dataset.files}, and {tried}. "
                f"{dataset.how[0].upper()}{dataset.how[1:]} ({dataset.link}), or set GEN_DATA_ROOT to where it is."
            )
    if limit is not None and limit < len(images):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        images = images.take(order[:limit])
    if size is not None and images.shape[1:] != (size, size):
        from torchvision.transforms.v2.functional import resize  # torchvision is slow to import

        smaller = resize(images.images, [size, size], antialias=True)
        images = ImageSet(smaller, images.labels, images.classes, images.name, images.title, images.is_stand_in)
    return images


def _built_in(dataset: Dataset, split: str, instead_of: str | None = None) -> ImageSet:
    found = BUILT_IN[dataset.name](split)
    title = f"{dataset.title}, standing in for {instead_of or dataset.original}"
    return ImageSet(*found, classes=dataset.classes, name=dataset.name, title=title, is_stand_in=True)


def _read(dataset: Dataset, split: str, root: Path) -> tuple[Tensor, Tensor] | None:
    return _READERS[dataset.name](root / dataset.files, split)


def _download(dataset: Dataset, split: str, root: Path) -> tuple[Tensor, Tensor] | None:
    """Fetch with torchvision (which checks the files' hashes), then read; None when there is no way to."""
    if dataset.name not in _TORCHVISION:
        return None
    from torchvision import datasets  # slow to import, and most loads need no download

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        getattr(datasets, _TORCHVISION[dataset.name])(str(root), train=split == "train", download=True)
    except (OSError, RuntimeError, urllib.error.URLError):  # no network, a read-only root, or a failed hash
        return None
    finally:
        socket.setdefaulttimeout(before)
    return _read(dataset, split, root)
