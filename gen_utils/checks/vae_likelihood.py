"""The exercise checks of Part G, variational auto-encoders and their likelihoods."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .cases import far, stream
from .compare import ALL, compare
from .core import Result, Slip, check


@check
def gaussian_kl(student: Callable) -> Result:
    """Check ``gaussian_kl(mean, log_variance) -> (B,)``: KL(N(μ, diag e^l) ‖ N(0, I))."""
    numbers = stream(0)
    cases = [(torch.randn(n, d, generator=numbers), torch.randn(n, d, generator=numbers)) for n, d in ((4, 3), (2, 7))]
    cases.append((cases[0][0] * 20, cases[0][1] * 6))  # a code far from the prior, in all orders of size

    def terms(m: Tensor, lv: Tensor, *, square=1.0, variance=1.0, log=-1.0, one=-1.0, scale=0.5) -> Tensor:
        return scale * (square * m.square() + variance * lv.exp() + log * lv + one)

    def right(mean: Tensor, log_variance: Tensor) -> Tensor:
        return terms(mean, log_variance).sum(1)

    def reverse(m: Tensor, lv: Tensor) -> Tensor:
        return 0.5 * ((1 + m.square()) * torch.exp(-lv) + lv - 1).sum(1)

    slips = [
        Slip("sign", "the sign is turned round: a KL divergence is never negative.", lambda m, lv: -right(m, lv)),
        Slip("factor 2", "the factor ½ is missing.", lambda m, lv: terms(m, lv, scale=1.0).sum(1)),
        Slip(
            "mean for sum",
            "the divergence of independent dimensions is the sum of theirs, not the mean. A mean weighs the KL less "
            "the larger the latent space is.",
            lambda m, lv: terms(m, lv).mean(1),
        ),
        Slip("no one", "the −1 is missing: at μ = 0, σ = 1 the divergence is zero.", lambda m, lv: terms(m, lv, one=0.0).sum(1)),
        Slip("log sign", "log σ² enters with a minus.", lambda m, lv: terms(m, lv, log=1.0).sum(1)),
        Slip(
            "standard deviation for variance",
            "log_variance is log σ²; you took it for log σ.",
            lambda m, lv: right(m, 2 * lv),
        ),
        Slip(
            "half the logarithm",
            "log_variance is log σ² already; you halved it, in the exponential and in the logarithm.",
            lambda m, lv: right(m, 0.5 * lv),
        ),
        Slip("mean not squared", "the mean enters squared.", lambda m, lv: 0.5 * (m + lv.exp() - lv - 1).sum(1)),
        Slip("no mean", "the mean is missing: a posterior away from zero costs ½ μ².", lambda m, lv: terms(m, lv, square=0.0).sum(1)),
        Slip("the other KL", "that is KL(N(0, I) ‖ q), the other way round.", reverse),
    ]  # fmt: skip
    return compare("gaussian_kl", student, right, cases, slips, gradient=ALL)


@check
def reparameterise(student: Callable) -> Result:
    """Check ``reparameterise(mean, log_variance, noise) -> z (B, d)``."""
    name = "reparameterise"
    numbers = stream(1)
    cases = [tuple(torch.randn(n, d, generator=numbers) for _ in range(3)) for n, d in ((4, 3), (2, 5))]

    def right(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
        return mean + torch.exp(0.5 * log_variance) * noise

    slips = [
        Slip("variance for scale", "exp(log_variance) is the variance; the noise is scaled by its square root.",
             lambda m, lv, e: m + lv.exp() * e),
        Slip("logarithm for scale", "log_variance is a logarithm: undo it, and mind whose logarithm it is.", lambda m, lv, e: m + lv * e),
        Slip("no half", "½ log σ² is log σ; you multiplied by σ's logarithm itself.", lambda m, lv, e: m + 0.5 * lv * e),
        Slip("square for root", "exp(2 · log σ²) is σ⁴; σ is wanted.", lambda m, lv, e: m + (2 * lv).exp() * e),
        Slip("no mean", "the mean is missing.", lambda m, lv, e: torch.exp(0.5 * lv) * e),
        Slip("mean scaled", "only the noise is scaled, not the mean.", lambda m, lv, e: (m + e) * torch.exp(0.5 * lv)),
        Slip("no noise", "the noise is missing: that is the posterior's mean.", lambda m, lv, e: m),
        Slip("not scaled", "the noise is not scaled by σ.", lambda m, lv, e: m + e),
    ]  # fmt: skip
    return compare(name, student, right, cases, slips, gradient=("mean", "log_variance"))


@check
def implied_sigma(student: Callable) -> Result:
    """Check ``implied_sigma(beta, n_dims) -> σ``: √(β D / 2)."""
    cases = [(0.25, 12_288), (0.0025, 3_072), (1.0, 50)]

    def right(beta: float, n_dims: int) -> float:
        return math.sqrt(beta * n_dims / 2)

    slips = [
        Slip("variance for scale", "that is σ²; return its root.", lambda b, n: b * n / 2),
        Slip("factor 2", "the ½ of the Gaussian's exponent is missing.", lambda b, n: math.sqrt(b * n)),
        Slip("factor 4", "you multiplied by the 2 of the Gaussian's exponent; solving for σ divides by it.",
             lambda b, n: math.sqrt(2 * b * n)),
        Slip("sum for mean", "that is right for a loss with the *sum* of squares. Here it is the mean, so D comes in.", lambda b, n: math.sqrt(b / 2)),
        Slip("dimensions turned round", "D multiplies: a mean over more pixels makes the KL weigh more.", lambda b, n: math.sqrt(b / (2 * n))),
        Slip("β turned round", "a larger β is a larger σ: the model cares less for each pixel.", lambda b, n: math.sqrt(n / (2 * b))),
    ]  # fmt: skip
    return compare("implied_sigma", student, right, cases, slips)


@check
def iwae_bound(student: Callable) -> Result:
    """Check ``iwae_bound(log_joint, log_q) -> (B,)`` for (K, B) logarithms."""
    numbers = stream(2)
    joint, q = 2 * torch.randn(5, 3, generator=numbers), torch.randn(5, 3, generator=numbers)
    cases = [(joint, q), *_far_logarithms(joint, q, numbers)]

    def right(log_joint: Tensor, log_q: Tensor) -> Tensor:
        return torch.logsumexp(log_joint - log_q, 0) - math.log(len(log_q))

    slips = [
        Slip("no log K", "subtract log K: the bound averages the K weights, it does not add them up. Without it the "
             "“bound” grows with K for any model.", lambda p, q: torch.logsumexp(p - q, 0)),
        Slip("log K turned round", "log K is subtracted, not added.", lambda p, q: torch.logsumexp(p - q, 0) + math.log(len(q))),
        Slip("mean of logs", "that is the ELBO: the mean of the logarithms. The bound is the logarithm of the mean, "
             "which is never below it (Jensen).", lambda p, q: (p - q).mean(0)),
        Slip("no log q", "the weights are p(x, z)/q(z|x); log q is missing.", lambda p, q: torch.logsumexp(p, 0) - math.log(len(q))),
        Slip("log q added", "log q is subtracted: the weights are p(x, z)/q(z|x).", lambda p, q: right(p, -q)),
        Slip("ratio turned round", "the ratio is upside down: p(x, z) over q(z|x).", lambda p, q: right(q, p)),
        Slip("wrong axis", "average over the K draws (axis 0), not over the images.", _over_images),
        Slip("overflow", "right for small numbers, but exp() of −900 is zero and of +300 too large for a float. Use "
             "torch.logsumexp.", lambda p, q: (p - q).exp().mean(0).log()),
        Slip("largest only", "that is the largest weight alone.", lambda p, q: (p - q).amax(0)),
        Slip("exponentiated", "return the logarithm.", lambda p, q: right(p, q).exp()),
        Slip("sign", "the sign is turned round: return log p̂, not the loss.", lambda p, q: -right(p, q)),
    ]  # fmt: skip
    return compare("iwae_bound", student, right, cases, slips)


def _far_logarithms(joint: Tensor, q: Tensor, numbers: torch.Generator) -> list:
    return [
        far(joint[:3] - 900, q[:3], about="log p(x, z) is around −900"),
        far(joint[1:] + 300, q[1:], about="log p(x, z) is around 300"),
        far(
            torch.randn(joint.shape, generator=numbers) * 400,
            q,
            about="the draws of one image are hundreds of nats apart",
        ),
    ]


def _over_images(p: Tensor, q: Tensor) -> Tensor:
    return torch.logsumexp(p - q, 1) - math.log(q.shape[1])


def _draws_with_gradients(numbers: torch.Generator) -> list:
    """Cases (log weights (K, B), a gradient for each (K, B, P)), some of them out of exp's reach."""
    logs, grads = 2 * torch.randn(5, 3, generator=numbers), torch.randn(5, 3, 2, generator=numbers)
    return [
        (logs, grads),
        (torch.randn(2, 4, generator=numbers), 3 * torch.randn(2, 4, 5, generator=numbers)),
        far(logs[:3] - 900, grads[:3], about="the log weights are around −900"),
        far(logs[1:] + 300, grads[1:], about="the log weights are around 300"),
        far(400 * torch.randn(5, 3, generator=numbers), grads, about="the draws of one image are hundreds of nats apart"),
        far(logs - torch.tensor([0.0, 700.0, 300.0]), grads, about="the images are hundreds of nats apart"),
    ]  # fmt: skip


