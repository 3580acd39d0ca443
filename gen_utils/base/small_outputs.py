"""A cell's outputs, made small enough to be kept: pictures as WebP files, films with WebP frames."""

from __future__ import annotations

import base64
import gzip
import io
import re
from pathlib import Path
from typing import Any

# WebP's quality of pictures that lossless would make larger, and of a film's frames; the first that fits is taken.
QUALITIES = ((90, 70), (80, 55), (70, 40))
_FRAME = re.compile(r"data:image/(?:jpeg|png);base64,([A-Za-z0-9+/=\\\n]+)")


def packed(output: dict, folder: Path, name: str, qualities: tuple[int, int] = QUALITIES[0]) -> dict:
    """An output with its picture or film in a file of ``folder`` that begins with ``name``, and named in its place.

    Args:
        qualities: of pictures and of a film's frames, 0 to 100.
    """
    of_pictures, of_films = qualities
    data = output.get("data", {})
    if "image/png" in data:
        raw = base64.b64decode("".join(data["image/png"]))
        smallest = min((_webp(raw, lossless=True, method=4), _webp(raw, quality=of_pictures, method=6)), key=len)
        (folder / f"{name}.webp").write_bytes(smallest)
        rest = {kind: value for kind, value in data.items() if kind != "image/png"}
        return {**output, "data": rest, "file": f"{name}.webp"}
    if "text/html" in data and _FRAME.search(html := "".join(data["text/html"])):
        small = _FRAME.sub(lambda found: _small_frame(found, of_films), html)
        (folder / f"{name}.html.gz").write_bytes(gzip.compress(small.encode(), mtime=0))
        rest = {kind: value for kind, value in data.items() if kind != "text/html"}
        return {**output, "data": rest, "file": f"{name}.html.gz"}
    return output


def unpacked(output: dict, folder: Path) -> dict:
    """The output that ``packed`` was given, as far as it is kept; a picture comes back as PNG."""
    if "file" not in output:
        return output
    path, data = folder / output["file"], dict(output["data"])
    if path.suffix == ".webp":
        data["image/png"] = base64.b64encode(_png(path.read_bytes())).decode()
    else:
        data["text/html"] = gzip.decompress(path.read_bytes()).decode()
    return {**{name: value for name, value in output.items() if name != "file"}, "data": data}


def _webp(raw: bytes, **how: Any) -> bytes:
    return _saved(raw, "webp", **how)


def _png(raw: bytes) -> bytes:
    return _saved(raw, "png")


def _saved(raw: bytes, form: str, **how: Any) -> bytes:
    """A picture in another file format."""
    from PIL import Image

    stream = io.BytesIO()
    with Image.open(io.BytesIO(raw)) as picture:
        picture.save(stream, form, **how)
    return stream.getvalue()


def _small_frame(match: re.Match, quality: int) -> str:
    raw = base64.b64decode(match[1].replace("\\\n", ""))
    small = _webp(raw, quality=quality, method=6)
    return f"data:image/webp;base64,{base64.b64encode(small).decode()}"
