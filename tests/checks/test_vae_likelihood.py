"""The tables of Part G."""

import functools
import math

import numpy as np
import torch
from checks import table
from scipy.special import logsumexp, softmax
from scipy.stats import norm

from gen_utils.checks import vae_likelihood as checks
from gen_utils.evaluation import likelihood
from gen_utils.losses import gaussian_kl
from gen_utils.training import implied_sigma

# --- right answers -------------------------------------------------------------------------------


def draw(mean, log_variance, noise):
    return mean + torch.exp(0.5 * log_variance) * noise


def iwae(joint, q):
    return torch.logsumexp(joint - q, 0) - math.log(len(q))


def harmonic(joint, q):
    return math.log(len(q)) - torch.logsumexp(q - joint, 0)


def target(f, m, s, u):
    return -f(m + s * u) - s.log().sum(1)


def floor(sigma, levels):
    return math.log2(levels * sigma * math.sqrt(2 * math.pi))


def shares_of(log_weights, gradients):
    return (torch.softmax(log_weights, 0)[:, :, None] * gradients).sum(0)


def by_autograd(log_weights, gradients):
    log_weights = log_weights.clone().requires_grad_()
    (shares,) = torch.autograd.grad(torch.logsumexp(log_weights, 0).sum(), log_weights)
    return torch.einsum("kb,kbp->bp", shares, gradients)


def in_loops(log_weights, gradients):
    out = torch.zeros(gradients.shape[1:], dtype=torch.float64)
    for b in range(log_weights.shape[1]):
        total = torch.logsumexp(log_weights[:, b].double(), 0)
        for k in range(len(log_weights)):
            out[b] += torch.exp(log_weights[k, b].double() - total) * gradients[k, b]
    return out


def shifted(log_weights, gradients):
    w = (log_weights - log_weights.amax(0)).exp()
    return (w[..., None] * gradients).sum(0) / w.sum(0)[:, None]


def shifted_by_all(log_weights, gradients):
    w = (log_weights - log_weights.max()).exp()
    return (w[..., None] * gradients).sum(0) / w.sum(0)[:, None]


def in_place(log_weights, gradients):
    gradients *= torch.softmax(log_weights, 0)[:, :, None]
    return gradients.sum(0)


def squared(log_weights, gradients):
    return (torch.softmax(log_weights, 0).square()[:, :, None] * gradients).sum(0)


def squared_in_loops(log_weights, gradients):
    out = torch.zeros(gradients.shape[1:], dtype=torch.float64)
    for b in range(log_weights.shape[1]):
        total = torch.logsumexp(log_weights[:, b].double(), 0)
        for k in range(len(log_weights)):
            out[b] += torch.exp(log_weights[k, b].double() - total) ** 2 * gradients[k, b]
    return out


def squared_shifted_by_all(log_weights, gradients):
    w = (log_weights - log_weights.max()).exp()
    return ((w / w.sum(0))[..., None] ** 2 * gradients).sum(0)


def squared_in_place(log_weights, gradients):
    gradients *= torch.softmax(log_weights, 0)[:, :, None] ** 2
    return gradients.sum(0)


LN2, TAU = math.log(2), 2 * math.pi


def kl_by_distributions(mean, log_variance):
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    return torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(1)


def kl_in_loops(mean, log_variance):
    out = 0.0
    for j in range(mean.shape[1]):
        m, lv = mean[:, j], log_variance[:, j]
        out = out + (m * m + torch.exp(lv) - 1 - lv) / 2
    return out


def harmonic_shifted(log_joint, log_q):
    ratio = log_q - log_joint
    largest = ratio.max(0).values
    return -(largest + (ratio - largest).exp().mean(0).log())


