"""The exercise checks of Part E, discrete auto-encoders and clustering."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..evaluation import clustering
from ..models.quantizer import ema_update as right_ema
from ..models.quantizer import nearest_code as right_nearest
from ..models.vqvae import gumbel_softmax as right_gumbel
from ..training.vqvae import perplexity as right_perplexity
from .cases import Case, far, stream
from .compare import ALL, compare
from .core import Result, Slip, check


@check
def nearest_code(student: Callable) -> Result:
    """Check ``nearest_code(vectors (N, D), codebook (K, D)) -> (N,)`` indices."""
    numbers = stream(0)
    # Codes of very different length: the largest dot product is then often not the nearest code.
    book = torch.randn(6, 3, generator=numbers) * torch.tensor([0.3, 1.0, 3.0, 0.5, 2.0, 1.5])[:, None]
    cases = [(torch.randn(40, 3, generator=numbers), book), (torch.randn(25, 3, generator=numbers) * 2, book[:4])]

    def gaps(v: Tensor, e: Tensor) -> Tensor:
        return (v[:, None] - e[None]).square().sum(-1)

    slips = [
        Slip("distances", "those are the distances to all codes; return the index of the smallest.", gaps),
        Slip("distances", "those are the distances to all codes; return the index of the smallest.", lambda v, e: gaps(v, e).sqrt()),
        Slip("codes", "those are the codes themselves; return their indices, the tokens.", lambda v, e: e[gaps(v, e).argmin(1)]),
        Slip("axis", "you took the minimum over the vectors, not over the codes.", lambda v, e: gaps(v, e).argmin(0)),
        Slip("farthest", "that is the farthest code; take the smallest distance.", lambda v, e: gaps(v, e).argmax(1)),
        Slip(
            "dot product",
            "the largest dot product is not the smallest distance: ‖v − e‖² = ‖v‖² − 2 v·e + ‖e‖², and a long code "
            "wins the dot product wherever it points. The term ‖e‖² is missing.",
            lambda v, e: (v @ e.T).argmax(1),
        ),
        Slip(
            "factor 2",
            "nearly: expand ‖v − e‖² once more. The middle term is −2 v·e.",
            lambda v, e: (e.square().sum(1) - v @ e.T).argmin(1),
        ),
        Slip(
            "factor 2",
            "the two terms have opposite signs: ‖e‖² − 2 v·e.",
            lambda v, e: (e.square().sum(1) + 2 * v @ e.T).argmin(1),
        ),
        Slip(
            "norm not squared",
            "the first term is ‖e‖², the squared length of the code; you used its length.",
            lambda v, e: (e.norm(dim=1) - 2 * v @ e.T).argmin(1),
        ),
        Slip("cosine", "that is the code with the nearest direction; lengths count too.", lambda v, e: (F.normalize(v) @ F.normalize(e).T).argmax(1)),
        Slip("absolute values", "that is the nearest by the sum of absolute differences; square them.", lambda v, e: (v[:, None] - e[None]).abs().sum(-1).argmin(1)),
        Slip("signed sum", "differences of both signs cancel in your sum: square them first.", lambda v, e: (v[:, None] - e[None]).sum(-1).argmin(1)),
    ]  # fmt: skip
    return compare("nearest_code", student, lambda vectors, codebook: right_nearest(vectors, codebook), cases, slips)


@check
def straight_through(student: Callable) -> Result:
    """Check ``straight_through(z, code)``: the value of ``code``, the gradient of ``z``, nothing for ``code``."""
    name = "straight_through"
    numbers = stream(1)
    cases = [tuple(torch.randn(4, 3, side, 2, generator=numbers) for _ in range(2)) for side in (2, 5)]
    slips = [
        Slip("value of z", "the value is that of z: the decoder would never see a code. z and code have changed places.", lambda z, c: c + (z - c).detach()),
        Slip("value of z", "the value is that of z: the decoder would never see a code.", lambda z, c: z),
        Slip("all detached", "the value is right, but nothing carries a gradient: what may be detached is less than all of it.", lambda z, c: c.detach()),
        Slip("all detached", "the value is right, but nothing carries a gradient: what may be detached is less than all of it.", lambda z, c: (z + (c - z)).detach()),
        Slip("no gradient to z", "the value is right, but no gradient arrives at z, so the encoder would not learn from the picture.", lambda z, c: c),
        Slip("no gradient to z", "the value is right, but no gradient arrives at z, so the encoder would not learn from the picture: it cancels, or goes to code.", lambda z, c: z + (c - z)),
        Slip("gradient to code", "the value is right, but gradient flows into code as well; it must stop there (the codebook follows by averages).", lambda z, c: z + c - z.detach()),
    ]  # fmt: skip
    return compare(name, student, lambda z, code: z + (code - z).detach(), cases, slips, gradient=ALL, tolerance=1e-5)


@check
def ema_update(student: Callable) -> Result:
    """Check ``ema_update(counts, sums, vectors, tokens, decay, eps) -> (codebook, counts, sums)``."""
    name = "ema_update"
    numbers = stream(2)
    book = torch.randn(4, 3, generator=numbers)
    vectors = torch.randn(12, 3, generator=numbers)
    tokens = torch.tensor([0, 0, 1, 1, 1, 1, 1, 3, 3, 0, 1, 1])  # code 2 is not chosen
    started = (torch.ones(4), book, vectors, tokens, 0.99, 1e-5)
    running = (torch.tensor([3.0, 0.2, 1.0, 7.0]), book * 3, vectors.flip(0), tokens, 0.8, 0.1)
    cases = [started, running]

    def step(
        n, s, v, t, d, e, *, keep=None, add=None, mean=False, smooth=True, raw=False, old=False, dead=False, of=None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """An update with one thing wrong: its weights, the batch's sum, the smoothing, or what is divided by what."""
        keep, add = d if keep is None else keep(d), 1 - d if add is None else add(d)
        used = torch.bincount(t, minlength=len(n)).to(n.dtype)
        total = torch.zeros_like(s).index_add_(0, t, v)
        if mean:
            total = total / used[:, None].clamp(min=1)
        counts, sums = keep * n + add * used, keep * s + add * total
        if dead:  # codes that were not chosen are left as they were
            counts, sums = torch.where(used > 0, counts, n), torch.where(used[:, None] > 0, sums, s)
        base = n if old else counts
        shares = (base + e) / (base.sum() + len(n) * e) * base.sum() if smooth else base
        shares = base + e if of == "plain" else shares
        codebook = total / used[:, None] if raw else sums / shares[:, None]
        return codebook, counts, sums

    slips = [
        Slip("decay turned round", "the old average keeps the share decay, the batch gets 1 − decay; yours are swapped.",
             lambda *a: step(*a, keep=lambda d: 1 - d, add=lambda d: d)),
        Slip("1 − decay missing", "the batch's counts and sums come with the factor 1 − decay.", lambda *a: step(*a, add=lambda d: 1.0)),
        Slip("decay missing", "the old counts and sums come with the factor decay.", lambda *a: step(*a, keep=lambda d: 1.0)),
        Slip("mean for sum", "sums averages the *sum* of the vectors a code was given; you took their mean, and divide by the count twice.",
             lambda *a: step(*a, mean=True)),
        Slip("batch only", "that is the mean of this batch alone, and it is 0/0 for a code nobody chose. Divide the moving sums by the moving counts.",
             lambda *a: step(*a, raw=True)),
        Slip("old counts", "the new sums are divided by the *new* counts; you used the old ones.", lambda *a: step(*a, old=True)),
        Slip("no smoothing", "without the smoothing a code that is never chosen ends as 0/0: (counts + eps) / (n + K·eps) · n.",
             lambda *a: step(*a, smooth=False)),
        Slip("smoothing not rescaled", "eps is added, but the counts then sum to more than n: (counts + eps) / (n + K·eps) · n.",
             lambda *a: step(*a, of="plain")),
        Slip("unused codes skipped", "a code that was not chosen must fade too: its counts and sums are multiplied by decay.",
             lambda *a: step(*a, dead=True)),
    ]  # fmt: skip

    def right(counts, sums, vectors, tokens, decay, eps) -> tuple:
        return right_ema(counts, sums, vectors, tokens, decay, eps)

    return compare(name, student, right, cases, slips, outputs=("the codebook", "the counts", "the sums"))


