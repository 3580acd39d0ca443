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
# # The sampling playground
#
# You are given a landscape: a function $E(x)$ that says how high the ground is at $x$. You may ask for
# the height and the slope anywhere you like. Draw random points so that low ground is visited often and high
# ground rarely, in exactly the right proportions.
#
# That is the whole problem of this chapter, and it is harder than it looks. We play it in two
# dimensions, where the right answer is known to many digits. So every method can be *caught* when it is wrong. The
# same methods, from the same code, later draw pictures in 784 dimensions, where nobody can catch them.
#
# ```{admonition} What you will learn
# - five landscapes with exact answers (S1), and four samplers that walk on them (S2);
# - how Langevin dynamics is biased, how it blows up, what its noise has to do with temperature (S3);
# - how an acceptance test repairs the bias, and two ways to break the test without noticing (S2, S3);
# - how Hamiltonian Monte Carlo makes long moves, and the one length at which it makes none (S2);
# - how to tell from the outside that a chain is not finished, and how those alarms are fooled (S4);
# - how annealed importance sampling finds the normaliser itself (S5).
# ```
#
# **Before you start.** You need gradients, the normal distribution, and PyTorch tensors. No networks, no data.
#
# **Time and hardware.** Two cores are enough for every profile.
#
# | profile | what changes | time |
# |---|---|---|
# | `quick` | fewer chains; the comparison of kernels is shown from the long run | about a minute, one core |
# | `laptop` | more chains, longer: the numbers below settle | about five minutes |
# | `full` | error bars you can hardly see | about half an hour (not yet measured) |

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

import numpy as np
import torch

from gen_utils import report
from gen_utils.base.frontend import can_show_widgets
from gen_utils.checks import sampling as checks
from gen_utils.evaluation.chains import (
    autocorrelation,
    ess,
    grid_kl,
    split_rhat,
)
from gen_utils.evaluation.likelihood import (
    annealed_importance,
    log_mean_exp,
    sigmoid_betas,
)
from gen_utils.explorers.sampler import (
    TARGETS,
    make_kernel,
    run_chains,
    sampler_explorer,
)
from gen_utils.models import DoubleWell, Gaussian, eight_gaussians
from gen_utils.plotting import COLOURS, display_html, plt, use_style
from gen_utils.plotting.landscapes import (
    chain_film,
    density_on,
    draw_density,
    draw_states,
)
from gen_utils.profiles import choose
from gen_utils.report import record, say, table
from gen_utils.samplers import (
    HMC,
    MALA,
    ChainDiverged,
    Langevin,
    ProximalLangevin,
    sample,
    warm_up,
)
from gen_utils.samplers.protocol import energy_and_grad

# %% tags=["parameters"]
profile = "quick"  # quick, laptop or full
data_root = ""  # every notebook has this one; there is no data here
seed = 0

# %% tags=["hide-input"]
settings = choose(
    profile,
    quick=dict(
        n_chains=2000,  # for moments and histograms
        n_steps=500,  # the same
        film=400,  # slopes in the first film
        mode_budget=3000,  # gradient calls a chain, hopping between modes
        warmup=(150, 200, 60),  # steps: down into valleys, tuning MALA, HMC
        budget=None,  # gradient calls a chain, in the table of kernels, which quick does not make
        table_chains=200,
        scan=9,  # step sizes in the scan over acceptance
        lengths=(3, 6, 9, 12, 15, 18, 20, 23, 30),
        scan_draws=120,
        temperatures=(1, 3, 10, 30, 100),
        ais_groups=60,
    ),
    laptop=dict(
        n_chains=4000,
        n_steps=1000,
        film=400,
        mode_budget=10_000,
        warmup=(150, 200, 60),
        budget=6000,
        table_chains=200,
        scan=15,
        lengths=tuple(range(2, 45, 2)),
        scan_draws=1000,
        temperatures=(1, 3, 10, 30, 100, 300, 1000),
        ais_groups=200,
    ),
    full=dict(
        n_chains=20_000,
        n_steps=4000,
        film=400,
        mode_budget=100_000,
        warmup=(150, 200, 60),
        budget=50_000,
        table_chains=400,
        scan=25,
        lengths=tuple(range(2, 65)),
        scan_draws=4000,
        temperatures=(1, 3, 10, 30, 100, 300, 1000, 3000),
        ais_groups=1000,
    ),
    smoke=dict(  # in tests: every line runs, nothing is learnt
        n_chains=100,
        n_steps=50,
        film=100,
        mode_budget=120,
        warmup=(20, 20, 8),
        budget=80,
        table_chains=40,
        scan=3,
        lengths=(3, 9, 20),
        scan_draws=24,
        temperatures=(1, 3, 10),
        ais_groups=20,
    ),
)
use_style()
study = report.studies("01_sampling_playground", profile)
torch.manual_seed(seed)
started = time.perf_counter()
targets = {name: build() for name, build in TARGETS.items()}
colour = dict(
    zip(("Langevin", "MALA", "HMC", "ProximalLangevin"), COLOURS, strict=False)
)


def show():
    """The figure now, above the sentence on it; a script shows none."""
    if "ipykernel" in sys.modules:
        plt.show()


def stream(number):
    """A source of random numbers of its own for every experiment."""
    return torch.Generator().manual_seed(1000 * seed + number)


# %% [markdown]
# ## Where we are going
#
# Two hundred walkers start at one point of a banana-shaped valley. Three methods move them, at the same price: the
# number of times they asked for the slope. Press play, or drag the slider.

# %% tags=["hide-input"]
banana = targets["banana"]
frames = list(range(0, settings.film + 1, 10))
films = {}
for name in ("Langevin", "MALA", "HMC"):
    cost = 10 if name == "HMC" else 1
    path, _ = run_chains(
        banana,
        make_kernel(name, 0.01),
        settings.film // cost,
        n_chains=200,
        start=(2.0, 2.1),
        seed=seed,
    )
    films[name] = path[:: 10 // cost]
display_html(chain_film(banana, films, frames))
arrived = {
    name: float((path[-1, :, 0] < 0).double().mean()) for name, path in films.items()
}
say(
    f"Half of the valley lies left of the middle. After {settings.film} slopes, "
    f"{arrived['Langevin']:.0%} of the Langevin walkers, "
    f"{arrived['MALA']:.0%} of MALA's and {arrived['HMC']:.0%} of HMC's are "
    "there; it should be 50%. The contour lines are the exact density."
)

# %% [markdown]
# ## Five landscapes (S1)
#
# An {term}`energy` $E(x)$ defines a density,
#
# ```{math}
# :label: eq-s-density
# p(x) = \frac{e^{-E(x)}}{Z}, \qquad Z = \int e^{-E(x)}\,\mathrm{d}x .
# ```
#
# A sampler may use $E$ and its gradient. It does not get $Z$, and it will not need it. *We* know $Z$, and the mean and the
# covariance, because these five are simple enough. None of them is normalised on purpose.
#
# - **Gaussian**, correlation 0.8: nothing should go wrong here, and yet.
# - **Banana**: a curved, narrow valley. Straight steps leave it quickly.
# - **Ring**: no lowest point at all, only a lowest circle.
# - **Eight Gaussians**: eight valleys with high ground between.
# - **Double well**: two valleys, and walls that grow like $x^4$.

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 5, figsize=(10, 2.4))
for ax, (name, target) in zip(axes, targets.items(), strict=True):
    draw_density(target, ax)
    ax.set_title(name)


def matrix(m):
    """A 2 × 2 covariance in one line."""
    (a, b), (_, d) = m.tolist()
    return f"{a:.3f}, {d:.3f}; {b:.3f}"


rows = []
for name, target in targets.items():
    x, y, density = density_on(target, n=400, margin=0.5)
    mass = float(torch.trapezoid(torch.trapezoid(density, x), y))
    draws = target.sample(100_000, stream(1))
    rows.append(
        {
            "landscape": name,
            "log Z, exact": f"{target.log_z:.6f}",
            "log Z, from a grid": f"{target.log_z + math.log(mass):.6f}",
            "mean": ", ".join(f"{m:.0f}" for m in target.mean.abs()),
            "variances; covariance": matrix(target.covariance),
            "of 100,000 exact draws": matrix(torch.cov(draws.T)),
        }
    )
show()
table(rows, "Exact answers, and two checks of them")
record("landscapes", rows)

# %% [markdown]
# ## Langevin dynamics (S2)
#
# Walk downhill, and add noise so that you do not stop at the bottom:
#
# ```{math}
# :label: eq-s-langevin
# x_{k+1} = x_k - \eta\,\nabla E(x_k) + \sqrt{2\eta}\;\xi_k , \qquad \xi_k \sim \mathcal N(0, I) .
# ```
#
# Why $\sqrt{2\eta}$? Think of many walkers with density $p$. Going downhill makes a current $-p\,\nabla E$; noise
# makes a current from crowded to empty places, $-\nabla p$ if its variance is $2\eta$ a step. For
# $p \propto e^{-E}$ the gradient is $\nabla p = -p\,\nabla E$, so the two currents cancel everywhere and nothing changes. Any other amount of
# noise balances elsewhere. The argument needs small steps; what large ones do is the next question.
# This is the **unadjusted Langevin algorithm**, {term}`ULA` {cite}`roberts1996langevin`.

# %% [markdown]
# ```{exercise-start} One Langevin step
# :label: ex-s-langevin
# ```
# *Goal: turn an energy into a chain with autograd. About 10 minutes, 2 points.*
#
# Write {eq}`eq-s-langevin`. `energy` maps $(B, \dots)$ to $(B,)$, one number a chain; compute its gradient
# with autograd. `xi` is the noise $\xi$, given so that the check can be exact. The result must carry no graph. Leave the
# arguments as they were.


