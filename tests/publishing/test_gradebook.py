"""Hand-ins are read whatever is in them; what cannot be read is named, and nothing is counted twice or by mistake."""

import csv
import io
import json
import os
import subprocess
import sys

import nbformat
import pytest

from gen_utils import report
from gen_utils.base.places import ROOT
from gen_utils.publishing import parts as known_parts
from gen_utils.publishing.gradebook import KIND, export_checks, gradebook
from gen_utils.publishing.parts import exercises, find_part, parts

KNOWN = {"02_x": ["step", "loss"], "05_y": ["ece"]}
YES, NO = {"passed": True, "slip": None}, {"passed": False, "slip": "sign"}


def hand_in(folder, file, parts, name="Anna", **more):
    path = folder / file
    path.write_text(json.dumps({"kind": KIND, "name": name, "parts": parts, **more}), encoding="utf-8")
    return path


def rows(table):
    return list(csv.reader(io.StringIO(table)))


def notebook(path, answers, part=None, stubs=()):
    """A saved notebook whose checks said ``answers``: (exercise, execution count, passed), cell by cell."""
    book = nbformat.v4.new_notebook()
    for exercise, count, passed in answers:
        entry = {"name": f"check/{exercise}", "value": {"passed": passed, "slip": None}}
        output = nbformat.v4.new_output("display_data", {report.MIME: entry})
        cell = nbformat.v4.new_code_cell(f"checks.{exercise}({exercise}).or_stop()", outputs=[output])
        cell.execution_count = count
        book.cells.append(cell)
    book.cells += [nbformat.v4.new_code_cell(f"checks.{exercise}({exercise}).or_stop()") for exercise in stubs]
    if part:
        book.metadata["gen_utils"] = {"part": part}
    path.write_text(nbformat.writes(book), encoding="utf-8")
    return path


def test_two_students_and_every_exercise_of_the_workbook(tmp_path):
    anna = hand_in(tmp_path, "a.json", {"02_x": {"step": YES, "loss": None}})
    ben = hand_in(tmp_path, "b.json", {"02_x": {"step": NO}}, "Ben")
    table, said = gradebook([anna, ben, anna], KNOWN)
    assert table.splitlines() == [
        "file,name,02/step,02/loss,05/ece,passed of 3",
        "a.json,Anna,1,,,1",
        "b.json,Ben,0,,,0",
    ]
    assert not said


def test_the_columns_are_the_exercises_of_this_workbook(tmp_path):
    everything = [(part, exercise) for part, names in exercises().items() for exercise in names]
    assert len(everything) >= 60 and {part for part, _ in everything} == set(parts())
    table, _ = gradebook([hand_in(tmp_path, "a.json", {})])
    assert rows(table)[0][2:] == [*(f"{part[:2]}/{each}" for part, each in everything), f"passed of {len(everything)}"]


@pytest.mark.parametrize("name", ["02_x-Copy1", "02_x (1)", "02_x - Copy", "Copy of 02_x", "02_x_final"])
def test_a_copy_adds_no_column_and_no_second_pass(tmp_path, name):
    path = hand_in(tmp_path, "a.json", {"02_x": {"step": YES, "loss": NO}, name: {"step": NO, "loss": YES}})
    table, said = gradebook([path], KNOWN)
    assert rows(table)[1] == ["a.json", "Anna", "1", "1", "", "2"] and not said


def test_what_is_no_part_or_no_exercise_of_the_workbook_is_named(tmp_path):
    path = hand_in(tmp_path, "a.json", {"02_x": {"step": YES, "=1+1": YES}, "my notes": {"bonus": YES}})
    table, said = gradebook([path], KNOWN)
    assert rows(table)[0][-1] == "passed of 3" and rows(table)[1][-1] == "1"
    assert said == [
        "a.json has answers to =1+1, no exercise of 02_x",
        "a.json has answers in my notes, which is no part of this workbook",
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not hold check results"),
        (b"[1, 2]", "does not hold check results"),
        (b'{"kind": "gen_utils checks, version 1"', "does not hold check results"),
        (b"[" * 100_000, "does not hold check results"),
        (b"\xff\xfe\x00\xd8", "does not hold check results"),
        ({"parts": None}, "does not hold check results"),
        ({"parts": []}, "does not hold check results"),
        ({"parts": {"02_x": None}}, "says nothing that can be read about 02_x"),
        ({"parts": {"02_x": {"step": {"slip": None}}}}, 'says {"slip": null} about 02_x/step, which no check does'),
        ({"parts": {"02_x": {"step": {"passed": None}}}}, "which no check does"),
        ({"parts": {"02_x": {"step": {"passed": "false"}}}}, "which no check does"),
        ({"parts": {"02_x": {"step": {"passed": 1}}}}, "which no check does"),
        ({"parts": {"02_x": {"step": True}}}, "which no check does"),
    ],
)
def test_a_hand_in_that_cannot_be_read_is_named_and_the_others_go_on(tmp_path, content, why):
    bad = tmp_path / "bad.json"
    bad.write_bytes(content if isinstance(content, bytes) else json.dumps({"kind": KIND, **content}).encode())
    good = hand_in(tmp_path, "good.json", {"02_x": {"step": YES}})
    table, (said,) = gradebook([bad, good], KNOWN)
    assert rows(table)[1:] == [["good.json", "Anna", "1", "", "", "1"]]
    assert said.startswith("bad.json is left out: it ") and why in said and "\n" not in said


