"""Kept runs: the outputs of a part's long run, with their pictures, in ``results/PART.PROFILE/``.

``outputs.json`` says what each cell has shown, under the cell's key (``publishing.cell_keys``), and what the run was.
Pictures lie beside it as WebP files, films as HTML whose frames are WebP. Numbers are kept apart, in
``results/PART.PROFILE.json``. Here they are read; ``publishing.keep`` writes them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .base import small_outputs
from .base.places import RESULTS

LIMIT = 2_000_000  # bytes a part
FORMAT = 1
LONG = ("full", "laptop")  # the profiles that are kept, the best first


@dataclass(frozen=True)
class KeptRun:
    """What ``outputs.json`` holds.

    ``about``: part, profile, seed, seconds, earlier_seconds, data, date, commit, machine. ``cells``: key -> outputs as
    in an .ipynb, pictures and films as names of files in ``folder``. ``texts``: hash of a cell's own code -> its key.
    ``studies``: name of a study -> the key of its cell. ``modules``: file of the package -> hash of its code.
    """

    folder: Path
    about: dict[str, Any]
    cells: dict[str, list[dict]]
    texts: dict[str, str]
    studies: dict[str, str]
    modules: dict[str, str] = field(repr=False)

    @property
    def command(self) -> str:
        """What makes the run again."""
        return command(self.about["part"], self.about["profile"], self.about["seed"])

    @property
    def words(self) -> str:
        """Its profile, its day and how long it took."""
        return f"profile `{self.about['profile']}`, {self.about['date']}, {self.whole_seconds / 60:.0f} minutes in all"

    @property
    def whole_seconds(self) -> float:
        """What it took, with the earlier sittings whose results it found on disk."""
        return self.about["seconds"] + self.about["earlier_seconds"]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def outputs(self, key: str) -> list[dict] | None:
        """What a cell has shown, as in an .ipynb, pictures as PNG; None for a cell that the run did not have."""
        held = self.cells.get(key)
        return None if held is None else [small_outputs.unpacked(output, self.folder) for output in held]


class Damaged(RuntimeError):
    """A kept run that cannot be shown; the message says why and which command makes it again."""


def command(part: str, profile: str = "laptop", seed: int = 0) -> str:
    """What makes a long run and keeps it."""
    return f"python -m gen_utils run {part[:2]} --profile {profile}{f' --seed {seed}' if seed else ''} --keep"


def find(part: str) -> KeptRun | None:
    """The best kept run of a part, or None where there is none.

    Raises:
        Damaged: it cannot be read, is another part's, is larger than allowed, or a file of it is not what it was.
    """
    for profile in LONG:
        folder = RESULTS / f"{part}.{profile}"
        if folder.is_dir():
            return _read(folder, part, profile)
    return None


def _read(folder: Path, part: str, profile: str) -> KeptRun:
    again = f"make it again with: {command(part, profile)}"
    try:
        held = json.loads((folder / "outputs.json").read_text(encoding="utf-8"))
        if held["format"] != FORMAT:
            raise Damaged(f"{folder} was written by another version of the workbook; {again}")
        about, cells, files = held["about"], held["cells"], held["files"]
        texts, studies, modules = held["texts"], held["studies"], held["modules"]
        found = (about["part"], about["profile"])
        told = {name: about[name] for name in ("seed", "seconds", "data", "date", "machine", "commit")}
        told["earlier_seconds"] = float(about.get("earlier_seconds", 0.0))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"the kept run in {folder} cannot be read ({type(error).__name__}: {error}); {again}") from None
    if found != (part, profile):
        raise Damaged(f"{folder} holds a kept run of {found[0]} in the profile {found[1]}; {again}")
    for name, expected in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file() or file_hash(path) != expected:
            raise Damaged(f"{path} is missing or is not what the run wrote; {again}")
    run = KeptRun(folder, {"part": part, "profile": profile, **told}, cells, texts, studies, modules)
    if run.size > LIMIT:
        raise Damaged(f"{folder} has {run.size:,} bytes, more than the {LIMIT:,} allowed; {again}")
    return run


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
