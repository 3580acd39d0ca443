"""The tables of Part B."""

import math

import numpy as np
import torch
from checks import table
from scipy.special import logsumexp, softmax

from gen_utils.checks import ebm_mnist as checks
from gen_utils.losses import contrastive_divergence

# --- density_on_grid -----------------------------------------------------------------------------


def density(energy, area):
    return torch.softmax(-energy.flatten(), 0).reshape(energy.shape) / area


def density_in_loops(energy, area):
    lowest, out = min(map(min, energy.tolist())), torch.empty_like(energy)
    for i, row in enumerate(energy.tolist()):
        for j, value in enumerate(row):
            out[i, j] = math.exp(lowest - value)
    return out / out.sum() / area


def density_shifted(energy, area):
    weight = torch.exp(energy.min() - energy)
    weight /= weight.sum()
    return weight / area


# --- langevin_step -------------------------------------------------------------------------------


def step(*, sign=-1, reduce="sum", clip=True, box=True, noise=lambda eta, sigma: sigma, detach=True, own=True):
    def variant(energy, x, step_size, sigma, grad_clip, xi):
        x = x.detach().requires_grad_() if own else x.requires_grad_()
        (grad,) = torch.autograd.grad(getattr(energy(x), reduce)(), x)
        if callable(clip):
            grad = clip(grad, step_size, grad_clip)
        elif clip:
            grad = grad.clamp(-grad_clip, grad_clip)
        new = (x.detach() if detach else x) + sign * step_size * grad + noise(step_size, sigma) * xi
        return new.clamp(-1, 1) if box else new

    return variant


def step_by_rows(energy, x, step_size, noise, grad_clip, xi):
    rows = []
    for row, own in zip(x, xi, strict=True):
        row = row[None].clone().requires_grad_()
        grad = torch.autograd.grad(energy(row)[0], row)[0].clip(-grad_clip, grad_clip)
        rows.append((row.detach() - step_size * grad + noise * own).clip(-1, 1))
    return torch.cat(rows)


def step_in_place(energy, x, step_size, noise, grad_clip, xi):
    own = x.clone().requires_grad_(True)
    grad = torch.autograd.grad(energy(own), own, torch.ones(len(x)))[0]
    with torch.no_grad():
        own -= step_size * grad.clamp_(-grad_clip, grad_clip)
        own += noise * xi
        own.clamp_(-1, 1)
    return own.detach()


def step_in_double(energy, x, step_size, noise, grad_clip, xi):
    return step()(energy, x.double(), step_size, noise, grad_clip, xi.double())


def step_functional(energy, x, step_size, noise, grad_clip, xi):
    grad = torch.func.grad(lambda at: energy(at).sum())(x.detach())
    bounded = torch.maximum(torch.minimum(grad, torch.tensor(grad_clip)), torch.tensor(-grad_clip))
    return torch.clamp(x + noise * xi - step_size * bounded, -1, 1).detach()


def backward(energy, x, step_size, noise, grad_clip, xi):
    x = x.detach().clone().requires_grad_()
    energy(x).sum().backward()
    return (x.detach() - step_size * x.grad.clamp(-grad_clip, grad_clip) + noise * xi).clamp(-1, 1)


def freezing(energy, *rest):
    for p in energy.parameters():
        p.requires_grad_(False)
    return step()(energy, *rest)


def evaluating(energy, *rest):
    energy.eval()
    return step()(energy, *rest)


def seeding(*args):
    torch.manual_seed(0)
    return step()(*args)


# --- draw_starts ---------------------------------------------------------------------------------


def start(
    *, coin="image", restart=lambda r: r, low=-1.0, high=1.0, normal=False, seeded=True, places=None, write=False
):
    def variant(buffer, n, p, generator):
        g = generator if seeded else None
        index = torch.randint(places or len(buffer), (n,), generator=g)
        shape = {"image": (n, 1, 1, 1), "batch": (1, 1, 1, 1), "pixel": (n, *buffer.shape[1:])}[coin]
        fresh = torch.rand(shape, generator=g) < restart(p)
        size = (n, *buffer.shape[1:])
        new = torch.randn(size, generator=g) if normal else torch.rand(size, generator=g) * (high - low) + low
        old = buffer[index]
        if write:
            buffer[:] = 0
        return torch.where(fresh, new, old)

    return variant


def start_in_a_copy(buffer, n, restart, generator):
    x = buffer[torch.randint(0, buffer.shape[0], (n,), generator=generator)]
    fresh = torch.bernoulli(torch.full((n,), restart), generator=generator).bool()
    x[fresh] = torch.rand(x[fresh].shape, generator=generator) * 2 - 1
    return x


def start_by_rows(buffer, n, restart, generator):
    rows = []
    coins, index = torch.rand(n, generator=generator).tolist(), torch.randint(len(buffer), (n,), generator=generator)
    for coin, i in zip(coins, index.tolist(), strict=True):
        row = buffer[i]
        rows.append(torch.empty_like(row).uniform_(-1, 1, generator=generator) if coin < restart else row)
    return torch.stack(rows)


