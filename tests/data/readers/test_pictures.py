"""Zips and folders of images: the layouts people have, and files that nobody should have."""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gen_utils.data import DataError, load_images
from gen_utils.data.readers.pictures import _eight_bits, held_out, read_pictures, square

RED, WHITE = (200, 30, 40), (255, 255, 255)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(colour=RED, size=(8, 8), mode="RGB"):
    return encoded(Image.new(mode, size, colour))


def faces(n, folder="bitmojis"):
    """n PNGs, each of its own colour, which says which one it is."""
    return {f"{folder}/{i:04}.png": png((i, 255 - i, 7)) for i in range(n)}


def write_zip(path, members, joint="/"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("/", joint), data)
    return path


def write_folder(path, members):
    for name, data in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def refusal(source, said="", **options):
    """The one error, checked for what every error must be."""
    before = sorted(source.parent.rglob("*"))
    with pytest.raises(DataError) as caught:
        read_pictures(source, "train", 8, **options)
    message = str(caught.value)
    assert str(source) in message and "\n" not in message
    assert said in message
    assert sorted(source.parent.rglob("*")) == before
    return message


LAYOUTS = {
    "zip": ("bitmojis.zip", "bitmojis", write_zip),
    "flat zip": ("bitmojis.zip", ".", write_zip),
    "zip, nested": ("bitmoji.zip", "data/bitmojis/bitmojis", write_zip),
    "folder": ("bitmojis", ".", write_folder),
    "folder, nested": ("bitmojis", "bitmojis", write_folder),
    "another set's folder": ("BitmojiDataset", "images", write_folder),
    "zip that begins with ./": ("bitmojis.zip", "././bitmojis", write_zip),
    "zip with backslashes": ("bitmojis.zip", "bitmojis", lambda *args: write_zip(*args, joint="\\")),
    "folder in capitals": ("Bitmojis", "Bitmojis", write_folder),
}


