"""Each check accepts the right answer and names every slip it claims to know."""

import pytest
import torch

from gen_utils.checks import ebm_mnist as checks
from gen_utils.losses import contrastive_divergence

# --- right answers -------------------------------------------------------------------------------


def density(energy, area):
    return torch.softmax(-energy.flatten(), 0).reshape(energy.shape) / area


def langevin(energy, x, step_size, noise, grad_clip, xi):
    x = x.detach().requires_grad_()
    (grad,) = torch.autograd.grad(energy(x).sum(), x)
    return (x.detach() - step_size * grad.clamp(-grad_clip, grad_clip) + noise * xi).clamp(-1, 1)


def starts(buffer, n, restart, generator):
    index = torch.randint(len(buffer), (n,), generator=generator)
    fresh = torch.rand((n, 1, 1, 1), generator=generator) < restart
    return torch.where(fresh, torch.rand((n, *buffer.shape[1:]), generator=generator) * 2 - 1, buffer[index])


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (checks.density_on_grid, density),
        (checks.langevin_step, langevin),
        (checks.temperature, lambda eta, sigma: sigma**2 / (2 * eta)),
        (checks.draw_starts, starts),
        (checks.contrastive_loss, contrastive_divergence),
    ],
)
def test_right_answers_pass(check, answer, capsys):
    assert check(answer)
    assert capsys.readouterr().out.startswith("✓")


# --- slips ---------------------------------------------------------------------------------------


def step_variant(
    *, sign=-1, reduce="sum", clip=True, box=True, noise=lambda eta, sigma: sigma, detach=True, backward=False, own=True
):
    def variant(energy, x, step_size, sigma, grad_clip, xi):
        x = x.detach().requires_grad_() if own else x.requires_grad_()
        value = getattr(energy(x), reduce)()
        if backward:
            value.backward()
            grad = x.grad
        else:
            (grad,) = torch.autograd.grad(value, x)
        if callable(clip):
            grad = clip(grad, step_size, grad_clip)
        elif clip:
            grad = grad.clamp(-grad_clip, grad_clip)
        new = (x.detach() if detach else x) + sign * step_size * grad + noise(step_size, sigma) * xi
        return new.clamp(-1, 1) if box else new

    return variant


STEP_SLIPS = {
    "sign": dict(sign=1),
    "mean for sum": dict(reduce="mean"),
    "gradient not clipped": dict(clip=False),
    "box": dict(box=False),
    "no noise": dict(noise=lambda eta, sigma: 0.0),
    "noise not scaled": dict(noise=lambda eta, sigma: 1.0),
    "noise times step": dict(noise=lambda eta, sigma: eta * sigma),
    "noise from the step": dict(noise=lambda eta, sigma: (2 * eta) ** 0.5),
    "graph through the chain": dict(detach=False),
    "backward": dict(backward=True),
    "input changed": dict(own=False),
    "step clipped": dict(clip=lambda grad, eta, c: (eta * grad).clamp(-c, c) / eta),
    "norm clipped": dict(clip=lambda grad, eta, c: torch.stack([g * min(1.0, c / float(g.norm())) for g in grad])),
    "clipped on one side": dict(clip=lambda grad, eta, c: torch.minimum(grad, torch.tensor(c))),
}


@pytest.mark.parametrize("slip", STEP_SLIPS)
def test_langevin_slips(slip):
    assert checks.langevin_step(step_variant(**STEP_SLIPS[slip])).slip == slip


def start_variant(
    *, coin="image", restart=lambda r: r, low=-1.0, high=1.0, normal=False, seeded=True, places=None, write=False
):
    def variant(buffer, n, p, generator):
        g = generator if seeded else None
        index = torch.randint(places or len(buffer), (n,), generator=g)
        shape = {"image": (n, 1, 1, 1), "batch": (1, 1, 1, 1), "pixel": (n, *buffer.shape[1:])}[coin]
        fresh = torch.rand(shape, generator=g) < restart(p)
        size = (n, *buffer.shape[1:])
        new = torch.randn(size, generator=g) if normal else torch.rand(size, generator=g) * (high - low) + low
        old = buffer[index]
        if write:
            buffer[:] = 0
        return torch.where(fresh, new, old)

    return variant


START_SLIPS = {
    "coin a pixel": dict(coin="pixel"),
    "restart turned round": dict(restart=lambda p: 1 - p),
    "one coin a batch": dict(coin="batch"),
    "range": dict(low=0.0),
    "normal": dict(normal=True),
    "places": dict(places=100),
    "generator": dict(seeded=False),
    "buffer changed": dict(write=True),
}


