"""The command line: ``python -m gen_utils --help``."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="The generative-models workbook: check the machine, fetch data, run parts, build the book.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

models_app = typer.Typer(help="List the trained models, train one, or measure one again.", add_completion=False)
app.add_typer(models_app, name="models")

Profile = Annotated[str, typer.Option(help="quick, laptop or full")]
DataRoot = Annotated[str | None, typer.Option("--data", help="where datasets live; else $GEN_DATA_ROOT, else ./data")]
Seed = Annotated[int, typer.Option(help="of everything random")]
Force = Annotated[bool, typer.Option("--force", help="run again even when nothing changed")]
Jobs = Annotated[int | None, typer.Option(help="parts at a time; else one for each core in quick (4 at most), or one")]


def _root(data: str | None) -> str:
    from .data import data_root

    return str(data_root(data).resolve())


def _cards() -> Iterator[tuple[str, dict]]:
    """The trained models and their cards; of a damaged one a line says so."""
    from . import checkpoints

    for name in checkpoints.names():
        try:
            yield name, checkpoints.read_card(name)
        except ValueError as error:
            typer.echo(f"  {name}: {error}")


def _places_for_kernels() -> None:
    """Notebooks run in a folder of their own: what a variable names relative to this one gets its whole path.

    Kernels keep files in the home folder. A container under a user's number may have none, or one that is closed.
    """
    from .base.places import BUILD, chosen_folder

    for variable in ("GEN_RUNS", "GEN_INCEPTION", "XDG_CACHE_HOME"):
        if place := chosen_folder(variable):
            os.environ[variable] = str(place.resolve())
    if not os.access(os.path.expanduser("~"), os.W_OK):
        (BUILD / "home").mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(BUILD / "home")


def _headless() -> None:
    _places_for_kernels()
    os.environ["GEN_HEADLESS"] = "1"  # no progress bars in executed notebooks
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")


@app.command()
def doctor(data: DataRoot = None) -> None:
    """Say what is here: versions, device, datasets, trained models."""
    import torch

    from . import __version__
    from .data import data_root
    from .data.inventory import overview

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
    for name, card in _cards():
        size = f"{card['parameters']:>9,} parameters" if "parameters" in card else ""
        typer.echo(f"  {name:18} {card['model']:16} {size}, trained on {card.get('data', 'unnamed data')}")


@app.command(name="data")
def data_command(
    name: Annotated[str | None, typer.Argument(help="a dataset to fetch and check")] = None,
    data: DataRoot = None,
    prepare: Annotated[bool, typer.Option("--prepare", help="read all that is here; later loads are fast")] = False,
    size: Annotated[int | None, typer.Option(help="prepare images of size×size; else each set's usual size")] = None,
) -> None:
    """List the datasets and how to get them; with a name, fetch that one if it is missing, and read it whole."""
    from .data import CATALOG, data_root, load_images, lookup
    from .data.inventory import directions, overview
    from .data.load import find

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


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the trained models, train one, or measure one again."""
    if context.invoked_subcommand is None:
        for name, card in _cards():
            figures = card.get("metrics", {}).items()
            measured = ", ".join(f"{key.replace('_', ' ')} {value['value']}" for key, value in figures)
            told = f"{card.get('profile', '–'):7} {card.get('data', 'unnamed data')}: {measured or 'not measured'}"
            typer.echo(f"{name:18} {told}")


