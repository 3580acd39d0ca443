"""dSprites' ``.npz``: chosen images out of a stream, never the whole array and never the pickled metadata.

The file unfolds to 3 GB. Its images are read through once, a few thousand at a time, and only the chosen ones are
kept. Of its four arrays, ``imgs`` (N, 64, 64) and ``latents_classes`` (N, 6) are read; ``metadata`` is a pickle and is
left alone.

Source: Matthey, Higgins, Hassabis and Lerchner, "dSprites: disentanglement testing sprites dataset" (2017).
"""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from ..catalog import DataError
from .bytes import reason
from .pictures import progress

_MOST = {"train": 60_000, "test": 10_000}  # images of a split: 240 MB and 40 MB
_LARGEST_SIDE = 256
_MOST_IMAGES = 2**21
_CHUNK = 2**22  # bytes decompressed at a time
_SEED = 2017


def read_dsprites(path: Path, split: str) -> tuple[Tensor, Tensor, Tensor]:
    """A seeded subset: 60,000 images for train and 10,000 others for test; nine to one of a smaller file.

    Returns:
        images (N, 1, 64, 64) uint8, 0 or 255; labels (N,) int64, the shape; factors (N, 6) int64.

    Raises:
        DataError: the file is damaged, contradicts itself, or is something else.
    """
    factors = read_factors(path)
    n_test = min(_MOST["test"], math.ceil(0.1 * len(factors)) if len(factors) > 1 else 0)
    order = torch.randperm(len(factors), generator=torch.Generator().manual_seed(_SEED))
    index = order[:n_test] if split == "test" else order[n_test : n_test + _MOST["train"]]
    if len(index) == 0:
        raise DataError(f"{path} holds {len(factors)} images and none of them is for the split {split!r}")
    index = index.sort().values  # in the order of the file
    return read_chosen(path, index), factors[index, 1], factors[index]


def read_factors(path: Path) -> Tensor:
    """The factors of every image, (N, 6) int64: the indices of colour, shape, scale, orientation, x and y.

    With ``read_chosen``, this gives the images of any factors, such as all turns of one heart.

    Raises:
        DataError: the file is damaged, or is something else.
    """
    with _array(path, "latents_classes", n_dims=2) as (array, stream):
        if array.shape[1] != 6 or array.dtype.kind not in "iu" or not 1 <= array.shape[0] <= _MOST_IMAGES:
            raise _Damage(f"latents_classes is {array.dtype} {array.shape} and not integers (N, 6)")
        data = _exactly(stream, array.n_bytes)
        factors = np.frombuffer(data, dtype=array.dtype).reshape(array.shape).astype(np.int64)
        if factors.min() < 0 or factors.max() > 1000 or factors[:, 1].max() > 2:
            raise _Damage("latents_classes holds factors out of range")
    return torch.from_numpy(factors)


def read_chosen(path: Path, index: Tensor) -> Tensor:
    """The images at ``index`` (n,), in its order: (n, 1, 64, 64) uint8, 0 or 255.

    The stream is read up to the last of them: some seconds for the whole file.

    Raises:
        DataError: the file is damaged, or is something else.
        IndexError: an index that the file does not have.
    """
    with _array(path, "latents_classes", n_dims=2) as (array, _):
        total = array.shape[0]
    wanted, place = index.unique(return_inverse=True)  # sorted, as the stream is read forward only
    wanted = wanted.numpy()
    if len(wanted) and (wanted[0] < 0 or wanted[-1] >= total):
        raise IndexError(f"{path} has images 0 to {total - 1:,}, not {wanted[0]:,} to {wanted[-1]:,}")
    with _array(path, "imgs", n_dims=3) as (array, stream):
        n, height, width = array.shape
        if array.dtype not in (np.uint8, np.bool_) or height != width or not 1 <= height <= _LARGEST_SIDE:
            raise _Damage(f"imgs is {array.dtype} {array.shape} and not bytes (N, 64, 64)")
        if n != total:
            raise _Damage(f"it has {n:,} images and the factors of {total:,}")
        found = np.empty((len(wanted), height, width), dtype=np.uint8)
        per_chunk = max(1, _CHUNK // (height * width))
        last = int(wanted[-1]) + 1 if len(wanted) else 0
        for first in progress(range(0, last, per_chunk), path.name):
            count = min(per_chunk, last - first)
            chunk = np.frombuffer(_exactly(stream, count * height * width), dtype=np.uint8)
            low, high = np.searchsorted(wanted, (first, first + count))
            found[low:high] = chunk.reshape(count, height, width)[wanted[low:high] - first]
    if found.max(initial=0) <= 1:
        found *= 255
    return torch.from_numpy(found).unsqueeze(1)[place]


class _Damage(Exception):
    """What is wrong inside the file; ``_array`` adds its name."""


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@contextmanager
def _array(path: Path, name: str, n_dims: int) -> Iterator[tuple[_Header, IO[bytes]]]:
    """One array of the file: what its header says, checked, and the stream of its bytes."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
            header = _read_header(stream, name)
            if len(header.shape) != n_dims:
                raise _Damage(f"{name} has shape {header.shape} and not {n_dims} dimensions")
            if stream.tell() + header.n_bytes != archive.getinfo(f"{name}.npy").file_size:
                raise _Damage(f"{name} is not as long as its header promises")
            yield header, stream
    # zipfile, zlib and NumPy's header parser share no base for what damage makes them raise.
    except Exception as error:
        raise DataError(f"{path} is not dSprites or is damaged: {reason(error)}; delete it and get it again") from error


def _read_header(stream: IO[bytes], name: str) -> _Header:
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise _Damage(f"{name} has npy version {version}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the official file's headers are Python 2's, (737280L, …): said in a warning
        shape, by_column, dtype = read(stream)
    if dtype.hasobject:
        raise _Damage(f"{name} is an array of objects, which only unpickling could read")
    if by_column or any(n < 0 for n in shape):
        raise _Damage(f"{name} is stored by column, or has a negative size")
    return _Header(shape, dtype)


def _exactly(stream: IO[bytes], n_bytes: int) -> bytes:
    data = stream.read(n_bytes)
    if len(data) != n_bytes:
        raise _Damage("it ends too early")
    return data
