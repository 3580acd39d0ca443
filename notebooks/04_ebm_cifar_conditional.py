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
# # Photographs, and digits on request
#
# Two {term}`energies <energy>` in one chapter. The first has to learn CIFAR-10, which is hard enough that every choice in
# the sampler shows: how large the steps are, how many, where chains begin, whether the noise is
# {term}`annealed <annealing>`. We vary them one at a time and measure. The second is a
# **{term}`conditional <conditional model>`** energy $E(x, y)$: ask it for a seven and it draws sevens, ask it which
# digit a picture shows and it answers, and both with the same network.
#
# ```{admonition} What you will learn
# - the ε-form of Langevin dynamics, how step, noise and temperature hang together in it, and how far its chains can get (C2);
# - what chain length and step size buy, in a study with error bars (C2, C5);
# - noise against replay buffer as the start of training chains (C3), constant against annealed ε (C4);
# - how a label enters an energy, as a choice of output or as an input, what training must compare so that $\arg\min_y E(x, y)$ classifies, and what a prior adds (C6).
# ```
#
# **Before you start.** Part B: {term}`contrastive divergence`, {term}`replay buffer`, {term}`temperature`.
#
# **Time and hardware.**
#
# | profile | data | what happens | time |
# |---|---|---|---|
# | `quick` | drawn shapes, built-in digits | the two main trainings, short; the studies are shown from the long run | about a minute and a half, one core |
# | `laptop` | CIFAR-10 and MNIST | coloured structure, digits on request, all studies over three seeds | 20 minutes for the photographs; more than an hour in all, two cores (the sum of its pieces, not timed whole) |
# | `full` | CIFAR-10 and MNIST | nine wide blocks at full resolution, long training | a day, one GPU (not yet measured) |

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
import time

import torch

from gen_utils import checkpoints, report
from gen_utils.checks import ebm_cifar_conditional as checks
from gen_utils.data import load_images, to_float, to_uint8
from gen_utils.evaluation.controls import controls
from gen_utils.evaluation.frechet import (
    extract_features,
    frechet_distance,
    frechet_interval,
)
from gen_utils.evaluation.intervals import bootstrap, welch
from gen_utils.experiments.sweep import summary, sweep
from gen_utils.models import (
    ConditionalEnergy,
    LabelInputEnergy,
    ResidualEnergy,
    StridedEnergy,
)
from gen_utils.models.conditional_energy import classify
from gen_utils.plotting import chain_strip, curves, image_grid, plt, use_style
from gen_utils.profiles import choose
from gen_utils.report import record, say, table
from gen_utils.samplers import Langevin, UniformStart, geometric, sample
from gen_utils.training import (
    EBMConfig,
    EBMTraining,
    EBMWatch,
    FitConfig,
    fit,
)
from gen_utils.training.cards import card_facts
from gen_utils.training.watches import QualityWatch, Watch

# %% tags=["parameters"]
profile = "quick"  # quick, laptop or full
data_root = ""  # where the data are; empty means $GEN_DATA_ROOT, else ./data
seed = 0
ship = False  # True writes the trained models to checkpoints/

# %% tags=["hide-input"]
settings = choose(
    profile,
    quick=dict(
        photos="shapes",
        digits="digits",
        limit=None,
        batch_size=16,
        shipped_chain=400,
        shipped_digit_chain=256,
        width=8,
        stem_stride=2,
        train_steps=60,
        chain_steps=8,
        looks=2,
        n_shown=10,
        study_widths=None,
        study_steps=None,
        label_steps=None,  # of studies, which quick does not run
        study_epsilons=(0.0025, 0.005, 0.01),
        study_lengths=(5, 20, 40),
        prolonged=None,
        seeds=1,
        n_eval=48,
        n_study=32,
        final_chain=40,
        study_chain=20,
        digit_width=16,
        digit_steps=160,
        per_class=8,
        digit_chain=128,
        annealed_chain=24,
        rounds=10,
        round_steps=5,
        resamples=10,
        form_resamples=50,
        form_steps=None,
        form_looks=2,
        form_class=None,
        form_watch=None,
    ),
    laptop=dict(
        photos="cifar10",
        digits="mnist",
        limit=None,
        batch_size=64,
        shipped_chain=400,
        shipped_digit_chain=256,
        width=32,
        stem_stride=2,
        train_steps=800,
        chain_steps=30,
        looks=8,
        n_shown=60,
        study_widths=(32, 64, 128),
        study_steps=400,
        study_epsilons=(0.0025, 0.005, 0.01),
        study_lengths=(5, 20, 40),
        prolonged=300,
        seeds=3,
        n_eval=1000,
        n_study=300,
        final_chain=400,
        study_chain=200,
        digit_width=16,
        digit_steps=3000,
        label_steps=250,
        per_class=100,
        digit_chain=256,
        annealed_chain=64,
        rounds=30,
        round_steps=5,
        resamples=200,
        form_resamples=50,
        form_steps=800,
        form_looks=4,
        form_class=150,
        form_watch=20,
    ),
    full=dict(
        photos="cifar10",
        digits="mnist",
        limit=None,
        batch_size=64,
        shipped_chain=400,
        shipped_digit_chain=256,
        width=128,
        stem_stride=1,
        train_steps=100_000,
        chain_steps=60,
        looks=10,
        n_shown=60,
        study_widths=(64, 128, 256),
        study_steps=5000,
        study_epsilons=(0.0025, 0.005, 0.01),
        study_lengths=(5, 20, 40, 80),
        prolonged=1000,
        seeds=3,
        n_eval=10_000,
        n_study=1000,
        final_chain=1000,
        study_chain=400,
        digit_width=32,
        digit_steps=40_000,
        label_steps=4000,
        per_class=500,
        digit_chain=512,
        annealed_chain=64,
        rounds=30,
        round_steps=5,
        resamples=200,
        form_resamples=50,
        form_steps=10_000,
        form_looks=10,
        form_class=500,
        form_watch=50,
    ),
    smoke=dict(  # in tests: every line runs, nothing is learnt
        limit=300,
        shipped_chain=8,
        shipped_digit_chain=8,
        width=4,
        study_widths=(4, 4, 4),
        digit_width=4,
        train_steps=4,
        chain_steps=3,
        n_eval=32,
        n_study=16,
        final_chain=12,
        study_chain=4,
        study_steps=1,
        study_epsilons=(0.0025, 0.01),
        study_lengths=(4, 8),
        prolonged=4,
        digit_steps=4,
        label_steps=1,
        per_class=4,
        digit_chain=8,
        annealed_chain=4,
        rounds=2,
        round_steps=1,
        resamples=5,
        form_resamples=2,
        form_steps=2,
        form_class=4,
        form_watch=1,
    ),
)
use_style()
study = report.studies("04_ebm_cifar_conditional", profile)
torch.manual_seed(seed)
started = time.perf_counter()
box = (-1.0, 1.0)

# %% [markdown]
# ## Where we are going
#
# Ten columns, one class a column. All hundred chains start from uniform noise; what differs between the columns is
# only the label that the energy was given.

# %%
on_request = (
    checkpoints.load("ebm_digits_conditional")
    if "ebm_digits_conditional" in checkpoints.names()
    else None
)
photo_energy = (
    checkpoints.load("ebm_cifar") if "ebm_cifar" in checkpoints.names() else None
)
digit_judge = checkpoints.load("digit_classifier")
photo_judge = checkpoints.load("cifar_classifier")

descent = Langevin(
    step_size=10.0, noise=0.005, grad_clip=0.03, bounds=box
)  # the sampler of Part B


def draw_digits(energy, rows, n_steps, stream_seed=seed + 10):
    """(rows · 10, 1, 28, 28) chains from noise: each row of ten asks for the classes 0 to 9."""
    stream = torch.Generator().manual_seed(stream_seed)
    labels = torch.arange(10).repeat(rows)
    start = UniformStart((1, 28, 28)).draw(len(labels), generator=stream)
    chain = sample(
        energy.given(labels), start, descent, n_steps, generator=stream, fast=True
    )
    return to_uint8(chain.x), labels


if on_request is None:
    say(
        "*No trained models are here yet: run this notebook with `ship = True` to make them. The chapter goes on without them.*"
    )
else:
    asked, _ = draw_digits(on_request, 10, settings.shipped_digit_chain)
    image_grid(
        asked,
        f"Shipped conditional energy ({on_request.card['data']}): column k was asked for class k, {settings.shipped_digit_chain} steps, not selected",
        columns=10,
        width=6,
    )

# %% tags=["hide-input"]
if photo_energy is not None:
    stream = torch.Generator().manual_seed(seed)
    start = UniformStart((3, 32, 32)).draw(settings.n_shown, generator=stream)
    pictures = sample(
        photo_energy,
        start,
        descent,
        settings.shipped_chain,
        generator=stream,
        fast=True,
    ).x
    image_grid(
        pictures,
        f"Shipped energy of photographs ({photo_energy.card['data']}): {settings.n_shown} chains from noise, {settings.shipped_chain} steps, not selected",
        columns=15,
    )

# %% [markdown]
# The photographs are not photographs: what two cores can learn of CIFAR-10 in twenty minutes is colour, layout and
# texture, not objects. Published energies of this kind train for days on GPUs and reach a
# {term}`Fréchet (Inception) distance <Fréchet distance>` of about 40 {cite}`du2019implicit`. What the small budget
# *is* good for is comparison: the same budget for every choice.
#
# ## The data

# %%
photos = load_images(
    settings.photos, "train", size=32, limit=settings.limit, root=data_root
)
photos_test = load_images(
    settings.photos, "test", size=32, limit=settings.limit, root=data_root
)
image_grid(
    photos.images[
        torch.randperm(len(photos), generator=torch.Generator().manual_seed(seed))[:45]
    ],
    f"{photos.title}: training images",
    columns=15,
)
digits = load_images(settings.digits, "train", limit=settings.limit, root=data_root)
digits_test = load_images(settings.digits, "test", limit=settings.limit, root=data_root)
image_grid(digits.images[:45], f"{digits.title}: training images", columns=15)
record("photos", photos.title)
record("digits", digits.title)
say(
    f"{len(photos):,} and {len(photos_test):,} images of **{photos.title}**, {len(digits):,} and {len(digits_test):,} of **{digits.title}**."
)

