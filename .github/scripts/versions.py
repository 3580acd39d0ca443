"""The site's versions: a list that the pages read, and a first page that leads to the newest.

    python .github/scripts/versions.py site

``site`` holds a folder a version: ``latest``, from the main branch, and one a release, such as ``v1.0``.
"""

import json
import re
import sys
from pathlib import Path

PAGE = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={0}/"><a href="{0}/">{0}</a>\n'


def numbers(name: str) -> list[int]:
    """v1.10 comes after v1.9."""
    return [int(part) for part in re.findall(r"\d+", name)]


def write(site: Path) -> list[str]:
    """Write versions.json and index.html; returns the versions, the newest release first, ``latest`` last."""
    folders = [path.name for path in site.iterdir() if (path / "index.html").exists()]
    releases = sorted((name for name in folders if name != "latest"), key=numbers, reverse=True)
    versions = [*releases, *(name for name in folders if name == "latest")]
    if not versions:
        raise SystemExit(f"{site} holds no book")
    (site / "versions.json").write_text(json.dumps(versions) + "\n", encoding="utf-8")
    (site / "index.html").write_text(PAGE.format(versions[0]), encoding="utf-8")
    return versions


if __name__ == "__main__":
    print(", ".join(write(Path(sys.argv[1]))))
