"""Part H's checks accept the right answer and name every slip they claim to know."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gen_utils.checks import dcgan_bitmoji as checks
from gen_utils.evaluation.frechet import frechet_distance


def size(n, k, s, p, o):
    return (n - 1) * s - 2 * p + k + o


def init(network, draw=lambda w: nn.init.normal_(w, 0.0, 0.02), scale=lambda w: nn.init.normal_(w, 1.0, 0.02),
         kinds=(nn.Conv2d, nn.ConvTranspose2d, nn.Linear), bias=nn.init.zeros_):  # fmt: skip
    for layer in network.modules():
        if isinstance(layer, kinds):
            draw(layer.weight)
            bias(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            scale(layer.weight)
            bias(layer.bias)


def soft(a):
    return F.softplus(a).mean()


def step(generator, critic, real, z, optimiser, loss=lambda r, f: soft(-r) + soft(f), zero=True, go=True, detach=True,
         give=True):  # fmt: skip
    fake = generator(z)
    value = loss(critic(real), critic(fake.detach() if detach else fake))
    if zero:
        optimiser.zero_grad()
    value.backward()
    if go:
        optimiser.step()
    return value.detach() if give else None


def with_generator_step(generator, critic, real, z, optimiser):
    value = step(generator, critic, real, z, optimiser)
    with torch.no_grad():
        for p in generator.parameters():
            p.add_(1.0)
    return value


def fid(a, b, ddof=1, mean=lambda g: g @ g, cross=None, dtype=torch.float64):
    a, b = a.to(dtype), b.to(dtype)
    s, t = (torch.cov(f.T, correction=ddof) for f in (a, b))
    g = a.mean(0) - b.mean(0)
    root = torch.linalg.eigvals(s @ t).real.clamp(min=0).sqrt().sum()
    return mean(g) + s.trace() + t.trace() - (2 * root if cross is None else cross(s, t))


def in_float32(a, b):
    def cov(f):
        return (f.T @ f - len(f) * torch.outer(f.mean(0), f.mean(0))) / (len(f) - 1)

    s, t = cov(a), cov(b)
    g = a.mean(0) - b.mean(0)
    return g @ g + s.trace() + t.trace() - 2 * torch.linalg.eigvals(s @ t).real.clamp(min=0).sqrt().sum()


def stds(a, b):
    g = a.mean(0).double() - b.mean(0).double()
    return g @ g + (a.double().std(0) - b.double().std(0)).square().sum()


def stds_for_covariances(a, b):
    s, t = a.double().std(0), b.double().std(0)
    g = a.mean(0).double() - b.mean(0).double()
    return g @ g + s.sum() + t.sum() - 2 * (s * t).sqrt().sum()


def keep(game, **changes):
    state = {
        "generator": game.generator.state_dict(),
        "critic": game.critic.state_dict(),
        "generator_optimiser": game.generator_optimiser.state_dict(),
        "critic_optimiser": game.critic_optimiser.state_dict(),
        "step": game.step,
        "noise": game.noise.get_state(),
    }
    state.update(changes)
    return {k: v for k, v in copy.deepcopy(state).items() if v is not None}


def living(game):
    return {name: getattr(game, name).state_dict() for name in list(checks.PARTS)[:4]} | {
        "step": game.step,
        "noise": game.noise.get_state(),
    }


RIGHT = {
    "output_size": size,
    "dcgan_init": init,
    "critic_step": step,
    "frechet": lambda a, b: fid(a, b),
    "save_state": keep,
}
SLIPS = {
    "output_size": {
        "ordinary convolution": lambda n, k, s, p, o: (n + 2 * p - k) // s + 1,
        "n for n - 1": lambda n, k, s, p, o: n * s - 2 * p + k + o,
        "padding once": lambda n, k, s, p, o: (n - 1) * s - p + k + o,
        "padding added": lambda n, k, s, p, o: (n - 1) * s + 2 * p + k + o,
        "no kernel": lambda n, k, s, p, o: (n - 1) * s - 2 * p + 1 + o,
        "no output padding": lambda n, k, s, p, o: (n - 1) * s - 2 * p + k,
        "n times stride": lambda n, k, s, p, o: n * s,
    },
    "dcgan_init": {
        "constant": lambda net: init(net, draw=lambda w: nn.init.constant_(w, 0.02)),
        "variance for standard deviation": lambda net: init(net, draw=lambda w: nn.init.normal_(w, 0.0, 0.02**0.5)),
        "uniform": lambda net: init(net, draw=lambda w: nn.init.uniform_(w, -0.02, 0.02)),
        "layer left out": lambda net: init(net, kinds=(nn.Conv2d, nn.Linear)),
        "He": lambda net: init(net, draw=nn.init.kaiming_normal_),
        "batch norm left out": lambda net: init(net, scale=lambda w: None),
        "batch norm around zero": lambda net: init(net, scale=lambda w: nn.init.normal_(w, 0.0, 0.02)),
        "biases left": lambda net: init(net, bias=lambda b: None),
    },
    "critic_step": {
        "generator stepped": with_generator_step,
        "no detach": lambda *a: step(*a, detach=False),
        "loss not returned": lambda *a: step(*a, give=False),
        "labels swapped": lambda *a: step(*a, loss=lambda r, f: soft(r) + soft(-f)),
        "gradients not cleared": lambda *a: step(*a, zero=False),
        "no step": lambda *a: step(*a, go=False),
        "halved": lambda *a: step(*a, loss=lambda r, f: (soft(-r) + soft(f)) / 2),
        "sum for mean": lambda *a: step(*a, loss=lambda r, f: F.softplus(-r).sum() + F.softplus(f).sum()),
        "sigmoid twice": lambda *a: step(*a, loss=lambda r, f: soft(-r.sigmoid()) + soft(f.sigmoid())),
        "fakes only": lambda *a: step(*a, loss=lambda r, f: soft(f)),
        "data only": lambda *a: step(*a, loss=lambda r, f: soft(-r)),
        "generator's loss": lambda *a: step(*a, loss=lambda r, f: soft(-f)),
    },
    "frechet": {
        "no root": lambda a, b: fid(a, b, cross=lambda s, t: 2 * (s @ t).trace()),
        "root element by element": lambda a, b: fid(a, b, cross=lambda s, t: 2 * (s @ t).clamp(min=0).sqrt().trace()),
        "root of the trace": lambda a, b: fid(a, b, cross=lambda s, t: 2 * (s @ t).trace().sqrt()),
        "two missing": lambda a, b: fid(a, b, cross=lambda s, t: torch.linalg.eigvals(s @ t).real.sqrt().sum()),
        "no last term": lambda a, b: fid(a, b, cross=lambda s, t: 0.0),
        "mean not squared": lambda a, b: fid(a, b, mean=lambda g: g.norm()),
        "no mean": lambda a, b: fid(a, b, mean=lambda g: 0.0),
        "mean absolute": lambda a, b: fid(a, b, mean=lambda g: g.abs().sum()),
        "mean averaged": lambda a, b: fid(a, b, mean=lambda g: g.square().mean()),
        "divided by N": lambda a, b: fid(a, b, ddof=0),
        "variances alone": stds,
        "standard deviations for covariances": stds_for_covariances,
        "square root of it all": lambda a, b: fid(a, b).sqrt(),
        "float32": in_float32,
    },
    "save_state": {
        "no critic_optimiser": lambda g: keep(g, critic_optimiser=None),
        "no generator_optimiser": lambda g: keep(g, generator_optimiser=None),
        "no noise": lambda g: keep(g, noise=None),
        "no step": lambda g: keep(g, step=None),
        "parts missing": lambda g: {"generator": g.generator.state_dict(), "critic": g.critic.state_dict()},
        "one optimiser twice": lambda g: keep(g, critic_optimiser=g.generator_optimiser.state_dict()),
        "fresh optimiser": lambda g: keep(g, critic_optimiser=torch.optim.Adam(g.critic.parameters()).state_dict()),
        "global stream": lambda g: keep(g, noise=torch.get_rng_state()),
        "late state": lambda g: (torch.randn(1, generator=g.noise), keep(g))[1],
        "the stream itself": lambda g: {**living(g), "noise": g.noise},
        "wrong step": lambda g: keep(g, step=g.step + 1),
        "wrong weights": lambda g: keep(g, critic=checks.Game().critic.state_dict()),
        "wrong optimiser": lambda g: keep(g, critic_optimiser=g.critic.state_dict()),
        "living tensors": living,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name, capsys):
    assert getattr(checks, name)(RIGHT[name])
    assert capsys.readouterr().out.startswith(f"✓ {name}")


@pytest.mark.parametrize(("check", "slip"), [(check, slip) for check in SLIPS for slip in SLIPS[check]])
def test_slips_are_named(check, slip):
    result = getattr(checks, check)(SLIPS[check][slip])
    assert not result and result.slip == slip, result.message


@pytest.mark.parametrize("name", RIGHT)
def test_an_unwritten_exercise_is_told_kindly(name):
    def student(*args):
        raise NotImplementedError

    result = getattr(checks, name)(student)
    assert not result and "not written yet" in result.message


def test_the_packages_own_functions_pass():
    from gen_utils.losses import gan_critic_loss

    assert checks.frechet(lambda a, b: torch.tensor(frechet_distance(a, b)))
    assert checks.critic_step(lambda *a: step(*a, loss=gan_critic_loss))


def test_output_size_is_pytorchs():
    for n, k, s, p, o in ((4, 4, 2, 1, 0), (5, 5, 3, 2, 2), (7, 3, 2, 1, 1)):
        assert nn.ConvTranspose2d(1, 1, k, s, p, o)(torch.zeros(1, 1, n, n)).shape[-1] == size(n, k, s, p, o)
