"""The catalogue: what each dataset is, where its files live, and what stands in for it."""

from __future__ import annotations

from dataclasses import dataclass

DIGITS = tuple(str(d) for d in range(10))
GARMENTS = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


@dataclass(frozen=True)
class Dataset:
    """One dataset's facts.

    ``shape`` is (C, H, W); ``stand_in`` names the built-in set used when the files are missing,
    or is None for a built-in set; ``original`` says what a built-in set stands for.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    files: str  # where under the data root its files are looked for
    how: str  # how to get them
    licence: str
    link: str
    stand_in: str | None = None
    original: str | None = None


_CATALOG = (
    Dataset(
        name="mnist",
        title="MNIST",
        shape=(1, 28, 28),
        classes=DIGITS,
        files="MNIST/raw/",
        how="downloaded on first use (about 12 MB), or put the four idx files (plain or .gz) there",
        licence="CC BY-SA 3.0",
        link="https://yann.lecun.org/exdb/mnist/index.html",
        stand_in="digits",
    ),
    Dataset(
        name="fashion_mnist",
        title="Fashion-MNIST",
        shape=(1, 28, 28),
        classes=GARMENTS,
        files="FashionMNIST/raw/",
        how="downloaded on first use (about 31 MB), or put the four idx files (plain or .gz) there",
        licence="MIT",
        link="https://github.com/zalandoresearch/fashion-mnist",
        stand_in="garments",
    ),
    Dataset(
        name="persian_digits",
        title="Hoda Persian digits",
        shape=(1, 28, 28),
        classes=DIGITS,
        files="hoda/",
        how='download it by hand from its site and put "Train 60000.cdb" and "Test 20000.cdb" (one is enough) there',
        licence="free for research use; cite Khosravi and Kabir (2007)",
        link="http://farsiocr.ir",
        stand_in="drawn_persian_digits",
    ),
    Dataset(
        name="digits",
        title="digits",
        shape=(1, 28, 28),
        classes=DIGITS,
        files="built in",
        how="built in: scikit-learn's 1,797 handwritten digits, scaled from 8×8",
        licence="CC BY 4.0 (UCI repository)",
        link="https://archive.ics.uci.edu/dataset/80",
        original="MNIST",
    ),
    Dataset(
        name="drawn_persian_digits",
        title="drawn Persian digits",
        shape=(1, 28, 28),
        classes=DIGITS,
        files="built in",
        how="built in: the Persian digits of the font DejaVu Sans, bent and inked differently each time",
        licence="the font's: free, Bitstream Vera",
        link="https://dejavu-fonts.github.io",
        original="Hoda Persian digits",
    ),
    Dataset(
        name="garments",
        title="drawn garments",
        shape=(1, 28, 28),
        classes=GARMENTS,
        files="built in",
        how="built in: silhouettes drawn from a seed",
        licence="MIT, as this project",
        link="https://github.com/zalandoresearch/fashion-mnist",
        original="Fashion-MNIST",
    ),
)

CATALOG = {dataset.name: dataset for dataset in _CATALOG}


class DataError(RuntimeError):
    """A dataset is unknown, missing or damaged; the message says which file and what to do."""


def lookup(name: str) -> Dataset:
    """The catalogue's entry, or an error that lists the known names."""
    try:
        return CATALOG[name]
    except KeyError:
        raise DataError(f"unknown dataset {name!r}; known: {', '.join(CATALOG)}") from None
