import pytest
import torch

from gen_utils.data import load_images
from gen_utils.losses import discrete_elbo, kl_to_uniform, vq_loss
from gen_utils.models import VQVAE, GumbelVAE, TokenPrior
from gen_utils.training import FitConfig, GumbelTraining, TokenPriorTraining, VQVAETraining, fit, token_set
from gen_utils.training.vqvae import perplexity

SMALL = {"n_codes": 16, "code_dim": 4, "width": 8, "n_blocks": 1}
MODULES = {
    "vqvae": lambda: VQVAETraining(VQVAE(**SMALL)),
    "gumbel": lambda: GumbelTraining(GumbelVAE(**SMALL)),
}


@pytest.fixture(scope="module")
def images():
    return load_images("digits", limit=150)


# --- losses --------------------------------------------------------------------------------------


def test_vq_loss_by_hand_and_its_gradients():
    x, reconstruction = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]]], requires_grad=True)
    z, code = torch.tensor([[[[2.0]]]], requires_grad=True), torch.tensor([[[[5.0]]]], requires_grad=True)
    loss = vq_loss(x, reconstruction, z, code, beta=0.25)
    assert loss.item() == pytest.approx((1 + 9) / 2 + 0.25 * 9)
    loss.backward()
    assert z.grad.item() == pytest.approx(0.25 * 2 * (2 - 5)) and code.grad is None


def test_kl_to_uniform_at_its_ends():
    even, sure = torch.zeros(2, 3, 3, 8), torch.zeros(2, 3, 3, 8)
    sure[..., 2] = 1e4
    assert torch.allclose(kl_to_uniform(even), torch.zeros(2), atol=1e-5)
    assert torch.allclose(kl_to_uniform(sure), 9 * torch.tensor(8.0).log().expand(2))
    q = torch.tensor([0.7, 0.2, 0.1])
    by_hand = (q * (q / (1 / 3)).log()).sum()
    assert torch.allclose(kl_to_uniform(q.log().reshape(1, 1, 1, 3)), by_hand[None])


def test_discrete_elbo_adds_its_parts():
    x, r, logits = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4), torch.randn(3, 1, 1, 5)
    found = discrete_elbo(x, r, logits, sigma=0.5, beta=2.0)
    assert torch.allclose(found, (x - r).square().flatten(1).sum(1) / 0.5 + 2 * kl_to_uniform(logits))


# --- perplexity ----------------------------------------------------------------------------------


def test_perplexity_at_its_ends():
    assert perplexity(torch.tensor([0, 7, 0])).item() == pytest.approx(1)
    assert perplexity(torch.full((10,), 3)).item() == pytest.approx(10)
    with pytest.raises(ValueError, match="no tokens"):
        perplexity(torch.zeros(4))


@pytest.mark.parametrize("kind", MODULES)
def test_validation_measures_the_epoch_and_not_the_batch(kind, images, tmp_path):
    """150 images in batches of 60 leave a last batch of 30; MSE and perplexity are those of all 150 together."""
    torch.manual_seed(0)
    config = FitConfig(4, batch_size=60, run_dir=tmp_path, validate_every=4)
    run = fit(MODULES[kind](), images, images, config=config)
    model = run.module.model
    with torch.no_grad():
        x = images.scaled()
        tokens = model.tokens(x)
        mse = ((model.reconstruct(x) - x) / 2).square().mean().item()
    counts = torch.bincount(tokens.flatten(), minlength=16)
    assert run.curve("val_perplexity")[1][-1] == pytest.approx(perplexity(counts).item(), rel=1e-4)
    assert run.curve("val_codes")[1][-1] == (counts > 0).sum()
    assert run.curve("val_mse")[1][-1] == pytest.approx(mse, rel=1e-4)
    if (counts > 0).sum() > 2:
        batches = [perplexity(torch.bincount(t.flatten(), minlength=16)) for t in tokens.split(60)]
        assert torch.stack(batches).mean() < perplexity(counts)


