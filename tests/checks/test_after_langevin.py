"""The tables of Part J."""

import math

import torch
from checks import table

from gen_utils.checks import after_langevin as checks


def wide(sigma, x):
    return sigma.reshape(-1, *[1] * (x.ndim - 1))


# --- the score of a blurred mixture ----------------------------------------------------------------


def score(x, means, weights, width, sigma):
    v = width**2 + sigma**2
    share = (weights.log() - (x[:, None] - means).square().sum(2) / (2 * v)).softmax(1)
    return (share @ means - x) / v


def score_by_autograd(x, means, weights, width, sigma):
    v = width**2 + sigma**2
    y = x.detach().requires_grad_()
    log_p = (weights.log() - (y[:, None] - means).square().sum(2) / (2 * v)).logsumexp(1)
    return torch.autograd.grad(log_p.sum(), y)[0]


def score_by_pulls(x, means, weights, width, sigma):
    v = width**2 + sigma**2
    pull = (means[None] - x[:, None]) / v
    logits = weights.log() - v * pull.square().sum(2) / 2
    return torch.einsum("bk,bkd->bd", torch.softmax(logits, 1), pull)


def score_by_rows(x, means, weights, width, sigma):
    v = width**2 + sigma**2
    rows = []
    for row in x:
        logits = torch.stack(
            [w.log() - (row - m).square().sum() / (2 * v) for m, w in zip(means, weights, strict=True)]
        )
        rows.append((logits.softmax(0)[:, None] * (means - row)).sum(0) / v)
    return torch.stack(rows)


def score_by_largest(x, means, weights, width, sigma):
    v = width**2 + sigma**2
    logits = weights.log() - (x[:, None] - means).square().sum(2) / (2 * v)
    part = (logits - logits.amax(1, keepdim=True)).exp()
    return (part @ means / part.sum(1, keepdim=True) - x) / v


def score_naive(x, means, weights, width, sigma):
    v = width**2 + sigma**2
    part = weights * torch.exp(-(x[:, None] - means).square().sum(2) / (2 * v))
    return part @ means / part.sum(1, keepdim=True) / v - x / v


# --- Tweedie -----------------------------------------------------------------------------------------


def tweedie(x, score, sigma):
    return x + wide(sigma, x) ** 2 * score


def tweedie_by_rows(x, score, sigma):
    return torch.stack([a + float(s) ** 2 * b for a, b, s in zip(x, score, sigma, strict=True)])


def tweedie_by_einsum(x, score, sigma):
    return x + torch.einsum("b...,b->b...", score, sigma.square())


def tweedie_transposed(x, score, sigma):
    return (x.T + sigma.square() * score.T).T if x.ndim == 2 else tweedie(x, score, sigma)


# --- the denoising loss --------------------------------------------------------------------------------


def slope(energy, x, sigma, graph=True):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(energy(x, sigma).sum(), x, create_graph=graph)[0]


def dsm(energy, clean, noise, sigma):
    grad = slope(energy, clean + wide(sigma, clean) * noise, sigma)
    return 0.5 * (wide(sigma, clean) * grad - noise).square().flatten(1).sum(1).mean()


def dsm_as_vincent(energy, clean, noise, sigma):
    s = wide(sigma, clean)
    x = clean + s * noise
    score = -slope(energy, x, sigma)
    return (s**2 * (score - (clean - x) / s**2) ** 2).flatten(1).sum(1).mean() / 2


def dsm_by_denoiser(energy, clean, noise, sigma):
    s = wide(sigma, clean)
    x = clean + s * noise
    picture = x - s**2 * slope(energy, x, sigma)
    return (((picture - clean) / s) ** 2).sum() / (2 * len(clean))


def dsm_by_rows(energy, clean, noise, sigma):
    found = [dsm(energy, c[None], n[None], s[None]) for c, n, s in zip(clean, noise, sigma, strict=True)]
    return torch.stack(found).mean()


def dsm_without_graph(energy, clean, noise, sigma):
    grad = slope(energy, clean + wide(sigma, clean) * noise, sigma, graph=False)
    return 0.5 * (wide(sigma, clean) * grad - noise).square().flatten(1).sum(1).mean()


def dsm_backward(energy, clean, noise, sigma):
    loss = dsm(energy, clean, noise, sigma)
    loss.backward(retain_graph=True)
    return loss


