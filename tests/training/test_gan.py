"""Adversarial training: what each game does, and that a run stops and starts without losing a bit."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from gen_utils.data import ImageSet, to_float
from gen_utils.models import AutoencoderEnergy, Critic, Generator
from gen_utils.training import FitConfig, TrainingDiverged
from gen_utils.training.gan import (
    EnergyBased,
    GANConfig,
    GANTraining,
    NonSaturating,
    Relativistic,
    Wasserstein,
    WassersteinGP,
    binarise,
    train_gan,
)
from gen_utils.training.watches import GeneratorWatch

ROOT = Path(__file__).resolve().parent.parent.parent
GAMES = {
    "gan": NonSaturating(), "wgan": Wasserstein(critic_steps=2), "gp": WassersteinGP(critic_steps=2),
    "r3": Relativistic(), "ebgan": EnergyBased(),
}  # fmt: skip


def images(n=64):
    stream = torch.Generator().manual_seed(0)
    pixels = (torch.rand(n, 1, 28, 28, generator=stream) < 0.2).to(torch.uint8) * 255
    return ImageSet(pixels, None, (), "dots", "dots")


def networks(game):
    torch.manual_seed(0)
    critic = AutoencoderEnergy((1, 28, 28), 4, code_dim=4) if game == "ebgan" else Critic((1, 28, 28), 4)
    return Generator((1, 28, 28), 4, 4), critic


def train(folder, game="gp", steps=6, callbacks=(), resume=True, **changes):
    torch.set_num_threads(1)  # here and in another process: sums over another number of threads differ in the last bit
    settings = dict(batch_size=8, seed=0, run_dir=folder, checkpoint_every=2, log_every=1)
    recipe = GANConfig(GAMES[game], seed=1, **changes)
    config = FitConfig(steps, **settings)
    return train_gan(*networks(game), images(), recipe=recipe, config=config, callbacks=callbacks, resume=resume)


def ink_watch():
    return GeneratorWatch(2, lambda x: x.float().mean().item(), 4, finish=binarise)


def assert_same(a, b):
    for (name, x), (_, y) in zip(a.module.state_dict().items(), b.module.state_dict().items(), strict=True):
        assert torch.equal(x, y), name
    assert torch.equal(a.module.noise.get_state(), b.module.noise.get_state())
    assert a.history == b.history


@pytest.mark.parametrize("game", GAMES)
def test_each_game_trains_both_networks_and_logs(game, tmp_path):
    run = train(tmp_path, game, steps=3)
    assert run.steps == 3  # generator steps, whatever the critic took
    for name in ("critic_loss", "generator_loss", "wasserstein", "gradient"):
        assert len(run.curve(name)[0]) == 3, name
    generator, critic = networks(game)
    for before, after in (
        (generator, run.module.generator),
        (critic, run.module.critic),
        (generator, run.module.sampler),
    ):
        assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    assert all(p.requires_grad for p in run.module.critic.parameters())


def test_clipping_bounds_every_weight_and_penalties_are_logged(tmp_path):
    run = train(tmp_path / "a", "wgan", steps=2)
    assert max(p.abs().max() for p in run.module.critic.parameters()) <= 0.01
    assert "penalty" in train(tmp_path / "b", "gp", steps=2).history
    assert {"r1", "r2"} <= set(train(tmp_path / "c", "r3", steps=2).history)


@pytest.mark.parametrize("game", GAMES)
def test_losses_send_gradients_where_they_belong(game):
    """The critic's step leaves the generator alone, the generator's step pulls fakes towards a better score."""
    generator, critic = networks(game)
    objective, real = GAMES[game], to_float(images().images[:8])
    fake = generator(generator.draw(8))
    loss, _ = objective.critic_loss(critic, real, fake)
    loss.backward()
    assert all(p.grad is None for p in generator.parameters())
    assert any(p.grad.abs().sum() > 0 for p in critic.parameters())
    critic.eval()
    x = torch.rand(8, 1, 28, 28, requires_grad=True)
    (grad,) = torch.autograd.grad(objective.generator_loss(critic, real, x), x)
    with torch.no_grad():
        better = objective.score(critic, x - 1e-3 * grad / grad.norm() * 28).mean()
        assert better > objective.score(critic, x).mean()


@pytest.mark.parametrize("game", ["gp", "r3", "wgan"])
def test_the_critic_steps_up_the_score_of_data(game):
    """Ten critic steps against a fixed generator: data rise above fakes (a sign turned round would sink them)."""
    generator, critic = networks(game)
    torch.manual_seed(1)
    objective, real = GAMES[game], to_float(images().images[:32])
    fake = generator(generator.draw(32)).detach()
    optimiser = objective.optimiser(critic.parameters())
    for _ in range(10):
        optimiser.zero_grad()
        objective.critic_loss(critic, real, fake)[0].backward()
        optimiser.step()
        objective.after_critic_step(critic)
    assert objective.score(critic, real).mean() > objective.score(critic, fake).mean()


@pytest.mark.parametrize("game", ["gp", "ebgan"])
def test_two_halves_equal_the_whole_bit_for_bit(game, tmp_path, monkeypatch):
    """Stopped inside the run, resumed with new modules; both optimisers, average and streams must come back."""
    watch = ink_watch()
    whole = train(tmp_path / "whole", game, callbacks=[watch])

    class Stop(Exception):
        pass

    original = GANTraining.training_step

    def interrupted(self, batch, i):
        if self.global_step == 4:
            raise Stop
        return original(self, batch, i)

    monkeypatch.setattr(GANTraining, "training_step", interrupted)
    with pytest.raises(Stop):
        train(tmp_path / "halves", game, callbacks=[ink_watch()])
    monkeypatch.undo()
    torch.manual_seed(99)  # another process would have another global state
    again = ink_watch()
    halves = train(tmp_path / "halves", game, callbacks=[again])
    assert halves.resumed_from == 4
    assert_same(halves, whole)
    assert again.steps == watch.steps == [2, 4, 6] and again.values == watch.values
    finished = train(tmp_path / "halves", game)
    assert finished.resumed_from == 6 and finished.seconds == halves.seconds


@pytest.mark.slow
def test_a_new_process_goes_on_bit_for_bit(tmp_path):
    whole = train(tmp_path / "whole", "gp")
    program = f"""
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location("t", {str(Path(__file__))!r})
        t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)
        class Stop(Exception): pass
        original = t.GANTraining.training_step
        def interrupted(self, batch, i):
            if self.global_step == 4: raise Stop
            return original(self, batch, i)
        t.GANTraining.training_step = interrupted
        try: t.train({str(tmp_path / "halves")!r}, "gp")
        except Stop: sys.exit(7)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    halves = train(tmp_path / "halves", "gp")
    assert halves.resumed_from == 4
    assert_same(halves, whole)


