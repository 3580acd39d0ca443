"""What is a right answer, what is told of a wrong one, and how much at the first and at the second failure."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from gen_utils.checks import core
from gen_utils.checks.cases import Case, far, hidden_cases, stream
from gen_utils.checks.compare import ALL, compare
from gen_utils.checks.core import Slip, check


@pytest.fixture(autouse=True)
def _first_failure():
    core._failures.clear()


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        (torch.tensor([2, 5]), True),
        ([2, 5], True),
        ((2, np.int64(5)), True),
        (np.array([2, 5], dtype=np.uint8), True),
        (torch.tensor([2.0, 5.0]), False),  # it cannot index a tensor
        (torch.tensor([2.7, 5.2]), False),
        (torch.tensor([2 + 1j, 5]), False),
    ],
)
def test_whole_numbers_are_compared_whole(value, passes):
    assert bool(compare("toy", lambda: value, lambda: torch.tensor([2, 5]), [()])) == passes


@pytest.mark.parametrize(
    "value",
    [
        0.3, Fraction(3, 10), np.float32(0.3), np.float64(0.3), np.array(0.3), torch.tensor(0.3),
        torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float16),
        torch.tensor(0.3, dtype=torch.bfloat16), nn.Parameter(torch.tensor(0.3)),
    ],
)  # fmt: skip
def test_whatever_is_the_right_number_passes(value):
    assert compare("toy", lambda: value, lambda: 0.3, [()])


@pytest.mark.parametrize("value", ["0.3", {0.3}, {"x": 0.3}, object(), [[0.3], [0.3, 0.3]], np.array(["0.3"]), []])
def test_what_is_no_number_is_named(value):
    assert "your function returns a" in compare("toy", lambda: value, lambda: 0.3, [()]).message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_coarse_type_does_not_hide_an_error_of_one_per_cent(dtype):
    assert not compare("toy", lambda: torch.tensor(0.303, dtype=dtype), lambda: 0.3, [()])


def test_tolerance_is_relative_where_all_numbers_are_small():
    assert not compare("toy", lambda: 1e-6, lambda: 2e-6, [()])
    assert compare("toy", lambda: torch.tensor([1.0, 1e-6]), lambda: torch.tensor([1.0, 2e-6]), [()])


def square(x):
    return x.square().sum()


@pytest.mark.parametrize(
    ("student", "slip"),
    [
        (lambda x: float(square(x)), "no gradient"),
        (lambda x: (x.numpy() ** 2).sum(), "no gradient"),
        (torch.no_grad()(square), "no gradient"),
        (lambda x: (x * x.detach()).sum(), "gradient wrong"),
        (lambda x: square(x.detach()) + 0 * x.sum(), "gradient cut"),
        (lambda x: square(x) + (x - x.detach()).sum(), "gradient wrong"),
        (lambda x: square(x) + 0 * (x - x.detach()).square().sum().sqrt(), "gradient overflow"),
    ],
)
def test_a_gradient_that_is_wanted_is_compared(student, slip):
    case = (torch.tensor([1.0, -2.0, 3.0]),)
    assert compare("toy", square, square, [case], gradient=ALL)
    assert compare("toy", student, square, [case])
    result = compare("toy", student, square, [case], gradient=ALL)
    assert not result and result.slip == slip and "the value is right, but" in result.message


def test_a_gradient_where_none_belongs_is_told():
    def right(x, target):
        return (x - target.detach()).square().sum()

    result = compare("toy", lambda x, t: (x - t).square().sum(), right, [(torch.ones(2), torch.zeros(2))], gradient=ALL)
    assert result.slip == "gradient leak" and "a gradient reaches target" in result.message


def test_the_weights_of_a_network_are_arguments_too():
    case = (nn.Linear(2, 1), torch.ones(3, 2))
    right = lambda network, x: network(x).mean()  # noqa: E731
    result = compare(
        "toy", lambda network, x: network(x).mean() * 0 + network(x).mean().detach(), right, [case], gradient=ALL
    )
    assert result.slip == "gradient cut" and "the weights of network (weight)" in result.message


@pytest.mark.parametrize(
    ("before", "slip"),
    [
        (lambda n, x: n.requires_grad_(False), "frozen"),
        (lambda n, x: n.eval(), "training mode"),
        (lambda n, x: n.zero_grad(), "backward"),
        (lambda n, x: n(x).sum().backward(), "backward"),
        (lambda n, x: x.requires_grad_(), "input changed"),
    ],
)
def test_side_effects_are_told(before, slip):
    def student(network, x):
        before(network, x)
        return network(x).sum()

    case = (nn.Linear(2, 1), torch.ones(3, 2))
    right = lambda network, x: network(x).sum()  # noqa: E731
    result = compare("toy", student, right, [case])
    assert not result and result.slip == slip
    assert compare("toy", student, right, [case], may_change=("network", "x"))
    grads = compare("toy", student, right, [case], may_change=("network weights",))
    assert bool(grads) == (slip == "backward")


def test_changed_weights_and_arguments_are_told():
    def student(network, x):
        value = network(x).sum()
        with torch.no_grad():
            network.weight.add_(1)
        return value

    case = (nn.Linear(2, 1), torch.ones(3, 2))
    assert compare("toy", student, lambda network, x: network(x).sum(), [case]).slip == "weights changed"
    assert compare("toy", lambda x: x.mul_(2), lambda x: 2 * x, [(torch.ones(2),)]).slip == "input changed"
    assert compare("toy", lambda x: x[:], lambda x: 1 * x, [(torch.ones(2),)], copied=("x",)).slip == "view"


def test_of_several_outputs_the_wrong_one_is_named():
    def right(x):
        return x, 2 * x, x.sum()

    names = ("the mean", "the scale", "the total")
    result = compare("toy", lambda x: (x, x, x.sum()), right, [(torch.ones(2),)], outputs=names)
    assert result.message == "the scale is wrong (the mean and the total right), in case 1 of 1."
    result = compare("toy", lambda x: (x, "x", x), right, [(torch.ones(2),)], outputs=names)
    assert result.message == "the scale: you return a str; a tensor is wanted."
    result = compare("toy", lambda x: (x, 2 * x, x), right, [(torch.ones(2),)], outputs=names)
    assert result.message == "the total has shape (2,); it should be ()."
    result = compare("toy", lambda x: (x, x), right, [(torch.ones(2),)], outputs=names)
    assert result.message.startswith(
        "three things are wanted, the mean, the scale and the total; yours is a tuple of 2"
    )


def test_an_overflow_is_told_apart_from_a_wrong_formula():
    cases = [(torch.ones(3),), far(torch.tensor([0.0, 900.0, 3.0]), about="x reaches 900")]
    right = lambda x: x.logsumexp(0)  # noqa: E731
    result = compare("toy", lambda x: x.exp().sum().log(), right, cases)
    assert result.slip == "overflow" and "not in case 2 of 2, where x reaches 900" in result.message
    assert compare("toy", lambda x: x.exp().sum(), right, cases).slip is None


def failing(student, slips=()):
    @check
    def toy(answer):
        cases = [(torch.tensor([1.5, 2.5, 7.0]),), Case((torch.tensor([-4.25, 8.5]),), "x has both signs")]
        return compare("toy", answer, lambda x: 3 * x + 0.125, cases, slips)

    return [toy(student).message for _ in range(2)]


@pytest.mark.parametrize(
    ("student", "second"),
    [
        (lambda x: 2 * (3 * x + 0.125), "Yours are 2 times the right ones everywhere."),
        (lambda x: -(3 * x + 0.125), "Yours have the right size and the opposite sign everywhere."),
        (lambda x: 3 * x, "Yours are too small by the same amount everywhere."),
        (lambda x: 3 * x.abs() + 0.125, "1 of 5 numbers are wrong, too large."),
        (lambda x: x.log(), "In 1 of 5 places yours is infinite or not a number."),
        (lambda x: 0 * x, "5 of 5 numbers are wrong, some too large and some too small."),
    ],
)
def test_the_second_failure_says_more_and_neither_says_the_answer(student, second):
    said = failing(student)
    assert second not in said[0] and said[1].endswith(second)
    for number in ("4.625", "7.625", "21.1", "-12.6", "25.6"):
        assert number not in " ".join(said)


def test_a_named_slip_says_more_the_second_time():
    said = failing(lambda x: -3 * x - 0.125, [Slip("sign", "the sign is turned round.", lambda x: -3 * x - 0.125)])
    assert said[0] == "the sign is turned round." and said[1].startswith(said[0] + " Yours have")


def test_a_solved_exercise_begins_anew_and_a_stub_is_no_failure():
    answers = {"wrong": lambda x: 3 * x, "right": lambda x: 3 * x + 0.125}

    @check
    def toy(student):
        return compare("toy", student, answers["right"], [(torch.arange(1.0, 4.0),)])

    def stub(x):
        raise NotImplementedError

    first = toy(answers["wrong"]).message
    assert toy(answers["right"]) and toy(answers["wrong"]).message == first != toy(answers["wrong"]).message
    core._failures.clear()
    assert not toy(stub) and toy(answers["wrong"]).message == first


def test_a_slip_need_not_be_possible_in_every_case():
    slip = Slip("diagonal", "that is the diagonal.", lambda x: x.diagonal())
    cases = [(torch.arange(9.0).reshape(3, 3),), (torch.arange(6.0),)]

    def right(x):
        return x[:, 0] if x.ndim == 2 else x

    result = compare("toy", lambda x: x.diagonal(), right, cases, [slip])
    assert result.slip == "diagonal"


def test_a_key_draws_other_cases():
    def drawn():
        return torch.rand(3, generator=stream(1)).tolist()

    seen = drawn()
    with hidden_cases(7):
        assert drawn() != seen
    assert drawn() == seen
