"""The exercise checks of Part J, after Langevin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .cases import Case, far, stream
from .compare import compare
from .core import Result, Slip, check


@check
def smoothed_score(student: Callable) -> Result:
    """Check ``smoothed_score(x (B, D), means (K, D), weights (K,), width, sigma) -> (B, D)``."""
    numbers = stream(0)
    x, means = torch.randn((6, 2), generator=numbers) * 2, torch.randn((3, 2), generator=numbers) * 2
    weights = torch.tensor([0.6, 0.3, 0.1])
    cases = [
        (x, means, weights, 0.5, 0.7),
        (x, means, weights, 0.3, 0.0),
        (x[:4, :1], means[:2, :1], weights[:2] / weights[:2].sum(), 0.8, 1.5),
        far(x * 40, means, weights, 0.5, 0.4, about="the points lie hundreds of nats away from every mean"),
    ]

    def score(x, m, w, s, sigma, *, v=None, parts=None, weighted=True, sign=1.0, divide=True) -> Tensor:
        v = s**2 + sigma**2 if v is None else v
        squares = (x[:, None, :] - m).square().sum(2)
        logits = -squares / (2 * v) if parts is None else parts(squares, v)
        share = (logits + (w.log() if weighted else 0)).softmax(1)
        return sign * (share @ m - x) / (v if divide else 1)

    def slip(**how) -> Callable:
        return lambda x, m, w, s, sigma: score(x, m, w, s, sigma, **how)

    def naive(x, m, w, s, sigma) -> Tensor:
        v = s**2 + sigma**2
        density = w * (-(x[:, None, :] - m).square().sum(2) / (2 * v)).exp()
        return (density / density.sum(1, keepdim=True)) @ m / v - x / v

    slips = [
        Slip("sign", "the sign is turned round: the score points uphill, towards the means.", slip(sign=-1.0)),
        Slip("no smoothing", "σ is not used: the smoothed components have variance width² + σ².", lambda x, m, w, s, sigma: score(x, m, w, s, 0.0)),
        Slip("standard deviations added", "standard deviations do not add, variances do: width² + σ².", lambda x, m, w, s, sigma: score(x, m, w, s + sigma, 0.0)),
        Slip("no weights", "the weights of the components are missing from the shares.", slip(weighted=False)),
        Slip("prior shares", "the shares do not depend on x: each component counts by its posterior share at x.", lambda x, m, w, s, sigma: (w @ m - x) / (s**2 + sigma**2)),
        Slip("nearest mean", "you took the nearest mean alone; every component pulls, by its share.", lambda x, m, w, s, sigma: (m[(x[:, None, :] - m).square().sum(2).argmin(1)] - x) / (s**2 + sigma**2)),
        Slip("not divided", "the pull is not divided by the variance width² + σ².", slip(divide=False)),
        Slip("half missing", "the exponent is −‖x − μ‖²/(2 v); the 2 is missing.", slip(parts=lambda q, v: -q / v)),
        Slip("root", "the pull is divided by the standard deviation, not by the variance.", lambda x, m, w, s, sigma: score(x, m, w, s, sigma, divide=False) / (s**2 + sigma**2) ** 0.5),
        Slip("overflow", "far from every mean all densities are zero, and 0/0 is not a number. Take a softmax of the log densities.", naive),
    ]  # fmt: skip

    def right(x: Tensor, means: Tensor, weights: Tensor, width: float, sigma: float) -> Tensor:
        return score(x, means, weights, width, sigma)

    return compare("smoothed_score", student, right, cases, slips)


@check
def denoiser_from_score(student: Callable) -> Result:
    """Check ``denoiser_from_score(x (B, *event), score (B, *event), sigma (B,)) -> (B, *event)``: Tweedie's formula."""
    numbers = stream(1)
    points, pictures = torch.randn((5, 2), generator=numbers), torch.randn((3, 1, 3, 3), generator=numbers)

    def case(x: Tensor, about: str = "") -> Case:
        return Case(
            (x, torch.randn(x.shape, generator=numbers), torch.rand(len(x), generator=numbers) * 2 + 0.1), about
        )

    square = Case(
        (
            torch.randn((4, 4), generator=numbers),
            torch.randn((4, 4), generator=numbers),
            torch.tensor([0.1, 0.5, 1, 3.0]),
        ),
        "there are as many points as coordinates",
        "one axis",
        "σ must be spread over the rows: give it an axis of size one for each axis of x but the first.",
    )
    cases = [case(points), case(pictures, "x are pictures"), square]

    def wide(sigma: Tensor, x: Tensor) -> Tensor:
        return sigma.reshape(-1, *[1] * (x.ndim - 1))

    slips = [
        Slip("sign", "the score points uphill, towards the data: add σ² times it.", lambda x, s, g: x - wide(g, x) ** 2 * s),
        Slip("sigma", "Tweedie's formula has σ², not σ.", lambda x, s, g: x + wide(g, x) * s),
        Slip("divided", "you divided by σ²; the step to the mean is σ² times the score.", lambda x, s, g: x + s / wide(g, x) ** 2),
        Slip("half", "the step is σ² times the score, without a half.", lambda x, s, g: x + wide(g, x) ** 2 * s / 2),
        Slip("step alone", "that is the step; the clean picture is x plus the step.", lambda x, s, g: wide(g, x) ** 2 * s),
        Slip("mean level", "every picture has its own σ; you used one for all.", lambda x, s, g: x + g.mean() ** 2 * s),
        Slip("first level", "every picture has its own σ; you used the first one for all.", lambda x, s, g: x + g[0] ** 2 * s),
        Slip("twice", "the step is σ² times the score, without a factor of two.", lambda x, s, g: x + 2 * wide(g, x) ** 2 * s),
        Slip("score scaled by x", "the formula adds the score; it does not multiply x with it.", lambda x, s, g: x * (1 + wide(g, x) ** 2 * s)),
    ]  # fmt: skip

    def right(x: Tensor, score: Tensor, sigma: Tensor) -> Tensor:
        return x + wide(sigma, x) ** 2 * score

    return compare("denoiser_from_score", student, right, cases, slips)


