"""The tables of Part H."""

import copy
import io
import itertools

import numpy as np
import torch
from checks import table
from scipy.linalg import sqrtm
from torch import nn
from torch.nn import functional as F

from gen_utils.checks import dcgan_bitmoji as checks
from gen_utils.evaluation.frechet import frechet_distance
from gen_utils.losses import gan_critic_loss


def size(n, k, s, p, o):
    return (n - 1) * s - 2 * p + k + o


def chained(rule):
    def painted_sizes(side, layers):
        sizes = []
        for layer in layers:
            sizes.append(side := rule(side, *layer))
        return sizes

    return painted_sizes


def recursive(side, layers):
    if not layers:
        return []
    side = size(side, *layers[0])
    return [side, *recursive(side, layers[1:])]


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


def verdict(real, fake):
    return soft(-real) + soft(fake)


def step_with(*, modes=(True, True), judged=True, cut=False, zero=True, clear=True, late=False, together=False,
              old=False, leak=False, of=verdict, wish=lambda f: soft(-f), give=lambda *both: both):  # fmt: skip
    def dcgan_step(generator, critic, optimise_g, optimise_c, real, z, new_z):
        generator.train(modes[0])
        fake = generator(z)
        seen = fake if leak else fake.detach()
        scores = critic(torch.cat((real, seen))).chunk(2) if together else (critic(real), critic(seen))
        loss_c = of(*scores)
        if zero:
            optimise_c.zero_grad()
        if clear:
            optimise_g.zero_grad()
        loss_c.backward(retain_graph=True)
        if not late:
            optimise_c.step()
        generator.train(modes[1])
        critic.train(judged)
        painted = fake if old else generator(new_z)
        loss_g = wish(critic(painted.detach() if cut else painted))
        loss_g.backward()
        optimise_g.step()
        if late:
            optimise_c.step()
        generator.train()
        critic.train()
        return give(loss_c, loss_g)

    return dcgan_step


def careless_step(generator, critic, optimise_g, optimise_c, real, z, new_z):
    generator.eval()
    with torch.no_grad():
        fake = generator(z)
    loss_c = verdict(critic(real), critic(fake))
    optimise_c.zero_grad()
    loss_c.backward()
    optimise_c.step()
    loss_g = soft(-critic(generator(new_z)))
    optimise_g.zero_grad()
    loss_g.backward()
    optimise_g.step()
    return loss_c.item(), loss_g.item()


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


def grown(n, k, s, p, o):
    with torch.random.fork_rng():
        return nn.ConvTranspose2d(1, 1, k, s, p, o)(torch.zeros(1, 1, n, n)).shape[-1]


def step_without_a_graph(generator, critic, optimise_g, optimise_c, real, z, new_z):
    with torch.no_grad():
        fake = generator(z)
    critic.zero_grad()
    (on_data := -F.logsigmoid(critic(real)).mean()).backward()
    (on_fakes := -F.logsigmoid(-critic(fake)).mean()).backward()
    optimise_c.step()
    generator.zero_grad()
    loss = -F.logsigmoid(critic(generator(new_z))).mean()
    loss.backward()
    optimise_g.step()
    return (on_data + on_fakes).item(), loss.item()


def step_by_grad(generator, critic, optimise_g, optimise_c, real, z, new_z):
    told = []
    for network, optimiser, loss_of in (
        (critic, optimise_c, lambda: gan_critic_loss(critic(real), critic(generator(z).detach()))),
        (generator, optimise_g, lambda: soft(-critic(generator(new_z)))),
    ):
        loss, weights = loss_of(), list(network.parameters())
        for weight, grad in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = grad
        optimiser.step()
        told.append(loss.detach().numpy())
    return told


def step_with_a_frozen_critic(generator, critic, optimise_g, optimise_c, real, z, new_z):
    optimise_c.zero_grad()
    loss_c = gan_critic_loss(critic(real), critic(generator(z).data))
    loss_c.backward()
    optimise_c.step()
    critic.requires_grad_(False)
    optimise_g.zero_grad(set_to_none=False)
    loss_g = F.binary_cross_entropy_with_logits(critic(generator(new_z)), torch.ones(len(new_z)))
    loss_g.backward()
    critic.requires_grad_(True)
    optimise_g.step()
    return loss_c.double(), loss_g.double()


