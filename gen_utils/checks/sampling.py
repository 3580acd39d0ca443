"""The exercise checks of Part S, the sampling playground."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..samplers import leapfrog as right_leapfrog
from .cases import Case, far, stream
from .compare import compare
from .core import Result, Slip, check


class _Quartic(nn.Module):
    """½ s Σ(x - m)² + ¼ Σ(x - m)⁴: any event shape, a gradient that differs from place to place, and a weight to pollute."""

    def __init__(self, centre: float, stiffness: float) -> None:
        super().__init__()
        self.centre, self.stiffness = nn.Parameter(torch.tensor(centre)), stiffness

    def forward(self, x: Tensor) -> Tensor:
        away = (x - self.centre).flatten(1)
        return (0.5 * self.stiffness * away.square() + 0.25 * away**4).sum(1)

    def grad(self, x: Tensor) -> Tensor:
        away = x - self.centre.detach()
        return self.stiffness * away + away**3


def _squares(x: Tensor) -> Tensor:
    return x.square().flatten(1).sum(1)


@check
def langevin_step(student: Callable) -> Result:
    """Check ``langevin_step(energy, x, step_size, xi) -> x``, one unadjusted step at temperature 1."""
    name = "langevin_step"
    numbers = stream(0)
    x, xi = torch.randn(6, 2, generator=numbers), torch.randn(6, 2, generator=numbers)
    cases = [
        (_Quartic(0.3, 1.0), x, 0.05, xi),
        (_Quartic(-0.5, 2.0), 0.5 * x, 0.3, xi),
        (_Quartic(0.0, 0.7), x.reshape(3, 1, 2, 2), 0.02, xi.reshape(3, 1, 2, 2)),
    ]

    def step(energy, x, eta, xi, *, drift=lambda eta: eta, sigma=lambda eta: math.sqrt(2 * eta), share=1) -> Tensor:
        return x - drift(eta) * energy.grad(x) / (1 if share == 1 else len(x)) + sigma(eta) * xi

    def right(energy, x, step_size, xi) -> Tensor:
        return step(energy, x, step_size, xi)

    slips = [
        Slip("sign", "the chain climbs: it must go down the energy, x − η ∇E.", lambda *a: step(*a, drift=lambda e: -e)),
        Slip(
            "mean for sum",
            "your gradient is too small by the batch size. Differentiate energy(x).sum(), not .mean(): "
            "each chain has its own energy, and the sum's gradient keeps them apart.",
            lambda *a: step(*a, share=0),
        ),
        Slip("no noise", "the noise is missing, so this is gradient descent: add √(2η) ξ.", lambda *a: step(*a, sigma=lambda e: 0.0)),
        Slip("noise not scaled", "xi has variance 1; scale it by √(2η).", lambda *a: step(*a, sigma=lambda e: 1.0)),
        Slip(
            "factor 2",
            "the noise is √η; it should be √(2η). Yours samples at temperature ½.",
            lambda *a: step(*a, sigma=lambda e: math.sqrt(e)),
        ),
        Slip(
            "variance for scale",
            "2η is the variance of the noise; its scale is the square root of that.",
            lambda *a: step(*a, sigma=lambda e: 2 * e),
        ),
        Slip("noise times step", "the noise is multiplied by η; its scale is √(2η).", lambda *a: step(*a, sigma=lambda e: e)),
        Slip(
            "ε-form",
            "that is the ε-form of the papers with ε² = η, a right step of half the size. Here η multiplies the "
            "gradient itself.",
            lambda *a: step(*a, drift=lambda e: e / 2, sigma=lambda e: math.sqrt(e)),
        ),
        Slip("no drift", "only noise moves the chain; the step down the gradient is missing.", lambda *a: step(*a, drift=lambda e: 0.0)),
    ]  # fmt: skip
    return compare(name, student, right, cases, slips, detached=True)


@check
def step_for_bias(student: Callable) -> Result:
    """Check ``step_for_bias(precisions (D,), bias) -> η``: the largest with λ v - 1 <= bias in every direction."""
    numbers = stream(5)
    cases = [
        (torch.tensor([0.25, 3.8, 1.0]) * (0.5 + torch.rand(3, generator=numbers)), 0.05),
        (torch.tensor([0.6]) + torch.rand(1, generator=numbers), 0.4),
        (torch.exp(3 * torch.randn(7, generator=numbers)), 0.01),
        (torch.exp(torch.randn(2, 4, generator=numbers)[1]), 3.0),
        Case((0.02 + 0.06 * torch.rand(5, generator=numbers), 0.25), "no direction is steep"),
    ]

    def largest(bias, precision):
        return 2 * bias / ((1 + bias) * precision)

    flattest = (
        "the flattest direction keeps the promise, but no other: in the steepest one the variance is far too large, "
        "perhaps infinite."
    )
    slips = [
        Slip("flattest decides", flattest, lambda p, b: largest(b, p.min())),
        Slip("average direction", "at your step the average direction keeps the promise; the steeper ones break it.", lambda p, b: largest(b, p.mean())),
        Slip("average direction", "at your step the middle direction keeps the promise; the steeper ones break it.", lambda p, b: largest(b, p.median())),
        Slip("sum of directions", "your step is smaller than it need be: the directions do not add up, each is walked on its own.", lambda p, b: largest(b, p.sum())),
        Slip("a step for each", "that is a step for each direction, and ULA has one for all: which of them do all survive?", lambda p, b: largest(b, p)),
        Slip(
            "first order",
            "close, but a little too large: the bias is ηλ/2 only for small steps. Solve the formula for v itself, and mind "
            "that the bias is a share of the exact variance 1/λ, not of v.",
            lambda p, b: 2 * b / p.max(),
        ),
        Slip("factor 2", "at half of that precision your step would be right; the formula has ηλ/2.", lambda p, b: largest(b, p.max()) / 2),
        Slip("factor 2", "twice too large: the formula has ηλ/2.", lambda p, b: 2 * largest(b, p.max())),
        Slip("edge of stability", "that is the step at which the variance becomes infinite; the bias allowed plays no part in it.", lambda p, b: 2 / p.max()),
        Slip("bias without its share", "the bias allowed is missing from the numerator: without any bias allowed, the step must be zero.", lambda p, b: largest(1.0, p.max()) * 2 / (1 + b)),
        Slip(
            "deviation for variance",
            "at your step the standard deviation is too large by the share allowed; the variance is meant.",
            lambda p, b: 2 * (1 - 1 / (1 + b) ** 2) / p.max(),
        ),
        Slip("precision turned round", "a steep direction, with a large λ, needs a small step; yours grows with λ.", lambda p, b: largest(b, 1 / p.max())),
        Slip("precision turned round", "you take λ for a variance; it is one over the variance.", lambda p, b: largest(b, 1 / p.min())),
        Slip("no precision", "the precisions play no part in yours: twice as steep a direction allows half the step.", lambda p, b: torch.tensor(largest(b, 1.0))),
        Slip("per cent", "bias is a share: 0.05, not 5.", lambda p, b: largest(b / 100, p.max())),
    ]  # fmt: skip
    return compare("step_for_bias", student, lambda precisions, bias: largest(bias, precisions.max()), cases, slips)


@check
def mala_log_ratio(student: Callable) -> Result:
    """Check ``mala_log_ratio(energy, x, proposal, step_size) -> (B,)``, the log of the Metropolis-Hastings ratio."""
    numbers = stream(1)
    x, move = torch.randn(5, 2, generator=numbers), torch.randn(5, 2, generator=numbers)
    cases = [
        (_Quartic(0.2, 1.0), x, x + 0.5 * move, 0.2),
        (_Quartic(-0.4, 1.5), 0.6 * x, 0.6 * x + 0.3 * move, 0.1),
        far(_Quartic(0.0, 1.0), 4 * x, x + move, 0.05),
    ]

    def ratio(
        energy, x, new, eta, *, falls=1.0, back=1.0, forth=1.0, back_at=None, forth_at=None, scale=None, size=_squares
    ) -> Tensor:
        scale = 1 / (4 * eta) if scale is None else scale(eta)
        reverse = x - new + eta * energy.grad(new if back_at is None else x)
        forward = new - x + eta * energy.grad(x if forth_at is None else new)
        log_reverse, log_forward = -scale * size(reverse), -scale * size(forward)
        return falls * (energy(x) - energy(new)) + back * log_reverse - forth * log_forward

    def right(energy, x, proposal, step_size) -> Tensor:
        return ratio(energy, x, proposal, step_size)

    slips = [
        Slip(
            "no proposal densities",
            "that is only the difference of the energies. Langevin proposals are not symmetric: going downhill is "
            "proposed more often than going back, and log q(x | x′) − log q(x′ | x) pays for it.",
            lambda *a: ratio(*a, back=0.0, forth=0.0),
        ),
        Slip(
            "no reverse proposal",
            "the density of the way back, log q(x | x′), is missing.",
            lambda *a: ratio(*a, back=0.0),
        ),
        Slip(
            "no forward proposal",
            "the density of the proposal that was made, log q(x′ | x), is missing.",
            lambda *a: ratio(*a, forth=0.0),
        ),
        Slip(
            "ratio turned round",
            "the whole ratio is upside down: it must be large when the proposal is more likely than where we are.",
            lambda *a: -ratio(*a),
        ),
        Slip(
            "proposals turned round",
            "the two proposal densities are swapped: the way back, q(x | x′), is in the numerator.",
            lambda *a: ratio(*a, back=-1.0, forth=-1.0),
        ),
        Slip(
            "energies turned round",
            "the energies are swapped: log p(x′) − log p(x) = E(x) − E(x′).",
            lambda *a: ratio(*a, falls=-1.0),
        ),
        Slip(
            "gradient at the old state",
            "the way back starts at x′, so its drift uses ∇E(x′); you used ∇E(x) for both.",
            lambda *a: ratio(*a, back_at="x"),
        ),
        Slip(
            "gradients at the wrong ends",
            "each density uses the gradient at its far end. A proposal from b is centred at b − η ∇E(b): in q(a | b) the "
            "gradient belongs to b.",
            lambda *a: ratio(*a, back_at="x", forth_at="x′"),
        ),
        Slip("no square", "each distance ‖…‖ enters squared.", lambda *a: ratio(*a, size=lambda d: _squares(d).sqrt())),
        Slip(
            "batch in one",
            "the squares are summed over the whole batch; sum over the coordinates of each chain, dimension 1.",
            lambda *a: ratio(*a, size=lambda d: d.square().sum()),
        ),
        Slip(
            "variance η",
            "the proposal's variance is 2η, so each squared distance is divided by 2 · 2η = 4η. You divided by 2η.",
            lambda *a: ratio(*a, scale=lambda e: 1 / (2 * e)),
        ),
        Slip(
            "forgot 1/(4η)",
            "the squared distances are not divided by 4η, twice the proposal's variance.",
            lambda *a: ratio(*a, scale=lambda e: 1.0),
        ),
        Slip(
            "forgot 1/(4η)",
            "½ ‖…‖² belongs to a variance of 1; the proposal's variance is 2η, so divide by 4η.",
            lambda *a: ratio(*a, scale=lambda e: 0.5),
        ),
        Slip("exponentiated", "that is the ratio; return its logarithm, which cannot overflow.", lambda *a: ratio(*a).exp()),
        Slip(
            "cut at one",
            "that is the acceptance probability's logarithm. Return the ratio before it is cut at one.",
            lambda *a: ratio(*a).clamp(max=0),
        ),
    ]  # fmt: skip
    return compare("mala_log_ratio", student, right, cases, slips)


@check
def mended_mala(student: Callable) -> Result:
    """Check ``mended_mala(energy, x (B, D), step_size, xi (K, B, D), u (K, B)) -> (K, B, D)``: MALA's path, the bug found."""
    numbers = stream(6)

    def case(energy: _Quartic, far_out: float, step_size: float, n_steps: int, n_chains: int, n_dims: int) -> tuple:
        x = far_out * torch.randn(n_chains, n_dims, generator=numbers)
        xi = torch.randn(n_steps, n_chains, n_dims, generator=numbers)
        u = torch.rand(n_steps, n_chains, generator=numbers)
        return energy, x, step_size, xi, _decisive(energy, x, step_size, xi, u)

    # As many chains as dimensions, or one dimension, would let a forgotten sum broadcast, and grow at every step.
    cases = [
        case(_Quartic(0.3, 1.0), 1.0, 0.4, 12, 5, 2),
        case(_Quartic(-0.4, 2.0), 0.5, 0.25, 9, 4, 3),
        case(_Quartic(0.1, 0.5), 1.0, 0.2, 15, 6, 4),
        far(*case(_Quartic(0.0, 1.0), 5.0, 0.02, 8, 3, 2), about="the chains start hundreds of nats up"),
    ]
    given = (
        "is right as long as its proposals are accepted. After its first refusal it soon accepts what it should refuse, "
        "and drifts to where the energy is high."
    )
    slips = [
        Slip("as given", f"that is still the given chain: each of its chains {given}", lambda *a: _mala(*a, height="new")),
        Slip(
            "worse than given",
            "now the chains go wrong in one place more: after a refusal, the next proposal starts in a wrong direction, and "
            "soon nothing is accepted at all.",
            lambda *a: _mala(*a, height="new", slope="new"),
        ),
        Slip(
            "slope of the refused",
            "the energies are right now, but after a refusal the next proposal starts in a wrong direction, and soon nothing "
            "is accepted at all.",
            lambda *a: _mala(*a, slope="new"),
        ),
        Slip("height never renewed", "every test now compares with the energy of the very first state.", lambda *a: _mala(*a, height="old")),
        Slip("slope never renewed", "every proposal now goes in the direction of the very first state's gradient.", lambda *a: _mala(*a, slope="old")),
        Slip(
            "everything accepted",
            "every proposal is accepted now: without its test this is ULA, too wide by its bias.",
            lambda *a: _mala(*a, accept=lambda log_r, u: torch.ones_like(u, dtype=torch.bool)),
        ),
        Slip("turned round", "the comparison is turned round: the larger the ratio, the easier it is to accept.", lambda *a: _mala(*a, accept=lambda log_r, u: u.log() > log_r)),
        Slip("one decision", "all chains are now accepted or refused together; each has its own test.", lambda *a: _mala(*a, accept=lambda log_r, u: (u.log() < log_r).all().expand(len(u)))),
        Slip("proposals for states", "your path holds the proposals, refused ones too; it should hold the states.", lambda *a: _mala(*a, keep="proposals")),
        Slip(
            "ratio changed",
            "the ratio was right, and is not any more: the proposal densities belong to it.",
            lambda *a: _mala(*a, densities=0.0),
        ),
        Slip("ratio changed", "the ratio was right, and is not any more: its proposal densities are turned round.", lambda *a: _mala(*a, densities=-1.0)),
        Slip("noise changed", "the proposals were right, and are not any more: the noise has variance 2η.", lambda *a: _mala(*a, sigma=lambda eta: eta**0.5)),
    ]  # fmt: skip
    right = f"right: the path of MALA in {len(cases)} cases, refusals and all."

    def reference(energy, x, step_size, xi, u) -> Tensor:
        return _mala(energy, x, step_size, xi, u)

    return compare("mended_mala", student, reference, cases, slips, detached=True, right=right)


