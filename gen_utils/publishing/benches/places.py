"""Where benches stand, and their HTML: ``book/benches/PAGE.toml``, PAGE being a part or a page of ``book/``.

    [[bench]]
    name = "digits"                      # book/_static/benches/digits.js
    before = "### The replay buffer"     # the line of the page before which it stands
    title = "Bench: what becomes of a digit?"
    text = "Draw a digit …"              # what it is about, for those without scripts too
    level = 3                            # of its heading
    networks = ["ebm_mnist"]             # loaded at the first click, see networks.py
    scripts = ["plot", "pad"]            # what it uses of book/_static/benches besides the frame
    still = "Three pictures …"           # alternative text of NAME.webp there, for paper and where scripts are off

Only the book has benches. A notebook in JupyterLab and the student edition know nothing of them.
"""

from __future__ import annotations

import html
import tomllib
from dataclasses import dataclass, field

from ...base.places import BOOK, ROOT

OFF = "This bench computes in your browser, with scripts; they are off here. The picture shows what it found once."


@dataclass(frozen=True)
class Bench:
    """One bench of a page, as its file describes it."""

    name: str
    before: str
    title: str
    text: str
    still: str
    level: int = 3
    networks: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)

    @property
    def html(self) -> str:
        """Its place in a page that lies one folder below the book's root."""
        here = "../_static/benches"
        scripts = "\n".join(
            f'<script src="{here}/{name}.js" defer></script>' for name in ("frame", "log", *self.scripts, self.name)
        )
        networks = html.escape(" ".join(self.networks))
        return f"""\
<link rel="stylesheet" href="{here}/benches.css">
<section class="bench" id="bench-{self.name}" aria-labelledby="bench-{self.name}-title"
 data-bench="{self.name}" data-networks="{networks}">
<h{self.level} class="bench-title" id="bench-{self.name}-title">{html.escape(self.title)}</h{self.level}>
<p>{html.escape(" ".join(self.text.split()))}</p>
<p class="bench-off">{OFF}</p>
<figure class="bench-still"><img src="{here}/{self.name}.webp" alt="{html.escape(self.still)}" width="560"></figure>
</section>
{scripts}
"""


def benches(page: str) -> list[Bench]:
    """The benches of a part, or of a page of the book without its ending; none where there is no file.

    Raises:
        ValueError: the file is not as described above.
    """
    path = BOOK / "benches" / f"{page}.toml"
    if not path.exists():
        return []
    try:
        return [Bench(**bench) for bench in tomllib.loads(path.read_text(encoding="utf-8"))["bench"]]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path.relative_to(ROOT)}: {error}; see gen_utils/publishing/benches/places.py") from None


def every() -> list[Bench]:
    """The benches of all pages."""
    return [bench for path in sorted((BOOK / "benches").glob("*.toml")) for bench in benches(path.stem)]


def in_page(text: str, page: str) -> str:
    """A page's Markdown with its benches.

    Raises:
        ValueError: the line before which a bench stands is not there, or is there more than once.
    """
    for bench in benches(page):
        lines = text.split("\n")
        if lines.count(bench.before) != 1:
            raise ValueError(
                f"{bench.before!r} stands {lines.count(bench.before)} times in {page}; a bench wants it once"
            )
        at = lines.index(bench.before)
        text = "\n".join([*lines[:at], "```{raw} html", bench.html + "```", "", *lines[at:]])
    return text


def in_chapter(notebook: dict, part: str) -> dict:
    """A part's notebook, in JSON's terms, with its benches; the notebook itself is changed.

    Raises:
        ValueError: as ``in_page``.
    """
    if not benches(part):
        return notebook
    prose = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    seam = "\n\0\n"  # between cells: no line of any
    pieces = in_page(seam.join("".join(cell["source"]) for cell in prose), part).split(seam)
    for cell, source in zip(prose, pieces, strict=True):
        cell["source"] = source
    return notebook
