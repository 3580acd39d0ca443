"""What a chapter claims of its long run, and the records that carry each claim: ``notebooks/claims/PART.toml``.

    [[claim]]
    says = "The samples are far nearer to digits than noise is."
    holds = "frechet_fresh < frechet_noise / 5"

``holds`` is a Python expression in the names of the kept run's records (``r["a name with spaces"]`` for others).
"""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from ..base.places import NOTEBOOKS

_ALLOWED = {
    **{f.__name__: f for f in (abs, all, any, float, int, len, list, max, min, next, round, sorted, str, sum, zip)},
    "math": math,
    "mean": statistics.mean,
    "median": statistics.median,
}


@dataclass(frozen=True)
class Claim:
    """A sentence, and the expression that is true where it holds."""

    says: str
    holds: str

    def check(self, records: Mapping[str, object]) -> bool:
        """Does it hold of these records?

        Raises:
            ValueError: the expression names a record that is not there, or cannot be worked out.
        """
        try:
            # The project's own file, not a reader's; the names keep it to records and arithmetic.
            return bool(eval(self.holds, {"__builtins__": {}, **_ALLOWED, **records, "r": records}))
        except Exception as error:
            raise ValueError(f"{self.holds!r} cannot be worked out from the records: {error!r}") from None


def claims(part: str) -> list[Claim]:
    """The claims of a part, in its order; none where there is no file.

    Raises:
        ValueError: the file is not as described above.
    """
    path = NOTEBOOKS / "claims" / f"{part}.toml"
    if not path.exists():
        return []
    try:
        return [Claim(**claim) for claim in tomllib.loads(path.read_text(encoding="utf-8"))["claim"]]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error}; each [[claim]] has says and holds") from None
