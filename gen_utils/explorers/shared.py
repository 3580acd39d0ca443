"""What the explorers share: a picture that sliders draw anew."""

from __future__ import annotations

import io
from collections.abc import Callable

from matplotlib.figure import Figure


class LivePicture:
    """A figure as a picture in the page, drawn by ``draw`` whenever ``redraw`` is called.

    Args:
        draw: no arguments -> a figure; it reads the sliders itself.
        max_width: of the picture in the page, in pixels.

    Attributes:
        widget: an ``ipywidgets.Image``.
    """

    def __init__(self, draw: Callable[[], Figure], max_width: int) -> None:
        import ipywidgets as widgets

        self.draw = draw
        self.widget = widgets.Image(format="png", layout=widgets.Layout(width="100%", max_width=f"{max_width}px"))

    def redraw(self, _change: object = None) -> None:
        """Draw once; fits ``slider.observe(picture.redraw, names="value")``."""
        page = io.BytesIO()
        self.draw().savefig(page, format="png", dpi=100)
        self.widget.value = page.getvalue()