class _Quartic(nn.Module):
    """¼ a ‖x - m‖⁴/(1 + σ²) + ½ ‖x‖²: an energy of x and σ with two weights and a gradient by hand."""

    def __init__(self, centre: float, height: float) -> None:
        super().__init__()
        self.centre, self.height = nn.Parameter(torch.tensor(centre)), nn.Parameter(torch.tensor(height))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        square = (x - self.centre).square().flatten(1).sum(1)
        return self.height * square.square() / (4 * (1 + sigma**2)) + x.square().flatten(1).sum(1) / 2


def _slope(energy, x: Tensor, sigma: Tensor) -> Tensor:
    """∇ₓ of the energy, with a graph to its weights."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(energy(x, sigma).sum(), x, create_graph=True)[0]


@check
def denoising_loss(student: Callable) -> Result:
    """Check ``denoising_loss(energy, clean (B, *event), noise (B, *event), sigma (B,)) -> scalar``."""
    numbers = stream(2)
    points, pictures = torch.randn((6, 2), generator=numbers), torch.randn((4, 1, 2, 2), generator=numbers)

    def case(x: Tensor, centre: float, height: float) -> tuple:
        return (
            _Quartic(centre, height),
            x,
            torch.randn(x.shape, generator=numbers),
            torch.rand(len(x), generator=numbers) + 0.2,
        )

    cases = [case(points, 0.3, 0.2), case(pictures, -0.2, 0.1), case(points[:4] * 2, 0.0, 0.05)]

    def loss(energy, clean, noise, sigma, *, at=None, target=None, factor=0.5, weigh=None, reduce=None) -> Tensor:
        s = sigma.reshape(-1, *[1] * (clean.ndim - 1))
        place = clean + s * noise if at is None else at(clean, noise, s)
        gap = s * _slope(energy, place, sigma) - (noise if target is None else target(noise, s))
        gap = gap if weigh is None else weigh(gap, s)
        rows = gap.square().flatten(1).sum(1)
        return factor * (rows.mean() if reduce is None else reduce(gap))

    def slip(**how) -> Callable:
        return lambda energy, clean, noise, sigma: loss(energy, clean, noise, sigma, **how)

    slips = [
        Slip("sign", "the sign of the target is turned round: where ξ was added, the energy must rise along ξ, σ∇E = ξ.", slip(target=lambda n, s: -n)),
        Slip("no noise added", "the energy is asked at the clean points; it must be asked at x + σ ξ.", slip(at=lambda c, n, s: c)),
        Slip("unit noise", "the noise is added without its scale σ.", slip(at=lambda c, n, s: c + n)),
        Slip("unweighted", "the error of the score itself is counted, without the factor σ²: small levels would drown all others.", slip(weigh=lambda g, s: g / s)),
        Slip("weighted twice", "the factor σ is there twice: σ∇E is compared with ξ, not with σ ξ.", slip(weigh=lambda g, s: g * s)),
        Slip("half", "the half in front is missing.", slip(factor=1.0)),
        Slip("mean over coordinates", "sum the squares over the coordinates of a picture; take the mean over the batch alone.", slip(reduce=lambda g: g.square().mean())),
        Slip("sum over the batch", "take the mean over the batch, not the sum.", slip(reduce=lambda g: g.square().sum())),
        Slip("target alone scaled", "the target is ξ, when the gradient has the factor σ; you have scaled it too.", slip(target=lambda n, s: n * s)),
        Slip("variance", "the noise was scaled by σ²; its standard deviation is σ.", slip(at=lambda c, n, s: c + s**2 * n)),
    ]  # fmt: skip

    def right(energy, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        return loss(energy, clean, noise, sigma)

    return compare("denoising_loss", student, right, cases, slips, gradient=("energy",))


@check
def divergences(student: Callable) -> Result:
    """Check ``divergences(log_p, log_q, score_p, score_q, cell) -> (kl, fisher)``, on a grid in one dimension."""
    numbers = stream(3)

    def density(n: int, width: float) -> tuple[Tensor, Tensor, float]:
        """A mixture of two on a grid of n places; log density, score, the grid's cell."""
        x = torch.linspace(-4, 4, n, dtype=torch.float64)
        m = torch.randn((2,), generator=numbers, dtype=torch.float64)
        logits = -(x[:, None] - m).square() / (2 * width**2) + torch.tensor([0.7, 0.3], dtype=torch.float64).log()
        cell = 8 / (n - 1)
        log = torch.log_softmax(logits.logsumexp(1), 0) - torch.tensor(cell, dtype=torch.float64).log()
        return log, (logits.softmax(1) @ m - x) / width**2, cell

    def pair(n: int, one: float, other: float) -> tuple:
        (p, sp, cell), (q, sq, _) = density(n, one), density(n, other)
        return p, q, sp, sq, cell

    cases = [pair(41, 0.9, 1.2), pair(81, 0.8, 0.8), pair(20, 1.3, 0.9)]

    def both(p, q, sp, sq, c, *, weight=None, kl=None, fisher=None, cell=None) -> tuple[Tensor, Tensor]:
        w = p.exp() * (c if cell is None else cell) if weight is None else weight(p, q, c)
        a = (w * (p - q)).sum() if kl is None else kl(p, q, w)
        return a, (w * (sp - sq).square()).sum() if fisher is None else fisher(sp, sq, w)

    def slip(**how) -> Callable:
        return lambda p, q, sp, sq, c: both(p, q, sp, sq, c, **how)

    slips = [
        Slip("other mean", "both are means under p, the data: the weight of a cell is p(x) times its size.", slip(weight=lambda p, q, c: q.exp() * c)),
        Slip("no cell", "a density becomes a probability when it is multiplied with the size of the cell.", slip(cell=1.0)),
        Slip("reverse", "the difference of the logarithms is turned round: KL(p ‖ q) has log p − log q.", slip(kl=lambda p, q, w: (w * (q - p)).sum())),
        Slip("not squared", "the Fisher divergence squares the difference of the scores.", slip(fisher=lambda a, b, w: (w * (a - b)).sum())),
        Slip("absolute", "the Fisher divergence squares the difference; you took its size.", slip(fisher=lambda a, b, w: (w * (a - b).abs()).sum())),
        Slip("difference of squares", "square the difference of the scores, not each score.", slip(fisher=lambda a, b, w: (w * (a.square() - b.square())).sum())),
        Slip("half", "the Fisher divergence is wanted without a half.", slip(fisher=lambda a, b, w: (w * (a - b).square()).sum() / 2)),
        Slip("log as weight", "the weights are probabilities: exp(log p) times the cell, not log p.", slip(weight=lambda p, q, c: p * c)),
        Slip("root", "the Fisher divergence is wanted itself, not its root.", slip(fisher=lambda a, b, w: (w * (a - b).square()).sum().sqrt())),
        Slip("swapped", "the two come in the order (KL, Fisher).", lambda *a: both(*a)[::-1]),
    ]  # fmt: skip

    def right(log_p: Tensor, log_q: Tensor, score_p: Tensor, score_q: Tensor, cell: float) -> tuple[Tensor, Tensor]:
        return both(log_p, log_q, score_p, score_q, cell)

    return compare("divergences", student, right, cases, slips, outputs=("kl", "fisher"))


