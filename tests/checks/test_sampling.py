"""Each check of Part S accepts the right answer and names every slip it claims to know."""

import math

import pytest
import torch

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


RIGHT = {
    "langevin_step": step(),
    "noise_for_temperature": lambda T, e: (2 * T * e) ** 0.5,
    "mala_log_ratio": ratio(),
    "leapfrog": flight(),
    "ais_log_weights": weights,
    "log_z_estimate": log_mean,
}

SLIPS = {
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
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name, capsys):
    assert getattr(checks, name)(RIGHT[name])
    assert capsys.readouterr().out.startswith(f"✓ {name}")


@pytest.mark.parametrize(
    ("name", "slip", "answer"),
    [pytest.param(name, slip, answer, id=f"{name}-{slip}") for name, known in SLIPS.items() for slip, answer in known],
)
def test_slips_are_named(name, slip, answer):
    result = getattr(checks, name)(answer)
    assert not result and result.slip == slip


# --- everything else a student may hand in -------------------------------------------------------


def stub(*args):
    raise NotImplementedError


def broken(*args):
    return undefined_name  # noqa: F821


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    ("answer", "said"),
    [(stub, "not written yet"), (broken, "raised NameError"), (lambda *args: None, "returns nothing")],
)
def test_other_answers_are_told_kindly(name, answer, said, capsys):
    result = getattr(checks, name)(answer)
    out = capsys.readouterr().out
    assert not result and result.slip is None
    assert out.startswith(f"✗ {name}") and said in out and out.count("\n") == 1


def test_an_unknown_mistake_shows_both_values(capsys):
    assert not checks.mala_log_ratio(ratio(then=lambda r: r + 0.123))
    assert "Yours: " in capsys.readouterr().out


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_a_plain_number_may_be_returned_in_any_form(kind):
    assert checks.noise_for_temperature(lambda T, e: kind((2 * T * e) ** 0.5))


def test_an_unknown_number_is_shown_as_it_is(capsys):
    assert not checks.noise_for_temperature(lambda T, e: 7.5)
    assert "Yours: 7.5. True: 0.2." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda energy, x, p, eps, n: x, "a pair of tensors"),
        (lambda energy, x, p, eps, n: (x, p[0]), "shape"),
        (lambda energy, x, p, eps, n: (x, 3.0), "a pair of tensors"),
    ],
)
def test_leapfrog_must_return_a_pair(answer, said, capsys):
    assert not checks.leapfrog(answer)
    assert said in capsys.readouterr().out


def test_the_package_itself_passes():
    """The kernels that the experiments use agree with the exercises."""
    from gen_utils.samplers import leapfrog
    from gen_utils.samplers.protocol import energy_and_grad

    def packaged(energy, x, momentum, step_size, n_steps):
        x, _, _, momentum = leapfrog(energy, x, momentum, energy_and_grad(energy, x)[1], step_size, n_steps)
        return x, momentum

    assert checks.leapfrog(packaged)
