"""The exercise checks of Part D, the classifier that is also a density."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..losses import joint_loss as _joint_loss
from .cases import Case, far, stream
from .compare import ALL, compare
from .core import Result, Slip, check


@check
def joint_energy(student: Callable) -> Result:
    """Check ``joint_energy(logits (B, K)) -> (B,)``: -logsumexp over the classes."""
    numbers = stream(0)
    small = torch.randn(6, 4, generator=numbers) * 2
    cases = [
        (small,),
        far(torch.randn(3, 10, generator=numbers) * 3 + 200, about="the logits are around 200"),
        far(torch.randn(5, 6, generator=numbers) * 300, about="the logits are hundreds of nats apart"),
    ]

    slips = [
        Slip("sign", "the sign is missing: likely pictures have large logits and must have low energy.", lambda f: f.logsumexp(1)),
        Slip("overflow", "right on small logits, but exp(f) overflows on large ones; let torch.logsumexp do it.", lambda f: -f.exp().sum(1).log()),
        Slip("dimension", "you summed over the pictures of the batch; sum over the classes, dim 1.", lambda f: -f.logsumexp(0)),
        Slip("maximum", "you took the largest logit alone; every class contributes. (The maximum is its limit for far apart logits.)", lambda f: -f.amax(1)),
        Slip("mean for sum", "you averaged over the classes, log of the mean; sum them. The two differ by log K.", lambda f: math.log(f.shape[1]) - f.logsumexp(1)),
        Slip("sum of logits", "you summed the logits themselves; exponentials are summed, Σ exp f(x)[y].", lambda f: -f.sum(1)),
        Slip("mean of logits", "you averaged the logits themselves; exponentials are summed, Σ exp f(x)[y].", lambda f: -f.mean(1)),
        Slip("softmax first", "these logits have been through log_softmax, after which their logsumexp is 0 for every picture: normalising throws p(x) away.", lambda f: -f.log_softmax(1).logsumexp(1)),
        Slip("confidence", "that is −log max p(y|x): the classifier's confidence, from which p(x) has cancelled.", lambda f: -f.log_softmax(1).amax(1)),
    ]  # fmt: skip
    return compare("joint_energy", student, lambda logits: -logits.logsumexp(1), cases, slips, gradient=ALL)


@check
def with_energies(student: Callable) -> Result:
    """Check ``with_energies(logits (B, K), energies (B,)) -> (B, K)``: log p(y|x) - E(x), the same answers with other energies."""
    numbers = stream(1)
    small = torch.randn(6, 4, generator=numbers) * 2
    square = torch.randn(5, 5, generator=numbers)
    cases = [
        (small, torch.randn(6, generator=numbers) * 3),
        (torch.randn(3, 10, generator=numbers) * 3 + 20, torch.tensor([5.0, 0.0, -40.0])),
        Case((square, torch.randn(5, generator=numbers) * 3), "there are as many pictures as classes"),
        far(
            # Some rows are beyond what exp can hold on either side, and the ends of each are further apart than that.
            square.double() * 100 + torch.linspace(-700, 700, 5) + torch.tensor([2000.0, -2000.0, 0, 0, 0])[:, None],
            torch.randn(5, generator=numbers).double() * 200,
            about="the logits are hundreds of nats apart",
        ),
    ]

    def lse(f: Tensor) -> Tensor:
        return f.logsumexp(1, keepdim=True)

    both = "the energies are the wanted ones, but p(y|x) is not the old one any more"
    slips = [
        Slip("old energy left in", "p(y|x) is right, but each picture's energy is the wanted one plus the one that it had before.", lambda f, e: f - e[:, None]),
        Slip("old energy left in", "p(y|x) is right, but each picture's energy is the old one minus the wanted one.", lambda f, e: f + e[:, None]),
        Slip("sign", "p(y|x) is right, and each picture's energy is minus the wanted one.", lambda f, e: f - lse(f) + e[:, None]),
        Slip("old energy twice", "p(y|x) is right, but each picture's energy still knows its old one, now twice.", lambda f, e: f + lse(f) - e[:, None]),
        Slip("no energy", "p(y|x) is right, and every picture has the energy 0: nothing of the wanted ones is in your logits.", lambda f, e: f.log_softmax(1)),
        Slip("maximum", "p(y|x) is right, but the energies are a little too low: your largest logit stands for all of them.", lambda f, e: f - f.amax(1, keepdim=True) - e[:, None]),
        Slip("mean of logits", "p(y|x) is right, but taking away the mean of the logits does not take away the old energy.", lambda f, e: f - f.mean(1, keepdim=True) - e[:, None]),
        Slip("mean for sum", "p(y|x) is right, but every energy is off by log K: the energy is that of a sum over the classes.", lambda f, e: f - lse(f) + math.log(f.shape[1]) - e[:, None]),
        Slip("probabilities", "your logits are probabilities minus energies; exp of a logit is what is proportional to p(y|x).", lambda f, e: f.softmax(1) - e[:, None]),
        Slip("not logits", "you return p(y|x) times exp(−E), which is exp of the logits that are wanted.", lambda f, e: f.softmax(1) * (-e[:, None]).exp()),
        Slip("scaled", f"{both}: you multiply the logits, which makes the classifier surer or less sure.", lambda f, e: f * (-e[:, None] / lse(f))),
        Slip("one class", f"{both}: only one logit of each picture has changed.", lambda f, e: torch.cat((f[:, :1] - lse(f) - e[:, None], f[:, 1:]), 1)),
        Slip("one energy for all", "every picture got the mean of the wanted energies; each has its own.", lambda f, e: f.log_softmax(1) - e.mean()),
        Slip("dimension", "you normalised over the pictures of the batch, not over the classes.", lambda f, e: f.log_softmax(0) - e[:, None]),
        Slip("overflow", "right on small logits; on logits that are far apart a probability becomes 0, and its logarithm infinite.", lambda f, e: f.softmax(1).log() - e[:, None]),
        Slip("overflow", "right on small logits, but exp(f) overflows on large ones.", lambda f, e: f - f.exp().sum(1, keepdim=True).log() - e[:, None]),
    ]  # fmt: skip

    def right(logits: Tensor, energies: Tensor) -> Tensor:
        return logits.log_softmax(1) - energies[:, None]

    return compare("with_energies", student, right, cases, slips)


@check
def joint_loss(student: Callable) -> Result:
    """Check ``joint_loss(logits_real (B, K), labels (B,), logits_fake (B', K), weight) -> scalar``."""
    numbers = stream(2)
    real, fake = torch.randn(8, 5, generator=numbers) * 2 + 1, torch.randn(6, 5, generator=numbers)
    labels = torch.randint(5, (8,), generator=numbers)
    cases = [
        (real, labels, fake, 1.0),
        (real, labels, fake, 0.3),
        (real, labels, fake, 0.0),
        far(real * 300, labels, fake * 300, 0.5, about="the logits are hundreds of nats apart"),
    ]

    def ce(r: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(r, y)

    def gap(r: Tensor, f: Tensor) -> Tensor:
        return f.logsumexp(1).mean() - r.logsumexp(1).mean()

    slips = [
        Slip("sign", "the contrast is turned round: training lowers the energy of data and raises that of samples.", lambda r, y, f, w: ce(r, y) - w * gap(r, f)),
        Slip("no cross-entropy", "the cross-entropy is missing: nothing tells the classes apart.", lambda r, y, f, w: w * gap(r, f)),
        Slip("no contrast", "only the cross-entropy is there; add weight times mean E(data) − mean E(samples).", lambda r, y, f, w: ce(r, y)),
        Slip("weight on the wrong term", "the weight belongs to the generative term, the cross-entropy has weight 1.", lambda r, y, f, w: w * ce(r, y) + gap(r, f)),
        Slip("weight on both", "the weight belongs to the generative term alone.", lambda r, y, f, w: w * (ce(r, y) + gap(r, f))),
        Slip("mixture", "you blend the two, (1 − λ) of one and λ of the other; the cross-entropy has weight 1.", lambda r, y, f, w: (1 - w) * ce(r, y) + w * gap(r, f)),
        Slip("no weight", "the weight is not used.", lambda r, y, f, w: ce(r, y) + gap(r, f)),
        Slip("sum for mean", "the energies are summed over the batch; average them, as cross_entropy does.", lambda r, y, f, w: ce(r, y) + w * (f.logsumexp(1).sum() - r.logsumexp(1).sum())),
        Slip("label's energy", "your data have the energy of their label, E(x, y). The cross-entropy already sees the label; here E(x) is wanted.", lambda r, y, f, w: ce(r, y) + w * (f.logsumexp(1).mean() - r.gather(1, y[:, None]).mean())),
        Slip("cross-entropy of samples", "the samples got a cross-entropy too; they have no labels.", lambda r, y, f, w: ce(r, y) + w * gap(r, f) + ce(f, f.argmax(1))),
    ]  # fmt: skip
    return compare(
        "joint_loss",
        student,
        lambda logits_real, labels, logits_fake, weight: _joint_loss(logits_real, labels, logits_fake, weight),
        cases,
        slips,
        gradient=ALL,
    )


@check
def gaussian_starts(student: Callable) -> Result:
    """Check ``gaussian_starts(images (N, D), labels (N,), wanted (B,), z (B, D), jitter) -> (B, D)``."""
    name = "gaussian_starts"
    numbers = stream(3)
    # Two classes with different means and strongly correlated coordinates, and far fewer images than a smooth average.
    mix = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.5, -0.6], [0.0, 0.0, 0.2]])
    images = torch.randn(14, 3, generator=numbers) @ mix
    labels = torch.tensor([0, 1] * 7)
    images[labels == 1] = images[labels == 1] * 2 + 3
    wanted, z = torch.tensor([1, 0, 0, 1, 1]), torch.randn(5, 3, generator=numbers)
    cases = [(images, labels, wanted, z, 1e-4), (images, labels, 1 - wanted, z, 0.5)]

    def draw(images, labels, wanted, z, jitter, *, mode="right", classes=True, ddof=1) -> Tensor:
        out = torch.empty_like(z)
        for b, label in enumerate(wanted.tolist()):
            own = images[labels == label] if classes else images
            mean, centred = own.mean(0), own - own.mean(0)
            cov = centred.T @ centred / (len(own) - ddof)
            eye = torch.eye(images.shape[1])
            if mode == "no jitter":
                jitter = 0.0
            if mode == "jitter on the factor":
                out[b] = mean + (torch.linalg.cholesky(cov) + jitter * eye) @ z[b]
                continue
            cov = cov + jitter * (torch.ones_like(cov) if mode == "jitter everywhere" else eye)
            factor = torch.linalg.cholesky(cov)
            if mode == "covariance":
                out[b] = mean + cov @ z[b]
            elif mode == "transposed":
                out[b] = mean + factor.T @ z[b]
            elif mode == "diagonal":
                out[b] = mean + cov.diagonal().sqrt() * z[b]
            elif mode == "no mean":
                out[b] = factor @ z[b]
            else:
                out[b] = mean + factor @ z[b]
        return out

    def slip(**how) -> Callable:
        return lambda *args: draw(*args, **how)

    slips = [
        Slip("covariance for its root", "you multiplied z by Σ. If L Lᵀ = Σ then L z has covariance Σ, while Σ z has Σ².", slip(mode="covariance")),
        Slip("transposed", "you multiplied by Lᵀ, so your draws have covariance LᵀL. For a row vector z that is z @ L.T, not z @ L.", slip(mode="transposed")),
        Slip("one Gaussian", "every class got the mean and covariance of all images: select the class's own first.", slip(classes=False)),
        Slip("variances only", "you used the variances alone, so the pixels of a draw do not know of each other: noise around a mean picture.", slip(mode="diagonal")),
        Slip("no mean", "the class's mean is missing.", slip(mode="no mean")),
        Slip("no jitter", "the jitter is missing. Here Σ happens to be regular; with pixels that are always black it is not.", slip(mode="no jitter")),
        Slip("jitter everywhere", "the jitter went into every entry of Σ; it belongs on the diagonal, jitter · I.", slip(mode="jitter everywhere")),
        Slip("jitter on the factor", "the jitter is added to Σ before the Cholesky factor is taken, not to the factor.", slip(mode="jitter on the factor")),
        Slip("divided by N", "your covariance is divided by N; torch.cov divides by N − 1.", slip(ddof=0)),
    ]  # fmt: skip

    def right(images, labels, wanted, z, jitter) -> Tensor:
        return draw(images, labels, wanted, z, jitter)

    return compare(name, student, right, cases, slips)