@check
def perplexity(student: Callable) -> Result:
    """Check ``perplexity(counts (n_batches, K)) -> scalar`` over all batches together."""
    uneven = torch.tensor([[8.0, 2.0, 0.0, 0.0], [0.0, 1.0, 9.0, 0.0]])  # code 3 is never used
    cases = [
        Case((uneven,), "a code is never used"),
        (torch.tensor([[5.0, 5.0, 5.0, 5.0]]),),
        (torch.tensor([[1.0, 30.0], [3.0, 2.0], [4.0, 0.0]]),),
    ]

    def entropy(counts: Tensor) -> Tensor:
        share = counts / counts.sum(-1, keepdim=True)
        return -torch.special.xlogy(share, share).sum(-1)

    def naive(counts: Tensor) -> Tensor:
        share = counts.sum(0) / counts.sum()
        return torch.exp(-(share * share.log()).sum())

    slips = [
        Slip("zero counts", "a code that is never used gives 0 · log 0 = NaN. Its limit is 0: torch.special.xlogy knows that.", naive),
        Slip("mean of batches", "that is the mean of the batches' perplexities. A batch uses fewer codes than an epoch: add up the counts first.",
             lambda c: entropy(c).exp().mean()),
        Slip("mean of batches", "you averaged the entropies of the batches; add up the counts first.", lambda c: entropy(c).mean().exp()),
        Slip("entropy", "that is the entropy in nats; its exponential counts codes.", lambda c: entropy(c.sum(0))),
        Slip("base 2", "that is the entropy in bits; the perplexity is exp of the entropy in nats (or 2 to the bits).",
             lambda c: entropy(c.sum(0)) / np.log(2)),
        Slip("mixed bases", "exp belongs to the natural logarithm; with log2 take 2 to the power.", lambda c: (entropy(c.sum(0)) / np.log(2)).exp()),
        Slip("sign", "the entropy is *minus* the sum of p log p; yours has the other sign.", lambda c: (-entropy(c.sum(0))).exp()),
        Slip("codes in use", "that counts the codes in use; one used once weighs as much as one used always.",
             lambda c: (c.sum(0) > 0).sum().float()),
    ]  # fmt: skip
    # An unused code makes only the first case NaN, so "zero counts" must be compared with equal_nan, as compare does.
    return compare("perplexity", student, lambda counts: right_perplexity(counts.sum(0)).float(), cases, slips)


