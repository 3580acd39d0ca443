"""The two editions of the book: the instructors' has everything, the students' lacks what they are asked to find."""

from __future__ import annotations

import json
import re

INSTRUCTOR, STUDENT = EDITIONS = ("instructor", "student")
LEFT_OUT = ("book/instructors", "book/answers", "book/teaching")  # pages, and folders of them, that students do not get

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
    """Whether an edition has a page (or a file beside it), named as in the table of contents."""
    return edition == INSTRUCTOR or not any(page == left or page.startswith(f"{left}/") for left in LEFT_OUT)


def contents(text: str, edition: str) -> str:
    """A table of contents without the pages that an edition does not have, and without what is listed below them."""
    kept, left_out = [], None  # how far the entry is indented that is being left out
    for line in text.splitlines(keepends=True):
        indent = len(line) - len(line.lstrip())
        if left_out is not None and line.strip() and indent > left_out:
            continue
        entry = re.match(r"\s*- file: (\S+)\n", line)
        left_out = indent if entry and not has(entry[1], edition) else None
        if left_out is None:
            kept.append(line)
    return "".join(kept)


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
