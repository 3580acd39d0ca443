"""Profiles: how much a notebook does. ``quick`` at a first look, ``laptop`` on two cores, ``full`` on a GPU.

``smoke`` is for tests: every line runs, and nothing is learnt.
"""

from __future__ import annotations

PROFILES = ("smoke", "quick", "laptop", "full")


class Settings(dict):
    """A dictionary whose entries are attributes too: ``settings.n_steps``."""

    def __getattr__(self, name: str):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no setting {name!r}; there are {', '.join(self)}") from None


def checked(profile: str) -> str:
    """The profile itself.

    Raises:
        ValueError: an unknown one; lists the known.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; known: {', '.join(PROFILES)}")
    return profile


def columns_read(profile: str) -> set[str]:
    """The columns of ``choose`` that a profile's settings come from."""
    return {"smoke", "quick"} if profile == "smoke" else {profile}


def choose(profile: str, *, quick: dict, laptop: dict, full: dict, smoke: dict | None = None) -> Settings:
    """The settings of one profile.

    Args:
        smoke: what differs from ``quick`` in a test of the notebook; nothing, if left out.

    Raises:
        ValueError: an unknown profile (lists the known), or columns that do not name the same settings.
    """
    if strangers := (smoke or {}).keys() - quick.keys():
        raise ValueError(f"the smoke profile has {', '.join(sorted(strangers))}, which quick has not")
    columns = {"smoke": {**quick, **(smoke or {})}, "quick": quick, "laptop": laptop, "full": full}
    checked(profile)
    for name, column in columns.items():
        if missing := (quick.keys() | laptop.keys() | full.keys()) - column.keys():
            raise ValueError(f"the {name} profile leaves out {', '.join(sorted(missing))}")
    return Settings(columns[profile])
