"""What Linux lets any process forbid itself for good: Landlock for files, seccomp for system calls.

Both need no rights and no program. Sources: the kernel's ``Documentation/userspace-api/landlock.rst`` and
``seccomp_filter.rst``; the numbers are those of its system-call tables.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _SET_DEATH_SIGNAL = 38, 22, 1
_LANDLOCK = (444, 445, 446)  # create a ruleset, add a rule, obey: the same on every processor
_EXECUTE, _WRITE, _READ_FILE, _READ_FOLDER, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_READ = _READ_FILE | _READ_FOLDER
# Rights by version: to make, remove and write came first, then to move, to truncate, to command devices.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_OF_A_FILE = _EXECUTE | _WRITE | _READ_FILE | _TRUNCATE

# Refused: name -> its number on x86_64 and on aarch64 (None: it has none there).
_REFUSED = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "socketpair": (53, 199), "io_uring_setup": (425, 425),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "bpf": (321, 280), "setsid": (112, 157),
    "setpgid": (109, 154), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54), "utime": (132, None),
    "utimes": (235, None), "utimensat": (280, 88), "futimesat": (261, None), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16),
}  # fmt: skip
_CLONE, _CLONE3, _THREAD = (56, 220), 435, 0x10000
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_ALLOW, _REFUSE, _UNKNOWN, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000  # EPERM is 1, ENOSYS is 38
_LOAD, _EQUALS, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of the filter


def leave_with_parent() -> None:
    """This process is killed when the one that forked it has gone."""
    _libc().prctl(_SET_DEATH_SIGNAL, 9, 0, 0, 0)


def landlock_version() -> int:
    """What the kernel's Landlock can do; 0 where there is none."""
    return max(0, _libc().syscall(_LANDLOCK[0], None, ctypes.c_size_t(0), 1))


def restrict_files(readable: Iterable[Path], writable: Path) -> bool:
    """Read below some folders only, write below one; False where the kernel cannot (before 5.13, or switched off)."""
    libc = _libc()
    version = landlock_version()
    if not version:
        return False
    rights = _RIGHTS[min(version, max(_RIGHTS))]
    ruleset = libc.syscall(_LANDLOCK[0], ctypes.byref(ctypes.c_uint64(rights)), ctypes.c_size_t(8), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _add_rule(libc, ruleset, path, _READ & rights)
        _add_rule(libc, ruleset, writable, rights & ~_EXECUTE)
        _add_rule(libc, ruleset, Path(os.devnull), (_READ_FILE | _WRITE) & rights)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return libc.syscall(_LANDLOCK[2], ruleset, 0) == 0
    finally:
        os.close(ruleset)


def refuse_calls() -> bool:
    """No new process, no program, no socket, no signal, no change of a file's owner or mode; threads stay possible."""
    if platform.machine() not in _ARCHITECTURES or sys.maxsize < 2**32:
        return False
    column, architecture = _ARCHITECTURES[platform.machine()]
    numbers = [row[column] for row in _REFUSED.values() if row[column] is not None]
    # (code, jump if true, jump if false, value); a jump counts the lines that are passed over.
    program = [
        (_LOAD, 0, 0, 4),  # which processor's numbers the call uses
        (_EQUALS, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # the call's number
        (_AT_LEAST, 0, 1, 0x40000000),  # x86_64's second set of numbers
        (_RETURN, 0, 0, _REFUSE),
        (_EQUALS, 0, 1, _CLONE3),  # its flags lie in memory, where a filter cannot look: the C library then uses clone
        (_RETURN, 0, 0, _UNKNOWN),
        (_EQUALS, 0, 4, _CLONE[column]),
        (_LOAD, 0, 0, 16),  # clone's flags
        (_ANY_BIT, 1, 0, _THREAD),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
        *(line for number in numbers for line in ((_EQUALS, 0, 1, number), (_RETURN, 0, 0, _REFUSE))),
        (_RETURN, 0, 0, _ALLOW),
    ]
    lines = (_Line * len(program))(*program)
    whole = _Program(len(program), lines)
    libc = _libc()
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return libc.prctl(_SET_SECCOMP, 2, ctypes.byref(whole), 0, 0) == 0


class _Line(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.POINTER(_Line)))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def _add_rule(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    with suppress(OSError):  # a folder that is not there needs no rule
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            allowed = rights if path.is_dir() else rights & _OF_A_FILE
            libc.syscall(_LANDLOCK[1], ruleset, 1, ctypes.byref(_Beneath(allowed, opened)), 0)
        finally:
            os.close(opened)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
