"""The coverage page: no requirement is missing, and what it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "coverage.md").read_text(encoding="utf-8")
LAST = {"S": 6, "A": 8, "B": 7, "C": 6, "D": 6, "E": 5, "F": 5, "H": 6, "G": 7, "I": 8, "J": 8, "W": 13}


def test_every_requirement_has_a_row():
    told = set(re.findall(r"^\| ([A-Z]\d+) ", PAGE, re.MULTILINE))
    assert {f"{part}{i}" for part, last in LAST.items() for i in range(1, last + 1)} <= told


def test_every_path_it_names_is_there():
    rows = [line for line in PAGE.splitlines() if line.startswith("|")][2:]
    folder, missing = None, []
    for row in rows:
        for name in re.findall(r"`([\w./]+\.(?:py|toml)|[\w.]+(?:/[\w.]+)*/)`", row):
            # `tests/a/test_b.py`, `test_c.py`: the second lies beside the first.
            path = ROOT / name if "/" in name else (folder or ROOT) / name
            folder = path.parent
            if not path.exists():
                missing.append(name)
    assert rows and not missing


def test_every_section_it_names_is_a_heading_of_its_chapter():
    missing = []
    for row in (line for line in PAGE.splitlines() if re.match(r"\| [A-Z]\d+ ", line)):
        where = row.split(" | ")[1]
        if chapter := re.match(r"(\d\d), ", where):
            (notebook,) = (ROOT / "notebooks").glob(f"{chapter[1]}_*.py")
            text = notebook.read_text(encoding="utf-8")
            headings = " ".join(re.findall(r"^# #+ (.*)$", text, re.MULTILINE))
            missing += [
                (chapter[1], s) for s in re.findall(r"\*([^*]+)\*", where) if s not in headings and s not in text
            ]
    assert not missing