# --- training ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_both_learn_to_paint(images, tmp_path):
    torch.manual_seed(0)
    for kind, build in MODULES.items():
        module = build()
        module.lr = 5e-3
        run = fit(module, images, config=FitConfig(100, batch_size=50, run_dir=tmp_path / kind, log_every=1))
        mse = run.curve("mse")[1]
        assert sum(mse[-5:]) < 0.7 * sum(mse[:5]), kind


@pytest.mark.parametrize("kind", MODULES)
def test_a_stopped_run_goes_on_bit_for_bit(kind, images, tmp_path):
    """Codebook, averages, revivals, temperature and noise all come back."""

    def train(folder, **more):
        torch.manual_seed(0)
        module = MODULES[kind]()
        if kind == "vqvae":
            module.model.quantizer.revive_below = 20.0  # many revivals, each of which draws numbers
        config = FitConfig(12, batch_size=50, run_dir=folder, checkpoint_every=4, log_every=1)
        return fit(module, images, config=config, **more)

    whole = train(tmp_path / "whole")

    class Stop(Exception):
        pass

    original = MODULES[kind]().__class__.training_step

    def interrupted(self, batch, i):
        if self.global_step == 7:
            raise Stop
        return original(self, batch, i)

    type(whole.module).training_step = interrupted
    try:
        with pytest.raises(Stop):
            train(tmp_path / "cut")
    finally:
        type(whole.module).training_step = original
    again = train(tmp_path / "cut", resume=True)
    assert again.resumed_from == 4
    for (name, a), (_, b) in zip(again.module.state_dict().items(), whole.module.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert again.history == whole.history


def test_the_temperature_cools_and_the_weight_rises():
    class Place:
        max_steps = 100

    module = MODULES["gumbel"]()
    module._trainer = Place()
    seen = []
    for Place.global_step in (0, 30, 75, 100):
        seen.append(module.schedule())
    warmth, weight = zip(*seen, strict=True)
    assert warmth[0] == 1 and warmth[1] < 1 and warmth[2] == warmth[3] == pytest.approx(1 / 16)
    assert weight[0] == 0 and weight[1] == pytest.approx(0.4) and weight[2] == weight[3] == 1


# --- the prior -----------------------------------------------------------------------------------


def test_token_sets_hold_the_models_tokens(images):
    model = VQVAE(**SMALL).train()
    tokens = token_set(model, images, batch_size=40)
    assert tokens.images.shape == (150, 1, 7, 7) and model.training
    assert torch.equal(tokens.images[:, 0].long(), model.tokens(images.scaled()))
    assert torch.equal(tokens.labels, images.labels)
    with pytest.raises(ValueError, match="257 codes do not fit"):
        token_set(VQVAE(n_codes=257, code_dim=2, width=4, n_blocks=0), images)


@pytest.mark.slow
def test_the_prior_learns_what_follows_what(images, tmp_path):
    """Grids of one repeated token: after a few steps all but the first are nearly free."""
    from dataclasses import replace

    torch.manual_seed(0)
    same = torch.randint(4, (150, 1, 1, 1), dtype=torch.uint8).expand(-1, 1, 2, 2).contiguous()
    prior = TokenPrior(n_codes=4, grid=(2, 2), width=16, n_layers=1, n_heads=2, dropout=0.0)
    data = replace(images, images=same)
    config = FitConfig(150, batch_size=50, run_dir=tmp_path, validate_every=150)
    run = fit(TokenPriorTraining(prior, lr=1e-2), data, data, config=config)
    assert run.curve("val_nll")[1][-1] == pytest.approx(torch.tensor(4.0).log().item(), abs=0.1)
    assert run.curve("val_nll")[1][-1] == pytest.approx(-prior.log_prob(same[:, 0].long()).mean().item(), rel=1e-4)
