"""One setting for the workbook's address: where it is set there are buttons, where not, none."""

import html
import re
import subprocess
import sys

import nbformat
import pytest
import yaml

from gen_utils import __version__
from gen_utils.base.places import ROOT
from gen_utils.publishing.repository import HOSTED, checked, repository

ADDRESS = "https://github.com/someone/a.book"


@pytest.mark.parametrize("url", [ADDRESS, f"{ADDRESS}/", f"{ADDRESS}.git"])
def test_an_address_is_read_however_it_is_copied(url):
    assert checked(url).url == ADDRESS and checked(url).branch == "main"


@pytest.mark.parametrize(
    "url", ["someone/book", "https://example.org/a/b", "http://github.com/a/b", "https://github.com/a", "x"]
)
def test_another_address_is_refused_in_one_sentence(url):
    with pytest.raises(ValueError, match=r"^repository.url in _config.yml is .*; write https://github.com/OWNER/NAME"):
        checked(url)


def test_no_address_no_repository(tmp_path):
    assert checked("") is None and repository(tmp_path / "none.yml") is None
    for text in ("", "title: x\n", "repository:\n", "repository:\n  url:\n", 'repository:\n  url: ""\n'):
        (tmp_path / "_config.yml").write_text(text, encoding="utf-8")
        assert repository(tmp_path / "_config.yml") is None
    (tmp_path / "_config.yml").write_text(f"repository:\n  url: {ADDRESS}\n  branch: next\n", encoding="utf-8")
    assert repository(tmp_path / "_config.yml").branch == "next"


def test_a_chapter_can_be_opened_edited_and_complained_about():
    links = {link.text: link.url for link in checked(ADDRESS).links("notebooks/05_jem", "A title")}
    assert list(links) == ["Colab", "Kaggle", "Codespaces", "Edit this page", "Report an error"]
    hosted = f"someone/a.book/blob/{HOSTED}/notebooks/05_jem.ipynb"
    assert links["Colab"] == f"https://colab.research.google.com/github/{hosted}"
    assert links["Kaggle"].endswith(hosted.replace("/", "%2F"))
    assert links["Edit this page"] == f"{ADDRESS}/edit/main/notebooks/05_jem.py"  # the notebook's source
    assert links["Report an error"].endswith("template=error.md&title=A+title+%28notebooks%2F05_jem%29")
    assert (ROOT / ".github" / "ISSUE_TEMPLATE" / "error.md").exists()


def test_prose_is_edited_and_what_the_press_makes_is_not():
    texts = [[link.text for link in checked(ADDRESS).links(page)] for page in ("book/glossary", "genindex")]
    assert texts == [["Codespaces", "Edit this page", "Report an error"], ["Codespaces", "Report an error"]]


def test_what_a_release_packs_is_what_notebooks_fetch():
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert 'zip -qr "packed/student-$TAG.zip" "student-$TAG"' in release
    assert checked(ADDRESS).archive == f"{ADDRESS}/releases/download/v{__version__}/student-v{__version__}.zip"
    assert "print(gen_utils.__version__)" in release and f"HEAD:refs/heads/{HOSTED}" in release


@pytest.mark.slow
def test_pages_have_buttons_once_an_address_is_set_and_before_that_none(tmp_path):
    """A book of two pages, built by the same builder with the same settings, twice in one folder."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    del config["bibtex_bibfiles"]
    config["sphinx"]["config"] = {"html_theme_options": config["sphinx"]["config"]["html_theme_options"]}
    toc = "format: jb-book\nroot: book/preface\nchapters:\n  - file: notebooks/05_jem\n"
    (tmp_path / "_toc.yml").write_text(toc, encoding="utf-8")
    for name in ("book", "notebooks"):
        (tmp_path / name).mkdir()
    (tmp_path / "book" / "preface.md").write_text("# First\n\nText.\n", encoding="utf-8")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Energies & *more*\n\nText.", id="a")])
    nbformat.write(notebook, tmp_path / "notebooks" / "05_jem.ipynb")

    def leads(url):
        config["repository"]["url"] = url
        (tmp_path / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        code = "from jupyter_book.cli.main import main; main()"
        command = [sys.executable, "-c", code, "build", str(tmp_path), "-W", "-n", "--keep-going", "-q"]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=600)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        for page in ("book/preface", "notebooks/05_jem"):
            text = (tmp_path / "_build" / "html" / f"{page}.html").read_text(encoding="utf-8")
            found = re.findall(r'href="(https://(?:github\.com/someone|colab|www\.kaggle|codespaces)[^"]*)"', text)
            assert bool(found) == ("repository-buttons" in text) == bool(url)
            yield [html.unescape(each) for each in found]

    assert list(leads("")) == [[], []]
    prose, chapter = leads(ADDRESS)
    assert len(prose) == 3 and f"{ADDRESS}/edit/main/book/preface.md" in prose
    assert len(chapter) == 5 and f"{ADDRESS}/edit/main/notebooks/05_jem.py" in chapter
    assert chapter[-1].endswith("&title=Energies+%26+more+%28notebooks%2F05_jem%29")