# %% tags=["exercise"]
def langevin_step(energy, x, step_size, xi):
    """States (B, ...) -> the next states (B, ...), at temperature 1."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-s-langevin
# :class: dropdown
# ```
# Every chain has its own energy, and none depends on another chain's state. So the gradient of the *sum* holds each
# chain's own gradient in its own row. `detach` cuts the graph before the step.


# %% tags=["solution"]
def langevin_step(energy, x, step_size, xi):
    """States (B, ...) -> the next states (B, ...), at temperature 1."""
    x = x.detach().requires_grad_()
    (grad,) = torch.autograd.grad(energy(x).sum(), x)
    return x.detach() - step_size * grad + (2 * step_size) ** 0.5 * xi


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.langevin_step(langevin_step)

# %% [markdown]
# **Does it work?** Here is your step on the ring, from one point. From here on we write
# `gradient(energy, x)` for what you have just done by hand.


# %% tags=["hide-input"]
def gradient(energy, x):
    """∇E at every row of x: (B, ...) -> (B, ...)."""
    return energy_and_grad(energy, x)[1]


ring = targets["ring"]
noise = stream(2)
x = torch.tensor([2.0, 0.0]).repeat(300, 1)
fig, axes = plt.subplots(1, 4, figsize=(9, 2.5))
for k in range(1001):
    if k in (10, 50, 200, 1000):
        ax = axes[(10, 50, 200, 1000).index(k)]
        draw_states(ring, x, ax)
        ax.set(title=f"{k} steps", aspect="equal")
    x = langevin_step(ring, x, 0.01, torch.randn(x.shape, generator=noise))
left = float((x[:, 0] < 0).double().mean())
show()
say(
    f"Three hundred chains, η = 0.01. After 1,000 steps {left:.0%} of them are "
    "on the left half of the ring; half of them should be. They had to diffuse "
    "round, and diffusing twice as far takes four times as long."
)

# %% [markdown]
# ### How wrong is ULA? (S3)
#
# On a Gaussian we can say exactly. Along a direction of precision $\lambda$ (variance $1/\lambda$) the energy is
# $\tfrac12\lambda x^2$ and a step reads $x' = (1-\eta\lambda)\,x + \sqrt{2\eta}\,\xi$. In the long run the variance
# $v$ must reproduce itself, $v = (1-\eta\lambda)^2 v + 2\eta$, hence
#
# ```{math}
# :label: eq-s-ula-variance
# v = \frac{1}{\lambda}\cdot\frac{1}{1 - \eta\lambda/2} .
# ```
#
# The walk is too wide, by a factor that tends to 1 as the step shrinks and becomes infinite at $\eta = 2/\lambda$. **Is it
# so?** We measure on a Gaussian with one steep direction ($\lambda = 1$) and one flat ($\lambda = 1/4$).

# %%
stretched = Gaussian(((1.0, 0.0), (0.0, 4.0)))
precision = torch.tensor([1.0, 0.25])
step_sizes = [0.2, 0.5, 0.8, 1.1, 1.4, 1.7, 1.9]


def variance_ratio(path):
    """Measured over exact variance (2,), and its standard error."""
    a_chain = path[len(path) // 2 :].square().mean(0) * precision  # (B, 2)
    return a_chain.mean(0), a_chain.std(0) / len(a_chain) ** 0.5


def measure(kernel, number):
    x0 = torch.zeros(settings.n_chains, 2)
    chain = sample(
        stretched,
        x0,
        kernel,
        settings.n_steps,
        keep_every=5,
        generator=stream(number),
    )
    return variance_ratio(chain.path)


ula = [measure(Langevin(eta), 10 + i) for i, eta in enumerate(step_sizes)]

# %% tags=["hide-input"]
fine = torch.linspace(0.01, 1.94, 200)
names = ("steep direction, λ = 1", "flat direction, λ = ¼")


def points(ax, measured, j, **style):
    """Measured variance ratios of direction j, with two standard errors."""
    ax.errorbar(
        step_sizes,
        [float(mean[j]) for mean, _ in measured],
        [2 * float(error[j]) for _, error in measured],
        fmt="o",
        ms=4,
        **style,
    )


fig, ax = plt.subplots(figsize=(7, 3.2))
for j, name in enumerate(names):
    ax.plot(fine, 1 / (1 - fine * precision[j] / 2), color=COLOURS[j])
    points(ax, ula, j, color=COLOURS[j], label=name)
ax.axhline(1, color="black", lw=0.8)
ax.set(
    yscale="log",
    yticks=[1, 2, 5, 10, 20],
    yticklabels=["1", "2", "5", "10", "20"],
    xlabel="step size η",
    ylabel="variance ÷ exact variance",
    title="ULA on a Gaussian: formula (lines) and measurement (dots)",
)
ax.legend()
formula = torch.stack([1 / (1 - eta * precision / 2) for eta in step_sizes])
found = torch.stack([mean for mean, _ in ula])
errors = torch.stack([error for _, error in ula])
worst = float(((found - formula) / errors).abs().max())
at_half = step_sizes.index(0.5)
record("ula_variance_at_half", float(found[at_half, 0]))
record("ula_worst_deviation", worst)
show()
say(
    f"At η = 0.5 the steep variance is {found[at_half, 0]:.3f} times the exact "
    f"one; the formula says {formula[at_half, 0]:.3f}. Over all steps the "
    f"largest deviation from the formula is {worst:.1f} standard errors. More "
    "steps do not help: the chain has converged, to the wrong density."
)

# %% [markdown]
# ### A step for a wanted bias (S3)
#
# Turn the question round: **how large may the step be, if a little bias is allowed?** The exact variance is $1/\lambda$. Call
#
# ```{math}
# :label: eq-s-bias
# \delta = \frac{v - 1/\lambda}{1/\lambda} = \lambda v - 1
# ```
#
# the *relative bias* of the variance $v$ of {eq}`eq-s-ula-variance`: 0.05 says that the walk's variance is 5 % too large. Any
# Gaussian in $D$ dimensions falls apart into $D$ directions, the eigenvectors of its precision matrix (the inverse of the covariance),
# and ULA walks along each of them as if there were no others. Each has a precision $\lambda_i$ of its own. But there is one $\eta$ for all.

# %% [markdown]
# ```{exercise-start} The largest step for a wanted bias
# :label: ex-s-bias
# ```
# *Goal: choose a step size from what it will do, before running anything. About 10 minutes, 2 points.*
#
# Return the largest $\eta$ with which no direction has a relative bias {eq}`eq-s-bias` above `bias`. It is one number. The answer is
# exact, not only for small steps.


# %% tags=["exercise"]
def step_for_bias(precisions, bias):
    """Precisions λ (D,) and the bias allowed, such as 0.05 -> the largest η."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-s-bias
# :class: dropdown
# ```
# $\lambda v = 1/(1-\eta\lambda/2) \le 1+\delta$ holds as long as $\eta\lambda/2 \le \delta/(1+\delta)$. The bias grows with $\lambda$, so that the
# steepest direction is the first to break the promise, and decides.


# %% tags=["solution"]
def step_for_bias(precisions, bias):
    """Precisions λ (D,) and the bias allowed, such as 0.05 -> the largest η."""
    return 2 * bias / ((1 + bias) * precisions.max())


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.step_for_bias(step_for_bias)

# %% [markdown]
# **Does it keep its promise?** Your step on the correlated Gaussian, for a bias of 5 %, and four times that step. The chains start
# from exact draws, and we measure along the eigenvectors.

