"""What every check is: it takes the student's function, answers with one line, and never shows a traceback of its own.

A check prints its message, keeps the result for the teacher (``report.record``) and returns it, so that a test can ask
``bool(result)``. How values are compared is in ``compare``.
"""

from __future__ import annotations

import functools
import random
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..report import record
from .patience import TooSlow, call

PATIENCE = 60.0  # seconds for one call on a toy case; a busy machine may spend twenty on importing a part of torch

_failures: Counter[str] = Counter()  # of each exercise since this process began, or since it was last solved
_exercise: ContextVar[str] = ContextVar("exercise", default="")


class Unanswered(Exception):
    """Stops "Run All" at an exercise that is not solved yet, with one line in place of a traceback."""

    def _render_traceback_(self) -> list[str]:  # what IPython shows
        return [f"The notebook stops here: {self}"]


@dataclass(frozen=True)
class Slip:
    """A usual mistake: what it would compute, and what to tell the student who made it."""

    name: str
    hint: str
    wrong: Callable


@dataclass(frozen=True)
class Problem:
    """Why an answer is refused, before it is told."""

    message: str
    slip: str | None = None
    tried: bool = True


@dataclass(frozen=True)
class Result:
    """The outcome of one check; true when the exercise is solved."""

    exercise: str
    passed: bool
    message: str
    slip: str | None = None  # the name of the recognised mistake
    tried: bool = True  # False where there is no answer yet

    def __bool__(self) -> bool:
        return self.passed

    def or_stop(self) -> Result:
        """This result, if the exercise is solved.

        Raises:
            Unanswered: it is not; what follows in the notebook needs it.
        """
        if not self.passed:
            raise Unanswered(f"solve {self.exercise}, run its cell and this one again, then run on.")
        return self

    def _ipython_display_(self) -> None:
        """Nothing: the message has been printed."""


def told(exercise: str, passed: bool, message: str, slip: str | None = None, *, tried: bool = True) -> Result:
    """Print, keep and return a result."""
    _print(f"{'✓' if passed else '✗'} {exercise}: {message}")
    record(f"check/{exercise}", {"passed": passed, "slip": slip})
    return Result(exercise, passed, message, slip, tried)


def _print(text: str) -> None:
    """Print on any code page, such as the one of output that Windows redirects: what it lacks is written as ``\\u221e``."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def check(run: Callable[[Callable], Result]) -> Callable[[Callable], Result]:
    """Makes the check of an exercise, which answers whatever it is given and leaves the random streams as they were.

    A result so strange that ``run`` itself fails over it is the student's news, not a traceback of ours. It also counts
    how often the exercise has failed, so that the second hint can say more than the first.
    """
    exercise = f"{run.__module__}.{run.__name__}"

    @functools.wraps(run)
    def checked(student: Callable) -> Result:
        streams = random.getstate(), np.random.get_state()  # noqa: NPY002
        outer = _exercise.set(exercise)
        try:
            with torch.random.fork_rng(devices=[]):
                result = run(student)
        except Exception as error:
            result = told(run.__name__, False, f"your result is of a kind that cannot be compared ({_said(error)}). "
                          "Look again at what the exercise wants to be returned.")  # fmt: skip
        finally:
            _exercise.reset(outer)
            random.setstate(streams[0])
            np.random.set_state(streams[1])  # noqa: NPY002
        if result.passed:
            _failures.pop(exercise, None)
        elif result.tried:
            _failures[exercise] += 1
        return result

    return checked


def again() -> bool:
    """Has the exercise that is being checked failed before in this process?"""
    return _failures[_exercise.get()] > 0


def attempt(exercise: str, student: Callable, *args) -> tuple[object, Result | None]:
    """The student's value, or the result that says kindly why there is none."""
    value, failure = called(exercise, student, *args)
    if failure is not None:
        return None, told(exercise, False, failure[0], tried=failure[1])
    if isinstance(value, Tensor) and value.is_complex():
        return None, told(exercise, False, "your result has complex numbers; real ones are wanted.")
    return value, None


def called(exercise: str, student: Callable, *args) -> tuple[object, tuple[str, bool] | None]:
    """The student's value, or why there is none, and whether the exercise has been tried at all. Says nothing."""
    if not callable(student):
        return None, (f"give the check your function itself: {exercise}, without arguments.", True)
    dtype = torch.get_default_dtype()
    try:
        value, error = call(student, *args, seconds=PATIENCE)
    finally:
        torch.set_default_dtype(dtype)  # a student's function may set another, and nothing else here wants it
    if error is None:
        return value, None
    return None, (_why(error, student), not isinstance(error, NotImplementedError))


def _why(error: BaseException, student: Callable) -> str:
    """Whatever the student's code raises is news for the student, not for us."""
    if isinstance(error, TooSlow):
        loop = "Is there a loop that never ends, or one over single numbers?"
        left = "" if error.stopped else " It catches every exception and could not be stopped: restart the kernel."
        return f"still running after {PATIENCE:.0f} s on a tiny case. {loop}{left}"
    if isinstance(error, SystemExit):
        return "your function ends the program (exit or sys.exit); it should return its answer."
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, NotImplementedError) and not str(error):
        return f"not written yet. Replace the last line of {frames[-1].name}, then run on."
    own = [frame for frame in frames if frame.name == getattr(student, "__name__", "")]
    where = f" in line {own[-1].lineno} of your cell ({own[-1].line})" if own and own[-1].line else ""
    return f"your function raised {_said(error)}{where}."


def _said(error: BaseException) -> str:
    """The error's name and the first line of its text, where it has one."""
    try:
        text = str(error).strip().split("\n")[0][:200]
    except Exception:  # a class of the student's own may fail even at that
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
