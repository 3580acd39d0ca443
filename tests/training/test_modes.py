"""What learns is in training mode while it is fitted, in whatever mode it came; what is frozen stays as it is."""

import pytest
import torch
from torch import nn
from training.modules import made

from gen_utils import checkpoints
from gen_utils.data import load_images
from gen_utils.models import MLPVAE, VQVAE, GumbelVAE, SmallClassifier, TokenPrior, modes
from gen_utils.training import ClassifierTraining, FitConfig, VQVAETraining, fit
from gen_utils.training.gan import Wasserstein

CONFIG = dict(batch_size=48, log_every=1)


@pytest.fixture(scope="module")
def images():
    return load_images("digits", limit=96)


def averages(network):
    return torch.cat([m.running_mean for m in network.modules() if isinstance(m, nn.BatchNorm2d)])


def test_a_module_in_eval_mode_is_trained_as_one_in_training_mode(images, tmp_path):
    trained = []
    for mode in (True, False):
        torch.manual_seed(0)
        network = SmallClassifier(width=4).train(mode)
        fit(ClassifierTraining(network), images, config=FitConfig(3, run_dir=tmp_path / str(mode), **CONFIG))
        assert not network.training
        trained.append(network.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_a_second_fit_moves_the_averages_again(images, tmp_path):
    module = ClassifierTraining(SmallClassifier(width=4))
    fit(module, images, config=FitConfig(2, run_dir=tmp_path / "one", **CONFIG))
    before = averages(module).clone()
    fit(module, images, config=FitConfig(2, run_dir=tmp_path / "two", **CONFIG))
    assert not torch.equal(averages(module), before)


def test_a_loaded_vqvae_learns_its_codebook(images, tmp_path):
    model = VQVAE(n_codes=8, code_dim=4, width=8, n_blocks=1)
    checkpoints.save("new", model, {}, folder=tmp_path)
    loaded = checkpoints.load("new", folder=tmp_path)
    assert not loaded.training and not loaded.quantizer.ready
    start = loaded.codebook.clone()
    fit(VQVAETraining(loaded), images, config=FitConfig(2, run_dir=tmp_path / "run", **CONFIG))
    assert loaded.quantizer.ready and not torch.equal(loaded.codebook, start)


def test_a_frozen_part_keeps_its_mode_and_its_averages(images, tmp_path):
    class OnTop(ClassifierTraining):
        """A new head on a frozen body, dropout between them."""

        def __init__(self, body):
            super().__init__(SmallClassifier(width=4))
            self.body, self.between, self.seen = body.requires_grad_(False).eval(), nn.Dropout(), set()

        def training_step(self, batch, i):
            self.seen.add((self.training, self.body.training, self.body.body[1].training, self.between.training))
            return super().training_step(batch, i) + 0 * self.body(batch[0] / 255).sum()

    body = SmallClassifier(width=4)
    before = averages(body).clone()
    module = OnTop(body).eval()
    config = FitConfig(4, run_dir=tmp_path, validate_every=2, **CONFIG)
    fit(module, images, images, config=config)
    assert module.seen == {(True, False, False, True)} and torch.equal(averages(body), before)


def test_frozen_parts_are_those_without_a_weight_that_learns():
    frozen = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout()).requires_grad_(False)
    whole = nn.Sequential(frozen, nn.Dropout(), nn.BatchNorm1d(2, affine=False), nn.Linear(1, 1)).eval()
    modes.train(whole)
    assert [part.training for part in whole.modules()] == [True, False, False, False, True, True, True]
    whole[0].train()
    modes.train(whole)
    assert all(part.training for part in whole.modules())


def test_drawing_leaves_every_part_in_the_mode_it_was_in():
    vae = MLPVAE((1, 4, 4), latent=2, hidden=(8, 8)).train()
    vae.encoder.eval()
    vae.sample(3)
    assert vae.training and vae.decoder.training and not vae.encoder.training
    prior = TokenPrior(n_codes=4, grid=(2, 2), width=8, n_layers=1, n_heads=2).train()
    prior.head.eval()
    with pytest.raises(RuntimeError):
        prior.sample(2, temperature=float("nan"))
    assert prior.training and prior.body.training and not prior.head.training


def test_draws_of_a_vae_in_training_mode_teach_it_nothing():
    from gen_utils.models import ConvVAE

    vae = ConvVAE((1, 8, 8), latent=2, widths=(4, 4)).train()
    before = averages(vae).clone()
    vae.sample(5)
    assert torch.equal(averages(vae), before)


def test_tokens_of_a_set_are_those_of_eval_mode(images):
    from gen_utils.training import token_set

    model = GumbelVAE(n_codes=8, code_dim=4, width=8, n_blocks=0).train()
    model.decoder.eval()
    tokens = token_set(model, images)
    assert model.training and not model.decoder.training
    with torch.no_grad():
        assert torch.equal(tokens.images[:, 0].long(), model.eval().tokens(images.scaled()))


def test_clipping_leaves_a_frozen_layer_alone():
    critic = made("clipped")[0].critic
    first = critic.net[0].requires_grad_(False)
    first.weight.fill_(7.0)
    Wasserstein(clip=0.01).after_critic_step(critic)
    assert (first.weight == 7).all() and critic.net[-1].weight.abs().max() <= 0.01


def test_a_frozen_layer_of_a_critic_stays_frozen_and_an_interrupted_step_freezes_no_other(tmp_path, monkeypatch):
    module, images = made("game")
    first = module.critic.net[0]
    first.requires_grad_(False)
    before = first.weight.clone()
    fit(module, images, config=FitConfig(2, batch_size=20, run_dir=tmp_path / "a"))
    assert torch.equal(first.weight, before) and not first.weight.requires_grad
    assert module.critic.net[-1].weight.requires_grad

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(module.config.objective), "generator_loss", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(module, images, config=FitConfig(2, batch_size=20, run_dir=tmp_path / "b"))
    assert module.critic.net[-1].weight.requires_grad and not first.weight.requires_grad
