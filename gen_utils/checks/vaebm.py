"""The exercise checks of Part I, the VAEBM."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .cases import Case, far, stream
from .compare import compare
from .core import Result, Slip, check


def _bowl(x: Tensor) -> Tensor:
    """A curved energy of (B, 4) without symmetry."""
    return (0.5 * x.square() * torch.tensor([1.0, 2.0, 0.5, 1.5]).to(x) + 0.3 * x.pow(3)).sum(1)


def _decode(z: Tensor) -> tuple[Tensor, Tensor]:
    """z (B, 3) -> mean and standard deviation (B, 4); both depend on z."""
    mix = torch.tensor([[0.6, -0.4, 0.2], [0.1, 0.9, -0.5], [-0.7, 0.3, 0.4], [0.5, 0.5, 0.8]]).to(z)
    return torch.tanh(z @ mix.T), torch.exp(0.3 * z @ mix.T - 1)


def _decode_fixed(z: Tensor) -> tuple[Tensor, Tensor]:
    mean, _ = _decode(z)
    return mean, torch.full_like(mean, 0.2)


def _half(*noises: Tensor) -> Tensor:
    return sum(0.5 * e.square().sum(1) for e in noises)


@check
def noise_energy(student: Callable) -> Result:
    """Check ``noise_energy(energy, decode, eps_x (B, D), eps_z (B, d)) -> (B,)``: E(x(ε)) + ½‖ε‖²."""
    name = "noise_energy"
    numbers = stream(0)
    eps_x, eps_z = torch.randn(5, 4, generator=numbers), torch.randn(5, 3, generator=numbers)
    cases = [(_bowl, _decode, eps_x, eps_z), (_bowl, _decode_fixed, eps_x.flip(0), eps_z)]

    def right(energy, decode, eps_x, eps_z) -> Tensor:
        mean, scale = decode(eps_z)
        return energy(mean + scale * eps_x) + _half(eps_x, eps_z)

    def with_x(picture: Callable) -> Callable:
        return lambda energy, decode, ex, ez: energy(picture(*decode(ez), ex)) + _half(ex, ez)

    def with_rest(rest: Callable) -> Callable:
        def wrong(energy, decode, ex, ez):
            mean, scale = decode(ez)
            return energy(mean + scale * ex) + rest(scale, ex, ez)

        return wrong

    slips = [
        Slip("no square", "½‖ε‖² is missing: the energy alone would let the noise run away to wherever E is low.", with_rest(lambda s, ex, ez: 0.0)),
        Slip("square of ε_z only", "½‖ε_x‖² is missing: the pixels' noise has a density too.", with_rest(lambda s, ex, ez: _half(ez))),
        Slip("square of ε_x only", "½‖ε_z‖² is missing: that is the prior of z.", with_rest(lambda s, ex, ez: _half(ex))),
        Slip("whole square", "the factor ½ is missing in front of ‖ε‖².", with_rest(lambda s, ex, ez: 2 * _half(ex, ez))),
        Slip("mean for sum", "the squares are averaged over the coordinates; sum them.", with_rest(lambda s, ex, ez: 0.5 * torch.cat((ex, ez), 1).square().mean(1))),
        Slip("energy of (x, z)", "you added Σ log s(z): that is the energy of the pair (x, z), evaluated at x(ε). As a density of ε it lacks the determinant of the change of variables, Π s(z), whose log cancels that term. The published code makes the same slip.", with_rest(lambda s, ex, ez: _half(ex, ez) + s.log().sum(1))),
        Slip("determinant twice", "you subtracted Σ log s(z): the determinant has already cancelled the normaliser of p(x | z).", with_rest(lambda s, ex, ez: _half(ex, ez) - s.log().sum(1))),
        Slip("constant kept", "right up to a constant: the densities' own constants (½ log 2π a coordinate) are still in; the formula leaves them out.", with_rest(lambda s, ex, ez: _half(ex, ez) + 0.5 * math.log(2 * math.pi) * (ex.shape[1] + ez.shape[1]))),
        Slip("scale forgotten", "x(ε) = μ(z) + s(z) ε_x: the standard deviation is missing.", with_x(lambda m, s, ex: m + ex)),
        Slip("variance", "you scaled the noise by the variance; the standard deviation is wanted.", with_x(lambda m, s, ex: m + s.square() * ex)),
        Slip("energy of the mean", "E is evaluated at the decoder's mean; then ε_x has no say in the picture.", with_x(lambda m, s, ex: m)),
        Slip("sign", "E has the wrong sign: low energy means likely.", lambda energy, decode, ex, ez: 2 * _half(ex, ez) - right(energy, decode, ex, ez)),
    ]  # fmt: skip
    return compare(name, student, right, cases, slips, gradient=("eps_x", "eps_z"))


@check
def langevin_step(student: Callable) -> Result:
    """Check ``langevin_step(eps, grad, xi, eta) -> eps``: ε - (η/2) ∇U + √η ξ."""
    numbers = stream(1)
    eps, grad, xi = (torch.randn(4, 7, generator=numbers) for _ in range(3))
    cases = [(eps, grad, xi, 0.04), (eps, grad, xi, 0.5)]

    def step(drift: Callable, noise: Callable) -> Callable:
        return lambda e, g, x, eta: e + drift(eta) * g + noise(eta) * x

    def down(eta: float) -> float:
        return -eta / 2

    slips = [
        Slip("whole step", "you went a whole η downhill; with noise √η the step is η/2. As written, this samples at temperature ½.", step(lambda eta: -eta, math.sqrt)),
        Slip("noise not rooted", "the noise is scaled by η; its standard deviation is √η.", step(down, lambda eta: eta)),
        Slip("other form", "√(2η) belongs to a step of η; here the step is η/2, and the noise √η.", step(down, lambda eta: math.sqrt(2 * eta))),
        Slip("noise halved", "the noise is √(η/2); it is the step that is halved, not the noise.", step(down, lambda eta: math.sqrt(eta / 2))),
        Slip("uphill", "the step climbs: go down the gradient.", step(lambda eta: eta / 2, math.sqrt)),
        Slip("no noise", "the noise is missing: this is descent, not sampling.", step(down, lambda eta: 0.0)),
        Slip("root step", "the gradient is scaled by √η; its factor is η/2.", step(lambda eta: -math.sqrt(eta), math.sqrt)),
    ]  # fmt: skip
    return compare(
        "langevin_step", student, lambda eps, grad, xi, eta: eps - eta / 2 * grad + math.sqrt(eta) * xi, cases, slips
    )


@check
def pair_energy(student: Callable) -> Result:
    """Check ``pair_energy(energy, mean (B, D), sigma, x (B, D), z (B, d)) -> (B,)``: E(x) + ‖x - μ‖²/2σ² + ½‖z‖²."""
    numbers = stream(2)
    mean, x, z = (torch.randn(5, n, generator=numbers) for n in (4, 4, 3))
    cases = [(_bowl, mean, 0.5, x, z), (_bowl, mean, 1.7, x, z)]

    def right(energy, mean, sigma, x, z) -> Tensor:
        return energy(x) + (x - mean).square().sum(1) / (2 * sigma**2) + _half(z)

    slips = [
        Slip("no variance", "the squared distance is not divided by σ².", lambda e, m, s, x, z: e(x) + _half(x - m, z)),
        Slip("no half", "the factor ½ of the Gaussian is missing: ‖x − μ‖² / 2σ².", lambda e, m, s, x, z: e(x) + (x - m).square().sum(1) / s**2 + _half(z)),
        Slip("sigma not squared", "you divided by 2σ; the variance is σ².", lambda e, m, s, x, z: e(x) + (x - m).square().sum(1) / (2 * s) + _half(z)),
        Slip("constant kept", "right up to a constant: the densities' own constants (½ log 2π a coordinate, log σ a pixel) are still in; the formula leaves them out.", lambda e, m, s, x, z: right(e, m, s, x, z) + m.shape[1] * math.log(s) + 0.5 * math.log(2 * math.pi) * (m.shape[1] + z.shape[1])),
        Slip("no prior", "½‖z‖² is missing: that is −log p(z).", lambda e, m, s, x, z: e(x) + (x - m).square().sum(1) / (2 * s**2)),
        Slip("no energy", "E(x) is missing; this is the VAE alone.", lambda e, m, s, x, z: right(e, m, s, x, z) - e(x)),
        Slip("energy of the mean", "E is evaluated at μ(z); here x is a variable of its own.", lambda e, m, s, x, z: right(e, m, s, x, z) - e(x) + e(m)),
        Slip("noise space", "‖x‖² is not ‖ε_x‖²: the distance to the decoder's mean, in units of σ, is.", lambda e, m, s, x, z: e(x) + _half(x, z)),
        Slip("mean for sum", "the squares are averaged over the coordinates; sum them.", lambda e, m, s, x, z: e(x) + (x - m).square().mean(1) / (2 * s**2) + 0.5 * z.square().mean(1)),
    ]  # fmt: skip
    return compare("pair_energy", student, right, cases, slips, gradient=("mean", "x", "z"))


@check
def acceptance(student: Callable) -> Result:
    """Check ``acceptance(u_old (B,), p_old (B, n), u_new, p_new) -> (B,)``: min(1, exp(H_old - H_new)); NaN gives 0."""
    name = "acceptance"
    numbers = stream(3)
    u_old, u_new = torch.randn(6, generator=numbers) * 2, torch.randn(6, generator=numbers) * 2
    p_old, p_new = torch.randn(6, 5, generator=numbers), torch.randn(6, 5, generator=numbers)
    bad = u_new.clone()
    bad[1], bad[4] = math.nan, math.inf
    cases = [
        (u_old, p_old, u_new, p_new),
        Case((u_old, p_old, bad, p_new), "some trajectories end in NaN or infinity"),
        far(u_old, p_old, u_new - 400, p_new, about="H falls by 400"),
        far(u_old + 200, p_old, u_new + 200, p_new, about="every energy is around 200"),
    ]

    def ratio(u0, p0, u1, p1, kinetic: Callable = _half) -> Tensor:
        return u0 + kinetic(p0) - u1 - kinetic(p1)

    def right(u_old, p_old, u_new, p_new) -> Tensor:
        return torch.nan_to_num(ratio(u_old, p_old, u_new, p_new).clamp(max=0).exp(), nan=0.0)

    def with_kinetic(kinetic: Callable) -> Callable:
        return lambda *args: ratio(*args, kinetic=kinetic).clamp(max=0).exp()

    infinite = "right where H is finite, but a trajectory that ends in NaN or infinity must have probability 0."
    slips = [
        Slip("not finite", infinite, lambda *args: ratio(*args).clamp(max=0).exp()),
        Slip("not finite", infinite, lambda *args: torch.nan_to_num(ratio(*args).exp(), nan=1.0).clamp(max=1)),
        Slip("no kinetic energy", "the momentum is missing: H = U + ½‖p‖². Without it the test corrects for the wrong thing.", with_kinetic(lambda p: 0.0)),
        Slip("sign", "the ratio is upside down: a trajectory that ends lower in H is always accepted.", lambda *a: (-ratio(*a)).clamp(max=0).exp()),
        Slip("no half", "the kinetic energy is ½‖p‖².", with_kinetic(lambda p: p.square().sum(1))),
        Slip("mean for sum", "the kinetic energy is averaged over the coordinates; sum it.", with_kinetic(lambda p: 0.5 * p.square().mean(1))),
        Slip("over the batch", "the kinetic energy is summed over all chains; each chain has its own.", with_kinetic(lambda p: 0.5 * p.square().sum())),
        Slip("not a probability", "a ratio above one is not cut: min(1, ·).", lambda *a: ratio(*a).exp()),
        Slip("log", "that is the log of the ratio; take exp, and min(1, ·).", ratio),
        Slip("log", "that is the log of the probability; take exp.", lambda *a: ratio(*a).clamp(max=0)),
    ]  # fmt: skip
    return compare(name, student, right, cases, slips)


class _Energy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -1.0, 0.25, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight * x.square()).sum(1) + torch.tanh(x * self.weight).sum(1)


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.tensor([[0.6, -0.4, 0.2], [0.1, 0.9, -0.5], [-0.7, 0.3, 0.4], [0.5, 0.5, 0.8]])
        )

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.tanh(z @ self.weight.T)
        return mean, torch.full_like(mean, 0.3)


@check
def second_stage_loss(student: Callable) -> Result:
    """Check ``second_stage_loss(energy, decode, real, eps_x, eps_z) -> scalar``: its value, and whom its gradient reaches."""
    name = "second_stage_loss"
    numbers = stream(4)
    real, eps_x, eps_z = (torch.randn(n, d, generator=numbers) for n, d in ((6, 4), (5, 4), (5, 3)))
    energy, decode = _Energy(), _Decoder()

    def fake(decode, ex, ez) -> Tensor:
        mean, scale = decode(ez)
        return mean + scale * ex

    def right(energy, decode, real, eps_x, eps_z) -> Tensor:
        return energy(real).mean() - energy(fake(decode, eps_x, eps_z).detach()).mean()

    def leaking(energy, decode, real, ex, ez) -> Tensor:
        return energy(real).mean() - energy(fake(decode, ex, ez)).mean()

    def data_only(energy, decode, real, ex, ez) -> Tensor:
        return energy(real).mean() - energy(fake(decode, ex, ez)).mean().detach()

    frozen = "the value is right, but its gradient reaches the decoder: the VAE would learn to make pictures of high energy. It is frozen here."
    half = "the value is right, but the energy's gradient misses a term: it must come from data and samples both."
    slips = [
        Slip("VAE not frozen", frozen, leaking),
        Slip("half a gradient", half, data_only),
        Slip("half a gradient", half, lambda e, d, r, ex, ez: e(r).mean().detach() - e(fake(d, ex, ez).detach()).mean()),
        Slip("sign", "the two terms are turned round: training lowers the energy of data and raises that of samples.", lambda *a: -right(*a)),
        Slip("energy of the mean", "your negatives are the decoder's means; the chain ends at x(ε) = μ(z) + s ε_x. (The published code has this as an option.)", lambda e, d, r, ex, ez: e(r).mean() - e(d(ez)[0]).mean()),
        Slip("scale forgotten", "x(ε) = μ(z) + s(z) ε_x: the standard deviation is missing.", lambda e, d, r, ex, ez: e(r).mean() - e(d(ez)[0] + ex).mean()),
        Slip("chain's energy", "you put ½‖ε‖² into the loss as well. The gradient for θ is the same, but it is the chain's energy; the contrast compares E.", lambda e, d, r, ex, ez: right(e, d, r, ex, ez) - _half(ex, ez).mean()),
        Slip("no data", "the energy of the data is missing.", lambda e, d, r, ex, ez: -e(fake(d, ex, ez)).mean()),
        Slip("no samples", "the energy of the samples is missing.", lambda e, d, r, ex, ez: e(r).mean()),
        Slip("sum for mean", "the energies are summed over the batch; average them.", lambda e, d, r, ex, ez: e(r).sum() - e(fake(d, ex, ez)).sum()),
    ]  # fmt: skip
    cases = [(energy, decode, real, eps_x, eps_z), (energy, decode, real[:3], eps_x * 2, eps_z)]
    return compare(name, student, right, cases, slips, gradient=("energy", "decode"))