# %% [markdown]
# ## The ε-form (C2)
#
# The assignment writes {term}`Langevin dynamics` with one number,
#
# ```{math}
# :label: eq-epsilon-form
# x_{t+1} = x_t - \frac{\varepsilon^2}{2}\,\nabla E(x_t) + \varepsilon\, \xi_t, \qquad \xi_t \sim \mathcal N(0, I),
# ```
#
# while this workbook's kernels take a step $\eta$ and a noise $\sigma$. So $\eta = \varepsilon^2/2$ and $\sigma = \varepsilon$, and the temperature
# $\sigma^2 / 2\eta$ is one, whatever ε. But a network's output $f$ has slopes near one, and against those the
# noise of temperature one wins by far: with $\varepsilon = 0.005$ the drift would be $10^{-5}$ of a slope. The way out is
# a scale. Let the energy be $E(x) = f(x) / \tau$ with a small fixed $\tau$. Then the ε-form of $E$ is
#
# ```{math}
# :label: eq-epsilon-scaled
# x_{t+1} = x_t - \frac{\varepsilon^2}{2\tau}\,\nabla f(x_t) + \varepsilon\,\xi_t ,
# ```
#
# and with $\tau = 1.25 \cdot 10^{-6}$, $\varepsilon = 0.005$ its step is $\varepsilon^2 / 2\tau = 10$ and its noise
# 0.005: **exactly the sampler of Part B**. On paper, the "cold" sampler of $f$ is one of temperature one for the steep energy $f/\tau$. In fact it samples nothing of the kind: a step of 10 is far too long for so steep an energy.
# As in Part B, an energy, a start, a step and a length together make a *short-run generator*, and every distance below is that generator's. In this chapter $\tau$ is fixed, and ε is what we vary.

# %%
tau = 1.25e-6
grad_clip = 0.03


def epsilon_kernel(epsilon):
    """Langevin in the ε-form for E = f/τ; ε is a number or a schedule."""
    if callable(epsilon):
        return Langevin(
            lambda t, n: epsilon(t, n) ** 2 / (2 * tau),
            noise=epsilon,
            grad_clip=grad_clip,
            bounds=box,
        )
    return Langevin(
        epsilon**2 / (2 * tau), noise=epsilon, grad_clip=grad_clip, bounds=box
    )


say(
    f"ε = 0.005 and τ = {tau:g} give step {epsilon_kernel(0.005).step_size:g} and noise {epsilon_kernel(0.005).noise:g}."
)

# %% [markdown]
# **Does it sample $f/\tau$?** A chain that has reached a density of $d$ pixels at temperature one goes up as often as down: its mean energy stands, and single chains vary by about $\sqrt{d/2}$ nats. So we run the shipped energies
# for the length on their cards and look at the last ten steps. The same chains say two more things: whether the clamp of the gradient ever binds, and how many pixels stand on a wall of the box, where they would hardly be if the energy alone decided.

