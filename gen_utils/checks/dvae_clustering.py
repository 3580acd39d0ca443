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
def mended_codebook_step(student: Callable) -> Result:
    """Check ``mended_codebook_step(codebook, counts, sums, vectors, picks, decay, threshold)``: (codebook, counts, sums)."""
    numbers = stream(6)

    def case(counts: list[float], n_dims: int, n: int, decay: float, threshold: float) -> tuple:
        """The vectors lie around the first codes, and the last ones are chosen by none."""
        k = len(counts)
        book = torch.randn(k, n_dims, generator=numbers) * 0.3
        book[k // 2 :] += 9 + torch.arange(k - k // 2)[:, None]
        count = torch.tensor(counts)
        vectors = torch.randn(n, n_dims, generator=numbers) * 0.3
        return book, count, book * count[:, None], vectors, torch.randperm(n, generator=numbers)[:k], decay, threshold

    cases = [
        Case(case([3.0, 2.0, 4.0, 0.4, 1.5, 0.3], 3, 20, 0.9, 0.5), "two codes die"),
        Case(case([5.0, 6.0, 2.0, 3.0], 2, 30, 0.99, 0.5), "no code dies"),
        Case(
            case([1.0, 1.0, 0.6, 0.8, 1.0], 4, 12, 0.5, 0.5),
            "a count ends exactly at the threshold and others below it",
        ),
        Case(case([2.0, 2.0, 0.1, 0.1], 2, 15, 0.8, 0.0), "the threshold is 0, and no code is revived"),
    ]

    def step(
        e, n, s, v, p, d, threshold, *, moved=True, count="one", total="code", which="order", first=False, eps=1e-5
    ) -> tuple[Tensor, Tensor, Tensor]:
        dead = n < threshold if first else None
        e, n, s = right_ema(n, s, v, right_nearest(v, e), d, eps)
        dead = n < threshold if dead is None else dead
        if which == "all" and dead.any():
            dead = torch.ones_like(dead)
        if which == "not below":
            dead = n <= threshold
        rows = {"code": v[p][dead], "same": v[p[:1]].expand(int(dead.sum()), -1)}.get(which, v[p[: int(dead.sum())]])
        before = n[dead]
        if moved:
            e[dead] = rows
        if count == "one":
            n[dead] = 1.0
        s[dead] = {"kept": s[dead], "code": rows, "zero": 0 * rows, "count": rows * before[:, None]}[total]
        return e, n, s

    stays = (
        "it stands on a vector for one step, and the next ema_update puts it somewhere else, where hardly anybody is."
    )
    slips = [
        Slip("as given", f"follow a code that was just revived: {stays} That is still the given step.", lambda *a: step(*a, total="kept")),
        Slip("worse than given", "a revived code is now back where it died after the next ema_update, and dies again.", lambda *a: step(*a, count="kept", total="kept")),
        Slip("count forgotten", "after the next ema_update a revived code is now far beyond the vector it was put on.", lambda *a: step(*a, count="kept")),
        Slip("dies again", "a revived code now stays where it was put, but it is as dead as before: in the next step it is put elsewhere, and so on.", lambda *a: step(*a, count="kept", total="count")),
        Slip("sums of the old count", "after the next ema_update a revived code falls short of its vector: half of it is missing.", lambda *a: step(*a, total="count")),
        Slip("sums zero", "after the next ema_update every revived code is near the origin.", lambda *a: step(*a, total="zero")),
        Slip("codebook left", "the codes themselves do not move at once: in this step they are still where they died.", lambda *a: step(*a, moved=False)),
        Slip("no revival", "now no code is revived at all.", lambda *a: step(*a, moved=False, count="kept", total="kept")),
        Slip("all codes moved", "codes that are alive are put elsewhere, too.", lambda *a: step(*a, which="all")),
        Slip("one vector for all", "all dead codes are put on one and the same vector, where only one of them can be chosen.", lambda *a: step(*a, which="same")),
        Slip("picks by code", "the first dead code goes to the first of picks, the second to the second: you count the living ones in.", lambda *a: step(*a, which="code")),
        Slip("not below", "a code whose count is exactly the threshold is not dead yet.", lambda *a: step(*a, which="not below")),
        Slip("old counts", "you look at the counts before the step: a code that dies in this step stays dead until the next.", lambda *a: step(*a, first=True)),
    ]  # fmt: skip

    def right(codebook, counts, sums, vectors, picks, decay, threshold) -> tuple:
        return step(codebook, counts, sums, vectors, picks, decay, threshold)

    return compare(
        "mended_codebook_step",
        student,
        right,
        cases,
        slips,
        outputs=("the codebook", "the counts", "the sums"),
        right=f"right, in {len(cases)} cases: a revived code stays where it is put.",
    )


@check
def gumbel_draw(student: Callable) -> Result:
    """Check ``gumbel_draw(logits (..., K), temperature, uniform (..., K)) -> choices (...), weights (..., K)``."""
    numbers = stream(3)
    logits, uniform = torch.randn(5, 4, generator=numbers), torch.rand(5, 4, generator=numbers) * 0.98 + 0.01
    with_zeros = uniform.clone()
    with_zeros[0, 1], with_zeros[3] = 0.0, 0.0
    cases = [
        (logits, 0.5, uniform),
        (logits[:, None] * 2, 1.7, uniform[:, None]),
        far(logits * 100, 0.7, uniform, about="the logits are hundreds of nats apart"),
        Case(
            (logits.flip(0), 0.8, with_zeros),
            "some uniform numbers are exactly 0",
            "zero uniform",
            "the logarithm of 0 is infinite. Raise the uniform numbers to 1e-30 before you take it.",
        ),
    ]

    def noise(u: Tensor) -> Tensor:
        return -torch.log(-torch.log(u.clamp(min=1e-30)))

    def draw(a, t, u, *, g=noise, scale=lambda a, g, t: (a + g) / t, soft=lambda s: s.softmax(-1), pick=None) -> tuple:
        total = scale(a, g(u), t)
        return (total if pick is None else pick(a, g(u))).argmax(-1), soft(total)

    def slip(name: str, hint: str, **how) -> Slip:
        return Slip(name, hint, lambda *a: draw(*a, **how))

    both = "the temperature divides logits *and* noise: (logits + g) / τ."
    slips = [
        slip("no noise", "without the Gumbel noise −log(−log u), every choice is the likeliest, and the weights are the softmax itself.", g=torch.zeros_like),
        slip("choice without noise", "the weights are right, but your choice is always the likeliest code: nothing is drawn.", pick=lambda a, g: a),
        slip("choice of the noise", "the weights are right, but your choice does not know the logits.", pick=lambda a, g: g),
        slip("sign of the noise", "the noise has the wrong sign; Gumbel noise is −log(−log u).", g=lambda u: -noise(u)),
        slip("one logarithm", "−log u is exponential, not Gumbel; take −log of it once more.", g=lambda u: -u.clamp(min=1e-30).log()),
        slip("uniform noise", "you added the uniform numbers themselves; turn them into Gumbel noise, −log(−log u).", g=lambda u: u),
        slip("noise not divided", both, scale=lambda a, g, t: a / t + g, pick=torch.add),
        slip("noise not divided", f"{both} Your choice has other odds than the softmax, too.", scale=lambda a, g, t: a / t + g),
        slip("logits not divided", both, scale=lambda a, g, t: a + g / t, pick=torch.add),
        slip("logits not divided", f"{both} Your choice has other odds than the softmax, too.", scale=lambda a, g, t: a + g / t),
        slip("temperature multiplied", "divide by the temperature: a small τ must sharpen.", scale=lambda a, g, t: (a + g) * t),
        slip("no temperature", "the temperature is missing.", scale=lambda a, g, t: a + g),
        slip("axis", "the softmax runs along the first axis; it belongs to the last, over the codes.", soft=lambda s: s.softmax(0)),
        slip("hard", "your weights are the hard choice over again; the relaxed ones are the softmax before the argmax.", soft=lambda s: F.one_hot(s.argmax(-1), s.shape[-1]).float()),
        slip("logarithm", "those are logarithms; return the weights, which sum to one.", soft=lambda s: s.log_softmax(-1)),
    ]  # fmt: skip

    def right(logits: Tensor, temperature: float, uniform: Tensor) -> tuple[Tensor, Tensor]:
        return draw(logits, temperature, uniform)

    return compare(
        "gumbel_draw",
        student,
        right,
        cases,
        slips,
        outputs=("the choice", "the weights"),
        gradient=("logits",),
    )


@check
def choice_gradient(student: Callable) -> Result:
    """Check ``choice_gradient(logits (..., K), values (..., K)) -> (..., K)``: the gradient of Σ softmax(a)ₖ fₖ."""
    numbers = stream(7)
    wide = torch.randn(2, 3, 6, generator=numbers) * 2
    # In each row the second logit is near the first: one choice alone has no gradient, only what rounding leaves of it.
    apart = wide.flip(0) * 300 + 100
    second = apart.amax(-1, keepdim=True) - 0.3 - torch.rand(2, 3, 1, generator=numbers)
    apart = apart.scatter(-1, apart.argsort(-1)[..., -2:-1], second)
    cases = [
        (torch.randn(5, 4, generator=numbers), torch.randn(5, 4, generator=numbers)),
        (torch.randn(3, generator=numbers), torch.randn(3, generator=numbers).exp()),
        (wide, torch.randn(wide.shape, generator=numbers) * 3 + 1),
        far(apart, torch.randn(wide.shape, generator=numbers), about="the logits are hundreds of nats apart"),
    ]  # fmt: skip

    def mean(a: Tensor, f: Tensor) -> Tensor:
        return (a.softmax(-1) * f).sum(-1, keepdim=True)

    def right(logits: Tensor, values: Tensor) -> Tensor:
        return logits.softmax(-1) * (values - mean(logits, values))

    slips = [
        Slip("other probabilities forgotten", "your numbers do not sum to zero: adding the same to all logits changes nothing, so it must. A logit changes the other probabilities, too.", lambda a, f: a.softmax(-1) * f),
        Slip("other probabilities forgotten", "your numbers do not sum to zero: p(1 − p) is the derivative of a code's own probability; the others fall at the same time.", lambda a, f: a.softmax(-1) * (1 - a.softmax(-1)) * f),
        Slip("plain average", "your numbers do not sum to zero: the codes are not equally likely, so the average of the losses is not the plain one.", lambda a, f: a.softmax(-1) * (f - f.mean(-1, keepdim=True))),
        Slip("sign", "that is the direction in which the loss falls; the gradient points to where it rises.", lambda a, f: -right(a, f)),
        Slip("no probability", "a code that is never chosen cannot be pushed as much as one that always is.", lambda a, f: f - mean(a, f)),
        Slip("with respect to p", "that is the derivative with respect to the probabilities; go on to the logits.", lambda a, f: f),
        Slip("expected loss", "that is the expected loss itself; its gradient has a number for each logit.", lambda a, f: mean(a, f)[..., 0]),
        Slip("axis", "your softmax runs along the first axis; it belongs to the last, over the codes.", lambda a, f: a.softmax(0) * (f - (a.softmax(0) * f).sum(0))),
        Slip("logits for probabilities", "the logits are not the probabilities; the softmax is missing.", lambda a, f: a * (f - (a * f).sum(-1, keepdim=True))),
        Slip("overflow", "right on small logits, but exp(a) overflows on large ones: let torch.softmax do it.", lambda a, f: a.exp() / a.exp().sum(-1, keepdim=True) * (f - (a.exp() * f).sum(-1, keepdim=True) / a.exp().sum(-1, keepdim=True))),
    ]  # fmt: skip
    return compare("choice_gradient", student, right, cases, slips)


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
