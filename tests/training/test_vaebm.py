"""The second stage: only the energy learns, the steps are the paper's, and a diverging run is rescued."""

import math

import pytest
import torch
from torch import nn

from gen_utils.data import ImageSet, to_float
from gen_utils.models import MLPVAE, VAEBM, ConvVAE, SmallEnergy, StridedEnergy
from gen_utils.samplers import Langevin, sample
from gen_utils.training import FitConfig, TrainingDiverged, fit
from gen_utils.training.vaebm import SpectralPenalty, VAEBMConfig, VAEBMTraining, half_step_langevin, train_vaebm
from gen_utils.training.watches import ChainWatch

SHAPE = (1, 16, 16)


def images(n=64):
    """Black pictures with one white row of four."""
    pixels = torch.zeros(n, *SHAPE, dtype=torch.uint8)
    pixels[torch.arange(n), 0, 4 * (torch.arange(n) % 4)] = 255
    return ImageSet(pixels, None, (), "rows", "rows")


def parts():
    torch.manual_seed(0)
    return MLPVAE(SHAPE, 3, (16,), likelihood="gaussian", sigma=0.2), SmallEnergy(1, 16, width=2)


def recipe(**changes):
    return VAEBMConfig(**{"n_steps": 2, "fast": False, **changes})


def train(folder, max_steps=12, watchers=(), max_recoveries=3, vae=None, energy=None, **changes):
    default_vae, default_energy = parts()
    return train_vaebm(
        vae or default_vae,
        energy or default_energy,
        images(),
        recipe=recipe(**changes),
        config=FitConfig(max_steps, batch_size=16, run_dir=folder, checkpoint_every=4, log_every=1),
        callbacks=list(watchers),
        max_recoveries=max_recoveries,
    )


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_the_step_is_half_eta_and_the_noise_is_its_root():
    """On U = ½ λ ε² the recursion ε' = (1 - ηλ/2) ε + √η ξ has variance 1 / (λ (1 - ηλ/4)), exactly."""
    eta, lam, n = 0.4, 2.0, 40_000
    assert half_step_langevin(eta) == Langevin(0.2, noise=math.sqrt(0.4))
    stream = torch.Generator().manual_seed(0)
    start = torch.randn(n, 1, generator=stream, dtype=torch.float64)
    x = sample(lambda e: 0.5 * lam * e.square().sum(1), start, half_step_langevin(eta), 40, generator=stream).x
    exact = 1 / (lam * (1 - eta * lam / 4))
    assert abs(x.var().item() - exact) < 5 * exact * math.sqrt(2 / n)
    # The usual slips: the whole η, or the noise of the whole step, are far outside.
    for wrong in (1 / (2 * lam * (1 - eta * lam / 2)), 2 * exact):
        assert abs(wrong - exact) > 20 * exact * math.sqrt(2 / n)


def test_only_the_energy_learns_and_the_originals_are_left_alone(tmp_path):
    torch.manual_seed(0)
    vae, energy = ConvVAE(SHAPE, 3, (4, 4)), StridedEnergy(1, 16, (4, 4))  # a VAE with batch norm
    vae_before, energy_before = weights(vae), weights(energy)
    run, recoveries = train(tmp_path, vae=vae, energy=energy)
    assert recoveries == []
    assert_same(weights(vae), vae_before)
    assert_same(weights(energy), energy_before)
    assert_same(weights(run.module.joint.vae), vae_before)  # the running averages too
    assert all(p.grad is None and not p.requires_grad for p in run.module.joint.vae.parameters())
    after = weights(run.module.joint.energy)
    assert any(not torch.equal(after[name], energy_before[name]) for name in after)
    for name in ("loss", "contrast", "energy_real", "energy_fake", "lr"):
        assert len(run.curve(name)[1]) == 12, name


def test_the_gradient_is_that_of_the_contrast_with_chains_held_fixed():
    """One step by hand: mean ∇E of data minus mean ∇E of x(ε), nothing through the chain."""
    vae, energy = parts()
    training = VAEBMTraining(VAEBM(vae, energy), recipe())
    training.log_dict = lambda *args, **kwargs: None
    batch = (images(8).images,)
    training.training_step(batch, 0).backward()
    got = [p.grad.clone() for p in energy.parameters()]
    energy.zero_grad()

    joint, stream = VAEBM(vae, energy), torch.Generator().manual_seed(0)
    eps = sample(joint.in_epsilon(), joint.start().draw(8, generator=stream), recipe().kernel, 2, generator=stream).x
    fake = (vae.likelihood(eps[:, 256:]).mean + 0.2 * eps[:, :256].reshape(8, *SHAPE)).detach()
    (energy(to_float(batch[0])).mean() - energy(fake).mean()).backward()
    for a, p in zip(got, energy.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-4, atol=1e-6)