def dsm_with(**how):
    def wrong(energy, clean, noise, sigma):
        s = wide(sigma, clean)
        x = how.get("at", lambda c, n, s: c + s * n)(clean, noise, s)
        gap = how.get("gap", lambda g, n, s: s * g - n)(slope(energy, x, sigma), noise, s)
        return how.get("end", lambda g: 0.5 * g.square().flatten(1).sum(1).mean())(gap)

    return wrong


# --- two divergences -----------------------------------------------------------------------------------


def both(p, q, sp, sq, cell):
    w = p.exp() * cell
    return (w * (p - q)).sum(), (w * (sp - sq) ** 2).sum()


def both_dot(p, q, sp, sq, cell):
    w = torch.exp(p + math.log(cell))
    return w @ (p - q), w @ (sp - sq).square()


def both_listed(p, q, sp, sq, cell):
    return [cell * (p.exp() * (p - q)).sum(), cell * (p.exp() * (sp - sq).pow(2)).sum()]


def both_xlogy(p, q, sp, sq, cell):
    density = p.exp()
    kl = torch.xlogy(density, density / q.exp()).sum() * cell
    return kl, torch.sum(density * (sq - sp) ** 2) * cell


def both_stacked(p, q, sp, sq, cell):
    return tuple((torch.stack([p - q, (sp - sq) ** 2]) * p.exp() * cell).sum(1))


# --- Heun's step ---------------------------------------------------------------------------------------


def heun(denoise, x, a, b):
    d = (x - denoise(x, a)) / a
    y = x + (b - a) * d
    if b == 0:
        return y
    return x + (b - a) * (d + (y - denoise(y, b)) / b) / 2


def heun_by_interpolation(denoise, x, a, b):
    """Euler's step is a place between x and D."""
    euler = torch.lerp(denoise(x, a), x, b / a)
    if not b:
        return euler
    return (euler + x + (b - a) * (euler - denoise(euler, b)) / b) / 2


def heun_by_mean(denoise, x, a, b):
    h = b - a
    k1 = h * (x - denoise(x, a)) / a
    if b <= 0:
        return x + k1
    k2 = h * ((x + k1) - denoise(x + k1, b)) / b
    return x + 0.5 * k1 + 0.5 * k2


def heun_by_scores(denoise, x, a, b):
    def velocity(y, s):
        return -s * (denoise(y, s) - y) / s**2

    y = x + (b - a) * velocity(x, a)
    return y if b == 0 else x + (b - a) * torch.stack([velocity(x, a), velocity(y, b)]).mean(0)


def heun_with(first=None, second=None, mix=(0.5, 0.5)):
    def wrong(denoise, x, a, b):
        slope = first or (lambda d, y, s: (y - d(y, s)) / s)
        d1 = slope(denoise, x, a)
        y = x + (b - a) * d1
        if b == 0:
            return y
        d2 = slope(denoise, y, b) if second is None else second(denoise, x, y, a, b)
        return x + (b - a) * (mix[0] * d1 + mix[1] * d2)

    return wrong


def euler(denoise, x, a, b):
    return x + (b - a) * (x - denoise(x, a)) / a


def always_two(denoise, x, a, b):
    d = (x - denoise(x, a)) / a
    y = x + (b - a) * d
    return x + (b - a) * (d + (y - denoise(y, b)) / b) / 2


RIGHT = {
    "smoothed_score": [score, score_by_autograd, score_by_pulls, score_by_rows, score_by_largest],
    "denoiser_from_score": [
        tweedie,
        tweedie_by_rows,
        tweedie_by_einsum,
        tweedie_transposed,
        lambda x, s, g: torch.addcmul(x, s, wide(g, x).square()),
    ],
    "denoising_loss": [
        dsm,
        dsm_as_vincent,
        dsm_by_denoiser,
        dsm_by_rows,
        dsm_with(end=lambda g: torch.linalg.vector_norm(g.flatten(1), dim=1).square().mean() / 2),
    ],
    "divergences": [both, both_dot, both_listed, both_xlogy, both_stacked],
    "heun_step": [heun, heun_by_interpolation, heun_by_mean, heun_by_scores, heun_with()],
}

