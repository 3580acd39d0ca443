"""Figures with captions: each in a cell of its own, in the order in which they were shown."""

import nbformat
import pytest

from gen_utils.publishing.captions import captioned
from gen_utils.report import CAPTION, FIGURE, KIND

from .kept_run_maker import picture, printed, shown


def figure(seed, caption, name=""):
    told = {KIND: FIGURE, "caption": caption, "alt": f"what {caption} shows", "name": name}
    return [{**picture(seed), "metadata": told}, shown({"text/markdown": caption}, **{KIND: CAPTION})]


def cell(outputs, tags=("hide-input",)):
    return {
        "cell_type": "code", "execution_count": 3, "id": "cell-7", "source": "draw()", "outputs": outputs,
        "metadata": {"tags": list(tags)},
    }  # fmt: skip


def test_each_figure_has_its_caption_and_its_words_and_what_stands_between_stays_there():
    outputs = [printed("first"), *figure(1, "One.", "fig-one"), *figure(2, "Two."), printed("last")]
    pieces = list(captioned(cell(outputs)))
    for piece in pieces:
        nbformat.validate(nbformat.from_dict({"cells": [piece], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    assert [len(piece["outputs"]) for piece in pieces] == [1, 1, 1, 1]
    assert [piece["metadata"].get("mystnb") for piece in pieces] == [
        None,
        {"figure": {"caption": "One.", "name": "fig-one"}, "image": {"alt": "what One. shows"}},
        {"figure": {"caption": "Two."}, "image": {"alt": "what Two. shows"}},
        None,
    ]
    assert pieces[0]["source"] == "draw()" and pieces[0]["metadata"]["tags"] == ["hide-input"]
    assert all(piece["metadata"]["tags"] == ["remove-input"] for piece in pieces[1:])
    assert len({piece["id"] for piece in pieces}) == 4


def test_a_figure_stands_below_the_code_that_draws_it():
    code, drawn = captioned(cell(figure(1, "One."), tags=("hide-input", "long-run")))
    assert (
        code["source"] == "draw()" and code["outputs"] == [] and code["metadata"]["tags"] == ["hide-input", "long-run"]
    )
    assert drawn["metadata"]["tags"] == ["long-run", "remove-input"] and len(drawn["outputs"]) == 1


@pytest.mark.parametrize("outputs", [[], [printed("x")], [picture(1)]])
def test_other_cells_stay_as_they_are(outputs):
    one = cell(outputs)
    assert list(captioned(one)) == [one]


def test_a_folded_cell_keeps_the_caption_as_a_sentence():
    one = cell(figure(1, "One."), tags=("hide-output", "own-run"))
    assert list(captioned(one)) == [one]
