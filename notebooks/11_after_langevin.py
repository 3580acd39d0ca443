# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # After Langevin: scores and denoising
#
# Part B trained an energy by running chains, and stopped the chains where they looked best. Its samples are good after
# 256 steps and poor after 4,096. This chapter drops the chains from training. It adds noise to pictures, of every size
# from none to so much that nothing is left, and teaches a network to take the noise away again. That is all. What
# the network then knows is the slope of the log density at every noise level, and a short walk down the levels draws.
#
# ```{admonition} What you will learn
# - why denoising teaches the {term}`score`, and of which density (J1);
# - what score matching cannot see, shown exactly, and how noise levels cure it (J1);
# - five objectives for one energy, compared in nats where everything can be computed (J2);
# - an energy whose gradient denoises beside a network that is no gradient of anything: price and gain (J3);
# - samplers that use such a network, and a likelihood from one of them (J3, J6);
# - a map of the objectives of this workbook (J8).
# ```
#
# **Before you start.** You need Part B's energy and its chains, and from Part S the idea that a density
# with known answers is the place to test a method.
#
# **Time and hardware.**
#
# | profile | data | what happens | time |
# |---|---|---|---|
# | `quick` | 1,500 built-in 8×8 digits, scaled up; densities in the plane | both networks, trained for seconds; the comparison of objectives is shown from the long run | about a minute, one core |
# | `laptop` | MNIST, 60,000 images | digits you recognise, five objectives with three seeds, likelihoods | 71 minutes on one of two busy cores |
# | `full` | MNIST | wider networks, ten times the steps | an hour, one GPU (not yet measured) |

# %% tags=["remove-cell"]
# Find the workbook's folder, so that this file runs from anywhere: Jupyter, papermill or plain Python.
import importlib
import os
import sys
from pathlib import Path

here = Path.cwd()
above = (here, *here.parents)
root = next((p for p in above if (p / "gen_utils").is_dir()), None)
if root is None:
    raise FileNotFoundError(
        "No folder gen_utils here or above: open this notebook inside the "
        "workbook's folder, where it was handed out."
    )
os.chdir(root)
sys.path.insert(0, str(root))
_ = importlib.import_module("gen_utils")  # before torch: sets how threads wait

# %% tags=["hide-input"]
import math
import time

import torch

from gen_utils import checkpoints, report
from gen_utils.checks import after_langevin as checks
from gen_utils.data import load_images, to_float, to_uint8
from gen_utils.evaluation import outliers
from gen_utils.evaluation.annealing import annealed_importance
from gen_utils.evaluation.controls import controls
from gen_utils.evaluation.corruptions import corruptions
from gen_utils.evaluation.denoising import denoising_errors
from gen_utils.evaluation.flow_likelihood import flow_log_likelihood
from gen_utils.evaluation.frechet import (
    extract_features,
    frechet_distance,
    frechet_interval,
)
from gen_utils.evaluation.likelihood import bits_per_dim, log_mean_exp
from gen_utils.experiments.sweep import sweep
from gen_utils.models import (
    EnergyUNet,
    PlaneNoiseEnergy,
    Ring,
    ScoreUNet,
    SmoothedMixture,
)
from gen_utils.models.pixels import dequantise
from gen_utils.plotting import curves, image_grid, plt, use_style
from gen_utils.profiles import choose
from gen_utils.report import record, say, table
from gen_utils.samplers import (
    HMC,
    Ancestral,
    AnnealedLangevin,
    Langevin,
    NoiseLevels,
    ProbabilityFlow,
    UniformStart,
    sample,
)
from gen_utils.training import FitConfig, fit
from gen_utils.training.cards import card_facts
from gen_utils.training.denoising import DenoisingConfig, DenoisingTraining
from gen_utils.training.score_losses import energy_discrepancy, paired, transport_loss

# %% tags=["parameters"]
profile = "quick"  # quick, laptop or full
data_root = ""  # where MNIST is; empty means $GEN_DATA_ROOT, else ./data
seed = 0
ship = False  # True writes the trained models to checkpoints/

# %% tags=["hide-input"]
settings = choose(
    profile,
    quick=dict(
        data="digits",
        plane_steps=400,
        passes=None,  # of a study, which quick does not run
        seeds=1,
        score_steps=260,
        energy_steps=100,
        batch_size=32,
        width=16,
        n_eval=280,  # the features are 256: fewer images have no covariance
        resamples=40,
        flow_steps=10,
        ancestral_steps=40,
        per_level=3,
        n_long=None,  # of a study, which quick does not run
        n_outliers=100,
        n_likelihood=None,
        bracket_divisor=None,
    ),
    laptop=dict(
        data="mnist",
        plane_steps=4000,
        passes=40_000,
        seeds=3,
        score_steps=16_000,
        energy_steps=5000,
        batch_size=64,
        width=24,
        n_eval=2000,
        resamples=200,
        flow_steps=18,
        ancestral_steps=64,
        per_level=8,
        n_long=300,
        n_outliers=1000,
        n_likelihood=60,
        bracket_divisor=1,
    ),
    full=dict(
        data="mnist",
        plane_steps=10_000,
        passes=200_000,
        seeds=5,
        score_steps=40_000,
        energy_steps=40_000,
        batch_size=256,
        width=64,
        n_eval=5000,
        resamples=200,
        flow_steps=32,
        ancestral_steps=256,
        per_level=20,
        n_long=2000,
        n_outliers=5000,
        n_likelihood=500,
        bracket_divisor=1,
    ),
    smoke=dict(  # in tests: every line runs, nothing is learnt
        plane_steps=20,
        passes=60,
        score_steps=2,
        energy_steps=2,
        batch_size=8,
        width=8,
        n_eval=40,
        resamples=4,
        flow_steps=3,
        ancestral_steps=4,
        per_level=1,
        n_long=10,
        n_outliers=30,
        n_likelihood=2,
        bracket_divisor=50,
    ),
)
use_style()
study = report.studies("11_after_langevin", profile)
torch.manual_seed(seed)
started = time.perf_counter()

# %% [markdown]
# ## A density that is blurred (J1)
#
# Take a picture $x_0$ from the data and add Gaussian noise, $x = x_0 + \sigma\xi$. The density of $x$ is the data's,
# convolved with a Gaussian of width $\sigma$:
#
# ```{math}
# :label: eq-blurred
# p_\sigma(x) = \int p(x_0)\, \mathcal N(x;\, x_0, \sigma^2 I)\,\mathrm d x_0 .
# ```
#
# For real pictures nobody can compute it. For a mixture of Gaussians everybody can. The sum of two independent Gaussians
# is a Gaussian, and **variances add**, so a mixture that is blurred is a mixture again, with the same means and weights.
# Here is one with three modes, and its blurred versions. Note what the noise does to the valleys: it fills them.

# %% tags=["hide-input"]
oracle = SmoothedMixture(
    means=[[-3.0, -1.0], [3.0, -1.0], [0.0, 2.5]], weights=[0.6, 0.3, 0.1], width=0.4
)
side = 6.0
axis = (torch.arange(80, dtype=torch.float64) + 0.5) / 80 * 2 * side - side
cell = (2 * side / 80) ** 2
plane = torch.cartesian_prod(axis, axis)  # (6400, 2): the centres of the cells


def show_density(ax, log_density, title):
    """A density on the plane, brightest where it is largest."""
    density = log_density.exp().reshape(80, 80).T
    ax.imshow(
        density, origin="lower", extent=(-side, side, -side, side), cmap="cividis"
    )
    ax.set(title=title, xticks=[], yticks=[])


fig, axes = plt.subplots(1, 4, figsize=(9, 2.5))
for ax, sigma in zip(axes, (0.0, 0.5, 1.5, 4.0), strict=True):
    show_density(ax, -oracle(plane, sigma), f"σ = {sigma:g}")
report.figure(
    "A mixture of three Gaussians with weights 0.6, 0.3 and 0.1, blurred by noise of width σ; computed exactly.",
    "Four panels. Three separate spots at σ = 0 grow together into one round spot at σ = 4.",
)

# %% [markdown]
# The quantity that samplers follow is the **score** $\nabla_x \log p_\sigma(x)$. Write it down for the mixture.

