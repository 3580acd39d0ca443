"""The exercise checks of Part A, the energy-based models of faces."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..models import TenLayerEnergy
from ..samplers import constant, geometric, power_decay
from .cases import Case, far, stream
from .compare import compare, observe
from .core import Result, Slip, attempt, check, told


@check
def metropolis_test(student: Callable) -> Result:
    """Check ``metropolis_test(x, proposal, log_ratio, u) -> (x_new (B, C, H, W), accepted (B,) bool)``."""
    name = "metropolis_test"
    cases = _metropolis_cases()
    decisions = []  # the student's, case by case
    for x, proposal, log_ratio, u in cases:
        value, failure = observe(name, student, (x, proposal, log_ratio, u), ("x", "proposal", "log_ratio", "u"))
        failure = _not_a_pair(name, value, x) if failure is None else failure
        if failure is not None:
            return failure
        decisions.append((value[0].detach(), value[1]))

    accepted = [decision.bool() for _, decision in decisions]
    right = [_accept(log_ratio, u) for _, _, log_ratio, u in cases]
    if not all(map(torch.equal, accepted, right)):
        return _wrong_decision(name, accepted, cases)
    if any(decision.dtype != torch.bool for _, decision in decisions):
        return told(name, False, "your decisions are right; return them as booleans, which is what a comparison gives.", "not boolean")  # fmt: skip

    for (x_new, _), (x, proposal, *_), yes in zip(decisions, cases, right, strict=True):
        if torch.equal(x_new[~yes], x[~yes]) and torch.allclose(x_new[yes], proposal[yes], atol=1e-5):
            continue
        if torch.equal(x_new[yes], x[yes]) and torch.equal(x_new[~yes].isnan(), proposal[~yes].isnan()):
            return told(name, False, "the branches are swapped: an accepted image moves to its proposal, a rejected one stays.", "swapped")  # fmt: skip
        if torch.equal(x_new.isnan(), proposal.isnan()) and torch.allclose(x_new, proposal, equal_nan=True):
            return told(name, False, "you return the proposal even where it was rejected; a rejected image stays where it was.", "always moves")  # fmt: skip
        if x_new[~yes].isnan().any():
            return told(name, False, "a rejected proposal left NaN in your image: 0 · NaN is NaN, so accept · new + (1 − accept) · old does not forget it. Choose with torch.where.", "NaN spreads")  # fmt: skip
        if torch.equal(x_new, x):
            return told(name, False, "your decisions are right, but no image moves: an accepted one is its proposal from now on.", "never moves")  # fmt: skip
        if torch.allclose(x_new[~yes], x[~yes], atol=1e-3) and torch.allclose(x_new[yes], proposal[yes], atol=1e-3):
            return told(name, False, "a rejected image must be an exact copy of the old one; yours differs by rounding. Choose with torch.where instead of arithmetic.", "rounding")  # fmt: skip
        return told(name, False, "your decisions are right, but the images do not follow them: image b is proposal[b] where accepted[b], else x[b].")  # fmt: skip
    shares = f"{sum(int(yes.sum()) for yes in right)} of {sum(len(yes) for yes in right)}"
    return told(name, True, f"right: {shares} proposals accepted, image by image, and no NaN got through.")


def _accept(log_ratio: Tensor, u: Tensor) -> Tensor:
    return torch.log(u) < log_ratio


def _metropolis_cases() -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """x, proposal, log_ratio, u: decisions of both kinds with NaN among them, without, and all of one kind."""
    numbers = stream(0)
    # No side of the images is 8, so that (8,) against (8, 2, 3, 5) is an error and not a silent broadcast.
    ratios = [
        torch.tensor([-0.2, math.nan, 0.7, -3.0, -math.inf, 0.1, -0.9, math.inf]),
        torch.tensor([-0.2, -1.5, -0.6, -3.0, 0.4, -0.1, -0.9, -2.0]),
        torch.tensor([-6.0, -7.0, -9.0, -6.0, -8.0, -7.5, -6.5, -9.5]),
        torch.tensor([0.1, 0.7, 2.0, 0.3, 0.2, 0.5, 1.0, 0.4]),
    ]
    uniforms = [
        torch.tensor([0.5, 0.3, 0.9, 0.4, 0.2, 0.15, 0.6, 0.8]),
        torch.tensor([0.3, 0.1, 0.7, 0.4, 0.9, 0.95, 0.2, 0.05]),
        torch.tensor([0.5, 0.3, 0.9, 0.4, 0.2, 0.15, 0.6, 0.8]),
        torch.tensor([0.5, 0.9, 0.3, 0.8, 0.4, 0.7, 0.6, 0.2]),
    ]
    cases = []
    for log_ratio, u in zip(ratios, uniforms, strict=True):
        x, proposal = torch.rand((2, 8, 2, 3, 5), generator=numbers) * 2 - 1
        proposal[log_ratio.isnan() | (log_ratio == -math.inf)] = math.nan
        cases.append((x, proposal, log_ratio, u))
    return cases


def _not_a_pair(name: str, value: object, x: Tensor) -> Result | None:
    """The result that says what is wrong with the kind of the student's value, or None."""
    if value is None:
        return told(name, False, "your function returns nothing; is the return missing?")
    if not (isinstance(value, (tuple, list)) and len(value) == 2):
        return told(
            name, False, f"two things are wanted, the new images and the decisions; yours is a {type(value).__name__}."
        )
    x_new, accepted = value
    if not isinstance(x_new, Tensor) or x_new.shape != x.shape:
        got = tuple(x_new.shape) if isinstance(x_new, Tensor) else type(x_new).__name__
        return told(name, False, f"the new images must have the old ones' shape {tuple(x.shape)}; yours is {got}.")
    if isinstance(accepted, (bool, float, int)) or (isinstance(accepted, Tensor) and accepted.numel() == 1):
        return told(name, False, "one decision for the whole batch: every image is a chain of its own, and needs its own.", "one decision")  # fmt: skip
    if not isinstance(accepted, Tensor) or accepted.shape != x.shape[:1]:
        got = tuple(accepted.shape) if isinstance(accepted, Tensor) else type(accepted).__name__
        return told(name, False, f"the decisions must have shape ({len(x)},), one an image; yours is {got}.")
    return None


