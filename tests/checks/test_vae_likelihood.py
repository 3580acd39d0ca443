"""Each check accepts the right answer and names every slip it claims to know."""

import math

import pytest
import torch

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


def gap(information, entropy):
    best = information.topk(2, dim=0).values
    return ((best[0] - best[1]) / entropy).mean()


RIGHT = {
    "gaussian_kl": [gaussian_kl, lambda m, lv: (0.5 * (m * m + lv.exp() - 1) - 0.5 * lv).sum(-1)],
    "reparameterise": [draw, lambda m, lv, e: torch.sqrt(lv.exp()) * e + m],
    "implied_sigma": [implied_sigma, lambda b, n: torch.tensor(b * n / 2).sqrt()],
    "iwae_bound": [iwae, lambda p, q: likelihood.log_mean_exp(p - q)],
    "harmonic_estimate": [harmonic, lambda p, q: -likelihood.log_mean_exp(q - p)],
    "posterior_energy": [target, lambda f, m, s, u: -(f(s * u + m) + s.prod(1).log())],
    "bits_per_dim": [lambda p, n, k: likelihood.bits_per_dim(p, n, levels=k)],
    "gaussian_floor": [floor, lambda s, k: math.log2(k) + math.log2(s) + 0.5 * math.log2(2 * math.pi)],
    "mig": [gap, lambda i, h: ((i.sort(0).values[-1] - i.sort(0).values[-2]) / h).mean()],
}


@pytest.mark.parametrize(("name", "i"), [(name, i) for name in RIGHT for i in range(len(RIGHT[name]))])
def test_right_answers_pass(name, i, capsys):
    assert getattr(checks, name)(RIGHT[name][i])
    assert capsys.readouterr().out.startswith("✓")


# --- slips ---------------------------------------------------------------------------------------

LN2, TAU = math.log(2), 2 * math.pi
SLIPS = {
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
        "detached": lambda m, lv, e: draw(m, lv.detach(), e),
    },
    "implied_sigma": {
        "variance for scale": lambda b, n: b * n / 2,
        "factor 2": lambda b, n: math.sqrt(b * n),
        "factor 4": lambda b, n: math.sqrt(2 * b * n),
        "sum for mean": lambda b, n: math.sqrt(b / 2),
        "dimensions turned round": lambda b, n: math.sqrt(b / n / 2),
        "β turned round": lambda b, n: math.sqrt(n / b / 2),
    },
    "iwae_bound": {
        "no log K": lambda p, q: torch.logsumexp(p - q, 0),
        "log K turned round": lambda p, q: torch.logsumexp(p - q, 0) + math.log(len(q)),
        "mean of logs": lambda p, q: (p - q).mean(0),
        "no log q": lambda p, q: torch.logsumexp(p, 0) - math.log(len(q)),
        "log q added": lambda p, q: iwae(p, -q),
        "ratio turned round": lambda p, q: iwae(q, p),
        "overflow": lambda p, q: torch.log(torch.mean(torch.exp(p - q), 0)),
        "largest only": lambda p, q: (p - q).max(0).values,
        "exponentiated": lambda p, q: iwae(p, q).exp(),
        "sign": lambda p, q: -iwae(p, q),
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
    },
    "posterior_energy": {
        "sign": lambda f, m, s, u: -target(f, m, s, u),
        "no volume": lambda f, m, s, u: -f(m + s * u),
        "volume turned round": lambda f, m, s, u: -f(m + s * u) + s.log().sum(1),
        "volume averaged": lambda f, m, s, u: -f(m + s * u) - s.log().mean(1),
        "u for z": lambda f, m, s, u: -f(u) - s.log().sum(1),
        "variance for scale": lambda f, m, s, u: -f(m + s**2 * u) - s.log().sum(1),
        "prior of u": lambda f, m, s, u: target(f, m, s, u) + 0.5 * (u**2).sum(1),
        "detached": lambda f, m, s, u: target(f, m, s, u.detach()),
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
    "mig": {
        "not normalised": lambda i, h: (i.topk(2, 0).values[0] - i.topk(2, 0).values[1]).mean(),
        "no gap": lambda i, h: (i.amax(0) / h).mean(),
        "worst for second": lambda i, h: ((i.amax(0) - i.amin(0)) / h).mean(),
        "against the mean": lambda i, h: ((i.amax(0) - i.mean(0)) / h).mean(),
        "wrong axis": lambda i, h: (i.topk(2, 1).values[:, 0] - i.topk(2, 1).values[:, 1]).mean(),
        "normalised once": lambda i, h: (i.topk(2, 0).values[0] - i.topk(2, 0).values[1]).sum() / h.sum(),
        "sum for mean": lambda i, h: gap(i, h) * len(h),
        "sign": lambda i, h: -gap(i, h),
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "slip"), [(name, slip) for name in SLIPS for slip in SLIPS[name]])
def test_slips_are_named(name, slip):
    result = getattr(checks, name)(SLIPS[name][slip])
    assert not result and result.slip == slip


def test_averaging_over_the_images_changes_the_shape():
    result = checks.iwae_bound(lambda p, q: torch.logsumexp(p - q, 1))
    assert not result and "shape" in result.message


@pytest.mark.parametrize("name", list(RIGHT))
def test_a_stub_is_told_kindly(name):
    def stub(*args):
        raise NotImplementedError

    result = getattr(checks, name)(stub)
    assert not result and "not written yet" in result.message
