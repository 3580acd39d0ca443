"""A built book is whole: every chapter has its page, its figures, and no error on it.

python lint/built_book.py _build/html
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gen_utils.publishing.parts import parts  # noqa: E402

FIGURES = 10  # the least that any chapter has
SIGNS = {
    "an error of a cell": re.compile(r'class="[^"]*\btraceback\b|Traceback \(most recent call last\)'),
    "a reference that leads nowhere": re.compile(r'class="[^"]*\bproblematic\b'),
    "a system message of the builder": re.compile(r'class="[^"]*\bsystem-message\b'),
    "a check that did not pass": re.compile(r"✗ "),
}


def faults(html: Path) -> list[str]:
    """One sentence a fault."""
    found = []
    for part in parts():
        page = html / "notebooks" / f"{part}.html"
        if not page.exists():
            found.append(f"{page.name} is missing")
            continue
        text = page.read_text(encoding="utf-8")
        figures = len(re.findall(r"<img [^>]*src=", text))
        if figures < FIGURES:
            found.append(f"{page.name} has {figures} pictures, at least {FIGURES} are due")
        for source in re.findall(r'<img [^>]*src="([^":]+)"', text):
            if not (page.parent / source).exists():
                found.append(f"{page.name} shows {source}, which is not there")
        found += [f"{page.name} holds {what}" for what, sign in SIGNS.items() if sign.search(text)]
    if not (html / "index.html").exists():
        found.append("index.html is missing")
    return found


if __name__ == "__main__":
    told = faults(Path(sys.argv[1]))
    print("\n".join(told) or "the book is whole")
    sys.exit(bool(told))
