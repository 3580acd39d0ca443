"""Numbers of any library become plain ones, and those that are not finite are found."""

import json
import math

import numpy as np
import pytest
import torch

from gen_utils.base.plain import finite_or_none, not_finite, plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(2.0), 2.0),
        (torch.tensor(7), 7),
        ({"a": (np.int32(1), [np.float16(2)]), 3: None}, {"a": [1, [2.0]], "3": None}),
        ("text", "text"),
    ],
)
def test_numbers_become_plain(value, expected):
    found = plain(value)
    assert found == expected and type(found) is type(expected)
    assert json.loads(json.dumps(found)) == expected


def test_an_array_is_left_to_whoever_knows_what_to_do_with_it():
    rows = np.ones(2)
    assert plain(rows) is rows


def test_what_is_not_finite_is_found_and_named():
    value = {"a": [1.0, math.inf], "b": {"c": math.nan, "d": "nan"}}
    assert [place for place, _ in not_finite(value)] == ["a.1", "b.c"]
    assert finite_or_none(value) == {"a": [1.0, None], "b": {"c": None, "d": "nan"}}
    assert not list(not_finite(finite_or_none(value)))
