"""The sprites: every factor does what its name says, and no two images are equal."""

import pytest
import torch

from gen_utils.data.stand_ins.sprites import FACTOR_NAMES, FACTOR_SIZES, SPRITE_SHAPES, render, sprites

COLUMN = {name: column for column, name in enumerate(FACTOR_NAMES)}


@pytest.fixture(scope="module")
def train():
    return sprites("train")


@pytest.fixture(scope="module")
def test():
    return sprites("test")


def _every_sprite(**fixed):
    """(720, 6): every shape, scale and orientation in the middle, the last fastest; ``fixed`` overrides columns."""
    grid = torch.cartesian_prod(*(torch.arange(n) for n in FACTOR_SIZES[1:4]))
    factors = torch.cat([torch.zeros(len(grid), 1), grid, torch.full((len(grid), 2), 16)], dim=1).long()
    for name, value in fixed.items():
        factors[:, COLUMN[name]] = value
    return factors


def _centre(images):
    """(N, 2): the centroid's x and y in pixels."""
    ink = images[:, 0].float() / 255
    steps = torch.arange(64.0)
    return torch.stack([(ink.sum(1) * steps).sum(1), (ink.sum(2) * steps).sum(1)], dim=1) / ink.sum((1, 2))[:, None]


def _area(images):
    return (images > 0).flatten(1).sum(dim=1).float()


@pytest.mark.parametrize(("split", "n"), [("train", 10_000), ("test", 2_000)])
def test_shapes_and_types(split, n, request):
    images, labels, factors = request.getfixturevalue(split)
    assert images.shape == (n, 1, 64, 64) and images.dtype == torch.uint8
    assert labels.shape == (n,) and labels.dtype == torch.int64
    assert factors.shape == (n, 6) and factors.dtype == torch.int64
    assert ((images == 0) | (images == 255)).all()
    assert torch.equal(labels, factors[:, COLUMN["shape"]])
    assert (labels.bincount() / n - 1 / 3).abs().max() < 0.03
    assert factors.amin(dim=0).tolist() == [0] * 6
    assert (factors.amax(dim=0) + 1).tolist() == list(FACTOR_SIZES)


def test_the_factors_are_those_of_dsprites():
    assert FACTOR_NAMES == ("colour", "shape", "scale", "orientation", "posX", "posY")
    assert FACTOR_SIZES == (1, 3, 6, 40, 32, 32)
    assert SPRITE_SHAPES == ("square", "ellipse", "heart")


def test_no_two_images_are_equal(train, test):
    rows = torch.cat([train[0], test[0]]).numpy()
    assert len({row.tobytes() for row in rows}) == len(rows)


def test_the_same_on_every_call(test):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    for again, first in zip(sprites("test"), test, strict=True):
        assert torch.equal(again, first)
    assert torch.equal(before, torch.get_rng_state())


def test_the_images_are_what_their_factors_render(test):
    images, _, factors = test
    assert torch.equal(render(factors[:100]), images[:100])


@pytest.mark.parametrize(("name", "step"), [("posX", [1, 0]), ("posY", [0, 1])])
def test_a_step_of_place_moves_every_sprite_by_a_pixel(name, step):
    images = [render(_every_sprite(**{name: value})) for value in (0, 1, 31)]
    centre = [_centre(image) for image in images]
    step = torch.tensor(step, dtype=torch.float32)
    torch.testing.assert_close(centre[1] - centre[0], step.expand(720, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(centre[2] - centre[0], 31 * step.expand(720, 2), atol=1e-4, rtol=0)
    assert torch.equal(_area(images[0]), _area(images[2]))  # at neither end does the frame cut anything off


def test_turning_and_growing_leave_a_sprite_where_it_is():
    assert (_centre(render(_every_sprite())) - 32).abs().max() < 0.3


def test_orientation_runs_from_zero_to_two_pi():
    first, last = (render(_every_sprite(orientation=turn)) for turn in (0, 39))
    assert torch.equal(first, last)
    heart = _every_sprite(shape=2, scale=5)[:40]
    assert len(render(heart).flatten(1).unique(dim=0)) == 39  # and no other two orientations are the same


def test_orientation_turns_clockwise():
    factors = torch.tensor([[0, 1, 5, turn, 16, 16] for turn in (0, 5, 10)])  # an ellipse at 0, 46 and 92 degrees
    across, diagonal, upright = render(factors)[:, 0]
    assert across.amax(dim=0).sum() > 1.5 * across.amax(dim=1).sum()  # wider than high, then higher than wide
    assert upright.amax(dim=1).sum() > 1.5 * upright.amax(dim=0).sum()
    assert diagonal[32 + 7, 32 + 7] == 255 and diagonal[32 + 7, 32 - 7] == 0


def test_scale_goes_in_equal_steps_from_a_half_to_one():
    area = _area(render(_every_sprite())).view(3, 6, 40).mean(dim=2)  # over orientations: the pixels' rounding cancels
    size = (area / area[:, -1:]).sqrt()
    torch.testing.assert_close(size, torch.linspace(0.5, 1, 6).expand(3, 6), atol=0.01, rtol=0)


def test_the_shapes_can_be_told_apart(train, test):
    """Moved to the middle, the nearest of 3,000 training sprites names most others; chance is a third."""

    def middle(images):
        corner = (_centre(images).round().long() - 16)[:, :, None] + torch.arange(32)
        column, row = corner.clamp(0, 63).unbind(dim=1)
        return images[torch.arange(len(images))[:, None, None], 0, row[:, :, None], column[:, None, :]].flatten(1)

    seen, asked = middle(train[0][:3000]).float(), middle(test[0][:500]).float()
    guess = train[1][torch.cdist(asked, seen).argmin(dim=1)]
    assert (guess == test[1][:500]).float().mean() > 0.9


@pytest.mark.parametrize(
    ("factors", "says"),
    [
        (torch.tensor([[0, 3, 0, 0, 0, 0]]), "shape of row 0 is 3; it goes from 0 to 2"),
        (torch.tensor([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, -1]]), "posY of row 1 is -1"),
        (torch.zeros(2, 5, dtype=torch.long), r"\(2, 5\)"),
        (torch.zeros(2, 6), "integers"),
    ],
)
def test_factors_out_of_range_are_named(factors, says):
    with pytest.raises(ValueError, match=says):
        render(factors)
