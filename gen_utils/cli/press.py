"""The press: run parts, build the book, open the notebooks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import DataRoot, Force, Jobs, Profile, Seed, data_folder, headless, places_for_kernels


def run(
    part: Annotated[str, typer.Argument(help="such as 02, ebm_mnist, 02_ebm_mnist, or all")],
    profile: Profile = "quick",
    data: DataRoot = None,
    seed: Seed = 0,
    force: Force = False,
    jobs: Jobs = None,
    keep: Annotated[bool, typer.Option("--keep", help="write the numbers to results/PART.PROFILE.json")] = False,
) -> None:
    """Run a part headless, or all; the executed notebook goes to _build/PROFILE/notebooks."""
    from ..base.places import BUILD, ROOT
    from ..publishing.parallel import execute_all
    from ..publishing.parts import find_part, parts
    from ..publishing.results import keep_results

    def on_done(name: str, path: Path, ran: bool) -> None:
        typer.echo(f"{'wrote' if ran else 'up to date:'} {path.relative_to(ROOT)}")
        if keep:
            typer.echo(f"wrote {keep_results(path).relative_to(ROOT)}")

    headless()
    names = parts() if part == "all" else [find_part(part)]
    settings: dict[str, Any] = dict(
        profile=profile, data_root=data_folder(data), seed=seed, out=BUILD / profile / "notebooks", force=force
    )
    execute_all(names, jobs=jobs, on_done=on_done, **settings)


def book(
    profile: Profile = "quick",
    data: DataRoot = None,
    seed: Seed = 0,
    force: Force = False,
    jobs: Jobs = None,
    out: Annotated[Path | None, typer.Option(help="build somewhere else than _build")] = None,
    edition: Annotated[str, typer.Option(help="instructor, or student: without solutions and answers")] = "instructor",
) -> None:
    """Run what changed and build the HTML book."""
    import json

    from ..base.places import BUILD
    from ..publishing.book import build_book
    from ..publishing.editions import checked
    from ..publishing.parallel import execute_all
    from ..publishing.parts import parts

    def on_done(name: str, path: Path, ran: bool) -> None:
        seconds = json.loads(path.read_text(encoding="utf-8"))["metadata"]["gen_utils"]["seconds"]
        typer.echo(f"{name} ({profile}): {f'ran in {seconds:.0f} s' if ran else 'up to date'}")

    checked(edition)
    headless()
    root = data_folder(data)
    out = None if out is None else out.resolve()
    settings: dict[str, Any] = dict(
        profile=profile, data_root=root, seed=seed, out=(out or BUILD) / profile / "notebooks", force=force
    )
    executed = execute_all(parts(), jobs=jobs, on_done=on_done, **settings)
    page = build_book(executed, profile=profile, data_root=root, out=out, edition=edition)
    typer.echo(f"\nThe book is ready. Open {page}")


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
