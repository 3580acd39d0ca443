"""Hoda's handwritten Persian digits: the ``.cdb`` format, read in whole-array steps.

Header, 1,024 bytes, little-endian: year (uint16), month, day, H, W (bytes; both sizes 0 when they vary), record count
(uint32), 128 letter counts (uint32), image type (byte: 0 binary, 1 grey), comments and reserved bytes. Then one record
after the other: 0xFF, label, (W, H when they vary), byte count (uint16), pixels. A grey image is W·H bytes. A binary
one is run lengths, row by row: background, ink, background, … until W pixels are filled.

Source: Khosravi and Kabir, "Introducing a very large dataset of handwritten Farsi digits and a study on their
varieties", Pattern Recognition Letters 28 (2007).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..catalog import DataError
from .bytes import read_up_to, reason

_SIDE = 28
_HEADER = 1024
_LARGEST = 2**26  # bytes one file may have; the official ones stay below 7 MB
_MOST = 10**6  # records one file may promise; Hoda has 102,352 in all its files together
_CHUNK = 256  # records decoded at once: bounds the memory that a file of hostile run lengths can ask for
_FILES = {"train": "train 60000.cdb", "test": "test 20000.cdb"}


def cdb_files(folder: Path) -> dict[str, Path]:
    """The file of each split that is there: "Train 60000.cdb" and "Test 20000.cdb", in any capitals or joints."""
    named = {re.sub(r"[\s_-]+", " ", path.name.lower()): path for path in sorted(folder.iterdir()) if path.is_file()}
    return {split: named[name] for split, name in _FILES.items() if name in named}


def read_hoda(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) uint8 and labels (N,) int64 of one split.

    With both official files the split is the file of its name. With one alone, that one is cut 85 % to 15 % by a
    seeded permutation, so that train and test stay disjoint whichever file it is.

    Raises:
        DataError: there is no file, or one is damaged.
    """
    here = cdb_files(folder)
    if not here:
        raise DataError(f'{folder} holds neither "Train 60000.cdb" nor "Test 20000.cdb"; put one of them there')
    if len(here) == 2:
        return read_cdb(here[split])
    images, labels = read_cdb(next(iter(here.values())))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(2007))
    cut = round(0.85 * len(images))
    order = order[:cut] if split == "train" else order[cut:]
    return images[order], labels[order]


def read_cdb(path: Path, *, n_classes: int = 10) -> tuple[Tensor, Tensor]:
    """One ``.cdb`` file -> images (N, 1, 28, 28) uint8, white on black, and labels (N,) int64.

    A glyph larger than 28 is scaled down with antialiasing, its proportions kept; a smaller one stays as it is; both
    are centred. Grey images are taken as stored.

    Raises:
        DataError: the file is cut short, too long, or contradicts itself; the message says where.
    """
    try:
        with open(path, "rb") as file:
            data = read_up_to(file, _LARGEST + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)}); check its permissions or get it again") from error
    try:
        grey, records = _find_records(data, n_classes)
        images = np.zeros((len(records), _SIDE, _SIDE), dtype=np.uint8)
        pixels = np.frombuffer(data, dtype=np.uint8)
        for first in range(0, len(records), _CHUNK):
            chunk = records.part(first, first + _CHUNK)
            flat = _decode_grey(pixels, chunk) if grey else _decode_binary(pixels, chunk)
            _centre(flat, chunk, images[first : first + _CHUNK])
    except _Damage as damage:
        raise DataError(f"{path} is damaged: {damage}; delete it and get it again") from None
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(records.label)


class _Damage(Exception):
    """What is wrong inside the bytes; ``read_cdb`` adds the file's name."""


@dataclass(frozen=True)
class _Records:
    """Where each record's pixels lie. All fields (N,) int64; ``first`` is the number of the first record."""

    label: np.ndarray
    width: np.ndarray
    height: np.ndarray
    start: np.ndarray  # offset of the pixel bytes in the file
    n_bytes: np.ndarray
    first: int = 0

    def __len__(self) -> int:
        return len(self.label)

    def part(self, low: int, high: int) -> _Records:
        fields = (self.label, self.width, self.height, self.start, self.n_bytes)
        return _Records(*(field[low:high] for field in fields), first=low)

    def refuse(self, bad: np.ndarray, why: str) -> None:
        """Raise for the first record that is ``bad`` (N,)."""
        if bad.any():
            i = int(bad.argmax())
            raise _Damage(
                f"{why} in record {self.first + i:,} (label {self.label[i]}, {self.width[i]}×{self.height[i]})"
            )


