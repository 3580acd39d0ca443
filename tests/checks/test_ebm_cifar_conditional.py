"""The tables of Part C."""

import math

import numpy as np
import torch
from checks import table

from gen_utils.checks import ebm_cifar_conditional as checks
from gen_utils.samplers import geometric

# --- right answers -------------------------------------------------------------------------------


def schedule(t, n_steps, start, end):
    return start * (end / start) ** (t / n_steps)


def own(outputs, labels):
    return outputs[torch.arange(len(labels)), labels]


def select(fresh, noise, old):
    return torch.where(fresh[:, None, None, None], noise, old)


def starts(buffer, labels, index, fresh, noise):
    return select(fresh, noise, buffer[labels, index])


def starts_in_a_copy(buffer, labels, index, fresh, noise):
    x = buffer[labels, index]
    x[fresh] = noise[fresh]
    return x


def starts_in_a_loop(buffer, labels, index, fresh, noise):
    rows = [noise[b] if fresh[b] else buffer[labels[b], index[b]] for b in range(len(labels))]
    return torch.stack(rows)


def starts_blended(buffer, labels, index, fresh, noise):
    share = fresh.to(noise.dtype)[:, None, None, None]
    return share * noise + (1 - share) * buffer[labels, index]


def starts_from_flat(buffer, labels, index, fresh, noise):
    old = buffer.flatten(0, 1).index_select(0, labels * buffer.shape[1] + index)
    old[fresh] = noise[fresh]
    return old


RIGHT = {
    "epsilon_form": [
        lambda e: (e**2 / 2, e),
        lambda e: torch.tensor([0.5 * e * e, e]),
        lambda e: [e * e / 2, float(e)],
        lambda e: np.array([e**2 / 2, e]),
        lambda e: (torch.tensor(float(e)).square() / 2, torch.tensor(float(e))),
    ],
    "geometric_schedule": [
        schedule,
        lambda t, n, a, b: geometric(a, b)(t, n),
        lambda t, n, a, b: math.exp(math.log(a) + (math.log(b) - math.log(a)) * t / n),
        lambda t, n, a, b: np.geomspace(a, b, n + 1)[t],
        lambda t, n, a, b: torch.logspace(math.log10(a), math.log10(b), n + 1, dtype=torch.float64)[t],
        lambda t, n, a, b: a ** (1 - t / n) * b ** (t / n),
        lambda t, n, a, b: math.prod([a] + [(b / a) ** (1 / n)] * t),
    ],
    "label_energy": [
        own,
        lambda o, y: o.gather(1, y[:, None]).squeeze(1),
        lambda o, y: o[:, y].diagonal(),
        lambda o, y: torch.stack([row[k] for row, k in zip(o, y, strict=True)]),
        lambda o, y: (o * torch.nn.functional.one_hot(y, o.shape[1])).sum(1),
        lambda o, y: own(o.double(), y),
        lambda o, y: torch.take_along_dim(o, y[:, None], 1)[:, 0],
    ],
    "draw_starts": [
        starts,
        starts_in_a_copy,
        starts_in_a_loop,
        starts_blended,
        starts_from_flat,
        lambda *a: starts(*a).double(),
        lambda *a: list(starts(*a)),
        lambda *a: starts(*a).numpy(),
    ],
    "predict": [
        lambda e: e.argmin(1),
        lambda e: (-e).softmax(1).argmax(-1),
        lambda e: e.min(1).indices,
        lambda e: np.argmin(e.numpy(), axis=1),
        lambda e: [min(range(len(row)), key=row.__getitem__) for row in e.tolist()],
        lambda e: e.sort(1).indices[:, 0],
        lambda e: e.topk(1, largest=False).indices.squeeze(1),
    ],
}


# --- slips ---------------------------------------------------------------------------------------

