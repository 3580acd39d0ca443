"""Every small change to a solution that changes the mathematics is refused; those that change nothing are listed."""

import contextlib
import io

import pytest
from checks.mutants import mutants
from checks.solutions import checks_of, solved
from checks.survivors import SURVIVORS

from gen_utils.base.places import NOTEBOOKS
from gen_utils.checks import core
from gen_utils.checks.cases import hidden_cases

PARTS = sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.py"))

# What is looked at with its gradient. In the other exercises a cut graph changes nothing that is asked for.
WITH_GRADIENT = {
    "contrastive_loss",
    "label_energy",
    "joint_energy",
    "joint_loss",
    "straight_through",
    "gumbel_draw",
    "discriminator_loss",
    "generator_loss",
    "gradient_penalty",
    "relativistic_critic_loss",
    "margin_loss",
    "pulling_away",
    "gaussian_kl",
    "reparameterise",
    "posterior_energy",
    "noise_energy",
    "pair_energy",
    "mixture_log_prob",
    "second_stage_loss",
    "wgan_critic_step",
    "gan_round",
    "dcgan_step",
    "denoising_loss",
}


def cuts(what: str) -> bool:
    """Does the mutant only take a graph away?"""
    before, _, after = what.partition(" -> ")
    return what.endswith((" is detached", "all under no_grad")) or any(
        after.count(word) > before.count(word) for word in ("detach()", ".item()")
    )


def survivors(part: str) -> tuple[dict[str, list[str]], int]:
    """exercise -> the mutants that pass its check, and how many there were."""
    (space, sources), checks, found, n = solved(part), checks_of(part), {}, 0
    for name, source in sources.items():
        found[name] = []
        for what, text in mutants(source):
            own = dict(space)
            exec(compile(text, name, "exec"), own)
            n += 1
            with contextlib.redirect_stdout(io.StringIO()):
                passed = bool(getattr(checks, name)(own[name]))
            if passed and (name in WITH_GRADIENT or not cuts(what)):
                found[name].append(what)
    return found, n


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("key", [0, 1, 2, 3])
def test_every_solution_passes_its_check_on_the_cases_of_every_key(part, key, capsys):
    (space, sources), checks = solved(part), checks_of(part)
    assert len(sources) > 3
    with hidden_cases(key):
        for name in sources:
            assert getattr(checks, name)(space[name]), capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", PARTS)
def test_mutants_that_change_the_mathematics_are_refused(part, monkeypatch):
    monkeypatch.setattr(core, "PATIENCE", 20.0)
    found, n = survivors(part)
    assert n > 50
    for name, passed in found.items():
        listed = SURVIVORS.get(f"{part} {name}", {})
        assert sorted(set(passed)) == sorted(listed), name
