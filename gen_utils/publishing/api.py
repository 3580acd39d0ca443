"""The reference: every public name of the package, from its signature and its docstring, a page a package.

A page of ``book/api/`` has the mark ``<!-- made: api_NAME -->``, and ``page`` writes what stands in its place. The
docstrings are plain text with mathematics in it, so whatever Markdown would take for markup is escaped.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import tokenize
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from textwrap import dedent, indent
from types import ModuleType
from typing import Any

from ..base.places import ROOT

# page -> the modules on it. A package lists its names in ``__all__``; of a module without one, all that it defines.
PAGES: dict[str, tuple[str, ...]] = {
    "samplers": ("samplers",),
    "models": ("models",),
    "losses": ("losses",),
    "data": ("data",),
    "training": ("training",),
    "evaluation": ("evaluation.likelihood", "evaluation.frechet", "evaluation.intervals"),
    "experiments": ("experiments.sweep",),
    "checkpoints": ("checkpoints",),
    "report": ("report",),
    "profiles": ("profiles",),
}
TITLES = {"Args": "Arguments", "Sources": "Source"}  # of sections; the others keep the docstring's word
_WIDTH = 78  # a signature that is longer has one parameter a line
_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Sources?(?: of [^:]+)?):(?: (.*))?")
_CODE = re.compile(r"``(.+?)``")
# *emphasis*, which stays; or one character, which is escaped.
_MARKUP = re.compile(r"(?<!\w)\*\w[\w -]*\*(?!\w)|[\\`*_{}\[\]<>#|$~^&@]")


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One public name.

    Attributes:
        page: where its entry stands, ``book/api/PAGE.md``.
        module: what it is imported from, without ``gen_utils.``.
        value: the class, the function or the constant itself.
        file: what defines it, relative to the root.
    """

    page: str
    module: str
    name: str
    value: Any
    file: Path

    @property
    def label(self) -> str:
        """The name of its place, for references in MyST."""
        return f"api-{self.page}-{self.name}"

    @property
    def anchor(self) -> str:
        """Its place in the HTML, from the folder of the book's pages; Sphinx makes it of the label."""
        return f"api/{self.page}.html#{self.label.lower().replace('_', '-')}"

    @property
    def doc(self) -> str:
        """Its own docstring; nothing for a constant, which would show that of its type."""
        return (inspect.getdoc(self.value) or "") if _explains_itself(self.value) else ""

    @property
    def sentence(self) -> str:
        """The docstring's first sentence as plain text; the definition of a constant."""
        return first_sentence(self.doc).replace("``", "") or signature(self)


@functools.cache
def entries() -> tuple[Entry, ...]:
    """All public names, each once: where it is defined, if the reference has that module, else where it is listed."""
    found: dict[int, Entry] = {}
    for page, names in PAGES.items():
        for module in names:
            for name, value, file in _public(module):
                entry = Entry(page, module, name, value, file)
                if id(value) not in found or file == _file(_module(module)):
                    found[id(value)] = entry
    return tuple(sorted(found.values(), key=lambda entry: (list(PAGES).index(entry.page), entry.name.casefold())))


def page(name: str) -> str:
    """The body of one page of the reference, in MyST."""
    modules, told = PAGES[name], []
    for module in modules:
        here = [entry for entry in entries() if entry.module == module]
        told += [f"## {module.split('.')[-1]}"] if len(modules) > 1 else []
        told.append(_inline(first_sentence(inspect.getdoc(_module(module)) or "")))
        told.append(f"To import: `from gen_utils.{module} import …`.")
        told += _listed_elsewhere(module)
        told += [_section(entry, "##" if len(modules) == 1 else "###") for entry in here]
    return "\n\n".join(told)


def index() -> str:
    """A table of the pages and the names on each."""
    rows = ["| from `gen_utils` | names |", "|---|---|"]
    for name in PAGES:
        links = [f"[`{entry.name}`](#{entry.label})" for entry in entries() if entry.page == name]
        rows.append(f"| [{name}]({name}.md) | {', '.join(links)} |")
    return "\n".join(rows)


