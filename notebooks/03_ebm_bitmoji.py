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
# # Faces from an energy, and why the first attempt fails
#
# The original assignment of this part asks for an energy-based model of Bitmoji faces: ten convolution layers with
# {term}`batch norm`, {term}`negatives` from a few steps of {term}`MALA`, a {term}`contrastive loss <contrastive divergence>`.
# With one step its loss ran far below zero, and a region like a face on white was learnt; with five and ten steps the loss hovered near zero. The
# hand-in ends with an open question: *a model that gives every image the same score has loss zero, so what does the loss tell us?*
#
# This chapter repeats the experiment, shows three different ways to a loss of zero, looks for measurements that tell them apart, and ends with faces.
#
# ```{admonition} What you will learn
# - how MALA's acceptance test works on images, and what keeping pixels in a box does to it (A3);
# - how far a sampler *can* carry a pixel, worked out before any training (A4);
# - three ways to a contrastive loss of zero, and one to a loss without bound; why a batch norm can pin it, and make the sampler a random walk (A1, A2, A8);
# - which measurements tell those from a good energy, since the loss does not (A8);
# - which ingredients turn noise into faces, most of them left out in turn (A7, A8).
# ```
#
# **Before you start.** Part B explains the contrastive loss, the {term}`replay buffer` and the {term}`temperature` of a sampler;
# Part S explains MALA. Here they are put to work.
#
# **Time and hardware.**
#
# | profile | data | what happens | time |
# |---|---|---|---|
# | `quick` | drawn cartoon faces, 32×32 | the main training, short; the studies are shown from the long run | about a minute and a quarter, one core |
# | `laptop` | Bitmoji, 3,150 faces, 32×32 | faces; the studies on 16×16 pixels, three seeds a cell | two hours and twenty minutes on one of two busy cores, about 80 of them computing; 25 of the main training |
# | `full` | Bitmoji, 64×64 | a deeper network, longer chains | a few hours, one GPU (not yet measured) |

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
import copy
import math
import statistics
import time
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

from gen_utils import checkpoints, models, report
from gen_utils.checks import ebm_bitmoji as checks
from gen_utils.data import load_images, to_float, to_uint8
from gen_utils.evaluation.controls import controls
from gen_utils.evaluation.frechet import (
    extract_features,
    frechet_distance,
    frechet_interval,
)
from gen_utils.evaluation.intervals import welch
from gen_utils.evaluation.kernel_distance import kernel_distance, kernel_interval
from gen_utils.evaluation.outliers import auroc, energies
from gen_utils.experiments.sweep import summary, sweep
from gen_utils.experiments.train_test import train_validate_test
from gen_utils.models import TenLayerEnergy
from gen_utils.plotting import (
    animate_chain,
    chain_strip,
    curves,
    display_html,
    image_grid,
    plt,
    use_style,
)
from gen_utils.profiles import choose
from gen_utils.report import record, say, table
from gen_utils.samplers import MALA, Langevin, UniformStart, power_decay, sample
from gen_utils.training import EBMConfig, EBMWatch
from gen_utils.training.cards import card_facts

# %% tags=["parameters"]
profile = "quick"  # quick, laptop or full
data_root = ""  # where Bitmoji is; empty means $GEN_DATA_ROOT, else ./data
seed = 0
ship = False  # True writes the trained model to checkpoints/

# %% tags=["hide-input"]
settings = choose(
    profile,
    quick=dict(
        data="avatars",
        limit=None,
        size=32,
        batch_size=16,
        shipped_chain=400,
        widths=(16, 32, 64, 64),
        stem=16,
        train_steps=200,
        chain_steps=10,
        capacity=256,
        lr=1e-3,
        looks=4,
        small=16,  # pixels, of the assignment's experiment and of the studies
        small_batch=16,
        written_steps=20,
        written_width=4,
        resamples=100,
        n_eval=40,
        final_chain=160,
        n_shown=16,
        pretrained=None,
        small_widths=None,  # from here on: of studies, which quick does not run
        small_stem=None,
        small_chain=None,
        small_capacity=None,
        small_lr=None,
        variation_steps=None,
        ablation_steps=None,
        crossed_steps=None,
        seeds=None,
        ablation_seeds=None,
        crossed_seeds=None,
        short_chain=None,
        sign_chain=None,
        n_small=None,
        test_steps=150,
        reach_decades=4,
        trace_steps=120,
    ),
    laptop=dict(
        data="bitmoji",
        limit=None,
        size=32,
        batch_size=64,
        shipped_chain=400,
        widths=(48, 96, 192, 192),
        stem=48,
        train_steps=800,
        chain_steps=30,
        capacity=4096,
        lr=4e-4,
        looks=8,
        small=16,
        small_batch=32,
        written_steps=400,
        written_width=8,
        small_widths=(24, 48, 96),
        small_stem=24,
        small_chain=20,
        small_capacity=1024,
        small_lr=1e-3,
        pretrained=True,
        variation_steps=150,
        ablation_steps=300,
        crossed_steps=1000,
        seeds=3,
        ablation_seeds=3,
        crossed_seeds=3,
        n_eval=350,
        n_small=350,
        resamples=200,
        sign_chain=25,
        final_chain=400,
        short_chain=200,
        n_shown=100,
        test_steps=300,
        reach_decades=5,
        trace_steps=200,
    ),
    full=dict(
        data="bitmoji",
        limit=None,
        size=64,
        batch_size=64,
        shipped_chain=400,
        widths=(64, 128, 256, 256, 512),
        stem=64,
        train_steps=20_000,
        chain_steps=60,
        capacity=4096,
        lr=4e-4,
        looks=10,
        small=32,
        small_batch=64,
        written_steps=4000,
        written_width=32,
        small_widths=(48, 96, 192, 192),
        small_stem=48,
        small_chain=30,
        small_capacity=4096,
        small_lr=4e-4,
        pretrained=True,
        variation_steps=1000,
        ablation_steps=2000,
        crossed_steps=2000,
        seeds=3,
        ablation_seeds=3,
        crossed_seeds=3,
        resamples=200,
        sign_chain=25,
        n_eval=350,
        n_small=350,
        final_chain=800,
        short_chain=400,
        n_shown=100,
        test_steps=300,
        reach_decades=5,
        trace_steps=200,
    ),
    smoke=dict(  # in tests: every line runs, nothing is learnt
        limit=100,
        batch_size=8,
        shipped_chain=40,
        widths=(4, 8, 8, 8),
        stem=4,
        written_width=2,
        small_widths=(4, 8),
        small_stem=4,
        small_chain=2,
        small_capacity=64,
        small_lr=1e-3,
        small_batch=8,
        crossed_steps=1,
        crossed_seeds=1,
        resamples=4,
        sign_chain=1,
        train_steps=4,
        chain_steps=2,
        looks=2,
        written_steps=2,
        n_eval=24,
        n_small=16,
        final_chain=16,
        pretrained=False,
        variation_steps=1,
        ablation_steps=1,
        seeds=1,
        ablation_seeds=1,
        short_chain=4,
        test_steps=30,
        reach_decades=2,
        trace_steps=16,
    ),
)
use_style()
study = report.studies("03_ebm_bitmoji", profile)
torch.manual_seed(seed)
started = time.perf_counter()
event_shape = (3, settings.size, settings.size)
box = (-1.0, 1.0)

# %% [markdown]
# ## Where we are going
#
# This is the trained energy that ships with the workbook. Every chain starts from uniform noise and follows
# the energy downhill. Nothing was selected.

# %%
shipped = (
    checkpoints.load("ebm_bitmoji") if "ebm_bitmoji" in checkpoints.names() else None
)
judge = checkpoints.load("cifar_classifier")  # measures our samples, later

descent = Langevin(
    step_size=10.0, noise=0.005, grad_clip=0.03, bounds=box
)  # the sampler of Part B
if shipped is None:
    say(
        "*No trained model is here yet: run this notebook with `ship = True` to make one. The chapter goes on without it.*"
    )
else:
    stream = torch.Generator().manual_seed(seed)
    noise = UniformStart(shipped.event_shape).draw(settings.n_shown, generator=stream)
    film = sample(
        shipped,
        noise,
        descent,
        settings.shipped_chain,
        keep_every=20,
        generator=stream,
        fast=True,
    )
    shipped_title = f"Shipped model, trained on {shipped.card['data']}"
    display_html(
        animate_chain(
            torch.stack([noise, *film.path])[:, :25],
            range(0, settings.shipped_chain + 1, 20),
            shipped_title,
        )
    )

# %% tags=["hide-input"]
if shipped is not None:
    image_grid(
        film.x,
        f"{shipped_title}: {settings.n_shown} chains from uniform noise, {settings.shipped_chain} steps, not selected",
    )

# %% [markdown]
# ## The data

# %%
everything = load_images(
    settings.data, "train", size=settings.size, limit=settings.limit, root=data_root
)
test_images = load_images(
    settings.data, "test", size=settings.size, limit=settings.limit, root=data_root
)
train_images, validation_images = everything.split(0.95, 0.05, seed=seed)
data_title = train_images.title
image_grid(train_images.images[:60], f"{data_title}: training images", columns=15)
say(
    f"{len(train_images):,} faces for training, {len(validation_images):,} for validation, "
    f"{len(test_images):,} held out, from **{data_title}**, {settings.size}×{settings.size} pixels, scaled to [−1, 1]."
)
record("data", data_title)
record("train_images", len(train_images))

# %% [markdown]
# The public Bitmoji set has about 130,000 faces, and the original assignment also tries a subset of 25,000. The
# copy behind this chapter's long run is smaller (3,150 faces, of which 2,992 train), so where the assignment asks for the
# subset we take a third of what is at hand, and call it that.
#
# The assignment's experiment and the studies below run on smaller copies of the same pictures. A study of thirty trainings is then long enough
# for its rows to differ by more than their seeds.


# %%
def smaller(images):
    """The same set at settings.small pixels a side, each the mean of a block."""
    block = settings.size // settings.small
    return replace(images, images=to_uint8(F.avg_pool2d(images.scaled(), block)))


small_test = smaller(test_images)
small_train, small_validation = smaller(train_images), smaller(validation_images)
small_shape = (3, settings.small, settings.small)
small_title = f"{small_train.title}, {settings.small}×{settings.small}"
image_grid(small_train.images[:30], f"{small_title}", columns=15)