# %%
correlated = targets["Gaussian"]
precisions, directions = torch.linalg.eigh(correlated.precision)
promised = float(step_for_bias(precisions, 0.05))
rows, kept_promise = [], {}
for i, factor in enumerate((1, 4)):
    eta = factor * promised
    path = sample(
        correlated,
        correlated.sample(settings.n_chains, stream(24 + i)).float(),
        Langevin(eta),
        4 * settings.n_steps,
        keep_every=10,
        generator=stream(26 + i),
    ).path
    along = path[len(path) // 2 :].double() @ directions
    a_chain = along.square().mean(0) * precisions  # (B, 2)
    error = 2 * a_chain.std(0) / len(a_chain) ** 0.5
    for j in (1, 0):
        rows.append(
            {
                "step size η": f"{eta:.4f}",
                "direction": f"{('flat', 'steep')[j]}, λ = {precisions[j]:.2f}",
                "bias predicted": f"{1 / (1 - eta * precisions[j] / 2) - 1:.1%}",
                "bias measured": f"{a_chain[:, j].mean() - 1:.1%} ± {error[j]:.1%}",
                "steps to forget, 1/(ηλ)": f"{1 / (eta * precisions[j]):.0f}",
            }
        )
    kept_promise[factor] = float(a_chain[:, 1].mean() - 1)
table(
    rows,
    f"Your η for 5 %, and 4 η: {settings.n_chains:,} chains of "
    f"{4 * settings.n_steps:,} steps; ± is two standard errors",
)
record("bias_at_promised_step", kept_promise[1])
record("bias_at_four_times", kept_promise[4])

# %% [markdown]
# By the formula, four times the step has *more* than four times the bias. And the last column shows who pays. The steep
# direction sets the step, and the flat one needs all the more steps to forget where it was. The ratio of the two precisions is called the
# *condition number*. For an image energy it can be enormous, and nobody knows its eigenvectors.

# %% [markdown]
# ### The step too large (S3)
#
# **What happens beyond $\eta = 2/\lambda$?** Each step overshoots the valley by more than it was off. `sample` looks at the
# energies after every step, and stops as soon as one is no longer a number.

# %%
try:
    sample(
        stretched,
        torch.ones(500, 2),
        Langevin(2.5),
        1000,
        generator=stream(30),
    )
except ChainDiverged as error:
    say(f"> {error}")

# %% [markdown]
# That is the friendly kind of failure: on average every chain grows by half in every step, and soon the numbers overflow. The double well has a worse one. Its walls grow like
# $x^4$, so the slope grows like $x^3$, and *every* step size is too large somewhere. For small steps
# that place is so improbable that no chain ever gets there. **Where is the border?** The *place of no return* in the table is
# where a step without noise first leads further out than it started.

# %% tags=["hide-input"]
well = targets["double well"]
rows = []
for i, eta in enumerate((0.05, 0.07, 0.09, 0.11, 0.15)):
    n_steps = 5 * settings.n_steps
    x0 = well.sample(200, stream(31)).float()
    try:
        sample(well, x0, Langevin(eta), n_steps, generator=stream(40 + i))
        outcome = f"fine, for all of {n_steps:,} steps"
    except ChainDiverged as error:
        outcome = "diverged " + str(error).split("energy ")[1].split(" of ")[0]
    # Beyond this place a step leads further out than it started.
    edge = well.distance * math.sqrt(1 + well.distance**2 / (2 * eta * well.barrier))
    energy_there = float(well(torch.tensor([[edge, 0.0]])))
    rows.append(
        {
            "step size η": eta,
            "place of no return": f"{edge:.2f}",
            "energy there (nats)": f"{energy_there:.1f}",
            "200 chains": outcome,
        }
    )
table(rows, "ULA on the double well, from exact samples of it")
record("double_well_divergence", rows)

# %% [markdown]
# By the third column, almost none of these chains should ever get there: a place is visited about as often as
# $e^{-\text{energy}}$. But that holds for the *right* density. A large step widens the density, as
# {eq}`eq-s-ula-variance` says, and from a little inside the border one overshoots to the other side of it. So the end comes
# sooner than the energies promise, and until then a chain looks healthy. The bounds on gradient and state in Part B are there
# for this.

# %% [markdown]
# ### Noise with a life of its own: temperature (S3)
#
# Published image samplers choose the noise $\sigma$ and the step $\eta$ separately. Write
# $\eta\nabla E = (\eta T)\,\nabla(E/T)$. A step of size $\eta T$ on the energy $E/T$ needs noise of variance $2\eta T$, so
#
# ```{math}
# :label: eq-s-temperature
# x' = x - \eta\,\nabla E(x) + \sigma\,\xi \quad\longrightarrow\quad p_T(x) \propto e^{-E(x)/T},
# \qquad T = \frac{\sigma^2}{2\eta} ,
# ```
#
# where the arrow means: in the long run, for small steps. Read backwards, it says which noise a wanted temperature needs:
# $\sigma = \sqrt{2\eta T}$.
#
# **Do the chains follow $e^{-E/T}$?** The double well at three {term}`temperatures <temperature>`, half of the chains
# started in each well, $\eta = 0.02$. The black line is the exact density of $E/T$.

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(9, 2.8), sharex=True)
u = torch.linspace(-4, 4, 801, dtype=torch.float64)
along = torch.stack((u, torch.zeros_like(u)), dim=1)
rows = []
for i, (ax, T) in enumerate(zip(axes, (0.25, 1.0, 4.0), strict=True)):
    sides = torch.tensor([[well.distance, 0.0], [-well.distance, 0.0]])
    x0 = sides.repeat(settings.n_chains // 2, 1)
    sigma = math.sqrt(2 * 0.02 * T)
    kernel = Langevin(0.02, sigma)
    path = sample(
        well,
        x0,
        kernel,
        2 * settings.n_steps,
        keep_every=10,
        generator=stream(50 + i),
    ).path
    kept = path[len(path) // 2 :]
    exact = torch.softmax(-well(along) / T, 0) / (u[1] - u[0])
    ax.hist(
        kept[..., 0].flatten().numpy(),
        80,
        density=True,
        color=colour["Langevin"],
        alpha=0.5,
    )
    ax.plot(u, exact, color="black", lw=1)
    ax.set(title=f"T = {T:g}", xlabel="first coordinate", yticks=[])
    on_top = (kept[..., 0].abs() < 0.5).double().mean()
    exact_top = exact[u.abs() < 0.5].sum() * (u[1] - u[0])
    rows.append(
        {
            "temperature T": T,
            "noise σ": f"{sigma:.3f}",
            "variance across, measured": f"{kept[..., 1].var():.3f}",
            "variance across, exact": f"{T * well.width**2:.3f}",
            "on the pass, measured": f"{on_top:.2%}",
            "on the pass, exact": f"{exact_top:.2%}",
        }
    )
show()
table(rows, "The double well at three temperatures")
record("temperatures", rows)

# %% [markdown]
# Hot chains cross the pass freely, cold ones almost never. (At $T = 1$ and $T = 4$ the chains are on the pass about a tenth too
# often. That is ULA's bias: the wells are steep along this coordinate, $\lambda = 10.7$, so $\eta\lambda/2 = 0.11$.) At $T = 0.25$ the right half and the left half of the picture
# agree only because *we* put half of the chains on each side. Nobody can do that for images. And the image samplers of Part B,
# $\eta = 10$ and $\sigma = 0.005$, run at $T \approx 10^{-6}$.
#
# ## MALA: an acceptance test (S2)
#
# Keep the Langevin step, but call it a *proposal* $x'$, and accept it with a probability that makes the result exact.
#
# **Derivation.** Let $q(x'\mid x)$ be the density of the proposal, $a(x \to x')$ the probability of accepting it. If
# the flow from $x$ to $x'$ equals the flow back,
#
# ```{math}
# :label: eq-s-balance
# p(x)\,q(x'\mid x)\,a(x\to x') = p(x')\,q(x\mid x')\,a(x'\to x) \quad\text{for all } x, x',
# ```
#
# then walkers distributed as $p$ stay so. This is *{term}`detailed balance`*. Call the ratio of the two sides without the $a$'s
#
# ```{math}
# :label: eq-s-ratio
# r(x\to x') = \frac{p(x')\,q(x\mid x')}{p(x)\,q(x'\mid x)}, \qquad\text{and choose}\quad a(x\to x') = \min\{1, r(x\to x')\} .
# ```
#
# Since $r(x'\to x) = 1/r(x\to x')$, one of the two $a$'s is always 1, and {eq}`eq-s-balance` holds. $Z$ cancels in $r$. The Langevin
# proposal is a normal distribution around $x - \eta\nabla E(x)$ with variance $2\eta$, so
#
# ```{math}
# :label: eq-s-mala
# \log q(a \mid b) &= -\frac{\lVert a - b + \eta\,\nabla E(b)\rVert^2}{4\eta} + \text{const}, \\
# \log r(x \to x') &= E(x) - E(x') + \log q(x\mid x') - \log q(x'\mid x) .
# ```
#
# ```{prf:algorithm} MALA
# :label: alg-s-mala
# **Inputs** energy $E$; start $x_0$; step $\eta$; number of steps $K$
#
# **Output** a state $x_K$; the density of $x_k$ tends to $p$, for any $\eta$
#
# 1. for $k = 0, \dots, K-1$:
#    1. propose $x' \leftarrow x_k - \eta\,\nabla E(x_k) + \sqrt{2\eta}\,\xi$ with $\xi \sim \mathcal N(0, I)$
#    2. compute $\log r$ from {eq}`eq-s-mala`, with the gradients at **both** ends
#    3. draw $u \sim \mathcal U(0, 1)$; if $\log u < \log r$ then $x_{k+1} \leftarrow x'$, else $x_{k+1} \leftarrow x_k$
# 2. return $x_K$; a repeated state counts as often as it is repeated
# ```

# %% [markdown]
# ```{exercise-start} The Metropolis–Hastings ratio of MALA
# :label: ex-s-ratio
# ```
# *Goal: write the test that makes a sampler exact. About 15 minutes, 2 points.*
#
# Return $\log r$ of {eq}`eq-s-mala`, one number a chain. Use `gradient(energy, x)`. Leave the arguments as they were.


# %% tags=["exercise"]
def mala_log_ratio(energy, x, proposal, step_size):
    """States and proposals (B, D) -> log r (B,), before any cut at zero."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-s-ratio
# :class: dropdown
# ```
# The constants of the two normal densities are equal and cancel. The way back starts at the proposal, so its drift is the
# gradient *there*. The sum runs over the coordinates of one chain, never over chains.


# %% tags=["solution"]
def mala_log_ratio(energy, x, proposal, step_size):
    """States and proposals (B, D) -> log r (B,), before any cut at zero."""

    def log_q(a, b):  # of reaching a from b
        away = a - b + step_size * gradient(energy, b)
        return -away.square().flatten(1).sum(1) / (4 * step_size)

    there, back = log_q(proposal, x), log_q(x, proposal)
    return energy(x) - energy(proposal) + back - there


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.mala_log_ratio(mala_log_ratio)

# %% [markdown]
# ### What if the way back is forgotten? (S3)
#
# It is tempting to accept by the energies alone, $\log r = E(x) - E(x')$, as for a symmetric proposal. The chain looks healthy: it moves, it
# accepts, it settles. **Where does it settle?** For a Gaussian we can again calculate. The proposals alone leave ULA's density invariant,
# variance $\frac{1}{\lambda(1-\eta\lambda/2)}$, and are in detailed balance with it. The test multiplies that density by $p$. A product of
# Gaussians adds precisions:
#
# ```{math}
# :label: eq-s-forgotten
# v = \frac1\lambda \cdot \frac{1}{2 - \eta\lambda/2} \;\longrightarrow\; \frac{1}{2\lambda} \quad\text{for small steps.}
# ```
#
# Small steps, usually the cure for everything, make the chain sample $p^2$: temperature ½. Here are your ratio and the
# forgetful one in the same loop, and the package's `MALA` beside them.


# %%
def metropolis(energy, x, step_size, n_steps, log_ratio, number, after=None):
    """MALA with any log ratio; `after` may do something to the new state."""
    noise, path = stream(number), []
    for _ in range(n_steps):
        xi = torch.randn(x.shape, generator=noise)
        proposal = langevin_step(energy, x, step_size, xi)
        log_r = log_ratio(energy, x, proposal, step_size)
        accept = torch.rand(len(x), generator=noise).log() < log_r
        x = torch.where(accept[:, None], proposal, x)
        x = x if after is None else after(x)
        path.append(x)
    return torch.stack(path)


def forgetful(energy, x, proposal, step_size):
    return energy(x) - energy(proposal)


x0 = torch.zeros(settings.n_chains, 2)
n_steps = settings.n_steps
exact_test, by_hand, forgot = [], [], []
for i, eta in enumerate(step_sizes):
    exact_test.append(measure(MALA(eta), 60 + i))
    path = metropolis(stretched, x0, eta, n_steps, mala_log_ratio, 70 + i)
    by_hand.append(variance_ratio(path[::5]))
    path = metropolis(stretched, x0, eta, n_steps, forgetful, 80 + i)
    forgot.append(variance_ratio(path[::5]))

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.3), sharey=True)
for j, ax in enumerate(axes):
    ax.plot(fine, 1 / (1 - fine * precision[j] / 2), color=COLOURS[0])
    ax.plot(fine, 1 / (2 - fine * precision[j] / 2), color=COLOURS[3])
    ax.axhline(1, color=COLOURS[1])
    points(ax, ula, j, color=COLOURS[0], label="ULA")
    points(ax, exact_test, j, color=COLOURS[1], label="MALA")
    points(ax, by_hand, j, color="black", mfc="none", label="MALA, your ratio")
    points(ax, forgot, j, color=COLOURS[3], label="way back forgotten")
    ax.set(title=names[j], xlabel="step size η", yscale="log", ylim=(0.4, 25))
axes[0].set(
    ylabel="variance ÷ exact variance",
    yticks=[0.5, 1, 2, 5, 10, 20],
    yticklabels=["½", "1", "2", "5", "10", "20"],
)
axes[0].legend(fontsize=9)
fig.suptitle("Formulas (lines) and measurements (dots, two standard errors)")
found_mala = torch.stack([mean for mean, _ in exact_test])
found_forgot = torch.stack([mean for mean, _ in forgot])
record("mala_variance_at_half", float(found_mala[at_half, 0]))
record("forgetful_variance_at_half", float(found_forgot[at_half, 0]))
record("mala_largest_error", float((found_mala - 1).abs().max()))
show()
say(
    f"At η = 0.5, steep direction: ULA {found[at_half, 0]:.3f}, "
    f"MALA {found_mala[at_half, 0]:.3f}, way back forgotten "
    f"{found_forgot[at_half, 0]:.3f} (formula "
    f"{1 / (2 - 0.25):.3f}). MALA's largest error over all steps is "
    f"{(found_mala - 1).abs().max():.1%}. The forgetful chain is worse than no "
    "test at all, and nothing about it looks wrong from the inside."
)

# %% [markdown]
# ### A chain that looks healthy (S3)
#
# A sampler keeps the energy and the gradient of its state from one step to the next, so that a step costs one gradient and not two.
# Here is {term}`MALA`, {prf:ref}`alg-s-mala`, written that way, with the random numbers as arguments. It runs, it accepts about as
# often as it should, its ratio is the right one. **It has one bug.**


# %%
def suspect_mala(energy, x, step_size, xi, u):
    """x (B, D), noise (K, B, D), uniforms (K, B) -> the path (K, B, D)."""
    height, slope = energy_and_grad(energy, x)  # of the state: (B,), (B, D)
    path = []
    for k in range(len(xi)):
        proposal = x - step_size * slope + (2 * step_size) ** 0.5 * xi[k]
        new_height, new_slope = energy_and_grad(energy, proposal)
        there = (proposal - x + step_size * slope).square().sum(1)
        back = (x - proposal + step_size * new_slope).square().sum(1)
        log_r = height - new_height + (there - back) / (4 * step_size)
        accept = u[k].log() < log_r
        x = torch.where(accept[:, None], proposal, x)
        slope = torch.where(accept[:, None], new_slope, slope)
        height = new_height
        path.append(x)
    return torch.stack(path)


# %% [markdown]
# ```{exercise-start} Find the bug
# :label: ex-s-bug
# ```
# *Goal: find the fault in a sampler that runs, accepts, and is wrong. About 15 minutes, 2 points.*
#
# Hand in the mended function. It gets the same arguments and returns the same kind of path: the state after each of the $K$ steps. `energy_and_grad(energy, x)` gives
# $E$ and $\nabla E$ at every row of `x`, without a graph. Leave the arguments as they were.


# %% tags=["exercise"]
def mended_mala(energy, x, step_size, xi, u):
    """x (B, D), noise (K, B, D), uniforms (K, B) -> the path (K, B, D)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-s-bug
# :class: dropdown
# ```
# After a refusal the chain stays where it was, but `height` is the energy of the proposal that was refused. That is mostly a high one, so in
# the next test the chain believes to stand high up, and nearly every proposal looks like a way down. The energy must be chosen like the
# state and the slope.


# %% tags=["solution"]
def mended_mala(energy, x, step_size, xi, u):
    """x (B, D), noise (K, B, D), uniforms (K, B) -> the path (K, B, D)."""
    height, slope = energy_and_grad(energy, x)  # of the state: (B,), (B, D)
    path = []
    for k in range(len(xi)):
        proposal = x - step_size * slope + (2 * step_size) ** 0.5 * xi[k]
        new_height, new_slope = energy_and_grad(energy, proposal)
        there = (proposal - x + step_size * slope).square().sum(1)
        back = (x - proposal + step_size * new_slope).square().sum(1)
        log_r = height - new_height + (there - back) / (4 * step_size)
        accept = u[k].log() < log_r
        x = torch.where(accept[:, None], proposal, x)
        slope = torch.where(accept[:, None], new_slope, slope)
        height = torch.where(accept, new_height, height)
        path.append(x)
    return torch.stack(path)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.mended_mala(mended_mala)

# %% [markdown]
# **What did the bug do?** Two wells of different depth: the double well, with a lower pass, and tilted. Half of the chains start in each well. Which share ends
# in the higher one? Both functions get the same noise.

# %%
shallow = DoubleWell(barrier=2.0)


def tilted(x):
    """The double well, half a nat higher for each unit to the right."""
    return shallow(x) + 0.5 * x[:, 0]


noise = stream(92)
shape = 2 * settings.n_steps, settings.n_chains
xi = torch.randn((*shape, 2), generator=noise)
u = torch.rand(shape, generator=noise)
sides = torch.tensor([[shallow.distance, 0.0], [-shallow.distance, 0.0]])
x0 = sides.repeat(settings.n_chains // 2, 1)
line = torch.linspace(-5, 5, 4001, dtype=torch.float64)
exact = torch.softmax(-tilted(torch.stack((line, 0 * line), 1)), 0)
right_share = float(exact[line > 0].sum())

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 2.9), sharey=True)
rows = []
for ax, (name, chain) in zip(
    axes, {"as given": suspect_mala, "mended": mended_mala}.items(), strict=True
):
    path = chain(tilted, x0, 0.3, xi, u)
    moved = (path[1:] != path[:-1]).any(2).double().mean()
    kept = path[settings.n_steps :, :, 0]
    share = (kept > 0).double().mean(0)  # of each chain
    rows.append(
        {
            "chain": name,
            "in the higher well": f"{share.mean():.1%} ± "
            f"{2 * share.std() / len(share) ** 0.5:.1%}",
            "accepted": f"{moved:.0%}",
        }
    )
    record(f"higher_well_{name.replace(' ', '_')}", float(share.mean()))
    ax.hist(
        kept.flatten().numpy(),
        80,
        density=True,
        color=colour["MALA"],
        alpha=0.5,
    )
    ax.plot(line, exact / (line[1] - line[0]), color="black", lw=1)
    ax.set(
        title=f"{name}: {share.mean():.0%} in the higher well",
        xlabel="first coordinate",
        xlim=(-4, 4),
        yticks=[],
    )
record("higher_well_exact", right_share)
rows.append({"chain": "exact", "in the higher well": f"{right_share:.1%}"})
show()
table(rows, "Two wells of different depth, η = 0.3; ± is two standard errors")

# %% [markdown]
# Black is the exact density. The two acceptances do not give the bug away, and the mean over both wells would look plausible, too. Only the known
# density does: the given chains visit places where nobody should be, and their weights are wrong. **Test a sampler on a density whose
# weights you know**, and on one where something is at stake: on a symmetric double well both functions would have given one half.

# %% [markdown]
# ### Keeping the state in a box (S3)
#
# Pictures live in $[-1, 1]^D$. The original Bitmoji assignment accepts or rejects a proposal and *then* clamps the state into the box.
# The other way is to treat the outside as impossible: $p = 0$ there, so a proposal that leaves is rejected and the chain stays.
# That is what `MALA(bounds=...)` does. **Does the order matter?** The stretched Gaussian, cut to $[-1, 1]^2$, $\eta = 0.2$:

# %% tags=["hide-input"]
x0 = torch.zeros(settings.n_chains, 2)
clamped = metropolis(
    stretched,
    x0,
    0.2,
    n_steps,
    mala_log_ratio,
    90,
    after=lambda x: x.clamp(-1, 1),
)
rejected = sample(
    stretched,
    x0,
    MALA(0.2, bounds=(-1.0, 1.0)),
    n_steps,
    keep_every=1,
    generator=stream(91),
).path
u = torch.linspace(-1, 1, 401, dtype=torch.float64)
exact = torch.exp(-0.5 * u**2)
exact = exact / torch.trapezoid(exact, u)
edges = np.linspace(-1, 1, 41)
fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
walls = {}
for ax, (name, path) in zip(
    axes,
    {"clamped after the test": clamped, "rejected outside": rejected}.items(),
    strict=True,
):
    kept = path[n_steps // 2 :, :, 0].flatten()
    walls[name] = float((kept.abs() >= 0.999).double().mean())
    ax.hist(kept.numpy(), edges, density=True, color=colour["MALA"], alpha=0.5)
    ax.plot(u, exact, color="black", lw=1)
    ax.set(
        title=f"{name}: {walls[name]:.1%} at the walls",
        xlabel="first coordinate",
        xticks=[-1, -0.5, 0, 0.5, 1],
    )
walls["exact"] = float(2 * 0.001 * exact[-1])
record("wall_mass", walls)
show()
say(
    f"Within a thousandth of a wall lie {walls['exact']:.2%} of the exact "
    f"density, {walls['rejected outside']:.2%} of the chain that rejects, and "
    f"{walls['clamped after the test']:.0%} of the chain that clamps. That is "
    "one coordinate of two. In a picture of 784 pixels nearly every "
    "state would have many pixels exactly at black or white."
)

# %% [markdown]
# Is that a fault? For pictures it may even be convenient, since real pixels pile up at black and white. But then
# the walls' mass comes from the step size and not from the energy, and nothing was learned.
#
# ## Hamiltonian Monte Carlo (S2)
#
# A random walk forgets at every step where it was going. Give each walker a *momentum*, called $p$ as in physics
# (and not to be confused with the density $p(x)$), and let it roll, without friction, for a while. The total energy
#
# ```{math}
# :label: eq-s-hamiltonian
# H(x, p) = E(x) + \tfrac12 \lVert p\rVert^2, \qquad \dot x = p, \quad \dot p = -\nabla E(x)
# ```
#
# does not change along the way. So if $(x, p)$ is a draw from $e^{-H}$, so is the end of the roll. Draw a new momentum $p \sim \mathcal N(0, I)$, roll, forget the
# momentum, repeat {cite}`neal2011hmc`.
#
# A computer rolls in steps $\varepsilon$. The **{term}`leapfrog`** lets position and momentum take turns: half a kick,
# then whole moves and whole kicks, and half a kick at the end.
#
# ```{prf:algorithm} HMC with the leapfrog
# :label: alg-s-hmc
# **Inputs** energy $E$; state $x$; step $\varepsilon$; number of leapfrog steps $L$
#
# **Output** the next state
#
# 1. $p \sim \mathcal N(0, I)$; $(x', p') \leftarrow (x, p)$; $p' \leftarrow p' - \tfrac{\varepsilon}{2}\nabla E(x')$
# 2. for $l = 1, \dots, L$:
#    1. $x' \leftarrow x' + \varepsilon\, p'$
#    2. $p' \leftarrow p' - \varepsilon\,\nabla E(x')$, but half as much when $l = L$
# 3. $\Delta H \leftarrow H(x', p') - H(x, p)$; with probability $\min\{1, e^{-\Delta H}\}$ return $x'$, else $x$
# ```
#
# The leapfrog is reversible (turn $p$ round and it leads back) and keeps volume, so no proposal densities appear in the test. With $L = 1$ it
# *is* MALA, with $\eta = \varepsilon^2/2$.

# %% [markdown]
# ```{exercise-start} One leapfrog trajectory
# :label: ex-s-leapfrog
# ```
# *Goal: roll a state along its energy with the leapfrog. About 15 minutes, 2 points.*
#
# Write the leapfrog part of {prf:ref}`alg-s-hmc`: return $(x', p')$ after `n_steps` steps. `gradient(energy, x)` is there for
# you. Do not turn the momentum round at the end, and leave the arguments as they were.


# %% tags=["exercise"]
def leapfrog(energy, x, momentum, step_size, n_steps):
    """States and momenta (B, D) -> (x, momentum) at the trajectory's end."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-s-leapfrog
# :class: dropdown
# ```
# Two half kicks meet between steps and make a whole one. It costs `n_steps` gradients, plus the one at the start, which a sampler keeps from
# the step before.


# %% tags=["solution"]
def leapfrog(energy, x, momentum, step_size, n_steps):
    """States and momenta (B, D) -> (x, momentum) at the trajectory's end."""
    momentum = momentum - 0.5 * step_size * gradient(energy, x)
    for i in range(n_steps):
        x = x + step_size * momentum
        kick = step_size if i + 1 < n_steps else 0.5 * step_size
        momentum = momentum - kick * gradient(energy, x)
    return x, momentum


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.leapfrog(leapfrog)

# %% [markdown]
# **How large is the energy error?** We let exact samples of the banana roll for a time of 1, in more and more, smaller
# and smaller steps. The leapfrog is a second-order method: halve $\varepsilon$, and $\Delta H$ should fall to a quarter.

# %% tags=["hide-input"]
start = banana.sample(4 * settings.n_chains, stream(100))  # float64
momentum = torch.randn(start.shape, generator=stream(101), dtype=start.dtype)


def hamiltonian(x, p):
    return banana(x) + 0.5 * p.square().sum(1)


counts = (4, 6, 8, 12, 16, 24, 32, 48, 64)
typical, exp_mean, exp_error = [], [], []
for n in counts:
    end = leapfrog(banana, start, momentum, 1 / n, n)
    delta = hamiltonian(*end) - hamiltonian(start, momentum)
    typical.append(float(delta.abs().median()))
    weight = torch.exp(-delta)
    exp_mean.append(float(weight.mean()))
    exp_error.append(float(weight.std() / len(weight) ** 0.5))
eps = np.array([1 / n for n in counts])
slope = float(np.polyfit(np.log(eps[-6:]), np.log(typical[-6:]), 1)[0])
fig, axes = plt.subplots(1, 2, figsize=(9, 3))
axes[0].loglog(eps, typical, "o", color=colour["HMC"], label="median |ΔH|")
axes[0].loglog(
    eps, typical[-1] * (eps / eps[-1]) ** 2, color="black", lw=1, label="∝ ε²"
)
axes[0].set(xlabel="leapfrog step ε", ylabel="nats", title="Energy error")
axes[0].legend()
for ax in axes:
    ax.set_xscale("log")
    ax.set_xticks([1 / 64, 1 / 16, 1 / 4], ["1/64", "1/16", "1/4"])
    ax.minorticks_off()
axes[1].errorbar(
    eps, exp_mean, 2 * np.array(exp_error), fmt="o", ms=4, color=colour["HMC"]
)
axes[1].axhline(1, color="black", lw=1)
axes[1].set(
    xlabel="leapfrog step ε",
    title="Mean of exp(−ΔH): exactly 1 at any ε",
    ylim=(0.8, 1.2),
)
record("leapfrog_order", slope)
record("exp_delta_h", exp_mean[4])
show()
say(
    f"The measured order is {slope:.2f}. The mean of exp(−ΔH) over exact "
    f"starts is {exp_mean[4]:.4f} ± {2 * exp_error[4]:.4f} at ε = 1/16. It "
    "equals 1 for *every* ε, because the map keeps volume: a quick test that "
    "finds most bugs in a leapfrog, but says nothing about efficiency. (At the "
    "largest ε the mean is carried by rare, large terms. Then even the error "
    "bar cannot be trusted.)"
)

# %% [markdown]
# ### The trajectory that goes nowhere (S3)
#
# On a Gaussian of variance 1 the roll is an oscillation with period $2\pi$. **What if the trajectory lasts $\pi$?** After half a period
# every oscillator is at the mirror image of its start, $x \to -x$, *whatever its momentum was*. The randomness has no effect at all.
# We take a Gaussian with standard deviations 1 and 0.3, and a trajectory of 20 steps of $\pi/20$.

# %%
uneven = Gaussian(((1.0, 0.0), (0.0, 0.09)))
resonant = HMC(math.pi / 20, 20)
jittered = HMC(math.pi / 20, 20, jitter=0.5)
x0 = uneven.sample(64, stream(110)).float()
paths = {
    name: sample(
        uneven,
        x0,
        kernel,
        settings.scan_draws,
        keep_every=1,
        generator=stream(111),
    ).path
    for name, kernel in {
        "length π": resonant,
        "length π, jittered": jittered,
    }.items()
}

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(10, 3))
rows = []
for i, (name, path) in enumerate(paths.items()):
    axes[0].plot(path[:40, 0, 0], "o-", ms=3, lw=0.8, label=name)
    for j, values in enumerate((path[..., 0], path[..., 0].square())):
        rho = autocorrelation(values[..., None], 20)[:, 0]
        axes[1 + j].plot(rho, "o-", ms=3, lw=0.8, color=COLOURS[i])
    n = path.shape[0] * path.shape[1]
    rows.append(
        {
            "trajectory": name,
            "draws": f"{n:,}",
            "worth, for the mean": f"{ess(path, method='mean')[0]:,.0f}",
            "worth, for the spread": f"{ess(path, method='sd')[0]:,.0f}",
        }
    )
    record(
        f"ess_sd_{'jittered' if i else 'resonant'}",
        ess(path, method="sd")[0] / n,
    )
axes[0].set(title="one chain, wide direction", xlabel="step", ylim=(-3, 3))
axes[1].set(title="autocorrelation of x", xlabel="lag")
axes[2].set(title="autocorrelation of x²", xlabel="lag", ylim=(-0.1, 1.05))
axes[0].legend(fontsize=8, loc="upper right")
show()
table(rows, "How many independent draws the chains are worth (wide direction)")

# %% [markdown]
# The chain flips its sign for ever. Look at what the diagnostics make of it. The *mean* is estimated superbly, better than by
# independent draws, because every $x$ is followed by $-x$. The *spread* is not estimated at all: every chain keeps the $|x|$ it
# started with. (The estimate for the mean is capped at $N \log_{10} N$; both chains touch the cap.) **One number is not a diagnosis; ask for the quantity you need.**
#
# The cure is to make the length random: `jitter=0.5` shortens each trajectory by a random share of up to a half. Here is the
# worst of the two numbers, per gradient call, for many lengths:

# %% tags=["hide-input"]
lengths = settings.lengths
worth = {0.0: [], 0.5: []}
for jitter, values in worth.items():
    for n in lengths:
        path = sample(
            uneven,
            x0,
            HMC(math.pi / 20, n, jitter=jitter),
            min(settings.scan_draws // 2, 250),
            keep_every=1,
            generator=stream(120 + n),
        ).path
        both = [float(ess(path, method=m).min()) for m in ("mean", "sd")]
        values.append(1000 * min(both) / (path[..., 0].numel() * n))
fig, ax = plt.subplots(figsize=(7, 3))
times = [n * math.pi / 20 for n in lengths]
ax.plot(times, worth[0.0], "o-", ms=4, label="fixed length")
ax.plot(times, worth[0.5], "s-", ms=4, label="jittered")
for k in (1, 2):
    ax.axvline(k * math.pi, color="black", lw=0.8, ls=":")
ax.set(
    xticks=[0, math.pi / 2, math.pi, 1.5 * math.pi, 2 * math.pi],
    xticklabels=["0", "π/2", "π", "3π/2", "2π"],
    xlabel="length of the trajectory",
    ylabel="effective draws per 1,000 gradients",
    title="HMC on a Gaussian: the price of half a period",
)
ax.legend()
at_pi = lengths.index(20)
show()
say(
    f"At length π the fixed trajectory yields {worth[0.0][at_pi]:.2f} "
    f"effective draws per 1,000 gradients, the jittered one "
    f"{worth[0.5][at_pi]:.1f}. At 2π, where the scan goes so far, the wide direction "
    "is back at its start. The other dips are the narrow direction's: its half period is 0.3 π. A well-chosen fixed length can beat the jittered "
    "one, but in many dimensions there are many periods, and no length is "
    "good for all: jitter always."
)

# %% [markdown]
# ## ProximalLangevin: a bounded step (S2)
#
# An energy that is still being trained has cliffs, where a Langevin step is thrown across the box. `ProximalLangevin` bounds each element of the step
# downhill: $x' = x - \mathrm{clamp}(\eta\nabla E, \pm m) + \sigma\xi$. Nothing can blow up. **What does it sample?** If the
# energy is a sum over coordinates, the answer for small steps is neat. The bounded slope, $\mathrm{clamp}(E', \pm c)$ with
# $c = m/\eta$, is the slope of *another* energy. For $E = \tfrac12 x^2$ it is the Huber function: a parabola in the middle, straight lines outside. So
# the chain samples heavy, exponential tails in place of the Gaussian's.

# %% tags=["hide-input"]
eta, c = 0.05, 0.6
bounded = ProximalLangevin(eta, max_step=eta * c, noise=math.sqrt(2 * eta))
x0 = torch.zeros(settings.n_chains, 2)
path = sample(
    stretched,
    x0,
    bounded,
    5 * settings.n_steps,
    keep_every=20,
    generator=stream(170),
).path
kept = path[len(path) // 2 :, :, 0].flatten()
u = torch.linspace(-40, 40, 8001, dtype=torch.float64)
huber = torch.where(u.abs() < c, 0.5 * u**2, c * u.abs() - 0.5 * c**2)
p_huber = torch.softmax(-huber, 0) / (u[1] - u[0])
p_exact = torch.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)

mixture = targets["eight Gaussians"]
descent = ProximalLangevin(0.2, max_step=0.05, noise=0.0)
stopped, _ = run_chains(mixture, descent, 400, n_chains=400, seed=seed)
wild = ProximalLangevin(2.5, max_step=0.1, noise=math.sqrt(2 * 2.5))
survived = sample(stretched, x0, wild, 300, generator=stream(171))

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), gridspec_kw={"width_ratios": (1.7, 1)})
axes[0].hist(
    kept.numpy(),
    np.linspace(-8, 8, 101),
    weights=np.full(len(kept), 1 / (0.16 * len(kept))),
    color=colour["ProximalLangevin"],
    alpha=0.6,
    label="ProximalLangevin",
)
axes[0].plot(u, p_exact, color="black", lw=1, label="the density it was given")
axes[0].plot(u, p_huber, color=COLOURS[0], ls="--", label="Huber's density")
axes[0].set(
    title=f"Step bounded at {eta * c:g}",
    xlabel="steep direction",
    xlim=(-8, 8),
)
axes[0].legend(fontsize=9)
draw_states(mixture, stopped[-1], axes[1], size=14)
axes[1].set(title="No noise: 400 chains, 400 steps", aspect="equal")
spread = mixture.means[mixture.nearest(stopped[-1])].float() - stopped[-1]
spread = float(spread.square().sum(1).mean().sqrt())
huber_variance = float((p_huber * u**2).sum() * (u[1] - u[0]))
record("proximal_variance", float(kept.var()))
record("proximal_variance_huber", huber_variance)
show()
say(
    f"Left: variance {kept.var():.2f}. The density it was given has 1, "
    f"Huber's {huber_variance:.2f}. Right: without noise, as image models use "
    "it, it is descent. The chains end in the valleys' bottoms, "
    f"{spread:.3f} from the nearest centre on average; samples would be "
    f"{mixture.width * math.sqrt(2):.3f} away. At η = 2.5, where ULA "
    f"diverged, it survives, but what for: its mean energy is "
    f"{survived.energy[-1].mean():.0f}, and should be 1. A bounded step "
    "cannot make up for the noise of an unbounded one."
)