def first_sentence(doc: str) -> str:
    """Up to the first full stop of the first paragraph, which stands in one line."""
    paragraph = " ".join(re.split(r"\n\s*\n", doc.strip(), maxsplit=1)[0].split())
    return re.split(r"(?<=[.?!])\s+(?=[A-Z])", paragraph, maxsplit=1)[0]


def signature(entry: Entry) -> str:
    """What is written to use it: a call with its parameters, a class's first line, or the definition of a constant."""
    value = entry.value
    if inspect.isclass(value) and (issubclass(value, (BaseException, dict)) or getattr(value, "_is_protocol", False)):
        return f"class {entry.name}({', '.join(base.__name__ for base in value.__bases__ if base is not object)})"
    if not _explains_itself(value):
        return next(text for name, text in _constants(ROOT / entry.file) if name == entry.name)
    return _call(entry.name, value, with_types=True)


def render(doc: str, here: Entry | None = None, parameters: frozenset[str] = frozenset()) -> str:
    """A docstring as MyST: paragraphs, indented code, and its sections as lists.

    Args:
        doc: cleaned, as ``inspect.getdoc`` gives it.
        here: whose it is: its own name is not made a link.
        parameters: names that may begin an item in the middle of a line, "x: images; z: codes".
    """
    lines, blocks = doc.split("\n"), []
    while lines:
        section = _SECTION.fullmatch(lines[0])
        if not lines[0].strip():
            lines.pop(0)
        elif lines[0].startswith("    "):
            taken = _take(lines, lambda line: line.startswith("    ") or not line.strip())
            blocks.append(f"```text\n{dedent(taken).strip()}\n```")
        elif section and not section[2]:
            lines.pop(0)
            body = dedent(_take(lines, lambda line: line.startswith("    ") or not line.strip()))
            blocks.append(_definition(section[1], _items(section[1], body, here, parameters)))
        elif section:
            lines[0] = section[2]
            text = _take(lines, lambda line: bool(line.strip()) and not _SECTION.fullmatch(line))
            blocks.append(_definition(section[1], _inline(text, here)))
        else:
            text = _take(lines, lambda line: bool(line.strip()) and not _SECTION.fullmatch(line))
            before, *source = re.split(r"\s(?=Source: )", text, maxsplit=1)
            blocks.append(_inline(before, here))
            lines[:0] = "\n".join(source).split("\n") if source else []
    return "\n\n".join(blocks)


def _take(lines: list[str], wanted: Callable[[str], bool]) -> str:
    """The lines from the first on, which is taken in any case, as far as they are wanted; they are removed."""
    n = next((i for i, line in enumerate(lines) if i and not wanted(line)), len(lines))
    taken = lines[:n]
    del lines[:n]
    return "\n".join(taken)


def _items(title: str, body: str, here: Entry | None, parameters: frozenset[str]) -> str:
    """The body of a section: prose of what is returned, else a list of names with what is said of each."""
    if title == "Returns":
        return render(body, here)
    items: list[str] = []
    for line in body.split("\n"):
        if line.strip() and not line.startswith(" "):
            items.append(line)
        elif line.strip():
            items[-1] += f" {line.strip()}"
    later = r"\. (?=[A-Z]\w+: )"  # "ValueError: no. OSError: never."
    if title != "Raises" and parameters:
        known = "|".join(map(re.escape, sorted(parameters)))
        later = rf"(?:;|\.) (?=(?:{known})(?:, (?:{known}))*: )"
    return "\n".join(_item(item, here) for whole in items for item in re.split(later, whole))


def _item(text: str, here: Entry | None) -> str:
    """ "x, z: two tensors": the names as code, and what is said of them."""
    names, colon, said = text.partition(": ")
    if not colon or not re.fullmatch(r"\*{0,2}\w+(, \*{0,2}\w+)*", names):
        return f"- {_inline(text, here)}"
    return f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {_inline(said, here, begins=False)}"


