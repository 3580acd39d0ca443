import pytest
import torch

from gen_utils.data import ImageSet, to_float, to_uint8


def numbered(n=100):
    """Image i is the constant i, so that every image tells which one it is."""
    images = torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1).expand(n, 1, 2, 2).contiguous()
    return ImageSet(images, torch.arange(n), classes=tuple(map(str, range(n))), name="numbers", title="numbers")


def test_scaling_is_exact_at_the_ends_and_reversible():
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    scaled = to_float(every)
    assert scaled.min() == -1 and scaled.max() == 1 and scaled.dtype == torch.float32
    assert torch.equal(to_uint8(scaled), every)


def test_split_is_disjoint_complete_and_repeatable():
    parts = numbered().split(0.85, 0.10, 0.05, seed=3)
    assert [len(p) for p in parts] == [85, 10, 5]
    assert sorted(torch.cat([p.labels for p in parts]).tolist()) == list(range(100))
    assert torch.equal(parts[1].labels, numbered().split(0.85, 0.10, 0.05, seed=3)[1].labels)
    assert not torch.equal(parts[1].labels, numbered().split(0.85, 0.10, 0.05, seed=4)[1].labels)


def test_split_refuses_fractions_that_do_not_sum_to_one():
    with pytest.raises(ValueError, match="sum to 1"):
        numbered().split(0.5, 0.2)


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order():
    loader = numbered().loader(10, seed=1)
    first = torch.cat([labels for _, labels in loader])
    second = torch.cat([labels for _, labels in loader])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(100))
    assert not torch.equal(first, second)


def test_images_and_labels_stay_together_as_bytes():
    for images, labels in numbered().loader(10):
        assert images.dtype == torch.uint8
        assert torch.equal(images[:, 0, 0, 0].long(), labels)


def test_a_loader_resumes_in_the_middle_of_an_epoch():
    whole = numbered().loader(10, seed=2)
    expected = [labels for _ in range(3) for _, labels in whole]

    half = numbered().loader(10, seed=2)
    seen = [labels for _, labels in half]
    for i, (_, labels) in enumerate(half):
        seen.append(labels)
        if i == 3:
            break
    resumed = numbered().loader(10, seed=2)
    resumed.load_state_dict(half.state_dict())
    seen += [labels for _, labels in resumed] + [labels for _, labels in resumed]
    assert len(seen) == len(expected) == 30
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_seeds_do_not_share_epochs():
    a, b = numbered().loader(100, seed=0), numbered().loader(100, seed=1)
    list(a)
    assert not torch.equal(next(iter(a))[1], next(iter(b))[1])


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="smaller batch_size"):
        numbered(5).loader(10)


def test_floats_are_refused():
    with pytest.raises(ValueError, match="uint8"):
        ImageSet(torch.zeros(3, 1, 2, 2), None, (), "x", "x")


def gradient(n=6, side=8):
    """Each pixel tells its place: 16 · row + column, plus nothing else, so that a flip or a shift shows."""
    place = 16 * torch.arange(side).view(-1, 1) + torch.arange(side)
    images = place.to(torch.uint8).expand(n, 3, side, side).contiguous()
    return ImageSet(images, torch.arange(n), classes=tuple(map(str, range(n))), name="places", title="places")


def test_flips_mirror_about_half_of_the_images():
    data = gradient(200)
    ((images, labels),) = data.loader(200, flip=True)
    mirrored = (images == data.images[0].flip(2)).flatten(1).all(1)
    same = (images == data.images[0]).flatten(1).all(1)
    assert torch.equal(mirrored, ~same) and 70 < mirrored.sum() < 130
    assert images.dtype == torch.uint8 and sorted(labels.tolist()) == list(range(200))


def test_crops_shift_and_reflect_at_the_edges():
    data = gradient(300)
    ((images, _),) = data.loader(300, crop=2)
    padded = torch.nn.functional.pad(data.images[:1].float(), (2, 2, 2, 2), mode="reflect")[0]
    windows = {(dy, dx): padded[:, dy : dy + 8, dx : dx + 8].byte() for dy in range(5) for dx in range(5)}
    found = [next(shift for shift, window in windows.items() if torch.equal(image, window)) for image in images]
    assert set(found) == set(windows)  # every shift happens, and nothing that is no shift


def test_labels_stay_with_their_moved_images():
    """Constant images do not change under flips and shifts."""
    for images, labels in numbered().loader(10, flip=True, crop=1):
        assert torch.equal(images[:, 0, 1, 1].long(), labels)


@pytest.mark.parametrize("stop", [0, 4, 9])
def test_moved_batches_resume_bit_for_bit(stop):
    data, moved = gradient(100), {"flip": True, "crop": 3, "seed": 5}
    whole = data.loader(10, **moved)
    expected = [images for _ in range(3) for images, _ in whole]
    assert not torch.equal(torch.stack(expected[:10]), torch.stack(expected[10:20]))  # another epoch, other moves
    half = data.loader(10, **moved)
    list(half)
    for i, _ in enumerate(half):
        if i == stop:
            break
    resumed = data.loader(10, **moved)
    resumed.load_state_dict(half.state_dict())
    torch.manual_seed(99)  # nobody else's random numbers matter
    seen = [images for images, _ in resumed]
    if stop == 9:  # the epoch was over: this is the next
        assert all(torch.equal(a, b) for a, b in zip(seen, expected[20:], strict=True))
    else:
        assert all(torch.equal(a, b) for a, b in zip(seen, expected[10 + stop + 1 : 20], strict=True))


def test_moves_leave_the_data_and_the_global_random_state_alone():
    data = gradient(10)
    before, state = data.images.clone(), torch.get_rng_state()
    list(data.loader(5, flip=True, crop=2))
    assert torch.equal(data.images, before) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("crop", [-1, 8])
def test_a_crop_larger_than_the_image_is_refused(crop):
    with pytest.raises(ValueError, match="crop"):
        gradient().loader(2, crop=crop)


def test_factors_need_a_row_an_image():
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match="rows of factors"):
        ImageSet(images, None, (), "x", "x", factors=torch.zeros(2, 6))
    data = ImageSet(images, None, (), "x", "x", factors=torch.arange(18).view(3, 6))
    assert data.take(torch.tensor([2])).factors[0, 0] == 12
