"""Each check of Part E accepts the right answer and names every slip it claims to know."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from gen_utils.checks import dvae_clustering as checks

# --- right answers, written here anew ------------------------------------------------------------


def nearest(vectors, codebook):
    return torch.cdist(vectors, codebook).argmin(1)


def through(z, code):
    return z + (code - z).detach()


def ema(counts, sums, vectors, tokens, decay, eps):
    chosen = F.one_hot(tokens, len(counts)).float()
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


RIGHT = {
    "nearest_code": nearest,
    "straight_through": through,
    "ema_update": ema,
    "perplexity": perplexity,
    "gumbel_softmax": gumbel,
    "hungarian_accuracy": hungarian,
    "percentages": percentages,
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name, capsys):
    assert getattr(checks, name)(RIGHT[name])
    assert capsys.readouterr().out.startswith(f"✓ {name}")


# --- slips ---------------------------------------------------------------------------------------

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
}
THROUGH_SLIPS = {
    "value of z": lambda z, code: code + (z - code).detach(),
    "all detached": lambda z, code: (z + (code - z)).detach(),
    "no gradient to z": lambda z, code: code,
    "gradient to code": lambda z, code: z + code - z.detach(),
    "scaled": lambda z, code: 0.5 * z + (code - 0.5 * z).detach(),
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
}
PERCENTAGE_SLIPS = {
    "columns": lambda c, y, k, n: 100 * table(c, y, k, n) / table(c, y, k, n).sum(0).clamp(min=1),
    "transposed": lambda c, y, k, n: percentages(c, y, k, n).T,
    "whole table": lambda c, y, k, n: 100 * table(c, y, k, n) / len(y),
    "fractions": lambda c, y, k, n: percentages(c, y, k, n) / 100,
    "counts": table,
    "empty cluster": lambda c, y, k, n: 100 * table(c, y, k, n) / table(c, y, k, n).sum(1, keepdim=True),
}
SLIPS = {
    "nearest_code": NEAREST_SLIPS,
    "straight_through": THROUGH_SLIPS,
    "ema_update": EMA_SLIPS,
    "perplexity": PERPLEXITY_SLIPS,
    "gumbel_softmax": GUMBEL_SLIPS,
    "hungarian_accuracy": HUNGARIAN_SLIPS,
    "percentages": PERCENTAGE_SLIPS,
}


@pytest.mark.parametrize(("name", "slip"), [(name, slip) for name, slips in SLIPS.items() for slip in slips])
def test_slips_are_named(name, slip):
    result = getattr(checks, name)(SLIPS[name][slip])
    assert not result and result.slip == slip, result.message


# --- everything else a student may hand in -------------------------------------------------------


def stub(*args):
    raise NotImplementedError


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("answer", [stub, lambda *args: None, lambda *args: np.zeros(3), lambda x: x])
def test_other_answers_are_told_kindly(name, answer, capsys):
    result = getattr(checks, name)(answer)
    said = capsys.readouterr().out
    assert not result and said.startswith(f"✗ {name}") and said.count("\n") == 1
