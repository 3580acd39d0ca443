"""The exercise checks of Part B, the energy-based model on MNIST."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..losses import contrastive_divergence
from .cases import Case, far, stream
from .compare import ALL, compare, observe
from .core import Result, Slip, check, told


@check
def density_on_grid(student: Callable) -> Result:
    """Check ``density_on_grid(energy (H, W), cell_area) -> (H, W)``."""
    tall = torch.randn(5, 7, generator=stream(0)) * 3
    cases = [
        (tall, 0.25),
        far(tall.T - 900.0, 0.01, about="the energies are around −900"),
        far(tall * 100, 2.0, about="the energies lie hundreds of nats apart"),
    ]

    def right(energy: Tensor, cell_area: float) -> Tensor:
        return torch.softmax(-energy.flatten(), 0).reshape(energy.shape) / cell_area

    def naive(energy: Tensor, area: float) -> Tensor:
        weight = torch.exp(-energy)
        return weight / weight.sum() / area

    slips = [
        Slip(
            "sign",
            "the sign is turned round: low energy means likely, so the density is proportional to exp(−E).",
            lambda e, a: torch.softmax(e.flatten(), 0).reshape(e.shape) / a,
        ),
        Slip(
            "cell area",
            "your values sum to 1, but a density integrates to 1: divide the probability of a cell by its area.",
            lambda e, a: torch.softmax(-e.flatten(), 0).reshape(e.shape),
        ),
        Slip(
            "times cell area",
            "you multiplied by the cell's area; probability = density × area, so divide.",
            lambda e, a: torch.softmax(-e.flatten(), 0).reshape(e.shape) * a,
        ),
        Slip(
            "one axis",
            "the softmax runs along one axis only, so every row (or column) has mass 1; flatten the grid first.",
            lambda e, a: torch.softmax(-e, -1) / a,
        ),
        Slip("one axis", "the softmax runs down the columns only; flatten the grid first.", lambda e, a: torch.softmax(-e, 0) / a),
        Slip(
            "overflow",
            "right on the first case, but exp(−E) overflows when E is very negative. Subtract the lowest energy "
            "first (adding a constant to E changes nothing), or let torch.softmax do it.",
            naive,
        ),
        Slip("unnormalised", "exp(−E) is not normalised: divide by its sum times the cell's area.", lambda e, a: torch.exp(-e)),
    ]  # fmt: skip
    return compare("density_on_grid", student, right, cases, slips)


class _Bowl(nn.Module):
    """½ s ‖x - m‖² with a parameter, so that a polluted parameter gradient can be seen."""

    def __init__(self, centre: float, stiffness: float) -> None:
        super().__init__()
        self.centre, self.stiffness = nn.Parameter(torch.tensor(centre)), stiffness

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * self.stiffness * (x - self.centre).square().flatten(1).sum(1)


def _clamped(grad: Tensor, eta: float, clip: float) -> Tensor:
    return grad.clamp(-clip, clip)


def _norms(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)


@check
def langevin_step(student: Callable) -> Result:
    """Check ``langevin_step(energy, x, step_size, noise, grad_clip, xi) -> x``, section B3's step in the box [-1, 1]."""
    name = "langevin_step"
    numbers = stream(1)
    x = torch.rand((6, 1, 4, 4), generator=numbers) * 2 - 1
    xi = torch.randn(x.shape, generator=numbers)
    # In case 1 nothing is clipped or clamped; in case 2 the gradient is; in case 3 the box is reached as well.
    settings = [(0.3, 0.1, 0.02, 10.0), (0.3, 2.0, 0.02, 0.25), (0.3, 2.0, 0.9, 0.25)]
    scale = (0.5, 0.5, 1.0)
    cases = [(_Bowl(0.2, k), x * s, eta, sigma, clip, xi)
             for s, (eta, k, sigma, clip) in zip(scale, settings, strict=True)]  # fmt: skip

    def step(
        energy, x, eta, sigma, clip, xi, *, sign=-1.0, per_batch=1.0, clipped=_clamped, boxed=True, noise=None
    ) -> Tensor:
        grad = energy.stiffness * (x - energy.centre.detach()) / per_batch
        grad = clipped(grad, eta, clip) if clipped else grad
        new = x + sign * eta * grad + (sigma if noise is None else noise) * xi
        return new.clamp(-1, 1) if boxed else new

    def right(energy, x, step_size, noise, grad_clip, xi) -> Tensor:
        return step(energy, x, step_size, noise, grad_clip, xi)

    slips = [
        Slip("sign", "the chain climbs: it must go down the energy, x − η ∇E.", lambda *a: step(*a, sign=1.0)),
        Slip(
            "mean for sum",
            "your gradient is too small by the batch size. Differentiate energy(x).sum(), not .mean(): "
            "each chain has its own energy, and the sum's gradient keeps them apart.",
            lambda *a: step(*a, per_batch=6.0),
        ),
        Slip("gradient not clipped", "clamp each element of the gradient to ±grad_clip before the step.", lambda *a: step(*a, clipped=None)),
        Slip("box", "clamp the new state to [−1, 1]: the network never saw a pixel outside.", lambda *a: step(*a, boxed=False)),
        Slip("no noise", "the noise is missing: add noise * xi.", lambda *a: step(*a, noise=0.0)),
        Slip("noise not scaled", "xi has variance 1; scale it by the argument noise.", lambda *a: step(*a, noise=1.0)),
        Slip("noise times step", "noise is σ itself; do not multiply it by the step size.", lambda *a: step(*a, noise=a[2] * a[3])),
        Slip(
            "noise from the step",
            "√(2η) is the noise of temperature 1. This recipe gives σ separately: use the argument noise.",
            lambda *a: step(*a, noise=(2 * a[2]) ** 0.5),
        ),
        Slip(
            "step clipped",
            "you clamp the step η ∇E; here the gradient is clamped first, and then multiplied by η.",
            lambda *a: step(*a, clipped=lambda grad, eta, clip: (eta * grad).clamp(-clip, clip) / eta),
        ),
        Slip(
            "norm clipped",
            "you bound the norm of each gradient; here each element is clamped to ±grad_clip.",
            lambda *a: step(*a, clipped=lambda grad, eta, clip: grad * (clip / _norms(grad)).clamp(max=1)),
        ),
        Slip(
            "clipped on one side",
            "the gradient is bounded from above only; clamp it to [−grad_clip, grad_clip].",
            lambda *a: step(*a, clipped=lambda grad, eta, clip: grad.clamp(max=clip)),
        ),
    ]  # fmt: skip
    return compare(name, student, right, cases, slips, detached=True)


