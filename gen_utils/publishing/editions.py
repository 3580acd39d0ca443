"""The two editions of the book: the instructors' has everything, the students' lacks what they are asked to find."""

from __future__ import annotations

import json
import re

INSTRUCTOR, STUDENT = EDITIONS = ("instructor", "student")
LEFT_OUT = ("book/instructors", "book/answers")  # pages that students do not get

# A page keeps what stands between <!-- student: --> and <!-- :student --> in that edition only.
ONLY = re.compile(r"<!-- (?P<edition>\w+): -->\n?(?P<text>.*?)<!-- :(?P=edition) -->\n?", re.S)


def checked(edition: str) -> str:
    """The name of an edition.

    Raises:
        ValueError: there is none of that name.
    """
    if edition not in EDITIONS:
        raise ValueError(f"unknown edition {edition!r}; known: {', '.join(EDITIONS)}")
    return edition


def has(page: str, edition: str) -> bool:
    """Whether an edition has a page, named as in the table of contents."""
    return edition == INSTRUCTOR or page not in LEFT_OUT


def contents(text: str, edition: str) -> str:
    """A table of contents without the pages that an edition does not have."""
    entry = re.compile(r"^\s*- file: (\S+)\n", re.M)
    return entry.sub(lambda match: match[0] if has(match[1], edition) else "", text)


def page(text: str, edition: str) -> str:
    """A page's text as an edition has it.

    Raises:
        ValueError: a mark names no edition.
    """
    return ONLY.sub(lambda match: match["text"] if checked(match["edition"]) == edition else "", text)


def notebook(text: str, edition: str) -> str:
    """An executed notebook (JSON) as an edition has it: students get no solutions, and not what the checks said."""
    if edition == INSTRUCTOR:
        return text
    found = json.loads(text)
    found["cells"] = [cell for cell in found["cells"] if "solution" not in cell["metadata"].get("tags", ())]
    for cell in found["cells"]:
        if "check" in cell["metadata"].get("tags", ()):
            cell["outputs"], cell["execution_count"] = [], None
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"
