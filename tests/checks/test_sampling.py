"""The tables of Part S."""

import functools
import math

import numpy as np
import torch
from checks import table
from scipy.optimize import brentq
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


def largest(precision, bias):
    return 2 * bias / (1 + bias) / precision


def both(energy, x):
    return energy(x).detach(), gradient(energy, x)


def mala(
    *,
    height="own",
    slope="own",
    accept=lambda r, u: u.log() < r,
    keep="state",
    densities=1,
    sigma=lambda e: math.sqrt(2 * e),
):
    def variant(energy, x, step_size, xi, u):
        (h, g), path = both(energy, x), []
        for noise, coin in zip(xi, u, strict=True):
            new = x - step_size * g + sigma(step_size) * noise
            new_h, new_g = both(energy, new)
            there, back = squares(new - x + step_size * g), squares(x - new + step_size * new_g)
            yes = accept(h - new_h + densities * (there - back) / (4 * step_size), coin)
            x = torch.where(yes[:, None], new, x)
            h = {"own": torch.where(yes, new_h, h), "new": new_h, "old": h}[height]
            g = {"own": torch.where(yes[:, None], new_g, g), "new": new_g, "old": g}[slope]
            path.append(x if keep == "state" else new)
        return torch.stack(path)

    return variant


def mala_from_scratch(energy, x, step_size, xi, u):
    """Nothing is kept from step to step, so that nothing can be stale: two gradients a step."""
    path = []
    for noise, coin in zip(xi, u, strict=True):
        new = x - step_size * gradient(energy, x) + (2 * step_size) ** 0.5 * noise
        yes = coin < ratio()(energy, x, new, step_size).exp()
        x = torch.where(yes[:, None], new, x)
        path.append(x)
    return torch.stack(path).detach()


def mala_row_by_row(energy, x, step_size, xi, u):
    chains = []
    for b in range(len(x)):
        (h, g), at, path = both(energy, x[b : b + 1]), x[b : b + 1], []
        for k in range(len(xi)):
            new = at - step_size * g + (2 * step_size) ** 0.5 * xi[k, b : b + 1]
            new_h, new_g = both(energy, new)
            log_r = (
                h - new_h + (squares(new - at + step_size * g) - squares(at - new + step_size * new_g)) / 4 / step_size
            )
            if float(u[k, b].log()) < float(log_r):
                at, h, g = new, new_h, new_g
            path.append(at[0])
        chains.append(torch.stack(path))
    return torch.stack(chains, 1)


def mala_by_the_package(energy, x, step_size, xi, u):
    """The log ratio in the noise's own form, as the package has it, and one tensor per state of the chain."""
    states, (h, g) = [x], both(energy, x)
    for k in range(len(u)):
        new = states[-1] - step_size * g + math.sqrt(2 * step_size) * xi[k]
        new_h, new_g = both(energy, new)
        back = (g + new_g) * math.sqrt(step_size / 2) - xi[k]
        yes = torch.log(u[k]) < h - new_h + 0.5 * (xi[k].square() - back.square()).sum(-1)
        h, g = torch.where(yes, new_h, h), torch.where(yes.unsqueeze(1), new_g, g)
        states.append(torch.where(yes.unsqueeze(1), new, states[-1]))
    return torch.stack(states[1:])


def mala_in_numpy(energy, x, step_size, xi, u):
    at, path = x.clone(), np.zeros(xi.shape)
    h, g = both(energy, at)
    for k, (noise, coin) in enumerate(zip(xi, u, strict=True)):
        new = at - step_size * g + math.sqrt(2 * step_size) * noise
        new_h, new_g = both(energy, new)
        log_r = (
            h - new_h + (squares(new - at + step_size * g) - squares(at - new + step_size * new_g)) / (4 * step_size)
        )
        for b in np.flatnonzero(np.log(coin.numpy()) < log_r.numpy()):
            at[b], h[b], g[b] = new[b], new_h[b], new_g[b]
        path[k] = at.numpy()
    return path


def mala_in_place(energy, x, step_size, xi, u):
    path = mala()(energy, x.clone(), step_size, xi, u)
    x.copy_(path[-1])
    return path


def swap(a, b, t, s):
    return (1 / t - 1 / s) * (a - b)


def swap_by_densities(a, b, t, s):
    before, after = -a / t - b / s, -b / t - a / s
    return after - before


def swap_in_place(a, b, t, s):
    a -= b
    return a * (1 / t - 1 / s)


