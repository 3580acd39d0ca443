"""A student's notebook that is opened alone sets itself up from its first cell.

The environment is empty, and so is the folder; a local archive stands in for the release, and a stub for pip: what it
"installs" are links to this environment's packages. Whether a real pip gets them all from an index is not tested here.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import nbformat
import pytest

from gen_utils.base.places import NOTEBOOKS, ROOT
from gen_utils.publishing import set_up_cell, student
from gen_utils.publishing.hosted import CELL
from gen_utils.publishing.repository import checked

REPOSITORY = checked("https://github.com/someone/book")
PART = "02_ebm_mnist"
STUB = """
import json, os, pathlib, sys, sysconfig
pathlib.Path(os.environ["STUB_TOLD"]).write_text(json.dumps([sys.argv[1:], pathlib.Path(sys.argv[-1]).read_text()]))
if os.environ.get("STUB_FAILS"):
    sys.exit("Collecting torch\\nERROR: No matching distribution found for torch")
site = pathlib.Path(sysconfig.get_paths()["purelib"])
for entry in pathlib.Path(os.environ["STUB_SOURCE"]).iterdir():
    if not (site / entry.name).exists() and entry.suffix != ".pth":
        (site / entry.name).symlink_to(entry)
"""


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The archive of a release, with the one notebook that is opened here."""
    base = tmp_path_factory.mktemp("release")
    with ZipFile(base / "student-v9.zip", "w") as packed:
        for name in student.CARRIED:
            for path in [ROOT / name] if (ROOT / name).is_file() else sorted((ROOT / name).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    packed.write(path, f"student-v9/{path.relative_to(ROOT).as_posix()}")
    return base / "student-v9.zip"


@pytest.fixture
def service(tmp_path, release):
    """An empty folder and an empty environment; runs code there and returns how it ended, and what pip was told."""
    venv.create(tmp_path / "env", with_pip=False, symlinks=os.name == "posix")
    python = tmp_path / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stub, folder = tmp_path / "stub" / "pip", tmp_path / "content"
    stub.mkdir(parents=True)
    folder.mkdir()
    (stub / "__main__.py").write_text(STUB, encoding="utf-8")
    told = tmp_path / "told.json"

    def run(code, **variables):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("GEN_", "PYTHON"))}
        env |= {
            "PYTHONPATH": str(stub.parent),
            "STUB_TOLD": str(told),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUTF8": "1",
        }
        env |= {"STUB_SOURCE": sysconfig.get_paths()["purelib"], "GEN_RELEASE": str(release), **variables}
        told.unlink(missing_ok=True)
        (tmp_path / "cells.py").write_text(code, encoding="utf-8")
        command = [str(python), str(tmp_path / "cells.py")]
        answer = subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8", timeout=3000)
        return answer, json.loads(told.read_text(encoding="utf-8")) if told.exists() else None

    return folder, run


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the stub links packages, which Windows lets administrators do only")
def test_a_notebook_alone_in_an_empty_folder_sets_itself_up_and_runs(service):
    folder, run = service
    cells = code_cells(student.student_notebook(PART, REPOSITORY))
    stop = next(i for i, cell in enumerate(cells) if "check" in cell.metadata.get("tags", ()))
    begin = "import sys\nsys.path.insert(0, '')\n"  # as a kernel has it
    text = begin + "\n\n".join(cell.source for cell in cells[: stop + 1])
    answer, told = run(text, MPLBACKEND="agg")
    assert "Fetching the workbook" in answer.stdout and "Installing torch, torchvision" in answer.stdout
    assert "ten minutes or more" in answer.stdout and re.search(r"Ready after \d+ s", answer.stdout)
    arguments, pins = told
    assert arguments[:2] == ["install", "--quiet"] and len(arguments) == len(set_up_cell.NEEDED) + 4
    assert "torch==" in pins and "sphinx" not in pins and "pytest" not in pins
    assert "solve density_on_grid" in answer.stderr and "ModuleNotFoundError" not in answer.stderr, answer.stderr
    assert [path.name for path in folder.iterdir()] == ["workbook"]
    again, told = run(begin + cells[0].source)  # nothing is fetched or installed twice
    assert again.returncode == 0 and told is None and "Ready after 0 s" in again.stdout, again.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GEN_RELEASE": "nowhere.zip"}, "The workbook could not be fetched from nowhere.zip: "),
        ({"GEN_RELEASE": __file__}, "File is not a zip file"),
        ({"STUB_FAILS": "1"}, "pip could not install torch, torchvision"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_leaves_nothing_half_done(service, variables, said):
    folder, run = service
    answer, _ = run(code_cells(student.student_notebook(PART, REPOSITORY))[0].source, **variables)
    last = answer.stderr.strip().splitlines()[-1]
    assert answer.returncode == 1 and last.startswith("RuntimeError: ") and said in last
    assert [path.name for path in folder.iterdir()] == (["workbook"] if "STUB_FAILS" in variables else [])


def test_only_what_is_missing_or_too_old_is_installed(tmp_path, monkeypatch):
    here = {"torch": "2.9.1+cu128", "numpy": "2.10", "scipy": "1.14.0"}

    def version(name):
        if name not in here:
            raise set_up_cell.importlib.metadata.PackageNotFoundError(name)
        return here[name]

    monkeypatch.setattr(set_up_cell.importlib.metadata, "version", version)
    lines = ["torch>=2.11  # tensors", "numpy>=2.9", "scipy>=1.14", "tqdm>=4.66", "pytest>=8"]
    (tmp_path / "requirements.txt").write_text("\n".join(lines), encoding="utf-8")
    assert set_up_cell.missing(tmp_path) == {"torch": "torch>=2.11", "tqdm": "tqdm>=4.66"}


def test_what_was_loaded_before_it_was_renewed_asks_for_a_restart(tmp_path, monkeypatch, capsys):
    (tmp_path / "workbook").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(set_up_cell, "missing", lambda home: {"pillow": "pillow>=10"})
    monkeypatch.setattr(set_up_cell, "install", lambda home, wanted: None)
    monkeypatch.setitem(sys.modules, "PIL", object())
    with pytest.raises(RuntimeError, match=r"^Restart the kernel and run this cell again: pillow was loaded before\.$"):
        set_up_cell.set_up("nothing.zip")
    assert "one to three minutes" in capsys.readouterr().out


def test_inside_the_workbooks_folder_nothing_is_done(monkeypatch):
    monkeypatch.chdir(NOTEBOOKS)
    monkeypatch.setattr(set_up_cell, "fetch", lambda *_: pytest.fail("fetched"))
    set_up_cell.set_up("nothing.zip")


def test_the_cell_needs_nothing_but_python_and_the_list_has_what_is_imported():
    def imported(path):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield node.module.split(".")[0]

    assert set(imported(CELL)) <= set(sys.stdlib_module_names)
    code = [p for p in (ROOT / "gen_utils").rglob("*.py") if not {"publishing", "cli"} & set(p.parts)]
    used = {name for path in [*code, *NOTEBOOKS.glob("*.py")] for name in imported(path)} - set(sys.stdlib_module_names)
    here = {"gen_utils", "IPython", "nbconvert"}  # the second is in every kernel, and Jupyter's server brings the third
    known = {set_up_cell.IMPORTED_AS.get(name, name.replace("-", "_")) for name in set_up_cell.NEEDED}
    assert used - here <= known
    asked = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name}>=", asked, re.M) for name in set_up_cell.NEEDED)


def test_without_an_address_a_notebook_is_as_before(monkeypatch):
    plain, linked = student.student_notebook(PART), student.student_notebook(PART, REPOSITORY)
    nbformat.validate(linked)
    sources = {cell.source for cell in plain.cells}
    (title, cell) = [cell for cell in linked.cells if cell.source not in sources]
    assert "[Colab](https://colab" in title.source and "[Report an error](https://github" in title.source
    assert cell.source.endswith(f'set_up("{REPOSITORY.archive}")') and cell.metadata.jupyter == {"source_hidden": True}
    assert code_cells(linked)[0] is cell and not any("github.com/someone" in source for source in sources)


def test_an_edition_is_made_with_the_address_of_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(student, "repository", lambda: REPOSITORY)
    monkeypatch.setattr(student, "CARRIED", ("LICENSE",))
    student.write_student_edition(tmp_path / "out")
    for path in (tmp_path / "out" / "notebooks").glob("[0-9]*.ipynb"):
        assert "set_up(" in code_cells(nbformat.read(path, as_version=4))[0].source
    shutil.rmtree(tmp_path / "out")
    assert not Path(tmp_path / "out").exists()