@check
def noise_for_wall(student: Callable) -> Result:
    """Check ``noise_for_wall(height, step_size, n_steps) -> sigma``: σ²/(2η) = T = h / log K."""
    numbers = stream(3)
    cases = [
        *(
            (0.1 + 3 * h, 0.05 + 8 * eta, 20 + int(3000 * k))
            for h, eta, k in torch.rand(4, 3, generator=numbers).tolist()
        ),
        (0.7, 3, 2),
        far(950.0, 0.25, 10**6, about="the wall is hundreds of nats high"),
    ]

    def sigma(height: float, eta: float, n: int, *, temperature=lambda h, n: h / math.log(n)) -> float:
        return math.sqrt(2 * eta * temperature(height, n))

    def right(height: float, step_size: float, n_steps: int) -> float:
        return sigma(height, step_size, n_steps)

    def tensor(number: Callable[..., float]) -> Callable:
        return lambda *a: torch.tensor(number(*a), dtype=torch.float64)

    deeper = "the higher the temperature, the higher the wall: h / T must stay the same when both are doubled."
    slips = [
        ("temperature", "that is the temperature T. The noise is wanted: what is σ at this T and this step?", lambda h, e, n: h / math.log(n)),
        ("no root", "that is σ², the variance of the noise: its standard deviation is wanted.", lambda h, e, n: sigma(h, e, n) ** 2),
        ("factor 2", "a factor 2 is missing: T is σ² / 2η.", lambda h, e, n: sigma(h, e / 2, n)),
        ("factor outside the root", "the 2 belongs under the root: σ² is 2ηT.", lambda h, e, n: 2 * sigma(h, e / 2, n)),
        ("no logarithm", "a wall does not get K times as likely to be crossed by being K times lower: exp(−h/T) = 1/K, so take a logarithm.", lambda h, e, n: sigma(h, e, n, temperature=lambda h, n: h / n)),
        ("no logarithm", "exp(−h/T) = 1/K, so take the logarithm of K; and a long chain needs less noise, not more.", lambda h, e, n: sigma(h, e, n, temperature=lambda h, n: h * n)),
        ("upside down", f"a long chain would need more noise than a short one; {deeper}", lambda h, e, n: sigma(h, e, n, temperature=lambda h, n: h * math.log(n))),
        ("upside down", f"a high wall would need less noise than a low one; {deeper}", lambda h, e, n: sigma(h, e, n, temperature=lambda h, n: math.log(n) / h)),
        ("another base", "the ratio is a power of e, so the logarithm is the natural one.", lambda h, e, n: sigma(h, e, n, temperature=lambda h, n: h / math.log2(n))),
        ("another base", "the ratio is a power of e, so the logarithm is the natural one.", lambda h, e, n: sigma(h, e, n, temperature=lambda h, n: h / math.log10(n))),
        ("one tries only", "that is the noise for exp(−h/T) = 1/e, whatever the length of the chain: a chain of K steps tries K times.", lambda h, e, n: sigma(h, e, n, temperature=lambda h, n: h)),
        ("step size ignored", "the noise does not depend on your step size: the larger the step down, the more noise it takes to be as hot.", lambda h, e, n: sigma(h, 1.0, n)),
        ("step size divides", "the step size is on the wrong side: T is σ² / 2η, so σ² is 2ηT.", lambda h, e, n: math.sqrt(2 * h / math.log(n) / e)),
        ("step size divides", "the step size is on the wrong side: T is σ² / 2η, so σ² is 2ηT.", lambda h, e, n: math.sqrt(h / math.log(n) / (2 * e))),
        ("noises added", "you share the noise out among the steps; σ is the noise of one step, and the rule counts the steps already.", lambda h, e, n: sigma(h, e, n) / math.sqrt(n)),
    ]  # fmt: skip
    known = [Slip(name, hint, tensor(wrong)) for name, hint, wrong in slips]
    return compare("noise_for_wall", student, right, cases, known)


