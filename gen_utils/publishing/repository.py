"""Where the workbook lives in public: one setting, ``repository`` in ``_config.yml``, and the links made from it.

Where no address is set there are no links: no buttons on pages, none in notebooks, and no cell that fetches a release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from .. import __version__
from ..base.places import ROOT

SETTING = "repository.url in _config.yml"
HOSTED = (
    "student"  # the branch on which a release puts the students' notebooks, for services that open one by its address
)
_ADDRESS = re.compile(r"https://github\.com/(?P<owner>[\w-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?")
_PAGE = re.compile(r"(?:book|notebooks)/[\w/]+")  # made by hand, so that it can be edited


@dataclass(frozen=True)
class Link:
    """One button: what it says, what it does in a sentence, its icon in the theme, and where it leads."""

    text: str
    tooltip: str
    icon: str
    url: str


@dataclass(frozen=True)
class Repository:
    """A public repository on GitHub."""

    url: str
    branch: str = "main"

    @property
    def archive(self) -> str:
        """The student edition of this version, as ``.github/workflows/release.yml`` packs it."""
        return f"{self.url}/releases/download/v{__version__}/student-v{__version__}.zip"

    def links(self, page: str, title: str = "") -> list[Link]:
        """The buttons of a page, named as in the table of contents, such as ``notebooks/05_jem``.

        Chapters can be opened on hosted services; a page that the press makes, such as the index, cannot be edited.
        """
        owner_and_name = self.url.removeprefix("https://github.com/")
        found = []
        if page.startswith("notebooks/"):
            notebook = f"{owner_and_name}/blob/{HOSTED}/{page}.ipynb"
            kaggle = "https://www.kaggle.com/kernels/welcome?" + urlencode({"src": f"https://github.com/{notebook}"})
            colab = f"https://colab.research.google.com/github/{notebook}"
            found += [
                Link("Colab", "Open the students' notebook in Google Colab", "_static/images/logo_colab.png", colab),
                Link("Kaggle", "Open the students' notebook on Kaggle", "fab fa-kaggle", kaggle),
            ]
        codespaces = f"https://codespaces.new/{owner_and_name}?quickstart=1"
        found.append(Link("Codespaces", "Open the workbook in a GitHub Codespace", "fab fa-github", codespaces))
        if _PAGE.fullmatch(page):
            source = page + (".py" if page.startswith("notebooks/") else ".md")
            edit = f"{self.url}/edit/{quote(self.branch)}/{source}"
            found.append(Link("Edit this page", f"Propose a change to {source}", "fas fa-pencil-alt", edit))
        asked = {"template": "error.md", "title": f"{title or page} ({page})"}
        report = f"{self.url}/issues/new?{urlencode(asked)}"
        found.append(Link("Report an error", "Say what is wrong on this page", "fas fa-bug", report))
        return found


def checked(url: str, branch: str = "") -> Repository | None:
    """The repository at an address, or None where the address is empty.

    Raises:
        ValueError: the address is not one that the buttons know.
    """
    if not url:
        return None
    found = _ADDRESS.fullmatch(url)
    if found is None:
        raise ValueError(f"{SETTING} is {url!r}; write https://github.com/OWNER/NAME, or leave it empty for no buttons")
    return Repository(f"https://github.com/{found['owner']}/{found['name']}", branch or "main")


def repository(config: Path = ROOT / "_config.yml") -> Repository | None:
    """The repository that ``_config.yml`` names; None where it names none, or is not here, as in a student's folder.

    Raises:
        ValueError: as ``checked``.
    """
    import yaml

    if not config.exists():
        return None
    told = (yaml.safe_load(config.read_text(encoding="utf-8")) or {}).get("repository") or {}
    return checked(str(told.get("url") or ""), str(told.get("branch") or ""))
