"""Building the HTML book from kept runs and executed notebooks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ..base.places import BOOK, BUILD, CHECKPOINTS, ROOT
from . import cards, editions, unchanged
from .benches import networks, places
from .dataset_page import write_page
from .links import link_chapters
from .page_pictures import as_webp, pointed
from .pages import fill
from .parts import parts
from .repository import repository

# Jupyter Book always writes these, twice, for a service on another host that this book does not use.
_THEBE = re.compile(
    r"""\s*<script>const THEBE_JS_URL.*?</script>|\s*<script[^>]*sphinx-thebe\.js[^>]*></script>"""
    r"""|\s*<link[^>]*sphinx-thebe\.css[^>]*>|\s*<script type="text/x-thebe-config">.*?</script>""",
    re.S,
)


# The arrow in the sidebar that unfolds a page's own pages has no words; book/_static/workbook.js says which page's.
_ARROW, _NAMED_ARROW = (
    '<summary><span class="toctree-toggle"',
    '<summary aria-label="Pages"><span class="toctree-toggle"',
)


# The sidebar's entry of a chapter, whose number only its title bears; on its own page the entry leads to "#".
_ENTRY = re.compile(
    r'(<li class="toctree-l1[^"]*"><a class="[^"]*reference internal" href="(?:(?:[^"]*/)?(\d+)_\w+\.html|#)">)\s*'
)


def build_book(
    own: Mapping[str, Path],
    *,
    profile: str,
    data_root: str,
    out: Path | None = None,
    edition: str = editions.INSTRUCTOR,
) -> Path:
    """Build the HTML from kept runs and from executed notebooks; returns the page to open.

    Each profile has its own stage under ``_build/PROFILE``, so building one never undoes another, and so has the
    students' edition. HTML is left alone while nothing changed that it is made from.

    Args:
        own: part -> its executed notebook; a part that is not among them is shown as its kept run has it.

    Raises:
        ValueError: ``_config.yml`` names a repository that the buttons do not know.
        RuntimeError: the builder warned; its words are in the message.
    """
    repository()  # an address that the buttons do not know is refused here, in a sentence
    out = (out or BUILD).resolve()  # Jupyter Book runs in a folder of its own
    suffix = "" if edition == editions.INSTRUCTOR else f"-{edition}"
    stage, html = out / profile / f"stage{suffix}", out / f"html{suffix}"
    staged = write_stage(stage, own, data_root, edition)
    key = unchanged.made_from(stage)
    if unchanged.still_there(html, key):
        return html / "index.html"
    unchanged.forget(html)
    jupyter_book = "from jupyter_book.cli.main import main; main()"  # it has no __main__
    command = [sys.executable, "-c", jupyter_book, "build", str(stage), "-W", "-n", "--keep-going", "-q"]
    variables = {**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)}  # for the extension of ours
    answer = subprocess.run(command, cwd=stage, env=variables, capture_output=True, encoding="utf-8", errors="replace")
    if answer.returncode:
        raise RuntimeError(f"the book did not build cleanly:\n{answer.stdout[-4000:]}\n{answer.stderr[-4000:]}")
    shutil.copytree(stage / "_build" / "html", html, dirs_exist_ok=True)
    small = as_webp(html)
    for page in html.rglob("*.html"):
        text = _THEBE.sub("", page.read_text(encoding="utf-8")).replace(_ARROW, _NAMED_ARROW)
        _write_if_changed(pointed(_numbered(text, page), small).encode(), page)
    for notebook in (html / "_sources").rglob("*.ipynb"):
        _write_if_changed(without_outputs(notebook.read_text(encoding="utf-8")).encode(), notebook)
    link_chapters(html, staged)
    unchanged.remember(html, key)
    return html / "index.html"


def without_outputs(text: str) -> str:
    """A chapter to download. It is there to be run; what it has shown is on its page, and would weigh as much again."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _numbered(text: str, page: Path) -> str:
    """The sidebar with the chapters' numbers."""
    here = re.match(r"(\d+)_", page.stem)

    def entry(found: re.Match) -> str:
        number = found[2] or (here[1] if here else None)
        return found[1] + (f'<span class="chapter-number">{int(number)}</span> ' if number else "")

    return _ENTRY.sub(entry, text)


def write_stage(stage: Path, own: Mapping[str, Path], data_root: str, edition: str) -> dict[str, Path]:
    """Fill the folder that Jupyter Book reads: contents, pages, pictures, chapters; returns part -> its chapter."""
    staged = {}
    for part in parts():
        chapter = places.in_chapter(cards.chapter(part, own.get(part)), part)
        text = json.dumps(chapter, indent=1, ensure_ascii=False) + "\n"
        staged[part] = stage / "notebooks" / f"{part}.ipynb"
        _write_if_changed(editions.notebook(text, edition).encode(), staged[part])
    _copy_if_changed(ROOT / "_config.yml", stage / "_config.yml")
    toc = editions.contents((ROOT / "_toc.yml").read_text(encoding="utf-8"), editions.checked(edition))
    _write_if_changed(toc.encode(), stage / "_toc.yml")
    for path in sorted(BOOK.rglob("*")):
        name = path.relative_to(ROOT)
        if (
            path.name == "datasets.md"
            or not path.is_file()
            or not editions.has(name.with_suffix("").as_posix(), edition)
        ):
            continue
        if path.suffix == ".md":
            text = places.in_page(editions.page(path.read_text(encoding="utf-8"), edition), path.stem)
            _write_if_changed(fill(text, staged).encode(), stage / name)
        else:
            _copy_if_changed(path, stage / name)
    for path in sorted(CHECKPOINTS.glob("*.png")):
        _copy_if_changed(path, stage / "book" / "_static" / "models" / path.name)
    for name in {name for bench in places.every() for name in bench.networks}:
        script = networks.script(name).encode()
        _write_if_changed(script, stage / "book" / "_static" / "benches" / "networks" / f"{name}.js")
    write_page(BOOK / "datasets.md", stage / "book", Path(data_root))
    return staged


def _copy_if_changed(source: Path, target: Path) -> None:
    _write_if_changed(source.read_bytes(), target)


def _write_if_changed(data: bytes, target: Path) -> None:
    """Leaves equal files alone, so that Sphinx rebuilds only the pages that changed."""
    if not target.exists() or data != target.read_bytes():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