@check
def rhat_of_halves(student: Callable) -> Result:
    """Check ``rhat_of_halves(traces (B, K)) -> scalar``: split R-hat of the second half."""
    numbers = stream(4)

    def wobble(n_chains: int, n_steps: int) -> Tensor:
        return torch.randn(n_chains, n_steps, generator=numbers)

    def ramp(n_steps: int) -> Tensor:
        return torch.linspace(-2.0, 2.0, n_steps)

    apart = torch.randint(-20, 20, (5, 1), generator=numbers) / 4 + torch.arange(5)[:, None] / 4
    cases = [
        Case((wobble(6, 64) - 8 * torch.exp(-torch.arange(64) / 6),), "the chains settle"),
        Case((wobble(4, 90) - 3 * ramp(90),), "all chains drift alike"),
        Case((wobble(5, 48) + 4 * apart,), "each chain stays at a place of its own"),
        Case((0.3 * wobble(3, 47),), "the number of steps is odd"),
        Case((wobble(4, 38) + ramp(38),), "the second half has an odd number of steps"),
        Case((wobble(7, 8),), "the traces are short"),
        Case((wobble(1, 60) + ramp(60),), "there is one chain only"),
        Case(
            (0.125 * (wobble(5, 200) + apart) - 300,),
            "the energies are around −300",
            "cancellation",
            "E[x²] − E[x]² is a small difference of two large numbers: subtract the mean first.",
        ),
        Case((apart.expand(5, 40).clone(),), "no chain moves, and each stands at a place of its own"),
        Case((torch.full((3, 24), -0.75),), "nothing ever moved"),
    ]

    def right(traces: Tensor) -> Tensor:
        return _rhat(*_pieces(traces))

    def other(**changes) -> Callable[[Tensor], Tensor]:
        return lambda traces: _rhat(*_pieces(traces), **changes)

    def cut(**changes) -> Callable[[Tensor], Tensor]:
        return lambda traces: _rhat(*_pieces(traces, **changes))

    slips = [
        Slip("nothing dropped", "you judge the whole traces. Every chain comes down from its start first: drop the first half.", cut(kept=lambda x: x)),
        Slip("first half", "you kept the first half, in which the chains come down from their starts; keep the second.", cut(kept=lambda x: x[:, : x.shape[1] // 2])),
        Slip("half rounded up", "right where K is even. Keep the last K // 2 steps.", cut(kept=lambda x: x[:, x.shape[1] // 2 :])),
        Slip("not split", "chains that all drift alike agree with each other, and you find nothing: cut each chain in two.", cut(split=lambda x: [x])),
        Slip("split once more", "you compare only the two ends of what is kept; the two pieces of a chain fill it.", cut(split=lambda x: [x[:, : len(x[0]) // 4], x[:, -(len(x[0]) // 4) :]])),
        Slip("last step dropped", "right where what is kept has an even length. Else the step in the middle is left out, not the last one.", cut(split=lambda x: [x[:, : len(x[0]) // 2], x[:, len(x[0]) // 2 : len(x[0]) // 2 * 2]])),
        Slip("first step dropped", "right where what is kept has an even length. Else the step in the middle is left out, not the first one.", cut(split=lambda x: [x[:, len(x[0]) % 2 :][:, : len(x[0]) // 2], x[:, -(len(x[0]) // 2) :]])),
        Slip("pieces interleaved", "every other step in one piece, the rest in the other: a drift is in both. Cut in the middle.", cut(split=lambda x: [x[:, 0 : len(x[0]) // 2 * 2 : 2], x[:, 1 : len(x[0]) // 2 * 2 : 2]])),
        *(
            Slip("axes", "you take variances over the chains at each step; W is a variance over the steps of one piece.", wrong)
            for wrong in (lambda x: _rhat(_pieces(x)[0].T, _pieces(x)[1]), lambda x: _rhat(_pieces(x)[0].T, len(_pieces(x)[0])))
        ),
        Slip("no root", "that is the square: a root is missing.", lambda x: _rhat(*_pieces(x)).square()),
        Slip("upside down", "the fraction is upside down.", lambda x: 1 / _rhat(*_pieces(x))),
        Slip("divisor", "the variances are divided by one more than they should be: by n − 1 within a piece, and by 2B − 1 between the means.", other(correction=0)),
        Slip("within left out", "that compares the means with the spread alone: the spread itself, (n − 1)/n · W, belongs above too.", other(share=lambda n: 0.0)),
        Slip("share of W", "W is multiplied by (n − 1)/n in the numerator.", other(share=lambda n: 1.0)),
        Slip("between too large", "V is the variance of the means; it is not multiplied by n.", other(weight=lambda n: n)),
        Slip("between too small", "V is the variance of the means; it is not divided by n.", other(weight=lambda n: 1 / n)),
        Slip("no between", "V is missing: chains that stay apart would agree.", other(weight=lambda n: 0.0)),
        Slip("deviations averaged", "W is the mean of the variances, not the square of the mean deviation.", other(within=lambda p: p.std(1).mean().square())),
        Slip("pooled", "the variance of all pieces thrown together is not (n − 1)/n · W + V.", lambda x: (_pieces(x)[0].var() / _pieces(x)[0].var(1).mean()).sqrt()),
    ]  # fmt: skip
    return compare("rhat_of_halves", student, right, cases, slips)


def _pieces(traces: Tensor, *, kept=None, split=None) -> tuple[Tensor, int]:
    """The pieces (2B, n) of the second half of the traces, and n."""
    second = traces[:, -(traces.shape[1] // 2) :] if kept is None else kept(traces)
    n = second.shape[1] // 2
    pieces = torch.cat([second[:, :n], second[:, -n:]] if split is None else split(second))
    return pieces, pieces.shape[1]


def _rhat(
    pieces: Tensor, n: int, *, correction: int = 1, share=lambda n: (n - 1) / n, weight=lambda n: 1.0, within=None
) -> Tensor:
    w = _variance(pieces, correction).mean() if within is None else within(pieces)
    return ((share(n) * w + weight(n) * _variance(pieces.mean(1), correction)) / w).sqrt()


def _variance(x: Tensor, correction: int) -> Tensor:
    """Along the last dimension, and NaN of a single number: torch's own warns of it."""
    return (x - x.mean(-1, keepdim=True)).square().sum(-1) / (x.shape[-1] - correction)


@check
def draw_starts(student: Callable) -> Result:
    """Check ``draw_starts(buffer (N, C, H, W), n, restart, generator) -> (n, C, H, W)``.

    The right answer is random, so this check looks at what must hold of many draws; every margin
    is at least five standard errors wide.
    """
    name = "draw_starts"
    # Row i of the buffer is the constant i/1000: every drawn row tells where it came from.
    buffer = (torch.arange(500) / 1000).reshape(-1, 1, 1, 1).expand(-1, 1, 6, 6).clone()
    n, restart, shape = 4000, 0.3, (4000, 1, 6, 6)

    def wrong(hint: str, slip: str | None = None) -> Result:
        return told(name, False, hint, slip)

    draws = []
    for seed in (0, 0, 1, 2, 3):
        x, failure = observe(name, student, (buffer, n, restart, torch.Generator().manual_seed(seed)), _STARTS)
        if failure is not None:
            return failure
        if not isinstance(x, Tensor) or x.shape != shape:
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            return wrong(f"a tensor of shape (n, C, H, W) = {shape} is wanted; yours is {got}.")
        draws.append(x.detach().flatten(1).to(buffer.dtype))
    places = buffer[:, 0, 0, 0].contiguous()

    def is_old(rows: Tensor) -> Tensor:
        return (rows == rows[:, :1]).all(1) & torch.isin(rows[:, 0].contiguous(), places)

    flat, old = draws[0], is_old(draws[0])
    share = 1 - old.double().mean().item()
    if share > 0.999 and 0.01 < torch.isin(flat, places).double().mean() < 0.999:
        return wrong(
            "old and fresh pixels are mixed inside one image: toss one coin an image, not one a pixel.", "coin a pixel"
        )
    margin = 5 * (restart * (1 - restart) / n) ** 0.5
    if abs(share - (1 - restart)) < margin:
        return wrong(
            f"{share:.0%} of your starts are fresh; restart is the chance of a fresh one, not of an old one.",
            "restart turned round",
        )
    if share in (0.0, 1.0):
        return wrong(
            f"all of your starts are {'old' if share == 0 else 'fresh'}: toss a coin for each image, not one for the batch.",
            "one coin a batch",
        )
    if abs(share - restart) > margin:
        return wrong(f"{share:.1%} of your starts are fresh; it should be about {restart:.0%}.")
    fresh = flat[~old]
    if (fresh[1:] == fresh[0]).all(1).any() or (fresh == fresh[:, :1]).all(1).any():
        return wrong(
            "your fresh starts share their noise: every pixel of every fresh start is drawn by itself.", "shared noise"
        )
    if fresh.min() >= 0:
        return wrong("the fresh starts are uniform in [0, 1]; the images live in [−1, 1].", "range")
    if fresh.min() < -1 or fresh.max() > 1:
        return wrong("some fresh starts leave [−1, 1]: draw them uniformly (torch.rand), not normally.", "normal")
    if abs(fresh.mean()) > 5 / (3 * fresh.numel()) ** 0.5 or abs(fresh.var() - 1 / 3) > 0.01:
        return wrong("the fresh starts are not uniform in [−1, 1]; look again at their range.", "range")
    index = torch.cat([rows[is_old(rows)][:, 0] * 1000 for rows in draws[1:]]).round().long()
    counts = torch.bincount(index, minlength=500).double()
    if (counts == 0).any():  # 11,200 draws miss none of 500
        return wrong(
            f"your old starts come from only {int((counts > 0).sum())} of the 500 places; draw the places at random from all of them.",
            "places",
        )
    if ((counts - counts.mean()).square() / counts.mean()).sum() > 700:  # 499 ± 32
        return wrong("your old starts come from some places of the buffer more often than from others.", "places")
    if not torch.equal(draws[0], draws[1]):
        return wrong("two calls with the same generator differ: pass generator= to every random call.", "generator")
    if len({int(is_old(rows).sum()) for rows in draws[1:]}) == 1:  # by chance about once in a million
        return wrong("every call has equally many fresh starts; toss a coin for each start.", "fixed count")
    return told(name, True, f"right: {share:.1%} of {n:,} starts are fresh, the rest come from all over the buffer.")


_STARTS = ("buffer", "n", "restart", "generator")


@check
def contrastive_loss(student: Callable) -> Result:
    """Check ``contrastive_loss(energy_real (B,), energy_fake (B,), alpha) -> scalar``."""
    numbers = stream(2)
    real, fake = torch.randn(8, generator=numbers) + 1, torch.randn(6, generator=numbers) * 2
    cases = [(real, fake, 0.1), (fake, real, 0.0), (real, fake, 1.5), (real * 300, fake * 300, 0.1)]

    def right(energy_real: Tensor, energy_fake: Tensor, alpha: float) -> Tensor:
        return contrastive_divergence(energy_real, energy_fake, alpha)

    slips = [
        Slip(
            "sign",
            "the contrast is turned round: training must lower the energy of data and raise that of samples.",
            lambda r, f, a: f.mean() - r.mean() + a * (r.square().mean() + f.square().mean()),
        ),
        Slip(
            "no regulariser", "the term α·(E² of data + E² of samples) is missing.", lambda r, f, a: r.mean() - f.mean()
        ),
        Slip(
            "sum for mean",
            "the squares are summed over the batch; average them, so that α means the same for every batch size.",
            lambda r, f, a: r.mean() - f.mean() + a * (r.square().sum() + f.square().sum()),
        ),
        Slip(
            "all summed",
            "everything is summed over the batch: take means.",
            lambda r, f, a: r.sum() - f.sum() + a * (r.square().sum() + f.square().sum()),
        ),
        Slip(
            "square of the mean",
            "you squared the means. Square each energy first: the point is to keep every energy small, not their average.",
            lambda r, f, a: r.mean() - f.mean() + a * (r.mean().square() + f.mean().square()),
        ),
        Slip(
            "difference of squares",
            "both squares are penalties: add them.",
            lambda r, f, a: r.mean() - f.mean() + a * (r.square().mean() - f.square().mean()),
        ),
        Slip(
            "one side",
            "only the data's energies are penalised; the samples' energies belong in the penalty, too.",
            lambda r, f, a: r.mean() - f.mean() + a * r.square().mean(),
        ),
        Slip(
            "one side",
            "only the samples' energies are penalised; the data's energies belong in the penalty, too.",
            lambda r, f, a: r.mean() - f.mean() + a * f.square().mean(),
        ),
        Slip(
            "half",
            "the squares of data and samples are averaged together; the recipe adds the two means.",
            lambda r, f, a: r.mean() - f.mean() + a * torch.cat((r, f)).square().mean(),
        ),
        Slip(
            "half",
            "the two penalties are averaged; the recipe adds them.",
            lambda r, f, a: r.mean() - f.mean() + a * (r.square().mean() + f.square().mean()) / 2,
        ),
    ]
    return compare("contrastive_loss", student, right, cases, slips, gradient=ALL)