@models_app.command()
def train(
    name: str,
    profile: Profile = "laptop",
    data: DataRoot = None,
    seed: Seed = 0,
    script: Annotated[
        bool, typer.Option("--script", help="without Jupyter (chosen by itself where it is missing)")
    ] = False,
) -> None:
    """Train a model (an unfinished run goes on), write it to checkpoints/ and its numbers to results/."""
    import importlib.util

    from . import checkpoints
    from .base.places import BUILD
    from .publishing.execute import execute, run_as_script
    from .publishing.results import keep_records, keep_results
    from .shipped.registry import lookup

    model = lookup(name)
    if model.part is None:
        model.train(_root(data), seed=seed)
    else:
        _headless()
        settings: dict[str, Any] = dict(profile=profile, data_root=_root(data), seed=seed, ship=True)
        # Either way the model and the numbers shown beside it come from one run.
        if script or any(importlib.util.find_spec(need) is None for need in ("papermill", "jupytext", "ipykernel")):
            keep_records(run_as_script(model.part, **settings))
        else:
            path, _ = execute(model.part, out=BUILD / profile / "notebooks", force=True, **settings)
            keep_results(path)
    typer.echo(f"wrote checkpoints/{name}: {checkpoints.read_card(name)['metrics']}")


@models_app.command()
def evaluate(
    name: Annotated[str, typer.Argument(help="of a trained model, or all")],
    data: DataRoot = None,
    images: Annotated[
        int | None, typer.Option(help="at most so many; else as many as the card's figures stand for")
    ] = None,
    seed: Annotated[int, typer.Option(help="of everything drawn")] = 1,
    write: Annotated[bool, typer.Option("--write", help="put the figures and a grid of samples on the card")] = False,
) -> None:
    """Measure the figures of a model's card again, from its weights and real data, and compare."""
    from . import checkpoints
    from .shipped.compare import compare, measure
    from .shipped.pictures import save_picture
    from .shipped.registry import MODELS

    if write and images is not None:
        raise ValueError("--write wants the full number of images; leave --images out")
    differ = 0
    wanted = checkpoints.names() if name == "all" else [name]
    for stray in [each for each in wanted if each not in MODELS and name == "all"]:
        typer.echo(f"{stray}: left out, it has no row in gen_utils/shipped/registry.py")
        wanted.remove(stray)
    for each in wanted:
        card = checkpoints.read_card(each)
        found = measure(each, _root(data), images=images, seed=seed)
        typer.echo(f"{each} ({card['data']})")
        for row in compare(card, found):
            interval = (
                "" if row["interval"] is None else f"  95 %: {row['interval'][0]:.4g} to {row['interval'][1]:.4g}"
            )
            said = "not on the card" if row["card"] is None else f"card {row['card']:.5g}"
            verdict = {True: "agrees", False: "DIFFERS", None: ""}[row["agrees"]]
            typer.echo(f"  {row['figure']:22} {row['now']:.5g}  {said}  {verdict}{interval}")
            differ += row["agrees"] is False
        if write:
            metrics = {key: value.entry() for key, value in found.items()}
            again = f"python -m gen_utils models evaluate {each} --data path/to/data"
            checkpoints.rewrite_card(each, {"metrics": metrics, "measured": {"seed": seed, "command": again}})
            save_picture(each, _root(data))
    if differ and not write:
        raise ValueError(f"{differ} figures differ by more than chance")


@app.command()
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
    from .base.places import BUILD, ROOT
    from .publishing.parallel import execute_all
    from .publishing.parts import find_part, parts
    from .publishing.results import keep_results

    def on_done(name: str, path: Path, ran: bool) -> None:
        typer.echo(f"{'wrote' if ran else 'up to date:'} {path.relative_to(ROOT)}")
        if keep:
            typer.echo(f"wrote {keep_results(path).relative_to(ROOT)}")

    _headless()
    names = parts() if part == "all" else [find_part(part)]
    settings: dict[str, Any] = dict(
        profile=profile, data_root=_root(data), seed=seed, out=BUILD / profile / "notebooks", force=force
    )
    execute_all(names, jobs=jobs, on_done=on_done, **settings)


