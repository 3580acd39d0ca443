"""Augmentation that a gradient passes through: what it does to a picture, and who sees it."""

import pytest
import torch

from gen_utils.data import ImageSet
from gen_utils.models import Critic, Generator
from gen_utils.training import FitConfig
from gen_utils.training.gan import DiffAugment, GANConfig, GANTraining, NonSaturating, train_gan

SHIFT = DiffAugment(colour=False, translation=1 / 8, cutout=0)
CUT = DiffAugment(colour=False, translation=0, cutout=1 / 2)
COLOUR = DiffAugment(colour=True, translation=0, cutout=0)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def shifted(x, down, right):
    """By slices: what is pushed out is lost, grey moves in."""
    out = torch.zeros_like(x)
    h, w = x.shape[-2:]
    out[..., max(down, 0) : h + min(down, 0), max(right, 0) : w + min(right, 0)] = x[
        ..., max(-down, 0) : h - max(down, 0), max(-right, 0) : w - max(right, 0)
    ]
    return out


def test_a_shift_is_one_of_the_25_by_slices_and_each_picture_has_its_own():
    x = torch.rand(400, 3, 16, 16, generator=stream()) + 0.5  # nowhere grey
    found = []
    for before, after in zip(x, SHIFT(x, stream(1)), strict=True):
        fits = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(after, shifted(before, down, right))
        ]
        assert len(fits) == 1
        found += fits
    counts = [found.count(place) for place in {*found}]
    assert len(counts) == 25  # 400 draws miss one of 25 places with a chance of 2e-6
    # Binomial(400, 1/25): mean 16, standard deviation 3.9; 25 counts within 4 of these.
    assert min(counts) >= 1 and max(counts) <= 32


def test_a_cut_is_a_grey_square_whose_middle_is_anywhere():
    x = torch.ones(2000, 3, 16, 16)
    y = CUT(x, stream())
    assert set(y.unique().tolist()) == {0.0, 1.0}
    grey = (y == 0).all(1)
    assert torch.equal(grey, (y == 0).any(1))  # the same place in all channels
    rows, columns = grey.any(2).sum(1), grey.any(1).sum(1)
    assert torch.equal(grey.flatten(1).sum(1), rows * columns)
    assert rows.max() == columns.max() == 8 and rows.min() == columns.min() == 4  # 9 to 16 in the corner: 5, or 4
    # The middle is uniform: half of the rows reach pixel 8, 5 of 16 reach pixel 0, and so for the columns.
    middle, corner = grey[:, 8, 8].float().mean(), grey[:, 0, 0].float().mean()
    assert abs(middle - 1 / 4) < 4 * (3 / 16 / 2000) ** 0.5
    assert abs(corner - (5 / 16) ** 2) < 4 * (0.088 / 2000) ** 0.5


def test_colours_are_three_straight_lines_with_the_papers_ranges():
    x = torch.rand(4000, 3, 2, 2, generator=stream()) * 2 - 1
    y = COLOUR(x, stream(1))
    level = (y.mean((1, 2, 3)) - x.mean((1, 2, 3)))[:, None]  # contrast and saturation keep the mean
    assert level.abs().max() <= 0.5 and level.std() == pytest.approx(12**-0.5, rel=0.05)
    grey = x.mean(1, keepdim=True)
    contrast = (y.mean(1, keepdim=True) - y.mean((1, 2, 3), keepdim=True)) / (grey - x.mean((1, 2, 3), keepdim=True))
    contrast = contrast.flatten(1).median(1).values
    assert 0.5 <= contrast.min() < 0.52 and 1.48 < contrast.max() <= 1.5
    both = ((y - y.mean(1, keepdim=True)) / (x - grey)).flatten(1).median(1).values
    saturation = both / contrast
    assert 0 <= saturation.min() < 0.02 and 1.98 < saturation.max() <= 2.0001
    assert saturation.mean() == pytest.approx(1, abs=4 * 3**-0.5 / 4000**0.5)


@pytest.mark.parametrize("augment", [SHIFT, CUT, COLOUR, DiffAugment()])
def test_the_gradient_is_the_transpose_of_what_is_done(augment):
    x = torch.rand(6, 3, 8, 8, generator=stream(), dtype=torch.float64, requires_grad=True)
    direction, seen = torch.randn(2, 6, 3, 8, 8, generator=stream(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((augment(x, stream(1)) * seen).sum(), x)
    moved = augment(x.detach() + direction, stream(1)) - augment(x.detach(), stream(1))  # straight in x
    assert (gradient * direction).sum() == pytest.approx((moved * seen).sum().item())


def test_pictures_stay_what_they_were_and_the_stream_decides():
    x = torch.rand(4, 3, 8, 8, generator=stream())
    before, state = x.clone(), torch.get_rng_state()
    first, again, other = (DiffAugment()(x, stream(s)) for s in (1, 1, 2))
    assert torch.equal(x, before) and torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, again) and not torch.equal(first, other)
    nothing = DiffAugment(colour=False, translation=0, cutout=0)
    assert torch.equal(nothing(x, stream()), x)


@pytest.mark.parametrize("wrong", [dict(translation=-0.1), dict(cutout=1.5), dict(translation=float("nan"))])
def test_a_share_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DiffAugment(**wrong)


def test_data_and_fakes_are_changed_for_both_players(tmp_path, monkeypatch):
    """Were the data alone changed, the generator would learn to paint grey squares."""
    seen = []
    forward = Critic.forward

    def watched(self, x, labels=None):
        seen.append(x.detach())
        return forward(self, x, labels)

    monkeypatch.setattr(Critic, "forward", watched)
    monkeypatch.setattr(GANTraining, "_gradient", lambda *_: torch.zeros(()))  # logged at the data as they are
    white = ImageSet(torch.full((16, 1, 28, 28), 255, dtype=torch.uint8), None, (), "white", "white")
    recipe = GANConfig(NonSaturating(), augment=CUT)
    config = FitConfig(2, batch_size=8, seed=0, run_dir=tmp_path, checkpoint_every=2, log_every=100)
    torch.manual_seed(0)
    run = train_gan(Generator((1, 28, 28), 4, 4), Critic((1, 28, 28), 4), white, recipe=recipe, config=config)
    pictures = torch.cat(seen)
    assert len(pictures) == 2 * 3 * 8  # each step: data, fakes, fakes for the generator
    assert all((picture == 0).sum() >= 7 * 7 for picture in pictures)
    torch.manual_seed(0)
    before = Generator((1, 28, 28), 4, 4)
    assert any(
        not torch.equal(a, b) for a, b in zip(before.parameters(), run.module.generator.parameters(), strict=True)
    )


def test_a_run_with_augmentation_goes_on_where_it_stopped(tmp_path):
    torch.set_num_threads(1)
    faces = ImageSet(
        torch.randint(0, 256, (32, 3, 32, 32), generator=stream(), dtype=torch.uint8), None, (), "dots", "dots"
    )

    def train(folder, steps):
        torch.manual_seed(0)
        pair = Generator((3, 32, 32), 4, 4), Critic((3, 32, 32), 4, norm="spectral")
        config = FitConfig(steps, batch_size=8, seed=0, run_dir=folder, checkpoint_every=2, log_every=1)
        return train_gan(*pair, faces, recipe=GANConfig(NonSaturating(), augment=DiffAugment()), config=config)

    whole = train(tmp_path / "a", 4)
    train(tmp_path / "b", 2)
    resumed = train(tmp_path / "b", 4)
    for (name, x), y in zip(whole.module.state_dict().items(), resumed.module.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
