import pytest
import torch

from gen_utils.data import DataError, load_images
from gen_utils.data.stacked import stack


def test_each_channel_shows_its_digit():
    """Image i of digit d is the constant 10 d + i: every channel says which digit it is."""
    labels = torch.arange(40) % 10
    images = (10 * labels + torch.arange(40) // 10).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    stacked, names = stack(images, labels, 3000, seed=1)
    assert stacked.shape == (3000, 3, 2, 2) and stacked.dtype == torch.uint8
    digits = stacked[:, :, 0, 0].long() // 10
    assert torch.equal(digits @ torch.tensor([100, 10, 1]), names)
    assert names.bincount().tolist() == 1000 * [3]
    assert len((stacked[:, 0, 0, 0] % 10).unique()) == 4  # all images of a digit are used
    assert torch.equal(stack(images, labels, 3000, seed=1)[0], stacked)
    assert not torch.equal(stack(images, labels, 3000, seed=2)[0], stacked)


def test_a_missing_digit_is_an_error():
    with pytest.raises(DataError, match="no 9 among the 9"):
        stack(torch.zeros(9, 1, 2, 2, dtype=torch.uint8), torch.arange(9), 1000, seed=0)


def test_from_whichever_digits_are_there(tmp_path, real_root, no_network):
    real = load_images("stacked_mnist", "test", root=real_root)
    assert real.shape == (3, 28, 28) and len(real) == 10_000 and not real.is_stand_in
    assert real.classes[305] == "305" and real.labels.bincount().tolist() == 1000 * [10]
    built_in = load_images("stacked_mnist", "test", root=tmp_path)
    assert built_in.is_stand_in and "stacked digits, standing in for Stacked MNIST" in built_in.title
