"""The tables of Part C."""

import math

import numpy as np
import torch
from checks import table
from scipy.special import logsumexp

from gen_utils.checks import ebm_cifar_conditional as checks
from gen_utils.samplers import geometric

# --- right answers -------------------------------------------------------------------------------


def far_as(epsilons, tau, grad_clip):
    return grad_clip / (2 * tau) * (epsilons**2).sum(), (epsilons**2).sum() ** 0.5


def far_in_a_loop(epsilons, tau, grad_clip):
    drift = variance = 0.0
    for epsilon in epsilons.tolist():
        drift += epsilon**2 / (2 * tau) * grad_clip
        variance += epsilon**2
    return drift, math.sqrt(variance)


def both(drift=lambda e, tau, c: far_as(e, tau, c)[0], noise=lambda e: far_as(e, 1, 1)[1]):
    return lambda e, tau, c: (drift(e, tau, c), noise(e))


def ends(first, last, n_steps, tau, grad_clip):
    a, b = (math.sqrt(2 * tau * far / grad_clip) for far in (first, last))
    return a * (a / b) ** (1 / (n_steps - 1)), b


def ends_in_logarithms(first, last, n_steps, tau, grad_clip):
    a, b = (np.log(2 * tau * far / grad_clip) / 2 for far in (first, last))
    return np.exp([a + (a - b) / (n_steps - 1), b])


def ends_by_trying(first, last, n_steps, tau, grad_clip):
    """Halve the interval of ln ε_start until the library's schedule does at step 1 what is wanted."""
    end = (2 * tau * last / grad_clip) ** 0.5
    low, high = math.log(end) - 10, math.log(end) + 10
    for _ in range(100):
        middle = (low + high) / 2
        far = geometric(math.exp(middle), end)(1, n_steps) ** 2 * grad_clip / (2 * tau)
        low, high = (middle, high) if far < first else (low, middle)
    return torch.tensor([math.exp(low), end])


def ends_of(epsilon=lambda r, tau, c: math.sqrt(2 * tau * r / c), factor=lambda q, n: q ** (1 / (n - 1))):
    def variant(first, last, n_steps, tau, grad_clip):
        a, b = epsilon(first, tau, grad_clip), epsilon(last, tau, grad_clip)
        return a * factor(a / b, n_steps), b

    return variant


def own(outputs, labels):
    return outputs[torch.arange(len(labels)), labels]


def choose(fresh, noise, old):
    return torch.where(fresh.reshape(-1, *[1] * (noise.ndim - 1)), noise, old)


def round_(walk, buffer, labels, index, fresh, noise, order, back=lambda y, i, o: (y[o], i[o])):
    starts = choose(fresh, noise, buffer[labels, index])[order]
    asked = labels[order]
    fake = walk(starts, asked)
    buffer = buffer.clone()
    buffer[back(labels, index, order)] = fake
    return fake, asked, buffer


def round_shuffled_first(walk, buffer, labels, index, fresh, noise, order):
    labels, index, fresh, noise = (each[order] for each in (labels, index, fresh, noise))
    fake = walk(choose(fresh, noise, buffer[labels, index]), labels)
    new = buffer.clone().index_put_((labels, index), fake)
    return fake, labels, new


def round_brought_back(walk, buffer, labels, index, fresh, noise, order):
    starts = choose(fresh, noise, buffer[labels, index])
    fake, new = walk(starts[order], labels[order]), buffer.clone()
    new[labels, index] = fake[order.argsort()]
    return fake, labels[order], new


def round_in_a_loop(walk, buffer, labels, index, fresh, noise, order):
    rows, asked, new = [], [], buffer.clone()
    for b in order.tolist():
        start = noise[b] if fresh[b] else buffer[labels[b], index[b]]
        rows.append(walk(start[None], labels[b : b + 1])[0])
        asked.append(int(labels[b]))
        new[labels[b], index[b]] = rows[-1]
    return torch.stack(rows), asked, new


def round_on_a_flat_buffer(walk, buffer, labels, index, fresh, noise, order):
    place = labels * buffer.shape[1] + index
    starts = buffer.flatten(0, 1)[place]
    starts[fresh] = noise[fresh]
    fake = walk(starts[order], labels[order])
    new = buffer.flatten(0, 1).clone()
    new[place[order]] = fake
    return [fake, labels[order], new.reshape(buffer.shape)]


def posterior(energies, counts, prior=torch.log, sign=-1, dim=1):
    return (sign * energies + prior(counts.double())).log_softmax(dim)


def posterior_in_scipy(energies, counts):
    joint = np.log(counts.numpy()) - energies.double().numpy()
    return joint - logsumexp(joint, axis=1, keepdims=True)


def posterior_shifted(energies, counts):
    joint = -energies + (counts / counts.sum()).log()
    joint = joint - joint.amax(1, keepdim=True)
    return joint - joint.exp().sum(1, keepdim=True).log()


