"""What is in a dataset's place bears its name only if it is that; all files are written here, small."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from PIL import Image

from gen_utils.base.identity import identity
from gen_utils.data import CATALOG, load_images
from gen_utils.data.at_hand import AtHand, as_text, from_text, name_and_title
from gen_utils.data.inventory import overview, state

CELEBA = AtHand(202_599, "JPEG", (178, 178), (218, 218), 0.43, 0.03)
PHOTOGRAPHS = AtHand(60_000, "PNG", (32, 32), (32, 32), 0.47, 0.0)
DIGITS = AtHand(60_000, "", (28, 28), (28, 28), 0.1307, 0.005)


@pytest.fixture(autouse=True)
def _own_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def changed(seen, **differences):
    return dataclasses.replace(seen, **differences)


@pytest.mark.parametrize(
    ("name", "seen", "part"),
    [
        ("celeba", CELEBA, "all"),
        ("celeba", changed(CELEBA, count=202_601), "all"),
        ("cifar10", PHOTOGRAPHS, "all"),
        ("cifar10", changed(PHOTOGRAPHS, count=10_000, kind=""), "test"),
        ("bitmoji", AtHand(130_000, "PNG", (384, 384), (384, 384), 0.6, 0.4), "all"),
        ("mnist", DIGITS, "train"),
        ("stacked_mnist", changed(DIGITS, count=10_000), "test"),
        ("fashion_mnist", changed(DIGITS, mean=0.286), "train"),
        ("persian_digits", changed(DIGITS, mean=0.196), "train"),
    ],
)
def test_the_published_files_bear_their_name(name, seen, part):
    assert name_and_title(CATALOG[name], seen, part) == (name, CATALOG[name].title)


@pytest.mark.parametrize(
    ("name", "seen", "part", "title"),
    [
        (
            "celeba",
            changed(CELEBA, white=0.4),
            "all",
            "CelebA-like faces on white, 202,599 JPEG of 178×218, 40 % white",
        ),
        ("celeba", changed(CELEBA, kind="PNG"), "all", "CelebA-like faces, 202,599 PNG of 178×218, 3 % white"),
        ("cifar10", changed(PHOTOGRAPHS, kind="JPEG"), "all", "CIFAR-10-like images, 60,000 JPEG of 32×32"),
        ("cifar10", changed(PHOTOGRAPHS, width=(32, 64)), "all", "CIFAR-10-like images, 60,000 PNG of 32 to 64×32"),
        ("cifar10", changed(PHOTOGRAPHS, count=70_000), "all", "CIFAR-10-like images, 70,000 PNG of 32×32"),
        ("mnist", changed(DIGITS, mean=0.286), "train", "MNIST-like images, 60,000 images of 28×28"),  # Fashion-MNIST's
        ("mnist", changed(DIGITS, mean=0.192), "train", "MNIST-like images, 60,000 images of 28×28"),  # Kuzushiji's
        ("mnist", changed(DIGITS, mean=0.869), "train", "MNIST-like images, 60,000 images of 28×28"),  # black on white
    ],
)
def test_other_pixels_have_a_name_of_their_own(name, seen, part, title):
    assert name_and_title(CATALOG[name], seen, part) == (f"{name}_like", title)


def test_a_part_of_the_published_images_says_so():
    assert name_and_title(CATALOG["celeba"], changed(CELEBA, count=10_000), "all") == (
        "celeba",
        "CelebA, 10,000 of 202,599 images",
    )
    assert name_and_title(CATALOG["mnist"], changed(DIGITS, count=500), "test")[1] == "MNIST, 500 of 10,000 images"


def test_every_real_dataset_says_what_tells_it():
    for dataset in CATALOG.values():
        assert (dataset.published is None) == (dataset.stand_in is None) == (dataset.like == "")
        assert dataset.like != dataset.title


def write_faces(folder, n=20, size=(178, 218), white=0.0, suffix=".jpg"):
    """Noise, white from the top down to a share of the height."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for i in range(n):
        pixels = draw.integers(40, 200, (size[1], size[0], 3), dtype=np.uint8)
        pixels[: round(white * size[1])] = 255
        Image.fromarray(pixels).save(folder / f"{i:06}{suffix}", quality=95)


def test_cut_out_faces_under_celebas_file_name_are_not_called_celeba(tmp_path):
    write_faces(tmp_path / "img_align_celeba", size=(64, 64), white=0.5)
    for _ in range(2):  # the second time it comes from the cache
        images = load_images("celeba", root=tmp_path, size=8)
        assert (images.name, len(images)) == ("celeba_like", 18)
        assert re.fullmatch(r"CelebA-like faces on white, 20 JPEG of 64×64, (4\d|50) % white", images.title)
        assert images.source == f"{tmp_path / 'img_align_celeba'}: {images.title.partition(', ')[2]}"
    assert f"here: {tmp_path / 'img_align_celeba'} (CelebA-like faces on white" in overview(tmp_path)


def test_files_like_celebas_own_are_a_part_of_it(tmp_path):
    write_faces(tmp_path / "img_align_celeba")
    images = load_images("celeba", "test", root=tmp_path, size=8, limit=1)
    assert (images.name, images.title) == ("celeba", "CelebA, 20 of 202,599 images")
    assert images.take(torch.tensor([0])).title == images.split(1.0)[0].title == images.title


def test_where_files_lie_does_not_change_what_they_are(tmp_path):
    write_faces(tmp_path / "a" / "bitmojis", size=(20, 20), suffix=".png")
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "bitmojis").rename(tmp_path / "b" / "bitmojis")
    write_faces(tmp_path / "a" / "bitmojis", size=(20, 20), suffix=".png")
    one, other = (load_images("bitmoji", root=tmp_path / folder, size=8) for folder in "ab")
    assert one.source != other.source and identity(one) == identity(other)
    assert one.title == "Bitmoji-like faces, 20 PNG of 20×20"


def test_stand_ins_are_built_in(tmp_path, no_network):
    images = load_images("celeba", "test", root=tmp_path)
    assert images.is_stand_in and images.name == "avatars" and images.source == "built in"


def test_what_was_seen_survives_being_written():
    assert from_text(as_text(CELEBA)) == CELEBA
    for wrong in ("", "{}", "3", '{"count": 1}'):
        with pytest.raises((KeyError, TypeError, ValueError)):
            from_text(wrong)


def test_the_overview_says_what_is_incomplete_or_damaged(tmp_path):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    assert state(CATALOG["mnist"], tmp_path) == "not here: digits stands in"
    for name in ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"):
        (tmp_path / "MNIST" / "raw" / name).write_bytes(b"x")
    missing = "lacks t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte"
    for name in ("mnist", "stacked_mnist"):
        assert state(CATALOG[name], tmp_path) == f"incomplete: {tmp_path / 'MNIST' / 'raw'} {missing}"
    (tmp_path / "bitmojis.zip").write_bytes(b"no zip")
    assert state(CATALOG["bitmoji"], tmp_path).startswith(f"cannot be used: {tmp_path / 'bitmojis.zip'} cannot be read")


def test_the_real_files_say_what_they_are(real_root):
    said = overview(real_root)
    assert f"here: {real_root / 'MNIST' / 'raw'}\n" in said
    if (real_root / "img_align_celeba.zip").is_file():  # 64×64, its background removed
        assert "CelebA-like faces on white, 10,000 JPEG of 64×64" in said