# %% [markdown]
# So it is **not a sampler of $p$**, at any step size. It is a robust way downhill, which for training an image energy may be all that
# is wanted {cite}`yang2021jempp`. Just do not report its output as samples of the model.
#
# ## No way over the mountains (S3)
#
# Eight valleys, all chains start in one. **How many valleys has a chain seen after $n$ gradient calls?** We take two versions of the landscape,
# with wide and with narrow valleys, so that the passes between neighbours differ in height. MALA's and {term}`HMC`'s step
# sizes are tuned by `warm_up`; HMC pays for all of its leapfrog steps.


# %%
def spread_start(target, n, noise):
    """Starts (n, 2) within ±2.5 deviations, led down into the valleys."""
    box = 2.5 * target.covariance.diagonal().sqrt().float()
    x0 = box * (2 * torch.rand((n, 2), generator=noise) - 1)
    gently = ProximalLangevin(0.01, max_step=0.1, noise=0.1)
    return sample(target, x0, gently, settings.warmup[0], generator=noise).x


def tuned(target, number):
    """The four kernels, and starts; MALA's and HMC's steps by dual averaging."""
    _, mala_steps, hmc_steps = settings.warmup
    noise = stream(number)
    x0 = spread_start(target, settings.table_chains, noise)
    mala, x0 = warm_up(target, x0, MALA(0.05), mala_steps, generator=noise)
    guess = HMC(0.3, 10, jitter=0.5)
    hmc, _ = warm_up(target, x0, guess, hmc_steps, generator=noise)
    eta = mala.step_size / 4
    sigma = math.sqrt(2 * eta)
    kernels = {
        "Langevin": Langevin(eta),
        "MALA": mala,
        "HMC": hmc,
        "ProximalLangevin": ProximalLangevin(eta, 0.5 * sigma, sigma),
    }
    return kernels, x0


