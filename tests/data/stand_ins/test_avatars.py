"""The avatars: faces of every kind on white, no two alike."""

import numpy as np
import pytest
import torch

from gen_utils.data.stand_ins import avatars as module
from gen_utils.data.stand_ins.avatar_hair import LONG, SHORT
from gen_utils.data.stand_ins.avatar_pen import BLACK, WHITE, Pen, at, both, mirror, mix


@pytest.fixture(scope="module")
def test_split():
    return module.avatars("test")


def _pen():
    """A pen, and its image's ink: True where it is no longer white. No tilt, no size, no shift."""
    pen = Pen(np.random.default_rng(0))
    pen._turn, pen._origin = 4 + 0j, 128 + 128j
    return pen, lambda: (pen.image() < 128).any(axis=-1)


def test_shapes_and_types(test_split):
    images, labels = test_split
    assert images.shape == (300, 3, 64, 64)
    assert images.dtype == torch.uint8
    assert images.is_contiguous()
    assert labels is None


def test_the_training_split_is_larger_and_made_of_other_faces(test_split):
    assert module._COUNT == {"train": 2_000, "test": 300}
    first = module._draw(200, module._SEED["train"])  # a part of it: the faces are drawn one after the other
    rows = torch.cat([test_split[0], first]).numpy()
    assert len({row.tobytes() for row in rows}) == len(rows)
    # Nor are any two nearly the same: over the whole image they differ by more than a shade.
    small = torch.nn.functional.avg_pool2d(torch.cat([test_split[0], first]).float(), 4).flatten(1)
    apart = torch.cdist(small, small) + 1e6 * torch.eye(len(small))
    assert apart.min() / small.shape[1] ** 0.5 > 2


def test_the_same_on_every_call(test_split):
    torch.manual_seed(123)
    np.random.seed(123)  # noqa: NPY002 (the old global state, on purpose)
    before = torch.get_rng_state()
    again = module._draw(40, module._SEED["test"])
    assert torch.equal(again, test_split[0][:40])  # and so does every split begin, however long it is
    assert torch.equal(before, torch.get_rng_state())


def test_the_ground_is_white_and_the_face_is_in_the_middle(test_split):
    images = test_split[0]
    white = (images == 255).all(dim=1)
    assert white[:, 0, [0, 63]].all()
    assert (white.float().mean((1, 2)) > 0.25).all()
    assert not white[:, 16:52, 20:44].float().mean((1, 2)).gt(0.25).any()  # eyes and teeth at most
    ink = (~white).float()
    centre = (ink.sum(1) * torch.arange(64.0)).sum(1) / ink.sum((1, 2))
    assert (centre - 31.5).abs().max() < 5


def test_faces_differ_in_more_than_their_colours(test_split):
    """The share of white goes with how much hair there is, and no pixel of the face is the same for all."""
    images = test_split[0].float()
    white = (images == 255).all(dim=1).float().mean((1, 2))
    assert white.max() > 1.3 * white.min()
    assert images.std(dim=0)[:, 12:60, 12:52].min() > 8


def test_every_style_is_drawn_on_anybody():
    """Each back and front, six times, never runs out of lots nor leaves the head as it was."""
    for behind, before in {*SHORT, *LONG}:
        rng = np.random.default_rng(5)
        for adorned in [False, True] * 3:
            pen = Pen(rng)
            look = module._look(pen, adorned)
            if behind is not None:
                behind(pen, look)
            module._head(pen, look)
            bare = pen.image().copy()
            for part in (module._beard, module._eyes, module._nose, module._mouth, module._moustache, before):
                part(pen, look)
            module._glasses(pen, look)
            assert (pen.image() != bare).any()


def test_a_fill_covers_its_shape_and_a_line_goes_round_it():
    pen, ink = _pen()
    pen.fill((0, 0, 200), mirror([(0, -10), (10, -10), (10, 10), (0, 10)]))
    plain = ink().sum()
    assert plain == pytest.approx(400, rel=0.15)  # a square of 20, its corners rounded outwards
    pen, ink = _pen()
    pen.fill((0, 0, 200), mirror([(0, -10), (10, -10), (10, 10), (0, 10)]), line=2)
    assert ink().sum() == pytest.approx(plain + 2 * 84, rel=0.05)
    assert tuple(pen.image()[32, 32]) == (0, 0, 200)
    assert tuple(pen.image()[32, 32 + 12]) == mix((0, 0, 200), BLACK, 0.62)


def test_ovals_share_one_outline_where_they_overlap():
    pen, ink = _pen()
    pen.ovals((250, 0, 0), (-5, 0, 8, 8), (5, 0, 8, 8), line=1)
    assert (pen.image()[32, 24:40] == [250, 0, 0]).all()  # no line across the middle
    assert ink()[32].sum() == pytest.approx(28, abs=1)


def test_rings_are_empty_and_strokes_are_thin_at_their_ends():
    pen, ink = _pen()
    pen.ring(BLACK, (0, 0, 12, 10), 2)
    assert not ink()[32, 32]
    assert ink()[32].sum() == 4
    pen, ink = _pen()
    pen.stroke(BLACK, [(-12, 0), (0, 0), (12, 0)], 6)
    thickness = ink().sum(axis=0)
    assert thickness[32] == 6
    assert 0 < thickness[20] <= 4


def test_points_and_colours():
    assert mirror([(0, 0), (2, 1), (0, 3)]) == [(0, 0), (2, 1), (0, 3), (-2, 1)]
    assert both([(1, 2)]) == ([(1, 2)], [(-1, 2)])
    assert at(10, 20, [(1, 2)]) == [(11, 22)]
    assert at(10, 20, [(1, 2)], side=-1) == [(9, 22)]
    assert mix(WHITE, (55, 155, 255), 0.5) == (155, 205, 255)
