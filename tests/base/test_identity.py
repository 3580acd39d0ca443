"""Two descriptions are equal when the same is asked, and only then."""

import math
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import nn

from gen_utils.base.identity import describe, identity, is_library
from gen_utils.data import load_images
from gen_utils.models import SmallEnergy
from gen_utils.profiles import Settings
from gen_utils.samplers import GaussianStart, Langevin, geometric


@dataclass(frozen=True)
class Recipe:
    lr: float = 1e-3
    kernel: Langevin = field(default_factory=lambda: Langevin(0.1))
    place: str = field(default="here", metadata={"identity": False})


def network(width=4, seed=0):
    torch.manual_seed(seed)
    return SmallEnergy(width=width)


def test_plain_values_count_each_and_a_field_that_is_marked_does_not():
    recipe = Recipe()
    assert identity(recipe) == identity(Recipe()) == identity(replace(recipe, place="there"))
    others = [Recipe(2e-3), Recipe(kernel=Langevin(0.2)), Recipe(kernel=Langevin(0.1, noise=0.0)), Recipe(math.nan)]
    assert len({identity(r) for r in [recipe, *others]}) == 5
    values = [1, 1.0, True, "1", [1], {1}, {"a": 1}, {1: 1}, None, (1, 2), 2**70, b"1", range(3), torch.float32]
    assert len({identity(v) for v in values}) == len(values)


def test_order_counts_in_a_list_and_not_in_a_dictionary_or_a_set():
    assert identity([1, 2]) != identity([2, 1])
    assert identity({"a": 1, "b": 2}) == identity({"b": 2, "a": 1}) and identity({3, 4}) == identity({4, 3})


def test_a_network_is_its_classes_settings_and_weights():
    assert identity(network()) == identity(network())
    assert identity(network()) != identity(network(width=5))
    assert identity(network()) != identity(network(seed=1))
    other = network()
    other.net[1] = nn.ReLU()
    assert identity(other) != identity(network())
    other = network()
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-7
    assert identity(other) != identity(network())
    other = network()
    other.card = {"date": "today"}  # tells of the weights, which count themselves
    assert identity(other) == identity(network())


def test_images_count_bit_by_bit_and_features_to_three_digits():
    images = load_images("digits", limit=50)
    assert identity(images) == identity(load_images("digits", limit=50))
    pixels = images.images.clone()
    pixels[7, 0, 3, 3] += 1
    assert identity(replace(images, images=pixels)) != identity(images)
    assert identity(images.take(torch.arange(49))) != identity(images)
    features = torch.randn(100, 8)
    assert identity(features) == identity(features * (1 + 1e-7)) != identity(features * 1.1)
    assert identity(features) != identity(features[:99])


def test_a_large_tensor_changed_in_place_is_hashed_again():
    images = torch.zeros(300, 1, 28, 28, dtype=torch.uint8)
    before = identity(images)
    assert identity(images) == before
    images[5] += 1
    assert identity(images) != before


def test_random_streams_and_starts_count():
    stream = torch.Generator().manual_seed(1)
    before = identity(stream)
    torch.rand(3, generator=stream)
    assert identity(stream) != before
    images = load_images("digits", limit=200)
    a, b = (GaussianStart.fit(images.images, covariance=kind) for kind in ("diagonal", "low_rank"))
    assert identity(a) != identity(b)
    assert identity(geometric(0.1, 0.01)) != identity(geometric(0.1, 0.02))


SOURCE = '''
import torch
from gen_utils.samplers import Langevin

settings = Settings(width=4, unused=1)
half = 0.5
table = {"a": Langevin(0.1)}

def helper(x):
    """Doubles."""
    return 2 * x * half

def experiment(seed, n=3):
    """An experiment."""
    kernel = table["a"]
    # a comment
    return {"score": helper(n) + settings.width, "kernel": kernel}
'''


def experiment_of(text):
    space = {"Settings": Settings, "__name__": "__main__"}
    exec(compile(text, "cell", "exec"), space)
    return space["experiment"]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("# a comment", "# another", True),
        ('"""An experiment."""', '"""The experiment."""', True),
        ('    """Doubles."""\n', "", True),
        ("unused=1", "unused=2", True),
        ("width=4", "width=5", False),
        ("half = 0.5", "half = 0.25", False),
        ("2 * x", "3 * x", False),
        ("n=3", "n=4", False),
        ("Langevin(0.1)", "Langevin(0.2)", False),
        ("helper(n)", "helper(n) - 1", False),
    ],
)
def test_a_function_of_a_notebook_is_what_it_does_and_refers_to(old, new, same):
    assert old in SOURCE
    before, after = experiment_of(SOURCE), experiment_of(SOURCE.replace(old, new))
    assert (identity(before) == identity(after)) is same


def test_a_function_of_a_library_is_its_name_and_what_it_holds():
    assert is_library(torch.nn.functional.relu) and is_library(SmallEnergy) and not is_library(Recipe)
    assert identity(torch.relu) != identity(torch.tanh)

    def scaled(factor):
        return lambda x: factor * x

    assert identity(scaled(2)) == identity(scaled(2)) != identity(scaled(3))


def test_a_class_of_a_notebook_is_its_methods():
    def make(factor):
        class Mine(nn.Module):
            def forward(self, x):
                return factor * x.flatten(1).sum(1)

        return Mine()

    assert identity(make(2.0)) == identity(make(2.0)) != identity(make(3.0))


def test_what_refers_to_itself_has_an_end():
    loop = {"a": 1}
    loop["self"] = loop

    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    assert describe(loop) and identity(even) != identity(odd)


def test_an_object_may_say_what_it_is():
    class Counter:
        def __init__(self, step):
            self.step, self.seen = step, 0

        def __identity__(self):
            return self.step

    counter = Counter(2)
    before = identity(counter)
    counter.seen = 7
    assert identity(counter) == before != identity(Counter(3))


def test_what_a_function_only_fills_is_a_result_and_what_it_reads_is_not():
    def make(held, reads):
        def fills(x):
            held.append(x)

        def looks(x):
            held.append(x)
            return len(held)

        return looks if reads else fills

    assert identity(make([], False)) == identity(make([1, 2], False))
    assert identity(make([], True)) != identity(make([1, 2], True))


def test_a_measured_number_counts_to_four_digits_and_a_typed_one_exactly():
    def keyed(text):
        space = {"__name__": "__main__"}
        exec(f"level = {text}\ndef below(x):\n    return x < level", space)
        return identity(space["below"])

    assert keyed("37.123456789012345") == keyed("37.123456789099") != keyed("37.16345678901234")
    assert keyed("0.5") != keyed("0.50001") and keyed("1e-4") != keyed("1.0001e-4")
