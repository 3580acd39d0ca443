"""The exercise checks of Part C, conditional energies on small colour images."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .cases import Case, far, stream
from .compare import ALL, compare
from .core import Result, Slip, check


@check
def reach(student: Callable) -> Result:
    """Check ``reach(epsilons (T,), tau, grad_clip) -> (drift, noise)``: Σ ε²c/2τ and √(Σ ε²)."""
    numbers = stream(3)

    def case(n: int, tau: float, clip: float) -> tuple[Tensor, float, float]:
        return 0.2 + 1.5 * torch.rand(n, generator=numbers), tau, clip

    cases = [case(5, 0.7, 0.4), case(9, 2.5, 1.3), case(1, 0.3, 0.25), case(30, 1.7, 3.0)]

    def both(
        drift: Callable = lambda e, tau, c: e.square().sum() * c / (2 * tau), noise=lambda e: e.square().sum().sqrt()
    ):
        return lambda epsilons, tau, grad_clip: torch.stack((drift(epsilons, tau, grad_clip), noise(epsilons)))

    squares, added = (
        "ε enters the step squared.",
        "steps down the same slope add up; they do not lean on chance as the noise does.",
    )
    noise_slips = [
        ("deviations added", "you add standard deviations. Of independent noises the variances add; take one root at the end.", lambda e: e.sum()),
        ("no root", "that is the variance of the noise; the standard deviation is its root.", lambda e: e.square().sum()),
        ("one step's noise", "that is the noise of one step; all of them move the pixel.", lambda e: e[-1]),
        ("one step's noise", "that is the noise of one step; all of them move the pixel.", lambda e: e[0]),
        ("one step's noise", "that is the noise of an average step; all of them move the pixel.", lambda e: e.mean()),
        ("one ε for all", "you took one ε for all steps; each step has its own.", lambda e: e[0] * len(e) ** 0.5),
        ("factor 2", "the noise of one step is ε itself: its variance is ε², not 2ε².", lambda e: (2 * e.square().sum()).sqrt()),
    ]  # fmt: skip
    drift_slips = [
        ("factor 2", "the step is ε²/2τ: a factor ½ is missing.", lambda e, tau, c: e.square().sum() * c / tau),
        ("no τ", "the step of f is ε²/2τ; yours is that of E.", lambda e, tau, c: e.square().sum() * c / 2),
        ("τ multiplies", "τ is on the wrong side: the step of f is ε²/2τ.", lambda e, tau, c: e.square().sum() * c * tau / 2),
        ("no clamp", "that is the sum of the steps. How far is a step, at most, with the gradient in [−c, c]?", lambda e, tau, c: e.square().sum() / (2 * tau)),
        ("clamp divides", "the larger the gradient may be, the further it carries.", lambda e, tau, c: e.square().sum() / (2 * tau * c)),
        ("not squared", squares, lambda e, tau, c: e.sum() * c / (2 * tau)),
        ("sum squared", f"{squares} Square first, and then add.", lambda e, tau, c: e.sum().square() * c / (2 * tau)),
        ("drift like noise", added, lambda e, tau, c: e.square().square().sum().sqrt() * c / (2 * tau)),
        ("drift like noise", added, lambda e, tau, c: e.square().sum().sqrt() * c / (2 * tau)),
        ("one step's drift", "that is one step's drift, at most; a pixel may go the same way in all of them.", lambda e, tau, c: e[0].square() * c / (2 * tau)),
        ("one step's drift", "that is one step's drift, at most; a pixel may go the same way in all of them.", lambda e, tau, c: e[-1].square() * c / (2 * tau)),
        ("one step's drift", "that is an average step's drift; a pixel may go the same way in all of them.", lambda e, tau, c: e.square().mean() * c / (2 * tau)),
        ("one ε for all", "you took one ε for all steps; each step has its own.", lambda e, tau, c: len(e) * e[0].square() * c / (2 * tau)),
    ]  # fmt: skip
    right = both()

    def reference(epsilons, tau, grad_clip) -> Tensor:
        return right(epsilons, tau, grad_clip)

    slips = [
        Slip("order", "both are right, and in the wrong order: the drift comes first.", lambda *a: right(*a).flip(0))
    ]
    slips += [Slip(slip, f"noise: {hint}", both(noise=wrong)) for slip, hint, wrong in noise_slips]
    slips += [Slip(slip, f"drift: {hint}", both(wrong)) for slip, hint, wrong in drift_slips]
    return compare("reach", student, reference, cases, slips, outputs=("the drift", "the noise"))


@check
def endpoints(student: Callable) -> Result:
    """Check ``endpoints(first, last, n_steps, tau, grad_clip) -> (start, end)``: the ends of a geometric schedule of wanted reach."""
    numbers = stream(4)
    cases = [
        (0.2 + 2 * a, 0.1 + b, n, 0.1 + tau, 0.2 + 2 * c)
        for n, (a, b, tau, c) in zip((2, 5, 40, 9), torch.rand(4, 4, generator=numbers).tolist(), strict=True)
    ]
    cases += [Case((2.0, 2 / 255, 60, 1.25e-6, 0.03), "the settings are this chapter's"), (0.3, 0.3, 7, 0.5, 1.1)]

    def ends(
        first, last, n, tau, c, *, epsilon=lambda r, tau, c: math.sqrt(2 * tau * r / c), back=lambda q, n: q ** (1 / (n - 1)),
    ) -> Tensor:  # fmt: skip
        a, b = epsilon(first, tau, c), epsilon(last, tau, c)
        return torch.tensor([a * back(a / b, n), b], dtype=torch.float64)

    def of(**changes) -> Callable:
        return lambda *a: ends(*a, **changes)

    start = "your end is right. But ε_start is the value at t = 0, before the first step"
    step = "at both ends the wrong ε gives the wanted reach: solve ε²c/2τ = r for ε"
    slips = [
        Slip("order", "both are right, and in the wrong order: ε_start comes first.", lambda *a: ends(*a).flip(0)),
        Slip("starts at start", f"{start}: with yours, the first step falls short of what is wanted of it.", of(back=lambda q, n: 1.0)),
        Slip("one step too many", f"{start}, and between step 1 and step n_steps there are n_steps − 1 factors.", of(back=lambda q, n: q ** (1 / n))),
        Slip("one step too many", f"{start}, and between step 1 and step n_steps there are n_steps − 1 factors.", of(back=lambda q, n: q ** (1 / (n + 1)))),
        Slip("wrong way", f"{start}: going back from there to t = 0, the values change the other way.", of(back=lambda q, n: q ** (-1 / (n - 1)))),
        Slip("wrong way", f"{start}: going back from there to t = 0, the values change the other way.", of(back=lambda q, n: q ** (-1 / n))),
        Slip("linear", f"{start}, and the values lie on a line on a scale of logarithms only.", of(back=lambda q, n: 1 + (1 - 1 / q) / (n - 1))),
        Slip("no root", f"{step}.", of(epsilon=lambda r, tau, c: 2 * tau * r / c)),
        Slip("factor 2", f"{step}. A factor 2 is missing.", of(epsilon=lambda r, tau, c: math.sqrt(tau * r / c))),
        Slip("no clamp", f"{step}. The bound on the gradient plays a part.", of(epsilon=lambda r, tau, c: math.sqrt(2 * tau * r))),
        Slip("clamp multiplies", f"{step}. The larger the gradient may be, the smaller a step will do.", of(epsilon=lambda r, tau, c: math.sqrt(2 * tau * r * c))),
        Slip("no τ", f"{step}. τ plays a part.", of(epsilon=lambda r, tau, c: math.sqrt(2 * r / c))),
        Slip("τ divides", f"{step}: τ is on the wrong side.", of(epsilon=lambda r, tau, c: math.sqrt(2 * r / (tau * c)))),
        Slip("noise's reach", "you made the noise as large as what is wanted of the drift.", of(epsilon=lambda r, tau, c: r)),
    ]  # fmt: skip

    def reference(first, last, n_steps, tau, grad_clip) -> Tensor:
        return ends(first, last, n_steps, tau, grad_clip)

    return compare("endpoints", student, reference, cases, slips, outputs=("ε_start", "ε_end"))


@check
def label_energy(student: Callable) -> Result:
    """Check ``label_energy(outputs (B, K), labels (B,)) -> (B,)``: each row's entry at its own label."""
    numbers = stream(0)
    square = (torch.randn(5, 5, generator=numbers), torch.tensor([2, 0, 4, 4, 1]))
    cases = [
        (torch.randn(7, 4, generator=numbers), torch.tensor([3, 0, 2, 2, 1, 3, 0])),
        (torch.randn(3, 10, generator=numbers) * 5, torch.tensor([9, 1, 4])),
        (torch.randn(1, 4, generator=numbers), torch.tensor([2])),
    ]

    def own(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.gather(1, labels[:, None]).squeeze(1)

    changed = "the outputs are energies already, unnormalised: no softmax, no logarithm, only the entry of the label."
    normal = "that is −log p(y | x), which is normalised over the labels; the energy is the bare entry."
    summed = "that is the energy of the image whatever its label (up to a sign); here the label is given."
    slips = [
        Slip("rows", "outputs[labels] takes whole rows, those of other images; keep row b and choose the column.", lambda o, y: o[y]),
        Slip(
            "columns",
            "outputs[:, labels] takes every label's column for every image, a (B, B) table. "
            "Pair row b with label b: index both dimensions.",
            lambda o, y: o[:, y],
        ),
        Slip("trailing dimension", "the values are right, but in shape (B, 1): drop the last dimension with squeeze(1).", lambda o, y: own(o, y)[:, None]),
        Slip("wrong dimension", "gather along dimension 1, the labels'; along 0 it walks over the images.", lambda o, y: o.gather(0, y[:, None]).squeeze(1)),
        Slip("transposed", "rows and columns are swapped: the first index is the image, the second the label (gather: dimension 1).", lambda o, y: o[y, torch.arange(len(y))]),
        Slip("diagonal", "the diagonal takes label b for image b; use the labels.", lambda o, y: o.diagonal()),
        Slip("first label", "you took the same column for every image; use the labels.", lambda o, y: o[:, 0]),
        Slip("sign", "the outputs are energies: no minus.", lambda o, y: -own(o, y)),
        Slip("softmax", changed, lambda o, y: own(o.softmax(1), y)),
        Slip("softmax", changed, lambda o, y: own((-o).softmax(1), y)),
        Slip("softmax", changed, lambda o, y: own(o.log_softmax(1), y)),
        Slip("softmax", normal, lambda o, y: -own(o.log_softmax(1), y)),
        Slip("softmax", normal, lambda o, y: -own((-o).log_softmax(1), y)),
        Slip("marginal", summed, lambda o, y: -torch.logsumexp(-o, 1)),
        Slip("marginal", summed, lambda o, y: torch.logsumexp(o, 1)),
        Slip("marginal", summed, lambda o, y: -torch.logsumexp(o, 1)),
        Slip("lowest", "that is the energy of the most likely label; take the given one's.", lambda o, y: o.amin(1)),
        Slip("lowest", "that is each image's highest output; take the given label's.", lambda o, y: o.amax(1)),
        Slip("summed", "you reduced the batch to one number; one energy an image is wanted.", lambda o, y: own(o, y).sum()),
        Slip("summed", "you reduced the batch to one number; one energy an image is wanted.", lambda o, y: own(o, y).mean()),
    ]  # fmt: skip
    return compare("label_energy", student, own, [square, *cases], slips, gradient=ALL)


@check
def mended_round(student: Callable) -> Result:
    """Check ``mended_round(walk, buffer (K, M, ...), labels, index, fresh (B,), noise (B, ...), order)``: a round, the bug found.

    Three things are wanted: the negatives and their labels, both shuffled, and the new buffer, in which each negative is
    where its start came from.
    """
    numbers = stream(1)

    def case(n_classes: int, n_places: int, n: int, shape: tuple[int, ...], share: float) -> tuple:
        place = torch.randperm(n_classes * n_places, generator=numbers)[:n]
        buffer = torch.randn((n_classes, n_places, *shape), generator=numbers)
        noise = torch.rand((n, *shape), generator=numbers) * 2 - 1
        fresh = torch.rand(n, generator=numbers) < share
        return _walk, buffer, place // n_places, place % n_places, fresh, noise, _tangled(n, numbers)

    cases = [case(5, 5, 9, (1, 2, 3), 0.3), case(3, 7, 12, (2, 2, 2), 0.5), case(10, 2, 7, (1, 4, 1), 0.0), case(4, 3, 5, (3, 1, 2), 1.0)]  # fmt: skip
    given = "the chains of a round have the right label, but in the buffer some get another one: a three is kept among the sevens, and the next round hands it out as a seven."
    slips = [
        Slip("as given", f"that is still the given round: {given}", lambda *a: _round(*a, back=lambda y, i, o: (y, i))),
        Slip(
            "place of another",
            "every chain is kept in its own class now, but not where its start came from: some chains are lost, and "
            "others are in the buffer twice, as they were and as they are.",
            lambda *a: _round(*a, back=lambda y, i, o: (y[o], i)),
        ),
        Slip("class of another", f"the places are shuffled now, the classes are not: {given}", lambda *a: _round(*a, back=lambda y, i, o: (y, i[o]))),
        Slip("shuffled twice", f"the labels are shuffled once too often: {given}", lambda *a: _round(*a, back=lambda y, i, o: (y[o][o], i[o][o]))),
        Slip("wrong way back", f"you shuffle back in the wrong direction: {given}", lambda *a: _round(*a, back=lambda y, i, o: (y[o.argsort()], i[o.argsort()]))),
        Slip("walks under another label", "now the chains walk under labels that are not theirs: images and labels come apart before the walk.", lambda *a: _round(*a, asked=lambda y, o: y, back=lambda y, i, o: (y, i))),
        Slip("walks under another label", "now the chains walk under labels that are not theirs: images and labels come apart before the walk.", lambda *a: _round(*a, asked=lambda y, o: y)),
        Slip("not shuffled", "your negatives come out in the order of the labels; they should be shuffled by order, and their labels with them.", lambda *a: _round(*a[:-1], torch.arange(len(a[2])))),
        Slip("starts kept", "the buffer keeps the starts; it should keep what the walk made of them.", lambda *a: _round(*a, keep="starts")),
        Slip("fresh ones lost", "chains that began as noise are not kept; they are in the buffer like the others, or nothing new ever enters it.", lambda *a: _round(*a, keep="old")),
        Slip("nothing kept", "the buffer is as before: the finished chains are not kept.", lambda *a: _round(*a, keep="nothing")),
        Slip("never fresh", "where fresh is true, a chain should start from its noise.", lambda walk, b, y, i, f, z, o: _round(walk, b, y, i, torch.zeros_like(f), z, o)),
        Slip("fresh turned round", "fresh is turned round: where it is true, the chain starts from its noise.", lambda walk, b, y, i, f, z, o: _round(walk, b, y, i, ~f, z, o)),
    ]  # fmt: skip

    def reference(walk, buffer, labels, index, fresh, noise, order) -> tuple:
        return _round(walk, buffer, labels, index, fresh, noise, order)

    outputs = ("the negatives", "their labels", "the new buffer")
    return compare("mended_round", student, reference, cases, slips, outputs=outputs)


def _walk(x: Tensor, labels: Tensor) -> Tensor:
    """What stands for a chain: it depends on the image and on its label."""
    return 0.5 * x + 0.25 * (labels.reshape(-1, *[1] * (x.ndim - 1)) + 1)


def _tangled(n: int, numbers: torch.Generator) -> Tensor:
    """A permutation that moves every place, and that is not undone by doing it again."""
    ring = torch.randperm(n, generator=numbers)
    order = torch.empty_like(ring)
    order[ring] = ring.roll(1)
    return order


def _round(
    walk: Callable, buffer: Tensor, labels: Tensor, index: Tensor, fresh: Tensor, noise: Tensor, order: Tensor, *,
    asked: Callable = lambda y, o: y[o], back: Callable = lambda y, i, o: (y[o], i[o]), keep: str = "walked",
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """One round; ``asked`` are the labels of the walk, ``back`` where a walked chain is kept."""
    starts = torch.where(fresh.reshape(-1, *[1] * (noise.ndim - 1)), noise, buffer[labels, index])[order]
    under = asked(labels, order)
    fake = walk(starts, under)
    new, (k, m) = buffer.clone(), back(labels, index, order)
    if keep == "walked":
        new[k, m] = fake
    elif keep == "starts":
        new[k, m] = starts
    elif keep == "old":
        old = ~fresh[order]
        new[k[old], m[old]] = fake[old]
    return fake, under, new


@check
def label_log_posterior(student: Callable) -> Result:
    """Check ``label_log_posterior(class_energies (B, K), counts (K,)) -> (B, K)``: log p(y | x) under a prior by counts."""
    numbers = stream(2)

    def case(n: int, k: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        counts = torch.randint(1, 400, (k,), generator=numbers)
        counts[0] += 400  # never all alike
        return torch.randn((n, k), generator=numbers) * scale + 0.25, counts

    cases = [case(5, 5), case(7, 4), case(1, 10), case(3, 2), far(*case(6, 6, 500.0))]

    def posterior(e: Tensor, n: Tensor, *, prior=torch.log, sign=-1.0, dim=1) -> Tensor:
        return (sign * e + prior(n.double())).log_softmax(dim)

    def right(class_energies: Tensor, counts: Tensor) -> Tensor:
        return posterior(class_energies, counts)

    def naive(e: Tensor, n: Tensor) -> Tensor:
        weight = n * torch.exp(-e)
        return torch.log(weight / weight.sum(1, keepdim=True))

    outside = "the prior must stand in the sum below the fraction as well: your probabilities do not sum to one."
    slips = [
        Slip("sign", "the sign is turned round: a low energy makes a label likely.", lambda e, n: posterior(e, n, sign=1.0)),
        Slip("no prior", "the counts play no part: a frequent label should gain, a rare one lose.", lambda e, n: posterior(e, n, prior=torch.zeros_like)),
        Slip("prior divides", "the prior is turned round: a frequent label should gain, a rare one lose.", lambda e, n: posterior(e, n, prior=lambda n: -n.log())),
        Slip("no logarithm of the counts", "you add the counts themselves: what multiplies a probability adds its logarithm.", lambda e, n: posterior(e, n, prior=lambda n: n)),
        Slip("no logarithm of the counts", "you add the shares themselves: what multiplies a probability adds its logarithm.", lambda e, n: posterior(e, n, prior=lambda n: n / n.sum())),
        Slip("energies weighed", "you multiply the energies by the prior; it multiplies exp(−E).", lambda e, n: (-e * n / n.sum()).log_softmax(1)),
        Slip("energies weighed", "you multiply the energies by the prior; it multiplies exp(−E).", lambda e, n: (-e * n).log_softmax(1)),
        Slip("probabilities", "those are the probabilities; their logarithms are wanted.", lambda e, n: posterior(e, n).exp()),
        Slip("minus the logarithm", "those are minus the logarithms: a probability below one has a negative one.", lambda e, n: -posterior(e, n)),
        Slip("another base", "the natural logarithm is wanted.", lambda e, n: posterior(e, n) / math.log(2)),
        Slip("wrong dimension", "your probabilities sum to one over the images; they should over the labels, dimension 1.", lambda e, n: posterior(e, n, dim=0)),
        Slip("prior outside", outside, lambda e, n: (-e).log_softmax(1) + (n / n.sum()).log()),
        Slip("prior outside", outside, lambda e, n: (-e).log_softmax(1) + n.log()),
        Slip("not normalised", "the sum over all labels is missing below the fraction.", lambda e, n: -e + n.log()),
        Slip("not normalised", "the sum over all labels is missing below the fraction.", lambda e, n: -e + (n / n.sum()).log()),
        Slip("labels returned", "that is the most likely label; the logarithms of all probabilities are wanted.", lambda e, n: posterior(e, n).argmax(1)),
        Slip("overflow", "right where the energies are small; where they are hundreds of nats apart, exp(−E) overflows. Stay with logarithms.", naive),
    ]  # fmt: skip
    return compare("label_log_posterior", student, right, cases, slips)
