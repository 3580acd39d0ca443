"""Whose a notebook is, of which part, and what it answers."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import jupytext

from ..gradebook import part_of, plain
from .sources import Source
from .statements import Statement, Unreadable, is_stub, light, statements

# Moodle: Anna Lee_12345_assignsubmission_file_…; Canvas: leeanna_LATE_12345_67890_…, the first is the student's.
_MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_[a-z]+_?(?P<rest>.*)")
_CANVAS = re.compile(r"(?P<name>[^\W_]+)_(?P<late>LATE_)?(?P<id>\d{3,})_\d{3,}(?:_(?P<rest>.*))?")
_COPY = re.compile(r"[ _-]+copy ?\d*$|^copy of |[ _-]*\(\d+\)$", re.I)
MANY_ANSWERS = 4  # to one exercise, the latest of them


@dataclass
class Notebook:
    """One notebook as it was handed in: what its cells bind, and those that are not Python."""

    label: str
    part: str
    time: float
    cells: list[list[Statement]]
    unreadable: list[tuple[str, str]]  # a cell's text, and why


@dataclass
class Student:
    """A student's hand-ins."""

    key: str
    name: str = ""
    id: str = ""
    marked_late: bool = False
    notebooks: list[Notebook] = field(default_factory=list)

    def of(self, part: str) -> list[Notebook]:
        """The notebooks of a part, copies included, the latest last."""
        return sorted((each for each in self.notebooks if each.part == part), key=lambda each: each.time)


def gather(sources: Iterable[Source], known: Mapping[str, Sequence[str]], said: list[str]) -> list[Student]:
    """The students, in the order of their keys; what is nobody's or no part's gets a sentence in ``said``."""
    students: dict[str, Student] = {}
    for source in sources:
        owner, rest = _owner(source, known)
        student = students.setdefault(owner.key.casefold(), owner)
        student.marked_late |= owner.marked_late
        try:
            if source.place.suffix.lower() == ".json":
                student.name = student.name if student.id else _name_in(source) or student.name
            elif rest != "start_here" and (found := notebook(source, rest, known)) is not None:
                student.notebooks.append(found)
        except ValueError as error:
            said.append(f"{source.label} is left out: it {error}")
    return [students[key] for key in sorted(students)]


def notebook(source: Source, name: str, known: Mapping[str, Sequence[str]]) -> Notebook | None:
    """Read a notebook; None when it has no exercise at all, such as a page of notes.

    Raises:
        ValueError: it cannot be read, or it does not say of which part it is.
    """
    codes, mark = _codes(source)
    cells, unreadable = [], []
    for text in codes:
        try:
            cells.append(statements(text))
        except Unreadable as error:
            unreadable.append((text, str(error)))
    every = {exercise for names in known.values() for exercise in names}
    asked = dict.fromkeys(re.findall(r"^\s*checks\.(\w+)\(", "\n".join(codes), re.M))
    bound = {each.name for cell in cells for each in cell}
    if not mark and not asked and not bound & every:
        return None
    part = part_of(mark, name, asked or {each: None for each in bound & every}, known)
    return Notebook(source.label, part, source.time, cells, unreadable)


def answers(notebooks: Sequence[Notebook], names: Sequence[str]) -> list[tuple[Statement, dict]]:
    """What was written for an exercise, in all copies: each different answer with the names its notebook binds.

    The functions a notebook defines twice, out of order or in cells of its own, count as so many answers.
    """
    found: dict[str, tuple[Statement, dict]] = {}
    for each in notebooks:
        table = {s.name: s for cell in each.cells for s in cell if s.name not in names and (light(s) or is_stub(s))}
        for cell in each.cells:
            for statement in cell:
                if statement.name == names[0] and not is_stub(statement):
                    found.pop(statement.text.strip(), None)
                    found[statement.text.strip()] = (statement, table)
    return list(found.values())[-MANY_ANSWERS:]


def _owner(source: Source, known: Mapping[str, Sequence[str]]) -> tuple[Student, str]:
    """The student that a file's place names, and the rest of the file's name."""
    folder, stem = source.place.parts[0], source.place.stem
    named = folder if len(source.place.parts) > 1 else stem
    if match := _MOODLE.fullmatch(named) or _CANVAS.fullmatch(named):
        name, late = plain(match["name"]), bool(match.groupdict().get("late"))
        rest = stem if len(source.place.parts) > 1 else match["rest"] or stem
        return Student(f"{name} {match['id']}", name, match["id"], late), rest
    if len(source.place.parts) > 1:
        return Student(plain(folder), plain(folder)), stem
    name = stem
    for part in sorted(known, key=len, reverse=True):
        name = re.sub(rf"(?<![^\W_])({part}|{part.split('_', 1)[1]})(?![^\W_])", "", name)
    name = _COPY.sub("", name).strip(" _-.")
    name = "" if name in ("my_checks", "start_here") else name  # a student's own folder was named
    name = plain(name or source.home)
    return Student(name, name), stem


def _codes(source: Source) -> tuple[list[str], object]:
    """The text of each code cell, and the mark that the student edition has put on the notebook."""
    if source.place.suffix.lower() == ".py":
        try:
            text = source.data.decode("utf-8-sig")
            with warnings.catch_warnings(action="ignore"):
                cells = jupytext.reads(text, fmt="py:percent").cells
        except UnicodeDecodeError:
            raise ValueError("is not UTF-8 text; save it again as a notebook") from None
        except Exception:  # of a broken header or a bracket that never closes, jupytext tells in many ways
            raise ValueError("cannot be read as a notebook") from None
        return [cell.source for cell in cells if cell.cell_type == "code"], None
    if not source.data.strip():
        raise ValueError("is empty")
    try:
        found = json.loads(source.data)
        codes = ["".join(cell["source"]) for cell in found["cells"] if cell["cell_type"] == "code"]
        metadata = found.get("metadata") or {}
        mark = (metadata.get("gen_utils") or {}).get("part")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise ValueError("is not a whole notebook; open it in JupyterLab and save it again") from None
    return codes, mark


def _name_in(source: Source) -> str:
    """The name in a file that ``checks`` has written."""
    try:
        found = json.loads(source.data)
        return plain(str(found.get("name") or "")) if str(found.get("kind")).startswith("gen_utils checks") else ""
    except (ValueError, RecursionError, AttributeError):
        return ""
