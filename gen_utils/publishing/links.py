"""Links from the chapters to the reference, put into the HTML of the built book.

Of every public name that a notebook imports, two places lead to its entry: the import, and the first use, which is the
first that a reader sees without unfolding anything, if there is one. A use is a name in code, as Python reads it, or a
piece of inline code that is the name. Executed notebooks are not touched.
"""

from __future__ import annotations

import ast
import html
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import accumulate
from pathlib import Path
from types import ModuleType

from .api import Entry, entries

CLASS = "api-name"  # of the links, see book/_static/workbook.css
_LINK = re.compile(rf'<a class="{CLASS}"[^>]*>(.*?)</a>', re.S)
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def link_chapters(book: Path, executed: Mapping[str, Path]) -> None:
    """Link the chapters of a built book.

    Args:
        book: the folder of the HTML, which holds ``notebooks/`` and ``book/api/``.
        executed: part -> its executed notebook.
    """
    for part, path in executed.items():
        page = book / "notebooks" / f"{part}.html"
        if page.exists():
            before = page.read_text(encoding="utf-8")
            after = linked(before, imported(path), to_book="../book/")
            if after != before:
                page.write_text(after, encoding="utf-8")


def imported(notebook: Path) -> dict[str, Entry]:
    """What a notebook calls the public names that it imports: "Langevin"; "checkpoints.load" if it has the module."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    found: dict[str, Entry] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            found |= _imports(_parsed("".join(cell["source"])))
    return found


def linked(page: str, names: Mapping[str, Entry], *, to_book: str) -> str:
    """A page with its links, those of an earlier call replaced.

    Args:
        page: the HTML of a chapter.
        names: what its notebook calls the public names, from ``imported``.
        to_book: from the page to the folder of the book's pages.
    """
    page = _LINK.sub(r"\1", page)
    found = _Chapter(page)
    imports: dict[str, _Place] = {}
    uses = [place for place in found.inline if place.name in names]
    live = set(names) - {name for block in found.blocks for name in _imports(_parsed(block.text))}
    for block in found.blocks:
        for place, is_import in _occurrences(block, names, live):
            if is_import:
                imports.setdefault(place.name, place)
            else:
                uses.append(place)
    first: dict[str, _Place] = {}
    for place in sorted(uses, key=lambda place: (place.folded, place.start)):
        first.setdefault(place.name, place)
    for place in sorted([*imports.values(), *first.values()], key=lambda place: place.start, reverse=True):
        entry, shown = names[place.name], page[place.start : place.end]
        target, title = f"{to_book}{entry.anchor}", html.escape(entry.sentence)
        opened = f'<a class="{CLASS}" href="{target}" title="{title}">'
        page = f"{page[: place.start]}{opened}{shown}</a>{page[place.end :]}"
    return page


@dataclass(frozen=True)
class _Place:
    name: str
    start: int  # in the HTML
    end: int
    folded: bool  # away from a reader who unfolds nothing


@dataclass
class _Block:
    """The code of one cell, and where its pieces stand in the HTML."""

    folded: bool
    pieces: list[tuple[str, int, int]] = field(default_factory=list)  # text, start and end

    @property
    def text(self) -> str:
        return "".join(text for text, _, _ in self.pieces)

    def place(self, name: str, word: str, offset: int) -> _Place | None:
        """The place of a word at an offset of the text; None where the HTML has it in several pieces."""
        for at, (text, start, end) in zip(
            accumulate((len(text) for text, _, _ in self.pieces), initial=0), self.pieces, strict=False
        ):
            if at <= offset and offset + len(word) <= at + len(text) and end - start == len(text):
                begin = start + offset - at
                return _Place(name, begin, begin + len(word), self.folded)
        return None


class _Chapter(HTMLParser):
    """The code of a chapter's cells, and its inline code that could be a name."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.blocks: list[_Block] = []
        self.inline: list[_Place] = []
        self._open: list[tuple[str, set[str]]] = []
        self._code: tuple[int, str] | None = None  # where inline code began, and its text so far
        self._lines = list(accumulate((len(line) + 1 for line in page.split("\n")), initial=0))
        self._block: _Block | None = None
        self.feed(page)
        self.close()

    def _at(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def _inside(self, *wanted: str) -> bool:
        return any(tag in wanted or classes & set(wanted) for tag, classes in self._open)

    def _is_folded(self) -> bool:
        return self._inside("details", "dropdown")

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_starttag(self, tag, attrs):
        classes = set((dict(attrs).get("class") or "").split())
        if tag == "pre" and self._inside("article") and self._inside("cell_input"):
            self._block = _Block(self._is_folded())
        elif tag == "code" and "literal" in classes and self._inside("article") and not self._inside("a", *_HEADINGS):
            self._code = (self._at(), "")
        if tag not in _VOID:
            self._open.append((tag, classes))

    def handle_endtag(self, tag):
        if tag == "pre" and self._block:
            self.blocks.append(self._block)
            self._block = None
        elif tag == "code" and self._code:
            begin, text = self._code
            name = re.fullmatch(r"(\w+(?:\.\w+)*)(?:\(.*\))?", text)
            if name:
                self.inline.append(_Place(name[1], begin, self._at() + len("</code>"), self._is_folded()))
            self._code = None
        for i in reversed(range(len(self._open))):  # an output may have left something open
            if self._open[i][0] == tag:
                del self._open[i:]
                break

    def handle_data(self, data):
        self._text(data, len(data))

    def handle_entityref(self, name):
        self._text(html.unescape(f"&{name};"), len(name) + 2)

    def handle_charref(self, name):
        self._text(html.unescape(f"&#{name};"), len(name) + 3)

    def _text(self, text: str, length: int) -> None:
        if self._block:
            self._block.pieces.append((text, self._at(), self._at() + length))
        if self._code:
            self._code = (self._code[0], self._code[1] + text)


_HEADINGS = tuple(f"h{level}" for level in range(1, 7))


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:  # not Python: nothing to link
        return ast.Module([], [])


def _imports(tree: ast.AST) -> dict[str, Entry]:
    by_value = {id(entry.value): entry for entry in entries()}
    found: dict[str, Entry] = {}
    for node in ast.walk(tree):
        module = node.module or "" if isinstance(node, ast.ImportFrom) and not node.level else ""
        if not isinstance(node, ast.ImportFrom) or module.split(".")[0] != "gen_utils":
            continue
        for alias in node.names:
            local, value = alias.asname or alias.name, _imported_value(module, alias.name)
            if isinstance(value, ModuleType):
                found |= {
                    f"{local}.{entry.name}": entry
                    for entry in entries()
                    if getattr(value, entry.name, None) is entry.value
                }
            elif id(value) in by_value:
                found[local] = by_value[id(value)]
    return found


def _imported_value(module: str, name: str) -> object:
    """What an import gives; None where the code has moved on since the notebook was run."""
    try:
        parent = importlib.import_module(module)
        return getattr(parent, name) if hasattr(parent, name) else importlib.import_module(f"{module}.{name}")
    except ImportError:
        return None


def _occurrences(block: _Block, names: Mapping[str, Entry], live: set[str]) -> Iterator[tuple[_Place, bool]]:
    """Places of names in one cell, each with whether it is an import; ``live`` names follow, statement by statement."""
    text = block.text
    lines = text.split("\n")
    starts = list(accumulate((len(line) + 1 for line in lines), initial=0))

    def offset(line: int | None, column: int | None) -> int:  # columns count bytes
        assert line is not None
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    for statement in _parsed(text).body:
        for name, node in _read(statement, frozenset()):
            if name in live:
                word = name.split(".")[-1]
                place = block.place(name, word, offset(node.end_lineno, node.end_col_offset) - len(word))
                if place:
                    yield place, False
        bound, from_us = _bound(statement), _imports(statement)
        live -= {name for name in names if name.split(".")[0] in bound}
        live |= from_us.keys() & names.keys()
        for node in ast.walk(statement):
            if isinstance(node, ast.alias) and node.name in from_us and node.asname is None:
                place = block.place(node.name, node.name, offset(node.lineno, node.col_offset))
                if place:
                    yield place, True


def _read(node: ast.AST, hidden: frozenset[str]) -> Iterator[tuple[str, ast.expr]]:
    """Names that are read, "checkpoints.load" included, but for those that a function or a comprehension hides."""
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load) and node.id not in hidden:
            yield node.id, node
        return
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in hidden:
        yield f"{node.value.id}.{node.attr}", node
    if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
        yield from _read_function(node, hidden)
        return
    inner = hidden
    if isinstance(node, _COMPREHENSIONS):
        inner = hidden | {name for generator in node.generators for name in _bound(generator.target)}
    elif isinstance(node, (ast.For, ast.AsyncFor)):
        yield from _read(node.iter, hidden)
        inner = hidden | _bound(node.target)
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        inner = hidden | {name for item in node.items if item.optional_vars for name in _bound(item.optional_vars)}
    for child in ast.iter_child_nodes(node):
        yield from _read(child, inner)


def _read_function(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, hidden: frozenset[str]
) -> Iterator[tuple[str, ast.expr]]:
    """Of a function: what stands around it is read outside, the body inside, where its own names hide others."""
    arguments = [argument for argument in ast.walk(node.args) if isinstance(argument, ast.arg)]
    outside: list[ast.AST | None] = [*node.args.defaults, *node.args.kw_defaults]
    outside += [argument.annotation for argument in arguments]
    body: list[ast.AST] = []
    if isinstance(node, ast.Lambda):
        body.append(node.body)
    else:
        outside += [*node.decorator_list, node.returns]
        body += node.body
    own = {argument.arg for argument in arguments} | {name for child in body for name in _bound(child)}
    for child in filter(None, outside):
        yield from _read(child, hidden)
    for child in body:
        yield from _read(child, hidden | own)


def _bound(node: ast.AST) -> set[str]:
    """The names that a statement binds in its own scope."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Lambda, *_COMPREHENSIONS)):
        return set()
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    own = {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()
    return own.union(*(_bound(child) for child in ast.iter_child_nodes(node)))