@app.command()
def book(
    profile: Profile = "quick",
    data: DataRoot = None,
    seed: Seed = 0,
    force: Force = False,
    jobs: Jobs = None,
    out: Annotated[Path | None, typer.Option(help="build somewhere else than _build")] = None,
) -> None:
    """Run what changed and build the HTML book."""
    import json

    from .base.places import BUILD
    from .publishing.book import build_book
    from .publishing.parallel import execute_all
    from .publishing.parts import parts

    def on_done(name: str, path: Path, ran: bool) -> None:
        seconds = json.loads(path.read_text(encoding="utf-8"))["metadata"]["gen_utils"]["seconds"]
        typer.echo(f"{name} ({profile}): {f'ran in {seconds:.0f} s' if ran else 'up to date'}")

    _headless()
    root = _root(data)
    out = None if out is None else out.resolve()
    settings: dict[str, Any] = dict(
        profile=profile, data_root=root, seed=seed, out=(out or BUILD) / profile / "notebooks", force=force
    )
    executed = execute_all(parts(), jobs=jobs, on_done=on_done, **settings)
    page = build_book(executed, profile=profile, data_root=root, out=out)
    typer.echo(f"\nThe book is ready. Open {page}")


@app.command()
def lab() -> None:
    """Open the notebooks in JupyterLab, at a page that links the parts (each is paired with its .py file)."""
    import jupytext
    import nbformat

    from .base.places import NOTEBOOKS
    from .publishing.landing import landing_notebook
    from .publishing.pairs import refuse_both_changed, remember
    from .publishing.parts import parts

    for name in parts():
        if not (NOTEBOOKS / f"{name}.ipynb").exists():
            source = NOTEBOOKS / f"{name}.py"
            subprocess.run([sys.executable, "-m", "jupytext", "--quiet", "--to", "ipynb", str(source)], check=True)
    refuse_both_changed()
    if parts():  # the student edition brings its own page
        notebooks = {name: jupytext.read(NOTEBOOKS / f"{name}.py") for name in parts()}
        nbformat.write(landing_notebook(notebooks), NOTEBOOKS / "start_here.ipynb")
    _places_for_kernels()
    # Of the kernels called python3, this Python's own comes first.
    environment = {**os.environ, "GEN_DATA_ROOT": _root(None), "JUPYTER_PREFER_ENV_PATH": "1"}
    command = [sys.executable, "-m", "jupyter", "lab", "start_here.ipynb"]
    try:
        raise typer.Exit(subprocess.call(command, cwd=NOTEBOOKS, env=environment))
    finally:  # Ctrl-C ends it, too
        remember()


@app.command()
def student(out: Annotated[Path, typer.Argument(help="a folder that does not exist yet, or an empty one")]) -> None:
    """Write the student edition: notebooks without solutions, and all they need."""
    from .publishing.student import write_student_edition

    notebooks = write_student_edition(out)
    typer.echo(f"wrote {len(notebooks)} notebooks to {out}; README.md there says how to begin")


@app.command()
def checks(
    out: Annotated[Path, typer.Option(help="the file to write")] = Path("my_checks.json"),
    name: Annotated[str, typer.Option(help="the student's name")] = "",
    folder: Annotated[Path | None, typer.Option(help="where the notebooks are")] = None,
) -> None:
    """Write what each check said last in the saved notebooks, copies included, for a teacher to collect."""
    import json

    from .base.files import write_atomically
    from .base.places import NOTEBOOKS
    from .publishing.gradebook import export_checks

    found = export_checks(folder or NOTEBOOKS, name)
    # A name from a terminal may hold bytes of another encoding; \udcff is how JSON writes them.
    write_atomically(out, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))
    for notebook, why in found["left out"].items():
        typer.echo(f"{notebook} is left out: it {why}")
    answers = [answer for part in found["parts"].values() for answer in part.values()]
    passed = sum(answer is not None and answer["passed"] for answer in answers)
    typer.echo(f"wrote {out}: {passed} of {len(answers)} checks passed, {answers.count(None)} not run")


