"""``load_images``: the one door to every dataset."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch

from ..base.places import chosen_folder
from .at_hand import AtHand, Found, name_and_title
from .cache import prepared
from .catalog import DataError, Dataset, lookup, printable
from .download import DOWNLOADS
from .download import download as _download
from .image_set import ImageSet
from .readers.cifar import read_cifar_binary, read_cifar_pickled
from .readers.dsprites import read_dsprites
from .readers.hoda import read_hoda
from .readers.idx import read_idx_pair
from .readers.pictures import look_at, read_pictures
from .stacked import COUNT, stack
from .stand_ins import BUILT_IN
from .whereabouts import IDX, find, is_cifar_batches

_LARGEST_SIZE = 1024  # pixels; no set here has larger images
_stood_in: dict[tuple[str, Path], set[str]] = {}  # the splits that a stand-in was served for since the last download


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The argument, else $GEN_DATA_ROOT, else ./data."""
    return Path(root).expanduser() if root else chosen_folder("GEN_DATA_ROOT") or Path("data")


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
        DataError: unknown name, missing data without a stand-in, or a missing or damaged file of a set that is there.
        CannotWrite: a download filled the disk.
    """
    dataset = lookup(name)
    if split not in ("train", "test"):
        raise DataError(f"unknown split {split!r}; known: train, test")
    if size is not None and not 1 <= size <= _LARGEST_SIZE:
        raise DataError(f"size must be between 1 and {_LARGEST_SIZE}, got {size}")
    if limit is not None and limit < 1:
        raise DataError(f"limit must be at least 1 image, got {limit}")
    where = data_root(root)
    if dataset.stand_in is None:
        images = _built_in(dataset, split)
    else:
        images = read_local(dataset, split, where, size)
        why = None
        if images is None and not (stand_in and _other_split_stood_in(name, split, where)):
            why = _download(dataset, where)
            images = read_local(dataset, split, where, size)
        if images is None and stand_in:
            _stood_in.setdefault((name, where.absolute()), set()).add(split)
            images = _built_in(lookup(dataset.stand_in), split, instead_of=dataset.title)
            tried = f" and could not be downloaded ({why})" if why else ""
            said = f"{dataset.title} is not under {where}/{tried}: using {images.title}. To get it: {dataset.how}."
            print(printable(said))
        elif images is None:
            tried = "could not download it" if name in DOWNLOADS else "it cannot be downloaded automatically"
            tried += f" ({why})" if why else ""
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


def read_local(dataset: Dataset, split: str, root: Path, size: int | None = None) -> ImageSet | None:
    """The real images that are on disk, or None; only image files come in the size asked for, arrays as they are."""
    source = find(dataset, root)
    if source is None:
        return None
    found = _read(dataset, source, split, root, size)
    at_hand = found.at_hand or AtHand.of_array(found.images)
    name, title = name_and_title(dataset, at_hand, "all" if at_hand.kind else split)
    seen = f"{source}: {at_hand}"
    return ImageSet(found.images, found.labels, dataset.classes, name, title, factors=found.factors, source=seen)


def _built_in(dataset: Dataset, split: str, instead_of: str | None = None) -> ImageSet:
    title = f"{dataset.title}, standing in for {instead_of or dataset.original}"
    images, labels, *factors = BUILT_IN[dataset.name](split)
    return ImageSet(images, labels, dataset.classes, dataset.name, title, True, next(iter(factors), None))


def _other_split_stood_in(name: str, split: str, root: Path) -> bool:
    """Was a stand-in served for the other split only? Then this one is not downloaded: two sources are never mixed."""
    served = _stood_in.get((name, root.absolute()), set())
    if split in served:
        served.clear()  # asked for again from the start: perhaps the network is back
    return bool(served)


def _read(dataset: Dataset, source: Path, split: str, root: Path, size: int | None) -> Found:
    if dataset.name in IDX:
        images, labels = read_idx_pair(source, split)
        at_hand = AtHand.of_array(images)
        if dataset.name == "stacked_mnist":
            images, labels = stack(images, labels, COUNT[split], seed=0)
        return Found(images, labels, at_hand=at_hand)
    if dataset.name == "persian_digits":
        return Found(*read_hoda(source, split))
    if dataset.name == "dsprites":
        return prepared(root, source, dataset.name, split, lambda: read_dsprites(source, split))
    if is_cifar_batches(source):
        pickled = source.name.lower() == "cifar-10-batches-py"
        return Found(*(read_cifar_pickled if pickled else read_cifar_binary)(source, split))
    side = size or dataset.shape[1]

    def prepare() -> Found:
        images, labels = read_pictures(source, split, side, classes=dataset.classes)
        return Found(images, labels, at_hand=look_at(source))

    return prepared(root, source, f"{dataset.name}-{side}", split, prepare)
