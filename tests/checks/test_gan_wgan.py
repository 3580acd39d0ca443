"""The tables of Part F."""

import math

import numpy as np
import torch
from checks import table
from torch import nn
from torch.nn import functional as F

from gen_utils import losses
from gen_utils.checks import gan_wgan as checks


def step(critic, optimiser, generator, real, z, clip):
    with torch.no_grad():
        fake = generator(z)
    loss = losses.wasserstein_critic_loss(critic(real), critic(fake))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    clip_weights(critic, clip)
    return loss


def clip_weights(network, clip):
    with torch.no_grad():
        for weight in network.parameters():
            weight.clamp_(-clip, clip)


def clip_matrices(network, clip):
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.clamp_(-clip, clip)


def step_with(
    *,
    sign=1,
    fake_of=lambda g, z: g(z).detach(),
    score_of=lambda c, x: c(x),
    zero=True,
    before=None,
    after=clip_weights,
    data_only=False,
):
    def wgan_critic_step(critic, optimiser, generator, real, z, clip):
        loss = -critic(real).mean()
        if not data_only:
            loss = sign * (loss + score_of(critic, fake_of(generator, z)).mean())
        if zero:
            optimiser.zero_grad()
        loss.backward()
        if before:
            before(critic, clip)
        optimiser.step()
        if after:
            after(critic, clip)

    return wgan_critic_step


def clip_gradients(network, clip):
    nn.utils.clip_grad_value_(network.parameters(), clip)


def clip_gradient_norm(network, clip):
    nn.utils.clip_grad_norm_(network.parameters(), clip)


def between(real, fake, u):
    return torch.lerp(fake, real, u.view(-1, 1, 1, 1)).requires_grad_()


def slope(critic, x, graph=True):
    (grad,) = torch.autograd.grad(critic(x).sum(), x, create_graph=graph)
    return grad


def penalty(critic, real, fake, u, graph=True):
    return (slope(critic, between(real, fake, u), graph).flatten(1).norm(dim=1) - 1).square().mean()


def relativistic(critic, real, fake, gamma, *, graph=True, r=losses.r1_penalty, weights=(0.5, 0.5), pairs=None):
    del graph
    value = losses.relativistic_loss(critic(real), critic(fake)) if pairs is None else pairs(critic(real), critic(fake))
    return value + gamma * (weights[0] * r(critic, real) + weights[1] * r(critic, fake))


def square_norm(critic, x, graph=True):
    return slope(critic, x.detach().requires_grad_(), graph).square().flatten(1).sum(1)


def bce(logits, target):
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def cosines(s):
    s = s / s.norm(dim=1, keepdim=True)
    return s @ s.T


def off_diagonal(c):
    return c[~torch.eye(len(c), dtype=torch.bool)]


def also_the_generator(critic, optimiser, generator, real, z, clip):
    step(critic, optimiser, generator, real, z, clip)
    clip_weights(generator, clip)


def step_of_a_frozen(change):
    def wgan_critic_step(critic, optimiser, generator, real, z, clip):
        change(critic, generator)
        step(critic, optimiser, generator, real, z, clip)

    return wgan_critic_step


def step_together(critic, optimiser, generator, real, z, clip):
    scores = critic(torch.cat((real, generator(z).detach())))
    critic.zero_grad()
    (scores[len(real) :].mean() - scores[: len(real)].mean()).backward()
    optimiser.step()
    for weight in critic.parameters():
        weight.data.clamp_(-clip, clip)


def step_by_grad(critic, optimiser, generator, real, z, clip):
    loss = critic(generator(z).detach()).mean() - critic(real).mean()
    weights = list(critic.parameters())
    for weight, grad in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        weight.grad = grad
    optimiser.step()
    torch.nn.utils.vector_to_parameters(
        torch.nn.utils.parameters_to_vector(weights).detach().clip(-clip, clip), weights
    )
    return loss.item()


def step_in_two_passes(critic, optimiser, generator, real, z, clip):
    optimiser.zero_grad(set_to_none=True)
    (-critic(real)).mean().backward()
    critic(generator(z).data).mean().backward()
    optimiser.step()
    clip_weights(critic, clip)