def _total(shares: Tensor, gradients: Tensor) -> Tensor:
    """Σ over the draws: (K, B), (K, B, P) -> (B, P)."""
    return (shares[:, :, None] * gradients).sum(0)


@check
def bound_gradient(student: Callable) -> Result:
    """Check ``bound_gradient(log_weights (K, B), gradients (K, B, P)) -> (B, P)``: Σ softmax(log w) ∇ log w."""
    cases = _draws_with_gradients(stream(4))

    def right(log_weights: Tensor, gradients: Tensor) -> Tensor:
        return _total(torch.softmax(log_weights, 0), gradients)

    slips = [
        Slip("mean of gradients", "every draw counts the same in yours: that is the gradient of the mean of the logarithms, the ELBO.", lambda w, g: g.mean(0)),
        Slip("sum of gradients", "every draw counts fully in yours; in a mean of K weights each has a share, and the shares add up to one.", lambda w, g: g.sum(0)),
        Slip("not a logarithm's", "that is the gradient of the mean weight itself. The logarithm's derivative divides by that mean.", lambda w, g: (w.exp()[:, :, None] * g).mean(0)),
        Slip("not a logarithm's", "that is the gradient of the sum of the weights. The logarithm's derivative divides by that sum.", lambda w, g: _total(w.exp(), g)),
        Slip("divided by K", "the K of the mean stands in the numerator and in the denominator and cancels; in yours one is left.", lambda w, g: right(w, g) / len(w)),
        Slip("multiplied by K", "the K of the mean stands in the numerator and in the denominator and cancels; in yours one is left.", lambda w, g: right(w, g) * len(w)),
        Slip("logarithms for weights", "you weigh the gradients by log w; ∇w is w ∇ log w.", lambda w, g: _total(w, g)),
        Slip("wrong axis", "the shares are those of the K draws of one image (axis 0), not those of the images.", lambda w, g: _total(torch.softmax(w, 1), g)),
        Slip("wrong axis", "each image has its own sum of weights; you divide by that of all.", lambda w, g: _total(torch.softmax(w.flatten(), 0).reshape(w.shape), g)),
        Slip("largest only", "only the draw of the largest weight counts in yours; the others have shares, too.", lambda w, g: torch.gather(g, 0, w.argmax(0)[None, :, None].expand(1, -1, g.shape[2]))[0]),
        Slip("shares squared", "the shares come in squared.", lambda w, g: _total(torch.softmax(w, 0).square(), g)),
        Slip("weights turned round", "the draws of small weight count most in yours.", lambda w, g: right(-w, g)),
        Slip("sign", "the sign is turned round: the bound's gradient is wanted, not the loss's.", lambda w, g: -right(w, g)),
        Slip("overflow", "right for small numbers, but exp() of −900 is zero and of +300 too large for a float. Divide before you exponentiate, or let a function do both.", lambda w, g: _total(w.exp() / w.exp().sum(0), g)),
        Slip("overflow", "right where the images are alike. You take out the largest logarithm of all images; far below it, all weights of an image are zero.",
             lambda w, g: _total((w - w.max()).exp() / (w - w.max()).exp().sum(0), g)),
    ]  # fmt: skip
    return compare("bound_gradient", student, right, cases, slips)


