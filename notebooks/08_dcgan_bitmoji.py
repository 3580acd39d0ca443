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
# # Faces from a vector: DCGAN
#
# One network paints faces from random numbers. Another looks at faces, real and painted, and says which are which. Each
# is the other's only teacher. Part F explains the game on small digits; here it is played for colour faces of 64×64
# pixels with the architecture that first made it work {cite}`radford2016dcgan`, and with the questions that
# a practitioner has: what does the loss curve tell me, which of the recipe's rules matter, how do I measure the result,
# and what must I save so that training can go on tomorrow?
#
# ```{admonition} What you will learn
# - how transposed convolutions turn a vector into an image, and what size comes out (H1, H6);
# - which of DCGAN's rules matter here: normalisation on which network, of which kind, which initialisation (H2);
# - what to do when there are few pictures: change them at random, or bound the discriminator's layers;
# - what the two loss curves say, and what they do not (H3);
# - how to measure generated faces: the Fréchet distance in a named network, its bias, its interval (H4);
# - what belongs in a checkpoint, proved by stopping and going on, bit for bit (H5).
# ```
#
# **Before you start.** Part F: the two losses of a {term}`GAN`. Convolutions, Adam.
#
# **Time and hardware.**
#
# | profile | data | what happens | time |
# |---|---|---|---|
# | `quick` | drawn cartoon faces | the main training, short; the study of the rules is shown from the long run | about a minute and a half, one core |
# | `laptop` | Bitmoji, 3,150 faces | six trainings of 40 epochs in bfloat16, three of them as the control; the studies at 32×32, over three seeds | two and a half hours beside other programs, about an hour and three quarters of it computing, one core |
# | `full` | Bitmoji | wider networks, 400 epochs, studies over three seeds | a few hours, one GPU (not yet measured) |

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
import itertools
import math
import time
from types import SimpleNamespace

import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

from gen_utils import checkpoints, report
from gen_utils.checks import dcgan_bitmoji as checks
from gen_utils.data import load_images, to_float, to_uint8
from gen_utils.evaluation.controls import controls
from gen_utils.evaluation.corruptions import distances_under_damage
from gen_utils.evaluation.feature_networks import feature_network, has_inception
from gen_utils.evaluation.frechet import (
    extract_features,
    frechet_distance,
    image_distances,
)
from gen_utils.experiments.sweep import summary, sweep
from gen_utils.evaluation.intervals import welch
from gen_utils.models import Critic, Generator
from gen_utils.plotting import (
    animate_chain,
    chain_strip,
    curves,
    display_html,
    image_grid,
    plt,
    use_style,
)
from gen_utils.plotting.networks import draw_network, layer_rows, trace_layers
from gen_utils.profiles import choose
from gen_utils.report import record, say, table
from gen_utils.samplers import GaussianStart
from gen_utils.training import FitConfig
from gen_utils.training.cards import card_facts
from gen_utils.training.gan import DiffAugment, GANConfig, NonSaturating, train_gan
from gen_utils.training.watches import GeneratorWatch

# %% tags=["parameters"]
profile = "quick"  # quick, laptop or full
data_root = ""  # where the data are; empty means $GEN_DATA_ROOT, else ./data
seed = 0
ship = False  # True writes the trained model to checkpoints/

# %% tags=["hide-input"]
settings = choose(
    profile,
    quick=dict(
        limit=640,
        width=12,
        batch_size=32,
        lr=1e-3,
        ema=0.98,
        epochs=18,
        looks=9,
        n_eval=160,
        resamples=20,
        precision="32-true",
        augment=False,
        norm_d="batch",
        trainings=1,
        controls=None,
        study_width=None,  # of a study, which quick does not run
        study_epochs=None,
        short_epochs=None,
        long_epochs=None,
        study_n=None,
        seeds=None,
        resume_steps=6,
        film=13,
        n_damage=90,
        bug_steps=15,
    ),
    laptop=dict(
        limit=None,
        width=32,
        batch_size=32,
        lr=6e-4,
        ema=0.995,
        epochs=40,
        looks=8,
        n_eval=1000,
        resamples=200,
        precision="bf16-mixed",
        augment=True,
        norm_d="batch",
        trainings=3,
        controls=3,
        study_width=32,
        study_epochs=20,
        short_epochs=5,
        long_epochs=25,
        study_n=1000,
        seeds=3,
        resume_steps=25,
        film=31,
        n_damage=350,
        bug_steps=40,
    ),
    full=dict(
        limit=None,
        width=64,
        batch_size=64,
        lr=2e-4,
        ema=0.995,
        epochs=400,
        looks=20,
        n_eval=1000,
        resamples=200,
        precision="bf16-mixed",
        augment=True,
        norm_d="batch",
        trainings=3,
        controls=3,
        study_width=64,
        study_epochs=100,
        short_epochs=5,
        long_epochs=25,
        study_n=1000,
        seeds=3,
        resume_steps=25,
        film=31,
        n_damage=350,
        bug_steps=40,
    ),
    smoke=dict(  # in tests: every line runs, nothing is learnt
        limit=160,
        width=4,
        epochs=2,
        looks=2,
        n_eval=66,
        resamples=5,
        trainings=2,
        controls=2,
        study_width=4,
        study_epochs=1,
        short_epochs=1,
        long_epochs=2,
        study_n=66,
        seeds=2,
        resume_steps=2,
        film=5,
        n_damage=20,
        bug_steps=3,
    ),
)
use_style()
study = report.studies("08_dcgan_bitmoji", profile)
torch.manual_seed(seed)
started = time.perf_counter()
latent_dim = 128

# %% [markdown]
# ## Where we are going

# %%
shipped = (
    checkpoints.load("dcgan_bitmoji")
    if "dcgan_bitmoji" in checkpoints.names()
    else None
)
if shipped is None:
    say(
        "*No trained generator is here yet: run this notebook with `ship = True` to make one. The chapter goes on without it.*"
    )
else:
    stream = torch.Generator().manual_seed(seed)
    image_grid(
        shipped.sample(40, stream),
        f"The shipped generator, trained on {shipped.card['data']}: 40 samples, not selected",
        columns=10,
        width=7,
    )
    say(
        f"{shipped.card['parameters']:,} weights, trained for {shipped.card['seconds'] / 60:.0f} minutes (profile `{shipped.card['profile']}`)."
    )

# %% [markdown]
# ## The data

# %%
train_images = load_images(
    "bitmoji", "train", size=64, limit=settings.limit, root=data_root
)
test_images = load_images("bitmoji", "test", size=64, root=data_root)
steps_per_epoch = len(train_images) // settings.batch_size
image_grid(
    train_images.images[:40],
    f"{train_images.title}: training images",
    columns=10,
    width=7,
)
record("data", train_images.title)
say(
    f"{len(train_images):,} training images of **{train_images.title}**, {len(test_images):,} held out. "
    f"**An epoch is {steps_per_epoch} steps** of {settings.batch_size} images here; where this chapter counts epochs, it means these."
)

# %% [markdown]
# ## From a vector to an image (H1, H6)
#
# The generator begins with $z$, 128 numbers drawn uniformly from $[-1, 1]$. A dense layer makes a map of 4×4 places with
# many channels. Then each *{term}`transposed convolution`* doubles the side and halves the channels, until 3 channels of 64×64
# are left, and a tanh puts them between −1 and 1.
#
# An ordinary convolution with stride 2 looks at places two apart, so its output is half as large. The transposed one
# turns the arrows round: every input place *paints* a kernel-sized patch, and neighbouring patches are `stride`
# apart. Where patches overlap, they add up. At last `padding` pixels are cut off on every side.

# %% [markdown]
# ```{exercise-start} How large is the painting?
# :label: ex-output-size
# ```
# *Goal: predict the size of every layer of a generator before it is built. About 10 minutes, 1 point.*
#
# Return the list of the sides that come out of transposed convolutions, one after another, from a map of `side` pixels a side. In each
# layer every place paints a patch of side `kernel`, patches are `stride` apart, `padding` pixels are cut off on each side, and
# `output_padding` are added at the end.