def price(kernel):
    """Gradient calls a step."""
    return getattr(kernel, "n_leapfrog", 1)


mixtures = {"wide": mixture, "narrow": eight_gaussians(width=0.36)}
visited, ends = {}, {}
for i, (width, landscape) in enumerate(mixtures.items()):
    x0 = landscape.means[:1].float().repeat(100, 1)
    kernels, _ = tuned(landscape, 180 + i)
    for j, (name, kernel) in enumerate(kernels.items()):
        path = sample(
            landscape,
            x0,
            kernel,
            settings.mode_budget // price(kernel),
            keep_every=max(1, 10 // price(kernel)),
            generator=stream(190 + 4 * i + j),
        ).path
        which = landscape.nearest(path.reshape(-1, 2))
        inside = path.reshape(-1, 2) - landscape.means[which].to(path)
        inside = inside.square().sum(1) < (2 * landscape.width) ** 2
        seen = torch.nn.functional.one_hot(which, 8) * inside[:, None]
        seen = seen.reshape(len(path), 100, 8).cummax(0).values
        visited[width, name] = seen.sum(2).double()
        ends[width, name] = path[-1]

# %% tags=["hide-input"]
halfway = mixture.means[:2].mean(0, keepdim=True)
passes = {width: float(m(halfway) - m(m.means[:1])) for width, m in mixtures.items()}
fig, axes = plt.subplots(
    1, 3, figsize=(10, 3), gridspec_kw={"width_ratios": (1.5, 1, 1)}
)
rows = []
for name in colour:
    row = {"kernel": name}
    for width, line in (("wide", "-"), ("narrow", "--")):
        seen = visited[width, name]
        calls = torch.arange(1, len(seen) + 1)
        axes[0].plot(
            calls * settings.mode_budget / len(seen),
            seen.mean(1),
            line,
            color=colour[name],
            label=name if width == "wide" else None,
        )
        end = mixtures[width].nearest(ends[width, name])
        row[f"{width}: valleys seen"] = f"{seen[-1].mean():.2f}"
        row[f"{width}: still in the first"] = f"{(end == 0).double().mean():.0%}"
        record(f"valleys_{width}_{name}", float(seen[-1].mean()))
    rows.append(row)
axes[0].set(
    xlabel="gradient calls a chain",
    ylabel="valleys seen, mean of 100 chains",
    title="wide (lines), narrow (dashes)",
    ylim=(0.8, 8.2),
)
axes[0].legend(fontsize=8)
for ax, (width, landscape) in zip(axes[1:], mixtures.items(), strict=True):
    draw_states(landscape, ends[width, "MALA"], ax, size=8)
    ax.set(title=f"{width}: MALA's last states", aspect="equal")
show()
table(
    rows,
    f"After {settings.mode_budget:,} gradient calls from one valley. "
    "All eight, and 12.5 % in the first, would be right",
)
say(
    f"The passes are {passes['wide']:.1f} and {passes['narrow']:.1f} nats high. "
    "The second is twice the first, and the waiting time grows with the "
    "exponential of the height."
)

# %% [markdown]
# ULA and ProximalLangevin hop more than MALA. That is no merit: one samples a density too wide, the other flattens every pass, and
# both see lower mountains than there are. MALA and HMC are exact *in the limit*, and the limit is far away. A gradient knows only the slope under the walker's
# feet; it cannot point to a valley behind a mountain. What helps is not a better step but a different plan: many
# starts, restarts (the {term}`replay buffer` of Part B), or a path of temperatures (AIS, below).
#
# ## Diagnostics (S4)
#
# In real problems there is no exact density to compare with. What can be seen from the chains alone?
#
# - **Acceptance rate**: the share of proposals accepted. Not a measure of quality: tiny steps are all accepted.
# - **Autocorrelation** $\rho_k$: how much a state still remembers of the state $k$ steps before.
# - **{term}`Effective sample size <effective sample size>`**, $\mathrm{ESS} = N / (1 + 2\sum_{k\ge1}\rho_k)$: how many
#   independent draws would give the same standard error.
# - **Split $\hat R$**: cut every chain in halves, and compare the variance *between* the pieces with the variance *within*. Near 1 when all agree; above 1.01
#   something is unfinished {cite}`vehtari2021rhat`.
#
# With a known density there is one more: the **{term}`KL divergence`** of a histogram of the states from the density on the
# same grid. Even exact samples do not reach zero, since a histogram of $N$ points is noisy; so exact samples are a
# row of the table.
#
# **Can $\hat R$ be fooled?** Take eight valleys, still a little narrower, so that no chain leaves its own.

# %% tags=["hide-input"]
rows = []
narrow = eight_gaussians(width=0.3)
beginnings = {
    "all chains from one valley": narrow.means[:1].float().repeat(64, 1),
    "chains spread over the plane": spread_start(narrow, 64, stream(200)),
}
for name, start in beginnings.items():
    path = sample(
        narrow, start, MALA(0.05), 800, keep_every=1, generator=stream(201)
    ).path[400:]
    flat = path.reshape(-1, 2)
    shares = narrow.nearest(flat).bincount(minlength=8) / len(flat)
    kl = grid_kl(flat, narrow, narrow.extent, log_z=narrow.log_z)
    rhat = float(split_rhat(path).max())
    rows.append(
        {
            "start": name,
            "split R-hat": f"{rhat:.3f}",
            "effective draws": f"{ess(path).min():,.0f}",
            "valleys with more than 1 %": int((shares > 0.01).sum()),
            "KL to exact (nats)": f"{kl:.2f}",
        }
    )
    record(f"rhat_{'one_start' if len(rows) == 1 else 'spread'}", rhat)
table(rows, "MALA with η = 0.05 on valleys of width 0.3, 400 steps of 64 chains")
say(
    "Chains that all missed the same valleys agree with each other: R-hat is "
    f"{rows[0]['split R-hat']}, the effective draws are many, and seven "
    "eighths of the answer are missing. Spread starts disagree loudly, although "
    "their samples are much the better ones. **Start the chains wider apart "
    "than the answer.**"
)

# %% [markdown]
# ### Which kernel, on which landscape?
#
# Each kernel gets the same number of gradient calls a chain, from starts spread over the valleys; the first half is dropped.
# MALA's step is tuned to an acceptance of 0.574, HMC's to 0.8. ULA and ProximalLangevin get a quarter of MALA's step; with all of it
# ULA is tried, too. ESS is the worse of the two coordinates', per 1,000 gradients of a chain. KL is taken at equal numbers
# of states.

# %%
if study("kernels"):
    comparison, table_paths, too_bold = [], {}, []
    per_gradient = "ESS per 1,000 gradients"
    # States a chain: HMC's second half, all of it.
    n_kept = settings.budget // 20
    n_states = n_kept * settings.table_chains
    for i, (where, target) in enumerate(targets.items()):
        kernels, start = tuned(target, 210 + 10 * i)
        on_grid = dict(extent=target.extent, n_bins=24, log_z=target.log_z)
        for name, kernel in kernels.items():
            row = {"landscape": where, "kernel": name}
            row["step"] = f"{kernel.step_size:.3g}"
            comparison.append(row)
            tick = time.perf_counter()
            try:
                run = sample(
                    target,
                    start,
                    kernel,
                    settings.budget // price(kernel),
                    keep_every=1,
                    generator=stream(215 + 10 * i),
                )
            except ChainDiverged:
                row["accepted"] = "diverged"
                continue
            seconds = time.perf_counter() - tick
            path = run.path[len(run.path) // 2 :]
            table_paths[where, name] = path
            worth = float(ess(path).min()) / (settings.table_chains * len(path))
            thin = path[:: len(path) // n_kept][:n_kept].reshape(-1, 2)
            tested = isinstance(kernel, (MALA, HMC))
            row["accepted"] = f"{run.accept_rate:.2f}" if tested else "no test"
            row[per_gradient] = f"{1000 * worth / price(kernel):.1f}"
            row["split R-hat"] = f"{split_rhat(path).max():.2f}"
            row["KL (nats)"] = f"{grid_kl(thin, target, **on_grid):.3f}"
            row["µs a gradient"] = f"{1e6 * seconds / settings.budget:.0f}"
        perfect = target.sample(n_states, stream(216 + 10 * i))
        kl = grid_kl(perfect, target, **on_grid)
        comparison.append(
            {
                "landscape": where,
                "kernel": "exact draws",
                "KL (nats)": f"{kl:.3f}",
            }
        )
        bold = Langevin(kernels["MALA"].step_size)
        try:
            sample(target, start, bold, settings.budget, generator=stream(217))
        except ChainDiverged:
            too_bold.append(where)
    table(
        comparison,
        f"{settings.budget:,} gradient calls a chain, "
        f"{settings.table_chains} chains, {n_states:,} states in each KL",
    )
    record("comparison", comparison)

# %% tags=["hide-input"]
if study("kernels-pictures"):
    fig, axes = plt.subplots(1, 5, figsize=(10, 2.5), sharey=True)
    for ax, where in zip(axes, targets, strict=True):
        for name in colour:
            if (where, name) not in table_paths:
                continue
            path = table_paths[where, name]
            lags = min(200, len(path) - 1)
            rho = autocorrelation(path, lags)[:, 0]
            unit = 10 if name == "HMC" else 1
            n = 200 // unit + 1
            ax.plot(
                torch.arange(len(rho))[:n] * unit,
                rho[:n],
                color=colour[name],
                lw=1.2,
                label=name,
            )
        ax.set(title=where, xlabel="gradient calls")
    axes[0].set_ylabel("autocorrelation")
    axes[0].legend(fontsize=7)

    def cell(where, name, column):
        """One number of the table, or NaN."""
        (row,) = [
            r for r in comparison if r["landscape"] == where and r["kernel"] == name
        ]
        return float(row.get(column, "nan"))

    wins = [
        where
        for where in targets
        if cell(where, "HMC", per_gradient) > cell(where, "MALA", per_gradient)
    ]

    def kl_of(where, name):
        return cell(where, name, "KL (nats)")

    still = [r["landscape"] for r in comparison if r.get("accepted") == "diverged"]
    widest = [
        where
        for where in targets
        if kl_of(where, "ProximalLangevin")
        == np.nanmax([kl_of(where, name) for name in colour])
    ]
    show()
    say(
        f"HMC has more effective draws per gradient than MALA on {len(wins)} of 5 "
        f"landscapes ({', '.join(wins) or 'none'}). At MALA's own step ULA "
        f"diverges on {', '.join(too_bold) or 'none of them'}; at a quarter of it "
        f"still on {', '.join(still) or 'none'}. Elsewhere it stays near the "
        "density, but not at it: on the Gaussian its KL is "
        f"{kl_of('Gaussian', 'Langevin'):.3f}, MALA's "
        f"{kl_of('Gaussian', 'MALA'):.3f}, that of exact draws "
        f"{kl_of('Gaussian', 'exact draws'):.3f}. ProximalLangevin's R-hat and "
        "ESS are much like ULA's where ULA runs, while its KL is the worst of the four on "
        f"{len(widest)} of 5. **ESS and R-hat ask whether the chains agree, not "
        "whether they are right.** Where R-hat is far above 1 (MALA on the eight "
        f"Gaussians: {cell('eight Gaussians', 'MALA', 'split R-hat'):.2f}) the "
        "chains have not finished, and a small KL is owed to their starts."
    )
    record("ula_diverges_at_malas_step", too_bold)

# %% [markdown]
# ### How often should a proposal be accepted? (S4)
#
# Small steps are accepted and go nowhere; large steps are refused. In many dimensions theory finds the best compromise at an acceptance of
# 0.574 for MALA {cite}`roberts1998optimal` and 0.651 for HMC at a fixed length of trajectory {cite}`beskos2013optimal`. **Do we see it?** A Gaussian in
# 400 dimensions, the step size varied; HMC's trajectories have length 1.2.

# %%
n_dims = 400
deviations = torch.linspace(0.6, 1.2, n_dims)


def many(x):
    """A Gaussian with standard deviations from 0.6 to 1.2: (B, D) -> (B,)."""
    return 0.5 * (x / deviations).square().sum(1)


def efficiency(kernel, n_draws, number):
    """Acceptance, and effective draws per 1,000 gradients of one chain."""
    x0 = deviations * torch.randn((20, n_dims), generator=stream(number))
    noise = stream(number + 1)
    chain = sample(many, x0, kernel, n_draws, keep_every=1, generator=noise)
    widest = chain.path[..., -4:]  # the slowest directions
    worth = float(ess(widest).mean()) / (20 * n_draws * price(kernel))
    return chain.accept_rate, 1000 * worth


mala_scan = [
    (eta, *efficiency(MALA(float(eta)), 3 * settings.scan_draws, 300))
    for eta in np.geomspace(0.04, 0.24, settings.scan)
]
hmc_scan = [
    (1.2 / n, *efficiency(HMC(1.2 / n, n), settings.scan_draws, 302))
    for n in (2, 3, 4, 5, 6, 8, 10)
]

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.1))
best = {}
for ax, (name, scan, theory) in zip(
    axes,
    (("MALA", mala_scan, 0.574), ("HMC", hmc_scan, 0.651)),
    strict=True,
):
    step, accepted, worth = map(list, zip(*scan, strict=True))
    top = int(np.argmax(worth))
    best[name] = accepted[top], float(step[top])
    ax.plot(accepted, worth, "o-", ms=4, color=colour[name])
    ax.axvline(theory, color="black", lw=0.8, ls=":")
    ax.set(
        xlim=(0, 1),
        ylim=(0, None),
        xlabel="acceptance",
        title=f"{name}, {n_dims} dimensions (theory: {theory})",
    )
    record(f"best_acceptance_{name}", accepted[top])
axes[0].set_ylabel("effective draws\nper 1,000 gradients")
good = {
    name: [a for _, a, w in scan if w > 0.8 * max(w for *_, w in scan)]
    for name, scan in (("MALA", mala_scan), ("HMC", hmc_scan))
}
show()
say(
    f"Best measured: MALA at an acceptance of {best['MALA'][0]:.2f} "
    f"(η = {best['MALA'][1]:.2f}), HMC at {best['HMC'][0]:.2f} "
    f"(ε = {best['HMC'][1]:.2f}). The tops are flat: 80% of the best is "
    f"reached by MALA between acceptances of {min(good['MALA']):.2f} and "
    f"{max(good['MALA']):.2f} among the steps tried, by HMC between "
    f"{min(good['HMC']):.2f} and {max(good['HMC']):.2f}. The theory is for "
    "infinitely many dimensions; anything near its number is fine."
)

# %% [markdown]
# ## Annealed importance sampling (S5)
#
# Samples do not tell $Z$. {term}`Annealed importance sampling <annealed importance sampling>` does {cite}`neal2001ais`. Take
# a base density $p_0$ that is normalised and easy, here $\mathcal N(0, I)$, and a path from it to the target,
#
# ```{math}
# :label: eq-s-path
# \pi_\beta(x) \propto p_0(x)^{1-\beta}\, e^{-\beta E(x)}, \qquad 0 = \beta_0 < \beta_1 < \dots < \beta_T = 1 .
# ```
#
# A chain starts with an exact draw $x_0 \sim p_0$. At each change of $\beta$ it notes by how much the density at its place has risen, and then
# takes a step with a kernel that leaves the new density invariant:
#
# ```{math}
# :label: eq-s-ais
# \log w = \sum_{t=1}^{T} (\beta_t - \beta_{t-1}) \bigl[-E(x_{t-1}) - \log p_0(x_{t-1})\bigr], \qquad
# \mathbb E[w] = Z .
# ```
#
# The mean is *exactly* $Z$, for any number of temperatures: with a single change of temperature, $T = 1$ in this formula, this is plain importance sampling. More temperatures do not remove a bias of $w$; they
# tame its variance.
#
# ```{prf:algorithm} Annealed importance sampling
# :label: alg-s-ais
# **Inputs** energy $E$; normalised $\log p_0$; $\beta_0, \dots, \beta_T$; number of chains $N$
#
# **Output** an estimate of $\log Z$
#
# 1. draw $x \sim p_0$ for $N$ chains; $\log w \leftarrow 0$
# 2. for $t = 1, \dots, T$:
#    1. $\log w \leftarrow \log w + (\beta_t - \beta_{t-1})\,[-E(x) - \log p_0(x)]$
#    2. move $x$ by one step of MALA or HMC on $\pi_{\beta_t}$
# 3. return $\log \frac1N \sum_n w_n$
# ```

# %% [markdown]
# ```{exercise-start} The log weights of AIS
# :label: ex-s-weights
# ```
# *Goal: collect an importance weight along a path of temperatures. About 10 minutes, 1 point.*
#
# Row $t$ of `log_ratio`, counted from 0, holds $-E(x_t) - \log p_0(x_t)$ of $B$ chains. Return $\log w$ of {eq}`eq-s-ais`. The $\beta$ need
# not be evenly spaced. Leave the arguments as they were.


# %% tags=["exercise"]
def ais_log_weights(betas, log_ratio):
    """betas (T + 1,) and log ratios (T, B) -> log weights (B,)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-s-weights
# :class: dropdown
# ```
# The $T+1$ temperatures have $T$ changes between them, one for each row.


# %% tags=["solution"]
def ais_log_weights(betas, log_ratio):
    """betas (T + 1,) and log ratios (T, B) -> log weights (B,)."""
    changes = betas[1:] - betas[:-1]
    return (changes[:, None] * log_ratio).sum(0)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.ais_log_weights(ais_log_weights)

# %% [markdown]
# ```{exercise-start} From log weights to log Z
# :label: ex-s-logz
# ```
# *Goal: average weights of which only the logarithms fit into a float. About 5 minutes, 1 point.*
#
# Return the logarithm of the mean weight. Log weights of −900 must not break it.


# %% tags=["exercise"]
def log_z_estimate(log_weights):
    """Log weights (N,) -> the estimate of log Z, a scalar."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-s-logz
# :class: dropdown
# ```
# `logsumexp` subtracts the largest entry before it takes exponentials. The mean of the *logarithms* would be something else: by Jensen's inequality it
# lies below $\log Z$, and it is what one chain gives on average.


# %% tags=["solution"]
def log_z_estimate(log_weights):
    """Log weights (N,) -> the estimate of log Z, a scalar."""
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.log_z_estimate(log_z_estimate)

# %% [markdown]
# Your two functions and one kernel are the whole algorithm:


# %%
def log_base(x):
    """log N(x; 0, I), shape (B,)."""
    return -0.5 * x.square().sum(1) - math.log(2 * math.pi)


def ais_by_hand(energy, n_chains, n_temperatures, number):
    noise = stream(number)
    x = torch.randn((n_chains, 2), generator=noise)
    betas = torch.tensor(sigmoid_betas(n_temperatures))
    log_ratio = []
    for beta in betas[1:]:
        log_ratio.append(-energy(x) - log_base(x))

        def between(z, beta=beta):
            return beta * energy(z) - (1 - beta) * log_base(z)

        x = sample(between, x, HMC(0.3, 5), 1, generator=noise).x
    log_w = ais_log_weights(betas, torch.stack(log_ratio))
    return log_z_estimate(log_w), log_w, x


estimate, log_w, ends = ais_by_hand(mixture, 500, 100, 400)
say(
    f"Eight Gaussians, 500 chains, 100 temperatures: log Z ≈ "
    f"**{estimate:.3f}**; exact: **{mixture.log_z:.3f}**."
)
record("ais_by_hand", float(estimate))

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), gridspec_kw={"width_ratios": (1, 1.6)})
pull = torch.exp(log_w - log_w.max())
draw_density(mixture, axes[0], lines=True)
axes[0].scatter(*ends.T, s=12 * pull, color=COLOURS[1], alpha=0.6, lw=0)
axes[0].set(title="where the 500 chains ended", aspect="equal")
axes[1].hist(log_w.numpy(), 50, color=COLOURS[1], alpha=0.6)
axes[1].axvline(mixture.log_z, color="black", lw=1.2, label="exact log Z")
axes[1].set(title="their log weights", xlabel="log w (nats)", yticks=[])
axes[1].legend()
seen = int(mixture.nearest(ends).bincount(minlength=8).gt(0).sum())
show()
say(
    f"The chains, which started at the centre, have reached {seen} of the 8 "
    "valleys: the hot end of the path has no mountains. The points' areas "
    "show the weights."
)

