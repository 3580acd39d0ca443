"""A student's function and the right one on the same cases: what each gave, and the words for where they differ."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor

from .cases import Case, Watch, fresh
from .core import Problem, Slip, again, called
from .values import WrongKind, as_tensor, clue, kind_of, same


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
class Outcome:
    """What a function gave in one case: its outputs, and what it did besides."""

    outputs: list[Tensor] = field(default_factory=list)
    problem: Problem | None = None
    effect: tuple[str, str] | None = None


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
        value, effect = cast(tuple, value)
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
            raise WrongKind(f"{wanted}; yours is {kind_of(value)}.")
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
        where = f"in case {first + 1} of {len(self.cases)}" + self.cases[first].where
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


def _common(slips: Iterable[str]) -> str:
    """The slip that all have, if they have one."""
    found = set(slips)
    return found.pop() if len(found) == 1 else ""


_NUMBERS = {2: "two", 3: "three"}


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