CLUTTER = {
    "__MACOSX/._0001.png": b"x",
    "bitmojis/__MACOSX/0.png": b"x",
    "bitmojis/._0001.png": b"x",
    ".DS_Store": b"x",
    "Thumbs.db": b"x",
    "desktop.ini": b"x",
    "readme.txt": b"x",
    "a/.hidden.jpg": b"x",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_images(tmp_path, monkeypatch, layout):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name, inside, write = LAYOUTS[layout]
    members = {key.removeprefix("./") if inside == "." else key: data for key, data in faces(20, inside).items()}
    write(tmp_path / "root" / name, members | CLUTTER)
    train, test = (load_images("bitmoji", split, size=4, root=tmp_path / "root") for split in ("train", "test"))
    assert (len(train), len(test)) == (18, 2)
    assert train.shape == (3, 4, 4) and train.labels is None and train.classes == () and not train.is_stand_in
    seen = torch.cat([train.images, test.images])
    assert sorted(seen[:, 0, 0, 0].tolist()) == list(range(20))
    assert (seen[:, 1] == 255 - seen[:, 0]).all()
    assert train.images[:, 0, 0, 0].tolist() == [int(n[-8:-4]) for n in held_out(sorted(faces(20)), "train")]


def test_the_split_is_disjoint_and_hardly_moves_when_the_set_grows():
    names = [f"img/{i:06}.jpg" for i in range(5000)]
    test = set(held_out(names, "test"))
    assert len(test) == 500 and test.isdisjoint(held_out(names, "train"))
    few = set(held_out([f"elsewhere/{i:06}.png" for i in range(1000)], "test"))
    again = {Path(name).stem for name in test}
    assert len([name for name in few if Path(name).stem not in again]) < 15


def test_classes_come_from_the_folders_in_cifar_order(tmp_path):
    members = {f"cifar10/{s}/{c}/{i}.png": png() for s in ("train", "test") for c in ("truck", "cat") for i in range(2)}
    source = write_zip(tmp_path / "cifar10.zip", members)
    images, labels = read_pictures(source, "train", 8, classes=("airplane", "cat", "truck"))
    assert images.shape == (4, 3, 8, 8) and labels.tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize("joint", ["/", "\\"])
@pytest.mark.parametrize("before", ["", "./", "././cifar10/", "CIFAR-10-images-master/"])
def test_classes_are_found_however_the_members_are_written(tmp_path, joint, before):
    members = {f"{before}{s}/{c}/0.png": png() for s in ("train", "Test") for c in ("truck", "Cat")}
    source = write_zip(tmp_path / "cifar10.zip", members | {"__MACOSX/train/cat/._0.png": b"x"}, joint)
    for split in ("train", "test"):
        assert sorted(read_pictures(source, split, 8, classes=("airplane", "cat", "truck"))[1].tolist()) == [1, 2]


def test_a_name_of_any_bytes_in_a_folder_is_read(tmp_path):
    source = write_folder(tmp_path / "faces", faces(3, "."))
    try:
        Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.png")).write_bytes(png())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert sum(len(read_pictures(source, split, 8)[0]) for split in ("train", "test")) == 4
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.png")).write_bytes(b"no picture")
    message = str(_first_error(source))
    assert "caf" in message and message.encode()  # it can be printed
    with pytest.raises(DataError, match="unknown") as caught:
        raise DataError(f"unknown {os.fsdecode(b'caf' + bytes([0xE9]))}")
    assert str(caught.value) == "unknown caf\\udce9"


def test_a_member_that_lies_about_its_encoding_is_named(tmp_path):
    """The archive promises UTF-8 and the name is Latin-1."""
    source = write_zip(tmp_path / "faces.zip", {"café.png": png()})
    source.write_bytes(source.read_bytes().replace("café".encode(), b"caf\xe9\xe9"))
    assert "caf\\xe9" in refusal(source, "has a name that is not UTF-8")


def test_a_tall_photograph_is_cropped_in_its_middle(tmp_path):
    tall = np.full((218, 178, 3), 255, np.uint8)
    tall[20:198] = (0, 100, 200)
    assert (square(encoded(Image.fromarray(tall)), 64) == (0, 100, 200)).all()
    wide = square(encoded(Image.fromarray(tall.transpose(1, 0, 2))), 64)
    assert (wide == (0, 100, 200)).all()


def test_making_smaller_does_not_alias():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = square(encoded(Image.fromarray(stripes)), 16).astype(int)
    assert abs(small[:, 2:-2] - 128).max() < 10


@pytest.mark.parametrize(
    ("mode", "colour", "becomes"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, WHITE),
        ("RGBA", (*RED, 0), WHITE),
        ("RGBA", (*RED, 255), RED),
        ("LA", (10, 0), WHITE),
    ],
)
def test_grey_and_transparent_images_among_rgb_are_welcome(tmp_path, mode, colour, becomes):
    """Faces saved grey or without a background are what people have: converted, not refused."""
    source = write_folder(tmp_path / "faces", {"0.png": png(), "1.png": png(colour, mode=mode), "2.png": png()})
    images, _ = read_pictures(source, "train", 8)
    everything = torch.cat([images, read_pictures(source, "test", 8)[0]])
    assert everything.shape == (3, 3, 8, 8)
    assert sorted(tuple(i[:, 4, 4].tolist()) for i in everything) == sorted([RED, RED, becomes])


