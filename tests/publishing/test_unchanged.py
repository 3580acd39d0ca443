"""A built book is left alone while nothing changed that it is made from, and only then."""

import pytest

from gen_utils.publishing.unchanged import forget, made_from, remember, still_there


@pytest.fixture
def stage(tmp_path):
    folder = tmp_path / "quick"
    (folder / "book").mkdir(parents=True)
    (folder / "book" / "preface.md").write_text("A page.", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def html(tmp_path, stage):
    folder = tmp_path / "html"
    (folder / "book").mkdir(parents=True)
    (folder / "index.html").write_text("The book.", encoding="utf-8")
    (folder / "book" / "preface.html").write_text("A page.", encoding="utf-8")
    remember(folder, made_from(stage))
    return folder


def test_html_of_the_same_stage_is_still_there(stage, html):
    assert still_there(html, made_from(stage))


def test_what_sphinx_keeps_and_hidden_files_do_not_count(stage, html):
    (stage / "_build" / "html").mkdir(parents=True)
    (stage / "_build" / "html" / "index.html").write_text("The book.", encoding="utf-8")
    (stage / ".01.running.ipynb").write_text("{}", encoding="utf-8")
    assert still_there(html, made_from(stage))


def test_a_page_that_changed_counts(stage, html):
    (stage / "book" / "preface.md").write_text("A Page.", encoding="utf-8")
    assert not still_there(html, made_from(stage))


def test_a_new_picture_counts_and_one_that_went(stage, html):
    (stage / "other.png").write_bytes(b"\x89PNG")
    assert not still_there(html, made_from(stage))
    (stage / "other.png").unlink()
    (stage / "picture.png").unlink()
    assert not still_there(html, made_from(stage))


def test_another_profile_in_the_same_place_counts(stage, html):
    remember(html, "the key of another stage")
    assert not still_there(html, made_from(stage))


def test_a_page_of_the_book_that_was_deleted_or_edited_counts(stage, html):
    page = html / "book" / "preface.html"
    page.write_text("Another page.", encoding="utf-8")
    assert not still_there(html, made_from(stage))
    page.unlink()
    assert not still_there(html, made_from(stage))


def test_no_book_is_still_there_before_one_is_built_or_after_half_a_build(tmp_path, stage, html):
    assert not still_there(tmp_path / "never", made_from(stage))
    forget(html)
    assert not still_there(html, made_from(stage))


def test_a_damaged_note_is_no_note(stage, html):
    html.with_name("html.json").write_text('{"made_from', encoding="utf-8")
    assert not still_there(html, made_from(stage))
