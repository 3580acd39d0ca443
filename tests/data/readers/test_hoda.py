"""The Hoda reader: on files written here, on damaged ones, and on the real one where it is."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from gen_utils.data import DataError, load_images
from gen_utils.data.inventory import overview
from gen_utils.data.readers.hoda import read_cdb, read_hoda

HEADER = 1024


def run_lengths(image):
    """(H, W) of 0 and 255 -> Hoda's runs, counted pixel by pixel: background first, each row on its own."""
    runs = []
    for row in image:
        ink, length = 0, 0
        for pixel in row:
            if (pixel > 0) != ink:
                runs.append(length)
                ink, length = 1 - ink, 0
            length += 1
        runs.append(length)
    return bytes(runs)


def record(label, image, *, fixed=False, grey=False, body=None):
    """One record; ``body`` replaces the pixel bytes."""
    if body is None:
        body = image.tobytes() if grey else run_lengths(image)
    height, width = image.shape
    size = b"" if fixed else bytes([width, height])
    return bytes([0xFF, label]) + size + struct.pack("<H", len(body)) + body


def header(count, *, size=(0, 0), grey=False, letter_counts=()):
    """``size`` is (H, W)."""
    letters = np.zeros(128, "<u4")
    letters[: len(letter_counts)] = letter_counts
    return struct.pack("<HBBBBI", 2005, 8, 4, *size, count) + letters.tobytes() + bytes([grey]) + bytes(501)


def glyphs(n, shapes, *, grey=False, seed=0):
    rng = np.random.default_rng(seed)
    images = [rng.random(shapes[i % len(shapes)]) for i in range(n)]
    return [(255 * (image if grey else image > 0.5)).astype(np.uint8) for image in images]


def write(path, images, *, fixed=False, grey=False):
    labels = [i % 10 for i in range(len(images))]
    size = images[0].shape if fixed else (0, 0)
    head = header(len(images), size=size, grey=grey, letter_counts=np.bincount(labels, minlength=10))
    records = [record(*pair, fixed=fixed, grey=grey) for pair in zip(labels, images, strict=True)]
    path.write_bytes(head + b"".join(records))
    return labels


def centred(image):
    """What a glyph that fits becomes, pasted one to one."""
    out = np.zeros((28, 28), np.uint8)
    top, left = (28 - image.shape[0]) // 2, (28 - image.shape[1]) // 2
    out[top : top + image.shape[0], left : left + image.shape[1]] = image
    return out


@pytest.mark.parametrize("grey", [False, True], ids=["binary", "grey"])
@pytest.mark.parametrize("fixed", [False, True], ids=["variable", "fixed"])
def test_small_glyphs_come_back_pixel_for_pixel(tmp_path, fixed, grey):
    shapes = [(20, 13)] if fixed else [(20, 13), (1, 1), (28, 28), (5, 27), (28, 1)]
    images = glyphs(600, shapes, grey=grey)  # more than one chunk
    labels = write(tmp_path / "a.cdb", images, fixed=fixed, grey=grey)
    read, read_labels = read_cdb(tmp_path / "a.cdb")
    assert read.shape == (600, 1, 28, 28)
    assert read.dtype == torch.uint8
    assert read_labels.dtype == torch.int64
    assert read_labels.tolist() == labels
    assert np.array_equal(read[:, 0].numpy(), np.stack([centred(image) for image in images]))


def test_large_glyphs_shrink_with_antialiasing_and_keep_their_proportions(tmp_path):
    tall, wide = np.zeros((56, 28), np.uint8), np.full((2, 250), 255, np.uint8)
    tall[:, 1::2] = 255  # stripes one pixel wide: halved, they are grey
    write(tmp_path / "a.cdb", [tall, wide])
    read = read_cdb(tmp_path / "a.cdb")[0][:, 0]
    assert read[0, :, :7].max() == 0
    assert read[0, :, 21:].max() == 0
    assert (read[0, :, 8:20].float() - 127.5).abs().max() < 8
    assert (read[1] == 255).sum() == 28  # 250×2 becomes 28×1


