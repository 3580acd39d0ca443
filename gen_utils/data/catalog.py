"""The catalogue: what each dataset is, where its files live, and what stands in for it."""

from __future__ import annotations

from dataclasses import dataclass

DIGITS = tuple(str(d) for d in range(10))
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")  # CIFAR-10's order
GARMENTS = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
FORMS = ("disc", "ring", "square", "triangle", "star", "cross", "heart", "crescent", "arrow", "hexagon")
SPRITES = ("square", "ellipse", "heart")
SPRITE_FACTORS = ("colour", "shape", "scale", "orientation", "posX", "posY")
STACKS = tuple(f"{n:03}" for n in range(1000))  # red, green, blue digit


@dataclass(frozen=True)
class Published:
    """What the published images look like; others in their place do not bear their name.

    ``counts`` of train and test, or of all of them; ``kind`` of picture files; lowest and highest ``width`` and
    ``height`` in pixels; bounds of the ``mean`` pixel, and ``most_white``, the largest share of pure white pixels,
    both in [0, 1] and wide enough for a sample.
    """

    counts: tuple[int, ...]
    width: tuple[int, int]
    height: tuple[int, int]
    kind: str = ""
    mean: tuple[float, float] = (0.0, 1.0)
    most_white: float = 1.0

    def count(self, part: str) -> int:
        """Of "train", "test" or "all"."""
        return sum(self.counts) if part == "all" else self.counts[("train", "test").index(part)]


def _published(counts: tuple[int, ...], side: int, mean: tuple[float, float], kind: str = "") -> Published:
    return Published(counts, (side, side), (side, side), kind, mean)


