"""The self-test checks itself in a page; where scripts are off, its answers are folded."""

from pathlib import Path

import pytest

from .visit import DESKTOP, Visit

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"
QUESTION = """<div class="self-test right-{} docutils container"><p>{}</p><ol class="arabic simple"><li><p>one</p></li>
<li><p>two</p></li><li><p>three</p></li></ol><details><summary>Answer</summary><p>because</p></details></div>"""


@pytest.fixture
def path(tmp_path):
    """A page of two questions, of the form that Sphinx writes."""
    (tmp_path / "self_test.js").write_bytes((STATIC / "self_test.js").read_bytes())
    body = '<p class="self-test-score" role="status"></p>' + QUESTION.format(2, "a") + QUESTION.format(3, "b")
    page = f'<!doctype html><meta charset="utf-8"><title>t</title>{body}<script src="self_test.js"></script>'
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    return tmp_path / "page.html"


def test_a_choice_is_told_and_first_tries_are_counted(path, chromium):
    with Visit(chromium, path, DESKTOP) as visit:
        first, second = visit.page.locator(".self-test").all()
        first.get_by_role("button", name="Choose 1").click()
        assert first.locator(".self-test-verdict").text_content() == "Not 1. Try again, or unfold the answer."
        assert first.locator("details").get_attribute("open") is None
        first.locator("li").nth(1).click()  # anywhere in the row
        assert first.locator(".self-test-verdict").text_content() == "Right."
        assert first.locator("details").get_attribute("open") is not None
        assert visit.page.locator(".self-test-score").text_content() == "0 of 1 right at the first try; 1 to go."
        second.get_by_role("button", name="Choose 3").press("Enter")
        assert visit.page.locator(".self-test-score").text_content() == "1 of 2 right at the first try."
        assert not visit.errors and not visit.outside


def test_without_scripts_the_answers_are_folded(path, chromium):
    with Visit(chromium, path, DESKTOP, java_script_enabled=False) as visit:
        assert visit.page.locator("button").count() == 0
        answer = visit.page.locator("details").first
        assert not answer.locator("p").is_visible()
        answer.locator("summary").click()
        assert answer.locator("p").is_visible()