# %% tags=["exercise"]
def painted_sizes(side, layers):
    """A side; layers, each (kernel, stride, padding, output_padding), all whole numbers -> a list of sides."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-output-size
# :class: dropdown
# ```
# From the start of the first patch to the start of the last it is $(n - 1) \cdot s$ pixels, and the last is a whole kernel
# wide; then the padding comes off twice, and the output padding is added. With kernel 4, stride 2 and padding 1 this is exactly $2n$.


# %% tags=["solution"]
def painted_sizes(side, layers):
    """A side; layers, each (kernel, stride, padding, output_padding), all whole numbers -> a list of sides."""
    sizes = []
    for kernel, stride, padding, output_padding in layers:
        side = (side - 1) * stride + kernel - 2 * padding + output_padding
        sizes.append(side)
    return sizes


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.painted_sizes(painted_sizes)

# %% [markdown]
# Now predict, then run: this chapter's generator, Part F's for digits, and one of three layers that nobody has tried. Your function gets the numbers of
# the layers alone. Then a vector goes through the networks.

# %%
untried = nn.Sequential(
    nn.ConvTranspose2d(1, 1, 5, 3, 1, 2),
    nn.ConvTranspose2d(1, 1, 3, 1),
    nn.ConvTranspose2d(1, 1, 4, 2, 0, 1),
)
paintings = {
    "this chapter's generator": (
        4,
        Generator((3, 64, 64), latent_dim, settings.width).net,
        torch.zeros(2, latent_dim),
    ),
    "Part F's generator": (
        7,
        Generator((1, 28, 28), 64, settings.width).net,
        torch.zeros(2, 64),
    ),
    "untried": (6, untried, torch.zeros(2, 1, 6, 6)),
}
size_rows = []
for name, (side, network, x) in paintings.items():
    painters = [layer for layer in network if isinstance(layer, nn.ConvTranspose2d)]
    numbers = [
        (m.kernel_size[0], m.stride[0], m.padding[0], m.output_padding[0])
        for m in painters
    ]
    predicted, measured = list(painted_sizes(side, numbers)), []
    with torch.no_grad():
        for layer in network:
            x = layer(x)
            if isinstance(layer, nn.ConvTranspose2d):
                measured.append(x.shape[-1])
    size_rows.append(
        {
            "network": name,
            "first map": side,
            "your prediction": ", ".join(f"{n:.0f}" for n in predicted),
            "measured": ", ".join(map(str, measured)),
        }
    )
table(size_rows, "Sides after each transposed convolution")

# %% [markdown]
# **Why kernel 4 and not 3?** Count how many patches cover a pixel {cite}`odena2016checkerboard`.

# %%
fig, axes = plt.subplots(1, 2, figsize=(7, 2.2), sharey=True)
for ax, (kernel, extra) in zip(axes, ((3, 1), (4, 0)), strict=True):
    layer = nn.ConvTranspose1d(1, 1, kernel, 2, 1, extra, bias=False)
    nn.init.ones_(layer.weight)
    with torch.no_grad():
        cover = layer(torch.ones(1, 1, 8))[0, 0]
    ax.bar(range(len(cover)), cover, color="#0072B2")
    ax.set(title=f"kernel {kernel}, stride 2", xlabel="pixel of the output")
axes[0].set_ylabel("patches over it")
_ = fig.suptitle("A constant input through a kernel of ones")
say(
    "With a kernel that the stride does not divide, every second pixel is painted twice as often: a checkerboard is built "
    "in, and training has to work against it. With kernel 4 only the border differs."
)

# %% [markdown]
# The {term}`discriminator` goes the other way: three convolutions of stride 2, one dense layer, one number $f(x)$, the *{term}`logit`*.
# As in Part F, $D(x) = \sigma(f(x))$ is the probability that $x$ is real, with the sigmoid $\sigma$. The network ends in $f$, because the
# loss can then be computed without overflow. Here are both networks, drawn from what they do to one input.


# %%
def new_networks(
    norm_g="batch",
    norm_d="batch",
    init="dcgan",
    width=settings.width,
    side=64,
    seed=seed,
):
    """A generator and a discriminator with first weights from a seed."""
    torch.manual_seed(seed)
    shape = (3, side, side)
    generator = Generator(
        shape, latent_dim, width, norm=norm_g, init=init, latent="uniform"
    )
    critic = Critic(shape, width, layers=3, norm=norm_d, init=init)
    return generator, critic


generator, critic = new_networks()
drawn = {
    "generator": (trace_layers(generator, torch.zeros(1, latent_dim)), (latent_dim,)),
    "discriminator": (trace_layers(critic, torch.zeros(1, 3, 64, 64)), (3, 64, 64)),
}
fig, axes = plt.subplots(2, 1, figsize=(9.4, 7))
for ax, (name, (layers, source)) in zip(axes, drawn.items(), strict=True):
    draw_network(
        layers,
        f"The {name}: {sum(n.parameters for n in layers):,} weights",
        source=source,
        ax=ax,
    )
record("generator_weights", sum(p.numel() for p in generator.parameters()))
record("critic_weights", sum(p.numel() for p in critic.parameters()))

# %% tags=["hide-input"]
for name, (layers, _) in drawn.items():
    table(layer_rows(layers), f"The {name}, layer by layer (channels × height × width)")

# %% [markdown]
# ## First weights
#
# DCGAN draws every weight from $\mathcal N(0, 0.02)$ and the scales of {term}`batch norm` from $\mathcal N(1, 0.02)$. The second
# number is a standard deviation here, as in that paper; elsewhere in this book that place holds a variance. Biases are zero.

# %% [markdown]
# ```{exercise-start} DCGAN's first weights
# :label: ex-dcgan-init
# ```
# *Goal: start a network where its signal survives. About 10 minutes, 1 point.*
#
# Give the network these first weights, in place, drawn from the global stream. Go through `network.modules()`; mind all four kinds of layers:
# `nn.Conv2d`, `nn.ConvTranspose2d`, `nn.Linear` and `nn.BatchNorm2d`.


# %% tags=["exercise"]
def dcgan_init(network):
    """A network -> nothing; its weights are drawn anew."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-dcgan-init
# :class: dropdown
# ```
# `nn.init` writes in place and without a gradient. A scale around zero would switch every channel off.


# %% tags=["solution"]
def dcgan_init(network):
    """A network -> nothing; its weights are drawn anew."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.dcgan_init(dcgan_init)

# %% [markdown]
# **What do first weights decide?** How large the signal is after many layers. We send random vectors through untrained
# generators and look at the spread of the pixels. The rows of N(0, 0.02) have their weights from your function.

# %%
spread_rows = []
for norm in ("batch", "none"):
    for init in ("dcgan", "he"):
        torch.manual_seed(seed)
        fresh = Generator(
            (3, 64, 64),
            latent_dim,
            settings.width,
            norm=norm,
            init="he",
            latent="uniform",
        )
        if init == "dcgan":
            dcgan_init(fresh)
        with torch.no_grad():
            pixels = fresh(fresh.draw(64, torch.Generator().manual_seed(seed)))
        between = pixels.std(0).mean().item()
        spread_rows.append(
            {
                "norm": norm,
                "first weights": {"dcgan": "N(0, 0.02)", "he": "He"}[init],
                "standard deviation of a pixel": f"{pixels.std().item():.2g}",
                "… over different z": f"{between:.2g}",
            }
        )
        record(f"first_spread/{norm}/{init}", between)
table(spread_rows, "64 outputs of untrained generators, in training mode")
faded = report.recorded()["first_spread/none/dcgan"]
say(
    f"Without normalisation, N(0, 0.02) lets the signal die on its way: different $z$ change a pixel by {faded:.1g}, which is "
    f"{'less' if faded < 1 / 127.5 else 'more'} than one step of 8-bit colour ({1 / 127.5:.1g}). Batch norm scales the signal up again "
    "after every layer but the last; He's rule, which counts the inputs of a neuron, does without it. We will see below "
    "whether training agrees."
)

# %% [markdown]
# ## The game
#
# The network gives logits $f(x)$, and $D(x) = \sigma(f(x))$ is a probability. With a bar for the mean over a batch, the discriminator
# minimises the cross-entropy
#
# ```{math}
# :label: eq-dcgan-critic
# \mathcal L_D = -\,\overline{\log D(x)} - \overline{\log\bigl(1 - D(G(z))\bigr)}
#   = \overline{\mathrm{softplus}(-f(x))} + \overline{\mathrm{softplus}(f(G(z)))},
# ```
#
# and the generator the {term}`non-saturating loss` {cite}`goodfellow2014gan`
#
# ```{math}
# :label: eq-dcgan-generator
# \mathcal L_G = -\,\overline{\log D(G(z))} = \overline{\mathrm{softplus}(-f(G(z)))}.
# ```
#
# Two numbers to remember. A discriminator that cannot tell anything apart says ½ always: then
# $\mathcal L_D = 2 \log 2 = 1.39$ and $\mathcal L_G = \log 2 = 0.69$ {term}`nats <nat>`.
#
# ```{prf:algorithm} DCGAN training
# :label: alg-dcgan
# **Inputs** images; generator $G$, discriminator $D$; Adam with $\beta_1 = 0.5$ for each
#
# 1. repeat
#    1. draw a batch $x$ of images and a batch $z$ of vectors; $\tilde x = G(z)$, without a gradient
#    2. one Adam step of $D$ on {eq}`eq-dcgan-critic`
#    3. draw new $z$; one Adam step of $G$ on {eq}`eq-dcgan-generator`, through $D$, whose weights rest
#    4. moving average of $G$'s weights: $\bar\theta \leftarrow \mu \bar\theta + (1 - \mu)\, \theta$ with $\mu = 0.995$ (`laptop`); samples come from it
# 2. until the epochs are over
# ```
#
# DCGAN's rate is $2 \cdot 10^{-4}$ with batches of 64. On few epochs that is slow. `quick` and `laptop` use larger rates and
# batches of 32; `full` uses DCGAN's own. A large rate must come down in time: a first run of this chapter kept it for too long, and
# its faces, good half-way, were one smeared face in the end. Now the rate is constant for the first half and falls to zero over
# the second.
#
# The {term}`moving average` is not in the original. The two players circle each other, and the average of a circle is its middle.
# Nor is what the discriminator sees in the long runs: every face, real or painted, shifted at random and with a square cut out
# {cite}`zhao2020diffaugment`. Why, is a question of its own below (*Three thousand faces are few*).

# %% [markdown]
# ### A careless step
#
# Here is the algorithm's inner part without the average, as it was handed in once. It raises no error, both losses move, and both networks' weights
# do. We take some steps with it and watch three things: the discriminator's loss, how much a pixel changes with $z$, and the first running
# variance in the generator's batch norm. It begins at 1, and in training mode each batch pulls it a tenth of the way to the batch's own.


# %%
def careless_step(generator, critic, optimise_g, optimise_c, real, z, new_z):
    """One step of the discriminator, one of the generator -> their losses."""
    generator.eval()  # here it only delivers pictures
    with torch.no_grad():
        fake = generator(z)
    loss_d = F.softplus(-critic(real)).mean() + F.softplus(critic(fake)).mean()
    optimise_c.zero_grad()
    loss_d.backward()
    optimise_c.step()
    loss_g = F.softplus(-critic(generator(new_z))).mean()
    optimise_g.zero_grad()
    loss_g.backward()
    optimise_g.step()
    return loss_d.item(), loss_g.item()


def new_optimisers(generator, critic):
    """Adam as in DCGAN, at this profile's rate: the generator's, the discriminator's."""
    return [
        torch.optim.Adam(n.parameters(), lr=settings.lr, betas=(0.5, 0.999))
        for n in (generator, critic)
    ]


