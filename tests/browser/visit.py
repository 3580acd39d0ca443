"""A visit to one page of the built book, with the network off."""

from pathlib import Path

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


class Visit:
    """One page, opened from its file, with everything it asked for and complained about."""

    def __init__(self, browser, path: Path, size: dict, **context):
        self.context = browser.new_context(viewport=size, offline=True, **context)
        self.context.set_default_timeout(600_000)  # a machine may be busy
        self.page = self.context.new_page()
        self.outside, self.errors = [], []
        self.page.on("request", self._asked)
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.goto(path.as_uri())
        self.page.wait_for_load_state("load")

    def _asked(self, request):
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.outside.append(request.url)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


def pages(html):
    return [path for path in sorted(html.rglob("*.html")) if "_static" not in path.parts]
