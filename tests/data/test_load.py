from pathlib import Path

import pytest
import torch

from gen_utils.data import CATALOG, DataError, load, load_images
from gen_utils.data.inventory import state
from gen_utils.data.whereabouts import find

pytestmark = pytest.mark.usefixtures("no_network")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(DataError, match="mnist, fashion_mnist"):
        load_images("minst")


def test_an_unknown_split_lists_the_known_ones():
    with pytest.raises(DataError, match="train, test"):
        load_images("digits", "valid")


def test_missing_data_is_replaced_aloud(tmp_path, capsys):
    images = load_images("mnist", root=tmp_path)
    said = capsys.readouterr().out
    assert images.is_stand_in and images.name == "digits"
    assert "standing in for MNIST" in images.title and "standing in for MNIST" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", [n for n, d in CATALOG.items() if d.stand_in])
def test_missing_data_without_a_stand_in_says_what_to_do(tmp_path, name):
    with pytest.raises(DataError) as error:
        load_images(name, root=tmp_path, stand_in=False)
    assert str(tmp_path / CATALOG[name].files) in str(error.value)
    assert CATALOG[name].link in str(error.value) and "GEN_DATA_ROOT" in str(error.value)


def test_a_damaged_file_is_an_error_and_not_a_stand_in(tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (folder / name).write_bytes(b"\0\0\x08\x01\0\0\0\x05abc")
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        load_images("mnist", root=tmp_path)


@pytest.mark.parametrize("name", [n for n, d in CATALOG.items() if d.stand_in is None])
def test_built_in_sets_have_the_shape_the_catalogue_says(name):
    images = load_images(name, "test")
    assert images.shape == CATALOG[name].shape and images.images.dtype == torch.uint8
    if images.classes:
        assert images.labels.unique().tolist() == list(range(len(images.classes)))
    else:
        assert images.labels is None
    assert images.is_stand_in and "standing in for" in images.title


def test_limit_is_a_repeatable_mixture_of_classes():
    a, b = load_images("digits", limit=50), load_images("digits", limit=50)
    assert len(a) == 50 and torch.equal(a.images, b.images) and len(a.labels.unique()) > 5


def test_size_resizes():
    small = load_images("digits", "test", size=14)
    assert small.shape == (1, 14, 14) and small.images.dtype == torch.uint8 and small.is_stand_in


@pytest.mark.parametrize("size", [0, -3, 5000])
def test_an_absurd_size_is_refused(size):
    with pytest.raises(DataError, match="size must be"):
        load_images("digits", size=size)


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_that_leaves_nothing_is_refused(limit):
    with pytest.raises(DataError, match=f"limit must be at least 1 image, got {limit}"):
        load_images("digits", limit=limit)


CLUTTER = ("readme.txt", ".DS_Store", "._0.png", "__MACOSX/0.png", "Thumbs.db")


@pytest.mark.parametrize("dataset", [d for d in CATALOG.values() if d.stand_in], ids=lambda d: d.name)
def test_a_folder_of_clutter_is_not_here_for_anyone(tmp_path, dataset):
    for place in dataset.places:
        for name in CLUTTER if place.endswith("/") else ():
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / name).write_bytes(b"x")
    assert find(dataset, tmp_path) is None
    assert state(dataset, tmp_path) == f"not here: {dataset.stand_in} stands in"
    with pytest.raises(DataError, match=f"{dataset.title} is missing"):
        load_images(dataset.name, root=tmp_path, stand_in=False)


def test_bitmoji_is_the_set_of_the_assignment():
    for name in ("bitmoji", "avatars"):
        assert CATALOG[name].link == "https://www.kaggle.com/datasets/romaingraux/bitmojis"
    assert "romaingraux/bitmojis" in CATALOG["bitmoji"].how


def test_an_empty_folder_is_no_dataset(tmp_path):
    (tmp_path / "bitmojis").mkdir()
    with pytest.raises(DataError, match="Bitmoji is missing"):
        load_images("bitmoji", root=tmp_path, stand_in=False)


def test_every_stand_in_has_the_shape_of_what_it_replaces():
    for dataset in CATALOG.values():
        if dataset.stand_in is not None:
            assert CATALOG[dataset.stand_in].shape == dataset.shape
            assert len(CATALOG[dataset.stand_in].classes) == len(dataset.classes)
            assert CATALOG[dataset.stand_in].factors == dataset.factors


def test_the_classes_and_factors_are_those_that_are_drawn():
    from gen_utils.data.stand_ins import shapes, sprites

    assert CATALOG["shapes"].classes == shapes.SHAPE_CLASSES
    assert CATALOG["sprites"].classes == sprites.SPRITE_SHAPES
    assert CATALOG["sprites"].factors == sprites.FACTOR_NAMES
    assert load_images("sprites", "test").factors.shape[1] == len(sprites.FACTOR_NAMES)


def test_the_root_comes_from_the_argument_then_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GEN_DATA_ROOT", str(tmp_path))
    assert load.data_root() == tmp_path
    assert load.data_root("elsewhere").name == "elsewhere"
    monkeypatch.setenv("GEN_DATA_ROOT", "~/images")
    assert load.data_root() == Path.home() / "images"
    monkeypatch.setenv("GEN_DATA_ROOT", "")
    assert str(load.data_root()) == "data"
    monkeypatch.delenv("GEN_DATA_ROOT")
    assert str(load.data_root()) == "data"


def test_real_mnist(real_root):
    train, test = load_images("mnist", root=real_root, stand_in=False), load_images("mnist", "test", root=real_root)
    assert len(train) == 60_000 and len(test) == 10_000 and not train.is_stand_in
    assert abs(train.images.float().mean().item() / 255 - 0.1307) < 1e-4  # the published mean pixel


def test_real_fashion_mnist(real_root):
    train = load_images("fashion_mnist", root=real_root, stand_in=False)
    assert abs(train.images.float().mean().item() / 255 - 0.2860) < 1e-4
