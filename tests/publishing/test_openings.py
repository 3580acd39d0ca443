"""How chapters open in the book, and the cards of its first page."""

import re

import pytest

from gen_utils.base.places import BOOK, CHECKPOINTS
from gen_utils.publishing import openings
from gen_utils.publishing.exercises import exercises_of
from gen_utils.publishing.parts import parts

TITLE = "# A title\n\nThe first paragraph,\non two lines.\n\nThe second.\n"


def opened(part, text=TITLE, told="**This page** shows a run."):
    notebook = {"cells": [{"cell_type": "markdown", "source": text}]}
    openings.opened(part, notebook, told)
    return notebook["cells"][0]["source"]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A file of openings in the place of the book's."""

    def write(text):
        (tmp_path / "openings.toml").write_text(text, encoding="utf-8")
        monkeypatch.setattr(openings, "BOOK", tmp_path)
        monkeypatch.setattr(openings, "ROOT", tmp_path)
        openings.openings.cache_clear()

    yield write
    openings.openings.cache_clear()


def test_every_part_opens_with_a_picture_that_is_there_and_described():
    assert list(openings.openings()) == parts()
    for part, opening in openings.openings().items():
        assert opening.card and opening.line and len(opening.letter) == 1
        if not opening.picture:
            continue
        folder, name = opening.picture.split("/")
        assert ((CHECKPOINTS if folder == "models" else BOOK / "_static" / folder) / name).exists(), part
        assert len(opening.alt) > 40 and opening.alt.endswith(".") and opening.caption.endswith("."), part


def test_what_a_part_needs_comes_before_it_and_what_it_leads_to_after():
    for part, opening in openings.openings().items():
        assert all(other < part for other in opening.needs) and all(other > part for other in opening.leads)


@pytest.mark.parametrize("part", parts())
def test_the_opening_stands_between_the_title_and_the_rest(part):
    text = opened(part)
    opening = openings.openings()[part]
    order = [
        "# A title",
        f"Chapter {int(part[:2])} ·",
        "The first paragraph",
        "You will write",
        "**This page**",
        "The second.",
    ]
    places = [text.index(each) for each in order]
    assert places == sorted(places)
    assert text.count("::::::") == 2 and all(f'href="#{each.label}"' in text for each in exercises_of(part))
    assert all(f"({name}.ipynb)" in text for name in (*opening.needs, *opening.leads))
    assert f"Part {opening.letter}<" in text and (not opening.picture or opening.alt in text)


def test_a_chapter_without_an_opening_says_which_run_it_shows(written):
    written("")
    text = opened("02_ebm_mnist")
    assert "kicker" not in text and text.index("# A title") < text.index("**This page**") < text.index("The first")


def test_the_group_is_that_of_the_contents():
    assert openings.group_of("02_ebm_mnist") == "Energy-based models"
    assert openings.group_of("09_vae_likelihood") == "Latent-variable models"
    with pytest.raises(ValueError, match="does not have"):
        openings.group_of("99_nothing")


def test_the_first_page_has_a_card_for_each_part():
    html = openings.cards()
    assert re.findall(r'href="\.\./notebooks/(\w+)\.html"', html) == parts()
    assert len(re.findall("<strong>", html)) == len(parts())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[02_ebm_mnist]\nletter = 'B'\n", "a table has letter, card"),
        ("[02_ebm_mnist\n", "openings.toml"),
        (
            "[nobody]\nletter=''\ncard=''\nline=''\npicture=''\nalt=''\ncaption=''\nneeds=[]\nleads=[]\n",
            "no part nobody",
        ),
    ],
)
def test_a_file_that_is_wrong_is_one_sentence(written, text, said):
    written(text)
    with pytest.raises(ValueError, match=said):
        openings.openings()


@pytest.mark.parametrize(("minutes", "told"), [(1, "5 minutes"), (62, "60 minutes"), (150, "2.5 hours")])
def test_times_are_round(minutes, told):
    assert openings._hours(minutes) == told


def test_the_densities_are_drawn(tmp_path):
    from PIL import Image

    openings.draw_densities(tmp_path / "densities.webp")
    with Image.open(tmp_path / "densities.webp") as drawn:
        assert drawn.size == (1500, 300)


def test_the_sidebar_bears_the_chapters_numbers_and_no_others():
    from pathlib import Path

    from gen_utils.publishing.book import _numbered

    entry = '<li class="toctree-l1"><a class="reference internal" href="{}">Title</a></li>'
    text = "".join(
        map(entry.format, ("../book/notation.html", "01_sampling_playground.html", "../notebooks/10_vaebm.html"))
    )
    text += '<li class="toctree-l1 current active"><a class="current reference internal" href="#">Here</a></li>'
    found = re.findall(r'<span class="chapter-number">(\d+)</span> (\w+)', _numbered(text, Path("02_ebm_mnist.html")))
    assert found == [("1", "Title"), ("10", "Title"), ("2", "Here")]
    found = re.findall(r'<span class="chapter-number">(\d+)</span> (\w+)', _numbered(text, Path("glossary.html")))
    assert found == [("1", "Title"), ("10", "Title")]
