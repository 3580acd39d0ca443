"""On a site with several versions each page offers the others; a book that stands alone offers none."""

import functools
import http.server
import json
import threading
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "book" / "_static" / "versions.js"
PAGE = """<!doctype html><html data-content_root="../"><div class="bd-sidebar-primary">
<div class="sidebar-header-items"></div></div><script src="../versions.js"></script><h1>{}</h1></html>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path):
    """latest has two pages, v1.0 one of them; the address of the site."""
    for version, pages in {"latest": ("old", "new"), "v1.0": ("old", "index")}.items():
        folder = tmp_path / version / "notebooks"
        folder.mkdir(parents=True)
        (tmp_path / version / "versions.js").write_bytes(SCRIPT.read_bytes())
        (tmp_path / version / "index.html").write_text("<h1>first page</h1>", encoding="utf-8")
        for page in pages:
            (folder / f"{page}.html").write_text(PAGE.format(f"{version} {page}"), encoding="utf-8")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_reader_goes_to_the_same_page_of_another_version_or_to_its_first(site, chromium):
    folder, address = site
    (folder / "versions.json").write_text(json.dumps(["v1.0", "latest"]), encoding="utf-8")
    page = chromium.new_page()
    page.set_default_timeout(600_000)
    page.goto(f"{address}/latest/notebooks/old.html")
    choice = page.get_by_label("Version of the book")
    assert choice.input_value() == "latest"
    choice.select_option("v1.0")
    page.wait_for_url("**/v1.0/notebooks/old.html")
    page.goto(f"{address}/latest/notebooks/new.html")
    page.get_by_label("Version of the book").select_option("v1.0")
    page.wait_for_url("**/v1.0/")
    assert page.locator("h1").text_content() == "first page"
    page.close()


def test_a_book_that_stands_alone_offers_nothing(site, chromium):
    folder, address = site
    page = chromium.new_page()
    for there in (None, ["latest"], ["v1.0", "v2.0"]):  # no list, nothing to choose, another site's
        if there:
            (folder / "versions.json").write_text(json.dumps(there), encoding="utf-8")
        page.goto(f"{address}/latest/notebooks/old.html", wait_until="networkidle", timeout=600_000)
        assert page.locator("select").count() == 0
    page.goto((folder / "latest" / "notebooks" / "old.html").as_uri())
    assert page.locator("select").count() == 0
    page.close()
