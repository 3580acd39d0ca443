"""The tables of Part E."""

import itertools

import numpy as np
import pytest
import torch
from checks import table as exercise_table
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from gen_utils.checks import dvae_clustering as checks
from gen_utils.checks.cases import hidden_cases

# --- right answers, written here anew ------------------------------------------------------------


def nearest(vectors, codebook):
    return torch.cdist(vectors, codebook).argmin(1)


def through(z, code):
    return z + (code - z).detach()


def ema(counts, sums, vectors, tokens, decay, eps):
    chosen = F.one_hot(tokens, len(counts)).to(vectors.dtype)
    counts = decay * counts + (1 - decay) * chosen.sum(0)
    sums = decay * sums + (1 - decay) * chosen.T @ vectors
    n = counts.sum()
    return sums / ((counts + eps) / (n + len(counts) * eps) * n)[:, None], counts, sums


def perplexity(counts):
    share = counts.sum(0) / counts.sum()
    return torch.exp(-torch.special.xlogy(share, share).sum())


def codebook_step(codebook, counts, sums, vectors, picks, decay, threshold):
    codebook, counts, sums = ema(counts, sums, vectors, nearest(vectors, codebook), decay, 1e-5)
    dead = (counts < threshold).nonzero().flatten()
    fresh = vectors[picks[: len(dead)]]
    return (
        codebook.index_copy(0, dead, fresh),
        counts.index_fill(0, dead, 1.0),
        sums.index_copy(0, dead, fresh),
    )


def noise(u):
    return -torch.log(-torch.log(u.clamp(min=1e-30)))


def gumbel(logits, temperature, uniform):
    noisy = logits + noise(uniform)
    return noisy.argmax(-1), torch.softmax(noisy / temperature, -1)


def pushed(logits, values):
    p = logits.softmax(-1)
    return p * (values - (p * values).sum(-1, keepdim=True))


def table(clusters, labels, n_clusters=None, n_classes=None):
    n_clusters, n_classes = n_clusters or int(clusters.max()) + 1, n_classes or int(labels.max()) + 1
    found = torch.zeros(n_clusters, n_classes)
    for c, y in zip(clusters.tolist(), labels.tolist(), strict=True):
        found[c, y] += 1
    return found


def hungarian(clusters, labels, maximize=True):
    counts = table(clusters, labels).numpy()
    return float(counts[linear_sum_assignment(counts, maximize=maximize)].sum() / len(labels))


NEAREST_SLIPS = {
    "farthest": lambda v, e: torch.cdist(v, e).argmax(1),
    "dot product": lambda v, e: (v @ e.T).argmax(1),
    "factor 2": lambda v, e: (e.square().sum(1) - v @ e.T).argmin(1),
    "norm not squared": lambda v, e: (e.norm(dim=1) - 2 * v @ e.T).argmin(1),
    "cosine": lambda v, e: F.cosine_similarity(v[:, None], e[None], dim=-1).argmax(1),
    "absolute values": lambda v, e: torch.cdist(v, e, p=1).argmin(1),
    "signed sum": lambda v, e: (v.sum(1)[:, None] - e.sum(1)[None]).argmin(1),
    "distances": lambda v, e: torch.cdist(v, e),
    "codes": lambda v, e: e[nearest(v, e)],
    "axis": lambda v, e: torch.cdist(v, e).argmin(0),
    "not whole": lambda v, e: nearest(v, e).float(),
}
THROUGH_SLIPS = {
    "value of z": lambda z, code: code + (z - code).detach(),
    "all detached": [lambda z, code: (z + (code - z)).detach(), lambda z, code: code.tolist()],
    "gradient to code": lambda z, code: z + code - z.detach(),
    "no gradient to z": [lambda z, code: code, lambda z, code: z + (code - z)],
    "differs": lambda z, code: z + (z - code).detach(),
    "input changed": lambda z, code: z + code.sub_(z).detach(),
    "gradient with respect to z": lambda z, code: 0.5 * z + (code - 0.5 * z).detach(),
}


