"""Schedules: values at both ends."""

import math

import pytest

from gen_utils.samplers import constant, geometric, power_decay


def test_constant():
    assert [constant(0.95)(t, 10) for t in (1, 5, 10)] == [0.95] * 3


def test_power_decay():
    schedule = power_decay(1e-4, 0.75)
    assert schedule(1, 100) == 1e-4
    assert schedule(16, 100) == pytest.approx(1e-4 / 8)


def test_geometric_arrives_exactly():
    schedule = geometric(1.0, 0.01)
    assert schedule(60, 60) == pytest.approx(0.01)
    assert schedule(30, 60) == pytest.approx(0.1)
    ratios = [schedule(t + 1, 60) / schedule(t, 60) for t in range(1, 60)]
    assert max(ratios) == pytest.approx(min(ratios))


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.inf)])
def test_geometric_needs_positive_ends(ends):
    with pytest.raises(ValueError, match="positive ends"):
        geometric(*ends)
