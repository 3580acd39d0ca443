"""What a measure may be given. A figure made from nothing looks like any other: every public function here asks first.

A check names the argument, says what it was and what is wanted. Those of arrays give back what to compute with, on the
CPU and no less precise than it came.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor

Shape = tuple[str | int, ...]  # a number must be met; a letter stands for any size but zero

# --- settings --------------------------------------------------------------------------------------------------------


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number, also one that a float, an array or a tensor holds."""
    try:
        found = int(value)
        fits = found == value and least <= found and (most is None or found <= most)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        found, fits = 0, False
    if not fits:
        wanted = f"at least {least}" if most is None else f"between {least} and {most}"
        raise ValueError(f"{name} must be {wanted}, a whole number, got {value!r}")
    return found


def number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> float:
    """A finite number within limits: ``least`` and ``most`` are allowed themselves, ``above`` and ``below`` are not."""
    limits = {"at least": least, "above": above, "at most": most, "below": below}
    try:
        found = float(value)
        fits = math.isfinite(found) and not isinstance(value, str)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        found, fits = math.nan, False
    fits = fits and (least is None or found >= least) and (above is None or found > above)
    if not (fits and (most is None or found <= most) and (below is None or found < below)):
        wanted = "".join(f", {word} {limit:g}" for word, limit in limits.items() if limit is not None)
        raise ValueError(f"{name} must be a finite number{wanted}, got {value!r}")
    return found