def _wrong_decision(name: str, accepted: list[Tensor], cases: list[tuple]) -> Result:
    slips = [
        Slip("turned round", "the comparison is turned round: the larger the ratio, the easier it is to accept.", lambda r, u: torch.log(u) > r),
        Slip("turned round", "the comparison is turned round: the larger the ratio, the easier it is to accept.", lambda r, u: ~_accept(r, u)),
        Slip(
            "no log",
            "u is compared with the logarithm of the ratio: bring both to the same scale first.",
            lambda r, u: u < r,
        ),
        Slip(
            "two scales",
            "log(u) is compared with exp(log_ratio): the first is negative, the second positive, so all is accepted. "
            "Use one of the two, not both.",
            lambda r, u: torch.log(u) < torch.exp(r),
        ),
        Slip(
            "NaN accepted",
            "a proposal with a ratio of NaN is accepted. Every comparison with NaN is false, so ask for the condition "
            "to accept, not for the negation of the one to reject.",
            lambda r, u: ~(torch.log(u) >= r),
        ),
        Slip("always accepts", "you accept everything: compare u with the ratio.", lambda r, u: torch.ones_like(u, dtype=torch.bool)),
        Slip("never accepts", "you accept nothing: compare u with the ratio.", lambda r, u: torch.zeros_like(u, dtype=torch.bool)),
        Slip(
            "only downhill",
            "you accept only what is at least as likely as before, and u plays no part: that is an optimiser. "
            "A chain must sometimes go uphill, with probability exp(log_ratio).",
            lambda r, u: r > 0,
        ),
        Slip("one u", "all images share the first u: each needs its own, or their chains are tied together.", lambda r, u: _accept(r, u[:1])),
        Slip("one ratio", "all images share one ratio: each has its own.", lambda r, u: _accept(r[:1], u)),
        Slip("one ratio", "all images share one ratio, the mean: each has its own.", lambda r, u: _accept(r.mean(), u)),
    ]  # fmt: skip
    for slip in slips:
        if all(torch.equal(mine, slip.wrong(r, u)) for mine, (_, _, r, u) in zip(accepted, cases, strict=True)):
            return told(name, False, slip.hint, slip.name)
    if all(bool(mine.all()) or not bool(mine.any()) for mine in accepted):
        return told(name, False, "one decision for the whole batch: every image is a chain of its own, and needs its own.", "one decision")  # fmt: skip
    for mine, (_, _, log_ratio, u) in zip(accepted, cases, strict=True):
        wrong = (mine != _accept(log_ratio, u)).nonzero().flatten().tolist()
        if wrong:
            b = wrong[0]
            did = "accepted" if mine[b] else "rejected"
            return told(name, False, f"an image with log_ratio = {log_ratio[b]:.2g} and u = {u[b]:.2g} was {did}.")
    raise AssertionError("called only when a decision is wrong")


