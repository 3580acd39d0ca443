"""The student edition: no solution in it, nothing missing, and every check passes once the solutions are back."""

import ast
import errno
import json
import os
import re
import shutil
import subprocess
import sys

import jupytext
import nbformat
import pytest
from nbformat.v4 import new_output

from gen_utils import report
from gen_utils.base.files import CannotWrite
from gen_utils.base.places import NOTEBOOKS, ROOT
from gen_utils.publishing import student
from gen_utils.publishing.gradebook import export_checks
from gen_utils.publishing.landing import progress
from gen_utils.publishing.parts import exercises, parts
from gen_utils.publishing.plain_markdown import plain_markdown, read_citations
from gen_utils.publishing.student import student_notebook, write_student_edition
from gen_utils.publishing.teaching import exam, quizzes

PARTS = parts()


def tags(cell):
    return cell.metadata.get("tags", ())


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    out = tmp_path_factory.mktemp("hand_out") / "student"
    write_student_edition(out)
    return out


@pytest.mark.parametrize("part", PARTS)
def test_no_solution_and_no_book_markup_is_left(edition, part):
    notebook = nbformat.read(edition / "notebooks" / f"{part}.ipynb", as_version=4)
    nbformat.validate(notebook)
    source = jupytext.read(NOTEBOOKS / f"{part}.py")
    text = "\n".join(cell.source for cell in notebook.cells)
    assert not any("solution" in tags(cell) for cell in notebook.cells)
    assert not any(cell.get("outputs") for cell in notebook.cells if {"check", "exercise"} & set(tags(cell)))
    for cell in source.cells:
        if "solution" in tags(cell) and cell.cell_type == "code":
            assert cell.source not in text
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not re.findall(r"```\{[^\n]*|\{(?:cite|eq|prf:ref|ref|numref|doc|term)\}`[^`]*`|^:label:.*", prose, re.M)
    for equation in re.findall(r"^\$\$\n(.*?)\$\$$", prose, re.M | re.S):  # "&" or a new line alone is an error there
        assert not re.search(r"&|\\\\", re.sub(r"\\begin\{(\w+)\}.*?\\end\{\1\}", "", equation, flags=re.S))
    for cell in notebook.cells:
        folded = {"hide-input", "remove-cell"} & set(tags(cell))
        assert cell.metadata.get("jupyter") == ({"source_hidden": True} if folded else None)
        assert not re.search(r"# (fmt|noqa)", cell.source)
        assert not re.search(r"\bmake \w+`|_build", cell.source)  # there is no Makefile in the student edition
    exercises = [cell for cell in notebook.cells if "exercise" in tags(cell)]
    assert len(exercises) == len(re.findall(rf"^### Exercise {int(part[:2])}\.\d+: \S", prose, re.M)) > 3
    assert all("raise NotImplementedError" in cell.source for cell in exercises)
    assert all(cell.source.endswith(".or_stop()") for cell in notebook.cells if "check" in tags(cell))


