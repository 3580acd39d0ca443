import pytest
import torch

from gen_utils.data import ImageSet, stratified


def labelled(counts, first=0):
    """So many images of each class; every image holds its own number."""
    labels = torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])
    images = (first + torch.arange(len(labels))).to(torch.uint8).view(-1, 1, 1, 1)
    return ImageSet(images, labels, tuple("abc"), "made", "Made")


def test_every_class_keeps_its_share_and_no_image_is_twice():
    parts = stratified([labelled([100, 60, 20])], (0.85, 0.10, 0.05), 0)
    assert [part.labels.bincount(minlength=3).tolist() for part in parts] == [[85, 51, 17], [10, 6, 2], [5, 3, 1]]
    assert torch.cat([part.images.flatten() for part in parts]).sort().values.tolist() == list(range(180))


def test_earlier_parts_fill_earlier_sets_and_the_order_is_mixed():
    train, test = stratified([labelled([40, 40, 40]), labelled([40, 40, 40], first=120)], (0.5, 0.5), 0)
    assert train.images.max() < 120 <= test.images.min()
    assert (train.labels[:40] != 0).any()  # not class after class
    again, _ = stratified([labelled([40, 40, 40]), labelled([40, 40, 40], first=120)], (0.5, 0.5), 0)
    assert torch.equal(train.images, again.images)


def test_what_is_no_split_is_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        stratified([labelled([4, 4, 4])], (0.5, 0.4), 0)
    bare = ImageSet(torch.zeros(4, 1, 1, 1, dtype=torch.uint8), None, (), "made", "Made")
    with pytest.raises(ValueError, match="needs labels"):
        stratified([bare], (0.5, 0.5), 0)