def _find_records(data: bytes, n_classes: int) -> tuple[bool, _Records]:
    """Check the header and walk from record to record: whether the images are grey, and where each one lies."""
    if len(data) > _LARGEST:
        raise _Damage(f"it has more than {_LARGEST:,} bytes, which no Hoda file has")
    if len(data) < _HEADER:
        raise _Damage(f"it has {len(data):,} bytes and a Hoda header alone has {_HEADER:,}")
    height, width, count = struct.unpack_from("<BBI", data, 4)
    letter_counts = np.frombuffer(data, dtype="<u4", count=128, offset=10).astype(np.int64)
    image_type = data[522]
    if image_type > 1:
        raise _Damage(f"its header gives image type {image_type}, neither 0 (binary) nor 1 (grey)")
    if (height == 0) != (width == 0):
        raise _Damage(f"its header gives the size {width}×{height}: both must be 0 (sizes vary) or neither")
    fixed = height > 0
    if count == 0 or count > _MOST or count * (4 if fixed else 6) > len(data) - _HEADER:
        raise _Damage(f"its header promises {count:,} records, which makes no sense in {len(data):,} bytes")
    rows = list(_walk(data, count, (width, height) if fixed else None))
    records = _Records(*np.array(rows, dtype=np.int64).T.copy())
    records.refuse(records.label >= n_classes, f"a label above {n_classes - 1}")
    records.refuse((records.width == 0) | (records.height == 0), "a size of zero")
    # A header whose letter counts add up to its records vouches for the labels; some writers leave them empty.
    seen = np.bincount(records.label, minlength=128)
    if letter_counts.sum() == count and (seen != letter_counts).any():
        label = int((seen != letter_counts).argmax())
        raise _Damage(
            f"its header counts {letter_counts[label]:,} images of label {label} and it holds {seen[label]:,}"
        )
    return image_type == 1, records


def _walk(data: bytes, count: int, size: tuple[int, int] | None) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (label, width, height, start, n_bytes) a record: the one loop, as only a record says where the next is."""
    head = 4 if size else 6
    at = _HEADER
    for i in range(count):
        if at + head > len(data):
            raise _Damage(f"its header promises {count:,} records and it ends after {i:,}")
        if data[at] != 0xFF:
            raise _Damage(f"record {i:,} at byte {at:,} starts with 0x{data[at]:02X} and not 0xFF")
        width, height = size or (data[at + 2], data[at + 3])
        n_bytes = data[at + head - 2] | data[at + head - 1] << 8
        at += head
        if at + n_bytes > len(data):
            raise _Damage(f"it ends in the middle of record {i:,} of {count:,}")
        yield data[at - head + 1], width, height, at, n_bytes
        at += n_bytes
    if at != len(data):
        raise _Damage(f"{len(data) - at:,} bytes follow the last of the {count:,} records its header promises")


def _decode_grey(data: np.ndarray, records: _Records) -> np.ndarray:
    """All pixels of the records, one image after the other, (sum of W·H,) uint8."""
    records.refuse(records.n_bytes != records.width * records.height, "pixel bytes that do not fill the image")
    return data[_ranges(records.start, records.n_bytes)]


def _decode_binary(data: np.ndarray, records: _Records) -> np.ndarray:
    """All pixels of the records, one image after the other, (sum of W·H,) uint8: 0 or 255.

    The runs of all records are one long list. With their running total in hand, the end of every row is a look-up,
    and a run's colour is whether its distance from its row's first run is odd.
    """
    # Every row needs a run of its own; below this line each record and each row may count on having one.
    records.refuse(records.n_bytes < records.height, "fewer run lengths than rows")
    runs = data[_ranges(records.start, records.n_bytes)].astype(np.int64)
    total = np.cumsum(runs)
    area = records.width * records.height
    last_run = np.cumsum(records.n_bytes) - 1  # (N,) index of each record's last run
    filled = np.diff(total[last_run], prepend=0)
    records.refuse(filled != area, "run lengths that do not add up to the image")

    owner = np.repeat(np.arange(len(records)), records.height)  # (rows,) the record of each row
    row_end = np.cumsum(records.width[owner])  # pixels up to and with each row
    # The first run that reaches the row's end closes it; a run of length 0 after that opens the next row with ink.
    closing = np.searchsorted(total, row_end)
    overrun = np.bincount(owner, weights=total[closing] != row_end, minlength=len(records)) > 0
    records.refuse(overrun, "a run length that overruns its row")
    records.refuse(closing[np.cumsum(records.height) - 1] != last_run, "run lengths left over after the last row")

    runs_in_row = np.diff(closing, prepend=-1)
    opening = np.repeat(closing - runs_in_row + 1, runs_in_row)  # (runs,) the first run of each run's row
    ink = (np.arange(len(runs)) - opening) % 2 == 1
    return np.repeat(np.where(ink, 255, 0).astype(np.uint8), runs)


def _ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """start[0], start[0] + 1, … (length[0] of them), start[1], …: many slices as one index."""
    before = np.cumsum(length) - length
    return np.repeat(start - before, length) + np.arange(length.sum())


def _centre(flat: np.ndarray, records: _Records, out: np.ndarray) -> None:
    """Write the images whose pixels lie in ``flat`` one after the other into ``out`` (N, 28, 28)."""
    width, height = records.width, records.height
    area = width * height
    begin = np.cumsum(area) - area
    large = np.maximum(width, height) > _SIDE
    for i in np.flatnonzero(large):
        glyph = Image.fromarray(flat[begin[i] : begin[i] + area[i]].reshape(height[i], width[i]))
        scale = _SIDE / max(glyph.size)
        glyph = glyph.resize([max(1, round(side * scale)) for side in glyph.size], Image.Resampling.BILINEAR)
        top, left = (_SIDE - glyph.height) // 2, (_SIDE - glyph.width) // 2
        out[i, top : top + glyph.height, left : left + glyph.width] = np.asarray(glyph)

    small = np.flatnonzero(~large)
    owner = np.repeat(small, area[small])
    source = _ranges(begin[small], area[small])
    row, column = np.divmod(source - begin[owner], width[owner])
    out[owner, (_SIDE - height[owner]) // 2 + row, (_SIDE - width[owner]) // 2 + column] = flat[source]
