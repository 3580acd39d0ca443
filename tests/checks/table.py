"""The table of an exercise: answers that are right, and wrong ones with what the check must say of them."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

import pytest

from gen_utils.checks import core

FEWEST_RIGHT, FEWEST_WRONG = 5, 8


def exercises(checks: ModuleType) -> list[str]:
    """The exercises that a module checks."""
    public = {n: f for n, f in vars(checks).items() if inspect.isfunction(f) and not n.startswith("_")}
    own = [(n, list(inspect.signature(f).parameters)) for n, f in public.items() if f.__module__ == checks.__name__]
    return [n for n, arguments in own if arguments[:1] == ["student"]]


def tests(
    checks: ModuleType,
    right: Mapping[str, Sequence[Callable]],
    wrong: Mapping[str, Sequence[tuple[str, Callable]] | Mapping[str, Callable | Sequence[Callable]]],
) -> tuple[Callable, Callable, Callable]:
    """Three tests: the tables are long enough, right answers pass, wrong ones are refused with the right words.

    Args:
        wrong: what is said of each answer, the slip's name or else a pattern that the message matches: pairs (said,
            answer), or a dictionary from what is said to one answer or several.
    """
    wrong = {name: _pairs(answers) for name, answers in wrong.items()}

    @pytest.mark.parametrize("name", exercises(checks))
    def test_every_exercise_has_its_table(name):
        assert len(right[name]) >= FEWEST_RIGHT, len(right[name])
        assert len(wrong[name]) >= FEWEST_WRONG, len(wrong[name])

    rights = [pytest.param(name, answer, id=f"{name}-{i}") for name in right for i, answer in enumerate(right[name])]

    @pytest.mark.parametrize(("name", "answer"), rights)
    def test_right_answers_pass(name, answer, capsys):
        result = getattr(checks, name)(answer)
        assert result, result.message
        assert capsys.readouterr().out.startswith(f"✓ {name}: right")

    wrongs = [
        pytest.param(name, said, answer, id=f"{name}-{said}-{i}")
        for name in wrong
        for i, (said, answer) in enumerate(wrong[name])
    ]

    @pytest.mark.parametrize(("name", "said", "answer"), wrongs)
    def test_wrong_answers_are_refused_with_the_right_words(name, said, answer, capsys):
        core._failures.clear()
        result = getattr(checks, name)(answer)
        out = capsys.readouterr().out
        assert not result
        assert result.slip == said or re.search(said, result.message), (result.slip, result.message)
        assert out.startswith(f"✗ {name}: ") and out.count("\n") == 1

    return (
        test_every_exercise_has_its_table,
        test_right_answers_pass,
        test_wrong_answers_are_refused_with_the_right_words,
    )


def _pairs(answers: Sequence | Mapping) -> list[tuple[str, Callable]]:
    if not isinstance(answers, Mapping):
        return list(answers)
    several = {said: found if isinstance(found, (list, tuple)) else [found] for said, found in answers.items()}
    return [(said, answer) for said, found in several.items() for answer in found]
