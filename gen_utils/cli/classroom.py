"""For a class: the student edition, what the checks said, and grades."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def student(out: Annotated[Path, typer.Argument(help="a folder that does not exist yet, or an empty one")]) -> None:
    """Write the student edition: notebooks without solutions, and all they need."""
    from ..publishing.student import write_student_edition

    notebooks = write_student_edition(out)
    typer.echo(f"wrote {len(notebooks)} notebooks to {out}; README.md there says how to begin")


def checks(
    out: Annotated[Path, typer.Option(help="the file to write")] = Path("my_checks.json"),
    name: Annotated[str, typer.Option(help="the student's name")] = "",
    folder: Annotated[Path | None, typer.Option(help="where the notebooks are")] = None,
) -> None:
    """Write what each check said last in the saved notebooks, copies included, for a teacher to collect."""
    import json

    from ..base.files import write_atomically
    from ..base.places import NOTEBOOKS
    from ..publishing.gradebook import export_checks

    found = export_checks(folder or NOTEBOOKS, name)
    # A name from a terminal may hold bytes of another encoding; \udcff is how JSON writes them.
    write_atomically(out, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))
    for notebook, why in found["left out"].items():
        typer.echo(f"{notebook} is left out: it {why}")
    answers = [answer for part in found["parts"].values() for answer in part.values()]
    passed = sum(answer is not None and answer["passed"] for answer in answers)
    typer.echo(f"wrote {out}: {passed} of {len(answers)} checks passed, {answers.count(None)} not run")


def gradebook(
    files: Annotated[list[Path], typer.Argument(help="what students exported with `checks`")],
    out: Annotated[Path, typer.Option(help="the table to write")] = Path("gradebook.csv"),
) -> None:
    """Gather students' check results in one table; what is not in it is named."""
    from ..base.files import write_atomically
    from ..publishing.gradebook import gradebook as gather

    table, said = gather(files)
    write_atomically(out, table.encode("utf-8-sig"))  # without the mark, Excel takes names for another encoding's
    for sentence in said:
        typer.echo(sentence)
    typer.echo(f"wrote {out}: {table.count(chr(10)) - 1} of {len(files)} files")


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
    from ..publishing.exercises import all_exercises
    from ..publishing.grading.grade import Grading, keys_of, write
    from ..publishing.grading.grade import grade as graded
    from ..publishing.grading.points import Points, read_points
    from ..publishing.grading.roster import USUAL, moment, read_roster, read_times
    from ..publishing.parts import find_part

    stated = {exercise.key: float(exercise.points) for exercise in all_exercises()}
    columns, people = read_roster(roster) if roster else (USUAL, [])
    for name, value in {"hidden": hidden, "seconds": seconds, "memory": memory, "jobs": jobs}.items():
        if not (value > 0 or (value == 0 and name in ("hidden", "jobs"))):
            raise ValueError(f"--{name} is {value}; it must be above 0")
    grading = Grading(
        parts=[find_part(each) for each in part or ()],
        keys=keys_of(key, hidden) if key else (),
        points=read_points(options, stated) if options else Points(worth=stated),
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