@check
def proximal_step(student: Callable) -> Result:
    """Check ``proximal_step(x, grad, step_size, max_step) -> x``: the minimiser in the box, clamp(x - clamp(η g, ±max_step))."""
    numbers = stream(4)
    x = torch.rand((4, 1, 5, 5), generator=numbers) * 2 - 1
    grad = torch.randn(x.shape, generator=numbers)
    colour = torch.rand((3, 2, 4, 3), generator=numbers) * 2 - 1
    rough = torch.randn(colour.shape, generator=numbers) * 1e4
    partly = grad * (torch.rand(grad.shape, generator=numbers) < 0.5)
    cases = [
        Case((x * 0.5, grad, 0.02, 5.0), "neither condition binds"),
        Case((x * 0.5, grad, 2.0, 0.3), "max_step binds"),
        Case((x, grad, 0.7, 0.6), "both conditions bind"),
        Case((colour, rough, 1.0, 0.1), "the energy is a cliff"),
        Case((colour, rough, 1e-5, 0.15), "the gradient is large and the step size small"),
        Case((x, grad, 3.0, 1.6), "a pixel may go nearly from one end of [−1, 1] to the other"),
        Case((x, partly, 0.5, 0.4), "some pixels have no gradient"),
    ]

    def step(x, g, eta, bound, *, sign=-1.0, limit="step", box=True) -> Tensor:
        if limit == "step":
            move = (eta * g).clamp(-bound, bound)
        elif limit == "gradient":
            move = eta * g.clamp(-bound, bound)
        elif limit == "norm":
            move = eta * g
            length = move.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            move = move * (bound / length).clamp(max=1)
        else:
            move = eta * g if limit == "none" else bound * g.sign()
        new = x + sign * move
        return new.clamp(-1, 1) if box else new

    slips = [
        Slip("sign", "the step climbs: your state has a higher value than x itself.", lambda *a: step(*a, sign=1.0)),
        Slip("gradient bounded", "some of your pixels move by more or by less than they may: it is the move that max_step bounds, not the gradient.", lambda *a: step(*a, limit="gradient")),
        Slip("no bound", "some of your pixels move further than max_step.", lambda *a: step(*a, limit="none")),
        Slip("box", "some of your pixels end outside [−1, 1].", lambda *a: step(*a, box=False)),
        Slip("norm", "you bounded the length of the whole step; each pixel has a bound of its own.", lambda *a: step(*a, limit="norm")),
        Slip("sign step", "every pixel moves by max_step, as if only the slope counted. The second term makes a long move dear: where the slope is gentle, a short one is better.", lambda *a: step(*a, limit="sign")),
        Slip("no box, no bound", "that is the plain gradient step, the minimiser without the two conditions.", lambda *a: step(*a, limit="none", box=False)),
        Slip("factor 2", "differentiate the square once more: your moves are half as long as they should be where nothing binds.", lambda x, g, eta, c: step(x, g, eta / 2, c)),
        Slip("factor 2", "differentiate the square once more: your moves are twice as long as they should be where nothing binds.", lambda x, g, eta, c: step(x, g, eta * 2, c)),
        Slip("step size turned round", "a large η lets the state move far; yours moves less the larger η is.", lambda x, g, eta, c: step(x, g, 1 / eta, c)),
        Slip("move without state", "you return the move; the new state is wanted.", lambda x, g, eta, c: (-eta * g).clamp(-c, c)),
    ]  # fmt: skip
    return compare(
        "proximal_step", student, lambda x, grad, step_size, max_step: step(x, grad, step_size, max_step), cases, slips
    )


