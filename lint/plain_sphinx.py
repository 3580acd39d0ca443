"""The way out of Jupyter Book 1: the same pages by plain Sphinx, which is maintained by others and for longer.

python lint/plain_sphinx.py _build/quick/stage _build/sphinx

The stage is what ``make book`` or ``make read`` has left for the builder. Jupyter Book writes its settings down as
Sphinx reads them (``conf.py``), and from there on it is not needed. The book itself is still built by Jupyter Book.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "from jupyter_book.cli.main import main; main()"  # it has no __main__


def build(stage: Path, html: Path) -> None:
    """Build the pages of a stage into a new folder; warnings are errors, as in the book.

    Raises:
        SystemExit: the stage is not there, or a step failed; the message has the step's last words.
    """
    if not (stage / "_config.yml").exists():
        raise SystemExit(f"{stage} holds no _config.yml; make read leaves a stage in _build/quick/stage")
    sources = html.with_name(f"{html.name}-sources")  # conf.py beside the stage's own files would change its book
    for folder in (html, sources):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(stage, sources, ignore=shutil.ignore_patterns("_build"))
    _step([sys.executable, "-c", CONFIG, "config", "sphinx", str(sources)])
    _step([sys.executable, "-m", "sphinx", "-b", "html", "-W", "-n", "--keep-going", "-q", str(sources), str(html)])


def _step(command: list[str]) -> None:
    variables = {**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)}  # for the extensions of ours
    answer = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", errors="replace")
    if answer.returncode:
        raise SystemExit(f"{' '.join(command[1:4])} failed:\n{answer.stdout[-3000:]}\n{answer.stderr[-3000:]}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    build(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
    print(f"plain Sphinx has built {sys.argv[2]}")
