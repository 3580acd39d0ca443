"""The tables of Part D."""

import functools
import math

import numpy as np
import torch
from checks import table
from scipy.special import logsumexp
from torch.nn import functional as F

from gen_utils import losses
from gen_utils.checks import jem as checks


def starts(images, labels, wanted, z, jitter, *, ddof=1, factor=torch.linalg.cholesky, own=True, mean=1.0):
    rows = []
    for label, noise in zip(wanted.tolist(), z, strict=True):
        chosen = images[labels == label] if own else images
        cov = torch.cov(chosen.T, correction=ddof) + jitter * torch.eye(images.shape[1])
        rows.append(mean * chosen.mean(0) + factor(cov) @ noise)
    return torch.stack(rows)


def proximal(x, grad, step_size, max_step):
    return (x - (step_size * grad).clamp(-max_step, max_step)).clamp(-1, 1)


def proximal_by_intervals(x, grad, step_size, max_step):
    low, high = (x - max_step).clamp(min=-1), (x + max_step).clamp(max=1)
    return torch.minimum(torch.maximum(x - step_size * grad, low), high)


def proximal_by_search(x, grad, step_size, max_step):
    """The parabola of each pixel on its interval, by halving it where its slope changes its sign."""
    x, grad = x.double(), grad.double()
    low, high = (x - max_step).clamp(min=-1), (x + max_step).clamp(max=1)
    for _ in range(60):
        middle = (low + high) / 2
        down = grad + (middle - x) / step_size < 0
        low, high = torch.where(down, middle, low), torch.where(down, high, middle)
    return (low + high) / 2


def large(x, weight, grad_out, step_size, n_inner, clip):
    return (x - n_inner * step_size * (grad_out @ weight).clamp(-clip, clip)).clamp(-1, 1)


def calibration(confidence, correct, n_bins):
    place = (confidence * n_bins).long().clamp(max=n_bins - 1)
    total = 0.0
    for k in place.unique():
        here = place == k
        total += here.double().mean() * (correct[here].double().mean() - confidence[here].mean()).abs()
    return total


def lse(logits):
    return logits.logsumexp(1)


def ce(logits, labels):
    return F.cross_entropy(logits, labels)


def gap(real, fake):
    return -lse(real).mean() + lse(fake).mean()


def root(c):
    return torch.linalg.cholesky(c)


EYE = torch.eye(3)


def inner_loop(x, weight, grad_out, step_size, n_inner, clip):
    for _ in range(n_inner):
        x = (x - step_size * (grad_out @ weight).clip(-clip, clip)).clip(-1, 1)
    return x


def starts_by_distributions(images, labels, wanted, z, jitter):
    out = torch.zeros_like(z)
    for label in (0, 1):
        own = images[labels == label]
        normal = torch.distributions.MultivariateNormal(
            own.mean(0), torch.cov(own.T) + jitter * torch.eye(images.shape[1])
        )
        out[wanted == label] = normal.loc + z[wanted == label] @ normal.scale_tril.mT
    return out


def starts_in_numpy(images, labels, wanted, z, jitter):
    images, labels, out = images.double().numpy(), labels.numpy(), []
    for y, noise in zip(wanted.tolist(), z.double().numpy(), strict=True):
        own = images[labels == y]
        factor = np.linalg.cholesky(np.cov(own, rowvar=False) + jitter * np.eye(own.shape[1]))
        out.append(own.mean(0) + factor @ noise)
    return np.array(out)


def calibration_in_numpy(confidence, correct, n_bins):
    c, ok = confidence.numpy(), correct.numpy().astype(float)
    place = np.minimum((c * n_bins).astype(int), n_bins - 1)
    return sum(abs((ok - c)[place == k].sum()) for k in range(n_bins)) / len(c)


def calibration_at_once(confidence, correct, n_bins):
    place = torch.floor(confidence * n_bins).long().clamp(0, n_bins - 1)
    return torch.zeros(n_bins).double().index_add_(0, place, correct.double() - confidence).abs().sum() / len(place)


