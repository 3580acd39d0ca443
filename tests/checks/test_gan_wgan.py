"""Each check of Part F accepts the right answer and names every slip it claims to know."""

import pytest
import torch
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
    *, sign=1, fake_of=lambda g, z: g(z).detach(), score_of=lambda c, x: c(x), zero=True, before=None,
    after=clip_weights, data_only=False,
):  # fmt: skip
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


RIGHT = {
    "discriminator_loss": losses.gan_critic_loss,
    "generator_loss": losses.gan_generator_loss,
    "wgan_critic_step": step,
    "gradient_penalty": penalty,
    "relativistic_critic_loss": relativistic,
    "margin_loss": losses.ebgan_critic_loss,
    "pulling_away": losses.pulling_away,
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name, capsys):
    assert getattr(checks, name)(RIGHT[name])
    assert capsys.readouterr().out.startswith(f"✓ {name}")


def bce(logits, target):
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def cosines(s):
    s = s / s.norm(dim=1, keepdim=True)
    return s @ s.T


def off_diagonal(c):
    return c[~torch.eye(len(c), dtype=torch.bool)]


SLIPS = {
    "discriminator_loss": {
        "sign": lambda r, f: -bce(r, 1.0) - bce(f, 0.0),
        "labels swapped": lambda r, f: bce(r, 0.0) + bce(f, 1.0),
        "sigmoid twice": lambda r, f: bce(r.sigmoid(), 1.0) + bce(f.sigmoid(), 0.0),
        "overflow": lambda r, f: -torch.log(r.sigmoid()).mean() - torch.log(1 - f.sigmoid()).mean(),
        "only data": lambda r, f: bce(r, 1.0),
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
        "sum for mean": lambda f: F.softplus(-f).sum(),
    },
    "wgan_critic_step": {
        "sign": step_with(sign=-1),
        "gradients clipped": step_with(before=clip_gradients, after=None),
        "no clipping": step_with(after=None),
        "biases left": step_with(after=clip_matrices),
        "clipped too early": step_with(before=clip_weights, after=None),
        "no detach": step_with(fake_of=lambda g, z: g(z)),
        "score detached": step_with(fake_of=lambda g, z: g(z), score_of=lambda c, x: c(x).detach()),
        "no zero_grad": step_with(zero=False),
    },
    "gradient_penalty": {
        "no graph": lambda *a: penalty(*a, graph=False),
        "one norm": lambda c, r, f, u: (slope(c, between(r, f, u)).norm() - 1) ** 2,
        "shared place": lambda c, r, f, u: penalty(c, r, f, u[:1].expand(len(u))),
        "not between": lambda c, r, f, u: penalty(c, r, f, torch.ones_like(u)),
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
        "no margin": lambda r, f, m: r.mean() + (-f).clamp(min=0).mean(),
        "sum for mean": lambda r, f, m: r.sum() + (m - f).clamp(min=0).sum(),
    },
    "pulling_away": {
        "diagonal": lambda s: cosines(s).square().mean(),
        "not normalised": lambda s: off_diagonal(s @ s.T).square().mean(),
        "normalised over the batch": lambda s: off_diagonal(s / s.square().sum(0) @ s.T).square().mean(),
        "not squared": lambda s: off_diagonal(cosines(s)).mean(),
        "divided by B²": lambda s: off_diagonal(cosines(s)).square().sum() / len(s) ** 2,
        "half the pairs": lambda s: cosines(s).triu(1).square().sum() / (len(s) * (len(s) - 1)),
    },
}  # fmt: skip


@pytest.mark.parametrize(("check", "slip"), [(check, slip) for check in SLIPS for slip in SLIPS[check]])
def test_slips_are_named(check, slip):
    result = getattr(checks, check)(SLIPS[check][slip])
    assert not result and result.slip == slip, result.message


@pytest.mark.parametrize(("check", "slip", "wrong"), [
    ("wgan_critic_step", "gradients clipped", step_with(before=clip_gradient_norm, after=None)),
    ("gradient_penalty", "shared place", lambda c, r, f, u: penalty(c, r, f, u.mean().expand(len(u)))),
    ("gradient_penalty", "not between", lambda c, r, f, u: penalty(c, r, f, torch.zeros_like(u))),
    ("wgan_critic_step", "score detached", step_with(data_only=True)),
    ("pulling_away", "diagonal", lambda s: cosines(s).square().sum() / (len(s) * (len(s) - 1))),
])  # fmt: skip
def test_second_forms_of_a_slip(check, slip, wrong):
    assert getattr(checks, check)(wrong).slip == slip


def test_a_clipped_generator_is_noticed():
    def wrong(critic, optimiser, generator, real, z, clip):
        step_with(after=None)(critic, optimiser, generator, real, z, clip)
        clip_weights(generator, clip)

    assert checks.wgan_critic_step(wrong).slip == "no clipping"


@pytest.mark.parametrize("name", ["gradient_penalty", "relativistic_critic_loss"])
def test_a_penalty_that_is_no_scalar_is_told(name):
    result = getattr(checks, name)(lambda critic, real, *rest: critic(real))
    assert not result and "scalar" in result.message and "(4,)" in result.message


@pytest.mark.parametrize("name", RIGHT)
def test_an_unwritten_exercise_is_told_kindly(name):
    def student(*args):
        raise NotImplementedError

    result = getattr(checks, name)(student)
    assert not result and "not written yet" in result.message
