"""A browser for the tests, or a skip that says how to get one."""

import pytest

from gen_utils.publishing.paper import find_browser

BROWSER = find_browser()
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--allow-file-access-from-files",
)


@pytest.fixture(scope="module")
def chromium():
    if BROWSER is None:
        pytest.skip("no Chromium here; install it (Debian: apt-get install chromium) or set CHROMIUM to its path")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS, timeout=600_000)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def html(built):
    return built[0] / "html"
