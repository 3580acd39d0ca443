"""The buffer that keeps classes apart."""

import pytest
import torch

from gen_utils.samplers import ClassBuffer, UniformStart

SHAPE = (1, 2, 3)


class Marked:
    """Fresh starts that can be told from old ones, and know their label: -1 - label everywhere."""

    def draw(self, n, *, labels=None, generator=None):
        return (-1.0 - labels.float())[:, None, None, None].expand(n, *SHAPE).clone()


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def images_of(labels):
    """States whose every element is their own label."""
    return labels.float()[:, None, None, None].expand(len(labels), *SHAPE).clone()


def filled(n_classes=4, capacity=40, restart=0.25, n=100):
    buffer = ClassBuffer(SHAPE, n_classes, capacity, restart, Marked())
    labels = torch.randint(n_classes, (n,), generator=stream())
    buffer.push(images_of(labels), labels=labels)
    return buffer


def test_classes_never_mix():
    buffer = filled()
    labels = torch.randint(4, (500,), generator=stream(1))
    for _ in range(3):
        x = buffer.draw(500, labels=labels, generator=stream(2))
        old = x[:, 0, 0, 0] >= 0
        assert torch.equal(x, torch.where(old[:, None, None, None], images_of(labels), -1 - images_of(labels)))
        buffer.push(images_of(labels), labels=labels)


def test_the_share_of_fresh_starts_is_the_restart_chance_in_every_class():
    buffer, n = filled(restart=0.25), 4000
    labels = torch.arange(n) % 4
    x = buffer.draw(n, labels=labels, generator=stream(3))
    for c in range(4):
        share = (x[labels == c][:, 0, 0, 0] < 0).float().mean().item()
        assert abs(share - 0.25) < 4 * (0.25 * 0.75 / (n / 4)) ** 0.5


def test_a_class_without_samples_starts_fresh_and_the_others_do_not():
    buffer = ClassBuffer(SHAPE, 3, 30, restart=0.0, start=Marked())
    buffer.push(images_of(torch.tensor([1, 1])), labels=torch.tensor([1, 1]))
    x = buffer.draw(4, labels=torch.tensor([0, 1, 2, 1]), generator=stream())
    assert x[:, 0, 0, 0].tolist() == [-1.0, 1.0, -3.0, 1.0]


def test_the_newest_of_each_class_stay_and_a_busy_class_takes_no_place_from_a_quiet_one():
    buffer = ClassBuffer(SHAPE, 2, capacity=6)
    buffer.push(torch.full((1, *SHAPE), 0.5), labels=torch.tensor([1]))
    for value in range(10):
        buffer.push(torch.full((1, *SHAPE), float(value)), labels=torch.tensor([0]))
    assert len(buffer) == 4 and buffer.images.shape == (4, *SHAPE)
    assert sorted(buffer.images[:, 0, 0, 0].tolist()) == [0.5, 7.0, 8.0, 9.0]


def test_a_draw_is_a_copy():
    buffer = filled(restart=0.0)
    before = buffer.images.clone()
    buffer.draw(20, labels=torch.zeros(20, dtype=torch.int64), generator=stream()).fill_(9.0)
    assert torch.equal(buffer.images, before)


def test_draws_repeat_with_their_generator():
    buffer, labels = filled(), torch.arange(30) % 4
    first = buffer.draw(30, labels=labels, generator=stream(5))
    assert torch.equal(first, buffer.draw(30, labels=labels, generator=stream(5)))
    assert not torch.equal(first, buffer.draw(30, labels=labels, generator=stream(6)))


def test_the_default_start_is_uniform_noise():
    buffer = ClassBuffer((1, 8, 8), 2)
    x = buffer.draw(50, labels=torch.arange(50) % 2, generator=stream())
    assert x.shape == (50, 1, 8, 8) and -1 <= x.min() < -0.99 and 0.99 < x.max() <= 1
    assert isinstance(buffer.classes[0].start, UniformStart)


def test_nothing_is_drawn_for_no_labels():
    assert ClassBuffer(SHAPE, 2).draw(0, labels=torch.empty(0, dtype=torch.int64)).shape == (0, *SHAPE)


def test_the_state_comes_back_bit_for_bit():
    buffer = ClassBuffer(SHAPE, 3, capacity=12, restart=0.3)
    for seed in range(4):  # the places wrap round in some classes
        labels = torch.randint(3, (5,), generator=stream(seed))
        buffer.push(torch.randn((5, *SHAPE), generator=stream(seed)), labels=labels)
    again = ClassBuffer(SHAPE, 3, capacity=12, restart=0.3)
    again.load_state_dict(buffer.state_dict())
    assert torch.equal(buffer.images, again.images)
    labels = torch.arange(40) % 3
    for copy in (buffer, again):
        copy.push(torch.randn((2, *SHAPE), generator=stream(9)), labels=torch.tensor([2, 0]))
    assert torch.equal(buffer.images, again.images)
    drawn = [copy.draw(40, labels=labels, generator=stream(8)) for copy in (buffer, again)]
    assert torch.equal(*drawn)


def test_the_saved_state_is_not_the_living_one():
    buffer = filled()
    state = buffer.state_dict()
    kept = [saved["images"].clone() for saved in state["classes"]]
    buffer.push(-images_of(torch.arange(40) % 4), labels=torch.arange(40) % 4)
    assert all(torch.equal(saved["images"], old) for saved, old in zip(state["classes"], kept, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: b.draw(3, labels=None), r"shape \(3,\), got None"),
        (lambda b: b.draw(3, labels=torch.zeros(2, dtype=torch.int64)), r"shape \(3,\), got \(2,\)"),
        (lambda b: b.draw(1, labels=torch.tensor([4])), r"0 to 3, got \[4\]"),
        (lambda b: b.draw(1, labels=torch.tensor([-1])), r"0 to 3, got \[-1\]"),
        (lambda b: b.push(torch.zeros(2, *SHAPE), labels=torch.zeros(2, 1, dtype=torch.int64)), r"got \(2, 1\)"),
        (lambda b: b.push(torch.zeros(1, 2, 2), labels=torch.tensor([0])), r"holds states of shape \(1, 2, 3\)"),
        (lambda b: b.load_state_dict(ClassBuffer(SHAPE, 3).state_dict()), "has 3 classes, this one 4"),
        (lambda b: ClassBuffer(SHAPE, 0), "n_classes must be at least 1"),
        (lambda b: ClassBuffer(SHAPE, 5, capacity=4), "at least one sample each, got 4"),
        (lambda b: b.draw(2, labels=[0, 1]), r"shape \(2,\), got \[0, 1\]"),
        (lambda b: b.draw(1, labels=torch.tensor([torch.nan])), "whole numbers, torch.int64, got torch.float32"),
        (
            lambda b: b.push(torch.zeros(1, *SHAPE), labels=torch.tensor([True])),
            "whole numbers, torch.int64, got torch",
        ),
        (lambda b: ClassBuffer(SHAPE, 2.5), "n_classes must be at least 1, a whole number, got 2.5"),
        (lambda b: ClassBuffer(SHAPE, 5, restart=1.5), "between 0 and 1"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call(filled())