@check
def one_step(student: Callable) -> Result:
    """Check ``one_step(x, weight, grad_out, step_size, n_inner, clip) -> x``: the inner loop as one step."""
    numbers = stream(5)
    weight = torch.randn((4, 6), generator=numbers)  # the affine layer h = x Wᵀ + b
    x = torch.rand((5, 6), generator=numbers) * 1.8 - 0.9
    grad_out = torch.randn((5, 4), generator=numbers)
    cases = [(x * 0.3, weight, grad_out * 0.1, 0.02, 5, 10.0), (x * 0.3, weight, grad_out, 0.03, 4, 1.0), (x, weight, grad_out, 0.2, 3, 1.0)]  # fmt: skip

    def loop(x, weight, grad_out, step_size, n_inner, clip) -> Tensor:
        """The published procedure, step by step, with autograd through the first layer."""
        for _ in range(n_inner):
            at = x.detach().requires_grad_()
            (g,) = torch.autograd.grad((grad_out * (at @ weight.T)).sum(), at)
            x = (at.detach() - step_size * g.clamp(-clip, clip)).clamp(-1, 1)
        return x

    def once(
        x, weight, grad_out, eta, n, clip, *, sign=-1.0, times=None, inside=False, clipped=True, box=True
    ) -> Tensor:
        g = grad_out @ weight
        if inside:
            return (x + sign * eta * (n * g).clamp(-clip, clip)).clamp(-1, 1)
        g = g.clamp(-clip, clip) if clipped else g
        new = x + sign * eta * (n if times is None else times(n)) * g
        return new.clamp(-1, 1) if box else new

    slips = [
        Slip("one inner step", "that is where the first inner step ends; the others go on from there.", lambda *a: once(*a, times=lambda n: 1)),
        Slip("sign", "your steps climb.", lambda *a: once(*a, sign=1.0)),
        Slip("clipped together", "you clip all inner steps together, so that they end too near; each of them clips its own gradient.", lambda *a: once(*a, inside=True)),
        Slip("no clip", "the clip of the gradient is missing.", lambda *a: once(*a, clipped=False)),
        Slip("no box", "some of your pixels end outside [−1, 1].", lambda *a: once(*a, box=False)),
        Slip("root", "√n_inner is for independent noises; these steps know of each other.", lambda *a: once(*a, times=math.sqrt)),
        Slip("one too many", "you count one step too many.", lambda *a: once(*a, times=lambda n: n + 1)),
    ]  # fmt: skip
    return compare("one_step", student, loop, cases, slips)


