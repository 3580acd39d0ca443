"""Pictures and films made small: what comes back looks like what went in."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from gen_utils.base import small_outputs


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return base64.b64encode(stream.getvalue()).decode()


def pixels_of(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"), dtype=float)


@pytest.fixture
def smooth():
    x, y = np.meshgrid(np.linspace(0, 1, 160), np.linspace(0, 1, 120))
    return (np.stack([x, y, np.sin(9 * x * y) ** 2], -1) * 255).astype(np.uint8)


def test_a_picture_of_few_colours_comes_back_as_it_was(tmp_path):
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[20:40, 30:] = (0, 114, 178)
    output = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": png(pixels), "text/plain": "<Figure>"},
    }
    kept = small_outputs.packed(output, tmp_path, "cell01-0")
    assert kept["file"] == "cell01-0.webp" and "image/png" not in kept["data"]
    back = small_outputs.unpacked(kept, tmp_path)
    assert (pixels_of(back["data"]["image/png"]) == pixels).all() and back["data"]["text/plain"] == "<Figure>"
    assert "file" not in back


def test_a_photograph_is_smaller_and_looks_the_same(tmp_path, smooth):
    noisy = np.clip(smooth + np.random.default_rng(0).normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
    output = {"output_type": "display_data", "metadata": {}, "data": {"image/png": png(noisy)}}
    kept = small_outputs.packed(output, tmp_path, "a")
    assert (tmp_path / "a.webp").stat().st_size < len(base64.b64decode(output["data"]["image/png"])) / 2
    back = pixels_of(small_outputs.unpacked(kept, tmp_path)["data"]["image/png"])
    assert back.shape == noisy.shape and abs(back - noisy).mean() < 8  # the noise is what is lost


def test_a_film_keeps_its_frames_and_its_controls(tmp_path, smooth):
    broken = "\\\n".join(png(smooth)[i : i + 76] for i in range(0, len(png(smooth)), 76))  # as Matplotlib writes them
    html = f'<input class="anim-slider"><script>frames[0] = "data:image/png;base64,{broken}"</script>'
    output = {"output_type": "display_data", "metadata": {}, "data": {"text/html": [html], "text/plain": "a film"}}
    kept = small_outputs.packed(output, tmp_path, "b")
    back = "".join(small_outputs.unpacked(kept, tmp_path)["data"]["text/html"])
    frame = back.split("data:image/webp;base64,")[1].split('"')[0]
    assert 'class="anim-slider"' in back and abs(pixels_of(frame) - smooth).mean() < 6


def test_text_is_left_alone(tmp_path):
    for output in (
        {"output_type": "stream", "name": "stdout", "text": "7\n"},
        {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": "a table"}},
        {"output_type": "display_data", "metadata": {}, "data": {"text/html": "<b>no film</b>"}},
    ):
        assert small_outputs.packed(output, tmp_path, "c") == output == small_outputs.unpacked(output, tmp_path)
    assert not list(tmp_path.iterdir())
