"""The processes of a grading run: one a student and part, forked from one that has imported PyTorch, watched and ended.

This module is a program. It reads one line of JSON, and writes a line for each exercise as soon as its check has
answered, so that the whole of it can run inside another sandbox.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TextIO

import psutil

from .isolation import leave_group, shut_in, silence, what_is_open
from .sealed import seal, unseal

GLANCE = 0.05  # seconds between two looks at what runs
STARTING = 120.0  # seconds for a process to begin: where nothing forks, it imports PyTorch itself
MANY = 1_000_000  # bytes of one message
CHILD = "gen_utils.publishing.grading.child"
WHY = {
    "time": "stopped after {seconds:.0f} s: is there a loop that never ends?",
    "memory": "stopped: it took more than {megabytes:.0f} MB of memory on a tiny case.",
    "gone": "its process ended before the check had answered.",
    "forged": "stopped: it wrote where only the check writes its answer.",
}
Emit = Callable[[dict], None]


@dataclass
class Run:
    """One process and the task it has."""

    task: dict
    key: bytes
    process: BaseProcess
    until: float
    most: float = float("inf")  # bytes of memory
    messages: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    begun: str | None = None  # the exercise whose answer is awaited
    answered: bool = False  # at least one exercise
    ended: bool = False


class Engine:
    """Runs tasks, so many at a time."""

    def __init__(self, modules: list[str], jobs: int, seconds: float, memory: int, emit: Emit) -> None:
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            self._context.set_forkserver_preload([CHILD, "torch.testing", "scipy.stats", *modules])
        self.jobs, self.seconds, self.memory, self.emit = jobs, seconds, memory, emit

    def isolation(self, outside: str) -> list[str]:
        """What a process that is shut in can do all the same."""
        with tempfile.TemporaryDirectory() as folder:
            read, write = self._context.Pipe(duplex=False)
            key = secrets.token_bytes(32)
            process = self._context.Process(target=_probe, args=(folder, outside, self.memory, write, key), daemon=True)
            process.start()
            write.close()
            try:
                answer = unseal(key, read.recv_bytes(MANY)) if read.poll(STARTING) else None
            except EOFError:
                answer = None
            _end(process)
        if answer is None:
            raise RuntimeError("a process that is shut in does not start on this system, so nothing was graded")
        return answer["open"]

    def controls(self, tasks: list[dict]) -> dict[tuple[str, str], list[int]]:
        """Run the workbook's own answers; part and exercise -> the keys under which they pass, the only ones to use."""
        emit, said = self.emit, []
        self.emit = said.append
        keys = {(task["part"], each["name"]): each["keys"] for task in tasks for each in task["exercises"]}
        self.run(tasks)
        self.emit = emit
        sound = {}
        for message in said:
            where = message["part"], message["exercise"]
            sound[where] = [key for key, passed in zip(keys[where], message.get("rounds", ()), strict=False) if passed]
            if message["status"] not in ("passed", "shown only"):
                emit({"unsound": f"{message['part']}/{message['exercise']}"})
        return sound

    def run(self, tasks: list[dict]) -> None:
        """Run all; each exercise of each task is emitted once."""
        waiting, running = list(reversed(tasks)), []
        with tempfile.TemporaryDirectory() as work_folder:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    folder = tempfile.mkdtemp(dir=work_folder)
                    running.append(self._start({**waiting.pop(), "folder": folder}))
                time.sleep(GLANCE)
                for each in list(running):
                    if self._look(each):
                        running.remove(each)
                        if each.task["exercises"]:  # the rest: one endless loop costs one exercise
                            waiting.append(each.task)

    def _start(self, task: dict) -> Run:
        read, write = self._context.Pipe(duplex=False)
        key = secrets.token_bytes(32)
        asked = {**task, "seconds": self.seconds, "memory": self.memory}
        process = self._context.Process(target=_work, args=(asked, write, key), daemon=True)
        process.start()
        write.close()
        run = Run(task, key, process, time.monotonic() + STARTING)
        threading.Thread(target=_listen, args=(read, run.messages), daemon=True).start()
        return run

    def _look(self, run: Run) -> bool:
        """Take what has arrived; True when the process is no more, ended by itself or by us."""
        for message in _arrived(run):
            if message is None:
                return self._stop(run, "forged")
            if "begins" in message:
                run.begun, run.until = message["begins"], time.monotonic() + self.seconds
                run.most = min(run.most, _resident(run.process.pid) + self.memory)
            elif "answer" in message:
                self._answer(run, message["answer"])
                run.until = time.monotonic() + self.seconds
        if run.ended and run.answered and run.begun is None:
            _end(run.process)
            return True
        if run.ended:
            return self._stop(run, "gone")
        if time.monotonic() > run.until:
            return self._stop(run, "time")
        if _resident(run.process.pid) > run.most:
            return self._stop(run, "memory")
        return False

    def _answer(self, run: Run, answer: dict) -> None:
        exercise = run.task["exercises"].pop(0)
        run.begun, run.answered = None, True
        self.emit({"student": run.task["student"], "part": run.task["part"], "exercise": exercise["name"], **answer})

    def _stop(self, run: Run, why: str) -> bool:
        _end(run.process)
        said = WHY[why].format(seconds=self.seconds, megabytes=self.memory / 2**20)
        if run.task["exercises"]:
            self._answer(run, {"status": "held" if why == "forged" else "stopped", "message": said, "slip": None})
        return True


def _work(task: dict, out: Connection, key: bytes) -> None:
    from .child import work  # imported already in the process that this one is forked from

    work(task, out, key)


def _probe(folder: str, outside: str, memory: int, out: Connection, key: bytes) -> None:
    leave_group()
    silence(out.fileno())
    shut_in(Path(folder), memory, 60)
    out.send_bytes(seal(key, {"open": what_is_open(Path(outside), memory)}))


def _listen(read: Connection, messages: queue.SimpleQueue) -> None:
    """In a thread of its own: half a message must not hold up the others."""
    with suppress(EOFError, OSError):
        while True:
            messages.put(read.recv_bytes(MANY))
    messages.put(None)


def _arrived(run: Run) -> Iterator[dict | None]:
    """The messages since the last look; None for one that is not from our side of the process."""
    with suppress(queue.Empty):
        while True:
            sealed = run.messages.get_nowait()
            if sealed is None:
                run.ended = True
                return
            yield unseal(run.key, sealed)


def _end(process: BaseProcess) -> None:
    """Kill the process with its group, and wait for it."""
    if hasattr(os, "killpg") and process.pid:
        with suppress(OSError):
            if os.getpgid(process.pid) == process.pid:  # it has left ours
                os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join(10)


def _resident(pid: int | None) -> int:
    """Bytes of memory that a process holds; 0 when it is no more."""
    with suppress(psutil.Error):
        return psutil.Process(pid).memory_info().rss
    return 0


def main(asked: TextIO, out: TextIO) -> None:
    """Read what is asked, and write first what is isolated, then the answers."""
    settings = json.loads(asked.readline())

    def emit(message: dict) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    numbers = {name: settings[name] for name in ("modules", "jobs", "seconds", "memory")}
    engine = Engine(**numbers, emit=emit)
    emit({"open": engine.isolation(settings["outside"])})
    sound = engine.controls(settings["controls"])
    for task in settings["tasks"]:
        for exercise in task["exercises"]:
            exercise["keys"] = sound[task["part"], exercise["name"]]
    engine.run(settings["tasks"])


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
