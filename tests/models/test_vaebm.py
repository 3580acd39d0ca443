"""The two spaces of a VAEBM, against exact answers: a linear decoder, and one whose scale depends on z."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal

from gen_utils import checkpoints
from gen_utils.models import MLPVAE, VAEBM, ConvVAE, LinearGaussianVAE, SmallEnergy, StridedEnergy
from gen_utils.models.vaebm import NormalStart, epsilon_energy, to_epsilon, to_xz, xz_energy
from gen_utils.samplers import HMC, sample

D, LATENT, SIGMA = 3, 2, 0.4


class Quadratic(nn.Module):
    """½ (x - c)ᵀ A (x - c)."""

    def __init__(self):
        super().__init__()
        stream = torch.Generator().manual_seed(1)
        root = torch.randn(D, D, generator=stream, dtype=torch.float64)
        self.register_buffer("a", root @ root.T + 0.5 * torch.eye(D))
        self.register_buffer("c", torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64))

    def forward(self, x):
        gap = x - self.c
        return 0.5 * ((gap @ self.a) * gap).sum(1)


class Scaled(nn.Module):
    """One pixel, one latent: p(x | z) = N(w z, exp(a z)²), and a prior N(m, r²)."""

    w, a = 0.8, 0.6

    def __init__(self, loc=0.3, scale=1.5):
        super().__init__()
        self.loc, self.scale = torch.tensor([loc]).double(), torch.tensor([scale]).double()

    def prior(self):
        return Independent(Normal(self.loc, self.scale), 1)

    def likelihood(self, z):
        return Independent(Normal(self.w * z, torch.exp(self.a * z)), 1)


@pytest.fixture
def linear():
    stream = torch.Generator().manual_seed(0)
    weight = torch.randn(D, LATENT, generator=stream, dtype=torch.float64)
    bias = torch.randn(D, generator=stream, dtype=torch.float64)
    return LinearGaussianVAE(weight, bias, SIGMA)


def exact_epsilon(vae, energy):
    """Mean and covariance of ε under exp(-E(Jε + b) - ½‖ε‖²), J = [σI, W]."""
    j = torch.cat((SIGMA * torch.eye(D).double(), vae.weight), dim=1)
    precision = torch.eye(D + LATENT).double() + j.T @ energy.a @ j
    covariance = torch.linalg.inv(precision)
    return covariance @ j.T @ energy.a @ (energy.c - vae.bias), covariance


def exact_xz(vae, energy):
    """Mean and covariance of (x, z) under exp(-E(x)) N(x; Wz + b, σ²) N(z; 0, I), from its precision matrix."""
    noise = torch.eye(D).double() / SIGMA**2
    precision = torch.cat(
        (
            torch.cat((energy.a + noise, -noise @ vae.weight), dim=1),
            torch.cat((-vae.weight.T @ noise, torch.eye(LATENT) + vae.weight.T @ noise @ vae.weight), dim=1),
        )
    )
    linear_term = torch.cat((energy.a @ energy.c + noise @ vae.bias, -vae.weight.T @ noise @ vae.bias))
    covariance = torch.linalg.inv(precision)
    return covariance @ linear_term, covariance


def draws(energy, dims, step, n=4000, steps=25, seed=0):
    stream = torch.Generator().manual_seed(seed)
    start = torch.randn(n, dims, generator=stream, dtype=torch.float64)
    chain = sample(energy, start, HMC(step, 8, jitter=0.5), steps, generator=stream)
    assert chain.accept_rate > 0.7
    return chain.x


def assert_moments(x, mean, covariance):
    """Within five standard errors of independent draws, the last states of separate chains."""
    error = (covariance.diagonal() / len(x)).sqrt()
    assert ((x.mean(0) - mean).abs() < 5 * error).all()
    variance = covariance.diagonal()
    # Var of s_ij for Gaussians: (Σ_ii Σ_jj + Σ_ij²) / n.
    spread = ((variance[:, None] * variance + covariance.square()) / len(x)).sqrt()
    assert ((torch.cov(x.T) - covariance).abs() < 5 * spread).all()


def test_epsilon_energy_is_the_energy_plus_half_the_square(linear):
    energy, eps = Quadratic(), torch.randn(6, D + LATENT).double()
    x = eps[:, D:] @ linear.weight.T + linear.bias + SIGMA * eps[:, :D]
    expected = energy(x) + 0.5 * eps.square().sum(1)
    torch.testing.assert_close(epsilon_energy(energy, linear)(eps), expected)


def test_xz_energy_is_the_energy_minus_the_log_joint(linear):
    energy, state = Quadratic(), torch.randn(6, D + LATENT).double()
    x, z = state[:, :D], state[:, D:]
    squares = (x - z @ linear.weight.T - linear.bias).square().sum(1) / (2 * SIGMA**2) + 0.5 * z.square().sum(1)
    constant = D * math.log(SIGMA) + 0.5 * (D + LATENT) * math.log(2 * math.pi)
    torch.testing.assert_close(xz_energy(energy, linear)(state), energy(x) + squares + constant)


@pytest.mark.parametrize("vae", ["linear", "scaled"])
def test_the_two_energies_differ_by_the_log_jacobian(vae, linear):
    """U_ε(ε) = U_xz(x, z) - log |∂(x, z)/∂ε| - ½ (D + d) log 2π, with the determinant from autograd."""
    model, energy = (linear, Quadratic()) if vae == "linear" else (Scaled(), lambda x: x.square().sum(1))
    u_eps, u_xz = epsilon_energy(energy, model), xz_energy(energy, model)
    eps = torch.randn(5, *u_eps.event_shape).double()
    log_det = torch.stack(
        [torch.linalg.slogdet(torch.func.jacrev(lambda e: to_xz(u_eps, e[None])[0])(row)).logabsdet for row in eps]
    )
    constant = 0.5 * eps.shape[1] * math.log(2 * math.pi)
    torch.testing.assert_close(u_xz(to_xz(u_eps, eps)) - log_det - constant, u_eps(eps))
    torch.testing.assert_close(to_epsilon(u_xz, to_xz(u_eps, eps)), eps)


def test_chains_in_both_spaces_find_the_exact_gaussians(linear):
    energy = Quadratic()
    in_eps = draws(epsilon_energy(energy, linear), D + LATENT, 0.4)
    assert_moments(in_eps, *exact_epsilon(linear, energy))
    in_xz = draws(xz_energy(energy, linear), D + LATENT, 0.25)
    assert_moments(in_xz, *exact_xz(linear, energy))
    # And they are one law: the draws in ε, carried over, have the other's moments.
    assert_moments(to_xz(epsilon_energy(energy, linear), in_eps), *exact_xz(linear, energy))


def test_forgetting_half_the_square_is_not_the_same_law(linear):
    energy = Quadratic()
    space = epsilon_energy(energy, linear)
    wrong = draws(lambda e: space(e) - 0.5 * e[:, D:].square().sum(1), D + LATENT, 0.4)
    with pytest.raises(AssertionError):
        assert_moments(wrong, *exact_epsilon(linear, energy))


def test_with_one_sigma_the_short_cut_differs_by_a_constant_only(linear):
    energy, eps = Quadratic(), torch.randn(7, D + LATENT).double()
    gap = epsilon_energy(energy, linear, jacobian=False)(eps) - epsilon_energy(energy, linear)(eps)
    torch.testing.assert_close(gap, torch.full_like(gap, D * math.log(SIGMA)))


def test_with_a_scale_that_depends_on_z_the_short_cut_samples_another_law():
    """E = 0: ε is standard normal. The short cut adds a z = a (m + r ε_z), and so shifts ε_z by -a r."""
    model = Scaled(loc=0.0)
    nothing = lambda x: 0.0 * x.sum(1)  # noqa: E731
    unit = (torch.zeros(2).double(), torch.eye(2).double())
    assert_moments(draws(epsilon_energy(nothing, model), 2, 0.5), *unit)
    short = draws(epsilon_energy(nothing, model, jacobian=False), 2, 0.5)
    with pytest.raises(AssertionError):
        assert_moments(short, *unit)
    assert_moments(short, torch.tensor([0.0, -model.a * 1.5]).double(), unit[1])


def test_with_a_scale_that_depends_on_z_an_integral_agrees_with_the_joint():
    """E z and E x under h(x, z), once on a grid of (x, z) and once on a grid of ε; the short cut is off."""
    model, energy = Scaled(), lambda x: 0.5 * (x - 1).square().sum(1)

    def moments(weights_energy, carry, reach, n=1201):
        axis = torch.linspace(-reach, reach, n, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)
        weight = torch.softmax(-weights_energy(grid), 0)
        return weight @ carry(grid)

    space = epsilon_energy(energy, model)
    truth = moments(xz_energy(energy, model), lambda s: s, 9)
    right = moments(space, lambda e: to_xz(space, e), 9)
    short = moments(epsilon_energy(energy, model, jacobian=False), lambda e: to_xz(space, e), 9)
    torch.testing.assert_close(right, truth, rtol=1e-3, atol=1e-3)
    assert (short - truth).abs().max() > 0.1


def test_a_decoder_that_is_not_gaussian_is_refused():
    vae = MLPVAE((1, 4, 4), 2, (8,), likelihood="bernoulli")
    with pytest.raises(ValueError, match="Gaussian"):
        epsilon_energy(lambda x: x.sum((1, 2, 3)), vae)
    assert not isinstance(Independent(Bernoulli(torch.zeros(3)), 1).base_dist, Normal)


def test_a_state_of_another_length_is_refused(linear):
    with pytest.raises(ValueError, match=r"3 \+ 2 numbers"):
        epsilon_energy(Quadratic(), linear)(torch.zeros(2, D + LATENT + 1).double())


def small():
    vae = MLPVAE((1, 16, 16), 3, (8,), likelihood="gaussian", sigma=0.2)
    return VAEBM(vae, SmallEnergy(1, 16, width=2))


def test_images_are_decoded_noise():
    joint = small().eval()
    eps = joint.start().draw(4, generator=torch.Generator().manual_seed(0))
    mean = joint.vae.likelihood(eps[:, 256:]).mean
    x = mean + 0.2 * eps[:, :256].reshape(4, 1, 16, 16)
    torch.testing.assert_close(joint.images(eps), x.clamp(-1, 1).detach())
    torch.testing.assert_close(joint.images(eps, mean=True), mean.detach())
    torch.testing.assert_close(joint.in_epsilon()(eps), joint(x) + 0.5 * eps.square().sum(1))
    assert joint.event_shape == (259,) and joint.start() == NormalStart((259,))


def test_the_vae_stays_in_eval_mode():
    joint = VAEBM(ConvVAE((3, 16, 16), 4, (4, 4)), StridedEnergy(3, 16, (4, 4))).train()
    assert joint.energy.training and not joint.vae.training and not any(m.training for m in joint.vae.modules())


def test_saved_and_loaded(tmp_path):
    joint = small()
    checkpoints.save("joint", joint, {"data": "none"}, folder=tmp_path)
    again = checkpoints.load("joint", folder=tmp_path)
    eps = torch.randn(3, *joint.event_shape)
    torch.testing.assert_close(again.in_epsilon()(eps), joint.in_epsilon()(eps))
    with pytest.raises(ValueError, match="made of"):
        VAEBM({"kind": "Unknown"}, joint.energy)


@pytest.mark.parametrize("jacobian", [True, False])
def test_a_trajectory_that_flies_off_is_a_rejection_and_no_error(jacobian):
    """At z = -1000 the decoder's scale is zero in floats, and torch would refuse to make its distribution."""
    space = epsilon_energy(lambda x: x.square().sum(1), Scaled(), jacobian=jacobian)
    eps = torch.tensor([[0.5, 0.1], [0.0, -1000.0], [math.nan, 0.0], [0.2, -0.3]], dtype=torch.float64)
    values = space(eps)
    assert torch.isinf(values[1:3]).all() and (values[1:3] > 0).all()
    assert torch.equal(values[[0, 3]], space(eps[[0, 3]]))  # the others do not notice
    pair = xz_energy(lambda x: x.square().sum(1), Scaled())(eps)
    assert torch.isfinite(pair[[0, 3]]).all() and (pair[1:3] == math.inf).all()
    wild = sample(space, eps[[0, 3]].repeat(200, 1), HMC(60.0, 6), 5, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(wild.x).all() and wild.accept_rate < 0.5


def test_a_part_that_is_no_vae_is_refused():
    with pytest.raises(ValueError, match="a SmallEnergy has not"):
        VAEBM(SmallEnergy(1, 16, width=2), SmallEnergy(1, 16, width=2))
