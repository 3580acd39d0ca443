"""The built-in sets: the same on every call, balanced, and train apart from test."""

import pytest
import torch
from torch.nn import functional as F

from gen_utils.data import CATALOG, load_images
from gen_utils.data.stand_ins import BUILT_IN

DRAWN = ["drawn_persian_digits", "garments"]


@pytest.fixture(scope="module", params=BUILT_IN)
def both(request):
    """(name, train, test), drawn once a set."""
    name = request.param
    return name, load_images(name, "train"), load_images(name, "test")


def test_shapes_types_and_names(both):
    name, train, test = both
    for images in (train, test):
        assert images.images.dtype == torch.uint8
        assert images.shape == CATALOG[name].shape
        assert images.classes == CATALOG[name].classes
        if images.classes:
            assert images.labels.dtype == torch.int64
            assert set(images.labels.tolist()) == set(range(len(images.classes)))
        else:
            assert images.labels is None
        assert images.is_stand_in
        assert images.title.endswith(f"standing in for {CATALOG[name].original}")
        assert images.images.flatten(1).amax(dim=1).min() > 80  # no image is empty


def test_train_and_test_share_no_image(both):
    _, train, test = both
    rows = [images.images.flatten(1).unique(dim=0) for images in (train, test)]
    assert len(torch.cat(rows).unique(dim=0)) == len(rows[0]) + len(rows[1])


def test_the_same_on_every_call(both):
    name, _, test = both
    torch.manual_seed(123)  # nobody else's random numbers matter
    images, labels, *factors = BUILT_IN[name]("test")
    assert torch.equal(images, test.images)
    assert test.labels is None if labels is None else torch.equal(labels, test.labels)
    assert torch.equal(factors[0], test.factors) if factors else test.factors is None


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_global_random_state_is_left_alone(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    BUILT_IN[name]("test")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize(("split", "n"), [("train", 6_000), ("test", 1_000)])
def test_drawn_sets_are_balanced_and_in_no_order(name, split, n):
    images, labels = BUILT_IN[name](split)
    assert images.shape == (n, 1, 28, 28)
    assert labels.bincount().tolist() == 10 * [n // 10]
    assert set(labels[:100].tolist()) == set(range(10))
    assert (labels[:-1] != labels[1:]).float().mean() > 0.8
    assert (images == 0).float().mean() > 0.4  # black around the drawing


@pytest.mark.parametrize("name", DRAWN)
def test_the_classes_can_be_told_apart(name):
    """The nearest training image, both blurred, names almost every test image; drawn alike, it could not."""
    train, test = (load_images(name, split) for split in ("train", "test"))
    features = [F.avg_pool2d(images.scaled(), 2).flatten(1) for images in (train, test)]
    distance, guess = torch.cdist(features[1], features[0]).min(dim=1)
    assert distance.min() > 0
    assert (train.labels[guess] == test.labels).float().mean() > 0.95


@pytest.mark.parametrize(("name", "replacement"), [("fashion_mnist", "garments"), ("mnist", "digits")])
def test_they_have_the_classes_of_what_they_stand_for(name, replacement):
    assert CATALOG[name].stand_in == replacement
    assert CATALOG[replacement].classes == CATALOG[name].classes
    assert CATALOG[replacement].shape == CATALOG[name].shape


def test_every_stand_in_is_built_in_and_says_what_it_stands_for():
    for dataset in CATALOG.values():
        if dataset.stand_in is None:
            assert dataset.name in BUILT_IN
            assert dataset.original
        else:
            assert dataset.stand_in in BUILT_IN