@check
def noise_reach(student: Callable) -> Result:
    """Check ``noise_reach(schedule, n_steps) -> float``: √(Σ 2 η_t), t = 1, ..., n_steps."""
    name = "noise_reach"
    asked: list[int] = []

    def watched(t: int, n_steps: int) -> float:
        asked.append(t)
        return 0.5 + 0.1 * t

    _, failure = attempt(name, student, watched, 4)
    if failure is not None:
        return failure
    if any(getattr(t, "ndim", 0) for t in asked):
        return told(name, False, "ask the schedule for one step at a time, with t a whole number: a constant schedule gives a "
                    "single number, not one for each t.", "all at once")  # fmt: skip
    if 0 in asked:
        return told(name, False, "your steps begin at t = 0; a schedule counts t = 1, …, n_steps. At 0 the decay a / t^b divides by zero.", "t from 0")  # fmt: skip

    cases = [(power_decay(2.0, 0.5), 9), (geometric(3.0, 0.1), 5), (constant(0.4), 20)]

    def sizes(schedule, n: int) -> Tensor:
        return torch.tensor([float(schedule(t, n)) for t in range(1, n + 1)], dtype=torch.float64)

    slips = [
        Slip(
            "deviations added",
            "you add standard deviations. Of independent noises the variances add; take one root at the end.",
            lambda s, n: (2 * sizes(s, n)).sqrt().sum(),
        ),
        Slip("deviations added", "you add standard deviations, and the factor 2 is missing: of independent noises the variances add.", lambda s, n: sizes(s, n).sqrt().sum()),
        Slip(
            "factor 2",
            "the factor 2 is missing: one Langevin step of size η adds noise of variance 2η.",
            lambda s, n: sizes(s, n).sum().sqrt(),
        ),
        Slip(
            "factor outside the root",
            "the 2 belongs to the variance of each step, so it stands under the root.",
            lambda s, n: 2 * sizes(s, n).sum().sqrt(),
        ),
        Slip("no root", "that is the variance; the standard deviation is its root.", lambda s, n: 2 * sizes(s, n).sum()),
        Slip("no root", "a root is missing: variances add up to a variance (and each is 2η).", lambda s, n: sizes(s, n).sum()),
        Slip("squared step sizes", "the variance of one step is 2η already; do not square η.", lambda s, n: (2 * sizes(s, n).square()).sum().sqrt()),
        Slip("squared step sizes", "the variance of one step is 2η, not (2η)².", lambda s, n: (2 * sizes(s, n)).square().sum().sqrt()),
        Slip("last step only", "that is the noise of the last step alone; all the steps before it have moved the pixel too.", lambda s, n: (2 * sizes(s, n)[-1]).sqrt()),
        Slip("first step only", "that is the noise of the first step alone; all the others move the pixel too.", lambda s, n: (2 * sizes(s, n)[0]).sqrt()),
        Slip("one step too few", "the last step is missing: range(1, n) ends at n − 1.", lambda s, n: (2 * sizes(s, n)[:-1].sum()).sqrt()),
        Slip("mean for sum", "that is the average noise of a step; the steps add up.", lambda s, n: (2 * sizes(s, n).mean()).sqrt()),
        Slip(
            "one size for all",
            "you took one step size for all steps; the schedule changes it from step to step.",
            lambda s, n: (2 * n * sizes(s, n)[-1]).sqrt(),
        ),
        Slip("one size for all", "you took the first step size for all steps; the schedule changes it.", lambda s, n: (2 * n * sizes(s, n)[0]).sqrt()),
    ]  # fmt: skip
    return compare(name, student, lambda schedule, n_steps: (2 * sizes(schedule, n_steps).sum()).sqrt(), cases, slips)


