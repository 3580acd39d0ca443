"""The tables of Part A."""

import copy
import functools
import math

import numpy as np
import pytest
import torch
from checks import table
from scipy.stats import mannwhitneyu

from gen_utils.checks import ebm_bitmoji as checks
from gen_utils.checks.cases import hidden_cases, stream

# --- right answers -------------------------------------------------------------------------------


def move(x, proposal, accepted):
    return torch.where(accepted[:, None, None, None], proposal, x), accepted


def metropolis(x, proposal, log_ratio, u):
    return move(x, proposal, torch.log(u) < log_ratio)


def metropolis_in_a_copy(x, proposal, log_ratio, u):
    accepted = u < log_ratio.exp().clamp(max=1)
    x = x.clone()
    x[accepted] = proposal[accepted]
    return x, accepted


def variances(schedule, n_steps, first=1, last=0):
    return [2 * schedule(t, n_steps) for t in range(first, n_steps + 1 + last)]


def reach(schedule, n_steps):
    return math.sqrt(sum(variances(schedule, n_steps)))


def last(network):
    """β, γ, the norm, the head's weights (D,) and its bias ()."""
    norm, head = network.net[-3], network.net[-1]
    return norm.bias, norm.weight, norm, head.weight[0], head.bias[0]


def predicted(network):
    beta, _, _, weight, bias = last(network)
    return weight @ beta + bias


def predicted_by_names(network):
    """The layers found by their kind, and NumPy for the rest."""
    norm = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)][-1]
    (head,) = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    return np.dot(head.weight.detach().numpy()[0], norm.bias.detach().numpy()) + head.bias.item()


