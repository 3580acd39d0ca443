"""A Sphinx extension: a page's buttons for hosted services, for editing it and for reporting an error on it.

The theme has such buttons, too, but hers lead to a notebook beside the page's source: our notebooks are plain Python
files, and hosted services open the students' copies (repository.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .repository import checked, repository

if TYPE_CHECKING:
    from sphinx.application import Sphinx

AFTER_THE_THEME = 502  # it begins the list at 500 and adds its own at 501


def add_buttons(app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: object) -> None:
    """Put the group of buttons into the page's header; nothing where no repository is set."""
    found = checked(*app.config.workbook_repository)
    if found is None or "header_buttons" not in context:
        return
    title = context.get("title") or pagename
    buttons = [
        {"type": "link", "text": link.text, "tooltip": link.tooltip, "icon": link.icon, "url": link.url}
        for link in found.links(pagename, _plain(title))
    ]
    context["header_buttons"].append(
        {
            "type": "group",
            "tooltip": "Run, edit or report",
            "icon": "fas fa-rocket",
            "buttons": buttons,
            "label": "repository-buttons",
        }
    )


def _plain(title: str) -> str:
    """A page's title without its tags: Sphinx hands it over as HTML."""
    from docutils.utils import unescape
    from markupsafe import Markup

    return unescape(Markup(title).striptags())


def setup(app: Sphinx) -> dict:
    """Read the setting beside the pages, as a value of Sphinx: where it changes, all pages are written again."""
    found = repository(Path(app.srcdir) / "_config.yml")
    app.add_config_value("workbook_repository", (found.url, found.branch) if found else ("", ""), "html")
    app.connect("html-page-context", add_buttons, priority=AFTER_THE_THEME)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
