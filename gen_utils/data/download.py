"""Downloads, checked by their hashes. A file appears under the data root whole or not at all."""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import socket
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from ..base.files import CannotWrite
from .catalog import Dataset
from .readers.bytes import reason
from .readers.cifar import ARCHIVE, MD5, URL

# What can be downloaded, with torchvision's class that knows its addresses and hashes, if one does.
DOWNLOADS = {"mnist": "MNIST", "stacked_mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": None}
_PATIENCE = 15.0  # seconds without an answer before a download counts as impossible
_STALE = 86400.0  # seconds after which an unfinished download belongs to a process that was killed
_PREFIX = ".download-"


def download(dataset: Dataset, root: Path) -> str | None:
    """Fetch a dataset's files to where its reader looks for them.

    Returns:
        Why that failed, in some words; None where it worked, or where there is nothing to try.

    Raises:
        CannotWrite: the disk is full. A stand-in would hide that.
    """
    if dataset.name not in DOWNLOADS:
        return None
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    made_root = False
    try:
        made_root = not root.exists()
        root.mkdir(parents=True, exist_ok=True)
        _clear(root)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=root) as folder:
            _fetch(dataset, folder)
            for path in sorted(Path(folder).rglob("*")):
                target = root / path.relative_to(folder)
                if path.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, target)
    # http.client raises its own for an answer that is no HTTP, and ValueError for a proxy that is no address.
    except (OSError, RuntimeError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CannotWrite(
                f"no space left under {root} to download {dataset.title}; free some, or set GEN_DATA_ROOT to a folder "
                "on another disk"
            ) from error
        if made_root and root.is_dir() and not any(root.iterdir()):
            root.rmdir()
        return _cause(error, root)
    finally:
        socket.setdefaulttimeout(before)
    return None


def _fetch(dataset: Dataset, folder: str) -> None:
    from torchvision import datasets  # slow to import, and most loads need no download

    kind = DOWNLOADS[dataset.name]
    if kind is None:
        datasets.utils.download_url(URL, folder, filename=ARCHIVE, md5=MD5)
        return
    known = getattr(datasets, kind)
    for name, md5 in known.resources:  # both splits
        for mirror in known.mirrors:
            try:
                raw = os.path.join(folder, kind, "raw")
                datasets.utils.download_and_extract_archive(mirror + name, raw, md5=md5, remove_finished=True)
                break
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                if mirror == known.mirrors[-1] or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                    raise


def _cause(error: Exception, root: Path) -> str:
    """What went wrong, in words that say whose it is: the server, the network, the proxy or the folder."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.url} answered {error.code} {error.reason}"
    if isinstance(inner, ssl.SSLError):
        return f"the connection could not be made secure: {reason(inner)}"
    if isinstance(inner, TimeoutError):
        return f"no answer within {_PATIENCE:.0f} seconds"
    if isinstance(inner, socket.gaierror):
        return f"there is no network: {reason(inner)}"
    if isinstance(inner, OSError) and inner.filename is not None:
        return f"{root} cannot be written to: {(inner.strerror or reason(inner)).lower()}"
    if isinstance(inner, RuntimeError):
        return "what arrived is damaged: its hash is not the published one"
    proxies = sorted(set(urllib.request.getproxies().values()))
    through = f", through the proxy {', '.join(proxies)}" if proxies else ""
    return f"{reason(inner) if isinstance(inner, Exception) else inner}{through}"


def _clear(root: Path) -> None:
    for left in root.glob(f"{_PREFIX}*"):
        if time.time() - left.stat().st_mtime > _STALE:
            shutil.rmtree(left, ignore_errors=True)