def _mala(
    energy: _Quartic, x: Tensor, eta: float, xi: Tensor, u: Tensor, *, height: str = "kept", slope: str = "kept",
    accept: Callable[[Tensor, Tensor], Tensor] = lambda log_r, u: u.log() < log_r, keep: str = "states",
    densities: float = 1.0, sigma: Callable[[float], float] = lambda eta: math.sqrt(2 * eta),
) -> Tensor:  # fmt: skip
    """MALA's path; after each test the height and the slope are "kept" where the state was, or are "new" or "old" for all."""
    now, grad, path = energy(x).detach(), energy.grad(x), []
    for noise, coin in zip(xi, u, strict=True):
        new = x - eta * grad + sigma(eta) * noise
        then, new_grad = energy(new).detach(), energy.grad(new)
        log_q = (_squares(new - x + eta * grad) - _squares(x - new + eta * new_grad)) / (4 * eta)
        yes = accept(now - then + densities * log_q, coin)
        x = torch.where(yes[:, None], new, x)
        now = {"kept": torch.where(yes, then, now), "new": then, "old": now}[height]
        grad = {"kept": torch.where(yes[:, None], new_grad, grad), "new": new_grad, "old": grad}[slope]
        path.append(x if keep == "states" else new)
    return torch.stack(path)


