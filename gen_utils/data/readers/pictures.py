"""Image files, in a zip or in a folder, to one uint8 array: listed, checked, cropped square and resized.

A zip is never unpacked to disk. Its member names are still checked: an archive that holds a path out of its folder
was not made by an honest packer.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..catalog import DataError
from .bytes import reason

Item = TypeVar("Item")

_SUFFIXES = (".jpg", ".jpeg", ".png")
_FORMATS = ("JPEG", "PNG")  # Pillow knows dozens more; what nobody needs here cannot be attacked here
_MOST_PIXELS = 2**24  # in one image: 4096×4096
_MOST_BYTES = 2**26  # of one image file
_TEST_SHARE = 0.1  # of a set without a published split


class Pictures:
    """The image files of a zip or a folder, by name, in sorted order.

    Other files, hidden ones and what macOS adds to a zip are passed over.

    Raises:
        DataError: not a zip, a damaged one, a member path that leaves it, or no image in it.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self._zip: zipfile.ZipFile | None = None
        try:
            if source.is_dir():
                found = _walk(source)
            else:
                self._zip = zipfile.ZipFile(source)
                found = self._zip.namelist()
                for name in found:
                    _refuse_escape(source, name)
        except DataError:
            self.close()
            raise
        # What zipfile raises for a damaged directory has no common base.
        except Exception as error:
            self.close()
            raise DataError(
                f"{source} cannot be read ({reason(error)}); check its permissions or get it again"
            ) from error
        self.names = sorted(name for name in found if _is_picture(name))
        if not self.names:
            self.close()
            raise DataError(f"{source} holds no image ({', '.join(_SUFFIXES)}); get it again, or move it away")

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()

    def decode(self, name: str, side: int) -> np.ndarray:
        """One image, (side, side, 3) uint8.

        Raises:
            DataError: not a JPEG or PNG, damaged, or absurdly large; the message names the file and the member.
        """
        try:
            return square(self._read(name), side)
        # Pillow's decoders raise whatever a damaged file leads them to: OSError, SyntaxError, struct.error, …
        except Exception as error:
            where = f"{self.source}: {name!r}" if self._zip is not None else str(self.source / name)
            raise DataError(f"{where} cannot be read ({reason(error)}); replace or remove it") from error

    def _read(self, name: str) -> bytes:
        """The bytes of one file; the size is checked first, so that a bomb never unfolds."""
        if self._zip is None:
            size = (self.source / name).stat().st_size
        else:
            size = self._zip.getinfo(name).file_size
        if size > _MOST_BYTES:
            raise ValueError(f"{size:,} bytes are too many for one image")
        return (self.source / name).read_bytes() if self._zip is None else self._zip.read(name)


def square(data: bytes, side: int) -> np.ndarray:
    """A JPEG's or PNG's bytes -> (side, side, 3) uint8: its largest centred square, resized with antialiasing.

    Grey becomes RGB; what is transparent is laid on white, the background of both sets of faces.
    """
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:  # reads the header only
        width, height = image.size
        if width * height > _MOST_PIXELS:
            raise ValueError(f"{width:,}×{height:,} pixels are too many")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        image = image.convert("RGB")
        edge = min(width, height)
        left, top = (width - edge) // 2, (height - edge) // 2
        image = image.crop((left, top, left + edge, top + edge))
        if edge != side:
            image = image.resize((side, side), Image.Resampling.BICUBIC)  # Pillow widens the filter: antialiasing
        return np.asarray(image)


def read_pictures(source: Path, split: str, side: int, *, classes: Sequence[str] = ()) -> tuple[Tensor, Tensor | None]:
    """One split of a zip or folder of images, side×side pixels.

    Args:
        source: without ``classes``, images anywhere in it; with them, SPLIT/CLASS/NAME.jpg, at any depth.
        classes: the folders' names, in the order of the labels.

    Returns:
        images (N, 3, side, side) uint8 in the order of their names, and labels (N,) int64, or None without classes.

    Raises:
        DataError: see ``Pictures``; an unknown class folder, or no image of this split.
    """
    with Pictures(source) as pictures:
        if classes:
            names, labels = _labelled(pictures, split, classes)
        else:
            names, labels = held_out(pictures.names, split), None
        if not names:
            raise DataError(f"{source} holds {len(pictures.names)} images and none of them is for the split {split!r}")
        images = np.empty((len(names), 3, side, side), dtype=np.uint8)
        for i, name in enumerate(progress(names, f"{source.name} at {side}×{side}")):
            images[i] = pictures.decode(name, side).transpose(2, 0, 1)
    return torch.from_numpy(images), None if labels is None else torch.tensor(labels)


def held_out(names: Sequence[str], split: str) -> list[str]:
    """The names of one split: a tenth for test, the rest for train, whatever the machine and the folder's place.

    Neither Bitmoji nor CelebA's images come with a split. The tenth is drawn by a hash of the file's bare name, so that
    an image keeps to its side, but for a few, when a part of the set grows to the whole of it.
    """
    ranked = sorted(names, key=lambda name: (hashlib.sha256(PurePosixPath(name).stem.encode()).digest(), name))
    n_test = math.ceil(_TEST_SHARE * len(names)) if len(names) > 1 else 0
    return sorted(ranked[:n_test] if split == "test" else ranked[n_test:])


def progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The items, under a progress bar once they take longer than a second; silent in headless runs."""
    seen = "GEN_HEADLESS" not in os.environ and ("ipykernel" in sys.modules or sys.stderr.isatty())
    return tqdm(items, desc=f"preparing {what}", delay=1, leave=False, disable=not seen)


def _labelled(pictures: Pictures, split: str, classes: Sequence[str]) -> tuple[list[str], list[int]]:
    number = {name: i for i, name in enumerate(classes)}
    names, labels = [], []
    for name in pictures.names:
        *_, part, label = ("", "", *PurePosixPath(name).parent.parts)
        if part not in ("train", "test") or label not in number:
            raise DataError(
                f"{pictures.source}: {name!r} is not where it should be, in train/CLASS/ or test/CLASS/ "
                f"with CLASS one of {', '.join(classes)}"
            )
        if part == split:
            names.append(name)
            labels.append(number[label])
    return names, labels


def _walk(folder: Path) -> list[str]:
    """All files below the folder as POSIX paths relative to it; links to folders are not followed."""

    def fail(error: OSError) -> None:
        raise error  # os.walk would pass over a folder that it may not read

    found = []
    for here, _, files in os.walk(folder, onerror=fail):
        found += [(Path(here) / file).relative_to(folder).as_posix() for file in files]
    return found


def _is_picture(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX"
    return name.lower().endswith(_SUFFIXES) and not hidden


def _refuse_escape(source: Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or ":" in parts[0]:
        raise DataError(f"{source} is not safe: its member {name!r} leads out of its folder; get it from its own page")
