"""The book's page of datasets: facts from the catalogue, and a grid of each, the real one beside its stand-in.

The page is filled while the book is built, from the files of the machine that builds it: real images belong to their
owners and are no part of this repository.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..base.sources import code_hashes, imported_files
from ..data import CATALOG, DataError, Dataset, ImageSet, load_images
from ..data.cache import source_identity
from ..data.load import read_local
from ..data.whereabouts import find
from ..plotting.images import mosaic

MARK = "<!-- the datasets -->"
_N, _GAP = 24, 28  # images a side; pixels between the sides
_WIDTH = 860  # pixels of a picture, about the width of the book's column


def write_page(source: Path, book: Path, root: Path) -> None:
    """Fill ``source`` in at its mark, into the folder ``book``, with the pictures in ``book/_static/datasets/``.

    An existing page is left alone while nothing changed that it depends on. Nothing is downloaded.
    """
    text = source.read_text(encoding="utf-8")
    key = f"% made from {_fingerprint(text, root)}"
    target, pictures = book / source.name, book / "_static" / "datasets"
    if target.exists() and target.read_text(encoding="utf-8").endswith(f"{key}\n"):
        return
    if MARK not in text:
        raise ValueError(f"{source} has no line {MARK}")
    pictures.mkdir(parents=True, exist_ok=True)
    sections = [_section(dataset, pictures, root) for dataset in CATALOG.values() if dataset.stand_in is not None]
    target.write_text(text.replace(MARK, "\n".join(sections)) + f"\n{key}\n", encoding="utf-8")


def _section(dataset: Dataset, pictures: Path, root: Path) -> str:
    """One dataset's heading, picture and facts, in MyST."""
    assert dataset.stand_in is not None  # of a built-in set there is no section
    stand_in = CATALOG[dataset.stand_in]
    drawn = load_images(stand_in.name, "test")
    real, state = _real(dataset, root)
    sides = [_pick(real)] if real is not None else []
    _picture([*sides, _pick(drawn)]).save(pictures / f"{dataset.name}.png", optimize=True)
    if real is not None:
        seen, caption = f"{real.title} and {stand_in.title}", f"{real.title} on the left, {stand_in.title} right."
        if real.title != dataset.title:
            caption += f" {_difference(dataset, real)}"
    else:
        seen = stand_in.title
        caption = f"{stand_in.title[0].upper()}{stand_in.title[1:]}, standing in for {dataset.title}. {state}"
    measure = "×".join(map(str, dataset.shape))
    kinds = f", {len(dataset.classes):,} classes" if dataset.classes else ", no labels"
    return f"""## {dataset.title}

```{{figure}} _static/datasets/{dataset.name}.png
:alt: A grid of images of {seen}
:width: 100%

{caption}
```

- `load_images("{dataset.name}")`: {measure}{kinds}
- the real one: {dataset.how}
- licence: {dataset.licence}
- source: <{dataset.link}>
- its stand-in: `"{stand_in.name}"`, {stand_in.how}
"""


def _difference(dataset: Dataset, real: ImageSet) -> str:
    """What is said of images that lie in a dataset's place and are not the whole of it, or not it."""
    if real.name == dataset.name:
        return "The left ones are a part of the published images."
    return f"The left ones are not {dataset.title} as published: figures on them do not compare with figures on it."


def _real(dataset: Dataset, root: Path) -> tuple[ImageSet | None, str]:
    """The real test images where they are, else None and a sentence why."""
    missing = "The real images were not there when these pages were built."
    try:
        if find(dataset, root) is None:
            return None, missing
        return read_local(dataset, "test", root), missing
    except DataError:
        return None, "The real files could not be read when these pages were built."


def _pick(images: ImageSet) -> Tensor:
    """Twenty-four images: of labelled sets a few of each class, in its order."""
    if images.labels is None or len(images.classes) > _N:
        index = torch.arange(_N) * (len(images) // _N) if len(images) >= _N else torch.arange(len(images))
    else:
        wanted = torch.arange(_N) * len(images.classes) // _N
        seen = [int((wanted[:i] == label).sum()) for i, label in enumerate(wanted)]
        places = [(images.labels == label).nonzero().flatten() for label in wanted]
        index = torch.stack([place[i % len(place)] for place, i in zip(places, seen, strict=True) if len(place)])
    return images.images.index_select(0, index)


def _picture(sides: list[Tensor]) -> Image.Image:
    """The grids beside each other on white, enlarged by whole numbers so that pixels stay pixels."""
    grids = [mosaic(side, 12 // len(sides)) for side in sides]
    scale = max(1, (_WIDTH - _GAP * (len(grids) - 1)) // sum(grid.shape[1] for grid in grids))
    grids = [grid.repeat(scale, axis=0).repeat(scale, axis=1) for grid in grids]
    height = max(grid.shape[0] for grid in grids)
    columns: list[np.ndarray] = []
    for grid in grids:
        padded = np.full((height, grid.shape[1], 3), 255, np.uint8)
        padded[: grid.shape[0]] = grid
        columns += [padded, np.full((height, _GAP, 3), 255, np.uint8)]
    return Image.fromarray(np.concatenate(columns[:-1], axis=1))


def _fingerprint(text: str, root: Path) -> str:
    """Changes with the page's text, the code that draws and reads, and the files that are there."""
    digest = hashlib.sha256(text.encode())
    digest.update(str(code_hashes(imported_files([Path(__file__)]))).encode())
    for dataset in CATALOG.values():
        try:
            source = find(dataset, root)
            digest.update(f"{dataset.name} {source and source_identity(source)}".encode())
        except (DataError, OSError):
            digest.update(f"{dataset.name} unreadable".encode())
    return digest.hexdigest()[:16]
