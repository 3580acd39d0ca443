"""Who is watching: a live notebook, a script, a headless run."""

import sys
from types import SimpleNamespace

from gen_utils.base import frontend


def test_widgets_are_shown_only_to_a_live_notebook(monkeypatch):
    monkeypatch.delenv("GEN_HEADLESS", raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel.kernelapp", raising=False)
    assert not frontend.can_show_widgets()  # a script
    kernel = SimpleNamespace(IPKernelApp=SimpleNamespace(initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "ipykernel.kernelapp", kernel)
    assert frontend.can_show_widgets()
    monkeypatch.setenv("GEN_HEADLESS", "1")
    assert not frontend.can_show_widgets()  # papermill
