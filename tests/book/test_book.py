"""One build of everything, in a folder of its own: every line has run, and what a reader gets."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from gen_utils import kept_runs, report
from gen_utils.publishing.parts import parts

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent


def executed(out, part):
    return json.loads((out / "smoke" / "notebooks" / f"{part}.ipynb").read_text(encoding="utf-8"))


def test_every_exercise_check_passed(built):
    for part in parts():
        checks = {n: v for n, v in report.records(executed(built[0], part)).items() if n.startswith("check/")}
        assert checks and all(v["passed"] for v in checks.values()), checks


def test_figures_of_a_stand_in_say_so(built):
    notebook = executed(built[0], "02_ebm_mnist")
    shown = [o for c in notebook["cells"] for o in c.get("outputs", ()) if "image/png" in o.get("data", {})]
    assert len(shown) >= 12


def test_notebooks_hold_no_path_of_this_machine(built):
    for part in parts():
        text = json.dumps([c.get("outputs") for c in executed(built[0], part)["cells"]])
        found = str(ROOT) in text  # a plain truth: comparing megabytes of text would take pytest minutes
        assert not found, part


def test_a_chapter_to_download_is_a_notebook_to_run(built):
    """Its pictures are on the page, and would weigh as much again."""
    for part in parts():
        notebook = nbformat.read(built[0] / "html" / "_sources" / "notebooks" / f"{part}.ipynb", as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert len(code) > 20 and not any(cell.outputs for cell in code)


class _Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.images, self.links, self.outside = [], [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "img":
            self.images.append(attrs.get("src", ""))
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        source = attrs.get("src") if tag in ("script", "img", "iframe") else None
        source = attrs.get("href") if tag == "link" and attrs.get("rel") in ("stylesheet", "preload") else source
        if source and re.match(r"(https?:)?//", source):
            self.outside.append(source)


def pages(out):
    return [p for p in sorted((out / "html").rglob("*.html")) if "_static" not in p.parts]


def test_the_page_to_open_is_printed_and_there(built):
    out, said = built
    page = Path(said.strip().splitlines()[-1].removeprefix("The book is ready. Open "))
    assert page == out / "html" / "index.html" and page.exists()


def test_pages_need_nothing_from_outside(built):
    for path in pages(built[0]):
        assert not _Page(path).outside, path.name


def test_every_image_and_internal_link_is_there(built):
    for path in pages(built[0]):
        page = _Page(path)
        for target in page.images + page.links:
            if re.match(r"[a-z]+:|#|//", target) or target.startswith("data:"):
                continue
            assert (path.parent / target.split("#")[0].split("?")[0]).exists(), f"{path.name}: {target}"


def test_the_chapter_has_its_figures_algorithms_and_solutions(built):
    path = built[0] / "html" / "notebooks" / "02_ebm_mnist.html"
    html, page = path.read_text(), _Page(path)
    has = {word: word in html for word in ("dropdown", "NotImplementedError", "Traceback")}
    assert len([src for src in page.images if src.endswith(".png")]) >= 12
    assert html.count('class="proof algorithm') == 2
    assert html.count('class="solution') >= 5
    assert len(re.findall(r"data:image/(?:jpeg|webp);base64", html)) >= 20  # the animation, of either run
    assert has == {"dropdown": True, "NotImplementedError": True, "Traceback": False}
    assert path.stat().st_size < 6_000_000


@pytest.mark.parametrize("part", parts())
def test_a_chapter_says_which_run_it_shows_and_shows_it(built, part):
    html = (built[0] / "html" / "notebooks" / f"{part}.html").read_text(encoding="utf-8")
    run = kept_runs.find(part)
    if run is None:
        assert "No long run of this chapter is kept yet" in html and "What you see is <strong>your own run" in html
        return
    assert "This page shows the long run" in html and run.about["date"][:4] in html
    assert "changed since the long run" not in html
    pictures = sum(output.get("file", "").endswith(".webp") for outputs in run.cells.values() for output in outputs)
    assert html.count("tag_own-run") >= 3 and html.count("<img") >= pictures


def test_a_second_build_runs_nothing_again_and_leaves_the_pages_alone(built):
    out, _ = built
    before = {path: path.stat().st_mtime_ns for path in (out / "html").rglob("*")}
    command = [sys.executable, "-m", "gen_utils", "book", "--profile", "smoke", "--out", str(out)]
    env = {**os.environ, "GEN_RUNS": str(out / "runs"), "GEN_DATA_ROOT": str(out / "no_data")}
    answer = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert answer.returncode == 0 and " ran in " not in answer.stdout, answer.stdout
    assert {path: path.stat().st_mtime_ns for path in (out / "html").rglob("*")} == before
