"""The tables of Part S."""

import functools
import math

import numpy as np
import torch
from checks import table
from scipy.special import logsumexp

from gen_utils.checks import sampling as checks


def gradient(energy, x, reduce="sum"):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(getattr(energy(x), reduce)(), x)[0]


def squares(x):
    return x.square().flatten(1).sum(1)


# --- one function a check, right unless told otherwise --------------------------------------------


def step(*, drift=lambda e: e, sigma=lambda e: math.sqrt(2 * e), reduce="sum", detach=True, own=True):
    def variant(energy, x, step_size, xi):
        if not own:
            x.requires_grad_()
            return (x - step_size * torch.autograd.grad(energy(x).sum(), x)[0] + sigma(step_size) * xi).detach()
        grad = gradient(energy, x, reduce)
        new = x - drift(step_size) * grad + sigma(step_size) * xi
        return new if detach else new + 0 * energy(x.requires_grad_()).sum()

    return variant


def ratio(
    *,
    energies=1,
    back=1,
    forth=1,
    back_at="new",
    forth_at="old",
    divisor=lambda e: 4 * e,
    size=squares,
    then=lambda r: r,
):
    def variant(energy, x, proposal, step_size):
        grads = {"new": gradient(energy, proposal), "old": gradient(energy, x)}
        reverse = x - proposal + step_size * grads[back_at]
        forward = proposal - x + step_size * grads[forth_at]
        log_q = (forth * size(forward) - back * size(reverse)) / divisor(step_size)
        return then(energies * (energy(x) - energy(proposal)) + log_q)

    return variant


def flight(*, first=0.5, last=0.5, sign=-1, fresh=True, extra=0, then=lambda x, p: (x, p)):
    def variant(energy, x, momentum, step_size, n_steps):
        n = n_steps + extra
        start = grad = gradient(energy, x)
        if n == 0:
            return x, momentum
        momentum = momentum + sign * first * step_size * grad
        for i in range(n):
            x = x + step_size * momentum
            grad = gradient(energy, x) if fresh else start
            momentum = momentum + sign * (1 if i < n - 1 else last) * step_size * grad
        return then(x, momentum)

    return variant


def euler(energy, x, momentum, step_size, n_steps):
    for _ in range(n_steps):
        grad = gradient(energy, x)
        x = x + step_size * momentum
        momentum = momentum - step_size * grad
    return x, momentum


def in_place(energy, x, momentum, step_size, n_steps):
    momentum -= step_size / 2 * gradient(energy, x)
    for i in range(n_steps):
        x += step_size * momentum
        momentum -= step_size * (1 if i + 1 < n_steps else 0.5) * gradient(energy, x)
    return x, momentum


def weights(betas, log_ratio):
    return sum((betas[t + 1] - betas[t]) * log_ratio[t] for t in range(len(log_ratio)))


def log_mean(w):
    return torch.logsumexp(w, 0) - math.log(len(w))


def step_by_rows(energy, x, step_size, xi):
    rows = []
    for row, own in zip(x, xi, strict=True):
        row = row[None].clone().requires_grad_()
        (grad,) = torch.autograd.grad(energy(row)[0], row)
        rows.append(row.detach() - step_size * grad + math.sqrt(2 * step_size) * own)
    return torch.cat(rows)


def step_in_place(energy, x, step_size, xi):
    own = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(energy(own), own, grad_outputs=torch.ones(len(x)))
    return own.detach().sub_(step_size * grad).add_(xi, alpha=(2 * step_size) ** 0.5)


def step_functional(energy, x, step_size, xi):
    grad = torch.func.grad(lambda at: energy(at).sum())(x)
    return (x - step_size * (grad - xi * (2 / step_size) ** 0.5)).detach()


def ratio_by_distributions(energy, x, proposal, step_size):
    def log_q(to, start):
        normal = torch.distributions.Normal(start - step_size * gradient(energy, start), math.sqrt(2 * step_size))
        return normal.log_prob(to).sum(1)

    return energy(x) - energy(proposal) + log_q(x, proposal) - log_q(proposal, x)


def ratio_in_loops(energy, x, proposal, step_size):
    g, h, out = gradient(energy, x), gradient(energy, proposal), []
    for b in range(len(x)):
        back = sum(float(x[b, i] - proposal[b, i] + step_size * h[b, i]) ** 2 for i in range(x.shape[1]))
        forth = sum(float(proposal[b, i] - x[b, i] + step_size * g[b, i]) ** 2 for i in range(x.shape[1]))
        out.append(float(energy(x)[b] - energy(proposal)[b]) + (forth - back) / (4 * step_size))
    return out


def ratio_in_numpy(energy, x, proposal, step_size):
    g, h = gradient(energy, x).double().numpy(), gradient(energy, proposal).double().numpy()
    a, b = x.double().numpy(), proposal.double().numpy()
    forth, back = ((b - a + step_size * g) ** 2).sum(1), ((a - b + step_size * h) ** 2).sum(1)
    return (energy(x) - energy(proposal)).detach().numpy() + (forth - back) / 4 / step_size


