"""The students' book: nothing of what they are asked to find is in what Jupyter Book reads."""

import re

import jupytext
import nbformat
import pytest

from gen_utils.base.places import BOOK, NOTEBOOKS, ROOT
from gen_utils.publishing import editions
from gen_utils.publishing.book import write_stage
from gen_utils.publishing.parts import parts
from gen_utils.publishing.teaching import exam, quizzes


def tagged(part, tag):
    cells = jupytext.read(NOTEBOOKS / f"{part}.py").cells
    return [cell.source for cell in cells if tag in cell.metadata.get("tags", ())]


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The stages of both editions, of notebooks that say "right" below each check."""
    base = tmp_path_factory.mktemp("stages")
    executed = {}
    for part in parts():
        notebook = jupytext.read(NOTEBOOKS / f"{part}.py")
        about = {"profile": "quick", "seconds": 1.0, "seed": 0, "data_root": str(base / "no_data")}
        notebook.metadata["gen_utils"] = about
        for cell in notebook.cells:
            if "check" in cell.metadata.get("tags", ()):
                cell.outputs = [nbformat.v4.new_output("stream", text="✓ right")]
        executed[part] = base / "notebooks" / f"{part}.ipynb"
        executed[part].parent.mkdir(exist_ok=True)
        nbformat.write(notebook, executed[part])
    for edition in editions.EDITIONS:
        write_stage(base / edition, executed, str(base / "no_data"), edition)
    return base


@pytest.mark.parametrize("part", parts())
def test_no_solution_and_no_answer_of_a_check_is_in_a_students_chapter(stages, part):
    text = (stages / "student" / "notebooks" / f"{part}.ipynb").read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    sources = {cell.source for cell in notebook.cells}
    assert not sources & set(tagged(part, "solution")) and sources >= set(tagged(part, "exercise"))
    assert "✓" not in text and "{solution-start}" not in text and sources >= set(tagged(part, "check"))


def test_students_have_no_page_of_answers(stages):
    student, instructor = (
        {p.relative_to(stages / e) for p in (stages / e).rglob("*.md")} for e in ("student", "instructor")
    )
    left_out = {p.as_posix() for p in instructor - student}
    kit = {name for name in left_out if name.startswith("book/teaching/")}
    assert left_out - kit == {"book/answers.md", "book/instructors.md"}
    assert kit == {p.relative_to(ROOT).as_posix() for p in (BOOK / "teaching").glob("*.md")} and len(kit) == 6
    assert not (stages / "student" / "book" / "teaching").exists()
    contents = (stages / "student" / "_toc.yml").read_text(encoding="utf-8")
    assert not any(name in contents for name in ("instructors", "answers", "teaching")) and contents.count(
        "file: notebooks/"
    ) == len(parts())
    assert (stages / "instructor" / "_toc.yml").read_bytes() == (ROOT / "_toc.yml").read_bytes()
    linked = [
        p
        for p in (stages / "student").rglob("*.md")
        if re.search(r"\]\((answers|instructors|teaching)[./]", p.read_text("utf-8"))
    ]
    assert not linked


def test_no_question_of_the_teaching_kit_is_in_the_students_book(stages):
    pages = [p for p in (stages / "student").rglob("*") if p.suffix in (".md", ".ipynb", ".toml", ".yml", ".js")]
    texts = [" ".join(p.read_text(encoding="utf-8").split()) for p in pages]
    kit = " ".join((stages / "instructor" / "book" / "teaching" / "quizzes.md").read_text(encoding="utf-8").split())
    for part in parts():
        for question in quizzes.quiz(part):
            assert " ".join(question.asks.split()) in kit
            assert not any(" ".join(question.asks.split()) in text for text in texts)
    assert not any(" ".join(question.asks.split()) in text for question in exam.bank() for text in texts)


def test_what_is_listed_below_a_page_that_is_left_out_is_left_out_too():
    text = (
        "- file: book/a\n- file: book/instructors\n  sections:\n    - file: book/b\n\n"
        "- file: book/c\n  sections:\n    - file: book/teaching/plans\n    - file: book/d\n"
    )
    left = "- file: book/a\n\n- file: book/c\n  sections:\n    - file: book/d\n"
    assert editions.contents(text, "instructor") == text and editions.contents(text, "student") == left


def test_a_page_keeps_what_is_meant_for_its_edition(stages):
    text = "One. <!-- instructor: -->Two.<!-- :instructor --> Three.\n<!-- student: -->\nFour.\n<!-- :student -->\n"
    assert editions.page(text, "instructor") == "One. Two. Three.\n"
    assert editions.page(text, "student") == "One.  Three.\nFour.\n"
    with pytest.raises(ValueError, match="unknown edition 'teacher'; known: instructor, student"):
        editions.page("<!-- teacher: -->a<!-- :teacher -->", "student")
    for path in BOOK.rglob("*.md"):  # each mark has its other half
        for edition in editions.EDITIONS:
            assert not re.search(
                r"<!-- :?(instructor|student):? -->", editions.page(path.read_text("utf-8"), edition)
            ), path


def test_the_solutions_are_not_spoken_of(stages):
    page = (stages / "student" / "book" / "how_to_work.md").read_text(encoding="utf-8")
    assert "olution" not in page and "Animations have a slider" in page