@dataclass(frozen=True)
class Dataset:
    """One dataset's facts.

    ``shape`` is (C, H, W); ``files`` and ``also`` say where under the data root its files are looked for, in this
    order; ``stand_in`` names the built-in set used when they are missing, or is None for a built-in set; ``original``
    says what a built-in set stands for; ``factors`` names the columns of ``ImageSet.factors``; ``published`` is what
    tells the real images, and ``like`` is what others in their place are called.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    files: str
    how: str  # how to get them
    licence: str
    link: str
    stand_in: str | None = None
    original: str | None = None
    also: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    published: Published | None = None
    like: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        """Every place under the data root where the files may lie."""
        return (self.files, *self.also)


_CATALOG = (
    Dataset(
        name="mnist",
        title="MNIST",
        shape=(1, 28, 28),
        classes=DIGITS,
        files="MNIST/raw/",
        also=("MNIST/",),
        how="it is downloaded on first use (about 12 MB), or put the four idx files (plain or .gz) there",
        licence="CC BY-SA 3.0",
        link="https://yann.lecun.org/exdb/mnist/index.html",
        stand_in="digits",
        published=_published((60_000, 10_000), 28, mean=(0.12, 0.145)),
        like="MNIST-like images",
    ),
    Dataset(
        name="fashion_mnist",
        title="Fashion-MNIST",
        shape=(1, 28, 28),
        classes=GARMENTS,
        files="FashionMNIST/raw/",
        also=("FashionMNIST/", "fashion-mnist/"),
        how="it is downloaded on first use (about 31 MB), or put the four idx files (plain or .gz) there",
        licence="MIT",
        link="https://github.com/zalandoresearch/fashion-mnist",
        stand_in="garments",
        published=_published((60_000, 10_000), 28, mean=(0.26, 0.31)),
        like="Fashion-MNIST-like images",
    ),
    Dataset(
        name="cifar10",
        title="CIFAR-10",
        shape=(3, 32, 32),
        classes=OBJECTS,
        files="cifar-10-batches-bin/",
        also=("cifar-10-binary.tar.gz", "cifar-10-batches-py/", "cifar10.zip", "cifar10/"),
        how="it is downloaded on first use (the binary version, 162 MB), or put that .tar.gz, its folder, or a zip or "
        "folder of images as train/CLASS/NAME.png and test/CLASS/NAME.png (cifar10.zip, cifar10/) there",
        licence="none stated; cite Krizhevsky (2009)",
        link="https://www.cs.toronto.edu/~kriz/cifar.html",
        stand_in="shapes",
        published=_published((50_000, 10_000), 32, mean=(0.43, 0.52), kind="PNG"),
        like="CIFAR-10-like images",
    ),
    Dataset(
        name="bitmoji",
        title="Bitmoji",
        shape=(3, 64, 64),
        classes=(),
        files="bitmojis.zip",
        also=("bitmojis/", "bitmoji.zip", "bitmoji/", "bitmoji-faces.zip", "bitmoji-faces/", "BitmojiDataset/"),
        how="download it by hand from Kaggle (romaingraux/bitmojis, about 130,000 PNG files) and put the zip (as "
        "bitmojis.zip, whatever Kaggle called it) or the unpacked folder bitmojis/ there",
        licence="see its page; the drawings are Snap Inc's",
        link="https://www.kaggle.com/datasets/romaingraux/bitmojis",
        stand_in="avatars",
        published=Published((130_000,), (128, 1024), (128, 1024), kind="PNG"),
        like="Bitmoji-like faces",
    ),
    Dataset(
        name="celeba",
        title="CelebA",
        shape=(3, 64, 64),
        classes=(),
        files="img_align_celeba.zip",
        also=("img_align_celeba/", "celeba/img_align_celeba.zip", "celeba/img_align_celeba/", "celeba.zip", "celeba/"),
        how="download img_align_celeba.zip (1.3 GB) by hand from its page and put it, or its unpacked folder, there",
        licence="non-commercial research only; cite Liu et al. (2015)",
        link="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        stand_in="avatars",
        published=Published((202_599,), (178, 178), (218, 218), kind="JPEG", most_white=0.1),
        like="CelebA-like faces",
    ),
    Dataset(
        name="dsprites",
        title="dSprites",
        shape=(1, 64, 64),
        classes=SPRITES,
        files="dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
        also=("dsprites/dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",),
        how="download the .npz (26 MB) by hand from its page and put it there",
        licence="Apache 2.0",
        link="https://github.com/google-deepmind/dsprites-dataset",
        stand_in="sprites",
        factors=SPRITE_FACTORS,
        published=_published((60_000, 10_000), 64, mean=(0.02, 0.1)),  # of the subset that is read
        like="dSprites-like images",
    ),
    Dataset(
        name="stacked_mnist",
        title="Stacked MNIST",
        shape=(3, 28, 28),
        classes=STACKS,
        files="MNIST/raw/",
        also=("MNIST/",),
        how="it is made from MNIST, which is downloaded on first use (about 12 MB), or put its four idx files there",
        licence="as MNIST",
        link="https://yann.lecun.org/exdb/mnist/index.html",
        stand_in="stacked_digits",
        published=_published((60_000, 10_000), 28, mean=(0.12, 0.145)),  # of the digits that are stacked
        like="stacked MNIST-like images",
    ),
    Dataset(
        name="persian_digits",
        title="Hoda Persian digits",
        shape=(1, 28, 28),
        classes=DIGITS,
        files="hoda/",
        also=("hoda/DigitDB/", "DigitDB/"),
        how='download it by hand from its site and put "Train 60000.cdb" and "Test 20000.cdb" (one is enough) there',
        licence="free for research use; cite Khosravi and Kabir (2007)",
        link="http://farsiocr.ir",
        stand_in="drawn_persian_digits",
        published=_published((60_000, 20_000), 28, mean=(0.15, 0.25)),
        like="Hoda-like images",
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
    Dataset(
        name="avatars",
        title="drawn avatars",
        shape=(3, 64, 64),
        classes=(),
        files="built in",
        how="built in: cartoon faces drawn from a seed",
        licence="MIT, as this project",
        link="https://www.kaggle.com/datasets/romaingraux/bitmojis",
        original="Bitmoji",
    ),
    Dataset(
        name="shapes",
        title="drawn shapes",
        shape=(3, 32, 32),
        classes=FORMS,
        files="built in",
        how="built in: ten coloured shapes on textured grounds, drawn from a seed",
        licence="MIT, as this project",
        link="https://www.cs.toronto.edu/~kriz/cifar.html",
        original="CIFAR-10",
    ),
    Dataset(
        name="sprites",
        title="drawn sprites",
        shape=(1, 64, 64),
        classes=SPRITES,
        files="built in",
        how="built in: dSprites' shapes and factors, drawn anew; the pixels are not dSprites'",
        licence="MIT, as this project",
        link="https://github.com/google-deepmind/dsprites-dataset",
        original="dSprites",
        factors=SPRITE_FACTORS,
    ),
    Dataset(
        name="stacked_digits",
        title="stacked digits",
        shape=(3, 28, 28),
        classes=STACKS,
        files="built in",
        how="built in: scikit-learn's digits, three in the three colour channels",
        licence="as digits",
        link="https://archive.ics.uci.edu/dataset/80",
        original="Stacked MNIST",
    ),
)

CATALOG = {dataset.name: dataset for dataset in _CATALOG}


def printable(text: str) -> str:
    """``text`` with what is no character written as \\udcNN: file names may be any bytes, which cannot be printed."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class DataError(RuntimeError):
    """A dataset is unknown, missing or damaged; the message says which file and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def lookup(name: str) -> Dataset:
    """The catalogue's entry, or an error that lists the known names."""
    try:
        return CATALOG[name]
    except KeyError:
        raise DataError(f"unknown dataset {name!r}; known: {', '.join(CATALOG)}") from None
