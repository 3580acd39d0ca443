"""Each check of Part D accepts the right answer and names every slip it claims to know."""

import math

import pytest
import torch
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


def large(x, weight, grad_out, step_size, n_inner, clip):
    return (x - n_inner * step_size * (grad_out @ weight).clamp(-clip, clip)).clamp(-1, 1)


def calibration(confidence, correct, n_bins):
    place = (confidence * n_bins).long().clamp(max=n_bins - 1)
    total = 0.0
    for k in place.unique():
        here = place == k
        total += here.double().mean() * (correct[here].double().mean() - confidence[here].mean()).abs()
    return total


RIGHT = {
    "joint_energy": lambda logits: -torch.logsumexp(logits, 1),
    "conditional_energy": lambda logits, labels: -logits[torch.arange(len(labels)), labels],
    "joint_loss": losses.joint_loss,
    "gaussian_starts": starts,
    "proximal_step": proximal,
    "one_step": large,
    "ece": calibration,
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name, capsys):
    assert getattr(checks, name)(RIGHT[name])
    assert capsys.readouterr().out.startswith(f"✓ {name}")


def lse(logits):
    return logits.logsumexp(1)


def ce(logits, labels):
    return F.cross_entropy(logits, labels)


def gap(real, fake):
    return -lse(real).mean() + lse(fake).mean()


def root(c):
    return torch.linalg.cholesky(c)


EYE = torch.eye(3)
SLIPS = {
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
    },
    "conditional_energy": {
        "sign": lambda f, y: f.gather(1, y[:, None])[:, 0],
        "all columns": lambda f, y: -f[:, y],
        "cross-entropy": lambda f, y: F.cross_entropy(f, y, reduction="none"),
        "probability": lambda f, y: -f.softmax(1).gather(1, y[:, None])[:, 0],
        "own guess": lambda f, y: -f.max(1).values,
        "marginal": lambda f, y: -lse(f),
        "diagonal": lambda f, y: -f[y, y],
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
    },
    "proximal_step": {
        "sign": lambda x, g, s, m: (x + (s * g).clamp(-m, m)).clamp(-1, 1),
        "gradient bounded": lambda x, g, s, m: (x - s * g.clamp(-m, m)).clamp(-1, 1),
        "no bound": lambda x, g, s, m: (x - s * g).clamp(-1, 1),
        "box": lambda x, g, s, m: x - (s * g).clamp(-m, m),
        "norm": lambda x, g, s, m: (x - torch.renorm(s * g, 2, 0, m)).clamp(-1, 1),
        "sign step": lambda x, g, s, m: (x - m * g.sign()).clamp(-1, 1),
        "no box, no bound": lambda x, g, s, m: x - s * g,
    },
    "one_step": {
        "one inner step": lambda x, w, g, s, n, c: (x - s * (g @ w).clamp(-c, c)).clamp(-1, 1),
        "sign": lambda x, w, g, s, n, c: (x + n * s * (g @ w).clamp(-c, c)).clamp(-1, 1),
        "clipped together": lambda x, w, g, s, n, c: (x - s * (n * (g @ w)).clamp(-c, c)).clamp(-1, 1),
        "no clip": lambda x, w, g, s, n, c: (x - n * s * (g @ w)).clamp(-1, 1),
        "no box": lambda x, w, g, s, n, c: x - n * s * (g @ w).clamp(-c, c),
        "root": lambda x, w, g, s, n, c: (x - n**0.5 * s * (g @ w).clamp(-c, c)).clamp(-1, 1),
        "one too many": lambda x, w, g, s, n, c: (x - (n + 1) * s * (g @ w).clamp(-c, c)).clamp(-1, 1),
    },
}  # fmt: skip


@pytest.mark.parametrize(("check", "slip"), [(check, slip) for check in SLIPS for slip in SLIPS[check]])
def test_slips_are_named(check, slip):
    result = getattr(checks, check)(SLIPS[check][slip])
    assert not result and result.slip == slip, result.message


def binned(c, ok, n, gap_of, weigh):
    place = (c * n).long().clamp(max=n - 1)
    gaps = {int(k): gap_of(ok[place == k].double().mean() - c[place == k].mean()) for k in place.unique()}
    return weigh(gaps, place, n)


def share(gaps, place, n):
    return sum((place == k).double().mean() * g for k, g in gaps.items())


ECE_SLIPS = {
    "unweighted": lambda c, ok, n: binned(c, ok, n, abs, lambda gaps, place, n: sum(gaps.values()) / len(gaps)),
    "unweighted over all": lambda c, ok, n: binned(c, ok, n, abs, lambda gaps, place, n: sum(gaps.values()) / n),
    "signed": lambda c, ok, n: binned(c, ok, n, lambda g: g, share),
    "signed, turned round": lambda c, ok, n: binned(c, ok, n, lambda g: -g, share),
    "signed, one bin": lambda c, ok, n: (ok.double().mean() - c.mean()).abs(),
    "squared": lambda c, ok, n: binned(c, ok, n, lambda g: g**2, share),
    "no bins": lambda c, ok, n: (ok.double() - c).abs().mean(),
    "last bin open": lambda c, ok, n: sum(
        ((c >= k / n) & (c < (k + 1) / n)).double().mean() * (ok[(c >= k / n) & (c < (k + 1) / n)].double().mean()
        - c[(c >= k / n) & (c < (k + 1) / n)].mean()).abs() for k in (c * n).long().unique() if k < n
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ECE_SLIPS)
def test_ece_slips(name):
    expected = name if name in ("squared", "no bins", "last bin open") else name.split(",")[0].split(" over")[0]
    assert checks.ece(ECE_SLIPS[name]).slip == expected


@pytest.mark.parametrize("name", RIGHT)
def test_an_unwritten_exercise_is_told_kindly(name):
    def student(*args):
        raise NotImplementedError

    result = getattr(checks, name)(student)
    assert not result and "not written yet" in result.message
