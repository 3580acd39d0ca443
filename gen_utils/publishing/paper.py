"""The book for paper: a PDF of one chapter or of all pages, printed by Chromium from the pages that were built.

What a page looks like on paper stands in ``book/_static/paper.css``. Here folded solutions go to the back, films stop
at their last picture, and the PDFs of the pages become one, whose pages are numbered through and whose links lead
inside it.
"""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from ..base.places import ROOT
from . import editions

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_ARGUMENTS = ("--disable-gpu", "--disable-background-networking", "--allow-file-access-from-files")
_PATIENCE = 600_000  # milliseconds; a machine may be busy
_CONTENTS = re.compile(r"^\s*(?:- file|root): (\S+)", re.M)

# Everything is drawn: formulas, pictures that wait to be seen, films at their last picture. Then the solutions are
# taken out, or all but them; returns the page's title and whether there are any.
_PREPARE = """async ([back, first]) => {
  if (window.MathJax?.startup) await MathJax.startup.promise;
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map((image) => image.decode().catch(() => null)));
  for (const last of document.querySelectorAll('.anim-buttons button[title^="Last"]')) last.click();
  for (const details of document.querySelectorAll("details:not(.above-input, .above-output)")) details.open = true;
  const article = document.querySelector(".bd-article");
  const solutions = [...article.querySelectorAll(".solution")];
  const title = article.querySelector("h1")?.cloneNode(true);
  for (const link of title?.querySelectorAll(".headerlink") ?? []) link.remove();
  for (const solution of solutions) {
    solution.classList.remove("toggle-hidden");
    if (back) continue;
    const note = document.createElement("p");
    note.className = "paper-note";
    note.textContent = "The solution stands at the back.";
    solution.replaceWith(note);
  }
  const name = title?.textContent.trim() ?? document.title;
  if (back) {
    const heading = document.createElement("h1");
    heading.textContent = `Solutions: ${name}`;
    article.classList.add("paper-back");
    article.replaceChildren(heading, ...solutions);
  }
  document.documentElement.style.counterReset = `page ${first - 1}`;
  return [name, solutions.length];
}"""


def contents(edition: str = editions.INSTRUCTOR) -> list[str]:
    """The pages of an edition in their order, named as in the table of contents."""
    return _CONTENTS.findall(editions.contents((ROOT / "_toc.yml").read_text(encoding="utf-8"), edition))


def print_pages(html: Path, pages: Sequence[str], out: Path, say: Callable[[str], None] = lambda _: None) -> int:
    """Print built pages into one PDF, their solutions behind the last of them; returns how many sheets it has.

    Args:
        html: a built book. pages: such as ``notebooks/02_ebm_mnist``. say: told of every page that is done.

    Raises:
        FileNotFoundError: a page is not built.
        RuntimeError: there is no browser.
    """
    from pypdf import PdfReader, PdfWriter

    for name in pages:
        if not (html / f"{name}.html").exists():
            raise FileNotFoundError(f"{html / name}.html is not there; build the book first: python -m gen_utils read")
    book, starts = PdfWriter(), {}
    with _browser() as browser:

        def add(name: str, *, back: bool) -> int:
            title, solutions, printed = _print(browser, html / f"{name}.html", len(book.pages) + 1, back)
            first = len(book.pages)
            book.append(PdfReader(io.BytesIO(printed)), import_outline=False)
            book.add_outline_item(title=f"Solutions: {title}" if back else title, page_number=first)
            say(f"{name}{', its solutions' if back else ''}: {len(book.pages) - first} pages")
            starts.setdefault((html / f"{name}.html").resolve(), first)
            return solutions

        solved = [name for name in pages if add(name, back=False)]
        for name in solved:
            add(name, back=True)
    _lead_inside(book, starts)
    out.parent.mkdir(parents=True, exist_ok=True)
    book.add_metadata({"/Title": "Generative models, a workbook"})
    book.compress_identical_objects()  # each page brought the same fonts
    book.write(out)
    return len(book.pages)


def _print(browser, page_path: Path, first: int, back: bool) -> tuple[str, int, bytes]:
    """One page's title, how many solutions it has, and its PDF; ``first`` is the number of its first sheet."""
    context = browser.new_context(offline=True, color_scheme="light", viewport={"width": 900, "height": 1200})
    context.set_default_timeout(_PATIENCE)
    try:
        page = context.new_page()
        page.goto(page_path.resolve().as_uri())
        page.wait_for_load_state("load")
        page.emulate_media(media="print", color_scheme="light")
        title, solutions = page.evaluate(_PREPARE, [back, first])
        return title, solutions, page.pdf(prefer_css_page_size=True, print_background=True)
    finally:
        context.close()


def _lead_inside(book, starts: Mapping[Path, int]) -> None:
    """A link to a page's file leads to where that page begins; one to a file that is not in the PDF is taken off."""
    from pypdf.generic import ArrayObject, NameObject, NullObject

    for sheet in book.pages:
        kept = ArrayObject()
        annotations: Any = sheet.get("/Annots") or ()  # pypdf knows its objects by their names only
        for reference in annotations:
            link: Any = reference.get_object()
            address = urlsplit(str(link.get("/A", {}).get("/URI", "")))
            if address.scheme == "file":
                target = starts.get(Path(url2pathname(unquote(address.path))).resolve())
                if target is None:
                    continue
                del link[NameObject("/A")]
                place = [book.pages[target].indirect_reference, NameObject("/XYZ"), *(NullObject() for _ in range(3))]
                link[NameObject("/Dest")] = ArrayObject(place)
            kept.append(reference)
        if "/Annots" in sheet:
            sheet[NameObject("/Annots")] = kept


def find_browser() -> str | None:
    """$CHROMIUM, else a Chromium or Chrome of this system; None: Playwright's own, if it has one."""
    return os.environ.get("CHROMIUM") or next((found for name in _BROWSERS if (found := shutil.which(name))), None)


@contextmanager
def _browser():
    from playwright.sync_api import Error, sync_playwright

    root = hasattr(os, "geteuid") and os.geteuid() == 0
    arguments = [*_ARGUMENTS, "--no-sandbox"] if root else list(_ARGUMENTS)  # for root Chromium has no sandbox
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=find_browser(), args=arguments, timeout=_PATIENCE)
        except Error:
            raise RuntimeError(
                "no Chromium could be started; install one with python -m playwright install chromium, "
                "or set CHROMIUM to its path"
            ) from None
        try:
            yield browser
        finally:
            browser.close()
