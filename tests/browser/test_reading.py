"""The built book in a real browser, with the network off: what a reader meets."""

import re

import pytest

from .visit import DESKTOP, PHONE, Visit, pages

pytestmark = pytest.mark.slow
CHAPTER = "notebooks/02_ebm_mnist.html"


@pytest.mark.parametrize("third", range(3), ids="third {}".format)
def test_every_page_reads_offline_on_a_desk_and_on_a_phone(html, chromium, third):
    faults = {}
    for path in pages(html)[third::3]:
        name = str(path.relative_to(html))
        with Visit(chromium, path, DESKTOP) as visit:
            visit.page.wait_for_timeout(300)
            visit.page.set_viewport_size(PHONE)
            visit.page.wait_for_timeout(100)
            wide = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            broken = visit.page.evaluate(
                "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src.slice(0, 80))"
            )
            unset = visit.page.evaluate("document.querySelectorAll('mjx-merror, .MathJax_Error').length")
            found = {
                "asked another host": visit.outside,
                "console": visit.errors,
                "wider than a phone by": wide if wide > 0 else None,
                "broken images": broken,
                "formulas in error": unset,
            }
            found = {what: value for what, value in found.items() if value}
            if found:
                faults[name] = found
    assert not faults


def test_mathematics_is_drawn(html, chromium):
    with Visit(chromium, html / CHAPTER, DESKTOP) as visit:
        visit.page.wait_for_selector("mjx-container svg")
        assert visit.page.locator("mjx-container[display='true'] svg").count() >= 5


def test_the_sidebar_leads_from_chapter_to_chapter(html, chromium):
    with Visit(chromium, html / "index.html", DESKTOP) as visit:
        page = visit.page
        page.wait_for_url("**/preface.html")
        page.click("nav.bd-links >> text=An energy-based model of MNIST")
        page.wait_for_url(f"**/{CHAPTER}")
        page.click("a.right-next")
        page.wait_for_url("**/03_ebm_bitmoji.html")
        assert not visit.outside


def test_search_finds_a_term(html, chromium):
    with Visit(chromium, html / "search.html", DESKTOP) as visit:
        visit.page.goto((html / "search.html").as_uri() + "?q=silhouette")
        visit.page.wait_for_selector("#search-results li a")
        titles = visit.page.locator("#search-results li a").all_inner_texts()
        assert any("clusters" in title for title in titles), titles
        assert not visit.outside


def test_a_solution_is_folded_until_it_is_opened(html, chromium):
    with Visit(chromium, html / CHAPTER, DESKTOP) as visit:
        solution = visit.page.locator("div.solution.dropdown").first
        body, button = solution.locator("section").first, solution.locator("button.toggle-button").first
        assert not body.is_visible()
        button.click()
        body.wait_for(state="visible")
        button.click()
        body.wait_for(state="hidden")


def test_an_animation_follows_its_slider(html, chromium):
    with Visit(chromium, html / CHAPTER, DESKTOP) as visit:
        slider, image = visit.page.locator("input.anim-slider").first, visit.page.locator(".animation img").first
        slider.scroll_into_view_if_needed()
        first = image.get_attribute("src")
        slider.evaluate(
            "e => { e.value = e.max; e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')) }"
        )
        visit.page.wait_for_timeout(200)
        assert image.get_attribute("src") != first
        assert image.get_attribute("alt")


def test_the_dark_theme_is_a_click_away(html, chromium):
    with Visit(chromium, html / CHAPTER, DESKTOP, color_scheme="light") as visit:
        page = visit.page
        grounds = set()
        for _ in range(3):  # the button goes round: system, light, dark
            page.locator("button.theme-switch-button:visible").first.click()
            page.wait_for_timeout(150)
            theme = page.evaluate("document.documentElement.dataset.theme")
            grounds.add((theme, page.evaluate("getComputedStyle(document.body).backgroundColor")))
        assert {theme for theme, _ in grounds} == {"light", "dark"} and len({colour for _, colour in grounds}) == 2


def test_no_link_or_anchor_is_dead(html):
    anchors, links = {}, []
    for path in pages(html):
        text = path.read_text(encoding="utf-8")
        anchors[path] = set(re.findall(r'\b(?:id|name)="([^"]+)"', text))
        links += [(path, link) for link in re.findall(r'<a\b[^>]*\bhref="([^"]+)"', text)]
    dead = []
    for path, link in links:
        if re.match(r"[a-z]+:|//", link):
            continue
        target, _, anchor = link.partition("#")
        page = (path.parent / target.split("?")[0]).resolve() if target else path
        if not page.exists() or (anchor and page in anchors and anchor not in anchors[page]):
            dead.append((path.name, link))
    assert len(links) > 200 and not dead


def test_pages_are_light(html):
    heavy = {path.name: path.stat().st_size for path in pages(html) if path.stat().st_size > 6_000_000}
    assert not heavy
    for path in pages(html):  # with its pictures, as a reader loads it
        images = re.findall(r'<img\b[^>]*?\bsrc="([^"#?]+)"', path.read_text(encoding="utf-8"))
        files = [(path.parent / src) for src in set(images) if not src.startswith("data:")]
        assert path.stat().st_size + sum(file.stat().st_size for file in files) < 6_000_000, path.name
    weights = set(
        (html / "_static" / "benches" / "networks").glob("*.js")
    )  # each is loaded when its bench is first run
    assert all(file.stat().st_size < 3_000_000 for file in weights)
    assert sum(file.stat().st_size for file in html.rglob("*") if file.is_file() and file not in weights) < 60_000_000
