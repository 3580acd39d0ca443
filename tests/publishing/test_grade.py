"""Hand-ins of every kind are graded right, in one run: what they do costs them alone, and what they forge is seen."""

import csv
import io
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gen_utils.cli import app
from gen_utils.publishing.grading import grade as grading_module
from gen_utils.publishing.grading import linux
from gen_utils.publishing.grading import run as running
from gen_utils.publishing.grading.grade import Grading, grade, keys_of, write
from gen_utils.publishing.grading.points import Points

from .hand_ins import KEY, PART, RIGHT, SIGN, STUB, function, notebook

pytestmark = pytest.mark.slow
WALLS = sys.platform == "linux" and linux.landlock_version() > 0
ELSEWHERE = Path(__file__).parent / "written_by_a_hand_in"

# name -> (cells, status, part of the message). Run for real: nothing in these is refused by its text.
RUN = {
    "right": ([RIGHT], "passed", "right"),
    "looped": (
        [
            function(
                "lowest = energy.min()\nweight = torch.exp(lowest - energy)\nreturn weight / (weight.sum() * cell_area)"
            )
        ],
        "passed",
        "right",
    ),
    "numpy": (
        [
            "import numpy as np",
            function("w = np.exp(energy.min().item() - energy.numpy())\nreturn w / w.sum() / cell_area"),
        ],
        "passed",
        "right",
    ),
    "helper": (
        [
            function("return normal(torch.exp(energy.min() - energy)) / cell_area"),
            "SCALE = 1.0\ndef normal(weight):\n    return SCALE * weight / weight.sum()",
        ],
        "passed",
        "right",
    ),
    "defined twice, the last one is a stub": ([RIGHT, STUB], "passed", "right"),
    "defined twice, the first one is wrong": ([SIGN, RIGHT], "passed", "right"),
    "slip": ([SIGN], "slip", "sign is turned round"),
    "stub": ([STUB], "not written", "not written yet"),
    "nothing": ([], "not written", "not written yet"),
    "not Python": (["def density_on_grid(energy, cell_area:\n    return energy"], "wrong", "not Python"),
    "magics": (["%%time\n%matplotlib inline\n!rm -rf ~" + RIGHT], "passed", "right"),
    "trains first": (["model = train_for_hours()", RIGHT], "passed", "right"),
    "no such name": ([function("return missing_helper(energy)")], "wrong", "NameError"),
    "exit": ([function("raise SystemExit(0)")], "wrong", "ends the program"),
    "endless": ([function("while True:\n    pass")], None, "never ends"),
    "memory": ([function("return torch.ones(2**33) * cell_area")], "wrong", "memory"),
    "memory bit by bit": (
        [function("kept = []\nwhile True:\n    kept.append(bytearray(2**24))")],
        None,
        "",
    ),
    "deep": ([function("return density_on_grid(energy, cell_area)")], "wrong", "RecursionError"),
    "writes elsewhere": ([function(f"torch.save(energy, {str(ELSEWHERE)!r})\nreturn energy")], "wrong", "raised"),
    "nonsense": ([function("return {'a': [print]}")], "wrong", ""),
    "own tensor": (
        ["class Yes(torch.Tensor):\n    pass", function("return energy.as_subclass(Yes)")],
        "held",
        "a Yes of its own",
    ),
    "alias": ([function("t = torch\nt.allclose = lambda *a, **k: True\nreturn energy")], "held", "torch.allclose"),
    "alias that mends itself": (
        [
            function(
                "t = torch\nbefore = t.allclose\ndef yes(*a, **k):\n    t.allclose = before\n    return True\n"
                "t.allclose = yes\nreturn energy"
            )
        ],
        "held",
        "torch.allclose",
    ),
    "class of the case": (
        [function("kind = torch.Tensor\nkind.double = lambda x: x\nreturn energy")],
        "held",
        "Tensor.double",
    ),
}
# However long they are given, they take it all.
ENDLESS = {
    "endless and deaf": (
        [function("while True:\n    try:\n        while True: pass\n    except BaseException: pass")],
        None,
        "never ends",
    ),
    "endless cell": (["def density_on_grid(energy, cell_area=sum(iter(int, 1))): pass"], "stopped", "stopped"),
    "flood": ([function("while True:\n    print('spam ' * 1000)")], None, "never ends"),
}
# Refused by its text, and not run.
HELD = {
    "edits the module": ("import gen_utils.checks.core as core\ncore.told = print" + RIGHT, None, "right"),
    "patches": (function("torch.allclose = lambda *a, **k: True\nreturn energy"), "held", "changes torch.allclose"),
    "imports the checks": (
        function("from gen_utils.checks import core\nreturn energy"),
        "held",
        "imports core from gen_utils.checks",
    ),
    "frames": (function("import sys\nf = sys._getframe(2)\nreturn f.f_locals['expected']"), "held", "imports sys"),
    "_exit": (function("os._exit(0)", "import os"), "held", "imports os"),
    "opens": (function("open('result.json', 'w').write('passed')\nreturn energy"), "held", "uses open"),
    "network": (function("import socket\nsocket.create_connection(('192.0.2.1', 80))"), "held", "imports socket"),
    "fork bomb": (function("import os\nwhile True:\n    os.fork()"), "held", "imports os"),
    "dunder": (function("density_on_grid.__globals__['checks'] = None\nreturn energy"), "held", "__globals__"),
    "own answers": (
        "class Yes:\n    def __torch_function__(self, *a):\n        return True\n" + function("return Yes()"),
        "held",
        "__torch_function__",
    ),
}
# As bad as can be, and let through by a person: what the walls around the process are for.
ACCEPTED = {
    "ends its process": (function("import os\nos._exit(0)"), "stopped", "ended before"),
    "forges an answer": (
        function(
            'import os\nfor fd in range(3, 60):\n    try: os.write(fd, b\'\\0\\0\\0\\x13{"status": "passed"}\')\n'
            "    except OSError: pass\nos._exit(0)"
        ),
        "held",
        "where only the check writes",
    ),
    "changes what a check says": (
        function(
            "from gen_utils.checks import compare, core\nyes = lambda *a, **k: core.Result('x', True, 'right')\n"
            "core.told = compare.told = yes\nreturn energy"
        ),
        "held",
        "changes gen_utils.checks",
    ),
    "hides a builtin": (
        function("from gen_utils.checks import compare\ncompare.all = lambda *a: True\nreturn energy"),
        "held",
        "compare.all",
    ),
    "forks": (function("import os\nwhile True:\n    os.fork()"), "wrong", "PermissionError"),
    "runs a program": (function("import subprocess\nsubprocess.run(['true'])"), "wrong", "PermissionError"),
    "calls home": (function("import socket\nsocket.create_connection(('192.0.2.1', 80))"), "wrong", "PermissionError"),
    "kills": (function("import os\nos.kill(os.getppid(), 9)"), "wrong", "PermissionError"),
    "reads other hand-ins": (function("import os\nreturn os.listdir('FOLDER')"), "wrong", "PermissionError"),
    "deletes hand-ins": (function("import shutil\nshutil.rmtree('FOLDER')"), "wrong", "PermissionError"),
    "opens a file elsewhere": (function(f"open({str(ELSEWHERE)!r}, 'w')"), "wrong", "your function raised"),
    "lets others read": (function("import os\nos.chmod(os.getcwd(), 0o777)"), "wrong", "PermissionError"),
    "fills its folder": (function("open('x', 'wb').write(bytes(2**22))"), "wrong", "File too large"),
}
QUICK = dict(seconds=10.0, memory=2**30)  # the right answers take milliseconds; an endless one takes it all


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hand_ins")
    for name, (cells, _, _) in RUN.items():
        notebook(folder / name / f"{PART}.ipynb", *cells)
    for name, (cell, _, _) in HELD.items():
        notebook(folder / name / f"{PART}.ipynb", cell)
    for name, (cell, _, _) in ACCEPTED.items() if WALLS else ():
        notebook(folder / name / f"{PART}.ipynb", cell.replace("FOLDER", str(folder)))
    # A check cell that says yes, a check that is deleted, and a copy that another program has made.
    notebook(folder / "edited check" / f"{PART}.ipynb", SIGN, check="print('✓ density_on_grid: right'); checks = None")
    notebook(folder / "check deleted" / f"{PART}.ipynb", RIGHT, check="pass")
    notebook(folder / "copies" / f"{PART}.ipynb", STUB)
    notebook(folder / "copies" / f"{PART}-Copy1.ipynb", RIGHT, part=None)
    (folder / "emptied").mkdir()
    (folder / "emptied" / f"{PART}.ipynb").write_bytes(b"")
    (folder / "half").mkdir()
    (folder / "half" / f"{PART}.ipynb").write_bytes(b'{"cells": [{"cell_type": "code", "sou')
    points = Points(accept=[f"{name}/{KEY}" for name in ACCEPTED])
    report = grade([folder], Grading(keys=keys_of("a secret", 1), points=points, **QUICK))
    return report, {student["student"]: student for student in report["students"]}