def _decisive(energy: _Quartic, x: Tensor, eta: float, xi: Tensor, u: Tensor) -> Tensor:
    """The uniforms, moved where the right chain's test is so close that rounding could decide it."""
    u = u.clone()

    def note(log_r: Tensor, coin: Tensor) -> Tensor:
        coin[(coin.log() - log_r).abs() < 0.01] *= 0.9
        return coin.log() < log_r

    _mala(energy, x, eta, xi, u, accept=note)
    return u


@check
def leapfrog(student: Callable) -> Result:
    """Check ``leapfrog(energy, x, momentum, step_size, n_steps) -> (x, momentum)``."""
    name = "leapfrog"
    numbers = stream(2)
    x, p = torch.randn(4, 2, generator=numbers), torch.randn(4, 2, generator=numbers)
    cases = [
        (_Quartic(0.1, 1.0), x, p, 0.2, 1),
        (_Quartic(-0.3, 0.5), x, p, 0.1, 4),
        (_Quartic(0.0, 2.0), 0.5 * x, p, 0.15, 3),
    ]

    def right(energy, x, momentum, step_size, n_steps) -> Tensor:
        x, _, _, momentum = right_leapfrog(energy, x, momentum, energy.grad(x), step_size, n_steps)
        return torch.stack((x.detach(), momentum))

    def kicks(energy, x, p, eps, n, *, first=0.5, last=0.5, sign=-1.0, fresh=True, drift=1.0) -> Tensor:
        """A leapfrog whose first and last kick, sign, gradients or drift may be wrong."""
        start = energy.grad(x)
        p = p + sign * first * eps * start
        for i in range(n):
            x = x + drift * eps * p
            grad = energy.grad(x) if fresh else start
            p = p + sign * (1.0 if i + 1 < n else last) * eps * grad
        return torch.stack((x, p))

    def euler(energy, x, p, eps, n) -> Tensor:
        for _ in range(n):
            x, p = x + eps * p, p - eps * energy.grad(x)
        return torch.stack((x, p))

    def negated(*args) -> Tensor:
        x, p = right(*args)
        return torch.stack((x, -p))

    slips = [
        Slip("momentum negated", "right, with the momentum turned round at the end. HMC's proof does that; this function should not.", negated),
        Slip("swapped", "you return (momentum, x); the order is (x, momentum).", lambda *a: right(*a).flip(0)),
        Slip(
            "half-steps missing",
            "position and momentum take full steps in turn, so they are half a step apart: begin with half a kick, "
            "and end with half a kick.",
            lambda *a: kicks(*a, first=1.0, last=0.0),
        ),
        Slip(
            "half-steps missing",
            "position and momentum take full steps in turn: begin with half a kick, and end with half a kick.",
            lambda *a: kicks(*a, first=0.0, last=1.0),
        ),
        Slip(
            "momentum not updated at the end",
            "the last half-kick is missing: the momentum lags half a step behind the position.",
            lambda *a: kicks(*a, last=0.0),
        ),
        Slip("no first half-kick", "the first half-kick is missing: the momentum starts half a step early.", lambda *a: kicks(*a, first=0.0)),
        Slip("last kick full", "the last kick is a full one; it should be half.", lambda *a: kicks(*a, last=1.0)),
        Slip("first kick full", "the first kick is a full one; it should be half.", lambda *a: kicks(*a, first=1.0)),
        Slip("full kicks", "the first and the last kick are full ones; they should be halves.", lambda *a: kicks(*a, first=1.0, last=1.0)),
        Slip("Euler", "that is Euler's method, whose energy grows with every step. Move x with the *new* momentum.", euler),
        Slip("sign", "the momentum is pushed uphill: p − ε ∇E(x).", lambda *a: kicks(*a, sign=1.0)),
        Slip("old gradient", "every kick needs the gradient at the place just reached; yours keeps the first one.", lambda *a: kicks(*a, fresh=False)),
        Slip("one step short", "that is one leapfrog step too few; are the joined kicks counted twice?", lambda e, x, p, s, n: right(e, x, p, s, n - 1) if n > 1 else torch.stack((x, p))),
        Slip("one step too many", "that is one leapfrog step too many.", lambda e, x, p, s, n: right(e, x, p, s, n + 1)),
    ]  # fmt: skip

    return compare(name, student, right, cases, slips, outputs=("the position", "the momentum"))


