"""The tables of Part I."""

import math

import numpy as np
import torch
from checks import table

from gen_utils.checks import vaebm as checks


def half(*noises):
    return sum(0.5 * e.square().sum(1) for e in noises)


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


def stiffness(jacobian, sigma):
    n_pixels, n_codes = jacobian.shape
    pull = torch.cat((torch.eye(n_pixels), -jacobian), 1).double()
    prior = torch.cat((torch.zeros(n_codes, n_pixels), torch.eye(n_codes)), 1).double()
    whole = pull.T @ pull / sigma**2 + prior.T @ prior
    return torch.linalg.eigvalsh(whole)  # in float32 the smallest would be rounding


def steps_by_blocks(jacobian, sigma):
    """With the largest singular value s the problem is one of a pixel and a code."""
    s = torch.linalg.svdvals(jacobian)[0].item()
    a, b, c = 1 / sigma**2, -s / sigma**2, 1 + s**2 / sigma**2
    return 4 / ((a + c) / 2 + math.sqrt(((a - c) / 2) ** 2 + b**2))


def steps_by_autograd(jacobian, sigma):
    n_pixels, n_codes = jacobian.shape

    def energy(state):
        x, z = state[:n_pixels], state[n_pixels:]
        return (x - jacobian @ z).square().sum() / (2 * sigma**2) + z.square().sum() / 2

    hessian = torch.autograd.functional.hessian(energy, torch.zeros(n_pixels + n_codes))
    return 4 / torch.linalg.eigvalsh(hessian).max()


def steps_by_power_iteration(jacobian, sigma):
    j = jacobian.double()
    x, z = torch.ones(len(j), dtype=torch.float64), torch.linspace(1, 2, j.shape[1], dtype=torch.float64)
    for _ in range(3000):
        pull = (x - j @ z) / sigma**2
        new_x, new_z = pull, z - j.T @ pull
        size = math.sqrt(float(new_x @ new_x + new_z @ new_z))
        x, z = new_x / size, new_z / size
    return 4 / size


def steps_in_numpy(jacobian, sigma):
    j = jacobian.double().numpy()
    h = np.block([[np.eye(len(j)), -j], [-j.T, j.T @ j + sigma**2 * np.eye(j.shape[1])]]) / sigma**2
    return 4 / np.linalg.norm(h, 2)


def mixture(z, weights, means, covariances):
    if covariances.ndim == 2:
        covariances = torch.diag_embed(covariances)
    parts = torch.distributions.MultivariateNormal(means, covariances)
    return torch.logsumexp(parts.log_prob(z[:, None]) + weights.log(), 1)


def mixture_by_family(z, weights, means, covariances):
    if covariances.ndim == 2:
        parts = torch.distributions.Independent(torch.distributions.Normal(means, covariances.sqrt()), 1)
    else:
        parts = torch.distributions.MultivariateNormal(means, covariances)
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(weights), parts).log_prob(z)


def mixture_in_loops(z, weights, means, covariances):
    total = torch.full((len(z),), -math.inf, dtype=torch.float64)
    for weight, mean, wide in zip(weights.double(), means.double(), covariances.double(), strict=True):
        wide = torch.diag(wide) if wide.ndim == 1 else wide
        away = z.double() - mean
        squares = (away @ torch.linalg.inv(wide) * away).sum(1)
        log_det = torch.linalg.slogdet(2 * math.pi * wide).logabsdet
        total = torch.logaddexp(total, weight.log() - 0.5 * (squares + log_det))
    return total


def mixture_shifted(z, weights, means, covariances):
    if covariances.ndim == 2:
        covariances = torch.diag_embed(covariances)
    away = z[:, None] - means
    squares = (away * torch.linalg.solve(covariances, away[..., None])[..., 0]).sum(-1)
    terms = weights.log() - 0.5 * (squares + torch.logdet(covariances) + z.shape[1] * math.log(2 * math.pi))
    largest = terms.max(1, keepdim=True).values
    return largest[:, 0] + (terms - largest).exp().sum(1).log()


def mixture_by_rows(z, weights, means, covariances):
    return torch.cat([mixture(row[None], weights, means, covariances) for row in z])


def terms(z, weights, means, covariances, det=0.5, pi=0.5, half=0.5, form=torch.linalg.inv):
    """(B, K), with one of the factors changed."""
    wide = torch.diag_embed(covariances) if covariances.ndim == 2 else covariances
    away = z[:, None] - means
    squares = torch.einsum("bki,kij,bkj->bk", away, form(wide), away)
    return weights.log() - half * squares - det * torch.logdet(wide) - pi * z.shape[1] * math.log(2 * math.pi)


def of_terms(**changes):
    return lambda *args: torch.logsumexp(terms(*args, **changes), 1)


def only_diagonal(z, weights, means, covariances):
    own = covariances if covariances.ndim == 2 else covariances.diagonal(dim1=1, dim2=2)
    return mixture(z, weights, means, own)


def far_is_cut(z, weights, means, covariances):
    """The value is right; the way back to z goes through weights that are zero."""
    value = mixture(z, weights, means, covariances).detach()
    naive = terms(z, weights, means, covariances).exp().sum(1).log()
    return value + naive - naive.detach() if naive.isfinite().all() else value + 0 * z.sum(1)


