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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..at_hand import AtHand
from ..catalog import DataError
from .bytes import reason
from .names import SUFFIXES, data_files, files_below, is_picture, plain

Item = TypeVar("Item")
Seen = TypeVar("Seen")

_FORMATS = ("JPEG", "PNG")  # Pillow knows dozens more; what nobody needs here cannot be attacked here
_MOST_PIXELS = 2**24  # in one image: 4096×4096
_MOST_BYTES = 2**26  # of one image file
_TEST_SHARE = 0.1  # of a set without a published split
_LOOKS = 64  # images of a set that are looked at to tell what it is


class Pictures:
    """The image files of a zip or a folder, by their POSIX paths in it, in sorted order.

    Other files, hidden ones and what macOS adds to a zip are passed over.

    Raises:
        DataError: not a zip, a damaged one, a member path that leaves it, or no image in it.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self._zip: zipfile.ZipFile | None = None
        try:
            if source.is_dir():
                found = {name: name for name in files_below(source)}
            else:
                self._zip = zipfile.ZipFile(source)
                found = {plain(name): name for name in self._zip.namelist()}
                for name in found.values():
                    _refuse_escape(source, name)
        except DataError:
            self.close()
            raise
        except UnicodeDecodeError as error:  # the archive says UTF-8 and its member's name is not
            self.close()
            raise DataError(
                f"{source} cannot be read: its member {error.object!r} has a name that is not UTF-8; unpack it with "
                "another program and use the folder"
            ) from error
        # What zipfile raises for a damaged directory has no common base.
        except Exception as error:
            self.close()
            raise DataError(
                f"{source} cannot be read ({reason(error)}); check its permissions or get it again"
            ) from error
        self._as_written = found
        self.names = sorted(name for name in found if is_picture(name))
        if not self.names:
            self.close()
            raise DataError(f"{source} holds no image ({', '.join(SUFFIXES)}); get it again, or move it away")

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
        return self._seen(name, lambda data: square(data, side))

    def look(self, n: int = _LOOKS) -> AtHand:
        """What these pictures are: their number, and the format, sizes, mean and white of ``n`` of them.

        Raises:
            DataError: one of those cannot be read.
        """
        chosen = [self.names[i * len(self.names) // n] for i in range(n)] if len(self.names) > n else self.names
        return AtHand.of_pictures(len(self.names), [self._seen(name, opened) for name in chosen])

    def _seen(self, name: str, see: Callable[[bytes], Seen]) -> Seen:
        try:
            return see(self._read(name))
        # Pillow's decoders raise whatever a damaged file leads them to: OSError, SyntaxError, struct.error, …
        except Exception as error:
            where = f"{self.source}: {name!r}" if self._zip is not None else str(self.source / name)
            raise DataError(f"{where} cannot be read ({reason(error)}); replace or remove it") from error

    def _read(self, name: str) -> bytes:
        """The bytes of one file; the size is checked first, so that a bomb never unfolds."""
        if self._zip is None:
            size = (self.source / name).stat().st_size
        else:
            size = self._zip.getinfo(self._as_written[name]).file_size
        if size > _MOST_BYTES:
            raise ValueError(f"{size:,} bytes are too many for one image")
        return (self.source / name).read_bytes() if self._zip is None else self._zip.read(self._as_written[name])


def opened(data: bytes) -> tuple[str, np.ndarray]:
    """A JPEG's or PNG's bytes -> its format and its pixels, (H, W, 3) uint8.

    Grey becomes RGB; 16 bits become 8, divided by 257; what is transparent is laid on white, the background of both
    sets of faces.
    """
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:  # reads the header only
        kind, (width, height) = str(image.format), image.size
        if width * height > _MOST_PIXELS:
            raise ValueError(f"{width:,}×{height:,} pixels are too many")
        if kind == "PNG":
            image = _eight_bits(image, depth=data[24])
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return kind, np.asarray(image.convert("RGB"))


def square(data: bytes, side: int) -> np.ndarray:
    """A JPEG's or PNG's bytes -> (side, side, 3) uint8: its largest centred square, resized with antialiasing."""
    _, pixels = opened(data)
    height, width, _ = pixels.shape
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    pixels = pixels[top : top + edge, left : left + edge]
    if edge == side:
        return pixels
    # Pillow widens the filter when it makes images smaller: antialiasing.
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def _eight_bits(image: Image.Image, depth: int) -> Image.Image:
    """Pillow clips 16-bit grey, and leaves the transparent colour of a PNG at the file's own ``depth``."""
    clear = image.info.get("transparency")
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        image = Image.fromarray(np.rint(grey / 257).clip(0, 255).astype(np.uint8))
        if clear is not None:
            image.putalpha(Image.fromarray(np.where(grey == clear, 0, 255).astype(np.uint8)))
    elif image.mode == "RGB" and depth == 16 and clear is not None:
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    elif image.mode == "L" and depth < 8 and clear is not None:
        image.info["transparency"] = clear * 255 // (2**depth - 1)
    return image


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

    def rank(name: str) -> tuple[bytes, str]:
        stem = PurePosixPath(name).stem.encode("utf-8", "surrogatepass")  # a name may be any bytes
        return hashlib.sha256(stem).digest(), name

    ranked = sorted(names, key=rank)
    n_test = math.ceil(_TEST_SHARE * len(names)) if len(names) > 1 else 0
    return sorted(ranked[:n_test] if split == "test" else ranked[n_test:])


def progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The items, under a progress bar once they take longer than a second; silent in headless runs."""
    seen = "GEN_HEADLESS" not in os.environ and ("ipykernel" in sys.modules or sys.stderr.isatty())
    return tqdm(items, desc=f"preparing {what}", delay=1, leave=False, disable=not seen)


def look_at(source: Path) -> AtHand:
    """What the pictures in a zip or folder are. Raises DataError: see ``Pictures``."""
    with Pictures(source) as pictures:
        return pictures.look()


def picture_files(folder: Path) -> list[Path]:
    return [path for path in data_files(folder) if is_picture(path.relative_to(folder).as_posix())]


def _labelled(pictures: Pictures, split: str, classes: Sequence[str]) -> tuple[list[str], list[int]]:
    number = {name: i for i, name in enumerate(classes)}
    names, labels = [], []
    for name in pictures.names:
        *_, part, label = ("", "", *PurePosixPath(name.lower()).parent.parts)
        if part not in ("train", "test") or label not in number:
            raise DataError(
                f"{pictures.source}: {name!r} is not where it should be, in train/CLASS/ or test/CLASS/ "
                f"with CLASS one of {', '.join(classes)}"
            )
        if part == split:
            names.append(name)
            labels.append(number[label])
    return names, labels


def _refuse_escape(source: Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or ":" in parts[0]:
        raise DataError(f"{source} is not safe: its member {name!r} leads out of its folder; get it from its own page")
