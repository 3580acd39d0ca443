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
def largest_step(student: Callable) -> Result:
    """Check ``largest_step(jacobian (D, d), sigma) -> η``: 4 over the largest curvature of the pair's energy, E = 0."""
    numbers = stream(3)
    steep, tall, wide = (torch.randn(shape, generator=numbers) for shape in ((5, 2), (4, 3), (2, 4)))
    gentle = 0.1 * torch.randn(3, 1, generator=numbers)
    cases = [
        (steep, 0.5),
        (tall, 1.7),
        (3 * wide, 0.2),
        Case((gentle, 0.3), "the decoder is almost flat"),
        Case((gentle, 2.5), "the decoder is almost flat, and σ is large"),
    ]

    def curvatures(jacobian: Tensor, sigma: float, prior: float = 1.0) -> Tensor:
        n_pixels, n_codes = jacobian.shape
        pull = torch.cat((torch.eye(n_pixels), -jacobian), 1).double()
        own = torch.cat((torch.zeros(n_pixels), torch.full((n_codes,), prior))).double()
        return torch.linalg.eigvalsh(pull.T @ pull / sigma**2 + own.diag())

    def right(jacobian: Tensor, sigma: float) -> float:
        return 4 / curvatures(jacobian, sigma)[-1].item()

    def norm(jacobian: Tensor) -> float:
        return torch.linalg.matrix_norm(jacobian.double(), 2).item()

    slips = [
        Slip("too careful", "η may be larger: the step goes η/2 down the gradient, not η; and a displacement may change its sign and still shrink.", lambda j, s: right(j, s) / 2),
        Slip("factor 2", "at that η the factor of the stiffest direction is −3, and a displacement grows.", lambda j, s: 2 * right(j, s)),
        Slip("pixels alone", "that is right where the code is held fast. The code moves too, and hangs on all pixels at once.", lambda j, s: 4 * s**2),
        Slip("code alone", "that is right where the picture is held fast. Picture and code move together: the terms that mix them count.", lambda j, s: 4 / (1 + (norm(j) / s) ** 2)),
        Slip("blocks apart", "you looked at the pixels and at the code, each with the other held fast. They move together: the terms that mix them count.",
             lambda j, s: 4 / max(1 / s**2, 1 + (norm(j) / s) ** 2)),
        Slip("no prior", "½‖z‖² has a curvature, too.", lambda j, s: 4 / curvatures(j, s, prior=0.0)[-1].item()),
        Slip("prior doubled", "½‖z‖² has the curvature 1, not 2.", lambda j, s: 4 / curvatures(j, s, prior=2.0)[-1].item()),
        Slip("sigma not squared", "you divided the squared distance by σ; its variance is σ².", lambda j, s: right(j, math.sqrt(s))),
        Slip("gentlest", "the stiffest direction decides, not the gentlest.", lambda j, s: 4 / curvatures(j, s)[0].item()),
        Slip("mean curvature", "the stiffest direction decides, not the mean of all.", lambda j, s: 4 / curvatures(j, s).mean().item()),
        Slip("sum of curvatures", "the stiffest direction decides; you added all curvatures up.", lambda j, s: 4 / curvatures(j, s).sum().item()),
        Slip("curvature", "that is the largest curvature; how large may η be with it?", lambda j, s: curvatures(j, s)[-1].item()),
        Slip("noise space", "that is the largest step in ε. In (x, z) there are springs.", lambda j, s: 4.0),
    ]  # fmt: skip
    return compare(
        "largest_step", student, lambda jacobian, sigma: right(jacobian, sigma), cases, slips, tolerance=1e-3
    )