def one_gaussian(z, weights, means, covariances):
    wide = torch.diag_embed(covariances) if covariances.ndim == 2 else covariances
    centre = weights @ means
    spread = sum(w * (c + torch.outer(m - centre, m - centre)) for w, m, c in zip(weights, means, wide, strict=True))
    return torch.distributions.MultivariateNormal(centre, spread).log_prob(z)


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
    "largest_step": [
        lambda j, s: 4 / stiffness(j, s)[-1],
        steps_by_blocks,
        steps_by_autograd,
        steps_by_power_iteration,
        steps_in_numpy,
        lambda j, s: 4 / stiffness(j.double(), s)[-1].item(),
    ],
    "mixture_log_prob": [
        mixture,
        mixture_by_family,
        mixture_in_loops,
        mixture_shifted,
        mixture_by_rows,
        lambda z, w, m, c: mixture(z.double(), w.double(), m.double(), c.double()),
    ],
    "second_stage_loss": [
        loss,
        lambda e, d, r, ex, ez: e(r).mean() - e(picture(d, ex, ez).detach()).mean(),
        lambda e, d, r, ex, ez: e(r.detach()).mean() - e(picture(d, ex, ez).data).mean(),
        lambda e, d, r, ex, ez: sum(e(r)) / len(r) - sum(e(torch.no_grad()(picture)(d, ex, ez))) / len(ex),
        together,
    ],
}

ANSWERS = [
    ("largest_step", "too careful", lambda j, s: 2 / stiffness(j, s)[-1]),
    ("largest_step", "factor 2", lambda j, s: 8 / stiffness(j, s)[-1]),
    ("largest_step", "pixels alone", lambda j, s: 4 * s**2),
    ("largest_step", "code alone", lambda j, s: 4 / (1 + torch.linalg.svdvals(j)[0] ** 2 / s**2)),
    ("largest_step", "blocks apart", lambda j, s: 4 / max(1 / s**2, float(1 + torch.linalg.svdvals(j)[0] ** 2 / s**2))),
    ("largest_step", "no prior", lambda j, s: 4 * s**2 / (1 + torch.linalg.svdvals(j)[0] ** 2)),
    ("largest_step", "sigma not squared", lambda j, s: 4 / stiffness(j, s**0.5)[-1]),
    ("largest_step", "gentlest", lambda j, s: 4 / stiffness(j, s)[0]),
    ("largest_step", "mean curvature", lambda j, s: 4 / stiffness(j, s).mean()),
    ("largest_step", "sum of curvatures", lambda j, s: 4 / stiffness(j, s).sum()),
    ("largest_step", "curvature", lambda j, s: stiffness(j, s)[-1]),
    ("largest_step", "noise space", lambda j, s: 4.0),
    ("largest_step", "shape", lambda j, s: 4 / stiffness(j, s)),
    ("largest_step", "differs", lambda j, s: -4 / stiffness(j, s)[-1]),
    ("mixture_log_prob", "no weights", lambda z, w, m, c: mixture(z, torch.ones_like(w), m, c)),
    ("mixture_log_prob", "weights added", lambda z, w, m, c: torch.logsumexp(terms(z, w, m, c) - w.log() + w, 1)),
    ("mixture_log_prob", "no normaliser", of_terms(det=0, pi=0)),
    ("mixture_log_prob", "no determinant", of_terms(det=0)),
    ("mixture_log_prob", "determinant whole", of_terms(det=1)),
    ("mixture_log_prob", "determinant turned round", of_terms(det=-0.5)),
    ("mixture_log_prob", "no 2π", of_terms(pi=0)),
    ("mixture_log_prob", "2π once", lambda z, *a: of_terms(pi=0)(z, *a) - 0.5 * math.log(2 * math.pi)),
    ("mixture_log_prob", "2π without its half", of_terms(pi=1)),
    ("mixture_log_prob", "no half", of_terms(half=1)),
    ("mixture_log_prob", "covariance for its inverse", of_terms(form=lambda c: c)),
    ("mixture_log_prob", "covariance squared", of_terms(form=lambda c: torch.linalg.inv(c @ c))),
    ("mixture_log_prob", "diagonal only", only_diagonal),
    ("mixture_log_prob", "mean of logs", lambda z, w, m, c: (terms(z, w, m, c) - w.log()) @ w),
    ("mixture_log_prob", "sum of logs", lambda *a: terms(*a).sum(1)),
    ("mixture_log_prob", "largest only", lambda *a: terms(*a).max(1).values),
    ("mixture_log_prob", "mean over the components", lambda *a: torch.logsumexp(terms(*a), 1) - math.log(len(a[1]))),
    ("mixture_log_prob", "one Gaussian", one_gaussian),
    ("mixture_log_prob", "overflow", lambda *a: torch.log(torch.exp(terms(*a)).sum(1))),
    ("mixture_log_prob", "density", lambda *a: mixture(*a).exp()),
    ("mixture_log_prob", "sign", lambda *a: -mixture(*a)),
    ("mixture_log_prob", "no gradient", lambda *a: mixture(*a).detach().numpy()),
    ("mixture_log_prob", "no gradient reaches z", far_is_cut),
    ("mixture_log_prob", "shape", lambda *a: terms(*a)),
    ("mixture_log_prob", "shape", lambda *a: mixture(*a).sum()),
    ("mixture_log_prob", "input changed", lambda z, w, m, c: (mixture(z, w, m, c), m.zero_())[0]),
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
    ("second_stage_loss", "backward", lambda e, d, *a: (loss(e, d, *a).backward(), loss(e, d, *a))[1]),
    ("second_stage_loss", "frozen", lambda e, d, *a: (d.requires_grad_(False), loss(e, d, *a))[1]),
    ("second_stage_loss", "training mode", lambda e, d, *a: (d.eval(), loss(e, d, *a))[1]),
]

WRONG = {name: [(said, answer) for exercise, said, answer in ANSWERS if exercise == name] for name in RIGHT}

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)
