"""A cell's outputs, made small enough to be kept: pictures as WebP files, films with WebP frames."""

from __future__ import annotations

import base64
import gzip
import io
import re
from pathlib import Path

QUALITY = 90  # of pictures that are larger without loss; no difference is seen beside the original
FILM_QUALITY = 70
_FRAME = re.compile(r"data:image/(?:jpeg|png);base64,([A-Za-z0-9+/=\\\n]+)")


def packed(output: dict, folder: Path, name: str) -> dict:
    """An output with its picture or film in a file of ``folder`` that begins with ``name``, and named in its place."""
    data = output.get("data", {})
    if "image/png" in data:
        raw = base64.b64decode("".join(data["image/png"]))
        (folder / f"{name}.webp").write_bytes(_webp(raw, lossless=True))
        rest = {kind: value for kind, value in data.items() if kind != "image/png"}
        return {**output, "data": rest, "file": f"{name}.webp"}
    if "text/html" in data and _FRAME.search(html := "".join(data["text/html"])):
        small = _FRAME.sub(_small_frame, html)
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


def _webp(raw: bytes, *, lossless: bool = False, quality: int = QUALITY) -> bytes:
    """A picture as WebP; of the two kinds the smaller one, where loss is not excluded by being small."""
    from PIL import Image

    with Image.open(io.BytesIO(raw)) as picture:
        kinds = [{"quality": quality, "method": 6}] + ([{"lossless": True, "method": 4}] if lossless else [])
        made = []
        for kind in kinds:
            stream = io.BytesIO()
            picture.save(stream, "webp", **kind)
            made.append(stream.getvalue())
    return min(made, key=len)


def _png(raw: bytes) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    with Image.open(io.BytesIO(raw)) as picture:
        picture.save(stream, "png")
    return stream.getvalue()


def _small_frame(match: re.Match) -> str:
    raw = base64.b64decode(match[1].replace("\\\n", ""))
    small = _webp(raw, quality=FILM_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(small).decode()}"
