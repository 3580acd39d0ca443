"""What is here: versions, devices, datasets and models."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Annotated

import typer

from .options import DataRoot, cards


def doctor(data: DataRoot = None) -> None:
    """Say what is here: versions, device, datasets, trained models."""
    import torch

    from .. import __version__
    from ..data import data_root
    from ..data.inventory import overview

    typer.echo(f"gen_utils {__version__}, Python {platform.python_version()} on {platform.system()}")
    for name in ("torch", "torchvision", "lightning", "jupyter-book", "jupytext", "papermill"):
        try:
            typer.echo(f"  {name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            typer.echo(f"  {name} is missing: install it with the command in README.md")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU (none is needed)"
    typer.echo(f"device: {torch.get_num_threads()} CPU threads, {gpu}")
    typer.echo("\ndata:")
    typer.echo(overview(data_root(data)))
    typer.echo("\ntrained models:")
    for name, card in cards():
        size = f"{card['parameters']:>9,} parameters" if "parameters" in card else ""
        typer.echo(f"  {name:18} {card['model']:16} {size}, trained on {card.get('data', 'unnamed data')}")


def data_command(
    name: Annotated[str | None, typer.Argument(help="a dataset to fetch and check")] = None,
    data: DataRoot = None,
    prepare: Annotated[bool, typer.Option("--prepare", help="read all that is here; later loads are fast")] = False,
    size: Annotated[int | None, typer.Option(help="prepare images of size×size; else each set's usual size")] = None,
) -> None:
    """List the datasets and how to get them; with a name, fetch that one if it is missing, and read it whole."""
    from ..data import CATALOG, data_root, load_images, lookup
    from ..data.inventory import directions, overview
    from ..data.load import find

    root = data_root(data)
    if name is None:
        typer.echo(f"looked in {root}/ (--data or GEN_DATA_ROOT look elsewhere):")
        typer.echo(overview(root))
        real = [dataset for dataset in CATALOG.values() if dataset.stand_in is not None]
        missing = [dataset for dataset in real if find(dataset, root) is None]
        if missing:
            typer.echo("\n  to get the rest:")
        for dataset in missing:
            typer.echo(directions(dataset, root))
        names = [dataset.name for dataset in real if dataset not in missing] if prepare else []
    else:
        typer.echo(directions(lookup(name), root))
        names = [name]
    for each in names:
        for split in ("train", "test"):
            images = load_images(each, split, root=data, size=size, stand_in=False)
            typer.echo(
                f"{images.title}, {split}: {len(images):,} images of shape {images.shape}, "
                f"{len(images.classes) or 'no'} classes"
            )