@pytest.mark.parametrize("name", RUN)
def test_what_is_run_gets_what_its_check_says(graded, name):
    _, status, said = RUN[name]
    row = graded[1][name]["exercises"][KEY]
    assert row["status"] == status or (status is None and row["status"] in ("wrong", "stopped")), row
    assert said in row["message"] and row["points"] == {"passed": 1, "slip": 0.5}.get(row["status"], 0)


def test_what_never_ends_is_stopped(tmp_path):
    for name, (cells, _, _) in ENDLESS.items():
        notebook(tmp_path / name / f"{PART}.ipynb", *cells)
    for student in grade([tmp_path], Grading(seconds=2.0, memory=2**30))["students"]:
        _, status, said = ENDLESS[student["student"]]
        row = student["exercises"][KEY]
        assert row["status"] == status or (status is None and row["status"] in ("wrong", "stopped")), row
        assert said in row["message"] and row["points"] == 0


@pytest.mark.parametrize("name", HELD)
def test_what_could_reach_its_check_is_not_run(graded, name):
    _, status, said = HELD[name]
    row = graded[1][name]["exercises"][KEY]
    if status is None:  # the line beside the answer is not needed, so it does not run at all
        assert row["status"] == "passed"
    else:
        assert row["status"] == "held" and said in row["message"] and row["points"] == 0