def penalty_by_rows(critic, real, fake, u):
    total = 0.0
    for r, f, share in zip(real, fake, u, strict=True):
        x = (share * r + (1 - share) * f)[None].requires_grad_()
        (grad,) = torch.autograd.grad(critic(x)[0], x, create_graph=True)
        total = total + (grad.square().sum().sqrt() - 1) ** 2
    return total / len(u)


def penalty_functional(critic, real, fake, u):
    grad = torch.func.grad(lambda x: critic(x).sum())(between(real, fake, u).detach())
    return (torch.linalg.vector_norm(grad, dim=(1, 2, 3)) - 1).pow(2).mean()


def penalty_by_ones(critic, real, fake, u):
    u = u[:, None, None, None]
    x = (fake + u * (real - fake)).requires_grad_(True)
    score = critic(x)
    (grad,) = torch.autograd.grad(score, x, torch.ones_like(score), create_graph=True, retain_graph=True)
    return ((grad.reshape(len(x), -1) ** 2).sum(1).sqrt() - 1).square().sum() / len(x)


def relativistic_by_rows(critic, real, fake, gamma):
    total = 0.0
    for r, f in zip(real, fake, strict=True):
        r, f = r[None].clone().requires_grad_(), f[None].clone().requires_grad_()
        a, b = critic(r)[0], critic(f)[0]
        to_r, to_f = torch.autograd.grad(a, r, create_graph=True)[0], torch.autograd.grad(b, f, create_graph=True)[0]
        total = total + F.softplus(b - a) + gamma / 2 * (to_r.square().sum() + to_f.square().sum())
    return total / len(real)


