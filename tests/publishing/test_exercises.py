"""Every exercise says what it is for, how long it takes and what it is worth; grades and pages take it from there."""

import pytest

from gen_utils.publishing import exercises
from gen_utils.publishing.exercises import all_exercises, exercises_of
from gen_utils.publishing.parts import exercises as checks_of
from gen_utils.publishing.parts import parts


@pytest.mark.parametrize("part", parts())
def test_an_exercise_has_a_number_a_goal_minutes_and_points(part):
    found = exercises_of(part)
    assert [each.number for each in found] == [f"{int(part[:2])}.{k}" for k in range(1, len(found) + 1)]
    assert [each.name for each in found] == checks_of()[part]
    assert {each.minutes for each in found} <= {5, 10, 15, 20, 30} and {each.points for each in found} <= {1, 2, 3}
    assert all(each.goal.endswith(".") and each.asked and each.title for each in found)


def test_there_are_sixty_at_least_and_no_two_have_one_name():
    found = all_exercises()
    assert len(found) >= 60 and len({each.key for each in found}) == len(found)
    assert len({each.name for each in found}) > len(found) - 5  # the same one, asked twice, is asked once too often


def test_an_exercise_without_a_goal_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(exercises, "NOTEBOOKS", tmp_path)
    stated = "# %% [markdown]\n# ```{exercise-start} Walk\n# :label: ex\n# ```\n# "
    check = '\n\n# %% tags=["check"]\nchecks.walk(walk)\n'
    (tmp_path / "01_a.py").write_text(stated + "Go." + check)
    with pytest.raises(ValueError, match="'Walk' does not begin with its goal"):
        exercises_of.__wrapped__("01_a")
    (tmp_path / "01_a.py").write_text(
        stated + "*Goal: walk\n# far. About 10 minutes, 1 point.*\n#\n# Go now. Or later." + check
    )
    (found,) = exercises_of.__wrapped__("01_a")
    assert (found.number, found.goal, found.minutes, found.points, found.asked) == (
        "1.1",
        "walk far.",
        10,
        1,
        "Go now.",
    )
    assert found.key == "01/walk"
    (tmp_path / "01_a.py").write_text(stated + "*Goal: walk. About 10 minutes, 1 point.*")
    with pytest.raises(ValueError, match="states 1 exercises and has 0 checks"):
        exercises_of.__wrapped__("01_a")
