"""The numbers on the cards, measured again from the weights that ship.

``measure`` runs a model on real data and gives every figure of its card with a 95 % interval; ``compare`` says whether
a card and a measurement agree within what chance may change.
"""

from __future__ import annotations

import math

from .. import checkpoints
from .figure import Figure
from .measures import Ask
from .pictures import draw
from .registry import lookup


def measure(
    name: str, data_root: str | None = None, *, images: int | None = None, seed: int = 1, chains: bool = True
) -> dict[str, Figure]:
    """Every figure of a shipped model, from its weights and real data.

    Args:
        name: of a model in ``checkpoints/``.
        images: how many to draw or to test on, at most; None: as many as the card's figures stand for. Figures that
            mean something only at their full number are then left out.
        seed: of everything drawn.
        chains: False leaves out what needs long chains of an unconditional energy, minutes for the colour ones.

    Raises:
        FileNotFoundError: no such model. ValueError: a model without a row in the registry.
        DataError: the real data are missing; a stand-in would measure something else.
    """
    model = checkpoints.load(name)
    row = lookup(name)
    pictures = None if row.draw is None else lambda n: draw(model, n, data_root=data_root, seed=seed)
    return row.measure(model, Ask(data_root, images, seed, chains, pictures, row.judge))


def compare(card: dict, found: dict[str, Figure]) -> list[dict]:
    """One row a figure: what the card says, what was measured, and whether chance explains the difference.

    It does when they differ by less than three standard errors of the difference. A Fréchet distance of fewer images is
    first brought to the card's number by its bias, c/N.
    """
    rows = []
    for key, now in found.items():
        entry = card["metrics"].get(key)
        if entry is None:
            rows.append({"figure": key, "card": None, "now": now.value, "interval": now.interval, "agrees": None})
            continue
        n_card, n_now = entry.get("images", 0), now.details.get("images", 0)
        expected = now.value + (now.bias * (1 / n_card - 1 / n_now) if n_card and n_now else 0.0)
        error = 0.0 if now.interval is None else (now.interval[1] - now.interval[0]) / (2 * 1.96)
        share = n_now / n_card if n_card and n_now else 1.0
        # Half a unit of the card's fourth digit, and what another processor's rounding may change.
        margin = 3 * error * math.sqrt(1 + share) + 0.005 * abs(entry["value"])
        agrees = abs(expected - entry["value"]) <= margin
        rows.append(
            {"figure": key, "card": entry["value"], "now": expected, "interval": now.interval, "agrees": agrees}
        )
    return rows
