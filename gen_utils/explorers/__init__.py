"""Sliders in a live notebook, each with a static twin; a file a subject."""