@check
def swap_log_ratio(student: Callable) -> Result:
    """Check ``swap_log_ratio(energy_i (B,), energy_j (B,), t_i, t_j) -> (B,)``: of an exchange in parallel tempering."""
    numbers = stream(7)

    def energies(n: int, scale: float) -> tuple[Tensor, Tensor]:
        a, b = scale * torch.randn(2, n, generator=numbers)
        return a, b

    cases = [
        (*energies(6, 2.0), 1.0, 3.0),
        (*energies(5, 1.0), 2.0, 2.5),
        Case((*energies(7, 3.0), 4.0, 0.5), "the first temperature is the higher one"),
        far(*energies(5, 900.0), 1.0, 2.0),
    ]

    def right(energy_i, energy_j, t_i, t_j) -> Tensor:
        return (1 / t_i - 1 / t_j) * (energy_i - energy_j)

    ignored = (
        "that is the ratio as if only one of the two densities changed. Both do: x_i leaves T_i and arrives at T_j, while "
        "x_j does the opposite."
    )
    slips = [
        Slip("turned round", "the sign is wrong: a cold chain that stands higher than the hot one must always be exchanged.", lambda a, b, t, s: -right(a, b, t, s)),
        Slip("temperatures forgotten", "that is the test of a move at T = 1; each state has the density exp(−E/T) of its own temperature.", lambda a, b, t, s: a - b),
        Slip("temperatures forgotten", "that is the test of a move at T = 1, and turned round.", lambda a, b, t, s: b - a),
        Slip("one density only", ignored, lambda a, b, t, s: (a - b) / t),
        Slip("one density only", ignored, lambda a, b, t, s: (a - b) / s),
        Slip("one density only", ignored, lambda a, b, t, s: (b - a) / t),
        Slip("one density only", ignored, lambda a, b, t, s: (b - a) / s),
        Slip("temperature for its inverse", "the energies are divided by the temperatures: it is 1/T that counts.", lambda a, b, t, s: (t - s) * (a - b)),
        Slip("temperature for its inverse", "the energies are divided by the temperatures: it is 1/T that counts.", lambda a, b, t, s: (s - t) * (a - b)),
        Slip("difference turned over", "1/T_i − 1/T_j is not 1/(T_i − T_j).", lambda a, b, t, s: (a - b) / (t - s)),
        Slip("difference turned over", "1/T_i − 1/T_j is not 1/(T_j − T_i).", lambda a, b, t, s: (a - b) / (s - t)),
        Slip("no exchange", "that compares the two energies where they are, each over its own temperature; nothing is exchanged.", lambda a, b, t, s: a / t - b / s),
        Slip("no exchange", "that compares the two energies where they are, each over its own temperature; nothing is exchanged.", lambda a, b, t, s: b / s - a / t),
        Slip("after only", "that is the density after the exchange; divide by the one before.", lambda a, b, t, s: -b / t - a / s),
        Slip("before only", "that is the density before the exchange, turned over; the one after belongs to the ratio, too.", lambda a, b, t, s: a / t + b / s),
        Slip("energies added", "both energies enter with the same sign in yours; if they are equal, an exchange changes nothing.", lambda a, b, t, s: (1 / t - 1 / s) * (a + b)),
        Slip("ratio of energies", "a ratio of densities is a difference of energies.", lambda a, b, t, s: (1 / t - 1 / s) * (a / b)),
        Slip("exponentiated", "that is the ratio; return its logarithm, which cannot overflow.", lambda *a: right(*a).exp()),
        Slip("cut at one", "that is the acceptance probability's logarithm. Return the ratio before it is cut at one.", lambda *a: right(*a).clamp(max=0)),
        Slip("batch in one", "every ladder has its own test: one number each, no sum over the batch.", lambda *a: right(*a).sum()),
        Slip("batch in one", "every ladder has its own test: one number each, no mean over the batch.", lambda *a: right(*a).mean()),
    ]  # fmt: skip
    return compare("swap_log_ratio", student, right, cases, slips)