@app.command()
def gradebook(
    files: Annotated[list[Path], typer.Argument(help="what students exported with `checks`")],
    out: Annotated[Path, typer.Option(help="the table to write")] = Path("gradebook.csv"),
) -> None:
    """Gather students' check results in one table; what is not in it is named."""
    from .base.files import write_atomically
    from .publishing.gradebook import gradebook as gather

    table, said = gather(files)
    write_atomically(out, table.encode("utf-8-sig"))  # without the mark, Excel takes names for another encoding's
    for sentence in said:
        typer.echo(sentence)
    typer.echo(f"wrote {out}: {table.count(chr(10)) - 1} of {len(files)} files")


@app.command()
def grade(
    hand_ins: Annotated[
        list[Path], typer.Argument(help="folders, archives or notebooks: a folder or a file a student")
    ],
    out: Annotated[Path, typer.Option(help="the folder to write to")] = Path("grades"),
    part: Annotated[
        list[str] | None, typer.Option(help="asked for, may be given again; else what was handed in")
    ] = None,
    key: Annotated[str, typer.Option(help="a secret text, or a file that holds one: it selects hidden cases")] = "",
    hidden: Annotated[int, typer.Option(help="how many sets of hidden cases")] = 3,
    options: Annotated[Path | None, typer.Option(help="JSON: points, slips, worth, late, accept")] = None,
    roster: Annotated[Path | None, typer.Option(help="the class, as Canvas or Moodle export it")] = None,
    deadline: Annotated[str, typer.Option(help="such as '2026-05-01 23:59'")] = "",
    times: Annotated[Path | None, typer.Option(help="a table student,time; else a file's own time counts")] = None,
    seconds: Annotated[float, typer.Option(help="for one exercise")] = 30.0,
    memory: Annotated[float, typer.Option(help="GB for one student")] = 2.0,
    jobs: Annotated[int, typer.Option(help="students at a time; else one for each core")] = 0,
) -> None:
    """Run the exercises of hand-ins again under the workbook's own checks, and write grades and feedback."""
    from .publishing.grading.grade import Grading, keys_of, write
    from .publishing.grading.grade import grade as graded
    from .publishing.grading.points import Points, read_points
    from .publishing.grading.roster import USUAL, moment, read_roster, read_times
    from .publishing.parts import exercises, find_part

    known = [f"{name[:2]}/{each}" for name, every in exercises().items() for each in every]
    columns, people = read_roster(roster) if roster else (USUAL, [])
    for name, value in {"hidden": hidden, "seconds": seconds, "memory": memory, "jobs": jobs}.items():
        if not (value > 0 or (value == 0 and name in ("hidden", "jobs"))):
            raise ValueError(f"--{name} is {value}; it must be above 0")
    grading = Grading(
        parts=[find_part(each) for each in part or ()],
        keys=keys_of(key, hidden) if key else (),
        points=read_points(options, known) if options else Points(),
        deadline=moment(deadline) if deadline else None,
        times=read_times(times) if times else {},
        seconds=seconds,
        memory=int(memory * 2**30),
        jobs=jobs or os.cpu_count() or 1,
        columns=columns,
        people=people,
    )

    def on_done(done: int, of: int) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r{done} of {of} answers", nl=done == of, err=True)

    report = graded(hand_ins, grading, on_done)
    written = write(report, columns, out)
    for sentence in [*report["left out"], report["isolation"]]:
        typer.echo(sentence)
    for group in report["alike"]:
        typer.echo(f"{group['exercise']}: {', '.join(group['students'])} wrote the same, but for names and comments")
    rows = [row for student in report["students"] for row in student["exercises"].values()]
    held = sum(row["status"] == "held" for row in rows)
    solved = sum(row["status"] == "passed" for row in rows)
    typer.echo(f"wrote {out}: {len(report['students'])} students, {len(written) - 2} pages of feedback, {solved} of "
               f"{len(rows)} answers right, {held} to look at (status held in grades.json)")  # fmt: skip


def main() -> None:
    """Run the command line; the package's own errors become one line, without a traceback."""
    from .data import DataError

    try:
        app()
    except (DataError, FileNotFoundError, FileExistsError, ValueError, RuntimeError) as error:
        if os.environ.get("GEN_TRACEBACK"):
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