def relativistic_together(critic, real, fake, gamma):
    x = torch.cat((real, fake)).requires_grad_()
    score = critic(x)
    (grad,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    gap = score[: len(real)] - score[len(real) :]
    return -F.logsigmoid(gap).mean() + gamma / 2 * grad.square().sum() / len(real)


def relativistic_by_logaddexp(critic, real, fake, gamma):
    gap = critic(fake) - critic(real)
    pairs = torch.logaddexp(gap, torch.zeros_like(gap)).mean()
    return pairs + gamma / 2 * (square_norm(critic, real) + square_norm(critic, fake)).mean()


def round_with(*, order="critic first", shown=lambda x: x.detach(), wished=lambda x: x, clear=(True, True), late=False,
               verdict=losses.gan_critic_loss, wish=losses.gan_generator_loss):  # fmt: skip
    def gan_round(generator, critic, optimise_g, optimise_c, real, z):
        def of_critic():
            if clear[0]:
                optimise_c.zero_grad()
            verdict(critic(real), critic(shown(generator(z)))).backward()
            if not late:
                optimise_c.step()

        def of_generator():
            if clear[1]:
                optimise_g.zero_grad()
            wish(critic(wished(generator(z)))).backward()
            optimise_g.step()

        for act in (of_critic, of_generator) if order == "critic first" else (of_generator, of_critic):
            act()
        if late:
            optimise_c.step()

    return gan_round


def tidy_round(generator, critic, optimise_g, optimise_c, real, z):
    fake = generator(z)
    optimise_c.zero_grad()
    optimise_g.zero_grad()
    losses.gan_critic_loss(critic(real), critic(fake.detach())).backward()
    losses.gan_generator_loss(critic(fake)).backward()
    optimise_c.step()
    optimise_g.step()


def round_of_grads(generator, critic, optimise_g, optimise_c, real, z):
    def move(network, optimiser, loss):
        for weight, grad in zip(
            network.parameters(), torch.autograd.grad(loss, list(network.parameters())), strict=True
        ):
            weight.grad = grad
        optimiser.step()

    fake = generator(z)
    move(critic, optimise_c, losses.gan_critic_loss(critic(real), critic(fake.detach())))
    move(generator, optimise_g, losses.gan_generator_loss(critic(fake)))


def round_without_optimisers(generator, critic, optimise_g, optimise_c, real, z):
    def move(network, optimiser, loss):
        weights = list(network.parameters())
        for weight, grad in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.data -= optimiser.param_groups[0]["lr"] * grad

    fake = generator(z)
    move(critic, optimise_c, losses.gan_critic_loss(critic(real), critic(fake.detach())))
    move(generator, optimise_g, losses.gan_generator_loss(critic(generator(z))))


def round_with_a_frozen_critic(generator, critic, optimise_g, optimise_c, real, z):
    with torch.no_grad():
        fake = generator(z)
    scores = critic(torch.cat((real, fake)))
    critic.zero_grad()
    F.binary_cross_entropy_with_logits(
        scores, torch.cat((torch.ones(len(real)), torch.zeros(len(z)))), reduction="sum"
    ).div(len(real)).backward()
    optimise_c.step()
    critic.requires_grad_(False)
    generator.zero_grad()
    bce(critic(generator(z)), 1.0).backward()
    critic.requires_grad_(True)
    optimise_g.step()


def round_cleared_at_the_end(generator, critic, optimise_g, optimise_c, real, z):
    for optimiser in (optimise_c, optimise_g):
        optimiser.zero_grad(set_to_none=False)
    fake = generator(z)
    loss = bce(critic(real), 1.0) + bce(critic(fake.detach()), 0.0)
    loss.backward()
    optimise_c.step()
    (-F.logsigmoid(critic(fake))).mean().backward()
    optimise_g.step()
    optimise_c.zero_grad()
    return loss.item()


def round_at_once(generator, critic, optimise_g, optimise_c, real, z):
    """Both gradients before both steps."""
    fake = generator(z)
    wish = torch.autograd.grad(losses.gan_generator_loss(critic(fake)), list(generator.parameters()))
    optimise_c.zero_grad()
    losses.gan_critic_loss(critic(real), critic(fake.detach())).backward()
    for weight, grad in zip(generator.parameters(), wish, strict=True):
        weight.grad = grad
    optimise_c.step()
    optimise_g.step()


def round_cleared_between(generator, critic, optimise_g, optimise_c, real, z):
    fake = generator(z)
    optimise_g.zero_grad()
    losses.gan_critic_loss(critic(real), critic(fake.detach())).backward()
    optimise_c.zero_grad()
    losses.gan_generator_loss(critic(fake)).backward()
    optimise_c.step()
    optimise_g.step()


def round_through_both(generator, critic, optimise_g, optimise_c, real, z):
    fake = generator(z)
    optimise_c.zero_grad()
    optimise_g.zero_grad()
    losses.gan_critic_loss(critic(real), critic(fake)).backward(retain_graph=True)
    optimise_c.step()
    losses.gan_generator_loss(critic(fake)).backward()
    optimise_g.step()


def frozen_round(generator, critic, *rest):
    critic.requires_grad_(True)
    round_with()(generator, critic, *rest)
    critic.requires_grad_(False)


RIGHT = {
    "best_discriminator": [
        lambda p, q, w: torch.sigmoid(p - q - math.log(w)),
        lambda p, q, w: 1 / (1 + torch.exp(math.log(w) + q - p)),
        lambda p, q, w: (p - torch.logaddexp(p, q + math.log(w))).exp(),
        lambda p, q, w: torch.stack((p, q + math.log(w))).softmax(0)[0],
        lambda p, q, w: 1 - torch.sigmoid(math.log(w) + q.double() - p.double()),
        lambda p, q, w: np.exp(p.numpy() - np.logaddexp(p.numpy(), q.numpy() + np.log(w))),
        lambda p, q, w: [
            1 / (1 + w * math.exp(min(b - a, 600.0))) for a, b in zip(p.tolist(), q.tolist(), strict=True)
        ],
    ],
    "gan_round": [
        round_with(),
        round_of_grads,
        round_with_a_frozen_critic,
        round_cleared_at_the_end,
        lambda *a: round_with(verdict=lambda r, f: bce(r, 1.0) + bce(f, 0.0), wish=lambda f: bce(f, 1.0))(*a),
    ],
    "discriminator_loss": [
        losses.gan_critic_loss,
        lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(),
        lambda r, f: bce(r, 1.0) + bce(f, 0.0),
        lambda r, f: -F.logsigmoid(r).mean() - F.logsigmoid(-f).mean(),
        lambda r, f: torch.logaddexp(-r, torch.zeros_like(r)).mean() + torch.logaddexp(f, torch.zeros_like(f)).mean(),
        lambda r, f: losses.gan_critic_loss(r.double(), f.double()),
        lambda r, f: sum(F.softplus(-a) for a in r) / len(r) + sum(F.softplus(b) for b in f) / len(f),
    ],
    "generator_loss": [
        losses.gan_generator_loss,
        lambda f: F.softplus(-f).mean(),
        lambda f: bce(f, 1.0),
        lambda f: -F.logsigmoid(f).sum() / len(f),
        lambda f: losses.gan_generator_loss(f.double()),
        lambda f: torch.stack([torch.logaddexp(-a, torch.zeros(())) for a in f]).mean(),
    ],
    "wgan_critic_step": [step, step_with(), step_together, step_by_grad, step_in_two_passes],
    "gradient_penalty": [
        penalty,
        penalty_by_rows,
        penalty_functional,
        penalty_by_ones,
        lambda c, r, f, u: (square_norm(c, between(r, f, u)).sqrt() - 1).square().mean(),
    ],
    "relativistic_critic_loss": [
        relativistic,
        relativistic_by_rows,
        relativistic_together,
        relativistic_by_logaddexp,
        lambda c, r, f, g: relativistic(c, r.clone(), f.clone(), float(g)),
    ],
    "margin_loss": [
        losses.ebgan_critic_loss,
        lambda r, f, m: r.mean() + F.relu(m - f).mean(),
        lambda r, f, m: r.mean() + (m - f).clamp(min=0).mean(),
        lambda r, f, m: torch.maximum(m - f.double(), torch.zeros(()).double()).mean() + r.double().mean(),
        lambda r, f, m: sum(r) / len(r) + sum(m - e if e < m else 0 * e for e in f) / len(f),
        lambda r, f, m: r.mean() + torch.where(f < m, m - f, 0.0).sum() / len(f),
    ],
    "pulling_away": [
        losses.pulling_away,
        lambda s: off_diagonal(cosines(s)).square().mean(),
        lambda s: (cosines(s).square().sum() - len(s)) / (len(s) * (len(s) - 1)),
        lambda s: 2 * cosines(s).triu(1).square().sum() / (len(s) ** 2 - len(s)),
        lambda s: losses.pulling_away(s.double()),
        lambda s: torch.stack(
            [F.cosine_similarity(a, b, dim=0) ** 2 for i, a in enumerate(s) for j, b in enumerate(s) if i != j]
        ).mean(),
    ],
}


WRONG = {
    "best_discriminator": {
        "turned": lambda p, q, w: torch.sigmoid(q + math.log(w) - p),
        "weight forgotten": lambda p, q, w: torch.sigmoid(p - q),
        "weight on the data": [
            lambda p, q, w: torch.sigmoid(p - q + math.log(w)),
            lambda p, q, w: torch.sigmoid(p - q) / w,
        ],
        "logit": lambda p, q, w: p - q - math.log(w),
        "ratio": lambda p, q, w: torch.exp(p - q) / w,
        "logarithm of D": lambda p, q, w: p - torch.logaddexp(p, q + math.log(w)),
        "logarithms for densities": lambda p, q, w: p / (p + w * q),
        "a logarithm's weight": [
            lambda p, q, w: torch.stack((p, w * q)).softmax(0)[0],
            lambda p, q, w: torch.sigmoid(p - q - w),
        ],
        "overflow": lambda p, q, w: p.exp() / (p.exp() + w * q.exp()),
        "input changed": lambda p, q, w: torch.sigmoid(p.sub_(q) - math.log(w)),
        "shape": lambda p, q, w: torch.sigmoid(p - q - math.log(w)).mean(),
    },
    "gan_round": {
        "two gradients": [tidy_round, round_with(clear=(False, True))],
        "the generator's wish": round_cleared_between,
        "generator polluted": [round_through_both, round_with(clear=(True, False))],
        "at the same time": round_at_once,
        "generator first": round_with(order="generator first"),
        "generator stays": round_with(wished=lambda x: x.detach()),
        "critic stays": lambda g, c, og, oc, real, z: round_with(order="generator first")(
            g, c, og, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.0), real, z
        ),
        "saturating": round_with(wish=lambda f: -F.softplus(f).mean()),
        "labels swapped": round_with(verdict=lambda r, f: losses.gan_critic_loss(f, r)),
        "halved": round_with(verdict=lambda r, f: losses.gan_critic_loss(r, f) / 2),
        "is wrong|are wrong": [
            round_with(late=True, clear=(True, False)),
            lambda *a: (round_with()(*a), round_with()(*a))[0],
        ],
        "three rounds": round_without_optimisers,
        "overflow": [
            round_with(
                verdict=lambda r, f: -torch.log(r.sigmoid()).mean() - torch.log(1 - f.sigmoid()).mean(),
                wish=lambda f: -torch.log(f.sigmoid()).mean(),
            ),
            round_with(wish=lambda f: -torch.log(f.sigmoid() + 1e-8).mean()),
        ],
        "frozen": frozen_round,
        "training mode": lambda g, c, *a: round_with()(g.eval(), c, *a),
    },
    "discriminator_loss": {
        "sign": lambda r, f: -bce(r, 1.0) - bce(f, 0.0),
        "labels swapped": lambda r, f: bce(r, 0.0) + bce(f, 1.0),
        "sigmoid twice": lambda r, f: bce(r.sigmoid(), 1.0) + bce(f.sigmoid(), 0.0),
        "overflow": lambda r, f: -torch.log(r.sigmoid()).mean() - torch.log(1 - f.sigmoid()).mean(),
        "only data": lambda r, f: bce(r, 1.0),
        "no gradient": [
            lambda r, f: (bce(r, 1.0) + bce(f, 0.0)).item(),
            lambda r, f: bce(r.detach(), 1.0) + bce(f.detach(), 0.0),
        ],
        "no gradient reaches fake": lambda r, f: bce(r, 1.0) + bce(f.detach(), 0.0),
        "input changed": lambda r, f: F.softplus(r.neg_()).mean() + bce(f, 0.0),
        "shape": lambda r, f: F.softplus(-r) + bce(f, 0.0),
        "only fakes": lambda r, f: bce(f, 0.0),
        "generator's view": lambda r, f: bce(r, 1.0) + bce(f, 1.0),
        "halved": lambda r, f: (bce(r, 1.0) + bce(f, 0.0)) / 2,
        "one mean": lambda r, f: F.softplus(torch.cat((-r, f))).mean(),
        "sum for mean": lambda r, f: F.softplus(-r).sum() + F.softplus(f).sum(),
    },
    "generator_loss": {
        "saturating": lambda f: F.logsigmoid(-f).mean(),
        "sign": lambda f: F.logsigmoid(f).mean(),
        "discriminator's view": lambda f: bce(f, 0.0),
        "sigmoid twice": lambda f: bce(f.sigmoid(), 1.0),
        "overflow": lambda f: -torch.log(f.sigmoid()).mean(),
        "Wasserstein": lambda f: -f.mean(),
        "no gradient": [lambda f: bce(f, 1.0).item(), torch.no_grad()(lambda f: bce(f, 1.0))],
        "shape": lambda f: F.softplus(-f),
        "differs": lambda f: F.softplus(-f.mean()),
        "sum for mean": lambda f: F.softplus(-f).sum(),
    },
    "wgan_critic_step": {
        "sign": step_with(sign=-1),
        "gradients clipped": [
            step_with(before=clip_gradients, after=None),
            step_with(before=clip_gradient_norm, after=None),
        ],
        "no clipping": step_with(after=None),
        "weights changed": also_the_generator,
        "frozen": step_of_a_frozen(lambda critic, generator: generator.requires_grad_(False)),
        "training mode": step_of_a_frozen(lambda critic, generator: critic.eval()),
        "biases left": step_with(after=clip_matrices),
        "clipped too early": step_with(before=clip_weights, after=None),
        "no detach": step_with(fake_of=lambda g, z: g(z)),
        "score detached": [
            step_with(data_only=True),
            step_with(fake_of=lambda g, z: g(z), score_of=lambda c, x: c(x).detach()),
        ],
        "no zero_grad": step_with(zero=False),
    },
    "gradient_penalty": {
        "no graph": [lambda *a: penalty(*a, graph=False), lambda *a: penalty(*a).item()],
        "one norm": lambda c, r, f, u: (slope(c, between(r, f, u)).norm() - 1) ** 2,
        "shared place": [
            lambda c, r, f, u: penalty(c, r, f, u[:1].expand(len(u))),
            lambda c, r, f, u: penalty(c, r, f, u.mean().expand(len(u))),
        ],
        "backward": lambda *a: (penalty(*a).backward(), penalty(*a))[1],
        "shape": lambda c, r, f, u: c(r),
        "not between": [
            lambda c, r, f, u: penalty(c, r, f, torch.ones_like(u)),
            lambda c, r, f, u: penalty(c, r, f, torch.zeros_like(u)),
        ],
        "turned": lambda c, r, f, u: penalty(c, r, f, 1 - u),
        "no minus one": lambda c, r, f, u: square_norm(c, between(r, f, u)).mean(),
        "squared norm": lambda c, r, f, u: (square_norm(c, between(r, f, u)) - 1).square().mean(),
        "absolute": lambda c, r, f, u: (square_norm(c, between(r, f, u)).sqrt() - 1).abs().mean(),
        "one-sided": lambda c, r, f, u: F.relu(square_norm(c, between(r, f, u)).sqrt() - 1).square().mean(),
        "pixel by pixel": lambda c, r, f, u: (slope(c, between(r, f, u)).abs() - 1).square().mean(),
        "sum for mean": lambda c, r, f, u: penalty(c, r, f, u) * len(r),
    },
    "relativistic_critic_loss": {
        "sign": lambda *a: relativistic(*a, pairs=lambda r, f: F.softplus(r - f).mean()),
        "no pairs": lambda *a: relativistic(*a, pairs=lambda r, f: F.softplus(f.mean() - r.mean())),
        "all pairs": lambda *a: relativistic(*a, pairs=lambda r, f: F.softplus(f - r[:, None]).mean()),
        "not relativistic": lambda *a: relativistic(*a, pairs=losses.gan_critic_loss),
        "no gradient": lambda *a: relativistic(*a).item(),
        "frozen": lambda c, *a: (relativistic(c, *a), c.requires_grad_(False))[0],
        "shape": lambda c, r, f, g: c(r),
        "R2 missing": lambda *a: relativistic(*a, weights=(0.5, 0)),
        "R1 missing": lambda *a: relativistic(*a, weights=(0, 0.5)),
        "no penalty": lambda c, r, f, g: losses.relativistic_loss(c(r), c(f)),
        "gamma not halved": lambda *a: relativistic(*a, weights=(1, 1)),
        "norm not squared": lambda *a: relativistic(*a, r=lambda c, x: square_norm(c, x).sqrt().mean()),
        "no graph": lambda *a: relativistic(*a, r=lambda c, x: square_norm(c, x, graph=False).mean()),
        "sum for mean": lambda *a: relativistic(*a, r=lambda c, x: square_norm(c, x).sum()),
    },
    "margin_loss": {
        "sign": lambda r, f, m: losses.ebgan_critic_loss(f, r, m),
        "no hinge": lambda r, f, m: r.mean() - f.mean() + m,
        "hinge turned": lambda r, f, m: r.mean() + (f - m).clamp(min=0).mean(),
        "mean inside": lambda r, f, m: r.mean() + (m - f.mean()).clamp(min=0),
        "only fakes": lambda r, f, m: (m - f).clamp(min=0).mean(),
        "no gradient": lambda r, f, m: float(losses.ebgan_critic_loss(r, f, m)),
        "no gradient reaches energy_real": lambda r, f, m: losses.ebgan_critic_loss(r.detach(), f, m),
        "input changed": lambda r, f, m: r.mean() + f.neg_().add_(m).clamp(min=0).mean(),
        "no margin": lambda r, f, m: r.mean() + (-f).clamp(min=0).mean(),
        "sum for mean": lambda r, f, m: r.sum() + (m - f).clamp(min=0).sum(),
    },
    "pulling_away": {
        "diagonal": [
            lambda s: cosines(s).square().mean(),
            lambda s: cosines(s).square().sum() / (len(s) * (len(s) - 1)),
        ],
        "no gradient": [lambda s: losses.pulling_away(s).item(), lambda s: losses.pulling_away(s.detach())],
        "gradient with respect to codes": lambda s: (
            off_diagonal((s / s.detach().norm(dim=1, keepdim=True)) @ (s / s.detach().norm(dim=1, keepdim=True)).T)
            .square()
            .mean()
        ),
        "not normalised": lambda s: off_diagonal(s @ s.T).square().mean(),
        "normalised over the batch": lambda s: off_diagonal(s / s.square().sum(0) @ s.T).square().mean(),
        "not squared": lambda s: off_diagonal(cosines(s)).mean(),
        "divided by B²": lambda s: off_diagonal(cosines(s)).square().sum() / len(s) ** 2,
        "half the pairs": lambda s: cosines(s).triu(1).square().sum() / (len(s) * (len(s) - 1)),
    },
}

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)