@check
def ais_log_weights(student: Callable) -> Result:
    """Check ``ais_log_weights(betas (T + 1,), log_ratio (T, B)) -> (B,)``."""
    numbers = stream(3)
    uneven = torch.tensor([0.0, 0.05, 0.2, 0.6, 1.0])
    cases = [
        (uneven, torch.randn(4, 6, generator=numbers) * 3),
        (torch.tensor([0.0, 0.3, 1.0]), torch.randn(2, 5, generator=numbers) - 40),
        far(uneven, torch.randn(4, 6, generator=numbers) * 400),
    ]

    def right(betas: Tensor, log_ratio: Tensor) -> Tensor:
        return (betas.diff()[:, None] * log_ratio).sum(0)

    slips = [
        Slip(
            "β itself",
            "you weigh each state by β; what counts is the change of β that it meets, β_t − β_{t−1}.",
            lambda b, r: (b[1:, None] * r).sum(0),
        ),
        Slip(
            "β itself",
            "you weigh each state by the β before the change; what counts is the change, β_t − β_{t−1}.",
            lambda b, r: (b[:-1, None] * r).sum(0),
        ),
        Slip("sign", "the sign is turned round: β rises, so its changes are positive.", lambda b, r: -right(b, r)),
        Slip("no β", "each term is multiplied by its change of β; you added the bare ratios.", lambda b, r: r.sum(0)),
        Slip("even steps", "the β are not evenly spaced: use their differences, not 1/T.", lambda b, r: r.mean(0)),
        Slip("mean for sum", "the logarithms of the factors add up: sum over t, not mean.", lambda b, r: right(b, r) / len(r)),
        Slip("exponentiated", "those are the weights; return their logarithms, which cannot overflow.", lambda b, r: right(b, r).exp()),
        Slip("order", "the order of the temperatures is turned round: row t of log_ratio meets the change from β_t to β_{t+1}.",
             lambda b, r: right(b, r.flip(0))),
    ]  # fmt: skip
    return compare("ais_log_weights", student, right, cases, slips)