def test_a_file_that_is_not_there_and_a_folder_are_named(tmp_path):
    _, said = gradebook([tmp_path / "none.json", tmp_path], KNOWN)
    assert said[0] == "none.json is left out: it cannot be read (No such file or directory)"
    assert said[1].startswith(f"{tmp_path.name} is left out: it cannot be read (")


@pytest.mark.parametrize("name", [None, "", "  "])
def test_a_hand_in_without_a_name_is_counted_and_named(tmp_path, name):
    table, said = gradebook([hand_in(tmp_path, "a.json", {"02_x": {"step": YES}}, name)], KNOWN)
    assert rows(table)[1][:3] == ["a.json", "", "1"] and said == ["a.json has no name"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_an_editor_may_have_saved_the_file_in_its_own_encoding(tmp_path, encoding):
    path = tmp_path / "a.json"
    text = json.dumps({"kind": KIND, "name": "Zoë", "parts": {"02_x": {"step": YES}}}, ensure_ascii=False)
    path.write_bytes(text.encode(encoding))
    table, said = gradebook([path], KNOWN)
    assert rows(table)[1][:3] == ["a.json", "Zoë", "1"] and not said


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ('=HYPERLINK("http://x","y")', '\'=HYPERLINK("http://x","y")'),
        (" +1", "'+1"),
        ("-1+1|cmd", "'-1+1|cmd"),
        ("\t@SUM(A1)", "'@SUM(A1)"),
        ("Anna\r\nLee", "Anna Lee"),
        ("\x1b[31mred\udcff", "�[31mred�"),
        (17, "17"),
        ("O'Neil, Ann", "O'Neil, Ann"),
    ],
)
def test_a_name_is_text_in_a_spreadsheet_and_in_a_terminal(tmp_path, name, cell):
    table, _ = gradebook([hand_in(tmp_path, "a.json", {}, name)], KNOWN)
    assert rows(table)[1][1] == cell
    table.encode()


def test_a_file_name_is_text_too(tmp_path):
    table, _ = gradebook([hand_in(tmp_path, "=1.json", {})], KNOWN)
    assert rows(table)[1][0] == "'=1.json"


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    files = []
    for student in ("anna", "ben"):
        (tmp_path / student).mkdir()
        files.append(hand_in(tmp_path / student, "my_checks.json", {}))
    table, _ = gradebook(files, KNOWN)
    assert [row[0] for row in rows(table)[1:]] == [str(path) for path in files]


def test_a_student_edition_knows_no_columns(tmp_path):
    with pytest.raises(ValueError, match="not in a student edition"):
        gradebook([hand_in(tmp_path, "a.json", {})], {})


def test_the_last_answer_is_that_of_the_highest_execution_count(tmp_path):
    notebook(tmp_path / "02_ebm_mnist.ipynb", [("noise_for_wall", 9, True), ("noise_for_wall", 4, False)])
    assert export_checks(tmp_path)["parts"]["02_ebm_mnist"]["noise_for_wall"]["passed"]


def test_a_check_that_was_not_run_is_in_the_export(tmp_path):
    notebook(tmp_path / "02_ebm_mnist.ipynb", [("noise_for_wall", 1, True)], stubs=["draw_starts"])
    assert export_checks(tmp_path)["parts"]["02_ebm_mnist"] == {"noise_for_wall": YES, "draw_starts": None}


@pytest.mark.parametrize("copied", ["02_ebm_mnist-Copy1", "02_ebm_mnist (1)", "mine", "9"])
def test_copies_are_merged_and_solved_in_one_is_solved(tmp_path, copied):
    part = "02_ebm_mnist"
    notebook(
        tmp_path / f"{part}.ipynb", [("noise_for_wall", 1, True), ("draw_starts", 2, False)], part, ["langevin_step"]
    )
    notebook(tmp_path / f"{copied}.ipynb", [("noise_for_wall", 3, False), ("draw_starts", 4, True)], part)
    found = export_checks(tmp_path, "Anna")
    assert found["parts"] == {part: {"noise_for_wall": YES, "draw_starts": YES, "langevin_step": None}}
    assert not found["left out"]