@pytest.mark.skipif(not WALLS, reason="the walls are Linux's")
@pytest.mark.parametrize("name", ACCEPTED)
def test_code_that_a_person_let_through_meets_walls(graded, name):
    _, status, said = ACCEPTED[name]
    row = graded[1][name]["exercises"][KEY]
    assert row["status"] == status and said in row["message"] and row["points"] == 0, row


def test_the_students_own_check_cells_are_not_asked(graded):
    rows = {name: graded[1][name]["exercises"][KEY] for name in ("edited check", "check deleted", "copies")}
    assert [row["status"] for row in rows.values()] == ["slip", "passed", "passed"]


def test_the_other_exercises_of_a_hand_in_are_graded_too(graded):
    every = [row for student in graded[0]["students"] for key, row in student["exercises"].items() if key != KEY]
    assert every and {row["status"] for row in every} == {"not written", "missing"}


def test_files_without_content_are_named_and_their_students_are_in_the_table(graded):
    said = "\n".join(graded[0]["left out"])
    assert f"emptied/{PART}.ipynb is left out: it is empty" in said
    assert f"half/{PART}.ipynb is left out: it is not a whole notebook" in said
    assert graded[1]["half"]["missing"] == [PART] and graded[1]["half"]["points"] == 0


def test_nothing_was_written_elsewhere_and_the_hidden_cases_were_run(graded):
    assert graded[1]["right"]["exercises"][KEY]["hidden"] == [1, 1]
    assert not WALLS or ("It is not kept from" not in graded[0]["isolation"] and not ELSEWHERE.exists())
    ELSEWHERE.unlink(missing_ok=True)


def test_equal_answers_are_pointed_out_but_not_the_usual_ones(graded, tmp_path):
    # So many wrote the workbook's own form that it says nothing; nobody else wrote one form twice.
    assert graded[0]["alike"] == []


def test_the_table_opens_in_a_spreadsheet_and_each_student_has_a_page(graded, tmp_path):
    report = graded[0]
    files = write(report, ("Student", "ID"), tmp_path)
    text = (tmp_path / "grades.csv").read_bytes()
    assert text.startswith("\ufeffStudent,ID,02/density_on_grid,".encode())
    rows = list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"))))
    assert len(rows) == len(report["students"]) and rows[0][f"total of {report['most']:g}"] is not None
    by_name = {row["Student"]: row for row in rows}
    assert by_name["right"][KEY] == "1" and by_name["slip"][KEY] == "0.5" and by_name["half"]["missing"] == PART
    assert by_name["frames"]["to look at"] == KEY
    pages = [path for path in files if path.suffix == ".html"]
    assert (
        len(pages) == len({path.name.casefold() for path in pages}) == sum(bool(s["files"]) for s in report["students"])
    )
    page = (tmp_path / "feedback" / "slip.html").read_text(encoding="utf-8")
    assert "the sign is turned round" in page.lower() and "0.5 of" in page and "<script" not in page


def all_pass(tasks, controls, on_answer, **limits):
    """In the place of what runs: every answer passes."""
    for task in tasks:
        for exercise in task["exercises"]:
            where = {"student": task["student"], "part": task["part"], "exercise": exercise["name"]}
            on_answer({**where, "status": "passed", "message": "right.", "slip": None})
    return "Nothing ran.", []