def span(name: str, value: Any, *, infinite: bool = False) -> tuple[float, float]:
    """A pair (low, high) with low < high; ``infinite`` allows infinities."""
    try:
        low, high = map(float, value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a pair (low, high), got {value!r}") from None
    if not low < high or not (infinite or math.isfinite(high - low)):
        raise ValueError(f"{name} must be a pair (low, high) with low < high, got {value!r}")
    return low, high


def choice(name: str, value: Any, known: Collection[str]) -> str:
    """One of the known words."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
    return value


def some(name: str, values: Any) -> None:
    """At least one entry of a list."""
    if len(values) == 0:
        raise ValueError(f"{name} is empty: give at least one")


# --- arrays ----------------------------------------------------------------------------------------------------------


def array(name: str, values: Any) -> np.ndarray:
    """Numbers as an array of their own type, from a list, an array, or a tensor on any device."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values  # NumPy has no such type
    try:
        found = np.asarray(values)
    except ValueError:  # rows of several lengths
        found = np.empty(0, dtype=object)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got {type(values).__name__} of {found.dtype}")
    return found


def shaped(name: str, values: Any, shape: Shape, least: int = 1) -> None:
    """An array or tensor of that shape with at least ``least`` rows."""
    got = tuple(values.shape)
    fits = len(got) == len(shape) and got[0] >= least
    if not (fits and all(n == want if isinstance(want, int) else n > 0 for n, want in zip(got, shape, strict=True))):
        written = ", ".join(map(str, shape)) + "," * (len(shape) == 1)
        raise ValueError(f"{name} must be ({written}) with at least {least} row{'s' * (least > 1)}, got shape {got}")


def finite(name: str, values: np.ndarray | Tensor) -> None:
    """Neither NaN nor infinity in an array or a tensor."""
    fine = torch.isfinite(values) if isinstance(values, Tensor) else np.isfinite(values)
    if not fine.all():
        n, total = int((~fine).sum()), math.prod(fine.shape)
        raise ValueError(f"{name}: {n:,} of {total:,} values are not finite; look at what made them before you measure")


def matrix(name: str, values: Any, least: int = 1) -> np.ndarray:
    """(N, d) finite numbers as float32, or as float64 if they came with more than float32 holds."""
    found = array(name, values)
    if found.ndim > 2:
        raise ValueError(f"{name} must be (N, d), got shape {found.shape}; flatten images first")
    shaped(name, found, ("N", "d"), least)
    finite(name, found)
    return found.astype(np.result_type(found.dtype, np.float32), copy=False)


def feature_pair(*, least: int = 2, **features: Any) -> list[np.ndarray]:
    """Two sets of features by name, (N, d) and (M, d), as float64."""
    found = [matrix(name, values, least).astype(np.float64, copy=False) for name, values in features.items()]
    if len({each.shape[1] for each in found}) > 1:
        told = " and ".join(f"{each.shape[1]} in {name}" for name, each in zip(features, found, strict=True))
        raise ValueError(f"features must have one dimension d, got {told}: take both from one network")
    return found


def vector(name: str, values: Any) -> np.ndarray:
    """(N,) finite numbers, at least one."""
    found = array(name, values)
    shaped(name, found, ("N",))
    finite(name, found)
    return found


def integers(name: str, values: Any, shape: Shape = ("N",), n_classes: int | None = None) -> np.ndarray:
    """Whole numbers of that shape as int64, such as labels; of ``n_classes`` classes they are 0 to n_classes - 1."""
    found = array(name, values)
    shaped(name, found, shape)
    if found.dtype.kind == "f":
        finite(name, found)
        if (found != np.rint(found)).any():
            raise ValueError(f"{name} must hold whole numbers, got {found.ravel()[found.ravel() % 1 != 0][0]}")
    if n_classes is not None and (found.min() < 0 or found.max() >= n_classes):
        raise ValueError(f"{name} must run from 0 to {n_classes - 1}, got {found.min():g} to {found.max():g}")
    return found.astype(np.int64)


def equally_long(**lengths: int) -> None:
    """Arguments whose rows belong together, by name and number of rows."""
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{n} in {name}" for name, n in lengths.items())
        raise ValueError(f"{' and '.join(lengths)} must have one length, got {told}")


def logits(name: str, values: Any) -> Tensor:
    """(N, K) finite logits of at least two classes, as a float64 tensor."""
    found = array(name, values)
    shaped(name, found, ("N", "K"))
    finite(name, found)
    if found.shape[1] < 2:
        raise ValueError(f"{name} must be (N, K) with at least two classes: of one, every answer is certain")
    return torch.from_numpy(found.astype(np.float64))


def log_weights(name: str, values: Tensor, dim: int, *, least: int = 1) -> Tensor:
    """At least ``least`` log weights along ``dim``, as float32 or float64; -inf, a weight of zero, is one."""
    if values.ndim == 0 or values.shape[dim] < least or values.numel() == 0:
        raise ValueError(f"{name} must hold at least {least} along axis {dim}, got shape {tuple(values.shape)}")
    if not values.is_floating_point():
        raise ValueError(f"{name} must be floats, got {values.dtype}")
    wrong = values.isnan() | values.isposinf()
    if wrong.any():
        raise ValueError(f"{name}: {int(wrong.sum()):,} of {values.numel():,} are NaN or +inf; look at the densities")
    return values if values.dtype == torch.float64 else values.float()


# --- images ----------------------------------------------------------------------------------------------------------


def images(
    name: str,
    x: Any,
    *,
    uint8: bool | None = None,
    least: int = 1,
    bounds: tuple[float, float] = (-1.0, 1.0),
    slack: float = 0.01,
) -> None:
    """(N, C, H, W): uint8 when that is True, floats in the box when it is False, either when it is None.

    Floats may lie up to ``slack`` outside of the box, as filters leave them.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a tensor of images (N, C, H, W), got {type(x).__name__}")
    shaped(name, x, ("N", "C", "H", "W"), least)
    if x.dtype == torch.uint8 and uint8 is not False:
        return
    low, high = bounds
    if uint8 or not x.is_floating_point():
        box = f"floats in [{low:g}, {high:g}]"
        wanted = {True: "uint8", False: box, None: f"uint8 or {box}"}[uint8]
        raise ValueError(f"{name} must be {wanted}, got {x.dtype}; convert with to_float or to_uint8")
    finite(name, x)
    if x.amin() < low - slack or x.amax() > high + slack:
        raise ValueError(
            f"{name} must lie in [{low:g}, {high:g}], these span [{x.amin().item():.3g}, {x.amax().item():.3g}]; "
            "undo a standardisation, and convert 0..255 with to_float"
        )