RIGHT = {
    "gaussian_kl": [
        gaussian_kl,
        lambda m, lv: (0.5 * (m * m + lv.exp() - 1) - 0.5 * lv).sum(-1),
        kl_by_distributions,
        kl_in_loops,
        lambda m, lv: gaussian_kl(m.double(), lv.double()),
        lambda m, lv: 0.5 * (m.square().sum(1) + lv.exp().sum(1) - lv.sum(1) - m.shape[1]),
    ],
    "reparameterise": [
        draw,
        lambda m, lv, e: torch.sqrt(lv.exp()) * e + m,
        lambda m, lv, e: torch.addcmul(m, (lv / 2).exp(), e),
        lambda m, lv, e: draw(m.double(), lv.double(), e.double()),
        lambda m, lv, e: torch.stack([a + (b / 2).exp() * c for a, b, c in zip(m, lv, e, strict=True)]),
        lambda m, lv, e: m + e * math.e ** (lv / 2),
    ],
    "implied_sigma": [
        implied_sigma,
        lambda b, n: torch.tensor(b * n / 2).sqrt(),
        lambda b, n: (0.5 * b * n) ** 0.5,
        lambda b, n: np.sqrt(b) * np.sqrt(n / 2),
        lambda b, n: math.exp((math.log(b) + math.log(n) - math.log(2)) / 2),
    ],
    "iwae_bound": [
        iwae,
        lambda p, q: likelihood.log_mean_exp(p - q),
        lambda p, q: logsumexp((p - q).numpy(), axis=0) - np.log(len(q)),
        lambda p, q: functools.reduce(torch.logaddexp, p - q) - math.log(len(q)),
        lambda p, q: (p - q).amax(0) + ((p - q) - (p - q).amax(0)).exp().mean(0).log(),
        lambda p, q: [iwae(a.double(), b.double()).item() for a, b in zip(p.T, q.T, strict=True)],
    ],
    "bound_gradient": [
        shares_of,
        by_autograd,
        in_loops,
        shifted,
        lambda w, g: np.einsum("kb,kbp->bp", softmax(w.double().numpy(), axis=0), g.numpy()),
        lambda w, g: torch.stack([torch.softmax(w[:, b], 0) @ g[:, b] for b in range(w.shape[1])]),
        lambda w, g: (torch.exp(w - torch.logsumexp(w, 0)).unsqueeze(-1) * g).sum(0),
    ],
    "double_gradient": [
        squared,
        lambda w, g: torch.einsum("kb,kbp->bp", torch.softmax(w, 0).square(), g),
        lambda w, g: np.einsum("kb,kbp->bp", softmax(w.double().numpy(), axis=0) ** 2, g.numpy()),
        lambda w, g: (torch.exp(2 * (w - torch.logsumexp(w, 0)))[..., None] * g).sum(0),
        lambda w, g: torch.stack([torch.softmax(w[:, b], 0) ** 2 @ g[:, b] for b in range(w.shape[1])]),
        squared_in_loops,
    ],
    "harmonic_estimate": [
        harmonic,
        lambda p, q: -likelihood.log_mean_exp(q - p),
        harmonic_shifted,
        lambda p, q: np.log(len(q)) - logsumexp((q - p).double().numpy(), axis=0),
        lambda p, q: -(functools.reduce(torch.logaddexp, q - p) - math.log(len(q))),
    ],
    "posterior_energy": [
        target,
        lambda f, m, s, u: -(f(s * u + m) + s.prod(1).log()),
        lambda f, m, s, u: -f(torch.addcmul(m, s, u)) - torch.log(s).sum(-1),
        lambda f, m, s, u: target(f, m.double(), s.double(), u.double()),
        lambda f, m, s, u: torch.cat([target(f, *(v[None] for v in row)) for row in zip(m, s, u, strict=True)]),
        lambda f, m, s, u: -f(m.detach() + s.detach() * u) - s.detach().log().sum(1),
    ],
    "bits_per_dim": [
        lambda p, n, k: likelihood.bits_per_dim(p, n, levels=k),
        lambda p, n, k: math.log2(k) - p / n / math.log(2),
        lambda p, n, k: (math.log(k) - p / n) / math.log(2),
        lambda p, n, k: np.log2(k) - p * np.log2(np.e) / n,
        lambda p, n, k: torch.tensor(float(k)).double().log2() - torch.tensor(p).double() / (n * LN2),
    ],
    "gaussian_floor": [
        floor,
        lambda s, k: math.log2(k) + math.log2(s) + 0.5 * math.log2(2 * math.pi),
        lambda s, k: -math.log2(norm.pdf(0, scale=s) / k),
        lambda s, k: -norm.logpdf(0, scale=s) / np.log(2) + np.log2(k),
        lambda s, k: -torch.distributions.Normal(0.0, s).log_prob(torch.tensor(0.0)) / LN2 + math.log2(k),
    ],
}

