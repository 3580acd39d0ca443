"""``load_images``: the one door to every dataset."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch

from .cache import Found, prepared
from .catalog import DataError, Dataset, lookup
from .download import DOWNLOADS
from .download import download as _download
from .image_set import ImageSet
from .readers.bytes import reason
from .readers.cifar import read_cifar_binary, read_cifar_pickled
from .readers.dsprites import read_dsprites
from .readers.hoda import read_hoda
from .readers.idx import read_idx_pair
from .readers.pictures import read_pictures
from .stacked import COUNT, stack
from .stand_ins import BUILT_IN

_LARGEST_SIZE = 1024  # pixels; no set here has larger images


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
        size: resize to size×size, with antialiasing; a set of image files is prepared once for each size.
        limit: keep a random subset of so many images, the same one every time.
        root: where the data live; else $GEN_DATA_ROOT, else ./data.
        stand_in: with False, missing data is an error that says what to fetch and where to put it.

    Raises:
        DataError: unknown name, missing data without a stand-in, or a damaged file.
    """
    dataset = lookup(name)
    if split not in ("train", "test"):
        raise DataError(f"unknown split {split!r}; known: train, test")
    if size is not None and not 1 <= size <= _LARGEST_SIZE:
        raise DataError(f"size must be between 1 and {_LARGEST_SIZE}, got {size}")
    where = data_root(root)
    if dataset.stand_in is None:
        images = _built_in(dataset, split)
    else:
        images = read_local(dataset, split, where, size)
        if images is None and _download(dataset, where):
            images = read_local(dataset, split, where, size)
        if images is None and stand_in:
            images = _built_in(lookup(dataset.stand_in), split, instead_of=dataset.title)
            print(f"{dataset.title} is not under {where}/: using {images.title}. To get it: {dataset.how}.")
        elif images is None:
            tried = "could not download it" if name in DOWNLOADS else "it cannot be downloaded automatically"
            raise DataError(
                f"{dataset.title} is missing: looked in {where / dataset.files}, and {tried}. "
                f"{dataset.how[0].upper()}{dataset.how[1:]} ({dataset.link}), or set GEN_DATA_ROOT to where it is."
            )
    if limit is not None and limit < len(images):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        images = images.take(order[:limit])
    if size is not None and images.shape[1:] != (size, size):
        from torchvision.transforms.v2.functional import resize  # torchvision is slow to import

        images = replace(images, images=resize(images.images, [size, size], antialias=True))
    return images


def find(dataset: Dataset, root: Path) -> Path | None:
    """The file or folder of a dataset under the data root, or None; an empty folder counts as missing."""
    for path in (root / place for place in dataset.places):
        try:
            if path.is_file() or (path.is_dir() and any(path.iterdir())):
                return path
        except OSError as error:
            raise DataError(f"{path} cannot be read ({reason(error)}); check its permissions") from error
    return None


def read_local(dataset: Dataset, split: str, root: Path, size: int | None = None) -> ImageSet | None:
    """The real images that are on disk, or None; only image files come in the size asked for, arrays as they are."""
    found = _read(dataset, split, root, size)
    return None if found is None else _image_set(found, dataset, dataset.title)


def _image_set(found: Found, dataset: Dataset, title: str, **more: bool) -> ImageSet:
    images, labels, *factors = found
    return ImageSet(images, labels, dataset.classes, dataset.name, title, factors=next(iter(factors), None), **more)


def _built_in(dataset: Dataset, split: str, instead_of: str | None = None) -> ImageSet:
    title = f"{dataset.title}, standing in for {instead_of or dataset.original}"
    return _image_set(BUILT_IN[dataset.name](split), dataset, title, is_stand_in=True)


def _read(dataset: Dataset, split: str, root: Path, size: int | None) -> Found | None:
    source = find(dataset, root)
    if source is None:
        return None
    if dataset.name in ("mnist", "fashion_mnist"):
        return read_idx_pair(source, split)
    if dataset.name == "stacked_mnist":
        digits = read_idx_pair(source, split)
        return digits and stack(*digits, COUNT[split], seed=0)
    if dataset.name == "persian_digits":
        return read_hoda(source, split)
    if dataset.name == "dsprites":
        return prepared(root, source, dataset.name, split, lambda: read_dsprites(source, split))
    if source.name == "cifar-10-batches-py":
        return read_cifar_pickled(source, split)
    if source.name.startswith("cifar-10-"):
        return read_cifar_binary(source, split)
    side = size or dataset.shape[1]
    name = f"{dataset.name}-{side}"
    return prepared(root, source, name, split, lambda: read_pictures(source, split, side, classes=dataset.classes))