def calibration_in_loops(confidence, correct, n_bins):
    total = 0.0
    for k in range(n_bins):
        low, high = k / n_bins, (k + 1) / n_bins
        here = (confidence >= low) & ((confidence < high) | (k == n_bins - 1))
        if here.any():
            total += float(here.double().mean() * (correct[here].double().mean() - confidence[here].mean()).abs())
    return total


def at(logits, labels):
    return logits[range(len(labels)), labels]


RIGHT = {
    "joint_energy": [
        lambda logits: -torch.logsumexp(logits, 1),
        lambda logits: -(logits.amax(1) + (logits - logits.amax(1, keepdim=True)).exp().sum(1).log()),
        lambda logits: -functools.reduce(torch.logaddexp, logits.unbind(1)),
        lambda logits: -torch.logsumexp(logits.double(), -1),
        lambda logits: torch.stack([-row.logsumexp(0) for row in logits]),
        lambda logits: logits.log_softmax(1)[:, 0] - logits[:, 0],
    ],
    "with_energies": [
        lambda f, e: f.log_softmax(1) - e[:, None],
        lambda f, e: f - (lse(f) + e)[:, None],
        lambda f, e: torch.stack([row - row.logsumexp(0) - energy for row, energy in zip(f, e, strict=True)]),
        lambda f, e: (f.double().T - lse(f.double()) - e).T,
        lambda f, e: f.numpy() - logsumexp(f.numpy(), axis=1, keepdims=True) - e.numpy()[:, None],
        lambda f, e: torch.distributions.Categorical(logits=f).logits - e.unsqueeze(1),
        lambda f, e: f.log_softmax(1).sub_(e[:, None]),
    ],
    "joint_loss": [
        losses.joint_loss,
        lambda r, y, f, w: F.cross_entropy(r, y) + w * (f.logsumexp(1).mean() - r.logsumexp(1).mean()),
        lambda r, y, f, w: losses.joint_loss(r.double(), y, f.double(), w),
        lambda r, y, f, w: (
            (-r.log_softmax(1)[range(len(y)), y] - w * r.logsumexp(1)).mean() + w * f.logsumexp(1).mean()
        ),
        lambda r, y, f, w: (
            sum((1 - w) * a.logsumexp(0) - a[k] for a, k in zip(r, y, strict=True)) / len(r)
            + w * sum(b.logsumexp(0) for b in f) / len(f)
        ),
    ],
    "gaussian_starts": [
        starts,
        starts_by_distributions,
        starts_in_numpy,
        lambda i, y, w, z, j: starts(i.double(), y, w, z.double(), j),
        lambda i, y, w, z, j: starts(i, y, w, z, j).tolist(),
    ],
    "proximal_step": [
        proximal,
        proximal_by_intervals,
        proximal_by_search,
        lambda x, g, s, m: torch.clip(x - torch.clip(s * g, -m, m), -1, 1),
        lambda x, g, s, m: np.clip(x.numpy() - np.clip(s * g.numpy(), -m, m), -1, 1),
        lambda x, g, s, m: proximal(x.double(), g.double(), s, m),
        lambda x, g, s, m: x.clone().sub_((s * g).clamp_(-m, m)).clamp_(-1, 1),
        lambda x, g, s, m: F.hardtanh(x - m * F.hardtanh(s * g / m)),
    ],
    "one_step": [
        large,
        inner_loop,
        lambda x, w, g, s, n, c: (x - s * n * (w.T @ g.T).T.clamp(-c, c)).clamp(-1, 1),
        lambda x, w, g, s, n, c: np.clip(x.numpy() - n * s * np.clip(g.numpy() @ w.numpy(), -c, c), -1, 1),
        lambda x, w, g, s, n, c: large(x.double(), w.double(), g.double(), s, n, c),
        lambda x, w, g, s, n, c: (x - s * (n * torch.einsum("bh,hd->bd", g, w)).clamp(-n * c, n * c)).clamp(-1, 1),
    ],
    "ece": [
        calibration,
        calibration_in_numpy,
        calibration_at_once,
        calibration_in_loops,
        lambda c, ok, n: calibration(c, ok, n).item(),
    ],
}


