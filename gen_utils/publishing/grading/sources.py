"""The files of hand-ins: from folders, and from the archives of Canvas and Moodle, which are not unpacked to disk."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ..gradebook import plain

WANTED = (".ipynb", ".py", ".json")
LARGEST = 32 * 2**20  # bytes of one file: a notebook with a hundred figures has three million
MOST = 2 * 2**30  # bytes of everything
MANY = 20_000  # entries of one archive
PASSED_OVER = {"__MACOSX", "__pycache__", ".ipynb_checkpoints", ".venv", "gen_utils"}


@dataclass(frozen=True)
class Source:
    """One file: its place below what was named, whose first folder is a student's, and since when it is so."""

    place: PurePosixPath
    data: bytes
    time: float  # seconds since 1970; of an archive's entry, as its local time says; 0 where that is unknown
    home: str  # the name of the folder or archive that was named

    @property
    def label(self) -> str:
        """The place, as text for people."""
        return plain(str(self.place))


class Reader:
    """Reads hand-ins; ``said`` has a sentence for everything that was left out."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._left = MOST

    def read(self, paths: Sequence[Path]) -> Iterator[Source]:
        """The notebooks and check results in folders, archives and files, each once."""
        for path in dict.fromkeys(path.absolute() for path in paths):
            if path.is_dir():
                for file in sorted(path.rglob("*")):
                    if file.suffix.lower() in (*WANTED, ".zip") and file.is_file() and not file.is_symlink():
                        yield from self._file(file, PurePosixPath(file.relative_to(path).as_posix()), path.name)
            elif path.suffix.lower() == ".zip" and path.is_file():
                yield from self._archive(path, PurePosixPath(path.name), PurePosixPath(), path.stem, depth=0)
            else:
                yield from self._file(path, PurePosixPath(path.name), path.parent.name)

    def _file(self, path: Path, place: PurePosixPath, home: str) -> Iterator[Source]:
        if PASSED_OVER.intersection(place.parts):
            return
        if path.suffix.lower() == ".zip":
            yield from self._archive(path, place, _folder_of(place), home, depth=1)
            return
        try:
            with path.open("rb") as opened:
                data, since = opened.read(LARGEST + 1), path.stat().st_mtime
        except OSError as error:
            self._leave_out(place, f"it cannot be read ({error.strerror})")
        else:
            yield from self._counted(Source(place, data, since, home))

    def _archive(
        self, file: Path | IO[bytes], place: PurePosixPath, folder: PurePosixPath, home: str, depth: int
    ) -> Iterator[Source]:
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                if len(entries) > MANY:
                    self._leave_out(place, f"it has more than {MANY:,} entries")
                    return
                # A name such as ../../x becomes a label, and no path: nothing is written.
                named = [(e, [p for p in PurePosixPath(e.filename).parts if p.strip("./")]) for e in entries]
                wrapped = all(parts[:1] == [place.stem] for _, parts in named)  # hand_ins.zip holds hand_ins/anna/…
                for entry, parts in named:
                    if not entry.is_dir() and parts:
                        yield from self._entry(archive, entry, folder.joinpath(*parts[wrapped:]), home, depth)
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, EOFError) as error:
            self._leave_out(place, f"it is no whole archive ({plain(str(error))[:80]})")

    def _entry(
        self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: PurePosixPath, home: str, depth: int
    ) -> Iterator[Source]:
        suffix = place.suffix.lower()
        if suffix not in (*WANTED, ".zip") or PASSED_OVER.intersection(place.parts):
            return
        try:
            with archive.open(entry) as opened:
                data = opened.read(LARGEST + 1)  # counted as it unpacks: what the header says of its size may be a lie
        except Exception as error:  # zlib, lzma and bz2 have each their own
            self._leave_out(place, f"it cannot be unpacked ({plain(str(error))[:80]})")
            return
        since = 0.0
        with suppress(ValueError, OverflowError):
            since = time.mktime((*entry.date_time, 0, 0, -1))
        if suffix != ".zip" or len(data) > LARGEST:
            yield from self._counted(Source(place, data, since, home))
        elif depth:
            self._leave_out(place, "it is an archive in a student's archive")
        else:
            yield from self._archive(io.BytesIO(data), place, _folder_of(place), home, depth + 1)

    def _counted(self, source: Source) -> Iterator[Source]:
        if len(source.data) > LARGEST:
            self._leave_out(
                source.place, f"it has more than {LARGEST // 2**20} MB; clear its outputs and save it again"
            )
        elif len(source.data) > self._left:
            self._leave_out(source.place, f"the hand-ins before it fill {MOST // 2**30} GB; grade them in turns")
        else:
            self._left -= len(source.data)
            yield source

    def _leave_out(self, place: PurePosixPath, why: str) -> None:
        self.said.append(f"{plain(str(place))} is left out: {why}")


def _folder_of(archive: PurePosixPath) -> PurePosixPath:
    """Where the entries of a student's archive belong: in the folder that it lies in, else in one of its own name."""
    return archive.parent if len(archive.parts) > 1 else archive.with_suffix("")
