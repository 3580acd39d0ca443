"""Learning rates follow from the step and the length of the run, also of a run that is made longer."""

import pytest
import torch

from gen_utils.training.rates import cosine, one_cycle


def schedule(make, n_steps):
    """What a scheduler of PyTorch's sets at each step: rate and β₁."""
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, seen = make(optimiser), []
    for _ in range(n_steps):
        group = optimiser.param_groups[0]
        seen.append((group["lr"], group["betas"][0]))
        optimiser.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("n_steps", [1, 2, 7, 40])
def test_the_cosine_is_pytorchs(n_steps):
    seen = schedule(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, n_steps), n_steps)
    assert [cosine(step, n_steps) for step in range(n_steps)] == pytest.approx([rate for rate, _ in seen], abs=1e-9)
    assert cosine(n_steps, n_steps) == cosine(2 * n_steps, n_steps) == pytest.approx(0)


@pytest.mark.parametrize("rise", [0.1, 0.3])
@pytest.mark.parametrize("n_steps", [1, 2, 7, 40])
def test_the_cycle_is_pytorchs(n_steps, rise):
    one = torch.optim.lr_scheduler.OneCycleLR
    seen = schedule(lambda o: one(o, 1.0, total_steps=n_steps + 1, pct_start=rise), n_steps)
    for step, (rate, momentum) in enumerate(seen):
        assert one_cycle(step, n_steps, rise) == pytest.approx((rate, momentum), abs=1e-9)
    assert one_cycle(n_steps, n_steps, rise) == pytest.approx((4e-6, 0.95))


def test_a_cycle_whose_top_is_its_first_step():
    assert one_cycle(0, 9, 0.1) == pytest.approx((1.0, 0.85))  # PyTorch divides by zero here
