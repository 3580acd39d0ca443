"""What commands share: their options, where things lie, and what kernels need."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated

import typer

Profile = Annotated[str, typer.Option(help="quick, laptop or full")]
DataRoot = Annotated[str | None, typer.Option("--data", help="where datasets live; else $GEN_DATA_ROOT, else ./data")]
Seed = Annotated[int, typer.Option(help="of everything random")]
Force = Annotated[bool, typer.Option("--force", help="run again even when nothing changed")]
Jobs = Annotated[int | None, typer.Option(help="parts at a time; else one for each core in quick (4 at most), or one")]


def data_folder(data: str | None) -> str:
    """The whole path of where datasets live."""
    from ..data import data_root

    return str(data_root(data).resolve())


def cards() -> Iterator[tuple[str, dict]]:
    """The trained models and their cards; of a damaged one a line says so."""
    from .. import checkpoints

    for name in checkpoints.names():
        try:
            yield name, checkpoints.read_card(name)
        except ValueError as error:
            typer.echo(f"  {name}: {error}")


def places_for_kernels() -> None:
    """Notebooks run in a folder of their own: what a variable names relative to this one gets its whole path.

    Kernels keep files in the home folder. A container under a user's number may have none, or one that is closed.
    """
    from ..base.places import BUILD, chosen_folder

    for variable in ("GEN_RUNS", "GEN_INCEPTION", "XDG_CACHE_HOME"):
        if place := chosen_folder(variable):
            os.environ[variable] = str(place.resolve())
    if not os.access(os.path.expanduser("~"), os.W_OK):
        (BUILD / "home").mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(BUILD / "home")


def headless() -> None:
    places_for_kernels()
    os.environ["GEN_HEADLESS"] = "1"  # no progress bars in executed notebooks
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
