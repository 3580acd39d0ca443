"""Downloads, by torchvision, which checks the files' hashes. A file appears under the data root whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
import time
import urllib.error
from pathlib import Path

from ..base.files import CannotWrite
from .catalog import Dataset
from .readers.cifar import ARCHIVE, MD5, URL

# What can be downloaded, with torchvision's class for it, if that is what downloads it.
DOWNLOADS = {"mnist": "MNIST", "stacked_mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": None}
_PATIENCE = 15.0  # seconds without an answer before a download counts as impossible
_STALE = 86400.0  # seconds after which an unfinished download belongs to a process that was killed
_PREFIX = ".download-"


def download(dataset: Dataset, root: Path) -> bool:
    """Fetch a dataset's files to where its reader looks for them; whether it worked.

    Raises:
        CannotWrite: the disk is full. A stand-in would hide that.
    """
    if dataset.name not in DOWNLOADS:
        return False
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    made_root = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        _clear(root)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=root) as folder:
            _fetch(dataset, folder)
            for path in sorted(Path(folder).rglob("*")):
                target = root / path.relative_to(folder)
                if path.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, target)
    except (OSError, RuntimeError, urllib.error.URLError) as error:  # no network, a read-only root, or a failed hash
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise CannotWrite(
                f"no space left under {root} to download {dataset.title}; free some, or set GEN_DATA_ROOT to a folder "
                "on another disk"
            ) from error
        if made_root and root.is_dir() and not any(root.iterdir()):
            root.rmdir()
        return False
    finally:
        socket.setdefaulttimeout(before)
    return True


def _fetch(dataset: Dataset, folder: str) -> None:
    from torchvision import datasets  # slow to import, and most loads need no download

    kind = DOWNLOADS[dataset.name]
    if kind is None:
        datasets.utils.download_url(URL, folder, filename=ARCHIVE, md5=MD5)
    else:
        getattr(datasets, kind)(folder, download=True)  # both splits


def _clear(root: Path) -> None:
    for left in root.glob(f"{_PREFIX}*"):
        if time.time() - left.stat().st_mtime > _STALE:
            shutil.rmtree(left, ignore_errors=True)
