import pytest
import torch

from gen_utils.evaluation.corruptions import corruptions, shift
from gen_utils.evaluation.outliers import auroc, energies


def test_auroc_counts_pairs_exactly():
    inside, outside = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.5, 0.0])
    # pairs with outside > inside: (2.5, 1), (2.5, 2) of six
    assert abs(auroc(inside, outside) - 2 / 6) < 1e-6


def test_auroc_of_far_energies_is_not_flattened():
    assert auroc(torch.tensor([1000.0, 1001.0]), torch.tensor([2000.0, 2001.0])) == 1.0
    assert auroc(torch.zeros(10), torch.zeros(10)) == 0.5


def test_auroc_is_exact_in_the_precision_given():
    far = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64) * 1e-3 + 1e8
    assert auroc(far[:2], far[1:]) == 3.5 / 4  # one pair is equal
    assert auroc(torch.tensor([1, 2]), torch.tensor([1.5, 3.0]).half()) == 3 / 4
    assert auroc(-torch.arange(1000.0), torch.arange(1000.0)) == 1 - 0.5 / 1000**2


def test_energies_that_are_no_numbers_are_refused():
    for bad in (torch.tensor([]), torch.tensor([1.0, float("nan")]), torch.tensor([float("inf")])):
        with pytest.raises(ValueError, match="energy_in"):
            auroc(bad, torch.zeros(2))


def test_shift_brings_in_the_background():
    x = torch.ones(1, 1, 2, 8)
    assert shift(x, 3).flatten().tolist() == ([-1.0] * 3 + [1.0] * 5) * 2


def test_corruptions_stay_in_the_box_and_leave_the_images_alone():
    x = torch.rand(6, 1, 8, 8) * 2 - 1
    kept = x.clone()
    for images in corruptions(x, torch.Generator().manual_seed(5)).values():
        assert images.shape == x.shape and images.abs().max() <= 1 and not torch.equal(images, x)
    assert torch.equal(x, kept)


def test_energies_in_batches():
    x = torch.rand(7, 1, 3, 3)
    assert torch.allclose(energies(lambda v: v.flatten(1).sum(1), x, batch_size=2), x.flatten(1).sum(1))
