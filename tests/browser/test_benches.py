"""Every bench, used from its file as a reader would: by mouse and by keyboard, on a phone's width, light and dark."""

import json

import pytest

from gen_utils.publishing.benches import places

from .bench_pages import MOST, Bench, grows_by, write
from .visit import DESKTOP, PHONE, Visit

pytestmark = pytest.mark.slow
EVERY = [bench.name for bench in places.every()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("benches")


@pytest.fixture
def visit(folder, chromium):
    """Opens the page of a bench; what it complained about, or asked another host for, is a fault."""
    opened = []

    def open_page(name, size=DESKTOP, theme="light", **context):
        opened.append(Visit(chromium, write(folder, name, theme), size, color_scheme=theme, **context))
        return opened[-1]

    yield open_page
    for each in opened:
        faults = each.errors, each.outside
        each.context.close()
        assert faults == ([], [])


@pytest.mark.parametrize("name", EVERY)
def test_a_bench_asks_first_then_runs_and_shows_both(name, visit):
    bench = Bench(visit(name), name)
    bench.run_button.click()
    assert "First say what you expect" in bench.status.inner_text()
    bench.expect()
    bench.run_button.click()
    said = bench.finished()
    assert "You expected: " in said and ("It was: " in said or "And so it was: " in said)
    assert "Your predictions" in bench.page.locator(".bench-log").inner_text()
    bench.section.get_by_role("button", name="Reset").click()
    assert bench.verdict.inner_text() == "" and not bench.section.locator(".bench-guess input:checked").count()


@pytest.mark.parametrize("name", EVERY)
def test_a_bench_is_used_by_keyboard_on_a_phone_in_the_dark(name, visit):
    opened = visit(name, PHONE, "dark", has_touch=True)
    bench, page = Bench(opened, name), opened.page
    bench.section.locator(".bench-guess input").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    assert bench.section.locator(".bench-guess input").nth(1).is_checked()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "bench-run":
            break
    page.keyboard.press("Enter")
    assert "You expected: " in bench.finished()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    unnamed = """[...document.querySelectorAll(".bench :is(canvas, svg, input[type=range], button)")].filter((e) =>
        !(e.closest("[aria-hidden]") || e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)
    ).length"""
    assert page.evaluate(unnamed) == 0


@pytest.mark.parametrize("name", EVERY)
def test_the_address_brings_a_situation_back(name, visit):
    first = visit(name)
    bench = Bench(first, name)
    bench.expect(1)
    address = first.page.evaluate("location.hash")
    assert address.startswith(f"#bench-{name}:guess=")
    again = visit(name).page
    again.goto(again.url + address)
    again.reload()
    assert again.locator(".bench-guess input").nth(1).is_checked()


@pytest.mark.parametrize("name", EVERY)
def test_a_page_grows_by_little_and_loads_no_network_before_a_click(name, visit):
    asked = []
    opened = visit(name)
    opened.page.on("request", lambda request: asked.append(request.url))
    opened.page.reload()
    opened.page.wait_for_load_state("load")
    assert not [url for url in asked if "networks/" in url or url.endswith(("ops.js", "worker.js"))]
    bench = next(each for each in places.every() if each.name == name)
    assert grows_by(bench) < MOST


def test_without_scripts_a_bench_is_a_picture_that_says_so(folder, chromium):
    with Visit(chromium, write(folder, "digits"), DESKTOP, java_script_enabled=False) as opened:
        assert opened.page.locator(".bench-still img").is_visible()
        assert "scripts; they are off" in opened.page.locator("#bench-digits").inner_text()


def test_on_paper_a_bench_is_its_picture(visit):
    page = visit("digits").page
    page.emulate_media(media="print")
    assert page.locator(".bench-still img").is_visible() and not page.locator(".bench-run").is_visible()


def run_into(visit, before, name="digits"):
    """The sentence a bench ends with, the page prepared by a script that runs before its own."""
    opened = visit(name)
    opened.page.add_init_script(before)
    opened.page.reload()
    bench = Bench(opened, name)
    bench.expect()
    bench.run_button.click()
    return bench.finished()


def test_a_browser_without_workers_is_one_sentence(visit):
    said = run_into(visit, "window.Worker = undefined")
    assert said.startswith("This bench cannot go on: this browser starts no worker for a page like this one.")


def test_damaged_weights_are_one_sentence(folder, visit):
    write(folder, "digits")
    path = folder / "_static" / "benches" / "networks" / "ebm_mnist.js"
    whole = path.read_text(encoding="utf-8")
    try:
        at = whole.index('"data":"') + 5000
        path.write_text(whole[:at] + "AAAAAAAA" + whole[at + 8 :], encoding="utf-8")
        assert "the weights are damaged" in run_into(visit, "0")
        path.write_text("", encoding="utf-8")
        assert "the weights of ebm_mnist are damaged" in run_into(visit, "0")
    finally:
        path.write_text(whole, encoding="utf-8")


def test_an_empty_drawing_is_one_sentence(visit):
    bench = Bench(visit("digits"), "digits")
    bench.section.get_by_role("button", name="Clear").click()
    bench.expect()
    bench.run_button.click()
    assert "there is no drawing yet" in bench.finished()


def test_no_predictions_are_kept_where_the_browser_keeps_nothing(visit):
    off = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('off') } })"
    assert "You expected: " in run_into(visit, off, "chain")