@check
def gumbel_softmax(student: Callable) -> Result:
    """Check ``gumbel_softmax(logits (..., K), temperature, uniform (..., K)) -> (..., K)``."""
    numbers = stream(3)
    logits, uniform = torch.randn(5, 4, generator=numbers), torch.rand(5, 4, generator=numbers) * 0.98 + 0.01
    cases = [
        (logits, 0.5, uniform),
        (logits[:, None] * 2, 1.7, uniform[:, None]),
        far(logits * 100, 0.7, uniform, about="the logits are hundreds of nats apart"),
    ]

    def noise(u: Tensor) -> Tensor:
        return -torch.log(-torch.log(u))

    slips = [
        Slip("no noise", "that is the softmax itself: the Gumbel noise −log(−log u) is missing.", lambda a, t, u: (a / t).softmax(-1)),
        Slip("sign of the noise", "the noise has the wrong sign; Gumbel noise is −log(−log u).", lambda a, t, u: ((a - noise(u)) / t).softmax(-1)),
        Slip("one logarithm", "−log u is exponential, not Gumbel; take −log of it once more.", lambda a, t, u: ((a - u.log()) / t).softmax(-1)),
        Slip("uniform noise", "you added the uniform numbers themselves; turn them into Gumbel noise, −log(−log u).", lambda a, t, u: ((a + u) / t).softmax(-1)),
        Slip("noise not divided", "the temperature divides logits *and* noise: (logits + g) / τ.", lambda a, t, u: (a / t + noise(u)).softmax(-1)),
        Slip("logits not divided", "the temperature divides logits *and* noise: (logits + g) / τ.", lambda a, t, u: (a + noise(u) / t).softmax(-1)),
        Slip("temperature multiplied", "divide by the temperature: a small τ must sharpen.", lambda a, t, u: ((a + noise(u)) * t).softmax(-1)),
        Slip("no temperature", "the temperature is missing.", lambda a, t, u: (a + noise(u)).softmax(-1)),
        Slip("axis", "the softmax runs along the first axis; it belongs to the last, over the codes.", lambda a, t, u: ((a + noise(u)) / t).softmax(0)),
        Slip("hard", "that is a hard one-hot sample; the relaxed one is the softmax before the argmax.",
             lambda a, t, u: F.one_hot((a + noise(u)).argmax(-1), a.shape[-1]).float()),
        Slip("logarithm", "those are logarithms; return the weights, which sum to one.", lambda a, t, u: ((a + noise(u)) / t).log_softmax(-1)),
    ]  # fmt: skip
    return compare(
        "gumbel_softmax",
        student,
        lambda logits, temperature, uniform: right_gumbel(logits, temperature, uniform),
        cases,
        slips,
        gradient=("logits",),
    )