@check
def double_gradient(student: Callable) -> Result:
    """Check ``double_gradient(log_weights (K, B), path_gradients (K, B, P)) -> (B, P)``: Σ softmax(log w)² · gradient."""
    cases = _draws_with_gradients(stream(6))

    def shares(log_weights: Tensor, dim: int = 0) -> Tensor:
        return torch.softmax(log_weights, dim)

    def right(log_weights: Tensor, path_gradients: Tensor) -> Tensor:
        return _total(shares(log_weights).square(), path_gradients)

    slips = [
        Slip("shares not squared", "the shares come in squared. Once only is right for one draw; for more it estimates something else than the bound's gradient.", lambda w, g: _total(shares(w), g)),
        Slip("squares made to add up to one", "you divide by the sum of the squares, as if they were shares again. They add up to less than one, and that is meant.", lambda w, g: _total(shares(2 * w), g)),
        Slip("weights squared, not shares", "first the shares, then the square: the sum of the weights is squared, too.", lambda w, g: _total(w.exp().square(), g) / w.exp().sum(0)[:, None]),
        Slip("gradients squared", "square the share alone, not its product with the gradient.", lambda w, g: _total(shares(w), g).square()),
        Slip("gradients squared", "square the share alone, not its product with the gradient.", lambda w, g: (shares(w)[:, :, None] * g).square().sum(0)),
        Slip("mean for sum", "add over the draws; the shares know of K already.", lambda w, g: right(w, g) / len(w)),
        Slip("equal shares", "every draw counts the same in yours.", lambda w, g: g.sum(0) / len(w) ** 2),
        Slip("equal shares", "every draw counts the same in yours.", lambda w, g: g.mean(0)),
        Slip("wrong axis", "the shares are those of the K draws of one image (axis 0), not those of the images.", lambda w, g: _total(shares(w, 1).square(), g)),
        Slip("wrong axis", "each image has its own sum of weights; you divide by that of all.", lambda w, g: _total(shares(w.flatten()).reshape(w.shape).square(), g)),
        Slip("weights turned round", "the draws of small weight count most in yours.", lambda w, g: right(-w, g)),
        Slip("sign", "the sign is turned round: the bound's gradient is wanted, not the loss's.", lambda w, g: -right(w, g)),
        Slip("the decoder's rule", "that is share times (1 − share), which another split of the gradient has; here it is the square.", lambda w, g: _total(shares(w) * (1 - shares(w)), g)),
        Slip("overflow", "right for small numbers, but exp() of −900 is zero and of +300 too large for a float. Divide before you exponentiate, or let a function do both.", lambda w, g: _total((w.exp() / w.exp().sum(0)).square(), g)),
        Slip("overflow", "right where the images are alike. You take out the largest logarithm of all images; far below it, all weights of an image are zero.",
             lambda w, g: _total(((w - w.max()).exp() / (w - w.max()).exp().sum(0)).square(), g)),
    ]  # fmt: skip
    return compare("double_gradient", student, right, cases, slips)


