"""Pictures of a shipped model, by the sampler on its card."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .. import checkpoints
from ..base.files import write_atomically
from ..base.places import CHECKPOINTS
from ..data import to_uint8
from ..plotting.images import mosaic
from .registry import lookup


def draw(model: Any, n: int, *, data_root: str | None = None, seed: int = 1) -> Tensor:
    """n pictures of a shipped model, uint8 (n, C, H, W): nothing is selected, nothing repeated.

    Args:
        model: as ``checkpoints.load`` gives it.
        data_root: where real data are; only JEM (its class Gaussians) and the VQ-VAEs (which draw nothing by
            themselves: held-out images, and under each row of ten its reconstructions) need them.

    Raises:
        ValueError: a model that draws no pictures.
        DataError: the data that the model's draws begin with are missing.
    """
    row = lookup(model.card["name"])
    if row.draw is None:
        raise ValueError(f"{row.name} draws no pictures: it is a judge")
    return to_uint8(row.draw(model, n, torch.Generator().manual_seed(seed), data_root))


def save_picture(name: str, data_root: str | None = None) -> Path | None:
    """``checkpoints/NAME.png``, four rows of ten draws: for the card and the book. None for a judge.

    Raises:
        CannotWrite: the disk is full or read-only; the old picture is still there.
    """

    if lookup(name).draw is None:
        return None
    picture = Image.fromarray(mosaic(draw(checkpoints.load(name), 40, data_root=data_root), 10, gap=1))
    scale = 1 if picture.width > 500 else 2
    data = io.BytesIO()
    picture.resize((scale * picture.width, scale * picture.height), Image.NEAREST).save(data, "PNG", optimize=True)
    path = CHECKPOINTS / f"{name}.png"
    write_atomically(path, data.getvalue())
    return path
