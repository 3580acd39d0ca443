"""No check ever answers with its own traceback, whatever it is given."""

import contextlib
import functools
import importlib
import inspect
import pkgutil
import sys
import time

import numpy as np
import pytest
import torch

from gen_utils import checks
from gen_utils.checks import core
from gen_utils.checks.compare import compare


def all_checks():
    """(module name, check) of every public check of every part."""
    for module in pkgutil.iter_modules(checks.__path__):
        part = importlib.import_module(f"gen_utils.checks.{module.name}")
        for name, check in vars(part).items():
            public = inspect.isfunction(check) and check.__module__ == part.__name__ and not name.startswith("_")
            if public and next(iter(inspect.signature(check).parameters), "") == "student":
                yield pytest.param(check, id=f"{module.name}.{name}")


ALL = list(all_checks())


def nothing(*args, **kwargs):
    """What a function without a return gives."""


def raises(*args, **kwargs):
    raise KeyError("mean")


def unwritten(*args, **kwargs):
    raise NotImplementedError


def other_type(*args, **kwargs):
    torch.set_default_dtype(torch.float64)
    return torch.zeros(2)


def speechless(*args, **kwargs):
    raise Speechless


class Speechless(Exception):
    def __str__(self):
        raise AttributeError("message")


class Model(torch.nn.Module):
    """Where somebody forgot the forward."""


class Answer:
    """A class where a function is wanted."""

    def __init__(self, *args, **kwargs):
        pass


def generator(*args, **kwargs):
    yield torch.zeros(2)


NONSENSE = {
    "nothing": nothing,
    "text": lambda *args, **kwargs: "0.5",
    "a list": lambda *args, **kwargs: [1.0, 2.0],
    "a number": lambda *args, **kwargs: 0.123,
    "a scalar": lambda *args, **kwargs: torch.tensor(0.123),
    "an empty tensor": lambda *args, **kwargs: torch.empty(0),
    "another shape": lambda *args, **kwargs: torch.zeros(7, 5, 3),
    "not numbers": lambda *args, **kwargs: torch.full((2, 3), float("nan")),
    "integers": lambda *args, **kwargs: torch.ones(4, dtype=torch.int64),
    "a pair": lambda *args, **kwargs: (torch.zeros(3), None),
    "a triple of numbers": lambda *args, **kwargs: (1.0, 2.0, 3.0),
    "its own arguments": lambda *args, **kwargs: args,
    "the first argument": lambda *args, **kwargs: args[0] if args else None,
    "an array": lambda *args, **kwargs: np.zeros(2),
    "an array of one number": lambda *args, **kwargs: np.array(0.123),
    "complex numbers": lambda *args, **kwargs: torch.ones(4, dtype=torch.complex64),
    "another default type": other_type,
    "a function": lambda *args, **kwargs: raises,
    "a generator": generator,
    "a class": Answer,
    "a module without forward": Model(),
    "a partial": functools.partial(raises, 1.0),
    "an exception": raises,
    "an exception that cannot be printed": speechless,
    "an exit": lambda *args, **kwargs: sys.exit(),
    "no answer yet": unwritten,
    "no arguments wanted": lambda: 1.0,
}


def test_every_part_has_checks():
    assert len(ALL) >= 40


@pytest.mark.parametrize("check", ALL)
def test_nonsense_is_told_kindly(check, capsys):
    assert check.__wrapped__, "decorate it with core.check"
    for name, student in NONSENSE.items():
        torch.manual_seed(0)
        result = check(student)  # must not raise
        assert isinstance(result, core.Result) and not result, name
        said = capsys.readouterr().out
        assert said.startswith("✗ ") and "Traceback" not in said and len(said.strip()) > 20, (name, said)
        assert "cannot be compared" not in said, (name, said)  # the net below all checks
    assert "not written yet" in check(unwritten).message


def test_a_very_slow_answer_is_interrupted(monkeypatch, capsys):
    monkeypatch.setattr(core, "PATIENCE", 0.2)

    def forever(x):
        while True:
            with contextlib.suppress(Exception):  # the kind of net that must not catch the interruption
                time.sleep(0.01)

    result = compare("toy", forever, lambda x: x, [(torch.ones(2),)])
    assert not result and "still running" in result.message


def test_the_notebook_stops_at_an_unsolved_exercise_in_one_line(capsys):
    solved = compare("toy", lambda x: x, lambda x: x, [(torch.ones(2),)])
    assert solved.or_stop() is solved
    with pytest.raises(core.Unanswered) as stopped:
        compare("toy", unwritten, lambda x: x, [(torch.ones(2),)]).or_stop()
    assert stopped.value._render_traceback_() == [
        "The notebook stops here: solve toy, run its cell and this one again, then run on."
    ]