@check
def mixture_log_prob(student: Callable) -> Result:
    """Check ``mixture_log_prob(z (B, d), weights (K,), means (K, d), covariances (K, d) or (K, d, d)) -> (B,)``, and its gradient."""
    numbers = stream(5)

    def some(n: int, k: int, d: int, full: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weights = torch.softmax(torch.randn(k, generator=numbers), 0)
        mix = torch.randn(k, d, d, generator=numbers)
        wide = mix @ mix.mT + 0.5 * torch.eye(d) if full else 0.3 + 2 * torch.rand(k, d, generator=numbers)
        return torch.randn(n, d, generator=numbers), weights, 2 * torch.randn(k, d, generator=numbers), wide

    full, diagonal = some(5, 3, 2, True), some(4, 2, 3, False)
    cases = [
        Case(full, "the covariances are full"),
        Case(diagonal, "the covariances are diagonal"),
        Case(some(3, 1, 4, True), "there is one component"),
        far(full[0] + 60, *full[1:], about="the codes lie hundreds of nats from every component, whose covariances are full"),
        far(40 * diagonal[0], *diagonal[1:], about="the codes lie hundreds of nats from every component, whose covariances are diagonal"),
    ]  # fmt: skip

    def log_terms(
        z, weights, means, covariances, *, weight=1.0, det=0.5, pi=0.5, half=0.5, power=-1.0, cross=True
    ) -> Tensor:
        """(B, K) log π_k + log N(z; m_k, C_k), or with one of its factors wrong."""
        wide = torch.diag_embed(covariances) if covariances.ndim == 2 else covariances
        wide = (wide if cross else torch.diag_embed(wide.diagonal(dim1=1, dim2=2))).double()
        away = z.double()[:, None] - means.double()
        form = torch.linalg.matrix_power(wide, int(power))
        squares = torch.einsum("bki,kij,bkj->bk", away, form, away)
        rest = det * torch.logdet(wide) + pi * z.shape[1] * math.log(2 * math.pi)
        return weight * weights.double().log() - half * squares - rest

    def with_terms(**changes) -> Callable:
        return lambda *args: torch.logsumexp(log_terms(*args, **changes), 1)

    def right(z: Tensor, weights: Tensor, means: Tensor, covariances: Tensor) -> Tensor:
        return torch.logsumexp(log_terms(z, weights, means, covariances), 1)

    def moments(z, weights, means, covariances) -> Tensor:
        wide = torch.diag_embed(covariances) if covariances.ndim == 2 else covariances
        mean = weights @ means
        away = means - mean
        total = torch.einsum("k,kij->ij", weights, wide + away[:, :, None] * away[:, None, :])
        return torch.distributions.MultivariateNormal(mean, total).log_prob(z)

    def naive(*args) -> Tensor:
        return log_terms(*args).float().exp().sum(1).log()

    slips = [
        Slip("no weights", "every component counts the same in yours: the π_k are missing.", with_terms(weight=0.0)),
        Slip("weights added", "you add π_k to a logarithm; its logarithm belongs there.", lambda z, w, m, c: torch.logsumexp(log_terms(z, w, m, c, weight=0.0) + w, 1)),
        Slip("no normaliser", "the Gaussians' normalisers are missing: a narrow component is higher, and a density integrates to one.", with_terms(det=0.0, pi=0.0)),
        Slip("no determinant", "½ log det C is missing: a narrow component is higher.", with_terms(det=0.0)),
        Slip("determinant whole", "it is ½ log det C: the normaliser has the root of the determinant.", with_terms(det=1.0)),
        Slip("determinant turned round", "½ log det C is subtracted: a wide component is lower.", with_terms(det=-0.5)),
        Slip("no 2π", "the constant ½ d log 2π is missing.", with_terms(pi=0.0)),
        Slip("2π once", "½ log 2π comes once for each dimension, d times.", lambda z, w, m, c: torch.logsumexp(log_terms(z, w, m, c, pi=0.0), 1) - 0.5 * math.log(2 * math.pi)),
        Slip("2π without its half", "it is ½ d log 2π.", with_terms(pi=1.0)),
        Slip("no half", "the factor ½ of the square is missing.", with_terms(half=1.0)),
        Slip("covariance for its inverse", "the square is (z − m)ᵀ C⁻¹ (z − m); yours has C in place of its inverse.", with_terms(power=1.0)),
        Slip("covariance squared", "you took the covariances for something like standard deviations: they come in squared.", with_terms(power=-2.0)),
        Slip("no covariance", "the square is not measured in units of the covariance.", with_terms(power=0.0)),
        Slip("diagonal only", "right for diagonal covariances; of the full ones you use the diagonal alone.", with_terms(cross=False)),
        Slip("mean of logs", "you average the components' logarithms; the mixture is the logarithm of their mean.", lambda z, w, m, c: (w * log_terms(z, w, m, c, weight=0.0)).sum(1)),
        Slip("sum of logs", "you add the components' logarithms up, which multiplies the densities; a mixture adds the densities.", lambda *a: log_terms(*a).sum(1)),
        Slip("largest only", "only the highest component counts in yours; all add up.", lambda *a: log_terms(*a).amax(1)),
        Slip("mean over the components", "the weights sum to one already; you divide by the number of components once more.", lambda z, w, m, c: right(z, w, m, c) - math.log(len(w))),
        Slip("one Gaussian", "that is one Gaussian with the mixture's mean and covariance: it has one hump where the mixture has several.", moments),
        Slip("overflow", "right near the components; far from them every density is zero in a float, and its logarithm infinite. Use torch.logsumexp.", naive),
        Slip("density", "that is the density; return its logarithm.", lambda *a: right(*a).exp()),
        Slip("sign", "that is minus the logarithm of the density, an energy.", lambda *a: -right(*a)),
    ]  # fmt: skip
    return compare("mixture_log_prob", student, right, cases, slips, gradient=("z",), tolerance=1e-3)


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
