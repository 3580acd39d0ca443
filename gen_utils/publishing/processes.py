"""Processes side by side, each watched by itself; what fails leaves none of them behind, nor what they started."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

MARK = "GEN_PRESS"  # in the environment of a process: which block started it, or started what started it
_GLANCE = 0.05  # seconds between two looks at what runs
_ROUNDS = 20  # of ending what is left: a process that was just being started may be seen one round later


class Processes:
    """A block of processes. One that ends is told with its exit status; a block that fails ends the others.

    Each process is asked whether it still runs. (A pool of workers leaves that to a thread of its own, and one that is
    killed before this thread knows of it is waited for without end.) To find what a killed process had started, a
    kernel for instance, whose parent is no longer known, all of them carry a mark in their environment.
    """

    def __init__(self) -> None:
        self._mark = secrets.token_hex(8)
        self._running: dict[str, subprocess.Popen] = {}
        self._helping: list[subprocess.Popen] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        if kind is not None or self._helping:
            self._end_all()

    def __len__(self) -> int:
        """How many run."""
        return len(self._running)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start one, in a session of its own: Ctrl-C reaches this process only, which then ends the others.

        Its standard input is a pipe that closes when this process ends, however it ends.

        Args:
            environment: variables that it gets besides those of this process.
        """
        self._running[name] = self._started(command, environment)

    def start_helper(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start one that the others need and nobody waits for: it is ended with the block."""
        self._helping.append(self._started(command, environment))

    def _started(self, command: Sequence[str], environment: Mapping[str, str] | None) -> subprocess.Popen:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            env={**os.environ, **(environment or {}), MARK: self._mark},
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows' word for a session
        )

    def next_ended(self) -> tuple[str, int]:
        """Wait until one of them ends; its name and its exit status, which is minus a signal's number after a kill."""
        while True:
            for name, process in self._running.items():
                if process.poll() is not None:
                    del self._running[name]
                    process.communicate()  # closes the pipe
                    return name, process.returncode
            time.sleep(_GLANCE)

    def _end_all(self) -> None:
        for process in [*self._running.values(), *self._helping]:
            process.kill()
            process.communicate()
        self._running.clear()
        self._helping.clear()
        for _ in range(_ROUNDS):
            found = psutil.process_iter(["environ"])
            left = [process for process in found if (process.info["environ"] or {}).get(MARK) == self._mark]
            if not left:
                return
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1)
