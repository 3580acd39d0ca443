"""A student learns how often an answer is right on cases that nobody sees, and nothing else."""

import pytest
import torch

from gen_utils.checks import ebm_mnist as checks
from gen_utils.checks.hidden import hidden_rounds


def right(energy_real, energy_fake, alpha):
    return energy_real.mean() - energy_fake.mean() + alpha * (energy_real.square().mean() + energy_fake.square().mean())


def test_a_right_answer_is_right_on_every_set_of_cases_and_nothing_is_printed(capsys):
    assert hidden_rounds(checks.contrastive_loss, right, 4) == "right on 4 of 4 hidden sets of cases"
    assert capsys.readouterr().out == ""


def test_an_answer_made_for_the_cases_that_are_shown_is_found_out():
    known = set()

    def learning(energy_real, energy_fake, alpha):
        known.add(energy_real.sum().item())
        return right(energy_real, energy_fake, alpha)

    assert checks.contrastive_loss(learning)

    def shown_only(energy_real, energy_fake, alpha):
        value = right(energy_real, energy_fake, alpha)
        return value if energy_real.sum().item() in known else torch.zeros_like(value)

    assert checks.contrastive_loss(shown_only)
    assert hidden_rounds(checks.contrastive_loss, shown_only, 3) == "right on 0 of 3 hidden sets of cases"


def test_no_round_is_refused():
    with pytest.raises(ValueError, match="rounds is 0"):
        hidden_rounds(checks.contrastive_loss, right, 0)
