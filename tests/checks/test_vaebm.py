"""The tables of Part I."""

import math

import numpy as np
import torch
from checks import table

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


langevin_right = langevin(lambda eta: -eta / 2, math.sqrt)


def epsilon_by_rows(energy, decode, eps_x, eps_z):
    rows = []
    for x, z in zip(eps_x, eps_z, strict=True):
        mean, scale = decode(z[None])
        rows.append(energy(mean + scale * x)[0] + (x @ x + z @ z) / 2)
    return torch.stack(rows)


def epsilon_by_distributions(energy, decode, eps_x, eps_z):
    mean, scale = decode(eps_z)
    normal = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    log_density = normal.log_prob(torch.cat((eps_x, eps_z), 1)).sum(1)
    constant = 0.5 * math.log(2 * math.pi) * (eps_x.shape[1] + eps_z.shape[1])
    return energy(torch.addcmul(mean, scale, eps_x)) - (log_density + constant)


def epsilon_in_place(energy, decode, eps_x, eps_z):
    total = energy(picture(decode, eps_x, eps_z)).clone()
    total += eps_x.norm(dim=1).square() / 2
    total += eps_z.norm(dim=1).square() / 2
    return total


def joint_in_loops(energy, mean, sigma, x, z):
    out = energy(x)
    for i in range(x.shape[1]):
        out = out + (x[:, i] - mean[:, i]) ** 2 / sigma**2 / 2
    for j in range(z.shape[1]):
        out = out + z[:, j] ** 2 / 2
    return out


def joint_by_distributions(energy, mean, sigma, x, z):
    log_x = torch.distributions.Normal(mean, sigma).log_prob(x).sum(1) + x.shape[1] * math.log(
        sigma * (2 * math.pi) ** 0.5
    )
    return energy(x) - log_x + half(z)


def accept_by_where(u_old, p_old, u_new, p_new):
    change = ratio(u_old, p_old, u_new, p_new)
    chance = torch.where(change > 0, torch.ones_like(change), change.exp())
    return torch.where(chance.isfinite(), chance, torch.zeros_like(chance))


def accept_in_loops(u_old, p_old, u_new, p_new):
    out = []
    for a, p, b, q in zip(u_old.double(), p_old.double(), u_new.double(), p_new.double(), strict=True):
        change = float(a + p @ p / 2 - b - q @ q / 2)
        out.append(0.0 if math.isnan(change) else math.exp(min(0.0, change)))
    return out


def accept_in_numpy(u_old, p_old, u_new, p_new):
    u0, p0, u1, p1 = (v.double().numpy() for v in (u_old, p_old, u_new, p_new))
    with np.errstate(all="ignore"):
        change = u0 - u1 + 0.5 * ((p0**2).sum(1) - (p1**2).sum(1))
    return np.exp(np.minimum(0, np.where(np.isfinite(change), change, -np.inf)))


def accept_at_most_one(u_old, p_old, u_new, p_new):
    h_new = u_new + half(p_new)
    h_new[~h_new.isfinite()] = math.inf
    return torch.minimum(torch.ones(()), (u_old + half(p_old) - h_new).exp())


def together(energy, decode, real, eps_x, eps_z):
    fake = picture(decode, eps_x, eps_z).detach()
    on_real, on_fake = energy(torch.cat((real, fake))).split((len(real), len(fake)))
    return on_real.mean() - on_fake.mean()


RIGHT = {
    "noise_energy": [
        epsilon,
        epsilon_by_rows,
        epsilon_by_distributions,
        epsilon_in_place,
        lambda e, d, ex, ez: epsilon(e, d, ex.double(), ez.double()),
    ],
    "langevin_step": [
        langevin_right,
        lambda e, g, x, eta: torch.add(e, g, alpha=-eta / 2).add_(x, alpha=eta**0.5),
        lambda e, g, x, eta: np.asarray(e) - eta * np.asarray(g) / 2 + np.sqrt(eta) * np.asarray(x),
        lambda e, g, x, eta: langevin_right(e.double(), g.double(), x.double(), eta),
        lambda e, g, x, eta: torch.stack([langevin_right(*row, eta) for row in zip(e, g, x, strict=True)]),
    ],
    "pair_energy": [
        joint,
        joint_in_loops,
        joint_by_distributions,
        lambda e, m, s, x, z: joint(e, m.double(), s, x.double(), z.double()),
        lambda e, m, s, x, z: e(x) + half((x - m) / s, z),
        lambda e, m, s, x, z: e(x) + torch.cat(((x - m) / s, z), 1).square().sum(1) * 0.5,
    ],
    "acceptance": [accept, accept_by_where, accept_in_loops, accept_in_numpy, accept_at_most_one],
    "second_stage_loss": [
        loss,
        lambda e, d, r, ex, ez: e(r).mean() - e(picture(d, ex, ez).detach()).mean(),
        lambda e, d, r, ex, ez: e(r.detach()).mean() - e(picture(d, ex, ez).data).mean(),
        lambda e, d, r, ex, ez: sum(e(r)) / len(r) - sum(e(torch.no_grad()(picture)(d, ex, ez))) / len(ex),
        together,
    ],
}

ANSWERS = [
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
    ("noise_energy", "gradient with respect to eps_x", cut_x),
    ("noise_energy", "gradient with respect to eps_z", cut_z),
    ("noise_energy", "no gradient", lambda *args: epsilon(*args).detach()),
    ("noise_energy", "no gradient", lambda *args: epsilon(*args).tolist()),
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
    ("langevin_step", "input changed", lambda e, g, x, eta: e.sub_(eta / 2 * g) + math.sqrt(eta) * x),
    ("langevin_step", "differs", lambda e, g, x, eta: e - eta / 2 * g + math.sqrt(eta) * x.abs()),
    ("langevin_step", "shape", lambda e, g, x, eta: langevin_right(e, g, x, eta)[0]),
    ("pair_energy", "no gradient", lambda *args: joint(*args).detach().numpy()),
    ("pair_energy", "no gradient reaches z|respect to z", lambda e, m, s, x, z: joint(e, m, s, x, z.detach())),
    ("pair_energy", "no gradient reaches mean", lambda e, m, s, x, z: joint(e, m.detach(), s, x, z)),
    ("pair_energy", "gradient with respect to x", lambda e, m, s, x, z: joint(e, m, s, x, z) - e(x) + e(x.detach())),
    ("acceptance", "not finite", lambda *a: torch.nan_to_num(accept(*a), nan=0.0) + torch.isnan(a[2]) * 1.0),
    (
        "acceptance",
        "overflow",
        lambda u0, p0, u1, p1: (
            accept(u0.half().float(), p0, u1.half().float(), p1) if u0.abs().max() > 100 else accept(u0, p0, u1, p1)
        ),
    ),
    (
        "acceptance",
        "overflow",
        lambda u0, p0, u1, p1: torch.nan_to_num(torch.exp(-u1 - half(p1)) / torch.exp(-u0 - half(p0))).clamp(max=1),
    ),
    ("second_stage_loss", "backward", lambda e, d, *a: (loss(e, d, *a).backward(), loss(e, d, *a))[1]),
    ("second_stage_loss", "frozen", lambda e, d, *a: (d.requires_grad_(False), loss(e, d, *a))[1]),
    ("second_stage_loss", "training mode", lambda e, d, *a: (d.eval(), loss(e, d, *a))[1]),
]

WRONG = {name: [(said, answer) for exercise, said, answer in ANSWERS if exercise == name] for name in RIGHT}

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)
