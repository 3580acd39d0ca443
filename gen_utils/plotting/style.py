"""The workbook's look. Colours suit colour-blind readers."""

from __future__ import annotations

import matplotlib.pyplot as plt

# Okabe & Ito (2008): eight colours that stay apart for readers with any common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


def use_style() -> None:
    """The workbook's look; call it once at the top of a notebook."""
    plt.rcParams.update(
        {
            "axes.prop_cycle": plt.cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.alpha": 0.3,
            "figure.dpi": 110,
            "figure.max_open_warning": 0,  # a script shows nothing, and a notebook closes each after its cell
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 11,
            "legend.frameon": False,
            "animation.frame_format": "jpeg",
        }
    )
