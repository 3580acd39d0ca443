"""Mirrored and shifted images are the images' own pixels."""

import torch

from gen_utils.data.moves import mirrored_and_shifted


def test_moves_are_whole_pixels_and_mirrors():
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).repeat(20, 1, 1, 1)
    torch.manual_seed(0)
    out = mirrored_and_shifted(images, 0)
    assert all(torch.equal(x, images[0]) or torch.equal(x, images[0].flip(2)) for x in out)
    assert 2 < sum(torch.equal(x, images[0]) for x in out) < 18
    shifted = mirrored_and_shifted(images, 2)
    assert set(shifted.flatten().tolist()) <= set(range(64))  # nothing is interpolated


def test_one_seed_one_result_and_no_flip_when_none_is_wanted():
    images = torch.randint(0, 256, (6, 3, 5, 5), dtype=torch.uint8)
    a, b = (mirrored_and_shifted(images, 1, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(mirrored_and_shifted(images, 0, flip=False), images)