def test_persistent_chains_are_kept_as_noise_and_fresh_ones_are_not(tmp_path):
    run, _ = train(tmp_path / "a", max_steps=3)
    assert len(run.module.buffer) == 0
    run, _ = train(tmp_path / "b", max_steps=3, restart=0.1)
    assert run.module.buffer.images.shape == (48, 259)


def test_the_spectral_penalty_finds_the_largest_singular_values():
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(20, 4))
    penalty = SpectralPenalty(network)
    for _ in range(200):
        value = penalty()
    exact = sum(torch.linalg.matrix_norm(layer.weight.flatten(1), 2) for layer in (network[0], network[2]))
    torch.testing.assert_close(value, exact, rtol=1e-4, atol=1e-4)
    value.backward()
    u, _, vh = torch.linalg.svd(network[2].weight.detach())
    torch.testing.assert_close(network[2].weight.grad, u[:, :1] @ vh[:1], rtol=1e-2, atol=1e-2)
    assert not list(penalty.parameters())


def test_the_penalty_keeps_the_energy_from_growing_steep(tmp_path):
    free, _ = train(tmp_path / "a", max_steps=30)
    held, _ = train(tmp_path / "b", max_steps=30, spectral=0.5)
    norms = [SpectralPenalty(run.module.joint.energy) for run in (free, held)]
    for _ in range(50):
        steepness = [float(norm().detach()) for norm in norms]
    assert steepness[1] < 0.98 * steepness[0]
    assert "spectral" in held.history and "spectral" not in free.history


def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    whole, _ = train(tmp_path / "a", restart=0.3, spectral=0.1, data_noise=0.1)
    vae, energy = parts()
    config = FitConfig(12, batch_size=16, run_dir=tmp_path / "b", checkpoint_every=4, log_every=1)
    settings = recipe(restart=0.3, spectral=0.1, data_noise=0.1)

    class Stop(Exception):
        pass

    class Killed(VAEBMTraining):
        def training_step(self, batch, index):
            if self.global_step == 6:
                raise Stop
            return super().training_step(batch, index)

    torch.manual_seed(settings.seed)
    with pytest.raises(Stop):
        fit(Killed(VAEBM(vae, energy), settings), images(), config=config)
    again, _ = train(tmp_path / "b", restart=0.3, spectral=0.1, data_noise=0.1)
    assert again.resumed_from == 4
    assert_same(weights(again.module), weights(whole.module))


def test_energies_running_apart_are_rescued_with_half_the_rate(tmp_path, monkeypatch):
    step = VAEBMTraining.training_step

    def explode(self, batch, index):
        if self.global_step == 6 and self.lr_factor == 1:
            raise TrainingDiverged("data and samples are far apart; the rest")
        return step(self, batch, index)

    monkeypatch.setattr(VAEBMTraining, "training_step", explode)
    run, recoveries = train(tmp_path)
    assert [(r.from_step, r.lr_factor) for r in recoveries] == [(4, 0.5)]
    rates = dict(zip(*run.curve("lr"), strict=True))
    assert rates[6] == pytest.approx(0.5 * 1e-3 * 0.5 * (1 + math.cos(math.pi * 6 / 12)), rel=1e-5)
    monkeypatch.undo()
    with pytest.raises(TrainingDiverged, match=r"nats apart.*rescued before: 1"):
        train(tmp_path / "again", max_contrast=1e-12, max_recoveries=1)


def test_looks_measure_fresh_chains(tmp_path):
    seen = []

    def measure(pictures):
        seen.append(pictures)
        return float(len(pictures))

    watch = ChainWatch(6, measure, 10)
    train(tmp_path, watchers=[watch])
    assert watch.steps == [6, 12] and watch.values == [10.0, 10.0]
    assert seen[0].shape == (10, *SHAPE) and seen[0].dtype == torch.uint8


def test_chains_go_where_the_data_are_and_the_vae_is_not(tmp_path):
    """An untrained VAE draws grey noise; the data are nearly black. A little training sends the chains downwards."""
    torch.manual_seed(0)
    vae, kernel = MLPVAE(SHAPE, 3, (16,), likelihood="gaussian", sigma=0.5), half_step_langevin(0.1)
    run, _ = train(tmp_path, max_steps=40, n_steps=8, lr=1e-2, kernel=kernel, vae=vae)
    joint = run.module.joint
    eps = joint.start().draw(100, generator=torch.Generator().manual_seed(1))
    after = sample(joint.in_epsilon(), eps, kernel, 8, generator=torch.Generator().manual_seed(2)).x
    assert joint.images(after).mean() < joint.images(eps).mean() - 0.05


@pytest.mark.parametrize("wrong", [{"decay": "linear"}, {"spectral": -1.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VAEBMConfig(**wrong)
