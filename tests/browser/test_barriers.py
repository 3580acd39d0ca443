"""The built book for readers who cannot see it well, or not at all. (A file of its own: it takes minutes.)"""

import pytest

from .visit import DESKTOP, Visit, pages

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "third", range(3), ids="third {}".format
)  # each in whatever process is free (tests/conftest.py)
def test_no_page_has_a_serious_barrier(html, chromium, third):
    """axe-core's rules: contrast, names, roles; all pages in the light theme, two chapters in the dark one too."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    faults = []
    for path in pages(html)[third::3]:
        dark = path.name in ("02_ebm_mnist.html", "09_vae_likelihood.html")
        for scheme in ("light", "dark") if dark else ("light",):
            with Visit(chromium, path, DESKTOP, color_scheme=scheme) as visit:
                visit.page.wait_for_timeout(200)
                for found in axe.Axe().run(visit.page).response["violations"]:
                    if found["impact"] in ("serious", "critical"):
                        node = found["nodes"][0]
                        faults.append((path.name, scheme, found["id"], len(found["nodes"]), node["html"][:90]))
    assert not faults