def watch_steps(one_step):
    """Some steps on faces from one seed: per step D's loss, a pixel's spread over z as the generator stands, a running variance."""
    generator, critic = new_networks(norm_d="batch")
    optimise_g, optimise_c = new_optimisers(generator, critic)
    stream = torch.Generator().manual_seed(seed)
    norm = next(m for m in generator.modules() if isinstance(m, nn.BatchNorm2d))
    shown, found = (
        generator.draw(16, stream),
        {
            "loss of D (nats)": [],
            "spread of a pixel over z": [],
            "running variance": [],
        },
    )
    for _ in range(settings.bug_steps):
        real = to_float(
            train_images.images[
                torch.randint(len(train_images), (16,), generator=stream)
            ]
        )
        loss_d, _ = one_step(
            generator,
            critic,
            optimise_g,
            optimise_c,
            real,
            generator.draw(16, stream),
            generator.draw(16, stream),
        )
        with torch.no_grad():
            spread = copy.deepcopy(generator)(shown).std(0).mean().item()
        for values, value in zip(
            found.values(),
            (float(loss_d), spread, norm.running_var.mean().item()),
            strict=True,
        ):
            values.append(value)
    return found


def draw_steps(runs):
    """The three things, a panel each, a line for each run."""
    fig, axes = plt.subplots(1, 3, figsize=(9.6, 2.7))
    for ax, what in zip(axes, next(iter(runs.values())), strict=True):
        curves(
            {
                name: (list(range(1, settings.bug_steps + 1)), found[what])
                for name, found in runs.items()
            },
            what,
            xlabel="step",
            ax=ax,
        )
    axes[1].set_yscale("log")
    return fig


careless = watch_steps(careless_step)
_ = draw_steps({"careless": careless}).suptitle(
    f"The careless step ({train_images.title})"
)
say(
    f"After {settings.bug_steps} steps the discriminator's loss is {careless['loss of D (nats)'][-1]:.2g} nats, where a discriminator that knows nothing has 1.39. After the first "
    f"step another $z$ changes a pixel by {careless['spread of a pixel over z'][0]:.1g}, one step of 8-bit colour being {1 / 127.5:.1g}. The running variance is "
    f"{careless['running variance'][-1]:.3g}. **What is wrong?** Compare the second number with the table of first weights."
)

# %% [markdown]
# ```{exercise-start} Find the bug in the careless step
# :label: ex-dcgan-step
# ```
# *Goal: find a bug that raises no error, from what a network's layers keep. About 20 minutes, 3 points.*
#
# Hand in the step mended. It takes steps 1.2 and 1.3 of {prf:ref}`alg-dcgan`: the discriminator learns from `real` and the generator's
# pictures of `z`, each in a batch of its own; the generator learns from `new_z`. The discriminator gives *logits* $f(x)$, shape (B,), hundreds of nats from zero when it is sure. Both networks are in training
# mode when your function is called, and have to be when it returns. Gradients of earlier steps may be stored in both. Return the two
# losses, the discriminator's first.


# %% tags=["exercise"]
def dcgan_step(generator, critic, optimise_g, optimise_c, real, z, new_z):
    """Networks, their optimisers, images (B, ...), two batches of vectors (B, d) -> the two losses; weights change in place."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-dcgan-step
# :class: dropdown
# ```
# `eval()` lasts until somebody says `train()`. From its first step on the generator used running averages, 0 and 1, that no batch ever
# moved: a network without batch norm, whose first weights let the signal die. Nor is it enough to switch back for the generator's step. The
# discriminator would then learn from other pictures than those which the generator is trained on. `no_grad` has nothing to do with the mode.


# %% tags=["solution"]
def dcgan_step(generator, critic, optimise_g, optimise_c, real, z, new_z):
    """Networks, their optimisers, images (B, ...), two batches of vectors (B, d) -> the two losses; weights change in place."""
    with torch.no_grad():
        fake = generator(z)
    loss_d = F.softplus(-critic(real)).mean() + F.softplus(critic(fake)).mean()
    optimise_c.zero_grad()
    loss_d.backward()
    optimise_c.step()
    loss_g = F.softplus(-critic(generator(new_z))).mean()
    optimise_g.zero_grad()
    loss_g.backward()
    optimise_g.step()
    return loss_d.item(), loss_g.item()


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.dcgan_step(dcgan_step)

# %% [markdown]
# Your step is a DCGAN. It begins from the same weights and sees the same faces and vectors as the careless one.

# %%
careful = watch_steps(dcgan_step)
_ = draw_steps({"careless": careless, "yours": careful}).suptitle(
    f"The careless step and yours ({train_images.title})"
)
ends = {
    name: (found["spread of a pixel over z"][0], found["running variance"][-1])
    for name, found in (("careless", careless), ("yours", careful))
}
say(
    f"After your first step another $z$ changes a pixel by {ends['yours'][0]:.2g}, in place of {ends['careless'][0]:.1g}. The running variance comes to {ends['yours'][1]:.2g}; in the careless "
    f"run it is still {ends['careless'][1]:.3g}. A network that is to be used in evaluation mode one day has to have seen batches in training mode. "
    "Print a running average after the first step of any run: it costs one line."
)
record(
    "careless",
    {"spread": ends["careless"][0], "running_variance": ends["careless"][1]},
)
record(
    "careful",
    {"spread": ends["yours"][0], "running_variance": ends["yours"][1]},
)

# %% [markdown]
# ## How good is a set of faces? (H4)
#
# Looking at samples misleads: we see the good ones, and we do not see what is missing. The {term}`Fréchet distance`
# {cite}`heusel2017fid` compares *sets*. Both sets pass through a frozen network; each becomes a cloud of features with a mean
# and a covariance; and the distance is that of the two Gaussians with these moments,
#
# ```{math}
# :label: eq-frechet
# d^2 = \lVert \mu_a - \mu_b \rVert^2 + \operatorname{tr}\bigl(\Sigma_a + \Sigma_b - 2\, (\Sigma_a \Sigma_b)^{1/2}\bigr).
# ```

# %% [markdown]
# ```{exercise-start} The Fréchet distance
# :label: ex-frechet
# ```
# *Goal: compare two sets of images by one number, without losing it to rounding. About 15 minutes, 2 points.*
#
# Write {eq}`eq-frechet`, in float64, with covariances divided by $N - 1$. The trace of the root is the sum of the roots of
# the eigenvalues of $\Sigma_a \Sigma_b$: they are real and not negative, but rounding can make tiny ones complex or negative.


# %% tags=["exercise"]
def frechet(features_a, features_b):
    """Features (N, d) and (M, d) -> a scalar."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-frechet
# :class: dropdown
# ```
# Float64 before anything is subtracted: a covariance is a small difference of large numbers when the mean is large.


# %% tags=["solution"]
def frechet(features_a, features_b):
    """Features (N, d) and (M, d) -> a scalar."""
    a, b = features_a.double(), features_b.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    gap = a.mean(0) - b.mean(0)
    roots = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt()
    return gap @ gap + cov_a.trace() + cov_b.trace() - 2 * roots.sum()


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.frechet(frechet)

# %% [markdown]
# Beside it we give the {term}`kernel distance` {cite}`binkowski2018mmd`, whose estimate has no bias.
#
# ### Which network?
#
# The literature uses Inception, trained on photographs. Its weights are a download, and it knows nothing of drawn faces.
# We use our own: `face_features`, a small network that learnt, without labels, to recognise a face that was mirrored and
# shifted {cite}`chen2020simclr` and to grade four kinds of damage; 64 features, frozen, known by its hash. **Is it a good judge?**
# A judge of images must put known damage in order. We damage held-out faces, more and more, and compare with the other
# candidate at hand, our CIFAR-10 classifier, which wants 32×32 pixels. Four of the eight kinds of damage were in the
# judge's training; tint, missing parts, the checkerboard and "only the dark ones" (at full strength nine in ten faces are gone) were not.
# One caution: it learnt on the very faces that serve as the reference below, and without labels it learnt *them*. So held-out faces stand in the tables too.

# %%
judge = feature_network("face_features")
n_eval = settings.n_eval
order = torch.randperm(len(train_images), generator=torch.Generator().manual_seed(seed))
real, other_real = (
    train_images.images[order[i * n_eval : (i + 1) * n_eval]] for i in (0, 1)
)
real_features = extract_features(judge, real)


def distance(images):
    """Fréchet distance of uint8 images to the same real ones, in the judge's features."""
    return frechet_distance(real_features, extract_features(judge, images))


def small(images):
    """32×32 pixels, by averages of four."""
    return to_uint8(F.avg_pool2d(to_float(images), 2))


rival = feature_network("cifar_classifier")
rival_features = extract_features(rival, small(real))
strengths = (0.0, 0.2, 0.4, 0.7, 1.0)
victims = test_images.images[: settings.n_damage]
damage = {
    "face_features": distances_under_damage(
        distance, victims, strengths=strengths, seed=seed
    ),
    "cifar_classifier, 32×32": distances_under_damage(
        lambda x: frechet_distance(rival_features, extract_features(rival, small(x))),
        victims,
        strengths=strengths,
        seed=seed,
    ),
}
learnt = ("blur", "noise", "averages of two", "patchwork of two")
damage_rows = [
    {
        "damage": kind + (" (in its training)" if kind in learnt else ""),
        **{
            f"{name}: × at {s}": f"{found[kind][i] / found[kind][0]:.1f}"
            for name, found in damage.items()
            for i, s in ((1, "0.2"), (4, "1.0"))
        },
    }
    for kind in damage["face_features"]
]
table(
    damage_rows,
    f"How many times the distance of undamaged faces ({len(victims)} held-out of {test_images.title} against {n_eval:,})",
)
record("damage", damage)

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9.4, 3.4))
for ax, (name, found) in zip(axes, damage.items(), strict=True):
    for kind, values in found.items():
        ax.plot(
            strengths,
            [v / values[0] for v in values],
            marker="o",
            ms=3,
            label=kind,
            ls="-" if kind in learnt else "--",
        )
    ax.set(title=name, xlabel="strength of the damage", yscale="log")
