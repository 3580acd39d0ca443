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
    text = (book / "datasets.md").read_text()
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
    assert "MNIST. The real files could not be read" in page.read_text()  # and the book still builds


def test_real_images_stand_on_the_left(tmp_path, real_root, monkeypatch):
    monkeypatch.setattr("gen_utils.data.cache.cache_folders", lambda root: [tmp_path / "cache"])
    monkeypatch.setattr("gen_utils.publishing.dataset_page.CATALOG", {n: CATALOG[n] for n in ("mnist", "digits")})
    write_page(SOURCE, tmp_path, real_root)
    assert "MNIST on the left, digits right." in (tmp_path / "datasets.md").read_text()
