"""The student's function beside the right one: values, shapes, kinds, side effects and gradients."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from . import values
from .cases import Case, Watch, fresh
from .core import Result, Slip, again, attempt, called, told
from .values import WrongKind, as_tensor, clue, same

ALL = ("*",)  # a gradient for every floating argument, and for the weights of every network among the arguments


@dataclass(frozen=True)
class Problem:
    """Why there is no value to compare."""

    message: str
    slip: str | None = None
    tried: bool = True


@dataclass
class Outcome:
    """What a function gave in one case: its outputs, and what it did besides."""

    outputs: list[Tensor] = field(default_factory=list)
    problem: Problem | None = None
    effect: tuple[str, str] | None = None


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
    value, effect = value
    return value, None if effect is None else told(exercise, False, effect[1], effect[0])


def watched(
    function: Callable, names: Sequence[str], may_change: Sequence[str], copied: Sequence[str] = ()
) -> Callable:
    """The function with what it did besides: (its value, None or a slip and what to tell)."""
    if not callable(function):
        return function

    @functools.wraps(function, updated=())
    def run(*arguments):
        watch = Watch(arguments, names, may_change)
        value = function(*arguments)
        return value, watch(value, copied)

    return run


@dataclass
class Trial:
    """One comparison: its cases, and the words for what is found."""

    exercise: str
    reference: Callable
    cases: list[Case]
    outputs: tuple[str, ...]
    may_change: tuple[str, ...]
    copied: tuple[str, ...]
    tolerance: float

    @property
    def names(self) -> list[str]:
        return list(inspect.signature(self.reference).parameters)

    def call(self, function: Callable, case: Case, *, spoken: bool = False) -> Outcome:
        """A function's outcome in one case; ``spoken`` for the student's, which is watched and stopped when it is slow."""
        arguments = fresh(case.arguments)
        if not spoken:
            try:
                return Outcome(self.unpacked(function(*arguments)))
            except Exception as error:  # a slip need not be possible in every case
                if function is self.reference:
                    raise
                return Outcome(problem=Problem(str(error)))
        value, failure = called(self.exercise, watched(function, self.names, self.may_change, self.copied), *arguments)
        if failure is not None:
            return Outcome(problem=Problem(failure[0], tried=failure[1]))
        value, effect = value
        try:
            return Outcome(self.unpacked(value), effect=effect)
        except WrongKind as wrong:
            return Outcome(problem=Problem(str(wrong)), effect=effect)

    def unpacked(self, value: object) -> list[Tensor]:
        """The outputs, each a tensor."""
        if not self.outputs:
            return [as_tensor(value)]
        wanted = f"{_NUMBERS.get(len(self.outputs), len(self.outputs))} things are wanted, {_listed(self.outputs)}"
        if value is None:
            raise WrongKind("your function returns nothing; is the return missing?")
        if isinstance(value, (Tensor, np.ndarray)) and value.ndim:
            value = list(value)
        if not isinstance(value, (tuple, list)) or len(value) != len(self.outputs):
            raise WrongKind(f"{wanted}; yours is {values._kind(value)}.")
        found = []
        for name, part in zip(self.outputs, value, strict=True):
            try:
                found.append(as_tensor(part))
            except WrongKind as wrong:
                raise WrongKind(f"{name}: {str(wrong).replace('your function returns', 'you return')}") from None
        return found

    # --- what is wrong, in the order in which it is told ---------------------------------------------------------------

    def fault(self, mine: list[Outcome], expected: list[Outcome], slips: Sequence[Slip]) -> Problem | None:
        """A wrong value, or none at all."""
        untried = next((m.problem for m in mine if m.problem and not m.problem.tried), None)
        if untried is not None:
            return untried
        wrong = [i for i, (m, e) in enumerate(zip(mine, expected, strict=True)) if not self.equal(m, e)]
        if not wrong:
            return None
        for slip in slips:
            if self.explains(slip, mine):
                return Problem(slip.hint + self.hint(mine, expected), slip.name)
        problem = next((m.problem for m in mine if m.problem), None)
        if problem is not None:
            return problem
        for m, e in zip(mine, expected, strict=True):
            for name, value, true in zip(self.outputs or ("your result",), m.outputs, e.outputs, strict=True):
                if value.shape != true.shape:
                    return Problem(f"{name} has shape {tuple(value.shape)}; it should be {tuple(true.shape)}.")
        return self.difference(wrong, mine, expected)

    def equal(self, mine: Outcome, right: Outcome) -> bool:
        if mine.problem or right.problem:
            return bool(mine.problem and right.problem)
        pairs = zip(mine.outputs, right.outputs, strict=True)
        return all(same(m, r, self.tolerance) for m, r in pairs)

    def explains(self, slip: Slip, mine: list[Outcome]) -> bool:
        """Does the slip give all that the student's function gives? Where it gives nothing, that must fail as well."""
        if all(m.problem for m in mine):
            return False
        return all(self.equal(m, self.call(slip.wrong, case)) for m, case in zip(mine, self.cases, strict=True))

    def difference(self, wrong: list[int], mine: list[Outcome], expected: list[Outcome]) -> Problem:
        first = wrong[0]
        where = f"in case {first + 1} of {len(self.cases)}" + _where(self.cases[first])
        if len(wrong) < len(self.cases) and (slip := _common(self.cases[i].slip for i in wrong)):
            return Problem(f"right in the other cases, but not {where}: {self.cases[first].why}", slip)
        right = [i for i in range(len(self.cases)) if i not in wrong]
        which = ""
        if self.outputs:
            bad = [k for k in range(len(self.outputs))
                   if any(not same(mine[i].outputs[k], expected[i].outputs[k], self.tolerance) for i in wrong)]  # fmt: skip
            good = [name for k, name in enumerate(self.outputs) if k not in bad]
            which = f"{_listed([self.outputs[k] for k in bad])} {'are' if len(bad) > 1 else 'is'} wrong"
            which += f" ({_listed(good)} right), " if good else ", "
        also = f" (right in {len(right)} other{'s' if len(right) > 1 else ''})" if right else ""
        return Problem(f"{which or 'differs '}{where}{also}." + self.hint(mine, expected))

    def hint(self, mine: list[Outcome], expected: list[Outcome]) -> str:
        """What the second failure is told besides: how the values differ."""
        if not again() or any(m.problem for m in mine):
            return ""
        clues = []
        for k, name in enumerate(self.outputs or ("",)):
            a, b = [m.outputs[k] for m in mine], [e.outputs[k] for e in expected]
            if all(x.shape == y.shape for x, y in zip(a, b, strict=True)) and (found := clue(a, b)):
                clues.append(f"{name}: {found}" if name else found)
        return " " + " ".join(clues) if clues else ""

    def kind(self, mine: list[Outcome], expected: list[Outcome], detached: bool) -> Problem | None:
        """Right numbers in a form that cannot be used."""
        for m, e in zip(mine, expected, strict=True):
            for value, true in zip(m.outputs, e.outputs, strict=True):
                if true.dtype == torch.int64 and true.ndim and value.is_floating_point():
                    return Problem("the numbers are right, but whole ones are wanted, which can index a tensor: yours are "
                                   f"{str(value.dtype).removeprefix('torch.')}.", "not whole")  # fmt: skip
                if true.dtype == torch.bool and value.dtype != torch.bool:
                    return Problem("right, but true and false are wanted (booleans), which is what a comparison gives.", "not boolean")  # fmt: skip
                if detached and value.requires_grad:
                    return Problem("the new state still carries the graph of the energy, so a chain would keep every step in "
                                   "memory: detach it.", "graph through the chain")  # fmt: skip
        return None

    def effect(self, mine: list[Outcome]) -> Problem | None:
        slip, hint = next((m.effect for m in mine if m.effect), (None, None))
        return Problem(f"the value is right, but {hint}", slip) if hint else None