WRONG = {
    "smoothed_score": {
        "sign": lambda *a: -score(*a),
        "no smoothing": lambda x, m, w, s, sigma: score(x, m, w, s, 0.0),
        "standard deviations added": lambda x, m, w, s, sigma: score(x, m, w, s + sigma, 0.0),
        "no weights": lambda x, m, w, s, sigma: score(x, m, torch.ones_like(w), s, sigma),
        "prior shares": lambda x, m, w, s, sigma: (w @ m - x) / (s**2 + sigma**2),
        "nearest mean": lambda x, m, w, s, sigma: (m[torch.cdist(x, m).argmin(1)] - x) / (s**2 + sigma**2),
        "not divided": lambda x, m, w, s, sigma: score(x, m, w, s, sigma) * (s**2 + sigma**2),
        "overflow": score_naive,
        r"shape|\(6, 2\)": lambda x, m, w, s, sigma: score(x, m, w, s, sigma).sum(1),
        "not written yet": lambda x, m, w, s, sigma: (_ for _ in ()).throw(NotImplementedError),
    },
    "denoiser_from_score": {
        "sign": lambda x, s, g: x - wide(g, x) ** 2 * s,
        "sigma": lambda x, s, g: x + wide(g, x) * s,
        "divided": lambda x, s, g: x + s / wide(g, x) ** 2,
        "half": lambda x, s, g: x + 0.5 * wide(g, x) ** 2 * s,
        "step alone": lambda x, s, g: wide(g, x) ** 2 * s,
        "mean level": lambda x, s, g: x + g.mean() ** 2 * s,
        "first level": lambda x, s, g: x + g[0] ** 2 * s,
        "twice": lambda x, s, g: x + 2 * wide(g, x) ** 2 * s,
        "raised": lambda x, s, g: x + g**2 * s,
        "input|writes into": lambda x, s, g: x.add_(wide(g, x) ** 2 * s),
    },
    "denoising_loss": {
        "sign": dsm_with(gap=lambda g, n, s: s * g + n),
        "no noise added": dsm_with(at=lambda c, n, s: c),
        "unit noise": dsm_with(at=lambda c, n, s: c + n),
        "unweighted": dsm_with(gap=lambda g, n, s: g - n / s),
        "weighted twice": dsm_with(gap=lambda g, n, s: s**2 * g - s * n),
        "half": dsm_with(end=lambda g: g.square().flatten(1).sum(1).mean()),
        "mean over coordinates": dsm_with(end=lambda g: 0.5 * g.square().mean()),
        "sum over the batch": dsm_with(end=lambda g: 0.5 * g.square().sum()),
        "target alone scaled": dsm_with(gap=lambda g, n, s: s * g - s * n),
        "variance": dsm_with(at=lambda c, n, s: c + s**2 * n),
        "no gradient|gradient": [dsm_without_graph, lambda *a: dsm(*a).detach()],
        "backward": dsm_backward,
    },
    "divergences": {
        "other mean": lambda p, q, sp, sq, c: (
            (q.exp() * c * (p - q)).sum(),
            (q.exp() * c * (sp - sq) ** 2).sum(),
        ),
        "no cell": lambda p, q, sp, sq, c: both(p, q, sp, sq, 1.0),
        "reverse": lambda p, q, sp, sq, c: (-both(p, q, sp, sq, c)[0], both(p, q, sp, sq, c)[1]),
        "not squared": lambda p, q, sp, sq, c: (both(p, q, sp, sq, c)[0], (p.exp() * c * (sp - sq)).sum()),
        "absolute": lambda p, q, sp, sq, c: (both(p, q, sp, sq, c)[0], (p.exp() * c * (sp - sq).abs()).sum()),
        "difference of squares": lambda p, q, sp, sq, c: (
            both(p, q, sp, sq, c)[0],
            (p.exp() * c * (sp**2 - sq**2)).sum(),
        ),
        "half": lambda p, q, sp, sq, c: (both(p, q, sp, sq, c)[0], both(p, q, sp, sq, c)[1] / 2),
        "root": lambda p, q, sp, sq, c: (both(p, q, sp, sq, c)[0], both(p, q, sp, sq, c)[1].sqrt()),
        "swapped": lambda *a: both(*a)[::-1],
    },
    "heun_step": {
        "euler": euler,
        "sign": heun_with(first=lambda d, y, s: (d(y, s) - y) / s),
        "not divided": heun_with(first=lambda d, y, s: y - d(y, s)),
        "score": heun_with(first=lambda d, y, s: (y - d(y, s)) / s**2),
        "old level": heun_with(second=lambda d, x, y, a, b: (y - d(y, a)) / a),
        "old place": heun_with(second=lambda d, x, y, a, b: (x - d(x, b)) / b),
        "second slope alone": heun_with(mix=(0.0, 1.0)),
        "sum of slopes": heun_with(mix=(1.0, 1.0)),
        "division by zero": always_two,
        "jump to the picture": lambda d, x, a, b: d(x, a),
    },
}

test_tables, test_rights, test_wrongs = table.tests(checks, RIGHT, WRONG)