WRONG = {
    "gaussian_kl": {
        "sign": lambda m, lv: -gaussian_kl(m, lv),
        "factor 2": lambda m, lv: 2 * gaussian_kl(m, lv),
        "mean for sum": lambda m, lv: 0.5 * (m**2 + lv.exp() - lv - 1).mean(1),
        "no one": lambda m, lv: 0.5 * (m**2 + lv.exp() - lv).sum(1),
        "log sign": lambda m, lv: 0.5 * (m**2 + lv.exp() + lv - 1).sum(1),
        "standard deviation for variance": lambda m, lv: 0.5 * (m**2 + (2 * lv).exp() - 2 * lv - 1).sum(1),
        "half the logarithm": lambda m, lv: 0.5 * (m**2 + (lv / 2).exp() - lv / 2 - 1).sum(1),
        "mean not squared": lambda m, lv: 0.5 * (m + lv.exp() - lv - 1).sum(1),
        "no mean": lambda m, lv: 0.5 * (lv.exp() - lv - 1).sum(1),
        "the other KL": lambda m, lv: 0.5 * ((1 + m**2) / lv.exp() + lv - 1).sum(1),
        "no gradient": [lambda m, lv: gaussian_kl(m, lv).tolist(), torch.no_grad()(gaussian_kl)],
        "no gradient reaches log_variance": lambda m, lv: gaussian_kl(m, lv.detach()),
        "gradient with respect to log_variance": lambda m, lv: 0.5 * (m**2 + lv.exp() - lv.detach() - 1).sum(1),
        "shape": lambda m, lv: gaussian_kl(m, lv).sum(),
    },
    "reparameterise": {
        "variance for scale": lambda m, lv, e: m + lv.exp() * e,
        "logarithm for scale": lambda m, lv, e: m + lv * e,
        "no half": lambda m, lv, e: m + lv / 2 * e,
        "square for root": lambda m, lv, e: m + torch.exp(lv) ** 2 * e,
        "no mean": lambda m, lv, e: torch.exp(lv / 2) * e,
        "mean scaled": lambda m, lv, e: (m + e) * torch.exp(lv / 2),
        "no noise": lambda m, lv, e: 1.0 * m,
        "not scaled": lambda m, lv, e: m + e,
        "no gradient reaches log_variance": lambda m, lv, e: draw(m, lv.detach(), e),
        "no gradient reaches mean": lambda m, lv, e: draw(m.detach(), lv, e),
        "no gradient": [torch.no_grad()(draw), lambda m, lv, e: draw(m, lv, e).tolist()],
        "random state": lambda m, lv, e: draw(m, lv, e) + 0 * torch.randn_like(e),
        "differs in case 1": lambda m, lv, e: draw(m, lv, torch.randn_like(e)),
    },
    "implied_sigma": {
        "variance for scale": lambda b, n: b * n / 2,
        "factor 2": lambda b, n: math.sqrt(b * n),
        "factor 4": lambda b, n: math.sqrt(2 * b * n),
        "sum for mean": lambda b, n: math.sqrt(b / 2),
        "dimensions turned round": lambda b, n: math.sqrt(b / n / 2),
        "β turned round": lambda b, n: math.sqrt(n / b / 2),
        "differs": [lambda b, n: math.sqrt(b) * n / 2, lambda b, n: 1.0],
    },
    "iwae_bound": {
        "no log K": lambda p, q: torch.logsumexp(p - q, 0),
        "log K turned round": lambda p, q: torch.logsumexp(p - q, 0) + math.log(len(q)),
        "mean of logs": lambda p, q: (p - q).mean(0),
        "no log q": lambda p, q: torch.logsumexp(p, 0) - math.log(len(q)),
        "log q added": lambda p, q: iwae(p, -q),
        "ratio turned round": lambda p, q: iwae(q, p),
        "overflow": [
            lambda p, q: torch.log(torch.mean(torch.exp(p - q), 0)),
            lambda p, q: (p - q).amin(0) + ((p - q) - (p - q).amin(0)).exp().mean(0).log(),
        ],
        "largest only": lambda p, q: (p - q).max(0).values,
        "exponentiated": lambda p, q: iwae(p, q).exp(),
        "sign": lambda p, q: -iwae(p, q),
        "shape": lambda p, q: torch.logsumexp(p - q, 1),
        "input changed": lambda p, q: torch.logsumexp(p.sub_(q), 0) - math.log(len(q)),
    },
    "bound_gradient": {
        "mean of gradients": lambda w, g: g.mean(0),
        "sum of gradients": lambda w, g: g.sum(0),
        "not a logarithm's": [
            lambda w, g: (w.exp()[..., None] * g).mean(0),
            lambda w, g: (w.exp()[..., None] * g).sum(0),
        ],
        "divided by K": lambda w, g: (torch.softmax(w, 0)[..., None] * g).mean(0),
        "multiplied by K": lambda w, g: len(w) * shares_of(w, g),
        "logarithms for weights": lambda w, g: (w[..., None] * g).sum(0),
        "wrong axis": lambda w, g: (torch.softmax(w, 1)[..., None] * g).sum(0),
        "largest only": lambda w, g: g[w.argmax(0), torch.arange(w.shape[1])],
        "shares squared": lambda w, g: (torch.softmax(w, 0)[..., None] ** 2 * g).sum(0),
        "weights turned round": lambda w, g: shares_of(-w, g),
        "sign": lambda w, g: -shares_of(w, g),
        "overflow": [lambda w, g: (w.exp()[..., None] * g).sum(0) / w.exp().sum(0)[:, None], shifted_by_all],
        "shape": lambda w, g: shares_of(w, g).sum(0),
        "input changed": in_place,
    },
    "double_gradient": {
        "shares not squared": shares_of,
        "squares made to add up to one": [
            lambda w, g: shares_of(2 * w, g),
            lambda w, g: squared(w, g) / torch.softmax(w, 0).square().sum(0)[:, None],
        ],
        "weights squared, not shares": lambda w, g: ((w.exp() ** 2)[..., None] * g).sum(0) / w.exp().sum(0)[:, None],
        "gradients squared": [
            lambda w, g: shares_of(w, g) ** 2,
            lambda w, g: ((torch.softmax(w, 0)[..., None] * g) ** 2).sum(0),
        ],
        "mean for sum": lambda w, g: (torch.softmax(w, 0)[..., None] ** 2 * g).mean(0),
        "equal shares": [lambda w, g: g.mean(0), lambda w, g: g.mean(0) / len(w)],
        "wrong axis": [
            lambda w, g: (torch.softmax(w, 1)[..., None] ** 2 * g).sum(0),
            lambda w, g: (torch.exp(w - torch.logsumexp(w.flatten(), 0))[..., None] ** 2 * g).sum(0),
        ],
        "weights turned round": lambda w, g: squared(-w, g),
        "sign": lambda w, g: -squared(w, g),
        "the decoder's rule": lambda w, g: ((torch.softmax(w, 0) - torch.softmax(w, 0) ** 2)[..., None] * g).sum(0),
        "overflow": [
            lambda w, g: ((w.exp() / w.exp().sum(0))[..., None] ** 2 * g).sum(0),
            squared_shifted_by_all,
        ],
        "shape": lambda w, g: squared(w, g).sum(0),
        "input changed": squared_in_place,
    },
    "harmonic_estimate": {
        "sign": lambda p, q: -harmonic(p, q),
        "importance weights": iwae,
        "harmonic mean of the likelihood": lambda p, q: harmonic(p, torch.zeros_like(q)),
        "no log L": lambda p, q: -torch.logsumexp(q - p, 0),
        "log L turned round": lambda p, q: -torch.logsumexp(q - p, 0) - math.log(len(q)),
        "mean of logs": lambda p, q: (p - q).mean(0),
        "log q added": lambda p, q: harmonic(-p, q),
        "overflow": lambda p, q: torch.log(1 / torch.exp(q - p).mean(0)),
        "smallest only": lambda p, q: (p - q).amin(0),
        "shape": lambda p, q: math.log(q.shape[1]) - torch.logsumexp(q - p, 1),
    },
    "posterior_energy": {
        "sign": lambda f, m, s, u: -target(f, m, s, u),
        "no volume": lambda f, m, s, u: -f(m + s * u),
        "volume turned round": lambda f, m, s, u: -f(m + s * u) + s.log().sum(1),
        "volume averaged": lambda f, m, s, u: -f(m + s * u) - s.log().mean(1),
        "u for z": lambda f, m, s, u: -f(u) - s.log().sum(1),
        "variance for scale": lambda f, m, s, u: -f(m + s**2 * u) - s.log().sum(1),
        "prior of u": lambda f, m, s, u: target(f, m, s, u) + 0.5 * (u**2).sum(1),
        "no gradient": lambda f, m, s, u: target(f, m, s, u.detach()),
        "input changed": lambda f, m, s, u: -f(m + s * u) - s.log_().sum(1),
        "shape": lambda f, m, s, u: target(f, m, s, u).sum(),
    },
    "bits_per_dim": {
        "no levels": lambda p, n, k: -p / n / LN2,
        "levels turned round": lambda p, n, k: -p / n / LN2 - math.log2(k),
        "nats": lambda p, n, k: math.log2(k) - p / n,
        "all in nats": lambda p, n, k: math.log(k) - p / n,
        "natural levels": lambda p, n, k: math.log(k) - p / n / LN2,
        "sign": lambda p, n, k: math.log2(k) + p / n / LN2,
        "per image": lambda p, n, k: n * math.log2(k) - p / LN2,
        "levels counted once": lambda p, n, k: (math.log2(k) - p / LN2) / n,
        "multiplied": lambda p, n, k: math.log2(k) - p / n * LN2,
    },
    "gaussian_floor": {
        "no levels": lambda s, k: math.log2(s * math.sqrt(TAU)),
        "nats": lambda s, k: math.log(k * s * math.sqrt(TAU)),
        "no normaliser": lambda s, k: math.log2(k),
        "no σ": lambda s, k: math.log2(k) + math.log2(TAU) / 2,
        "2π without its root": lambda s, k: math.log2(k * TAU * s),
        "entropy": lambda s, k: floor(s, k) + 0.5 / LN2,
        "sign": lambda s, k: -floor(s, k),
        "levels turned round": lambda s, k: floor(s, 1) - math.log2(k),
    },
}

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)