def posterior_in_a_loop(energies, counts):
    rows = []
    for row in energies.tolist():
        joint = [math.log(n) - e for e, n in zip(row, counts.tolist(), strict=True)]
        top = max(joint)
        log_sum = top + math.log(sum(math.exp(j - top) for j in joint))
        rows.append([j - log_sum for j in joint])
    return rows


RIGHT = {
    "reach": [
        far_as,
        far_in_a_loop,
        lambda e, tau, c: torch.stack(far_as(e.double(), tau, c)),
        lambda e, tau, c: np.array(far_as(e.numpy(), tau, c)),
        lambda e, tau, c: [(e * e / 2 / tau * c).sum().item(), e.norm().item()],
        lambda e, tau, c: (e.dot(e) * c / tau / 2, torch.linalg.vector_norm(e)),
    ],
    "endpoints": [
        ends,
        ends_in_logarithms,
        ends_by_trying,
        lambda f, last, n, tau, c: ends_of()(f, last, n, tau, c),
        lambda f, last, n, tau, c: (
            math.sqrt(2 * tau / c * f * (f / last) ** (1 / (n - 1))),
            math.sqrt(2 * tau / c * last),
        ),
        lambda f, last, n, tau, c: (
            torch.tensor([f ** (n / (n - 1)) * last ** (-1 / (n - 1)), last]).mul(2 * tau / c).sqrt()
        ),
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
    "mended_round": [round_, round_shuffled_first, round_brought_back, round_in_a_loop, round_on_a_flat_buffer],
    "label_log_posterior": [
        posterior,
        posterior_in_scipy,
        posterior_shifted,
        posterior_in_a_loop,
        lambda e, n: (-e + n.log()) - torch.logsumexp(-e + n.log(), 1, keepdim=True),
        lambda e, n: torch.distributions.Categorical(logits=n.log() - e).logits,
    ],
}


# --- slips ---------------------------------------------------------------------------------------

REACH_SLIPS = {
    "order": [lambda e, tau, c: far_as(e, tau, c)[::-1]],
    "deviations added": [both(noise=lambda e: e.sum())],
    "no root": [both(noise=lambda e: (e**2).sum())],
    "one step's noise": [both(noise=lambda e: e[-1]), both(noise=lambda e: e[0]), both(noise=lambda e: e.mean())],
    "one ε for all": [
        both(noise=lambda e: e[0] * math.sqrt(len(e))),
        both(lambda e, tau, c: len(e) * e[0] ** 2 * c / (2 * tau)),
    ],
    "factor 2": [both(noise=lambda e: (2 * e**2).sum().sqrt()), both(lambda e, tau, c: (e**2).sum() * c / tau)],
    "no τ": [both(lambda e, tau, c: (e**2).sum() * c / 2)],
    "τ multiplies": [both(lambda e, tau, c: (e**2).sum() * c / 2 * tau)],
    "no clamp": [both(lambda e, tau, c: (e**2).sum() / (2 * tau))],
    "clamp divides": [both(lambda e, tau, c: (e**2).sum() / (2 * tau) / c)],
    "not squared": [both(lambda e, tau, c: e.sum() * c / (2 * tau))],
    "sum squared": [both(lambda e, tau, c: e.sum() ** 2 * c / (2 * tau))],
    "drift like noise": [both(lambda e, tau, c: (e**4).sum().sqrt() * c / (2 * tau))],
    "one step's drift": [both(lambda e, tau, c: (e**2).mean() * c / (2 * tau))],
    "the noise is wrong": [both(noise=lambda e: e.max())],
    "the drift is wrong": [both(lambda e, tau, c: e.max() * c / tau)],
    "two things are wanted": [lambda e, tau, c: far_as(e, tau, c)[0], lambda e, tau, c: (*far_as(e, tau, c), 1.0)],
    "input changed": [lambda e, tau, c: far_as(e.mul_(1.5).div(1.5), tau, c)],
}
END_SLIPS = {
    "order": [lambda *a: ends(*a)[::-1]],
    "starts at start": [ends_of(factor=lambda q, n: 1.0)],
    "one step too many": [ends_of(factor=lambda q, n: q ** (1 / n)), ends_of(factor=lambda q, n: q ** (1 / (n + 1)))],
    "wrong way": [ends_of(factor=lambda q, n: q ** (-1 / (n - 1))), ends_of(factor=lambda q, n: q ** (-1 / n))],
    "linear": [ends_of(factor=lambda q, n: 1 + (1 - 1 / q) / (n - 1))],
    "no root": [ends_of(lambda r, tau, c: 2 * tau * r / c)],
    "factor 2": [ends_of(lambda r, tau, c: math.sqrt(tau * r / c))],
    "no clamp": [ends_of(lambda r, tau, c: math.sqrt(2 * tau * r))],
    "clamp multiplies": [ends_of(lambda r, tau, c: math.sqrt(2 * tau * r * c))],
    "no τ": [ends_of(lambda r, tau, c: math.sqrt(2 * r / c))],
    "τ divides": [ends_of(lambda r, tau, c: math.sqrt(2 * r / tau / c))],
    "noise's reach": [ends_of(lambda r, tau, c: r)],
    "ε_end is wrong": [lambda *a: (ends(*a)[0], 2 * ends(*a)[1])],
    "ε_start is wrong": [lambda *a: (2 * ends(*a)[0], ends(*a)[1])],
    "two things are wanted": [lambda *a: ends(*a)[0], lambda *a: [ends(*a)]],
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


def under_other_labels(walk, buffer, labels, index, fresh, noise, order):
    starts, new = choose(fresh, noise, buffer[labels, index])[order], buffer.clone()
    fake = walk(starts, labels)
    new[labels, index] = fake
    return fake, labels, new


def labels_unshuffled(walk, buffer, labels, *rest):
    fake, _, new = round_(walk, buffer, labels, *rest)
    return fake, labels, new


def unshuffled(walk, buffer, labels, index, fresh, noise, order):
    return round_(walk, buffer, labels, index, fresh, noise, torch.arange(len(order)))


def starts_kept(walk, buffer, labels, index, fresh, noise, order):
    fake, asked, new = round_(walk, buffer, labels, index, fresh, noise, order)
    new[labels, index] = choose(fresh, noise, buffer[labels, index])
    return fake, asked, new


def fresh_lost(walk, buffer, labels, index, fresh, noise, order):
    fake, asked, new = round_(walk, buffer, labels, index, fresh, noise, order)
    new[labels[fresh], index[fresh]] = buffer[labels[fresh], index[fresh]]
    return fake, asked, new


def never_fresh(walk, buffer, labels, index, fresh, noise, order):
    return round_(walk, buffer, labels, index, fresh & False, noise, order)


def fresh_turned_round(walk, buffer, labels, index, fresh, noise, order):
    return round_(walk, buffer, labels, index, ~fresh, noise, order)


def in_the_buffer(walk, buffer, labels, index, fresh, noise, order):
    fake, asked, new = round_(walk, buffer, labels, index, fresh, noise, order)
    return fake, asked, buffer.copy_(new)


def round_with(back):
    return lambda *a: round_(*a, back=back)


ROUND_SLIPS = {
    "as given": [round_with(lambda y, i, o: (y, i))],
    "place of another": [round_with(lambda y, i, o: (y[o], i))],
    "class of another": [round_with(lambda y, i, o: (y, i[o]))],
    "shuffled twice": [round_with(lambda y, i, o: (y[o[o]], i[o[o]]))],
    "wrong way back": [round_with(lambda y, i, o: (y[torch.argsort(o)], i[torch.argsort(o)]))],
    "walks under another label": [under_other_labels],
    "not shuffled": [unshuffled],
    "starts kept": [starts_kept],
    "fresh ones lost": [fresh_lost],
    "nothing kept": [lambda *a: (*round_(*a)[:2], a[1])],
    "never fresh": [never_fresh],
    "fresh turned round": [fresh_turned_round],
    "input changed": [in_the_buffer],
    "their labels is wrong": [labels_unshuffled],
    "three things are wanted": [lambda *a: round_(*a)[:2]],
}
POSTERIOR_SLIPS = {
    "sign": [lambda e, n: posterior(e, n, sign=1)],
    "no prior": [lambda e, n: (-e).log_softmax(1)],
    "prior divides": [lambda e, n: posterior(e, n, prior=lambda n: -n.log())],
    "no logarithm of the counts": [
        lambda e, n: posterior(e, n, prior=lambda n: n),
        lambda e, n: posterior(e, n, prior=lambda n: n / n.sum()),
    ],
    "energies weighed": [lambda e, n: (-e * n / n.sum()).log_softmax(1), lambda e, n: (-e * n).log_softmax(1)],
    "probabilities": [lambda e, n: (n.log() - e).softmax(1)],
    "minus the logarithm": [lambda e, n: -posterior(e, n)],
    "another base": [lambda e, n: posterior(e, n) / math.log(2)],
    "wrong dimension": [lambda e, n: posterior(e, n, dim=0)],
    "prior outside": [
        lambda e, n: (-e).log_softmax(1) + (n / n.sum()).log(),
        lambda e, n: (-e).log_softmax(1) + n.log(),
    ],
    "not normalised": [lambda e, n: n.log() - e, lambda e, n: (n / n.sum()).log() - e],
    "labels returned": [lambda e, n: posterior(e, n).argmax(1)],
    "overflow": [
        lambda e, n: torch.log(n * (-e).exp() / (n * (-e).exp()).sum(1, keepdim=True)),
        lambda e, n: posterior(e, n).exp().float().log(),
    ],
    "input changed": [lambda e, n: posterior(e.neg_(), n, sign=1)],
    "differs in case 1": [lambda e, n: posterior(e, n + 1)],
}
WRONG = {
    "reach": REACH_SLIPS,
    "endpoints": END_SLIPS,
    "label_energy": LABEL_SLIPS,
    "mended_round": ROUND_SLIPS,
    "label_log_posterior": POSTERIOR_SLIPS,
}

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)
