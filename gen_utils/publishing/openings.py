"""How a chapter opens in the book, and the first page's cards: ``book/openings.toml``, one table a part.

    [02_ebm_mnist]
    letter = "B"                          # of the assignment; the codes behind headings begin with it
    card = "Digits from energy"           # on its card, with
    line = "one network, one sampler"
    picture = "models/ebm_mnist.png"      # in the book's _static; empty: there is none yet
    alt = "Forty handwritten digits …"
    caption = "Your goal: …"
    needs = ["01_sampling_playground"]    # parts that it builds on, and
    leads = ["03_ebm_bitmoji"]            # parts that build on it

A notebook in JupyterLab opens with its own words alone.
"""

from __future__ import annotations

import functools
import html
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from ..base.places import BOOK, ROOT
from .exercises import exercises_of
from .parts import parts, title_of

WORDS_A_MINUTE = 150  # slower than a novel: there are formulas
_FIRST = re.compile(r"(?P<title># .+\n)\n(?P<first>(?:(?!```|#).+\n)+)")


@dataclass(frozen=True)
class Opening:
    """A part's table in the file."""

    letter: str
    card: str
    line: str
    picture: str
    alt: str
    caption: str
    needs: list[str]
    leads: list[str]


@functools.cache
def openings() -> dict[str, Opening]:
    """part -> how it opens, in the order of the course.

    Raises:
        ValueError: the file is not as described above.
    """
    path = BOOK / "openings.toml"
    try:
        found = {part: Opening(**table) for part, table in tomllib.loads(path.read_text(encoding="utf-8")).items()}
    except (tomllib.TOMLDecodeError, TypeError) as error:
        has = ", ".join(field.name for field in fields(Opening))
        raise ValueError(f"{path.relative_to(ROOT)}: {error}; a table has {has}") from None
    for part, opening in found.items():
        if unknown := {part, *opening.needs, *opening.leads} - set(parts()):
            raise ValueError(f"{path.relative_to(ROOT)}: there is no part {', '.join(sorted(unknown))}")
    return {part: found[part] for part in parts() if part in found}


def opened(part: str, notebook: dict, told: str) -> None:
    """Put the opening into a chapter's first cell: its place in the course, a picture, and what to expect.

    Args:
        told: which run the page shows, in Markdown; it stands below the picture.
    """
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    opening, text = openings().get(part), "".join(cells[0]["source"])
    found = _FIRST.match(text)
    provenance = f"::::{{container}} provenance\n{told}\n::::\n\n"
    if opening is None or found is None:
        title, rest = text.split("\n", 1)
        cells[0]["source"] = f"{title}\n\n{provenance}{rest}"
        return
    words = sum(len("".join(cell["source"]).split()) for cell in cells)
    cells[0]["source"] = (
        f"{found['title']}\n"
        f"::::::{{container}} opening\n:::::{{container}} opening-main\n"
        f"{_kicker(part, opening)}\n\n{found['first']}\n{_picture(opening)}:::::\n"
        f":::::{{container}} opening-aside\n{_aside(part, opening, words)}:::::\n::::::\n\n"
        f"{provenance}{text[found.end() :]}"
    )


def _kicker(part: str, opening: Opening) -> str:
    return f'<p class="kicker">Chapter {int(part[:2])} · {group_of(part)} · Part {opening.letter}</p>'


def group_of(part: str) -> str:
    """The heading under which the contents have a part.

    Raises:
        ValueError: the contents do not have it.
    """
    heading = ""
    for line in (ROOT / "_toc.yml").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"\s*- caption: (.+)", line):
            heading = found[1]
        elif line.strip() == f"- file: notebooks/{part}":
            return heading
    raise ValueError(f"_toc.yml does not have notebooks/{part}")


def _picture(opening: Opening) -> str:
    if not opening.picture:
        return ""
    source = f"../book/_static/{opening.picture}"
    return f"```{{image}} {source}\n:alt: {opening.alt}\n:class: opening-picture\n```\n\n*{opening.caption}*\n\n"


def _aside(part: str, opening: Opening, words: int) -> str:
    mine = exercises_of(part)
    write = "".join(f'- <a href="#{exercise.label}">{exercise.title}</a>\n' for exercise in mine)
    minutes = sum(exercise.minutes for exercise in mine)
    lines = [f"**You will write**\n\n{write}"]
    if opening.needs:
        lines.append(f"**You need**\n\n{_links(opening.needs)}")
    if opening.leads:
        lines.append(f"**Then go to**\n\n{_links(opening.leads)}")
    lines.append(
        f"**Time** (estimates)\n\n- reading: {_hours(words / WORDS_A_MINUTE)}\n- exercises: {_hours(minutes)}\n"
    )
    lines.append('<button class="show-code" type="button" hidden>Show all code</button>\n')
    return "\n".join(lines)


def _links(names: list[str]) -> str:
    return "".join(f"- [{int(name[:2])} · {short(name)}]({name}.ipynb)\n" for name in names)


def short(part: str) -> str:
    """A part in a word or three: its card's, else its title."""
    opening = openings().get(part)
    return opening.card if opening else title_of(part)


def _hours(minutes: float) -> str:
    rounded = 5 * max(1, round(minutes / 5))
    return f"{rounded} minutes" if rounded < 90 else f"{rounded / 60:.1f} hours"


def cards(_executed: object = None) -> str:
    """The first page's cards, one a part: picture, number, a few words. HTML, for a page one folder below the root."""
    found = []
    for part, opening in openings().items():
        picture = (
            f'<img src="../_static/{opening.picture}" alt="" loading="lazy">'
            if opening.picture
            else '<span class="no-picture" aria-hidden="true"></span>'
        )
        found.append(
            f'<a class="part-card" href="../notebooks/{part}.html">{picture}'
            f"<strong>{int(part[:2])} · {html.escape(opening.card)}</strong>"
            f"<span>{html.escape(opening.line)}</span></a>"
        )
    return '<div class="part-cards">\n' + "\n".join(found) + "\n</div>\n"


def draw_densities(path: Path) -> None:
    """The first chapter's picture: its five landscapes, from above."""
    import matplotlib
    import torch
    from PIL import Image

    from ..models.analytic import Banana, DoubleWell, Gaussian, Ring, eight_gaussians

    tiles = []
    for energy in (Gaussian(), Banana(), Ring(), eight_gaussians(), DoubleWell()):
        left, right, low, high = energy.extent
        side = max(right - left, high - low)
        along = torch.linspace(-side / 2, side / 2, 300)
        u, v = torch.meshgrid(along + (left + right) / 2, along.flip(0) + (low + high) / 2, indexing="xy")
        level = energy(torch.stack((u, v), -1).reshape(-1, 2)).reshape(u.shape)
        tiles.append((level.min() - level).exp() ** 0.6)  # the root shows the flanks
    colours = matplotlib.colormaps["cividis"](torch.cat(tiles, 1).numpy(), bytes=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours[..., :3]).save(path, quality=82)


if __name__ == "__main__":
    draw_densities(BOOK / "_static" / "openings" / "densities.webp")
