"""Grading a class: read the hand-ins, run each exercise under its check, and write what came out."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ... import __version__
from ...base.files import write_atomically
from ..gradebook import plain
from ..parts import exercises
from . import feedback
from .alike import alike
from .hand_in import Notebook, Student, answers, gather
from .points import Points
from .roster import USUAL, find, time_of
from .run import run
from .sources import Reader
from .statements import Statement, first_found, needed
from .table import table
from .vetting import objection
from .workbook import Exercise, Part, part

KIND = "gen_utils grades, version 1"


@dataclass(frozen=True)
class Grading:
    """How to grade.

    Attributes:
        parts: asked for; empty: all that somebody handed in. keys: of the hidden cases. seconds: for one exercise.
        memory: bytes for one process. deadline: seconds since 1970. times: a student -> when it was handed in.
        columns, people: who should have handed in, and the columns that say so.
    """

    parts: Sequence[str] = ()
    keys: Sequence[int] = ()
    points: Points = field(default_factory=Points)
    seconds: float = 20.0
    memory: int = 2 * 2**30
    jobs: int = 2
    deadline: float | None = None
    times: Mapping[str, float] = field(default_factory=dict)
    columns: Sequence[str] = USUAL
    people: Sequence[dict[str, str]] = ()


def keys_of(secret: str, number: int) -> list[int]:
    """The keys of so many hidden rounds, which nobody finds without the secret: a text, or the name of its file."""
    text = secret.encode(errors="surrogateescape")
    with suppress(OSError, ValueError):  # too long for a name, or none
        text = Path(secret).read_bytes().strip()
    digests = (hashlib.sha256(b"%d:" % i + text).digest() for i in range(number))
    return [int.from_bytes(digest[:4]) | 1 for digest in digests]


def grade(
    paths: Sequence[Path], grading: Grading, on_done: Callable[[int, int], object] = lambda done, of: None
) -> dict[str, Any]:
    """Grade what lies in folders, archives and files; the report holds everything that is written.

    Args:
        on_done: called with the number of exercises that have been run, and of all that are to be.

    Raises:
        ValueError: no notebook of a student in it.
        RuntimeError: nothing can be run.
    """
    reader, known = Reader(), exercises()
    students = gather(reader.read(paths), known, reader.said)
    asked = [name for name in known if name in (grading.parts or {b.part for s in students for b in s.notebooks})]
    if not any(student.of(name) for student in students for name in asked):
        raise ValueError("no student's notebook to grade; " + "; ".join(reader.said or ["nothing was found"]))
    parts = [part(name) for name in asked]
    entries = _entries(students, grading, reader.said)
    tasks, written, done = [], {}, 0
    for i, (student, entry) in enumerate(zip(students, entries, strict=False)):
        for each in parts:
            task = _task(student, entry, each, grading, written)
            if task:
                tasks.append({"student": i, "part": each.name, "checks": each.checks, "exercises": task})
    number = sum(len(task["exercises"]) for task in tasks)

    def on_answer(message: dict) -> None:
        nonlocal done
        who, key = message.pop("student"), f"{message.pop('part')[:2]}/{message.pop('exercise')}"
        entries[who]["exercises"][key] = {**message, "message": plain(str(message["message"]))[:600]}
        done += 1
        on_done(done, number)

    controls = [_control(each, grading.keys) for each in parts]
    isolated, unsound = run(
        tasks, controls, on_answer, jobs=grading.jobs, seconds=grading.seconds, memory=grading.memory
    )
    reader.said += [f"{each}: the workbook's own answer does not pass; look at that check" for each in unsound]
    for entry, student in zip(entries, [*students, *[None] * (len(entries) - len(students))], strict=True):
        _finish(entry, student, parts, grading)
    solutions = frozenset().union(*(each.solutions for each in parts))
    ran = {key: statement for key, statements_ in written.items() if (statement := statements_[-1])}
    return {
        "kind": KIND,
        "version": __version__,
        "graded": datetime.now().astimezone().isoformat(timespec="seconds"),
        "isolation": isolated,
        "hidden cases": len(grading.keys),
        "parts": asked,
        "most": entries[0]["most"],
        "students": entries,
        "alike": alike(ran, solutions, len(students)),
        "left out": reader.said,
    }


def write(report: Mapping[str, Any], columns: Sequence[str], out: Path) -> list[Path]:
    """Write grades.csv, grades.json and a page of feedback for each student into a folder; returns what was written.

    Raises:
        CannotWrite: the disk is full or read-only.
    """
    pages, taken = out / "feedback", set()
    pages.mkdir(parents=True, exist_ok=True)
    every = list(report["students"][0]["exercises"])
    files = {
        out / "grades.csv": table(columns, every, report["students"], report["most"]).encode("utf-8-sig"),
        out / "grades.json": (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode(
            errors="backslashreplace"
        ),
    }
    hidden = f" The hidden cases are {report['hidden cases']} more sets of numbers." if report["hidden cases"] else ""
    for student in report["students"]:
        if student["files"]:
            said = f"The exercises were run again, with the workbook's own checks. {report['isolation']}{hidden}"
            name = feedback.file_name(student["name"], taken)
            files[pages / name] = feedback.page(student, report["parts"], said).encode(errors="replace")
    for path, data in files.items():
        write_atomically(path, data)
    return list(files)


def _entries(students: Sequence[Student], grading: Grading, said: list[str]) -> list[dict]:
    """What the report says of each student; those of the class who handed nothing in come last."""
    entries, met = [], []
    for student in students:
        person = find(student.name, student.id, grading.people)
        if person is None and grading.people:
            said.append(
                f"{student.name} is in no line of the class list, or in several; the table has the name as it is"
            )
        elif person is not None and any(person is each for each in met):
            said.append(f"{student.name} is a second hand-in of one student; it has a row of its own")
        met.append(person)
        entries.append(_entry(student.key, student.name, person or _who(student, grading.columns)))
    for person in grading.people:
        if not any(person is each for each in met):
            name = next(value for value in person.values() if value)
            entries.append(_entry(name, plain(name), person))
    return entries


def _entry(key: str, name: str, who: Mapping[str, str]) -> dict:
    return {
        "student": key,
        "name": name,
        "who": dict(who),
        "files": [],
        "exercises": {},
        "late": [],
        "missing": [],
        "said": [],
    }


def _who(student: Student, columns: Sequence[str]) -> dict[str, str]:
    """A student of whom only the hand-in tells, in the columns of the table."""
    column = next(
        (c for c in ("Student", "Full name", "Name", "name", "student", "Username") if c in columns), columns[0]
    )
    return {column: student.name} | ({"ID": student.id} if "ID" in columns and student.id else {})


def _task(student: Student, entry: dict, of: Part, grading: Grading, written: dict) -> list[dict]:
    """What is to be run of one part; what is not run is in the entry at once."""
    notebooks, wanted = student.of(of.name), []
    for exercise in of.exercises:
        key = f"{of.name[:2]}/{exercise.name}"
        found = answers(notebooks, exercise.answers)
        ready, held = [], None
        for statement, names in found:
            needs = needed(statement, first_found(names, of.table))
            accepted = any(f"{who}/{key}" in grading.points.accept for who in (student.key, student.name))
            said = None if accepted else _objection(needs, names, of)
            held = held or said
            if not said:
                ready.append({"needs": [each.text for each in needs]})
                written.setdefault((student.key, key), []).append(statement)
        if ready:
            wanted.append({"name": exercise.name, "call": exercise.call, "wants": exercise.answers, "answers": ready})
        elif held:
            entry["exercises"][key] = _outcome("held", f"the cell {held}")
        else:
            entry["exercises"][key] = _not_there(notebooks, exercise)
    return wanted


def _control(of: Part, keys: Sequence[int]) -> dict:
    """The workbook's own answers. A set of hidden cases that they do not pass is not used."""
    wanted = []
    for exercise in of.exercises:
        needs = needed(of.table[exercise.answers[0]], first_found(of.table))
        asked = {"name": exercise.name, "call": exercise.call, "wants": exercise.answers, "keys": list(keys)}
        wanted.append({**asked, "answers": [{"needs": [each.text for each in needs]}]})
    return {"student": -1, "part": of.name, "checks": of.checks, "exercises": wanted}


