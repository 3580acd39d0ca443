"""Densities in the plane, drawn exactly, and films of walkers on them."""

import pytest
import torch

from gen_utils.explorers.sampler import TARGETS
from gen_utils.plotting.landscapes import chain_film, density_on


@pytest.mark.parametrize("name", TARGETS)
def test_the_density_on_a_grid_is_the_exact_one(name):
    x, y, density = density_on(TARGETS[name](), n=300)
    mass = torch.trapezoid(torch.trapezoid(density, x), y)
    assert 0.999 < mass < 1.0001


def test_the_film_is_self_contained_and_small():
    target = TARGETS["banana"]()
    paths = {"one": torch.randn(4, 20, 2), "two": torch.randn(4, 20, 2)}
    html = chain_film(target, paths, [0, 1, 2, 3])
    assert html.count("data:image/jpeg;base64") == 4 and "https://" not in html
    assert len(html) < 300_000
