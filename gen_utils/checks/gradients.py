"""The gradient of the student's function beside the right one's, with respect to the arguments that should carry one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .cases import Case, fresh
from .core import Problem, Slip, again, called
from .trial import Outcome, Trial
from .values import clue

ALL = ("*",)  # a gradient for every floating argument, and for the weights of every network among the arguments


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
        mine_grads, true_grads = got[i][0], true[i] or {}
        if mine_grads is None:
            why = f" ({got[i][1]})" if got[i][1] else ""
            return Problem("the value is right, but no gradient can flow back through it, and what comes next needs one: it was "
                           f"detached, computed under no_grad, or turned into a plain number or array{why}.", "no gradient")  # fmt: skip
        what = _leaf(name)
        g, t = mine_grads[name], true_grads[name]
        if not g.isfinite().all() and t.isfinite().all():
            return Problem(f"the value is right, but the gradient with respect to {what} is not finite{cases[i].where}: an "
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
        """Relative to the largest gradient of the case, unless all of them have vanished: a zero must be one up to rounding."""
        largest = max((g.abs().max().item() for g in true[i].values() if g.numel()), default=1.0)
        return bool(((got[i][0][name] - true[i][name]).abs() <= 10 * self.trial.tolerance * max(largest, 0.1)).all())

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