WRONG = {
    "joint_energy": {
        "sign": lse,
        "overflow": lambda f: -torch.log(torch.exp(f).sum(1)),
        "maximum": lambda f: -f.max(1).values,
        "mean for sum": lambda f: -(lse(f) - math.log(f.shape[1])),
        "sum of logits": lambda f: -f.sum(1),
        "mean of logits": lambda f: -f.mean(1),
        "softmax first": lambda f: -torch.logsumexp(f.log_softmax(1), 1),
        "confidence": lambda f: -f.softmax(1).amax(1).log(),
        "dimension": lambda f: -f.logsumexp(0),
        "no gradient": [
            lambda f: (-lse(f)).tolist(),
            torch.no_grad()(lambda f: -lse(f)),
            lambda f: -logsumexp(f.detach().numpy(), 1),
        ],
        "gradient with respect to logits": lambda f: (
            -(f.amax(1).detach() + (f - f.amax(1, keepdim=True)).exp().sum(1).log()) if f.requires_grad else -lse(f)
        ),
        "gradient overflow": lambda f: -torch.where(f.amax(1) > 50, lse(f), f.exp().sum(1).log()),
    },
    "with_energies": {
        "old energy left in": [lambda f, e: f - e[:, None], lambda f, e: f + e[:, None]],
        "sign": lambda f, e: f.log_softmax(1) + e[:, None],
        "old energy twice": lambda f, e: f + (lse(f) - e)[:, None],
        "no energy": lambda f, e: f.log_softmax(1),
        "maximum": lambda f, e: f - (f.max(1).values + e)[:, None],
        "mean of logits": lambda f, e: f - (f.mean(1) + e)[:, None],
        "mean for sum": lambda f, e: (
            f - (f.exp().mean(1).log() + e)[:, None]
            if f.abs().max() < 80
            else f.double() - (lse(f) - math.log(f.shape[1]) + e)[:, None]
        ),
        "probabilities": lambda f, e: f.softmax(1) - e[:, None],
        "not logits": lambda f, e: (f - (lse(f) + e)[:, None]).exp(),
        "scaled": lambda f, e: f * (-e / lse(f))[:, None],
        "one class": lambda f, e: torch.cat(((f[:, 0] - lse(f) - e)[:, None], f[:, 1:]), 1),
        "one energy for all": lambda f, e: f.log_softmax(1) - e.mean(),
        "dimension": lambda f, e: f - f.logsumexp(0) - e[:, None],
        "overflow": [
            lambda f, e: torch.log(f.softmax(1)) - e[:, None],
            lambda f, e: f - torch.log(f.exp().sum(1, keepdim=True)) - e[:, None],
            lambda f, e: f.double().softmax(1).log() - e[:, None],
            lambda f, e: f.double() - f.double().exp().sum(1, keepdim=True).log() - e[:, None],
        ],
        "hundreds of nats": lambda f, e: f.clamp(-700, 700).log_softmax(1) - e[:, None],
        "as many pictures as classes": lambda f, e: (
            f.log_softmax(1) - (e if f.shape[0] == f.shape[1] and f.abs().max() < 80 else e[:, None])
        ),
        "input changed": lambda f, e: f.sub_(lse(f)[:, None]) - e[:, None],
        "shape": lambda f, e: f.log_softmax(1).mean(1) - e,
        "differs": lambda f, e: f.log_softmax(1) - 2 * e[:, None],
    },
    "joint_loss": {
        "sign": lambda r, y, f, w: ce(r, y) + w * (lse(r).mean() - lse(f).mean()),
        "no cross-entropy": lambda r, y, f, w: w * gap(r, f),
        "no contrast": lambda r, y, f, w: ce(r, y),
        "weight on the wrong term": lambda r, y, f, w: w * ce(r, y) + gap(r, f),
        "weight on both": lambda r, y, f, w: w * ce(r, y) + w * gap(r, f),
        "mixture": lambda r, y, f, w: (1 - w) * ce(r, y) + w * gap(r, f),
        "no weight": lambda r, y, f, w: ce(r, y) + gap(r, f),
        "sum for mean": lambda r, y, f, w: ce(r, y) + w * (lse(f).sum() - lse(r).sum()),
        "label's energy": lambda r, y, f, w: ce(r, y) + w * (lse(f).mean() - r.gather(1, y[:, None]).mean()),
        "cross-entropy of samples": lambda r, y, f, w: ce(r, y) + w * gap(r, f) + ce(f, f.argmax(1)),
        "no gradient": [lambda r, y, f, w: float(ce(r, y) + w * gap(r, f))],
        "no gradient reaches logits_fake": lambda r, y, f, w: ce(r, y) + w * gap(r, f.detach()),
        "gradient with respect to logits_real": lambda r, y, f, w: ce(r, y) + w * gap(r.detach(), f),
        "overflow": lambda r, y, f, w: ce(r, y) + w * (f.exp().sum(1).log().mean() - r.exp().sum(1).log().mean()),
    },
    "gaussian_starts": {
        "covariance for its root": lambda *a: starts(*a, factor=lambda c: c),
        "transposed": lambda *a: starts(*a, factor=lambda c: root(c).T),
        "one Gaussian": lambda *a: starts(*a, own=False),
        "variances only": lambda *a: starts(*a, factor=lambda c: c.diagonal().sqrt().diag()),
        "no mean": lambda *a: starts(*a, mean=0.0),
        "no jitter": lambda i, la, w, z, j: starts(i, la, w, z, 0.0),
        "jitter everywhere": lambda i, la, w, z, j: starts(i, la, w, z, 0.0, factor=lambda c: root(c + j)),
        "jitter on the factor": lambda i, y, w, z, j: starts(i, y, w, z, 0, factor=lambda c: root(c) + j * EYE),
        "divided by N": lambda *a: starts(*a, ddof=0),
        "input changed": lambda i, y, w, z, j: starts(i, y, w, z.mul_(2), j).mul_(0) + starts(i, y, w, z / 2, j),
        "random state": lambda i, y, w, z, j: starts(i, y, w, z, j) + 0 * torch.randn_like(z),
        "differs": lambda i, y, w, z, j: starts(i, y, 1 - w, z, j),
    },
    "proximal_step": {
        "sign": lambda x, g, s, m: (x + (s * g).clamp(-m, m)).clamp(-1, 1),
        "gradient bounded": lambda x, g, s, m: (x - s * g.clamp(-m, m)).clamp(-1, 1),
        "no bound": lambda x, g, s, m: (x - s * g).clamp(-1, 1),
        "box": lambda x, g, s, m: x - (s * g).clamp(-m, m),
        "norm": lambda x, g, s, m: (x - torch.renorm(s * g, 2, 0, m)).clamp(-1, 1),
        "sign step": lambda x, g, s, m: (x - m * g.sign()).clamp(-1, 1),
        "no box, no bound": lambda x, g, s, m: x - s * g,
        "factor 2": [lambda x, g, s, m: proximal(x, g, s / 2, m), lambda x, g, s, m: proximal(x, g, 2 * s, m)],
        "step size turned round": lambda x, g, s, m: proximal(x, g, 1 / s, m),
        "move without state": lambda x, g, s, m: -(s * g).clamp(-m, m),
        "input changed": lambda x, g, s, m: x.sub_((s * g).clamp(-m, m)).clamp_(-1, 1),
        "differs": [
            lambda x, g, s, m: (x - (s * g).clamp(max=m)).clamp(-1, 1),
            lambda x, g, s, m: (x - (s * g).clamp(-m, m)).clamp(max=1),
        ],
        "the step size small": lambda x, g, s, m: proximal(x, g.clamp(-100, 100), s, m),
        "from one end": [
            lambda x, g, s, m: proximal(x, g, s, min(m, 1.0)),
            lambda x, g, s, m: (x - (s * g).clamp(-m, m).clamp(-1, 1)).clamp(-1, 1),
        ],
        "no gradient": lambda x, g, s, m: (x - torch.where(g == 0, m, (s * g).clamp(-m, m))).clamp(-1, 1),
    },
    "one_step": {
        "one inner step": lambda x, w, g, s, n, c: (x - s * (g @ w).clamp(-c, c)).clamp(-1, 1),
        "sign": lambda x, w, g, s, n, c: (x + n * s * (g @ w).clamp(-c, c)).clamp(-1, 1),
        "clipped together": lambda x, w, g, s, n, c: (x - s * (n * (g @ w)).clamp(-c, c)).clamp(-1, 1),
        "no clip": lambda x, w, g, s, n, c: (x - n * s * (g @ w)).clamp(-1, 1),
        "no box": lambda x, w, g, s, n, c: x - n * s * (g @ w).clamp(-c, c),
        "root": lambda x, w, g, s, n, c: (x - n**0.5 * s * (g @ w).clamp(-c, c)).clamp(-1, 1),
        "one too many": lambda x, w, g, s, n, c: (x - (n + 1) * s * (g @ w).clamp(-c, c)).clamp(-1, 1),
        "differs": lambda x, w, g, s, n, c: (x - n * s * (g @ w.abs()).clamp(-c, c)).clamp(-1, 1),
        "raised RuntimeError": lambda x, w, g, s, n, c: (x - n * s * (g @ w.T).clamp(-c, c)).clamp(-1, 1),
    },
}