def ema_variant(keep=lambda d: d, add=lambda d: 1 - d, how="right"):
    def variant(counts, sums, vectors, tokens, decay, eps):
        chosen = F.one_hot(tokens, len(counts)).float()
        used, total = chosen.sum(0), chosen.T @ vectors
        batch = total
        if how == "mean":
            batch = total / used.clamp(min=1)[:, None]
        new, new_sums = keep(decay) * counts + add(decay) * used, keep(decay) * sums + add(decay) * batch
        if how == "skip":
            new = torch.where(used > 0, new, counts)
            new_sums = torch.where(used[:, None] > 0, new_sums, sums)
        base = counts if how == "old" else new
        smooth = (base + eps) / (base.sum() + len(counts) * eps) * base.sum()
        smooth = base if how == "plain" else base + eps if how == "unscaled" else smooth
        codebook = total / used[:, None] if how == "batch" else new_sums / smooth[:, None]
        return codebook, new, new_sums

    return variant


EMA_SLIPS = {
    "decay turned round": ema_variant(lambda d: 1 - d, lambda d: d),
    "1 − decay missing": ema_variant(add=lambda d: 1.0),
    "decay missing": ema_variant(keep=lambda d: 1.0),
    "mean for sum": ema_variant(how="mean"),
    "batch only": ema_variant(how="batch"),
    "old counts": ema_variant(how="old"),
    "no smoothing": ema_variant(how="plain"),
    "smoothing not rescaled": ema_variant(how="unscaled"),
    "unused codes skipped": ema_variant(how="skip"),
}


def entropy(counts):
    share = counts / counts.sum(-1, keepdim=True)
    return -torch.special.xlogy(share, share).sum(-1)


def perplexity_with_nan(counts):
    share = counts.sum(0) / counts.sum()
    return torch.exp(-(share * share.log()).sum())


PERPLEXITY_SLIPS = {
    "zero counts": perplexity_with_nan,
    "mean of batches": lambda c: torch.stack([entropy(row).exp() for row in c]).mean(),
    "entropy": lambda c: entropy(c.sum(0)),
    "base 2": lambda c: entropy(c.sum(0)) / torch.tensor(2.0).log(),
    "mixed bases": lambda c: (entropy(c.sum(0)) / torch.tensor(2.0).log()).exp(),
    "sign": lambda c: (-entropy(c.sum(0))).exp(),
    "codes in use": lambda c: (c.sum(0) > 0).sum(),
    "differs": lambda c: perplexity(c + 1),
    "input changed": lambda c: perplexity(c.div_(c.sum())),
}


def revived(moved=True, count="one", total="code", which="order", first=False):
    """The step with one thing wrong."""

    def variant(codebook, counts, sums, vectors, picks, decay, threshold):
        early = counts < threshold
        codebook, counts, sums = ema(counts, sums, vectors, nearest(vectors, codebook), decay, 1e-5)
        place = 0
        for k in range(len(counts)):
            dead = bool(early[k] if first else counts[k] < threshold)
            if which == "not below":
                dead = bool(counts[k] <= threshold)
            if dead:
                pick = {"code": k, "same": 0}.get(which, place)
                fresh, old, place = vectors[picks[pick]], counts[k].clone(), place + 1
                if moved:
                    codebook[k] = fresh
                if count == "one":
                    counts[k] = 1
                if total != "kept":
                    sums[k] = {"code": fresh, "zero": 0 * fresh, "count": old * fresh}[total]
        return codebook, counts, sums

    return variant


def all_revived(codebook, counts, sums, vectors, picks, decay, threshold):
    codebook, counts, sums = ema(counts, sums, vectors, nearest(vectors, codebook), decay, 1e-5)
    if (counts < threshold).any():
        codebook, counts, sums = vectors[picks], torch.ones_like(counts), vectors[picks]
    return codebook, counts, sums


def step_in_place(codebook, counts, sums, vectors, picks, decay, threshold):
    found = codebook_step(codebook, counts, sums, vectors, picks, decay, threshold)
    for old, new in zip((codebook, counts, sums), found, strict=True):
        old.copy_(new)
    return codebook, counts, sums


STEP_SLIPS = {
    "as given": revived(total="kept"),
    "worse than given": revived(count="kept", total="kept"),
    "count forgotten": revived(count="kept"),
    "dies again": revived(count="kept", total="count"),
    "sums of the old count": revived(total="count"),
    "sums zero": revived(total="zero"),
    "codebook left": revived(moved=False),
    "no revival": revived(moved=False, count="kept", total="kept"),
    "all codes moved": all_revived,
    "one vector for all": revived(which="same"),
    "picks by code": revived(which="code"),
    "not below": revived(which="not below"),
    "old counts": revived(first=True),
    "the sums is wrong|the sums are wrong": lambda *a: (*codebook_step(*a)[:2], 2 * codebook_step(*a)[2]),
    "the codebook is wrong .the counts and the sums right": lambda *a: (
        2 * codebook_step(*a)[0],
        *codebook_step(*a)[1:],
    ),
    "input changed": step_in_place,
    "random state": lambda e, n, s, v, p, d, t: codebook_step(e, n, s, v, p + 0 * torch.randint(3, p.shape), d, t),
    "three things are wanted": lambda *a: codebook_step(*a)[0],
}


