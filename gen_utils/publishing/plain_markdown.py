"""The book's MyST, rewritten as the plain Markdown that any Jupyter shows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

FENCE = re.compile(r"^```\{(?P<kind>[\w:-]+)\} ?(?P<title>[^\n]*)\n(?P<body>.*?)^```$", re.M | re.S)
LABEL = re.compile(r"^:label: (\S+)\n", re.M)
ENVIRONMENT = re.compile(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.S)
NUMBERED = {"prf:algorithm": "Algorithm", "prf:theorem": "Theorem", "exercise-start": "Exercise"}


def plain_markdown(cells: Sequence[str], citations: Mapping[str, str], chapter: int | None = None) -> list[str]:
    """Rewrite a notebook's Markdown cells, in order, so that numbers run through the whole notebook.

    Equations, algorithms, theorems and exercises get the numbers that they have in the book, and references show them;
    admonitions become quotes, citations authors and years; of a link to the glossary its shown text stays.

    Args:
        cells: the sources; citations: key -> "Author (year)", from ``read_citations``.
        chapter: what numbers begin with.
    """
    before = "" if chapter is None else f"{chapter}."
    counts: dict[str, int] = {}
    numbers: dict[str, str] = {}
    for cell in cells:  # references may point forwards: number first
        for found in FENCE.finditer(cell):
            kind = found["kind"]
            word = "Equation" if kind == "math" else NUMBERED.get(kind)
            label = LABEL.search(found["body"])
            if word and (label or kind != "math"):
                counts[word] = counts.get(word, 0) + 1
                if label:
                    number = f"{before}{counts[word]}"
                    numbers[label[1]] = f"({number})" if kind == "math" else f"{word} {number}"

    def fence(match: re.Match) -> str:
        kind, title, body = match["kind"], match["title"], match["body"].strip()
        label = LABEL.search(match["body"])
        body = LABEL.sub("", match["body"]).strip()
        number = numbers.get(label[1], "") if label else ""
        if kind == "math":
            tag = rf" \tag{{{number[1:-1]}}}" if number else ""
            if re.search(r"&|\\\\", ENVIRONMENT.sub("", body)):  # lines that the book's builder aligns by itself
                body = f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"
            return f"$$\n{body}{tag}\n$$"
        if kind == "exercise-start":
            return f"### {number}: {title}"
        if kind == "exercise-end":
            return ""
        if kind == "glossary":
            return _glossary(body)
        heading = f"**{number or kind.removeprefix('prf:').capitalize()}{f': {title}' if title else ''}**"
        if kind == "admonition":
            heading = f"**{title}**"
        return "\n".join(f"> {line}".rstrip() for line in [heading, "", *body.split("\n")])

    def role(match: re.Match) -> str:
        if match[1] == "cite":
            return f"({'; '.join(citations.get(key.strip(), key.strip()) for key in match[2].split(','))})"
        if match[1] == "term":  # "shown text <entry>", or the entry alone
            return re.sub(r"\s*<[^<>]*>$", "", match[2])
        return numbers.get(match[2]) or match[2]

    rewritten = [re.sub(r"\{(cite|eq|prf:ref|term)\}`([^`]+)`", role, FENCE.sub(fence, cell)) for cell in cells]
    return [re.sub(r"\n{3,}", "\n\n", cell).strip() for cell in rewritten]


def _glossary(body: str) -> str:
    """Entries, each of one or more terms and an indented text, as paragraphs that begin with the terms."""
    entries = []
    for entry in re.split(r"\n\n(?=\S)", body):
        lines = entry.split("\n")
        terms = ", ".join(f"**{line}**" for line in lines if not line.startswith(" "))
        entries.append("\n".join([f"{terms}:", *(line.strip() for line in lines if line.startswith(" "))]))
    return "\n\n".join(entries)


def read_citations(bibliography: Path) -> dict[str, str]:
    """key -> "Hinton 2002" or "Du and Mordatch 2019" or "Grathwohl et al. 2020", of a BibTeX file."""
    found = {}
    for key, entry in re.findall(r"^@\w+\{([^,]+),(.*?)^\}", bibliography.read_text(encoding="utf-8"), re.M | re.S):
        fields = dict(re.findall(r"^\s*(author|year)\s*=\s*[{\"]+(.*?)[}\"]+,?\s*$", entry, re.M))
        names = [_family(name) for name in fields.get("author", key).split(" and ")]
        who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        found[key.strip()] = f"{who} {fields.get('year', '')}".strip()
    return found


ACCENTS = {'"': "\u0308", "'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303", "c": "\u0327", "v": "\u030c"}


def _family(name: str) -> str:
    """The family name of one BibTeX author, accents resolved."""
    name = re.sub(
        r"""\\(["'`^~cv]) ?\{?\\?(\w)\}?""", lambda m: unicodedata.normalize("NFC", m[2] + ACCENTS[m[1]]), name
    )
    name = re.sub(r"[{}]", "", name).strip()
    return name.split(",")[0] if "," in name else name.split(" ")[-1]
