"""Large pictures of the built pages are WebP, and the pages ask for them."""

import numpy as np
from PIL import Image

from gen_utils.publishing.page_pictures import LARGE, as_webp, pointed


def picture(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_a_large_picture_becomes_webp_and_a_small_one_stays(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (500, 500, 1), np.uint8).repeat(3, 2)  # grey: WebP blurs colours
    large = picture(tmp_path / "_images" / "abc.png", noise)
    flat = picture(tmp_path / "_images" / "def.png", noise // 255)
    assert large.stat().st_size > LARGE > flat.stat().st_size
    small = as_webp(tmp_path)
    assert small == {"_images/abc"} and not large.exists() and flat.exists()
    with Image.open(large.with_suffix(".webp")) as shown:
        assert shown.size == (500, 500)
        assert np.abs(np.asarray(shown, int) - noise).mean() < 10  # another picture: 85
    page = '<img src="../_images/abc.png"><img src="../_images/def.png"><img src="other/abc.png">'
    assert pointed(page, small) == page.replace("_images/abc.png", "_images/abc.webp")
    # The next build brings the PNG again, and takes the WebP that is there.
    made = large.with_suffix(".webp").stat().st_mtime_ns
    picture(large, noise)
    assert as_webp(tmp_path) == small and not large.exists() and large.with_suffix(".webp").stat().st_mtime_ns == made


def test_a_book_without_pictures_has_none(tmp_path):
    assert as_webp(tmp_path) == set()