def test_a_class_in_an_archive_with_times_a_deadline_and_accepted_code(tmp_path, monkeypatch):
    """Moodle's archive, in which a late part counts half, and code that a person has looked at. Nothing runs."""
    monkeypatch.setattr(grading_module, "run", all_pass)
    looked = function("import sys\nreturn torch.softmax(-energy.flatten(), 0).reshape(energy.shape) / cell_area")
    notebook(tmp_path / "a.ipynb", RIGHT)
    notebook(tmp_path / "b.ipynb", looked)
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
        for file, place in (
            ("a", "Zoë <b>=1+1_11_assignsubmission_file_"),
            ("b", "Ben_12_assignsubmission_file_/../.."),
        ):
            archive.writestr(zipfile.ZipInfo(f"{place}/{PART}.ipynb"), (tmp_path / f"{file}.ipynb").read_bytes())
    points = Points(late=0.5, accept=("Ben/02/density_on_grid",))
    people = [{"Full name": "Zoë <b>=1+1", "Email address": "z@x.org"}, {"Full name": "Cy", "Email address": "c@x.org"}]
    grading = Grading(
        points=points,
        deadline=1000.0,
        times={"ben": 10.0},
        columns=tuple(people[0]),
        people=people,
        **QUICK,
    )
    report = grade([tmp_path / "class.zip"], grading)
    ben, zoe, cy = report["students"]
    assert (ben["name"], ben["points"], ben["late"]) == ("Ben", 1, [])
    assert (zoe["who"]["Email address"], zoe["points"], zoe["late"]) == ("z@x.org", 0.5, [PART])
    assert (cy["points"], cy["missing"], cy["files"]) == (0, [PART], [])
    assert any(said.startswith("Ben is in no line of the class list") for said in report["left out"])
    write(report, grading.columns, tmp_path / "out")
    (page,) = (tmp_path / "out" / "feedback").glob("Zoe*.html")
    text = page.read_text(encoding="utf-8")
    assert "Zoë &lt;b&gt;=1+1" in text and "<b>" not in text and "so that it counts 50%" in text
    assert not list(tmp_path.parent.glob(f"{PART}*"))


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_bubblewrap_is_used_where_it_is(tmp_path):
    notebook(tmp_path / "anna" / f"{PART}.ipynb", RIGHT)
    report = grade([tmp_path], Grading(**QUICK))
    assert report["students"][0]["points"] == 1 and "bubblewrap" in report["isolation"]


def test_processes_that_cannot_start_are_said(tmp_path, monkeypatch):
    notebook(tmp_path / "anna" / f"{PART}.ipynb", RIGHT)
    monkeypatch.setattr(running.sys, "executable", shutil.which("false") or os.devnull)
    with pytest.raises((RuntimeError, OSError)):
        grade([tmp_path], Grading(**QUICK))


def test_a_secret_is_a_text_or_a_file_that_holds_it(tmp_path):
    (tmp_path / "key.txt").write_text("swordfish\n")
    keys = keys_of("swordfish", 3)
    assert keys == keys_of(str(tmp_path / "key.txt"), 3) and len(set(keys)) == 3 and keys != keys_of("x" * 5000, 3)


def test_the_command_grades_and_refuses_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(grading_module, "run", all_pass)
    notebook(tmp_path / "in" / "anna" / f"{PART}.ipynb", RIGHT)
    command = ["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    for args, said in {
        ("--seconds", "0"): "--seconds is 0.0; it must be above 0",
        ("--memory", "nan"): "--memory is nan; it must be above 0",
        ("--hidden", "-1"): "--hidden is -1; it must be above 0",
        ("--deadline", "soon"): "'soon' is no time; write it as 2026-05-01 23:59",
        ("--part", "99"): "unknown part '99'",
        ("--part", "01"): "no student's notebook to grade",
        ("--options", str(tmp_path / "none.json")): "cannot be read (No such file or directory)",
    }.items():
        error = CliRunner().invoke(app, [*command, *args]).exception
        assert isinstance(error, ValueError) and said in str(error)
    answer = CliRunner().invoke(app, [*command, "--deadline", "2020-01-01"])
    assert answer.exit_code == 0 and "1 students, 1 pages of feedback, 1 of" in answer.stdout
    assert f",{PART},," in (tmp_path / "out" / "grades.csv").read_text(encoding="utf-8-sig").splitlines()[1]