axes[0].set_ylabel("× the distance of undamaged faces")
axes[1].legend(fontsize=7)
_ = fig.suptitle(f"Two judges ({test_images.title}); dashed: never seen in training")


def in_order(values):
    """Does every step of damage increase the distance?"""
    return all(a < b for a, b in itertools.pairwise(values))


ordered = {
    name: sum(in_order(v) for v in found.values()) for name, found in damage.items()
}
slight = {
    name: {k: v[1] / v[0] for k, v in found.items()} for name, found in damage.items()
}
weaker = [
    k
    for k, v in slight["face_features"].items()
    if v <= slight["cifar_classifier, 32×32"][k]
]
sharper = len(damage_rows) - len(weaker)
full = {k: v[-1] / v[0] for k, v in damage["face_features"].items()}
heaviest, lightest = (
    max(full.items(), key=lambda p: p[1]),
    min(full.items(), key=lambda p: p[1]),
)
say(
    f"Of {len(damage_rows)} kinds of damage, `face_features` puts **{ordered['face_features']}** in order and the CIFAR-10 classifier **{ordered['cifar_classifier, 32×32']}**. "
    f"At the slightest strength the new judge reacts more strongly in **{sharper}** of {len(damage_rows)}. It also has a quarter of the features, 64 against 256, "
    "so fewer images are enough. "
    + (f"It is the weaker one on: {', '.join(weaker)}. " if weaker else "")
    + f"It does not weigh all damage alike: at full strength *{heaviest[0]}* multiplies the distance by {heaviest[1]:.0f}, *{lightest[0]}* by {lightest[1]:.1f}. A wrong colour costs more in it than a wrong composition; "
    "keep that in mind when two generators are ranked. All distances of this chapter are in its features."
)
record("damage_in_order", ordered)

# %% [markdown]
# ### How many images?
#
# **Is the distance of two sets of real faces zero?** Their true distance is. The estimate is not: with few images two
# covariances differ by chance, and the distance counts every difference. The bias is about a constant over $N$. Your function measures it.

# %%
pool = extract_features(judge, train_images.images[order])
sizes = [n for n in (70, 100, 150, 250, 500, 1000, 1500) if 2 * n <= len(pool)] or [
    len(pool) // 2
]
floor = [float(frechet(pool[:n], pool[n : 2 * n])) for n in sizes]
off_by = max(
    abs(f - frechet_distance(pool[:n], pool[n : 2 * n])) / f
    for f, n in zip(floor, sizes, strict=True)
)
fig, ax = plt.subplots(figsize=(6, 3))
ax.plot([1 / n for n in sizes], floor, "o")
slope = sum(f / n for f, n in zip(floor, sizes, strict=True)) / sum(
    n**-2 for n in sizes
)
ax.plot([0, 1 / sizes[0]], [0, slope / sizes[0]], color="black", lw=0.8)
ax.set(
    xlabel="1 / N",
    ylabel="Fréchet distance",
    title=f"Real against real ({train_images.title}, {judge.label})\nline: {slope:.0f} / N",
)
record("bias_times_n", slope)
say(
    f"The points lie near {slope:.0f} / N. So with N = {n_eval:,} about {slope / n_eval:.2f} of a distance between two sets of real faces is bias; for other sets it differs. Two figures with different N "
    f"are not comparable, and neither are two networks'. (Your function and the library's differ by at most {off_by:.0e} of a distance.)"
)

# %% [markdown]
# ## Training (H1, H3)

# %%
total_steps = settings.epochs * steps_per_epoch
FIVE, TWENTYFIVE = (
    min(e, settings.epochs) * steps_per_epoch
    for e in ((5, 25) if settings.epochs > 25 else (1, 5))
)


SHIFT_AND_CUT = DiffAugment(colour=False)  # a shift, and a square cut out


def recipe(run_seed=seed, decay="linear", augment=None):
    """DCGAN's game and optimisers, at this profile's rate."""
    return GANConfig(
        NonSaturating(lr=settings.lr),
        ema=settings.ema,
        augment=augment,
        decay=decay,
        seed=run_seed,
    )


