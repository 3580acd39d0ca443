"""How a check works: run the student's function beside the right one, and name the slip when they differ.

A check never shows its own traceback. It prints one short message, keeps the result for the
teacher (``report.record``) and returns it, so that a test can ask ``bool(result)``.
"""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..report import record

PATIENCE = 60.0  # seconds for one call on a toy case; a busy machine may spend twenty on importing a part of torch


class Unanswered(Exception):
    """Stops "Run All" at an exercise that is not solved yet, with one line in place of a traceback."""

    def _render_traceback_(self) -> list[str]:  # what IPython shows
        return [f"The notebook stops here: {self}"]


class _TooSlow(BaseException):
    """Not an Exception, so that a student's ``except Exception`` does not swallow it."""


@dataclass(frozen=True)
class Slip:
    """A usual mistake: what it would compute, and what to tell the student who made it."""

    name: str
    hint: str
    wrong: Callable


@dataclass(frozen=True)
class Result:
    """The outcome of one check; true when the exercise is solved."""

    exercise: str
    passed: bool
    message: str
    slip: str | None = None  # the name of the recognised mistake

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


def told(exercise: str, passed: bool, message: str, slip: str | None = None) -> Result:
    """Print, keep and return a result."""
    print(f"{'✓' if passed else '✗'} {exercise}: {message}")
    record(f"check/{exercise}", {"passed": passed, "slip": slip})
    return Result(exercise, passed, message, slip)


def attempt(exercise: str, student: Callable, *args) -> tuple[object, Result | None]:
    """The student's value, or the result that says kindly why there is none."""
    try:
        with _patience(PATIENCE):
            return student(*args), None
    except _TooSlow:
        return None, told(
            exercise,
            False,
            f"still running after {PATIENCE:.0f} s on a tiny case. Is there a loop that never ends, or one over single numbers?",
        )
    except NotImplementedError:
        return None, told(
            exercise, False, f"not written yet. Replace the last line of {student.__name__}, then run on."
        )
    except Exception as error:  # whatever the student's code raises is news for the student, not for us
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name == getattr(student, "__name__", "")]
        where = f" in line {frames[-1].lineno} of your cell ({frames[-1].line})" if frames and frames[-1].line else ""
        text = str(error).split("\n")[0]
        return None, told(exercise, False, f"your function raised {type(error).__name__}: {text}{where}.")


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Interrupts the block after so many seconds, where the system can (not on Windows, not beside the main thread)."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def compare(
    exercise: str,
    student: Callable,
    reference: Callable,
    cases: Sequence[tuple],
    slips: Sequence[Slip] = (),
    *,
    tolerance: float = 1e-4,
) -> Result:
    """Check a function of tensors against the right one on small cases.

    Args:
        cases: tuples of arguments; each call gets fresh copies of the tensors among them.
        slips: tried in order; one is named only when it explains the student's value on every case.
    """
    values = []
    for case in cases:
        value, failure = attempt(exercise, student, *_fresh(case))
        if failure is not None:
            return failure
        expected = reference(*_fresh(case))
        failure = _wrong_kind(exercise, value, expected)
        if failure is not None:  # not just "if failure": a failed result is false
            return failure
        values.append((torch.as_tensor(value).detach().to(expected.dtype), expected))
    if all(_same(value, expected, tolerance) for value, expected in values):
        return told(exercise, True, f"right, on {len(cases)} cases.")
    for slip in slips:
        guesses = [torch.as_tensor(slip.wrong(*_fresh(case))) for case in cases]
        pairs = zip(values, guesses, strict=True)
        if all(v.shape == g.shape and _same(v, g.to(v.dtype), tolerance) for (v, _), g in pairs):
            return told(exercise, False, slip.hint, slip.name)
    i = next(i for i, (value, expected) in enumerate(values) if not _same(value, expected, tolerance))
    value, expected = values[i]
    return told(exercise, False, f"differs in case {i + 1}. Yours: {_short(value)}. True: {_short(expected)}.")


def _fresh(case: tuple) -> tuple:
    return tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in case)


def _wrong_kind(exercise: str, value: object, expected: Tensor) -> Result | None:
    if value is None:
        return told(exercise, False, "your function returns nothing; is the return missing?")
    if not isinstance(value, (Tensor, int, float)):
        return told(exercise, False, f"your function returns a {type(value).__name__}; a tensor is wanted.")
    shape = tuple(torch.as_tensor(value).shape)
    if shape != tuple(expected.shape):
        return told(exercise, False, f"your result has shape {shape}; it should be {tuple(expected.shape)}.")
    return None


def _same(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def _short(value: Tensor) -> str:
    numbers = [f"{v:.4g}" for v in value.detach().flatten()[:4].tolist()]
    return f"{', '.join(numbers)}{', …' if value.numel() > 4 else ''}"
