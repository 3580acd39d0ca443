"""Who is watching: a live notebook, a script, a headless run."""

import sys

from gen_utils.base import frontend


def test_widgets_are_shown_only_to_a_live_notebook(monkeypatch):
    monkeypatch.delenv("GEN_HEADLESS", raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert not frontend.can_show_widgets()  # a script
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert frontend.can_show_widgets()
    monkeypatch.setenv("GEN_HEADLESS", "1")
    assert not frontend.can_show_widgets()  # papermill
