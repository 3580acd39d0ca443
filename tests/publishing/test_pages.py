"""Pages that are made from cards, kept results and executed notebooks."""

import json
import re

import pytest

from gen_utils import checkpoints
from gen_utils.base.places import NOTEBOOKS
from gen_utils.publishing import pages as book_pages
from gen_utils.publishing.parts import parts
from gen_utils.report import COMPARISON, KIND


@pytest.fixture
def executed(tmp_path):
    """One executed notebook with a results table and another one."""

    def output(text, what="a table"):
        return {"output_type": "display_data", "data": {"text/markdown": text}, "metadata": {KIND: what}}

    cells = [
        {"cell_type": "code", "source": "", "outputs": [output("| a | b |\n|---|---|\n| 1 | 2 |")]},
        {
            "cell_type": "code",
            "source": "",
            "outputs": [
                output(
                    "**Note**\n\n| data | quantity | reported | this run (quick) |\n|-|-|-|-|\n| x | 1 | 2 | 3 |",
                    COMPARISON,
                )
            ],
        },
    ]
    path = tmp_path / "02_ebm_mnist.ipynb"
    path.write_text(
        json.dumps({"cells": cells, "metadata": {"gen_utils": {"profile": "quick", "seconds": 51.2}}}), encoding="utf-8"
    )
    return {"02_ebm_mnist": path}


def test_every_model_that_ships_is_on_its_page(executed):
    page = book_pages.fill("<!-- made: trained_models -->", executed)
    assert re.findall(r"^## `(\w+)`", page, re.M) == checkpoints.names()
    card = checkpoints.read_card("ebm_mnist")
    assert f"frechet distance: **{card['metrics']['frechet_distance']['value']}** (" in page
    assert "features: digit_classifier" in page and card["command"] in page
    assert card["known_faults"] in page


def test_results_hold_the_right_table_and_no_other(executed):
    page = book_pages.fill("before\n\n<!-- made: results -->\n\nafter", executed)
    assert "| x | 1 | 2 | 3 |" in page and "| 1 | 2 |\n" not in page
    assert page.startswith("before\n\n## [An energy-based model of MNIST](../notebooks/02_ebm_mnist.ipynb)")
    assert page.endswith("after")


def test_timing_has_this_build_and_what_the_chapter_says(executed):
    (row,) = book_pages.timing(executed).split("\n")[2:]
    assert row.startswith("| 02 · An energy-based model of MNIST | `quick`: 51 s | under 40 minutes, two cores")
    assert len(book_pages.timing(dict.fromkeys(parts(), executed["02_ebm_mnist"])).split("\n")) > 8


def test_every_exercise_is_listed_with_its_function():
    page = book_pages.exercises({})
    checks = sum(
        len(re.findall(r'tags=\["check"\]', (NOTEBOOKS / f"{part}.py").read_text(encoding="utf-8"))) for part in parts()
    )
    rows = [line for line in page.split("\n") if line.startswith("| ") and not line.startswith("| exercise")]
    rows = [row for row in rows if not row.startswith("| |")]
    assert len(rows) == checks and all(row.count("|") - row.count(r"\|") == 7 for row in rows)
    assert "{eq}" not in page and "| 2.1 | From energies to a density | `density_on_grid` |" in page


def test_a_mark_that_nobody_makes_is_an_error():
    with pytest.raises(ValueError, match="no maker for <!-- made: nothing -->"):
        book_pages.fill("<!-- made: nothing -->", {})
