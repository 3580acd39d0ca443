"""How a check works: run the student's function beside the right one, and name the slip when they differ.

A check never shows its own traceback. It prints one short message, keeps the result for the
teacher (``report.record``) and returns it, so that a test can ask ``bool(result)``.
"""

from __future__ import annotations

import functools
import random
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..report import record
from .patience import TooSlow, call

PATIENCE = 60.0  # seconds for one call on a toy case; a busy machine may spend twenty on importing a part of torch


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
    _print(f"{'✓' if passed else '✗'} {exercise}: {message}")
    record(f"check/{exercise}", {"passed": passed, "slip": slip})
    return Result(exercise, passed, message, slip)


def _print(text: str) -> None:
    """Print on any code page, such as the one of output that Windows redirects: what it lacks is written as ``\\u221e``."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def check(run: Callable[[Callable], Result]) -> Callable[[Callable], Result]:
    """Makes the check of an exercise, which answers whatever it is given and leaves the random streams as they were.

    A result so strange that ``run`` itself fails over it is the student's news, not a traceback of ours.
    """

    @functools.wraps(run)
    def checked(student: Callable) -> Result:
        streams = random.getstate(), np.random.get_state()  # noqa: NPY002
        try:
            with torch.random.fork_rng(devices=[]):
                return run(student)
        except Exception as error:
            return told(run.__name__, False, f"your result is of a kind that cannot be compared ({_said(error)}). "
                        "Look again at what the exercise wants to be returned.")  # fmt: skip
        finally:
            random.setstate(streams[0])
            np.random.set_state(streams[1])  # noqa: NPY002

    return checked


def attempt(exercise: str, student: Callable, *args) -> tuple[object, Result | None]:
    """The student's value, or the result that says kindly why there is none."""
    if not callable(student):
        return None, told(exercise, False, f"give the check your function itself: {exercise}, without arguments.")
    dtype = torch.get_default_dtype()
    try:
        value, error = call(student, *args, seconds=PATIENCE)
    finally:
        torch.set_default_dtype(dtype)  # a student's function may set another, and nothing else here wants it
    if error is not None:
        return None, told(exercise, False, _why(error, student))
    if isinstance(value, Tensor) and value.is_complex():
        return None, told(exercise, False, "your result has complex numbers; real ones are wanted.")
    return value, None


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
        # In double: an integer answer would cut 2.7 to 2, and call it right.
        values.append((torch.as_tensor(value).detach().cpu().double(), expected.double()))
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
    if not isinstance(value, (Tensor, int, float, np.number)):
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
