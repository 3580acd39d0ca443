"""A page that holds one bench and nothing else, opened from its file as the book's pages are."""

import shutil

from gen_utils.base.places import BOOK
from gen_utils.publishing.benches import networks, places

MOST = 60_000  # bytes by which a bench may make its page grow
PAGE = """<!doctype html>
<html lang="en" data-theme="{theme}"><head><meta charset="utf-8"><title>One bench</title>
<meta name="viewport" content="width=device-width">
<style>body {{ margin: 8px; }} html[data-theme="dark"] {{ background: #121212; color: #ddd; color-scheme: dark;
--pst-color-surface: #222; --pst-color-text-base: #ddd; --pst-color-background: #121212; }}</style></head>
<body><article class="bd-article">{bench}</article></body></html>
"""


def write(folder, name: str, theme: str = "light"):
    """The page of a bench in a folder, with all it needs beside it."""
    bench = next(each for each in places.every() if each.name == name)
    static = folder / "_static" / "benches"
    if not static.exists():
        shutil.copytree(BOOK / "_static" / "benches", static)
        (static / "networks").mkdir()
    for network in bench.networks:
        script = static / "networks" / f"{network}.js"
        if not script.exists():
            script.write_text(networks.script(network), encoding="utf-8")
    page = folder / "pages" / f"{name}-{theme}.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text(PAGE.format(theme=theme, bench=bench.html), encoding="utf-8")
    return page


def grows_by(bench: places.Bench) -> int:
    """Bytes that a page loads for a bench before the first click."""
    names = [
        "benches.css",
        f"{bench.name}.webp",
        *(f"{each}.js" for each in ("frame", "log", bench.name, *bench.scripts)),
    ]
    folder = BOOK / "_static" / "benches"
    return sum((folder / name).stat().st_size for name in names) + len(bench.html.encode())


class Bench:
    """One bench on an open page."""

    def __init__(self, visit, name: str):
        self.page, self.name = visit.page, name
        self.section = visit.page.locator(f"#bench-{name}")
        self.run_button = self.section.locator(".bench-run")
        self.status, self.verdict = self.section.locator(".bench-status"), self.section.locator(".bench-verdict")

    def expect(self, which: int = 0):
        self.section.locator(".bench-guess input").nth(which).check()

    def finished(self):
        """Wait for the verdict, or for a sentence that says why there is none; the words."""
        script = f"""() => {{
            const [run, status, verdict] = ["run", "status", "verdict"].map((part) =>
                document.querySelector(`#bench-{self.name} .bench-${{part}}`));
            return verdict.innerText || (!run.dataset.running && status.innerText);
        }}"""
        return self.page.wait_for_function(script, timeout=300_000).json_value()
