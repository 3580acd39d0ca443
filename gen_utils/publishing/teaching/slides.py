"""Slides: a deck a part, of the part's own questions, equations, algorithms, figures and exercises, for Reveal.js.

Nothing is written for the slides: they are what the chapter says, shortened. Sphinx builds them with sphinx-revealjs,
which brings Reveal.js along, so that they need no network.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import jupytext

from ...base.places import BOOK, BUILD, NOTEBOOKS, ROOT
from ...report import KIND
from .. import cards
from ..chapter_numbers import chapter
from ..openings import openings
from ..parts import parts, title_of
from ..plain_markdown import plain_markdown, read_citations

SAID = "a sentence"  # what a computed sentence's output is called
NOT_SHOWN = {"solution", "exercise", "check", "remove-cell", "parameters"}
LEFT_OUT = ("Further reading", "What breaks", "Reported", "Exact, long run", "The settings")  # sections for readers
PICTURES = {"image/png": "png", "image/webp": "webp", "image/jpeg": "jpg", "image/svg+xml": "svg"}
CONF = """\
extensions = ["myst_parser", "sphinx_revealjs", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath"]
html_static_path = revealjs_static_path = ["_static"]
mathjax_path = "mathjax/tex-svg-full.js"
revealjs_style_theme = "white"
revealjs_css_files = ["slides.css"]
revealjs_script_conf = {"hash": True, "slideNumber": True, "width": 1280, "height": 720, "transition": "none"}
project = "Generative models, a workbook"
"""
CSS = """\
.reveal { font-size: 26px; }
.reveal h1, .reveal h2 { text-transform: none; }
.reveal h1 { font-size: 2em; }
.reveal h2 { font-size: 1.3em; }
.reveal section img { display: block; margin: 0 auto; max-width: 100%; max-height: 470px; width: auto; }
.reveal section p:has(> img) + p { font-size: 0.8em; }
.reveal mjx-container[display="true"] { position: relative; overflow: hidden; }
.reveal blockquote { width: 96%; margin: 0 auto; font-size: 0.66em; font-style: normal; text-align: left; }
.reveal blockquote p { margin: 0.2em 0; }
"""
_QUESTION = re.compile(r"\*\*([^*\n][^*]*?\?)\*\*")
_EQUATION = re.compile(r"^\$\$\n.*?\n\$\$$", re.M | re.S)
_ALGORITHM = re.compile(r"^> \*\*(?:Algorithm|Theorem).*(?:\n>.*)*", re.M)
_EXERCISE = re.compile(r"^Exercise \d")


@dataclass
class Slide:
    """One slide: a heading, and Markdown below it."""

    heading: str
    body: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """A picture of a chapter; its file's ending."""

    data: bytes
    ending: str
    caption: str


@dataclass
class Deck:
    """A part's slides, and the pictures that they show: file name -> contents."""

    slides: list[Slide] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)

    def markdown(self) -> str:
        """As MyST: the first slide is the title's."""
        first, *rest = self.slides
        shown = [f"# {first.heading}", *first.body]
        for slide in rest:
            shown += [f"## {slide.heading}", *slide.body]
        return "\n\n".join(shown) + "\n"


def deck(part: str) -> Deck:
    """The deck of a part, with the pictures of its kept run; without one, its equations and exercises alone."""
    made = Deck([_title(part)])
    heading, left_out = "", False
    for piece in _pieces(part):
        if isinstance(piece, Figure):
            if not left_out:
                name = f"{part[:2]}-{len(made.pictures):02d}.{piece.ending}"
                made.pictures[name] = piece.data
                made.slides.append(Slide(heading, [f"![{_plain(piece.caption) or heading}]({name})", piece.caption]))
            continue
        for title, text in _sections(piece):
            if _EXERCISE.match(title):  # what follows it belongs to its section again
                made.slides += _slides(title, text)
                continue
            if title:
                heading, left_out = title, title.startswith(LEFT_OUT)
            if not left_out:
                made.slides += _slides(heading, text)
    return made


def _title(part: str) -> Slide:
    opening = openings().get(part)
    return Slide(f"{int(part[:2])} · {title_of(part)}", [opening.line.capitalize() + "."] if opening else [])