def soft(scale=lambda a, g, t: (a + g) / t, g=noise, weights=lambda s: torch.softmax(s, -1), pick=None):
    """The draw with one thing wrong."""

    def variant(a, t, u):
        total = scale(a, g(u), t)
        return (total if pick is None else pick(a, g(u))).argmax(-1), weights(total)

    return variant


GUMBEL_SLIPS = {
    "no noise": soft(g=lambda u: 0 * u),
    "choice without noise": soft(pick=lambda a, g: a),
    "choice of the noise": soft(pick=lambda a, g: g + 0 * a),
    "sign of the noise": soft(g=lambda u: -noise(u)),
    "one logarithm": soft(g=lambda u: -torch.log(u.clamp(min=1e-30))),
    "uniform noise": soft(g=lambda u: u),
    "noise not divided": [soft(lambda a, g, t: a / t + g), soft(lambda a, g, t: a / t + g, pick=lambda a, g: a + g)],
    "logits not divided": [soft(lambda a, g, t: a + g / t), soft(lambda a, g, t: a + g / t, pick=lambda a, g: a + g)],
    "temperature multiplied": soft(lambda a, g, t: (a + g) * t),
    "no temperature": soft(lambda a, g, t: a + g),
    "axis": soft(weights=lambda s: torch.softmax(s, 0)),
    "hard": soft(weights=lambda s: F.one_hot(s.argmax(-1), s.shape[-1]).float()),
    "logarithm": soft(weights=lambda s: torch.log_softmax(s, -1)),
    "zero uniform": [soft(g=lambda u: -torch.log(-torch.log(u))), soft(g=lambda u: -torch.log(-torch.log(u + 1e-20)))],
    "no gradient": [torch.no_grad()(gumbel), lambda a, t, u: (gumbel(a, t, u)[0], gumbel(a, t, u)[1].tolist())],
    "overflow": soft(weights=lambda s: s.exp() / s.exp().sum(-1, keepdim=True)),
    "gradient": lambda a, t, u: (gumbel(a, t, u)[0], gumbel(a, t, u)[1].detach() + 0 * a),
    "two things are wanted": lambda a, t, u: gumbel(a, t, u)[1],
    "not whole": lambda a, t, u: (gumbel(a, t, u)[0].float(), gumbel(a, t, u)[1]),
    "input changed": lambda a, t, u: gumbel(a, t, u.clamp_(min=1e-30)),
}


def naive(a, f):
    p = a.exp() / a.exp().sum(-1, keepdim=True)
    return p * (f - (p * f).sum(-1, keepdim=True))


def pushed_by_pairs(a, f):
    """A code gives or takes from every other, by the product of their probabilities."""
    p = a.double().softmax(-1)
    return (p[..., :, None] * p[..., None, :] * (f[..., :, None] - f[..., None, :])).sum(-1)


CHOICE_SLIPS = {
    "other probabilities forgotten": [
        lambda a, f: a.softmax(-1) * f,
        lambda a, f: a.softmax(-1) * f - a.softmax(-1) ** 2 * f,
    ],
    "plain average": lambda a, f: a.softmax(-1) * (f - f.mean(-1, keepdim=True)),
    "sign": lambda a, f: -pushed(a, f),
    "no probability": lambda a, f: f - (a.softmax(-1) * f).sum(-1, keepdim=True),
    "with respect to p": lambda a, f: f.clone(),
    "expected loss": lambda a, f: (a.softmax(-1) * f).sum(-1),
    "axis": lambda a, f: a.softmax(0) * (f - (a.softmax(0) * f).sum(0)),
    "logits for probabilities": lambda a, f: a * (f - (a * f).sum(-1, keepdim=True)),
    "overflow": naive,
    "shape": lambda a, f: pushed(a, f)[None],
    "input changed": lambda a, f: pushed(a, f) + 0 * f.mul_(2),
    "differs": lambda a, f: pushed(2 * a, f),
}


