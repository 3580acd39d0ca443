"""Each check of Part I accepts the right answer and names every slip it claims to know."""

import math

import pytest
import torch

from gen_utils.checks import vaebm as checks


def half(*noises):
    return sum(0.5 * e.square().sum(1) for e in noises)


def ratio(u0, p0, u1, p1, kinetic=half):
    return u0 + kinetic(p0) - u1 - kinetic(p1)


def epsilon(energy, decode, eps_x, eps_z):
    mean, scale = decode(eps_z)
    return energy(mean + scale * eps_x) + half(eps_x, eps_z)


def plus(rest):
    def wrong(energy, decode, eps_x, eps_z):
        mean, scale = decode(eps_z)
        return energy(mean + scale * eps_x) + rest(scale, eps_x, eps_z)

    return wrong


def of(picture):
    return lambda energy, decode, ex, ez: energy(picture(*decode(ez), ex)) + half(ex, ez)


def cut_x(energy, decode, eps_x, eps_z):
    mean, scale = decode(eps_z)
    return energy(mean + scale * eps_x.detach()) + half(eps_x, eps_z)


def cut_z(energy, decode, eps_x, eps_z):
    mean, scale = decode(eps_z.detach())
    return energy(mean + scale * eps_x) + half(eps_x, eps_z)


def langevin(drift, noise):
    return lambda eps, grad, xi, eta: eps + drift(eta) * grad + noise(eta) * xi


def joint(energy, mean, sigma, x, z, total=torch.sum):
    return energy(x) + total((x - mean).square(), 1) / (2 * sigma**2) + 0.5 * total(z.square(), 1)


def accept(*args):
    return torch.nan_to_num(ratio(*args).clamp(max=0).exp(), nan=0.0)


def kinetic(function):
    return lambda *args: ratio(*args, kinetic=function).clamp(max=0).exp()


def picture(decode, eps_x, eps_z):
    mean, scale = decode(eps_z)
    return mean + scale * eps_x


def loss(energy, decode, real, eps_x, eps_z):
    with torch.no_grad():
        x = picture(decode, eps_x, eps_z)
    return energy(real).mean() - energy(x).mean()


RIGHT = {
    "noise_energy": epsilon,
    "langevin_step": langevin(lambda eta: -eta / 2, math.sqrt),
    "pair_energy": joint,
    "acceptance": accept,
    "second_stage_loss": loss,
}

