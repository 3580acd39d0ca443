"""The tables of Part B."""

import math
import statistics

import numpy as np
import torch
from arviz_stats.base.array import array_stats
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


# --- noise_for_wall ------------------------------------------------------------------------------


def noise(height, step_size, n_steps):
    return math.sqrt(2 * step_size * height / math.log(n_steps))


def noise_by_halving(height, step_size, n_steps):
    low, high = 1e-6, 1e6
    for _ in range(200):
        middle = math.sqrt(low * high)
        crosses = -height * 2 * step_size / middle**2 >= -math.log(n_steps)
        low, high = (low, middle) if crosses else (middle, high)
    return high


# --- rhat_of_halves ------------------------------------------------------------------------------


def pieces_of(traces):
    kept = traces[:, -(traces.shape[1] // 2) :]
    n = kept.shape[1] // 2
    return torch.cat((kept[:, :n], kept[:, -n:])), n


def rhat(traces):
    pieces, n = pieces_of(traces)
    within, between = pieces.var(1).mean(), pieces.mean(1).var()
    return (((n - 1) / n * within + between) / within).sqrt()


def rhat_in_numpy(traces):
    pieces = pieces_of(traces)[0].numpy().astype(np.float64)
    n = pieces.shape[1]
    within, between = pieces.var(1, ddof=1).mean(), pieces.mean(1).var(ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((n - 1) / n + between / within)


def rhat_in_loops(traces):
    kept = [row[len(row) - len(row) // 2 :] for row in traces.tolist()]
    n = len(kept[0]) // 2
    pieces = [row[:n] for row in kept] + [row[len(row) - n :] for row in kept]
    within = sum(map(statistics.variance, pieces)) / len(pieces)
    between = statistics.variance([statistics.fmean(piece) for piece in pieces])
    if within == 0:
        return math.inf if between > 0 else math.nan
    return math.sqrt((n - 1) / n + between / within)


def rhat_in_place(traces):
    kept = traces.clone()[:, traces.shape[1] - traces.shape[1] // 2 :]
    n = kept.shape[1] // 2
    pieces = torch.stack((kept[:, :n], kept[:, kept.shape[1] - n :])).flatten(0, 1)
    means = pieces.mean(1, keepdim=True)
    pieces -= means
    within = pieces.square().sum() / (n - 1) / len(pieces)
    between = (means - means.mean()).square().sum() / (len(pieces) - 1)
    return torch.sqrt(within * (n - 1) / n + between) / torch.sqrt(within)


def rhat_of_the_library(traces):
    kept = traces[:, -(traces.shape[1] // 2) :].double()
    if bool((kept == kept[:, :1]).all()):
        return torch.tensor(math.nan if bool((kept == kept[0, 0]).all()) else math.inf)
    if len(kept) == 1:  # the library wants two chains
        return rhat(traces)
    return float(array_stats.rhat(kept.numpy(), chain_axis=0, draw_axis=1, method="split"))


def rhat_of(pieces, correction=1):
    n = pieces.shape[1]
    within, between = pieces.var(1, correction=correction).mean(), pieces.mean(1).var(correction=correction)
    return (((n - 1) / n * within + between) / within).sqrt()


def rhat_with(total):
    def variant(traces):
        pieces, n = pieces_of(traces)
        return total(pieces.var(1).mean(), pieces.mean(1).var(), n)

    return variant


def rhat_by_squares(traces):
    pieces, n = pieces_of(traces)
    within = (pieces.square().mean(1) - pieces.mean(1).square()).mean() * n / (n - 1)
    return (((n - 1) / n * within + pieces.mean(1).var()) / within).sqrt()


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
    "noise_for_wall": [
        noise,
        noise_by_halving,
        lambda h, eta, n: torch.tensor(2 * eta * h / math.log(n)).sqrt(),
        lambda h, eta, n: (2 * eta) ** 0.5 * np.sqrt(h / np.log(n)),
        lambda h, eta, n: math.exp((math.log(2 * eta * h) - math.log(math.log(n))) / 2),
        lambda h, eta, n: math.sqrt(-2 * eta * h / math.log(1 / n)),
    ],
    "rhat_of_halves": [
        rhat,
        rhat_in_numpy,
        rhat_in_loops,
        rhat_in_place,
        rhat_of_the_library,
        lambda x: rhat(x.double()),
        lambda x: rhat(x - x.mean()).item(),
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
    "noise_for_wall": [
        ("temperature", lambda h, e, n: h / math.log(n)),
        ("no root", lambda h, e, n: noise(h, e, n) ** 2),
        ("factor 2", lambda h, e, n: math.sqrt(e * h / math.log(n))),
        ("factor outside the root", lambda h, e, n: 2 * math.sqrt(e * h / math.log(n))),
        ("no logarithm", lambda h, e, n: math.sqrt(2 * e * h / n)),
        ("no logarithm", lambda h, e, n: math.sqrt(2 * e * h * n)),
        ("upside down", lambda h, e, n: math.sqrt(2 * e * h * math.log(n))),
        ("upside down", lambda h, e, n: math.sqrt(2 * e * math.log(n) / h)),
        ("another base", lambda h, e, n: math.sqrt(2 * e * h / math.log2(n))),
        ("another base", lambda h, e, n: math.sqrt(2 * e * h / math.log10(n))),
        ("one tries only", lambda h, e, n: math.sqrt(2 * e * h)),
        ("step size ignored", lambda h, e, n: math.sqrt(2 * h / math.log(n))),
        ("step size divides", lambda h, e, n: math.sqrt(2 * h / math.log(n) / e)),
        ("step size divides", lambda h, e, n: math.sqrt(h / (math.log(n) * 2 * e))),
        ("noises added", lambda h, e, n: noise(h, e, n) / math.sqrt(n)),
        (
            "the wall is hundreds of nats high",
            lambda h, e, n: noise(torch.tensor(h).exp().log().item(), e, n),
        ),
        (r"differs in case \d", lambda h, e, n: noise(h, e, n + 1)),
        ("returns nothing", lambda h, e, n: None),
        ("shape", lambda h, e, n: [noise(h, e, n)]),
    ],
    "rhat_of_halves": [
        ("nothing dropped", lambda x: rhat_of(torch.cat((x[:, : x.shape[1] // 2], x[:, -(x.shape[1] // 2) :])))),
        ("first half", lambda x: rhat(torch.cat((x, x[:, : x.shape[1] // 2]), 1)[:, -(x.shape[1] // 2 * 2) :])),
        ("not split", lambda x: rhat_of(x[:, -(x.shape[1] // 2) :])),
        ("axes", lambda x: rhat_of(pieces_of(x)[0].T)),
        ("no root", lambda x: rhat(x) ** 2),
        ("upside down", lambda x: 1 / rhat(x)),
        ("divisor", lambda x: rhat_of(pieces_of(x)[0], 0)),
        ("within left out", rhat_with(lambda w, b, n: (b / w).sqrt())),
        ("share of W", rhat_with(lambda w, b, n: ((w + b) / w).sqrt())),
        ("between too large", rhat_with(lambda w, b, n: ((n - 1) / n + n * b / w).sqrt())),
        ("between too small", rhat_with(lambda w, b, n: ((n - 1) / n + b / n / w).sqrt())),
        ("no between", rhat_with(lambda w, b, n: ((n - 1) / n * w / w).sqrt())),
        ("pooled", lambda x: (pieces_of(x)[0].var() / pieces_of(x)[0].var(1).mean()).sqrt()),
        ("cancellation", rhat_by_squares),
        ("input changed", lambda x: rhat(x.sub_(x.mean()))),
        ("nothing ever moved", lambda x: rhat(x).nan_to_num(1.0, posinf=math.inf)),
        ("each stands at a place of its own", lambda x: rhat(x).nan_to_num(math.nan, posinf=0.0)),
        ("shape", lambda x: rhat(x)[None]),
        ("returns nothing", lambda x: None),
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