def start_mixed(buffer, n, restart, generator):
    coin = (torch.rand(n, generator=generator) >= 1 - restart).float().view(-1, 1, 1, 1)
    new = 1 - 2 * torch.rand((n, *buffer.shape[1:]), generator=generator)
    index = (torch.rand(n, generator=generator) * len(buffer)).long()
    return coin * new + (1 - coin) * buffer[index]


def start_of_a_longer_list(buffer, n, restart, generator):
    return start()(buffer.double(), n, restart, generator).float()


def fixed_count(buffer, n, p, generator):
    fresh = torch.rand((int(n * p), *buffer.shape[1:]), generator=generator) * 2 - 1
    index = torch.randint(len(buffer), (n - len(fresh),), generator=generator)
    return torch.cat((fresh, buffer[index]))


def one_noise(buffer, n, p, generator):
    fresh = torch.rand((n, 1, 1, 1), generator=generator) < p
    new = torch.rand(buffer.shape[1:], generator=generator) * 2 - 1
    return torch.where(fresh, new, buffer[torch.randint(len(buffer), (n,), generator=generator)])


def grey_noise(buffer, n, p, generator):
    fresh = torch.rand((n, 1, 1, 1), generator=generator) < p
    new = torch.rand((n, 1, 1, 1), generator=generator) * 2 - 1
    return torch.where(fresh, new, buffer[torch.randint(len(buffer), (n,), generator=generator)])


# --- contrastive_loss ----------------------------------------------------------------------------


def loss(real, fake, alpha):
    return real.mean() - fake.mean() + alpha * (real.square().mean() + fake.square().mean())


def loss_in_loops(real, fake, alpha):
    total = 0.0
    for e in real:
        total = total + (e + alpha * e**2) / len(real)
    for e in fake:
        total = total - (e - alpha * e**2) / len(fake)
    return total


