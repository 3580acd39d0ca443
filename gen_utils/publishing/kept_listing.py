"""The kept long runs, a line each: what they are, what has changed since, and what makes each again."""

from __future__ import annotations

from collections.abc import Iterator

from ..base.places import ROOT
from ..base.sources import code_hash
from ..kept_runs import Damaged, KeptRun, command, find
from .keep import stale_cells
from .parts import parts


def listing() -> Iterator[str]:
    """What each part's kept run is; below it the cells that it does not have as they are now, and its command."""
    for part in parts():
        try:
            run = find(part)
        except Damaged as error:
            yield f"{part}: {error}"
            continue
        if run is None:
            yield f"{part}: none; {command(part)} makes one"
            continue
        about, stale, changed = run.about, stale_cells(run), changed_modules(run)
        yield (
            f"{part}: {about['profile']}, {about['date']}, {run.whole_seconds / 60:.0f} min, {run.size / 1e6:.1f} MB, "
            f"{_count(len(stale), 'stale cell')}, {_count(len(changed), 'module')} changed since"
        )
        yield from (f"  stale: {line}" for line in stale)
        if stale or changed:
            yield f"  again: {run.command}"


def changed_modules(run: KeptRun) -> list[str]:
    """The package's files whose code has changed since, or that are gone."""
    found = []
    for name, before in run.modules.items():
        path = ROOT / name
        if not path.exists() or code_hash(path) != before:
            found.append(name)
    return found


def _count(n: int, what: str) -> str:
    return f"{n or 'no'} {what}{'' if n == 1 else 's'}"
