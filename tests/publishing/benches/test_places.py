"""Benches are put into the book where their files say, and nowhere else."""

import jupytext
import pytest

from gen_utils.base.places import BOOK, NOTEBOOKS
from gen_utils.publishing.benches import places
from gen_utils.publishing.parts import parts

BENCH = """[[bench]]
name = "wave"
before = "## Then"
title = "A <wave>"
text = "It goes\\nup."
still = "A wave"
networks = ["ebm_mnist"]
scripts = ["plot"]
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "BOOK", tmp_path)
    monkeypatch.setattr(places, "ROOT", tmp_path)
    (tmp_path / "benches").mkdir()
    (tmp_path / "benches" / "page.toml").write_text(BENCH, encoding="utf-8")
    return tmp_path


def test_a_bench_stands_before_its_line(book):
    before, inside, after = places.in_page("# One\n\n## Then\nmore", "page").partition("```{raw} html\n")
    assert before == "# One\n\n" and inside and after.endswith("```\n\n## Then\nmore")
    assert 'id="bench-wave"' in after and "<p>It goes up.</p>" in after and "A &lt;wave&gt;" in after
    assert places.in_page("# One\n\n## Then", "another") == "# One\n\n## Then"


def test_a_bench_may_stand_within_a_cell(book):
    cells = [
        {"cell_type": "markdown", "source": ["# One\n", "text"]},
        {"cell_type": "code", "source": "1", "outputs": []},
        {"cell_type": "markdown", "source": "the end\n\n## Then\nmore"},
    ]
    found = places.in_chapter({"cells": cells}, "page")["cells"]
    assert found[0]["source"] == "# One\ntext" and found[1]["source"] == "1"
    assert found[2]["source"].startswith("the end\n\n```{raw} html") and found[2]["source"].endswith("## Then\nmore")


@pytest.mark.parametrize(("text", "times"), [("# One", 0), ("## Then\n\n## Then", 2)])
def test_a_line_that_is_not_there_once_is_refused(text, times, book):
    with pytest.raises(ValueError, match=f"'## Then' stands {times} times in page"):
        places.in_page(text, "page")


@pytest.mark.parametrize("damage", ["no toml [", '[[bench]]\nname = "a"', 'bench = "a"'])
def test_a_file_that_is_none_of_ours_is_refused(damage, book):
    (book / "benches" / "page.toml").write_text(damage, encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.toml"):
        places.in_page("## Then", "page")


def test_every_bench_has_its_line_its_scripts_and_its_picture():
    static = BOOK / "_static" / "benches"
    for path in sorted((BOOK / "benches").glob("*.toml")):
        if path.stem in parts():
            cells = jupytext.read(NOTEBOOKS / f"{path.stem}.py").cells
            text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        else:
            text = (BOOK / f"{path.stem}.md").read_text(encoding="utf-8")
        places.in_page(text, path.stem)
        for bench in places.benches(path.stem):
            for file in (
                "frame.js",
                f"{bench.name}.js",
                f"{bench.name}.webp",
                *(f"{each}.js" for each in bench.scripts),
            ):
                assert (static / file).exists(), file
