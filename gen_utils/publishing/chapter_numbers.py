"""A Sphinx extension: what a chapter numbers begins with the chapter's own number, as in Exercise 5.3.

A notebook's number is the one that its file name begins with. Sphinx numbers chapters by their place in the contents,
where pages that are no chapters, such as a group's opening page, would count as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

AFTER_SPHINX = 600  # its own numbers are given at 500


def chapter(docname: str) -> int | None:
    """The number of a chapter's page, such as notebooks/05_jem; None of another page."""
    found = re.fullmatch(r"notebooks/(\d+)_\w+", docname)
    return int(found[1]) if found else None


def give_numbers(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Number chapters, and what is numbered in them; returns the pages that changed."""
    from docutils import nodes
    from sphinx.environment.collectors.toctree import TocTreeCollector

    before = {name: dict(numbers) for name, numbers in env.toc_fignumbers.items()}
    for name in env.found_docs:
        if (number := chapter(name)) is not None:
            env.toc_secnumbers[name] = {"": (number,)}
    TocTreeCollector().assign_figure_numbers(env)
    # A heading that is not listed would get its chapter's number, too; what is numbered in its section has it by now.
    for name in env.found_docs:
        if chapter(name) is not None:
            anchors = [f"#{section['ids'][0]}" for section in env.get_doctree(name).findall(nodes.section)]
            env.toc_secnumbers[name] |= dict.fromkeys(anchors[1:], ())
    return [name for name in env.found_docs if env.toc_fignumbers.get(name, {}) != before.get(name, {})]


def setup(app: Sphinx) -> dict:
    app.connect("env-get-updated", give_numbers, priority=AFTER_SPHINX)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