def _objection(needs: Sequence[Statement], own: Mapping[str, Statement], of: Part) -> str | None:
    """What no exercise needs, in a student's own statements or in any import; what else the workbook wrote is known."""
    outside = frozenset(name for name in of.table if name not in own)
    texts = {each.text for each in of.table.values()}
    for each in needs:
        trusted = each.text in texts and not isinstance(each.node, (ast.Import, ast.ImportFrom))
        if not trusted and (said := objection(each.node, outside)):
            return said
    return None


def _not_there(notebooks: Sequence[Notebook], exercise: Exercise) -> dict:
    """Why there is no answer: a cell that Python cannot read, or none at all."""
    for notebook in reversed(notebooks):
        for text, why in notebook.unreadable:
            if f"def {exercise.answers[0]}" in text:
                return _outcome("wrong", f"your cell is not Python: {plain(why)}.")
    return _outcome("missing", "not handed in.") if not notebooks else _outcome("not written", "not written yet.")


def _outcome(status: str, message: str) -> dict:
    return {"status": status, "message": message, "slip": None}


def _finish(entry: dict, student: Student | None, parts: Sequence[Part], grading: Grading) -> None:
    """Late and missing parts, and the points."""
    entry["files"] = [notebook.label for notebook in student.notebooks] if student else []
    given = student and time_of(dict(grading.times), student.key, student.name, student.id, *entry["who"].values())
    rows = {}
    for of in parts:
        notebooks = student.of(of.name) if student else []
        late = bool(notebooks) and _late(notebooks, given, grading.deadline, bool(student and student.marked_late))
        if not notebooks:
            entry["missing"].append(of.name)
        if late:
            entry["late"].append(of.name)
        for exercise in of.exercises:
            key = f"{of.name[:2]}/{exercise.name}"
            outcome = entry["exercises"].get(key) or _outcome("missing", "not handed in.")
            points = {"points": grading.points.of(key, outcome, late), "most": grading.points.most(key)}
            rows[key] = {"part": of.name, **outcome, **points}
        for notebook in notebooks:
            for text, why in notebook.unreadable:
                if not any(f"def {exercise.answers[0]}" in text for exercise in of.exercises):
                    entry["said"].append(f"A cell of {notebook.label} is not Python and was left out: {plain(why)}.")
    factor = grading.points.late
    entry["late counts"] = "" if factor == 1 else f", so that it counts {factor:.0%}"
    entry["exercises"] = rows
    entry["points"] = round(sum(row["points"] for row in rows.values()), 4)
    entry["most"] = round(sum(row["most"] for row in rows.values()), 4)


def _late(notebooks: Sequence[Notebook], given: float | None, deadline: float | None, marked: bool) -> bool:
    if deadline is None:
        return marked
    return (given if given is not None else max(notebook.time for notebook in notebooks)) > deadline
