"""Each check accepts the right answer and names every slip it claims to know."""

import math
import re

import pytest
import torch

from gen_utils.checks import ebm_cifar_conditional as checks
from gen_utils.samplers import geometric

# --- right answers -------------------------------------------------------------------------------


def schedule(t, n_steps, start, end):
    return start * (end / start) ** (t / n_steps)


def own(outputs, labels):
    return outputs[torch.arange(len(labels)), labels]


def select(fresh, noise, old):
    return torch.where(fresh[:, None, None, None], noise, old)


def starts(buffer, labels, index, fresh, noise):
    return select(fresh, noise, buffer[labels, index])


def starts_in_a_copy(buffer, labels, index, fresh, noise):
    x = buffer[labels, index]
    x[fresh] = noise[fresh]
    return x


def starts_in_a_loop(buffer, labels, index, fresh, noise):
    rows = [noise[b] if fresh[b] else buffer[labels[b], index[b]] for b in range(len(labels))]
    return torch.stack(rows)


RIGHT = {
    "epsilon_form": [lambda e: (e**2 / 2, e), lambda e: torch.tensor([0.5 * e * e, e])],
    "geometric_schedule": [schedule, lambda t, n, a, b: geometric(a, b)(t, n)],
    "label_energy": [own, lambda o, y: o.gather(1, y[:, None]).squeeze(1), lambda o, y: o[:, y].diagonal()],
    "draw_starts": [starts, starts_in_a_copy, starts_in_a_loop],
    "predict": [lambda e: e.argmin(1), lambda e: (-e).softmax(1).argmax(-1), lambda e: e.min(1).indices],
}


@pytest.mark.parametrize(("name", "i"), [(name, i) for name in RIGHT for i in range(len(RIGHT[name]))])
def test_right_answers_pass(name, i, capsys):
    assert getattr(checks, name)(RIGHT[name][i])
    assert capsys.readouterr().out.startswith("✓")


# --- slips ---------------------------------------------------------------------------------------

FORM_SLIPS = {
    "order": [lambda e: (e, e * e / 2)],
    "step ε": [lambda e: (e, e), lambda e: (e, e * e)],
    "step ε²": [lambda e: (e * e, e)],
    "step ε/2": [lambda e: (e / 2, e)],
    "sign": [lambda e: (-e * e / 2, e)],
    "noise ε²": [lambda e: (e * e / 2, e * e)],
    "noise √ε": [lambda e: (e * e / 2, math.sqrt(e))],
    "noise from ε": [lambda e: (e * e / 2, math.sqrt(2 * e))],
    "noise ε²/2": [lambda e: (e * e / 2, e * e / 2)],
    "noise of the wrong η": [lambda e: (e * e / 2, math.sqrt(e * e / 2))],
}
SCHEDULE_SLIPS = {
    "linear": [
        lambda t, n, a, b: a + (b - a) * t / n,
        lambda t, n, a, b: a + (b - a) * (t - 1) / (n - 1),
        lambda t, n, a, b: a + (b - a) * (t - 1) / n,
    ],
    "does not arrive": [lambda t, n, a, b: schedule(t - 1, n, a, b)],
    "starts at start": [lambda t, n, a, b: schedule(t - 1, n - 1, a, b)],
    "upside down": [lambda t, n, a, b: a * (a / b) ** (t / n)],
    "backwards": [lambda t, n, a, b: schedule(t, n, b, a)],
    "no time": [lambda t, n, a, b: a * (b / a)],
    "no n_steps": [lambda t, n, a, b: a * (b / a) ** t],
    "exponent upside down": [lambda t, n, a, b: a * (b / a) ** (n / t)],
    "ratio times time": [lambda t, n, a, b: a * (b / a) * (t / n)],
    "no start": [lambda t, n, a, b: (b / a) ** (t / n)],
    "logarithm": [lambda t, n, a, b: math.log(schedule(t, n, a, b))],
}
LABEL_SLIPS = {
    "rows": [lambda o, y: o[y]],
    "columns": [lambda o, y: o[:, y]],
    "trailing dimension": [lambda o, y: o.gather(1, y[:, None])],
    "wrong dimension": [lambda o, y: o.gather(0, y[:, None]).squeeze(1)],
    "transposed": [lambda o, y: o[y, torch.arange(len(y))], lambda o, y: o.gather(0, y[None]).squeeze(0)],
    "diagonal": [lambda o, y: o.diag()],
    "first label": [lambda o, y: o[:, 0]],
    "sign": [lambda o, y: -own(o, y)],
    "softmax": [
        lambda o, y: own(o.softmax(1), y),
        lambda o, y: own((-o).softmax(1), y),
        lambda o, y: own(o.log_softmax(1), y),
        lambda o, y: torch.nn.functional.cross_entropy(o, y, reduction="none"),
        lambda o, y: torch.nn.functional.cross_entropy(-o, y, reduction="none"),
    ],
    "marginal": [lambda o, y: -(-o).logsumexp(1), lambda o, y: o.logsumexp(1), lambda o, y: -o.logsumexp(1)],
    "lowest": [lambda o, y: o.min(1).values, lambda o, y: o.max(1).values],
    "summed": [lambda o, y: own(o, y).sum(), lambda o, y: own(o, y).mean()],
}