def grown(accepted, energies, moved):
    m = moved.mean(1)
    return 0 if m[-1] == 0 else m[-1] / m[len(m) // 2 - 1]


def diagnosis(*traces):
    ratio = grown(*traces)
    return 0 if ratio == 0 else 3 if ratio < 1.5 else 1 if ratio < 2.9 else 2


def diagnosis_by_fit(accepted, energies, moved):
    """The slope of a line through the later half, both axes logarithmic."""
    if not accepted.any():
        return 0
    k = np.arange(1, len(moved) + 1)
    half = len(k) // 2
    slope = np.polyfit(np.log(k[half:]), np.log(moved.mean(1).numpy()[half:]), 1)[0]
    return np.int64(3 if slope < 0.5 else 1 if slope < 1.5 else 2)


def diagnosis_by_shape(accepted, energies, moved):
    """Which of three curves lies closest, each scaled to the trace's end."""
    m = moved.double().mean(1)
    if float(m.max()) == 0:
        return torch.tensor(0)
    k = torch.arange(1, len(m) + 1) / len(m)
    curves = {3: torch.ones_like(k), 1: k, 2: k**2}
    off = {kind: float((m / m[-1] - curve).abs()[len(m) // 4 :].mean()) for kind, curve in curves.items()}
    return min(off, key=off.get)


def diagnosis_by_increments(accepted, energies, moved):
    """How much was gained in the last third against the first."""
    m = moved.mean(1).tolist()
    third = len(m) // 3
    first, final = m[third] - m[0], m[-1] - m[-1 - third]
    if m[-1] == 0.0:
        return 0
    if final < 0.35 * first or final < 0.15 * m[-1]:
        return 3
    return 1 if final < 2 * first else 2


def diagnosis_by_chains(accepted, energies, moved):
    """Every chain that moves on its own, then the median."""
    if not bool(accepted.sum()):
        return 0
    growth = torch.log2(moved[-1] / moved[len(moved) // 2 - 1]).nanmedian()
    return int(torch.bucketize(growth, torch.tensor([0.5, 1.5])).apply_(lambda place: [3, 1, 2][place]))


def pairs(energy_in, energy_out):
    gap = energy_out - energy_in[:, None]
    return (gap > 0).float().mean() + (gap == 0).float().mean() / 2


def metropolis_by_rows(x, proposal, log_ratio, u):
    accepted = [bool(math.log(float(own)) < float(r)) for r, own in zip(log_ratio, u, strict=True)]
    rows = [new if yes else old for yes, new, old in zip(accepted, proposal, x, strict=True)]
    return torch.stack(rows), torch.tensor(accepted)


def metropolis_by_index(x, proposal, log_ratio, u):
    accepted = log_ratio > u.double().log()
    return torch.stack((x, proposal))[accepted.long(), torch.arange(len(x))], accepted


def metropolis_without_nan(x, proposal, log_ratio, u):
    accepted = torch.nan_to_num(log_ratio, nan=-math.inf, neginf=-math.inf, posinf=math.inf) - u.log() > 0
    return [torch.where(accepted.reshape(-1, 1, 1, 1), proposal, x), accepted]


def pairs_in_loops(energy_in, energy_out):
    won = [1.0 if o > i else 0.5 if o == i else 0.0 for i in energy_in.tolist() for o in energy_out.tolist()]
    return sum(won) / len(won)


def pairs_by_ranks(energy_in, energy_out):
    won = mannwhitneyu(energy_out.numpy(), energy_in.numpy()).statistic
    return won / (len(energy_in) * len(energy_out))


RIGHT = {
    "metropolis_test": [
        metropolis,
        metropolis_in_a_copy,
        metropolis_by_rows,
        metropolis_by_index,
        metropolis_without_nan,
    ],
    "noise_reach": [
        reach,
        lambda s, n: torch.tensor(variances(s, n)).sum().sqrt(),
        lambda s, n: np.linalg.norm([np.sqrt(2 * s(t, n)) for t in range(1, n + 1)]),
        lambda s, n: functools.reduce(math.hypot, [math.sqrt(2 * s(t, n)) for t in range(1, n + 1)], 0.0),
        lambda s, n: (2 * n * np.mean([s(t + 1, n) for t in range(n)])) ** 0.5,
    ],
    "predicted_mean": [
        predicted,
        predicted_by_names,
        lambda n: n.net[-1](n.net[-3].bias).squeeze(),
        lambda n: n.net[-1](n.net[-3].bias[None])[0, 0].item(),
        lambda n: (last(n)[3].double() * last(n)[0].double()).sum() + last(n)[4],
        lambda n: sum(w * b for w, b in zip(last(n)[3].tolist(), last(n)[0].tolist(), strict=True)) + float(last(n)[4]),
    ],
    "diagnose": [
        diagnosis,
        diagnosis_by_fit,
        diagnosis_by_shape,
        diagnosis_by_increments,
        diagnosis_by_chains,
    ],
    "auroc_by_pairs": [
        pairs,
        lambda i, o: pairs(i, o).item(),
        pairs_in_loops,
        pairs_by_ranks,
        lambda i, o: ((o - i[:, None]).sign().double().mean() + 1) / 2,
        lambda i, o: np.heaviside(np.subtract.outer(o.numpy(), i.numpy()), 0.5).mean(),
    ],
}


# --- slips ---------------------------------------------------------------------------------------


def metropolis_variant(decide):
    return lambda x, proposal, r, u: move(x, proposal, decide(r, u))


def choosing_variant(choose):
    def variant(x, proposal, r, u):
        accepted = torch.log(u) < r
        return choose(accepted[:, None, None, None], x, proposal), accepted

    return variant


def together(x, proposal, log_ratio, u):
    return (proposal if torch.log(u[0]) < log_ratio.mean() else x), torch.log(u[0]) < log_ratio.mean()


def in_place(x, proposal, log_ratio, u):
    accepted = torch.log(u) < log_ratio
    x[accepted] = proposal[accepted]
    return x, accepted


METROPOLIS_SLIPS = {
    "one decision": [
        together,
        metropolis_variant(lambda r, u: (torch.log(u) < r).all().expand(len(u))),
        metropolis_variant(lambda r, u: (torch.log(u) < r).any().expand(len(u))),
        lambda x, proposal, r, u: (proposal, True),
    ],
    "turned round": [
        metropolis_variant(lambda r, u: torch.log(u) > r),
        metropolis_variant(lambda r, u: ~(torch.log(u) < r)),
    ],
    "no log": [metropolis_variant(lambda r, u: u < r)],
    "two scales": [metropolis_variant(lambda r, u: u.log() < r.exp())],
    "NaN accepted": [
        metropolis_variant(lambda r, u: ~(torch.log(u) >= r)),
        metropolis_variant(lambda r, u: u < r.nan_to_num(0.0).exp()),
    ],
    "always accepts": [metropolis_variant(lambda r, u: torch.ones(len(u), dtype=torch.bool))],
    "never accepts": [metropolis_variant(lambda r, u: torch.zeros(len(u), dtype=torch.bool))],
    "only downhill": [metropolis_variant(lambda r, u: r > 0)],
    "one u": [metropolis_variant(lambda r, u: torch.log(u[0]) < r)],
    "one ratio": [
        metropolis_variant(lambda r, u: torch.log(u) < r[0]),
        metropolis_variant(lambda r, u: torch.log(u) < r.mean()),
    ],
    "not boolean": [lambda *a: (metropolis(*a)[0], metropolis(*a)[1].float())],
    "NaN spreads": [
        choosing_variant(lambda a, x, new: a * new + ~a * x),
        choosing_variant(lambda a, x, new: x + a.float() * (new - x)),
    ],
    "rounding": [choosing_variant(lambda a, x, new: torch.where(a, new, x / 3 * 3 + 1e-6))],
    "swapped": [choosing_variant(lambda a, x, new: torch.where(a, x, new))],
    "always moves": [choosing_variant(lambda a, x, new: new)],
    "never moves": [choosing_variant(lambda a, x, new: x)],
    "input changed": [in_place],
    "old ones' shape": [lambda x, new, r, u: (x.flatten(1), u.log() < r)],
    "NoneType": [lambda x, new, r, u: (None, u.log() < r), lambda x, new, r, u: (x, None)],
    r"must have shape \(8,\)": [lambda x, new, r, u: (x, (u.log() < r)[:, None, None, None])],
    "do not follow them": [lambda x, new, r, u: (x.flip(0), u.log() < r)],
    "log_ratio = .* was rejected": [lambda x, new, r, u: (x, u.log() < r - 0.5)],
    "random state": [lambda x, new, r, u: metropolis(x, new, r, u * 0 + torch.rand(len(u)) * 0 + u)],
}
REACH_SLIPS = {
    "all at once": [lambda s, n: (2 * s(torch.arange(1, n + 1), n)).sum().sqrt()],
    "t from 0": [
        lambda s, n: math.sqrt(sum(2 * s(t, n) for t in range(n))),
        lambda s, n: math.sqrt(sum(variances(s, n, first=0))),
    ],
    "deviations added": [
        lambda s, n: sum(math.sqrt(v) for v in variances(s, n)),
        lambda s, n: sum(math.sqrt(v / 2) for v in variances(s, n)),
    ],
    "factor 2": [lambda s, n: reach(s, n) / math.sqrt(2)],
    "factor outside the root": [lambda s, n: reach(s, n) * math.sqrt(2)],
    "no root": [lambda s, n: sum(variances(s, n)), lambda s, n: sum(variances(s, n)) / 2],
    "squared step sizes": [
        lambda s, n: math.sqrt(sum(v * v / 2 for v in variances(s, n))),
        lambda s, n: math.sqrt(sum(v * v for v in variances(s, n))),
    ],
    "last step only": [lambda s, n: math.sqrt(variances(s, n)[-1])],
    "first step only": [lambda s, n: math.sqrt(variances(s, n)[0])],
    "one step too few": [lambda s, n: math.sqrt(sum(variances(s, n, last=-1)))],
    "mean for sum": [lambda s, n: reach(s, n) / math.sqrt(n)],
    "one size for all": [
        lambda s, n: math.sqrt(n * variances(s, n)[-1]),
        lambda s, n: math.sqrt(n * variances(s, n)[0]),
    ],
}


def head_on(feature):
    return lambda network: last(network)[3] @ feature(*last(network)[:3]) + last(network)[4]


def frozen(network):
    network.requires_grad_(False)
    return predicted(network)


def evaluated(network):
    network.eval()
    return predicted(network)


PREDICTED_SLIPS = {
    "scale for shift": [head_on(lambda b, g, n: g), lambda n: last(n)[3] @ last(n)[1]],
    "no bias": [lambda n: last(n)[3] @ last(n)[0]],
    "bias subtracted": [lambda n: last(n)[3] @ last(n)[0] - last(n)[4]],
    "scale times shift": [head_on(lambda b, g, n: g * b)],
    "scale stays": [head_on(lambda b, g, n: g + b)],
    "no shift": [lambda n: last(n)[4]],
    "mean for sum": [lambda n: (last(n)[3] * last(n)[0]).mean() + last(n)[4]],
    "no weight": [lambda n: last(n)[0].sum() + last(n)[4], lambda n: last(n)[0].mean() + last(n)[4]],
    "stored averages": [
        head_on(lambda b, g, n: n.running_mean),
        head_on(lambda b, g, n: b - g * n.running_mean / (n.running_var + n.eps) ** 0.5),
        head_on(lambda b, g, n: b + n.running_mean),
    ],
    "minus the energy": [lambda n: -predicted(n)],
    "do not run the network": [
        lambda n: n(torch.zeros(4, 3, 16, 16)).mean(),
        lambda n: copy.deepcopy(n).train().net(torch.zeros(4, 3, 16, 16)).mean(),
    ],
    "has shape": [lambda n: n.net[-1](n.net[-3].bias)],
    "differs in case 1": [lambda n: 0.123, lambda n: n.net[-1].weight[0].abs() @ n.net[-3].bias + n.net[-1].bias[0]],
    "frozen": [frozen],
    "training mode": [evaluated],
}


def read_as(**kinds):
    """The right diagnosis with kinds confused."""
    names = ("still", "wanders", "travels", "settled")
    return lambda *traces: kinds.get(names[diagnosis(*traces)], diagnosis(*traces))


DIAGNOSES = {
    "calm is settled": read_as(wanders=3),
    "all settled": [read_as(wanders=3, travels=3), lambda a, e, m: 3 if a.any() else 0],
    "all wander": [read_as(travels=1, settled=1), lambda a, e, m: 1 if m.max() > 0 else 0],
    "travels wanders": [read_as(travels=1)],
    "wanders travels": [read_as(wanders=2)],
    "turned round": [read_as(wanders=2, travels=1)],
    "settled travels": [read_as(settled=2)],
    "settled wanders": [read_as(settled=1)],
    "settled is still": [read_as(settled=0)],
    "still is settled": [read_as(still=3)],
    "still wanders": [read_as(still=1)],
    "counted from 1": [lambda *a: diagnosis(*a) + 1],
    "differs": [
        lambda a, e, m: 0 if m.max() < 0.1 else 1 if m.mean() < 1 else 2,  # a fixed distance
        lambda a, e, m: 3 if a.float().mean() > 0.7 else 1,
        lambda a, e, m: 0 if not a[-1].any() else diagnosis(a, e, m),
        lambda a, e, m: diagnosis(a[:, -1:], e, m[:, -1:]),
        lambda a, e, m: 0 if not a.any(0).all() else diagnosis(a, e, m),
        lambda a, e, m: 0 if not a.any() else 2 if e[-1].mean() < e[0].mean() - 10 else 3,
    ],
    "hardly a proposal": [
        lambda a, e, m: diagnosis(a, e, m) if a.float().mean() > 0.01 else 0,
        lambda a, e, m: diagnosis(a, e, m) if a.float().mean() > 0.1 else 0,
    ],
    "far from where they settle": lambda a, e, m: (
        2 if diagnosis(a, e, m) == 3 and (e[0] - e[-1]).mean() > 100 else diagnosis(a, e, m)
    ),
    "has shape": [lambda a, e, m: (m[-1] > 2 * m[0]).long()],
    "a str": [lambda *a: ("stands still", "wanders", "travels", "has settled")[diagnosis(*a)]],
    "input changed": [lambda a, e, m: diagnosis(a, e, m.div_(m.max() + 1e-9))],
}


def share(hits):
    return hits.float().mean()


def accuracy(i, o, threshold):
    return share(torch.cat((i <= threshold, o > threshold)))


PAIR_SLIPS = {
    "entry by entry": [
        lambda i, o: share(o > i),
        lambda i, o: share(o >= i),
        lambda i, o: share(o > i) + share(o == i) / 2,
    ],
    "per cent": [lambda i, o: 100 * pairs(i, o)],
    "direction": [
        lambda i, o: pairs(o, i),
        lambda i, o: share(i > o[:, None]),
        lambda i, o: share(i >= o[:, None]),
    ],
    "ties ignored": [lambda i, o: share(o > i[:, None])],
    "ties whole": [lambda i, o: share(o >= i[:, None])],
    "ties left out": [lambda i, o: share(o > i[:, None]) / share(o != i[:, None])],
    "not divided": [lambda i, o: pairs(i, o) * len(i) * len(o)],
    "threshold": [
        lambda i, o: share(o > i.mean()),
        lambda i, o: share(i < o.mean()),
        lambda i, o: share(o > torch.cat((i, o)).mean()),
        lambda i, o: accuracy(i, o, torch.cat((i, o)).mean()),
        lambda i, o: accuracy(i, o, (i.mean() + o.mean()) / 2),
    ],
    "means compared": [lambda i, o: float(o.mean() > i.mean())],
    "overflow": [
        lambda i, o: ((o.exp() > i[:, None].exp()).double() + (o.exp() == i[:, None].exp()).double() / 2).mean()
    ],
    "differs": [lambda i, o: torch.sigmoid(o - i[:, None]).mean(), lambda i, o: 0.123],
}
WRONG = {
    "metropolis_test": METROPOLIS_SLIPS,
    "noise_reach": REACH_SLIPS,
    "predicted_mean": PREDICTED_SLIPS,
    "diagnose": DIAGNOSES,
    "auroc_by_pairs": PAIR_SLIPS,
}

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)


@pytest.mark.parametrize("key", range(3))
def test_the_predicted_mean_is_what_the_network_gives(key):
    with hidden_cases(key):
        network = checks._pinned_network(2, stream(1)).train()
    for convolution in network.net:
        convolution._forward_pre_hooks.clear()
    faces = torch.rand(6, 3, 16, 16) * torch.rand(6, 1, 1, 1)
    assert network(faces).mean().item() == pytest.approx(predicted(network).item(), abs=1e-4)


@pytest.mark.parametrize("key", range(20))
def test_traces_are_diagnosed_as_what_they_were_made(key):
    with hidden_cases(key):
        numbers = stream(3)
    for kind in (0, 1, 2, 3):
        for n_steps, n_chains in ((61, 6), (200, 12)):
            traces = checks._traces(kind, numbers, n_steps, n_chains)
            for answer in RIGHT["diagnose"]:
                assert int(answer(*traces)) == int(checks._diagnosis(*traces)) == kind
