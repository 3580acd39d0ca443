"""The shapes: ten kinds, evenly, that stand out from their grounds and can be told apart."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gen_utils.data.stand_ins import shapes as module
from gen_utils.data.stand_ins.shapes import SHAPE_CLASSES, shapes


@pytest.fixture(scope="module")
def train():
    return shapes("train")


@pytest.fixture(scope="module")
def test():
    return shapes("test")


@pytest.mark.parametrize(("split", "n"), [("train", 5_000), ("test", 1_000)])
def test_ten_classes_evenly_and_in_no_order(split, n, request):
    images, labels = request.getfixturevalue(split)
    assert images.shape == (n, 3, 32, 32) and images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert labels.bincount().tolist() == 10 * [n // 10]
    assert (labels[:-1] != labels[1:]).float().mean() > 0.8
    assert len(set(SHAPE_CLASSES)) == 10


def test_no_two_images_are_equal(train, test):
    rows = torch.cat([train[0], test[0]]).numpy()
    assert len({row.tobytes() for row in rows}) == len(rows)


def test_the_same_on_every_call(test):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    images, labels = shapes("test")
    assert torch.equal(images, test[0])
    assert torch.equal(labels, test[1])
    assert torch.equal(before, torch.get_rng_state())


def test_a_linear_classifier_does_better_than_chance(train, test):
    """From grey edges, so that it cannot go by colour: a third right, where chance is a tenth."""

    def features(images):
        grey = images.float().mean(dim=1, keepdim=True) / 255
        edges = torch.cat([grey.diff(dim=2)[..., :31], grey.diff(dim=3)[:, :, :31]], dim=1).abs()
        return F.pad(F.avg_pool2d(edges, 2).flatten(1), (0, 1), value=1.0)

    target = F.one_hot(train[1], 10).float()
    weights = torch.linalg.lstsq(features(train[0]), target).solution
    right = ((features(test[0]) @ weights).argmax(dim=1) == test[1]).float().mean()
    assert right > 0.3


def test_colours_vary_and_do_not_tell_the_class(train):
    images, labels = train
    means = torch.stack([images[labels == label].float().mean((0, 2, 3)) for label in range(10)])
    assert means.std(dim=0).max() < 8  # of 255: every class has every colour
    assert images.float().mean((2, 3)).std(dim=0).min() > 25


def test_the_shape_stands_out_from_both_colours_of_its_ground():
    ground_a, ground_b, shape = module._colours(2_000, np.random.default_rng(0))
    assert all(colour.shape == (2_000, 3, 1, 1) for colour in (ground_a, ground_b, shape))
    nearer = np.minimum(np.abs(shape - ground_a).max(axis=1), np.abs(shape - ground_b).max(axis=1))
    assert np.quantile(nearer, 0.01) > 0.3


def test_hue_saturation_value():
    import colorsys

    rng = np.random.default_rng(0)
    h, s, v = rng.random((3, 50))
    expected = [colorsys.hsv_to_rgb(*one) for one in zip(h, s, v, strict=True)]
    np.testing.assert_allclose(module._rgb(h, s, v), expected, atol=1e-12)
    np.testing.assert_allclose(module._rgb(h - 1, s, v), expected, atol=1e-12)  # the hue goes round


def test_grounds_lie_between_the_two_colours_and_are_not_even():
    texture = module._texture(300, np.random.default_rng(0))
    assert texture.shape == (300, 32, 32)
    assert texture.min() >= 0 and texture.max() <= 1
    assert texture.std(axis=(1, 2)).min() > 0.02


def _plane():
    steps = np.linspace(-1.5, 1.5, 301)
    return np.broadcast_to(steps, (301, 301)), np.broadcast_to(steps[:, None], (301, 301))


@pytest.mark.parametrize("name", SHAPE_CLASSES)
def test_distances_are_distances(name):
    """A step of 0.01 changes none by more, so that the antialiasing is a pixel wide and no outline is doubled."""
    x, y = _plane()
    distance = module._DISTANCE[name](x, y)
    assert max(np.abs(np.diff(distance, axis=axis)).max() for axis in (0, 1)) < 0.0101
    inside = distance < 0
    assert 0.15 < inside.mean() * 9 / math.pi < 1  # a part of the unit disc, more or less
    assert 0.9 < np.hypot(x, y)[inside].max() < 1.15


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("disc", math.pi * 0.92**2),
        ("ring", math.pi * (0.96**2 - 0.48**2)),
        ("square", 1.56**2),
        ("triangle", 1.08**2 * 3 * math.sqrt(3) / 4),
        ("hexagon", 3 * math.sqrt(3) / 2),
        ("cross", 4 * 0.6 * 0.95 - 0.36),
        ("star", 10 * 0.5 * 1.1 * 0.48 * math.sin(math.pi / 5)),
    ],
)
def test_areas_are_those_of_the_figures(name, area):
    inside = module._DISTANCE[name](*_plane()) < 0
    assert inside.sum() * 0.01**2 == pytest.approx(area, rel=0.02)


def test_which_way_is_up():
    """Each of these is about its vertical axis what it is by name, before it is turned; y goes down."""
    x, y = _plane()
    for name in ("triangle", "arrow"):
        inside = module._DISTANCE[name](x, y) < 0
        assert inside[y == y[inside].min()].sum() < 5  # one point at the top
    heart = module._heart(x, y) < 0
    assert heart[y == y[heart].max()].sum() < 5  # one at the bottom
    assert not heart[72, 150] and heart[72, 110] and heart[72, 190]  # and a notch between two lobes
    crescent = module._crescent(x, y) < 0
    assert crescent[150, 70] and not crescent[150, 180]  # open to the right
    for name in (*SHAPE_CLASSES[:7], "arrow", "hexagon"):
        inside = module._DISTANCE[name](x, y) < 0
        assert (inside == inside[:, ::-1]).mean() > 0.995  # all but points that lie on the outline
