"""The glossary is in order, and the chapters link its terms where a reader first meets them."""

import re
import unicodedata
from functools import cache

import jupytext
import pytest

from gen_utils.base.places import NOTEBOOKS, ROOT
from gen_utils.publishing.parts import parts

PARTS = parts()
BOOK = ROOT / "book"
PAGES = sorted(path.name for path in BOOK.glob("*.md") if path.name != "glossary.md")
LINK = re.compile(r"\{term\}`(?P<shown>[^`<\n]+?)(?: <(?P<entry>[^`<>\n]+)>)?`")
OTHER_SENSE = {  # the word occurs before, but does not mean the entry there
    ("03_ebm_bitmoji", "score"),
    ("05_jem", "proximal"),
    ("08_dcgan_bitmoji", "looks"),
}


def entries():
    """The terms of every entry: one list an entry, as there may be several names for one thing."""
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    body = re.search(r"^```\{glossary\}\n(.*?)^```$", text, re.M | re.S)[1]
    return [re.findall(r"^\S.*$", entry, re.M) for entry in body.strip("\n").split("\n\n")]


@cache
def markdown(part):
    return [c for c in jupytext.read(NOTEBOOKS / f"{part}.py").cells if c.cell_type == "markdown"]


def linked(text):
    return [link["entry"] or link["shown"] for link in LINK.finditer(text)]


@cache
def texts():
    """What readers of the book may follow a link from: name -> source."""
    found = {part: "\n\n".join(cell.source for cell in markdown(part)) for part in PARTS}
    return found | {name: (BOOK / name).read_text(encoding="utf-8") for name in PAGES}


def running_text(text):
    """Without directives, headings, tables, formulas and code: where links belong."""
    text = re.sub(r"^```\{.*?^```$", "", text, flags=re.M | re.S)
    text = re.sub(r"^[#|].*$|\$\$.*?\$\$|\$[^$]*\$", "", text, flags=re.M)
    return re.sub(r"(\{term\}`[^`]*`)|(?:\{[\w:]+\})?`[^`]*`", lambda match: match[1] or "", text)


def in_the_order_of_letters(term):
    return unicodedata.normalize("NFKD", term).casefold()


def test_the_glossary_is_sorted_and_names_nothing_twice():
    firsts = [terms[0] for terms in entries()]
    assert firsts == sorted(firsts, key=in_the_order_of_letters)
    names = [term.casefold() for terms in entries() for term in terms]
    assert len(names) == len(set(names)) > 60
    text = (BOOK / "glossary.md").read_text(encoding="utf-8")
    assert len(re.findall(r"(?:^  \S.*\n)+", text, re.M)) == len(firsts)  # a definition each


@pytest.mark.parametrize("name", [*PARTS, *PAGES])
def test_links_lead_to_an_entry_and_each_entry_is_linked_once(name):
    text = texts()[name]
    found = linked(text)
    assert len(found) == text.count("{term}"), "a link over two lines, or not of the form {term}`shown <entry>`"
    entry_of = {term: terms[0] for terms in entries() for term in terms}
    assert not set(found) - set(entry_of)
    assert len({entry_of[term] for term in found}) == len(found)


@pytest.mark.parametrize("part", PARTS)
def test_a_notebook_links_terms_in_its_running_text_where_they_first_occur(part):
    source = (NOTEBOOKS / f"{part}.py").read_text(encoding="utf-8")
    cells = [cell for cell in markdown(part) if not re.search(r"^```\{(exercise|solution)-", cell.source, re.M)]
    prose = running_text("\n\n".join(cell.source for cell in cells if "solution" not in cell.metadata.get("tags", ())))
    links = list(LINK.finditer(prose))
    boxes = re.findall(r"^# ```\{admonition\}.*\n((?:# .*\n)+?)# ```$", source, re.M)
    assert len(links) >= 3
    assert len(links) + sum(len(linked(box)) for box in boxes) == source.count("{term}")
    for link in links:
        before = " ".join(LINK.sub(lambda earlier: earlier["shown"], prose[: link.start()]).split())
        earlier = re.search(rf"\b{re.escape(link['shown'])}\b", before, re.I)
        if (part, link["shown"]) not in OTHER_SENSE:
            assert not earlier, f"{link[0]} is not the first: …{before[max(0, earlier.start() - 40) :][:90]}…"


def test_every_entry_is_linked_from_somewhere():
    used = {term for text in texts().values() for term in linked(text)}
    assert not [terms[0] for terms in entries() if not used & set(terms)]
