"""Names of files, in folders and archives: which are pictures, which are clutter, and how to write them out."""

from __future__ import annotations

import os
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png")
_CLUTTER = {"__macosx", "thumbs.db", "desktop.ini", "icon\r"}  # what macOS and Windows leave everywhere


def plain(name: str) -> str:
    """An archive member's name as a POSIX path: some packers begin with ./, those of Windows write backslashes."""
    name = name.replace("\\", "/")
    while "/./" in name or name.startswith("./"):
        name = name.removeprefix("./").replace("/./", "/")
    return name


def is_clutter(name: str) -> bool:
    """Is a file (a POSIX path) hidden, or one that an operating system added?"""
    return any(part.startswith(".") or part.lower() in _CLUTTER for part in name.split("/"))


def is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not is_clutter(name)


def files_below(folder: Path) -> list[str]:
    """All files below the folder as POSIX paths relative to it; links to folders are not followed.

    Raises:
        OSError: a folder may not be read.
    """

    def fail(error: OSError) -> None:
        raise error  # os.walk would pass over it

    found = []
    for here, _, files in os.walk(folder, onerror=fail):
        found += [(Path(here) / file).relative_to(folder).as_posix() for file in files]
    return found


def data_files(source: Path) -> list[Path]:
    """What of a source counts: the file itself; of a folder its pictures, or without any what is no clutter."""
    if source.is_file():
        return [source]
    names = [name for name in files_below(source) if not is_clutter(name)]
    return [source / name for name in sorted([name for name in names if is_picture(name)] or names)]


def as_spelled(root: Path, place: str) -> Path:
    """``root / place``, or what lies there in other capitals: Kaggle's DigitDB may be digitdb at home."""
    path = root / place
    if path.exists():
        return path
    path = root
    for part in place.strip("/").split("/"):
        here = sorted(path.iterdir()) if path.is_dir() else []
        path = next((entry for entry in here if entry.name.lower() == part.lower()), path / part)
    return path