def greedy(clusters, labels):
    counts, right = table(clusters, labels), 0
    for row in range(len(counts)):
        if counts.max() < 0:
            break
        column = counts[row].argmax()
        right += float(counts[row, column])
        counts[:, column] = -1
    return right / len(labels)


HUNGARIAN_SLIPS = {
    "minimum": lambda c, y: hungarian(c, y, maximize=False),
    "majority": lambda c, y: float(table(c, y).max(1).values.sum() / len(y)),
    "equal numbers": lambda c, y: float((c == y).double().mean()),
    "greedy": greedy,
    "not divided": lambda c, y: hungarian(c, y) * len(y),
    "per cent": lambda c, y: hungarian(c, y) * 100,
    "differs": lambda c, y: hungarian(c, y) * 0.9,
    "shape": lambda c, y: [hungarian(c, y)],
    "input changed": lambda c, y: hungarian(c.mul_(2), y),
}


def nearest_in_loops(vectors, codebook):
    return [min(range(len(codebook)), key=lambda k: float((v - codebook[k]).square().sum())) for v in vectors]


def through_a_function(z, code):
    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z, code):
            return code.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad, None

    return Through.apply(z, code)


def ema_by_index(counts, sums, vectors, tokens, decay, eps):
    counts = decay * counts + (1 - decay) * torch.bincount(tokens, minlength=len(counts))
    sums = torch.index_add(decay * sums, 0, tokens, vectors, alpha=1 - decay)
    smooth = (counts + eps) / (counts.sum() + len(counts) * eps) * counts.sum()
    return [sums / smooth.unsqueeze(1), counts, sums]


def ema_in_loops(counts, sums, vectors, tokens, decay, eps):
    counts, sums = counts * decay, sums * decay
    for vector, token in zip(vectors, tokens.tolist(), strict=True):
        counts[token] += 1 - decay
        sums[token] += (1 - decay) * vector
    n, k = counts.sum(), len(counts)
    return torch.stack([sums[i] / ((counts[i] + eps) * n / (n + k * eps)) for i in range(k)]), counts, sums


def ema_in_numpy(counts, sums, vectors, tokens, decay, eps):
    chosen = np.eye(len(counts))[tokens.numpy()]
    counts = decay * counts.numpy() + (1 - decay) * chosen.sum(0)
    sums = decay * sums.numpy() + (1 - decay) * chosen.T @ vectors.numpy()
    return sums / ((counts + eps) * counts.sum() / (counts.sum() + len(counts) * eps))[:, None], counts, sums


def step_by_library(codebook, counts, sums, vectors, picks, decay, threshold):
    """The quantiser's own rule, its random places replaced."""
    codebook, counts, sums = ema_by_index(counts, sums, vectors, nearest(vectors, codebook), decay, 1e-5)
    dead = counts < threshold
    if dead.any():
        fresh = vectors[picks[: int(dead.sum())]]
        codebook[dead], counts[dead], sums[dead] = fresh, 1.0, fresh
    return codebook, counts, sums


def step_in_numpy(codebook, counts, sums, vectors, picks, decay, threshold):
    codebook, counts, sums = ema_in_numpy(counts, sums, vectors, nearest(vectors, codebook), decay, 1e-5)
    for place, k in enumerate(np.flatnonzero(counts < threshold - 1e-9)):
        codebook[k] = sums[k] = vectors[picks[place]].numpy()
        counts[k] = 1
    return codebook, counts, sums


def pushed_by_autograd(logits, values):
    a = logits.detach().clone().requires_grad_()
    return torch.autograd.grad((a.softmax(-1) * values).sum(), a)[0]


def pushed_by_jacobian(logits, values):
    p = logits.softmax(-1)
    return torch.einsum("...kj,...k->...j", torch.diag_embed(p) - p[..., :, None] * p[..., None, :], values)


