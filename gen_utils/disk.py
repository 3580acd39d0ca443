"""A disk that is full or may not be written to, said in one line that names the file and the way out."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


class CannotWrite(RuntimeError):
    """A file could not be written; the message says why and what to do. What was there before is still there."""


@contextlib.contextmanager
def plainly(path: str | os.PathLike) -> Iterator[None]:
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


def runs_root() -> Path:
    """Where runs lie: $GEN_RUNS, else ./runs."""
    return Path(os.environ.get("GEN_RUNS", "runs"))


def _is_run(path: Path) -> bool:
    return path.absolute().is_relative_to(runs_root().absolute())