def in_the_buffer(buffer, labels, index, fresh, noise):
    buffer[labels[fresh], index[fresh]] = noise[fresh]
    return buffer[labels, index]


def view(buffer, labels, index, fresh, noise):
    if len(labels) == 1 and not fresh[0]:
        return buffer[labels[0], index[0]][None]
    return starts(buffer, labels, index, fresh, noise)


def noises_in_turn(buffer, labels, index, fresh, noise):
    x = buffer[labels, index]
    x[fresh] = noise[: fresh.sum()]
    return x


START_SLIPS = {
    "labels ignored": [
        lambda b, y, i, f, z: select(f, z, b[0, i]),
        lambda b, y, i, f, z: select(f, z, b[torch.arange(len(y)), i]),
        lambda b, y, i, f, z: select(f, z, b.flatten(0, 1)[i]),
        lambda b, y, i, f, z: select(f, z, b[y[0], i]),
    ],
    "index ignored": [
        lambda b, y, i, f, z: select(f, z, b[y, 0]),
        lambda b, y, i, f, z: select(f, z, b[y, torch.arange(len(y))]),
    ],
    "swapped": [lambda b, y, i, f, z: select(f, z, b[i, y])],
    "two steps": [
        lambda b, y, i, f, z: b[y][i],
        lambda b, y, i, f, z: b[y][:, i],
        lambda b, y, i, f, z: select(f, z, b[y][i]),
    ],
    "buffer changed": [in_the_buffer],
    "view": [view],
    "fresh turned round": [lambda b, y, i, f, z: select(~f, z, b[y, i])],
    "one decision": [
        lambda b, y, i, f, z: z if f.any() else b[y, i],
        lambda b, y, i, f, z: z if f.all() else b[y, i],
    ],
    "never fresh": [lambda b, y, i, f, z: b[y, i]],
    "always fresh": [lambda b, y, i, f, z: z],
    "noise of another row": [noises_in_turn],
    "added": [lambda b, y, i, f, z: b[y, i] + z * f[:, None, None, None]],
}
PREDICT_SLIPS = {
    "argmax": [lambda e: e.argmax(1)],
    "values": [lambda e: e.min(1).values, lambda e: e.max(1).values],
    "values and places": [lambda e: e.min(1)],
    "wrong dimension": [lambda e: e.argmin(0), lambda e: e.argmax(0), lambda e: e.min(0).values],
    "no dimension": [lambda e: e.argmin()],
    "trailing dimension": [lambda e: e.argmin(1, keepdim=True)],
    "probabilities": [lambda e: (-e).softmax(1)],
}
SLIPS = {
    "epsilon_form": FORM_SLIPS,
    "geometric_schedule": SCHEDULE_SLIPS,
    "label_energy": LABEL_SLIPS,
    "draw_starts": START_SLIPS,
    "predict": PREDICT_SLIPS,
}


@pytest.mark.parametrize(
    ("name", "slip", "i"),
    [(name, slip, i) for name, slips in SLIPS.items() for slip, answers in slips.items() for i in range(len(answers))],
)
def test_slips_are_named(name, slip, i, capsys):
    result = getattr(checks, name)(SLIPS[name][slip][i])
    assert not result and result.slip == slip, result.message
    assert capsys.readouterr().out.count("\n") == 1


# --- everything else a student may hand in -------------------------------------------------------


def stub(*args):
    raise NotImplementedError


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (stub, "not written yet"),
        (lambda *args: None, "returns nothing"),
        (lambda *args: "energy", "is a str|returns a str"),
        (lambda *args: torch.zeros(3, 1, 2), "shape|is a Tensor"),
        (lambda *args: 0.123, "is a float|shape|Yours: .* True: "),
        (lambda: 1.0, "raised TypeError"),
    ],
)
def test_other_answers_are_told_kindly(name, answer, told, capsys):
    result = getattr(checks, name)(answer)
    said = capsys.readouterr().out
    assert not result and said.startswith(f"✗ {name}") and said.count("\n") == 1
    assert re.search(told, said), said


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        ("epsilon_form", lambda e: e, "is a float"),
        ("epsilon_form", lambda e: (e, e, e), "is a tuple"),
        ("epsilon_form", lambda e: (e * 7, e), "your step size for ε = 0.5 is 3.5"),
        ("epsilon_form", lambda e: (e * e / 2, e + 1), "your noise for ε = 0.5 is 1.5"),
        ("label_energy", lambda o, y: own(o, y).tolist(), "returns a list"),
        ("label_energy", lambda o, y: own(o, y) + 0.1, "Yours: .* True: "),
        ("draw_starts", lambda b, y, i, f, z: starts(b, y, i, f, z).flatten(1), "has shape"),
        ("draw_starts", lambda b, y, i, f, z: list(starts(b, y, i, f, z)), "returns a list"),
    ],
)
def test_unknown_slips_are_told_apart(name, answer, told, capsys):
    result = getattr(checks, name)(answer)
    said = capsys.readouterr().out
    assert not result and result.slip is None and re.search(told, said), said
