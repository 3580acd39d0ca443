"""Whether the built book still is what a build would make: then its HTML is left alone."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

_TOOLS = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "sphinx-proof", "sphinx-exercise")
_PRESS = Path(__file__).resolve().parent


def made_from(stage: Path) -> str:
    """Changes when anything does that HTML is made from: the files of the stage, the press, the tools' versions.

    What Sphinx keeps there itself (``_build``) does not count, nor do hidden files.
    """
    found = hashlib.sha256(repr([(tool, version(tool)) for tool in _TOOLS]).encode())
    for folder, pattern in ((stage, "*"), (_PRESS, "*.py")):
        for path in sorted(folder.rglob(pattern)):
            name = path.relative_to(folder)
            if path.is_file() and name.parts[0] != "_build" and not path.name.startswith("."):
                found.update(f"{name.as_posix()} {path.stat().st_size}\n".encode())
                found.update(path.read_bytes())
    return found.hexdigest()


def still_there(html: Path, key: str) -> bool:
    """Is the HTML the one that ``remember`` saw, made from the same?"""
    try:
        return json.loads(_note(html).read_text(encoding="utf-8")) == {"made_from": key, "files": _files(html)}
    except (FileNotFoundError, ValueError):
        return False


def remember(html: Path, key: str) -> None:
    """Note beside the folder what its HTML was made from, and its files as they are."""
    _note(html).write_text(json.dumps({"made_from": key, "files": _files(html)}), encoding="utf-8")


def forget(html: Path) -> None:
    """Before a build, which may stop half-way."""
    _note(html).unlink(missing_ok=True)


def _note(html: Path) -> Path:
    return html.with_name(f"{html.name}.json")


def _files(html: Path) -> dict[str, list[int]]:
    """File -> its size in bytes and its time in nanoseconds."""
    files = {path.relative_to(html).as_posix(): path.stat() for path in sorted(html.rglob("*")) if path.is_file()}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in files.items()}
