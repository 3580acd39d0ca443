"""The teaching kit: counted, and every figure, exercise and label that it names is there."""

import ast
import re

import pytest

from gen_utils.base.places import BOOK, ROOT
from gen_utils.publishing import pages
from gen_utils.publishing.exercises import all_exercises, exercises_of
from gen_utils.publishing.parts import parts
from gen_utils.publishing.teaching import exam, plans, quizzes, self_test, slips, sources


def texts():
    """Everything that is asked and answered, by name."""
    found = {}
    for part in parts():
        for i, question in enumerate(quizzes.quiz(part), 1):
            found[f"quiz {part} {i}"] = question.asks + question.answer
    for question in exam.bank():
        found[question.title] = question.asks + question.answer + " ".join(what for _, what in question.rubric)
    for question in self_test.questions():
        found[question.about] = question.asks + " ".join(question.choices) + question.because
    return found


@pytest.mark.parametrize("part", parts())
def test_a_part_has_eight_questions_three_of_them_from_figures_of_its_own(part):
    questions = quizzes.quiz(part)
    assert len(questions) == 8 and all(q.asks.strip() and q.answer.strip() for q in questions)
    figures = [question.figure for question in questions if question.figure]
    assert len(set(figures)) >= 3
    for figure in figures:
        assert sources.figure_section(part, figure)
    for question in questions:
        if question.exercise:
            assert sources.exercise(question.exercise).part == part


def test_the_quizzes_are_of_parts_that_there_are():
    assert sorted(p.stem for p in (BOOK / "teaching" / "quiz").iterdir()) == parts()


def test_the_exam_bank_has_forty_questions_with_points_and_rubrics():
    bank = exam.bank()
    assert len(bank) == 40 and len({question.title for question in bank}) == 40
    assert {question.part for question in bank} == set(parts())
    for question in bank:
        assert question.asks.strip() and question.answer.strip()
        assert 4 <= question.points <= 8 and len(question.rubric) >= 2, question.title
        assert all(points > 0 and what.strip() for points, what in question.rubric), question.title


def test_the_self_test_has_ten_questions_whose_right_answers_are_not_in_one_place():
    questions = self_test.questions()
    assert len(questions) == 10
    assert {"logsumexp", "autograd", "KL divergence", "softmax", "change of variables"} <= {q.about for q in questions}
    assert len({question.right for question in questions}) >= 3
    assert self_test.page().count("self-test right-") == 10


def test_formulas_are_closed_and_no_chapter_is_beyond_the_last():
    for name, text in texts().items():
        assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0, name
        assert text.count("`") % 2 == 0 and text.count("{") == text.count("}"), name
    for path in [*(BOOK / "teaching").rglob("*"), BOOK / "self_test.toml", BOOK / "self_test.md"]:
        if path.is_file():
            numbers = re.findall(r"Chapters? (\d+)", path.read_text(encoding="utf-8"))
            assert all(1 <= int(n) <= len(parts()) for n in numbers), path


def test_a_plan_names_exercises_of_its_parts_and_its_hours_are_theirs():
    for name, weeks in (("twelve", 12), ("six", 6)):
        plan = plans.plan(name)
        assert len(plan) == weeks
        for week in plan:
            assert {sources.exercise(label).part for label in week.labels} <= set(week.parts)
            assert 1 < week.hours < 8
    assert {part for week in plans.plan("twelve") for part in week.parts} == set(parts())
    asked = [label for week in plans.plan("twelve") for label in week.labels]
    assert sorted(asked) == sorted(exercise.label for exercise in all_exercises())  # each once
    told = plans.minutes("02_ebm_mnist")
    assert told["exercises"] == sum(each.minutes for each in exercises_of("02_ebm_mnist"))
    assert told["questions"] == 5 * plans.QUESTION and 20 < told["reading"] < 60


def test_the_quiz_questions_that_a_plan_names_are_there():
    text = (BOOK / "teaching" / "plans.toml").read_text(encoding="utf-8")
    named = [pair for places in re.findall(r"quiz ([\d., and]+)", text) for pair in re.findall(r"(\d+)\.(\d+)", places)]
    assert named and all(1 <= int(k) <= len(quizzes.quiz(parts()[int(part) - 1])) for part, k in named)


def test_each_project_has_a_rubric_of_a_hundred_points():
    text = (BOOK / "teaching" / "projects.md").read_text(encoding="utf-8")
    projects = re.split(r"^## [AB]\. ", text, flags=re.M)[1:]
    assert [sum(int(n) for n in re.findall(r"^\| (\d+) \|", p, re.M)) for p in projects] == [100, 100]


def test_the_policy_speaks_of_what_it_is_for():
    text = (BOOK / "teaching" / "policy.md").read_text(encoding="utf-8")
    assert all(word in text for word in ("**Late work.**", "## Working together", "## Assistants"))


def test_the_slips_are_those_of_the_checks():
    found = slips.slips_of("02_ebm_mnist")
    assert list(found) == [each.name for each in exercises_of("02_ebm_mnist")]
    assert found["density_on_grid"]["cell area"].startswith("your values sum to 1, but a density integrates to 1")
    assert "coin a pixel" in found["draw_starts"]
    for part in parts():
        for name, names in slips.slips_of(part).items():
            assert names, (part, name)
    page = slips.page()
    assert "| sign |" in page and page.count("::::{dropdown}") == len(parts())


def test_a_hint_with_something_computed_has_an_ellipsis_in_its_place():
    function = ast.parse('def f():\n    end = "now."\n    told(n, False, f"{n} is late, {end}", "late")').body[0]
    assert list(slips._named(function)) == [("late", "… is late, now.")]


@pytest.mark.parametrize("page", ["plans", "quizzes", "exam", "misconceptions"])
def test_a_page_is_made_of_its_tables(page):
    text = pages.fill((BOOK / "teaching" / f"{page}.md").read_text(encoding="utf-8"), {})
    assert "<!-- made:" not in text and len(text) > 4000
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        assert (BOOK / "teaching" / target.replace(".ipynb", ".py")).exists(), target


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("[[question]\n", "t.toml"),
        ("[[question]]\nasks = 'a'\n", "each \\[\\[question\\]\\] has what Question names"),
        ("[[question]]\nasks = 'a'\nanswer = 'b'\nfigure = 'c'\n", "figure and shows go together"),
    ],
)
def test_a_broken_table_is_named_in_a_sentence(tmp_path, broken, says):
    (tmp_path / "t.toml").write_text(broken, encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        sources.rows(tmp_path / "t.toml", quizzes.Question)


def test_what_is_not_there_is_named():
    with pytest.raises(ValueError, match="no exercise has the label 'ex-none'"):
        sources.exercise("ex-none")
    with pytest.raises(ValueError, match="0 cells that draw have the words 'no such figure'"):
        sources.figure_section("02_ebm_mnist", "no such figure")
    with pytest.raises(TypeError, match="one of its choices"):
        self_test.Question("a", "b", ["c", "d"], 3, "e", "f")
    with pytest.raises(TypeError, match="rubric"):
        exam.Question("02_ebm_mnist", "a", "b", "c", [["two", "d"]])


def test_nothing_of_the_kit_is_in_the_package():
    asked = [question.asks.strip().split("\n")[0][:50] for question in exam.bank()]
    for path in (ROOT / "gen_utils").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [question for question in asked if question in text], path