def pushed_in_numpy(logits, values):
    a, f = logits.double().numpy(), values.double().numpy()
    p = np.exp(a - a.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return p * (f - (p * f).sum(-1, keepdims=True))


def perplexity_in_loops(counts):
    total = [sum(column) for column in zip(*counts.tolist(), strict=True)]
    shares = [c / sum(total) for c in total if c > 0]
    return float(np.prod([p**-p for p in shares]))


def hungarian_by_trying(clusters, labels):
    counts = table(clusters, labels).numpy()
    counts = counts if counts.shape[0] <= counts.shape[1] else counts.T
    orders = itertools.permutations(range(counts.shape[1]), counts.shape[0])
    return max(counts[range(len(counts)), list(order)].sum() for order in orders) / len(labels)


RIGHT = {
    "nearest_code": [
        nearest,
        nearest_in_loops,
        lambda v, e: (e.square().sum(1) - 2 * v @ e.T).argmin(1),
        lambda v, e: ((v.numpy()[:, None] - e.numpy()) ** 2).sum(-1).argmin(1),
        lambda v, e: (v.double()[:, None] - e.double()).norm(dim=-1).min(1).indices,
        lambda v, e: nearest(v, e).int(),
    ],
    "straight_through": [
        through,
        through_a_function,
        lambda z, code: code.detach() + z - z.detach(),
        lambda z, code: through(z.double(), code.double()),
        lambda z, code: z - (z - code).data,
        lambda z, code: torch.stack([a + (b - a).detach() for a, b in zip(z, code, strict=True)]),
    ],
    "ema_update": [
        ema,
        ema_by_index,
        ema_in_loops,
        ema_in_numpy,
        lambda n, s, v, t, d, e: ema(n.double(), s.double(), v.double(), t, d, e),
    ],
    "perplexity": [
        perplexity,
        perplexity_in_loops,
        lambda c: torch.distributions.Categorical(c.sum(0)).entropy().exp(),
        lambda c: 2 ** -(torch.special.xlogy(c.sum(0) / c.sum(), c.sum(0) / c.sum()) / np.log(2)).sum(),
        lambda c: torch.special.entr(c.double().sum(0) / c.sum()).sum().exp(),
        lambda c: np.exp(-sum(p * np.log(p) for p in (c.sum(0) / c.sum()).numpy() if p > 0)),
    ],
    "mended_codebook_step": [
        codebook_step,
        revived(),
        step_by_library,
        step_in_numpy,
        lambda e, n, s, v, p, d, t: codebook_step(e.double(), n.double(), s.double(), v.double(), p, d, t),
        lambda *a: list(codebook_step(*a)),
    ],
    "gumbel_draw": [
        gumbel,
        soft(),
        lambda a, t, u: (torch.argmax(a + noise(u), -1), ((a + noise(u)) / t).log_softmax(-1).exp()),
        lambda a, t, u: gumbel(a.double(), t, u.double()),
        lambda a, t, u: soft(weights=lambda s: torch.exp(s - torch.logsumexp(s, -1, keepdim=True)))(a, t, u),
        lambda a, t, u: (gumbel(a, t, u)[1].argmax(-1), gumbel(a, t, u)[1]),
        lambda a, t, u: [
            torch.stack(part) for part in zip(*(gumbel(k, t, v) for k, v in zip(a, u, strict=True)), strict=True)
        ],
    ],
    "choice_gradient": [
        pushed,
        pushed_by_autograd,
        pushed_by_jacobian,
        pushed_in_numpy,
        lambda a, f: pushed(a.double(), f.double()),
        lambda a, f: a.softmax(-1) * f - a.softmax(-1) * (a.softmax(-1) * f).sum(-1, keepdim=True),
        lambda a, f: pushed(a, f).tolist(),
        lambda a, f: torch.func.vjp(lambda b: b.softmax(-1), a)[1](f)[0],
        pushed_by_pairs,
    ],
    "hungarian_accuracy": [
        hungarian,
        hungarian_by_trying,
        lambda c, y: torch.tensor(hungarian(c, y)),
        lambda c, y: hungarian(y, c),
        lambda c, y: (
            sum(int(table(c, y)[i, j]) for i, j in zip(*linear_sum_assignment(-table(c, y)), strict=True)) / len(y)
        ),
        lambda c, y: np.float64(hungarian(c, y)),
    ],
}


WRONG = {
    "nearest_code": NEAREST_SLIPS,
    "straight_through": THROUGH_SLIPS,
    "ema_update": EMA_SLIPS,
    "perplexity": PERPLEXITY_SLIPS,
    "mended_codebook_step": STEP_SLIPS,
    "gumbel_draw": GUMBEL_SLIPS,
    "choice_gradient": CHOICE_SLIPS,
    "hungarian_accuracy": HUNGARIAN_SLIPS,
}

test_table, test_right, test_wrong = exercise_table.tests(checks, RIGHT, WRONG)


@pytest.mark.parametrize("key", range(12))
def test_no_key_refuses_a_gradient_in_other_dress(key):
    with hidden_cases(key):
        for answer in RIGHT["choice_gradient"]:
            assert checks.choice_gradient(answer)