# %% [markdown]
# ```{exercise-start} The score of a blurred mixture
# :label: ex-smoothed-score
# ```
# *Goal: the exact answer that everything below is compared with. About 15 minutes, 2 points.*
#
# The density is $p(x) = \sum_k w_k\, \mathcal N(x;\, \mu_k, s^2 I)$, blurred by noise of width $\sigma$. Return the score of
# $p_\sigma$ at each row of `x`. `means` is $(K, D)$, `weights` $(K,)$ and positive; `width` is the number $s$. It must be right
# hundreds of nats away from every mean, too.


# %% tags=["exercise"]
def smoothed_score(x, means, weights, width, sigma):
    """Places (B, D) -> scores (B, D) of the mixture blurred by sigma."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-smoothed-score
# :class: dropdown
# ```
# Each component has variance $v = s^2 + \sigma^2$ and pulls with $(\mu_k - x)/v$. Together they pull with the mean of
# this over the *posterior shares* of the components at $x$, a softmax of $\log w_k - \lVert x - \mu_k\rVert^2 / 2v$.


# %% tags=["solution"]
def smoothed_score(x, means, weights, width, sigma):
    """Places (B, D) -> scores (B, D) of the mixture blurred by sigma."""
    variance = width**2 + sigma**2
    squares = (x[:, None, :] - means).square().sum(2)
    share = (weights.log() - squares / (2 * variance)).softmax(1)
    return (share @ means - x) / variance


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.smoothed_score(smoothed_score)

# %% [markdown]
# ## Taking noise away is knowing the score (J1)
#
# Give somebody a noisy $x$ and ask for the clean $x_0$. The best guess in mean square is the posterior mean
# $D(x, \sigma) = \mathbb E[x_0 \mid x]$, the {term}`denoiser`. Differentiate {eq}`eq-blurred` under the integral: the gradient of the
# Gaussian is $(x_0 - x)/\sigma^2$ times itself, so
#
# ```{math}
# :label: eq-tweedie
# \nabla_x \log p_\sigma(x)
#   = \frac{1}{p_\sigma(x)} \int p(x_0)\, \mathcal N(x;\, x_0, \sigma^2 I)\, \frac{x_0 - x}{\sigma^2}\,\mathrm d x_0
#   = \frac{D(x, \sigma) - x}{\sigma^2} .
# ```
#
# This is **Tweedie's formula** {cite}`efron2011tweedie`. The best denoiser and the score are one function in two units.

# %% [markdown]
# ```{exercise-start} From the score to the clean picture
# :label: ex-tweedie
# ```
# *Goal: use Tweedie's formula. About 5 minutes, 1 point.*
#
# `x` and `score` are $(B, \dots)$, points or pictures; `sigma` is $(B,)$, a level for each. Return the posterior means.


# %% tags=["exercise"]
def denoiser_from_score(x, score, sigma):
    """Noisy x (B, ...), scores (B, ...), levels (B,) -> posterior means (B, ...)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-tweedie
# :class: dropdown
# ```
# Solve {eq}`eq-tweedie` for $D$. The level needs an axis of size one for each axis of `x` but the first, or PyTorch would
# match it with the wrong axis, silently where the sizes happen to agree.


# %% tags=["solution"]
def denoiser_from_score(x, score, sigma):
    """Noisy x (B, ...), scores (B, ...), levels (B,) -> posterior means (B, ...)."""
    level = sigma.reshape(-1, *[1] * (x.ndim - 1))
    return x + level**2 * score


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.denoiser_from_score(denoiser_from_score)

# %% [markdown]
# **Is it so?** Draw clean points, blur them, and keep those that land near one place. Their clean origins have a mean.
# Beside it stands what your two functions say.

# %%
stream = torch.Generator().manual_seed(seed)
clean = oracle.sample(400_000, stream)
noisy = clean + 1.5 * torch.randn(clean.shape, generator=stream, dtype=clean.dtype)
place = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
near = (noisy - place).norm(dim=1) < 0.15
level = torch.tensor([1.5], dtype=torch.float64)
score_there = smoothed_score(place, oracle.means, oracle.weights, oracle.width, 1.5)
by_formula = denoiser_from_score(place, score_there, level)[0]
by_counting = clean[near].mean(0)
error = (clean[near].std(0) / near.sum() ** 0.5).norm()
say(
    f"{int(near.sum()):,} blurred points fell near (0.5, 0.0). Their clean origins have the mean "
    f"({by_counting[0]:.2f}, {by_counting[1]:.2f}), give or take {error:.2f}; Tweedie's formula says "
    f"({by_formula[0]:.2f}, {by_formula[1]:.2f})."
)
record("tweedie_gap", float((by_formula - by_counting).norm()))
record("tweedie_error", float(error))

# %% [markdown]
# ## An objective without chains (J1)
#
# The posterior mean is the function with the least squared error. So we can learn it, and with it the score of a density
# that nobody can write down, by regression: blur, guess, compare. With an energy $E_\theta(x, \sigma)$ in
# the place of the score, $\nabla \log p_\sigma = -\nabla_x E_\theta$, and the noise that was added in the place of the clean
# picture, this is **{term}`denoising score matching`** {cite}`vincent2011connection,song2019gradients`:
#
# ```{math}
# :label: eq-dsm
# L(\theta) = \tfrac12\, \mathbb E_{x_0, \xi, \sigma}
#   \bigl\lVert \sigma\, \nabla_x E_\theta(x_0 + \sigma\xi, \sigma) - \xi \bigr\rVert^2 .
# ```
#
# There is no normaliser in it and no sample of the model. The factor $\sigma$ gives each level the same
# say: what is predicted, $\xi$, has unit size at all of them. The price is a second derivative: the loss holds
# $\nabla_x E$, and training differentiates it again, with respect to θ.

# %% [markdown]
# ```{exercise-start} The denoising loss
# :label: ex-denoising-loss
# ```
# *Goal: the loss that trains every network of this chapter. About 15 minutes, 2 points.*
#
# `energy(x, sigma)` maps $(B, \dots)$ and $(B,)$ to $(B,)$. `clean` and `noise` are $(B, \dots)$, `sigma` is $(B,)$. Return {eq}`eq-dsm`
# as the mean over the batch of half the *sum* of squares of a picture. Its gradient must reach the weights of the energy.