# %% [markdown]
# ## The model as written (A1)
#
# Ten layers, each a convolution, an activation, a pooling and a **batch norm**; at the end a linear layer turns what is left into one number. The
# assignment calls the number a *score* and trains it with
#
# ```{math}
# :label: eq-a-written-loss
# \text{loss} = \tfrac1B\sum_{i} E(x_i) \;-\; \tfrac1B\sum_{i} E(x_i^-) ,
# ```
#
# the mean over $B$ real images $x_i$ minus that over $B$ negatives $x_i^-$. Minimising it makes the number *low* for real images: **the assignment's score is our energy**, and not
# the gradient that other papers call a {term}`score`. Nothing has to be turned round: we write $E$, and a good loss would be below zero when negatives are worse than data.
#
# How many pixels are left at the end? The assignment does not say. We let the pooling stop at 2×2, so that the last layer still knows above from below. The
# variant that goes on to one pixel gets a section of its own.

# %%
written = TenLayerEnergy(size=settings.small, width=settings.written_width, last=2)
convolutions = [m for m in written.modules() if isinstance(m, nn.Conv2d)]
say(
    f"{len(convolutions)} convolutions with {', '.join(str(c.out_channels) for c in convolutions)} channels, "
    f"{sum(p.numel() for p in written.parameters()):,} parameters; the last feature map has 2×2 pixels. "
    f"It looks at {settings.small}×{settings.small} pixels."
)

# %% [markdown]
# ## The sampler as written (A3)
#
# The negatives come from $t$ steps of MALA, $t \in \{1, 5, 10\}$, with step $\tau = 0.01$, started from
# $\mathcal U(-1, 1)$.
#
# ```{prf:algorithm} One step of MALA on images
# :label: alg-mala-images
# **Inputs** energy $E$; images $x$; step $\tau$
#
# 1. propose $x' = x - \tau\,\nabla E(x) + \sqrt{2\tau}\,\xi$, with $\xi \sim \mathcal N(0, I)$
# 2. for each image on its own: $\log r = E(x) - E(x') + \log q(x \mid x') - \log q(x' \mid x)$
# 3. where $\log u < \log r$, $u \sim \mathcal U(0, 1)$: the proposal is the next state; elsewhere the old image is
# ```
#
# The third line looks harmless, and has the two classic mistakes of image samplers in it. The first is one
# decision for the whole batch. The second is arithmetic: `accept * new + (1 - accept) * old` is *not* a choice
# when `new` holds a NaN.

# %% [markdown]
# ```{exercise-start} The acceptance test, image by image
# :label: ex-metropolis
# ```
# *Goal: decide for each chain of a batch by itself, also where a ratio is no number. About 10 minutes, 2 points.*
#
# Write line 3 of {prf:ref}`alg-mala-images`. `log_ratio` is $(B,)$ and may hold NaN, which means "reject". `u` is given, so that the check can be
# exact. A rejected image must come back bit for bit. Leave the arguments as they were.


# %% tags=["exercise"]
def metropolis_test(x, proposal, log_ratio, u):
    """Images (B, C, H, W), ratios and u (B,) -> next images, and which were accepted (B,) bool."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-metropolis
# :class: dropdown
# ```
# A comparison with NaN is false, so NaN rejects by itself, as long as the question is "is it smaller?" and not
# "is it not larger?". `torch.where` chooses; it computes nothing.


# %% tags=["solution"]
def metropolis_test(x, proposal, log_ratio, u):
    """Images (B, C, H, W), ratios and u (B,) -> next images, and which were accepted (B,) bool."""
    accepted = torch.log(u) < log_ratio
    chosen = accepted.view(-1, 1, 1, 1)
    return torch.where(chosen, proposal, x), accepted


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.metropolis_test(metropolis_test)

# %% [markdown]
# **Your test, in a chain.** We need an energy of images whose answer is known. Take a Gaussian around the mean training face, with a standard
# deviation of 0.3 in each of the $D$ pixels and channels. Each of them then has an energy of ½ on average, so that images drawn from it have a mean energy of
# $D/2$. Sixteen chains start from $\mathcal U(-1, 1)$, far above, with the assignment's $\tau = 0.01$.

# %%
mean_face = train_images.scaled().mean(0)


def bowl(x):
    """A Gaussian around the mean face: images (B, C, H, W) -> energies (B,)."""
    return 0.5 * ((x - mean_face) / 0.3).square().flatten(1).sum(1)


def mala_step(x, tau, stream):
    """One step of MALA in the bowl, with your test."""
    xi = torch.randn(x.shape, generator=stream)
    slope = (x - mean_face) / 0.3**2
    proposal = x - tau * slope + (2 * tau) ** 0.5 * xi
    # The noise that would lead back: x = x' - τ ∇E(x') + √(2τ) ξ'.
    xi_back = (tau / 2) ** 0.5 * (slope + (proposal - mean_face) / 0.3**2) - xi
    log_q = 0.5 * (xi.square() - xi_back.square()).flatten(1).sum(1)
    log_ratio = bowl(x) - bowl(proposal) + log_q
    return metropolis_test(x, proposal, log_ratio, torch.rand(len(x), generator=stream))


stream = torch.Generator().manual_seed(seed + 3)
x = UniformStart(event_shape).draw(16, generator=stream)
heights, decisions, states = [bowl(x).mean().item()], [], [x]
for _ in range(settings.test_steps):
    x, accepted = mala_step(x, 0.01, stream)
    heights.append(bowl(x).mean().item())
    decisions.append(accepted)
    states.append(x)
arrived = x
decisions = torch.stack(decisions)
n_dims = x[0].numel()
height_error = abs(sum(heights[-20:]) / len(heights[-20:]) / (n_dims / 2) - 1)
record("metropolis_height_error", height_error)

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 2.9), gridspec_kw={"width_ratios": (1, 1.5)})
axes[0].plot(heights, label="your chains, mean of 16")
axes[0].axhline(n_dims / 2, color="black", lw=0.8, ls=":", label="D/2")
axes[0].set(
    yscale="log",
    xlabel="step",
    ylabel="energy (nats)",
    title="From noise into the bowl",
)
axes[0].legend()
shown = [0, *(round(settings.test_steps * 2.0**-k) for k in range(6, -1, -1))]
image_grid(
    torch.stack([states[k][:4] for k in shown], 1).flatten(0, 1).clamp(-1, 1),
    f"Four of them after {', '.join(map(str, shown))} steps",
    columns=len(shown),
    ax=axes[1],
)
say(
    f"The chains settle within {height_error:.1%} of D/2 = {n_dims / 2:,.0f} (mean of their last states). "
    f"{decisions.double().mean():.0%} of the proposals were accepted. In {int(decisions.all(1).sum())} of "
    f"{len(decisions)} steps all sixteen were: that often one decision for the whole batch could have moved it at all."
)

# %% [markdown]
# Then the box. Pixels live in $[-1, 1]$ and a Langevin proposal does not care. There are two ways out:
#
# - the **exact** way: the density is zero outside the box, so a proposal with any pixel outside is rejected;
# - the **original's** way: accept or reject first, then clamp. It always moves, and it samples something else:
#   Part S shows the mass it piles up on the walls.
#
# Both are a few lines on the package's {term}`kernels <kernel>`. A kernel has two functions, `init` and `step`:


# %%
@dataclass(frozen=True)
class ClampedMALA:
    """MALA as the original assignment has it: the acceptance test first, then a clamp to [-1, 1]."""

    step_size: float

    def init(self, energy, x):
        return MALA(self.step_size).init(energy, x)

    def step(self, energy, state, t, n_steps, generator):
        state = MALA(self.step_size).step(energy, state, t, n_steps, generator)
        moved = self.init(energy, state.x.clamp(*box))  # energy and gradient there
        return state._replace(x=moved.x, energy=moved.energy, grad=moved.grad)


def make_kernel(name):
    """A sampler by name; the names are what the experiments below are told."""
    return {
        "MALA": ClampedMALA(0.01),
        "MALA, exact in the box": MALA(0.01, bounds=box),
        "constant": Langevin(0.95, noise=5e-4, bounds=box),
        "decaying": Langevin(power_decay(1e-4, 0.75), bounds=box),
        "recipe": descent,
        "recipe, ten times the noise": Langevin(
            10.0, noise=0.05, grad_clip=0.03, bounds=box
        ),
        "recipe, no clamp": Langevin(10.0, noise=0.005, bounds=box),
    }[name]


# %% [markdown]
# ## How far can a chain go? (A4)
#
# The assignment offers two alternatives to MALA: Langevin with a step that decays as
# $\eta_t = 10^{-4} / t^{0.75}$, and Langevin with the constant step 0.95 and noise factor $5 \cdot 10^{-4}$. Before we
# train anything, one question: *can these chains reach a face at all?* On a flat energy only the noise moves a
# pixel. It adds up like a random walk.

# %% [markdown]
# ```{exercise-start} The reach of the noise
# :label: ex-reach
# ```
# *Goal: say how far a sampler can carry a pixel, before running it. About 10 minutes, 1 point.*
#
# Return the standard deviation of what the noise has added to a pixel after $n$ steps. A Langevin chain at temperature 1 adds
# $\sqrt{2\eta_t}\,\xi_t$ at step $t = 1, \dots, n$, and $\eta_t$ is `schedule(t, n_steps)`, for any schedule.


# %% tags=["exercise"]
def noise_reach(schedule, n_steps):
    """Standard deviation of a pixel's accumulated noise after n_steps."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-reach
# :class: dropdown
# ```
# Independent noises add their variances, not their standard deviations.


# %% tags=["solution"]
def noise_reach(schedule, n_steps):
    """Standard deviation of a pixel's accumulated noise after n_steps."""
    return sum(2 * schedule(t, n_steps) for t in range(1, n_steps + 1)) ** 0.5


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.noise_reach(noise_reach)

# %% tags=["hide-input"]
decay = power_decay(1e-4, 0.75)
stream = torch.Generator().manual_seed(seed + 1)
starts = UniformStart(event_shape).draw(16, generator=stream)
fixed = TenLayerEnergy(
    size=settings.size, width=settings.written_width, norm="none"
).eval()
rows = []
for name in ("MALA", "MALA, exact in the box", "constant", "decaying"):
    stream = torch.Generator().manual_seed(seed + 2)
    chain = sample(fixed, starts, make_kernel(name), 20, generator=stream)
    rows.append(
        {
            "sampler": name,
            "accepted": f"{chain.accept_rate:.0%}" if "MALA" in name else "no test",
            "a pixel moved, 20 steps (rms)": f"{(chain.x - starts).square().mean().sqrt().item():.3f}",
        }
    )
