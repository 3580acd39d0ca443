"""Profiles: how much a notebook does. ``quick`` in CI, ``laptop`` on two cores, ``full`` on a GPU."""

from __future__ import annotations

PROFILES = ("quick", "laptop", "full")


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


def choose(profile: str, *, quick: dict, laptop: dict, full: dict) -> Settings:
    """The settings of one profile.

    Raises:
        ValueError: an unknown profile (lists the known), or columns that do not name the same settings.
    """
    columns = {"quick": quick, "laptop": laptop, "full": full}
    checked(profile)
    for name, column in columns.items():
        if missing := (quick.keys() | laptop.keys() | full.keys()) - column.keys():
            raise ValueError(f"the {name} profile leaves out {', '.join(sorted(missing))}")
    return Settings(columns[profile])
