"""Two small helps for all readers."""

from __future__ import annotations

from typing import Protocol

_BLOCK = 2**20


class Readable(Protocol):
    """An open file of bytes: plain, compressed, or inside an archive."""

    def read(self, n_bytes: int, /) -> bytes: ...


def read_up_to(file: Readable, n_bytes: int) -> bytes:
    """The next ``n_bytes``, or as many as there are. ``file.read(n)`` would first allocate all n of a header's lie."""
    blocks = []
    while n_bytes > 0:
        block = file.read(min(n_bytes, _BLOCK))
        if not block:
            break
        blocks.append(block)
        n_bytes -= len(block)
    return b"".join(blocks)


def reason(error: Exception) -> str:
    """The error in one line, short and never empty: some libraries quote the file's bytes."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 160 else f"{said[:159]}…"
