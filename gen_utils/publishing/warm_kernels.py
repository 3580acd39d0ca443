"""Kernels forked from one process that has imported PyTorch: ten chapters then read it once, not ten times.

Only on Linux; elsewhere a fork after such imports is not safe, and each kernel is started as usual.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from ..base.places import ROOT

DOOR = "GEN_WARM_KERNELS"  # in the environment: the socket where forks are asked for
INLINE = "module://matplotlib_inline.backend_inline"
IMPORTED = (
    "ipykernel.kernelapp",
    "torch._dynamo",  # the first optimiser imports it
    "gen_utils.training",
    "gen_utils.plotting",
    "gen_utils.evaluation.frechet",
    "gen_utils.experiments.sweep",
    "sklearn.metrics",
)
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
_GLANCE = 0.05  # seconds between two looks at what has ended
_PATIENCE = 10.0  # seconds until the door must be there


def wanted(number: int) -> bool:
    """Whether so many kernels are worth a process that forks them, where that is safe."""
    return sys.platform == "linux" and number > 2


def command(door: Path) -> list[str]:
    """What forks kernels for whoever knocks at ``door``, until its standard input is closed."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from gen_utils.publishing.warm_kernels import serve; "
    return [sys.executable, "-c", code + "serve(sys.argv[1])", str(door)]


def serve(door: str) -> None:
    """Import what chapters import, then fork. No thread may run here: a fork would not have it."""
    assert sys.platform == "linux"  # see ``wanted``
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(door)
        listening.listen()  # who knocks from now on waits for the imports
        os.environ["MPLBACKEND"] = INLINE  # read when Matplotlib is imported
        for module in IMPORTED:
            with suppress(ImportError):  # the chapter that needs it will say so
                importlib.import_module(module)
        askers: dict[int, socket.socket] = {}
        while True:
            ready, _, _ = select.select([0, listening, *askers.values()], [], [], _GLANCE)
            if listening in ready:
                asker, _ = listening.accept()
                asked = json.loads(_line(asker))
                pid = os.fork()
                if pid == 0:
                    _become_kernel(asked, [listening, asker, *askers.values()])
                askers[pid] = asker
                _say(asker, pid)
            for pid, asker in list(askers.items()):
                if asker in ready or 0 in ready:  # it asks only once: its end is no more
                    _kill(pid)
            if 0 in ready:
                return
            _tell_ended(askers)


def _tell_ended(askers: dict[int, socket.socket]) -> None:
    assert sys.platform == "linux"
    while askers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with askers.pop(pid) as asker:
            _say(asker, os.waitstatus_to_exitcode(status))


def _become_kernel(asked: dict[str, Any], open_here: list[socket.socket]) -> None:
    assert sys.platform == "linux"
    for each in open_here:
        each.close()
    os.setsid()
    os.environ.clear()
    os.environ.update(asked["environment"], JPY_PARENT_PID=str(os.getppid()))  # the kernel leaves with this parent
    os.chdir(asked["folder"])
    sys.argv = ["ipykernel_launcher", *asked["arguments"]]
    sys.path[:] = [each for each in sys.path if each]
    random.seed()  # as in a process of its own; what is forked would draw what its siblings draw
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()
    sys.exit()


class Forked:
    """A kernel that was forked elsewhere, with what Jupyter uses of a ``subprocess.Popen``."""

    stdin = stdout = stderr = None

    def __init__(self, asked: dict[str, Any]) -> None:
        self.returncode: int | None = None
        self._line = _knock(os.environ[DOOR])
        _say(self._line, asked)
        self.pid = int(_line(self._line))

    def poll(self) -> int | None:
        """Its exit status, minus a signal's number after a kill; None while it runs."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            said = _line(self._line)
            self.returncode = int(said) if said else -_KILL  # nothing said: its parent was killed too
            self._line.close()
        return self.returncode

    def wait(self) -> int:
        """The same, once it has ended."""
        while (status := self.poll()) is None:
            time.sleep(_GLANCE)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens when it has ended."""
        assert sys.platform == "linux"
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(_KILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class WarmProvisioner(LocalProvisioner):
    """Has a kernel forked instead of starting it."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Launch a kernel; ``cmd`` is what would have started it."""
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        folder = str(kwargs.get("cwd") or Path.cwd())
        self.process = Forked({"arguments": arguments, "environment": dict(kwargs["env"]), "folder": folder})
        self.pid = self.pgid = self.process.pid
        self.cwd = folder
        return self.connection_info


def _knock(door: str) -> socket.socket:
    """Raises OSError when nobody has opened within seconds."""
    until = time.monotonic() + _PATIENCE
    while True:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(door)
            return line
        except OSError:
            line.close()
            if time.monotonic() > until:
                raise
            time.sleep(_GLANCE)


def _say(line: socket.socket, what: object) -> None:
    with suppress(OSError):  # who asked is gone
        line.sendall(json.dumps(what).encode() + b"\n")


def _line(line: socket.socket) -> str:
    """One line, byte for byte: what follows is not ours to read. Empty when the other side has closed."""
    read = bytearray()
    with suppress(OSError):
        while (byte := line.recv(1)) not in (b"", b"\n"):
            read += byte
    return read.decode()


def _kill(pid: int) -> None:
    assert sys.platform == "linux"
    for end in (os.killpg, os.kill):  # it may not have left our group yet
        with suppress(OSError):
            end(pid, _KILL)
            return
