"""Figures: the look, images, curves, films and landscapes; ``clusters`` and ``networks`` are imported by name."""

import matplotlib.pyplot as plt

from ..base.frontend import display_html
from .curves import curves, histograms
from .film import animate_chain, film_html
from .images import chain_strip, image_grid, mosaic
from .landscapes import chain_film, density_on, draw_density, draw_states
from .style import COLOURS, use_style

__all__ = [
    "COLOURS",
    "animate_chain",
    "chain_film",
    "chain_strip",
    "curves",
    "density_on",
    "display_html",
    "draw_density",
    "draw_states",
    "film_html",
    "histograms",
    "image_grid",
    "mosaic",
    "plt",
    "use_style",
]