RIGHT = {
    "density_on_grid": [
        density,
        density_in_loops,
        density_shifted,
        lambda e, a: density(e.double(), a),
        lambda e, a: softmax(-e.numpy()) / a,
        lambda e, a: np.exp(-e.double().numpy() - logsumexp(-e.double().numpy())) / a,
        lambda e, a: (torch.exp(-e - torch.logsumexp(-e, (0, 1))) / a).tolist(),
    ],
    "langevin_step": [step(), step_by_rows, step_in_place, step_in_double, step_functional],
    "temperature": [
        lambda eta, sigma: sigma**2 / (2 * eta),
        lambda eta, sigma: sigma / eta * sigma / 2,
        lambda eta, sigma: torch.tensor(sigma).square() / eta / 2,
        lambda eta, sigma: np.float64(sigma) ** 2 / (eta + eta),
        lambda eta, sigma: math.exp(2 * math.log(sigma) - math.log(2 * eta)),
    ],
    "draw_starts": [start(), start_in_a_copy, start_by_rows, start_mixed, start_of_a_longer_list],
    "contrastive_loss": [
        loss,
        contrastive_divergence,
        loss_in_loops,
        lambda r, f, a: loss(r.double(), f.double(), a),
        lambda r, f, a: (r + a * r * r).mean() + (a * f * f - f).mean(),
        lambda r, f, a: torch.sum(r * (1 + a * r)) / r.numel() - torch.sum(f * (1 - a * f)) / f.numel(),
    ],
}
WRONG = {
    "density_on_grid": [
        ("sign", lambda e, a: torch.softmax(e.flatten(), 0).reshape(e.shape) / a),
        ("cell area", lambda e, a: density(e, 1.0)),
        ("times cell area", lambda e, a: density(e, 1.0) * a),
        ("one axis", lambda e, a: torch.softmax(-e, 0) / a),
        ("one axis", lambda e, a: torch.softmax(-e, 1) / a),
        ("overflow", lambda e, a: torch.exp(-e) / torch.exp(-e).sum() / a),
        ("unnormalised", lambda e, a: torch.exp(-e)),
        ("overflow", lambda e, a: torch.exp(-e) / (torch.exp(-e).sum() * a)),
        ("overflow", lambda e, a: torch.exp(-e - torch.log(torch.exp(-e).sum())) / a),
        ("shape", lambda e, a: torch.softmax(-e.flatten(), 0) / a),
        ("shape", lambda e, a: density(e, a).T),
        ("input changed", lambda e, a: density(e.neg_().neg(), a)),
        ("differs in case 1", lambda e, a: density(e, a) / len(e)),
        ("differs", lambda e, a: density(e / 2, a)),
    ],
    "langevin_step": [
        ("sign", step(sign=1)),
        ("mean for sum", step(reduce="mean")),
        ("gradient not clipped", step(clip=False)),
        ("box", step(box=False)),
        ("no noise", step(noise=lambda eta, sigma: 0.0)),
        ("noise not scaled", step(noise=lambda eta, sigma: 1.0)),
        ("noise times step", step(noise=lambda eta, sigma: eta * sigma)),
        ("noise from the step", step(noise=lambda eta, sigma: (2 * eta) ** 0.5)),
        ("graph through the chain", step(detach=False)),
        ("backward", backward),
        ("input changed", step(own=False)),
        ("step clipped", step(clip=lambda grad, eta, c: (eta * grad).clamp(-c, c) / eta)),
        (
            "norm clipped",
            step(clip=lambda grad, eta, c: torch.stack([g * min(1.0, c / float(g.norm())) for g in grad])),
        ),
        ("clipped on one side", step(clip=lambda grad, eta, c: torch.minimum(grad, torch.tensor(c)))),
        ("input changed", lambda energy, x, *rest: x.copy_(step()(energy, x, *rest))),
        ("frozen", freezing),
        ("training mode", evaluating),
        ("random state", seeding),
        ("differs in case 1", lambda energy, x, *rest: step()(energy, x, *rest[:-1], torch.randn_like(x))),
    ],
    "temperature": [
        ("no square", lambda e, s: s / (2 * e)),
        ("factor 2", lambda e, s: s**2 / e),
        ("inverse", lambda e, s: 2 * e / s**2),
        ("ε-form", lambda e, s: (s / e) ** 2),
        ("half times η", lambda e, s: s**2 / 2 * e),
        ("differs", lambda e, s: s**2 // (2 * e)),
        ("differs", lambda e, s: 1.0),
        ("differs", lambda e, s: (s / (2 * e)) ** 2),
        ("returns nothing", lambda e, s: None),
        ("shape", lambda e, s: [s**2 / (2 * e)]),
    ],
    "draw_starts": [
        ("coin a pixel", start(coin="pixel")),
        ("restart turned round", start(restart=lambda p: 1 - p)),
        ("one coin a batch", start(coin="batch")),
        ("range", start(low=0.0)),
        ("range", start(high=0.8)),
        ("normal", start(normal=True)),
        ("places", start(places=100)),
        ("places", start(places=499)),
        ("random state", start(seeded=False)),
        ("input changed", start(write=True)),
        ("fixed count", fixed_count),
        ("shared noise", one_noise),
        ("shared noise", grey_noise),
        ("one coin a batch", start(restart=lambda p: 2.0)),
        (r"9\.\d% of your starts are fresh", start(restart=lambda p: p / 3)),
        ("shape", lambda b, n, p, g: start()(b, n, p, g).flatten(1)),
    ],
    "contrastive_loss": [
        ("sign", lambda r, f, a: loss(f, r, a)),
        ("no regulariser", lambda r, f, a: loss(r, f, 0.0)),
        ("sum for mean", lambda r, f, a: r.mean() - f.mean() + a * ((r**2).sum() + (f**2).sum())),
        ("all summed", lambda r, f, a: r.sum() - f.sum() + a * ((r**2).sum() + (f**2).sum())),
        ("square of the mean", lambda r, f, a: r.mean() - f.mean() + a * (r.mean() ** 2 + f.mean() ** 2)),
        ("difference of squares", lambda r, f, a: r.mean() - f.mean() + a * ((r**2).mean() - (f**2).mean())),
        ("one side", lambda r, f, a: r.mean() - f.mean() + a * (r**2).mean()),
        ("one side", lambda r, f, a: r.mean() - f.mean() + a * (f**2).mean()),
        ("half", lambda r, f, a: r.mean() - f.mean() + a * ((r**2).mean() + (f**2).mean()) / 2),
        ("half", lambda r, f, a: r.mean() - f.mean() + a * torch.cat((r, f)).square().mean()),
        ("no gradient", lambda r, f, a: loss(r, f, a).item()),
        ("no gradient", lambda r, f, a: loss(r.detach(), f.detach(), a)),
        ("no gradient", lambda r, f, a: loss(r.numpy(), f.numpy(), a) if not r.requires_grad else r.numpy()),
        ("no gradient", torch.no_grad()(loss)),
        ("no gradient reaches energy_fake", lambda r, f, a: loss(r, f.detach(), a)),
        ("no gradient reaches energy_real", lambda r, f, a: loss(r.detach(), f, a)),
        ("gradient with respect to energy_real", lambda r, f, a: loss(r, f, a) + (r - r.detach()).sum()),
        (
            "gradient with respect to energy_fake",
            lambda r, f, a: r.mean() - f.mean() + a * ((r**2).mean() + (f.data**2).mean()),
        ),
        ("input changed", lambda r, f, a: r.mean() - f.mean() + a * (r.square_().mean() + (f**2).mean())),
        ("shape", lambda r, f, a: r - f.mean()),
        ("returns a str", lambda r, f, a: "energy"),
    ],
}

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)