def flight_in_copies(energy, x, momentum, step_size, n_steps):
    x, momentum = x.clone(), momentum.clone()
    for _ in range(n_steps):
        momentum -= 0.5 * step_size * gradient(energy, x)
        x += step_size * momentum
        momentum -= 0.5 * step_size * gradient(energy, x)
    return x, momentum


def flight_recursive(energy, x, momentum, step_size, n_steps):
    if n_steps == 0:
        return [x, momentum]
    half = momentum - step_size / 2 * gradient(energy, x)
    x = x + step_size * half
    return flight_recursive(energy, x, half - step_size / 2 * gradient(energy, x), step_size, n_steps - 1)


RIGHT = {
    "langevin_step": [
        step(),
        step_by_rows,
        step_in_place,
        step_functional,
        lambda energy, x, eta, xi: step()(energy, x.double(), eta, xi.double()),
    ],
    "noise_for_temperature": [
        lambda T, e: (2 * T * e) ** 0.5,
        lambda T, e: math.sqrt(2 * e * T),
        lambda T, e: torch.tensor(2 * T * e, dtype=torch.float64).sqrt(),
        lambda T, e: np.sqrt(T) * np.sqrt(2 * e),
        lambda T, e: math.exp(0.5 * math.log(2 * e * T)),
    ],
    "mala_log_ratio": [
        ratio(),
        ratio_by_distributions,
        ratio_in_loops,
        ratio_in_numpy,
        lambda energy, x, new, eta: ratio()(energy, x.double(), new.double(), eta),
    ],
    "leapfrog": [
        flight(),
        flight_in_copies,
        flight_recursive,
        lambda energy, x, p, eps, n: flight()(energy, x.double(), p.double(), eps, n),
        lambda *a: torch.stack(flight()(*a)),
        lambda *a: tuple(v.numpy() for v in flight()(*a)),
    ],
    "ais_log_weights": [
        weights,
        lambda b, r: (b.diff()[:, None] * r).sum(0),
        lambda b, r: (b[1:] - b[:-1]) @ r,
        lambda b, r: np.diff(b.double().numpy()) @ r.double().numpy(),
        lambda b, r: torch.einsum("t,tb->b", b.diff(), r).tolist(),
    ],
    "log_z_estimate": [
        log_mean,
        lambda w: w.max() + (w - w.max()).exp().mean().log(),
        lambda w: logsumexp(w.numpy()) - np.log(w.numel()),
        lambda w: logsumexp(w.numpy(), b=1 / len(w)),
        lambda w: torch.logsumexp(w.double(), -1).item() - math.log(w.shape[0]),
        lambda w: functools.reduce(torch.logaddexp, w) - torch.tensor(float(len(w))).log(),
    ],
}


def step_backward(energy, x, step_size, xi):
    x = x.detach().clone().requires_grad_()
    energy(x).sum().backward()
    return x.detach() - step_size * x.grad + (2 * step_size) ** 0.5 * xi


def freezing(energy, *rest):
    energy.requires_grad_(False)
    return step()(energy, *rest)