RIGHT = {
    "swap_log_ratio": [
        swap,
        swap_by_densities,
        lambda a, b, t, s: (a - b) * (s - t) / (t * s),
        lambda a, b, t, s: (a.double() / t - a.double() / s) - (b.double() / t - b.double() / s),
        lambda a, b, t, s: [(1 / t - 1 / s) * float(p - q) for p, q in zip(a, b, strict=True)],
        lambda a, b, t, s: np.subtract(a.numpy(), b.numpy()) * (1 / t - 1 / s),
        lambda a, b, t, s: torch.stack((a, b)).T @ torch.tensor([1 / t - 1 / s, 1 / s - 1 / t]),
    ],
    "langevin_step": [
        step(),
        step_by_rows,
        step_in_place,
        step_functional,
        lambda energy, x, eta, xi: step()(energy, x.double(), eta, xi.double()),
    ],
    "step_for_bias": [
        lambda p, b: 2 * b / ((1 + b) * p.max()),
        lambda p, b: (largest(p, b)).min(),
        lambda p, b: min(2 / float(each) * (1 - 1 / (1 + b)) for each in p),
        lambda p, b: 2 * (b / (1 + b)) / np.max(p.double().numpy()),
        lambda p, b: brentq(lambda e: 1 / (1 - e * p.max().item() / 2) - 1 - b, 0, 2 / p.max().item() * (1 - 1e-9)),
        lambda p, b: largest(p.sort().values[-1].double(), b).item(),
    ],
    "mended_mala": [
        mala(),
        mala_from_scratch,
        mala_row_by_row,
        mala_by_the_package,
        mala_in_numpy,
        lambda energy, x, eta, xi, u: mala()(energy, x.double(), eta, xi.double(), u.double()),
        lambda *a: list(mala()(*a)),
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
    "swap_log_ratio": [
        ("turned round", lambda a, b, t, s: swap(b, a, t, s)),
        ("temperatures forgotten", lambda a, b, t, s: a - b),
        ("temperatures forgotten", lambda a, b, t, s: b - a),
        ("one density only", lambda a, b, t, s: (a - b) / t),
        ("one density only", lambda a, b, t, s: (a - b) / s),
        ("temperature for its inverse", lambda a, b, t, s: (t - s) * (a - b)),
        ("temperature for its inverse", lambda a, b, t, s: (s - t) * (a - b)),
        ("difference turned over", lambda a, b, t, s: (a - b) / (t - s)),
        ("difference turned over", lambda a, b, t, s: (a - b) / (s - t)),
        ("no exchange", lambda a, b, t, s: a / t - b / s),
        ("after only", lambda a, b, t, s: -b / t - a / s),
        ("before only", lambda a, b, t, s: a / t + b / s),
        ("energies added", lambda a, b, t, s: (1 / t - 1 / s) * (a + b)),
        ("ratio of energies", lambda a, b, t, s: (1 / t - 1 / s) * a / b),
        ("exponentiated", lambda *a: swap(*a).exp()),
        ("cut at one", lambda *a: swap(*a).clamp(max=0)),
        ("batch in one", lambda *a: swap(*a).sum()),
        ("batch in one", lambda *a: swap(*a).mean()),
        ("overflow", lambda *a: swap(*a).exp().log()),
        ("overflow", lambda a, b, t, s: ((-b / t - a / s).exp() / (-a / t - b / s).exp()).log()),
        ("where the first temperature is the higher one", lambda a, b, t, s: abs(1 / t - 1 / s) * (a - b)),
        ("input changed", swap_in_place),
    ],
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
    "step_for_bias": [
        ("flattest decides", lambda p, b: largest(p.min(), b)),
        ("average direction", lambda p, b: largest(p.mean(), b)),
        ("average direction", lambda p, b: largest(p.median(), b)),
        ("sum of directions", lambda p, b: largest(p.sum(), b)),
        ("a step for each", lambda p, b: largest(p, b)),
        ("first order", lambda p, b: 2 * b / p.max()),
        ("factor 2", lambda p, b: b / (1 + b) / p.max()),
        ("factor 2", lambda p, b: 4 * b / (1 + b) / p.max()),
        ("edge of stability", lambda p, b: 2 / p.max()),
        ("bias without its share", lambda p, b: 2 / (1 + b) / p.max()),
        ("deviation for variance", lambda p, b: 2 * (1 - (1 + b) ** -2) / p.max()),
        ("precision turned round", lambda p, b: largest(1, b) * p.max()),
        ("precision turned round", lambda p, b: largest(1, b) * p.min()),
        ("no precision", lambda p, b: largest(1, b)),
        ("per cent", lambda p, b: 2 * (b / 100) / (1 + b / 100) / p.max()),
        ("differs in case 1", lambda p, b: 0.9 * largest(p.max(), b)),
        ("where no direction is steep", lambda p, b: largest(p.max(), b).clamp(max=1)),
        ("shape", lambda p, b: largest(p.max(), b)[None]),
        ("input changed", lambda p, b: largest(p.clamp_(min=1e-3).mul_(2).max() / 2, b)),
    ],
    "mended_mala": [
        ("as given", mala(height="new")),
        ("worse than given", mala(height="new", slope="new")),
        ("slope of the refused", mala(slope="new")),
        ("height never renewed", mala(height="old")),
        ("slope never renewed", mala(slope="old")),
        ("everything accepted", mala(accept=lambda r, u: u > 0)),
        ("turned round", mala(accept=lambda r, u: u.log() > r)),
        ("one decision", mala(accept=lambda r, u: (u.log() < r).all().repeat(len(u)))),
        ("proposals for states", mala(keep="proposal")),
        ("ratio changed", mala(densities=0)),
        ("ratio changed", mala(densities=-1)),
        ("noise changed", mala(sigma=lambda e: e**0.5)),
        ("differs", mala(accept=lambda r, u: u < r)),
        ("differs", mala(accept=lambda r, u: (u.log() < r) & (r < 0))),
        ("shape", lambda energy, x, *rest: torch.cat((x[None], mala()(energy, x, *rest)))),
        ("shape", lambda *a: mala()(*a)[-1]),
        ("random state", lambda energy, x, eta, xi, u: mala()(energy, x, eta, xi, u + 0 * torch.rand(len(u), 1))),
        ("input changed", mala_in_place),
        (
            "graph through the chain",
            lambda energy, x, *rest: mala()(energy, x, *rest) + 0 * energy(x.clone().requires_grad_()).sum(),
        ),
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
