"""A widget in a real JupyterLab, answered by a real kernel."""

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent
CODE = f"""\
import sys
sys.path.insert(0, {str(ROOT)!r})
from gen_utils.base.frontend import can_show_widgets
from gen_utils.explorers.sampler import sampler_explorer
assert can_show_widgets()
sampler_explorer()
"""


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab that serves one notebook."""
    notebook = new_notebook(cells=[new_code_cell(CODE)])
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(notebook, tmp_path / "explorer.ipynb")
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--port=0",
        "--IdentityProvider.token=t", "--LabApp.news_url=None",
        f"--ServerApp.root_dir={tmp_path}", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    env = {k: v for k, v in os.environ.items() if k not in ("GEN_HEADLESS", "MPLBACKEND")}
    log = tmp_path / "lab.log"
    with open(log, "w") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=tmp_path)
    try:
        for _ in range(1200):
            found = re.search(r"http://(?:localhost|127\.0\.0\.1):(\d+)/lab", log.read_text())
            if found:
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
        address = f"http://127.0.0.1:{found[1]}/lab/tree/explorer.ipynb?token=t"
        urllib.request.urlopen(address, timeout=600).close()
        yield address
    finally:
        server.terminate()
        server.wait(300)


def test_the_sampler_explorer_answers(chromium, lab):
    from playwright.sync_api import TimeoutError

    page = chromium.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(600_000)
    page.goto(lab)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    image = page.locator(".jp-OutputArea img.widget-image").first
    for _ in range(30):  # the page says idle before its kernel hears: a cell that was run too early stays silent
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Control+Enter")
        with contextlib.suppress(TimeoutError):
            image.wait_for(timeout=20_000)
            break
    image.wait_for(timeout=60_000)
    first = image.get_attribute("src")
    page.locator(".jp-OutputArea select").nth(1).select_option("HMC")
    page.wait_for_function(
        "before => document.querySelector('.jp-OutputArea img.widget-image').src !== before", arg=first
    )
    page.close()