def _pieces(part: str) -> Iterator[str | Figure]:
    """A chapter in order: its plain Markdown, and its figures."""
    source = [cell for cell in jupytext.read(NOTEBOOKS / f"{part}.py").cells if cell.cell_type == "markdown"]
    prose = [cell.source for cell in source if "solution" not in cell.metadata.get("tags", ())]
    citations = read_citations(BOOK / "references.bib")
    texts = iter(plain_markdown(prose, citations, chapter(f"notebooks/{part}")))
    for cell in cards.chapter(part)["cells"]:
        tags = set(cell["metadata"].get("tags", ()))
        if cell["cell_type"] == "markdown":
            if "solution" not in tags:
                yield next(texts)
        elif not tags & NOT_SHOWN:
            yield from _figures(cell)


def _figures(cell: dict) -> Iterator[Figure]:
    """The pictures of a cell, with a caption each: its own, else the first sentence that the cell says."""
    said = [
        output["data"]["text/markdown"] for output in cell["outputs"] if output.get("metadata", {}).get(KIND) == SAID
    ]
    own = cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption", "")
    caption = _first_sentence(own or "".join(said[0] if said else ""))
    for output in cell["outputs"]:
        data = output.get("data", {})
        if kind := next((kind for kind in PICTURES if kind in data), None):
            text, ending = "".join(data[kind]), PICTURES[kind]
            yield Figure(text.encode() if ending == "svg" else base64.b64decode(text), ending, caption)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.?!])\s+(?=[A-Z*])", " ".join(text.split()), maxsplit=1)[0]


def _plain(text: str) -> str:
    return re.sub(r"[\[\]*`$\\]", "", text)


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """(heading, text) of each piece between headings; the first may have none."""
    pieces = re.split(r"^#{1,3} (.+)$", text, flags=re.M)
    if pieces[0].strip():
        yield "", pieces[0]
    yield from zip(pieces[1::2], pieces[2::2], strict=True)


def _slides(heading: str, text: str) -> Iterator[Slide]:
    """What of a section goes on slides."""
    if heading == "Questions":
        for number, asked in re.findall(r"^(\d+)\. (.+(?:\n {3}.+)*)", text, re.M):
            yield Slide(f"Question {number}", [" ".join(asked.split())])
        return
    if _EXERCISE.match(heading) and (goal := re.search(r"\*Goal: .+?\*", text, re.S)):
        yield Slide(heading, [" ".join(goal[0].split())])
        return
    algorithms = _ALGORITHM.findall(text)
    rest = _ALGORITHM.sub("", text)
    asked = [f"**{' '.join(question.split())}**" for question in _QUESTION.findall(_EQUATION.sub("", rest))][:1]
    equations = _EQUATION.findall(rest)
    for i in range(0, len(equations), 2):
        yield Slide(heading, [*(asked if i == 0 else ()), *equations[i : i + 2]])
    if asked and not equations:
        yield Slide(heading, asked)
    for algorithm in algorithms:
        yield Slide(heading, [algorithm])


def write_sources(folder: Path) -> None:
    """Fill the folder that Sphinx reads: a page a deck, their pictures, and a first page that lists them."""
    static = folder / "_static"
    shutil.copytree(BOOK / "_static" / "mathjax", static / "mathjax", dirs_exist_ok=True)
    (static / "slides.css").write_text(CSS, encoding="utf-8")
    (folder / "conf.py").write_text(CONF, encoding="utf-8")
    for part in parts():
        made = deck(part)
        (folder / f"{part}.md").write_text(made.markdown(), encoding="utf-8")
        for name, data in made.pictures.items():
            (folder / name).write_bytes(data)
    links = "\n".join(f"- [{int(part[:2])} · {title_of(part)}]({part}.md)" for part in parts())
    hidden = "\n".join(parts())
    toc = f"```{{toctree}}\n:hidden:\n\n{hidden}\n```"
    (folder / "index.md").write_text(f"# Slides\n\n## Eleven decks\n\n{links}\n\n{toc}\n", encoding="utf-8")


def build(out: Path | None = None) -> Path:
    """Build all decks; returns the page to open.

    Raises:
        RuntimeError: Sphinx did not build them cleanly.
    """
    out = (out or BUILD / "slides").resolve()
    sources = out / "sources"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir(parents=True)
    write_sources(sources)
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-b",
        "revealjs",
        "-q",
        "-W",
        "--keep-going",
        str(sources),
        str(out / "html"),
    ]
    variables = {**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", errors="replace")
    if answer.returncode:
        raise RuntimeError(f"the slides did not build cleanly:\n{answer.stdout[-2000:]}\n{answer.stderr[-4000:]}")
    return out / "html" / "index.html"
