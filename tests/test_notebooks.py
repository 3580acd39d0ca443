"""Notebooks are plain Python whose exercises, solutions and checks match up."""

import ast
import os
import re
import sys
from collections import Counter

import jupytext
import pytest

from gen_utils.base.places import NOTEBOOKS, ROOT
from gen_utils.publishing.parts import exercises, parts

PARTS = parts()


def cells(part):
    return jupytext.read(NOTEBOOKS / f"{part}.py").cells


@pytest.mark.parametrize("part", PARTS)
def test_plain_python(part):
    ast.parse((NOTEBOOKS / f"{part}.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize("part", PARTS)
def test_parameters_are_the_three_of_every_notebook(part):
    (cell,) = [c for c in cells(part) if "parameters" in c.metadata.get("tags", ())]
    names = [node.targets[0].id for node in ast.parse(cell.source).body]
    assert names[:3] == ["profile", "data_root", "seed"]


@pytest.mark.parametrize("part", PARTS)
def test_stub_and_solution_have_one_signature(part):
    def signatures(tag):
        found = {}
        for cell in cells(part):
            if cell.cell_type == "code" and tag in cell.metadata.get("tags", ()):
                for node in ast.parse(cell.source).body:
                    if isinstance(node, ast.FunctionDef):
                        found[node.name] = ast.dump(node.args)
        return found

    stubs, solutions = signatures("exercise"), signatures("solution")
    assert stubs and stubs == solutions


@pytest.mark.parametrize("part", PARTS)
def test_every_exercise_has_a_solution_and_a_check(part):
    text = (NOTEBOOKS / f"{part}.py").read_text(encoding="utf-8")
    labels = re.findall(r"exercise-start\}.*\n# :label: (\S+)", text)
    assert labels and labels == re.findall(r"solution-start\} (\S+)", text)
    assert text.count("exercise-end") == text.count("solution-end") == len(labels)
    assert len([c for c in cells(part) if "check" in c.metadata.get("tags", ())]) == len(labels)
    assert len(exercises()[part]) == len(labels)  # which the grade book counts


@pytest.mark.parametrize("part", PARTS)
def test_solution_fences_are_tagged_so_that_a_student_edition_can_drop_them(part):
    for cell in cells(part):
        if "solution-start" in cell.source or "solution-end" in cell.source:
            assert "solution" in cell.metadata.get("tags", ())
        if "exercise-start" in cell.source or "exercise-end" in cell.source:
            assert "solution" not in cell.metadata.get("tags", ())


def first_code_cell(part):
    return next(cell.source for cell in cells(part) if cell.cell_type == "code")


def test_every_notebook_begins_with_the_same_cell():
    assert len({first_code_cell(part) for part in PARTS}) == 1


def test_a_notebook_finds_the_workbook_from_below(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(NOTEBOOKS)
    exec(first_code_cell(PARTS[0]), {})
    assert os.getcwd() == sys.path[0] == str(ROOT)


def test_a_notebook_outside_the_workbook_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="open this notebook inside the workbook's folder"):
        exec(first_code_cell(PARTS[0]), {})
    assert os.getcwd() == str(tmp_path)


def test_no_two_places_have_one_label():
    """A label names one equation, exercise or algorithm of the whole book."""
    found = Counter(
        label
        for path in NOTEBOOKS.glob("[0-9]*.py")
        for label in re.findall(r"^# :label: (\S+)$", path.read_text(encoding="utf-8"), re.M)
    )
    assert found and not [label for label, times in found.items() if times > 1]