WRONG = {
    "langevin_step": [
        ("sign", step(drift=lambda e: -e)),
        ("mean for sum", step(reduce="mean")),
        ("no noise", step(sigma=lambda e: 0.0)),
        ("noise not scaled", step(sigma=lambda e: 1.0)),
        ("factor 2", step(sigma=lambda e: e**0.5)),
        ("variance for scale", step(sigma=lambda e: 2 * e)),
        ("noise times step", step(sigma=lambda e: e)),
        ("ε-form", step(drift=lambda e: e / 2, sigma=lambda e: e**0.5)),
        ("no drift", step(drift=lambda e: 0.0)),
        ("backward", step_backward),
        ("box|differs", lambda *a: step()(*a).clamp(-1, 1)),
        ("frozen", freezing),
        ("graph through the chain", step(detach=False)),
        ("input changed", step(own=False)),
        ("input changed", lambda energy, x, eta, xi: x.sub_(eta * gradient(energy, x)).add_(math.sqrt(2 * eta) * xi)),
    ],
    "noise_for_temperature": [
        ("variance for scale", lambda T, e: 2 * T * e),
        ("factor 2", lambda T, e: (T * e) ** 0.5),
        ("temperature outside the root", lambda T, e: T * (2 * e) ** 0.5),
        ("inverse", lambda T, e: (2 * e / T) ** 0.5),
        ("no step", lambda T, e: (2 * T) ** 0.5),
        ("no temperature", lambda T, e: (2 * e) ** 0.5),
        ("differs", lambda T, e: 2 * T * e**0.5),
        ("differs", lambda T, e: 7.5),
        ("shape", lambda T, e: torch.tensor([2 * T * e]).sqrt()),
    ],
    "mala_log_ratio": [
        ("no proposal densities", ratio(back=0, forth=0)),
        ("no reverse proposal", ratio(back=0)),
        ("no forward proposal", ratio(forth=0)),
        ("ratio turned round", ratio(then=lambda r: -r)),
        ("proposals turned round", ratio(back=-1, forth=-1)),
        ("energies turned round", ratio(energies=-1)),
        ("gradient at the old state", ratio(back_at="old")),
        ("gradients at the wrong ends", ratio(back_at="old", forth_at="new")),
        ("no square", ratio(size=lambda d: d.norm(dim=1))),
        ("batch in one", ratio(size=lambda d: d.norm() ** 2)),
        ("variance η", ratio(divisor=lambda e: 2 * e)),
        ("forgot 1/(4η)", ratio(divisor=lambda e: 1)),
        ("forgot 1/(4η)", ratio(divisor=lambda e: 2)),
        ("exponentiated", ratio(then=torch.exp)),
        ("cut at one", ratio(then=lambda r: r.clamp(max=0))),
        ("overflow", ratio(then=lambda r: r.exp().log())),
        ("shape", lambda *a: ratio()(*a).sum()),
        ("differs in case 1", ratio(then=lambda r: r + 0.123)),
    ],
    "leapfrog": [
        ("momentum negated", flight(then=lambda x, p: (x, -p))),
        ("swapped", flight(then=lambda x, p: (p, x))),
        ("half-steps missing", flight(first=1, last=0)),
        ("half-steps missing", flight(first=0, last=1)),
        ("momentum not updated at the end", flight(last=0)),
        ("no first half-kick", flight(first=0)),
        ("last kick full", flight(last=1)),
        ("first kick full", flight(first=1)),
        ("full kicks", flight(first=1, last=1)),
        ("Euler", euler),
        ("sign", flight(sign=1)),
        ("old gradient", flight(fresh=False)),
        ("one step short", flight(extra=-1)),
        ("one step too many", flight(extra=1)),
        ("input changed", in_place),
        (
            "two things are wanted, the position and the momentum; yours is a Tensor|two things",
            lambda energy, x, p, eps, n: x,
        ),
        ("shape", lambda energy, x, p, eps, n: (flight()(energy, x, p, eps, n)[0], p[0])),
        ("the momentum is wrong .the position right", lambda *a: (flight()(*a)[0], flight()(*a)[1] * 1.1)),
        ("the position is wrong .the momentum right", lambda *a: (flight()(*a)[0] + 1, flight()(*a)[1])),
    ],
    "ais_log_weights": [
        ("β itself", lambda b, r: (b[1:, None] * r).sum(0)),
        ("β itself", lambda b, r: (b[:-1, None] * r).sum(0)),
        ("sign", lambda b, r: -weights(b, r)),
        ("no β", lambda b, r: r.sum(0)),
        ("even steps", lambda b, r: r.sum(0) / len(r)),
        ("mean for sum", lambda b, r: weights(b, r) / len(r)),
        ("exponentiated", lambda b, r: weights(b, r).exp()),
        ("order", lambda b, r: weights(b, r.flip(0))),
        ("overflow", lambda b, r: (b.diff()[:, None] * r).exp().prod(0).log()),
        ("shape", lambda b, r: weights(b, r).sum()),
        ("input changed", lambda b, r: r.mul_(b.diff()[:, None]).sum(0)),
    ],
    "log_z_estimate": [
        ("mean of logs", lambda w: w.mean()),
        ("sum for mean", lambda w: torch.logsumexp(w, 0)),
        ("log N turned round", lambda w: torch.logsumexp(w, 0) + math.log(len(w))),
        ("divided by N", lambda w: torch.logsumexp(w, 0) / len(w)),
        ("overflow", lambda w: torch.log(w.exp().mean())),
        ("exponentiated", lambda w: w.exp().mean()),
        ("largest only", lambda w: w.max()),
        ("sign", lambda w: -log_mean(w)),
        ("overflow", lambda w: w.exp().sum().log() - math.log(len(w))),
        ("overflow", lambda w: w.min() + (w - w.min()).exp().mean().log()),
        ("overflow", lambda w: w.mean() + (w - w.mean()).exp().mean().log()),
        ("differs", lambda w: torch.logsumexp(w, 0) - math.log(len(w) - 1)),
    ],
}

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)


def test_the_package_itself_passes():
    """The kernels that the experiments use agree with the exercises."""
    from gen_utils.samplers import leapfrog
    from gen_utils.samplers.protocol import energy_and_grad

    def packaged(energy, x, momentum, step_size, n_steps):
        x, _, _, momentum = leapfrog(energy, x, momentum, energy_and_grad(energy, x)[1], step_size, n_steps)
        return x, momentum

    assert checks.leapfrog(packaged)
