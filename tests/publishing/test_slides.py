"""The slides: what a deck takes of its chapter, and that Sphinx builds them without a network."""

import re

import pytest

from gen_utils.publishing.exercises import exercises_of
from gen_utils.publishing.parts import parts
from gen_utils.publishing.teaching import slides

PART = "02_ebm_mnist"


@pytest.fixture(scope="module")
def deck():
    return slides.deck(PART)


def test_a_deck_has_the_exercises_the_equations_and_the_questions_of_its_part(deck):
    text = deck.markdown()
    assert text.startswith("# 2 · An energy-based model of MNIST\n")
    for exercise in exercises_of(PART):
        assert f"## Exercise {exercise.number}: {exercise.title}\n" in text
    tags = re.findall(r"\\tag\{2\.(\d+)\}", text)
    assert tags == [str(n) for n in range(1, len(tags) + 1)] and len(tags) >= 7
    assert "> **Algorithm 2.1: A Langevin chain, as image models use it**" in text
    assert "## Question 1\n" in text and "**Are all ten digits there?**" in text
    assert "Further reading" not in text and "What breaks" not in text


def test_a_deck_shows_the_figures_of_the_kept_run_and_no_solution(deck):
    text = deck.markdown()
    assert deck.pictures and all(f"({name})" in text for name in deck.pictures)
    assert "solution" not in text.lower() and "return " not in text.replace("return $x_K$", "")


def test_what_follows_an_exercise_is_under_its_sections_heading_again():
    made = list(slides._sections("intro\n## A\ntext\n### Exercise 2.1: b\n*Goal: see. About 1 minute, 1 point.*\nrest"))
    assert made == [("", "intro\n"), ("A", "\ntext\n"), ("Exercise 2.1: b", made[2][1])]
    (slide,) = slides._slides(*made[2])
    assert slide.body == ["*Goal: see. About 1 minute, 1 point.*"]


def test_a_section_gives_its_question_then_its_equations_two_by_two():
    text = "**Why?** Because\n\n$$\na\n$$\n\nand\n\n$$\nb\n$$\n\nand\n\n$$\nc\n$$\n"
    found = list(slides._slides("A", text))
    assert [slide.body for slide in found] == [["**Why?**", "$$\na\n$$", "$$\nb\n$$"], ["$$\nc\n$$"]]


@pytest.mark.slow
def test_sphinx_builds_all_decks_that_ask_no_other_host(tmp_path):
    pytest.importorskip("sphinx_revealjs", reason="sphinx-revealjs is not installed")
    index = slides.build(tmp_path)
    assert index.exists()
    for part in parts():
        html = (tmp_path / "html" / f"{part}.html").read_text(encoding="utf-8")
        assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]+\.(?:js|css)"', html)
        assert html.count("<section") > 15 and "mathjax/tex-svg-full.js" in html