WRONG = [
    ("noise_energy", "no square", plus(lambda s, ex, ez: 0.0)),
    ("noise_energy", "square of ε_z only", plus(lambda s, ex, ez: half(ez))),
    ("noise_energy", "square of ε_x only", plus(lambda s, ex, ez: half(ex))),
    ("noise_energy", "whole square", plus(lambda s, ex, ez: 2 * half(ex, ez))),
    ("noise_energy", "mean for sum", plus(lambda s, ex, ez: 0.5 * torch.cat((ex, ez), 1).square().mean(1))),
    ("noise_energy", "energy of (x, z)", plus(lambda s, ex, ez: half(ex, ez) + s.log().sum(1))),
    ("noise_energy", "determinant twice", plus(lambda s, ex, ez: half(ex, ez) - s.log().sum(1))),
    ("noise_energy", "constant kept", plus(lambda s, ex, ez: half(ex, ez) + 0.5 * math.log(2 * math.pi) * 7)),
    ("noise_energy", "scale forgotten", of(lambda m, s, ex: m + ex)),
    ("noise_energy", "variance", of(lambda m, s, ex: m + s**2 * ex)),
    ("noise_energy", "energy of the mean", of(lambda m, s, ex: m)),
    ("noise_energy", "sign", lambda e, d, ex, ez: half(ex, ez) - e(picture(d, ex, ez))),
    ("noise_energy", "gradient cut", cut_x),
    ("noise_energy", "gradient cut", cut_z),
    ("noise_energy", "gradient cut", lambda *args: epsilon(*args).detach()),
    ("langevin_step", "whole step", langevin(lambda eta: -eta, math.sqrt)),
    ("langevin_step", "noise not rooted", langevin(lambda eta: -eta / 2, lambda eta: eta)),
    ("langevin_step", "other form", langevin(lambda eta: -eta / 2, lambda eta: math.sqrt(2 * eta))),
    ("langevin_step", "noise halved", langevin(lambda eta: -eta / 2, lambda eta: math.sqrt(eta / 2))),
    ("langevin_step", "uphill", langevin(lambda eta: eta / 2, math.sqrt)),
    ("langevin_step", "no noise", langevin(lambda eta: -eta / 2, lambda eta: 0.0)),
    ("langevin_step", "root step", langevin(lambda eta: -math.sqrt(eta), math.sqrt)),
    ("pair_energy", "no variance", lambda e, m, s, x, z: e(x) + half(x - m, z)),
    ("pair_energy", "no half", lambda e, m, s, x, z: e(x) + (x - m).square().sum(1) / s**2 + half(z)),
    ("pair_energy", "sigma not squared", lambda e, m, s, x, z: e(x) + (x - m).square().sum(1) / (2 * s) + half(z)),
    ("pair_energy", "constant kept", lambda e, m, s, *at: joint(e, m, s, *at) + math.log(s**4 * (2 * math.pi) ** 3.5)),
    ("pair_energy", "no prior", lambda e, m, s, x, z: joint(e, m, s, x, z) - half(z)),
    ("pair_energy", "no energy", lambda e, m, s, x, z: joint(e, m, s, x, z) - e(x)),
    ("pair_energy", "energy of the mean", lambda e, m, s, x, z: joint(e, m, s, x, z) - e(x) + e(m)),
    ("pair_energy", "noise space", lambda e, m, s, x, z: e(x) + half(x, z)),
    ("pair_energy", "mean for sum", lambda *args: joint(*args, total=torch.mean)),
    ("acceptance", "no kinetic energy", kinetic(lambda p: 0.0)),
    ("acceptance", "sign", lambda *a: (-ratio(*a)).clamp(max=0).exp()),
    ("acceptance", "no half", kinetic(lambda p: p.square().sum(1))),
    ("acceptance", "mean for sum", kinetic(lambda p: 0.5 * p.square().mean(1))),
    ("acceptance", "over the batch", kinetic(lambda p: 0.5 * p.square().sum())),
    ("acceptance", "not a probability", lambda *a: ratio(*a).exp()),
    ("acceptance", "log", ratio),
    ("acceptance", "log", lambda *a: ratio(*a).clamp(max=0)),
    ("acceptance", "not finite", lambda *a: ratio(*a).clamp(max=0).exp()),
    ("second_stage_loss", "sign", lambda *a: -loss(*a)),
    ("second_stage_loss", "energy of the mean", lambda e, d, r, ex, ez: e(r).mean() - e(d(ez)[0].detach()).mean()),
    ("second_stage_loss", "scale forgotten", lambda e, d, r, ex, ez: e(r).mean() - e(d(ez)[0] + ex).mean()),
    ("second_stage_loss", "chain's energy", lambda e, d, r, ex, ez: loss(e, d, r, ex, ez) - half(ex, ez).mean()),
    ("second_stage_loss", "no data", lambda e, d, r, ex, ez: -e(picture(d, ex, ez)).mean()),
    ("second_stage_loss", "no samples", lambda e, d, r, ex, ez: e(r).mean()),
    ("second_stage_loss", "sum for mean", lambda e, d, r, ex, ez: e(r).sum() - e(picture(d, ex, ez)).sum()),
    ("second_stage_loss", "VAE not frozen", lambda e, d, r, ex, ez: e(r).mean() - e(picture(d, ex, ez)).mean()),
    ("second_stage_loss", "no gradient", lambda *a: loss(*a).detach()),
    ("second_stage_loss", "half a gradient", lambda e, d, r, *eps: e(r).mean() - e(picture(d, *eps)).mean().detach()),
]  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name, capsys):
    assert getattr(checks, name)(RIGHT[name])
    assert capsys.readouterr().out.startswith(f"✓ {name}")


def test_a_detached_picture_is_right_too():
    assert checks.second_stage_loss(lambda e, d, r, ex, ez: e(r).mean() - e(picture(d, ex, ez).detach()).mean())


@pytest.mark.parametrize(("name", "slip", "wrong"), WRONG, ids=[f"{n}: {s} {i}" for i, (n, s, _) in enumerate(WRONG)])
def test_slips_are_named(name, slip, wrong, capsys):
    result = getattr(checks, name)(wrong)
    assert not result and result.slip == slip
    assert capsys.readouterr().out.startswith(f"✗ {name}")


@pytest.mark.parametrize("name", RIGHT)
def test_a_stub_is_no_error(name, capsys):
    def stub(*args):
        raise NotImplementedError

    assert not getattr(checks, name)(stub)
    assert "not written yet" in capsys.readouterr().out


@pytest.mark.parametrize("name", RIGHT)
def test_nonsense_is_told_kindly(name, capsys):
    assert not getattr(checks, name)(lambda *args: None)
    assert not getattr(checks, name)(lambda *args: torch.zeros(2, 2, 2))
    result = getattr(checks, name)(
        lambda *args: torch.tensor(1.0).expand(5) if name != "second_stage_loss" else torch.tensor(9.0)
    )
    assert not result and result.slip is None
