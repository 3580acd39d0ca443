"""A student's value as a tensor, whether it is the right one, and where and how it differs."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class WrongKind(Exception):
    """What was returned is no number, array or tensor; its text says so to the student."""


def as_tensor(value: object) -> Tensor:
    """Anything that is numbers (a tensor of any type, NumPy, lists, Python numbers) as a tensor.

    Raises:
        WrongKind: it is something else.
    """
    if value is None:
        raise WrongKind("your function returns nothing; is the return missing?")
    if isinstance(value, Tensor):
        if value.is_complex():
            raise WrongKind("your result has complex numbers; real ones are wanted.")
        return value
    if isinstance(value, (bool, np.bool_)):
        return torch.tensor(bool(value))
    if isinstance(value, numbers.Integral):
        return torch.tensor(int(value))
    if isinstance(value, numbers.Real):
        return torch.tensor(float(value), dtype=torch.float64)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.array(value))
    if isinstance(value, (list, tuple)) and value:
        parts = [as_tensor(part) for part in value]
        if len({part.shape for part in parts}) == 1:
            return torch.stack([part.double() if part.is_floating_point() else part for part in parts])
    raise WrongKind(f"your function returns {kind_of(value)}; a tensor is wanted.")


def kind_of(value: object) -> str:
    """ "a list of 3", "an ndarray"."""
    name = type(value).__name__
    if isinstance(value, (list, tuple)):
        return f"a {name} of {len(value)}"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def plain(value: Tensor) -> Tensor:
    """In double precision: an integer answer would cut 2.7 to 2, and call it right."""
    return value.detach().cpu().to_dense().double()


def same(mine: Tensor, right: Tensor, tolerance: float) -> bool:
    """Equal up to rounding: relative to each number, and to the largest one where that is below one."""
    a, b = plain(mine), plain(right)
    if a.shape != b.shape:
        return False
    if mine.is_floating_point():
        tolerance = max(tolerance, torch.finfo(mine.dtype).eps / 2)  # what rounding the right number may lose
    finite = b[b.isfinite()].abs()
    largest = min(1.0, finite.max().item()) if finite.numel() else 1.0
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * max(largest, 1e-12), equal_nan=True)


def clue(mine: Sequence[Tensor], right: Sequence[Tensor]) -> str:
    """How values of several cases differ from the right ones, without saying what these are."""
    a, b = (torch.cat([plain(v).flatten() for v in values]) for values in (mine, right))
    wrong = ~torch.isclose(a, b, rtol=1e-3, atol=1e-6, equal_nan=True)
    if bool((~a.isfinite() & b.isfinite()).any()):
        return f"In {int((~a.isfinite() & b.isfinite()).sum())} of {len(a)} places yours is infinite or not a number."
    a, b, wrong = (v[a.isfinite() & b.isfinite()] for v in (a, b, wrong))
    if len(b) and torch.allclose(a, b, rtol=1e-4, atol=1e-4 * min(1.0, b.abs().max().item())):
        return ""
    clear = b.abs() > 1e-6 * b.abs().max() if len(b) else wrong
    ratio, gap = a[clear] / b[clear], a - b
    if len(ratio) > 1 and _constant(ratio):
        factor = ratio.median().item()
        if abs(factor + 1) < 1e-3:
            return "Yours have the right size and the opposite sign everywhere."
        if abs(factor - 1) > 5e-4:
            return f"Yours are {factor:.3g} times the right ones everywhere."
    if len(gap) > 1 and _constant(gap):
        return f"Yours are too {'large' if gap[0] > 0 else 'small'} by the same amount everywhere."
    if not bool(wrong.any()):
        return ""
    direction = {True: "too large", False: "too small"}
    sides = set((gap[wrong] > 0).tolist())
    said = direction[sides.pop()] if len(sides) == 1 else "some too large and some too small"
    return f"{int(wrong.sum())} of {len(a)} numbers are wrong, {said}."


def _constant(values: Tensor) -> bool:
    middle = values.median()
    return bool(((values - middle).abs() <= 1e-3 * middle.abs()).all() and middle != 0)