def raw_png(side, depth, colour_type, rows, **chunks):
    """A PNG written by hand: depths and colours that Pillow reads and does not write."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    head = struct.pack(">IIBBBBB", side, side, depth, colour_type, 0, 0, 0)
    for kind, data in {"IHDR": head, **chunks, "IDAT": zlib.compress(rows), "IEND": b""}.items():
        body = kind.encode() + data
        parts.append(struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body)))
    return b"".join(parts)


def huge_png(side):
    """A PNG header that promises side×side pixels, and a few bytes."""
    return raw_png(side, 8, 2, bytes(1000))


GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
X = 30_000  # of 65,535: 117 of 255


@pytest.mark.parametrize(
    ("depth", "kind", "pixel", "chunks", "becomes"),
    [
        (16, GREY, struct.pack(">H", X), {}, (117, 117, 117)),
        (16, GREY, struct.pack(">H", 65_535), {}, WHITE),
        (16, GREY, struct.pack(">H", 257), {}, (1, 1, 1)),
        (16, GREY, struct.pack(">H", X), {"tRNS": struct.pack(">H", X)}, WHITE),
        (16, GREY, struct.pack(">H", X), {"tRNS": struct.pack(">H", X + 1)}, (117, 117, 117)),
        (16, GREY_ALPHA, struct.pack(">HH", X, 65_535), {}, (117, 117, 117)),
        (16, GREY_ALPHA, struct.pack(">HH", X, 0), {}, WHITE),
        (16, COLOUR, struct.pack(">HHH", X, 0, 65_535), {}, (117, 0, 255)),
        (16, COLOUR, struct.pack(">HHH", X, 0, 65_535), {"tRNS": struct.pack(">HHH", X, 0, 65_535)}, WHITE),
        (16, COLOUR_ALPHA, struct.pack(">HHHH", X, X, X, 65_535), {}, (117, 117, 117)),
        (16, COLOUR_ALPHA, struct.pack(">HHHH", X, X, X, 0), {}, WHITE),
        (8, GREY, b"\x40", {}, (64, 64, 64)),
        (8, GREY, b"\x40", {"tRNS": b"\0\x40"}, WHITE),
        (8, PALETTE, b"\0", {"PLTE": bytes(RED)}, RED),
        (8, PALETTE, b"\0", {"PLTE": bytes(RED), "tRNS": b"\0"}, WHITE),
        (4, GREY, b"\x40", {}, (68, 68, 68)),
        (4, GREY, b"\x40", {"tRNS": b"\0\4"}, WHITE),
        (2, GREY, b"\x40", {"tRNS": b"\0\1"}, WHITE),
        (1, GREY, b"\0", {"tRNS": b"\0\0"}, WHITE),
        (1, GREY, b"\x80", {"tRNS": b"\0\0"}, WHITE),
        (1, GREY, b"\0", {}, (0, 0, 0)),
    ],
)
def test_every_depth_and_colour_of_a_png(depth, kind, pixel, chunks, becomes):
    assert tuple(square(raw_png(1, depth, kind, b"\0" + pixel, **chunks), 1)[0, 0].tolist()) == becomes


@pytest.mark.parametrize("kind", [np.uint16, np.dtype(">u2"), np.int32])
def test_a_16_bit_ramp_keeps_its_steps(kind):
    """Pillow has three modes for it: I;16, I;16B and, in older versions, I."""
    ramp = np.linspace(0, 65_535, 64 * 64).reshape(64, 64)
    image = Image.fromarray(ramp.astype(kind))
    assert image.mode.startswith("I")
    grey = np.asarray(_eight_bits(image, depth=16))
    assert np.abs(grey - ramp / 257).max() <= 0.51 and len(np.unique(grey)) == 256
    assert (square(encoded(Image.fromarray(ramp.astype(np.uint16))), 64)[:, :, 0] == grey).all()


def test_a_cmyk_jpeg_becomes_rgb():
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert np.abs(square(encoded(cyan, "JPEG"), 8)[4, 4].astype(int) - (0, 255, 255)).max() < 12


JPEG = encoded(Image.new("RGB", (32, 32), RED), "JPEG")
BAD_IMAGES = {
    "a text file named .jpg": (b"this is not a picture\n" * 5, "cannot be read"),
    "an empty file": (b"", "cannot be read"),
    "50,000×50,000 pixels": (huge_png(50_000), "cannot be read"),
    "9,000×9,000 pixels": (huge_png(9_000), "9,000×9,000 pixels are too many"),
    "a JPEG cut short": (JPEG[: len(JPEG) // 2], "cannot be read"),
    "a PNG cut short": (png(size=(99, 99))[:-40], "cannot be read"),
    "a GIF named .jpg": (encoded(Image.new("P", (8, 8)), "GIF"), "cannot be read"),
}


@pytest.mark.parametrize("write", [write_zip, write_folder])
@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_named(tmp_path, kind, write):
    data, said = BAD_IMAGES[kind]
    source = write(tmp_path / "faces.zip", faces(5) | {"bitmojis/bad.jpg": data})
    name = "bitmojis/bad.jpg"
    split = "train" if name in held_out([*faces(5), name], "train") else "test"
    with pytest.raises(DataError, match=r"faces\.zip.*bitmojis/bad\.jpg") as caught:
        read_pictures(source, split, 8)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).endswith("replace or remove it")


@pytest.mark.parametrize(
    "name",
    ["../escape.png", "a/../../escape.png", "/etc/escape.png", "..\\escape.png", "C:\\escape.png", "../note.txt"],
)
def test_a_member_that_leaves_its_folder(tmp_path, name):
    source = write_zip(tmp_path / "evil.zip", faces(3) | {name: png()})
    assert repr(name) in refusal(source, "leads out of its folder")


def test_a_truncated_zip(tmp_path):
    source = write_zip(tmp_path / "short.zip", faces(9))
    source.write_bytes(source.read_bytes()[:-100])
    refusal(source, "cannot be read")


def test_a_member_whose_bytes_changed(tmp_path):
    source = write_zip(tmp_path / "rot.zip", faces(2))
    data = bytearray(source.read_bytes())
    for at in range(45, 60):
        data[at] ^= 0xFF
    source.write_bytes(data)
    assert "0000.png" in str(_first_error(source))


def _first_error(source):
    for split in ("train", "test"):
        try:
            read_pictures(source, split, 8)
        except DataError as error:
            return error
    raise AssertionError("nothing was noticed")


def test_a_member_that_would_unfold_to_gigabytes(tmp_path):
    source = tmp_path / "bomb.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", png())
        with archive.open("bomb.png", "w", force_zip64=True) as member:
            for _ in range(65):
                member.write(bytes(2**20))
    assert source.stat().st_size < 2**20
    assert "too many for one image" in str(_first_error(source))


def test_an_encrypted_member(tmp_path):
    source = write_zip(tmp_path / "locked.zip", {"a.png": png()})
    data = bytearray(source.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(data)
    refusal(source, "encrypted")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)], ids=["empty", "text", "no members"])
def test_what_is_no_zip_or_holds_nothing(tmp_path, content):
    (tmp_path / "bitmojis.zip").write_bytes(content)
    refusal(tmp_path / "bitmojis.zip")


def test_zero_images(tmp_path):
    refusal(write_zip(tmp_path / "a.zip", {"readme.txt": b"x"}), "holds no image")
    refusal(write_folder(tmp_path / "b", {"readme.txt": b"x"}), "holds no image")


def test_an_unknown_class_lists_the_known(tmp_path):
    source = write_zip(tmp_path / "c.zip", {"train/dragon/0.png": png()})
    refusal(source, "one of airplane, cat", classes=("airplane", "cat"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("write", [write_zip, write_folder])
def test_permissions(tmp_path, write):
    source = write(tmp_path / "bitmojis", faces(3))
    source.chmod(0)
    try:
        refusal(source, "permission")
    finally:
        source.chmod(0o755)


@pytest.mark.parametrize("target", ["zip", "image", "folder"])
def test_permissions_as_the_reader_meets_them(tmp_path, monkeypatch, target):
    """The same without depending on who runs the tests."""
    source = (write_zip if target == "zip" else write_folder)(tmp_path / "bitmojis", faces(3))

    def denied(*args, **options):
        raise PermissionError(13, "Permission denied")

    if target == "zip":
        monkeypatch.setattr(zipfile, "ZipFile", denied)
    elif target == "image":
        monkeypatch.setattr(Path, "read_bytes", denied)
    else:
        monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DataError, match="Permission denied") as caught:
        read_pictures(source, "train", 8)
    assert str(source) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file", "shape", "n_train", "n_test"),
    [
        ("bitmoji", "bitmojis.zip", (3, 64, 64), 3150, 350),
        ("celeba", "img_align_celeba.zip", (3, 64, 64), 9000, 1000),
        ("cifar10", "cifar10.zip", (3, 32, 32), None, 10_000),  # its 50,000 take ten seconds
    ],
)
def test_the_real_files(real_root, tmp_path, monkeypatch, name, file, shape, n_train, n_test):
    if not (real_root / file).is_file():
        pytest.skip(f"no {file} under the data root")
    monkeypatch.setattr("gen_utils.data.cache.cache_folders", lambda root: [tmp_path])  # the real root is not touched
    for split, n in (("train", n_train), ("test", n_test)):
        if n is not None:
            images = load_images(name, split, root=real_root, stand_in=False)
            assert len(images) == n and images.shape == shape and not images.is_stand_in
            assert images.images.flatten(1).float().std(dim=1).min() > 4  # no image is one colour
    if name == "cifar10":
        assert images.labels.bincount().tolist() == 10 * [1000]
        # Ships (8) stand before water and sky, frogs (6) do not: the label order is CIFAR-10's.
        blue = images.images[:, 2].float().mean((1, 2)) - images.images[:, 0].float().mean((1, 2))
        assert blue[images.labels == 8].mean() > 10 > blue[images.labels == 6].mean()
    else:
        assert images.labels is None
        corners = images.images[:, :, :3, :3].float().mean()
        assert corners > 200  # faces on white