def train(
    steps,
    name,
    *,
    data=train_images,
    run_seed=seed,
    resume=True,
    watchers=(),
    augment=None,
    **networks,
):
    """Adversarial training; a finished run is loaded, an unfinished one goes on."""
    pair = new_networks(seed=run_seed, **networks)
    return train_gan(
        *pair,
        data,
        recipe=recipe(run_seed, augment=augment),
        callbacks=list(watchers),
        resume=resume,
        config=FitConfig(
            steps,
            batch_size=settings.batch_size,
            seed=run_seed,
            name=name,
            flip=True,
            precision=settings.precision,
            checkpoint_every=max(10, steps // 10),
            log_every=1 if steps <= 400 else 10,
        ),
    )


def one_training(run_seed, augment=SHIFT_AND_CUT if settings.augment else None):
    """The main training from a seed: the run, its looks, and the distance of fresh samples at its end."""
    watch = GeneratorWatch(total_steps // settings.looks, distance, n_eval)
    run = train(
        total_steps,
        "dcgan",
        run_seed=run_seed,
        watchers=[watch],
        augment=augment,
        norm_d=settings.norm_d,
    )
    stream = torch.Generator().manual_seed(run_seed + 1)
    return run, watch, distance(to_uint8(run.module.sampler.sample(n_eval, stream)))


trainings = [one_training(seed + i) for i in range(settings.trainings)]
by_distance = sorted(range(settings.trainings), key=lambda i: trainings[i][2])
median = by_distance[(settings.trainings - 1) // 2]
run, watch, _ = trainings[median]
sampler = run.module.sampler
say(
    f"{settings.epochs} epochs, {run.steps:,} steps of batch {settings.batch_size} on {train_images.title} in **{run.seconds / 60:.1f} minutes** "
    f"({1000 * run.seconds / run.steps:.0f} ms a step, looks included)."
    + (
        f" {settings.trainings} trainings, seeds {seed} to {seed + settings.trainings - 1}, end at the distances {', '.join(f'{d:.1f}' for *_, d in trainings)}. "
        f"From here on this chapter shows the **median** one, seed {seed + median}: to show the best would be to choose by the measure."
        if settings.trainings > 1
        else ""
    )
)
record("trainings", [d for *_, d in trainings])
record("train_seconds", run.seconds)
record("train_steps", run.steps)
record("epochs", settings.epochs)

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9.4, 3.2))
smooth = max(1, len(run.curve("critic_loss")[0]) // 60)
curves(
    {
        "discriminator": run.curve("critic_loss"),
        "generator": run.curve("generator_loss"),
    },
    f"The two losses ({train_images.title})",
    smooth=smooth,
    ylabel="nats",
    ax=axes[0],
)
axes[0].axhline(2 * math.log(2), color="black", lw=0.8, ls="--")
axes[0].axhline(math.log(2), color="black", lw=0.8, ls=":")
curves(
    {f"seed {seed + i}": (w.steps, w.values) for i, (_, w, _) in enumerate(trainings)},
    f"Fréchet distance, {n_eval:,} samples\n{judge.label}",
    ax=axes[1],
)
axes[1].set_yscale("log")
_ = fig.suptitle(
    "Left: dashed and dotted, the losses of a discriminator that knows nothing"
)

# %% [markdown]
# **What do the losses say?** Whether one player is far ahead: a discriminator's loss near 0, or both losses at the lines. They are
# not made to say whether the images are good, because each is measured against an opponent who changes. Do they all the same?
# We rank the {term}`looks <look>` by each loss and by the Fréchet distance, and compare the rankings.


# %%
def loss_near(name, step):
    """The mean of a logged loss over the look that ends at a step."""
    steps, values = run.curve(name)
    begin = step - total_steps // settings.looks
    here = [v for s, v in zip(steps, values, strict=True) if begin <= s <= step]
    return sum(here) / len(here)


agreement = {
    name: spearmanr(watch.values, [loss_near(name, s) for s in watch.steps]).statistic
    for name in ("critic_loss", "generator_loss")
}
chance = 2 / math.sqrt(max(1, len(watch.steps) - 1))
best_look = min(range(len(watch.steps)), key=watch.values.__getitem__)
losses_there = (
    loss_near("critic_loss", watch.steps[best_look]),
    loss_near("generator_loss", watch.steps[best_look]),
)
say(
    f"Spearman's rank correlation with the Fréchet distance over {len(watch.steps)} looks: discriminator's loss {agreement['critic_loss']:+.2f}, generator's loss "
    f"{agreement['generator_loss']:+.2f}. A loss that measured quality would have +1: the lower the loss, the lower the distance. "
    f"(By chance alone {len(watch.steps)} looks give up to about ±{chance:.2f}.) "
    + (
        "In this run both losses fall with the distance. But the learning rate falls too, and the discriminator trains on at the same time, so one run cannot tell a cause from a common trend. "
        if min(agreement.values()) > chance
        else "Here the generator's loss *rises* while its images improve. "
        if agreement["generator_loss"] < -chance
        else "Here the generator's loss falls with the distance. But the learning rate falls too, and the discriminator trains on, so one run cannot tell a cause from a common trend. "
        if agreement["generator_loss"] > chance
        else "Here the generator's loss says no more about its images than chance would. "
    )
    + f"At the best look the losses are {losses_there[0]:.2f} and {losses_there[1]:.2f} nats: numbers that mean nothing by themselves, since another opponent would give others."
)
record("loss_agreement", agreement)

# %% [markdown]
# **How much do more epochs bring?** The same run, looked at on its way, always with the same $z$.


# %% tags=["hide-input"]
def near(step):
    """The look nearest to a step."""
    return min(range(len(watch.steps)), key=lambda i: abs(watch.steps[i] - step))


shown = sorted(
    {0, near(FIVE), near(TWENTYFIVE), len(watch.steps) // 2, len(watch.steps) - 1}
)
image_grid(
    torch.cat([watch.pictures[i][:12] for i in shown]),
    f"Twelve vectors z after {', '.join(f'{watch.steps[i] / steps_per_epoch:.0f}' for i in shown)} epochs, top to bottom\n({train_images.title})",
    columns=12,
    width=7,
)
epoch_rows = [
    {
        "epochs": f"{watch.steps[i] / steps_per_epoch:.0f}",
        "steps": watch.steps[i],
        "Fréchet distance": f"{watch.values[i]:.1f}",
        "discriminator's loss": f"{loss_near('critic_loss', watch.steps[i]):.2f}",
        "generator's loss": f"{loss_near('generator_loss', watch.steps[i]):.2f}",
    }
    for i in shown
]
table(
    epoch_rows,
    f"{train_images.title}, {judge.label}, {n_eval:,} samples of the moving average; looks inside one run of {settings.epochs} epochs, whose rate falls in its second half",
)
record("by_epochs", epoch_rows)

# %% [markdown]
# ## A hundred faces and a number (H4)

# %%
stream = torch.Generator().manual_seed(seed + median + 1)
samples = to_uint8(sampler.sample(n_eval, stream))
image_grid(
    samples[:100],
    f"This run ({profile}, {train_images.title}): 100 samples, not selected",
    columns=10,
    width=7,
)

# %%
blends = (
    torch.stack(
        [
            train_images.images[
                torch.randint(len(train_images), (8,), generator=stream)
            ]
            .float()
            .mean(0)
            for _ in range(n_eval)
        ]
    )
    .round()
    .to(torch.uint8)
)
few_directions = GaussianStart.fit(train_images.images, covariance="low_rank", rank=128)
gaussian = to_uint8(few_directions.draw(n_eval, generator=stream))
pairs = [
    to_float(
        train_images.images[
            torch.randint(len(train_images), (n_eval,), generator=stream)
        ]
    )
    for _ in range(2)
]
twos = to_uint8((pairs[0] + pairs[1]) / 2)
untrained = to_uint8(new_networks()[0].sample(n_eval, stream))
noise = torch.randint(0, 256, real.shape, generator=stream, dtype=torch.uint8)
n_held = min(len(test_images), n_eval)
measured = {
    "other real faces": image_distances(
        judge, real, other_real, resamples=settings.resamples, seed=seed
    ),
    "this run": image_distances(
        judge, real, samples, resamples=settings.resamples, seed=seed
    ),
    f"held-out faces ({n_held}, against {n_held})": image_distances(
        judge, real[:n_held], test_images.images[:n_held], resamples=0
    ),
    f"this run ({n_held}), against held-out faces": image_distances(
        judge, test_images.images[:n_held], samples[:n_held], resamples=0
    ),
    "averages of two faces": image_distances(judge, real, twos, resamples=0),
    "blurred means: averages of eight faces": image_distances(
        judge, real, blends, resamples=0
    ),
    "one Gaussian (128 directions)": image_distances(
        judge, real, gaussian, resamples=0
    ),
    "the generator, untrained": image_distances(judge, real, untrained, resamples=0),
    "uniform noise": image_distances(judge, real, noise, resamples=0),
}


def spread(interval, form="{:.2f}"):
    """'1.2–3.4', or a dash."""
    return "–" if interval is None else "–".join(form.format(v) for v in interval)


table(
    [
        {
            "images": name,
            "Fréchet distance": f"{m.frechet:.2f}",
            "95 % interval, bias taken out": spread(m.frechet_interval),
            "kernel distance": f"{m.kernel:.3f}",
            "95 % interval": spread(m.kernel_interval, "{:.3f}"),
        }
        for name, m in measured.items()
    ],
    f"Against {n_eval:,} faces of {train_images.title}: {measured['this run'].label}",
)
this = measured["this run"]
gauss = measured["one Gaussian (128 directions)"].frechet
off = {
    name: (extract_features(judge, x).double().mean(0) - real_features.double().mean(0))
    .square()
    .sum()
    .item()
    for name, x in (("untrained", untrained), ("noise", noise))
}
blurred = measured["blurred means: averages of eight faces"].frechet
say(
    f"The Fréchet distance of this run is **{this.frechet:.1f}** ({judge.label}, N = {n_eval:,}), {this.frechet / blurred:.2f} times that of the blurred means and {this.frechet / gauss:.2f} times that of one Gaussian, which knows the mean face and the 128 directions in which faces differ most. "
    "The intervals cover other images from the same data and the same generator. They do not cover another training run"
    + (
        f": {settings.trainings} seeds end between {min(d for *_, d in trainings):.1f} and {max(d for *_, d in trainings):.1f}. "
        if settings.trainings > 1
        else ". "
    )
    + "The kernel "
    "distance has no bias: for two sets of real faces it is near 0 and may be negative. "
    + (
        f"(The untrained generator is further away than noise. Neither set has variety in these features: outside training batch norm uses running averages, which are 0 and 1 at first and rescale nothing, so these images are all grey, unlike those of the table of first weights. What differs is how far the mean is off, squared: {off['untrained']:.0f} against {off['noise']:.0f}.)"
        if measured["the generator, untrained"].frechet
        > measured["uniform noise"].frechet
        else ""
    )
)
for name, m in measured.items():
    record(f"frechet/{name}", m.frechet)
    record(f"kernel/{name}", m.kernel)
record("frechet_fresh", this.frechet)
record("frechet_interval", this.frechet_interval)
record("frechet_n", n_eval)

# %% [markdown]
# **And in Inception?** The original assignment reports 155.14 with Inception, 1,000 against 1,000. That is fewer images than
# Inception's 2,048 features, so its covariances are singular and its bias is large.

# %%
if has_inception():
    told = image_distances("inception", real, samples, resamples=0, strict=False)
    say(f"Inception's weights are here: **{told.frechet:.1f}**, {told.label}.")
    record("inception_frechet", told.frechet)
else:
    say(
        "Inception's weights are not here, and this book fetches nothing behind your back. `feature_network('inception')` says how to get them."
    )

# %% [markdown]
# **Has it learnt faces by heart?** The nearest training face of a sample, in the judge's features and in pixels, tells.

# %% tags=["hide-input"]
few = samples[:8]
gaps = torch.cdist(
    extract_features(judge, few), extract_features(judge, train_images.images)
)
pixel_gaps = torch.cdist(to_float(few).flatten(1), train_images.scaled().flatten(1))
held_gaps = torch.cdist(
    extract_features(judge, test_images), extract_features(judge, train_images.images)
).amin(1)
image_grid(
    torch.cat(
        (
            few,
            train_images.images[gaps.argmin(1)],
            train_images.images[pixel_gaps.argmin(1)],
        )
    ),
    f"Samples; nearest training face in features; in pixels ({train_images.title})",
    columns=8,
    width=7,
)
sample_gap = torch.cdist(
    extract_features(judge, samples[:300]), extract_features(judge, train_images.images)
).amin(1)
say(
    f"Median distance to the nearest training face: samples {sample_gap.median():.2f}, held-out faces {held_gaps.median():.2f}. "
    + (
        "Samples are far from every training face: no copies, and also further than new faces are, so they still differ from faces in something that the judge sees."
        if sample_gap.median() > 2 * held_gaps.median()
        else "Samples are no nearer to training faces than new faces are, so nothing speaks for copying."
        if sample_gap.median() >= 0.9 * held_gaps.median()
        else "Samples are nearer to training faces than new faces are: look at the rows above for copies."
    )
)
record(
    "nearest",
    {"samples": sample_gap.median().item(), "held out": held_gaps.median().item()},
)

# %% [markdown]
# ## Which rules matter? (H2)
#
# **The question.** DCGAN says: batch norm in both networks, and small normal weights. We break each rule: no norm in one
# or both networks, instance norm instead, He's first weights. The original assignment's own best was instance norm on the generator and batch norm on the
# discriminator: it has a row. The rest is the same, seeds and data included. To have three seeds of each at an honest length, the study is played at 32×32
# pixels, and nothing but the rules in its first column is changed: no augmentation yet. *Variety* is the total
# variance of the samples' features over that of real faces': near 0, all samples are one face.

# %%
small_faces = load_images(
    "bitmoji", "train", size=32, limit=settings.limit, root=data_root
)


def doubled(images):
    """uint8 images of 32×32 -> of 64×64, which the judge looks at; straight lines between pixels."""
    return to_uint8(F.interpolate(to_float(images), scale_factor=2, mode="bilinear"))


small_real = extract_features(judge, doubled(small_faces.images[order[:n_eval]]))
CHANGES = {"none": None, "shift, cut": SHIFT_AND_CUT, "… and colour": DiffAugment()}


def variation(seed, norm_g, norm_d, init, augment, epochs):
    """One training at 32×32 with one choice of rules: quality, variety, and who is winning."""
    trained = train(
        epochs * steps_per_epoch,
        "dcgan_study",
        data=small_faces,
        run_seed=seed,
        side=32,
        width=settings.study_width,
        norm_g=norm_g,
        norm_d=norm_d,
        init=init,
        augment=CHANGES[augment],
    )
    images = to_uint8(
        trained.module.sampler.sample(
            settings.study_n, torch.Generator().manual_seed(seed)
        )
    )
    features = extract_features(judge, doubled(images))
    tail = lambda name: sum(trained.curve(name)[1][-20:]) / 20  # noqa: E731
    return {
        "frechet": frechet_distance(small_real, features),
        "variety": features.var(0).sum().item() / small_real.var(0).sum().item(),
        "critic": tail("critic_loss"),
        "generator": tail("generator_loss"),
        "ms": 1000 * trained.seconds / trained.steps,
        "images": images[:16],
    }


COLUMNS = {
    "Fréchet distance": "frechet",
    "variety (1 = data)": "variety",
    "D's loss (nats)": "critic",
    "G's loss (nats)": "generator",
    "ms a step": "ms",
}

# %%
if study("rules"):
    dcgan = dict(
        norm_g="batch",
        norm_d="batch",
        init="dcgan",
        augment="none",
        epochs=settings.study_epochs,
    )
    rules = {
        "as DCGAN: batch norm on both": dcgan,
        "instance norm on G, batch norm on D (the original's best)": {
            **dcgan,
            "norm_g": "instance",
        },
        "batch norm on D alone": {**dcgan, "norm_g": "none"},
        "batch norm on G alone": {**dcgan, "norm_d": "none"},
        "no norm": {**dcgan, "norm_g": "none", "norm_d": "none"},
        "instance norm on both": {**dcgan, "norm_g": "instance", "norm_d": "instance"},
        "batch norm on both, He": {**dcgan, "init": "he"},
        "no norm, He": {**dcgan, "norm_g": "none", "norm_d": "none", "init": "he"},
    }
    seeds = range(seed, seed + settings.seeds)
    by_rules = sweep("dcgan_rules", variation, rules, seeds=seeds)

# %% [markdown]
# Below stand the controls, in the same pixels and the same features: pictures that no network painted.

# %% tags=["hide-input"]
if study("rules-table"):
    others = small_faces.take(order[n_eval:])  # not those which are compared with
    small_controls = {
        name: frechet_distance(small_real, extract_features(judge, doubled(images)))
        for name, images in controls(others, settings.study_n, seed=seed).items()
    }
    rules_rows = summary(by_rules, COLUMNS, first="rules")
    table(
        [
            *rules_rows,
            *(
                {"rules": name, "Fréchet distance": f"{value:.3g}"}
                for name, value in small_controls.items()
            ),
        ],
        f"{settings.study_epochs} epochs each at 32×32 on {small_faces.title}, {settings.seeds} seeds (mean ± standard deviation), {settings.study_n:,} samples, {judge.label}",
    )
    record("rules", rules_rows)
    record("small_controls", small_controls)


# %% tags=["hide-input"]
def show_samples(outcome, title):
    """Sixteen samples of the first seed of every cell."""
    names = list(dict.fromkeys(c.name for c in outcome))
    fig, axes = plt.subplots(len(names), 1, figsize=(7, 0.75 * len(names)))
    for ax, name in zip(axes, names, strict=True):
        first = next(c for c in outcome if c.name == name)
        if first.tensors:
            image_grid(first.tensors["images"], columns=16, ax=ax)
        ax.set_title(
            name + ("" if first.diverged is None else ": diverged"), fontsize=8
        )
        ax.axis("off")
    return fig.suptitle(title, fontsize=10)


def measured_of(outcome, name, key="frechet"):
    """The values of a cell, one a seed that finished."""
    return [
        c.values[key]
        for c in outcome
        if c.name == name and c.diverged is None and c.values.get(key) is not None
    ]


def mean_of(outcome, name, key="frechet"):
    """Their mean, or NaN."""
    found = measured_of(outcome, name, key)
    return sum(found) / len(found) if found else math.nan


def difference(one, reference):
    """Mean of some distances minus that of others, and the ends of Welch's 95 % interval around it."""
    if min(len(one), len(reference)) < 2:
        return math.nan, (math.nan, math.nan)
    gap, half = welch(reference, one)
    return gap, (gap - half, gap + half)


def verdicts(outcome, reference):
    """Cell by cell: clearly nearer to real faces than the reference, clearly further, or not told apart."""
    found = {}
    for name in dict.fromkeys(c.name for c in outcome):
        if name != reference:
            by, (low, high) = difference(
                measured_of(outcome, name), measured_of(outcome, reference)
            )
            side = "nearer" if high < 0 else "further" if low > 0 else "not told apart"
            found[name] = {"side": side, "by": by, "low": low, "high": high}
    return found


def in_words(found):
    """'clearly nearer: … (-3.0, -4.1 to -1.9)', side by side."""
    told = []
    for side, text in (
        ("nearer", "clearly nearer to real faces"),
        ("further", "clearly further away"),
        ("not told apart", "not told apart from it"),
    ):
        here = [
            f"*{name}* ({v['by']:+.1f}, {v['low']:+.1f} to {v['high']:+.1f})"
            for name, v in found.items()
            if v["side"] == side
        ]
        if here:
            told.append(f"{text}: {', '.join(here)}")
    return "; ".join(told)


if study("rules-pictures"):
    show_samples(
        by_rules, f"Sixteen samples of each, seed {seed} ({small_faces.title})"
    )

# %% tags=["hide-input"]
if study("rules-in-words"):
    DCGAN = "as DCGAN: batch norm on both"
    rules_told = verdicts(by_rules, DCGAN)
    flat = {
        n: lost
        for n in rules
        if (lost := sum(v < 0.2 for v in measured_of(by_rules, n, "variety")))
    }
    say(
        f"Against *{DCGAN}* ({mean_of(by_rules, DCGAN):.1f}), differences of the mean distance with 95 % intervals over {settings.seeds} seeds (Welch): {in_words(rules_told)}. "
        + (
            f"Hardly more than one face (variety below a fifth of the data's; collapsed, or not begun): {', '.join(f'*{n}* ({k} of {settings.seeds} seeds)' for n, k in flat.items())}. "
            if flat
            else "No run has lost its variety. "
        )
        + (
            "So at the start He's rule keeps the signal alive without batch norm, but training does not follow. "
            if "no norm, He" in flat
            else ""
        )
        + f"One Gaussian has {small_controls['one Gaussian']:.1f}: a rule whose mean is above has taught the network less than a mean and a covariance tell. "
        f"{settings.seeds} seeds make wide intervals; *not told apart* means that, and not that the rules are equal."
    )
    record("rules_told", rules_told)
    record("rules_flat", flat)

# %% [markdown]
# ## Three thousand faces are few
#
# **What goes wrong with few pictures?** The discriminator of the long game sees each training face once an epoch. With three thousand of them it can learn
# which faces are in the set. From then on its loss falls, and what it tells the generator is no longer how faces look, but how
# *these* faces look. The table above shows the sign: in the row of DCGAN the discriminator's loss is far below the 1.39 of an even game.
#
# Two cures are younger than DCGAN.
#
# - **Change what the discriminator sees** {cite}`zhao2020diffaugment`. Every picture is shifted at random, has a square cut out, and may change its colours. Three
#   things matter. The changes apply to real *and* painted faces: were it the data alone, the generator would learn to paint grey squares. They also apply when the generator
#   learns, so the gradient has to pass through them: a shift and a cut are linear in the pixels. And they are drawn anew for every picture.
# - **Bound the discriminator's layers** {cite}`miyato2018spectral`. *Spectral norm* divides each weight matrix by its largest singular value, so that no layer stretches
#   any input by more than one, and the whole network cannot rise steeply around single faces. It takes the place of batch norm there.

# %% tags=["hide-input"]
eight = to_float(train_images.images[:8])
changed = torch.cat(
    [
        eight,
        *(
            change(eight, torch.Generator().manual_seed(seed))
            for change in (SHIFT_AND_CUT, DiffAugment())
        ),
    ]
)
image_grid(
    changed.clamp(-1, 1),
    f"What the discriminator sees: as they are; shifted and cut; colours changed, too\n({train_images.title})",
    columns=8,
    width=7,
)

# %% [markdown]
# **Do they help here?** The same small study, the same seeds. And how much of it is just length: DCGAN's rules for 5 and for 25 epochs, each as
# a whole training with its own falling rate (H3).

# %%
if study("cures"):
    cures = {
        "as DCGAN": dcgan,
        "spectral norm on D": {**dcgan, "norm_d": "spectral"},
        "shift and cut": {**dcgan, "augment": "shift, cut"},
        "shift, cut and colour": {**dcgan, "augment": "… and colour"},
        "spectral norm, shift and cut": {
            **dcgan,
            "norm_d": "spectral",
            "augment": "shift, cut",
        },
    }
    by_cure = sweep("dcgan_rules", variation, cures, seeds=seeds)

# %% tags=["hide-input"]
if study("cures-table"):
    cure_rows = summary(by_cure, COLUMNS, first="cure")
    table(
        cure_rows,
        f"{settings.study_epochs} epochs each at 32×32 on {small_faces.title}, {settings.seeds} seeds (mean ± standard deviation), {settings.study_n:,} samples, {judge.label}; the controls stand above",
    )
    show_samples(by_cure, f"Sixteen samples of each, seed {seed} ({small_faces.title})")
    cures_told = verdicts(by_cure, "as DCGAN")
    say(
        f"Against DCGAN's rules ({mean_of(by_cure, 'as DCGAN'):.1f}): {in_words(cures_told)}. "
        + (
            "What helps also raises the discriminator's loss towards the 1.39 of an even game: it can no longer know the faces by heart. "
            if any(
                v["side"] == "nearer"
                and mean_of(by_cure, n, "critic")
                > mean_of(by_cure, "as DCGAN", "critic") + 0.2
                for n, v in cures_told.items()
            )
            else ""
        )
    )
    record("cures", cure_rows)
    record("cures_told", cures_told)

# %%
if study("epochs"):
    lengths = {
        f"{how}, {epochs} epochs": {**dcgan, "augment": augment, "epochs": epochs}
        for how, augment in (("as DCGAN", "none"), ("shift and cut", "shift, cut"))
        for epochs in (settings.short_epochs, settings.long_epochs)
    }
    by_length = sweep("dcgan_rules", variation, lengths, seeds=seeds)

# %% tags=["hide-input"]
if study("epochs-table"):
    length_rows = summary(by_length, COLUMNS, first="training")
    table(
        length_rows,
        f"Whole trainings at 32×32 on {small_faces.title}, {settings.seeds} seeds (mean ± standard deviation), {settings.study_n:,} samples, {judge.label}",
    )
    gains = {
        how: difference(
            measured_of(by_length, f"{how}, {settings.long_epochs} epochs"),
            measured_of(by_length, f"{how}, {settings.short_epochs} epochs"),
        )
        for how in ("as DCGAN", "shift and cut")
    }
    say(
        f"What {settings.long_epochs} epochs bring over {settings.short_epochs}: "
        + "; ".join(
            f"{how} {by:+.1f} ({low:+.1f} to {high:+.1f})"
            for how, (by, (low, high)) in gains.items()
        )
        + "."
    )
    record("lengths", length_rows)
    record(
        "length_gains",
        {how: [by, *interval] for how, (by, interval) in gains.items()},
    )

# %% [markdown]
# **And in the long game, at 64×64?** The main training shifts and cuts. Here is the control: the same training, from the same seeds, that shows the discriminator every face as it is.

# %%
if study("cures-long"):
    plain = [one_training(seed + i, augment=None) for i in range(settings.controls)]

# %% tags=["hide-input"]
if study("cures-long-table"):
    ends = {
        "shifted and cut": [d for *_, d in trainings],
        "as they are": [d for *_, d in plain],
    }
    table(
        [
            {
                "faces that the discriminator sees": how,
                "Fréchet distance, seed by seed": ", ".join(f"{d:.1f}" for d in found),
                "D's loss at the end (nats)": ", ".join(
                    f"{sum(r.curve('critic_loss')[1][-20:]) / 20:.2f}"
                    for r, *_ in which
                ),
            }
            for (how, found), which in zip(
                ends.items(), (trainings, plain), strict=True
            )
        ],
        f"{settings.epochs} epochs at 64×64 on {train_images.title}, {n_eval:,} samples, {judge.label}",
    )
    fig, ax = plt.subplots(figsize=(6, 3))
    for how, which, colour in (
        ("shifted and cut", trainings, "C0"),
        ("as they are", plain, "C1"),
    ):
        for i, (_, seen, _) in enumerate(which):
            ax.plot(
                [s / steps_per_epoch for s in seen.steps],
                seen.values,
                "o-",
                ms=3,
                color=colour,
                label=how if not i else None,
            )
    ax.set(
        xlabel="epoch",
        ylabel="Fréchet distance",
        yscale="log",
        title=f"What the discriminator sees, all seeds ({train_images.title})",
    )
    ax.legend()
    # Distances are positive, and the larger ones differ more from seed to seed: so ratios, by way of logarithms.
    gap, (low, high) = difference(
        *(
            [math.log(d) for d in ends[how]]
            for how in ("as they are", "shifted and cut")
        )
    )
    times, least, most = (math.exp(v) for v in (gap, low, high))
    say(
        f"Without it the distances are {times:.1f} times as large ({least:.1f} to {most:.0f} times: Welch's 95 % interval of the difference of logarithms, since they differ far more from seed to seed). "
        + (
            "So in the long game a shift and a cut, on both kinds of pictures, decide. In the small study, shorter and at a quarter of the pixels, three seeds could not tell them from nothing."
            if least > 1
            else "These seeds do not tell them apart."
        )
    )
    record("cures_long", {**ends, "times": [times, least, most]})

# %% [markdown]
# ## Stop, and go on (H5)
#
# In the original assignment the discriminator's optimiser was not saved, and training could not be continued. **What is
# there to save?** Everything that the next step reads.

# %% [markdown]
# ```{exercise-start} What must be in a checkpoint?
# :label: ex-save-state
# ```
# *Goal: keep everything that the next training step reads. About 10 minutes, 2 points.*
#
# Return a dictionary from which a new game can take up where `game` stands now, whatever happens to this one later. `game` has the six
# attributes `generator`, `critic`, `generator_optimiser`, `critic_optimiser`, `step` (a number that the learning rate depends on) and
# `noise` (a `torch.Generator`, from which data and vectors are drawn); these are the dictionary's keys. It holds states, not the objects.


# %% tags=["exercise"]
def save_state(game):
    """A game -> a dictionary of states."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-save-state
# :class: dropdown
# ```
# `state_dict()` hands out the living tensors: whoever keeps them in memory without a copy will find tomorrow's weights in
# yesterday's checkpoint. Writing to disk at once is a copy too.


# %% tags=["solution"]
def save_state(game):
    """A game -> a dictionary of states."""
    parts = ("generator", "critic", "generator_optimiser", "critic_optimiser")
    state = {name: getattr(game, name).state_dict() for name in parts}
    state["step"] = game.step
    state["noise"] = game.noise.get_state()
    return copy.deepcopy(state)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.save_state(save_state)

# %% [markdown]
# **What is each of the six worth?** A narrow DCGAN plays some steps of yours. Your function keeps its state; a new game takes the state over and
# plays on, first with all of it, then with one part lost each time. A lost part is as in a new game. We compare with a game that was never stopped.


# %%
def new_game():
    """A narrow DCGAN, and everything that its next step reads."""
    generator, critic = new_networks(width=4)
    optimise_g, optimise_c = new_optimisers(generator, critic)
    return SimpleNamespace(
        generator=generator,
        critic=critic,
        generator_optimiser=optimise_g,
        critic_optimiser=optimise_c,
        step=0,
        noise=torch.Generator().manual_seed(seed),
    )


def play(game, steps):
    """Take steps of yours at a rate that falls with the count of steps."""
    for _ in range(steps):
        game.step += 1
        for optimiser in (game.generator_optimiser, game.critic_optimiser):
            optimiser.param_groups[0]["lr"] = settings.lr / game.step**0.5
        real = to_float(
            train_images.images[
                torch.randint(len(train_images), (8,), generator=game.noise)
            ]
        )
        dcgan_step(
            game.generator,
            game.critic,
            game.generator_optimiser,
            game.critic_optimiser,
            real,
            game.generator.draw(8, game.noise),
            game.generator.draw(8, game.noise),
        )
    return game


def restored(state):
    """A new game that takes over what is in a dictionary."""
    game = new_game()
    for part in (
        "generator",
        "critic",
        "generator_optimiser",
        "critic_optimiser",
    ):
        if part in state:
            getattr(game, part).load_state_dict(copy.deepcopy(state[part]))
    game.step = state.get("step", 0)
    if "noise" in state:
        game.noise.set_state(state["noise"])
    return game


def weights_of(game):
    """All weights of both networks in one vector."""
    return torch.cat(
        [
            p.detach().flatten()
            for p in (*game.generator.parameters(), *game.critic.parameters())
        ]
    )


state = save_state(play(new_game(), settings.resume_steps))
whole = weights_of(play(new_game(), 2 * settings.resume_steps))
lost_rows = []
for lost in (None, *state):
    kept_parts = {part: value for part, value in state.items() if part != lost}
    apart = (
        (weights_of(play(restored(kept_parts), settings.resume_steps)) - whole)
        .abs()
        .max()
        .item()
    )
    lost_rows.append(
        {
            "lost": "nothing" if lost is None else lost,
            "furthest weight": f"{apart:.1g}",
        }
    )
    record(f"lost/{lost or 'nothing'}", apart)
table(
    lost_rows,
    f"{settings.resume_steps} steps, your dictionary, {settings.resume_steps} more, against {2 * settings.resume_steps} in one go",
)
said = (
    "**bit for bit**"
    if report.recorded()["lost/nothing"] == 0
    else f"up to {report.recorded()['lost/nothing']:.1g}"
)
say(
    f"With your dictionary the game goes on as if it had not stopped, {said}. Without any one of its parts it is another game."
)

# %% [markdown]
# Now with the chapter's networks and the library's training. We train $2n$ steps in one go; then $n$ steps, a checkpoint, everything forgotten, and $n$
# more from the file. (The tests do it with a process that is really killed.) And we repeat the original's accident: a
# resumed run whose discriminator's optimiser begins anew.

# %%
n = settings.resume_steps


def sitting(steps, resume, name="dcgan_resume"):
    """Train to a number of steps, from fresh objects; the number is part of what a run is, so each has its folder."""
    config = FitConfig(
        steps,
        batch_size=settings.batch_size,
        seed=seed,
        name=name,
        flip=True,
        checkpoint_every=n,
        log_every=1,
    )
    # A falling rate depends on the planned end, and the first sitting is planned to end early: keep it constant here.
    return train_gan(
        *new_networks(),
        train_images,
        recipe=recipe(decay="constant"),
        config=config,
        resume=resume,
    )


def furthest(a, b, statistics=True):
    """The largest difference of any entry of the networks and their moving average; batch norm's statistics or not."""
    pairs = zip(
        a.module.state_dict().items(), b.module.state_dict().values(), strict=True
    )
    return max(
        (x.double() - y.double()).abs().max().item()
        for (key, x), y in pairs
        if statistics
        or not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )


whole = sitting(2 * n, resume=None)
stopped = sitting(n, resume=None).run_dir / "last.ckpt"
halfway = torch.load(stopped, weights_only=True)
resumed = sitting(2 * n, resume=stopped, name="dcgan_resumed")
lost = copy.deepcopy(halfway)
lost["optimizer_states"][0]["state"] = {}  # Adam's memory of the discriminator
forgetful = stopped.with_name("without_the_optimiser.ckpt")
torch.save(lost, forgetful)
forgot = sitting(2 * n, resume=forgetful, name="dcgan_forgot")
resume_rows = [
    {"run": "in one go", "furthest weight": "–", "random state": "–"},
    {
        "run": f"stopped after {n}, resumed",
        "furthest weight": f"{furthest(whole, resumed):.1g}",
        "random state": "equal"
        if torch.equal(whole.module.noise.get_state(), resumed.module.noise.get_state())
        else "differs",
    },
    {
        "run": "resumed without the discriminator's optimiser",
        "furthest weight": f"{furthest(whole, forgot, statistics=False):.1g}",
        "random state": "equal"
        if torch.equal(whole.module.noise.get_state(), forgot.module.noise.get_state())
        else "differs",
    },
]
table(
    resume_rows,
    f"{2 * n} steps on {train_images.title}, compared with the run in one go",
)
record("resume_gap", furthest(whole, resumed))
record("lost_gap", furthest(whole, forgot, statistics=False))
say(
    f"The resumed run {'equals the uninterrupted one **bit for bit**' if furthest(whole, resumed) == 0 else 'differs from the uninterrupted one'}. "
    f"In the checkpoint: {len(halfway['optimizer_states'])} optimisers, step {halfway['global_step']}, the random streams, the moving average, the place in the "
    f"epoch. Without Adam's memory of the discriminator the weights are up to {furthest(whole, forgot, statistics=False):.1g} off after {n} steps: training goes on, but another one."
)

# %% [markdown]
# ## Between two faces
#
# **Is the space between two vectors full of faces?** On a straight line from $z_0$ to $z_1$ every point is inside the
# cube, but not a typical one: the middle of two uniform numbers is nearer to 0. The mean square of a coordinate is ⅓ at
# the ends and ⅙ in the middle, and the generator has rarely seen such vectors. A path that stays typical: turn each
# number into a Gaussian one by its quantile, go along a circle, where the variance stays 1, and turn it back.


# %%
def straight(z0, z1, t):
    """The point at t of the line."""
    return (1 - t) * z0 + t * z1


def typical(z0, z1, t):
    """The point at t of a path on which every coordinate stays uniform, for independent ends."""
    normal = torch.distributions.Normal(0.0, 1.0)
    g0, g1 = (normal.icdf(((z + 1) / 2).clamp(1e-6, 1 - 1e-6)) for z in (z0, z1))
    angle = t * math.pi / 2
    return 2 * normal.cdf(math.cos(angle) * g0 + math.sin(angle) * g1) - 1


ends = sampler.draw(10, torch.Generator().manual_seed(seed + 2)).chunk(2)
places = torch.linspace(0, 1, 9).tolist()
with torch.no_grad():
    strip = torch.stack([sampler(typical(*ends, t)) for t in places])
    film = torch.stack(
        [
            sampler(typical(*ends, t))
            for t in torch.linspace(0, 1, settings.film).tolist()
        ]
    )
chain_strip(
    strip,
    [f"{t:.2g}" for t in places],
    f"From one face to another, this run ({train_images.title})",
    xlabel="place on the path",
)
display_html(
    animate_chain(
        film, list(range(settings.film)), "Five paths between faces", columns=5
    )
)

# %%
z0, z1 = (sampler.draw(n_eval, torch.Generator().manual_seed(seed + i)) for i in (3, 4))
path_rows = []
for name, path in (("straight", straight), ("typical", typical)):
    middle = path(z0, z1, 0.5)
    with torch.no_grad():
        between = to_uint8(torch.cat([sampler(z) for z in middle.split(250)]))
    value = distance(between)
    path_rows.append(
        {
            "path": name,
            "mean square of a coordinate": f"{middle.square().mean():.3f}",
            "Fréchet distance of the middles": f"{value:.2f}",
        }
    )
    record(f"middle/{name}", value)
path_rows.append(
    {
        "path": "fresh vectors",
        "mean square of a coordinate": f"{z0.square().mean():.3f}",
        "Fréchet distance of the middles": f"{this.frechet:.2f}",
    }
)
table(path_rows, f"{n_eval:,} middles of paths, {judge.label}, {train_images.title}")
middles = {
    name: report.recorded()[f"middle/{name}"] for name in ("straight", "typical")
}
say(
    f"The middles of straight lines are at {middles['straight']:.1f}, those of typical paths at {middles['typical']:.1f}, fresh samples at {this.frechet:.1f}. "
    + (
        "So the straight line leaves the region where the generator is good."
        if middles["straight"] > 1.1 * middles["typical"]
        else "Here the straight line costs little."
    )
)

# %% tags=["hide-input"]
if ship:
    checkpoints.save(
        "dcgan_bitmoji",
        sampler,
        {
            "part": "08_dcgan_bitmoji",
            "profile": profile,
            "seed": seed + median,
            "epochs": settings.epochs,
            "critic": critic.config,
            **card_facts(run),
            "metrics": {
                "frechet_distance": {
                    "value": round(this.frechet, 2),
                    "features": judge.name,
                    "images": n_eval,
                    "interval_95_without_bias": [
                        round(v, 2) for v in this.frechet_interval
                    ],
                },
                "kernel_distance": {
                    "value": round(this.kernel, 4),
                    "features": judge.name,
                    "images": n_eval,
                },
                "frechet_of_blurred_means": {
                    "value": round(blurred, 2),
                    "features": judge.name,
                    "images": n_eval,
                },
            },
            "known_faults": f"the median of {settings.trainings} trainings, which end at {', '.join(f'{d:.1f}' for *_, d in trainings)}; the distance is to training faces",
        },
        dtype=torch.float16,
    )

# %% [markdown]
# ## Reported, long run, this run

# %% tags=["hide-input"]
kept = report.kept("08_dcgan_bitmoji", profile)
kept_records = {} if kept is None else kept["records"]
three = report.comparison(kept_records, profile, form="{:.2f}")
table(
    [
        three("data", "data", "Bitmoji", "{}"),
        three("epochs", "epochs", "25", "{}"),
        three("optimiser steps", "train_steps", form="{:,}"),
        three("training time (s)", "train_seconds", form="{:.0f}"),
        three("images in each distance", "frechet_n", "1,000", "{:,}"),
        three(
            "Fréchet distance, face_features",
            "frechet_fresh",
            "155.14 in Inception: not comparable",
        ),
        three("… other real faces", "frechet/other real faces"),
        three("… blurred means", "frechet/blurred means: averages of eight faces"),
        three("… one Gaussian", "frechet/one Gaussian (128 directions)"),
        three("… untrained generator", "frechet/the generator, untrained"),
        three("Fréchet distance, Inception", "inception_frechet", "155.14"),
        three("kernel distance, face_features", "kernel/this run", form="{:.3f}"),
        three(
            "resumed against in one go, furthest weight",
            "resume_gap",
            "could not be resumed",
            "{:.1g}",
        ),
    ],
    "Distances are in the features of the named network; different networks are not comparable.",
)
if shipped is not None and kept is not None:
    there, here = (
        shipped.card["metrics"]["frechet_distance"]["value"],
        kept_records["frechet_fresh"],
    )
    one_run = shipped.card["seconds"] == round(kept_records["train_seconds"])
    say(
        f"The shipped generator's card says **{there:.1f}**, the kept run ended at **{here:.1f}**. "
        + (
            "They are one training, the median of its seeds; the card was measured from the file, with other vectors $z$."
            if one_run
            else f"They are two trainings ({shipped.card['date']} and {kept['date']}), and {shipped.card['steps']:,} steps of this game carry rounding far. "
            "So do not read a difference of this size between *single* runs as the effect of a setting."
        )
    )
record("notebook_seconds", time.perf_counter() - started)

# %% [markdown]
# ## What breaks, and how to rescue it
#
# - **The discriminator's loss goes to 0 and stays, and samples get worse.** It has won (near 0 alone is no verdict: see the losses at the best look above); the generator's gradient carries little. Give it less
#   capacity or a smaller rate, add noise or augmentation to *both* kinds of images, or a gradient penalty (Part F).
# - **All samples are one face.** Collapse. The losses may look fine: watch the variety of features. It may come late: keep
#   checkpoints, let the rates fall, and stop at the best look.
# - **A checkerboard.** Let the stride divide the kernel, or enlarge first and convolve then.
# - **Samples in evaluation mode are grey.** Batch norm's running averages are not the batch's: train longer, or look at
#   the moving average's own buffers.
# - **A small Fréchet distance and bad pictures.** Too few images, another network, another resizing, or the
#   network saw the generator's data. Compare real with real first.
#
# ## Questions
#
# 1. The discriminator separates real from fake without error, at every moment. What gradient does the generator get from $\log(1 - D)$, and
#    from {eq}`eq-dcgan-generator`?
# 2. Batch norm in the discriminator lets an image's score depend on its neighbours. Which term of a gradient penalty
#    does that spoil?
# 3. We draw real and fake images in separate batches through a discriminator with batch norm. What would change if they
#    shared one?
# 4. Two sets of 1,000 images have Fréchet distance 3.0 and the bias is 1.2. What do you expect with 4,000 images?
# 5. The judge learnt to see blur. A generator trained against the judge's features would soon have a wonderful
#    distance. Why would that mean nothing?
# 6. The checkpoint holds the place in the epoch. What would be wrong with beginning the epoch anew?
#
# ## Further reading
#
# - Radford, Metz and Chintala {cite}`radford2016dcgan`: the rules, and arithmetic with faces.
# - Goodfellow et al. {cite}`goodfellow2014gan`: the game.
# - Heusel et al. {cite}`heusel2017fid`: the distance, and two learning rates.
# - Bińkowski et al. {cite}`binkowski2018mmd`: the bias of the one, and the other without it.
# - Odena, Dumoulin and Olah {cite}`odena2016checkerboard`: where checkerboards come from.