def _definition(title: str, body: str) -> str:
    return f"{TITLES.get(title, title)}\n{indent(body, '  ').replace('  ', ': ', 1)}"


def _inline(text: str, here: Entry | None = None, *, begins: bool = True) -> str:
    """Text in one line, its code kept, links on the public names in it, and everything else escaped.

    Args:
        begins: the text begins a block, where a dash or a number would begin a list.
    """
    told = []
    for i, part in enumerate(_CODE.split(" ".join(text.split()))):
        if i % 2:
            entry = _named(part, here)
            told.append(f"[`{part}`](#{entry.label})" if entry and entry is not here else f"`{part}`")
        else:
            part = re.sub(r"\b(\w)'(?!\w)", r"\1′", part)  # x' is a prime, which a page would turn into an apostrophe
            told.append(_MARKUP.sub(lambda match: match[0] if len(match[0]) > 1 else f"\\{match[0]}", part))
    whole = "".join(told)
    return re.sub(r"^(\d*)([-+=:%.)])", r"\1\\\2", whole) if begins else whole


def _named(code: str, here: Entry | None) -> Entry | None:
    """The public name that a piece of code is or calls: ``fit``, ``report.table``, ``GaussianStart.fit(...)``."""
    match = re.fullmatch(r"(?:(\w+)\.)?(\w+)(?:\(.*\))?", code)
    if not match or (here and code in _parameters(here.value)):
        return None
    found = [entry for entry in entries() if entry.name == match[2]]
    if match[1]:
        owners = [entry for entry in entries() if entry.name == match[1] and hasattr(entry.value, match[2])]
        found = [entry for entry in found if entry.module.split(".")[-1] == match[1]] or owners
    near = [entry for entry in found if here and entry.page == here.page]
    return near[0] if near else found[0] if len(found) == 1 else None


def _section(entry: Entry, heading: str) -> str:
    """One name: its place, its signature, what it says of itself, its members and its file."""
    told = [f"({entry.label})=\n{heading} `{entry.name}`", f"```python\n{signature(entry)}\n```"]
    told.append(render(entry.doc, entry, _parameters(entry.value)) if entry.doc else "")
    if inspect.isclass(entry.value):
        told += _fields(entry) + _members(entry)
    return "\n\n".join(part for part in [*told, f"Defined in `{entry.file.as_posix()}`."] if part)


def _fields(entry: Entry) -> list[str]:
    """The fields of a plain record that its docstring leaves to the comments beside them."""
    if re.search(r"^(Attributes|Args):$", entry.doc, re.M) or not getattr(entry.value, "__annotations__", None):
        return []
    source = dedent(inspect.getsource(entry.value))
    fields = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.AnnAssign)]
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    rows = [
        f"- `{ast.unparse(node.target)}`: {_inline(comments[node.end_lineno], entry, begins=False)}"
        for node in fields
        if node.end_lineno in comments and node.col_offset == 4
    ]
    return [_definition("Attributes", "\n".join(rows))] if len(rows) > 1 else []


def _members(entry: Entry) -> list[str]:
    """Methods and properties that say what they do, those of a private base included."""
    rows, seen = [], set()
    for base in inspect.getmro(entry.value):
        if base is not entry.value and not (base.__module__.startswith("gen_utils.") and base.__name__.startswith("_")):
            continue
        for name, member in vars(base).items():
            inner = getattr(member, "fget", None) or getattr(member, "__func__", None) or member
            doc = inspect.cleandoc(inner.__doc__ or "") if inspect.isfunction(inner) else ""
            if name.startswith("_") or name in seen or not doc:
                continue
            seen.add(name)
            written = name if isinstance(member, property) else _call(name, getattr(entry.value, name))
            said, *more = render(doc, entry, _parameters(inner)).split("\n\n", maxsplit=1)
            rows.append(f"- `{written}`: {said}" + "".join(f"\n\n{indent(part, '  ')}\n" for part in more))
    return [_definition("Methods", "\n".join(rows))] if rows else []