@check
def harmonic_estimate(student: Callable) -> Result:
    """Check ``harmonic_estimate(log_joint, log_q) -> (B,)`` for (L, B) logarithms: appendix D's log p̂."""
    numbers = stream(3)
    joint, q = 2 * torch.randn(6, 3, generator=numbers), torch.randn(6, 3, generator=numbers)
    cases = [(joint, q), *_far_logarithms(joint, q, numbers)]

    def right(log_joint: Tensor, log_q: Tensor) -> Tensor:
        return math.log(len(log_q)) - torch.logsumexp(log_q - log_joint, 0)

    slips = [
        Slip("sign", "the mean ratio estimates 1/p(x): its logarithm is −log p̂, so change the sign.", lambda p, q: -right(p, q)),
        Slip("importance weights", "that averages p/q, which is right for draws from q. These draws are the posterior's: "
             "average q/p and take the reciprocal.", lambda p, q: torch.logsumexp(p - q, 0) - math.log(len(q))),
        Slip("harmonic mean of the likelihood", "log q is missing. Without a density that fits, this is the notorious "
             "harmonic mean, whose variance is infinite in practice.", lambda p, q: math.log(len(q)) - torch.logsumexp(-p, 0)),
        Slip("no log L", "divide the sum by L: log L comes in.", lambda p, q: -torch.logsumexp(q - p, 0)),
        Slip("log L turned round", "log L has the wrong sign: −log(S/L) = log L − log S.", lambda p, q: -math.log(len(q)) - torch.logsumexp(q - p, 0)),
        Slip("mean of logs", "take the mean of the ratios, then the logarithm.", lambda p, q: (p - q).mean(0)),
        Slip("log q added", "the ratio is q/p: subtract log p(x, z) from log q.", lambda p, q: math.log(len(q)) - torch.logsumexp(q + p, 0)),
        Slip("overflow", "right for small numbers, but exp() over- or underflows for real images. Use torch.logsumexp.",
             lambda p, q: -(q - p).exp().mean(0).log()),
        Slip("smallest only", "that is one draw alone; all L count.", lambda p, q: -(q - p).amax(0)),
    ]  # fmt: skip
    return compare("harmonic_estimate", student, right, cases, slips)