# %% [markdown]
# **How many temperatures are enough?** The mean weight is unbiased, but its *logarithm* is not: it is too low on average, and the more so, the more the weights vary. We
# repeat an estimate from 10 chains many times, for several numbers of temperatures.

# %% tags=["hide-input"]
group = 10
rows, spreads = [], []
for i, n in enumerate(settings.temperatures):
    z0 = torch.randn((group * settings.ais_groups, 2), generator=stream(410 + i))
    log_w = annealed_importance(
        lambda z: -mixture(z),
        z0,
        n,
        kernel=HMC(0.3, 5),
        generator=stream(430 + i),
    )
    ten = log_mean_exp(log_w.reshape(settings.ais_groups, group), 1)
    off = ten - mixture.log_z
    spreads.append(off)
    all_of_them = float(log_mean_exp(log_w))
    weight = torch.exp(log_w - log_w.max())
    error = float(weight.std() / weight.mean() / len(weight) ** 0.5)
    rows.append(
        {
            "temperatures": n,
            "10 chains: mean error": f"{off.mean():+.3f} ± {2 * off.std() / len(off) ** 0.5:.3f}",
            "1 chain: mean error": f"{log_w.mean() - mixture.log_z:+.3f}",
            "all chains": f"{all_of_them:.3f} ± {2 * error:.3f}",
            "exact": f"{mixture.log_z:.3f}",
        }
    )
