"""A process shut in: what this system can keep it from, tried and not assumed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...base.places import CHECKPOINTS, RESULTS, ROOT
from . import linux

LARGEST_FILE = 2**20  # bytes
_OPEN_FILES = 256
_HERE = [ROOT / "gen_utils", CHECKPOINTS, RESULTS, Path(sys.prefix), Path(sys.base_prefix)]

# What a process should not be able to do -> how the report says whether it can.
WHAT = {
    "write": "writing outside a temporary folder",
    "read": "reading other hand-ins and the home folder",
    "network": "the network",
    "processes": "starting other processes",
    "memory": "taking more memory than the limit",
}


def outer_shell(work: Path) -> list[str]:
    """What stands before a command so that it runs in bubblewrap's own world; nothing where that is missing or refused.

    No network, processes of its own, and a disk on which only ``work`` can be written.
    """
    found = shutil.which("bwrap") if sys.platform == "linux" else None
    if found is None:
        return []
    shell = [found, "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--dev", "/dev",
             "--proc", "/proc", "--bind", str(work), str(work), "--"]  # fmt: skip
    try:
        works = subprocess.run([*shell, sys.executable, "-c", ""], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        works = False
    return shell if works else []


def _system() -> list[Path]:
    """What Python, its libraries and the machine's description need; no hand-in's folder and no home."""
    wanted = "/usr", "/lib", "/lib64", "/etc", "/dev", "/sys/devices/system", "/proc/self", "/proc/cpuinfo"
    return [Path(place) for place in wanted] if sys.platform == "linux" else []


def leave_group() -> None:
    """A group of its own, which can be killed whole, and which goes when its parent goes."""
    if hasattr(os, "setsid"):
        os.setsid()
    if sys.platform == "linux":
        linux.leave_with_parent()


def silence(out: int) -> None:
    """Close whatever is open but the pipe ``out``; what is printed goes nowhere, and a flood of it fills no disk.

    Through a pipe that it inherited, a process could end the one that it was forked from.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    if os.name == "posix":  # elsewhere nothing is inherited
        os.closerange(3, out)
        os.closerange(out + 1, os.sysconf("SC_OPEN_MAX"))


def shut_in(folder: Path, memory: int, seconds: float) -> None:
    """Limit this process for good. It may have one thread only, else the others are left out.

    Args:
        folder: the only one it may write in. memory: bytes it may take besides what it has. seconds: of its processor.
    """
    os.chdir(folder)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    with suppress(ImportError):  # not on Windows
        import resource

        reserved = _address_space()
        for name, limit in {
            "RLIMIT_AS": reserved + memory if reserved else resource.RLIM_INFINITY,
            "RLIMIT_CPU": int(seconds) + 1,
            "RLIMIT_FSIZE": LARGEST_FILE,
            "RLIMIT_NOFILE": _OPEN_FILES,
            "RLIMIT_CORE": 0,
        }.items():
            with suppress(AttributeError, ValueError, OSError):  # a system may lack one, or have a lower one
                resource.setrlimit(getattr(resource, name), (limit, limit))
    if sys.platform == "linux":
        packages = [Path(place) for place in sysconfig.get_paths().values()]
        linux.restrict_files([*_system(), *_HERE, *packages], folder)
        linux.refuse_calls()


def what_is_open(outside: Path, memory: int) -> list[str]:
    """Try what should not work in this process, which has been shut in; the keys of ``WHAT`` that do work.

    Args:
        outside: a file that exists and can be written by others, and lies where hand-ins may lie.
    """
    tries = {
        "write": lambda: outside.open("ab").close(),
        "read": lambda: outside.open("rb").close(),
        "network": _reach_out,
        "processes": lambda: subprocess.run([sys.executable, "-c", ""], check=True, timeout=60),
        "memory": lambda: bytearray(2 * memory),
    }
    found = []
    for what, attempt in tries.items():
        with suppress(Exception):
            attempt()
            found.append(what)
    return found


def sentence(is_open: Sequence[str]) -> str:
    """What is isolated on this system, and what is not."""
    shut = [said for what, said in WHAT.items() if what not in is_open]
    left = [said for what, said in WHAT.items() if what in is_open]
    said = f"On this system a hand-in is kept from {_listed(shut)}." if shut else "This system isolates nothing."
    return f"{said} It is not kept from {_listed(left)}." if left else said


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def _reach_out() -> None:
    """Find a way to an address that belongs to nobody; of UDP nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("192.0.2.1", 9))


def _address_space() -> int:
    """Bytes of memory that this process has reserved: libraries reserve far more than they use."""
    if sys.platform != "linux":
        return 0
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
