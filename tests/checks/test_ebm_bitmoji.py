"""The tables of Part A."""

import functools
import math

import numpy as np
import torch
from checks import table
from scipy.stats import mannwhitneyu

from gen_utils.checks import ebm_bitmoji as checks

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


def pinned(gamma, beta, weight, bias):
    return weight @ beta + bias


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
    "pinned_mean": [
        pinned,
        lambda g, b, w, c: (w * b).sum() + c,
        lambda g, b, w, c: b.double() @ w.double() + c,
        lambda g, b, w, c: np.dot(w.numpy(), b.numpy()) + c.numpy(),
        lambda g, b, w, c: sum(x * y for x, y in zip(w.tolist(), b.tolist(), strict=True)) + c.item(),
        lambda g, b, w, c: torch.nn.functional.linear(b, w[None], c[None])[0],
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
PINNED_SLIPS = {
    "scale for shift": [lambda g, b, w, c: w @ g + c, lambda g, b, w, c: w @ g],
    "no bias": [lambda g, b, w, c: w @ b],
    "scale times shift": [lambda g, b, w, c: w @ (g * b) + c, lambda g, b, w, c: w @ (g * b)],
    "scale stays": [lambda g, b, w, c: w @ (g + b) + c],
    "no shift": [lambda g, b, w, c: c],
    "mean for sum": [lambda g, b, w, c: (w * b).mean() + c],
    "no weight": [lambda g, b, w, c: b.sum() + c, lambda g, b, w, c: b.mean() + c],
    "bias subtracted": [lambda g, b, w, c: w @ b - c],
    "differs in case 1": [lambda g, b, w, c: 0.123, lambda g, b, w, c: w.abs() @ b + c],
    "has shape": [lambda g, b, w, c: w * b + c],
    "input changed": [lambda g, b, w, c: w.mul_(b).sum() + c],
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
    "pinned_mean": PINNED_SLIPS,
    "auroc_by_pairs": PAIR_SLIPS,
}

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)


def test_the_pinned_mean_is_shown_with_torchs_own_layers(capsys):
    result = checks.pinned_mean(pinned)
    said = capsys.readouterr().out
    means = said.split("mean scores ")[1].rstrip(".\n").split(", ")
    assert result and len(means) == 3 and len(set(means)) == 1