@pytest.mark.parametrize("part", PARTS)
def test_every_check_passes_when_the_solutions_are_pasted_back(edition, part, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    solutions = {}
    for cell in jupytext.read(NOTEBOOKS / f"{part}.py").cells:
        if "solution" in tags(cell) and cell.cell_type == "code":
            solutions[ast.parse(cell.source).body[-1].name] = cell.source
    space, solved, imports = {"__name__": "student"}, 0, True
    for cell in nbformat.read(edition / "notebooks" / f"{part}.ipynb", as_version=4).cells:
        if cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        if "parameters" in tags(cell):
            imports = False
        if "exercise" in tags(cell):
            exec(solutions[tree.body[-1].name], space)
        elif "check" in tags(cell):
            exec(cell.source, space)  # .or_stop() raises when it does not pass
            solved += 1
        elif imports or "parameters" in tags(cell):
            exec(cell.source, space)
        else:  # what a later exercise may call; training and figures are the quick book's test
            defined = [
                node
                for node in tree.body
                if isinstance(node, ast.FunctionDef) and not (node.args.defaults or any(node.args.kw_defaults))
            ]
            exec(compile(ast.Module(defined, []), part, "exec"), space)
    assert solved == capsys.readouterr().out.count("✓ ") > 3


@pytest.mark.slow
def test_run_all_stops_kindly_at_the_first_exercise(edition, tmp_path):
    """As a student would: a kernel, in the folder that was handed out."""
    code = (
        "import nbformat, nbclient\n"
        f"notebook = nbformat.read('{edition}/notebooks/02_ebm_mnist.ipynb', as_version=4)\n"
        "client = nbclient.NotebookClient(notebook, startup_timeout=3000, timeout=3000, allow_errors=False,\n"
        f"    resources={{'metadata': {{'path': '{edition}/notebooks'}}}})\n"
        "try:\n    client.execute()\nexcept nbclient.exceptions.CellExecutionError: pass\n"
        f"nbformat.write(notebook, '{tmp_path}/02_ebm_mnist.ipynb')\n"
    )
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # of a package that is gone with the test
    answer = subprocess.run([sys.executable, "-c", code], cwd=edition, env=env, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    notebook = nbformat.read(tmp_path / "02_ebm_mnist.ipynb", as_version=4)
    stopped = [cell for cell in notebook.cells for o in cell.get("outputs", ()) if o.output_type == "error"]
    assert len(stopped) == 1 and "check" in tags(stopped[0])
    (error,) = [o for o in stopped[0].outputs if o.output_type == "error"]
    assert error.traceback == [
        "The notebook stops here: solve density_on_grid, run its cell and this one again, then run on."
    ]
    after = notebook.cells[notebook.cells.index(stopped[0]) + 1 :]
    assert not any(cell.get("execution_count") for cell in after)
    unsolved = dict.fromkeys(exercises()["02_ebm_mnist"])
    first = {"density_on_grid": {"passed": False, "slip": None}}
    assert export_checks(tmp_path)["parts"] == {"02_ebm_mnist": unsolved | first}  # what a student hands in


def test_nothing_of_the_teaching_kit_goes_along(edition):
    asked = [" ".join(q.asks.split())[:60] for q in (*exam.bank(), *(q for part in PARTS for q in quizzes.quiz(part)))]
    files = [p for p in edition.rglob("*") if p.suffix in (".py", ".md", ".ipynb", ".toml", ".txt") and p.is_file()]
    assert len(asked) == 128 and len(files) > 100
    for path in files:
        text = path.read_text(encoding="utf-8").replace("\\\\", "\\").replace("\\n", " ")  # as JSON writes them
        text = " ".join(text.split())
        assert not [question for question in asked if question in text], path
    assert not (edition / "book").exists()


def test_nobodys_answers_are_overwritten(tmp_path):
    (tmp_path / "mine.ipynb").write_text("{}")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_student_edition(tmp_path)
    assert (tmp_path / "mine.ipynb").read_text() == "{}"


def test_nothing_beside_the_new_folder_is_touched(tmp_path):
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "mine.txt").write_text("mine")
    write_student_edition(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "new.partial"]
    assert (tmp_path / "new.partial" / "mine.txt").read_text() == "mine"
    (tmp_path / "plain").mkdir()  # what others may do in it is as in any folder
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_edition_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fails(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(student.nbformat, "write", fails)
    with pytest.raises(CannotWrite, match="no space left"):
        write_student_edition(tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_an_edition_inside_what_it_copies_is_refused():
    with pytest.raises(ValueError, match="lies in a folder that is copied into it"):
        write_student_edition(ROOT / "gen_utils" / "edition")
    assert not (ROOT / "gen_utils" / "edition").exists()


@pytest.mark.parametrize("part", PARTS)
def test_a_notebook_says_of_which_part_it_is(edition, part):
    assert nbformat.read(edition / "notebooks" / f"{part}.ipynb", as_version=4).metadata.gen_utils == {"part": part}


def test_the_same_sources_give_the_same_file():
    assert nbformat.writes(student_notebook(PARTS[0])) == nbformat.writes(student_notebook(PARTS[0]))


def first_page(folder):
    """The rows of the start page: (number, part, letter, solved, of)."""
    page = nbformat.read(folder / "start_here.ipynb", as_version=4)
    nbformat.validate(page)
    (table,) = page.cells[1].outputs
    return re.findall(
        r"^\| \[(\d\d) · [^\]]+\]\((\S+)\.ipynb\) \| ([A-Z]) \| solved (\d+) of (\d+) \|$",
        table.data["text/markdown"],
        re.M,
    )


def test_the_first_page_names_the_parts_letters(edition):
    rows = first_page(edition / "notebooks")
    assert [name for _, name, *_ in rows] == PARTS
    assert "".join(letter for _, _, letter, *_ in rows) == "SBACDEFHGIJ"
    assert all(solved == "0" and int(checks) > 3 for *_, solved, checks in rows)


def test_the_first_page_counts_what_is_solved(edition, tmp_path):
    shutil.copytree(edition / "notebooks", tmp_path / "notebooks")
    path = tmp_path / "notebooks" / "02_ebm_mnist.ipynb"
    notebook = nbformat.read(path, as_version=4)
    asked = [cell for cell in notebook.cells if "check" in tags(cell)]
    for cell, passed in zip(asked, (True, False), strict=False):
        name = re.search(r"checks\.(\w+)", cell.source)[1]
        entry = {"name": f"check/{name}", "value": {"passed": passed, "slip": None}}
        cell.outputs = [new_output("display_data", {report.MIME: json.dumps(entry)})]
    nbformat.write(notebook, path)
    (tmp_path / "notebooks" / "03_ebm_bitmoji.ipynb").write_text("{half")
    (tmp_path / "notebooks" / "02_notes.ipynb").write_text('{"cells": []}')
    table = progress(tmp_path / "notebooks")
    asked_of_all = sum(map(len, exercises().values())) - len(exercises()["03_ebm_bitmoji"])
    assert f"(02_ebm_mnist.ipynb) | B | solved 1 of {len(asked)} |" in table
    assert "[03_ebm_bitmoji](03_ebm_bitmoji.ipynb) | | cannot be read" in table and "02_notes" not in table
    assert table.endswith(f"**solved 1 of {asked_of_all}** |")


def test_the_cell_of_the_first_page_counts_again(edition, monkeypatch, capsys):
    monkeypatch.chdir(edition / "notebooks")
    exec(nbformat.read("start_here.ipynb", as_version=4).cells[1].source, {})
    assert "Markdown" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["glossary", "notation"])
def test_the_glossary_and_the_notation_go_along(edition, name):
    (page,) = nbformat.read(edition / "notebooks" / f"{name}.ipynb", as_version=4).cells
    first = nbformat.read(edition / "notebooks" / "start_here.ipynb", as_version=4).cells[-1]
    assert f"({name}.ipynb)" in first.source and "```{" not in page.source and "](../" not in page.source


def test_an_entry_of_the_glossary_begins_with_its_terms():
    page = "```{glossary}\nAIS\nannealing\n  A walk.\n  It ends.\n\nchain\n  States.\n```"
    assert plain_markdown([page], {}) == ["**AIS**, **annealing**:\nA walk.\nIt ends.\n\n**chain**:\nStates."]


def test_plain_markdown_aligns_several_lines_and_leaves_environments_alone():
    lines = "```{math}\n:label: a\nx &= 1 \\\\\ny &= 2\n```"
    cases = "```{math}\nf = \\begin{cases} 1 & x \\\\ 0 & y \\end{cases}\n```"
    plain = plain_markdown([lines, cases], {})
    assert plain[0] == "$$\n\\begin{aligned}\nx &= 1 \\\\\ny &= 2\n\\end{aligned} \\tag{1}\n$$"
    assert plain[1] == "$$\nf = \\begin{cases} 1 & x \\\\ 0 & y \\end{cases}\n$$"


def test_plain_markdown_numbers_and_resolves():
    cells = [
        "See {eq}`b` and {prf:ref}`alg` {cite}`du2019,kim2020`.",
        "```{math}\n:label: a\nx\n```\n\n```{math}\n:label: b\ny\n```",
        "```{prf:algorithm} Walk\n:label: alg\n1. go\n   1. on\n```",
        "```{exercise-start} Do it\n:label: ex\n```\nWrite {eq}`a`.",
        "```{exercise-end}\n```",
    ]
    plain = plain_markdown(cells, {"du2019": "Du and Mordatch 2019"})
    assert plain[0] == "See (2) and Algorithm 1 (Du and Mordatch 2019; kim2020)."
    assert plain[1] == "$$\nx \\tag{1}\n$$\n\n$$\ny \\tag{2}\n$$"
    assert plain[2] == "> **Algorithm 1: Walk**\n>\n> 1. go\n>    1. on"
    assert plain[3] == "### Exercise 1: Do it\nWrite (1)."
    assert plain[4] == ""


def test_plain_markdown_numbers_with_the_chapter():
    cells = ["```{math}\n:label: a\nx\n```", "```{exercise-start} Do it\n:label: ex\n```\nWrite {eq}`a`."]
    assert plain_markdown(cells, {}, 5) == ["$$\nx \\tag{5.1}\n$$", "### Exercise 5.1: Do it\nWrite (5.1)."]


def test_plain_markdown_keeps_the_shown_text_of_a_glossary_link():
    cells = [
        "Two {term}`energies <energy>` and **{term}`R-hat`**, {term}`HMC`'s $a < b$; see {eq}`a` {cite}`du2019`.",
        "```{admonition} Title\n- {term}`bits per dimension`, not `{term}`\n```",
    ]
    plain = plain_markdown(cells, {"du2019": "Du and Mordatch 2019"})
    assert plain[0] == "Two energies and **R-hat**, HMC's $a < b$; see a (Du and Mordatch 2019)."
    assert plain[1] == "> **Title**\n>\n> - bits per dimension, not `{term}`"


def test_citations_are_authors_and_years():
    found = read_citations(ROOT / "book" / "references.bib")
    assert found["du2019implicit"] == "Du and Mordatch 2019"
    assert found["nijkamp2020anatomy"] == "Nijkamp et al. 2020"
    assert not [value for value in found.values() if re.search(r"[{}\\]", value) or not re.search(r" \d{4}$", value)]
    cited = {
        key.strip()
        for path in NOTEBOOKS.glob("*.py")
        for keys in re.findall(r"\{cite\}`([^`]+)`", path.read_text(encoding="utf-8"))
        for key in keys.split(",")
    }
    assert cited <= set(found)


def test_a_student_sees_what_the_long_run_has_shown_but_no_answer(tiny, monkeypatch):
    from gen_utils.publishing import cards, keep, student

    from .kept_run_maker import PART, executed, picture, printed

    monkeypatch.setattr(student, "NOTEBOOKS", tiny() / "notebooks")
    assert not any(cell.get("outputs") for cell in student.student_notebook(PART).cells)
    shown = {"draw(x)": [picture(1)], "check(x)": [printed("✓")], "tell(x)": [printed("the solution")]}
    keep.keep_outputs(executed(tiny() / f"{PART}.ipynb", shown))
    notebook = student.student_notebook(PART)
    nbformat.validate(notebook)
    found = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs}
    assert list(found) == ["draw(x)"] and cards.alike(found["draw(x)"], [picture(1)])
    assert "the long run (profile `laptop`, 2026-01-31, 2 minutes in all): what to expect" in notebook.cells[0].source
    (tiny() / "results" / f"{PART}.laptop" / "outputs.json").write_text("{", encoding="utf-8")
    assert not any(cell.get("outputs") for cell in student.student_notebook(PART).cells)
