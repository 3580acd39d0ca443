"""The command line: ``python -m gen_utils --help``."""

from __future__ import annotations

import os
import sys

import typer

from . import classroom, machine, models, press

app = typer.Typer(
    help="The generative-models workbook: check the machine, fetch data, run parts, build the book.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models.app, name="models")
app.command()(machine.doctor)
app.command(name="data")(machine.data_command)
for command in (press.run, press.kept, press.read, press.book, press.pdf, press.slides, press.lab):
    app.command()(command)
for command in (classroom.student, classroom.checks, classroom.gradebook, classroom.grade):
    app.command()(command)


def main() -> None:
    """Run the command line; the package's own errors become one line, without a traceback."""
    from ..data import DataError

    try:
        app()
    except (DataError, FileNotFoundError, FileExistsError, ValueError, RuntimeError) as error:
        if os.environ.get("GEN_TRACEBACK"):
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