def _bend(x: Tensor, sigma: float) -> Tensor:
    """A denoiser that is not linear, so that Euler's and Heun's steps differ."""
    return torch.tanh(x) / (1 + sigma)


def _mixed(x: Tensor, sigma: float) -> Tensor:
    """The denoiser of two points, ±1."""
    return torch.tanh(x / sigma**2)


@check
def heun_step(student: Callable) -> Result:
    """Check ``heun_step(denoise, x (B, *event), sigma, sigma_next) -> (B, *event)``: one step of the flow."""
    numbers = stream(4)
    x, y = torch.randn((5, 2), generator=numbers), torch.randn((3, 1, 2, 2), generator=numbers) * 2
    last = Case(
        (_bend, x, 0.3, 0.0),
        "σ_next is zero",
        "division by zero",
        "there is no slope at σ = 0: the last step, to zero, is Euler's alone.",
    )
    cases = [(_bend, x, 2.0, 1.2), (_mixed, y, 1.5, 0.7), last]

    def step(denoise, x, a, b, *, order=2, slope=None, mean=0.5, where=None) -> Tensor:
        slope = (lambda d, x, s: (x - d(x, s)) / s) if slope is None else slope
        first = slope(denoise, x, a)
        new = x + (b - a) * first
        if order == 1 or b == 0:
            return new
        second = slope(denoise, new, b) if where is None else where(denoise, x, new, a, b, slope)
        return x + (b - a) * ((1 - mean) * first + mean * second)

    def slip(**how) -> Callable:
        return lambda d, x, a, b: step(d, x, a, b, **how)

    def always(d, x, a, b) -> Tensor:
        first = (x - d(x, a)) / a
        new = x + (b - a) * first
        return x + (b - a) * (first + (new - d(new, b)) / b) / 2

    slips = [
        Slip("euler", "that is Euler's step. Heun's looks again at where it led, and takes the mean of the two slopes.", slip(order=1)),
        Slip("sign", "the sign of the slope is turned round: dx/dσ = (x − D)/σ, away from the clean picture as σ grows.", slip(slope=lambda d, x, s: (d(x, s) - x) / s)),
        Slip("not divided", "the slope is (x − D)/σ; the division is missing.", slip(slope=lambda d, x, s: x - d(x, s))),
        Slip("score", "the slope is (x − D)/σ, not (x − D)/σ²: it is −σ times the score.", slip(slope=lambda d, x, s: (x - d(x, s)) / s**2)),
        Slip("old level", "the second look is at the new place *and* at the new level.", slip(where=lambda d, x, n, a, b, f: f(d, n, a))),
        Slip("old place", "the second look is at the new level and at the *new place*.", slip(where=lambda d, x, n, a, b, f: f(d, x, b))),
        Slip("second slope alone", "take the mean of the two slopes, not the second one alone.", slip(mean=1.0)),
        Slip("sum of slopes", "the slopes are added; take their mean.", lambda d, x, a, b: x + 2 * (step(d, x, a, b) - x) if b else step(d, x, a, b)),
        Slip("step from the new place", "Heun's step starts at x again, with the mean slope; yours goes on from the new place.", lambda d, x, a, b: step(d, x, a, b, order=1) + ((b - a) * (step(d, x, a, b) - x) / (b - a) if b else 0)),
        Slip("direction", "the step is σ_next − σ, which is negative.", lambda d, x, a, b: 2 * x - step(d, x, a, b)),
        Slip("division by zero", "there is no slope at σ = 0: the last step, to zero, is Euler's alone.", always),
        Slip("jump to the picture", "you return the denoised picture; the step goes only a part of the way there.", lambda d, x, a, b: d(x, a)),
    ]  # fmt: skip

    def right(denoise, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        return step(denoise, x, sigma, sigma_next)

    return compare("heun_step", student, right, cases, slips)
