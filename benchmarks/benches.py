"""What do the book's benches cost a reader? Each is run once in headless Chromium, from its file, as its page begins.

    python benchmarks/benches.py                  # prints a table
    python benchmarks/benches.py --stills         # and writes the pictures for paper, book/_static/benches/NAME.webp
    python benchmarks/benches.py digits chain     # only these

Wall time is what a reader waits; on a machine that does something else besides, look at the processor time.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from browser.bench_pages import MOST, Bench, grows_by, write  # noqa: E402
from browser.conftest import ARGUMENTS, BROWSER  # noqa: E402
from browser.visit import DESKTOP, Visit  # noqa: E402
from PIL import Image  # noqa: E402

from gen_utils.publishing.benches import places  # noqa: E402

FRAMES = """
window.drawn = 0;
const count = () => { window.drawn++; requestAnimationFrame(count); };
requestAnimationFrame(count);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=[bench.name for bench in places.every()])
    parser.add_argument("--stills", action="store_true", help="write the pictures for paper")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    print(f"{'bench':12} {'seconds':>8} {'frames/s':>9}  data")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        for name in given.names:
            with Visit(browser, write(Path(folder), name), DESKTOP, device_scale_factor=1.5) as visit:
                visit.page.add_init_script(FRAMES)
                visit.page.reload()
                bench = Bench(visit, name)
                bench.expect()
                before, start = visit.page.evaluate("window.drawn"), time.perf_counter()
                bench.run_button.click()
                bench.finished()
                seconds = time.perf_counter() - start
                frames = (visit.page.evaluate("window.drawn") - before) / seconds
                here = Path(folder) / "_static" / "benches" / "networks"
                described = next(each for each in places.every() if each.name == name)
                size = sum((here / f"{each}.js").stat().st_size for each in described.networks) / 1e6
                print(f"{name:12} {seconds:8.2f} {frames:9.0f}  {size:.2f} MB")
                if given.stills:
                    shot = bench.section.locator(".bench-body").screenshot()
                    picture = Image.open(io.BytesIO(shot)).convert("RGB")
                    path = places.BOOK / "_static" / "benches" / f"{name}.webp"
                    picture = picture.resize((600, round(picture.height * 600 / picture.width)))
                    for quality in (40, 30, 20, 15):  # the best that leaves the page small
                        picture.save(path, quality=quality, method=6)
                        if grows_by(described) < MOST:
                            break
        browser.close()


if __name__ == "__main__":
    main()
