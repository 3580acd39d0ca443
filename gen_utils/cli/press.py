"""The press: run parts, build the book, open the notebooks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..base.places import BUILD
from .options import DataRoot, Force, Jobs, Profile, Seed, data_folder, headless, places_for_kernels


def run(
    part: Annotated[str, typer.Argument(help="such as 02, ebm_mnist, 02_ebm_mnist, or all")],
    profile: Profile = "quick",
    data: DataRoot = None,
    seed: Seed = 0,
    force: Force = False,
    jobs: Jobs = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="keep numbers and outputs in results/, for the book (laptop or full)")
    ] = False,
) -> None:
    """Run a part headless, or all; the executed notebook goes to _build/PROFILE/notebooks."""
    from ..base.places import ROOT
    from ..kept_runs import LONG
    from ..publishing.keep import keep_outputs
    from ..publishing.parallel import execute_all
    from ..publishing.parts import find_part, parts
    from ..publishing.results import keep_results

    if keep and profile not in LONG:
        raise ValueError(f"a {profile} run is not kept: choose --profile {' or '.join(LONG[::-1])}")

    def on_done(name: str, path: Path, ran: bool) -> None:
        typer.echo(f"{'wrote' if ran else 'up to date:'} {path.relative_to(ROOT)}")
        if keep:
            for written in (keep_outputs(path), keep_results(path)):
                typer.echo(f"wrote {written.relative_to(ROOT)}")

    headless()
    names = parts() if part == "all" else [find_part(part)]
    settings: dict[str, Any] = dict(
        profile=profile, data_root=data_folder(data), seed=seed, out=BUILD / profile / "notebooks", force=force
    )
    execute_all(names, jobs=jobs, on_done=on_done, **settings)


def kept() -> None:
    """List the kept long runs: what they are, what has changed since, and what makes each again."""
    from ..publishing.kept_listing import listing

    for line in listing():
        typer.echo(line)


def read(
    data: DataRoot = None,
    out: Annotated[Path | None, typer.Option(help="build somewhere else than _build")] = None,
    edition: Annotated[str, typer.Option(help="instructor, or student: without solutions and answers")] = "instructor",
) -> None:
    """Build the HTML book from the kept long runs; nothing is run."""
    from ..publishing.book import build_book
    from ..publishing.editions import checked

    checked(edition)
    page = build_book({}, profile="quick", data_root=data_folder(data), out=out, edition=edition)
    typer.echo(f"The book is ready. Open {page}")


def slides(
    out: Annotated[Path | None, typer.Option(help="build somewhere else than _build/slides")] = None,
) -> None:
    """Build slides for teachers: a deck a part, of its questions, equations, figures and exercises; nothing is run."""
    from ..publishing.teaching.slides import build

    typer.echo(f"The slides are ready. Open {build(out)}")


def book(
    profile: Profile = "quick",
    data: DataRoot = None,
    seed: Seed = 0,
    force: Force = False,
    jobs: Jobs = None,
    out: Annotated[Path | None, typer.Option(help="build somewhere else than _build")] = None,
    edition: Annotated[str, typer.Option(help="instructor, or student: without solutions and answers")] = "instructor",
) -> None:
    """Build the HTML book: at once from the kept long runs, then again with the parts as they run here."""
    from ..publishing.book import build_book
    from ..publishing.editions import checked
    from ..publishing.parallel import execute_all, usual_jobs
    from ..publishing.parts import parts
    from ..publishing.progress import Progress

    checked(edition)
    headless()
    root = data_folder(data)
    out = None if out is None else out.resolve()
    folder = (out or BUILD) / profile / "notebooks"
    settings: dict[str, Any] = dict(profile=profile, data_root=root, seed=seed, out=folder, force=force)
    built: dict[str, Any] = dict(profile=profile, data_root=root, out=out, edition=edition)
    progress = Progress(parts(), profile, folder, jobs or usual_jobs(profile), say=typer.echo)
    if profile == "quick" and not all((folder / f"{name}.ipynb").exists() for name in parts()):
        page = build_book({}, **built)
        typer.echo(f"You can read the long runs now: open {page}\nThe parts are run here next; the book then has both.")
    executed = execute_all(parts(), jobs=jobs, on_done=progress.done, **settings)
    page = build_book(executed, **built)
    typer.echo(f"\nThe book is ready. Open {page}")


def pdf(
    part: Annotated[str | None, typer.Argument(help="such as 02; the whole book where none is named")] = None,
    out: Annotated[Path | None, typer.Option(help="the file; else _build/pdf/NAME.pdf")] = None,
    built: Annotated[Path | None, typer.Option(help="where read or book has built; else _build")] = None,
    edition: Annotated[str, typer.Option(help="instructor, or student: without solutions and answers")] = "instructor",
) -> None:
    """Print the built book, or one chapter of it, as a PDF for paper; solutions stand at its back."""
    from ..publishing.editions import INSTRUCTOR, checked
    from ..publishing.paper import contents, print_pages
    from ..publishing.parts import find_part

    name = find_part(part) if part else "book"
    suffix = "" if checked(edition) == INSTRUCTOR else f"-{edition}"
    pages = [f"notebooks/{name}"] if part else contents(edition)
    out = out or BUILD / "pdf" / f"{name}{suffix}.pdf"
    sheets = print_pages((built or BUILD) / f"html{suffix}", pages, out, say=typer.echo)
    typer.echo(f"wrote {out}: {sheets} pages")


def lab() -> None:
    """Open the notebooks in JupyterLab, at a page that links the parts (each is paired with its .py file)."""
    import nbformat

    from ..base.places import NOTEBOOKS
    from ..publishing.landing import landing_notebook
    from ..publishing.pairs import refuse_both_changed, remember
    from ..publishing.parts import parts
    from ..publishing.student import PAGES

    for name in parts():
        if not (NOTEBOOKS / f"{name}.ipynb").exists():
            source = NOTEBOOKS / f"{name}.py"
            subprocess.run([sys.executable, "-m", "jupytext", "--quiet", "--to", "ipynb", str(source)], check=True)
    refuse_both_changed()
    here = {shown: f"{name}.ipynb" for shown, name in PAGES.items() if (NOTEBOOKS / f"{name}.ipynb").exists()}
    nbformat.write(landing_notebook(NOTEBOOKS, here), NOTEBOOKS / "start_here.ipynb")
    places_for_kernels()
    # Of the kernels called python3, this Python's own comes first.
    environment = {**os.environ, "GEN_DATA_ROOT": data_folder(None), "JUPYTER_PREFER_ENV_PATH": "1"}
    command = [sys.executable, "-m", "jupyter", "lab", "start_here.ipynb"]
    try:
        raise typer.Exit(subprocess.call(command, cwd=NOTEBOOKS, env=environment))
    finally:  # Ctrl-C ends it, too
        remember()
