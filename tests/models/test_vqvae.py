import pytest
import torch
from torch.nn import functional as F

from gen_utils import checkpoints
from gen_utils.models import VQVAE, GumbelVAE
from gen_utils.models.vqvae import gumbel_softmax, straight_through

SMALL = {"n_codes": 12, "code_dim": 4, "width": 8, "n_blocks": 1}


@pytest.fixture(params=[VQVAE, GumbelVAE])
def model(request):
    return request.param(**SMALL).eval()


# --- what both models promise --------------------------------------------------------------------


def test_tokens_codebook_and_decoding(model):
    x = torch.rand(3, 1, 28, 28) * 2 - 1
    tokens = model.tokens(x)
    assert tokens.shape == (3, 7, 7) and tokens.dtype == torch.int64
    assert model.codebook.shape == (12, 4)
    assert torch.equal(model.embed(tokens)[1, :, 2, 5], model.codebook[tokens[1, 2, 5]])
    assert model.decode_tokens(tokens).shape == x.shape
    assert torch.equal(model.reconstruct(x), model.decode_tokens(tokens).clamp(-1, 1))


@pytest.mark.parametrize("bad", [-1, 12])
def test_a_token_outside_the_codebook_is_refused(model, bad):
    with pytest.raises(IndexError, match=r"0\.\.11"):
        model.decode_tokens(torch.full((1, 7, 7), bad))


def test_config_and_checkpoint_rebuild_the_model(model, tmp_path):
    checkpoints.save("small", model, {"data": "none"}, folder=tmp_path)
    again, x = checkpoints.load("small", folder=tmp_path), torch.rand(2, 1, 28, 28)
    assert torch.equal(again.tokens(x), model.tokens(x)) and torch.equal(again.reconstruct(x), model.reconstruct(x))


def test_colour_and_other_sizes(model):
    wide = type(model)(**SMALL, channels=3).eval()
    assert wide.reconstruct(torch.rand(2, 3, 32, 32)).shape == (2, 3, 32, 32)


# --- straight through ----------------------------------------------------------------------------


def test_straight_through_has_the_value_of_the_code_and_the_gradient_of_z():
    z, code = torch.randn(2, 3, 4, 4, requires_grad=True), torch.randn(2, 3, 4, 4, requires_grad=True)
    out, weight = straight_through(z, code), torch.randn(2, 3, 4, 4)
    assert torch.allclose(out, code)
    to_z, to_code = torch.autograd.grad((weight * out).sum(), (z, code), allow_unused=True)
    assert torch.equal(to_z, weight) and to_code is None


def test_the_encoder_learns_through_the_quantiser():
    """The encoder's gradient is the decoder's at the codes, pulled back as if z were the code."""
    model, x = VQVAE(**SMALL).train(), torch.rand(2, 1, 28, 28)
    out = model(x)
    weight = torch.randn(x.shape)
    encoder = list(model.encoder.parameters())
    (found,) = torch.autograd.grad((weight * out.reconstruction).sum(), encoder[:1], retain_graph=True)
    code = out.code.clone().requires_grad_()
    (at_code,) = torch.autograd.grad((weight * model.decoder(code)).sum(), code)
    (expected,) = torch.autograd.grad(out.z, encoder[:1], at_code)
    assert found.any() and torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


# --- Gumbel-softmax ------------------------------------------------------------------------------


def test_a_cold_sample_is_the_arg_max_and_a_hot_one_is_uniform():
    logits, uniform = torch.randn(50, 6), torch.rand(50, 6)
    noise = -torch.log(-torch.log(uniform))
    cold = gumbel_softmax(logits, 1e-4, uniform)
    assert torch.allclose(cold, F.one_hot((logits + noise).argmax(1), 6).float(), atol=1e-3)
    assert torch.allclose(gumbel_softmax(logits, 1e5, uniform), torch.full((50, 6), 1 / 6), atol=1e-3)


def test_samples_sum_to_one_and_survive_the_ends_of_the_unit_interval():
    uniform = torch.tensor([[0.0, 1.0, 0.5], [1.0, 1.0, 0.0]])
    for tau in (1 / 16, 1.0, 10.0):
        y = gumbel_softmax(torch.zeros(2, 3), tau, uniform)
        assert torch.isfinite(y).all() and torch.allclose(y.sum(1), torch.ones(2))


@pytest.mark.parametrize("tau", [0.1, 1.0, 5.0])
def test_the_arg_max_has_the_softmax_probabilities_at_every_temperature(tau):
    p, n = torch.tensor([0.5, 0.3, 0.15, 0.05]), 100_000
    stream = torch.Generator().manual_seed(0)
    y = gumbel_softmax(p.log(), tau, torch.rand((n, 4), generator=stream))
    found = y.argmax(1).bincount(minlength=4) / n
    assert ((found - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()


def test_the_dvae_is_soft_in_training_and_hard_in_evaluation():
    model, x = GumbelVAE(**SMALL), torch.rand(4, 1, 28, 28)
    model.train()
    a, logits = model(x, 1.0)
    b, _ = model(x, 1.0)
    assert logits.shape == (4, 7, 7, 12) and not torch.equal(a, b)
    a.square().mean().backward()
    assert model.codebook.grad.any() and next(model.encoder.parameters()).grad.any()
    model.eval()
    assert torch.equal(model(x)[0], model.decode_tokens(model.tokens(x)))