fig, ax = plt.subplots(figsize=(7, 3))
ax.boxplot(
    [off.numpy() for off in spreads],
    tick_labels=[str(n) for n in settings.temperatures],
    whis=(2.5, 97.5),
    showfliers=False,
    medianprops={"color": COLOURS[1]},
)
ax.axhline(0, color="black", lw=0.8)
ax.set(
    xlabel="number of temperatures",
    ylabel="estimate − exact (nats)",
    title="AIS with 10 chains on the eight Gaussians",
)
show()
table(rows, f"{settings.ais_groups} repetitions; ± is two standard errors")
record("ais_bias", rows)
record("ais_bias_few", float(spreads[0].mean()))
record("ais_bias_many", float(spreads[-1].mean()))
say(
    "With one temperature ten chains are "
    f"{-spreads[0].mean():.2f} nats too low on average; with "
    f"{settings.temperatures[-1]} they are "
    f"{abs(spreads[-1].mean()):.3f} off. Note the honest interval's weakness: "
    "it is computed from the weights that were *seen*. When few "
    "chains find the valleys, it is too narrow, and it misses on the low side."
)

# %% [markdown]
# **And on the other landscapes?** One run each, with the most temperatures of this profile.

# %% tags=["hide-input"]
n_temperatures = settings.temperatures[-1]
rows, in_errors = [], []
for i, (where, target) in enumerate(targets.items()):
    z0 = torch.randn((1000, 2), generator=stream(450 + i))
    log_w = annealed_importance(
        lambda z, target=target: -target(z),
        z0,
        n_temperatures,
        kernel=HMC(0.25, 5, jitter=0.5),
        generator=stream(460 + i),
    )
    weight = torch.exp(log_w - log_w.max())
    error = float(weight.std() / weight.mean() / len(weight) ** 0.5)
    off = float(log_mean_exp(log_w)) - target.log_z
    in_errors.append(off / error)
    rows.append(
        {
            "landscape": where,
            "log Z by AIS": f"{float(log_mean_exp(log_w)):.4f} ± {2 * error:.4f}",
            "exact": f"{target.log_z:.4f}",
            "off, in standard errors": f"{off / error:+.1f}",
        }
    )