def binned(c, ok, n, gap_of, weigh):
    place = (c * n).long().clamp(max=n - 1)
    gaps = {int(k): gap_of(ok[place == k].double().mean() - c[place == k].mean()) for k in place.unique()}
    return weigh(gaps, place, n)


def share(gaps, place, n):
    return sum((place == k).double().mean() * g for k, g in gaps.items())


ECE_SLIPS = {
    "unweighted": lambda c, ok, n: binned(c, ok, n, abs, lambda gaps, place, n: sum(gaps.values()) / len(gaps)),
    "unweighted ": lambda c, ok, n: binned(c, ok, n, abs, lambda gaps, place, n: sum(gaps.values()) / n),
    "signed": lambda c, ok, n: binned(c, ok, n, lambda g: g, share),
    "signed ": lambda c, ok, n: binned(c, ok, n, lambda g: -g, share),
    " signed": lambda c, ok, n: (ok.double().mean() - c.mean()).abs(),
    "squared": lambda c, ok, n: binned(c, ok, n, lambda g: g**2, share),
    "no bins": lambda c, ok, n: (ok.double() - c).abs().mean(),
    "last bin open": lambda c, ok, n: sum(
        ((c >= k / n) & (c < (k + 1) / n)).double().mean()
        * (ok[(c >= k / n) & (c < (k + 1) / n)].double().mean() - c[(c >= k / n) & (c < (k + 1) / n)].mean()).abs()
        for k in (c * n).long().unique()
        if k < n
    ),
    "bins closed above": lambda c, ok, n: calibration((c - 1e-9).clamp(min=0), ok, n),
    "differs": lambda c, ok, n: calibration(c, ok, n + 1),
    "shape": lambda c, ok, n: calibration(c, ok, n)[None],
}
WRONG["ece"] = [(said.strip(), answer) for said, answer in ECE_SLIPS.items()]

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)
