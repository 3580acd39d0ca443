"""How far a build has come, and about how long it will take."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..base.places import BENCHMARKS


class Progress:
    """Says each part that is there, and the time left: what the rest took last time, at the pace of this time."""

    def __init__(self, names: Sequence[str], profile: str, folder: Path, jobs: int, say: Callable[[str], object]):
        """
        Args:
            folder: of executed notebooks, which tell what each took here last; else the project's benchmark does.
            jobs: parts that run at once.
        """
        self._say, self._profile, self._jobs = say, profile, max(1, jobs)
        self._expected = expected_seconds(names, profile, folder)
        self._waiting = list(names)
        self._took: float = 0.0
        self._planned: float = 0.0
        self._started = time.monotonic()

    def done(self, name: str, path: Path, ran: bool) -> None:
        """A part is there."""
        self._waiting.remove(name)
        seconds: float = json.loads(path.read_text(encoding="utf-8"))["metadata"]["gen_utils"]["seconds"]
        if ran:
            self._took += seconds
            self._planned += self._expected.get(name, seconds)
        told = f"ran in {seconds:.0f} s" if ran else "up to date"
        self._say(f"{name} ({self._profile}): {told}{self._left() if ran else ''}")

    def _left(self) -> str:
        if not self._waiting or not all(name in self._expected for name in self._waiting):
            return ""
        pace = self._took / self._planned if self._planned else 1.0
        # A part that runs now has had its share of the time since the start.
        total = pace * (self._planned + sum(self._expected[name] for name in self._waiting)) / self._jobs
        left = max(total - (time.monotonic() - self._started), 5.0)
        return f", {len(self._waiting)} to go, about {f'{left:.0f} s' if left < 100 else f'{left / 60:.0f} min'} left"


def expected_seconds(names: Sequence[str], profile: str, folder: Path) -> dict[str, float]:
    """What each part took in its last run here, or in the benchmark; a part that neither knows is left out."""
    found: dict[str, float] = {}
    try:
        measured = json.loads((BENCHMARKS / "course.json").read_text(encoding="utf-8"))[profile]["rows"]
        found |= {row["part"]: row["seconds"] for row in measured}
    except (OSError, ValueError, LookupError, TypeError):
        pass  # nobody has measured this profile
    for name in names:
        try:
            run = json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))["metadata"]["gen_utils"]
            found[name] = float(run["seconds"])
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return {name: found[name] for name in names if name in found}