@check
def hungarian_accuracy(student: Callable) -> Result:
    """Check ``hungarian_accuracy(clusters (N,), labels (N,)) -> float``."""
    numbers = stream(4)
    # Clusters 0 and 1 both hold mostly class 0; greedy choices in the order of the clusters go wrong.
    table = torch.tensor([[9, 8, 0], [10, 0, 1], [1, 2, 5]])
    clusters, labels = (torch.arange(3).repeat_interleave(3).repeat_interleave(table.flatten()),
                        torch.arange(3).repeat(3).repeat_interleave(table.flatten()))  # fmt: skip
    more = (
        torch.randint(5, (60,), generator=numbers),
        torch.randint(3, (60,), generator=numbers),
    )  # more clusters than classes
    cases = [(clusters, labels), more, (more[1], more[0])]

    def counts(c: Tensor, y: Tensor) -> np.ndarray:
        return clustering.contingency(c, y)

    def greedy(c: Tensor, y: Tensor) -> float:
        table, right = counts(c, y).astype(float), 0.0
        for row in table:
            if (table >= 0).any() and row.max() >= 0:
                right += row[row.argmax()]
                table[:, row.argmax()] = -1
        return right / len(y)

    def worst(c: Tensor, y: Tensor) -> float:
        from scipy.optimize import linear_sum_assignment

        table = counts(c, y)
        return table[linear_sum_assignment(table)].sum() / len(y)

    def right(clusters: Tensor, labels: Tensor) -> float:
        return clustering.hungarian_accuracy(clusters, labels)

    slips = [
        Slip("minimum", "linear_sum_assignment looks for the *cheapest* matching; ask for maximize=True, or give it −counts.", worst),
        Slip("majority", "you let every cluster take its most frequent class, so two clusters may take the same one. That is the purity; the matching is one-to-one.",
             lambda c, y: counts(c, y).max(1).sum() / len(y)),
        Slip("majority", "you let every class take its largest cluster; the matching is one-to-one.", lambda c, y: counts(c, y).max(0).sum() / len(y)),
        Slip("equal numbers", "cluster 3 has nothing to do with class 3: the numbers are arbitrary, so match them first.",
             lambda c, y: (c == y).float().mean()),
        Slip("greedy", "you match one cluster after the other; the first takes a class that a later one needs more. Maximise the sum over all of them.", greedy),
        Slip("not divided", "that is the number of points that are right; divide by all points.", lambda c, y: right(c, y) * len(y)),
        Slip("per cent", "a share is wanted, between 0 and 1.", lambda c, y: right(c, y) * 100),
    ]  # fmt: skip
    return compare("hungarian_accuracy", student, right, cases, slips)


@check
def percentages(student: Callable) -> Result:
    """Check ``percentages(clusters (N,), labels (N,), n_clusters, n_classes) -> (n_clusters, n_classes)``."""
    numbers = stream(5)
    first = (torch.randint(3, (50,), generator=numbers), torch.randint(3, (50,), generator=numbers).square() // 2, 3, 3)
    empty = (
        torch.tensor([0, 0, 0, 2, 2, 3]),
        torch.tensor([0, 1, 0, 1, 1, 1]),
        4,
        3,
    )  # cluster 1 and class 2 are empty
    wide = (torch.randint(2, (30,), generator=numbers), torch.randint(5, (30,), generator=numbers), 4, 5)
    cases = [first, Case(empty, "a cluster is empty"), wide]

    def table(c: Tensor, y: Tensor, k: int, n: int) -> Tensor:
        return torch.from_numpy(clustering.contingency(c, y, k, n)).float()

    def right(clusters: Tensor, labels: Tensor, n_clusters: int, n_classes: int) -> Tensor:
        return torch.from_numpy(clustering.percentages(clusters, labels, n_clusters, n_classes)).float()

    slips = [
        Slip("columns", "your *columns* sum to 100: that is where each class went. Asked for is what each cluster is made of, so its row sums to 100.",
             lambda *a: table(*a) / table(*a).sum(0, keepdim=True).clamp(min=1) * 100),
        Slip("transposed", "rows are clusters and columns are classes; yours are turned round.", lambda *a: right(*a).T),
        Slip("whole table", "you divided by all points; each row has its own total.", lambda *a: table(*a) / len(a[0]) * 100),
        Slip("fractions", "your rows sum to 1; per cent are wanted.", lambda *a: right(*a) / 100),
        Slip("counts", "those are counts; divide each row by its sum.", table),
        Slip("empty cluster", "an empty cluster gives 0/0 = NaN; its row should be zero.", lambda *a: table(*a) / table(*a).sum(1, keepdim=True) * 100),
    ]  # fmt: skip
    return compare("percentages", student, right, cases, slips)