def init_by_name(network):
    for layer in network.modules():
        if hasattr(layer, "weight"):
            mean = 1.0 if "BatchNorm" in type(layer).__name__ else 0.0
            layer.weight.data = torch.randn_like(layer.weight) * 0.02 + mean
            layer.bias.data.zero_()


def init_each(network):
    @torch.no_grad()
    def draw(layer):
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            layer.weight.normal_(0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.weight.copy_(torch.normal(1.0, 0.02, layer.weight.shape))
        else:
            return
        layer.bias.fill_(0)

    network.apply(draw)


def init_in_numpy(network):
    generator = np.random.default_rng()
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d)):
            centre = float(isinstance(layer, nn.BatchNorm2d))
            drawn = torch.from_numpy(generator.normal(centre, 0.02, tuple(layer.weight.shape))).float()
            nn.init.zeros_(layer.bias)
            layer.weight.data.copy_(drawn)


def fid_in_numpy(a, b):
    a, b = a.double().numpy(), b.double().numpy()
    s, t = np.cov(a.T), np.cov(b.T)
    roots = np.sqrt(np.clip(np.linalg.eigvals(s @ t).real, 0, None))
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(s) + np.trace(t) - 2 * roots.sum()


def fid_symmetric(a, b):
    """tr (Σa Σb)^½ = the sum of the singular values of Σa^½ Σb^½."""

    def moments(f):
        f = f.double()
        centred = f - f.mean(0)
        return f.mean(0), centred / (len(f) - 1) ** 0.5

    (m, x), (n, y) = moments(a), moments(b)
    return (m - n).square().sum() + x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()


def fid_by_scipy(a, b):
    s, t = torch.cov(a.double().T).numpy(), torch.cov(b.double().T).numpy()
    eye = 1e-9 * np.eye(len(s))
    root = sqrtm((s + eye) @ (t + eye)).real
    return float((a.double().mean(0) - b.double().mean(0)).square().sum()) + np.trace(s + t - 2 * root)


