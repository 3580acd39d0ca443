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
# - how Langevin dynamics is biased, how it blows up and how it is tamed, what its noise has to do with temperature (S3);
# - how an acceptance test repairs the bias, and two ways to break the test without noticing (S2, S3);
# - how Hamiltonian Monte Carlo makes long moves, and the one length at which it makes none (S2);
# - why no gradient leads over a mountain, and how a ladder of temperatures does (S3);
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
# | `laptop` | more chains, longer: the numbers below settle | about a quarter of an hour, one core |
# | `full` | error bars you can hardly see | hours (not yet measured) |

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
from gen_utils.evaluation.intervals import wilson
from gen_utils.evaluation.likelihood import (
    annealed_importance,
    log_mean_exp,
    log_mean_exp_error,
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
from gen_utils.report import figure, record, say, table
from gen_utils.samplers import (
    HMC,
    MALA,
    ChainDiverged,
    Langevin,
    ParallelTempering,
    ProximalLangevin,
    TamedLangevin,
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
        n_steps=400,  # the same
        film=400,  # slopes in the first film
        mode_budget=1500,  # gradient calls a chain, hopping between modes
        ladder_steps=400,  # of the ladder of temperatures that is made by hand
        warmup=(150, 200, 60),  # steps: down into valleys, tuning MALA, HMC
        budget=None,  # gradient calls a chain, in the table of kernels, which quick does not make
        table_chains=200,
        scan=6,  # step sizes in the scan over acceptance
        scan_seeds=2,
        scan_draws=120,
        lengths=(3, 6, 9, 12, 15, 18, 20, 23, 30),
        trajectories=80,  # draws of a chain, with trajectories of one length
        temperatures=(1, 3, 10, 30, 100),
        ais_groups=60,
    ),
    laptop=dict(
        n_chains=4000,
        n_steps=1000,
        film=400,
        mode_budget=4500,
        ladder_steps=800,
        warmup=(150, 200, 60),
        budget=3000,
        table_chains=200,
        scan=9,
        scan_seeds=6,
        scan_draws=250,
        lengths=tuple(range(2, 45, 3)),
        trajectories=160,
        temperatures=(1, 3, 10, 30, 100, 300, 1000),
        ais_groups=200,
    ),
    full=dict(
        n_chains=20_000,
        n_steps=4000,
        film=400,
        mode_budget=90_000,
        ladder_steps=4000,
        warmup=(150, 200, 60),
        budget=30_000,
        table_chains=400,
        scan=15,
        scan_seeds=12,
        scan_draws=2000,
        lengths=tuple(range(2, 65)),
        trajectories=1000,
        temperatures=(1, 3, 10, 30, 100, 300, 1000, 3000),
        ais_groups=1000,
    ),
    smoke=dict(  # in tests: every line runs, nothing is learnt
        n_chains=100,
        n_steps=50,
        film=100,
        mode_budget=120,
        ladder_steps=20,
        warmup=(20, 20, 8),
        budget=120,
        table_chains=40,
        scan=5,
        scan_seeds=2,
        scan_draws=24,
        lengths=(3, 9, 20),
        trajectories=24,
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


def stream(number):
    """A source of random numbers of its own for every experiment."""
    return torch.Generator().manual_seed(1000 * seed + number)


def mean_and_error(values):
    """The mean of independent values along the first axis, and two standard errors."""
    values = torch.as_tensor(values, dtype=torch.float64)
    return values.mean(0), 2 * values.std(0) / len(values) ** 0.5


def plus_minus(values, form="{:.2f}"):
    """Both as text: chains do not know of each other, so a number from each is one independent value."""
    return " ± ".join(form.format(float(value)) for value in mean_and_error(values))


def share(flags):
    """Of how many independent chains something is true, with Wilson's 95 % interval."""
    flags = torch.as_tensor(flags)
    low, high = wilson(int(flags.sum()), len(flags))
    digits = 1 if len(flags) >= 1000 else 0
    return f"{flags.double().mean():.{digits}%} ({low:.{digits}%} to {high:.{digits}%})"


def in_groups(statistic, path, n_groups=8):
    """A statistic of a path (K, B, ...), of every group of its chains: (n_groups,)."""
    found = [float(statistic(part)) for part in path.chunk(n_groups, dim=1)]
    return torch.tensor(found, dtype=torch.float64)


# %% [markdown]
# ## Where we are going
#
# Two hundred walkers start at one point of a banana-shaped valley. Three methods, which this chapter explains and you will write, move them at the same price: the
# number of times they asked for the slope. Press play, or drag the slider.
#
# A word on the numbers of this chapter. Whatever is measured with random numbers has an error, and is shown with it: "±" is two
# standard errors, and a bracket behind a share is an interval that holds the true share in 95 of 100 such experiments. Where two intervals
# overlap, we conclude nothing.

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
arrived = {name: path[-1, :, 0] < 0 for name, path in films.items()}
say(
    f"Half of the valley lies left of the middle. After {settings.film} slopes, "
    f"{share(arrived['Langevin'])} of the Langevin walkers, "
    f"{share(arrived['MALA'])} of MALA's and {share(arrived['HMC'])} of HMC's are "
    "there; it should be 50%. The contour lines are the exact density."
)
record(
    "arrived", {name: float(there.double().mean()) for name, there in arrived.items()}
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
# Energies and $\log Z$ are measured in {term}`nats <nat>`: one nat higher is $e \approx 2.7$ times less likely, 10 nats 22,000 times.
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


figure(
    "The five landscapes, seen from above: the brighter, the lower the ground and the larger the density, which is exact.",
    "Five panels in a row: a tilted ellipse, a crescent, a circle, eight round spots on a circle, and two spots side by side.",
    name="fig-s-landscapes",
)
rows, deviations = [], []
for name, target in targets.items():
    x, y, density = density_on(target, n=400, margin=0.5)
    mass = float(torch.trapezoid(torch.trapezoid(density, x), y))
    draws = target.sample(100_000, stream(1))
    centred = draws - target.mean
    products = centred[:, (0, 1, 0)] * centred[:, (0, 1, 1)]
    moments = torch.cat(
        (centred, products), 1
    )  # two means; two variances, a covariance
    exact = torch.cat((torch.zeros(2), target.covariance[(0, 1, 0), (0, 1, 1)]))
    found, two_errors = mean_and_error(moments)
    deviations.append((found - exact).abs() / (two_errors / 2))
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
largest = float(torch.cat(deviations).max())
table(rows, "Exact answers, and two checks of them")
say(
    f"Of the 25 moments of these draws, the one that is furthest off is {largest:.1f} standard errors from the exact "
    "one. Among 25 numbers that are right, the worst is usually between 1.5 and 3."
)
record("landscapes", rows)
record("landscapes_worst", largest)

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
# Why $\sqrt{2\eta}$? Put very many walkers on a line, with density $p$, and count how many more pass the place $x$ to the right than to the
# left in one step.
#
# - *Downhill* everybody moves by $-\eta E'(x)$. Those pass who are nearer to $x$ than that: $-\eta\,E'(x)\,p(x)$.
# - *Noise* moves a walker by $r$, as often to the right as to the left. So half of those pass who stand in the stretch of length $r$ on the left of $x$, which are
#   $r\,p(x-\tfrac r2)$, and the other way half of those on the right, $r\,p(x+\tfrac r2)$. The difference is
#   $\tfrac r2\,[p(x-\tfrac r2) - p(x+\tfrac r2)] \approx -\tfrac12 r^2\,p'(x)$: more come from where more are. On average $r^2$ is the variance of the
#   noise, $2\eta$.
#
# Together this is the current
#
# ```{math}
# :label: eq-s-current
# J(x) = -\eta\,\bigl[\,p(x)\,E'(x) + p'(x)\,\bigr] .
# ```
#
# For $p \propto e^{-E}$ the slope is $p' = -p\,E'$. The two parts cancel at every place, and the density stays what it is: it is {term}`invariant <invariant density>` under the
# step. In more dimensions the same holds along each axis. Any other amount of noise keeps another density. And we took $p$ and $E'$ for constant over the length of a
# step, so all this is for small steps; what large ones do is the next question.
#
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
figure(
    f"Three hundred chains of your step, η = 0.01, from one point of the ring. After 1,000 steps {share(x[:, 0] < 0)} of "
    "them are on the left half; 50% should be. They have to diffuse round, and to diffuse twice as far takes four times as long.",
    "Four rings with points. After 10 steps the points sit together at the right; they spread along the ring until, after "
    "1,000 steps, they lie all around it.",
    name="fig-s-ring",
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
)
ax.legend()
formula = torch.stack([1 / (1 - eta * precision / 2) for eta in step_sizes])
found = torch.stack([mean for mean, _ in ula])
errors = torch.stack([error for _, error in ula])
worst = float(((found - formula) / errors).abs().max())
at_half = step_sizes.index(0.5)
record("ula_variance_at_half", float(found[at_half, 0]))
record("ula_worst_deviation", worst)
figure(
    f"ULA's variance over the exact one: measured (dots, two standard errors) and by the formula (lines). At η = 0.5 the steep "
    f"direction's is {found[at_half, 0]:.3f} ± {2 * errors[at_half, 0]:.3f} times the exact one; the formula says {formula[at_half, 0]:.3f}.",
    "Two rising curves over the step size, with dots on them. The steep direction's goes up to twenty at a step of 1.9, the "
    "flat direction's to 1.3. A line at one is the exact variance.",
    name="fig-s-ula",
)
say(
    f"Of the {found.numel()} dots the worst is {worst:.1f} standard errors from its line. More "
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
    bias, error = mean_and_error(along.square().mean(0) * precisions - 1)
    for j in (1, 0):
        rows.append(
            {
                "step size η": f"{eta:.4f}",
                "direction": f"{('flat', 'steep')[j]}, λ = {precisions[j]:.2f}",
                "bias predicted": f"{1 / (1 - eta * precisions[j] / 2) - 1:.1%}",
                "bias measured": f"{bias[j]:.1%} ± {error[j]:.1%}",
                "steps to forget, 1/(ηλ)": f"{1 / (eta * precisions[j]):.0f}",
            }
        )
    kept_promise[factor] = float(bias[1]), float(error[1])
table(
    rows,
    f"Your η for 5 %, and 4 η: {settings.n_chains:,} chains of "
    f"{4 * settings.n_steps:,} steps; ± is two standard errors",
)
record("bias_at_promised_step", kept_promise[1][0])
record("bias_at_promised_step_error", kept_promise[1][1])
record("bias_at_four_times", kept_promise[4][0])
record("bias_at_four_times_error", kept_promise[4][1])

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
# where a step without noise first leads further out than it started. Beside it stands how many of the visits of all chains together should fall
# beyond it, if they had the right density.

# %% tags=["hide-input"]
well = targets["double well"]
n_steps = 5 * settings.n_steps
u = torch.linspace(-6, 6, 12_001, dtype=torch.float64)
on_the_line = torch.stack((u, 0 * u), dim=1)
p_well = torch.softmax(-well(on_the_line), 0)  # the first coordinate's density
rows = []
for i, eta in enumerate((0.05, 0.07, 0.09, 0.11, 0.15)):
    kernel, noise = Langevin(eta), stream(40 + i)
    state = kernel.init(well, well.sample(1000, stream(31)).float())
    first = None
    for t in range(1, n_steps + 1):
        state = kernel.step(well, state, t, n_steps, noise)
        gone = ~torch.isfinite(state.energy)
        if first is None and gone.any():
            first = t
        if gone.all():
            break
    # Beyond this place a step leads further out than it started.
    edge = well.distance * math.sqrt(1 + well.distance**2 / (2 * eta * well.barrier))
    beyond = float(p_well[u.abs() > edge].sum())
    rows.append(
        {
            "step size η": eta,
            "place of no return": f"{edge:.2f}",
            "energy there (nats)": f"{float(well(torch.tensor([[edge, 0.0]]))):.1f}",
            "visits beyond it, expected": f"{beyond * 1000 * n_steps:.1g}",
            "chains lost": share(gone),
            "first loss": "–" if first is None else f"step {first:,}",
        }
    )
    if eta == 0.11:
        record("double_well_expected_visits", beyond * 1000 * n_steps)
        record("double_well_lost", float(gone.double().mean()))
table(
    rows,
    f"ULA on the double well: 1,000 chains from exact samples of it, at most {n_steps:,} steps",
)
record("double_well_divergence", rows)

# %% [markdown]
# Look at η = 0.11: by the fourth column nobody should ever get there. But that holds for the *right* density. A large step widens the density in each well, as
# {eq}`eq-s-ula-variance` says, and from a little inside the border one overshoots to the other side of it. So the end comes
# sooner than the energies promise, and until then a chain looks healthy.

# %% [markdown]
# ### Taming the step (S3)
#
# What can be done about walls that are too steep for any step? Two things are common. With $g$ for the slope of one coordinate:
#
# ```{math}
# :label: eq-s-tamed
# \text{clip:} \quad x' &= x - \eta\,\mathrm{clamp}(g, \pm c) + \sqrt{2\eta}\,\xi, \\
# \text{tame:} \quad x' &= x - \frac{\eta\, g}{1 + \eta\,\lvert g\rvert} + \sqrt{2\eta}\,\xi .
# ```
#
# Clipping, with a fixed $c$, is what the image samplers of Part B do {cite}`du2019implicit`. {term}`Taming <tamed Langevin>` {cite}`brosse2019tamed` makes no step downhill longer than 1, and hardly changes one that is short.
# Neither can blow up. **Predict, before you run on:** if $\eta$ gets smaller, which of the two tends to the right density? And at a large
# $\eta$, do tamed chains keep too near to the bottom, or too far from it?
#
# The first coordinate of the double well walks on its own in all three samplers. So we can work out, without any chain, which density each of them keeps: on a fine grid,
# one step is a matrix of probabilities, and its powers lead to the invariant density. That is the second control; the exact variance is the first.


# %% tags=["hide-input"]
def keeps(downhill, sigma, n=301):
    """The density that x' = x - downhill(x) + σ ξ keeps: places u (n,), probabilities."""
    u = torch.linspace(-5, 5, n, dtype=torch.float64)
    to = u - downhill(u)
    step = torch.softmax(-(u[None, :] - to[:, None]).square() / (2 * sigma**2), 1)
    for _ in range(12):  # 4,096 steps
        step = step @ step
        step = step / step.sum(1, keepdim=True)
    return u, step[n // 2]  # from the top of the pass


def uphill(u):
    """Of the double well along its first coordinate."""
    return 4 * well.barrier / well.distance**2 * u * ((u / well.distance) ** 2 - 1)


c = 4.0
samplers = {
    "ULA": (Langevin, lambda eta: lambda u: eta * uphill(u)),
    "clipped": (
        lambda eta: Langevin(eta, grad_clip=c),
        lambda eta: lambda u: eta * uphill(u).clamp(-c, c),
    ),
    "tamed": (
        lambda eta: TamedLangevin(eta, elementwise=True),
        lambda eta: lambda u: eta * uphill(u) / (1 + eta * uphill(u).abs()),
    ),
}
exact_variance = float(well.covariance[0, 0])
rows, tamed = [], {}
for i, eta in enumerate((0.02, 0.05, 0.1, 0.2)):
    x0 = well.sample(settings.n_chains, stream(32)).float()
    for j, (name, (kernel, downhill)) in enumerate(samplers.items()):
        row = {"step size η": eta, "sampler": name}
        rows.append(row)
        noise = stream(33 + 10 * i + j)
        try:
            path = sample(
                well, x0, kernel(eta), settings.n_steps, keep_every=5, generator=noise
            ).path
        except ChainDiverged:
            row["variance, measured"] = "diverged"
            continue
        v, p = keeps(downhill(eta), math.sqrt(2 * eta))
        own = float((p * v**2).sum())
        squares = path[len(path) // 2 :, :, 0].square().mean(0)
        row["variance, measured"] = plus_minus(squares, "{:.3f}")
        row["of the density it keeps"] = f"{own:.3f}"
        row["exact"] = f"{exact_variance:.3f}"
        row["bias"] = f"{own / exact_variance - 1:+.1%}"
        value, error = mean_and_error(squares)
        tamed[f"{name} {eta}"] = dict(found=float(value), error=float(error), own=own)
table(
    rows,
    f"The double well's variance across the pass, {settings.n_chains:,} chains; c = {c:g}",
)
record("tamed", tamed)
record("double_well_variance", exact_variance)
worst_tamed = max(2 * abs(t["found"] - t["own"]) / t["error"] for t in tamed.values())


def bias_of(name, eta):
    """The bias of the density that a sampler keeps, without a chain."""
    v, p = keeps(samplers[name][1](eta), math.sqrt(2 * eta))
    return float((p * v**2).sum()) / exact_variance - 1


biases = {
    name: {eta: bias_of(name, eta) for eta in (0.005, 0.02, 0.2)}
    for name in ("clipped", "tamed")
}
record("tamed_worst_deviation", worst_tamed)
record("tamed_biases", {name: list(found.values()) for name, found in biases.items()})
say(
    f"Every measured variance agrees with the density that its sampler keeps; the worst is {worst_tamed:.1f} standard errors off. "
    f"Taming: the bias is {biases['tamed'][0.2]:+.0%} at η = 0.2, {biases['tamed'][0.02]:+.1%} at 0.02 and {biases['tamed'][0.005]:+.1%} at "
    f"0.005, on its way to zero. Clipping: {biases['clipped'][0.2]:+.0%}, {biases['clipped'][0.02]:+.1%}, "
    f"{biases['clipped'][0.005]:+.1%}. It tends to a density of its own, with walls of slope {c:g}, which no small step mends."
)

# %% [markdown]
# At a large step tamed chains are too far out: on the walls their way back is too short. At a small one they are a little too far in, like ULA's. In between the two errors cancel, and the
# bias happens to be zero. That is luck, not merit: another landscape, or another quantity than the variance, cancels elsewhere.

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
rows, tops = [], {}
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
    exact = torch.softmax(-well(on_the_line) / T, 0)
    ax.hist(
        kept[..., 0].flatten().numpy(),
        80,
        density=True,
        color=colour["Langevin"],
        alpha=0.5,
    )
    ax.plot(u, exact / (u[1] - u[0]), color="black", lw=1)
    ax.set(title=f"T = {T:g}", xlabel="first coordinate", yticks=[], xlim=(-4, 4))
    on_top = (kept[..., 0].abs() < 0.5).double().mean(0)  # of each chain
    v, p = keeps(lambda u: 0.02 * uphill(u), sigma)
    cells = (v.abs() < 0.5 - 1e-9).double() + 0.5 * ((v.abs() - 0.5).abs() < 1e-9)
    tops[f"{T:g}"] = dict(
        found=float(on_top.mean()),
        error=float(mean_and_error(on_top)[1]),
        own=float((p * cells).sum()),
        exact=float(exact[u.abs() < 0.5].sum()),
    )
    rows.append(
        {
            "temperature T": T,
            "noise σ": f"{sigma:.3f}",
            "variance along the pass": plus_minus(
                kept[..., 1].square().mean(0), "{:.3f}"
            ),
            "exact": f"{T * well.width**2:.3f}",
            "on the pass": plus_minus(on_top, "{:.2%}"),
            "of the density ULA keeps": f"{tops[f'{T:g}']['own']:.2%}",
            "of exp(−E/T)": f"{tops[f'{T:g}']['exact']:.2%}",
        }
    )
figure(
    f"Half of the chains began in each well. At T = 4 they spend {tops['4']['found']:.0%} of their time on the pass, at T = 1 "
    f"{tops['1']['found']:.1%}, at T = ¼ {tops['0.25']['found']:.2%}: cold chains do not cross, and the two halves of the left "
    "picture agree only because *we* put half of the chains on each side. Black: the exact density.",
    "Three histograms with black curves that fit them. At the lowest temperature two narrow peaks with nothing in between; "
    "at the middle one two peaks with a deep valley; at the highest a broad hump with a shallow dent.",
    name="fig-s-temperatures",
)
table(
    rows,
    "The double well at three temperatures; *on the pass* is less than 0.5 from its top",
)
record("temperatures", rows)
record("on_the_pass", tops)

# %% [markdown]
# Hot chains cross the pass freely, cold ones almost never. At $T = 1$ and $T = 4$ the chains are on the pass about a tenth too
# often, and the column beside tells why: that is ULA's own bias at $\eta = 0.02$, in a place that is curved more than the Gaussians above. Nobody can
# put half of the chains into each valley of an image energy. And the image samplers of Part B,
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
# then walkers distributed as $p$ stay so: $p$ is invariant. This is *{term}`detailed balance`*. Call the ratio of the two sides without the $a$'s
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
# accepts, it settles. **Where does it settle?** Let $\pi$ be the density that the proposals alone keep, without any test. For a Gaussian we know it: ULA's,
# with variance $\frac{1}{\lambda(1-\eta\lambda/2)}$, and the proposals are even in detailed balance with it, $\pi(x)\,q(x'\mid x) = \pi(x')\,q(x\mid x')$. Now
# add the test, $a(x\to x') = \min\{1, p(x')/p(x)\}$, and look at the flow if walkers were distributed as the *product* $\pi p$:
#
# ```{math}
# \pi(x)\,p(x)\; q(x'\mid x)\, \min\Bigl\{1, \frac{p(x')}{p(x)}\Bigr\} = \bigl[\pi(x)\,q(x'\mid x)\bigr]\,\min\{p(x), p(x')\} .
# ```
#
# The bracket does not change when $x$ and $x'$ change places, nor does the minimum. So the flow back is the same, and the chain settles at $\pi p$: the test
# multiplies what the proposals keep by $p$. For Gaussians, the precisions of the two factors add up, $\lambda(1-\eta\lambda/2) + \lambda$:
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
    path = metropolis(stretched, x0, eta, n_steps // 2, mala_log_ratio, 70 + i)
    by_hand.append(variance_ratio(path[::5]))
    path = metropolis(stretched, x0, eta, n_steps // 2, forgetful, 80 + i)
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
found_mala = torch.stack([mean for mean, _ in exact_test])
found_forgot = torch.stack([mean for mean, _ in forgot])
forgot_error = torch.stack([error for _, error in forgot])
mala_error = torch.stack([error for _, error in exact_test])
mala_worst = float(((found_mala - 1) / mala_error).abs().max())
record("mala_worst_deviation", mala_worst)
record("forgetful_error", 2 * float(forgot_error[at_half, 0]))
record("mala_variance_at_half", float(found_mala[at_half, 0]))
record("forgetful_variance_at_half", float(found_forgot[at_half, 0]))
record("mala_largest_error", float((found_mala - 1).abs().max()))
figure(
    f"At η = 0.5 in the steep direction: ULA {found[at_half, 0]:.3f} ± {2 * errors[at_half, 0]:.3f}, MALA "
    f"{found_mala[at_half, 0]:.3f} ± {2 * mala_error[at_half, 0]:.3f}, and with the way back forgotten "
    f"{found_forgot[at_half, 0]:.3f} ± {2 * forgot_error[at_half, 0]:.3f} of the exact variance; its formula says "
    f"{1 / (2 - 0.25):.3f}. Formulas are lines; dots are measured, with two standard errors.",
    "Two panels, steep and flat direction, variance over step size. ULA's dots rise from one on their line; MALA's, the "
    "package's and those of your ratio, stay on the line at one; those of the forgetful chain begin near one half and rise slowly.",
    name="fig-s-mala",
)
say(
    f"None of MALA's {found_mala.numel()} variances is more than {mala_worst:.1f} standard errors off. The forgetful chain is "
    "worse than no test at all, and nothing about it looks wrong from the inside."
)

# %% [markdown]
# ### A chain that looks healthy (S3)
#
# A sampler keeps the energy and the gradient of its state from one step to the next, so that a step costs one gradient and not two.
# Here is {term}`MALA`, {prf:ref}`alg-s-mala`, written that way, with the random numbers as arguments. It runs, it accepts a fair
# share of its proposals, its ratio is the right one. **It has one bug.**


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
    higher = (kept > 0).double().mean(0)  # of each chain
    rows.append(
        {
            "chain": name,
            "in the higher well": plus_minus(higher, "{:.1%}"),
            "accepted": f"{moved:.0%}",
        }
    )
    record(f"higher_well_{name.replace(' ', '_')}", float(higher.mean()))
    record(
        f"higher_well_{name.replace(' ', '_')}_error", float(mean_and_error(higher)[1])
    )
    ax.hist(
        kept.flatten().numpy(),
        80,
        density=True,
        color=colour["MALA"],
        alpha=0.5,
    )
    ax.plot(line, exact / (line[1] - line[0]), color="black", lw=1)
    ax.set(
        title=name,
        xlabel="first coordinate",
        xlim=(-4, 4),
        yticks=[],
    )
record("higher_well_exact", right_share)
rows.append({"chain": "exact", "in the higher well": f"{right_share:.1%}"})
figure(
    f"The same noise, with and without the bug. In the higher well, on the right: {rows[0]['in the higher well']} of the chains as "
    f"given, {rows[1]['in the higher well']} of the mended ones, {right_share:.1%} of the exact density (black).",
    "Two histograms with the exact density as a black curve. As given, the chains fill the right well too much and reach far "
    "beyond both; mended, the histogram lies on the curve.",
    name="fig-s-bug",
)
table(rows, "Two wells of different depth, η = 0.3; ± is two standard errors")

# %% [markdown]
# Black is the exact density. The acceptance does not give the bug away, as nobody knows beforehand what it should be. The known
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
walls, told = {}, {}
for ax, (name, path) in zip(
    axes,
    {"clamped after the test": clamped, "rejected outside": rejected}.items(),
    strict=True,
):
    kept = path[n_steps // 2 :, :, 0].flatten()
    at_wall = (path[n_steps // 2 :, :, 0].abs() >= 0.999).double().mean(0)
    walls[name] = float(at_wall.mean())
    told[name] = plus_minus(at_wall, "{:.2%}")
    ax.hist(kept.numpy(), edges, density=True, color=colour["MALA"], alpha=0.5)
    ax.plot(u, exact, color="black", lw=1)
    ax.set(
        title=name,
        xlabel="first coordinate",
        xticks=[-1, -0.5, 0, 0.5, 1],
    )
walls["exact"] = float(2 * 0.001 * exact[-1])
record("wall_mass", walls)
figure(
    f"Within a thousandth of a wall lie {walls['exact']:.2%} of the exact density (black), {told['rejected outside']} of the chain "
    f"that rejects, and {told['clamped after the test']} of the chain that clamps.",
    "Two histograms between minus one and one. The clamped chain's has tall bars at both ends and lies below the exact density "
    "in between; that of the chain that rejects lies on the exact density, ends included.",
    name="fig-s-box",
)
say(
    "That is one coordinate of two. In a picture of 784 pixels nearly every "
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
# does not change along the way, nor does the volume that a cloud of walkers fills in the space of all $(x, p)$. So if $(x, p)$ is a draw from $e^{-H}$, so is the end of the roll. Draw a new momentum $p \sim \mathcal N(0, I)$, roll, forget the
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
typical, exp_mean, exp_error, by_group = [], [], [], []
for n in counts:
    end = leapfrog(banana, start, momentum, 1 / n, n)
    delta = hamiltonian(*end) - hamiltonian(start, momentum)
    typical.append(float(delta.abs().median()))
    by_group.append(delta.abs().reshape(10, -1).median(1).values.numpy())
    weight = torch.exp(-delta)
    exp_mean.append(float(weight.mean()))
    exp_error.append(float(weight.std() / len(weight) ** 0.5))
eps = np.array([1 / n for n in counts])
orders = np.polyfit(np.log(eps[-6:]), np.log(np.stack(by_group)[-6:]), 1)[
    0
]  # of ten groups
order, order_error = map(float, mean_and_error(orders))
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
record("leapfrog_order", order)
record("leapfrog_order_error", order_error)
record("exp_delta_h", exp_mean[4])
record("exp_delta_h_error", 2 * exp_error[4])
figure(
    f"Left: halve ε, and the energy error falls to a quarter; the measured order is {order:.3f} ± {order_error:.3f}. Right: the mean of "
    f"exp(−ΔH) over exact starts is {exp_mean[4]:.4f} ± {2 * exp_error[4]:.4f} at ε = 1/16, and equals 1 at every ε.",
    "Left, dots on a straight line of slope two over the leapfrog step, both axes logarithmic. Right, dots with error bars on "
    "the line at one; only at the largest steps the bars are long.",
    name="fig-s-leapfrog",
)
say(
    "That the mean of exp(−ΔH) is 1 says that the map keeps volume. It is a quick test that "
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
        settings.trajectories,
        keep_every=1,
        generator=stream(111),
    ).path
    for name, kernel in {
        "length π": resonant,
        "length π, jittered": jittered,
    }.items()
}


# %% tags=["hide-input"]
def known_autocorrelation(values, mean, lags=20):
    """Of (K, B) values whose mean is known: each lag's product of deviations, over that at lag 0."""
    away = values.double() - mean
    rho = [(away[: len(away) - k] * away[k:]).mean() for k in range(lags + 1)]
    return torch.stack(rho) / rho[0]


fig, axes = plt.subplots(1, 3, figsize=(10, 3))
rows = []
for i, (name, path) in enumerate(paths.items()):
    axes[0].plot(path[:40, 0, 0], "o-", ms=3, lw=0.8, label=name)
    x = path[..., 0]
    for j, rho in enumerate(
        (known_autocorrelation(x, 0), known_autocorrelation(x.square(), 1))
    ):
        axes[1 + j].plot(rho, "o-", ms=3, lw=0.8, color=COLOURS[i])
    worths = {
        m: 100 * in_groups(lambda p, m=m: ess(p, method=m)[0] / p[..., 0].numel(), path)
        for m in ("mean", "sd")
    }
    rows.append(
        {
            "trajectory": name,
            "draws": f"{path[..., 0].numel():,}",
            "100 of them are worth, for the mean": plus_minus(worths["mean"], "{:.0f}"),
            "for the spread": plus_minus(worths["sd"], "{:.2f}"),
        }
    )
    value, error = mean_and_error(worths["sd"] / 100)
    record(f"ess_sd_{'jittered' if i else 'resonant'}", float(value))
    record(f"ess_sd_{'jittered' if i else 'resonant'}_error", float(error))
axes[0].set(title="one chain, wide direction", xlabel="step", ylim=(-3, 3))
axes[1].set(title="autocorrelation of x", xlabel="lag")
axes[2].set(title="autocorrelation of x²", xlabel="lag", ylim=(-0.2, 1.05))
axes[0].legend(fontsize=8, loc="upper right")
figure(
    "At a length of π (blue) a chain flips its sign whenever its proposal is accepted. The autocorrelation of x alternates, and shrinks only because "
    "a refusal makes a chain miss a beat; that of x² stays at 1. With jitter (red) both die out. Mean and spread are known here, and used.",
    "Three panels. One chain's first 40 states: a zigzag between two opposite values, against an irregular walk. Autocorrelation of "
    "x: a zigzag that shrinks slowly, against one that dies quickly. Of x squared: constant at one, against a quick decay.",
    name="fig-s-resonance",
)
table(
    rows,
    "How many independent draws 100 draws are worth (wide direction), from eight groups of eight chains",
)

# %% [markdown]
# The chain flips its sign again and again. Look at what the diagnostics make of it. The *mean* is estimated superbly, better than by
# independent draws, because every $x$ is followed by $-x$. The *spread* is not estimated at all: every chain keeps the $|x|$ it
# started with, and is worth about one draw, however long it runs. (The estimate for the mean is capped at $\log_{10} N$ draws for each of $N$.) **One number is not a diagnosis; ask for the quantity you need.**
#
# The cure is to make the length random: `jitter=0.5` shortens each trajectory by a random share of up to a half. Here is the
# worst of the two numbers, per gradient call, for many lengths:

# %% tags=["hide-input"]
lengths = settings.lengths
x0 = uneven.sample(160, stream(110)).float()
worth = {0.0: [], 0.5: []}


def worst(path):
    """The smaller of the two effective sample sizes, per draw."""
    both = [float(ess(path, method=m).min()) for m in ("mean", "sd")]
    return min(both) / path[..., 0].numel()


for jitter, values in worth.items():
    for n in lengths:
        path = sample(
            uneven,
            x0,
            HMC(math.pi / 20, n, jitter=jitter),
            settings.trajectories // 2,
            keep_every=1,
            generator=stream(120 + n),
        ).path
        values.append(mean_and_error(1000 / n * in_groups(worst, path, 4)))
fig, ax = plt.subplots(figsize=(7, 3))
times = [n * math.pi / 20 for n in lengths]
for (jitter, values), mark in zip(worth.items(), "os", strict=True):
    mean, error = map(list, zip(*values, strict=True))
    label = "jittered" if jitter else "fixed length"
    ax.errorbar(times, mean, error, fmt=f"{mark}-", ms=4, label=label)
for k in (1, 2):
    ax.axvline(k * math.pi, color="black", lw=0.8, ls=":")
ax.set(
    xticks=[0, math.pi / 2, math.pi, 1.5 * math.pi, 2 * math.pi],
    xticklabels=["0", "π/2", "π", "3π/2", "2π"],
    xlabel="length of the trajectory",
    ylabel="effective draws\nper 1,000 gradients",
)
ax.legend()
at_pi = lengths.index(20)
fixed, shaken = worth[0.0][at_pi], worth[0.5][at_pi]
record(
    "worth_at_pi",
    {"fixed": [float(v) for v in fixed], "jittered": [float(v) for v in shaken]},
)
figure(
    f"HMC on a Gaussian, by the length of its trajectory: at π, half a period, 1,000 gradients yield {fixed[0]:.2f} ± {fixed[1]:.2f} "
    f"effective draws at a fixed length, and {shaken[0]:.1f} ± {shaken[1]:.1f} with jitter. Bars are two standard errors, from "
    "four groups of chains.",
    "Two jagged curves over the length of the trajectory. The one for a fixed length falls to zero at π and, where the scan "
    "goes so far, at 2π, with more dips between; the jittered one has a broad hump and no holes.",
    name="fig-s-lengths",
)
say(
    "At 2π, where the scan goes so far, the wide direction "
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
#
# (The name is that of JEM++ {cite}`yang2021jempp`, whose step this is, and an unlucky one. *Proximal MCMC* {cite}`pereyra2016proximal` is something else: for an energy with kinks, such as
# $c\,\lvert x\rvert$, it walks on a smooth energy close by, the *Moreau envelope* $\min_z\,[c\,\lvert z\rvert + (x-z)^2/2\lambda]$, whose gradient needs the minimiser, the "proximal
# operator". That is a sampler, MYULA {cite}`durmus2018proximal`: for small λ and small steps it draws from the density it was given. The two do meet here: with $\lambda = 1$ the envelope of
# $c\,\lvert x\rvert$ is the Huber function. So our bounded chain is a fair sampler of a smoothed Laplace density, while it was asked for a Gaussian.)

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
squares = path[len(path) // 2 :, :, 0].square().mean(0)
record("proximal_variance", float(squares.mean()))
record("proximal_variance_error", float(mean_and_error(squares)[1]))
record("proximal_variance_huber", huber_variance)
figure(
    f"Left: the bounded chain's variance is {plus_minus(squares)}. The density it was given has 1, Huber's has {huber_variance:.2f}. "
    "Right: without noise, as image models use it, the chains end at the bottoms of the valleys.",
    "Left, a histogram with heavy tails on a dashed curve, Huber's density, while a solid curve, the Gaussian, is narrower. "
    "Right, eight tiny clusters of points, one at the centre of each valley.",
    name="fig-s-proximal",
)
say(
    "Without noise it is descent. The chains end "
    f"{spread:.3f} from the nearest centre (root mean square); samples would be "
    f"{mixture.width * math.sqrt(2):.3f} away. At η = 2.5, where ULA "
    f"diverged, it survives, but what for: its mean energy is "
    f"{plus_minus(survived.energy[-1], '{:.0f}')}, and should be 1. A bounded step "
    "cannot make up for the noise of an unbounded one."
)

# %% [markdown]
# So it is **not a sampler of $p$**, at any step size. It is a robust way downhill, which for training an image energy may be all that
# is wanted. Just do not report its output as samples of the model.
#
# ## No way over the mountains (S3)
#
# Eight valleys, all chains start in one. **How many valleys has a chain seen after $n$ gradient calls?** We take two versions of the landscape,
# with wide and with narrow valleys, so that the passes between neighbours differ in height. MALA's and {term}`HMC`'s step
# sizes are tuned by `warm_up`; HMC pays for all of its leapfrog steps. ULA and ProximalLangevin get a quarter of MALA's step. **Predict:**
# which of the four will see most valleys? Is that a merit?


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
    if isinstance(kernel, ParallelTempering):  # several kernels, of which more below
        return sum(price(own) for own in kernel.kernels)
    return getattr(kernel, "n_leapfrog", 1)


def valleys_seen(landscape, path):
    """How many valleys every chain of a path (K, B, 2) has been in so far, (K, B)."""
    which = landscape.nearest(path.reshape(-1, 2))
    inside = path.reshape(-1, 2) - landscape.means[which].to(path)
    inside = inside.square().sum(1) < (2 * landscape.width) ** 2
    seen = torch.nn.functional.one_hot(which, 8) * inside[:, None]
    return seen.reshape(*path.shape[:2], 8).cummax(0).values.sum(2).double()


mixtures = {"wide": mixture, "narrow": eight_gaussians(width=0.36)}
visited, ends = {}, {}
for i, (width, landscape) in enumerate(mixtures.items()):
    x0 = landscape.means[:1].float().repeat(100, 1)
    kernels, _ = tuned(landscape, 180 + i)
    kernels["MALA, ULA's step"] = MALA(kernels["Langevin"].step_size)
    for j, (name, kernel) in enumerate(kernels.items()):
        path = sample(
            landscape,
            x0,
            kernel,
            settings.mode_budget // price(kernel),
            keep_every=max(1, 10 // price(kernel)),
            generator=stream(190 + 5 * i + j),
        ).path
        visited[width, name] = valleys_seen(landscape, path)
        ends[width, name] = path[-1]

# %% tags=["hide-input"]
halfway = mixture.means[:2].mean(0, keepdim=True)
passes = {width: float(m(halfway) - m(m.means[:1])) for width, m in mixtures.items()}
fig, axes = plt.subplots(
    1, 3, figsize=(10, 3), gridspec_kw={"width_ratios": (1.5, 1, 1)}
)
rows = []
for name in (*colour, "MALA, ULA's step"):
    row = {"kernel": name}
    for width, line in (("wide", "-"), ("narrow", "--")):
        seen = visited[width, name]
        calls = torch.arange(1, len(seen) + 1)
        if name in colour:
            axes[0].plot(
                calls * settings.mode_budget / len(seen),
                seen.mean(1),
                line,
                color=colour[name],
                label=name if width == "wide" else None,
            )
        end = mixtures[width].nearest(ends[width, name])
        row[f"{width}: valleys seen"] = plus_minus(seen[-1])
        row[f"{width}: in the first"] = share(end == 0)
        value, error = mean_and_error(seen[-1])
        record(f"valleys_{width}_{name}", float(value))
        record(f"valleys_{width}_{name}_error", float(error))
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
in_words = {name: plus_minus(visited["narrow", name][-1]) for name in colour}
figure(
    f"All chains begin in the right-hand valley. After {settings.mode_budget:,} gradient calls a chain has seen, of eight narrow valleys, "
    f"{in_words['MALA']} by MALA, {in_words['HMC']} by HMC, {in_words['Langevin']} by ULA and {in_words['ProximalLangevin']} by ProximalLangevin.",
    "Left, the number of valleys seen over gradient calls: with wide valleys (lines) all four kernels climb, with narrow ones "
    "(dashes) only ProximalLangevin does. Middle, MALA's last states lie in many of the wide valleys. Right, nearly all lie in the one "
    "narrow valley where they began.",
    name="fig-s-mountains",
)
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
# ULA and ProximalLangevin hop more than MALA. That is no merit. The last row is the control: MALA with ULA's own step. What ULA crosses beyond that is its bias, a density
# that is too wide; and ProximalLangevin flattens every pass. Both see lower mountains than there are. MALA and HMC are exact *in the limit*, and the limit is far away. A gradient knows only the slope under the walker's
# feet; it cannot point to a valley behind a mountain. What helps is not a better step but a different plan: many
# starts, restarts (the {term}`replay buffer` of Part B), or other temperatures.

# %% [markdown]
# ### A ladder of temperatures (S3)
#
# A chain on $E/T$ meets passes that are lower by the factor $T$, and hops over them. But it samples another density. {term}`Parallel tempering <parallel tempering>`
# {cite}`swendsen1986replica,geyer1991tempering` takes the best of both. It runs chains at several temperatures $1 = T_1 < T_2 < \dots < T_R$ side by side, the $i$-th on
# $E/T_i$, and now and then two neighbours *exchange their states*. The cold chain is handed a place that a hot one has found behind the mountain.
#
# This may not be done blindly: the hot chain's places are too high, on average, for the cold one. All $R$ states together have the density
#
# ```{math}
# :label: eq-s-ladder
# \pi(x_1, \dots, x_R) \propto \prod_{i=1}^{R} e^{-E(x_i)/T_i} ,
# ```
#
# and an exchange is a proposal like any other: to go from $(\dots, x_i, \dots, x_j, \dots)$ to $(\dots, x_j, \dots, x_i, \dots)$. It is accepted with
# $\min\{1, r\}$, {eq}`eq-s-ratio` with π in the place of $p$. Who stands in the exchanged order proposes the way back just as often, so the proposal densities cancel.

# %% [markdown]
# ```{exercise-start} The test of an exchange
# :label: ex-s-swap
# ```
# *Goal: derive an acceptance from detailed balance yourself. About 10 minutes, 2 points.*
#
# The states at $T_i$ and $T_j$ have the energies $E(x_i)$ and $E(x_j)$, in nats and at temperature 1, for a batch of $B$ ladders. Return $\log r$ of their exchange. Either temperature may be the
# higher one. Leave the arguments as they were.


# %% tags=["exercise"]
def swap_log_ratio(energy_i, energy_j, t_i, t_j):
    """Energies (B,) of the states at two temperatures -> log r (B,), before any cut at zero."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-s-swap
# :class: dropdown
# ```
# All factors of {eq}`eq-s-ladder` but two cancel. Before, they are $e^{-E(x_i)/T_i - E(x_j)/T_j}$; afterwards $e^{-E(x_j)/T_i - E(x_i)/T_j}$. The logarithm of their ratio is
# $(1/T_i - 1/T_j)\,(E(x_i) - E(x_j))$. If the cold chain stands higher than the hot one, the exchange is always accepted.


# %% tags=["solution"]
def swap_log_ratio(energy_i, energy_j, t_i, t_j):
    """Energies (B,) of the states at two temperatures -> log r (B,), before any cut at zero."""
    return (1 / t_i - 1 / t_j) * (energy_i - energy_j)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.swap_log_ratio(swap_log_ratio)

# %% [markdown]
# Your test and MALA are the whole sampler. We try it where the weights are known, and not equal: two thirds of the mass lie in a narrow, deep valley at $x_1 = -4$, one third in a wide
# one at $x_1 = 4$. Half of the chains begin in each. **Predict:** where do they end with your test, where if *every* exchange is accepted, and where if the temperatures are
# forgotten and the test is the usual $\log r = E(x_i) - E(x_j)$?


# %%
def two_valleys(x):
    """Two thirds of the mass around (-4, 0), one third around (4, 0): (B, 2) -> (B,)."""
    left, right = torch.tensor([-4.0, 0.0]).to(x), torch.tensor([4.0, 0.0]).to(x)
    narrow = math.log(2 / 0.5**2) - 0.5 * ((x - left) / 0.5).square().sum(1)
    wide = -0.5 * (x - right).square().sum(1)
    return -torch.logaddexp(narrow, wide)


rungs = (1.0, 4.0, 16.0)
steps = (0.15, 0.6, 2.4)  # MALA's at each


def ladder_by_hand(energy, x0, n_steps, log_ratio, number):
    """The way of the cold chains, (K, B, 2)."""
    noise, path = stream(number), []
    x = [x0 for _ in rungs]
    for _ in range(n_steps):
        for i, (T, eta) in enumerate(zip(rungs, steps, strict=True)):
            x[i] = sample(
                lambda z, T=T: energy(z) / T, x[i], MALA(eta), 1, generator=noise
            ).x
        for i in range(len(rungs) - 1):
            log_r = log_ratio(energy(x[i]), energy(x[i + 1]), rungs[i], rungs[i + 1])
            swap = (torch.rand(len(x0), generator=noise).log() < log_r)[:, None]
            x[i], x[i + 1] = (
                torch.where(swap, x[i + 1], x[i]),
                torch.where(swap, x[i], x[i + 1]),
            )
        path.append(x[0])
    return torch.stack(path)


x0 = torch.tensor([[4.0, 0.0], [-4.0, 0.0]]).repeat(200, 1)
n_steps = settings.ladder_steps
tests = {
    "a ladder, your test": swap_log_ratio,
    "a ladder, every exchange accepted": lambda a, b, t, s: torch.zeros_like(a),
    "a ladder, temperatures forgotten": lambda a, b, t, s: a - b,
}
in_the_left = {
    name: (
        ladder_by_hand(two_valleys, x0, n_steps, test, 600 + i)[n_steps // 2 :, :, 0]
        < 0
    )
    for i, (name, test) in enumerate(tests.items())
}
alone = {
    "MALA alone": MALA(0.15),
    "HMC alone": HMC(0.3, 10, jitter=0.5),
    "ULA alone": Langevin(0.03),
    "the package's ParallelTempering": ParallelTempering(
        [MALA(eta) for eta in steps], rungs
    ),
}
for i, (name, kernel) in enumerate(alone.items()):
    start = x0.repeat(len(rungs), 1) if isinstance(kernel, ParallelTempering) else x0
    n = max(4, len(rungs) * n_steps // price(kernel))  # the ladder's gradient calls
    path = sample(
        two_valleys, start, kernel, n, keep_every=1, generator=stream(610 + i)
    ).path
    in_the_left[name] = path[len(path) // 2 :, : len(x0), 0] < 0

# %% tags=["hide-input"]
rows, weights = [], {}
for name in (*list(alone)[:3], *tests, list(alone)[3]):
    a_chain = in_the_left[name].double().mean(0)
    value, error = map(float, mean_and_error(a_chain))
    weights[name] = [value, error]
    rows.append(
        {"sampler": name, "in the narrow valley": plus_minus(a_chain, "{:.1%}")}
    )
rows.append({"sampler": "exact", "in the narrow valley": f"{2 / 3:.1%}"})
table(
    rows,
    f"400 samplers, {len(rungs) * n_steps:,} gradient calls each, the second half; T = {', '.join(f'{T:g}' for T in rungs)}",
)
record("two_valleys", weights)
mine = weights["a ladder, your test"]
always, plain = (
    weights["a ladder, every exchange accepted"],
    weights["a ladder, temperatures forgotten"],
)
say(
    f"With your test {mine[0]:.1%} ± {mine[1]:.1%} are in the narrow valley, where two thirds should be. Accepting every exchange gives the cold chain the hot "
    f"ones' states, {always[0]:.1%} ± {always[1]:.1%}, for heat favours wide valleys; forgetting the temperatures gives {plain[0]:.1%} ± {plain[1]:.1%}. "
    "All three cross the mountain, and nothing inside tells that two of them are wrong. A single chain stays where it began."
)

# %% [markdown]
# **And the eight valleys?** `ParallelTempering` on the two landscapes above, $T = 1, 3, 9$, MALA's step tuned at each temperature. The price is the same: the gradient calls of all three temperatures
# together are those that MALA had alone.


# %% tags=["hide-input"]
def ladder(target, x0, noise, temperatures=(1.0, 3.0, 9.0)):
    """Parallel tempering with a tuned MALA at each temperature."""
    kernels = []
    for T in temperatures:
        guess = MALA(0.05 * T)
        tuned_one, _ = warm_up(
            lambda z, T=T: target(z) / T, x0, guess, settings.warmup[1], generator=noise
        )
        kernels.append(tuned_one)
    return ParallelTempering(kernels, temperatures)


rows, worst_share, rates = [], {}, {}
for i, (width, landscape) in enumerate(mixtures.items()):
    x0 = landscape.means[:1].float().repeat(100, 1)
    kernel = ladder(landscape, x0, stream(620 + i))
    chain = sample(
        landscape,
        x0.repeat(3, 1),
        kernel,
        settings.mode_budget // price(kernel),
        keep_every=3,
        generator=stream(630 + i),
    )
    path = chain.path[:, :100]
    rates[width] = kernel.swap_rates(chain.energy[len(chain.energy) // 2 :])
    visited[width, "ladder"] = valleys_seen(landscape, path)
    ends[width, "ladder"] = path[-1]
    late = path[len(path) // 2 :]
    which = landscape.nearest(late.reshape(-1, 2)).reshape(late.shape[:2])
    times = torch.stack([(which == k).double().mean(0) for k in range(8)], 1)  # (B, 8)
    mean, error = mean_and_error(times)
    worst_share[width] = float(
        ((mean - 1 / 8).abs() / (error / 2).clamp(min=1e-9)).max()
    )
    rows.append(
        {
            "valleys": width,
            "seen": plus_minus(visited[width, "ladder"][-1]),
            "in the first at the end": share(landscape.nearest(path[-1]) == 0),
            "least visited valley": f"{mean.min():.1%} ± {error[mean.argmin()]:.1%}",
            "most visited": f"{mean.max():.1%} ± {error[mean.argmax()]:.1%}",
            "exchanges accepted": ", ".join(f"{rate:.0%}" for rate in rates[width]),
        }
    )
    value, error = mean_and_error(visited[width, "ladder"][-1])
    record(f"valleys_{width}_ladder", float(value))
    record(f"valleys_{width}_ladder_error", float(error))
record("ladder_shares_worst", worst_share)

fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), gridspec_kw={"width_ratios": (1.7, 1)})
for name in ("Langevin", "MALA", "HMC", "ladder"):
    seen = visited["narrow", name]
    axes[0].plot(
        torch.arange(1, len(seen) + 1) * settings.mode_budget / len(seen),
        seen.mean(1),
        color=colour.get(name, "black"),
        label="three temperatures" if name == "ladder" else name,
    )
axes[0].set(
    xlabel="gradient calls, all temperatures together",
    ylabel="valleys seen, mean of 100",
    title="narrow valleys",
    ylim=(0.8, 8.2),
)
axes[0].legend(fontsize=9)
draw_states(
    mixtures["narrow"], ends["narrow", "ladder"], axes[1], color="black", size=8
)
axes[1].set(title="the cold chains' last states", aspect="equal")
figure(
    f"The narrow valleys at the same price: with three temperatures a cold chain has seen {rows[1]['seen']} of the eight valleys, "
    f"and MALA alone {in_words['MALA']}.",
    "Left, valleys seen over gradient calls: the line of the ladder rises steeply towards eight, those of Langevin, MALA and HMC stay below "
    "two. Right, points in all eight valleys.",
    name="fig-s-ladder",
)
table(
    rows,
    f"Parallel tempering, T = 1, 3, 9, {settings.mode_budget:,} gradient calls for each of 100 samplers",
)
rates_by_size = {}
for n in (2, 20, 200):
    halves = 0.5 * torch.randn((2, 4000, n), generator=stream(640 + n)).square().sum(
        2
    )  # E/T at each temperature
    pair = ParallelTempering([MALA(1.0), MALA(1.0)], (1.0, 3.0))
    rates_by_size[n] = float(
        pair.swap_rates((halves * torch.tensor([[1.0], [3.0]])).T)[0]
    )
record("swap_rates_by_dimension", rates_by_size)
say(
    f"Of the eight shares of time none is more than {worst_share['narrow']:.1f} standard errors from 12.5%. The catch is the number of dimensions. Two "
    f"Gaussians at T = 1 and T = 3 exchange {rates_by_size[2]:.0%} of the time in 2 dimensions, {rates_by_size[20]:.1%} in 20 and "
    f"practically never in 200 (a rate of {rates_by_size[200]:.0e}): the energies then hardly overlap, and the steps of the ladder must shrink like $1/\\sqrt D$."
)

# %% [markdown]
# So a mountain is crossed by going round it, through temperatures at which it is low. The same idea, walked once and in one direction, gives the normaliser: that is AIS, below. And a model that learns
# its density at every noise level at once has made the ladder a part of itself: that is what a diffusion model does (Part J).
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
rows, rhats = [], {}
narrow = eight_gaussians(width=0.3)
beginnings = {
    "all chains from one valley": lambda k: narrow.means[:1].float().repeat(64, 1),
    "chains spread over the plane": lambda k: spread_start(narrow, 64, stream(200 + k)),
}
for name, begin in beginnings.items():
    found = []
    for k in range(4):  # the whole experiment, four times
        run = sample(
            narrow, begin(k), MALA(0.05), 600, keep_every=1, generator=stream(650 + k)
        )
        path = run.path[300:]
        flat = path.reshape(-1, 2)
        shares = narrow.nearest(flat).bincount(minlength=8) / len(flat)
        kl = grid_kl(flat, narrow, narrow.extent, log_z=narrow.log_z)
        found.append(
            (
                float(split_rhat(path).max()),
                float(ess(path).min()),
                int((shares > 0.01).sum()),
                kl,
            )
        )
    low, high = np.min(found, 0), np.max(found, 0)
    rows.append(
        {
            "start": name,
            "split R-hat": f"{low[0]:.3f} to {high[0]:.3f}",
            "effective draws": f"{low[1]:,.0f} to {high[1]:,.0f}",
            "valleys with more than 1 %": f"{low[2]:.0f} to {high[2]:.0f}"
            if low[2] < high[2]
            else f"{low[2]:.0f}",
            "KL to exact (nats)": f"{low[3]:.2f} to {high[3]:.2f}",
        }
    )
    rhats["one_start" if len(rows) == 1 else "spread"] = [float(low[0]), float(high[0])]
record("rhats", rhats)
table(
    rows,
    "MALA with η = 0.05 on valleys of width 0.3, 300 steps of 64 chains; smallest and largest of four runs",
)
say(
    "Chains that all missed the same valleys agree with each other: R-hat is at most "
    f"{rhats['one_start'][1]:.3f}, and seven "
    "eighths of the answer are missing. Spread starts disagree loudly, although "
    "their samples are much the better ones. **Start the chains wider apart "
    "than the answer.**"
)

# %% [markdown]
# ### Which kernel, on which landscape?
#
# Each kernel gets the same number of gradient calls a chain, from starts spread over the valleys; the first half is dropped.
# MALA's step is tuned to an acceptance of 0.574, HMC's to 0.8; the ladder has MALA at $T = 1, 3, 9$ and pays for all three. ULA and ProximalLangevin get a quarter of MALA's step; with all of it
# ULA is tried, too. ESS is the worse of the two coordinates', per 1,000 gradients of a chain; its error comes from eight groups of chains. KL is taken at equal numbers
# of states, so that the row of exact draws shows what is left of it when nothing is wrong; its error comes from leaving out each group in turn.
# Where $\hat R$ is far above 1, the chains have not met, and ESS says little.

# %%
if study("kernels"):
    comparison, table_paths, too_bold, numbers = [], {}, [], {}
    per_gradient = "ESS per 1,000 gradients"
    # States a chain: HMC's second half, all of it.
    n_kept = settings.budget // 20
    n_states = n_kept * settings.table_chains

    def kl_and_error(states, target):
        """KL of states (K, B, 2), and two standard errors by leaving out groups of chains."""
        on_grid = dict(extent=target.extent, n_bins=24, log_z=target.log_z)
        groups = states.chunk(8, dim=1)
        without = [
            torch.cat([g for g in groups if g is not left], 1).reshape(-1, 2)
            for left in groups
        ]
        kls = torch.tensor([grid_kl(part, target, **on_grid) for part in without])
        spread = ((len(kls) - 1) * (kls - kls.mean()).square().mean()).sqrt()
        return [grid_kl(states.reshape(-1, 2), target, **on_grid), 2 * float(spread)]

    for i, (where, target) in enumerate(targets.items()):
        kernels, start = tuned(target, 210 + 10 * i)
        kernels["ParallelTempering"] = ladder(target, start, stream(700 + i))
        numbers[where] = {}
        for name, kernel in kernels.items():
            row = {"landscape": where, "kernel": name}
            tempered = name == "ParallelTempering"
            step = kernel.kernels[0].step_size if tempered else kernel.step_size
            row["step"] = f"{step:.3g}"
            comparison.append(row)
            tick = time.perf_counter()
            try:
                run = sample(
                    target,
                    start.repeat(3, 1) if tempered else start,
                    kernel,
                    settings.budget // price(kernel),
                    keep_every=1,
                    generator=stream(215 + 10 * i),
                )
            except ChainDiverged:
                row["accepted"] = "diverged"
                continue
            seconds = time.perf_counter() - tick
            path = run.path[len(run.path) // 2 :, : len(start)]
            table_paths[where, name] = path
            worths = in_groups(lambda p: ess(p).min() / p[..., 0].numel(), path)
            worths = 1000 * worths / price(kernel)
            thin = path[:: len(path) // n_kept][:n_kept]
            kl = kl_and_error(thin, target)
            rhat = float(split_rhat(path).max())
            tested = isinstance(kernel, (MALA, HMC, ParallelTempering))
            row["accepted"] = f"{run.accept_rate:.2f}" if tested else "no test"
            row[per_gradient] = plus_minus(worths, "{:.1f}")
            row["split R-hat"] = f"{rhat:.2f}"
            row["KL (nats)"] = "{:.3f} ± {:.3f}".format(*kl)
            row["µs a gradient"] = f"{1e6 * seconds / settings.budget:.0f}"
            numbers[where][name] = dict(
                ess=[float(v) for v in mean_and_error(worths)], rhat=rhat, kl=kl
            )
        perfect = target.sample(n_states, stream(216 + 10 * i)).reshape(n_kept, -1, 2)
        kl = kl_and_error(perfect, target)
        numbers[where]["exact draws"] = dict(kl=kl)
        comparison.append(
            {
                "landscape": where,
                "kernel": "exact draws",
                "KL (nats)": "{:.3f} ± {:.3f}".format(*kl),
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
    record("kernels", numbers)

# %% tags=["hide-input"]
if study("kernels-pictures"):

    def above(a, b):
        """Is the interval of (value, error) a above that of b, with a gap between?"""
        return a[0] - a[1] > b[0] + b[1]

    def ahead(one, other):
        """Where one kernel has more effective draws than another, and both have met."""
        return [
            w
            for w in targets
            if max(numbers[w][name]["rhat"] for name in (one, other)) < 1.2
            and above(numbers[w][one]["ess"], numbers[w][other]["ess"])
        ]

    wins, losses = ahead("HMC", "MALA"), ahead("MALA", "HMC")
    met = [w for w in targets if numbers[w]["MALA"]["rhat"] < 1.2]
    ladder_wins = ahead("ParallelTempering", "MALA")
    still = [w for w in targets if "Langevin" not in numbers[w]]
    ran = [w for w in targets if w not in still]
    biased = [
        w
        for w in ran
        if above(numbers[w]["Langevin"]["kl"], numbers[w]["exact draws"]["kl"])
    ]
    worst_kl = [
        w
        for w in targets
        if all(
            above(numbers[w]["ProximalLangevin"]["kl"], numbers[w][name]["kl"])
            for name in colour
            if name != "ProximalLangevin" and name in numbers[w]
        )
    ]
    eight = numbers["eight Gaussians"]
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
    figure(
        "How fast the first coordinate forgets. By more than the errors of both, HMC has more effective draws per gradient than MALA on "
        f"the {', the '.join(wins) or 'none'}, and fewer on the {', the '.join(losses) or 'none'}. Counted are landscapes on which R-hat is "
        "below 1.2 for both.",
        "Five panels, one a landscape, with autocorrelation over gradient calls. Every line falls from one. HMC's falls first on "
        "the Gaussian, the banana and the ring, MALA's on the double well; on the eight Gaussians none has fallen by the end.",
        name="fig-s-autocorrelation",
    )
    say(
        f"At MALA's own step ULA "
        f"diverges on {', '.join(too_bold) or 'none of them'}; at a quarter of it "
        f"still on {', '.join(still) or 'none'}. Where it runs, its KL is above that of exact draws, by more than both errors, on "
        f"{', '.join(biased) or 'none'}. ProximalLangevin's R-hat and "
        "ESS are much like ULA's where ULA runs, while its KL is the worst of the four, by more than the errors, on "
        f"{len(worst_kl)} of 5 ({', '.join(worst_kl) or 'none'}). **ESS and R-hat ask whether the chains agree, not "
        f"whether they are right.** On the eight Gaussians R-hat is {eight['MALA']['rhat']:.2f} for MALA and {eight['HMC']['rhat']:.2f} for HMC: these "
        "chains have not finished, and a small KL is owed to their starts. For the ladder it is "
        f"{eight['ParallelTempering']['rhat']:.2f}. And of the {len(met)} landscapes on which MALA's is below 1.2, the ladder has more effective draws per "
        f"gradient than MALA on {len(ladder_wins)}, all temperatures paid for. In two dimensions a few hot chains cost little and see far."
    )
    record("ula_diverges_at_malas_step", too_bold)
    record("hmc_above_mala", wins)
    record("mala_above_hmc", losses)
    record("ladder_above_mala", ladder_wins)
    record("proximal_worst_kl", worst_kl)
    record("ula_biased", biased)

# %% [markdown]
# ### How often should a proposal be accepted? (S4)
#
# Small steps are accepted and go nowhere; large steps are refused. In many dimensions theory finds the best compromise at an acceptance of
# 0.574 for MALA {cite}`roberts1998optimal` and 0.651 for HMC at a fixed length of trajectory {cite}`beskos2013optimal`. **Do we see it?** A Gaussian in
# 400 dimensions, the step size varied; HMC's trajectories have length 1.2. The tops are flat, so that the best of a few noisy points would be a matter of luck. We repeat the scan with several seeds, lay a parabola
# through the upper points of each, and look at how far its tops lie apart. (That a parabola is not quite the curve's shape is an error that more seeds do not show.)

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


seeds = range(settings.scan_seeds)
mala_scans = [
    [
        (eta, *efficiency(MALA(float(eta)), 3 * settings.scan_draws, 500 + 10 * k))
        for eta in np.geomspace(0.04, 0.24, settings.scan)
    ]
    for k in seeds
]
hmc_scans = [
    [
        (1.2 / n, *efficiency(HMC(1.2 / n, n), settings.scan_draws, 502 + 10 * k))
        for n in (2, 3, 4, 5, 6, 8, 10)
    ]
    for k in seeds
]


def top(accepted, worth):
    """The acceptance at the top of a parabola through the upper points, log worth over acceptance."""
    high = worth > 0.5 * worth.max()
    if high.sum() > 2:
        a, b, _ = np.polyfit(accepted[high], np.log(worth[high]), 2)
        if a < 0:
            return float(np.clip(-b / (2 * a), accepted.min(), accepted.max()))
    return float(accepted[worth.argmax()])  # too few points for a parabola


# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.1))
best, good = {}, {}
for ax, (name, scans, theory) in zip(
    axes,
    (("MALA", mala_scans, 0.574), ("HMC", hmc_scans, 0.651)),
    strict=True,
):
    scans = np.array(scans)  # (seeds, steps, 3)
    tops = [top(scan[:, 1], scan[:, 2]) for scan in scans]
    best[name] = [float(v) for v in mean_and_error(tops)]
    accepted, (worth, error) = scans[:, :, 1].mean(0), mean_and_error(scans[:, :, 2])
    good[name] = accepted[np.asarray(worth) > 0.8 * float(worth.max())]
    ax.errorbar(accepted, worth, error, fmt="o-", ms=4, color=colour[name])
    ax.axvline(theory, color="black", lw=0.8, ls=":")
    ax.axvspan(
        best[name][0] - best[name][1],
        best[name][0] + best[name][1],
        color=colour[name],
        alpha=0.2,
        lw=0,
    )
    ax.set(
        xlim=(0, 1),
        ylim=(0, None),
        xlabel="acceptance",
        title=f"{name}, {n_dims} dimensions",
    )
    record(f"best_acceptance_{name}", best[name][0])
    record(f"best_acceptance_{name}_error", best[name][1])
axes[0].set_ylabel("effective draws\nper 1,000 gradients")
verdicts = []
for name, theory in (("MALA", 0.574), ("HMC", 0.651)):
    inside = abs(best[name][0] - theory) <= best[name][1]
    verdicts.append(
        f"Its number for {name} is {'inside' if inside else 'outside of'} what we measure."
    )
figure(
    f"The best acceptance (shaded, with two standard errors from {len(seeds)} seeds): {best['MALA'][0]:.2f} ± {best['MALA'][1]:.2f} for MALA, "
    f"theory 0.574; {best['HMC'][0]:.2f} ± {best['HMC'][1]:.2f} for HMC, theory 0.651 (dotted).",
    "Two panels, effective draws per 1,000 gradients over acceptance, MALA and HMC. Both curves rise, have a broad flat top around "
    "the dotted line of the theory, and fall.",
    name="fig-s-acceptance",
)
say(
    f"The tops are flat: 80% of the best is "
    f"reached by MALA between acceptances of {min(good['MALA']):.2f} and "
    f"{max(good['MALA']):.2f} among the steps tried, by HMC between "
    f"{min(good['HMC']):.2f} and {max(good['HMC']):.2f}. The theory is for "
    f"infinitely many dimensions. {' '.join(verdicts)} Anything near its number is fine."
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
# It is the ladder of temperatures again, walked by one chain from the hot end to the cold one, and never back.
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
error = 2 * float(log_mean_exp_error(log_w))
say(
    f"Eight Gaussians, 500 chains, 100 temperatures: log Z ≈ "
    f"**{estimate:.3f} ± {error:.3f}**; exact: **{mixture.log_z:.3f}**, which is "
    f"{abs(float(estimate) - mixture.log_z) / (error / 2):.1f} standard errors away."
)
record("ais_by_hand", [float(estimate), error])

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
figure(
    f"The chains, which started at the centre, have reached {seen} of the 8 "
    "valleys: the hot end of the path has no mountains. The points' areas "
    "show the weights.",
    "Left, points of different sizes in the eight valleys. Right, a histogram of log weights, skewed to the left, with the exact "
    "log Z as a line near its right side.",
    name="fig-s-ais",
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
    all_of_them, error = float(log_mean_exp(log_w)), float(log_mean_exp_error(log_w))
    rows.append(
        {
            "temperatures": n,
            "10 chains: mean error": plus_minus(off, "{:.3f}"),
            "1 chain: mean error": plus_minus(log_w - mixture.log_z, "{:.3f}"),
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
)
few, many = mean_and_error(spreads[0]), mean_and_error(spreads[-1])
figure(
    f"AIS with ten chains on the eight Gaussians, {settings.ais_groups} times. With one temperature the estimate of log Z is "
    f"{-few[0]:.2f} ± {few[1]:.2f} nats too low on average; with {settings.temperatures[-1]} its mean error is {many[0]:+.3f} ± {many[1]:.3f}. "
    "Whiskers hold 95%.",
    "Box plots of the error over the number of temperatures. With one temperature a tall box far below zero; with more the boxes "
    "shrink and settle at zero, from below.",
    name="fig-s-ais-bias",
)
table(rows, f"{settings.ais_groups} repetitions, in nats")
record("ais_bias", rows)
record("ais_bias_few", float(few[0]))
record("ais_bias_few_error", float(few[1]))
record("ais_bias_many", float(many[0]))
record("ais_bias_many_error", float(many[1]))
say(
    "Note the honest interval's weakness: "
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
    error = float(log_mean_exp_error(log_w))
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
say(
    f"The worst of the five is {max(abs(e) for e in in_errors):.1f} standard errors off. Of five estimates that are right, "
    "the worst is usually between 0.6 and 2.6."
)

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
figure(
    "The banana: 500 chains from one point, after 200 gradient calls. "
    "Rows are kernels, columns are step sizes (HMC's leapfrog step is √(2η)). "
    "Too small: the start is still to be seen. Too large: Langevin diverges "
    "(its start is shown), MALA refuses most of its proposals and HMC nearly "
    "all, and ProximalLangevin walks off.",
    "A grid of 16 panels with points over the banana's contour lines. In the left column the points sit near their start; in the "
    "middle ones they fill the banana; in the right one they have vanished, stand still, or lie far outside.",
    name="fig-s-twin",
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
            "the tamed double well's variance, η = 0.1",
            lambda r: r["tamed"]["tamed 0.1"]["found"],
            "of the step: see above",
        ),
        three(
            "narrow valleys seen by MALA",
            "valleys_narrow_MALA",
            "8 in the limit",
            "{:.2f}",
        ),
        three(
            "narrow valleys seen with three temperatures",
            "valleys_narrow_ladder",
            "8 in the limit",
            "{:.2f}",
        ),
        three(
            "weight of the narrow one of two valleys, ladder",
            lambda r: r["two_valleys"]["a ladder, your test"][0],
            "0.667",
        ),
        three(
            "… every exchange accepted",
            lambda r: r["two_valleys"]["a ladder, every exchange accepted"][0],
            "–",
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
# - **`ChainDiverged`.** The step is larger than twice the smallest squared length scale. Halve it; or tame it, and know the bias; or bound the gradient or the state, and know that you then sample something else.
# - **Acceptance is 0.** The step is too large, or the start is so far out that every proposal from it is refused. Warm up with small steps: `warm_up` does.
# - **Acceptance is 1.** The step is too small. Enlarge it until about 0.6.
# - **The variance tends to half of the right one as the step shrinks.** The proposal densities are missing from the ratio.
# - **HMC's mean is perfect and its variance constant.** A trajectory near half a period. Jitter.
# - **R-hat is 1.00 and the result is wrong.** All chains started in one valley. Spread the starts.
# - **A ladder's chains never exchange.** Neighbouring temperatures are too far apart; `swap_rates` tells which. Add a rung between them, until a fifth to a half of the exchanges is accepted.
# - **The ladder exchanges, and the cold chains still see one valley.** The hottest one is not hot enough to cross. Add a rung above it.
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
# 8. Two Gaussians in $D$ dimensions at temperatures $T_1 < T_2$: how far apart are their mean energies, and how wide are the energies spread? So how must $T_2/T_1$ depend on $D$ if exchanges are to be accepted?
#
# ## Further reading
#
# - Neal, *MCMC using Hamiltonian dynamics* {cite}`neal2011hmc`: the clearest account there is, walls and periodicity included.
# - Betancourt, *A Conceptual Introduction to Hamiltonian Monte Carlo* {cite}`betancourt2017conceptual`: why long trajectories work in many dimensions.
# - Neal, *Annealed Importance Sampling* {cite}`neal2001ais`.
# - Earl and Deem, *Parallel tempering: Theory, applications, and new perspectives* {cite}`earl2005tempering`.
# - Vehtari et al. {cite}`vehtari2021rhat`: R-hat and ESS as they are computed here.
# - Roberts and Tweedie {cite}`roberts1996langevin`: when Langevin chains converge, and when they cannot.