class Gradients:
    """The gradients of two functions with respect to the same arguments."""

    def __init__(self, trial: Trial, wanted: tuple[str, ...]) -> None:
        self.trial, self.wanted = trial, wanted

    def leaves(self, case: Case) -> tuple[list, dict[str, Tensor]]:
        """Arguments to call with, and the leaves among and under them, each by the argument's name."""
        arguments, leaves = [], {}
        for name, argument in zip(self.trial.names, fresh(case.arguments), strict=False):
            if name in self.wanted or self.wanted == ALL:
                if isinstance(argument, Tensor) and argument.is_floating_point():
                    leaves[name] = argument.requires_grad_()
                    argument = argument.clone()  # so that the function may do what it may do to an inner result
                elif isinstance(argument, nn.Module):
                    leaves.update({f"{name} {k}": p for k, p in argument.named_parameters()})
            arguments.append(argument)
        return arguments, leaves

    def of(self, function: Callable, case: Case, *, spoken: bool = False) -> tuple[dict[str, Tensor] | None, str]:
        """The gradient of a weighted sum of all outputs, by argument; None where there is no graph, and why."""
        arguments, leaves = self.leaves(case)
        try:
            if spoken:
                value, failure = called(self.trial.exercise, function, *arguments)
                if failure is not None:
                    return None, failure[0]
            else:
                value = function(*arguments)
            found = self.trial.unpacked(value)
            total = sum((_weights(v) * v).sum() for v in found if v.requires_grad)
            if not isinstance(total, Tensor):
                return None, ""
            grads = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        except RuntimeError as error:
            return None, f"{str(error).splitlines()[0][:160]}"
        return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(leaves.items(), grads, strict=True)}, ""

    def fault(
        self, student: Callable, reference: Callable, slips: Sequence[Slip], mine: list[Outcome]
    ) -> Problem | None:
        cases = self.trial.cases
        got = [self.of(student, case, spoken=True) for case in cases]
        true = [self.of(reference, case)[0] for case in cases]
        faults = [
            (i, n) for i, t in enumerate(true) for n in t or {} if got[i][0] is None or not self.close(i, n, got, true)
        ]
        if not faults:
            return None
        for slip in slips:
            if self.trial.explains(slip, mine) and all(
                self.alike(got[i][0], self.of(slip.wrong, c)[0]) for i, c in enumerate(cases)
            ):
                return Problem(slip.hint, slip.name)
        i, name = faults[0]
        if got[i][0] is None:
            why = f" ({got[i][1]})" if got[i][1] else ""
            return Problem("the value is right, but no gradient can flow back through it, and what comes next needs one: it was "
                           f"detached, computed under no_grad, or turned into a plain number or array{why}.", "no gradient")  # fmt: skip
        what = _leaf(name)
        g, t = got[i][0][name], true[i][name]
        if not g.isfinite().all() and t.isfinite().all():
            return Problem(f"the value is right, but the gradient with respect to {what} is not finite{_where(cases[i])}: an "
                           "exponential or a division overflows on the way back.", "gradient overflow")  # fmt: skip
        if not g.any():
            return Problem(f"the value is right, but no gradient reaches {what}: somewhere on the way it is detached, or computed "
                           "under no_grad.", "gradient cut")  # fmt: skip
        if not t.any():
            return Problem(f"the value is right, but a gradient reaches {what}, which should get none: detach it, or compute it "
                           "under no_grad.", "gradient leak")  # fmt: skip
        hint = " " + clue([g], [t]) if again() else ""
        return Problem(f"the value is right, but its gradient with respect to {what} is not: a part of the way is cut (detach, "
                       f".data, no_grad), or goes another way.{hint}", "gradient wrong")  # fmt: skip

    def close(self, i: int, name: str, got: list, true: list) -> bool:
        """Relative to the largest gradient of the case: a zero must be one, up to rounding."""
        largest = max((g.abs().max().item() for g in true[i].values() if g.numel()), default=1.0) or 1.0
        return bool(((got[i][0][name] - true[i][name]).abs() <= 10 * self.trial.tolerance * largest).all())

    def alike(self, a: dict | None, b: dict | None) -> bool:
        if a is None or b is None:
            return a is b
        return a.keys() == b.keys() and all(torch.allclose(a[n], b[n], rtol=1e-3, atol=1e-4) for n in a)


def _weights(value: Tensor) -> Tensor:
    """Unequal ones, so that errors of different places do not cancel."""
    return torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)


def _leaf(name: str) -> str:
    argument, _, weight = name.partition(" ")
    return f"the weights of {argument} ({weight})" if weight else argument


def _common(slips: Iterable[str]) -> str:
    """The slip that all have, if they have one."""
    found = set(slips)
    return found.pop() if len(found) == 1 else ""


def _where(case: Case) -> str:
    return f", where {case.about}" if case.about else ""


_NUMBERS = {2: "two", 3: "three"}


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
