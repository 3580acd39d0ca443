"""The pictures of the built pages: large ones as WebP, which the builder itself does not write."""

from __future__ import annotations

import re
from pathlib import Path

LARGE = 150_000  # bytes, from which on a picture is worth another format
QUALITY = 90

_NAME = re.compile(r"(_images/[\w-]+)\.png\b")


def as_webp(html: Path) -> set[str]:
    """Write the large PNG pictures of ``html/_images`` as WebP in their place; the names without endings of all WebP.

    The pages still ask for PNG until ``pointed`` has gone over them.
    """
    from PIL import Image

    for path in sorted((html / "_images").glob("*.png")):
        # A name is the hash of what it shows, so that a WebP from an earlier build is this picture's.
        small = path.with_suffix(".webp")
        if not small.exists() and path.stat().st_size >= LARGE:
            with Image.open(path) as picture:
                picture.save(small, "webp", quality=QUALITY, method=4)
            if small.stat().st_size >= path.stat().st_size:
                small.unlink()
        if small.exists():
            path.unlink()
    return {f"_images/{path.stem}" for path in (html / "_images").glob("*.webp")}


def pointed(text: str, small: set[str]) -> str:
    """A page's text, asking for the WebP where there is one."""
    return _NAME.sub(lambda name: f"{name[1]}.webp" if name[1] in small else name[0], text)