@check
def predicted_mean(student: Callable) -> Result:
    """Check ``predicted_mean(network) -> scalar``: the mean energy of any batch in training mode, from the last layers alone."""
    numbers = stream(1)
    cases = [
        Case((_pinned_network(2, numbers).train(),)),
        Case((_pinned_network(1, numbers).eval(),), "the network is given in evaluation mode"),
        Case((_pinned_network(3, numbers).train(),)),
    ]

    def mean(energy: Callable[[_LastLayers], Tensor]) -> Callable[[nn.Module], Tensor]:
        return lambda network: energy(_last_layers(network))

    gamma = "γ scales features whose batch mean is zero, so it cannot move the mean"
    running = "the averages that a batch norm has stored belong to evaluation mode; in training mode it takes the batch's own."
    slips = [
        Slip("scale for shift", f"{gamma}; which parameter does?", mean(lambda at: at.weight @ at.gamma + at.bias)),
        Slip("scale for shift", f"{gamma}; and the bias of the linear layer is missing.", mean(lambda at: at.weight @ at.gamma)),
        Slip("no bias", "the bias of the linear layer is missing.", mean(lambda at: at.weight @ at.beta)),
        Slip("bias subtracted", "the sign of the linear layer's bias is wrong.", mean(lambda at: at.weight @ at.beta - at.bias)),
        Slip("scale times shift", "β is added after the scaling, so γ does not multiply it.", mean(lambda at: at.weight @ (at.gamma * at.beta) + at.bias)),
        Slip("scale stays", f"{gamma}: it drops out.", mean(lambda at: at.weight @ (at.gamma + at.beta) + at.bias)),
        Slip("no shift", "that would be right without the shift: β moves the mean of every feature.", mean(lambda at: at.bias)),
        Slip("mean for sum", "a linear layer sums over the features; you averaged.", mean(lambda at: (at.weight * at.beta).mean() + at.bias)),
        Slip("no weight", "the linear layer weighs the features before it sums them.", mean(lambda at: at.beta.sum() + at.bias)),
        Slip("no weight", "the linear layer weighs the features before it sums them.", mean(lambda at: at.beta.mean() + at.bias)),
        Slip("stored averages", running, mean(lambda at: at.weight @ at.stored_mean + at.bias)),
        Slip("stored averages", running, mean(lambda at: at.weight @ (at.beta + at.stored_mean) + at.bias)),
        Slip("stored averages", running, mean(lambda at: at.weight @ (at.beta - at.gamma * at.stored_mean / at.stored_scale) + at.bias)),
        Slip("minus the energy", "that is the score, minus the energy; the network's output is the energy itself.", mean(lambda at: -(at.weight @ at.beta + at.bias))),
    ]  # fmt: skip

    def reference(network: nn.Module) -> Tensor:
        at = _last_layers(network)
        return at.weight @ at.beta + at.bias

    return compare("predicted_mean", student, reference, cases, slips)


class _LastLayers(NamedTuple):
    """Of a ten-layer energy: its last batch norm, all (D,), and its linear layer, (D,) and ()."""

    gamma: Tensor
    beta: Tensor
    stored_mean: Tensor
    stored_scale: Tensor
    weight: Tensor
    bias: Tensor


def _last_layers(network: nn.Module) -> _LastLayers:
    state = [tensor.detach() for tensor in network.state_dict().values()]
    gamma, beta, stored_mean, stored_variance, _, weight, bias = state[-7:]
    return _LastLayers(gamma, beta, stored_mean, (stored_variance + 1e-5).sqrt(), weight[0], bias[0])


def _pinned_network(width: int, numbers: torch.Generator) -> TenLayerEnergy:
    """A small ten-layer energy with batch norms that have been somewhere, which must not be run."""
    network = TenLayerEnergy(size=16, width=width)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=numbers))
        elif tensor.is_floating_point():
            tensor.copy_(0.5 + torch.randn(tensor.shape, generator=numbers))
    for module in network.net:
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(_not_run)
    return network


def _not_run(*_) -> None:
    raise RuntimeError("the mean is to be predicted: do not run the network")