def test_a_first_run_of_zero_means_ink_from_the_edge(tmp_path):
    image = np.array([[255, 0], [255, 255], [0, 255]], np.uint8)
    body = bytes([0, 1, 1, 0, 2, 1, 1])
    (tmp_path / "a.cdb").write_bytes(header(1) + record(3, image, body=body))
    images, labels = read_cdb(tmp_path / "a.cdb")
    assert np.array_equal(images[0, 0].numpy(), centred(image))
    assert labels.tolist() == [3]


ONE = np.full((3, 4), 255, np.uint8)
GOOD = record(1, ONE)
DAMAGE = {
    "empty file": (b"", "a Hoda header alone has 1,024"),
    "half a header": (header(1)[:500], "a Hoda header alone has 1,024"),
    "not a cdb at all": (b"some text, at length. " * 100, "damaged"),
    "no records": (header(0), "promises 0 records"),
    "absurd count": (header(2**32 - 1) + GOOD, "promises 4,294,967,295 records"),
    "one record too few": (header(3) + 2 * GOOD, "ends after 2"),
    "one record too many": (header(1) + 2 * GOOD, "bytes follow the last of the 1 records"),
    "letter counts against labels": (header(2, letter_counts=[1, 1]) + 2 * GOOD, "counts 1 images of label 0"),
    "image type": (header(1)[:522] + b"\x02" + bytes(501) + GOOD, "image type 2"),
    "half a fixed size": (header(1, size=(3, 0)) + GOOD, "both must be 0"),
    "ends inside a record": (header(2) + GOOD + GOOD[:-2], "ends in the middle of record 1 of 2"),
    "ends inside a record's head": (header(3) + 2 * GOOD + GOOD[:3], "ends after 2"),
    "start byte": (header(2) + GOOD + b"\xfe" + GOOD[1:], "starts with 0xFE"),
    "label": (header(1) + record(10, ONE), "a label above 9 in record 0"),
    "zero width": (header(1) + record(1, np.zeros((3, 0), np.uint8), body=b"\0\0\0"), "a size of zero"),
    "zero height": (header(1) + record(1, np.zeros((0, 4), np.uint8), body=b""), "a size of zero"),
    "fewer runs than rows": (header(1) + record(1, ONE, body=bytes([4, 8])), "fewer run lengths than rows"),
    "no runs": (header(1) + record(1, ONE, body=b""), "fewer run lengths than rows"),
    "run overruns a row": (header(1) + record(1, ONE, body=bytes([5, 3, 4])), "overruns its row in record 0"),
    "runs overrun the image": (header(1) + record(1, ONE, body=bytes([4, 4, 4, 4])), "do not add up"),
    "runs fall short": (header(1) + record(1, ONE, body=bytes([4, 4, 3])), "do not add up"),
    "empty runs at the end": (header(1) + record(1, ONE, body=bytes([4, 4, 4, 0])), "left over"),
    "only empty runs": (header(1) + record(1, ONE, body=bytes(12)), "do not add up"),
    "second record is the bad one": (header(2) + GOOD + record(1, ONE, body=bytes([5, 3, 4])), "row in record 1"),
    "grey falls short": (header(1, grey=True) + record(1, ONE, grey=True, body=bytes(11)), "do not fill"),
    "grey overruns": (header(1, grey=True) + record(1, ONE, grey=True, body=bytes(13)), "do not fill"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_error_that_names_the_file_and_says_what_to_do(tmp_path, kind):
    content, why = DAMAGE[kind]
    path = tmp_path / "broken.cdb"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_cdb(path)
    message = str(caught.value)
    assert str(path) in message
    assert why in message
    assert "get it again" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == [path]


def test_two_damages_that_cancel_in_the_sum_are_still_found(tmp_path):
    """One record a pixel too long, the next a pixel too short: no mistake may hide in a total over records."""
    long, short = record(1, ONE, body=bytes([4, 4, 5])), record(1, ONE, body=bytes([3, 4, 4]))
    (tmp_path / "a.cdb").write_bytes(header(2) + long + short)
    with pytest.raises(DataError, match="record 0"):
        read_cdb(tmp_path / "a.cdb")


def test_an_error_names_the_record_in_a_later_chunk(tmp_path):
    (tmp_path / "a.cdb").write_bytes(header(1001) + 1000 * GOOD + record(1, ONE, body=bytes([5, 3, 4])))
    with pytest.raises(DataError, match="record 1,000"):
        read_cdb(tmp_path / "a.cdb")


def test_a_folder_in_the_place_of_the_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_cdb(tmp_path)


@pytest.mark.parametrize("grey", [False, True], ids=["binary", "grey"])
@pytest.mark.parametrize("fixed", [False, True], ids=["variable", "fixed"])
def test_flipped_bytes_give_the_images_or_the_one_error(tmp_path, fixed, grey):
    shapes = [(9, 7)] if fixed else [(9, 7), (30, 12), (4, 40)]
    path = tmp_path / "a.cdb"
    write(path, glyphs(12, shapes, grey=grey), fixed=fixed, grey=grey)
    whole = path.read_bytes()
    rng = np.random.default_rng(300)
    # Flips in the header's comments and reserved bytes change nothing: leave most of them out.
    places = np.concatenate([np.arange(60), np.arange(515, 530), np.arange(HEADER, len(whole))])
    refusals = []
    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.choice(places, size=rng.integers(1, 4)):
            damaged[at] ^= rng.integers(1, 256)
        path.write_bytes(damaged[: rng.integers(len(damaged))] if rng.random() < 0.1 else damaged)
        try:
            images, labels = read_cdb(path)
        except DataError as error:
            refusals.append(str(error))
        else:
            assert images.shape == (len(labels), 1, 28, 28)
            assert labels.max() < 10
    assert len(refusals) > 20
    assert all(str(path) in message for message in refusals)


def test_both_files_serve_their_own_split(tmp_path):
    write(tmp_path / "Train 60000.cdb", glyphs(30, [(9, 7)]))
    write(tmp_path / "Test 20000.cdb", glyphs(20, [(9, 7)], seed=1))
    assert len(read_hoda(tmp_path, "train")[0]) == 30
    assert len(read_hoda(tmp_path, "test")[0]) == 20


@pytest.mark.parametrize("place", ["hoda", "hoda/DigitDB", "DigitDB", "HODA/digitdb"])
@pytest.mark.parametrize("name", ["Test 20000.CDB", "test_20000.cdb"])
def test_names_as_kaggle_has_them(tmp_path, place, name):
    (tmp_path / place).mkdir(parents=True)
    write(tmp_path / place / name, glyphs(40, [(9, 7)]))
    (tmp_path / place / "RemainingSamples.cdb").write_bytes(b"not read")
    assert f"here: {tmp_path / place}" in overview(tmp_path)
    images = load_images("persian_digits", root=tmp_path, stand_in=False)
    assert len(images) == 34 and not images.is_stand_in


@pytest.mark.parametrize("name", ["readme.txt", "RemainingSamples.cdb", "._Test 20000.cdb"])
def test_a_folder_without_either_file_is_not_here_for_anyone(tmp_path, name):
    (tmp_path / "hoda").mkdir()
    (tmp_path / "hoda" / name).write_bytes(b"x")
    assert "not here: drawn_persian_digits" in overview(tmp_path)
    assert load_images("persian_digits", root=tmp_path).is_stand_in
    with pytest.raises(DataError, match="holds neither"):
        read_hoda(tmp_path / "hoda", "train")


@pytest.mark.parametrize("name", ["Train 60000.cdb", "Test 20000.cdb"])
def test_one_file_alone_is_cut_in_two(tmp_path, name):
    write(tmp_path / name, glyphs(200, [(9, 7)]))
    train, test = read_hoda(tmp_path, "train"), read_hoda(tmp_path, "test")
    assert (len(train[0]), len(test[0])) == (170, 30)
    together = torch.cat([train[0], test[0]]).flatten(1)
    assert len(together.unique(dim=0)) == 200  # random glyphs are all different: every one is there once
    again = read_hoda(tmp_path, "train")
    assert torch.equal(train[0], again[0])
    assert torch.equal(train[1], again[1])


def test_load_images_reads_it(tmp_path):
    (tmp_path / "hoda").mkdir()
    write(tmp_path / "hoda" / "Test 20000.cdb", glyphs(40, [(9, 7)]))
    images = load_images("persian_digits", "test", root=tmp_path)
    assert (images.name, images.is_stand_in) == ("persian_digits_like", False)  # noise, not Hoda's
    assert images.title == "Hoda-like images, 6 images of 28×28"
    assert images.shape == (1, 28, 28)
    assert len(images) == 6


def test_missing_it_says_what_to_do_and_downloads_nothing(tmp_path):
    with pytest.raises(DataError, match=r"by hand .*Train 60000\.cdb.*farsiocr\.ir"):
        load_images("persian_digits", root=tmp_path, stand_in=False)
    assert list(tmp_path.iterdir()) == []


def test_missing_it_is_said_aloud(tmp_path, capsys):
    images = load_images("persian_digits", "test", root=tmp_path)
    assert images.is_stand_in
    assert images.title == "drawn Persian digits, standing in for Hoda Persian digits"
    assert "using drawn Persian digits" in capsys.readouterr().out


def test_a_damaged_file_is_not_replaced_by_the_stand_in(tmp_path):
    (tmp_path / "hoda").mkdir()
    (tmp_path / "hoda" / "Test 20000.cdb").write_bytes(b"cut short")
    with pytest.raises(DataError, match=r"Test 20000\.cdb is damaged"):
        load_images("persian_digits", root=tmp_path)


def real_file():
    """The real test file, under $GEN_DATA_ROOT or the folder that lies next to the project in development."""
    beside = Path(__file__).parents[3] / ".." / "shared" / "data"
    roots = [Path(os.environ["GEN_DATA_ROOT"])] if "GEN_DATA_ROOT" in os.environ else []
    found = [root / "hoda" / "Test 20000.cdb" for root in [*roots, beside]]
    return next((path for path in found if path.is_file()), None)


@pytest.mark.skipif(real_file() is None, reason="no hoda/Test 20000.cdb under $GEN_DATA_ROOT or ../shared/data")
def test_the_real_file():
    path = real_file()
    images, labels = read_cdb(path)
    assert images.shape == (20_000, 1, 28, 28)
    assert labels.bincount().tolist() == 10 * [2_000]
    assert ((images == 0).sum() > 0.7 * images.numel()).item()  # white on black
    # A Persian 1 is an upright stroke and a 5 a wide loop: a transposed or misread image would not show it.
    width = (images[:, 0].amax(dim=1) > 127).sum(dim=1).float()
    assert width[labels == 1].mean() < 0.6 * width[labels == 5].mean()
    # The first record, decoded by the letter of the format, one run at a time.
    data = path.read_bytes()
    n_columns, n_rows, at = data[HEADER + 2], data[HEADER + 3], HEADER + 6
    glyph = np.zeros((n_rows, n_columns), np.uint8)
    for row in glyph:
        column, ink = 0, 0
        while column < n_columns:
            row[column : column + data[at]] = ink
            column, ink, at = column + data[at], 255 - ink, at + 1
    if max(glyph.shape) <= 28:
        assert np.array_equal(images[0, 0].numpy(), centred(glyph))
    else:
        assert abs(images[0].float().sum() / glyph.sum() * (max(glyph.shape) / 28) ** 2 - 1) < 0.1
