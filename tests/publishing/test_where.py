"""The page that says where to find what: its files and names exist, and public names lead to the reference."""

import ast
import re
from functools import cache

import pytest

from gen_utils.base.places import BOOK, NOTEBOOKS, ROOT
from gen_utils.publishing.api import entries
from gen_utils.publishing.parts import parts

PAGE = (BOOK / "where.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!rule \|)(.+?) \| (`.+`.*) \|$", PAGE, re.M)
PLACE = re.compile(r"`([\w/]+\.py)`: ((?:(?:\[`[\w.]+`\]\(#[\w-]+\)|`[\w.]+`)(?:, )?)+)")
PUBLIC = {(entry.file.as_posix(), entry.name): entry.label for entry in entries()}


@cache
def tree(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def is_defined(path, name):
    """A function, a class, a constant of a file, or "Class.method"."""
    body = tree(path).body
    for word in name.split("."):
        found = [node for node in body if word in names_of(node)]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return True


def names_of(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_the_page_has_its_rows():
    table_rows = [line for line in PAGE.split("\n") if line.startswith("| ") and not line.startswith("| rule |")]
    assert len(ROWS) == len(table_rows) > 40  # none is written in a way that the other tests pass over


@pytest.mark.parametrize(("rule", "where"), ROWS)
def test_files_and_names_exist_and_public_names_are_linked(rule, where):
    places = where.split("<br>")
    assert 1 <= len(places) <= 3
    for place in places:
        path, names = PLACE.fullmatch(place).groups()
        file = f"gen_utils/{path}"
        assert (ROOT / file).is_file()
        for link, name in re.findall(r"(\[)?`([\w.]+)`", names):
            assert is_defined(file, name), f"{file} has no {name}"
            label = PUBLIC.get((file, name.split(".")[0]))
            assert bool(link) == bool(label)
            assert not label or f"[`{name}`](#{label})" in names


def test_the_chapters_come_in_the_order_of_the_book():
    assert re.findall(r"^## \[.*\]\(\.\./notebooks/(\w+)\.ipynb\)$", PAGE, re.M) == parts()
    assert all((NOTEBOOKS / f"{part}.py").exists() for part in parts())
    assert "- file: book/where\n" in (ROOT / "_toc.yml").read_text(encoding="utf-8")


def test_a_name_that_is_not_there_is_found_missing():
    assert is_defined("gen_utils/samplers/starts.py", "GaussianStart.fit")
    assert not is_defined("gen_utils/samplers/starts.py", "GaussianStart.fitted")
    assert not is_defined("gen_utils/samplers/starts.py", "Langevin")
