import base64
import io
import re

import numpy as np
import torch
from PIL import Image

from gen_utils import plotting
from gen_utils.data import load_images


def test_a_mosaic_puts_every_image_in_its_place():
    images = torch.stack([torch.full((1, 3, 3), v) for v in (-1.0, 0.0, 1.0)])
    picture = plotting.mosaic(images, 2, gap=1)
    assert picture.shape == (7, 7, 3)
    assert (picture[:3, :3] == 0).all() and (picture[4:, :3] == 255).all() and (picture[:3, 4:] == 128).all()
    assert (picture[:, 3] == 255).all()  # the gap is white


def test_bytes_and_floats_give_the_same_mosaic():
    images = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    floats = images.float() / 127.5 - 1
    assert np.array_equal(plotting.mosaic(images, 2), plotting.mosaic(floats, 2))


def test_figures_are_made(tmp_path):
    x = torch.rand(6, 1, 8, 8) * 2 - 1
    path = torch.rand(5, 3, 1, 8, 8)
    plotting.use_style()
    for draw in (
        lambda: plotting.image_grid(x, "grid"),
        lambda: plotting.chain_strip(path, range(5), "strip"),
        lambda: plotting.curves({"a": ([1, 2, 3], [1.0, 2.0, 3.0])}, smooth=2),
        lambda: plotting.histograms({"a": torch.randn(50), "b": torch.randn(50)}),
    ):
        assert draw() is None  # a figure returned at a cell's end would be shown twice
        plotting.plt.savefig(tmp_path / "figure.png")
        plotting.plt.close()


def test_an_animation_is_self_contained_and_light():
    # As in the chapters: noise in the first frames, digits in the rest.
    digits = load_images("digits", "test").scaled()[:36]
    noise = torch.rand(digits.shape) * 2 - 1
    path = torch.stack([noise, *([digits] * 31)])
    html = plotting.animate_chain(path, list(range(32)))
    assert "data:image/jpeg;base64" in html
    assert "<script src=" not in html
    assert len(html) < 1_500_000


def test_a_films_long_title_is_not_cut_off():
    title = "Decoder means along the chain (drawn avatars, standing in for CelebA), place by place the same chain"
    html = plotting.animate_chain(torch.ones(2, 4, 1, 8, 8), [0, 1], title)
    frame = re.search(r'data:image/jpeg;base64,([^"]+)"', html).group(1).replace("\\\n", "")
    with Image.open(io.BytesIO(base64.b64decode(frame))) as picture:
        grey = torch.tensor(list(picture.convert("L").getdata())).reshape(picture.height, picture.width)
    title_rows = grey[: picture.height - picture.width]
    assert title_rows.min() < 100  # there is one
    assert min(edge.min() for edge in (title_rows[:, :3], title_rows[:, -3:], title_rows[:3])) > 240


def test_an_animation_asks_no_other_host_and_can_be_read_aloud():
    path = torch.rand(3, 4, 1, 8, 8) * 2 - 1
    html = plotting.animate_chain(path, [1, 2, 5], 'from "noise"')
    assert "<link" not in html and "https://" not in html.split("<style>")[0]
    assert html.count('<img alt="from &quot;noise&quot;: 3 frames, from step 1 to step 5"') == 1
    assert html.count('<input aria-label="frame"') == 1
