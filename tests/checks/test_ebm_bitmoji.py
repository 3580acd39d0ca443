"""Each check accepts the right answer and names every slip it claims to know."""

import math
import re

import pytest
import torch

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


RIGHT = {
    "metropolis_test": [metropolis, metropolis_in_a_copy],
    "noise_reach": [reach, lambda s, n: torch.tensor(variances(s, n)).sum().sqrt()],
    "pinned_mean": [pinned, lambda g, b, w, c: (w * b).sum() + c],
    "auroc_by_pairs": [pairs, lambda i, o: pairs(i, o).item()],
}


@pytest.mark.parametrize(("name", "i"), [(name, i) for name in RIGHT for i in range(2)])
def test_right_answers_pass(name, i, capsys):
    assert getattr(checks, name)(RIGHT[name][i])
    assert capsys.readouterr().out.startswith("✓")


def test_the_pinned_mean_is_shown_with_torchs_own_layers(capsys):
    result = checks.pinned_mean(pinned)
    said = capsys.readouterr().out
    means = said.split("mean scores ")[1].rstrip(".\n").split(", ")
    assert result and len(means) == 3 and len(set(means)) == 1


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
    "x changed": [in_place],
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
}
SLIPS = {
    "metropolis_test": METROPOLIS_SLIPS,
    "noise_reach": REACH_SLIPS,
    "pinned_mean": PINNED_SLIPS,
    "auroc_by_pairs": PAIR_SLIPS,
}


@pytest.mark.parametrize(
    ("name", "slip", "i"),
    [(name, slip, i) for name, slips in SLIPS.items() for slip, answers in slips.items() for i in range(len(answers))],
)
def test_slips_are_named(name, slip, i, capsys):
    result = getattr(checks, name)(SLIPS[name][slip][i])
    assert not result and result.slip == slip, result.message
    assert capsys.readouterr().out.count("\n") == 1


# --- everything else a student may hand in -------------------------------------------------------


def stub(*args):
    raise NotImplementedError


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (stub, "not written yet"),
        (lambda *args: None, "returns nothing"),
        (lambda *args: "energy", "is a str|returns a str"),
        (lambda *args: torch.zeros(3, 1), "shape|is a Tensor"),
        (lambda *args: 0.123, "is a float|Yours: .* True: "),
        (lambda only: only, "raised TypeError"),
    ],
)
def test_other_answers_are_told_kindly(name, answer, told, capsys):
    result = getattr(checks, name)(answer)
    said = capsys.readouterr().out
    assert not result and said.startswith(f"✗ {name}") and said.count("\n") == 1
    assert re.search(told, said), said


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda x, new, r, u: (x.flatten(1), u.log() < r), "old ones' shape"),
        (lambda x, new, r, u: (None, u.log() < r), "NoneType"),
        (lambda x, new, r, u: (x, (u.log() < r)[:, None, None, None]), r"must have shape \(8,\)"),
        (lambda x, new, r, u: (x, None), "yours is NoneType"),
        (lambda x, new, r, u: (x.flip(0), u.log() < r), "do not follow them"),
        (lambda x, new, r, u: (x, u.log() < r - 0.5), "log_ratio = .* was rejected"),
    ],
)
def test_both_parts_of_a_metropolis_answer_are_looked_at(answer, told, capsys):
    result = checks.metropolis_test(answer)
    said = capsys.readouterr().out
    assert not result and result.slip is None and re.search(told, said), said