table(
    rows,
    f"Twenty steps from U(−1, 1) on an untrained ten-layer energy, {settings.size}×{settings.size}",
)
reaches = {n: noise_reach(decay, n) for n in (10, 100, 1000, 10_000)}
say(
    "The decaying schedule's noise carries a pixel "
    + ", ".join(f"{r:.3f} in {n:,} steps" for n, r in reaches.items())
    + f"; a pixel of U(−1, 1) has a standard deviation of {3**-0.5:.2f}. Even in ten thousand steps the noise cannot "
    "wash away the picture it started from, and the drift has the same small step in front of it: "
    "**its samples are the noise they began with.**"
)
record("decay_reach_1000", reaches[1000])
record("kernel_moves", rows)

# %% [markdown]
# **Predicted, then run.** The lines are your function. The dots are chains on a flat energy, $E(x) = 0$, where nothing but the noise moves a pixel.

# %% tags=["hide-input"]
schedules = {
    "decaying, η = 10⁻⁴/t^0.75": decay,
    "the same without decay": power_decay(1e-4, 0.0),
    "MALA's step, η = 0.01": power_decay(0.01, 0.0),
}
many = sorted({round(10 ** (k / 4)) for k in range(4 * settings.reach_decades + 1)})
fig, ax = plt.subplots(figsize=(7, 3.2))
off = []
for i, (name, schedule) in enumerate(schedules.items()):
    (line,) = ax.loglog(many, [noise_reach(schedule, n) for n in many], label=name)
    for n in [n for n in (1, 10, 100) if n <= many[-1]]:
        flat = sample(
            lambda x: 0.0 * x.flatten(1).sum(1),
            torch.zeros(64, 64),
            Langevin(schedule),
            n,
            generator=torch.Generator().manual_seed(seed + 40 + i),
        )
        ax.plot(n, flat.x.std(), "o", ms=4, color=line.get_color())
        off.append(abs(float(flat.x.std()) / noise_reach(schedule, n) - 1))
ax.axhline(3**-0.5, color="black", lw=0.8, ls=":")
ax.text(1, 0.65, "standard deviation of U(−1, 1)", fontsize=9)
ax.set(xlabel="steps", ylabel="what a pixel has gained", title="The reach of the noise")
ax.legend(fontsize=8, loc="lower right")
record("reach_worst", max(off))
say(f"The dots lie within {max(off):.1%} of your lines.")

# %% [markdown]
# Read the table's second row. The exact test accepts *nothing*: with a noise of $\sqrt{0.02} \approx 0.14$ a pixel,
# among three thousand pixels spread over the whole box, some always leave it. Exactness is worthless when the chain
# stands still, and the original's clamp is the lesser evil here. We keep it, under its own name.
#
# ## Training as written (A2, A6)
#
# One call trains, validates and tests any energy class; it seeds everything and logs for TensorBoard
# (`tensorboard --logdir runs`). The settings are the assignment's: negatives from noise each time, no penalty, data
# and negatives scored in two separate passes, and, as there, the chain runs through the network as it stands in training.


# %%
def recipe_of(kernel, chain_steps, **changes):
    """The assignment's settings around a named sampler."""
    as_written = dict(
        kernel=make_kernel(kernel),
        n_steps=chain_steps,
        restart=1.0,
        capacity=64,
        alpha=0.0,
        data_noise=0.0,
        lr=2e-4,
        betas=(0.5, 0.999),
        decay=1.0,
        grad_norm=None,
        joint_pass=False,
    )
    return EBMConfig(**{**as_written, **changes})


def train_written(
    kernel,
    chain_steps,
    *,
    max_steps,
    norm="batch",
    last=2,
    run_seed=seed,
    data=small_train,
    model="TenLayerEnergy",
    **changes,
):
    """The assignment's experiment, with one or two things changed."""
    arguments = dict(size=settings.small)
    if model == "TenLayerEnergy":
        arguments |= dict(width=settings.written_width, norm=norm, last=last)
    else:
        arguments |= dict(pretrained=settings.pretrained)
    return train_validate_test(
        getattr(models, model),
        arguments,
        data,
        small_validation,
        small_test,
        config=recipe_of(kernel, chain_steps, **changes),
        max_steps=max_steps,
        batch_size=settings.small_batch,
        seed=run_seed,
        name="ebm_bitmoji_written",
    )


