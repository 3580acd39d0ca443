import itertools

import pytest
import torch

from gen_utils.models import TokenPrior


@pytest.fixture
def prior():
    prior = TokenPrior(n_codes=5, grid=(3, 4), width=16, n_layers=2, n_heads=2).double().eval()
    for p in prior.parameters():  # far from the even start: a leak of the future must be large enough to see
        p.data.add_(0.3 * torch.randn_like(p))
    return prior


@pytest.mark.parametrize("i", range(12))
def test_logits_do_not_depend_on_the_present_or_later_tokens(prior, i):
    a = torch.randint(5, (6, 12))
    b = a.clone()
    b[:, i:] = torch.randint(5, (6, 12 - i))
    b[:, i] = (a[:, i] + 1) % 5
    with torch.no_grad():
        found, other = prior(a), prior(b)
    assert torch.allclose(found[:, : i + 1], other[:, : i + 1], atol=1e-12)
    if i < 11:  # and those after do
        assert not torch.allclose(found[:, i + 1], other[:, i + 1], atol=1e-6)


def test_probabilities_of_all_grids_sum_to_one():
    prior = TokenPrior(n_codes=3, grid=(2, 2), width=8, n_layers=1, n_heads=2).double().eval()
    grids = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2)
    with torch.no_grad():
        assert prior.log_prob(grids).exp().sum().item() == pytest.approx(1.0, abs=1e-10)


def test_log_prob_is_the_sum_over_places(prior):
    tokens = torch.randint(5, (2, 3, 4))
    with torch.no_grad():
        log_p = prior(tokens.flatten(1)).log_softmax(-1)
        by_hand = [sum(log_p[b, i, t] for i, t in enumerate(tokens[b].flatten())) for b in range(2)]
        assert torch.allclose(prior.log_prob(tokens), torch.stack(by_hand))


def test_samples_have_the_models_probabilities():
    prior = TokenPrior(n_codes=2, grid=(1, 2), width=8, n_layers=1, n_heads=1).eval()
    for p in prior.parameters():
        p.data.mul_(2.0)
    n, stream = 20_000, torch.Generator().manual_seed(0)
    grids = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).reshape(4, 1, 2)
    with torch.no_grad():
        expected = prior.log_prob(grids).exp()
    drawn = prior.sample(n, generator=stream).flatten(1)
    found = (2 * drawn[:, 0] + drawn[:, 1]).bincount(minlength=4) / n
    assert ((found - expected).abs() < 5 * (expected * (1 - expected) / n).sqrt()).all()


def test_sampling_is_repeatable_and_leaves_the_mode_alone(prior):
    prior.train()
    a, b = (prior.sample(3, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert a.shape == (3, 3, 4) and torch.equal(a, b) and prior.training


def test_a_low_temperature_takes_the_likeliest_token(prior):
    first = prior.sample(20, temperature=1e-6)[:, 0, 0]
    with torch.no_grad():
        assert (first == prior(torch.zeros(1, 1, dtype=torch.long))[0, 0].argmax()).all()


def test_config_rebuilds_the_network(prior):
    assert [p.shape for p in TokenPrior(**prior.config).parameters()] == [p.shape for p in prior.parameters()]