# %% tags=["hide-input"]
descent_rows = []
for name, model, length, wanted in (
    ("photographs", photo_energy, settings.shipped_chain, None),
    ("digits on request", on_request, settings.shipped_digit_chain, torch.arange(8)),
):
    if model is None:
        continue
    energy_of = model if wanted is None else model.given(wanted)
    stream = torch.Generator().manual_seed(seed + 15)
    start = UniformStart(model.event_shape).draw(8, generator=stream)
    chain = sample(
        energy_of,
        start,
        epsilon_kernel(0.005),
        length,
        keep_every=max(1, length // 16),
        generator=stream,
    )
    slopes = []
    for x in (start, *chain.path):
        x = x.clone().requires_grad_()
        slopes.append(torch.autograd.grad(energy_of(x).sum(), x)[0].abs())
    slopes = torch.stack(slopes)
    back = min(10, length - 1)
    descent_rows.append(
        {
            "energy": name,
            "steps": length,
            "fall": float((chain.energy[-1 - back] - chain.energy[-1]).mean() / tau),
            "spread": float((start[0].numel() / 2) ** 0.5),
            "largest": float(slopes.max()),
            "clamped": float((slopes > grad_clip).double().mean()),
            "walls": float((chain.x.abs() == 1).double().mean()),
        }
    )
table(
    [
        {
            "energy": row["energy"],
            "steps": row["steps"],
            "fall of f/τ in the last ten steps (nats)": f"{row['fall']:.0f}",
            "√(d/2)": f"{row['spread']:.0f}",
            "largest |slope| of f": f"{row['largest']:.4f}",
            "slopes clamped": f"{row['clamped']:.1%}",
            "pixels on a wall": f"{row['walls']:.0%}",
        }
        for row in descent_rows
    ],
    "Eight chains of each shipped energy, ε = 0.005; slopes at the start and at up to seventeen states of the way",
)
say(
    " ".join(
        f"**{row['energy'].capitalize()}:** after {row['steps']} steps $f/\\tau$ "
        + (
            f"still falls, by {row['fall']:.0f} nats in ten steps: these chains have not arrived. "
            if row["fall"] > row["spread"]
            else f"changes by {-row['fall']:+.0f} nats in ten steps, less than one chain's spread; that alone does not show that they have arrived. "
        )
        + (
            "The clamp binds nowhere on the way: it is **idle**, and leaving it out would change none of these states."
            if row["clamped"] == 0
            else f"The clamp binds at {row['clamped']:.1%} of the slopes looked at."
        )
        for row in descent_rows
    )
)
record("descent", descent_rows)

# %% [markdown]
# ### How far does a chain get?
#
# Before we compare samplers: can their chains reach anything at all? Every element of $\nabla f$ is clamped to $[-c, c]$, and so a pixel that is pushed the same way in every step has a longest way that can
# be computed. The noise of the steps is independent, so it adds up by its variances.

# %% [markdown]
# ```{exercise-start} Predict, then run: the reach of a chain
# :label: ex-chain-reach
# ```
# *Goal: say how far a chain can carry a pixel, before running it. About 10 minutes, 2 points.*
#
# `epsilons` holds $\varepsilon_t$ of each step, which need not be equal. Return two numbers for a chain with the steps of {eq}`eq-epsilon-scaled`, the gradient of $f$ clamped to $\pm c$ (`grad_clip`): the
# farthest that all drifts together can carry a pixel, and the standard deviation of all noises together. Forget the box here.


# %% tags=["exercise"]
def reach(epsilons, tau, grad_clip):
    """ε of each step (T,), the scale τ, the clamp c -> the farthest drift, the noise's standard deviation."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-chain-reach
# :class: dropdown
# ```
# One step drifts by $\varepsilon_t^2 c / 2\tau$ at most, and these add up. The variances $\varepsilon_t^2$ add up as well, and the root comes last. So the two are tied: the drift is $c / 2\tau$ times the *square* of the
# noise. Neither can be had without the other, and along a chain the drift outgrows the noise.


# %% tags=["solution"]
def reach(epsilons, tau, grad_clip):
    """ε of each step (T,), the scale τ, the clamp c -> the farthest drift, the noise's standard deviation."""
    variance = epsilons.square().sum()
    return variance * grad_clip / (2 * tau), variance.sqrt()


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.reach(reach)

# %% [markdown]
# **Now run.** The study further down trains with chains of these ε and $T$. What can they reach, and what do they? Eight chains from noise on the shipped energy of photographs; each pixel
# of them may move by 2 before it meets a wall.

# %% tags=["hide-input"]
if photo_energy is not None:
    stream = torch.Generator().manual_seed(seed + 1)
    start = UniformStart((3, 32, 32)).draw(8, generator=stream)
    reach_rows = []
    for epsilon in settings.study_epsilons:
        for length in settings.study_lengths:
            drift, spread = reach(torch.full((length,), epsilon), tau, grad_clip)
            end = sample(
                photo_energy, start, epsilon_kernel(epsilon), length, generator=stream
            ).x
            moved = (end - start).abs()
            reach_rows.append(
                {
                    "ε": epsilon,
                    "T": length,
                    "drift, at most": f"{float(drift):.2f}",
                    "noise": f"{float(spread):.3f}",
                    "the farthest pixel": f"{float(moved.max()):.2f}",
                    "a pixel on average": f"{float(moved.mean()):.2f}",
                }
            )
    table(
        reach_rows,
        f"Predicted by your function, and measured ({photo_energy.card['data']})",
    )
    record("reach", reach_rows)
    short = [
        f"ε = {r['ε']:g}, T = {r['T']}"
        for r in reach_rows
        if float(r["drift, at most"]) < 1
    ]
    say(
        f"Too short to carry a pixel even half-way across the box: {', '.join(short) or 'none'}. Where the bound is small, the farthest pixel "
        "comes close to it (and the noise may carry it a little beyond): there the clamp decides, and not the energy."
    )

# %% [markdown]
# No training makes up for a chain that cannot get there. Started from noise, it ends as noise that has been pushed a little; only a buffer, in which chains go on where they stopped, gives it the steps it
# lacks. Remember the table when you read the studies.

# %% [markdown]
# ## Annealing ε (C4)
#
# Large steps travel, small steps polish. A chain can do both: begin with $\varepsilon_\text{start}$, end with
# $\varepsilon_\text{end}$, and shrink by the same factor at every step.
#
# ```{math}
# :label: eq-annealed
# \varepsilon_t = \varepsilon_\text{start} \left( \frac{\varepsilon_\text{end}}{\varepsilon_\text{start}} \right)^{t/T}, \qquad t = 1, \dots, T.
# ```
#
# The last step, $t = T$, has $\varepsilon_\text{end}$; $\varepsilon_\text{start}$ is the value at $t = 0$, before the first one. The assignment goes from 0.01 to 0.0025. **Why these numbers?** A better
# question is what a step should be able to do. The first should be able to carry a pixel from wall to wall. The last need not move it further than one grey level, 2/255. Call the largest drift of one
# step its reach, $\varepsilon_t^2 c / 2\tau$.

# %% [markdown]
# ```{exercise-start} Choose the schedule
# :label: ex-anneal
# ```
# *Goal: choose a schedule from what its steps should do. About 15 minutes, 2 points.*
#
# Return the pair $(\varepsilon_\text{start}, \varepsilon_\text{end})$ with which the schedule {eq}`eq-annealed` of `n_steps` $\ge 2$ steps has a first step, $t = 1$, of reach `first` and a last step,
# $t = T$, of reach `last`. `tau` is $\tau$, `grad_clip` is $c$. All arguments are plain positive numbers.


# %% tags=["exercise"]
def endpoints(first, last, n_steps, tau, grad_clip):
    """Reach of the first and of the last step -> (ε_start, ε_end)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-anneal
# :class: dropdown
# ```
# Reach $r$ wants $\varepsilon = \sqrt{2\tau r/c}$. From step 1 to step $T$ there are $T - 1$ equal factors, which gives the factor; $\varepsilon_\text{start}$ lies one factor before step 1.


# %% tags=["solution"]
def endpoints(first, last, n_steps, tau, grad_clip):
    """Reach of the first and of the last step -> (ε_start, ε_end)."""
    one, end = ((2 * tau * r / grad_clip) ** 0.5 for r in (first, last))
    factor = (end / one) ** (1 / (n_steps - 1))  # from each step to the next
    return one / factor, end


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.endpoints(endpoints)

# %% [markdown]
# **What does your schedule change?** Chains of the shipped conditional energy, four for each digit, from the same noise, by three schedules. A judge, the classifier that came with the workbook, says how many show the digit that was asked for.

# %% tags=["hide-input"]
n = settings.annealed_chain
start_at, end_at = (float(e) for e in endpoints(2.0, 2 / 255, n, tau, grad_clip))
schedules = {
    "constant, 0.005": lambda t, n: 0.005,
    "the assignment's, 0.01 → 0.0025": geometric(0.01, 0.0025),
    f"yours, {start_at:.2g} → {end_at:.2g}": geometric(start_at, end_at),
}
fig, axes = plt.subplots(1, 2, figsize=(9, 2.9))
rows = []
for name, schedule in schedules.items():
    ts = range(1, n + 1)
    reaches = [
        float(
            reach(torch.tensor([schedule(t, n)], dtype=torch.float64), tau, grad_clip)[
                0
            ]
        )
        for t in ts
    ]
    axes[0].plot(ts, reaches, label=name)
    row = {
        "schedule": name,
        "first step's reach": f"{reaches[0]:.2f}",
        "last step's": f"{reaches[-1]:.4f}",
    }
    if on_request is not None:
        stream = torch.Generator().manual_seed(seed + 11)
        wanted = torch.arange(10).repeat(4)
        start = UniformStart((1, 28, 28)).draw(40, generator=stream)
        chain = sample(
            on_request.given(wanted),
            start,
            epsilon_kernel(schedule),
            n,
            generator=stream,
        )
        axes[1].plot(ts, chain.energy.mean(1), label=name)
        with torch.no_grad():
            seen = digit_judge(chain.x).argmax(1)
        row |= {
            "mean output f at the end": f"{float(chain.energy[-1].mean()):.3f}",
            "seen as asked": f"{float((seen == wanted).double().mean()):.0%}",
            "pixels on a wall": f"{float((chain.x.abs() == 1).double().mean()):.0%}",
        }
    rows.append(row)
for level in (2, 2 / 255):
    axes[0].axhline(level, color="gray", lw=0.8, ls=":")
axes[0].set(
    yscale="log",
    xlabel="step of the chain",
    ylabel="largest drift",
    title="Reach of each step",
)
axes[1].set(
    xlabel="step of the chain", ylabel="mean output f", title="Forty chains, one noise"
)
axes[0].legend(fontsize=7)
table(rows, f"Three schedules of {n} steps on the shipped conditional energy (MNIST)")
record("schedules", rows)

# %% [markdown]
# Dotted: the box, and a grey level. With the constant ε even the last step may throw a pixel a seventh of the way across the box; with yours it polishes. Steps that are too large leave pixels standing on a
# wall: compare the last column. Whether the *digits* are better is another matter, and forty chains tell differences of ten per cent from chance only just.

# %% [markdown]
# ## An energy for photographs (C1)
#
# Nine residual blocks in three stages, SiLU, no norm, and **no activation at the output**: an energy may be any number.
# The last convolution of every block starts at zero, so the network begins shallow and grows as it is needed. On two
# cores the first stage works at half resolution.


# %%
base = dict(
    n_steps=settings.chain_steps,
    capacity=4096,
    restart=0.05,
    alpha=0.1,
    data_noise=0.02,
    lr=4e-4,
    betas=(0.0, 0.999),
    decay="cosine",
    grad_norm=1.0,
)


def named_epsilon(epsilon):
    """A number, or [start, end] for the annealed schedule."""
    return geometric(*epsilon) if isinstance(epsilon, (list, tuple)) else epsilon


def train_photos(
    max_steps,
    *,
    name,
    run_seed=seed,
    epsilon=0.005,
    watchers=(),
    **changes,
):
    """Train a residual energy on the photographs; a finished run is loaded, an unfinished one goes on."""
    chosen = {**base, **changes}
    config = EBMConfig(
        **chosen, kernel=epsilon_kernel(named_epsilon(epsilon)), seed=run_seed
    )
    torch.manual_seed(run_seed)
    network = ResidualEnergy(width=settings.width, stem_stride=settings.stem_stride)
    return fit(
        EBMTraining(network, config),
        photos,
        config=FitConfig(
            max_steps,
            batch_size=settings.batch_size,
            seed=run_seed,
            name=name,
            flip=True,
            checkpoint_every=100,
            log_every=1 if max_steps <= 200 else 5,
        ),
        resume=True,
        callbacks=list(watchers),
    )


photo_features = extract_features(photo_judge, photos_test)


def photo_distance(images):
    """Fréchet distance to the held-out photographs, CIFAR-classifier features; compare equal numbers of images only."""
    return frechet_distance(photo_features, extract_features(photo_judge, images))


BLOBS = "black and white blobs"


def blobs(n, shape, side=4):
    """(n, C, H, W) uint8: a coarse grid of random numbers, smoothed, and nothing but black and white kept."""
    stream = torch.Generator().manual_seed(seed + 16)
    coarse = torch.randn((n, 1, side, side), generator=stream)
    smooth = torch.nn.functional.interpolate(coarse, size=shape[1:], mode="bicubic")
    return 255 * (smooth > 0).to(torch.uint8).repeat(1, shape[0], 1, 1)


def draw_photos(energy, epsilon, n, n_steps, stream_seed=seed + 20):
    """Fresh chains from uniform noise, as uint8."""
    stream = torch.Generator().manual_seed(stream_seed)
    start = UniformStart((3, 32, 32)).draw(n, generator=stream)
    kernel = epsilon_kernel(named_epsilon(epsilon))
    return to_uint8(
        sample(energy, start, kernel, n_steps, generator=stream, fast=True).x
    )


strips = EBMWatch(
    settings.train_steps // settings.looks,
    {"data": to_float(photos_test.images[:64])},
    n_chains=8,
    n_steps=settings.final_chain,
    n_kept=10,
)
quality_watch = QualityWatch(
    settings.train_steps // settings.looks,
    photo_distance,
    settings.n_study,
    n_steps=settings.study_chain,
)
run = train_photos(
    settings.train_steps, name="ebm_cifar", watchers=(strips, quality_watch)
)
energy = run.module.energy
say(
    f"{run.steps:,} steps of batch {settings.batch_size} on {photos.title} in **{run.seconds / 60:.1f} minutes** "
    f"({run.seconds / run.steps:.2f} s a step), {sum(p.numel() for p in energy.parameters()) / 1e6:.2f} million parameters, "
    f"{run.steps * settings.batch_size / len(photos):.1f} epochs."
)
record("photo_seconds", run.seconds)
record("photo_steps", run.steps)

# %% tags=["hide-input"]
chain_strip(
    torch.stack([strip[-1] for strip in strips.strips]),
    strips.steps,
    f"The same starts after {strips.n_steps} steps of the chain, as the model ages ({photos.title})",
    xlabel="optimiser step",
)

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3))
smooth = max(1, len(run.curve("loss")[0]) // 40)
curves(
    {"photographs": run.curve("energy_real"), "samples": run.curve("energy_fake")},
    f"Mean network output f ({photos.title})",
    smooth=smooth,
    ax=axes[0],
)
curves(
    {
        f"{settings.n_study} fresh chains, {settings.study_chain} steps": (
            quality_watch.steps,
            quality_watch.values,
        )
    },
    "Distance to held-out photographs",
    ylabel="Fréchet distance",
    ax=axes[1],
)

# %%
photo_samples = draw_photos(energy, 0.005, settings.n_eval, settings.final_chain)
# The files come class after class: the first thousand images would be all aeroplanes.
shuffled = photos.split(1.0, seed=seed)[0]
newest = to_uint8(run.module.buffer.newest(settings.n_eval))
photo_sets = {
    **controls(shuffled, settings.n_eval, seed=seed),
    BLOBS: blobs(settings.n_eval, photos.shape),
    "this run, fresh chains": photo_samples,
    "this run, buffer": newest,
}
photo_quality, photo_interval = {}, {}
for name, images in photo_sets.items():
    features = extract_features(photo_judge, images)
    photo_quality[name] = frechet_distance(photo_features, features)
    photo_interval[name] = frechet_interval(
        photo_features, features, n=settings.resamples
    )
table(
    [
        {
            "images": name,
            "Fréchet distance": f"{photo_quality[name]:.1f}",
            "95 % interval, bias taken out": "{:.1f} to {:.1f}".format(
                *photo_interval[name]
            ),
        }
        for name in sorted(photo_quality, key=photo_quality.get)
    ],
    f"{settings.n_eval:,} images each, against held-out {photos_test.title} (CIFAR-classifier features); chains of {settings.final_chain} steps",
)
record("photo_frechet_real", photo_quality["other real images"])
record("photo_frechet_fresh", photo_quality["this run, fresh chains"])
record("photo_frechet_buffer", photo_quality["this run, buffer"])
record("photo_frechet_noise", photo_quality["uniform noise"])
record("photo_frechet_looks", [quality_watch.steps, quality_watch.values])
record("photo_n", settings.n_eval)
record(
    "photo_controls",
    {name: [v, *photo_interval[name]] for name, v in photo_quality.items()},
)

# %% tags=["hide-input"]
image_grid(
    photo_samples[:60],
    f"This run ({profile}, {photos.title}): 60 chains from noise, {settings.final_chain} steps, not selected",
    columns=15,
)
image_grid(
    newest[-60:],
    f"The buffer's newest 60 samples ({photos.title})",
    columns=15,
)
first, last = quality_watch.values[0], quality_watch.values[-1]
say(
    f"At the first look (step {quality_watch.steps[0]}) the distance of fresh chains was {first:.0f}, at the last "
    f"(step {quality_watch.steps[-1]}) {last:.0f}."
)

# %% [markdown]
# **Has the energy learnt more than one Gaussian knows?** One Gaussian of full covariance knows the mean and the covariance of the pixels, and costs a second. We ask of an energy that it come nearer by a third. Averages of two
# photographs and black and white blobs, which no one would take for photographs, show what else these features call near.

# %% tags=["hide-input"]
ours = min(photo_quality["this run, fresh chains"], photo_quality["this run, buffer"])
gaussian = photo_quality["one Gaussian"]
nearer = [
    name
    for name in ("one Gaussian", "one Gaussian a class", "averages of two", BLOBS)
    if name in photo_quality and photo_quality[name] <= ours
]
say(
    f"The nearer of fresh chains and buffer has {ours:.1f}, one Gaussian {gaussian:.1f}: "
    + (
        "but these are drawn shapes, and the run is short. It says nothing of photographs."
        if photos.is_stand_in
        else "**nearer by more than a third.** The energy has learnt something that a mean and a covariance do not tell."
        if ours < 2 * gaussian / 3
        else "not nearer by a third. **This is a negative result**: with this recipe and this budget a residual energy of photographs has not been shown to know more than a mean and a covariance."
    )
    + (
        f" As near, or nearer, without any network: {', '.join(nearer)}."
        if nearer
        else ""
    )
)

# %% [markdown]
# The chapter *After Langevin* (Part J) takes another road: it learns by denoising, and no chain is run in training.

# %% [markdown]
# ## How large a step, and how many? (C2, C5)
#
# **The question.** A training step costs $T$ gradients of the chain. Is it better to take many small steps, or few large
# ones? Photographs cannot tell us here: after the few minutes that a cell of a study may take, every energy of photographs draws blobs, and one blob is as good as another.
# A study needs a problem on which its cells differ. So we take **digits at 16×16 pixels**: a small network learns them in a minute, well or badly.
# It trains for the same number of optimiser steps for every pair of ε and $T$, and we measure:
#
# - *quality, twice*: the Fréchet distance of fresh chains with the ε of training, after $T$ steps, as long as in training, and after the same, larger number of steps for all;
# - *convergence*: the distance of the newest {term}`negatives`, followed during training;
# - *stability*: the largest mean output in absolute value, and how much the contrast wobbles in the second half.

# %%
small_digits, small_test = (
    load_images(settings.digits, split, size=16, limit=settings.limit, root=data_root)
    for split in ("train", "test")
)


def enlarged(images):
    """uint8 images of 16×16 -> of 28×28, which the digit classifier looks at; straight lines between pixels."""
    return to_uint8(
        torch.nn.functional.interpolate(
            to_float(images), size=(28, 28), mode="bilinear"
        )
    )


small_features = extract_features(digit_judge, enlarged(small_test.images[:1000]))


def small_distance(images):
    """Fréchet distance to held-out digits of 16×16, digit-classifier features; compare equal numbers of images only."""
    return frechet_distance(
        small_features, extract_features(digit_judge, enlarged(images))
    )


def draw_small(energy, epsilon, n_steps, stream_seed=seed + 20):
    """Fresh chains of 16×16 pixels from uniform noise, as uint8."""
    stream = torch.Generator().manual_seed(stream_seed)
    start = UniformStart((1, 16, 16)).draw(settings.n_study, generator=stream)
    kernel = epsilon_kernel(named_epsilon(epsilon))
    return to_uint8(
        sample(energy, start, kernel, n_steps, generator=stream, fast=True).x
    )


def sampler_study(seed, epsilon, length, steps, restart, widths):
    """Train on small digits with one sampler; quality, convergence and stability."""
    looks = QualityWatch(max(1, steps // 8), small_distance, settings.n_study)
    config = EBMConfig(
        **{**base, "n_steps": length, "restart": restart},
        kernel=epsilon_kernel(named_epsilon(epsilon)),
        seed=seed,
    )
    torch.manual_seed(seed)
    trained = fit(
        EBMTraining(StridedEnergy(1, 16, tuple(widths)), config),
        small_digits,
        config=FitConfig(
            steps,
            batch_size=64,
            seed=seed,
            name="ebm_small_digits",
            checkpoint_every=100,
            log_every=1 if steps <= 200 else 5,
        ),
        resume=True,
        callbacks=[looks],
    )
    energy = trained.module.energy
    contrast = torch.tensor(trained.curve("contrast")[1])
    levels = trained.curve("energy_real")[1] + trained.curve("energy_fake")[1]
    as_trained = draw_small(energy, epsilon, length)
    images = draw_small(energy, epsilon, settings.study_chain)
    return {
        "as trained": small_distance(as_trained),
        "fresh": small_distance(images),
        "negatives": looks.values[-1],
        "curve": [looks.steps, looks.values],
        "largest": max(abs(v) for v in levels),
        "wobble": contrast[len(contrast) // 2 :].std().item(),
        "walls": 100 * ((images == 0) | (images == 255)).double().mean().item(),
        "ms": 1000 * trained.seconds / trained.steps,
        "images": images[:10],
        "early": as_trained[:10],
    }


if study("step-and-length"):
    measures = {
        "Fréchet, after T steps": "as trained",
        f"Fréchet, after {settings.study_chain}": "fresh",
        "Fréchet, newest negatives": "negatives",
        f"pixels on a wall, after {settings.study_chain} (%)": "walls",
        "largest mean output": "largest",
        "wobble of the contrast": "wobble",
        "ms a step": "ms",
    }
    common = dict(
        seeds=range(seed, seed + settings.seeds),
        steps=settings.study_steps,
        widths=list(settings.study_widths),
    )
    grid = {
        f"ε = {epsilon:g}, T = {length}": dict(epsilon=epsilon, length=length)
        for epsilon in settings.study_epsilons
        for length in settings.study_lengths
    }
    by_step = sweep("ebm_small_epsilon", sampler_study, grid, restart=0.05, **common)


# %% tags=["hide-input"]
def values_of(cells, name, key):
    """One value a seed that finished."""
    return [c.values[key] for c in cells if c.name == name and c.diverged is None]


def mean_of(cells, name, key):
    """Mean over the seeds that finished, or NaN."""
    found = values_of(cells, name, key)
    return sum(found) / len(found) if found else float("nan")


def interval_of(one, two):
    """Welch's 95 % interval of the mean of the second less that of the first; NaN for single seeds."""
    if min(len(one), len(two)) < 2:
        return float("nan"), float("nan")
    gap, half = welch(one, two)
    return gap - half, gap + half


def apart(cells, key):
    """The spread of the cells' means over the spread of the seeds inside a cell (standard deviations)."""
    names = list(dict.fromkeys(c.name for c in cells))
    groups = [torch.tensor(v) for n in names if len(v := values_of(cells, n, key)) > 1]
    if len(groups) < 2:
        return float("nan")
    within = torch.stack([g.var() for g in groups]).mean().sqrt()
    return (torch.stack([g.mean() for g in groups]).std() / within).item()


def rows_with_controls(cells, first):
    """The summary of a sweep, and below it what the same distances say of pictures that no energy drew."""
    return [
        *summary(cells, measures, first=first),
        *(
            {
                first: name,
                "Fréchet, after T steps": f"{value:.3g}",
                f"Fréchet, after {settings.study_chain}": f"{value:.3g}",
            }
            for name, value in small_controls.items()
        ),
    ]


if study("step-and-length-table"):
    small_controls = {
        name: small_distance(images)
        for name, images in {
            **controls(small_digits, settings.n_study, seed=seed),
            BLOBS: blobs(settings.n_study, small_digits.shape),
        }.items()
    }
    step_rows = rows_with_controls(by_step, "sampler in training")
    table(
        step_rows,
        f"{settings.study_steps} optimiser steps each on {small_digits.title} at 16×16, buffer with 5 % restarts, mean ± standard deviation over {settings.seeds} seeds, {settings.n_study} samples against {len(small_features):,} held-out digits (digit-classifier features)",
    )
    record("epsilon_study", step_rows[: len(grid)])
    record("small_controls", small_controls)
    record("epsilon_apart", apart(by_step, "fresh"))

# %% tags=["hide-input"]
if study("step-and-length-pictures"):
    fig, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), sharey=True)
    for ax, (title, key) in zip(
        axes,
        (
            ("fresh chains, T steps", "as trained"),
            (f"fresh chains, {settings.study_chain} steps", "fresh"),
            ("newest negatives", "negatives"),
        ),
        strict=True,
    ):
        for epsilon in settings.study_epsilons:
            ax.plot(
                settings.study_lengths,
                [
                    mean_of(by_step, f"ε = {epsilon:g}, T = {length}", key)
                    for length in settings.study_lengths
                ],
                "o-",
                label=f"ε = {epsilon:g}",
            )
            for length in settings.study_lengths:
                here = values_of(by_step, f"ε = {epsilon:g}, T = {length}", key)
                ax.plot([length] * len(here), here, ".", color="gray", ms=3)
        ax.axhline(small_controls["one Gaussian"], color="black", lw=0.8, ls="--")
        ax.set(
            xscale="log",
            yscale="log",
            xlabel="steps of the training chain, T",
            title=title,
        )
        ax.set_xticks(settings.study_lengths, [str(k) for k in settings.study_lengths])
        ax.minorticks_off()
    axes[0].set_ylabel("Fréchet distance")
    axes[0].legend()
    _ = fig.suptitle(
        f"ε and T after {settings.study_steps} optimiser steps ({small_digits.title}, 16×16)\ngrey: single seeds; dashed: one Gaussian"
    )

    names = list(grid)
    ranking = sorted(names, key=lambda k: mean_of(by_step, k, "fresh"))
    low, high = interval_of(*(values_of(by_step, n, "fresh") for n in ranking[:2]))
    lost = [
        r["sampler in training"]
        for r in step_rows[: len(grid)]
        if not r["finished"].startswith(str(settings.seeds))
    ]
    say(
        f"Do the cells differ? The spread of their means is {apart(by_step, 'fresh'):.1f} times that of the seeds inside a cell. "
        f"Best after {settings.study_chain} steps: **{ranking[0]}** ({mean_of(by_step, ranking[0], 'fresh'):.0f}), then {ranking[1]} "
        f"({mean_of(by_step, ranking[1], 'fresh'):.0f}; difference {low:+.0f} to {high:+.0f}, Welch's 95 % interval); worst: {ranking[-1]} ({mean_of(by_step, ranking[-1], 'fresh'):.0f}). "
        + (
            "The interval holds zero: the first place is not decided. "
            if low < 0 < high
            else ""
        )
        + (
            f"Diverged at least once: {', '.join(lost)}."
            if lost
            else "No run diverged."
        )
    )

