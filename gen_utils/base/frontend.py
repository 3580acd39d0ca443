"""Who is watching: a notebook, a terminal, or nobody."""

from __future__ import annotations

import io
import os
import sys


def in_notebook() -> bool:
    """Does this code run in a notebook's kernel? (The press imports ipykernel too, and is none.)"""
    kernel = sys.modules.get("ipykernel.kernelapp")
    return kernel is not None and kernel.IPKernelApp.initialized()


def headless() -> bool:
    """Was this run started by the press or a test, so that nobody looks while it runs?"""
    return bool(os.environ.get("GEN_HEADLESS"))


def interactive() -> bool:
    """Is anybody there to watch a progress bar?"""
    return not headless() and (in_notebook() or sys.stderr.isatty())


def can_show_widgets() -> bool:
    """True in a live notebook, where a slider finds a kernel to answer; false in scripts and headless runs."""
    return in_notebook() and not headless()


def forgive_output() -> None:
    """Standard output that shows "?" for a letter its encoding lacks, where it would fail.

    Windows writes to files and pipes in a code page without ✓ or ∇; a file's name may hold what no encoding has.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":  # a kernel has others, which cannot fail
            stream.reconfigure(errors="replace")


def display_html(html: str) -> None:
    """Show HTML in a notebook; a script has nowhere to show it."""
    if in_notebook():
        from IPython.display import HTML, display

        display(HTML(html))
