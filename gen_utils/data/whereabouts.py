"""Where a dataset's files are: what ``python -m gen_utils data`` calls "here" is what ``load_images`` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .catalog import DataError, Dataset
from .readers.bytes import reason
from .readers.cifar import batch_files, missing_batches
from .readers.hoda import cdb_files
from .readers.idx import idx_files, missing_idx
from .readers.names import as_spelled
from .readers.pictures import picture_files

IDX = ("mnist", "fashion_mnist", "stacked_mnist")


def find(dataset: Dataset, root: Path) -> Path | None:
    """The first place under the data root with a file that the dataset's reader reads, or None.

    A folder without such a file counts as missing, whatever else lies in it.

    Raises:
        DataError: a place may not be looked at.
    """
    for place in dataset.places:
        path = root / place
        try:
            path = as_spelled(root, place)
            if path.is_file() or (path.is_dir() and _files(dataset, path)):
                return path
        except OSError as error:
            raise DataError(f"{path} cannot be read ({reason(error)}); check its permissions") from error
    return None


def is_cifar_batches(source: Path) -> bool:
    """Is this CIFAR-10 as its author packs it, and not as pictures?"""
    return source.name.lower().startswith("cifar-10-")


def lacking(dataset: Dataset, source: Path) -> list[str]:
    """The names of the files that should lie beside those in ``source``, as ``find`` gives it; pictures have none."""
    if dataset.name in IDX:
        return missing_idx(source)
    return missing_batches(source) if source.is_dir() and is_cifar_batches(source) else []


def _files(dataset: Dataset, folder: Path) -> Sequence[Path]:
    if dataset.name in IDX:
        return list(idx_files(folder).values())
    if dataset.name == "persian_digits":
        return list(cdb_files(folder).values())
    if dataset.name == "dsprites":
        return []  # one file, never a folder
    return batch_files(folder) if is_cifar_batches(folder) else picture_files(folder)