# %% [markdown]
# ## Where chains begin, and annealing (C3, C4, C5)
#
# Two more choices, crossed: chains that always start from **noise** or from the **buffer** (95 %, and noise for the
# rest), with **constant** ε = 0.005 or **annealed** from 0.01 to 0.0025. All use the longest $T$ of the study.

# %%
if study("starts-and-annealing"):
    longest = settings.study_lengths[-1]
    choices = {
        "noise, constant ε": dict(restart=1.0, epsilon=0.005),
        "noise, annealed ε": dict(restart=1.0, epsilon=[0.01, 0.0025]),
        "buffer, constant ε": dict(restart=0.05, epsilon=0.005),
        "buffer, annealed ε": dict(restart=0.05, epsilon=[0.01, 0.0025]),
    }
    by_start = sweep(
        "ebm_small_starts", sampler_study, choices, length=longest, **common
    )

# %% tags=["hide-input"]
if study("starts-and-annealing-table"):
    start_rows = rows_with_controls(by_start, "training chains")
    table(
        start_rows,
        f"T = {longest}, {settings.study_steps} optimiser steps each on {small_digits.title} at 16×16, mean ± standard deviation over {settings.seeds} seeds, {settings.n_study} samples against {len(small_features):,} held-out digits",
    )
    record("start_study", start_rows[: len(choices)])
    record("start_apart", apart(by_start, "fresh"))