# %% tags=["exercise"]
def denoising_loss(energy, clean, noise, sigma):
    """Clean pictures, their noise (B, ...) and its levels (B,) -> the loss, a scalar."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-denoising-loss
# :class: dropdown
# ```
# `create_graph=True` keeps the graph of the gradient itself, so that the loss can be differentiated again. The energies are
# summed before the gradient is taken: a picture's energy depends on no other picture.


# %% tags=["solution"]
def denoising_loss(energy, clean, noise, sigma):
    """Clean pictures, their noise (B, ...) and its levels (B,) -> the loss, a scalar."""
    level = sigma.reshape(-1, *[1] * (clean.ndim - 1))
    x = (clean + level * noise).detach().requires_grad_()
    (grad,) = torch.autograd.grad(energy(x, sigma).sum(), x, create_graph=True)
    return 0.5 * (level * grad - noise).square().flatten(1).sum(1).mean()


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.denoising_loss(denoising_loss)

# %% [markdown]
# **Does it find the score?** A small network learns the mixture's energy at all levels at once, from
# points alone. The levels are drawn anew for each point, their logarithm from a normal distribution.


# %%
def train_plane(n_points, n_steps, stream_seed):
    """An energy E(x, σ) of points in the plane, trained by your loss on n_points of the oracle."""
    torch.manual_seed(stream_seed)
    stream = torch.Generator().manual_seed(stream_seed)
    points = oracle.sample(n_points, stream).float()
    energy = PlaneNoiseEnergy(2, 64, sigma_data=float(points.std()))
    optimiser = torch.optim.Adam(energy.parameters(), lr=3e-3)
    losses = []
    for step in range(n_steps):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / n_steps)
        clean = points[torch.randint(n_points, (256,), generator=stream)]
        noise = torch.randn(clean.shape, generator=stream)
        sigma = torch.exp(1.2 * torch.randn(256, generator=stream))
        loss = denoising_loss(energy, clean, noise, sigma)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return energy.eval(), losses


def fisher(energy, sigma, n=2000):
    """E‖score of the network - exact score‖² under the blurred data, times σ²: a pure number."""
    x = oracle.sample(n, torch.Generator().manual_seed(99), sigma=sigma).float()
    return float(
        sigma**2
        * (energy.score(x, sigma) - oracle.score(x, sigma)).square().sum(1).mean()
    )


learnt, losses = train_plane(20_000, settings.plane_steps, seed)
fig, axes = plt.subplots(1, 3, figsize=(9, 2.9))
for ax, sigma in zip(axes, (0.3, 1.0, 3.0), strict=True):
    log_density = (-learnt(plane.float(), sigma).detach().double()).log_softmax(
        0
    ) - math.log(cell)
    show_density(ax, log_density, f"learnt, σ = {sigma:g}")
report.figure(
    f"The density of the learnt energy at three levels after {settings.plane_steps} steps on 20,000 points, normalised on the grid.",
    "Three panels with the spots of the oracle: separate at σ = 0.3, joined at σ = 3.",
)
errors = {sigma: fisher(learnt, sigma) for sigma in (0.1, 0.3, 1.0, 3.0)}
table(
    [
        {
            "σ": sigma,
            "σ² × Fisher divergence": f"{value:.3f}",
            "of a Gaussian with the data's spread": f"{fisher(PlaneNoiseEnergy(2, 8, float(oracle.sample(5000).std())).requires_grad_(False), sigma):.3f}",
        }
        for sigma, value in errors.items()
    ],
    "How far the learnt score is from the exact one; right, the untrained network, which takes the data for a Gaussian",
)
record("fisher", {f"{sigma:g}": value for sigma, value in errors.items()})

# %% [markdown]
# The error is a **{term}`Fisher divergence`**, the mean squared difference of two scores. It is largest at the small levels. There the
# score is steep, and few points lie in any one place. The study asks how much of this is the number of points.

# %%
if study("fisher"):
    rows = []
    for n_points in (100, 1000, 20_000):
        trained, _ = train_plane(n_points, settings.plane_steps, seed)
        rows.append(
            {"points": f"{n_points:,}"}
            | {f"σ = {s:g}": f"{fisher(trained, s):.3f}" for s in (0.1, 0.3, 1.0, 3.0)}
        )
    record("fisher_by_points", rows)
    table(
        rows,
        f"σ² × Fisher divergence after {settings.plane_steps:,} steps, by the number of different points",
    )

# %% [markdown]
# ## What score matching cannot see (J1)
#
# Between two modes that are far apart the density is next to nothing. A score is a ratio, $\nabla p / p$, and near each mode
# it knows this mode alone: multiply one mode by ten, and the score near it stays as it is. So two densities may have
# nearly the same score wherever there are data, and quite different weights. In one dimension we can compute it.

# %% [markdown]
# ```{exercise-start} Two divergences
# :label: ex-divergences
# ```
# *Goal: see what each of two measures sees. About 10 minutes, 2 points.*
#
# On a grid in one dimension you are given $\log p$, $\log q$ and the scores of both, each $(N,)$, and the size of a cell.
# Return the KL divergence $\mathrm{KL}(p \,\Vert\, q)$ in nats, and the Fisher divergence
# $\int p\,(\partial_x \log p - \partial_x \log q)^2\,\mathrm dx$.


# %% tags=["exercise"]
def divergences(log_p, log_q, score_p, score_q, cell):
    """Log densities and scores (N,) on a grid -> (KL, Fisher), two scalars."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-divergences
# :class: dropdown
# ```
# Both are means under $p$: the probability of a cell is $p(x)$ times its size.


# %% tags=["solution"]
def divergences(log_p, log_q, score_p, score_q, cell):
    """Log densities and scores (N,) on a grid -> (KL, Fisher), two scalars."""
    probability = log_p.exp() * cell
    kl = (probability * (log_p - log_q)).sum()
    fisher = (probability * (score_p - score_q) ** 2).sum()
    return kl, fisher


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.divergences(divergences)

# %% [markdown]
# Data: two modes at ±3, of width 0.5, with weights 0.8 and 0.2. The model has the modes in the right places and gives them the weights
# $1-w$ and $w$. Only one value of $w$ is right. Who notices, at which noise level?

# %% tags=["hide-input"]
line = torch.linspace(-12, 12, 2401, dtype=torch.float64)
given = SmoothedMixture([[-3.0], [3.0]], [0.8, 0.2], 0.5)
shares = torch.linspace(0.02, 0.98, 49).tolist()
seen = {}
for sigma in (0.0, 1.0, 2.0):
    p, sp = -given(line[:, None], sigma), given.score(line[:, None], sigma)[:, 0]
    for w in shares:
        model = SmoothedMixture(given.means, [1 - w, w], 0.5)
        q, sq = -model(line[:, None], sigma), model.score(line[:, None], sigma)[:, 0]
        kl, between = divergences(p, q, sp, sq, float(line[1] - line[0]))
        seen.setdefault(sigma, []).append((float(kl), float(between)))
fig, axes = plt.subplots(1, 2, figsize=(9, 3))
for sigma, values in seen.items():
    for ax, column in zip(axes, zip(*values, strict=True), strict=True):
        ax.plot(shares, column, label=f"σ = {sigma:g}")
for ax, title in zip(axes, ("KL divergence (nats)", "Fisher divergence"), strict=True):
    ax.axvline(0.2, color="0.6", linewidth=1, linestyle=":")
    ax.set(xlabel="weight that the model gives to the right mode", title=title)
    ax.legend()
axes[1].set_yscale("log")
report.figure(
    "Two modes 6 apart, of width 0.5; the dotted line is the true weight 0.2. Left: the KL divergence sees a wrong weight at every level. Right, on a "
    "logarithmic scale: the Fisher divergence of the data themselves is below one in a thousand for every weight; at σ = 2 it has a clear minimum.",
    "Left, three curves with a minimum at 0.2. Right, the same on a logarithmic scale: the curve of σ = 0 lies orders of magnitude below the others.",
)
wrong = shares.index(min(shares, key=lambda w: abs(w - 0.8)))
blind = {
    sigma: {"KL": values[wrong][0], "Fisher": values[wrong][1]}
    for sigma, values in seen.items()
}
record("blind", {f"{sigma:.1f}": found for sigma, found in blind.items()})
say(
    f"With the weights exchanged (w = 0.8) the data's own Fisher divergence is {blind[0.0]['Fisher']:.1g}, though KL is {blind[0.0]['KL']:.2f} nats. "
    f"At σ = 2 the Fisher divergence is {blind[2.0]['Fisher']:.2g}: the blurred modes touch, and where they touch the score tells which is the larger."
)

# %% [markdown]
# That is why there are *levels*. At the largest one everything has grown together and the score
# knows the weights; a sampler that comes down from there shares its chains out before the valleys open. The energy at the
# smallest level alone stays blind. Keep that in mind for the next section.
#
# ## Five ways to one energy (J2)
#
# The network is the same small perceptron in all five, and so is the number of **passes**: a look at a batch of 128 counts one, a way
# back through the network counts another. The data are a ring, and the mixture above.
#
# - **Contrastive divergence** with chains of 20 Langevin steps from noise (Part B without its buffer), and
# - **persistent** chains, which go on where they ended (Part B with it).
# - **Denoising**, {eq}`eq-dsm`. It gives two densities: the energy at the smallest level, and what its
#   flow draws from the largest level down, whose density is computed as in the section on likelihoods below.
# - **Energy discrepancy** {cite}`schroeder2023discrepancy`. Blur a point once, then blur the result $M$ times: a contrast with places near the data,
#   $\log\bigl(\tfrac1M + \tfrac1M \sum_j e^{E(x) - E(x^-_j)}\bigr)$. No gradient of the energy is needed, and no chain.
# - **Energy matching** {cite}`balcerak2025matching`. First a potential $V(x)$, told no level, whose slope carries noise to data along straight lines,
#   paired so that the lines are short. Then short chains at temperature ε sharpen $e^{-V/\varepsilon}$ at the data.

