"""The student's function beside the right one: values, shapes, kinds, side effects and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from .cases import Case, fresh
from .core import Result, Slip, attempt, told
from .gradients import ALL, Gradients
from .trial import Trial, watched

__all__ = ["ALL", "compare", "observe"]


def compare(
    exercise: str,
    student: Callable,
    reference: Callable,
    cases: Sequence[Case | tuple],
    slips: Sequence[Slip] = (),
    *,
    outputs: Sequence[str] = (),
    gradient: Sequence[str] = (),
    detached: bool = False,
    may_change: Sequence[str] = (),
    copied: Sequence[str] = (),
    tolerance: float = 1e-4,
    right: str = "",
) -> Result:
    """Check a function of tensors against the right one.

    Args:
        reference: the right function; the names of its parameters are those of the messages.
        cases: tuples of arguments, or ``Case``; each call gets copies of the tensors and networks among them.
        slips: tried in order; one is named only when it explains everything that was seen, in every case.
        outputs: the names of what is returned, when that is several things.
        gradient: the arguments with respect to which the gradient is compared, ``ALL`` for all. Without, it is not looked at.
        detached: the result is a chain's next state: a tensor that must carry no graph.
        may_change: arguments that the text allows to change, and "random" where the global stream may be drawn from.
        copied: arguments of which the result must not be a view.
        right: what to say of a right answer.
    """
    trial = Trial(
        exercise, reference, [Case.of(c) for c in cases], tuple(outputs), tuple(may_change), tuple(copied), tolerance
    )
    mine = [trial.call(student, case, spoken=True) for case in trial.cases]
    expected = [trial.call(reference, case) for case in trial.cases]
    fault = trial.fault(mine, expected, slips) or trial.kind(mine, expected, detached) or trial.effect(mine)
    if fault is None and gradient:
        fault = Gradients(trial, tuple(gradient)).fault(student, reference, slips, mine)
    if fault is not None:
        return told(exercise, False, fault.message, fault.slip, tried=fault.tried)
    return told(exercise, True, right or f"right, on {len(trial.cases)} cases.")


def observe(
    exercise: str, student: Callable, arguments: Sequence, names: Sequence[str], may_change: Sequence[str] = ()
) -> tuple[object, Result | None]:
    """The student's value for a check that compares by itself, or the result that says what went wrong, side effects too."""
    value, failure = attempt(exercise, watched(student, names, may_change), *fresh(arguments))
    if failure is not None:
        return None, failure
    value, effect = cast(tuple, value)
    return value, None if effect is None else told(exercise, False, effect[1], effect[0])
