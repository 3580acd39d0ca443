"""Readers: from files as people have them to uint8 tensors. Each checks what it reads."""

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


def read_idx(path: Path) -> Tensor:
    """An idx file of unsigned bytes (plain or .gz) -> uint8 tensor of the shape its header gives.

    Raises:
        DataError: wrong magic number, or more or fewer bytes than the header promises.
    """
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
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


def read_idx_pair(folder: Path, split: str) -> tuple[Tensor, Tensor] | None:
    """Images (N, 1, H, W) and labels (N,) from torchvision's layout, or None when the files are not there."""
    prefix = {"train": "train", "test": "t10k"}[split]
    found = []
    for stem in (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"):
        path = next((p for p in (folder / stem, folder / f"{stem}.gz") if p.is_file()), None)
        if path is None:
            return None
        found.append(path)
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
