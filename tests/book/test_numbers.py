"""The book and the student edition give exercises, equations and algorithms the same numbers."""

import re

import pytest

from gen_utils.publishing.parts import parts
from gen_utils.publishing.student import student_notebook

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", parts())
def test_the_numbers_are_the_books(built, part):
    html = (built[0] / "html" / "notebooks" / f"{part}.html").read_text(encoding="utf-8")
    prose = "\n".join(cell.source for cell in student_notebook(part).cells if cell.cell_type == "markdown")
    chapter = str(int(part[:2]))
    in_book = re.findall(r'class="caption-number">Exercise ([\d.]+) <', html)
    assert (
        in_book
        == re.findall(r"^### Exercise ([\d.]+): ", prose, re.M)
        == [f"{chapter}.{k + 1}" for k in range(len(in_book))]
    )
    equations = re.findall(r'class="eqno">\(([\d.]+)\)<', html)
    assert sorted(equations) == sorted(re.findall(r"\\tag\{([\d.]+)\}", prose)) and equations
    algorithms = re.findall(r'class="caption-number">Algorithm ([\d.]+) <', html)
    assert algorithms == re.findall(r"^> \*\*Algorithm ([\d.]+)", prose, re.M)
    numbered = re.findall(r'<(h[1-6])><span class="section-number">(.*?)</span>', html)
    assert numbered == [("h1", f"{chapter}. ")]  # and no section
