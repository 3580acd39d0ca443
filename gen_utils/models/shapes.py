"""What a network takes, said before torch does: one sentence that names both sizes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def refuse_other(x: Tensor, *wanted: int | None, what: str = "images") -> None:
    """Is x a batch of what the network takes?

    Args:
        wanted: the shape of one, such as (1, 28, 28); None where any size will do.
        what: they are called.

    Raises:
        ValueError: another shape.
    """
    if not fits(x.shape[1:], wanted):
        sizes = ", ".join("any" if size is None else str(size) for size in wanted)
        raise ValueError(f"this network takes {what} (B, {sizes}), got {tuple(x.shape)}")


def fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """The shape of one, against the shape that is wanted, with None for any size."""
    if len(shape) != len(wanted):
        return False
    return all(size is None or size == here for here, size in zip(shape, wanted, strict=True))