def test_a_fixed_number_of_fresh_starts_is_named():
    def student(buffer, n, p, generator):
        fresh = torch.rand((int(n * p), *buffer.shape[1:]), generator=generator) * 2 - 1
        index = torch.randint(len(buffer), (n - len(fresh),), generator=generator)
        return torch.cat((fresh, buffer[index]))

    assert checks.draw_starts(student).slip == "fixed count"


@pytest.mark.parametrize("slip", START_SLIPS)
def test_start_slips(slip):
    assert checks.draw_starts(start_variant(**START_SLIPS[slip])).slip == slip


DENSITY_SLIPS = {
    "sign": lambda e, a: torch.softmax(e.flatten(), 0).reshape(e.shape) / a,
    "cell area": lambda e, a: density(e, 1.0),
    "times cell area": lambda e, a: density(e, 1.0) * a,
    "one axis": lambda e, a: torch.softmax(-e, 0) / a,
    "overflow": lambda e, a: torch.exp(-e) / torch.exp(-e).sum() / a,
    "unnormalised": lambda e, a: torch.exp(-e),
}


@pytest.mark.parametrize("slip", DENSITY_SLIPS)
def test_density_slips(slip):
    assert checks.density_on_grid(DENSITY_SLIPS[slip]).slip == slip


TEMPERATURE_SLIPS = {
    "no square": lambda e, s: s / (2 * e),
    "factor 2": lambda e, s: s**2 / e,
    "inverse": lambda e, s: 2 * e / s**2,
    "ε-form": lambda e, s: (s / e) ** 2,
    "half times η": lambda e, s: s**2 / 2 * e,
}


@pytest.mark.parametrize("slip", TEMPERATURE_SLIPS)
def test_temperature_slips(slip):
    assert checks.temperature(TEMPERATURE_SLIPS[slip]).slip == slip


LOSS_SLIPS = {
    "sign": lambda r, f, a: contrastive_divergence(f, r, a),
    "no regulariser": lambda r, f, a: contrastive_divergence(r, f),
    "sum for mean": lambda r, f, a: r.mean() - f.mean() + a * ((r**2).sum() + (f**2).sum()),
    "all summed": lambda r, f, a: r.sum() - f.sum() + a * ((r**2).sum() + (f**2).sum()),
    "square of the mean": lambda r, f, a: r.mean() - f.mean() + a * (r.mean() ** 2 + f.mean() ** 2),
    "difference of squares": lambda r, f, a: r.mean() - f.mean() + a * ((r**2).mean() - (f**2).mean()),
    "one side": lambda r, f, a: r.mean() - f.mean() + a * (r**2).mean(),
    "half": lambda r, f, a: r.mean() - f.mean() + a * ((r**2).mean() + (f**2).mean()) / 2,
}


def test_a_penalty_on_the_samples_alone_is_named():
    assert checks.contrastive_loss(lambda r, f, a: r.mean() - f.mean() + a * (f**2).mean()).slip == "one side"


@pytest.mark.parametrize("slip", LOSS_SLIPS)
def test_loss_slips(slip):
    assert checks.contrastive_loss(LOSS_SLIPS[slip]).slip == slip


# --- everything else a student may hand in -------------------------------------------------------


def stub(*args):
    raise NotImplementedError


def broken(*args):
    return undefined_name  # noqa: F821


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (stub, "not written yet"),
        (broken, "raised NameError"),
        (lambda *args: None, "returns nothing"),
        (lambda *args: "energy", "returns a str"),
        (lambda r, f, a: r - f, r"shape \(8,\); it should be \(\)"),
        (lambda r, f, a: r.mean() * 0.123, "Yours: .* True: "),
        (lambda r, f: r.mean(), "raised TypeError"),
    ],
)
def test_other_answers_are_told_kindly(answer, told, capsys):
    import re

    result = checks.contrastive_loss(answer)
    said = capsys.readouterr().out
    assert not result and said.startswith("✗ contrastive_loss") and said.count("\n") == 1
    assert re.search(told, said), said


def test_results_are_recorded():
    from gen_utils.report import recorded

    checks.contrastive_loss(LOSS_SLIPS["sign"])
    assert recorded()["check/contrastive_loss"] == {"passed": False, "slip": "sign"}