FORM_SLIPS = {
    "order": [lambda e: (e, e * e / 2)],
    "step ε": [lambda e: (e, e), lambda e: (e, e * e)],
    "step ε²": [lambda e: (e * e, e)],
    "step ε/2": [lambda e: (e / 2, e)],
    "sign": [lambda e: (-e * e / 2, e)],
    "noise ε²": [lambda e: (e * e / 2, e * e)],
    "noise √ε": [lambda e: (e * e / 2, math.sqrt(e))],
    "noise from ε": [lambda e: (e * e / 2, math.sqrt(2 * e))],
    "noise ε²/2": [lambda e: (e * e / 2, e * e / 2)],
    "noise of the wrong η": [lambda e: (e * e / 2, math.sqrt(e * e / 2))],
    "is a float": [lambda e: e],
    "is a tuple": [lambda e: (e, e, e)],
    r"your step size for ε = 0\.5 is 3\.5": [lambda e: (e * 7, e)],
    r"your noise for ε = 0\.5 is 1\.5": [lambda e: (e * e / 2, e + 1)],
}
SCHEDULE_SLIPS = {
    "linear": [
        lambda t, n, a, b: a + (b - a) * t / n,
        lambda t, n, a, b: a + (b - a) * (t - 1) / (n - 1),
        lambda t, n, a, b: a + (b - a) * (t - 1) / n,
    ],
    "does not arrive": [lambda t, n, a, b: schedule(t - 1, n, a, b)],
    "starts at start": [lambda t, n, a, b: schedule(t - 1, n - 1, a, b)],
    "upside down": [lambda t, n, a, b: a * (a / b) ** (t / n)],
    "backwards": [lambda t, n, a, b: schedule(t, n, b, a)],
    "no time": [lambda t, n, a, b: a * (b / a)],
    "no n_steps": [lambda t, n, a, b: a * (b / a) ** t],
    "exponent upside down": [lambda t, n, a, b: a * (b / a) ** (n / t)],
    "ratio times time": [lambda t, n, a, b: a * (b / a) * (t / n)],
    "no start": [lambda t, n, a, b: (b / a) ** (t / n)],
    "logarithm": [lambda t, n, a, b: math.log(schedule(t, n, a, b))],
}
LABEL_SLIPS = {
    "rows": [lambda o, y: o[y]],
    "columns": [lambda o, y: o[:, y]],
    "trailing dimension": [lambda o, y: o.gather(1, y[:, None])],
    "wrong dimension": [lambda o, y: o.gather(0, y[:, None]).squeeze(1)],
    "transposed": [lambda o, y: o[y, torch.arange(len(y))], lambda o, y: o.gather(0, y[None]).squeeze(0)],
    "diagonal": [lambda o, y: o.diag()],
    "first label": [lambda o, y: o[:, 0]],
    "sign": [lambda o, y: -own(o, y)],
    "softmax": [
        lambda o, y: own(o.softmax(1), y),
        lambda o, y: own((-o).softmax(1), y),
        lambda o, y: own(o.log_softmax(1), y),
        lambda o, y: torch.nn.functional.cross_entropy(o, y, reduction="none"),
        lambda o, y: torch.nn.functional.cross_entropy(-o, y, reduction="none"),
    ],
    "marginal": [lambda o, y: -(-o).logsumexp(1), lambda o, y: o.logsumexp(1), lambda o, y: -o.logsumexp(1)],
    "lowest": [lambda o, y: o.min(1).values, lambda o, y: o.max(1).values],
    "no gradient": [
        lambda o, y: own(o, y).tolist(),
        lambda o, y: own(o.detach(), y),
        torch.no_grad()(own),
        lambda o, y: torch.tensor([float(row[k]) for row, k in zip(o, y, strict=True)]),
    ],
    "gradient with respect to outputs": [lambda o, y: own(o, y) + o.sum() - o.detach().sum()],
    "input changed": [lambda o, y: own(o.neg_(), y).neg()],
    "differs in case 1": [lambda o, y: own(o, y) + 0.1],
    "summed": [lambda o, y: own(o, y).sum(), lambda o, y: own(o, y).mean()],
}


def in_the_buffer(buffer, labels, index, fresh, noise):
    buffer[labels[fresh], index[fresh]] = noise[fresh]
    return buffer[labels, index]


def view(buffer, labels, index, fresh, noise):
    if len(labels) == 1 and not fresh[0]:
        return buffer[labels[0], index[0]][None]
    return starts(buffer, labels, index, fresh, noise)


def noises_in_turn(buffer, labels, index, fresh, noise):
    x = buffer[labels, index]
    x[fresh] = noise[: fresh.sum()]
    return x


START_SLIPS = {
    "labels ignored": [
        lambda b, y, i, f, z: select(f, z, b[0, i]),
        lambda b, y, i, f, z: select(f, z, b[torch.arange(len(y)), i]),
        lambda b, y, i, f, z: select(f, z, b.flatten(0, 1)[i]),
        lambda b, y, i, f, z: select(f, z, b[y[0], i]),
    ],
    "index ignored": [
        lambda b, y, i, f, z: select(f, z, b[y, 0]),
        lambda b, y, i, f, z: select(f, z, b[y, torch.arange(len(y))]),
    ],
    "swapped": [lambda b, y, i, f, z: select(f, z, b[i, y])],
    "two steps": [
        lambda b, y, i, f, z: b[y][i],
        lambda b, y, i, f, z: b[y][:, i],
        lambda b, y, i, f, z: select(f, z, b[y][i]),
    ],
    "input changed": [in_the_buffer],
    "view": [view],
    "fresh turned round": [lambda b, y, i, f, z: select(~f, z, b[y, i])],
    "one decision": [
        lambda b, y, i, f, z: z if f.any() else b[y, i],
        lambda b, y, i, f, z: z if f.all() else b[y, i],
    ],
    "never fresh": [lambda b, y, i, f, z: b[y, i]],
    "always fresh": [lambda b, y, i, f, z: z],
    "noise of another row": [noises_in_turn],
    "has shape": [lambda b, y, i, f, z: starts(b, y, i, f, z).flatten(1)],
    "added": [lambda b, y, i, f, z: b[y, i] + z * f[:, None, None, None]],
}
PREDICT_SLIPS = {
    "argmax": [lambda e: e.argmax(1)],
    "values": [lambda e: e.min(1).values, lambda e: e.max(1).values],
    "values and places": [lambda e: e.min(1)],
    "wrong dimension": [lambda e: e.argmin(0), lambda e: e.argmax(0), lambda e: e.min(0).values],
    "no dimension": [lambda e: e.argmin()],
    "trailing dimension": [lambda e: e.argmin(1, keepdim=True)],
    "probabilities": [lambda e: (-e).softmax(1)],
    "not whole": [lambda e: e.argmin(1).float()],
    "input changed": [lambda e: e.neg_().argmax(1)],
    "overflow": [
        lambda e: (e / (-e).exp().sum(1, keepdim=True)).argmin(1),
        lambda e: ((-e).exp() / (-e).exp().sum(1, keepdim=True)).argmax(1),
    ],
}
WRONG = {
    "epsilon_form": FORM_SLIPS,
    "geometric_schedule": SCHEDULE_SLIPS,
    "label_energy": LABEL_SLIPS,
    "draw_starts": START_SLIPS,
    "predict": PREDICT_SLIPS,
}

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)