def keep_on_disk(game):
    file = io.BytesIO()
    torch.save(living(game), file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def keep_tensor_by_tensor(game):
    def copied(state):
        if isinstance(state, torch.Tensor):
            return state.clone()
        if isinstance(state, dict):
            return {key: copied(value) for key, value in state.items()}
        return [copied(value) for value in state] if isinstance(state, list) else state

    return copied(living(game))


RIGHT = {
    "painted_sizes": [
        chained(size),
        chained(grown),
        recursive,
        chained(lambda n, k, s, p, o: len(range((n - 1) * s + k)) - p - p + o),
        lambda side, layers: torch.tensor(chained(size)(side, layers)),
        lambda side, layers: np.array(chained(size)(side, layers)),
        lambda side, layers: list(itertools.accumulate(layers, lambda n, layer: size(n, *layer), initial=side))[1:],
        chained(lambda n, k, s, p, o: max(i * s + k for i in range(n)) - 2 * p + o),
    ],
    "dcgan_init": [init, init_by_name, init_each, init_in_numpy, lambda net: (init(net), init(net))[0]],
    "dcgan_step": [
        step_with(),
        step_without_a_graph,
        step_by_grad,
        step_with_a_frozen_critic,
        lambda *a: step_with(of=gan_critic_loss, give=lambda c, g: [c.item(), g.item()])(*a),
        lambda *a: step_with(give=lambda c, g: torch.stack((c, g)))(*a),
    ],
    "frechet": [
        lambda a, b: fid(a, b),
        fid_in_numpy,
        fid_symmetric,
        fid_by_scipy,
        lambda a, b: torch.tensor(frechet_distance(a, b)),
        lambda a, b: fid(b, a).item(),
    ],
    "save_state": [
        keep,
        lambda game: copy.deepcopy(living(game)),
        keep_on_disk,
        keep_tensor_by_tensor,
        lambda game: dict(sorted(keep(game).items())),
    ],
}


WRONG = {
    "painted_sizes": {
        "ordinary convolution": chained(lambda n, k, s, p, o: (n + 2 * p - k) // s + 1),
        "n for n - 1": chained(lambda n, k, s, p, o: n * s - 2 * p + k + o),
        "padding once": chained(lambda n, k, s, p, o: (n - 1) * s - p + k + o),
        "padding added": chained(lambda n, k, s, p, o: (n - 1) * s + 2 * p + k + o),
        "no kernel": chained(lambda n, k, s, p, o: (n - 1) * s - 2 * p + 1 + o),
        "no output padding": chained(lambda n, k, s, p, o: (n - 1) * s - 2 * p + k),
        "n times stride": chained(lambda n, k, s, p, o: n * s),
        "not chained": lambda side, layers: [size(side, *layer) for layer in layers],
        "the start too": lambda side, layers: [side, *chained(size)(side, layers)],
        "the last alone": lambda side, layers: chained(size)(side, layers)[-1],
        "differs": chained(lambda n, k, s, p, o: size(n, k, s, p, o) - 1),
        "returns a str": lambda side, layers: "8, 16",
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
        "seeded": lambda net: (torch.manual_seed(0), init(net))[1],
        "training mode": lambda net: init(net.eval()),
        "frozen": lambda net: init(net.requires_grad_(False)),
        "mean": lambda net: init(net, draw=lambda w: nn.init.normal_(w, 0.02, 0.02)),
        "scales of the batch norm have": lambda net: init(net, scale=lambda w: nn.init.normal_(w, 1.0, 0.1)),
    },
    "dcgan_step": {
        "evaluation mode": [careless_step, step_with(modes=(False, False))],
        "two generators": [step_with(modes=(False, True)), step_with(modes=(True, False))],
        "critic's mode": step_with(judged=False),
        "one batch": step_with(together=True),
        "generator stays": step_with(cut=True),
        "old pictures": step_with(old=True),
        "two gradients": [step_with(late=True), step_with(zero=False)],
        "generator polluted": [step_with(clear=False), step_with(leak=True)],
        "saturating": step_with(wish=lambda f: -soft(f)),
        "labels swapped": step_with(of=lambda r, f: soft(r) + soft(-f)),
        "halved": step_with(of=lambda r, f: verdict(r, f) / 2),
        "the generator's loss is wrong": step_with(give=lambda c, g: (c, -g)),
        "the discriminator's loss: you return nothing": step_with(give=lambda *both: None),
        "the generator's loss: you return nothing": step_with(give=lambda c, g: c + g),
        "overflow": step_with(of=lambda r, f: -torch.log(r.sigmoid()).mean() - torch.log(1 - f.sigmoid()).mean()),
        "is wrong|are wrong": lambda *a: (step_with()(*a), step_with()(*a))[0],
        "training mode": lambda g, c, *a: (step_with()(g, c, *a), g.eval())[0],
        "frozen": lambda g, c, *a: (step_with()(g, c, *a), c.requires_grad_(False))[0],
    },
    "frechet": {
        "no root": lambda a, b: fid(a, b, cross=lambda s, t: 2 * (s @ t).trace()),
        "root element by element": lambda a, b: fid(a, b, cross=lambda s, t: 2 * (s @ t).clamp(min=0).sqrt().trace()),
        "root of the trace": lambda a, b: fid(a, b, cross=lambda s, t: 2 * (s @ t).trace().sqrt()),
        "two missing": lambda a, b: fid(
            a, b, cross=lambda s, t: torch.linalg.eigvals(s @ t).real.clamp(min=0).sqrt().sum()
        ),
        "rounding": lambda a, b: fid(a, b, cross=lambda s, t: 2 * torch.linalg.eigvals(s @ t).real.sqrt().sum()),
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
}

test_table, test_right, test_wrong = table.tests(checks, RIGHT, WRONG)