def test_a_nan_in_the_critic_names_the_last_good_checkpoint(tmp_path, monkeypatch):
    train(tmp_path, "gan", steps=4)
    original = Critic.forward

    def poisoned(self, x):
        return original(self, x) * (float("nan") if self.training else 1)

    monkeypatch.setattr(Critic, "forward", poisoned)
    with pytest.raises(TrainingDiverged, match=r"last good checkpoint is .*last\.ckpt"):
        train(tmp_path, "gan", steps=6)
    monkeypatch.undo()
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 4 and all(torch.isfinite(v).all() for v in kept["state_dict"].values())


def test_the_average_is_an_average(tmp_path):
    run = train(tmp_path / "none", "gan", steps=2, ema=0.0)
    for a, b in zip(run.module.sampler.state_dict().values(), run.module.generator.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)
    run = train(tmp_path / "some", "gan", steps=2, ema=0.9)
    assert not torch.equal(next(run.module.sampler.parameters()), next(run.module.generator.parameters()))


def test_the_rate_falls_to_zero_in_the_second_half(tmp_path):
    rates = []

    class Note(GeneratorWatch):
        def on_train_batch_end(self, trainer, module, *args):
            rates.append([o.param_groups[0]["lr"] / 2e-4 for o in trainer.optimizers])

    train(tmp_path, "gan", steps=4, decay="linear", callbacks=[Note(1, lambda x: 0.0, 2)])
    assert rates == [[1, 1], [1, 1], [1, 1], [pytest.approx(0.5)] * 2]


def test_passes_are_counted_as_documented():
    assert NonSaturating().passes == 12 and Wasserstein().passes == 40
    assert WassersteinGP().passes == 70 and Relativistic().passes == 19


def test_wrong_settings_are_named(tmp_path):
    with pytest.raises(ValueError, match="ema"):
        GANConfig(ema=1.0)
    with pytest.raises(ValueError, match="decay"):
        GANConfig(decay="cosine")
    with pytest.raises(ValueError, match="every must be at least 1, a whole number"):
        GeneratorWatch(0, len, 4)


def test_binarise():
    assert binarise(torch.tensor([-0.1, 0.0, 0.3])).tolist() == [0, 255, 255]


def two_kinds(n=256):
    """Class 0 is black, class 1 is white, with a little of the other."""
    labels = torch.arange(n) % 2
    stream = torch.Generator().manual_seed(0)
    ink = torch.rand(n, 1, 28, 28, generator=stream) < torch.tensor([0.1, 0.9])[labels].view(-1, 1, 1, 1)
    return ImageSet(ink.to(torch.uint8) * 255, labels, ("black", "white"), "kinds", "kinds")


@pytest.mark.slow
def test_a_conditional_game_draws_what_it_is_asked_for_and_resumes(tmp_path):
    torch.manual_seed(0)
    generator = Generator((1, 28, 28), latent_dim=4, width=8, init="he", n_classes=2)
    critic = Critic((1, 28, 28), width=8, init="he", n_classes=2)
    recipe = GANConfig(WassersteinGP(lr=2e-3, critic_steps=2), ema=0.9)

    def run(steps, place, resume=False):
        config = FitConfig(steps, batch_size=16, run_dir=tmp_path / place, checkpoint_every=10)
        return train_gan(generator, critic, two_kinds(), recipe=recipe, config=config, resume=resume)

    sampler = run(120, "long").module.sampler
    with torch.no_grad():
        z = sampler.draw(40, torch.Generator().manual_seed(1), labels=torch.arange(40) % 2)
        ink = sampler(z).flatten(1).mean(1)
    assert ink[1::2].mean() - ink[::2].mean() > 0.5
    run(10, "halves")
    assert_same(run(20, "whole"), run(20, "halves", resume=True))


def test_labels_must_be_there_and_known_to_both(tmp_path):
    both = dict(recipe=GANConfig(NonSaturating()), config=FitConfig(2, batch_size=8, run_dir=tmp_path))
    conditional = Generator((1, 28, 28), latent_dim=4, width=4, n_classes=2)
    with pytest.raises(ValueError, match="the critic 0"):
        train_gan(conditional, Critic((1, 28, 28), width=4), two_kinds(), **both)
    with pytest.raises(ValueError, match=r"a conditional generator learns from images with labels, and .* has none"):
        train_gan(conditional, Critic((1, 28, 28), width=4, n_classes=2), images(), **both)