@check
def ece(student: Callable) -> Result:
    """Check ``ece(confidence (N,), correct (N,) bool, n_bins) -> scalar``, bins [low, high), the last one closed."""
    numbers = stream(6)
    # Overconfident below, underconfident above, so that signed differences cancel; some bins stay empty.
    confidence = torch.cat(
        (torch.rand(30, generator=numbers) * 0.25 + 0.35, torch.rand(50, generator=numbers) * 0.1 + 0.85)
    )
    correct = torch.cat((torch.rand(30, generator=numbers) < 0.2, torch.rand(50, generator=numbers) < 0.99))
    sure = torch.tensor([1.0, 1.0, 0.95, 0.95, 0.55])
    edge = torch.tensor([0.5, 0.5, 0.45, 0.55, 0.75])  # four bins: 0.5 is the third's, 0.75 the fourth's
    cases = [
        (confidence.double(), correct, 10),
        (sure.double(), torch.tensor([True, False, True, True, False]), 10),
        (edge.double(), torch.tensor([True, True, False, False, False]), 4),
    ]

    def value(c, ok, n, *, power=1, weighted=True, signed=False, occupied=True, closed=True) -> Tensor:
        ok = ok.double()
        place = (c * n).long()
        place = place.clamp(max=n - 1) if closed else place
        total, weights = c.new_zeros(()), 0.0
        for k in range(n):
            here = place == k
            if not here.any():
                weights += 0 if occupied else 1
                continue
            gap = ok[here].mean() - c[here].mean()
            gap = gap if signed else gap.abs() ** power
            w = here.double().mean() if weighted else 1.0
            total, weights = total + w * gap, weights + (0 if weighted else 1)
        return total if weighted else total / weights

    slips = [
        Slip("unweighted", "every bin counts the same in yours; weigh a bin by its share of the pictures.", lambda *a: value(*a, weighted=False)),
        Slip("unweighted", "you average over all bins, empty ones too; weigh a bin by its share of the pictures.", lambda *a: value(*a, weighted=False, occupied=False)),
        Slip("signed", "overconfident and underconfident bins cancel in yours: take the absolute value of each bin's difference.", lambda *a: value(*a, signed=True)),
        Slip("signed", "overconfident and underconfident bins cancel in yours (accuracy − confidence turned round): take absolute values.", lambda *a: -value(*a, signed=True)),
        Slip("signed", "that is |accuracy − mean confidence| of all pictures together, one bin: differences of opposite sign cancel.", lambda c, ok, n: (ok.double().mean() - c.mean()).abs()),
        Slip("squared", "the differences are squared; take absolute values.", lambda *a: value(*a, power=2)),
        Slip("no bins", "that is the mean of |correct − confidence| picture by picture, which even a perfectly calibrated classifier does not bring to 0: average inside each bin first.", lambda c, ok, n: (ok.double() - c).abs().mean()),
        Slip("bins closed above", "a confidence on an edge belongs to the bin above it, [low, high); yours puts it into the one below.",
             lambda c, ok, n: value((c - 1e-9).clamp(min=0), ok, n)),
        Slip("last bin open", "a confidence of exactly 1 falls out of your last bin; close it.", lambda *a: value(*a, closed=False)),
    ]  # fmt: skip

    def right(confidence, correct, n_bins) -> Tensor:
        return value(confidence, correct, n_bins)

    return compare("ece", student, right, cases, slips, tolerance=1e-6)
