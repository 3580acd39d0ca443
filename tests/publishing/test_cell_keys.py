"""Keys of cells: equal where a cell would do the same, different where it, or what it reads, would not."""

import pytest

from gen_utils.publishing.cell_keys import cell_keys
from gen_utils.publishing.keep import code_cells
from gen_utils.publishing.parts import parts

CELLS = [
    "from gen_utils.samplers import Langevin, sample\nimport torch",
    "settings = choose(profile, quick=dict(n=1, m=2), laptop=dict(n=10, m=20), full=dict(n=100, m=200))",
    "def draw(k):\n    return sample(k, scale)",
    "scale = settings.m",
    "rows = []\nfor i in range(settings.n):\n    rows.append(draw(i))",
    "print(rows)",
    "print(torch.ones(3))",
]


def changed(i, new, profile="laptop", cells=CELLS):
    """The numbers of the cells whose keys differ once cell i reads ``new``."""
    other = [*cells[:i], new, *cells[i + 1 :]]
    pairs = zip(cell_keys(cells, profile), cell_keys(other, profile), strict=True)
    return [k for k, (a, b) in enumerate(pairs) if a != b]


def test_layout_and_comments_do_not_count():
    laid_out = "rows = [  # of draws\n]\nfor i in range(\n    settings.n,\n):\n    rows.append((draw(i)))  # fmt: skip"
    assert changed(4, laid_out) == []


def test_what_a_cell_reads_counts_as_far_as_it_goes():
    assert changed(5, "print(rows, 'again')") == [5]
    assert changed(4, CELLS[4].replace("draw(i)", "draw(-i)")) == [4, 5]
    assert changed(3, "scale = 7") == [2, 3, 4, 5]  # a function reads what is bound further down
    assert changed(0, CELLS[0].replace("import torch", "import numpy as torch")) == [0, 6]
    assert changed(0, CELLS[0].replace("Langevin, sample", "Langevin, MALA, sample")) == [0]


def test_a_list_that_grew_is_another_list():
    cells = ["found = []", "found.append(1)", "print(found)"]
    assert changed(1, "found.append(2)", cells=cells) == [1, 2]
    cells = ["found = {}", "found['a'] = 1", "print(found)"]
    assert changed(1, "found['a'] = 2", cells=cells) == [1, 2]


def test_a_names_inside_a_function_is_its_own():
    cells = ["x = 1", "def f(x):\n    y = x\n    return y", "y = 2", "print(f(3))"]
    assert changed(0, "x = 5", cells=cells) == [0] and changed(2, "y = 5", cells=cells) == [2]


def test_only_the_profiles_own_column_counts_and_of_it_what_is_read():
    assert changed(1, CELLS[1].replace("n=1,", "n=3,").replace("n=100,", "n=7,")) == []
    assert changed(1, CELLS[1].replace("n=10,", "n=11,")) == [1, 4, 5]
    assert changed(1, CELLS[1].replace("m=20)", "m=21)")) == [1, 2, 3, 4, 5]
    assert changed(1, CELLS[1].replace("n=1,", "n=3,"), profile="quick") == [1, 4, 5]
    with_smoke = CELLS[1].replace("full=", "smoke=dict(n=5), full=")
    cells = [CELLS[0], with_smoke, *CELLS[2:]]
    assert changed(1, with_smoke.replace("n=1,", "n=3,"), profile="smoke", cells=cells) == []
    assert changed(1, with_smoke.replace("n=5", "n=3"), profile="smoke", cells=cells) == [1, 4, 5]


def test_settings_handed_on_whole_count_whole():
    cells = [*CELLS[:2], "print(settings)", "settings = settings | {'n': 0}", "print(settings.n)"]
    assert changed(1, CELLS[1].replace("m=20)", "m=21)"), cells=cells) == [1, 2, 3, 4]


def test_two_equal_cells_have_two_keys():
    keys = cell_keys(["print(1)", "print(1)"], "quick")
    assert keys[1] == f"{keys[0]}-2"


@pytest.mark.parametrize("part", parts())
def test_every_notebook_has_its_keys(part):
    sources = code_cells(part)
    keys = cell_keys(sources, "laptop")
    assert len(set(keys)) == len(keys) == len(sources) and keys == cell_keys(sources, "laptop")