# %% tags=["hide-input"]
BATCH, CHAIN, COLD = 128, 20, 0.2
TRUTH = (0.6, 0.3, 0.1)


def perceptron(points):
    """The network of all five, a fresh one. Told one level, it is an energy of x alone."""
    return PlaneNoiseEnergy(2, 64, sigma_data=float(points.std()))


def chains(energy, x, n_steps, stream, temperature=1.0):
    """Where Langevin chains end up, at an honest temperature."""
    return sample(
        lambda y: energy(y) / temperature,
        x,
        Langevin(0.02, bounds=(-8.0, 8.0)),
        n_steps,
        generator=stream,
    ).x


def objectives(network, points, stream):
    """Name -> (passes a step, loss(batch, share of the training done))."""
    spread, energy = float(points.std()), network.at(1.0)

    def noise():
        return (spread * torch.randn(BATCH, 2, generator=stream)).clamp(-8, 8)

    kept = {"x": noise()}

    def contrast(batch, ends, temperature=1.0):
        real, fake = energy(batch) / temperature, energy(ends) / temperature
        return (
            real.mean()
            - fake.mean()
            + 0.01 * (real.square().mean() + fake.square().mean())
        )

    def from_noise(batch, done):
        return contrast(batch, chains(energy, noise(), CHAIN, stream))

    def persistent(batch, done):
        fresh = torch.rand(BATCH, 1, generator=stream) < 0.05
        kept["x"] = chains(
            energy, torch.where(fresh, noise(), kept["x"]), CHAIN, stream
        )
        return contrast(batch, kept["x"])

    def denoising(batch, done):
        sigma = torch.exp(1.2 * torch.randn(BATCH, generator=stream))
        return denoising_loss(
            network, batch, torch.randn(batch.shape, generator=stream), sigma
        )

    def discrepancy(batch, done):
        return energy_discrepancy(energy, batch, 1.0, 16, generator=stream)

    def matching(batch, done):
        start = paired(noise(), batch)
        loss = transport_loss(energy, start, batch, torch.rand(BATCH, generator=stream))
        if done < 0.5:
            return loss
        half = torch.cat([batch[: BATCH // 2], start[BATCH // 2 :]])
        ends = chains(energy, half, CHAIN, stream, COLD)
        return loss + contrast(batch, ends, COLD)

    return {
        "CD, chains from noise": (2 * CHAIN + 4, from_noise),
        "CD, persistent chains": (2 * CHAIN + 4, persistent),
        "denoising": (4, denoising),
        "energy discrepancy": (2 * 17, discrepancy),
        "energy matching": (4 + CHAIN + 2, matching),  # the mean of its two phases
    }


def train_one(name, points, passes, run_seed):
    """The network after so many passes."""
    torch.manual_seed(run_seed)
    stream = torch.Generator().manual_seed(run_seed)
    network = perceptron(points)
    cost, loss_of = objectives(network, points, stream)[name]
    n_steps = max(1, passes // cost)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    for step in range(n_steps):
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - step / n_steps)
        batch = points[torch.randint(len(points), (BATCH,), generator=stream)]
        loss = loss_of(batch, step / n_steps)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
    return network.eval()


def log_densities(name, network):
    """Name -> log density (6400,) on the plane, normalised there."""

    def normal(log_density):
        return log_density.detach().double().log_softmax(0) - math.log(cell)

    x = plane.float()
    if name == "denoising":
        flow = flow_log_likelihood(
            network, x, low=0.05, high=30.0, n_probes=None, tolerance=1e-3
        )
        return {
            "denoising: energy at σ = 0.1": normal(-network(x, 0.1)),
            "denoising: its flow": normal(flow.log_prob),
        }
    cold = COLD if name == "energy matching" else 1.0
    return {name: normal(-network(x, 1.0) / cold)}


def world_of(name):
    """Points (20000, 2) of one of the two data sets, and its log density (6400,) on the plane."""
    ring = Ring(radius=3.0, width=0.3)
    source, log_z = (ring, ring.log_z) if name == "ring" else (oracle, 0.0)
    points = source.sample(20_000, torch.Generator().manual_seed(1)).float()
    return points, -source(plane) - log_z


def one_way(objective, world, passes, seed):
    """Train by one objective; what its densities are worth, and the densities themselves."""
    points, log_p = world_of(world)
    begun = time.perf_counter()
    network = train_one(objective, points, passes, seed)
    told = {"seconds": time.perf_counter() - begun, "kl": {}, "weights": {}}
    for label, log_q in log_densities(objective, network).items():
        told["kl"][label] = float((log_p.exp() * cell * (log_p - log_q)).sum())
        mass, mode = log_q.exp() * cell, oracle.nearest(plane)
        told["weights"][label] = [float(mass[mode == k].sum()) for k in range(3)]
        told[f"log density, {label}"] = log_q.float()
    return told


# %%
if study("five"):
    ways = list(objectives(perceptron(plane), plane.float(), torch.Generator()))
    cells = {
        f"{world}, {name}": {"world": world, "objective": name}
        for world in ("ring", "three modes")
        for name in ways
    }
    runs = sweep(
        "after_langevin_five",
        one_way,
        cells,
        seeds=range(seed, seed + settings.seeds),
        passes=settings.passes,
    )

# %%
if study("five-table"):
    five, drawn = [], {}
    for label, asked_of in cells.items():
        of_cell = [run for run in runs if run.name == label]
        for density in of_cell[0].values["kl"]:
            kls = [run.values["kl"][density] for run in of_cell]
            row = {
                "data": asked_of["world"],
                "objective": density,
                "kl": sum(kls) / len(kls),
                "kl_low": min(kls),
                "kl_high": max(kls),
                "seconds": sum(run.values["seconds"] for run in of_cell) / len(kls),
            }
            if asked_of["world"] == "three modes":
                by_mode = [run.values["weights"][density] for run in of_cell]
                row["weights"] = torch.tensor(by_mode).mean(0).tolist()
                # The largest error of a weight, seed by seed.
                errors = [
                    max(abs(w - t) for w, t in zip(found, TRUTH, strict=True))
                    for found in by_mode
                ]
                row["weight_errors"] = errors
                drawn[density] = of_cell[0].tensors[f"log density, {density}"]
            five.append(row)
    record("five", five)
    table(
        [
            {
                "data": row["data"],
                "objective": row["objective"],
                "KL from the data (nats)": f"{row['kl']:.3f} ({row['kl_low']:.3f} to {row['kl_high']:.3f})",
                "weights of the modes": " / ".join(
                    f"{w:.2f}" for w in row.get("weights", [])
                )
                or "–",
                "seconds": f"{row['seconds']:.0f}",
            }
            for row in five
        ],
        f"{settings.passes:,} passes of {BATCH} points each, mean and range of {settings.seeds} seeds; the three modes weigh 0.60 / 0.30 / 0.10",
    )

# %% tags=["hide-input"]
if study("five-pictures"):
    fig, axes = plt.subplots(2, 4, figsize=(9, 4.8))
    show_density(axes[0, 0], -oracle(plane), "the data")
    for ax, (name, log_q) in zip(axes.flat[1:], drawn.items(), strict=False):
        show_density(ax, log_q, name.replace(": ", ":\n").replace(", ", ",\n"))
    for ax in axes.flat[1 + len(drawn) :]:
        ax.axis("off")
    report.figure(
        "The densities that each objective gives to the three modes, first seed.",
        "Seven panels with three spots each, whose brightness differs from objective to objective.",
    )
    off = {
        row["objective"]: max(row["weight_errors"])
        for row in five
        if row["data"] == "three modes"
    }
    best, worst = min(off, key=off.get), max(off, key=off.get)
    say(
        f"In its worst seed *{best}* is off by {off[best]:.2f} in the weight of a mode, the least of all; *{worst}* by {off[worst]:.2f}, the most. The smallest level of the "
        f"denoising energy is off by {off['denoising: energy at σ = 0.1']:.2f}; the same network, asked by its flow, by {off['denoising: its flow']:.2f}."
    )
    record("weights_off", off)

# %% [markdown]
# ## From noise to a sample: an ordinary differential equation (J3)
#
# Let σ fall from large to zero, and let $x$ follow
#
# ```{math}
# :label: eq-flow
# \frac{\mathrm d x}{\mathrm d \sigma} = -\sigma\, \nabla_x \log p_\sigma(x) = \frac{x - D(x, \sigma)}{\sigma} .
# ```
#
# If $x$ is a draw of $p_\sigma$ at one level, it stays one at all others {cite}`song2021sde`. This is the **{term}`probability flow`**. It adds no
# noise on the way: all that is random is the start, a draw of $\mathcal N(0, \sigma_{\max}^2 I)$. The slope points from the
# guess $D$ to $x$; going down the levels means going towards the guess, without ever jumping there.
#
# ```{prf:algorithm} Drawing with the probability flow
# :label: alg-flow
# **Inputs** denoiser $D$; levels $\sigma_0 > \sigma_1 > \dots > \sigma_{n-1} > \sigma_n = 0$
#
# **Output** a sample
#
# 1. $x \leftarrow \sigma_0\, \xi$, with $\xi \sim \mathcal N(0, I)$
# 2. for $i = 0, \dots, n-1$:
#    1. $d \leftarrow (x - D(x, \sigma_i)) / \sigma_i$
#    2. $x' \leftarrow x + (\sigma_{i+1} - \sigma_i)\, d$ (Euler's step)
#    3. if $\sigma_{i+1} > 0$: $d' \leftarrow (x' - D(x', \sigma_{i+1})) / \sigma_{i+1}$ and
#       $x' \leftarrow x + (\sigma_{i+1} - \sigma_i)\, \tfrac12 (d + d')$ (Heun's)
#    4. $x \leftarrow x'$
# 3. return $x$
# ```

# %% [markdown]
# ```{exercise-start} One step of Heun's method
# :label: ex-heun
# ```
# *Goal: the inside of the sampler. About 15 minutes, 2 points.*
#
# Write the inside of {prf:ref}`alg-flow`. `denoise(x, sigma)` is $D$; `sigma` and `sigma_next` are numbers, the second may be zero.


# %% tags=["exercise"]
def heun_step(denoise, x, sigma, sigma_next):
    """Places (B, ...) at level sigma -> places at level sigma_next."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-heun
# :class: dropdown
# ```
# Two looks a step make the error of a whole walk fall with the square of the step size. At level zero there is no
# slope to look at, so the last step is Euler's.


# %% tags=["solution"]
def heun_step(denoise, x, sigma, sigma_next):
    """Places (B, ...) at level sigma -> places at level sigma_next."""
    slope = (x - denoise(x, sigma)) / sigma
    euler = x + (sigma_next - sigma) * slope
    if sigma_next == 0:
        return euler
    slope_next = (euler - denoise(euler, sigma_next)) / sigma_next
    return x + (sigma_next - sigma) * (slope + slope_next) / 2


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.heun_step(heun_step)

# %% [markdown]
# **Your step, on the oracle.** Two thousand starts far out, forty steps with the exact denoiser, and with the one that
# was learnt above. Which weights do the modes get? The third row comes down from σ = 0.5 only: it never sees the levels at which the
# modes have grown together.


# %%
def walk(denoise, high, n_steps=40, n=2000):
    """Where n starts at level ``high`` end up."""
    levels = NoiseLevels(high, 0.01)
    x = levels.start((2,), n, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for t in range(n_steps):
            x = heun_step(denoise, x, levels(t, n_steps), levels(t + 1, n_steps))
    return x


walks = {
    "exact denoiser, from σ = 40": walk(oracle.denoise, 40.0),
    "learnt denoiser, from σ = 40": walk(learnt.denoise, 40.0),
    "exact denoiser, from σ = 0.5": walk(oracle.denoise, 0.5),
}
walked = {
    name: (oracle.nearest(x).bincount(minlength=3) / len(x)).tolist()
    for name, x in walks.items()
}
record("walked", walked)
table(
    [
        {"walk": name} | {f"mode {k + 1}": f"{w:.2f}" for k, w in enumerate(found)}
        for name, found in walked.items()
    ]
    + [{"walk": "the truth", "mode 1": "0.60", "mode 2": "0.30", "mode 3": "0.10"}],
    "Shares of 2,000 walks that end near each mode",
)
fig, axes = plt.subplots(1, 3, figsize=(9, 3))
for ax, (name, x) in zip(axes, walks.items(), strict=True):
    ax.scatter(x[:, 0], x[:, 1], s=2)
    ax.set(
        title=name.replace(", ", ",\n"),
        xlim=(-side, side),
        ylim=(-side, side),
        aspect="equal",
        xticks=[],
        yticks=[],
    )
report.figure(
    "Where the walks of the table end.",
    "Three panels of dots around the three means; in the third the shares are wrong.",
)

# %% [markdown]
# ## Digits: an energy and a score of the same size (J3)
#
# A score network gives a field, $D(x, \sigma)$, of which nobody asks that it be the gradient of anything. An energy
# $E(x, \sigma)$ gives one number; its gradient is *conservative* by construction. Here are both, made of the very same
# U-Net $f$, with one weight for each of the other's:
#
# - the score network puts $f$ to work as it is;
# - the energy is $\langle u, f(u, \sigma)\rangle$ plus a bowl, with $u$ the picture scaled to unit size {cite}`salimans2021should`, and the denoiser
#   is $x - \sigma^2\nabla_x E$.
#
# Both see inputs and give outputs of unit size at every level {cite}`karras2022edm`: with $f = 0$, both take the data for one Gaussian. Weights are
# averaged over the last tenth of the steps, and the average is what draws. A step of the energy costs more: its gradient is
# differentiated again.

# %%
train_images = load_images(settings.data, "train", root=data_root)
test_images = load_images(settings.data, "test", root=data_root)
judge = checkpoints.load("digit_classifier")


def train_denoiser(kind, n_steps, name):
    """A ScoreUNet or an EnergyUNet, trained by denoising for n_steps."""
    torch.manual_seed(seed)
    network = kind(1, 28, settings.width, 0.6)
    module = DenoisingTraining(
        network, DenoisingConfig(seed=seed, warmup=min(100, n_steps // 10))
    )
    config = FitConfig(
        n_steps,
        settings.batch_size,
        seed=seed,
        name=name,
        precision="bf16-mixed",
        log_every=20,
    )
    return fit(module, train_images, config=config, resume=True)


score_run = train_denoiser(ScoreUNet, settings.score_steps, "score_mnist")
energy_run = train_denoiser(EnergyUNet, settings.energy_steps, "energy_mnist")
score, energy = score_run.module.averaged, energy_run.module.averaged
curves(
    {"score network": score_run.curve("loss"), "energy": energy_run.curve("loss")},
    f"Denoising loss on {train_images.title}; one is that of a Gaussian guess",
    smooth=max(1, len(score_run.curve("loss")[0]) // 20),
)
weights = sum(w.numel() for w in score.parameters())
per_step = {
    "score": score_run.seconds / score_run.steps,
    "energy": energy_run.seconds / energy_run.steps,
}
record("data", train_images.title)
record("weights", weights)
record("score_steps", score_run.steps)
record("energy_steps", energy_run.steps)
record("score_seconds", score_run.seconds)
record("energy_seconds", energy_run.seconds)
say(
    f"{weights:,} weights each. The score network made {score_run.steps:,} steps in {score_run.seconds:.0f} s, the energy {energy_run.steps:,} in {energy_run.seconds:.0f} s: "
    f"a step of the energy takes **{per_step['energy'] / per_step['score']:.1f} times** as long."
)

# %% [markdown]
# **How do they draw?** Three kernels of `gen_utils.samplers` use a denoiser: the flow; **ancestral** sampling, which takes
# some noise away and puts less back at every step {cite}`ho2020ddpm`; and **annealed Langevin**, Part B's chain, at a
# true temperature of one, for a few steps at each level. The distance is Part B's: Fréchet, in the features of a digit classifier.

# %%
levels = NoiseLevels(40.0, 0.01)


def draw(network, kernel, n_steps, n, stream_seed=1):
    """(n, 1, 28, 28) samples in [-1, 1], a hundred at a time."""
    stream, parts = torch.Generator().manual_seed(stream_seed), []
    for first in range(0, n, 100):
        start = levels.start((1, 28, 28), min(100, n - first), generator=stream)
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(
                sample(network.denoise, start, kernel, n_steps, generator=stream).x
            )
    return torch.cat(parts).clamp(-1, 1)


real_features = extract_features(judge, test_images.images[: settings.n_eval])


def distance(images):
    """Fréchet distance of images in [-1, 1], or bytes, to held-out digits."""
    return frechet_distance(
        real_features,
        extract_features(
            judge, images if images.dtype == torch.uint8 else to_uint8(images)
        ),
    )


flow = ProbabilityFlow(levels)
drawn_by = {
    "score network": draw(score, flow, settings.flow_steps, settings.n_eval),
    "energy": draw(energy, flow, settings.flow_steps, settings.n_eval),
}
fig, axes = plt.subplots(1, 2, figsize=(9, 4.4))
for ax, (name, images) in zip(axes, drawn_by.items(), strict=True):
    image_grid(images[:64], name, columns=8, ax=ax)
report.figure(
    f"64 samples of each network ({profile}, {train_images.title}), {settings.flow_steps} steps of the flow, not selected.",
    "Two grids of handwritten digits.",
)

# %% [markdown]
# **A distance needs its controls** (Part B): other real digits, averages of two, draws of Gaussians, and noise. The intervals cover other pictures of the same sources, not another training.


# %% tags=["hide-input"]
n = settings.n_eval
compared = {
    **controls(train_images, n, seed=seed),
    "score network, flow": drawn_by["score network"],
    "energy, flow": drawn_by["energy"],
}
quality, spread = {}, {}
for name, images in compared.items():
    features = extract_features(judge, images)
    quality[name] = frechet_distance(real_features, features)
    spread[name] = frechet_interval(real_features, features, n=settings.resamples)
part_b = report.kept("02_ebm_mnist")
before = None if part_b is None or settings.data != "mnist" else part_b["records"]
rows = [
    {
        "images": name,
        "Fréchet distance": f"{value:.1f}",
        "95 % interval, bias taken out": "{:.1f} to {:.1f}".format(*spread[name]),
        "training (s)": {
            "score network, flow": f"{score_run.seconds:.0f}",
            "energy, flow": f"{energy_run.seconds:.0f}",
        }.get(name, "–"),
    }
    for name, value in sorted(quality.items(), key=lambda item: item[1])
]
if before is not None:
    rows.append(
        {
            "images": "Part B's energy, 256 steps of its chain (its long run)",
            "Fréchet distance": f"{before['frechet_fresh']:.1f}",
            "95 % interval, bias taken out": "{:.1f} to {:.1f}".format(
                *before["frechet_interval"]
            ),
            "training (s)": f"{before['train_seconds']:.0f}",
        }
    )
table(
    rows,
    f"Distance to {len(real_features):,} held-out images of {test_images.title}, {n:,} images each (digit-classifier features)",
)
record("quality", quality)
record("intervals", {name: list(ends) for name, ends in spread.items()})
record("frechet_n", n)
record("frechet_score", quality["score network, flow"])
record("frechet_energy", quality["energy, flow"])
record("frechet_real", quality["other real images"])

# %% [markdown]
# **Which kernel, and what happens to those who wait?** Part B's chains were stopped where they look best; after sixteen times the steps
# its digits are worse. Here the levels end, and more steps only mean smaller ones. The table gives each kernel its usual number of looks at the network and
# sixteen times as many for the flow.

# %%
if study("kernels"):
    n_long = settings.n_long
    long_features = extract_features(judge, test_images.images[:n_long])
    langevin = AnnealedLangevin(levels, rate=0.1, per_level=settings.per_level)
    trials = {
        "flow (Heun)": (flow, settings.flow_steps, 2),
        "flow (Heun), 16 times the steps": (flow, 16 * settings.flow_steps, 2),
        "flow (Euler), as many looks": (
            ProbabilityFlow(levels, order=1),
            2 * settings.flow_steps,
            1,
        ),
        "ancestral": (Ancestral(levels), settings.ancestral_steps, 1),
        "annealed Langevin": (langevin, settings.per_level * settings.flow_steps, 1),
    }
    waits = {}
    for name, (kernel, n_steps, _) in trials.items():
        images = draw(score, kernel, n_steps, n_long, stream_seed=3)
        features = extract_features(judge, to_uint8(images))
        waits[name] = [
            frechet_distance(long_features, features),
            *frechet_interval(long_features, features, n=settings.resamples),
        ]
    table(
        [
            {
                "kernel": name,
                "looks at the network": trials[name][1] * trials[name][2],
                "Fréchet distance": f"{value:.1f}",
                "95 % interval, bias taken out": f"{low:.1f} to {high:.1f}",
            }
            for name, (value, low, high) in waits.items()
        ],
        f"The score network ({profile}), {n_long} samples each; fewer samples mean a larger distance, so compare within this table",
    )
    record("waits", waits)
    once, longer = (
        waits[name] for name in ("flow (Heun)", "flow (Heun), 16 times the steps")
    )
    say(
        f"Sixteen times the steps: {once[0]:.1f} becomes {longer[0]:.1f}"
        + (
            ", clearly worse. "
            if longer[1] > once[2]
            else ", clearly better. "
            if longer[2] < once[1]
            else "; the intervals meet. "
        )
        + "Nothing goes on for ever here: at level zero the walk is over."
    )

# %% [markdown]
# ## What an energy buys (J3)
#
# **Numbers one can compare.** At each level $E(x, \sigma)$ says how likely a picture is, up to one constant a level. Does it find what is no digit? Part B's test, with
# the energy asked at four levels. (A score network cannot take it: a field has no value to compare.)

# %%
inside = to_float(test_images.images[: settings.n_outliers])
sets = dict(corruptions(inside, torch.Generator().manual_seed(seed)))
for name in ("fashion_mnist", "persian_digits"):
    other = load_images(name, "test", root=data_root, limit=settings.n_outliers)
    sets[other.title] = other.scaled()
asked = (0.1, 0.3, 1.0, 3.0)
alarms = {}
for sigma in asked:
    base = outliers.energies(energy.at(sigma), inside)
    alarms[sigma] = {
        name: outliers.auroc(base, outliers.energies(energy.at(sigma), x))
        for name, x in sets.items()
    }
table(
    [
        {"outliers": name}
        | {f"σ = {sigma:g}": f"{alarms[sigma][name]:.3f}" for sigma in asked}
        | (
            {}
            if before is None
            else {"Part B": f"{before['auroc'].get(name, float('nan')):.3f}"}
        )
        for name in sets
    ],
    f"AUROC of E(x, σ) against held-out images of {test_images.title}",
)
record("auroc", {f"{sigma:g}": found for sigma, found in alarms.items()})
means = {sigma: sum(found.values()) / len(found) for sigma, found in alarms.items()}
best_level = max(means, key=means.get)
say(
    f"On average the level σ = {best_level:g} is the best alarm ({means[best_level]:.2f}); at σ = {min(means, key=means.get):g} it is {min(means.values()):.2f}. A level is a scale: small ones look at "
    "the grain of a picture, large ones at its outline."
)
record("alarm_means", {f"{sigma:g}": value for sigma, value in means.items()})

# %% [markdown]
# ## A likelihood from the flow (J6)
#
# A flow moves probability without losing any. Along {eq}`eq-flow`, with $\tau = \ln\sigma$, the log density at the moving point falls by the divergence
# of the velocity $x - D$:
#
# ```{math}
# :label: eq-change
# \log p_{\sigma_{\min}}(x) = \log p_{\sigma_{\max}}(x_{\max})
#   + \int_{\ln \sigma_{\min}}^{\ln \sigma_{\max}} \nabla\!\cdot\bigl(x - D(x, e^\tau)\bigr)\,\mathrm d\tau .
# ```
#
# At the far end the density is a known Gaussian. In 784 dimensions the divergence has 784 derivatives; Hutchinson's estimator
# $\epsilon^\top (\partial D/\partial x)\,\epsilon$ with random signs $\epsilon$ needs one, and is right on average {cite}`grathwohl2019ffjord`.
#
# **First where the answer is known.** A Gaussian's denoiser is a multiplication, and its likelihood a formula; the oracle's is a mixture.


# %%
class GaussianDenoiser:
    """D of N(0, 0.7² I)."""

    def denoise(self, x, sigma):
        return 0.49 / (0.49 + sigma**2) * x


points = 0.7 * torch.randn(
    200, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64
)
exact = torch.distributions.Normal(0.0, math.hypot(0.7, 0.01)).log_prob(points).sum(1)
found = flow_log_likelihood(
    GaussianDenoiser(), points, low=0.01, high=400.0, tolerance=1e-5
)
mixed = oracle.sample(200, torch.Generator().manual_seed(5))
exact_mixed = -oracle(mixed, 0.01)
found_mixed = flow_log_likelihood(
    oracle,
    mixed,
    low=0.01,
    high=400.0,
    n_probes=8,
    tolerance=1e-4,
    generator=torch.Generator().manual_seed(6),
)
gaps = {
    "Gaussian": float((found.log_prob - exact).abs().max()),
    "mixture": float((found_mixed.log_prob - exact_mixed).mean()),
}
record("likelihood_gaps", gaps)
say(
    f"Gaussian: the mean is {exact.mean():.3f} nats, the flow says {found.log_prob.mean():.3f}, and no point is off by more than {gaps['Gaussian']:.1g}. "
    f"Mixture: {exact_mixed.mean():.3f} nats, the flow with eight probes {found_mixed.log_prob.mean():.3f}; a single point's error is {found_mixed.error.mean():.2f} on average, as told by its probes."
)

# %% [markdown]
# **Then digits.** Bytes become numbers by uniform noise of one grey level (Part G), and nats become {term}`bits per dimension`. The interval covers other
# digits, not another training.

# %%
if study("digits-in-bits"):
    held = dequantise(
        test_images.images[: settings.n_likelihood], torch.Generator().manual_seed(7)
    )
    bits = {}
    flows = {}
    for name, network in (("score network", score), ("energy", energy)):
        flows[name] = flow_log_likelihood(
            network,
            held,
            low=0.01,
            high=40.0,
            n_probes=2,
            tolerance=1e-2,
            generator=torch.Generator().manual_seed(8),
        )
        each = bits_per_dim(flows[name].log_prob, 784, levels=128)
        half = 1.96 * float(each.std()) / len(each) ** 0.5
        bits[name] = {
            "bits": float(each.mean()),
            "half": half,
            "probes": float(flows[name].error.mean()) / (784 * math.log(2)),
            "looks": flows[name].evaluations,
        }
    table(
        [
            {
                "network": name,
                "bits per dimension": f"{row['bits']:.2f} ± {row['half']:.2f}",
                "error of a picture from its probes": f"{row['probes']:.3f}",
                "looks": row["looks"],
            }
            for name, row in bits.items()
        ],
        f"Likelihood of {len(held)} held-out images of {test_images.title} by the flow of each network, at σ = 0.01",
    )
    record("bits", bits)
    record("likelihood_n", len(held))

# %% [markdown]
# **Does the energy agree with its own flow?** Both speak of the same network. $-E(x, \sigma)$ should be the flow's log density plus a
# constant. But denoising never compared the energies of two far-away pictures, only slopes at either.

# %%
if study("energy-and-flow"):
    with torch.no_grad():
        told = -energy(held, 0.01).double()
    by_flow = flows["energy"].log_prob
    correlation = float(torch.corrcoef(torch.stack([told, by_flow]))[0, 1])
    apart = float((told - by_flow).std())
    record(
        "agreement",
        {
            "correlation": correlation,
            "spread": apart,
            "spread of the flow": float(by_flow.std()),
        },
    )
    say(
        f"Over these {len(held)} digits the flow's log density has a spread of {by_flow.std():.0f} nats. It and −E differ by a constant give or take {apart:.0f} nats; their correlation is {correlation:.2f}."
    )

# %% [markdown]
# **And Part B's energy?** It has no flow, and nobody knows its normaliser. Annealed importance sampling (Part S) can bracket it. Chains begin
# where the density is known, uniform in the box, and anneal towards $e^{-E/T}$; on average their weights give $Z$, so that the log of their mean
# tends to lie *below* $\log Z$. Chains that begin at samples of $e^{-E/T}$ and anneal back give $1/Z$, and lie *above*
# {cite}`wu2017quantitative`. Where both agree, a held-out digit has a likelihood, $-E(x)/T - \log Z$. The second bound holds for exact samples only; ours are the ends of
# long chains.
#
# The temperature is the catch. Training scored energies as they are, $T = 1$. The chains that draw Part B's digits run a million times colder
# (step 10, noise 0.005). Which of these densities is the model? Ask at several.


# %%
def bracket(temperature, n_temperatures, n_chains, seed):
    """Bounds on log ∫ exp(-E/T) over the box, for Part B's shipped energy, and what they rest on."""
    part_b, stream = checkpoints.load("ebm_mnist"), torch.Generator().manual_seed(seed)
    betas = torch.linspace(0, 1, n_temperatures + 1, dtype=torch.float64) ** 3

    def flat(x):
        return x.new_full((len(x),), -784 * math.log(2.0))

    def log_target(x):
        return -part_b(x) / temperature

    def step(beta):  # energies grow steeper by β / T
        return min(0.2, 1.6 * temperature / max(beta, 1e-6))

    def kernel(path):
        return HMC(lambda t, n: step(float(path[t])), 5, bounds=(-1.0, 1.0))

    start = UniformStart((1, 28, 28)).draw(n_chains, generator=stream)
    there = annealed_importance(
        log_target,
        start,
        n_temperatures,
        log_base=flat,
        kernel=kernel(betas),
        betas=betas,
        generator=stream,
    )
    x, accepted = start, 0.0
    for warmer in (8, 4, 2, 1):
        chain = sample(
            lambda y, t=temperature * warmer: part_b(y) / t,
            x,
            HMC(step(1.0 / warmer), 5, bounds=(-1.0, 1.0)),
            n_temperatures,
            generator=stream,
        )
        x, accepted = chain.x, chain.accept_rate
    reverse = 1 - betas.flip(0)
    back = annealed_importance(
        flat,
        x,
        n_temperatures,
        log_base=log_target,
        kernel=HMC(lambda t, n: step(1 - float(reverse[t])), 5, bounds=(-1.0, 1.0)),
        betas=reverse,
        generator=stream,
    )
    with torch.no_grad():
        samples_energy = float(part_b(x).mean()) / temperature
    return {
        "low": float(log_mean_exp(there, 0)),
        "high": -float(log_mean_exp(back, 0)),
        "spread": float(there.std()),
        "accepted": float(accepted),
        "energy of the samples": samples_energy,
    }


# %%
if study("energy-in-bits") and "ebm_mnist" in checkpoints.names():
    lengths = {1.0: 100, 0.1: 400, 0.03: 800, 0.01: 800}
    brackets = sweep(
        "after_langevin_bracket",
        bracket,
        {
            f"T = {t:g}": {
                "temperature": t,
                "n_temperatures": max(2, n // settings.bracket_divisor),
            }
            for t, n in lengths.items()
        },
        seeds=(seed,),
        n_chains=16,
    )

# %% tags=["hide-input"]
if study("energy-in-bits-table") and "ebm_mnist" in checkpoints.names():
    held_out = dequantise(
        test_images.images[: settings.n_outliers], torch.Generator().manual_seed(7)
    )
    told = outliers.energies(checkpoints.load("ebm_mnist"), held_out).double()
    priced = []
    for run, t in zip(brackets, lengths, strict=True):
        found = run.values
        # The lower bound on log Z is the upper one on the likelihood, and the fewest bits.
        fewest, most = (
            float(bits_per_dim(-told / t - found[end], 784, levels=128).mean())
            for end in ("low", "high")
        )
        priced.append(
            {
                "T": t,
                "fewest": fewest,
                "most": most,
                "gap": found["high"] - found["low"],
                "spread": found["spread"],
                "accepted": found["accepted"],
                "digits": float(told.mean()) / t,
                "samples": found["energy of the samples"],
            }
        )
    table(
        [
            {
                "temperature": f"{row['T']:g}",
                "bits per dimension": f"{row['fewest']:.2f} to {row['most']:.2f}",
                "the bounds on log Z are apart (nats)": f"{row['gap']:.1f}",
                "E/T of held-out digits": f"{row['digits']:,.0f}",
                "E/T of the chains' ends": f"{row['samples']:,.0f}",
                "accepted": f"{row['accepted']:.0%}",
            }
            for row in priced
        ],
        f"Part B's shipped energy as a density: {len(held_out):,} held-out images of {test_images.title}, 16 chains each way; 8 bits per dimension is uniform noise",
    )
    record("energy_bits", priced)
    sure = [row for row in priced if abs(row["gap"]) < 5]
    say(
        (
            f"At T = 1 the energy hardly says anything: {priced[0]['fewest']:.2f} bits, where uniform noise has 8. "
            if priced[0]["fewest"] > 7.5
            else f"At T = 1 it has {priced[0]['fewest']:.2f} bits. "
        )
        + (
            f"Colder it says more, and the bounds meet to within five nats down to T = {sure[-1]['T']:g}, where it has {sure[-1]['most']:.2f}. "
            if len(sure) > 1
            else ""
        )
        + (
            f"At T = {priced[-1]['T']:g} they are {abs(priced[-1]['gap']):,.0f} nats apart: no likelihood is to be had there, and the chains that draw digits are thousands of times colder still."
            if abs(priced[-1]["gap"]) > 5
            else ""
        )
    )

# %% tags=["hide-input"]
if ship:
    start = "Gaussian noise of the highest level"
    for name, its_run, value in (
        ("score_mnist", score_run, quality["score network, flow"]),
        ("energy_mnist", energy_run, quality["energy, flow"]),
    ):
        network = its_run.module.averaged
        left = denoising_errors(
            network, to_float(test_images.images[:1000]), 0.3, batch_size=100
        )
        card = {
            "part": "11_after_langevin",
            "profile": profile,
            "seed": seed,
            **card_facts(its_run, kernel=flow, steps=settings.flow_steps, start=start),
            "metrics": {
                "frechet_distance": {
                    "value": round(value, 2),
                    "features": "digit_classifier",
                    "images": settings.n_eval,
                    "chain_steps": settings.flow_steps,
                    "start": start,
                },
                "denoising_error": {
                    "value": float(left.mean()),
                    "sigma": 0.3,
                    "images": len(left),
                },
            },
            "known_faults": "Strokes break off, and some samples lie between two digits.",
        }
        checkpoints.save(name, network, card)

# %% [markdown]
# ## The map (J8)
#
# Eleven chapters, one question: how does a model learn a density whose normaliser it cannot compute? The answers differ in what they need
# *while training*, and in what they cannot see.

# %% tags=["hide-input"]
MAP = [
    (
        "contrastive divergence (B, A, C, D)",
        "yes, short",
        "cancels",
        "only if chains mix",
    ),
    ("denoising (J)", "no", "cancels", "through all levels together"),
    ("energy discrepancy (J)", "no", "cancels", "as wide as the blur"),
    (
        "energy matching (J)",
        "short, at the end",
        "cancels",
        "its transport; exp(−V/ε) only if chains mix",
    ),
    ("adversarial (F, H)", "no", "never defined", "as far as the critic"),
    ("evidence lower bound (E, G)", "no", "bounded", "yes"),
    ("bound and energy (I)", "yes, in the noise space", "cancels", "by its VAE"),
]
names = {
    "contrastive divergence (B, A, C, D)": "CD, persistent chains",
    "denoising (J)": "denoising: its flow",
    "energy discrepancy (J)": "energy discrepancy",
    "energy matching (J)": "energy matching",
}
kept = report.kept("11_after_langevin", profile)
kept_records = {} if kept is None else kept["records"]
measured = report.recorded().get("five") or kept_records.get("five") or []
in_plane = {row["objective"]: row for row in measured if row["data"] == "three modes"}


def plane_figure(objective):
    """What this chapter measured of an objective on the three modes."""
    row = in_plane.get(names.get(objective))
    return "–" if row is None else f"{row['kl']:.2f} nats, {row['seconds']:.0f} s"


table(
    [
        {
            "objective": name,
            "chains in training": chain,
            "the normaliser": normaliser,
            "sees the weights of far modes": seen_,
            "on the three modes: KL, time": plane_figure(name),
        }
        for name, chain, normaliser, seen_ in MAP
    ],
    "The objectives of this workbook; the last column is this chapter's own measurement",
)

# %% tags=["hide-input"]
if study("map"):
    fig, ax = plt.subplots(figsize=(7, 3.6))
    for row in in_plane.values():
        error_of = max(abs(a - b) for a, b in zip(row["weights"], TRUTH, strict=True))
        ax.scatter(error_of, row["kl"], s=40)
        ax.annotate(
            row["objective"],
            (error_of, row["kl"]),
            textcoords="offset points",
            xytext=(6, 4),
            fontsize=8,
        )
    ax.set(
        xlabel="largest error of a mode's weight",
        ylabel="KL divergence (nats)",
        yscale="log",
        title="Three modes, one budget",
    )
    report.figure(
        "What each objective got right on the three modes: the weights (left is better) and the density (down is better). Means over the seeds.",
        "Six named points; down and left is better.",
    )

# %% [markdown]
# ## Reported, long run, this run

# %% tags=["hide-input"]
three = report.comparison(kept_records, profile)
table(
    [
        three("data", "data", "MNIST", "{}"),
        three("weights of each network", "weights", form="{:,}"),
        three("score network: steps", "score_steps", form="{:,}"),
        three("score network: training time (s)", "score_seconds", form="{:.0f}"),
        three("energy: steps", "energy_steps", form="{:,}"),
        three("energy: training time (s)", "energy_seconds", form="{:.0f}"),
        three("images in each Fréchet distance", "frechet_n", form="{:,}"),
        three("Fréchet distance, real against real", "frechet_real"),
        three("Fréchet distance, score network", "frechet_score"),
        three("Fréchet distance, energy", "frechet_energy"),
        three(
            "bits per dimension, score network",
            lambda held: held["bits"]["score network"]["bits"],
            form="{:.2f}",
        ),
        three(
            "bits per dimension, energy",
            lambda held: held["bits"]["energy"]["bits"],
            form="{:.2f}",
        ),
    ],
    "Distances in digit-classifier features, which no paper reports, so the first column is empty.",
)
record("notebook_seconds", time.perf_counter() - started)

# %% [markdown]
# ## What breaks, and how to rescue it
#
# - **The loss is a nan at small levels.** A division by σ² in half precision. Scale inputs and outputs to unit size at every level, as here, and sum in float32.
# - **Samples are grey mush.** The highest level is too low, so that the start is not what the network was trained on; or the walk has too few steps at the levels that decide.
# - **Samples are speckled.** The last levels are too coarse, or the network has not learnt them: look at the loss by level.
# - **All samples are alike.** The weights were not averaged, and the last few batches won.
# - **The energy trains three times as slowly.** That is its price; there is no bug.
#
# ## Questions
#
# 1. Vincent's loss has a minimum that is not zero. What is its value, and why can it not be reached by any network?
# 2. The score of $p_\sigma$ at σ → 0 is the score of the data. Why not train at the smallest level alone, then?
# 3. The flow and ancestral sampling start from the same noise. Which of the two can be run backwards, from a picture to its noise, and what would that be good for?
# 4. The score network's field is no gradient. Does {eq}`eq-flow` still define a density, and is its score the network's?
# 5. Energy discrepancy with a wide blur sees the weights of far modes. What does it pay for that in 784 dimensions?
#
# ## Further reading
#
# - Vincent, *A Connection Between Score Matching and Denoising Autoencoders* {cite}`vincent2011connection`: nine pages, and all of J1.
# - Song and Ermon {cite}`song2019gradients`: levels, and Langevin through them. Song et al. {cite}`song2021sde`: the flow and its likelihood.
# - Karras et al. {cite}`karras2022edm`: what matters in practice, taken apart.
# - Gao et al., *Learning Energy-Based Models by Diffusion Recovery Likelihood* {cite}`gao2021recovery`: chains again, but each from one level to the next.