@check
def posterior_energy(student: Callable) -> Result:
    """Check ``posterior_energy(log_joint, mean, scale, u) -> (B,)``: the energy HMC walks on, in the encoder's units."""
    name = "posterior_energy"
    numbers = stream(5)

    def prior(z: Tensor) -> Tensor:
        return -0.5 * z.square().sum(1)

    def log_joint(z: Tensor) -> Tensor:
        return prior(z) - 1.5 * (z - 0.7).pow(4).sum(1)

    cases = [
        (log_joint, torch.randn(n, d, generator=numbers), 0.2 + torch.rand(n, d, generator=numbers), torch.randn(n, d, generator=numbers))
        for n, d in ((4, 3), (2, 5))
    ]  # fmt: skip

    def right(log_joint: Callable, mean: Tensor, scale: Tensor, u: Tensor) -> Tensor:
        return -log_joint(mean + scale * u) - scale.log().sum(1)

    slips = [
        Slip("sign", "that is the logarithm of the density; an energy is minus it.", lambda f, m, s, u: -right(f, m, s, u)),
        Slip("no volume", "the volume is missing: a density of z becomes one of u by the factor ∏ σ, so −Σ log σ comes in.",
             lambda f, m, s, u: -f(m + s * u)),
        Slip("volume turned round", "Σ log σ enters with a minus: the density of u is that of z times ∏ σ.",
             lambda f, m, s, u: -f(m + s * u) + s.log().sum(1)),
        Slip("volume averaged", "add log σ over the dimensions; you took the mean.", lambda f, m, s, u: -f(m + s * u) - s.log().mean(1)),
        Slip("u for z", "log_joint wants z, and u is z in the encoder's units: z = μ + σ u.", lambda f, m, s, u: -f(u) - s.log().sum(1)),
        Slip("variance for scale", "z = μ + σ u; you multiplied by σ².", lambda f, m, s, u: -f(m + s.square() * u) - s.log().sum(1)),
        Slip("prior of u", "the prior is in log_joint already, as a density of z; do not add that of u.",
             lambda f, m, s, u: right(f, m, s, u) + 0.5 * u.square().sum(1)),
    ]  # fmt: skip
    return compare(name, student, right, cases, slips, gradient=("u",))


