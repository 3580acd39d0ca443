"""A call that may take only so long, on every system, whatever the called function catches."""

from __future__ import annotations

import contextvars
import ctypes
import threading
import time
from collections.abc import Callable

GRACE = 2.0  # seconds in which a function that is told to stop may still do so


class TooSlow(BaseException):
    """Not an Exception, so that a student's ``except Exception`` does not swallow it.

    Attributes:
        stopped: False when the function goes on in the background, because it swallows this too.
    """

    stopped = True


def call(function: Callable, *args, seconds: float) -> tuple[object, BaseException | None]:
    """What ``function(*args)`` returns, and None; or None, and what it raised: ``TooSlow`` when it takes longer.

    It runs in a thread of its own: an alarm would reach the main thread only, Windows has none, and a function that
    swallows everything can be left behind. What PyTorch keeps for each thread (whether gradients are recorded, the
    default device) begins as in a fresh program and ends with the call.
    """
    outcome, done = [], threading.Event()

    def run() -> None:
        try:
            outcome.append((function(*args), None))
        except BaseException as error:  # sys.exit() too
            outcome.append((None, error))
        finally:
            done.set()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    try:
        thread.start()
        _wait(done, seconds)
    finally:  # also when somebody interrupts the kernel while we wait
        stopped = done.is_set() or _stop(thread, done)
    if outcome and not isinstance(outcome[0][1], TooSlow):
        return outcome[0]
    late = TooSlow()
    late.stopped = stopped
    return None, late


def _wait(done: threading.Event, seconds: float) -> None:
    """In short turns: on Windows an interruption arrives only between them."""
    end = time.monotonic() + seconds
    while not done.is_set() and (left := end - time.monotonic()) > 0:
        done.wait(min(left, 0.1))


def _stop(thread: threading.Thread, done: threading.Event) -> bool:
    """Raise TooSlow in the thread until it ends: ``while True: try: ... except: pass`` swallows most. Did it end?"""
    raise_in, name = ctypes.pythonapi.PyThreadState_SetAsyncExc, ctypes.c_ulong(thread.ident or 0)
    end = time.monotonic() + GRACE
    while thread.is_alive() and not done.is_set() and time.monotonic() < end:
        raise_in(name, ctypes.py_object(TooSlow))
        done.wait(0.003)
    raise_in(name, None)  # the last one may not have arrived
    thread.join(0.1)
    return not thread.is_alive()