table(rows, f"1,000 chains, {n_temperatures} temperatures")
record("ais_all", rows)
record("ais_worst", max(abs(e) for e in in_errors))

# %% [markdown]
# ## Play (S6)
#
# In JupyterLab the next cell shows sliders: landscape, kernel, step size, noise, number of steps. Every change runs 500
# chains anew. A printed page cannot run Python; there the picture below stands in.

# %%
if can_show_widgets():
    from IPython.display import display

    display(sampler_explorer())
else:
    say(
        "*The explorer needs a live notebook: open this chapter in "
        "JupyterLab and run this cell.*"
    )

# %% tags=["hide-input"]
etas = (0.001, 0.01, 0.05, 0.3)
fig, axes = plt.subplots(4, 4, figsize=(9, 9.2))
for row, name in zip(axes, colour, strict=True):
    for ax, eta in zip(row, etas, strict=True):
        kernel = make_kernel(name, eta)
        path, run = run_chains(
            banana, kernel, 200 // price(kernel), start=(2.0, 2.1), seed=seed
        )
        draw_states(banana, path[-1], ax, color=colour[name])
        if isinstance(run, ChainDiverged):
            note = "diverged"
        elif isinstance(kernel, (MALA, HMC)):
            note = f"accepted {run.accept_rate:.0%}"
        else:
            note = "no test"
        ax.set_title(f"η = {eta:g}: {note}", fontsize=10)
        ax.set_ylim(-2.5, 8)
    row[0].set_ylabel(name)
fig.suptitle("The banana: 500 chains from one point, after 200 gradient calls")
show()
say(
    "Rows are kernels, columns are step sizes (HMC's leapfrog step is √(2η)). "
    "Too small: the start is still to be seen. Too large: Langevin diverges "
    "(its start is shown), MALA refuses most of its proposals and HMC nearly "
    "all, and ProximalLangevin walks off."
)

# %% [markdown]
# ## Exact, long run, this run

# %% tags=["hide-input"]
kept = report.kept("01_sampling_playground", profile)
kept_records = {} if kept is None else kept["records"]
record("notebook_seconds", time.perf_counter() - started)
three = report.comparison(kept_records, profile, form="{:.3f}", first="exact or theory")
table(
    [
        three("ULA's variance ratio, η = ½, λ = 1", "ula_variance_at_half", "1.333"),
        three("ULA's bias at the step for 5 %", "bias_at_promised_step", "0.050"),
        three("… at four times that step", "bias_at_four_times", "0.235"),
        three("MALA's", "mala_variance_at_half", "1"),
        three("… with the way back forgotten", "forgetful_variance_at_half", "0.571"),
        three(
            "share in the higher well, as given",
            "higher_well_as_given",
            f"{right_share:.3f}",
        ),
        three("… mended", "higher_well_mended", f"{right_share:.3f}"),
        three("leapfrog: order of the energy error", "leapfrog_order", "2", "{:.2f}"),
        three("leapfrog: mean of exp(−ΔH), ε = 1/16", "exp_delta_h", "1", "{:.4f}"),
        three(
            "resonant HMC: ESS of the spread ÷ draws", "ess_sd_resonant", "0", "{:.4f}"
        ),
        three("… jittered", "ess_sd_jittered", "–"),
        three(
            "ProximalLangevin's variance",
            "proximal_variance",
            f"{huber_variance:.2f} (Huber), 1 (wanted)",
            "{:.2f}",
        ),
        three(
            "wide valleys seen by MALA", "valleys_wide_MALA", "8 in the limit", "{:.2f}"
        ),
        three("best acceptance, MALA", "best_acceptance_MALA", "0.574", "{:.2f}"),
        three("best acceptance, HMC", "best_acceptance_HMC", "0.651", "{:.2f}"),
        three(
            "AIS bias, 10 chains, one temperature (nats)",
            "ais_bias_few",
            "below 0",
            "{:+.2f}",
        ),
        three(
            "AIS bias, 10 chains, the most temperatures",
            "ais_bias_many",
            "to 0 from below",
            "{:+.3f}",
        ),
        three(
            "AIS, worst of five landscapes (standard errors)",
            "ais_worst",
            "2 or 3 at most",
            "{:.1f}",
        ),
    ],
    "Exact value or theory, the long run, this run"
    + (
        ""
        if kept is None
        else f" (long run: profile {kept['profile']}, {kept['date']}, {kept['machine']['cpu']})"
    ),
)

# %% [markdown]
# ## What breaks, and how to rescue it
#
# - **`ChainDiverged`.** The step is larger than twice the smallest squared length scale. Halve it; or bound the gradient or the state, and know that you then sample something else.
# - **Acceptance is 0.** The step is too large, or the start is so far out that every proposal from it is refused. Warm up with small steps: `warm_up` does.
# - **Acceptance is 1.** The step is too small. Enlarge it until about 0.6.
# - **The variance tends to half of the right one as the step shrinks.** The proposal densities are missing from the ratio.
# - **HMC's mean is perfect and its variance constant.** A trajectory near half a period. Jitter.
# - **R-hat is 1.00 and the result is wrong.** All chains started in one valley. Spread the starts.
# - **AIS gives another answer every time.** The weights are dominated by one chain. More temperatures first, then more chains.
# - **float32.** Energies of a picture are in the hundreds; their differences decide. `MALA` subtracts before it sums for this reason.
#
# ## Questions
#
# 1. ULA with step $\eta$ on a Gaussian has variance $\frac1\lambda\frac{1}{1-\eta\lambda/2}$. Which energy does it sample exactly? Could you *correct* ULA on a Gaussian without a test?
# 2. The forgetful chain samples $p^2$ for small steps. Show it without assuming a Gaussian. (Langevin proposals are nearly in detailed balance with $p$.)
# 3. Why must a rejected state be counted again? Design a two-state example in which leaving out repetitions gives the wrong answer.
# 4. HMC with $L = 1$ is MALA. Derive {eq}`eq-s-mala` from $\Delta H$.
# 5. Clamping after the test piles mass on the walls. Reflecting inside the proposal, before the test, does not. Why is reflection reversible and clamping not?
# 6. Suppose that a chain on the eight Gaussians mixes fast as far as the square of its first coordinate is concerned. Which questions can it answer?
# 7. AIS estimates $\log Z$ from below. How would you get an estimate from above? (You are allowed to start from exact samples of the target.)
#
# ## Further reading
#
# - Neal, *MCMC using Hamiltonian dynamics* {cite}`neal2011hmc`: the clearest account there is, walls and periodicity included.
# - Betancourt, *A Conceptual Introduction to Hamiltonian Monte Carlo* {cite}`betancourt2017conceptual`: why long trajectories work in many dimensions.
# - Neal, *Annealed Importance Sampling* {cite}`neal2001ais`.
# - Vehtari et al. {cite}`vehtari2021rhat`: R-hat and ESS as they are computed here.
# - Roberts and Tweedie {cite}`roberts1996langevin`: when Langevin chains converge, and when they cannot.
