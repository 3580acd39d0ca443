"""The tables of Part E."""

import itertools

import numpy as np
import torch
from checks import table as exercise_table
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from gen_utils.checks import dvae_clustering as checks

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


def gumbel(logits, temperature, uniform):
    return torch.softmax((logits - torch.log(-torch.log(uniform))) / temperature, -1)


def table(clusters, labels, n_clusters=None, n_classes=None):
    n_clusters, n_classes = n_clusters or int(clusters.max()) + 1, n_classes or int(labels.max()) + 1
    found = torch.zeros(n_clusters, n_classes)
    for c, y in zip(clusters.tolist(), labels.tolist(), strict=True):
        found[c, y] += 1
    return found


def hungarian(clusters, labels, maximize=True):
    counts = table(clusters, labels).numpy()
    return float(counts[linear_sum_assignment(counts, maximize=maximize)].sum() / len(labels))


def percentages(clusters, labels, n_clusters, n_classes):
    counts = table(clusters, labels, n_clusters, n_classes)
    return 100 * counts / counts.sum(1, keepdim=True).clamp(min=1)


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


def noise(u):
    return -torch.log(-torch.log(u))


GUMBEL_SLIPS = {
    "no noise": lambda a, t, u: torch.softmax(a / t, -1),
    "sign of the noise": lambda a, t, u: torch.softmax((a - noise(u)) / t, -1),
    "one logarithm": lambda a, t, u: torch.softmax((a - torch.log(u)) / t, -1),
    "uniform noise": lambda a, t, u: torch.softmax((a + u) / t, -1),
    "noise not divided": lambda a, t, u: torch.softmax(a / t + noise(u), -1),
    "logits not divided": lambda a, t, u: torch.softmax(a + noise(u) / t, -1),
    "temperature multiplied": lambda a, t, u: torch.softmax((a + noise(u)) * t, -1),
    "no temperature": lambda a, t, u: torch.softmax(a + noise(u), -1),
    "axis": lambda a, t, u: torch.softmax((a + noise(u)) / t, 0),
    "hard": lambda a, t, u: F.one_hot((a + noise(u)).argmax(-1), a.shape[-1]).float(),
    "logarithm": lambda a, t, u: torch.log_softmax((a + noise(u)) / t, -1),
    "no gradient": [torch.no_grad()(gumbel), lambda a, t, u: gumbel(a, t, u).tolist()],
    "overflow": lambda a, t, u: torch.exp((a + noise(u)) / t) / torch.exp((a + noise(u)) / t).sum(-1, keepdim=True),
    "gradient": lambda a, t, u: gumbel(a, t, u).detach() + 0 * a,
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
PERCENTAGE_SLIPS = {
    "columns": lambda c, y, k, n: 100 * table(c, y, k, n) / table(c, y, k, n).sum(0).clamp(min=1),
    "transposed": lambda c, y, k, n: percentages(c, y, k, n).T,
    "whole table": lambda c, y, k, n: 100 * table(c, y, k, n) / len(y),
    "fractions": lambda c, y, k, n: percentages(c, y, k, n) / 100,
    "counts": table,
    "shape": lambda c, y, k, n: percentages(c, y, k, n).flatten(),
    "input changed": lambda c, y, k, n: percentages(c, y, k, n) + 0 * c.add_(1).sum(),
    "empty cluster": lambda c, y, k, n: 100 * table(c, y, k, n) / table(c, y, k, n).sum(1, keepdim=True),
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
    "gumbel_softmax": [
        gumbel,
        lambda a, t, u: ((a + noise(u)) / t).softmax(-1),
        lambda a, t, u: ((a + noise(u)) / t).log_softmax(-1).exp(),
        lambda a, t, u: gumbel(a.double(), t, u.double()),
        lambda a, t, u: torch.exp((a + noise(u)) / t - torch.logsumexp((a + noise(u)) / t, -1, keepdim=True)),
        lambda a, t, u: torch.stack([((k + noise(v)) / t).softmax(-1) for k, v in zip(a, u, strict=True)]),
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
    "percentages": [
        percentages,
        lambda *a: percentages(*a).double().numpy(),
        lambda *a: percentages(*a).tolist(),
        lambda c, y, k, n: torch.nan_to_num(100 * table(c, y, k, n) / table(c, y, k, n).sum(1, keepdim=True)),
        lambda c, y, k, n: 100 * F.normalize(table(c, y, k, n), p=1, dim=1),
        lambda c, y, k, n: (
            np.histogram2d(c, y, [range(k + 1), range(n + 1)])[0]
            / np.maximum(np.bincount(c, minlength=k), 1)[:, None]
            * 100
        ),
    ],
}


WRONG = {
    "nearest_code": NEAREST_SLIPS,
    "straight_through": THROUGH_SLIPS,
    "ema_update": EMA_SLIPS,
    "perplexity": PERPLEXITY_SLIPS,
    "gumbel_softmax": GUMBEL_SLIPS,
    "hungarian_accuracy": HUNGARIAN_SLIPS,
    "percentages": PERCENTAGE_SLIPS,
}

test_table, test_right, test_wrong = exercise_table.tests(checks, RIGHT, WRONG)