# %% tags=["hide-input"]
if study("starts-and-annealing-pictures"):
    fig, ax = plt.subplots(figsize=(7, 3.2))
    for name in choices:
        cells = [c for c in by_start if c.name == name and c.diverged is None]
        if cells:
            xs = cells[0].values["curve"][0]
            ys = torch.tensor([c.values["curve"][1] for c in cells])
            (line,) = ax.plot(xs, ys.mean(0), "o-", label=name)
            ax.fill_between(
                xs, ys.amin(0), ys.amax(0), alpha=0.15, color=line.get_color(), lw=0
            )
    ax.set(
        xlabel="optimiser step",
        ylabel="Fréchet distance",
        yscale="log",
        title=f"Convergence of the newest negatives ({small_digits.title}, 16×16); bands: all seeds",
    )
    ax.legend()
    fig, axes = plt.subplots(len(choices), 1, figsize=(7, 4.2))
    for ax, name in zip(axes, choices, strict=True):
        cell = next(c for c in by_start if c.name == name)
        if cell.tensors:
            image_grid(
                torch.cat((cell.tensors["early"], cell.tensors["images"])),
                columns=20,
                ax=ax,
            )
        ax.set_title(name, fontsize=9)
        ax.axis("off")
    _ = fig.suptitle(
        f"The same energies, ten fresh chains after T = {longest} steps (left) and ten after {settings.study_chain} (right), {small_digits.title}"
    )

    annealing = {
        (start, key): interval_of(
            values_of(by_start, f"{start}, constant ε", key),
            values_of(by_start, f"{start}, annealed ε", key),
        )
        for start in ("noise", "buffer")
        for key in ("as trained", "fresh")
    }
    at = {
        (name, key): mean_of(by_start, name, key)
        for name in choices
        for key in ("as trained", "fresh")
    }
    say(
        f"From **noise**, the energy draws best after the $T$ = {longest} steps of its training ({at['noise, constant ε', 'as trained']:.0f}), and after {settings.study_chain} its chains are at {at['noise, constant ε', 'fresh']:.0f}. "
        f"With the **buffer** it is the other way round: {at['buffer, constant ε', 'as trained']:.0f} after {longest} steps, {at['buffer, constant ε', 'fresh']:.0f} after {settings.study_chain}. "
        "What annealing adds to the constant ε (Welch's 95 % intervals of the difference): "
        + "; ".join(
            f"{start}, after {'T' if key == 'as trained' else settings.study_chain} steps {low:+.0f} to {high:+.0f}"
            for (start, key), (low, high) in annealing.items()
        )
        + "."
    )
    record(
        "annealing",
        {f"{start}, {key}": list(v) for (start, key), v in annealing.items()},
    )

# %% [markdown]
# **What is learnt is a path, not a landscape.** The energy that always met chains of $T$ steps from noise is shaped so that *such* chains end at digits, and nobody ever looked where they go next. The buffer's
# chains are hundreds of updates old, so its energy holds pictures in place for longer, and cannot bring fresh noise there in $T$ steps. Both are short-run generators, of different lengths. Which start is "better" is therefore a question without
# an answer until one says how long chains will be when the model is used: *Short-run generator or density?* in Part B.
#
# **And photographs?** The shipped energy of photographs was trained with the buffer and is drawn with a fixed number of steps. Do its pictures stay, when chains go on?

# %%
if study("prolonged") and photo_energy is not None:
    stream = torch.Generator().manual_seed(seed + 31)
    x = UniformStart((3, 32, 32)).draw(settings.prolonged, generator=stream)
    prolonged_rows, strips_of = [], []
    done = 0
    for times in (1, 4, 16):
        chain = sample(
            photo_energy,
            x,
            descent,
            times * settings.shipped_chain - done,
            generator=stream,
            fast=True,
        )
        x, done = chain.x, times * settings.shipped_chain
        images = to_uint8(x)
        features = extract_features(photo_judge, images)
        low, high = frechet_interval(photo_features, features, n=settings.resamples)
        with torch.no_grad():
            height = torch.cat([photo_energy(part) for part in x.split(100)])
        prolonged_rows.append(
            {
                "steps": done,
                "Fréchet distance": frechet_distance(photo_features, features),
                "low": low,
                "high": high,
                "mean output f": height.mean().item(),
                "walls": ((images == 0) | (images == 255)).double().mean().item(),
            }
        )
        strips_of.append(images[:15])
    table(
        [
            {
                "steps": f"{row['steps']:,}",
                "Fréchet distance": f"{row['Fréchet distance']:.1f}",
                "95 % interval, bias taken out": f"{row['low']:.1f} to {row['high']:.1f}",
                "mean output f": f"{row['mean output f']:.3f}",
                "pixels on a wall": f"{row['walls']:.0%}",
            }
            for row in prolonged_rows
        ],
        f"{settings.prolonged} chains of the shipped energy of photographs, each carried on, against held-out {photos_test.title} (CIFAR-classifier features)",
    )
    record("prolonged", prolonged_rows)
    image_grid(
        torch.cat(strips_of),
        f"The same fifteen chains after {', '.join(str(row['steps']) for row in prolonged_rows)} steps, top to bottom",
        columns=15,
    )
    ends = prolonged_rows[0], prolonged_rows[-1]
    say(
        f"After sixteen times the length the distance is {ends[1]['Fréchet distance']:.0f} in place of {ends[0]['Fréchet distance']:.0f}, and {ends[1]['walls']:.0%} of the pixels are on a wall, in place of {ends[0]['walls']:.0%}. "
        + (
            "**The pictures do not stay**: they were a station on the way down."
            if ends[1]["low"] > ends[0]["high"]
            else "The two are not told apart."
            if ends[1]["high"] > ends[0]["low"]
            else "The longer chains are nearer to photographs."
        )
    )

# %% [markdown]
# ## A label in the energy (C6)
#
# $E(x, y)$ is low when $y$ is the right label for $x$. One network with ten outputs gives all ten energies of an image
# at once, and a label picks its own.

# %% [markdown]
# ```{exercise-start} The energy of an image under its label
# :label: ex-label-energy
# ```
# *Goal: let a label choose its energy, in a batch. About 5 minutes, 1 point.*
#
# `outputs[b, k]` is $E(x_b, k)$. Return $E(x_b, y_b)$ for each image. A chain will differentiate it, so a gradient must reach `outputs`. Leave both arguments as they were.


# %% tags=["exercise"]
def label_energy(outputs, labels):
    """Energies of all classes (B, K), labels (B,) -> (B,)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-label-energy
# :class: dropdown
# ```
# `gather` takes one entry a row. `outputs[:, labels]` is the usual slip: it takes *all* the labels' columns of *every*
# image.


# %% tags=["solution"]
def label_energy(outputs, labels):
    """Energies of all classes (B, K), labels (B,) -> (B,)."""
    return outputs.gather(1, labels[:, None]).squeeze(1)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.label_energy(label_energy)

# %% [markdown]
# Your function is all that a chain needs to draw on request: ten labels, and ten times *the same* noise to begin with.

# %% tags=["hide-input"]
if on_request is not None:
    wanted = torch.arange(10)
    stream = torch.Generator().manual_seed(seed + 12)
    start = UniformStart((1, 28, 28)).draw(1, generator=stream).repeat(10, 1, 1, 1)

    def under_its_label(x):
        """(10, 1, 28, 28) -> (10,): row k is asked for a k."""
        return label_energy(on_request.class_energies(x), wanted)

    walk = sample(
        under_its_label,
        start,
        descent,
        settings.shipped_digit_chain,
        keep_every=1,
        generator=stream,
    )
    shown = [k for k in (1, 4, 16, 64, 256) if k <= settings.shipped_digit_chain]
    chain_strip(
        walk.path[[k - 1 for k in shown]],
        shown,
        "Your energy under the labels 0 to 9, from one and the same noise (shipped model, MNIST)",
    )
    with torch.no_grad():
        gap = (under_its_label(walk.x) - on_request(walk.x, wanted)).abs().max()
    say(f"From the library's own energy it differs by {float(gap):.0e} at most.")

# %% [markdown]
# Sampling from $p(x \mid y)$ needs nothing new: fix $y$ and run the chain on $x \mapsto E(x, y)$, the label the same at
# every step. The buffer has to be told, though: a half-finished three must not go on as a seven. So there is one buffer
# a class.
#
# ### A round that mixes up its labels
#
# One round of training makes its negatives like this. It draws places from the buffer, a class and a number each; some chains start afresh. Everything is *shuffled*, because a batch in which all threes come first is a poor
# batch. The chains walk, each under its label. The finished ones go back to the buffer, each to the place its start came from. Here is such a round, with the random numbers as arguments. **It has one bug.**


# %%
def suspect_round(walk, buffer, labels, index, fresh, noise, order):
    """Start b is noise[b] where fresh[b], else buffer[labels[b], index[b]] -> the negatives, their labels, the new buffer."""
    old = buffer[labels, index]
    starts = torch.where(fresh.view(-1, 1, 1, 1), noise, old)
    starts, asked = starts[order], labels[order]
    negatives = walk(starts, asked)
    buffer = buffer.clone()
    buffer[labels, index] = negatives
    return negatives, asked, buffer


# %% [markdown]
# ```{exercise-start} Find the bug: where images and labels come apart
# :label: ex-class-buffer
# ```
# *Goal: follow images and their labels through a round of training. About 15 minutes, 2 points.*
#
# Hand in the mended round. `walk(x, labels)` gives the finished chains; `buffer` is $(K, M, C, H, W)$ for $K$ classes with $M$ places each; `labels`, `index` and `fresh` are $(B,)$, `noise` is
# $(B, C, H, W)$, and `order` is a permutation of $0, \dots, B - 1$. No place is drawn twice. Return the same three things: the negatives and their labels, shuffled by `order`, and a new buffer; the old one, and all else, stays as it was. A single
# round looks right: ask what the next one will draw.


# %% tags=["exercise"]
def mended_round(walk, buffer, labels, index, fresh, noise, order):
    """Start b is noise[b] where fresh[b], else buffer[labels[b], index[b]] -> the negatives, their labels, the new buffer."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-class-buffer