@check
def diagnose(student: Callable) -> Result:
    """Check ``diagnose(accepted, energies, moved), each (K, B) -> 0, 1, 2 or 3``: still, wandering, travelling, settled."""
    numbers = stream(3)
    cases = [
        _traces(kind, numbers, n_steps, n_chains)
        for kind, n_steps, n_chains in zip(
            (1, 3, 0, 2, 3, 1, 2, 1, 0, 3, 2), (100, 120, 50, 61, 200, 240, 150, 75, 90, 81, 64), (8, 12, 5, 8, 9, 16, 6, 10, 4, 8, 7), strict=True
        )
    ]  # fmt: skip
    cases += [
        Case(_traces(1, numbers, 1000, 40, chosen=0.008, pixels=40), "hardly a proposal is ever accepted"),
        Case(_traces(1, numbers, 300, 10, chosen=0.3, stuck=True), "two of the chains are stuck"),
        Case(_traces(2, numbers, 90, 7, stuck=True), "two of the chains are stuck"),
        Case(_traces(3, numbers, 320, 6, chosen=0.8, afar=True), "the chains begin far from where they settle"),
    ]

    def confused(**kinds: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """The right diagnosis, with some kinds taken for another."""
        names = ("still", "wanders", "travels", "settled")
        return lambda *a: torch.tensor(kinds.get(names[_diagnosis(*a)], int(_diagnosis(*a))))

    slips = [
        Slip(
            "calm is settled",
            "you call chains settled that are not. A flat energy and a healthy acceptance are also what a random walk has where "
            "the energy says nothing. Ask whether the chains are still getting away from their start.",
            confused(wanders=3),
        ),
        Slip("all settled", "you call every chain that moves settled: acceptance alone says no more than that it moves.", confused(wanders=3, travels=3)),
        Slip("all wander", "you call every chain that moves a wanderer. How does the squared distance grow: like k, like k², or not at all?", confused(travels=1, settled=1)),
        Slip("travels wanders", "you call journeys random walks: a squared distance that grows like k² has one direction.", confused(travels=1)),
        Slip("wanders travels", "you call random walks journeys: a random walk comes further all the time, too, but slower and slower.", confused(wanders=2)),
        Slip("turned round", "random walks and journeys are exchanged: of the two, the squared distance of a journey grows faster.", confused(wanders=2, travels=1)),
        Slip("settled travels", "you call settled chains travellers: they have come far from where they began, and come no further.", confused(settled=2)),
        Slip("settled wanders", "you call settled chains wanderers: they have come far from where they began, and come no further.", confused(settled=1)),
        Slip("settled is still", "a settled chain does not stand still: it moves all the time, within its density.", confused(settled=0)),
        Slip("still is settled", "a chain that never moves has not settled: it has not begun.", confused(still=3)),
        Slip("still wanders", "you call chains wanderers that never move.", confused(still=1)),
        Slip("counted from 1", "the places in KINDS are counted from 0.", lambda *a: _diagnosis(*a) + 1),
    ]  # fmt: skip

    def reference(accepted, energies, moved) -> Tensor:
        return _diagnosis(accepted, energies, moved)

    return compare("diagnose", student, reference, cases, slips, right=f"right, for all of {len(cases)} samplers.")


def _diagnosis(accepted: Tensor, energies: Tensor, moved: Tensor) -> Tensor:
    distance = moved.mean(1)
    if not accepted.any():
        return torch.tensor(0)
    growth = torch.log2(distance[-1] / distance[len(distance) // 2 - 1])
    return torch.tensor(3 if growth < 0.5 else 1 if growth < 1.5 else 2)


def _traces(
    kind: int,
    numbers: torch.Generator,
    n_steps: int,
    n_chains: int,
    *,
    chosen: float | None = None,
    stuck: bool = False,
    afar: bool = False,
    pixels: int = 200,
) -> tuple[Tensor, Tensor, Tensor]:
    """Traces of so many chains that stand still (0), wander (1), travel (2) or have settled (3).

    Args:
        chosen: the share that is accepted, in place of one drawn for the kind; none in the first and in the last step.
        stuck: the first and the last chain never move.
        afar: chains that settle begin far outside, and need a few dozen steps.
    """
    share, size, level = torch.rand(3, generator=numbers).tolist()
    fewest = (0.0, 0.5, 0.85, 0.3)[kind]
    drawn = fewest + (0.99 - fewest) * share if kind else 0.0
    accepted = torch.rand(n_steps, n_chains, generator=numbers) < (drawn if chosen is None else chosen)
    if chosen is not None:
        accepted[[0, -1]] = False
    if stuck:
        accepted[:, [0, -1]] = False
    moves = accepted[..., None].float()
    noise = torch.randn(n_steps, n_chains, pixels, generator=numbers)
    chance = torch.randn(n_steps, n_chains, generator=numbers)
    start = torch.randn(n_chains, pixels, generator=numbers) * (3 if afar else 1)
    energies = 1000 * level + 3 * (chance - chance.mean(1, keepdim=True))  # pinned: the mean is the same at every step
    if kind == 0:
        path, energies = start.expand(noise.shape), energies[:1].expand(n_steps, n_chains).clone()
    elif kind == 1:
        path = start + (moves * noise).cumsum(0)
    elif kind == 2:
        path = start + (moves * (start.flip(0) + 0.2 * noise)).cumsum(0)
        energies = energies - torch.arange(n_steps)[:, None] * (0.5 + level)
    else:
        states, x, keep = [], start, 1 - 15 / n_steps if afar else 0.6
        for yes, step in zip(moves, noise, strict=True):
            x = x + yes * ((1 - keep**2) ** 0.5 * step - (1 - keep) * x)  # keeps variance 1
            states.append(x)
        path = torch.stack(states)
        energies = 1000 * level + (path.square().sum(2) / 2 if afar else 3 * chance)
    return accepted, energies, 10 ** (3 * size - 3) * (path - start).square().mean(2)


@check
def auroc_by_pairs(student: Callable) -> Result:
    """Check ``auroc_by_pairs(energy_in (N,), energy_out (M,)) -> scalar``."""
    name = "auroc_by_pairs"
    numbers = stream(2)

    def levels(n: int, m: int, high: int) -> tuple[Tensor, Tensor]:
        """Whole numbers, so that there are ties; few enough to have many."""
        inside = torch.randint(high, (n,), generator=numbers).float()
        return inside, torch.randint(high, (m,), generator=numbers).float() + 1

    def right(energy_in: Tensor, energy_out: Tensor) -> Tensor:
        gap = energy_out[None] - energy_in[:, None]
        return (gap > 0).double().mean() + (gap == 0).double().mean() / 2

    # Comparing entry by entry is possible only when the two are equally many: the last case tells that slip.
    small = torch.randn(8, generator=numbers), torch.randn(5, generator=numbers) + 0.7
    cases = [levels(9, 14, 6), small, levels(6, 4, 3), levels(12, 12, 5)]
    cases += [far(*(e * 400 for e in levels(7, 9, 4)), about="the energies are hundreds of nats apart")]

    def beats(i: Tensor, o: Tensor) -> Tensor:
        return (o[None] > i[:, None]).double()

    def ties(i: Tensor, o: Tensor) -> Tensor:
        return (o[None] == i[:, None]).double()

    turned = "the direction is turned round: an outlier should have the higher energy, and that pair counts one."
    threshold = "you set a threshold at a mean and counted one set alone, or each by itself. No threshold is needed: compare every pair."
    entries = "you compared the first with the first, the second with the second…; every energy_in meets every energy_out. Let broadcasting make the (N, M) table."
    slips = [
        *(Slip("entry by entry", entries, lambda i, o, t=tie: ((o > i).double() + t * (o == i)).mean()) for tie in (0.0, 0.5, 1.0)),
        Slip("per cent", "a share between 0 and 1 is wanted, not per cent.", lambda i, o: 100 * right(i, o)),
        Slip("direction", turned, lambda i, o: right(o, i)),
        Slip("direction", turned, lambda i, o: beats(o, i).mean()),
        Slip("direction", turned, lambda i, o: (beats(o, i) + ties(o, i)).mean()),
        Slip("ties ignored", "pairs with equal energies count one half; you count them as lost.", lambda i, o: beats(i, o).mean()),
        Slip("ties whole", "pairs with equal energies count one half; you count them as won.", lambda i, o: (beats(i, o) + ties(i, o)).mean()),
        Slip(
            "ties left out",
            "you left pairs with equal energies out of the count; each counts one half of a pair won.",
            lambda i, o: beats(i, o).sum() / (1 - ties(i, o)).sum(),
        ),
        Slip("not divided", "that is the number of pairs; divide by how many there are, N · M.", lambda i, o: (beats(i, o) + ties(i, o) / 2).sum()),
        Slip("threshold", threshold, lambda i, o: (o > i.mean()).double().mean()),
        Slip("threshold", threshold, lambda i, o: (i < o.mean()).double().mean()),
        Slip("threshold", threshold, lambda i, o: (o > torch.cat((i, o)).mean()).double().mean()),
        Slip("threshold", threshold, lambda i, o: _accuracy(i, o, torch.cat((i, o)).mean())),
        Slip("threshold", threshold, lambda i, o: _accuracy(i, o, (i.mean() + o.mean()) / 2)),
        Slip("means compared", "you compared the two means, which is a single pair; compare every pair.", lambda i, o: (o.mean() > i.mean()).double()),
    ]  # fmt: skip
    return compare(name, student, right, cases, slips)


def _accuracy(inside: Tensor, outside: Tensor, threshold: Tensor) -> Tensor:
    """The share on the right side of a threshold."""
    return torch.cat((inside <= threshold, outside > threshold)).double().mean()
