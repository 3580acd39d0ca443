"""The sets that every distance is held against."""

import pytest
import torch

from gen_utils.data import ImageSet
from gen_utils.evaluation.controls import AVERAGES, BY_CLASS, GAUSSIAN, NOISE, REAL, controls


def two_kinds(labels: bool = True, n: int = 400) -> ImageSet:
    """Dark squares (50) and bright ones (200), each pixel a little different."""
    stream = torch.Generator().manual_seed(0)
    kind = torch.arange(n) % 2
    level = torch.where(kind == 0, 50, 200)[:, None, None, None]
    pixels = level + torch.randint(-5, 6, (n, 1, 4, 4), generator=stream)
    return ImageSet(pixels.to(torch.uint8), kind if labels else None, ("dark", "bright"), "squares", "squares")


def levels(images):
    """The mean of each image."""
    return images.double().mean((1, 2, 3))


def test_each_set_is_what_its_name_says():
    made = controls(two_kinds(), 300, seed=1)
    assert list(made) == [REAL, AVERAGES, BY_CLASS, GAUSSIAN, NOISE]
    assert all(images.shape == (300, 1, 4, 4) and images.dtype == torch.uint8 for images in made.values())
    near = lambda name, level: ((levels(made[name]) - level).abs() < 10).double().mean()  # noqa: E731
    assert near(REAL, 50) + near(REAL, 200) == 1
    assert near(AVERAGES, 125) > 0.35 and near(AVERAGES, 50) > 0.15  # half of the pairs are of two kinds
    assert near(BY_CLASS, 50) + near(BY_CLASS, 200) > 0.99
    assert near(GAUSSIAN, 125) < 0.3 and near(GAUSSIAN, 50) + near(GAUSSIAN, 200) < 0.4  # a wide hill between
    assert abs(levels(made[GAUSSIAN]).mean() - 125) < 20 and 60 < levels(made[GAUSSIAN]).std() < 90
    assert made[NOISE].double().std() > 65


def test_real_images_are_drawn_once_while_there_are_enough():
    images = two_kinds(n=40)
    assert len(controls(images, 40)[REAL].unique(dim=0)) == len(images.images.unique(dim=0))
    assert len(controls(images, 100)[REAL]) == 100


def test_without_labels_there_is_no_gaussian_a_class():
    assert BY_CLASS not in controls(two_kinds(labels=False), 10)


def test_a_seed_makes_the_same_sets():
    one, again, other = (controls(two_kinds(), 20, seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(one[name], again[name]) and not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_a_number_that_is_none_is_refused(n):
    with pytest.raises(ValueError, match="n"):
        controls(two_kinds(), n)