# :class: dropdown
# ```
# The negatives are in the shuffled order, the places in the old one: negative $b$ belongs to the place number `order[b]`. As given, a three is put where a seven was taken from, and the next round hands it out as a
# seven. Shuffle *all* that belongs to a start, and shuffle it together.


# %% tags=["solution"]
def mended_round(walk, buffer, labels, index, fresh, noise, order):
    """Start b is noise[b] where fresh[b], else buffer[labels[b], index[b]] -> the negatives, their labels, the new buffer."""
    old = buffer[labels, index]
    starts = torch.where(fresh.view(-1, 1, 1, 1), noise, old)
    starts, asked, place = starts[order], labels[order], index[order]
    negatives = walk(starts, asked)
    buffer = buffer.clone()
    buffer[asked, place] = negatives
    return negatives, asked, buffer


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.mended_round(mended_round)

# %% [markdown]
# **What did the bug do?** A buffer of ten real digits a class; the shipped conditional energy; rounds of forty chains with a few steps each. After each round the judge says how many negatives show the digit that they stand for. Both
# functions get the same random numbers. The pictures are half of the buffer at the end, a class in each column.

# %% tags=["hide-input"]
if on_request is not None:
    real = torch.stack(
        [to_float(digits.images[digits.labels == k][:10]) for k in range(10)]
    )
    fig, axes = plt.subplots(1, 3, figsize=(9, 2.9), width_ratios=(1.2, 1, 1))
    bug_rows = []
    for ax, (name, one_round) in zip(
        axes[1:],
        {"as given": suspect_round, "mended": mended_round}.items(),
        strict=True,
    ):
        stream = torch.Generator().manual_seed(seed + 13)
        buffer, as_asked = real, []

        def walk(x, labels):
            """A few steps of Part B's sampler under the labels."""
            return sample(
                on_request.given(labels),
                x,
                descent,
                settings.round_steps,
                generator=stream,  # noqa: B023
            ).x

        for _ in range(settings.rounds):
            place = torch.randperm(100, generator=stream)[:40]
            negatives, asked, buffer = one_round(
                walk,
                buffer,
                place // 10,
                place % 10,
                torch.rand(40, generator=stream) < 0.05,
                torch.rand((40, 1, 28, 28), generator=stream) * 2 - 1,
                torch.randperm(40, generator=stream),
            )
            with torch.no_grad():
                seen = digit_judge(negatives).argmax(1)
            as_asked.append((seen == asked).double().mean().item())
        with torch.no_grad():
            kept_right = (
                (digit_judge(buffer.flatten(0, 1)).argmax(1) == torch.arange(100) // 10)
                .double()
                .mean()
                .item()
            )
        axes[0].plot(range(1, settings.rounds + 1), as_asked, "o-", ms=3, label=name)
        image_grid(
            buffer.transpose(0, 1).flatten(0, 1)[:50],
            f"buffer, {name}",
            columns=10,
            ax=ax,
        )
        bug_rows.append(
            {
                "round": name,
                "negatives as asked, first round": f"{as_asked[0]:.0%}",
                "last round": f"{as_asked[-1]:.0%}",
                "the buffer at the end": f"{kept_right:.0%}",
            }
        )
        record(f"buffer_{name.replace(' ', '_')}", kept_right)
    axes[0].set(
        xlabel="round",
        ylabel="seen as asked",
        xlim=(0, settings.rounds + 1),
        ylim=(0, 1.05),
        title="negatives",
    )
    axes[0].legend()
    table(
        bug_rows,
        f"{settings.rounds} rounds of {settings.round_steps} steps on the shipped energy, buffer of {digits.title}",
    )

# %% [markdown]
# The first round is the same for both: within a round the bug does not show. It shows in what is left behind. A chain that begins as a three and is asked for a seven has a few steps to become one, and mostly fails. An energy trained on such negatives would raise the energy of *threes under the label
# seven*, which were never low, and leave alone what it should correct. Nothing diverges, no shape is wrong, and the loss looks like any other. **Test where things are kept, and not only what is returned.**

# %% [markdown]
# ### What must training compare?
#
# Contrastive divergence for $p(x \mid y)$ compares real sevens with drawn sevens, real threes with drawn threes. It never
# compares a seven's energy *as a seven* with the same picture's energy *as a three*: each class has its own {term}`normaliser`,
# and a constant added to one class's energy changes no contrast (the penalty alone notices it). If the energy shall also classify, something must compare
# labels. So read $E(x, y)$ as a *joint* energy, $p(x, y) = \exp(-E(x, y)) / Z$ with one $Z$ for all classes. The natural term is the cross-entropy of
#
# ```{math}
# :label: eq-label-posterior
# p(y \mid x) = \frac{\exp(-E(x, y))}{\sum_k \exp(-E(x, k))} ,
# ```
#
# in which $Z$ cancels. (Here $E$ is the network's output itself; the cold sampler of $p(x \mid y)$ uses $E/\tau$. The lowest energy is the
# same for both, the probabilities are not.) To classify is then to take the label of lowest energy.
#
# In training all digits are about equally frequent. Elsewhere they need not be: in prices nines abound, in dates ones. What a seven looks like, $p(x \mid y)$, stays as it is; only the **{term}`prior`** changes, from
# equal shares to $\pi_y = n_y / \sum_k n_k$, if label $y$ was counted $n_y$ times there. By Bayes' rule
#
# ```{math}
# :label: eq-label-prior
# p_\pi(y \mid x) = \frac{\pi_y\, \exp(-E(x, y))}{\sum_k \pi_k \exp(-E(x, k))} .
# ```

# %% [markdown]
# ```{exercise-start} Labels that are not equally frequent
# :label: ex-label-posterior
# ```
# *Goal: combine what a picture says with what was known before. About 10 minutes, 2 points.*
#
# Return $\log p_\pi(y \mid x)$ of {eq}`eq-label-prior`, in nats, for each image and each label. `counts` holds the $n_y$, whole numbers of at least 1. It must also work where the energies of two labels are
# hundreds of nats apart.


# %% tags=["exercise"]
def label_log_posterior(class_energies, counts):
    """Energies (B, K) under each label, counts (K,) of the labels -> log probabilities (B, K)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-label-posterior
# :class: dropdown
# ```
# Add $\log n_y$ to minus the energies, and normalise over the labels. The sum of all counts cancels. `log_softmax` subtracts the largest entry before it takes exponentials.


# %% tags=["solution"]
def label_log_posterior(class_energies, counts):
    """Energies (B, K) under each label, counts (K,) of the labels -> log probabilities (B, K)."""
    return torch.log_softmax(counts.log() - class_energies, dim=1)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.label_log_posterior(label_log_posterior)

# %% [markdown]
# **When does the prior matter?** When the picture leaves a doubt. Take the held-out three and the eight of which the shipped energy is surest, and turn the one slowly into the other. The *entropy* $-\sum_y p \log p$ of the label measures the doubt in nats: zero when one label is
# certain, $\ln 2 \approx 0.69$ between two that are equally likely. Once with equal counts, once where threes are twenty times as frequent as eights.

# %% tags=["hide-input"]
if on_request is not None:
    pair = []
    for k in (3, 8):
        mine = to_float(digits_test.images[digits_test.labels == k][:100])
        with torch.no_grad():
            sure = label_log_posterior(on_request.class_energies(mine), torch.ones(10))
        pair.append(mine[sure[:, k].argmax()][None])
    part = torch.linspace(0, 1, 41)
    blends = torch.cat([(1 - t) * pair[0] + t * pair[1] for t in part])
    with torch.no_grad():
        between = on_request.class_energies(blends)
    lopsided = torch.ones(10, dtype=torch.int64)
    lopsided[3] = 20
    fig, axes = plt.subplots(1, 3, figsize=(9, 2.8), width_ratios=(1, 1, 0.9))
    tips = []
    for ax, (name, counts) in zip(
        axes,
        {"equal counts": torch.ones(10), "twenty threes to an eight": lopsided}.items(),
        strict=False,
    ):
        log_p = label_log_posterior(between, counts)
        entropy = -(log_p.exp() * log_p).sum(1)
        for k in (3, 8):
            ax.plot(part, log_p[:, k].exp(), label=f"p({k} | x)")
        ax.plot(part, entropy, color="black", lw=1, label="entropy (nats)")
        ax.set(xlabel="share of the eight", title=name, ylim=(0, 1.4))
        eights = log_p[:, 8] > log_p[:, 3]
        tips.append(
            f"from a share of {float(part[eights][0]):.2f} on"
            if eights.any()
            else "nowhere"
        )
    axes[0].legend(fontsize=7)
    image_grid(blends[::4][:9], "from 3 to 8", columns=3, ax=axes[2])
    say(
        f"With equal counts the eight wins {tips[0]}, with twenty threes to an eight {tips[1]}."
    )
    record("tipping_points", tips)

# %% [markdown]
# **Does it help to know the prior?** Held-out digits in lopsided shares, each class half as frequent as the one before, and noise on the pictures. *Log score* is the mean of $\log p(y \mid x)$ at the true label: the closer to zero, the better.

# %% tags=["hide-input"]
if on_request is not None:
    most = int(digits_test.labels.bincount(minlength=10).min())
    rare = torch.cat(
        [
            (digits_test.labels == k).nonzero().flatten()[: max(1, most >> k)]
            for k in range(10)
        ]
    )
    truth = digits_test.labels[rare]
    counts = truth.bincount(minlength=10)
    stream = torch.Generator().manual_seed(seed + 14)
    noisy = to_float(digits_test.images[rare])
    noisy = (noisy + 0.5 * torch.randn(noisy.shape, generator=stream)).clamp(-1, 1)
    with torch.no_grad():
        outputs = on_request.class_energies(noisy)
    prior_rows = []
    for name, n_y in (("equal", torch.ones(10)), ("the right ones", counts)):
        log_p = label_log_posterior(outputs, n_y)
        prior_rows.append(
            {
                "counts": name,
                "accuracy": f"{float((log_p.argmax(1) == truth).double().mean()):.1%}",
                "log score (nats)": f"{float(label_energy(log_p, truth).mean()):.3f}",
            }
        )
    same = bool(
        (
            label_log_posterior(outputs, torch.ones(10)).argmax(1)
            == classify(on_request, noisy)
        ).all()
    )
    table(
        prior_rows,
        f"{len(truth)} noisy held-out images of {digits_test.title}, lopsided shares (shipped model)",
    )
    say(
        f"With equal counts your most likely label {'is' if same else 'is **not**'} the library's label of lowest energy, for every image. "
        f"The right counts change the log score by {float(prior_rows[1]['log score (nats)']) - float(prior_rows[0]['log score (nats)']):+.3f} nats an image."
    )
    record("prior", prior_rows)

# %% [markdown]
# **Does the extra term help or hurt?** Short runs with three weights of the cross-entropy:


# %%
def train_digits(
    max_steps,
    *,
    name,
    run_seed=seed,
    weight=1.0,
    watchers=(),
    network=ConditionalEnergy,
):
    """Train a conditional energy of digits by Part B's recipe plus the cross-entropy of the labels."""
    config = EBMConfig(
        n_steps=20,
        lr=5e-4,
        decay="cosine",
        grad_norm=1.0,
        classify=weight,
        seed=run_seed,
    )
    torch.manual_seed(run_seed)
    return fit(
        EBMTraining(network(width=settings.digit_width), config),
        digits,
        digits_test if max_steps >= 1000 else None,
        config=FitConfig(
            max_steps,
            batch_size=64,
            seed=run_seed,
            name=name,
            checkpoint_every=max(50, max_steps // 10),
            validate_every=max(1, max_steps // 10),
            log_every=1 if max_steps <= 200 else 10,
        ),
        resume=True,
        callbacks=list(watchers),
    )


def accuracy_of(energy):
    """Share of held-out digits whose label has the lowest energy."""
    guesses = torch.cat(
        [classify(energy, to_float(x)) for x in digits_test.images.split(500)]
    )
    return (guesses == digits_test.labels).double().mean().item()


digit_features = extract_features(digit_judge, digits_test)


def obedience(energy, rows, n_steps):
    """Samples on request: the images, their labels, the share that an independent classifier agrees with."""
    images, labels = draw_digits(energy, rows, n_steps)
    with torch.no_grad():
        seen = torch.cat(
            [digit_judge(to_float(x)).argmax(1) for x in images.split(500)]
        )
    return images, labels, seen


def labelled(seed, weight, steps):
    """Train briefly with one weight of the cross-entropy; accuracy and obedience."""
    trained = train_digits(steps, name="ebm_digits_study", run_seed=seed, weight=weight)
    model = trained.module.energy
    images, labels, seen = obedience(model, 20, settings.digit_chain)
    return {
        "accuracy": accuracy_of(model),
        "agreement": (seen == labels).double().mean().item(),
        "frechet": frechet_distance(
            digit_features, extract_features(digit_judge, images)
        ),
        "images": images[:10],
    }


if study("label-weight"):
    weights = {f"weight {w:g}": dict(weight=w) for w in (0.0, 0.1, 1.0)}
    by_weight = sweep(
        "ebm_digits_weight",
        labelled,
        weights,
        seeds=range(seed, seed + settings.seeds),
        steps=settings.label_steps,
    )
    weight_rows = summary(
        by_weight,
        {
            "accuracy of arg min E": "accuracy",
            "samples as asked": "agreement",
            "Fréchet, 200 samples": "frechet",
        },
        first="cross-entropy",
    )
    table(
        weight_rows,
        f"{settings.label_steps} optimiser steps each on {digits.title}, mean ± standard deviation over {settings.seeds} seed(s)",
    )
    record("weight_study", weight_rows)
    at = {
        name: [c.values for c in by_weight if c.name == name and c.diverged is None]
        for name in weights
    }
    if at["weight 0"] and at["weight 1"]:

        def mean_at(name, key):
            """Mean over the seeds that finished."""
            return sum(v[key] for v in at[name]) / len(at[name])

        say(
            "From weight 0 to weight 1 the accuracy goes from {:.0%} to {:.0%} and the samples as asked from {:.0%} to {:.0%}: ".format(
                *(
                    mean_at(name, key)
                    for key in ("accuracy", "agreement")
                    for name in ("weight 0", "weight 1")
                )
            )
            + (
                "it helps with both. "
                if all(
                    mean_at("weight 1", key) > mean_at("weight 0", key)
                    for key in ("accuracy", "agreement")
                )
                else "it does not help with both here. "
            )
            + "Of realism such short runs say little. Where weight 0 is above chance (10 %), the likely reason is the penalty, which holds the energies of all classes near one level."
        )

# %%
digit_run = train_digits(settings.digit_steps, name="ebm_digits_conditional")
digit_energy = digit_run.module.energy
digit_accuracy = accuracy_of(digit_energy)
samples, labels, seen = obedience(
    digit_energy, settings.per_class, settings.digit_chain
)
agree = (seen == labels).double()
digit_frechet = frechet_distance(digit_features, extract_features(digit_judge, samples))
say(
    f"{digit_run.steps:,} steps on {digits.title} in **{digit_run.seconds / 60:.1f} minutes**. "
    f"arg min E(x, y) is right for **{digit_accuracy:.1%}** of {len(digits_test):,} held-out digits. Of {len(samples):,} chains from noise, "
    f"**{agree.mean():.1%}** are seen as the digit asked for by the independent classifier "
    f"({digit_judge.card['metrics']['test_accuracy']['value']:.1%} right on real MNIST); Fréchet distance {digit_frechet:.1f} (digit-classifier features)."
)
record("digit_seconds", digit_run.seconds)
record("digit_steps", digit_run.steps)
record("digit_accuracy", digit_accuracy)
record("digit_agreement", agree.mean().item())
record("digit_frechet", digit_frechet)
record("digit_n", len(samples))

# %% tags=["hide-input"]
image_grid(
    samples[:100],
    f"This run ({profile}, {digits.title}): column k was asked for class k, {settings.digit_chain} steps from noise, not selected",
    columns=10,
    width=6,
)

# %% [markdown]
# **Is every class there, and is it varied?** A model can draw a perfect two, always the same. For each class the table
# gives the share of samples seen as asked, and the mean distance between two samples of the class in the
# classifier's features, divided by the same for real digits: one is as varied as the data, zero is one picture.


# %%
def variety(images):
    """Mean distance between two different images, in digit-classifier features."""
    features = extract_features(digit_judge, images)
    n = len(features)
    return (torch.cdist(features, features).sum() / (n * (n - 1))).item()


class_rows = []
for k in range(10):
    mine = samples[labels == k]
    real = digits_test.images[digits_test.labels == k][: len(mine)]
    class_rows.append(
        {
            "class": digits.classes[k],
            "seen as asked": f"{agree[labels == k].mean():.0%}",
            "variety, against real": f"{variety(mine) / variety(real):.2f}",
        }
    )
table(class_rows, f"{settings.per_class} samples of each class ({digits.title})")
record("classes", class_rows)

# %% [markdown]
# ### The label as an input (C6)
#
# So far the label has picked one of ten outputs: the features are computed without it. In the other form $y$ is an **input**. `LabelInputEnergy` is the same small network with *one* output, and after each convolution the label scales and
# shifts every feature map: $h_c \mapsto (1 + \gamma_{yc})\, h_c + \beta_{yc}$, as in Du and Mordatch's conditional energies {cite}`du2019implicit`. What the network looks for in a picture can now depend on what was asked. The price: ten labels take ten passes, where ten
# outputs take one.
#
# **Which form draws better on request, and which answers better?** Both get the same optimiser steps, the same chains (so the same number of gradient calls), the same recipe and nearly as many parameters; the table has the counts, and the time, which is not the same.
# *Class by class* is the mean over the ten classes of the Fréchet distance between what was drawn for a class and held-out digits of that class, equally many, so that a model that draws good digits under wrong labels is found out. The controls stand beside it.


# %%
FORMS = {"one output a class": ConditionalEnergy, "label as an input": LabelInputEnergy}


class RequestWatch(Watch):
    """At each look: some chains on request, their share as asked and their distance."""

    _kept = ("steps", "seen")

    def __init__(self, every, measure):
        super().__init__(every)
        self.measure, self.seen = measure, []

    def look(self, trainer, module):
        """Measure the energy as it is now."""
        self.seen.append(self.measure(module.energy))


def by_request(energy):
    """Share as asked and Fréchet distance of a few chains."""
    images, labels, seen = obedience(energy, settings.form_watch, settings.digit_chain)
    return [
        (seen == labels).double().mean().item(),
        frechet_distance(digit_features, extract_features(digit_judge, images)),
    ]


def class_distance(*features):
    """Mean Fréchet distance of ten pairs: ten sets of real features, then ten of others."""
    pairs = zip(features[:10], features[10:], strict=True)
    return sum(frechet_distance(a, b) for a, b in pairs) / 10


def class_sets(images, labels, n):
    """Features of the first n images of each class: a list of ten."""
    return [extract_features(digit_judge, images[labels == k][:n]) for k in range(10)]


def form_study(seed, form, steps, per_class):
    """Train one form of the conditional energy; answers, samples on request, and the way there."""
    watch = RequestWatch(max(1, steps // settings.form_looks), by_request)
    trained = train_digits(
        steps,
        name="ebm_digits_form",
        run_seed=seed,
        network=FORMS[form],
        watchers=(watch,),
    )
    model = trained.module.energy
    images, labels, seen = obedience(model, per_class, settings.digit_chain)
    real = class_sets(digits_test.images, digits_test.labels, per_class)
    return {
        "thousands": sum(p.numel() for p in model.parameters()) / 1000,
        "accuracy": 100 * accuracy_of(model),
        "asked": 100 * (seen == labels).double().mean().item(),
        "frechet": frechet_distance(
            digit_features, extract_features(digit_judge, images)
        ),
        "by_class": class_distance(*real, *class_sets(images, labels, per_class)),
        "ms": 1000 * trained.seconds / trained.steps,
        "looks": [watch.steps, watch.seen],
        "curves": {
            k: [list(map(float, part)) for part in trained.curve(k)]
            for k in ("loss", "contrast", "energy_real", "energy_fake")
        },
        "images": images[:20],
    }


if study("label-forms"):
    forms = sweep(
        "ebm_digits_forms",
        form_study,
        {form: dict(form=form) for form in FORMS},
        seeds=range(seed, seed + max(settings.seeds, 3)),
        steps=settings.form_steps,
        per_class=settings.form_class,
    )
    form_rows = summary(
        forms,
        {
            "parameters (thousands)": "thousands",
            "accuracy of arg min E (%)": "accuracy",
            "samples as asked (%)": "asked",
            "Fréchet": "frechet",
            "Fréchet, class by class": "by_class",
            "ms a step": "ms",
        },
        form="{:.4g}",
        first="the label",
    )
    table(
        form_rows,
        f"{settings.form_steps} optimiser steps each on {digits.title}, mean ± standard deviation over {max(settings.seeds, 3)} seeds; {10 * settings.form_class:,} chains on request of {settings.digit_chain} steps",
    )
    record("form_study", form_rows)

# %% tags=["hide-input"]
if study("label-forms-controls"):
    n = settings.form_class
    real_sets = class_sets(digits_test.images, digits_test.labels, n)
    within = [
        controls(digits.take((digits.labels == k).nonzero().flatten()), n, seed=seed)
        for k in range(10)
    ]
    kinds = {
        "other real images of the class": "other real images",
        "averages of two of the class": "averages of two",
        "one Gaussian a class": "one Gaussian",
        "uniform noise": "uniform noise",
    }
    other_sets = {
        told: [extract_features(digit_judge, sets[kind]) for sets in within]
        for told, kind in kinds.items()
    }
    other_sets["black and white blobs"] = 10 * [
        extract_features(digit_judge, blobs(n, digits.shape))
    ]
    form_controls = []
    for told, sets in other_sets.items():
        groups = [(features,) for features in (*real_sets, *sets)]
        low, high = bootstrap(class_distance, *groups, n=settings.form_resamples)
        form_controls.append(
            {
                "images": told,
                "Fréchet, class by class": f"{class_distance(*real_sets, *sets):.1f}",
                "95 % interval, bias taken out": f"{max(0.0, low):.1f} to {high:.1f}",
            }
        )
    table(
        form_controls,
        f"What to hold the distance class by class against: {n} images of each class ({digits.title})",
    )
    record("form_controls", form_controls)

    def values_of(form, key):
        """One number a seed that finished."""
        return [c.values[key] for c in forms if c.name == form and c.diverged is None]

    def told_apart(key):
        """The second form less the first, half of Welch's 95 % interval, and whether it excludes zero."""
        one, two = (values_of(form, key) for form in FORMS)
        if min(len(one), len(two)) < 2:
            return float("nan"), float("inf"), False
        by, half = welch(one, two)
        return by, half, abs(by) > half

    differences = {
        told: told_apart(key)
        for told, key in (
            ("accuracy (points)", "accuracy"),
            ("samples as asked (points)", "asked"),
            ("Fréchet distance", "frechet"),
            ("Fréchet distance, class by class", "by_class"),
            ("time of a step (ms)", "ms"),
        )
    }
    say(
        "**With the label as an input**, against one output a class: "
        + "; ".join(
            f"{told} {by:+.1f} ± {half:.1f}" + ("" if clear else " (not told apart)")
            for told, (by, half, clear) in differences.items()
        )
        + f". (Difference of the means and half of its 95 % interval by Welch's t; {max(settings.seeds, 3)} seeds a form.)"
    )
    record("form_differences", {k: list(v[:2]) for k, v in differences.items()})

# %% tags=["hide-input"]
if study("label-forms-pictures"):
    fig, axes = plt.subplots(2, 2, figsize=(9, 5.6))
    for form, colour in zip(FORMS, ("C0", "C1"), strict=True):
        cells = [c for c in forms if c.name == form and c.diverged is None]
        for i, cell in enumerate(cells):
            told = dict(color=colour, lw=1, alpha=0.8, label=form if i == 0 else None)
            axes[0, 0].plot(*cell.values["curves"]["contrast"], **told)
            axes[0, 1].plot(*cell.values["curves"]["energy_real"], **told)
            axes[0, 1].plot(
                *cell.values["curves"]["energy_fake"], **{**told, "label": None}, ls=":"
            )
            looks, found = cell.values["looks"]
            axes[1, 0].plot(looks, [100 * a for a, _ in found], "o-", ms=3, **told)
            axes[1, 1].plot(looks, [d for _, d in found], "o-", ms=3, **told)
    for ax, title, label in zip(
        axes.flat,
        (
            "Contrast",
            "Data, and negatives (dotted)",
            "Samples as asked",
            "Distance of samples on request",
        ),
        ("data less negatives", "mean energy f", "%", "Fréchet distance"),
        strict=True,
    ):
        ax.set(title=title, ylabel=label, xlabel="optimiser step")
    axes[1, 1].set(yscale="log")
    axes[0, 0].legend()
    _ = fig.suptitle(
        f"Two ways to put the label in, a line a seed ({digits.title}); looks of {10 * settings.form_watch} chains"
    )

    fig, axes = plt.subplots(len(FORMS), 1, figsize=(7, 3.6))
    for ax, form in zip(axes, FORMS, strict=True):
        first = next(c for c in forms if c.name == form)
        if first.tensors:
            image_grid(first.tensors["images"], columns=10, ax=ax)
        ax.set_title(form, fontsize=9)
        ax.axis("off")
    _ = fig.suptitle(f"On request, classes 0 to 9, seed {seed} ({digits.title})")

# %% [markdown]
# **And Part D?** A classifier whose logits are read as energies, $E(x, y) = -f(x)[y]$, is the first of these two forms: one output a class. What differs there is how it begins (as a trained classifier) and where its chains begin (class Gaussians).

# %% tags=["hide-input"]
if ship:
    shared = {
        "part": "04_ebm_cifar_conditional",
        "profile": profile,
        "seed": seed,
    }
    weakest = min(class_rows, key=lambda r: float(r["variety, against real"]))
    checkpoints.save(
        "ebm_digits_conditional",
        digit_energy,
        {
            **shared,
            **card_facts(
                digit_run,
                kernel=descent,
                steps=settings.digit_chain,
                start="uniform noise",
            ),
            "metrics": {
                "accuracy": {
                    "value": round(digit_accuracy, 4),
                    "images": len(digits_test),
                },
                "samples_as_asked": {
                    "value": round(agree.mean().item(), 4),
                    "images": len(samples),
                    "judge": "digit_classifier",
                },
                "frechet_distance": {
                    "value": round(digit_frechet, 2),
                    "features": "digit_classifier",
                    "images": len(samples),
                    "chain_steps": settings.digit_chain,
                    "start": "uniform noise",
                },
            },
            "known_faults": f"class {weakest['class']} is the least varied: {weakest['variety, against real']} of real digits' mean distance",
        },
    )
    checkpoints.save(
        "ebm_cifar",
        energy,
        {
            **shared,
            **card_facts(
                run,
                kernel=epsilon_kernel(0.005),
                steps=settings.final_chain,
                start="uniform noise",
            ),
            "metrics": {
                "frechet_distance": {
                    "value": round(photo_quality["this run, fresh chains"], 2),
                    "features": "cifar_classifier",
                    "images": settings.n_eval,
                    "chain_steps": settings.final_chain,
                    "start": "uniform noise",
                },
            },
            "known_faults": "colour, layout and texture of photographs, but no recognisable objects",
        },
    )

# %% [markdown]
# ## Reported, long run, this run

# %% tags=["hide-input"]
kept = report.kept("04_ebm_cifar_conditional", profile)
kept_records = {} if kept is None else kept["records"]
three = report.comparison(kept_records, profile)
table(
    [
        three("photographs", "photos", "CIFAR-10", "{}"),
        three("… optimiser steps", "photo_steps", form="{:,}"),
        three("… training time (s)", "photo_seconds", "days, a GPU", "{:.0f}"),
        three("… Fréchet distance, real against real", "photo_frechet_real"),
        three(
            "… Fréchet distance, fresh chains",
            "photo_frechet_fresh",
            "about 40 (Inception: not comparable)",
        ),
        three("… Fréchet distance, buffer", "photo_frechet_buffer"),
        three("… Fréchet distance, uniform noise", "photo_frechet_noise"),
        three("digits", "digits", "MNIST", "{}"),
        three("… optimiser steps", "digit_steps", form="{:,}"),
        three("… training time (s)", "digit_seconds", form="{:.0f}"),
        three("… accuracy of arg min E(x, y)", "digit_accuracy", form="{:.3f}"),
        three("… samples seen as asked", "digit_agreement", form="{:.3f}"),
        three("… Fréchet distance", "digit_frechet"),
    ],
    "Photographs: CIFAR-classifier features. Digits: digit-classifier features. Du and Mordatch's figure is in Inception features and stands here for scale only.",
)
record("notebook_seconds", time.perf_counter() - started)

# %% [markdown]
# ## What breaks, and how to rescue it
#
# - **Chains shorter than the way from noise.** With noise starts and few steps the network learns to tell "almost noise"
#   from photographs, and fresh chains stop half-way. Longer chains, or a buffer.
# - **Black and white samples.** Every pixel runs into a wall of the box: steps too large (halve ε), or an energy still young and
#   steep (train on).
# - **A diverging cell.** It is a row that says so; the sweep goes on. Lower the learning rate or raise the penalty.
# - **The conditional model ignores the label.** All columns look alike: the buffer mixes classes, or the labels of the
#   chains and of the loss differ. The judge's agreement is then a tenth.
# - **Samples as asked, but accuracy poor.** Nothing compares labels: see the cross-entropy above.
#
# ## Questions
#
# 1. With $E = f/\tau$ the sampler has temperature one for every ε. Why does its result still depend on ε?
# 2. A buffer's samples carry on from where earlier networks left them. For which choices of ε and $T$ would you
#    expect the fresh chains of a buffer-trained model to be worse than those of a noise-trained one?
# 3. Adding a constant $c_y$ to each class's energy leaves $p(x \mid y)$ alone. What does it do to $p(y \mid x)$ and to $p(x)$?
# 4. Sketch how to sample from $p(x, y)$ when $y$ is not fixed. What would a Gibbs step for $y$ look like?
# 5. "Variety" above compares mean distances. Name a failure that it does not see, and a measure that would.
#
# ## Further reading
#
# - Du and Mordatch {cite}`du2019implicit`: residual energies on photographs, the buffer, and conditional models.
# - Nijkamp et al. {cite}`nijkamp2020anatomy`: what chain length and noise starts do to the energy that is learnt.
# - Song and Ermon {cite}`song2019gradients`: annealed Langevin dynamics where it became famous, with learnt scores.
# - Grathwohl et al. {cite}`grathwohl2020jem`: the classifier that is an energy; Part D.