@check
def bits_per_dim(student: Callable) -> Result:
    """Check ``bits_per_dim(log_prob, n_dims, levels) -> bits``."""
    cases = [(-11_821.0, 12_288, 256), (2_500.0, 784, 128), (-90.0, 784, 1)]

    def right(log_prob: float, n_dims: int, levels: float) -> float:
        return math.log2(levels) - log_prob / (n_dims * math.log(2))

    slips = [
        Slip("no levels", "that is the density's bits, in units of x. A grey level is a cell of width 1/levels: its "
             "probability is the density divided by levels, which adds log₂ levels.", lambda p, n, k: -p / (n * math.log(2))),
        Slip("levels turned round", "log₂ levels is added: a narrower cell is less probable and costs more bits.",
             lambda p, n, k: -math.log2(k) - p / (n * math.log(2))),
        Slip("nats", "those are nats: divide log p by ln 2. (The levels are counted in log₂.)", lambda p, n, k: math.log2(k) - p / n),
        Slip("all in nats", "the right quantity, in nats: divide by ln 2.", lambda p, n, k: math.log(k) - p / n),
        Slip("natural levels", "the levels must be counted in bits too: log₂, not ln.", lambda p, n, k: math.log(k) - p / (n * math.log(2))),
        Slip("sign", "likely images cost few bits: log p enters with a minus.", lambda p, n, k: math.log2(k) + p / (n * math.log(2))),
        Slip("per image", "that is bits an image: divide by the number of dimensions.", lambda p, n, k: n * math.log2(k) - p / math.log(2)),
        Slip("levels counted once", "every dimension has its own levels: log₂ levels is a dimension's share already, do not "
             "divide it by D.", lambda p, n, k: math.log2(k) / n - p / (n * math.log(2))),
        Slip("multiplied", "divide by ln 2 to go from nats to bits; you multiplied.", lambda p, n, k: math.log2(k) - p * math.log(2) / n),
    ]  # fmt: skip
    return compare("bits_per_dim", student, right, cases, slips)


@check
def gaussian_floor(student: Callable) -> Result:
    """Check ``gaussian_floor(sigma, levels) -> bits``: the least bits/dim of a Gaussian with a fixed σ."""
    cases = [(1.0, 256), (2.0, 128), (0.05, 256)]

    def right(sigma: float, levels: float) -> float:
        return math.log2(levels * sigma * math.sqrt(2 * math.pi))

    slips = [
        Slip("no levels", "that is the density's bits. It is what the claim forgot: the width of a grey level, log₂ levels.",
             lambda s, k: math.log2(s * math.sqrt(2 * math.pi))),
        Slip("nats", "those are nats: log₂, not ln.", lambda s, k: math.log(k * s * math.sqrt(2 * math.pi))),
        Slip("no normaliser", "the Gaussian's normaliser √(2π) σ is missing: at its peak the density is 1/(√(2π) σ), not 1.",
             lambda s, k: math.log2(k)),
        Slip("no σ", "the normaliser is √(2π) · σ: a narrow Gaussian is high.", lambda s, k: math.log2(k * math.sqrt(2 * math.pi))),
        Slip("2π without its root", "the normaliser of one dimension is √(2π) σ, not 2π σ.", lambda s, k: math.log2(k * s * 2 * math.pi)),
        Slip("entropy", "that is the Gaussian's entropy, its *mean* cost over its own draws. The floor is at x = x̂, without "
             "the ½.", lambda s, k: math.log2(k * s * math.sqrt(2 * math.pi * math.e))),
        Slip("sign", "the sign is turned round: bits are −log₂ of a probability.", lambda s, k: -right(s, k)),
        Slip("levels turned round", "a narrower cell costs more bits: log₂ levels is added.", lambda s, k: math.log2(s * math.sqrt(2 * math.pi) / k)),
    ]  # fmt: skip
    return compare("gaussian_floor", student, right, cases, slips)