def _listed_elsewhere(module: str) -> Iterator[str]:
    """A line with the names that a module passes on from another one of the reference."""
    own = {id(entry.value): entry for entry in entries() if entry.module != module}
    passed = [own[id(value)] for _, value, _ in _public(module) if id(value) in own]
    if passed:
        links = ", ".join(f"[`{entry.name}`](#{entry.label})" for entry in passed)
        yield f"From here, too: {links}."


def _call(name: str, value: Any, *, with_types: bool = False) -> str:
    """ "name(x, *, n=3)", with types and with a line for each parameter where they do not fit into one."""
    parameters = list(inspect.signature(value).parameters.values())
    if not with_types and parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    told: list[str] = []
    for before, parameter in zip([None, *parameters], parameters, strict=False):
        if parameter.kind is parameter.KEYWORD_ONLY and (
            before is None or before.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        ):
            told.append("*")
        told.append(_parameter(parameter, value, with_types))
    returned = inspect.signature(value).return_annotation
    arrow = f" -> {_type(returned)}" if with_types and returned is not inspect.Signature.empty else ""
    arrow = "" if inspect.isclass(value) else arrow
    line = f"{name}({', '.join(told)}){arrow}"
    if not with_types or len(line) <= _WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in told) + f"){arrow}"


def _parameter(parameter: inspect.Parameter, value: Any, with_type: bool) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    told = f"{stars}{parameter.name}"
    typed = with_type and parameter.annotation is not parameter.empty
    if typed:
        told += f": {_type(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return told
    default = parameter.default
    if dataclasses.is_dataclass(value) and repr(default) == "<factory>":
        default = _made({field.name: field.default_factory for field in dataclasses.fields(value)}[parameter.name])
    if isinstance(default, Path):  # not where this machine has it
        default = default.relative_to(ROOT).as_posix() if default.is_relative_to(ROOT) else default.as_posix()
    return f"{told} = {default!r}" if typed else f"{told}={default!r}"


def _made(factory: Any) -> object:
    return factory()


def _type(annotation: object) -> str:
    if isinstance(annotation, str):
        return annotation
    return getattr(annotation, "__forward_arg__", None) or inspect.formatannotation(annotation)


def _parameters(value: Any) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(value).parameters) if callable(value) else frozenset()
    except (TypeError, ValueError):  # an exception, an alias of a type
        return frozenset()


def _explains_itself(value: object) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"gen_utils.{name}")


def _file(module: ModuleType) -> Path:
    return Path(module.__file__ or "").resolve().relative_to(ROOT)


def _public(name: str) -> list[tuple[str, Any, Path]]:
    """(name, value, file) of what a module offers."""
    module = _module(name)
    defined = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    names = getattr(module, "__all__", None) or [key for key in defined if not key.startswith("_")]
    return [(key, getattr(module, key), _defined_in(module, key)) for key in names]


def _defined_in(module: ModuleType, name: str) -> Path:
    """The file that defines what a module offers; a constant is followed through the imports."""
    value = getattr(module, name)
    if _explains_itself(value):
        return Path(inspect.getfile(inspect.unwrap(value))).resolve().relative_to(ROOT)
    for node in ast.parse((ROOT / _file(module)).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and name in (alias.asname or alias.name for alias in node.names):
            from_where = "." * node.level + (node.module or "")
            return _defined_in(importlib.import_module(from_where, module.__package__), name)
    return _file(module)


def _constants(path: Path) -> Iterator[tuple[str, str]]:
    """(name, definition) of the assignments of a file."""
    text = path.read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        for target in node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]:
            if isinstance(target, ast.Name):
                yield target.id, ast.get_source_segment(text, node) or ""