def late(run, name):
    """Mean of a curve's last tenth."""
    values = run.curve(name)[1]
    return statistics.fmean(values[-max(1, len(values) // 10) :])


written_runs = {}
for t in (1, 5, 10):
    written_runs[t] = train_written("MALA", t, max_steps=settings.written_steps)

# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 3, figsize=(9, 4.6), sharex=True, sharey="row")
for column, (t, (run, _)) in zip(axes.T, written_runs.items(), strict=True):
    curves(
        {"loss": run.curve("loss")},
        f"t = {t} MALA step{'s' if t > 1 else ''}",
        ax=column[0],
        ylabel="loss (nats)" if t == 1 else "",
        xlabel="",
    )
    scores = {"real": run.curve("energy_real"), "negatives": run.curve("energy_fake")}
    curves(scores, ax=column[1], ylabel="mean score = E (nats)" if t == 1 else "")
    column[0].axhline(0, color="black", lw=0.8, ls=":")
_ = fig.suptitle(f"The assignment as written: low is real ({small_title})")
written_late = {str(t): late(run, "loss") for t, (run, _) in written_runs.items()}
accepted_late = {
    str(t): late(run, "accept_rate")
    for t, (run, _) in written_runs.items()
    if "accept_rate" in run.history
}
record("written_late", written_late)
record("written_accepted", accepted_late)
one_step = written_late["1"]
more_steps = max(abs(written_late[t]) for t in ("5", "10"))
say(
    f"Mean loss over the last tenth of {settings.written_steps:,} steps: "
    + ", ".join(f"{value:.2f} for t = {t}" for t, value in written_late.items())
    + ". In the original t = 1 went far below zero, and t = 5 and 10 hovered near it"
    + (
        ". This run is too short, or its data too easy, to say anything of that."
        if one_step > -5
        else ": here, too."
        if more_steps < abs(one_step) / 4
        else ". Our t = 1 agrees. Our t = 5 and 10 do not: so long as chains do not arrive, a larger t changes little. What held the original's loss near zero must be something else, and there is more than one candidate."
    )
)

# %% [markdown]
# **Why can the loss run away?** Nothing in {eq}`eq-a-written-loss` bounds it: an energy that tells faces from negatives only needs to grow. Multiply $E$ by 2, and the loss is
# twice as far below zero. The negatives could hold it back, by going where $E$ is low. But $t$ steps of MALA that start in noise gain at most
# $\sqrt{2\tau t}$ a pixel from their own noise, 0.14 for one step, where a pixel of $\mathcal U(-1, 1)$ has a standard deviation of 0.58. They still *are* noise, and the network is a
# classifier of noise against faces, whose loss never ends.
#
# **What has it learnt, then?** A step downhill from noise goes along $-\nabla E$. Below is that direction, averaged over noise images: brighter means that the energy wants the
# pixel brighter. If it knew nothing, it would look like nothing. Beside it stands the mean face.

# %% tags=["hide-input"]
noise_images = UniformStart(small_shape).draw(
    64, generator=torch.Generator().manual_seed(seed + 8)
)
small_mean = small_train.scaled().mean(0)


def downhill(model):
    """The mean of -∇E over noise images, (C, H, W), in evaluation mode; its largest element is 1."""
    x = noise_images.clone().requires_grad_()
    slope = -torch.autograd.grad(model.eval()(x).sum(), x)[0].mean(0)
    return slope / slope.abs().max().clamp(min=1e-12)


def agreement(a, b):
    """Correlation of two pictures, over all pixels and channels."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


torch.manual_seed(seed)
untrained = TenLayerEnergy(
    size=settings.small, width=settings.written_width, last=2
).eval()
wanted = {"untrained": downhill(untrained)} | {
    f"t = {t}": downhill(run.module.energy) for t, (run, _) in written_runs.items()
}
agreements = {name: agreement(small_mean, picture) for name, picture in wanted.items()}
fig, axes = plt.subplots(1, len(wanted) + 1, figsize=(9, 2.2))
for ax, (name, picture) in zip(
    axes, [("mean face", small_mean), *wanted.items()], strict=True
):
    ax.imshow(((picture + 1) / 2).clamp(0, 1).permute(1, 2, 0).numpy())
    ax.set_title(
        name if name == "mean face" else f"{name}\nr = {agreements[name]:.2f}",
        fontsize=9,
    )
    ax.axis("off")
_ = fig.suptitle(f"Where the energies want noise to go ({small_title})")
record("written_agreement", agreements)
say(
    f"Correlation with the mean face: {', '.join(f'{v:.2f} ({k})' for k, v in agreements.items())}. "
    + (
        "A region like a face on a bright ground has been learnt with t = 1, as in the original."
        if agreements["t = 1"] > max(0.3, agreements["untrained"] + 0.1)
        else "With t = 1 no likeness of a face can be seen in this run."
    )
)

# %% [markdown]
# ## The open question, answered (A8)
#
# Before we ask what tells a good energy, here is one way to be deceived: a network with *loss zero by construction*. It is the model as written, but its pooling goes on to **one
# pixel**. Then the last things in the network are a batch norm and a linear layer. In training mode, batch norm makes the mean of each
# feature over the batch equal to its shift $\beta$, whatever came in.
#
# Batch norm takes a feature $h$ (one number an image), subtracts the batch's mean $\mu_B$, divides by its
# standard deviation $\sigma_B$, and then scales and shifts by two learnt numbers:
#
# ```{math}
# :label: eq-a-batch-norm
# h \;\longmapsto\; \gamma\,\frac{h - \mu_B}{\sigma_B} + \beta .
# ```
#
# The last layers of `network.net` are such a batch norm, a flattening that changes no number, and a linear layer to one output:
# `network.net[-3]`, `[-2]` and `[-1]`. Both PyTorch layers call what they multiply by `weight` (the batch norm's $\gamma$, of shape $(D,)$; the linear layer's, $(1, D)$) and what they add `bias`
# (the batch norm's $\beta$, $(D,)$; the linear layer's, $(1,)$).

# %% [markdown]
# ```{exercise-start} Predict, then run: the mean energy of a batch
# :label: ex-pinned
# ```
# *Goal: predict what a network says of a batch without showing it one. About 10 minutes, 2 points.*
#
# Return the mean energy that a ten-layer network with batch norms, down to one pixel, gives to a batch in training mode: a single number, whichever batch that is. You get the network,
# and no images. Do not run the network, and leave it as it was.


# %% tags=["exercise"]
def predicted_mean(network):
    """A TenLayerEnergy with batch norm -> the mean of its energies over any batch, in training mode, ()."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-pinned
# :class: dropdown
# ```
# The mean of a linear function is the function of the mean, and over the batch $(h - \mu_B)/\sigma_B$ has mean zero. So the features have mean $\beta$. Neither
# the scale $\gamma$ nor a single pixel enters: faces and noise have the same mean energy, the
# contrast is zero, and so is its gradient with respect to **every** weight. Nothing can be learnt.


# %% tags=["solution"]
def predicted_mean(network):
    """A TenLayerEnergy with batch norm -> the mean of its energies over any batch, in training mode, ()."""
    norm, head = network.net[-3], network.net[-1]
    return head.weight[0] @ norm.bias + head.bias[0]


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.predicted_mean(predicted_mean)

# %% [markdown]
# **Now run it.** A network with one pixel at the end is trained with $t = 5$. Then, in training mode, it sees batches that have nothing in common:

# %%
pinned_run, pinned_found = train_written(
    "MALA", 5, max_steps=settings.written_steps, last=1
)
record("pinned_largest_loss", max(map(abs, pinned_run.curve("loss")[1])))
network = copy.deepcopy(pinned_run.module.energy).train()
faces = to_float(small_test.images[:32])
uniform = UniformStart(small_shape).draw(
    32, generator=torch.Generator().manual_seed(seed + 4)
)
with torch.no_grad():
    predicted = float(predicted_mean(network))
means = {
    name: network(x).mean().item()
    for name, x in {
        "faces": faces,
        "upside down": faces.flip(-2),
        "uniform noise": uniform,
        "all black": -torch.ones_like(faces),
    }.items()
}
table(
    [
        {
            "batch of 32": "any, as you predicted",
            "mean energy": f"{predicted:.6f}",
        }
    ]
    + [{"batch of 32": k, "mean energy": f"{v:.6f}"} for k, v in means.items()],
    "Predicted, then run",
)
contrast = network(faces).mean() - network(uniform).mean()
gradients = torch.autograd.grad(contrast, list(network.parameters()), allow_unused=True)
steepest = max(g.abs().max().item() for g in gradients if g is not None)
record("pinned_gap", max(abs(v - predicted) for v in means.values()))
record("pinned_gradient", steepest)
say(
    f"The largest loss of its {settings.written_steps:,} steps was {max(map(abs, pinned_run.curve('loss')[1])):.1e}; "
    f"the largest element of the contrast's gradient, over all weights, is {steepest:.1e}: rounding, not learning."
)

# %% [markdown]
# With four pixels at the end the same batch norm fixes only the mean over the batch *and* the four places. Each place has weights of its own, and what is bright above and dark
# below can still move the mean. So the model as written *can* learn.
#
# %% [markdown]
# ### Which of four chains is a random walk? (A3, A8)
#
# The pinned mean has a second victim, and it hides well. Below are the traces of four samplers, A to D, with eight chains each: how often a
# proposal was accepted, the mean energy, and the *mean squared distance from the start*, over pixels and chains. One of them is the assignment's
# sampler in the midst of training the pinned network.
#
# What can the last trace say? Let a pixel gain $s_t$ in step $t$.
#
# - **Stands still**: no proposal is ever accepted. The distance is zero.
# - **Wanders**, a random walk: the $s_t$ are independent, their variances add (as in the reach of the noise, above), and the squared distance grows like the
#   number of steps $k$.
# - **Travels**: the $s_t$ have one direction. The distance grows like $k$, its square like $k^2$.
# - **Has settled**: the chain moves, but it has a density to stay in. The squared distance between a draw and a later one levels off, at twice the variance.

# %%
KINDS = ("stands still", "wanders", "travels", "has settled")


def traces(energy, x0, step_size, bounds=None):
    """MALA without the clamp: accepted (K, B), energies (K, B), squared distances from the start (K, B)."""
    chain = sample(
        energy,
        x0,
        MALA(step_size, bounds=bounds),
        settings.trace_steps,
        keep_every=1,
        generator=torch.Generator().manual_seed(seed + 5),
    )
    states = torch.cat((x0[None], chain.path))
    accepted = (states[1:] != states[:-1]).flatten(2).any(2)
    return accepted, chain.energy, (chain.path - x0).square().flatten(2).mean(2)


def narrow_bowl(x):
    """As bowl, with a standard deviation of 0.05 a pixel."""
    return 36 * bowl(x)


stream = torch.Generator().manual_seed(seed + 6)
eight = UniformStart(small_shape).draw(8, generator=stream)
large_eight = UniformStart(event_shape).draw(8, generator=stream)
four = {
    "A": traces(network, eight, 0.01),
    "B": traces(narrow_bowl, large_eight, 0.4 * 0.05**2 / settings.trace_steps),
    "C": traces(network, eight, 0.01, bounds=box),
    "D": traces(bowl, arrived[:8], 0.01),
}

# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 4, figsize=(9.5, 4), sharex=True)
for (upper, lower), (name, (accepted, heights, moved)) in zip(
    axes.T, four.items(), strict=True
):
    mean = heights.mean(1)
    upper.plot(range(1, len(mean) + 1), mean)
    # Wide limits: on its own scale, matplotlib would magnify rounding errors.
    middle, half = (
        float(mean.max() + mean.min()) / 2,
        max(float(mean.max() - mean.min()), 0.1),
    )
    upper.set_ylim(middle - half, middle + half)
    upper.set_title(f"{name}: {accepted.double().mean():.0%} accepted", fontsize=10)
    lower.plot(range(1, len(mean) + 1), moved.mean(1))
    lower.set(xlabel="step", ylim=(0, 1.1 * max(float(moved.mean(1).max()), 1e-3)))
axes[0, 0].set_ylabel("mean energy")
axes[1, 0].set_ylabel("mean squared\ndistance")
_ = fig.suptitle("Four samplers, one of them a random walk")

# %% [markdown]
# ```{exercise-start} Diagnose a chain from its traces
# :label: ex-diagnose
# ```
# *Goal: tell a random walk from a chain that has settled, when acceptance and energy cannot. About 20 minutes, 3 points.*
#
# Return which of the four `KINDS` a sampler is, from its traces: a whole number from 0 to 3. All three arguments have $K$ rows, one a step, and $B$ columns, one a
# chain: `accepted` is boolean, `energies` in nats, and `moved` is the mean squared distance from the start, over the pixels. The check has
# chains of many lengths and step sizes, so a fixed distance will not do as a border. Some samplers hardly ever accept, and in some a chain or two is stuck. Not all arguments help. Leave them as they were.


# %% tags=["exercise"]
def diagnose(accepted, energies, moved):
    """Traces (K, B) -> 0 stands still, 1 wanders, 2 travels, 3 has settled."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-diagnose
# :class: dropdown
# ```
# Compare the squared distance after all steps with that after half of them. The ratio is 2 for a random walk, 4 for a journey, 1 for a chain that has settled. On a scale of
# logarithms these are 1, 2 and 0, and the borders lie between. Acceptance finds only the chain that stands still. The energy is flat for a chain that has settled, and also for one that wanders where the
# energy says nothing.


# %% tags=["solution"]
def diagnose(accepted, energies, moved):
    """Traces (K, B) -> 0 stands still, 1 wanders, 2 travels, 3 has settled."""
    distance = moved.mean(1)
    if not accepted.any():
        return 0
    growth = float(torch.log2(distance[-1] / distance[len(distance) // 2 - 1]))
    if growth < 0.5:
        return 3
    return 1 if growth < 1.5 else 2


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.diagnose(diagnose)

# %% tags=["hide-input"]
who = {
    "A": "pinned network in training mode, τ = 0.01",
    "B": "narrow bowl, a tiny step, from noise",
    "C": "A, a proposal outside the box is rejected",
    "D": "wide bowl, τ = 0.01, after the chains above",
}
rows = []
for name, (accepted, heights, moved) in four.items():
    rows.append(
        {
            "chain": name,
            "what it was": who[name],
            "accepted": f"{accepted.double().mean():.0%}",
            "mean energy, first and last": f"{heights[0].mean():,.3f}, {heights[-1].mean():,.3f}",
            "your diagnosis": KINDS[int(diagnose(accepted, heights, moved))],
        }
    )
table(rows, f"Four times eight chains, {settings.trace_steps} steps")
record("diagnosed", {row["chain"]: row["your diagnosis"] for row in rows})
slope = torch.autograd.grad(network(eight.requires_grad_()).sum(), eight)[0]
eight = eight.detach()
record("training_mode_slope", slope.abs().max().item())
say(
    f"The largest element of the gradient that drives A is {slope.abs().max().item():.1e}. "
    f"The noise has a scale of {math.sqrt(2 * 0.01):.2f}."
)

# %% [markdown]
# A sampler differentiates the *sum* of the energies, because each image's energy depends on that image alone, so that the sum's gradient
# holds each image's own. In training mode that is not so. Batch norm ties the images together, and their sum is the batch size times the pinned mean: a constant. Its gradient is zero.
# So the "MALA" that trains a pinned network has no drift at all: it is noise with a test. The acceptance looks healthy, the mean energy is calm, and the chain
# goes nowhere in particular: a random walk, exactly. (The energies of Part B have no batch norm, and so no such tie.)
#
# ### Three ways to a loss of zero (A8)
#
# That is one way to have loss zero. There are two more, and the loss cannot tell them apart:
#
# 1. **Pinned**: the mean energy cannot depend on the images (above).
# 2. **Collapsed**: the network could tell images apart, and gives all of them nearly the same energy. A strong penalty $\alpha\,(E(x)^2 + E(x^-)^2)$ does that. For one number $a$ for data
#    and one number $b$ for negatives, $a - b + \alpha (a^2 + b^2)$ is smallest at $a = -1/2\alpha$, $b = 1/2\alpha$: a gap of $1/\alpha$ and a loss of $-1/2\alpha$. With $\alpha = 1000$
#    that is a thousandth of a nat, and a sampler at temperature 1 does not feel it.
# 3. **At peace**: data and samples really have the same energies, because the samples are good. This one we want.
#
# And the opposite, a loss that runs away towards $-\infty$, says as little: as above, the chains cannot follow. What *does* tell? Candidates that need no loss:
#
# - **Spread.** By how many nats do the energies of faces differ among themselves? A collapsed model has no spread that its sampler could feel.
# - **Where the model's own samples lie**, between data (0) and noise (1), on the scale of the energy. At peace they lie at the data.
# - **{term}`AUROC` against hard negatives.** Telling faces from noise is easy. Faces moved sideways, or blends (averages of two), are harder.
# - **The chain-length test.** Run chains of length $t$, $4t$, $16t$ from noise, and measure how far the samples are
#   from the data.
#
# Which of them do tell is not to be believed but measured; a table near the end of this chapter has all of them for all of these models. (They are asked in
# evaluation mode, where batch norm uses running averages and pins nothing.)
#
# Behind the second is a number worth writing once:

# %% [markdown]
# ```{exercise-start} AUROC by counting pairs
# :label: ex-auroc
# ```
# *Goal: measure how well an energy tells two sets apart, ties included. About 10 minutes, 1 point.*
#
# Return the share of pairs (one image inside, one outside) in which the outsider has the higher energy; a tie counts
# one half.


# %% tags=["exercise"]
def auroc_by_pairs(energy_in, energy_out):
    """Energies (N,) of data and (M,) of outliers -> a number between 0 and 1."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-auroc
# :class: dropdown
# ```
# Broadcasting makes the $(N, M)$ table of all pairs. With ties counted one half, a model that gives all images the
# same energy scores ½, as it should.


# %% tags=["solution"]
def auroc_by_pairs(energy_in, energy_out):
    """Energies (N,) of data and (M,) of outliers -> a number between 0 and 1."""
    higher = energy_out[None, :] > energy_in[:, None]
    equal = energy_out[None, :] == energy_in[:, None]
    return (higher.double() + 0.5 * equal.double()).mean()


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.auroc_by_pairs(auroc_by_pairs)

# %% [markdown]
# **What have they learnt?** In evaluation mode nothing is pinned. Here is your number for held-out faces against four kinds of outliers. At ½ an energy says
# nothing, and below ½ it has the matter upside down. The first row has random weights: what it scores is worth nothing.

# %% tags=["hide-input"]
inside = to_float(small_test.images[:64])
outliers = {
    "uniform noise": UniformStart(small_shape).draw(
        len(inside), generator=torch.Generator().manual_seed(seed + 7)
    ),
    "upside down": inside.flip(-2),
    "colours turned round": -inside,
    "averages of two faces": (inside + inside.roll(1, 0)) / 2,
}
judged = {
    "random weights": untrained,
    **{
        f"as written, t = {t}": run.module.energy
        for t, (run, _) in written_runs.items()
    },
    "pinned, t = 5": pinned_run.module.energy,
}
rows, off = [], 0.0
for name, model in judged.items():
    row, data_energy = {"energy": name}, energies(model, inside)
    for kind, images in outliers.items():
        other = energies(model, images)
        row[kind] = f"{float(auroc_by_pairs(data_energy, other)):.3f}"
        off = max(
            off,
            abs(float(auroc_by_pairs(data_energy, other)) - auroc(data_energy, other)),
        )
    rows.append(row)
table(
    rows,
    f"Your AUROC, {len(inside)} held-out faces of {small_title} against as many of each",
)
say(
    f"The package's `auroc`, which counts by ranks, differs from yours by {off:.1g} at most. From here on it counts."
)
record("auroc_by_hand", rows)
record("auroc_gap", off)

# %% [markdown]
# No gradient but rounding errors has ever reached the weights of the pinned network, and Adam makes of them small steps without a direction. Whatever its row shows, to the right side or
# the wrong one, comes from the random weights that it began with, from these steps, and from the averages that its batch norms have stored.
#
# For the chain-length test we need a distance between sets of pictures. As in Part B it is a {term}`Fréchet distance`
# {cite}`heusel2017fid`, here in the features of the `cifar_classifier`, a small network that the workbook trained on
# CIFAR-10 photographs. It never saw a cartoon, but it knows colours, edges and textures. Numbers compare only with the
# same network, the same size of picture and the same count. Smaller pictures are enlarged to 32×32, each pixel becoming a square.
#
# **What is a distance of 10 worth?** Beside every model stand pictures that cost nothing: other real faces, averages of two, draws of one Gaussian with the training faces' mean and full
# covariance, and noise. A model that the Gaussian beats has learnt less than a mean and a covariance tell. The Fréchet distance needs more pictures than the network has features (256);
# with fewer, read the {term}`kernel distance` {cite}`binkowski2018mmd`, which has no bias at any count.

# %%
n_eval = min(settings.n_eval, len(test_images), len(small_test))


def features_of(images):
    """CIFAR-classifier features (n, 256) of uint8 images, small ones enlarged to 32×32."""
    times = max(1, 32 // images.shape[-1])
    large = images.repeat_interleave(times, -1).repeat_interleave(times, -2)
    return extract_features(judge, large)


reference = {
    settings.size: features_of(test_images.images[:n_eval]),
    settings.small: features_of(small_test.images[:n_eval]),
}


def distance(images):
    """Fréchet distance to the first n_eval held-out faces of the same size; compare equal numbers of images only."""
    return frechet_distance(reference[images.shape[-1]], features_of(images))


def measured(images):
    """Fréchet and kernel distance to held-out faces, each with its 95 % interval."""
    real, other = reference[images.shape[-1]], features_of(images)
    return {
        "frechet": frechet_distance(real, other),
        "frechet_interval": frechet_interval(real, other, n=settings.resamples),
        "kernel": kernel_distance(real, other),
        "kernel_interval": kernel_interval(real, other, n=settings.resamples),
    }


def distance_rows(found):
    """Rows of a table from name -> what ``measured`` gave, nearest first by the kernel distance."""
    return [
        {
            "images": name,
            "Fréchet distance": f"{v['frechet']:.1f}",
            "95 %, bias taken out": "{:.1f} to {:.1f}".format(*v["frechet_interval"]),
            "kernel distance": f"{v['kernel']:.3f}",
            "95 %": "{:.3f} to {:.3f}".format(*v["kernel_interval"]),
        }
        for name, v in sorted(found.items(), key=lambda item: item[1]["kernel"])
    ]


def draw(energy, kernel, n, n_steps, stream_seed=seed + 10):
    """Fresh chains from uniform noise, as uint8."""
    stream = torch.Generator().manual_seed(stream_seed)
    start = UniformStart(energy.event_shape).draw(n, generator=stream)
    kernel = make_kernel(kernel) if isinstance(kernel, str) else kernel
    return to_uint8(
        sample(energy, start, kernel, n_steps, generator=stream, fast=True).x
    )


n_features = reference[settings.size].shape[1]
small_controls = {
    name: measured(images)
    for name, images in controls(small_train, n_eval, seed=seed).items()
}
table(
    distance_rows(small_controls),
    f"The scale: {n_eval} images each beside as many held-out faces of {small_title} (CIFAR-classifier features)",
)
if n_eval <= n_features:
    say(
        f"{n_eval} pictures are fewer than the {n_features} features: **read the kernel distances only.**"
    )
record("small_controls", small_controls)
record("frechet_n", n_eval)

# %% [markdown]
# ## Repairs to the model as written (A7)
#
# **Which change lets the ten layers learn more than "this is noise"?** Each row below is the assignment's model with one or two things changed,
# trained for the same number of steps with $t = 5$ MALA steps from noise. Then its own sampler draws. (Instance norm is left out
# from 2×2 pixels on; ResNet-18's batch norms use their stored averages.) At the foot stand the controls: a change helps the samples only where its row leaves that of noise.


# %%
def variation(
    seed,
    kernel,
    chain_steps,
    steps,
    norm="batch",
    alpha=0.0,
    model="TenLayerEnergy",
    share=1.0,
):
    """Train one variation of the assignment's model; what its energy knows, and what its chains draw."""
    data = small_train.take(torch.arange(int(share * len(small_train))))
    run, found = train_written(
        kernel,
        chain_steps,
        max_steps=steps,
        norm=norm,
        model=model,
        run_seed=seed,
        data=data,
        alpha=alpha,
    )
    images = draw(run.module.energy, kernel, settings.n_small, settings.short_chain)
    return {
        "contrast": late(run, "contrast"),
        **found,
        "frechet": distance(images),
        "kernel": kernel_distance(reference[settings.small], features_of(images)),
        "pretrained": bool(getattr(run.module.energy, "pretrained", False)),
        "images": images[:16],
    }


if study("repairs"):
    third = f"instance norm, penalty, a third of what is at hand ({len(small_train) // 3:,} images)"
    repairs = {
        "as written": {},
        "score penalty 0.1": dict(alpha=0.1),
        "instance norm": dict(norm="instance"),
        "instance norm, penalty": dict(norm="instance", alpha=0.1),
        "no norm": dict(norm="none"),
        "no norm, penalty": dict(norm="none", alpha=0.1),
        "ResNet-18, penalty": dict(model="ResNet18Energy", alpha=0.1),
        third: dict(norm="instance", alpha=0.1, share=1 / 3),
    }
    repaired = sweep(
        "ebm_bitmoji_variations",
        variation,
        repairs,
        seeds=range(seed, seed + settings.seeds),
        kernel="MALA",
        chain_steps=5,
        steps=settings.variation_steps,
    )
    columns = {
        "contrast at the end": "contrast",
        "AUROC, noise": "auroc_noise",
        "AUROC, shifted": "auroc_shifted",
        "AUROC, blends": "auroc_blend",
        "Fréchet distance": "frechet",
        "kernel distance": "kernel",
    }
    repair_rows = summary(repaired, columns)
    had_weights = any(cell.values.get("pretrained") for cell in repaired)
    for row in repair_rows:
        if row["variant"].startswith("ResNet-18"):
            origin = "ImageNet weights" if had_weights else "random weights"
            row["variant"] += f" (began from {origin})"
    random_rows = [
        {
            "variant": name,
            "Fréchet distance": f"{v['frechet']:.3g}",
            "kernel distance": f"{v['kernel']:.3g}",
            "finished": "control",
        }
        for name, v in small_controls.items()
    ]
    table(
        repair_rows + random_rows,
        f"{settings.variation_steps} steps each on {small_title}, mean ± standard deviation over {settings.seeds} seed(s); {settings.n_small} samples of {settings.short_chain} MALA steps, beside {n_eval} held-out faces",
    )
    record("repairs", repair_rows)
    record("resnet_pretrained", had_weights)

# %% tags=["hide-input"]
if study("repairs-pictures"):
    first_seed = [cell for cell in repaired if cell.seed == seed]
    fig, axes = plt.subplots(2, 4, figsize=(9, 5))
    for ax, cell in zip(axes.flat, first_seed, strict=True):
        if cell.tensors:
            image_grid(cell.tensors["images"], columns=4, ax=ax)
        ax.set_title(cell.name.replace(", a third", ",\na third"), fontsize=8)
        ax.axis("off")
    _ = fig.suptitle(
        f"{settings.short_chain} MALA steps from noise, each variation ({small_title})"
    )

# %% tags=["hide-input"]
if study("repairs-in-words"):

    def values_of(cells, name, key):
        """One number a seed that finished."""
        return [
            cell.values[key]
            for cell in cells
            if cell.name == name
            and cell.diverged is None
            and cell.values.get(key) is not None
        ]

    noise_at = small_controls["uniform noise"]["frechet"]
    best = min((c.values["frechet"], c.name) for c in repaired if c.diverged is None)
    tells = {
        heading: [
            name
            for name in repairs
            if min(values_of(repaired, name, key), default=0) > 0.95
        ]
        for heading, key in (
            ("noise", "auroc_noise"),
            ("shifted faces", "auroc_shifted"),
            ("blends", "auroc_blend"),
        )
    }
    say(
        "Told from faces in every seed (AUROC above 0.95): "
        + "; ".join(
            f"{heading} by {', '.join(f'*{n}*' for n in names) or 'none'}"
            for heading, names in tells.items()
        )
        + f". The nearest samples of all have a distance of {best[0]:.1f} (*{best[1]}*), uniform noise has {noise_at:.1f}"
        + (
            ": **no change to the network makes these chains arrive.** "
            if best[0] > 0.5 * noise_at
            else ", so that one chain of the assignment's kind does go a good part of the way. "
        )
        + (
            "The ResNet row begins from ImageNet's weights."
            if had_weights
            else "The ResNet row begins from random weights and says nothing about pretraining: ImageNet's were not to be had."
        )
    )

# %% [markdown]
# A network that only has to tell faces from noise which has taken five small steps can learn exactly that, in
# a few batches; its gradient far from the data need not lead anywhere.
#
# ## The recipe that works (A8)
#
# Every ingredient answers a failure, seen above or met on the way.
#
# | failure | ingredient |
# |---|---|
# | norms pin the score, or tie an image's energy to its neighbours | no normalisation at all |
# | ten layers of pooling forget where things are | strided convolutions, the resolution read out only at the end |
# | the short chains of training, begun at noise, never arrive | a **replay buffer**, 5 % restarts; a few steps a time, hundreds in a lifetime |
# | noise of temperature 1 drowns a weak energy | a **cold** sampler: step 10, noise 0.005, gradient clamped at 0.03 |
# | kinks in the energy | SiLU |
# | scores run away | a **penalty** of 0.1 on their squares |
# | late in training, samples flicker | the learning rate falls to zero along a cosine |
# | few images | mirrored copies, a little data noise (0.02) |


# %%
recipe = dict(
    kernel="recipe",
    n_steps=settings.chain_steps,
    capacity=settings.capacity,
    restart=0.05,
    alpha=0.1,
    data_noise=0.02,
    lr=settings.lr,
    betas=(0.0, 0.999),
    decay="cosine",
    grad_norm=1.0,
)


def train_faces(
    max_steps,
    *,
    name,
    run_seed=seed,
    model="StridedEnergy",
    arguments=None,
    watch=None,
    small=False,
    **changes,
):
    """Train by the recipe, some settings changed; a finished run is loaded, an unfinished one goes on."""
    chosen = {**recipe, **changes}
    arguments = {
        "size": settings.small if small else settings.size,
        **(arguments or dict(widths=settings.widths, stem=settings.stem)),
    }
    config = EBMConfig(**{**chosen, "kernel": make_kernel(chosen["kernel"])})
    run, found = train_validate_test(
        getattr(models, model),
        arguments,
        small_train if small else train_images,
        small_validation if small else validation_images,
        small_test if small else test_images,
        config=config,
        max_steps=max_steps,
        batch_size=settings.small_batch if small else settings.batch_size,
        seed=run_seed,
        name=name,
        flip=True,
        checkpoint_every=50,
        validate_every=max(1, max_steps // 20),
        callbacks=[watch] if watch else [],
    )
    return run, found


def train_small(steps, *, name, run_seed, arguments=None, **changes):
    """The recipe on the small faces, with the smaller network and shorter chains of the studies."""
    network = dict(widths=list(settings.small_widths), stem=settings.small_stem)
    shorter = dict(
        n_steps=settings.small_chain,
        capacity=settings.small_capacity,
        lr=settings.small_lr,
    )
    return train_faces(
        steps,
        name=name,
        run_seed=run_seed,
        arguments=arguments or network,
        small=True,
        **{**shorter, **changes},
    )


probes = {"data": to_float(test_images.images[:64])}
probes["uniform noise"] = UniformStart(event_shape).draw(
    64, generator=torch.Generator().manual_seed(seed)
)
probes["blends"] = (probes["data"] + probes["data"].flip(0)) / 2
watch = EBMWatch(
    settings.train_steps // settings.looks,
    probes,
    n_chains=8,
    n_steps=settings.final_chain,
    n_kept=10,
)
run, found = train_faces(settings.train_steps, name="ebm_bitmoji", watch=watch)
energy = run.module.energy
say(
    f"{run.steps:,} steps of batch {settings.batch_size} on {data_title} in **{run.seconds / 60:.1f} minutes** "
    f"({run.seconds / run.steps:.2f} s a step), {sum(p.numel() for p in energy.parameters()) / 1e6:.2f} million parameters."
)
record("train_seconds", run.seconds)
record("train_steps", run.steps)

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3))
smooth = max(1, len(run.curve("loss")[0]) // 40)
curves(
    {"loss": run.curve("loss")},
    f"The loss ({data_title})",
    smooth=smooth,
    ax=axes[0],
)
curves(
    {"faces": run.curve("energy_real"), "samples": run.curve("energy_fake")},
    "Energies in training",
    smooth=smooth,
    ax=axes[1],
    ylabel="energy (nats)",
)

# %% [markdown]
# A finished run should bring the two mean energies together: a contrast near zero **again, and this time it would mean peace.** The
# curve does not say which of the two it is. Look at what the chains do:

# %% tags=["hide-input"]
chain_strip(
    torch.stack([strip[-1] for strip in watch.strips]),
    watch.steps,
    f"The same starts after {watch.n_steps} steps of the chain, as the model ages ({data_title})",
    xlabel="optimiser step",
)

# %% tags=["hide-input"]
image_grid(
    run.module.buffer.newest(60),
    f"The buffer's newest 60 samples ({data_title}); about one in twenty has just started from noise",
    columns=15,
)

# %%
ours = draw(energy, "recipe", n_eval, settings.final_chain)
free = controls(train_images, n_eval, seed=seed)  # pictures that take no model
quality = {
    name: measured(images)
    for name, images in {
        **free,
        "this run, fresh chains": ours,
        "this run, buffer": to_uint8(run.module.buffer.newest(n_eval)),
    }.items()
}
table(
    distance_rows(quality),
    f"{n_eval} images each beside as many held-out faces of {data_title} (CIFAR-classifier features); chains of {settings.final_chain} steps",
)


def apart(a, b, of="frechet" if n_eval > n_features else "kernel"):
    """-1 where a is clearly nearer than b, 1 where it is clearly further, 0 where the intervals meet."""
    (a_low, a_high), (b_low, b_high) = a[f"{of}_interval"], b[f"{of}_interval"]
    return -1 if a_high < b_low else 1 if b_high < a_low else 0


fresh = quality["this run, fresh chains"]
sides = {
    name: apart(fresh, quality[name])
    for name in (
        "other real images",
        "averages of two",
        "one Gaussian",
        "uniform noise",
    )
}
say(
    "Fresh chains are "
    + "; ".join(
        f"{text} {', '.join(named)}"
        for wanted, text in (
            (-1, "clearly nearer to faces than"),
            (1, "clearly further from them than"),
            (0, "not told apart from"),
        )
        if (named := [n for n, side in sides.items() if side == wanted])
    )
    + ". "
    + (
        "By this measure the energy has not yet paid for itself: one Gaussian, fitted in a second, is as near or nearer. Its draws are below: judge by eye, too."
        if sides["one Gaussian"] >= 0
        else "They beat the Gaussian."
    )
)
record("frechet_fresh", fresh["frechet"])
record("frechet_buffer", quality["this run, buffer"]["frechet"])
record("frechet_real", quality["other real images"]["frechet"])
record("frechet_noise", quality["uniform noise"]["frechet"])
record("frechet_gaussian", quality["one Gaussian"]["frechet"])
record("frechet_blends", quality["averages of two"]["frechet"])
record("quality", quality)
record("final_chain", settings.final_chain)
record("energy_report", found)

# %% tags=["hide-input"]
image_grid(
    free["one Gaussian"][:30],
    f"Thirty draws of one Gaussian with the mean and covariance of the training faces ({data_title})",
    columns=15,
)

# %% [markdown]
# ### A batch of chains, and one chain in 225 pictures (A5)

# %% tags=["hide-input"]
image_grid(
    ours[:100],
    f"This run ({profile}, {data_title}): {len(ours[:100])} chains from U(−1, 1), {settings.final_chain} steps, not selected",
    columns=10,
    width=7,
)

# %%
jump = math.ceil(settings.final_chain / 224)
stream = torch.Generator().manual_seed(seed + 20)
one = UniformStart(event_shape).draw(1, generator=stream)
walk = sample(energy, one, descent, 224 * jump, keep_every=jump, generator=stream)
image_grid(
    torch.cat((one, walk.path[:, 0])),
    f"One chain, from its noise to where it arrives after {224 * jump} steps: every {'state' if jump == 1 else {2: 'second', 3: 'third'}.get(jump, f'{jump}th') + ' state'}, row by row ({data_title})",
    columns=15,
    width=7.5,
)
with torch.no_grad():
    levels = energy.eval()(to_float(ours))
    arrived_at = float(energy(walk.x))
record("walk", {"steps": 224 * jump, "energy": arrived_at})
say(
    f"The last picture is the chain's last state, after {224 * jump} steps (the chains above have {settings.final_chain}). Its energy is {arrived_at:.3f} nats; "
    f"those of the fresh chains are {float(levels.mean()):.3f} ± {float(levels.std()):.3f} (standard deviation). "
    + (
        "It has arrived where the others are."
        if abs(arrived_at - float(levels.mean())) < 3 * float(levels.std())
        else "It lies apart from the others."
    )
)

# %% [markdown]
# **And if the chain goes on?** Part B draws the shipped energy for 4 and 16 times its usual length, beside two others, with intervals (*A generator or a density?*). What is measured
# here is a *generator*: this energy, stopped after so many steps. The table below asks the same of the small models.
#
# %% [markdown]
# ## What each ingredient is worth (A8)
#
# Leave one out and train on the small faces for the same number of steps, from several seeds. The runs are short, so they show what is needed *early*. "Fresh" are chains from noise,
# "buffer" is what training itself sees. The first row is also our candidate for peace in the table of signs, further down.


# %%
def ingredient(seed, steps, leaky=False, ten_layers=False, **changes):
    """Train briefly by the recipe with one ingredient changed; the distances of its samples."""
    arguments = None
    if leaky:
        arguments = dict(
            widths=list(settings.small_widths), stem=settings.small_stem, smooth=False
        )
    if ten_layers:
        arguments = dict(width=settings.written_width, norm="none", smooth=True)
    run, found = train_small(
        steps,
        name="ebm_bitmoji_small",
        run_seed=seed,
        arguments=arguments,
        model="TenLayerEnergy" if ten_layers else "StridedEnergy",
        **changes,
    )
    kernel = changes.get("kernel", "recipe")
    images = draw(run.module.energy, kernel, settings.n_small, settings.short_chain)
    buffer = to_uint8(run.module.buffer.newest(settings.n_small))
    return {
        "fresh": distance(images),
        "buffer": distance(buffer),
        "auroc_blend": found["auroc_blend"],
        "images": images[:8],
        "held": buffer[:8],
    }


if study("ingredients"):
    ingredients = {
        "the recipe": {},
        "leaky ReLU for SiLU": dict(leaky=True),
        "ten pooled layers": dict(ten_layers=True),
        "no buffer": dict(restart=1.0),
        "ten times the noise": dict(kernel="recipe, ten times the noise"),
        "no clamp in the chain": dict(kernel="recipe, no clamp"),
        "no penalty": dict(alpha=0.0),
        "constant learning rate": dict(decay=1.0),
    }
    ablation = sweep(
        "ebm_bitmoji_ablation",
        ingredient,
        ingredients,
        seeds=range(seed, seed + settings.ablation_seeds),
        steps=settings.ablation_steps,
    )
    ablation_rows = summary(
        ablation,
        {
            "Fréchet, fresh": "fresh",
            "Fréchet, buffer": "buffer",
            "AUROC, blends": "auroc_blend",
        },
    )
    table(
        ablation_rows
        + [
            {
                "variant": name,
                "Fréchet, fresh": f"{v['frechet']:.3g}",
                "finished": "control",
            }
            for name, v in small_controls.items()
        ],
        f"{settings.ablation_steps} steps each on {small_title}, mean ± standard deviation over {settings.ablation_seeds} seed(s); {settings.n_small} chains of {settings.short_chain} steps, beside {n_eval} held-out faces",
    )
    record("ingredients", ablation_rows)

# %% tags=["hide-input"]
if study("ingredients-pictures"):
    fig, axes = plt.subplots(4, 2, figsize=(9, 6.4))
    for ax, cell in zip(
        axes.flat, [c for c in ablation if c.seed == seed], strict=True
    ):
        if cell.tensors:
            both = torch.cat((cell.tensors["images"], cell.tensors["held"]))
            image_grid(both, columns=8, ax=ax)
        ax.set_title(cell.name, fontsize=9)
        ax.axis("off")
    _ = fig.suptitle(
        f"After {settings.ablation_steps} steps: fresh chains (upper row), buffer (lower row), {small_title}"
    )

# %% tags=["hide-input"]
if study("ingredients-in-words"):
    base = values_of(ablation, "the recipe", "fresh")
    words = {"worse in every seed": [], "better in every seed": [], "mixed": []}
    for name in list(ingredients)[1:]:
        values = values_of(ablation, name, "fresh")
        if not values or not base:
            continue
        ratio = statistics.fmean(values) / statistics.fmean(base)
        kind = (
            "worse in every seed"
            if min(values) > max(base)
            else "better in every seed"
            if max(values) < min(base)
            else "mixed"
        )
        words[kind].append(f"{name} (×{ratio:.2g})")
    say(
        f"Fresh samples with one ingredient left out, against the recipe's, over {settings.ablation_seeds} seed(s) of {settings.ablation_steps} steps. "
        + ". ".join(
            f"{kind.capitalize()}: {', '.join(names) or 'none'}"
            for kind, names in words.items()
        )
        + "."
        + (
            " Without the clamp every number equals the recipe's: no gradient reached it, so it never came into play."
            if values_of(ablation, "no clamp in the chain", "fresh") == base
            else ""
        )
    )

# %% [markdown]
# ## Training with one sampler, sampling with another (A4)
#
# The assignment's three samplers are interchangeable by name: MALA, the constant step of 0.95, and the decaying step. **Does it matter which one trains, and which one draws?** To
# give each of them the best chance, only the kernel is changed: network, buffer, penalty and learning rate are the recipe's. Thus also the case of a MALA in training and a Langevin
# that draws. Each energy is drawn from by all three, and by the recipe's own kernel.

# %%
SAMPLERS = ("MALA", "constant", "decaying")
DRAWERS = (*SAMPLERS, "recipe")


def crossed(seed, kernel, chain_steps, steps):
    """Train with one sampler, then draw with each."""
    run, found = train_small(
        steps,
        name="ebm_bitmoji_small",
        run_seed=seed,
        kernel=kernel,
        n_steps=chain_steps,
    )
    values = {"contrast": late(run, "contrast"), "auroc_noise": found["auroc_noise"]}
    for other in DRAWERS:
        images = draw(run.module.energy, other, settings.n_small, settings.short_chain)
        values |= {other: distance(images), f"images {other}": images[:6]}
    return values


if study("crossed-samplers"):
    crossings = sweep(
        "ebm_bitmoji_crossed",
        crossed,
        {k: dict(kernel=k) for k in SAMPLERS},
        seeds=range(seed, seed + settings.crossed_seeds),
        chain_steps=10,
        steps=settings.crossed_steps,
    )
    crossed_rows = summary(
        crossings,
        {
            "contrast": "contrast",
            "AUROC, noise": "auroc_noise",
            **{f"drawn with {k}": k for k in DRAWERS},
        },
        first="trained with",
    )
    table(
        crossed_rows
        + [
            {
                "trained with": f"(control) {name}",
                **{f"drawn with {k}": f"{v['frechet']:.3g}" for k in DRAWERS},
            }
            for name, v in small_controls.items()
        ],
        f"Fréchet distance of {settings.n_small} chains of {settings.short_chain} steps to {n_eval} held-out faces; {settings.crossed_steps:,} training steps with t = 10 on {small_title}, mean ± standard deviation over {settings.crossed_seeds} seed(s)",
    )
    record("crossings", crossed_rows)

# %% tags=["hide-input"]
if study("crossed-samplers-pictures"):
    fig, axes = plt.subplots(3, 4, figsize=(9, 3))
    for row, cell in zip(axes, [c for c in crossings if c.seed == seed], strict=True):
        for ax, other in zip(row, DRAWERS, strict=True):
            if cell.tensors:
                image_grid(cell.tensors[f"images {other}"], columns=6, ax=ax)
            ax.set_title(f"{cell.name} → {other}", fontsize=8)
            ax.axis("off")
    _ = fig.suptitle(f"Trained with → drawn with ({small_title})")

# %% tags=["hide-input"]
if study("crossed-samplers-in-words"):
    cells_of = {
        (a, b): values_of(crossings, a, b)
        for a in SAMPLERS
        for b in DRAWERS
        if values_of(crossings, a, b)
    }
    means_of = {pair: statistics.fmean(values) for pair, values in cells_of.items()}

    def reach_over(axis):
        """The range of the means when one of the two samplers changes, averaged over the other."""
        fixed = {pair[1 - axis] for pair in means_of}
        ranges = []
        for name in fixed:
            found_here = [v for pair, v in means_of.items() if pair[1 - axis] == name]
            ranges.append(max(found_here) - min(found_here))
        return statistics.fmean(ranges)

    def told_apart(a, b):
        """Does Welch's 95 % interval of the difference of two cells' means leave out zero?"""
        if min(len(a), len(b)) < 2:
            return False
        by, half = welch(a, b)
        return abs(by) > half

    pairs = sorted(cells_of)
    apart_pairs = [
        (a, b)
        for i, a in enumerate(pairs)
        for b in pairs[i + 1 :]
        if told_apart(cells_of[a], cells_of[b])
    ]
    n_pairs = len(pairs) * (len(pairs) - 1) // 2
    noise_at = small_controls["uniform noise"]["frechet"]
    arrived_pairs = [
        f"{a} → {b} ({means_of[a, b]:.1f})"
        for a, b in sorted(pairs, key=means_of.get)
        if means_of[a, b] < noise_at / 2
    ]
    record(
        "crossed_reach", {"trained with": reach_over(0), "drawn with": reach_over(1)}
    )
    record("crossed_apart", [len(apart_pairs), n_pairs])
    say(
        f"Trained with → drawn with, nearer than half of the way from noise ({noise_at:.1f}): {', '.join(arrived_pairs) or '**none**'}. "
        f"Another sampler in training changes the distance by {reach_over(0):.1f} (range of the means, averaged over those that draw); another one that draws, by {reach_over(1):.1f}. "
        + (
            ""
            if not apart_pairs
            else "**The sampler that draws decides more of what is seen.** "
            if reach_over(1) > reach_over(0)
            else "**The sampler that trains decides more of what is seen.** "
        )
        + f"Of {n_pairs} pairs of cells {len(apart_pairs)} are told apart by Welch's 95 % intervals over {settings.crossed_seeds} seed(s)"
        + (
            "."
            if apart_pairs
            else ": these cells do not differ by more than their spread, and nothing follows from the order among them."
        )
    )

# %% [markdown]
# Three reasons can be worked out, whatever the table says. MALA with $\tau = 0.01$ adds noise of temperature 1, 0.14 a pixel and step, to every picture, also to a good one. The
# decaying step hands back the noise that it was given (above). The constant step moves $0.95\,\nabla E$ a step with hardly any noise, so it goes where the gradient
# leads, at a tenth of the speed of the recipe's kernel.
#
# ## The diagnostics, put to the test (A8)
#
# **Which measurement tells peace from the ways to be deceived?** Five networks, all on the small faces: one with random weights, the model as written ($t = 1$), the pinned one, one
# that a penalty of $\alpha = 1000$ has made collapse, and the recipe's, each from several seeds. Each is drawn from by the sampler that trained it.


# %%
def signs(seed, kind, steps, collapse):
    """All signs of one model: its loss, its energies, its samples at three lengths."""
    kernel = "recipe" if kind == "the recipe" else "MALA"
    if kind == "the recipe":
        run, found = train_small(steps, name="ebm_bitmoji_small", run_seed=seed)
    else:
        found_run = {
            "random weights": dict(max_steps=1, lr=1e-12),
            "as written, t = 1": dict(max_steps=settings.written_steps),
            "pinned": dict(max_steps=settings.written_steps, last=1),
            "collapsed": dict(max_steps=steps, norm="none", alpha=collapse),
        }[kind]
        t = 1 if kind == "as written, t = 1" else 5
        run, found = train_written(kernel, t, run_seed=seed, **found_run)
    model = run.module.energy.eval()
    n, base = settings.n_small, settings.sign_chain
    start = UniformStart(model.event_shape)
    noise = start.draw(n, generator=torch.Generator().manual_seed(seed + 31))
    data = small_test.scaled()[:n]
    stream = torch.Generator().manual_seed(seed + 32)
    chain = sample(
        model,
        noise,
        make_kernel(kernel),
        16 * base,
        keep_every=base,
        generator=stream,
        fast=True,
    )
    at = {k: chain.path[k - 1] for k in (1, 4, 16)}
    of_data, of_noise = (energies(model, x).mean().item() for x in (data, noise))
    of_own = energies(model, at[16]).mean().item()
    return {
        "loss": late(run, "contrast"),
        "spread": energies(model, data).std().item(),
        "gap": of_noise - of_data,
        "place": (of_own - of_data) / ((of_noise - of_data) or math.nan),
        **{key: found[f"auroc_{key}"] for key in ("noise", "shifted", "blend")},
        **{f"frechet {k}": distance(to_uint8(x)) for k, x in at.items()},
        "images": torch.stack([to_uint8(x[:4]) for x in at.values()]),
    }


SIGNS = {
    "loss at the end": "loss",
    "spread over faces (nats)": "spread",
    "noise above data (nats)": "gap",
    "own samples: data 0, noise 1": "place",
    "AUROC noise": "noise",
    "AUROC shifted": "shifted",
    "AUROC blends": "blend",
    "Fréchet, 1×": "frechet 1",
    "4×": "frechet 4",
    "16×": "frechet 16",
}
if study("signs"):
    kinds = (
        "random weights",
        "as written, t = 1",
        "pinned",
        "collapsed",
        "the recipe",
    )
    sign_cells = sweep(
        "ebm_bitmoji_signs",
        signs,
        {kind: dict(kind=kind) for kind in kinds},
        seeds=range(seed, seed + settings.ablation_seeds),
        steps=settings.ablation_steps,
        collapse=1000.0,
    )
    sign_rows = summary(sign_cells, SIGNS, first="model")
    table(
        sign_rows
        + [
            {
                "model": f"(control) {name}",
                **{k: f"{v['frechet']:.3g}" for k in ("Fréchet, 1×", "4×", "16×")},
            }
            for name, v in small_controls.items()
        ],
        f"Signs of five energies ({small_title}), mean ± standard deviation over {settings.ablation_seeds} seed(s); {settings.n_small} chains of 1, 4 and 16 times {settings.sign_chain} steps",
    )
    record("signs", sign_rows)

# %% tags=["hide-input"]
if study("signs-in-words"):
    others = [kind for kind in kinds if kind != "the recipe"]

    def verdict(key):
        """Which other models a sign puts on the recipe's side: those whose seeds overlap with the recipe's."""
        good = values_of(sign_cells, "the recipe", key)
        mixed = []
        sides = set()
        for kind in others:
            bad = values_of(sign_cells, kind, key)
            if not good or not bad:
                mixed.append(kind)
            elif min(good) > max(bad):
                sides.add("above")
            elif max(good) < min(bad):
                sides.add("below")
            else:
                mixed.append(kind)
        return mixed, sides

    verdicts = {heading: verdict(key) for heading, key in SIGNS.items()}
    alone = [
        h for h, (mixed, sides) in verdicts.items() if not mixed and len(sides) == 1
    ]
    failing = {h: v for h, v in verdicts.items() if h not in alone}
    record("signs_that_separate", alone)
    say(
        "One border, with every seed of the recipe on the one side and every seed of all the others on the other side, exists for: "
        + (", ".join(f"**{h}**" for h in alone) or "**no sign at all**")
        + ". It does not exist for: "
        + (
            "; ".join(
                f"{h} ("
                + (
                    f"overlaps with {', '.join(mixed)}"
                    if mixed
                    else "the others lie on both sides"
                )
                + ")"
                for h, (mixed, _) in failing.items()
            )
            or "none"
        )
        + "."
    )
    flat = values_of(sign_cells, "collapsed", "spread")
    if flat:
        say(
            f"The collapsed energies differ over faces by {max(flat):.1g} nats at most: at temperature 1 a face that is so much lower is {math.exp(min(max(flat), 50)):.3f} times as likely. "
            f"Their AUROC against noise is {statistics.fmean(values_of(sign_cells, 'collapsed', 'noise')):.2f}: a rank does not see how small a difference is."
        )

# %% tags=["hide-input"]
if study("signs-pictures"):
    fig, axes = plt.subplots(1, len(kinds), figsize=(9, 2))
    for ax, cell in zip(axes, [c for c in sign_cells if c.seed == seed], strict=True):
        if cell.tensors:
            image_grid(cell.tensors["images"].flatten(0, 1), columns=4, ax=ax)
        ax.set_title(cell.name, fontsize=9)
        ax.axis("off")
    _ = fig.suptitle(
        f"Four chains after 1, 4 and 16 times {settings.sign_chain} steps ({small_title})"
    )

# %% [markdown]
# A sign that finds these five does not find every failure: a copy of one face, drawn by every chain, has low energy and stays where it is. Pictures, distances with their controls, and energies belong
# together.

# %% tags=["hide-input"]
if ship:
    card = {
        "part": "03_ebm_bitmoji",
        "profile": profile,
        "seed": seed,
        **card_facts(
            run, kernel=descent, steps=settings.final_chain, start="uniform noise"
        ),
        "metrics": {
            "frechet_distance": {
                "value": round(
                    frechet_distance(features_of(everything.images), features_of(ours)),
                    2,
                ),
                "features": "cifar_classifier",
                "images": n_eval,
                "chain_steps": settings.final_chain,
                "start": "uniform noise",
            },
        },
        "known_faults": "fresh chains are less varied in colour and hair than the data; a few stay noisy",
    }
    checkpoints.save("ebm_bitmoji", energy, card)

# %% [markdown]
# ## Reported, long run, this run

# %% tags=["hide-input"]
kept = report.kept("03_ebm_bitmoji", profile)
kept_records = {} if kept is None else kept["records"]
three = report.comparison(kept_records, profile)
table(
    [
        three("data", "data", "Bitmoji", "{}"),
        three("training faces", "train_images", "about 130,000", "{:,}"),
        three("optimiser steps", "train_steps", form="{:,}"),
        three("training time (s)", "train_seconds", "a GPU", "{:.0f}"),
        *(
            three(
                f"late loss as written, t = {t}",
                lambda held, t=t: held["written_late"][str(t)],
                reported,
                "{:.2f}",
            )
            for t, reported in (
                (1, "strongly negative"),
                (5, "near 0"),
                (10, "near 0"),
            )
        ),
        three("Fréchet distance, held-out faces", "frechet_real"),
        three("Fréchet distance, fresh chains", "frechet_fresh"),
        three("Fréchet distance, buffer", "frechet_buffer"),
        three("Fréchet distance, uniform noise", "frechet_noise"),
        three("images in each distance", "frechet_n", form="{:,}"),
    ],
    "Distances in CIFAR-classifier features. The original reports its losses in words, and no distance.",
)
record("notebook_seconds", time.perf_counter() - started)

# %% [markdown]
# ## What breaks, and how to rescue it
#
# - **Loss exactly zero, from the first step.** Something pins the energy: batch norm before a linear head, instance norm
#   before a global mean, a loss that uses the same images twice. Print the loss's gradient.
# - **Loss near zero, and energies that hardly differ.** A penalty is too strong. Compare the spread over faces, in nats, with the sampler's temperature.
# - **Loss runs away.** The chains stand still and the network classifies noise. Measure how far a chain moves.
# - **All fresh chains give one face.** Early in training this is normal: one valley lies downhill from all noise.
#   A falling learning rate and restarts mend it; a chain-length test shows when.
# - **Faces with coloured specks.** Late noise of the optimiser: a constant learning rate keeps them, a cosine removes them.
# - **The acceptance rate is zero.** The box rejects every proposal. A smaller step, or a sampler without a test.
#
# ## Questions
#
# 1. Batch norm pins the mean score when data and negatives go through the network in two passes. In one pass of both
#    together it does not. What does the network then learn to read off its neighbours in the batch?
# 2. With instance norm the score of a single image can be pinned. Which readout layer would make it so, and which not?
# 3. MALA at temperature 1 needs energies that differ by thousands of nats to beat its own noise. Estimate: how much
#    energy does a noise of 0.14 a pixel cost in an energy that makes the pixels' standard deviation 0.05?
# 4. The decaying step moves a pixel a few hundredths in a thousand steps. For which use of Langevin dynamics is such a
#    schedule right, and what is different there?
# 5. Our samples are colder than the model. What would you expect to see if you raised the temperature slowly?
#
# ## Further reading
#
# - Nijkamp et al., on the anatomy of this training {cite}`nijkamp2020anatomy`: convergent and non-convergent chains.
# - Du and Mordatch {cite}`du2019implicit`: buffer, cold Langevin and penalty at the scale of photographs.
# - Ioffe and Szegedy {cite}`ioffe2015batch`: batch norm, whose training mode is the trap of this chapter.
