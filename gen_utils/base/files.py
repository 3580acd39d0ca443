"""Writing files: whole or not at all, and a disk that is full or closed said in one line with the way out."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .places import runs_root

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NODE = platform.node().replace(".", "-") or "here"
_STALE = 3600.0  # seconds after which an unfinished file belongs to a process that was killed
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


class CannotWrite(RuntimeError):
    """A file could not be written; the message says why and what to do. What was there before is still there."""


@contextlib.contextmanager
def plain_write_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turn the system's error into a plain one, if it is about space or permission; others pass.

    Args:
        path: what is being written; the system's error, if it names a file itself, knows better.

    Raises:
        CannotWrite: in the place of such an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*_FULL, *_FORBIDDEN):
            raise
        place = Path(error.filename if isinstance(error.filename, str) else path)
        if error.errno in _FULL:
            said, remedy, other = "no space left on its disk", "free some", "on another disk"
        else:
            said, remedy, other = (
                f"{os.strerror(error.errno).lower()}",
                "change its folder's permissions",
                "of your own",
            )
        if _is_run(place):
            remedy += f", or set GEN_RUNS to a folder {other}"
        raise CannotWrite(f"{place} cannot be written ({said}); {remedy}") from error


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, beside the target and renamed at the end, so that no reader ever sees half of it.

    Two that write the same file at once do not meet: each writes under a name of its own, and the last one wins.

    Raises:
        CannotWrite: the disk is full or read-only; what was there before is still there.
    """
    partial = path.with_name(f"{path.name}.{_NODE}.{os.getpid()}.{threading.get_ident()}.partial")
    with plain_write_errors(path):
        try:
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        for left in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
            if _abandoned(left):
                left.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write all of a file, as ``whole_file`` does.

    Raises:
        CannotWrite: the disk is full or read-only; what was there before is still there.
    """
    with whole_file(path) as file:
        file.write(data)


def _abandoned(partial: Path) -> bool:
    """Was the process killed that wrote this? On this machine one can ask; else time tells."""
    node, pid = partial.name.split(".")[-4:-2]
    with contextlib.suppress(OSError, ValueError):
        if time.time() - partial.stat().st_mtime > _STALE:
            return True
        if node == _NODE and os.name == "posix":
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                return True
    return False


def _is_run(path: Path) -> bool:
    return path.absolute().is_relative_to(runs_root().absolute())
