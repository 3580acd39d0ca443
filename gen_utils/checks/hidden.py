"""An exercise on cases that nobody sees: a student learns on how many of them it is right, and no value of any."""

from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Callable

from ..base.frontend import in_notebook
from .cases import hidden_cases
from .core import Result


def hidden_rounds(check: Callable[[Callable], Result], student: Callable, rounds: int = 10) -> str:
    """Run a check under so many keys, new ones each time, and say how often the answer was right.

    A teacher's key chooses from the same cases.

    Raises:
        ValueError: no round at all.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; at least one is needed")
    right = 0
    for _ in range(rounds):
        with hidden_cases(1 + secrets.randbelow(2**31)), _unheard():
            right += bool(check(student))
    return f"right on {right} of {rounds} hidden sets of cases"


def _unheard() -> contextlib.AbstractContextManager:
    """What the checks print goes nowhere; nor does what they leave in a notebook for the grade book."""
    if in_notebook():
        from IPython.utils.capture import capture_output

        return capture_output()
    return contextlib.redirect_stdout(io.StringIO())
