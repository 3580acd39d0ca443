"""The book for paper: the text of a PDF printed from small pages that are made as the book's are."""

import io
import re
import shutil
import sys

import pytest

from gen_utils.base.places import BOOK
from gen_utils.cli import press
from gen_utils.publishing import paper
from gen_utils.publishing.parts import parts

pypdf = pytest.importorskip("pypdf")
PAGE = """<!doctype html><html><head><title>t</title><link rel="stylesheet" href="../_static/paper.css">
<link rel="stylesheet" href="../_static/benches.css"></head><body>
<div class="bd-sidebar-primary">A sidebar</div><div id="jb-print-docs-body"><h1>Twice</h1></div>
<article class="bd-article"><h1>{title}<a class="headerlink" href="#x">#</a></h1><p>Text of {title}.
<a href="other.html">the other page</a>, <a href="elsewhere.html">elsewhere</a>, <a href="https://example.org/a">far</a></p>
<details class="admonition hide above-input"><summary>Show code</summary>folded code</details>
<details><summary>More</summary>folded words</details>
<section class="bench bench-live"><div class="bench-tools">a button</div>
<figure class="bench-still">a still</figure></section>
{body}<p>The end of {title}.</p></article></body></html>"""
SOLVED = '<div class="solution dropdown toggle-hidden"><p>Solution to 1.1</p><p>minus the logarithm</p></div>'
FILLER = "<p>A line of the chapter.</p>" * 90


@pytest.fixture
def html(tmp_path):
    """Two built pages, of which the first has a solution and is longer than a sheet."""
    for name in ("notebooks", "_static"):
        (tmp_path / "html" / name).mkdir(parents=True)
    for name in ("paper.css", "benches/benches.css"):
        shutil.copy(BOOK / "_static" / name, tmp_path / "html" / "_static")
    for name, body in {"one": SOLVED + FILLER, "other": ""}.items():
        text = PAGE.format(title=f"Chapter {name}", body=body)
        (tmp_path / "html" / "notebooks" / f"{name}.html").write_text(text, encoding="utf-8")
    return tmp_path / "html"


@pytest.fixture(scope="module", autouse=True)
def _browser():
    pytest.importorskip("playwright.sync_api")
    if paper.find_browser() is None:
        pytest.skip("no Chromium here; install it (Debian: apt-get install chromium) or set CHROMIUM to its path")


def addresses(sheet):
    return [str(a.get_object().get("/A", {}).get("/URI", "inside")) for a in sheet.get("/Annots") or ()]


@pytest.mark.slow
def test_a_pdf_has_the_text_and_the_solutions_at_its_back(html, tmp_path):
    out, said = tmp_path / "new" / "book.pdf", []
    sheets = paper.print_pages(html, ["notebooks/one", "notebooks/other"], out, said.append)
    book = pypdf.PdfReader(io.BytesIO(out.read_bytes()))
    texts = [re.sub(r"\s+", " ", sheet.extract_text()) for sheet in book.pages]
    assert len(texts) == sheets >= 4 and len(said) == 3
    starts = [book.get_destination_page_number(entry) for entry in book.outline]
    assert [entry.title for entry in book.outline] == ["Chapter one", "Chapter other", "Solutions: Chapter one"]
    assert starts[0] == 0 < starts[1] < starts[2] == sheets - 1
    chapter, back = " ".join(texts[: starts[1]]), texts[-1]
    assert "The solution stands at the back." in chapter and "minus the logarithm" not in chapter
    assert "Solutions: Chapter one" in back and "minus the logarithm" in back and "The end of" not in back
    assert "folded words" in chapter and "a still" in chapter and "The end of Chapter one." in chapter
    assert not re.search("A sidebar|Twice|folded code|a button", " ".join(texts))
    for number, text in enumerate(texts, start=1):  # numbered through
        assert re.search(rf"(^| ){number}( |$)", text), text
    assert addresses(book.pages[0]) == ["inside", "https://example.org/a"]  # and no path of this machine
    (inside,) = [a.get_object() for a in book.pages[0]["/Annots"] if "/Dest" in a.get_object()]
    assert inside["/Dest"][0].get_object() == book.pages[starts[1]].get_object()
    assert b"file:" not in b"".join(str(sheet.get("/Annots")).encode() for sheet in book.pages)


def test_a_page_that_is_not_built_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not there; build the book first: python -m gen_utils read"):
        paper.print_pages(tmp_path, ["notebooks/02_ebm_mnist"], tmp_path / "x.pdf")
    assert not (tmp_path / "x.pdf").exists()


@pytest.mark.slow
def test_without_a_browser_it_says_how_to_get_one(html, tmp_path, monkeypatch):
    monkeypatch.setenv("CHROMIUM", sys.executable)
    monkeypatch.setattr(paper, "_PATIENCE", 20_000)
    with pytest.raises(RuntimeError, match="python -m playwright install chromium, or set CHROMIUM"):
        paper.print_pages(html, ["notebooks/other"], tmp_path / "x.pdf")


def test_the_whole_book_has_every_page_of_its_edition():
    pages, students = paper.contents(), paper.contents("student")
    assert pages[0] == "book/preface" and [f"notebooks/{part}" for part in parts()] == [
        page for page in pages if page.startswith("notebooks/")
    ]
    assert set(pages) - set(students) >= {"book/instructors", "book/answers"} and set(students) < set(pages)


def test_the_command_names_the_part_the_edition_and_the_file(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(paper, "print_pages", lambda *args, say: asked.append(args) or 7)
    press.pdf("02", built=tmp_path, edition="student", out=None)
    press.pdf(None, built=tmp_path, edition="instructor", out=tmp_path / "a.pdf")
    (student, pages, out), (html, whole, named) = asked
    assert student == tmp_path / "html-student" and pages == ["notebooks/02_ebm_mnist"]
    assert out.name == "02_ebm_mnist-student.pdf" and html == tmp_path / "html" and whole == paper.contents()
    assert named == tmp_path / "a.pdf" and "7 pages" in capsys.readouterr().out
    with pytest.raises(ValueError, match="unknown edition 'teacher'"):
        press.pdf(None, built=tmp_path, edition="teacher", out=None)