def test_a_digit_is_drawn_by_mouse_and_by_keyboard(visit):
    page = visit("digits").page
    page.get_by_role("button", name="Clear").click()
    pad = page.locator(".bench-pad")
    box = pad.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 3 / 4, steps=5)
    page.mouse.up()
    drawn = page.evaluate("location.hash")
    assert "ink=" in drawn
    pad.focus()
    for key in ("Space", *["ArrowRight"] * 6, "Space"):
        page.keyboard.press(key)
    assert page.evaluate("location.hash") != drawn


def test_a_running_bench_can_be_stopped(visit):
    bench = Bench(visit("digits"), "digits")
    bench.expect()
    bench.run_button.click()
    bench.page.wait_for_function(
        "document.querySelector('#bench-digits figcaption:last-child').innerText.includes('energy')"
    )
    bench.run_button.click()
    assert bench.finished() == "Stopped."


def test_a_density_is_drawn_and_an_empty_one_is_one_sentence(visit):
    bench = Bench(visit("five"), "five")
    page, pad = bench.page, bench.section.locator(".bench-pad")
    bench.section.get_by_role("button", name="Clear").click()
    assert "nothing is drawn yet" in bench.section.inner_text()
    bench.expect()
    bench.run_button.click()
    assert "there is no drawing yet" in bench.finished()
    pad.focus()
    for key in ("Space", *["ArrowRight"] * 6, "Space"):
        page.keyboard.press(key)
    drawn = page.evaluate("location.hash")
    assert "world=drawn" in drawn and "ink=" in drawn
    assert bench.section.get_by_label("Density of the data, your drawing, blurred").is_visible()
    again = visit("five").page
    again.goto(again.url + drawn)
    again.reload()
    assert again.get_by_label("Density of the data, your drawing, blurred").is_visible()


def test_other_data_stop_a_training(visit):
    opened = visit("five", reduced_motion="reduce")
    bench = Bench(opened, "five")
    bench.expect()
    bench.run_button.click()
    bench.page.wait_for_function("document.querySelector('#bench-five .bench-status').innerText.includes('%')")
    bench.section.get_by_role("button", name="A ring").click()
    assert bench.finished() == "Stopped."
    assert "nats:" not in bench.section.locator("figure").last.inner_text()
    assert bench.section.get_by_label("Density of the data, a ring").is_visible()


def test_python_is_at_hand_for_every_bench(visit):
    for name in EVERY:
        page = visit(name).page
        code = page.evaluate(f"BENCHES.kinds['{name}'].python(BENCHES.kinds['{name}'].state)")
        compile(code, name, "exec")
        assert "gen_utils" in code, json.dumps(code)
