"""The page of datasets: complete without real files, with them where they are, and true to what it is made from."""

from pathlib import Path

import pytest
from PIL import Image

from gen_utils.data import CATALOG
from gen_utils.publishing.dataset_page import MARK, write_page

SOURCE = Path(__file__).resolve().parents[2] / "book" / "datasets.md"
REAL = [dataset for dataset in CATALOG.values() if dataset.stand_in is not None]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    write_page(SOURCE, folder, folder / "no_data")
    return folder


def test_every_dataset_has_its_section_and_picture(book):
    text = (book / "datasets.md").read_text(encoding="utf-8")
    assert MARK not in text and str(book) not in text
    for dataset in REAL:
        assert f"## {dataset.title}\n" in text and dataset.link in text and f'"{dataset.stand_in}"' in text
        with Image.open(book / "_static" / "datasets" / f"{dataset.name}.png") as picture:
            assert picture.width > 350
    assert text.count("were not there when these pages were built") == len(REAL)
    assert sum(path.stat().st_size for path in (book / "_static" / "datasets").iterdir()) < 600_000


def test_it_is_made_again_only_when_something_changed(book, monkeypatch):
    page = book / "datasets.md"
    before = page.stat().st_mtime_ns
    write_page(SOURCE, book, book / "no_data")
    assert page.stat().st_mtime_ns == before
    (book / "data" / "MNIST" / "raw").mkdir(parents=True)
    (book / "data" / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"not idx")
    (book / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte").write_bytes(b"not idx")
    (book / "data" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").write_bytes(b"not idx")
    write_page(SOURCE, book, book / "data")
    assert "MNIST. The real files could not be read" in page.read_text(encoding="utf-8")  # and the book still builds


def test_what_is_not_the_published_set_is_not_called_so(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("gen_utils.publishing.dataset_page.CATALOG", {n: CATALOG[n] for n in ("celeba", "avatars")})
    faces = tmp_path / "data" / "img_align_celeba"
    faces.mkdir(parents=True)
    for i in range(12):
        Image.new("RGB", (32, 32), "white").save(faces / f"{i}.jpg")
    write_page(SOURCE, tmp_path, tmp_path / "data")
    text = (tmp_path / "datasets.md").read_text(encoding="utf-8")
    assert "\nCelebA-like faces on white, 12 JPEG of 32×32, 100 % white on the left, drawn avatars right." in text
    assert "not CelebA as published" in text and "images of CelebA-like faces on white" in text
    (faces / ".DS_Store").write_bytes(b"x")
    before = (tmp_path / "datasets.md").stat().st_mtime_ns
    write_page(SOURCE, tmp_path, tmp_path / "data")
    assert (tmp_path / "datasets.md").stat().st_mtime_ns == before
    for i in range(12):
        Image.new("RGB", (178, 218), "grey").save(faces / f"{i}.jpg")
    write_page(SOURCE, tmp_path, tmp_path / "data")
    text = (tmp_path / "datasets.md").read_text(encoding="utf-8")
    assert "CelebA, 12 of 202,599 images on the left" in text and "a part of the published images" in text


def test_real_images_stand_on_the_left(tmp_path, real_root, monkeypatch):
    monkeypatch.setattr("gen_utils.data.cache.cache_folders", lambda root: [tmp_path / "cache"])
    monkeypatch.setattr("gen_utils.publishing.dataset_page.CATALOG", {n: CATALOG[n] for n in ("mnist", "digits")})
    write_page(SOURCE, tmp_path, real_root)
    assert "MNIST on the left, digits right." in (tmp_path / "datasets.md").read_text(encoding="utf-8")