def test_a_renamed_notebook_without_a_mark_is_known_by_its_checks(tmp_path):
    notebook(tmp_path / "mine.ipynb", [("noise_for_wall", 1, True), ("contrastive_loss", 2, True)])
    notebook(tmp_path / "other.ipynb", [("langevin_step", 1, True)])  # several parts have one
    notebook(tmp_path / "start_here.ipynb", [])
    found = export_checks(tmp_path)
    assert list(found["parts"]) == ["02_ebm_mnist"]
    assert list(found["left out"]) == ["other.ipynb"]
    assert "does not say of which part" in found["left out"]["other.ipynb"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"cells": [',
        b"[]",
        b'{"cells": null}',
        b'{"cells": [null]}',
        b'{"cells": [{"cell_type": "code", "source": "", "outputs": null}]}',
        b'{"cells": [{"cell_type": "code", "source": null, "outputs": []}]}',
        b'{"worksheets": []}',
        b"\xff",
    ],
)
def test_a_notebook_that_cannot_be_read_is_named_and_the_others_go_on(tmp_path, content):
    notebook(tmp_path / "02_ebm_mnist.ipynb", [("noise_for_wall", 1, True)])
    (tmp_path / "03_half.ipynb").write_bytes(content)
    found = export_checks(tmp_path)
    assert found["parts"] == {"02_ebm_mnist": {"noise_for_wall": YES}}
    assert "is not a whole notebook" in found["left out"]["03_half.ipynb"]
    _, said = gradebook([hand_in(tmp_path, "a.json", **{k: found[k] for k in ("parts", "left out")})])
    assert said[0].startswith("a.json was written without 03_half.ipynb: it is not a whole notebook")


def test_nothing_to_hand_in_is_said_with_its_reason(tmp_path):
    with pytest.raises(ValueError, match="no notebooks in"):
        export_checks(tmp_path)
    notebook(tmp_path / "01_clean.ipynb", [])
    with pytest.raises(ValueError, match="no check has been run"):
        export_checks(tmp_path)
    (tmp_path / "02_half.ipynb").write_text('{"cells": [')
    with pytest.raises(ValueError, match=r"02_half\.ipynb is not a whole notebook"):
        export_checks(tmp_path)


def test_copies_of_a_source_are_no_parts(tmp_path, monkeypatch):
    for name in ("02_x", "02_x-Copy1", "02_x (1)", "02_x copy", "10_z"):
        (tmp_path / f"{name}.py").write_text("")
    monkeypatch.setattr(known_parts, "NOTEBOOKS", tmp_path)
    assert parts() == ["02_x", "10_z"]
    assert find_part("02") == find_part("x") == find_part("notebooks/02_x.ipynb") == find_part("02_x.py") == "02_x"
    with pytest.raises(ValueError, match="unknown part '03'; known: 02_x, 10_z"):
        find_part("03")
    (tmp_path / "02_mine.py").write_text("")
    assert find_part("02_x") == "02_x"
    with pytest.raises(ValueError, match="'02' may be 02_mine or 02_x; give the whole name"):
        find_part("02")


@pytest.mark.slow
def test_the_commands_write_for_excel_and_for_any_name(tmp_path):
    """From the terminal to the table, with a student's name and a file's name that are not UTF-8."""
    notebook(tmp_path / "02_ebm_mnist.ipynb", [("noise_for_wall", 1, True)], stubs=["draw_starts"])
    (tmp_path / "03_half.ipynb").write_text("")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}

    def command(*args):
        line = [sys.executable, "-m", "gen_utils", *args]
        answer = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.decode("cp1252")

    out, table = os.fsencode(tmp_path / "an") + b"\xe9.json", tmp_path / "table.csv"
    name = "Zoë".encode() + b"\xe9" if sys.platform.startswith("linux") else "Zoë"
    said = command("checks", "--folder", str(tmp_path), "--name", name, "--out", out)
    assert "03_half.ipynb is left out: it is not a whole notebook" in said and "1 of 2 checks passed, 1 not run" in said
    said = command("gradebook", out, str(tmp_path / "none.json"), "--out", str(table))
    assert "none.json is left out" in said and ": 1 of 2 files" in said
    assert table.read_bytes().startswith("\ufefffile,name,".encode())
    assert rows(table.read_text(encoding="utf-8-sig"))[1][:2] == ["an�.json", "Zoë�"]
