"""Sittings that are killed: a process is forked from a warm one, so that a kill does not cost an import of PyTorch.

A fork copies only the thread that forks. So the parent must have no other, and must not compute: ``alone`` makes sure.
"""

import os
import signal
import threading
import time
import traceback
from pathlib import Path


def alone():
    """Is this the only thread of the process, those of libraries included?"""
    tasks = Path("/proc/self/task")
    return threading.active_count() == 1 and (not tasks.exists() or len(list(tasks.iterdir())) == 1)


def start(work):
    """Run ``work()`` in a child; returns its process id. The child leaves without what pytest or Python do at exit."""
    assert alone(), "fork from a process with one thread only"
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(pid):
    """Wait for a child that must succeed."""
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "the child failed"


def kill_when(pid, come, patience=300.0):
    """SIGKILL the child as soon as ``come()`` is true; returns whether it was killed before it had finished."""
    deadline = time.monotonic() + patience
    while not come():
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, "the child failed before it could be killed"
            return False
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError("the moment to kill did not come")
        time.sleep(0.0002)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def soon_after(happened, delay):
    """True when ``happened()`` has been true, from then so many seconds later."""
    over = []

    def come():
        if not over and happened():
            over.append(after(delay))
        return bool(over) and over[0]()

    return come


def after(seconds):
    """True when so many seconds are over, from now on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end
