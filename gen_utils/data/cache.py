"""Prepared images: decoded and resized once, then read back as they are.

One safetensors file a (source, split, size), in ``prepared/`` under the data root, or in the user's cache folder when
the data root may not be written to. The file's name changes when the source does. It appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..base.places import chosen_folder
from .at_hand import Found, as_text, from_text
from .catalog import DataError, printable
from .readers.bytes import reason
from .readers.names import data_files

_VERSION = 2  # raise it when prepared images would come out differently
_STALE = 3600.0  # seconds after which an unfinished file belongs to a process that was killed


def prepared(root: Path, source: Path, name: str, split: str, prepare: Callable[[], tuple]) -> Found:
    """What ``prepare()`` returns (a ``Found``, or its first fields), from the cache when it was prepared before.

    Args:
        name: of what is prepared, its size included, such as "bitmoji-32".
    """
    place = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:8]
    stem = f"{name}-{split}-{place}"
    try:
        file_name = f"{stem}-{source_identity(source)}.safetensors"
    except OSError as error:
        raise DataError(f"{source} cannot be read ({reason(error)}); check its permissions") from error
    folders = cache_folders(root)
    for folder in folders:
        try:
            if (folder / file_name).is_file():
                return _read(folder / file_name)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):  # a damaged cache is made anew
            continue
    found = Found(*prepare())
    for folder in folders:
        try:
            _write(folder, file_name, found)
        except (OSError, SafetensorError) as error:
            failure = error
            continue
        for old in folder.glob(f"{stem}-*.safetensors"):  # made from an earlier state of the same source
            if old.name != file_name:
                _remove(old)
        return found
    said = f"{source} was prepared but could not be kept in {folders[-1]} for the next time ({reason(failure)}): "
    print(
        printable(said)
        + "free some space there, or set XDG_CACHE_HOME to a folder that has space and may be written to."
    )
    return found


def cache_folders(root: Path) -> list[Path]:
    """Where prepared images may lie: under the data root, unless that is read-only, and in the user's cache folder."""
    # An administrator may write anywhere; a folder that is marked read-only is still left alone.
    writable = root.is_dir() and os.access(root, os.W_OK) and root.stat().st_mode & 0o222
    try:
        user = [(chosen_folder("XDG_CACHE_HOME") or Path.home() / ".cache") / "gen_utils"]
    except RuntimeError:  # a container's user without a home
        return [root / "prepared"]
    return [root / "prepared", *user] if writable else user


def source_identity(source: Path) -> str:
    """Changes when the file does, or a file that counts in the folder: names, sizes and times, not contents."""
    digest = hashlib.sha256(f"{_VERSION}".encode())
    for path in data_files(source):
        name, about = os.fsencode(path.relative_to(source.parent)), path.stat()
        digest.update(name + f"\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:12]


def _read(path: Path) -> Found:
    with safe_open(path, framework="pt") as file:
        held: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no dictionary)
        told = (file.metadata() or {}).get("at_hand")
    return Found(held["images"], held.get("labels"), held.get("factors"), told and from_text(told))


def _write(folder: Path, file_name: str, found: Found) -> None:
    """Write beside the target, then rename: whoever is killed before that leaves only a file nobody reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.unfinished"):
        _remove(left, older_than=_STALE)
    handle, unfinished = tempfile.mkstemp(prefix=f".{file_name}.", suffix=".unfinished", dir=folder)
    os.close(handle)
    tensors = {"images": found.images, "labels": found.labels, "factors": found.factors}
    told = None if found.at_hand is None else {"at_hand": as_text(found.at_hand)}
    try:
        save_file({key: held for key, held in tensors.items() if held is not None}, unfinished, told)
        os.chmod(unfinished, 0o644)  # a class shares its data root; mkstemp makes files private
        os.replace(unfinished, folder / file_name)
    except BaseException:  # Ctrl-C as well
        Path(unfinished).unlink(missing_ok=True)
        raise


def _remove(path: Path, older_than: float = 0.0) -> None:
    with contextlib.suppress(OSError):  # another process was faster, or (on Windows) still reads it
        if time.time() - path.stat().st_mtime >= older_than:
            path.unlink()