@check
def log_z_estimate(student: Callable) -> Result:
    """Check ``log_z_estimate(log_weights (N,)) -> scalar``: the log of the mean weight."""
    numbers = stream(4)
    spread = torch.randn(7, generator=numbers) * 2
    cases = [
        (spread,),
        far(spread.flip(0)[:5] - 900.0, about="the log weights are around −900"),
        far(spread + 300.0, about="the log weights are around 300"),
        far(spread * 200),
    ]

    def right(log_weights: Tensor) -> Tensor:
        return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))

    slips = [
        Slip(
            "mean of logs",
            "that is the mean of the logarithms. The weights themselves average to Z, so take the mean first; "
            "the mean of the logarithms is always lower (Jensen).",
            lambda w: w.mean(),
        ),
        Slip("sum for mean", "that is the log of the sum: subtract log N.", lambda w: torch.logsumexp(w, 0)),
        Slip("log N turned round", "log N is subtracted, not added.", lambda w: torch.logsumexp(w, 0) + math.log(len(w))),
        Slip("divided by N", "dividing the logarithm by N is not dividing the sum: subtract log N.", lambda w: torch.logsumexp(w, 0) / len(w)),
        Slip(
            "overflow",
            "right on the first case, but exp() of −900 is zero and of +300 too large for a float. Subtract the "
            "largest log weight first, or let torch.logsumexp do it.",
            lambda w: w.exp().mean().log(),
        ),
        Slip("exponentiated", "that is Z; return its logarithm.", lambda w: w.exp().mean()),
        Slip("largest only", "that is the largest log weight alone; the others count too.", lambda w: w.max()),
        Slip("sign", "the sign is turned round.", lambda w: -right(w)),
    ]  # fmt: skip
    return compare("log_z_estimate", student, right, cases, slips)
