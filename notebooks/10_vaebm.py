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
# # An auto-encoder and an energy, together
#
# A {term}`VAE` draws at once, and blurs. An {term}`energy` is sharp where it was taught, needs long
# chains, and loses {term}`modes <mode>` on the way. {term}`VAEBM` {cite}`xiao2021vaebm` multiplies the two: the VAE
# proposes, the energy says which proposals look wrong, and a short chain repairs them. The chain does not walk among
# pixels. It walks in the noise from which the VAE draws, where every direction is about equally steep. In this
# chapter you write that energy, find out which term the published code leaves out and when this matters, and measure
# what the second stage buys, beside the cheapest rival: a better density on the VAE's codes, with no energy at all.
#
# **What is measured.** A draw of the model carries the decoder's noise in every pixel, and scores far worse than the same draw without it. As is usual for VAEs, headline numbers are of *decoder means*; every table has the
# draws $x(\varepsilon)$ as well.
#
# ```{admonition} What you will learn
# - the joint density $h(x, z) \propto p(x, z)\,e^{-E(x)}$, its bound, and why it is trained in two stages (I1);
# - sampling in noise space, and what the change of variables does to the energy (I2, I3);
# - how to compare samplers by what a gradient call is worth (I4);
# - how to count a thousand modes, for a VAE, a VAEBM and a GAN (I5);
# - what the energy does to the meaning of the latent dimensions (I6), and to the quality of samples (I7);
# - how much of that a better density on the codes would have done alone (I8).
# ```
#
# **Before you start.** Part B: contrastive divergence with short chains. Part G: the VAE and its bound. Part S: HMC.
#
# **Time and hardware.**
#
# | profile | data | what happens | time |
# |---|---|---|---|
# | `quick` | built-in digits, drawn avatars | digits and faces, both stages, short; the studies are shown from the long run | about a minute and a half, one core |
# | `laptop` | MNIST, CelebA at 32×32, stacked MNIST, dSprites (or drawn sprites) | all experiments; digits over three trainings, faces over two | 65 minutes on one of two busy cores |
# | `full` | the same, with CIFAR-10 in place of the faces | longer training, more samples | hours, one GPU (not yet measured) |

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
from dataclasses import replace

import torch
from scipy import stats
from sklearn.mixture import GaussianMixture
from torch import nn
from torch.distributions import Independent, Normal

from gen_utils import checkpoints, report
from gen_utils.checks import vaebm as checks
from gen_utils.data import load_images, to_float, to_uint8
from gen_utils.evaluation.chains import ess, split_rhat
from gen_utils.evaluation.classification import logits_of
from gen_utils.evaluation.controls import BY_CLASS, NOISE, REAL, controls
from gen_utils.evaluation.coverage import class_coverage, stacked_modes
from gen_utils.evaluation.disentanglement import dci, mutual_information_gap
from gen_utils.evaluation.frechet import extract_features, frechet_distance
from gen_utils.evaluation.intervals import weight_ess
from gen_utils.experiments.sweep import summary, sweep
from gen_utils.models import (
    MLPVAE,
    VAEBM,
    ConvVAE,
    Critic,
    Generator,
    SmallEnergy,
    StridedEnergy,
)
from gen_utils.models.vaebm import epsilon_energy, to_epsilon, to_xz, xz_energy
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
from gen_utils.samplers import (
    HMC,
    MALA,
    ChainDiverged,
    Langevin,
    UniformStart,
    sample,
    warm_up,
)
from gen_utils.samplers.written import read_kernel
from gen_utils.training import (
    FitConfig,
    TrainingDiverged,
    VAETraining,
    fit,
)
from gen_utils.training.cards import card_facts
from gen_utils.training.gan import GANConfig, Relativistic, train_gan
from gen_utils.training.vaebm import (
    VAEBMConfig,
    half_step_langevin,
    train_vaebm,
)
from gen_utils.training.watches import ChainWatch

# %% tags=["parameters"]
profile = "quick"  # quick, laptop or full
data_root = ""  # where the data are; empty means $GEN_DATA_ROOT, else ./data
seed = 0
ship = False  # True writes the trained models to checkpoints/

# %% tags=["hide-input"]
settings = choose(
    profile,
    quick=dict(
        digits="digits",
        faces="avatars",
        stacks="stacked_digits",
        sprites="sprites",
        limit=None,
        seeds=1,
        looks=4,
        batch_size=32,
        hidden=[128, 64],
        latent=8,
        vae_steps=700,
        energy_width=8,
        energy_steps=160,
        chain_steps=6,
        eta=0.01,
        lr=1e-3,
        face_widths=[8, 16, 32, 32],
        face_latent=16,
        face_vae_steps=400,
        face_energy=[8, 16, 32],
        face_steps=60,
        face_eta=0.01,
        face_lr=3e-3,
        n_eval=200,
        toy_chains=1000,
        pixel_steps=150,
        n_codes=1000,
        components=[1, 5],
        latent_eta=0.16,
        face_seeds=1,
        leapfrog=6,
        # of studies, which quick does not run
        budget=None,
        n_chains=None,
        warmup=None,
        study_steps=None,
        rescue_steps=None,
        stack_vae_steps=None,
        stack_steps=None,
        alone_steps=None,
        gan_width=None,
        gan_steps=None,
        n_modes=None,
        sprite_steps=None,
        sprite_energy=None,
        sprite_energy_steps=None,
        n_factors=None,
        trees=None,
    ),
    laptop=dict(
        digits="mnist",
        faces="celeba",
        stacks="stacked_mnist",
        sprites="dsprites",
        limit=None,
        seeds=3,
        looks=6,
        batch_size=64,
        hidden=[512, 256],
        latent=16,
        vae_steps=3000,
        energy_width=16,
        energy_steps=1000,
        chain_steps=10,
        eta=0.01,
        lr=1e-3,
        face_widths=[16, 32, 64, 128],
        face_latent=64,
        face_vae_steps=2500,
        face_energy=[24, 48, 96, 96],
        face_steps=600,
        face_eta=0.01,
        face_lr=1e-3,
        n_eval=2000,
        toy_chains=8000,
        budget=2400,
        n_chains=8,
        leapfrog=12,
        warmup=100,
        study_steps=300,
        rescue_steps=200,
        stack_vae_steps=1500,
        stack_steps=400,
        alone_steps=3000,
        gan_width=24,
        gan_steps=1400,
        n_modes=25_600,
        sprite_steps=1500,
        sprite_energy=[16, 32, 32, 64],
        sprite_energy_steps=200,
        n_factors=2000,
        trees=30,
        pixel_steps=600,
        n_codes=6000,
        components=[1, 10, 50],
        latent_eta=0.16,
        face_seeds=2,
    ),
    full=dict(
        digits="mnist",
        faces="cifar10",
        stacks="stacked_mnist",
        sprites="dsprites",
        limit=None,
        seeds=3,
        looks=8,
        batch_size=64,
        hidden=[512, 256],
        latent=32,
        vae_steps=60_000,
        energy_width=32,
        energy_steps=20_000,
        chain_steps=15,
        eta=0.005,
        lr=4e-4,
        face_widths=[64, 128, 256, 512],
        face_latent=128,
        face_vae_steps=60_000,
        face_energy=[64, 128, 256, 256],
        face_steps=30_000,
        face_eta=0.005,
        face_lr=4e-4,
        n_eval=10_000,
        toy_chains=20_000,
        budget=20_000,
        n_chains=16,
        leapfrog=15,
        warmup=200,
        study_steps=2000,
        rescue_steps=1000,
        stack_vae_steps=60_000,
        stack_steps=20_000,
        alone_steps=120_000,
        gan_width=64,
        gan_steps=60_000,
        n_modes=25_600,
        sprite_steps=40_000,
        sprite_energy=[32, 64, 64, 128],
        sprite_energy_steps=5000,
        n_factors=10_000,
        trees=50,
        pixel_steps=600,
        n_codes=20_000,
        components=[1, 10, 50, 100],
        latent_eta=0.16,
        face_seeds=3,
    ),
    smoke=dict(  # in tests: every line runs, nothing is learnt
        limit=200,
        looks=1,
        hidden=[16, 8],
        energy_width=4,
        face_widths=[4, 4, 8, 8],
        face_energy=[4, 4, 8],
        gan_width=4,
        sprite_energy=[4, 4, 4, 4],
        vae_steps=4,
        energy_steps=3,
        chain_steps=2,
        face_vae_steps=3,
        face_steps=2,
        n_eval=40,
        toy_chains=100,
        budget=48,
        n_chains=2,
        warmup=3,
        study_steps=2,
        rescue_steps=8,
        stack_vae_steps=3,
        stack_steps=2,
        alone_steps=4,
        gan_steps=2,
        n_modes=40,
        sprite_steps=3,
        sprite_energy_steps=2,
        n_factors=100,
        trees=2,
        pixel_steps=2,
        n_codes=60,
        components=[1, 2],
    ),
)
use_style()
study = report.studies("10_vaebm", profile)
torch.manual_seed(seed)
started = time.perf_counter()

# %% [markdown]
# ## Where we are going

# %%
test_steps = 2 * settings.chain_steps  # like the paper, longer than in training
shipped = {
    name: checkpoints.load(name)
    for name in ("vaebm_mnist", "vaebm_faces")
    if name in checkpoints.names()
}
if not shipped:
    say(
        "*No trained VAEBM is here yet: run this notebook with `ship = True` to make one. The chapter goes on without it.*"
    )
for name, model in shipped.items():
    stream = torch.Generator().manual_seed(seed)
    eps = model.start().draw(20, generator=stream)
    drawn_by = model.card["sampler"]
    ends = sample(
        model.in_epsilon(),
        eps,
        read_kernel(drawn_by["kernel"]),
        drawn_by["steps"],
        generator=stream,
    ).x
    image_grid(
        torch.cat((model.images(eps, mean=True), model.images(ends, mean=True))),
        f"Shipped {name} ({model.card['data']}): the VAE's draws, and below each what {drawn_by['steps']} steps make of it",
        columns=20,
    )

# %% [markdown]
# ## The data

# %%
digits, digits_test = (
    load_images(settings.digits, split, limit=settings.limit, root=data_root)
    for split in ("train", "test")
)


def load_faces(split):
    """The faces; the drawn avatars stand in for CelebA here, not for Bitmoji."""
    found = load_images(
        settings.faces, split, size=32, limit=settings.limit, root=data_root
    )
    return (
        replace(found, title=found.title.replace("Bitmoji", "CelebA"))
        if settings.faces == "avatars"
        else found
    )


faces, faces_test = load_faces("train"), load_faces("test")
for images in (digits, faces):
    image_grid(images.images[:30], f"{images.title}: training images", columns=15)
record("data", {"digits": digits.title, "faces": faces.title})
record("data_names", f"{digits.title}; {faces.title}")
judges = {"digits": "digit_classifier", "faces": "cifar_classifier"}
networks = {name: checkpoints.load(judge) for name, judge in judges.items()}
sets = {"digits": (digits, digits_test), "faces": (faces, faces_test)}
# Few faces are held out, so that their distances are taken to the training faces.
reference = {
    "digits": extract_features(networks["digits"], digits_test),
    "faces": extract_features(networks["faces"], faces),
}


def distance(kind, images):
    """Fréchet distance of uint8 images or floats in [-1, 1], in the features of that kind's judge."""
    images = images if images.dtype == torch.uint8 else to_uint8(images)
    return frechet_distance(reference[kind], extract_features(networks[kind], images))


say(
    f"{len(digits):,} images of **{digits.title}** and {len(faces):,} of **{faces.title}** at 32×32. Fréchet distances are in the features "
    f"of the workbook's `{judges['digits']}` (to the test images) and `{judges['faces']}` (to the training images): compare them "
    "with each other, not with published ones."
)

# %% [markdown]
# ## One density from two models (I1)
#
# The VAE of Part G has a joint density, $p_\theta(x, z) = p(z)\,p_\theta(x \mid z)$. Multiply it by the exponential of an
# energy of the *picture*:
#
# ```{math}
# :label: eq-vaebm
# h_{\psi,\theta}(x, z) = \frac{1}{Z_{\psi,\theta}}\; p_\theta(x, z)\; e^{-E_\psi(x)},
# \qquad
# h_{\psi,\theta}(x) = \frac{1}{Z_{\psi,\theta}}\; p_\theta(x)\; e^{-E_\psi(x)} .
# ```
#
# The second form follows because $E$ does not contain $z$. So $e^{-E}$ is a correction factor: where it is below $Z$, its average
# under the VAE, the VAE had put too much density. Now take the logarithm, and put the VAE's bound in place of $\log p_\theta(x)$:
#
# ```{math}
# :label: eq-vaebm-bound
# \log h_{\psi,\theta}(x) \;\ge\;
#   \underbrace{\mathbb E_{q_\phi(z \mid x)}\bigl[\log p_\theta(x \mid z)\bigr] - \mathrm{KL}\bigl(q_\phi(z \mid x)\Vert p(z)\bigr)}_{\text{the VAE's bound}}
#   \;\underbrace{-\,E_\psi(x) - \log Z_{\psi,\theta}}_{\text{the energy's part}} .
# ```
#
# **Why two stages?** $Z$ depends on both sets of weights. For the energy, the gradient of the second part is Part B's
# contrast, with samples from $h$:
#
# ```{math}
# :label: eq-vaebm-gradient
# \nabla_\psi\, \mathbb E_{\text{data}}\bigl[-\log h(x)\bigr]
#   = \mathbb E_{\text{data}}\bigl[\nabla_\psi E_\psi(x)\bigr] - \mathbb E_{h}\bigl[\nabla_\psi E_\psi(x)\bigr].
# ```
#
# For the VAE, $\nabla_\theta \log Z = \mathbb E_h[\nabla_\theta \log p_\theta(x, z)]$: each of its steps would need samples
# of $h$ too, and the VAE would have to *unlearn* what the samples show. So the VAE is trained first, on its bound alone,
# and frozen. With the VAE fixed, {eq}`eq-vaebm-gradient` is all that is left.
#
# ```{prf:algorithm} The two stages of a VAEBM
# :label: alg-vaebm
# **Inputs** data; VAE $\theta, \phi$; energy $\psi$; step $\eta$; chain length $K$
#
# 1. train $\theta, \phi$ on the VAE's bound; freeze them, batch norm included
# 2. repeat
#    1. draw a batch $x^+$ of data
#    2. draw $\varepsilon \sim \mathcal N(0, I)$ and take $K$ steps of {prf:ref}`alg-vaebm-chain`; $x^- \leftarrow x(\varepsilon)$
#    3. one step of Adam on $\overline{E_\psi(x^+)} - \overline{E_\psi(x^-)}$, for $\psi$ alone
#    4. if anything is not finite, or the two means run apart: back to the last checkpoint, with half the rate
# 3. until the budget is spent
# ```
#
# ### Stage 1: the VAE
#
# The decoder is Gaussian with one standard deviation σ for all pixels, in the calibrated form of Part G: σ² is the mean
# squared error. A model whose decoder is not Gaussian has no {term}`noise space` of the kind we need.


# %%
def make_vae(kind):
    """An untrained VAE with a Gaussian decoder and a calibrated σ."""
    images, _ = sets[kind]
    if kind == "faces":
        return ConvVAE(
            images.shape,
            settings.face_latent,
            tuple(settings.face_widths),
            sigma="calibrated",
        )
    latent = (
        4 * settings.latent if kind == "stacks" else settings.latent
    )  # three digits need more
    return MLPVAE(
        images.shape, latent, tuple(settings.hidden), "gaussian", "calibrated"
    )


def make_energy(kind):
    """An untrained energy, SiLU throughout."""
    channels, size, _ = sets[kind][0].shape
    if kind == "faces":
        return StridedEnergy(channels, size, settings.face_energy)
    return SmallEnergy(channels, size, settings.energy_width)


STEPS = {"digits": "vae_steps", "faces": "face_vae_steps", "stacks": "stack_vae_steps"}


def train_vae(kind, run_seed=seed, steps=None):
    """Stage 1; a finished run is loaded, an unfinished one goes on."""
    images, _ = sets[kind]
    steps = settings[STEPS[kind]] if steps is None else steps
    torch.manual_seed(run_seed)
    model = make_vae(kind)
    return fit(
        VAETraining(model, lr=1e-3),
        images,
        config=FitConfig(
            steps,
            batch_size=settings.batch_size
            if kind == "faces"
            else 2 * settings.batch_size,
            seed=run_seed,
            name=f"vaebm_vae_{kind}",
            flip=kind == "faces",
            checkpoint_every=1000,
            log_every=max(1, steps // 50),
        ),
        resume=True,
    )


vae_run = train_vae("digits")
vae = vae_run.module.model.eval()
sigma = vae.pixels.sigma.item()
n_pixels, latent = math.prod(digits.shape), vae.latent
stream = torch.Generator().manual_seed(seed)
image_grid(
    torch.cat(
        (
            vae.sample(30, generator=stream),
            to_float(digits_test.images[:30]),
            vae(to_float(digits_test.images[:30])).detach(),
        )
    ),
    f"The VAE's draws (two rows), test images (two), their reconstructions (two): {digits_test.title}",
    columns=15,
)
record("sigma", sigma)
n_shown = min(settings.n_eval, len(digits_test))
recon_distance = distance(
    "digits", vae(to_float(digits_test.images[:n_shown])).detach()
)
draw_distance = distance("digits", vae.sample(n_shown, generator=stream))
record("vae_seconds", vae_run.seconds)
say(
    f"{vae_run.steps:,} steps in {vae_run.seconds:.0f} s; {latent} latent dimensions, σ = {sigma:.3f} in units of [−1, 1]. The bound: "
    f"{-vae_run.curve('loss')[1][-1]:.0f} nats on the last logged batch. Fréchet distance of {n_shown} reconstructions {recon_distance:.0f}, of as many draws {draw_distance:.0f}. "
    + (
        "The decoder can draw digits, but not every code of the prior is a digit's: that is an error an energy can mend. "
        if recon_distance < draw_distance
        else ""
    )
)

# %% [markdown]
# ## The noise behind a picture (I2)
#
# A draw of the VAE is a function of standard normal noise, $\varepsilon = (\varepsilon_x, \varepsilon_z)$:
#
# ```{math}
# :label: eq-noise
# z = \varepsilon_z, \qquad x(\varepsilon) = \mu_\theta(\varepsilon_z) + s_\theta(\varepsilon_z) \odot \varepsilon_x .
# ```
#
# What density has $\varepsilon$ when $(x, z)$ has density $h$? The change of variables multiplies by the determinant
# $\lvert \partial(x, z)/\partial \varepsilon \rvert = \prod_i s_i(\varepsilon_z)$. The Gaussian $p_\theta(x \mid z)$ brings
# $\prod_i s_i^{-1}$. They cancel:
#
# ```{math}
# :label: eq-epsilon-energy
# h(\varepsilon) \;\propto\; e^{-U(\varepsilon)}, \qquad U(\varepsilon) = E_\psi\bigl(x(\varepsilon)\bigr) + \tfrac12 \lVert \varepsilon \rVert^2 .
# ```
#
# No scale remains in the second term: all coordinates of the VAE have unit variance here. One step size suits pixels and
# codes.

# %% [markdown]
# ```{exercise-start} The energy of the noise
# :label: ex-epsilon-energy
# ```
# *Goal: carry a density through a change of variables. About 15 minutes, 2 points.*
#
# Write {eq}`eq-epsilon-energy`. `decode(z)` returns the mean and the standard deviation of $p(x \mid z)$; both may depend on $z$.
# A chain follows the gradient of your result, which must reach both noises.


# %% tags=["exercise"]
def noise_energy(energy, decode, eps_x, eps_z):
    """Noise (B, D) and (B, d) -> (B,)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-epsilon-energy
# :class: dropdown
# ```
# The standard deviation enters through the picture, and nowhere else.


# %% tags=["solution"]
def noise_energy(energy, decode, eps_x, eps_z):
    """Noise (B, D) and (B, d) -> (B,)."""
    mean, scale = decode(eps_z)
    squares = eps_x.square().sum(1) + eps_z.square().sum(1)
    return energy(mean + scale * eps_x) + 0.5 * squares


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.noise_energy(noise_energy)

# %% [markdown]
# The paper writes the Langevin step as $\varepsilon \leftarrow \varepsilon - \frac{\eta}{2} \nabla U(\varepsilon) + \sqrt{\eta}\,\xi$.
# In Part S's terms its step is $\eta/2$ and its noise $\sqrt\eta$, so its temperature is $T = (\sqrt\eta)^2 / (2 \cdot \eta/2) = 1$: unlike JEM and the energies of Part B, this chain
# claims to sample what it says.

# %% [markdown]
# ```{exercise-start} The step
# :label: ex-vaebm-step
# ```
# *Goal: write a step whose temperature is one. About 5 minutes, 1 point.*
#
# Write that step, and leave the arguments as they are. `grad` is $\nabla U(\varepsilon)$, `xi` standard normal noise.


# %% tags=["exercise"]
def langevin_step(eps, grad, xi, eta):
    """States, gradients and noise (B, n) -> states (B, n)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-vaebm-step
# :class: dropdown
# ```
# In the package: `Langevin(eta / 2)`, whose default noise is $\sqrt{2 \cdot \eta/2} = \sqrt\eta$.


# %% tags=["solution"]
def langevin_step(eps, grad, xi, eta):
    """States, gradients and noise (B, n) -> states (B, n)."""
    return eps - 0.5 * eta * grad + math.sqrt(eta) * xi


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.langevin_step(langevin_step)

# %% [markdown]
# ```{prf:algorithm} Sampling a VAEBM
# :label: alg-vaebm-chain
# **Inputs** VAE, energy, step $\eta$, length $K$
#
# 1. draw $\varepsilon \sim \mathcal N(0, I)$: an exact draw of the VAE
# 2. repeat $K$ times: $\varepsilon \leftarrow \varepsilon - \frac\eta2 \nabla\bigl(E_\psi(x(\varepsilon)) + \frac12 \lVert\varepsilon\rVert^2\bigr) + \sqrt\eta\,\xi$
# 3. return $x(\varepsilon)$, or the decoder's mean $\mu_\theta(\varepsilon_z)$
# ```
#
# **What is shown?** The last line hides a choice. $x(\varepsilon)$ is the sample; it carries the decoder's noise, σ in every
# pixel. VAEs are usually shown by their means, and the sampler published with the paper returns the decoder's mean as well, at
# the end of a chain that ran on $x(\varepsilon)$. We report both, for both models, and compare mean with mean and draw with draw.
#
# **Your energy and your step are that chain.** Run them on the shipped model (without one, on an energy that has learnt nothing yet): twenty steps from twenty draws of the VAE.

# %%
engine = (
    shipped["vaebm_mnist"]
    if "vaebm_mnist" in shipped
    else VAEBM(vae, make_energy("digits"))
)
engine_pixels = math.prod(engine.image_shape)


def engine_decode(z):
    """(B, d) -> the decoder's mean and standard deviation, (B, D) each."""
    found = engine.vae.likelihood(z).base_dist
    return found.mean.flatten(1), found.stddev.expand_as(found.mean).flatten(1)


def engine_energy(x):
    """E of flat pictures (B, D)."""
    return engine.energy(x.reshape(-1, *engine.image_shape))


stream = torch.Generator().manual_seed(seed)
eps = begin = engine.start().draw(20, generator=stream)
for _ in range(20):
    both = [
        part.clone().requires_grad_()
        for part in eps.split((engine_pixels, engine.latent), dim=1)
    ]
    value = noise_energy(engine_energy, engine_decode, *both)
    grad = torch.cat(torch.autograd.grad(value.sum(), both), dim=1)
    xi = torch.randn(eps.shape, generator=stream)
    eps = torch.as_tensor(langevin_step(eps, grad, xi, settings.eta)).to(begin)
with torch.no_grad():
    ends_at = noise_energy(
        engine_energy, engine_decode, *eps.split((engine_pixels, engine.latent), dim=1)
    )
    library = engine.in_epsilon()(eps)
own_gap = ((ends_at - library).abs() / library.abs()).max().item()
record("noise_energy_gap", own_gap)
image_grid(
    torch.cat((engine.images(begin, mean=True), engine.images(eps, mean=True))),
    f"Twenty draws of the VAE, and below each what your chain makes of it ({'shipped model' if shipped else 'untrained energy'}; decoder means)",
    columns=20,
)
say(
    f"Your $U$ and the library's differ by at most {own_gap:.1g} of their size. From here on the library walks: the same rule, with a check for chains that diverge."
)

# %% [markdown]
# ## The energy of the pair (I3)
#
# One can also walk in $(x, z)$ itself. (The energy below is learnt in $x$ alone; what ties the code to the picture is the VAE's. An energy that is learnt in both, with no VAE, can be made such that $p(z \mid x)$ stays tractable: conjugate
# energies {cite}`wu2021conjugate`.) With one σ for all pixels, and up to a constant,
#
# ```{math}
# :label: eq-xz
# U_{xz}(x, z) = E_\psi(x) + \frac{\lVert x - \mu_\theta(z) \rVert^2}{2 \sigma^2} + \tfrac12 \lVert z \rVert^2 .
# ```

# %% [markdown]
# ```{exercise-start} The energy of picture and code
# :label: ex-xz
# ```
# *Goal: write the same density in other coordinates. About 10 minutes, 1 point.*
#
# Write {eq}`eq-xz`, without the constant. `mean` is $\mu_\theta(z)$, already decoded. A chain follows the gradient of your result with respect to `x` and,
# through `z` and `mean`, to the code.


# %% tags=["exercise"]
def pair_energy(energy, mean, sigma, x, z):
    """mean and x (B, D), z (B, d), sigma a number -> (B,)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-xz
# :class: dropdown
# ```
# It is $E(x) - \log p(x \mid z) - \log p(z)$.


# %% tags=["solution"]
def pair_energy(energy, mean, sigma, x, z):
    """mean and x (B, D), z (B, d), sigma a number -> (B,)."""
    fit_term = (x - mean).square().sum(1) / (2 * sigma**2)
    return energy(x) + fit_term + 0.5 * z.square().sum(1)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.pair_energy(pair_energy)

# %% [markdown]
# **Why not walk there?** In {eq}`eq-xz` every pixel hangs on the code by a spring of stiffness $1/\sigma^2$. Take the energy away, $E = 0$, and straighten the decoder,
# $\mu(z) = Jz + b$ with a matrix $J$ of slopes. Then $U_{xz}$ is a parabola in all directions, and one can tell in advance which steps a chain survives. Let $v$ be a
# direction in which it is a parabola of curvature $\lambda$ (an eigenvector of the matrix of second derivatives). Without its noise, the step of {prf:ref}`alg-vaebm-chain` does this
# to a displacement from the minimum along $v$:
#
# ```{math}
# :label: eq-step-factor
# a \;\leftarrow\; a - \frac\eta2\, \lambda\, a = \bigl(1 - \tfrac12 \eta \lambda\bigr)\, a .
# ```
#
# In $\varepsilon$ all curvatures are 1. And in $(x, z)$?

# %% [markdown]
# ```{exercise-start} Predict, then run: the largest step
# :label: ex-largest-step
# ```
# *Goal: predict when a chain will explode, before it does. About 20 minutes, 3 points.*
#
# Return the largest $\eta$ with which no displacement in $(x, z)$ grows, for $E = 0$ and a straight decoder. `jacobian` is $J$ with one row a pixel, `sigma` is σ.


# %% tags=["exercise"]
def largest_step(jacobian, sigma):
    """J (D, d) and a number -> η."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-largest-step
# :class: dropdown
# ```
# $U_{xz} = \frac{1}{2\sigma^2} \lVert (I, -J)\,(x, z) \rVert^2 + \frac12 \lVert (0, I)\,(x, z) \rVert^2$, up to the offset $b$, so the second derivatives are
# $H = (I, -J)^\top (I, -J)/\sigma^2 + (0, I)^\top (0, I)$. A displacement grows where $\lvert 1 - \eta\lambda/2 \rvert > 1$, so that $\eta \le 4/\lambda_{\max}$. With $s$ the
# largest singular value of $J$ and a small σ that is about $4\sigma^2/(1 + s^2)$: a steep decoder makes the code's springs stiffer than the pixels'.


# %% tags=["solution"]
def largest_step(jacobian, sigma):
    """J (D, d) and a number -> η."""
    n_pixels, n_codes = jacobian.shape
    springs = torch.cat((torch.eye(n_pixels), -jacobian), dim=1)
    prior = torch.cat((torch.zeros(n_codes, n_pixels), torch.eye(n_codes)), dim=1)
    curvature = springs.T @ springs / sigma**2 + prior.T @ prior
    return 4 / torch.linalg.eigvalsh(curvature)[-1]


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.largest_step(largest_step)

# %% [markdown]
# **Now run.** The slopes of this run's decoder at the centre of its codes give you $J$. First the straightened decoder: your `pair_energy` and your `langevin_step`, a hundred steps, with $\eta$ a little below and a
# little above what you predict. Then the decoder as it is, bent, from exact draws. (If a chain were exact, nothing would change: the mean of $z^2$ would stay 1.)

# %%
slopes = torch.autograd.functional.jacobian(
    lambda z: vae.likelihood(z[None]).mean.flatten(), torch.zeros(latent)
)
predicted_step = float(largest_step(slopes, sigma))
curvature = 4 / predicted_step
record("predicted_step", predicted_step)


def nothing(x):
    return torch.zeros(len(x))


def straight(z):
    return z @ slopes.T


def bent(z):
    return vae.likelihood(z).mean.flatten(1)


def walk_pairs(decode, eta, n_steps, stream):
    """z (chains, d) at the start and at the end of chains in (x, z) that begin at exact draws, and how far the pixels end from the decoder's mean, in σ."""
    z0 = z = torch.randn(10, latent, generator=stream)
    with torch.no_grad():
        x = decode(z) + sigma * torch.randn(10, n_pixels, generator=stream)
    for _ in range(n_steps):
        x, z = x.detach().requires_grad_(), z.detach().requires_grad_()
        value = pair_energy(nothing, decode(z), sigma, x, z)
        grad = torch.cat(torch.autograd.grad(value.sum(), (x, z)), dim=1)
        state, xi = (
            torch.cat((x, z), dim=1).detach(),
            torch.randn(10, n_pixels + latent, generator=stream),
        )
        x, z = (
            torch.as_tensor(langevin_step(state, grad, xi, eta))
            .float()
            .split((n_pixels, latent), dim=1)
        )
    with torch.no_grad():
        return z0, z, (x - decode(z)) / sigma


step_rows = []
for name, decode, factors in (
    ("straight", straight, (0.9, 1.05, 1.2)),
    ("bent", bent, (0.25, 0.9, 1.2, 4)),
):
    for factor in factors:
        eta = factor * predicted_step
        z0, z, rest = walk_pairs(decode, eta, 100, torch.Generator().manual_seed(seed))
        step_rows.append(
            {
                "decoder": name,
                "η": f"{eta:.2g}",
                "η over your prediction": factor,
                "growth in 100 steps, predicted": f"{max(1.0, abs(1 - eta * curvature / 2)) ** 100:.3g}"
                if name == "straight"
                else None,
                "mean z² at the start": f"{z0.square().mean():.2f}",
                "at the end": f"{z.double().square().mean():.3g}",
                "distance of pixels from the mean, in σ": f"{rest.double().square().mean().sqrt():.3g}",
            }
        )
table(
    step_rows,
    f"A hundred steps in (x, z) without an energy, ten chains ({digits.title}); z² grows with the square of a displacement. In ε the largest step is 4",
)
record("largest_step", step_rows)
worst_bent = max(float(r["at the end"]) for r in step_rows if r["decoder"] == "bent")
steepest = torch.linalg.matrix_norm(slopes, 2).item()
say(
    f"You predict η ≤ **{predicted_step:.2g}**. The straight decoder's chains obey. The pixels' springs alone would allow 4σ² = {4 * sigma**2:.2g}, {4 * sigma**2 / predicted_step:.0f} times as much; but one unit of code "
    f"moves a picture by up to {steepest:.1f}, and pulls on that many springs at once. "
    + (
        f"The bent decoder's chains do not explode, because its slopes are others further out. But at four times your step the mean of z² ends at {worst_bent:.2f}, where exact draws have 1: they are biased, and no error message tells."
        if worst_bent < 100
        else "The bent decoder's chains explode, too."
    )
)

# %% [markdown]
# ### A term that went missing
#
# If the decoder's scale depends on $z$, then {eq}`eq-xz` lacks a term that is no constant any more. The full energy of the pair is, up to a constant,
# $U_{xz} = E(x) - \log p_\theta(x \mid z) - \log p(z) = E(x) + \sum_i \bigl[ (x_i - \mu_i(z))^2 / 2 s_i(z)^2 + \log s_i(z) \bigr] + \frac12 \lVert z \rVert^2$. Put
# $x(\varepsilon)$ and $z(\varepsilon)$ in, and compare: $U(\varepsilon) = U_{xz}(x(\varepsilon), z(\varepsilon)) - \sum_i \log s_i(\varepsilon_z)$. What is subtracted is the determinant. The code
# published with the paper walks in $\varepsilon$ along the gradient of $E(x) - \log p(x \mid z) - \log p(z)$: the energy of the *pair*, without the
# determinant. **Does it matter?** With one fixed σ the missing term is a constant, its gradient is zero, and nothing changes. With a
# decoder whose scale depends on $z$, as the paper's has, the chain prefers codes where the decoder is sure of itself. (That
# code also bounds the scale from below, at about $e^{-2}$, in $\log p(x \mid z)$ but not in $x(\varepsilon)$. Below the bound its term is
# constant, and $\frac12 \lVert \varepsilon_x \rVert^2$ is weakened too, by $(s / e^{-2})^2$.) We take the smallest such model, one pixel and one code, where integrals on a grid are the exact answer.


# %%
class Toy(nn.Module):
    """p(z) = N(0, 1), p(x | z) = N(0.8 z, exp(0.6 z)²)."""

    def prior(self):
        return Independent(Normal(torch.zeros(1), torch.ones(1)), 1)

    def likelihood(self, z):
        return Independent(Normal(0.8 * z, torch.exp(0.6 * z)), 1)


def well(x):
    """An energy that likes x near one."""
    return 0.5 * (x - 1).square().sum(1)


toy = Toy()
toy_energies = {
    "exact: E + ½‖ε‖²": epsilon_energy(well, toy),
    "without the determinant": epsilon_energy(well, toy, jacobian=False),
}
axis = torch.linspace(-6, 6, 601)
grid = torch.cartesian_prod(axis, axis)
weight = torch.softmax(-xz_energy(well, toy)(grid).detach().double(), 0)
exact_mean = weight @ grid.double()
stream = torch.Generator().manual_seed(seed)
clouds, toy_rows = {}, []
for name, space in toy_energies.items():
    begin = torch.randn(settings.toy_chains, 2, generator=stream)
    ends = sample(space, begin, HMC(0.4, 6, jitter=0.5), 20, generator=stream).x
    clouds[name] = to_xz(space, ends).detach()
    mean, error = (
        clouds[name].double().mean(0),
        clouds[name].double().std(0) / math.sqrt(settings.toy_chains),
    )
    toy_rows.append(
        {
            "energy of ε": name,
            "mean of x": f"{mean[0]:.3f} ± {error[0]:.3f}",
            "mean of z": f"{mean[1]:.3f} ± {error[1]:.3f}",
            "largest error, in standard errors": f"{((mean - exact_mean).abs() / error).max():.1f}",
        }
    )
    record(f"toy/{name}", ((mean - exact_mean).abs() / error).max().item())
toy_rows.append(
    {
        "energy of ε": "on a grid of (x, z)",
        "mean of x": f"{exact_mean[0]:.3f}",
        "mean of z": f"{exact_mean[1]:.3f}",
        "largest error, in standard errors": "–",
    }
)
table(
    toy_rows,
    f"A decoder whose scale depends on z: {settings.toy_chains:,} HMC chains in ε, carried over to (x, z)",
)
record("toy", toy_rows)

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
density = (weight / weight.max()).reshape(601, 601).T
for ax, (name, points) in zip(axes, clouds.items(), strict=True):
    ax.contour(axis, axis, density, [0.05, 0.3, 0.7], colors="black", linewidths=0.7)
    ax.scatter(*points[:1000].T, s=3, alpha=0.4, color="C1", linewidths=0)
    ax.set(title=name, xlabel="x", xlim=(-3, 4), ylim=(-4, 3))
axes[0].set_ylabel("z")
_ = fig.suptitle("Chains in ε, carried over; lines: the exact h(x, z)")
exact_error, short_error = (report.recorded()[f"toy/{name}"] for name in toy_energies)
say(
    f"The exact energy's means are within {exact_error:.1f} standard errors of the integral; without the determinant they are {short_error:.0f} "
    f"off. The means of z: {toy_rows[0]['mean of z']} and {toy_rows[1]['mean of z']}, exact {exact_mean[1]:.3f}. "
    "In the rest of this chapter σ is one number, so that both would give the same chains; we use the exact form, which is also shorter."
)

# %% [markdown]
# ## Stage 2: the energy (I1)

# %% [markdown]
# ```{exercise-start} The loss of the second stage
# :label: ex-second-stage
# ```
# *Goal: send a gradient to one network and keep it from another. About 10 minutes, 2 points.*
#
# The chain has ended at $\varepsilon$. Return the contrast, whose gradient is {eq}`eq-vaebm-gradient`. It must reach the energy's weights, from
# data and samples, and nothing else: the VAE is frozen.


# %% tags=["exercise"]
def second_stage_loss(energy, decode, real, eps_x, eps_z):
    """Data (B, D) and finished noise (B', D), (B', d) -> a scalar to minimise."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-second-stage
# :class: dropdown
# ```
# Without `no_grad` the decoder would get a gradient too: it would learn to draw pictures of *high* energy.


# %% tags=["solution"]
def second_stage_loss(energy, decode, real, eps_x, eps_z):
    """Data (B, D) and finished noise (B', D), (B', d) -> a scalar to minimise."""
    with torch.no_grad():
        mean, scale = decode(eps_z)
        fake = mean + scale * eps_x
    return energy(real).mean() - energy(fake).mean()


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.second_stage_loss(second_stage_loss)

# %% [markdown]
# **Your energy, your step and your loss are the whole second stage.** So train with them, where the answer is known: one pixel, one code. The VAE is
# $z \sim \mathcal N(0, 1)$, $x \mid z \sim \mathcal N(0.9 z,\, 0.4^2)$, and can draw one hump only; the data have two. $E$ is a network of two hidden layers. On a grid of $x$ everything can be summed:
# $h(x) \propto p_\theta(x)\, e^{-E(x)}$, and its divergence from the data. (A small penalty on $E^2$ keeps the scale of the energy in bounds, as in Part B.)

# %%
torch.manual_seed(seed)
stream = torch.Generator().manual_seed(seed)
line = nn.Sequential(
    nn.Linear(1, 32),
    nn.SiLU(),
    nn.Linear(32, 32),
    nn.SiLU(),
    nn.Linear(32, 1),
    nn.Flatten(0),
)
adam = torch.optim.Adam(line.parameters(), 4e-3)
xs = torch.linspace(-4, 4, 401)
log_data = torch.logaddexp(
    math.log(0.6) + Normal(-0.9, 0.45).log_prob(xs),
    math.log(0.4) + Normal(1.1, 0.45).log_prob(xs),
)
log_vae = Normal(0.0, math.sqrt(0.9**2 + 0.4**2)).log_prob(xs)


def one_pixel(z):
    return 0.9 * z, torch.full_like(z, 0.4)


def log_h():
    """log h(x) on the grid, normalised there."""
    with torch.no_grad():
        return torch.log_softmax(log_vae - line(xs[:, None]), 0) - math.log(0.02)


def from_data(log_density):
    """KL(data ‖ density) in nats, summed on the grid."""
    return (log_data.exp() * 0.02 * (log_data - log_density)).sum().item()


divergences, best_h = {0: from_data(log_h())}, log_h()
for step in range(1, settings.pixel_steps + 1):
    eps = torch.randn(128, 2, generator=stream)
    for _ in range(10):
        both = [part.clone().requires_grad_() for part in eps.split(1, dim=1)]
        value = noise_energy(line, one_pixel, *both)
        grad = torch.cat(torch.autograd.grad(value.sum(), both), dim=1)
        eps = torch.as_tensor(
            langevin_step(eps, grad, torch.randn(eps.shape, generator=stream), 0.3)
        ).float()
    low = torch.rand(128, 1, generator=stream) < 0.6
    real = torch.where(low, -0.9, 1.1) + 0.45 * torch.randn(128, 1, generator=stream)
    loss = second_stage_loss(line, one_pixel, real, eps[:, :1], eps[:, 1:])
    adam.zero_grad()
    (loss + 0.05 * line(real).square().mean()).backward()
    adam.step()
    if step % 10 == 0 or step == settings.pixel_steps:
        divergences[step] = from_data(log_h())
        best_h = log_h() if divergences[step] <= min(divergences.values()) else best_h
best_step = min(divergences, key=divergences.get)
record(
    "one_pixel",
    {
        "before": from_data(log_vae),
        "best": divergences[best_step],
        "best_step": best_step,
        "end": divergences[settings.pixel_steps],
    },
)

# %% tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
for label, values, style in (
    ("data", log_data, "k-"),
    ("VAE", log_vae, "C0--"),
    (f"VAE and energy, step {best_step}", best_h, "C1-"),
):
    left.plot(xs, values.exp(), style, label=label)
left.set(xlabel="x", title="Densities on the grid")
left.legend(fontsize=9)
right.plot(list(divergences), list(divergences.values()), "o-", ms=3)
right.axhline(from_data(log_vae), color="C0", ls="--", lw=0.8)
right.set(
    xlabel="optimiser step",
    ylabel="KL(data ‖ h), nats",
    yscale="log",
    title="How far h is from the data",
)
_ = fig.suptitle("A second stage made of your functions: one pixel, one code")
turned = divergences[settings.pixel_steps] > 1.5 * divergences[best_step]
say(
    f"The VAE alone is {from_data(log_vae):.3f} nats from the data; with your energy at its best, after {best_step} steps, it is {divergences[best_step]:.3f}. "
    + (
        f"Then it gets worse, to {divergences[settings.pixel_steps]:.2f} after {settings.pixel_steps}. Ten steps no longer cross the barrier that the energy has built, so the samples are not $h$'s, and the contrast teaches the wrong thing. Keep checkpoints."
        if turned
        else "It would not stay so for ever: as the energy grows steeper, ten steps are too few to reach $h$. Try 600 optimiser steps."
    )
)

# %% [markdown]
# **Noise on the data.** Every $x(\varepsilon)$ carries white noise of σ. Clean data do not, so that the first thing an energy
# learns is to see noise. That is right in principle, since $h$ should have none, but it may take most of a small budget. We add noise of the same σ to
# the data, and so ask for the density of noisy pictures: the energy is left with what the VAE gets wrong *besides* the noise.
# The study below leaves it out and tells what that changes.


# %%
def recipe_for(kind, model, run_seed, **changes):
    """Stage 2's settings; data get the decoder's own noise."""
    face = kind == "faces"
    eta = changes.pop("eta", settings.face_eta if face else settings.eta)
    changes = {"data_noise": model.pixels.sigma.item(), **changes}
    return VAEBMConfig(
        kernel=half_step_langevin(eta),
        n_steps=changes.pop("chain_steps", settings.chain_steps),
        lr=changes.pop("lr", settings.face_lr if face else settings.lr),
        capacity=2048,
        seed=run_seed,
        **changes,
    )


def train_energy(
    kind,
    model,
    steps,
    *,
    name="vaebm_energy",
    run_seed=seed,
    watchers=(),
    max_recoveries=3,
    **changes,
):
    """Stage 2 on a frozen VAE, rescued when it diverges; a finished run is loaded."""
    images, _ = sets[kind]
    recipe = recipe_for(kind, model, run_seed, **changes)
    torch.manual_seed(run_seed)
    energy = make_energy(kind)
    return train_vaebm(
        model,
        energy,
        images,
        recipe=recipe,
        config=FitConfig(
            steps,
            batch_size=settings.batch_size,
            seed=run_seed,
            name=name,
            flip=kind == "faces",
            checkpoint_every=max(10, steps // 10),
            log_every=1 if steps <= 200 else 10,
        ),
        callbacks=list(watchers),
        max_recoveries=max_recoveries,
    )


watch = ChainWatch(
    settings.energy_steps // settings.looks,
    lambda x: distance("digits", x),
    min(500, settings.n_eval),
)
run, recoveries = train_energy("digits", vae, settings.energy_steps, watchers=[watch])
joint = run.module.joint.eval()
say(
    f"{run.steps:,} steps of batch {settings.batch_size} with {settings.chain_steps} Langevin steps each, η = {settings.eta:g}: "
    f"**{run.seconds:.0f} s** ({1000 * run.seconds / run.steps:.0f} ms a step), {sum(p.numel() for p in joint.energy.parameters()):,} weights. "
    + (
        f"It was rescued {len(recoveries)} time(s): "
        + "; ".join(map(str, recoveries))
        + "."
        if recoveries
        else "It did not diverge."
    )
)
record("train_steps", run.steps)
record("train_seconds", run.seconds)
record("recoveries", len(recoveries))

# %% tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
curves(
    {"E(data) − E(samples)": run.curve("contrast")},
    "Contrast (nats)",
    smooth=5,
    ax=left,
)
right.plot(
    [0, *watch.steps],
    [
        distance(
            "digits",
            joint.images(
                joint.start().draw(
                    watch.n, generator=torch.Generator().manual_seed(seed)
                ),
                mean=True,
            ),
        ),
        *watch.values,
    ],
    "o-",
    ms=4,
)
right.set(
    title=f"Fréchet distance of {watch.n} decoder means",
    xlabel="optimiser step",
    yscale="log",
)
_ = fig.suptitle(f"Stage 2 on {digits.title}; step 0 is the VAE alone")

# %% [markdown]
# **What does a chain do to a picture?** One batch of draws, followed step by step.


# %%
def refine(model, n, steps, *, eta, stream_seed=seed + 1, keep_every=None):
    """n draws of the VAE, and the chains that begin there: ε at the start, and the chain."""
    stream = torch.Generator().manual_seed(stream_seed)
    eps = model.start().draw(n, generator=stream)
    return eps, sample(
        model.in_epsilon(),
        eps,
        half_step_langevin(eta),
        steps,
        generator=stream,
        keep_every=keep_every,
    )


def film(model, path):
    """(K, B, n) states -> (K, B, C, H, W) decoder means."""
    return torch.stack([model.images(states, mean=True) for states in path])


eps0, followed = refine(joint, 25, test_steps, eta=settings.eta, keep_every=1)
states = torch.cat((eps0[None], followed.path))
frames = film(joint, states)
display_html(
    animate_chain(
        frames,
        list(range(test_steps + 1)),
        f"Decoder means along the chain ({digits.title})",
    )
)

# %% tags=["hide-input"]
shown = [round(i * test_steps / 7) for i in range(8)]
chain_strip(
    frames[shown],
    shown,
    f"The same chains, eight of {test_steps + 1} states: decoder means ({digits.title})",
    n_chains=6,
)
chain_strip(
    torch.stack([joint.images(states[i]) for i in shown]),
    shown,
    f"The same states as x(ε), with the decoder's noise ({digits.title})",
    n_chains=3,
)

# %% [markdown]
# ## Which space? (I2, I3)
#
# **The question.** The same energy, the same number of gradient calls: in which space is a step worth most? A fair rival among pixels samples the *same density*, $h(x) \propto p_\theta(x)\, e^{-E(x)}$, whose
# gradient needs $\nabla \log p_\theta(x)$. The integral over codes cannot be done, but its gradient is an average over the posterior (Fisher's identity):
#
# ```{math}
# :label: eq-fisher
# \nabla_x \log p_\theta(x) = \mathbb E_{p_\theta(z \mid x)}\bigl[ \nabla_x \log p_\theta(x \mid z) \bigr] \approx -\frac{x - \mu_\theta(z)}{\sigma^2}, \qquad z \sim q_\phi(z \mid x) .
# ```
#
# One code of the encoder at each step is an unbiased estimate, as far as $q_\phi$ is the posterior. So there are five ways to walk: in ε; in $(x, z)$; among pixels along $h(x)$, from a draw of the VAE and from uniform noise; and
# among pixels along $E$ alone, which samples $e^{-E}$ and forgets the VAE: it is here to show what the VAE's part of the gradient is worth. A pixel state has no code, so its "means" are those of the code that the encoder gives it; the row of
# draws without a chain is measured both ways.
# Each space gets several step sizes around the one that moves pixels as far as the ε-chain does, $\eta\sigma^2$, since a step of
# the ε-chain moves a pixel by σ times its own step; $(x, z)$ is tried from there upwards, beyond the largest step that you predicted, and pixels along $h$ up to what their spring 1/σ² allows, nearly $4\sigma^2$.

# %%
n_space = settings.n_eval
stream = torch.Generator().manual_seed(seed + 2)
eps_start = joint.start().draw(n_space, generator=stream)
in_eps, in_xz = joint.in_epsilon(), joint.in_xz()
with torch.no_grad():
    x_start = in_eps.decode(eps_start)[0]
    xz_start = to_xz(in_eps, eps_start)
base = {
    "ε": settings.eta,
    "(x, z)": settings.eta * sigma**2,
    "pixels along h, from the VAE": settings.eta * sigma**2,
    "pixels along h, from noise": settings.eta * sigma**2,
    "pixels along E alone, from the VAE": settings.eta * sigma**2,
}


def pixel_energy(x):
    """E(x) - log p(x | z), z fresh from the encoder and held fixed: its gradient estimates that of -log h(x)."""
    with torch.no_grad():
        posterior = joint.vae.posterior(x).base_dist
        noise = torch.randn(posterior.mean.shape, generator=code_stream)
        mean = joint.vae.likelihood(posterior.mean + posterior.stddev * noise).mean
    return joint.energy(x) + (x - mean).square().flatten(1).sum(1) / (2 * sigma**2)


@torch.no_grad()
def encoded_means(x):
    """Decoder means of the encoder's codes of pictures."""
    return torch.cat(
        [
            joint.vae.likelihood(joint.vae.posterior(part).base_dist.mean).mean
            for part in x.split(500)
        ]
    ).clamp(-1, 1)


walks = {
    "ε": (in_eps, eps_start),
    "(x, z)": (in_xz, xz_start),
    "pixels along h, from the VAE": (pixel_energy, x_start),
    "pixels along h, from noise": (
        pixel_energy,
        UniformStart(digits.shape).draw(n_space, generator=stream),
    ),
    "pixels along E alone, from the VAE": (joint.energy, x_start),
}


def pictures(space, state):
    """x, and the decoder's mean where the space has a code."""
    if space == "ε":
        return joint.images(state), joint.images(state, mean=True)
    if space == "(x, z)":
        return joint.images(to_epsilon(in_xz, state).detach()), joint.images(
            to_epsilon(in_xz, state).detach(), mean=True
        )
    return state.clamp(-1, 1), encoded_means(state)


space_rows = []
FACTORS = {
    "(x, z)": (1, 4, 16, 64, 256),
    "pixels along h, from the VAE": (4, 16, 64, 256),
    "pixels along h, from noise": (16, 64, 256),
}
for space, (energy, begin) in walks.items():
    for factor in FACTORS.get(space, (0.25, 1, 4, 16)):
        eta = factor * base[space]
        row = {
            "space": space,
            "η": f"{eta:.2g}",
            "Fréchet, x": None,
            "Fréchet, means": None,
        }
        code_stream = torch.Generator().manual_seed(seed + 9)
        try:
            ends = sample(
                energy,
                begin,
                half_step_langevin(eta),
                settings.chain_steps,
                generator=torch.Generator().manual_seed(seed),
            ).x
            x, mean = pictures(space, ends)
            row["Fréchet, x"] = distance("digits", x)
            row["Fréchet, means"] = None if mean is None else distance("digits", mean)
        except (ChainDiverged, ValueError):  # the encoder refuses what is not finite
            row["Fréchet, x"] = "diverged"
        space_rows.append(row)
start_distance = {
    "x": distance("digits", joint.images(eps_start)),
    "means": distance("digits", joint.images(eps_start, mean=True)),
    "encoded": distance("digits", encoded_means(x_start)),
}
record("spaces_start", start_distance)
table(
    [
        {
            "space": "draws of the VAE, no chain",
            "η": "–",
            "Fréchet, x": start_distance["x"],
            "Fréchet, means": start_distance["means"],
        },
        {
            "space": "the same, means by the encoder",
            "η": "–",
            "Fréchet, x": start_distance["x"],
            "Fréchet, means": start_distance["encoded"],
        },
        *space_rows,
    ],
    f"{settings.chain_steps} gradient calls a chain, {n_space} chains, {digits_test.title}, {judges['digits']} features",
)
record("spaces", space_rows)


def least(space, key):
    """The smallest distance over the step sizes."""
    return min(
        (
            r[key]
            for r in space_rows
            if r["space"] == space and isinstance(r[key], float)
        ),
        default=math.inf,
    )


def best_of(space, key):
    """The same, and whether it lies at the end of those tried, as words."""
    rows = [r for r in space_rows if r["space"] == space]
    found = [(r[key], i) for i, r in enumerate(rows) if isinstance(r[key], float)]
    if not found:
        return "diverged"
    value, i = min(found)
    end = (
        ""
        if 0 < i < len(rows) - 1
        else f" at the {'smallest' if i == 0 else 'largest'} step"
    )
    return f"{value:.0f}{end}"


best_eta_xz = min(
    (
        (row["Fréchet, means"], float(row["η"]))
        for row in space_rows
        if row["space"] == "(x, z)" and isinstance(row["Fréchet, means"], float)
    ),
    default=(math.inf, 0.0),
)[1]
say(
    "Best over the step sizes, x: "
    + "; ".join(f"{space} {best_of(space, 'Fréchet, x')}" for space in walks)
    + f" (no chain: {start_distance['x']:.0f}). Means: "
    + "; ".join(f"{space} {best_of(space, 'Fréchet, means')}" for space in walks)
    + f" (no chain: {start_distance['means']:.0f}; {start_distance['encoded']:.0f} by the encoder). Your prediction for (x, z) without an energy was η ≤ {predicted_step:.2g}. There the code is tied to a noisy picture by springs: their stiffness is 1/σ² = {1 / sigma**2:.0f} for a pixel, "
    "and for the code about 1/σ² times the squared slope of the decoder, on top of its own 1. The stiffest spring sets the largest step of an honest chain. "
    + (
        "The best of these chains goes beyond it: it no longer samples its density, and only the bends of the decoder keep it from exploding. In so few steps that may still look good. "
        if best_eta_xz > predicted_step
        else ""
    )
    + (
        "Among pixels, along the same density and from the same draws, as many steps do not come as near as in ε, by x or by the means: a pixel moves by hundredths, and the code can change only through what the encoder sees change. "
        if least("pixels along h, from the VAE", "Fréchet, x")
        > least("ε", "Fréchet, x")
        and least("pixels along h, from the VAE", "Fréchet, means")
        > least("ε", "Fréchet, means")
        else "Among pixels, along the same density, as many steps come as near as in ε by one of the two measures: it is not the space alone that makes the difference here. "
    )
    + (
        "Without the VAE's part of the gradient the pixels end further away than along h: this difference says nothing of the space, only of the density."
        if least("pixels along E alone, from the VAE", "Fréchet, x")
        > least("pixels along h, from the VAE", "Fréchet, x")
        else "Along E alone the pixels end no further away."
    )
    + (
        " By x the pair is ahead of ε here, by the means it is behind: with large steps the pixels follow E, and the code lags."
        if least("(x, z)", "Fréchet, x") < least("ε", "Fréchet, x")
        and least("(x, z)", "Fréchet, means") > least("ε", "Fréchet, means")
        else ""
    )
)

# %% [markdown]
# ## HMC in place of Langevin (I4)
#
# $U(\varepsilon)$ is the VAE's Gaussian plus something learnt: made for HMC. A trajectory draws a momentum $p$, follows
# $H = U(\varepsilon) + \frac12 \lVert p \rVert^2$, and is accepted with probability $\min\{1, e^{H - H'}\}$, where $H'$ is its value at the end: Part S's test.
#
# **Which {term}`mixes <mixing>` better, for the same work?** Chains from draws of the VAE; every kernel gets the same number
# of gradient calls, and one of HMC's steps costs as many as it has leapfrog steps. All three are *tuned by one rule* before they are compared: a warm-up of equally many gradient calls, not counted, finds the step at which the
# Metropolis test accepts what theory recommends, 57 % of MALA's proposals and 80 % of HMC's. Langevin's proposals are MALA's, so it takes MALA's step and leaves out the test: what differs between these two rows is the test alone. The first
# half of each chain is dropped. We look at the code, $\varepsilon_z$, and ask for effective draws a thousand gradient calls, and for split {term}`R-hat`.
#
# A trained energy has many steep valleys, and chains that sit in different valleys cannot be compared: each kernel's effective draws are
# then about the number of chains. So we ask on $h$ itself, and on *tempered* targets, $\tau E + \frac12\lVert\varepsilon\rVert^2$, with τ falling until chains meet: kernels are ranked at the largest τ at which at least one of them has an R-hat below 1.1.

# %%
if study("mixing"):
    TAUS = (1.0, 0.3, 0.1, 0.03, 0.01)

    def mixing(tau):
        """Rows of the table for one target, and the traces of the first code."""
        space = epsilon_energy(lambda x: tau * joint.energy(x), joint.vae)
        stream = torch.Generator().manual_seed(seed + 3)
        begin = joint.start().draw(settings.n_chains, generator=stream)
        warm_calls = settings.warmup * settings.leapfrog
        contestants = {}
        for name, guess, calls in (
            ("MALA", MALA(1e-3), 1),
            (
                f"HMC, {settings.leapfrog} leapfrog steps",
                HMC(1e-2, settings.leapfrog, jitter=0.3),
                settings.leapfrog,
            ),
        ):
            tuned, warmed = warm_up(
                space, begin, guess, warm_calls // calls, generator=stream
            )
            contestants[name] = (tuned, calls, warmed)
        mala, _, warmed = contestants["MALA"]
        contestants["Langevin, MALA's step"] = (Langevin(mala.step_size), 1, warmed)
        rows, traces = [], {}
        for name, (kernel, calls, place) in contestants.items():
            n_steps = settings.budget // calls
            chain = sample(
                space, place, kernel, n_steps, keep_every=1, generator=stream
            )
            codes = space.split(chain.path.flatten(0, 1))[1].reshape(
                n_steps, settings.n_chains, -1
            )[n_steps // 2 :]
            worth = ess(
                codes
            )  # of alternating chains it may exceed the number of draws
            spent = len(codes) * calls * settings.n_chains
            traces[name] = (calls, chain.path[:, :, n_pixels].T)
            rows.append(
                {
                    "τ": f"{tau:g}",
                    "kernel": name,
                    "step": f"{kernel.step_size:.2g}",
                    "accepted": f"{chain.accept_rate:.0%}",
                    "draws kept": len(codes) * settings.n_chains,
                    "effective, worst code": f"{worth.min():.1f}",
                    "effective, median": f"{worth.median():.1f}",
                    "a 1,000 calls, worst": f"{1000 * worth.min().item() / spent:.3g}",
                    "a 1,000 calls, median": f"{1000 * worth.median().item() / spent:.3g}",
                    "R-hat, worst": f"{split_rhat(codes).max():.2f}",
                    "mean ε_z²": f"{codes.square().mean():.1f}",
                }
            )
        return rows, traces

    by_tau = {tau: mixing(tau) for tau in TAUS}
    mixing_rows = [row for rows, _ in by_tau.values() for row in rows]
    table(
        mixing_rows,
        f"{settings.budget:,} gradient calls a chain, {settings.n_chains} chains, {latent} codes ({digits.title}); τ = 1 is $h$ itself. Step: what multiplies the gradient; of HMC, the leapfrog's",
    )
    record("mixing", mixing_rows)
    meets = [
        tau
        for tau, (rows, _) in by_tau.items()
        if min(float(row["R-hat, worst"]) for row in rows) < 1.1
    ]
    meeting_tau = max(meets, default=None)
    record("meeting_tau", meeting_tau)

# %% tags=["hide-input"]
if study("mixing-traces"):
    fig, axes = plt.subplots(2, 3, figsize=(9.4, 4.8), sharex="col")
    for i, (row, lines_of, what) in enumerate(
        zip(
            axes,
            (by_tau[1.0][1], by_tau[meeting_tau or TAUS[-1]][1]),
            ("h", f"τ = {meeting_tau or TAUS[-1]:g}"),
            strict=True,
        )
    ):
        for ax, (name, (calls, lines)) in zip(row, lines_of.items(), strict=True):
            for line in lines:
                ax.plot([calls * (i + 1) for i in range(len(line))], line, lw=0.7)
            ax.set(
                title=name if i == 0 else "", xlabel="gradient calls" if i == 1 else ""
            )
        row[0].set_ylabel(f"first code, {what}")
    _ = fig.suptitle(f"One coordinate of ε_z in all chains ({digits.title})")

    def ranking(rows):
        """Which kernel a gradient call is worth most in, where the chains agree enough to say; in words."""
        rhat = {r["kernel"]: float(r["R-hat, worst"]) for r in rows}
        worth = {r["kernel"]: float(r["a 1,000 calls, median"]) for r in rows}
        order = sorted(worth, key=worth.get, reverse=True)
        told = "; ".join(
            f"{name} {worth[name]:.3g} (R-hat {rhat[name]:.2f})"
            for name in order
            if rhat[name] <= 1.2
        )
        apart = "; ".join(
            f"{name} {worth[name]:.3g} (R-hat {rhat[name]:.2f})"
            for name in order
            if rhat[name] > 1.2
        )
        if not told:
            return f"no kernel's chains meet (the best R-hat is {min(rhat.values()):.2f}), the effective draws are about the number of chains, and nothing can be ranked: {apart}. "
        ceilings = {
            r["kernel"]: r["draws kept"] * math.log10(r["draws kept"]) for r in rows
        }
        capped = [
            r["kernel"]
            for r in rows
            if rhat[r["kernel"]] <= 1.2
            and float(r["effective, median"]) > 0.99 * ceilings[r["kernel"]]
        ]
        return (
            f"effective draws a thousand calls, by the median code: **{told}**. "
            + (
                f"Not to be ranked, because its chains have not met: {apart}. "
                if apart
                else ""
            )
            + "".join(
                f"For {name} the effective draws are at the estimator's ceiling, N log₁₀ N = {ceilings[name]:.0f}: its successive draws alternate about the centre, which makes a mean more exact than "
                "independent draws would; the figure says better than independent, not how much better. "
                for name in capped
            )
        )

    on_h = by_tau[1.0][0]
    wandered = max(float(r["mean ε_z²"]) for r in on_h)
    lowest = {
        tau: min(float(r["R-hat, worst"]) for r in rows)
        for tau, (rows, _) in by_tau.items()
    }
    say(
        "Best R-hat of the three kernels: "
        + "; ".join(f"τ = {tau:g}: {value:.2f}" for tau, value in lowest.items())
        + ". "
        + (
            "**No sampler mixes at any of these temperatures.** Then effective draws count chains and nothing can be ranked: a statement about $h$, its modes or its moments, cannot be made from these chains. "
            if meeting_tau is None
            else f"At **τ = {meeting_tau:g}**, the largest at which chains meet, {ranking(by_tau[meeting_tau][0])}"
        )
        + (
            "On $h$ itself no sampler mixes, tuned or not. So nothing that this chapter shows is a draw of $h$: it is what a chain of the training's length makes of a draw of the VAE. "
            if meeting_tau != 1.0
            else ""
        )
        + f"The mean of ε_z² is 1 for the VAE; long chains on $h$ reach {wandered:.1f}. "
        + (
            "So the density that the energy defines has wandered off to codes which short training chains never visited. "
            if wandered > 2
            else "So the long chains stay among the codes that training saw. "
        )
        + "Langevin has no test, so its draws are of a density that is off by its step size. None of this is needed for a short refining chain, which wants to stay near its start; "
        "it is needed for statements about $h$ itself."
    )

# %% [markdown]
# ## What keeps the second stage alive?
#
# **The question.** Fresh or persistent chains, a {term}`spectral penalty` or none, noise on the data or none? One change at
# a time, short runs on one frozen VAE. Training "will eventually explode", its authors warn; the largest logged
# contrast says how far a run was shaken. All rows are judged by fresh chains of the training's length from the VAE,
# the row with persistent training chains too.


# %%
def study_cell(seed, changes, steps):
    """One short second stage; distances and stability."""
    trained, rescued = train_energy(
        "digits", vae, steps, name="vaebm_study", run_seed=seed, **changes
    )
    model = trained.module.joint.eval()
    _, chain = refine(
        model,
        settings.n_eval,
        settings.chain_steps,
        eta=changes.get("eta", settings.eta),
    )
    codes = model.in_epsilon().split(chain.x)[1]
    return {
        "x": distance("digits", model.images(chain.x)),
        "means": distance("digits", model.images(chain.x, mean=True)),
        "spread": codes.std().item(),
        "largest": max(abs(v) for v in trained.curve("contrast")[1]),
        "rescues": len(rescued),
        "ms": 1000 * trained.seconds / trained.steps,
    }


if study("second-stage"):
    cells = {
        "fresh chains, σ on the data": {},
        "persistent chains, 5 % fresh": dict(restart=0.05),
        "spectral penalty 0.2, the paper's": dict(spectral=0.2),
        "spectral penalty 0.02": dict(spectral=0.02),
        "squared energies, α = 0.01": dict(alpha=0.01),
        "clean data": dict(data_noise=0.0),
    }
    outcome = sweep(
        "vaebm_study",
        study_cell,
        {name: dict(changes=c) for name, c in cells.items()},
        seeds=(seed,),
        steps=settings.study_steps,
    )
    study_rows = summary(
        outcome,
        {
            "Fréchet, means": "means",
            "Fréchet, x": "x",
            "sd of ε_z": "spread",
            "largest logged contrast (nats)": "largest",
            "rescues": "rescues",
            "ms a step": "ms",
        },
    )
    table(
        study_rows,
        f"{settings.study_steps} optimiser steps each on {digits.title}, one seed, {settings.n_eval} samples",
    )
    record("study", study_rows)
    good = [c for c in outcome if c.diverged is None]
    by_name = {c.name: c.values for c in good}
    said_of_noise = (
        "Without noise on the data the means have "
        f"{by_name['clean data']['means']:.0f}, with it {by_name['fresh chains, σ on the data']['means']:.0f}: "
        + (
            "at this length it pays."
            if by_name["clean data"]["means"]
            > 1.2 * by_name["fresh chains, σ on the data"]["means"]
            else "at this length it hardly matters."
        )
        if {"clean data", "fresh chains, σ on the data"} <= by_name.keys()
        else ""
    )
    flat = [c.name for c in good if c.values["largest"] < 0.01]
    least, most = (
        min(good, key=lambda c: c.values["means"]),
        max(good, key=lambda c: c.values["means"]),
    )
    say(
        f"Means: from {least.values['means']:.0f} (*{least.name}*) to {most.values['means']:.0f} (*{most.name}*), one seed, so that small differences mean nothing. "
        f"The spread of ε_z after a chain should be near one if $h$'s codes filled the prior; it is {good[0].values['spread']:.2f} with *{good[0].name}*. "
        + (
            "Far above one: short chains run outward along the energy, faster than ½‖ε‖² calls them back. "
            if good[0].values["spread"] > 1.3
            else ""
        )
        + said_of_noise
        + (
            f" With *{', '.join(flat)}* the contrast hardly leaves zero: the penalty has flattened this small energy, and the distance is the VAE's own. "
            "The weight of a penalty has to suit the network and the length of the run."
            if flat
            else ""
        )
    )

# %% [markdown]
# **And when it does explode?** We provoke it: a learning rate thirty times as large, and 100 nats of contrast count as a divergence.
# A checkpoint from which the run fails again, before it can write the next, was sick already; then it begins anew, more slowly.

# %%
if study("divergence"):
    try:
        wild_run, wild = train_energy(
            "digits",
            vae,
            settings.rescue_steps,
            name="vaebm_rescue",
            lr=30 * settings.lr,
            max_contrast=100.0,
            max_recoveries=6,
        )
        end = f"the run finished its {wild_run.steps} steps"
    except TrainingDiverged as error:
        wild, end = None, f"it gave up: {error}"
    if wild:
        table(
            [
                {
                    "what happened": r.reason,
                    "went on from step": r.from_step,
                    "× learning rate": r.lr_factor,
                }
                for r in wild
            ],
            f"Rescues of a run that was set up to fail ({digits.title})",
        )
    say(f"Rescues: {len(wild)}; {end}." if wild is not None else f"Too wild: {end}.")
    record("provoked", None if wild is None else len(wild))

# %% [markdown]
# ## What does the energy buy? (I7)
#
# **The question.** Is a VAEBM better than *its own* VAE? Each seed trains both stages anew. The same noise begins the VAE's draw and
# the chain, and distances are taken mean against mean, draw against draw. What we aim at is a fifth less.


# %%
def quality_cell(seed, kind, steps, n, chain):
    """Both stages from one seed; Fréchet distances before and after the chain."""
    model = train_vae(kind, seed).module.model.eval()
    trained, rescued = train_energy(kind, model, steps, run_seed=seed)
    both = trained.module.joint.eval()
    eta = settings.face_eta if kind == "faces" else settings.eta
    clock = time.perf_counter()
    eps, ends = refine(both, n, chain, eta=eta, stream_seed=100 + seed)
    chain_ms = 1000 * (time.perf_counter() - clock) / n
    found = {
        "vae_means": distance(kind, both.images(eps, mean=True)),
        "vae_x": distance(kind, both.images(eps)),
        "means": distance(kind, both.images(ends.x, mean=True)),
        "x": distance(kind, both.images(ends.x)),
        "sigma": model.pixels.sigma.item(),
        "seconds": trained.seconds,
        "rescues": len(rescued),
        "chain_ms": chain_ms,
    }
    found["gain"] = 100 * (1 - found["means"] / found["vae_means"])
    found["gain_x"] = 100 * (1 - found["x"] / found["vae_x"])
    keep = slice(0, 30)
    return {
        **found,
        "before": to_uint8(both.images(eps[keep], mean=True)),
        "after": to_uint8(both.images(ends.x[keep], mean=True)),
        "noisy": to_uint8(both.images(ends.x[keep])),
    }


budgets = {
    "digits": (settings.vae_steps, settings.energy_steps),
    "faces": (settings.face_vae_steps, settings.face_steps),
}
trainings = {"digits": settings.seeds, "faces": settings.face_seeds}
quality = [
    cell
    for kind, (_, b) in budgets.items()
    for cell in sweep(
        "vaebm_quality",
        quality_cell,
        {kind: dict(kind=kind, steps=b)},
        seeds=range(seed, seed + trainings[kind]),
        n=settings.n_eval,
        chain=test_steps,
    )
]
quality_rows = summary(
    quality,
    {
        "VAE, means": "vae_means",
        "VAEBM, means": "means",
        "less by (%)": "gain",
        "VAE, x": "vae_x",
        "VAEBM, x": "x",
        "less by (%), x": "gain_x",
        "σ": "sigma",
        "rescues": "rescues",
        "ms a sample": "chain_ms",
    },
    first="data",
)
real_images = {
    kind: sets[kind][0 if kind == "digits" else 1].images[: settings.n_eval]
    for kind in budgets
}
real_distance = {kind: distance(kind, images) for kind, images in real_images.items()}
for row in quality_rows:
    kind = row["data"]
    row["real images (N)"] = f"{real_distance[kind]:.3g} ({len(real_images[kind]):,})"
    row["data"] = sets[kind][0].title
table(
    quality_rows,
    f"Fréchet distances, {settings.n_eval:,} samples, chains of {test_steps} steps, mean ± standard deviation over {trainings['digits']} (digits) and {trainings['faces']} (faces) trainings; digits and faces have different judges",
)
record("quality", quality_rows)
gains = {
    kind: [c.values["gain"] for c in quality if c.name == kind and c.diverged is None]
    for kind in budgets
}
for kind, values in gains.items():
    record(f"gain/{kind}", sum(values) / len(values) if values else None)
    record(f"gain_worst/{kind}", min(values, default=None))
say(
    "Decoder means come closer to the data by "
    + "; ".join(
        f"**{sum(v) / len(v):.0f} %** on {sets[kind][0].title} (worst seed {min(v):.0f} %)"
        for kind, v in gains.items()
        if v
    )
    + ". "
    + (
        "Every seed passes the fifth we aimed at. "
        if all(len(v) == trainings[kind] and min(v) >= 20 for kind, v in gains.items())
        else "Not every seed reaches the fifth we aimed at. "
    )
    + "Compare only inside a row: the judges differ, and the draws x carry the noise σ that the means do not. (`face_features`, Part H's judge of faces, wants 64×64 pixels; these have 32.)"
)

# %% tags=["hide-input"]
for kind in budgets:
    for cell in quality:
        if cell.name == kind and cell.tensors:
            fig, axes = plt.subplots(3, 1, figsize=(9, 4.6))
            for ax, (key, label) in zip(
                axes,
                (
                    ("before", "the VAE's means"),
                    ("after", f"their chains' means, {test_steps} steps later"),
                    ("noisy", "the same as x(ε)"),
                ),
                strict=True,
            ):
                image_grid(cell.tensors[key], label, columns=15, ax=ax)
            _ = fig.suptitle(
                f"{sets[kind][0].title}, seed {cell.seed}; place by place the same chain, not selected"
            )

# %%
face_vae = train_vae("faces").module.model.eval()
face_run, face_rescues = train_energy("faces", face_vae, settings.face_steps)
face_joint = face_run.module.joint.eval()
face_eps, face_chain = refine(
    face_joint, 16, test_steps, eta=settings.face_eta, keep_every=1
)
face_frames = film(face_joint, torch.cat((face_eps[None], face_chain.path)))
display_html(
    animate_chain(
        face_frames,
        list(range(test_steps + 1)),
        f"Decoder means along the chain ({faces.title})",
    )
)
chain_strip(
    face_frames[shown],
    shown,
    f"Eight states of these chains: decoder means ({faces.title})",
    n_chains=5,
)
if settings.faces == "cifar10":
    made = face_joint.images(
        refine(face_joint, settings.n_eval, test_steps, eta=settings.face_eta)[1].x,
        mean=True,
    )
    seen = class_coverage(logits_of(networks["faces"], to_uint8(made)))
    record("class_histogram", seen.histogram.tolist())
    say(
        f"Classes of the samples by the classifier: {dict(zip(faces.classes, seen.histogram.tolist(), strict=True))}; KL to uniform {seen.kl:.3f} nats."
    )

# %% [markdown]
# ## Which density on the codes? (I8)
#
# The chain above moved the codes, too. **Did it need an energy of pictures for that?** Look at what the VAE's bound says of its codes. Averaged over $N$ pictures, their price splits in two
# {cite}`hoffman2016surgery`:
#
# ```{math}
# :label: eq-surgery
# \frac1N \sum_n \mathrm{KL}\bigl(q(z \mid x_n) \,\Vert\, p(z)\bigr) = \underbrace{\frac1N \sum_n \mathrm{KL}\bigl(q(z \mid x_n) \,\Vert\, \bar q(z)\bigr)}_{\text{what a code says of its picture}}
#   + \underbrace{\mathrm{KL}\bigl(\bar q(z) \,\Vert\, p(z)\bigr)}_{\text{wasted}}, \qquad \bar q(z) = \frac1N \sum_n q(z \mid x_n) .
# ```
#
# $\bar q$ is where codes of pictures really lie, the *aggregate posterior*. Where the prior has mass and $\bar q$ has none, draws decode to things that the decoder never learnt. The
# cheapest cure is another density on the codes {cite}`tomczak2018vampprior`, such as a mixture of Gaussians:
#
# ```{math}
# :label: eq-mixture
# \log p_{\text{mix}}(z) = \log \sum_{k=1}^K \pi_k\, \mathcal N(z;\, m_k, C_k), \qquad
# \log \mathcal N(z;\, m, C) = -\tfrac12 (z - m)^\top C^{-1} (z - m) - \tfrac12 \log \det C - \tfrac d2 \log 2\pi .
# ```

# %% [markdown]
# ```{exercise-start} A density for the codes
# :label: ex-mixture
# ```
# *Goal: write a density that holds far from all its parts. About 20 minutes, 3 points.*
#
# Return {eq}`eq-mixture` for each row of `z`. `weights` are the $\pi_k$. `covariances` are either diagonal, given as the variances $(K, d)$, or full, $(K, d, d)$. A code may lie hundreds of nats
# from every component. A chain will follow the gradient with respect to `z`, so it must flow, and be finite.


# %% tags=["exercise"]
def mixture_log_prob(z, weights, means, covariances):
    """(B, d), (K,), (K, d), (K, d) or (K, d, d) -> (B,) in nats."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-mixture
# :class: dropdown
# ```
# With $C = LL^\top$ (Cholesky) the square is $\lVert L^{-1}(z - m) \rVert^2$ and $\frac12 \log\det C$ is the sum of the logarithms of $L$'s diagonal. Diagonal covariances are the case in which $L$ is
# known. `logsumexp` adds the components up without leaving the logarithms.


# %% tags=["solution"]
def mixture_log_prob(z, weights, means, covariances):
    """(B, d), (K,), (K, d), (K, d) or (K, d, d) -> (B,) in nats."""
    if covariances.ndim == 2:
        covariances = torch.diag_embed(covariances)
    factor = torch.linalg.cholesky(covariances)
    away = (z[:, None] - means).movedim(0, -1)  # (K, d, B)
    squares = torch.linalg.solve_triangular(factor, away, upper=False).square().sum(1)
    half_log_det = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    constant = 0.5 * math.log(2 * math.pi) * means.shape[1]
    log_terms = (weights.log() - half_log_det)[:, None] - 0.5 * squares - constant
    return torch.logsumexp(log_terms, dim=0)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.mixture_log_prob(mixture_log_prob)

# %% [markdown]
# **The control.** Fit mixtures to codes of training pictures (scikit-learn's EM), draw codes from them, and decode: no energy, no chain. First your density, beside PyTorch's, on codes of *held-out* pictures. Since only the prior is exchanged,
# the mean of $\log p_{\text{mix}}(z) - \log \mathcal N(z; 0, I)$ there is exactly what the VAE's bound gains. It is also at most $\mathrm{KL}(\bar q \Vert p)$ on average, so that it shows nats of {eq}`eq-surgery` that are wasted for certain.


# %%
@torch.no_grad()
def codes_of(model, images, stream):
    """Codes of pictures, one draw of the encoder each: (N, d)."""
    found = [model.vae.posterior(to_float(part)) for part in images.split(500)]
    mean, scale = (
        torch.cat([getattr(q, k) for q in found]) for k in ("mean", "stddev")
    )
    return mean + scale * torch.randn(mean.shape, generator=stream)


def fitted_mixture(codes, n_components, fit_seed=seed):
    """Weights, means and full covariances of a mixture fitted to codes, as float32 tensors."""
    em = GaussianMixture(
        n_components, reg_covar=1e-4, max_iter=300, tol=1e-2, random_state=fit_seed
    )
    em.fit(codes.double().numpy())
    return [
        torch.from_numpy(v).float() for v in (em.weights_, em.means_, em.covariances_)
    ]


def draw_codes(mixture, n, stream):
    """(n, d) draws of a mixture."""
    weights, means, covariances = mixture
    which = torch.multinomial(weights, n, replacement=True, generator=stream)
    noise = torch.randn(n, means.shape[1], 1, generator=stream)
    return means[which] + (torch.linalg.cholesky(covariances)[which] @ noise)[..., 0]


def bound_gain(codes, mixture):
    """Mean of log p_mix(z) - log N(z; 0, I), in nats."""
    normal = Independent(Normal(torch.zeros(codes.shape[1]), 1.0), 1)
    ours = torch.as_tensor(mixture_log_prob(codes, *mixture))
    return (ours - normal.log_prob(codes)).mean().item()


stream = torch.Generator().manual_seed(seed + 20)
held_codes = codes_of(joint, digits_test.images[: settings.n_codes], stream)
first_mixture = fitted_mixture(
    codes_of(joint, digits.images[: settings.n_codes], stream), settings.components[-1]
)
weights, means, covariances = first_mixture
torchs = torch.distributions.MixtureSameFamily(
    torch.distributions.Categorical(weights),
    torch.distributions.MultivariateNormal(means, covariances),
)
mixture_gap = (
    (
        torch.as_tensor(mixture_log_prob(held_codes, *first_mixture))
        - torchs.log_prob(held_codes)
    )
    .abs()
    .max()
    .item()
)
record("mixture_gap", mixture_gap)
record("aggregate_sd", held_codes.std(0).tolist())
fig, axes = plt.subplots(2, 1, figsize=(9, 2.3))
no_pixels = torch.zeros(15, n_pixels)
for ax, label, z in (
    (axes[0], "codes from N(0, I)", torch.randn(15, latent, generator=stream)),
    (
        axes[1],
        f"codes from a mixture of {len(weights)}",
        draw_codes(first_mixture, 15, stream),
    ),
):
    image_grid(
        joint.images(torch.cat((no_pixels, z), 1), mean=True), label, columns=15, ax=ax
    )
_ = fig.suptitle(f"Decoder means, not selected, no energy ({digits.title})")
say(
    f"PyTorch's mixture differs from yours by at most {mixture_gap:.1g} nats. On held-out codes it gains {bound_gain(held_codes, first_mixture):+.1f} nats over N(0, I)"
    + (
        ": so many, at least, were wasted. "
        if bound_gain(held_codes, first_mixture) > 0
        else ": too few codes for so many components. "
    )
    + f"Per dimension the held-out codes have standard deviations of {held_codes.std(0).min():.2f} to {held_codes.std(0).max():.2f}, where the prior has 1."
)

# %% [markdown]
# **The question.** Is there anything in the energy of pictures that a better density on the codes would not have given? The densities:
#
# - $\mathcal N(0, I)$, one Gaussian, and mixtures, fitted to codes of training pictures;
# - a *learnt energy of the codes* {cite}`pang2020latent`, $p_\alpha(z) \propto \mathcal N(z; 0, I)\, e^{-E_\alpha(z)}$: a small dense network, trained as in Part B with codes of pictures as data and short chains in $z$ as samples,
#   for two and a half times as many optimiser steps as the energy of pictures got, which takes about as long on digits, and drawn with as many gradient calls;
# - the VAEBM: $\mathcal N(0, I)$ and the energy of pictures, a chain in $(\varepsilon_x, \varepsilon_z)$;
# - both: the mixture that gains most on held-out codes, then a chain on $E(x) + \frac12 \lVert \varepsilon_x \rVert^2 - \log p_{\text{mix}}(z)$, along your gradient. (This energy has learnt to mend draws of $\mathcal N(0, I)$; one that is trained with the mixture could do better.)
#
# Beside them stands what any distance needs. *Codes of real pictures*, decoded, are draws of $\bar q$ itself: a density that copied it perfectly would score this. (One that leaves out what the decoder writes badly may score less.) Other real pictures, averages of
# two, and one Gaussian in the space of pixels cost nothing. All is drawn three times: digits from the three trainings above, each with fits and draws of its own; faces with three fits and draws on the trainings there are, which the table counts. Intervals are Student's over
# the three, and differences are taken inside a fit.


# %%
def train_latent_energy(codes, steps, fit_seed):
    """E(z), (B, d) -> (B,): contrast of codes with short chains that begin at N(0, I), and its seconds."""
    torch.manual_seed(fit_seed)
    stream = torch.Generator().manual_seed(fit_seed)
    network = nn.Sequential(
        nn.Linear(codes.shape[1], 128),
        nn.SiLU(),
        nn.Linear(128, 128),
        nn.SiLU(),
        nn.Linear(128, 1),
        nn.Flatten(0),
    )
    clock = time.perf_counter()
    adam = torch.optim.Adam(network.parameters(), 1e-3, betas=(0.0, 0.999))
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        rows = torch.randint(len(codes), (128,), generator=stream)
        fake = draw_by_latent_energy(network, 128, codes.shape[1], stream)
        at_real, at_fake = network(codes[rows]), network(fake)
        loss = at_real.mean() - at_fake.mean()
        loss = loss + 0.01 * (at_real.square().mean() + at_fake.square().mean())
        adam.zero_grad()
        loss.backward()
        adam.step()
        decay.step()
    return network.eval(), time.perf_counter() - clock


def draw_by_latent_energy(network, n, d, stream):
    """(n, d): short chains in z on E(z) + ½‖z‖², from N(0, I)."""

    def energy(z):
        return network(z) + 0.5 * z.square().sum(1)

    return sample(
        energy,
        torch.randn(n, d, generator=stream),
        half_step_langevin(settings.latent_eta),
        test_steps,
        generator=stream,
    ).x


def prior_cell(seed, kind, training, fit_seed, steps, n, chain):
    """All densities on the codes of one trained pair: rows of figures, and pictures of some; ``fit_seed`` is that of fits and draws."""
    train, held = sets[kind]
    vae_of = train_vae(kind, training).module.model.eval()
    trained, _ = train_energy(kind, vae_of, steps, run_seed=training)
    model = trained.module.joint.eval()
    d, space = model.latent, model.in_epsilon()
    eta = settings.face_eta if kind == "faces" else settings.eta
    stream = torch.Generator().manual_seed(fit_seed + 200)
    # Digits are measured against test images, faces against training images: what is real must be of the other kind.
    real = train if kind == "digits" else held
    shuffled = train.images[torch.randperm(len(train), generator=stream)]
    codes = codes_of(model, shuffled[: settings.n_codes], stream)
    held_codes = codes_of(model, held.images[: settings.n_codes], stream)
    rows, shown = {}, {}

    def add(name, state, *, gain=None, seconds=0.0, calls=0):
        means, x = model.images(state, mean=True), model.images(state)
        rows[name] = {
            "means": distance(kind, means),
            "x": distance(kind, x),
            "gain": gain,
            "seconds": seconds,
            "calls": calls,
        }
        shown[name] = to_uint8(means[:15])

    def with_pixels(z):
        return torch.cat(
            (torch.randn(len(z), math.prod(model.image_shape), generator=stream), z), 1
        )

    pictures = real.images[torch.randperm(len(real), generator=stream)[:n]]
    add("codes of real pictures", with_pixels(codes_of(model, pictures, stream)))
    normal = [torch.ones(1), torch.zeros(1, d), torch.eye(d)[None]]
    begin = with_pixels(torch.randn(n, d, generator=stream))
    add("N(0, I)", begin, gain=0.0)
    fits, gains = {}, {}
    for k in settings.components:
        name = "one Gaussian" if k == 1 else f"mixture of {k}"
        clock = time.perf_counter()
        fits[name] = fitted_mixture(codes, k, fit_seed)
        spent = time.perf_counter() - clock
        gains[name] = bound_gain(held_codes, fits[name])
        add(
            name,
            with_pixels(draw_codes(fits[name], n, stream)),
            gain=gains[name],
            seconds=spent,
        )
    best = max(gains, key=gains.get)
    # About the time of the digits' energy of pictures: a step of that one costs two to three of these.
    network, spent = train_latent_energy(codes, 5 * steps // 2, fit_seed)
    add(
        "learnt energy of codes",
        with_pixels(draw_by_latent_energy(network, n, d, stream)),
        seconds=spent,
        calls=chain,
    )
    for name, mixture, start in (
        ("VAEBM: N(0, I) and energy", normal, begin),
        (
            "best mixture and energy",
            fits[best],
            with_pixels(draw_codes(fits[best], n, stream)),
        ),
    ):

        def energy(state, mixture=mixture):
            z = space.split(state)[1]
            return (
                space(state) - 0.5 * z.square().sum(1) - mixture_log_prob(z, *mixture)
            )

        ends = sample(energy, start, half_step_langevin(eta), chain, generator=stream).x
        add(name, ends, seconds=trained.seconds, calls=chain)
    for name, images in {
        **controls(train, n, seed=fit_seed + 1),
        REAL: pictures,
    }.items():
        if name not in (NOISE, BY_CLASS):
            rows[f"pictures: {name}"] = {"means": None, "x": distance(kind, images)}
    return {
        "rows": rows,
        "best": best,
        "best_gain": gains[best],
        "sd": [codes.std(0).min().item(), codes.std(0).max().item()],
        **{f"shown/{name}": images for name, images in shown.items()},
    }


if study("priors"):
    # A chain of faces costs five times one of digits.
    prior_n = {"digits": settings.n_eval, "faces": max(40, settings.n_eval // 2)}
    priors = sweep(
        "vaebm_priors",
        prior_cell,
        {
            f"{kind}, {i}": dict(
                kind=kind,
                training=seed + i % trainings[kind],
                fit_seed=seed + i,
                steps=budgets[kind][1],
                n=prior_n[kind],
            )
            for kind in budgets
            for i in range(settings.seeds)
        },
        seeds=(seed,),
        chain=test_steps,
    )

# %% tags=["hide-input"]
if study("priors-read"):

    def over_fits(kind, name, key):
        """One number a fit."""
        cells = [c for c in priors if c.name.startswith(kind) and c.diverged is None]
        found = [c.values["rows"].get(name, {}).get(key) for c in cells]
        return [v for v in found if v is not None]

    def student(values):
        """Mean and the half-width of Student's 95 % interval."""
        values = torch.tensor(values, dtype=torch.float64)
        if len(values) < 2:
            return values.mean().item(), math.inf
        half = stats.t.ppf(0.975, len(values) - 1) * values.std() / len(values) ** 0.5
        return values.mean().item(), float(half)

    def told(values):
        mean, half = student(values)
        return f"{mean:.1f} ± {half:.1f}" if math.isfinite(half) else f"{mean:.1f}"

    def difference(kind, a, b):
        """Means of b minus means of a, fit by fit: Student's interval."""
        pair = zip(
            over_fits(kind, a, "means"), over_fits(kind, b, "means"), strict=True
        )
        return student([y - x for x, y in pair])

    def clearly(by, half):
        """-1, 0 or 1."""
        return 0 if abs(by) <= half else (1 if by > 0 else -1)

    BOTH, ALONE, BAR = (
        "best mixture and energy",
        "VAEBM: N(0, I) and energy",
        "codes of real pictures",
    )
    for kind in budgets:
        cells = [c for c in priors if c.name.startswith(kind) and c.diverged is None]
        names = list(cells[0].values["rows"])
        prior_rows = []
        for name in names:
            row = {"codes from, or pictures": name}
            for heading, key in (("Fréchet, means", "means"), ("Fréchet, x", "x")):
                values = over_fits(kind, name, key)
                row[heading] = told(values) if values else None
            gained = over_fits(kind, name, "gain")
            row["bound gains (nats)"] = told(gained) if gained else None
            spent = over_fits(kind, name, "seconds")
            row["seconds to fit"] = f"{sum(spent) / len(spent):.0f}" if spent else None
            calls = over_fits(kind, name, "calls")
            row["gradient calls a draw"] = int(calls[0]) if calls else None
            prior_rows.append(row)
        table(
            prior_rows,
            f"Densities on the codes: {sets[kind][0].title}, {settings.n_codes:,} codes fitted, {prior_n[kind]:,} samples, {judges[kind]} features; mean ± half of Student's 95 % interval over {len(cells)} fits on {min(trainings[kind], len(cells))} training(s)",
        )
        record(
            f"priors/{kind}",
            {
                name: {
                    key: over_fits(kind, name, key) for key in ("means", "x", "gain")
                }
                for name in names
            },
        )
        chosen = [c.values["best"] for c in cells]
        mixture = max(set(chosen), key=chosen.count)
        from_mixture = difference(kind, mixture, ALONE)
        added = difference(kind, mixture, BOTH)
        record(
            f"prior_differences/{kind}",
            {
                "mixture": mixture,
                "VAEBM minus mixture": list(from_mixture),
                "both minus mixture": list(added),
            },
        )
        nothing, alone, mixed, both, bar = (
            student(over_fits(kind, name, "means"))[0]
            for name in ("N(0, I)", ALONE, mixture, BOTH, BAR)
        )
        say(
            f"**{sets[kind][0].title}**, decoder means. Codes of N(0, I) score {nothing:.1f}; *{mixture}*, with neither energy nor chain, {mixed:.1f}; the VAEBM {alone:.1f}. The difference of the last two is {from_mixture[0]:+.1f} ± {from_mixture[1]:.1f}: "
            + {
                1: "**the mixture is nearer to the data, without any energy of pictures.** What looked like a repair was the prior's hole. ",
                0: "**they are not told apart.** Exchanging the prior does what the energy was praised for. ",
                -1: "the energy is nearer to the data than this better prior. ",
            }[clearly(*from_mixture)]
            + (
                f"Of what the VAEBM gains on N(0, I), the mixture gives {100 * (nothing - mixed) / (nothing - alone):.0f} %. "
                if alone < nothing
                else ""
            )
            + f"With the energy on top of it: {both:.1f} ({added[0]:+.1f} ± {added[1]:.1f}), so that the energy "
            + {
                1: "makes a good prior worse.",
                0: "adds nothing to a good prior that could be told from noise.",
                -1: "does add something that no density on the codes had given.",
            }[clearly(*added)]
            + f" The bar is {bar:.1f}, the score of codes of real pictures"
            + (
                ": the energy goes below it, for it may choose among codes and so draw more legibly than the data's own codes do."
                if both < bar
                else "."
            )
        )

# %% tags=["hide-input"]
if study("priors-seen"):
    for kind in budgets:
        cell = next(c for c in priors if c.name.startswith(kind) and c.diverged is None)
        pictures = {
            name.removeprefix("shown/"): images
            for name, images in cell.tensors.items()
            if name.startswith("shown/")
        }
        order = [n for n in cell.values["rows"] if n in pictures]
        fig, axes = plt.subplots(len(order), 1, figsize=(9, 1.05 * len(order)))
        for ax, name in zip(axes, order, strict=True):
            image_grid(pictures[name], name, columns=15, ax=ax)
        _ = fig.suptitle(
            f"Fifteen draws of each, decoder means, not selected ({sets[kind][0].title})"
        )

# %% [markdown]
# **What does the image-space energy buy, then, beyond a better prior?** On digits hardly anything by itself: a mixture, fitted in a second and drawn from without a chain, is not told apart from it. Together they are better than
# either. On faces it buys something that no density on the codes has: colours and contrast, which the decoder's means lack wherever the codes come from. So the two mend different faults. A prior mends *where* codes lie, an energy *what the decoder makes of them*.
#
# Before praising the faces, look at the last two rows of their table. One Gaussian, fitted to the pixels, comes nearer by $x$ than the VAEBM does, and averages of two faces nearer still: the CIFAR-10 classifier, which is the judge at 32×32, forgives blur
# and hears colour. So that table ranks densities on the codes of one decoder. It does not say that these are good faces.

# %% [markdown]
# ## A thousand modes (I5)
#
# {term}`Three digits in three colour channels <stacked digits>`: a thousand combinations, each equally frequent in the data.
# A classifier reads the three channels of a sample, and we count {cite}`metz2017unrolled`. A VAE is trained to cover;
# a GAN is free to forget. **And a VAEBM?** Its chains begin everywhere the VAE draws, but the energy may push them
# together.

# %%
if study("thousand-modes"):
    stacks, stacks_test = (
        load_images(settings.stacks, split, limit=settings.limit, root=data_root)
        for split in ("train", "test")
    )
    sets["stacks"] = (stacks, stacks_test)
    image_grid(stacks.images[:15], f"{stacks.title}: training images", columns=15)
    stack_vae = train_vae("stacks").module.model.eval()
    stack_run, _ = train_energy("stacks", stack_vae, settings.stack_steps)
    alone_run = train_vae("stacks", steps=settings.alone_steps)
    stack_alone = VAEBM(alone_run.module.model.eval(), make_energy("stacks"))
    stack_joint = stack_run.module.joint.eval()
    torch.manual_seed(seed)
    gan_run = train_gan(
        Generator(stacks.shape, 64, settings.gan_width),
        Critic(stacks.shape, settings.gan_width),
        stacks,
        recipe=GANConfig(objective=Relativistic(), seed=seed),
        config=FitConfig(
            settings.gan_steps,
            batch_size=settings.batch_size,
            seed=seed,
            checkpoint_every=1000,
            log_every=max(1, settings.gan_steps // 50),
            name="vaebm_gan",
        ),
    )

    def seen_digits(images):
        """uint8 (N, 3, 28, 28) -> (N, 3): the digit the judge sees in each channel."""
        one_by_one = images.flatten(0, 1)[:, None]
        return torch.cat(
            [
                logits_of(networks["digits"], part).argmax(1)
                for part in one_by_one.split(3000)
            ]
        ).reshape(-1, 3)

    def stack_draws(n):
        """n decoder means of the VAE, and of its chains."""
        before, after = [], []
        stream = torch.Generator().manual_seed(seed + 5)
        for start in range(0, n, 512):
            eps = stack_joint.start().draw(min(512, n - start), generator=stream)
            ends = sample(
                stack_joint.in_epsilon(),
                eps,
                half_step_langevin(settings.eta),
                test_steps,
                generator=stream,
                fast=True,
            ).x
            before.append(to_uint8(stack_joint.images(eps, mean=True)))
            after.append(to_uint8(stack_joint.images(ends, mean=True)))
        return torch.cat(before), torch.cat(after)

    stack_before, stack_after = stack_draws(settings.n_modes)

    def decoded(model, z):
        """uint8 decoder means of codes (N, d)."""
        return torch.cat(
            [
                to_uint8(model.vae.likelihood(part).mean.detach().clamp(-1, 1))
                for part in z.split(512)
            ]
        )

    stream = torch.Generator().manual_seed(seed + 7)
    some = stacks.images[torch.arange(settings.n_modes) % len(stacks)]
    stack_codes = {
        name: codes_of(model, some, stream)
        for name, model in (("short", stack_joint), ("alone", stack_alone))
    }
    clock = time.perf_counter()
    stack_mixture = fitted_mixture(stack_codes["alone"], settings.components[-2])
    mixture_seconds = time.perf_counter() - clock
    gan_images = to_uint8(
        gan_run.module.sampler.sample(
            settings.n_modes, torch.Generator().manual_seed(seed)
        )
    )
    repeated = torch.arange(settings.n_modes) % len(stacks)
    stack_seconds = train_vae("stacks").seconds
    trained_for = {
        "the VAEBM's VAE, means": f"{settings.stack_vae_steps:,} steps, {stack_seconds:.0f} s",
        "VAE alone, means": f"{settings.alone_steps:,} steps, {alone_run.seconds:.0f} s",
        "VAE alone, codes from a mixture": f"… and {mixture_seconds:.0f} s for the mixture",
        "VAEBM, means": f"… and {settings.stack_steps:,} more, {stack_seconds + stack_run.seconds:.0f} s in all",
        "GAN (relativistic, R1 + R2)": f"{gan_run.steps:,} steps, {gan_run.seconds:.0f} s",
    }
    mode_rows = []
    for name, images in (
        ("an even draw of modes", None),
        ("training images", stacks.images[repeated]),
        (
            "the VAEBM's VAE, reconstructions",
            decoded(stack_joint, stack_codes["short"]),
        ),
        ("VAE alone, reconstructions", decoded(stack_alone, stack_codes["alone"])),
        ("the VAEBM's VAE, means", stack_before),
        (
            "VAE alone, means",
            decoded(
                stack_alone,
                torch.randn(settings.n_modes, stack_alone.latent, generator=stream),
            ),
        ),
        (
            "VAE alone, codes from a mixture",
            decoded(stack_alone, draw_codes(stack_mixture, settings.n_modes, stream)),
        ),
        ("VAEBM, means", stack_after),
        ("GAN (relativistic, R1 + R2)", gan_images),
    ):
        seen = (
            torch.randint(
                10, (settings.n_modes, 3), generator=torch.Generator().manual_seed(seed)
            )
            if images is None
            else seen_digits(images)
        )
        modes, kl = stacked_modes(seen)
        mode_rows.append(
            {
                "samples": name,
                "modes of 1,000": modes,
                "KL to uniform (nats)": f"{kl:.3f}",
                "training": trained_for.get(name, "–"),
            }
        )
    table(
        mode_rows,
        f"{settings.n_modes:,} samples each, {stacks.title}, read by {judges['digits']}; even draws have a KL above zero too",
    )
    record("modes", mode_rows)
    fig, axes = plt.subplots(3, 1, figsize=(9, 4.4))
    for ax, (label, images) in zip(
        axes,
        (
            ("the VAEBM's VAE, means", stack_before),
            ("VAEBM, means", stack_after),
            ("GAN", gan_images),
        ),
        strict=True,
    ):
        image_grid(images[:30], label, columns=15, ax=ax)
    _ = fig.suptitle(
        f"Stacked digits drawn by three models, not selected ({stacks.title})"
    )
    found_modes = {r["samples"]: r["modes of 1,000"] for r in mode_rows}
    mode_kl = {r["samples"]: r["KL to uniform (nats)"] for r in mode_rows}
    record("vaebm_modes", found_modes["VAEBM, means"])
    record("vaebm_kl", float(mode_kl["VAEBM, means"]))
    alone, bar = (
        found_modes["VAE alone, means"],
        found_modes["VAE alone, reconstructions"],
    )
    by_mixture = found_modes["VAE alone, codes from a mixture"]
    short_bar = found_modes["the VAEBM's VAE, reconstructions"]
    say(
        f"**Reconstructions first:** of {settings.n_modes:,} real images, decoded from their own codes, the judge reads {bar} modes with the VAE alone and {short_bar} with the VAEBM's, where the images themselves show {found_modes['training images']}. "
        "What is missing there the decoder cannot write legibly, whatever is asked of it; only what is missing beyond that is missing from the draws. "
        f"For about the same training time the VAE alone shows **{alone}** modes in its draws, the VAEBM **{found_modes['VAEBM, means']}**, the GAN **{found_modes['GAN (relativistic, R1 + R2)']}**; and the VAE with a mixture on its codes **{by_mixture}**. KL: "
        + ", ".join(
            f"{r['samples']} {r['KL to uniform (nats)']}" for r in mode_rows[2:]
        )
        + ". "
        + (
            f"So the VAE has not lost the modes that its draws lack: {bar - alone} of them come back when its codes lie where those of pictures lie. "
            if bar - alone > 50
            else ""
        )
        + (
            "Most of what the energy brings here, a density on the codes brings too. "
            if by_mixture - alone > 0.7 * (found_modes["VAEBM, means"] - alone) > 0
            else "A density on the codes does not bring as much as the energy here. "
            if found_modes["VAEBM, means"] > alone
            else ""
        )
        + "One training seed. The judge has learnt clean digits only: where it reads blurs as one and the same digit, a blurred model loses modes by this count which its codes cover. The paper reports about 1,000 modes and a KL of about 0.087, with far larger networks and longer training."
    )

# %% [markdown]
# ## Do the codes keep their meaning? (I6)
#
# Under $h$ the codes are reweighted: $h(z) \propto p(z)\, \mathbb E_{p(x \mid z)}[e^{-E(x)}]$. **Are they still as disentangled as the VAE's?**
# Part G's scores compare a code with known factors, and a generated sprite has none. So we score the codes of held-out sprites, whose factors we know, in three ways:
#
# 1. *as encoded*: the VAE alone;
# 2. *thinned by the energy*: each sprite is kept with a probability proportional to $e^{-\tau E(x)}$; beside it, as many kept at random. At τ = 1 a handful of sprites would carry all the weight (the *effective share*
#    below), and a score of them would say nothing. So we take the largest τ ≤ 1 at which the weights are still worth a quarter of the sprites, and say how small it is.
# 3. *after a chain*: from the noise that stands for the sprite, $\varepsilon_x = (x - \mu(z))/\sigma$, a few steps on $U(\varepsilon)$. Does
#    the chain smear the codes over the factors? (Each sprite first gets the decoder's noise, σ a pixel, as draws of the model have it.)
#
# The second is a caricature of $h$: these are codes of *data*, which a well-trained $h$ already resembles, so that the energy is counted once too
# often. It shows which sprites the energy would favour, and whether that choice is along the factors.

# %%
if study("sprites"):
    sprites, sprites_test = (
        load_images(settings.sprites, split, limit=settings.limit, root=data_root)
        for split in ("train", "test")
    )
    torch.manual_seed(seed)
    sprite_model = MLPVAE(
        sprites.shape, 6, tuple(settings.hidden), "gaussian", "calibrated"
    )
    sprite_fit = fit(
        VAETraining(sprite_model, beta=4.0, lr=1e-3),
        sprites,
        config=FitConfig(
            settings.sprite_steps,
            batch_size=2 * settings.batch_size,
            seed=seed,
            checkpoint_every=1000,
            log_every=max(1, settings.sprite_steps // 50),
            name="vaebm_sprites",
        ),
        resume=True,
    )
    sprite_vae = sprite_fit.module.model.eval()
    sprite_sigma = sprite_vae.pixels.sigma.item()
    torch.manual_seed(seed)
    sprite_run, _ = train_vaebm(
        sprite_vae,
        StridedEnergy(1, 64, settings.sprite_energy),
        sprites,
        recipe=VAEBMConfig(
            kernel=half_step_langevin(settings.eta),
            n_steps=settings.chain_steps,
            lr=settings.lr,
            data_noise=sprite_sigma,
            seed=seed,
        ),
        config=FitConfig(
            settings.sprite_energy_steps,
            batch_size=settings.batch_size,
            seed=seed,
            checkpoint_every=max(10, settings.sprite_energy_steps // 4),
            log_every=1,
            name="vaebm_sprite_energy",
        ),
    )
    sprite_joint = sprite_run.module.joint.eval()
    sprite_space = sprite_joint.in_epsilon()
    held = sprites_test.take(torch.arange(min(settings.n_factors, len(sprites_test))))
    stream = torch.Generator().manual_seed(seed + 6)
    x_held = to_float(held.images)
    x_noisy = x_held + sprite_sigma * torch.randn(x_held.shape, generator=stream)
    with torch.no_grad():
        codes = sprite_vae.posterior(x_held).mean
        level = torch.cat([sprite_joint(part) for part in x_noisy.split(250)])
    begin = to_epsilon(sprite_space, torch.cat((x_noisy.flatten(1), codes), 1)).detach()
    moved = torch.cat(
        [
            sample(
                sprite_space,
                part,
                half_step_langevin(settings.eta),
                settings.chain_steps,
                generator=stream,
                fast=True,
            ).x
            for part in begin.split(250)
        ]
    )
    log_weights = -(level.double() - level.double().mean())

    def share(tau):
        """What weights exp(-τE) are worth, as a share of the sprites."""
        return weight_ess(tau * log_weights).item() / len(held)

    whole_share, low, high = share(1.0), 0.0, 1.0
    if whole_share < 0.25:
        for _ in range(40):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if share(middle) > 0.25 else (low, middle)
    tau_kept = 1.0 if whole_share >= 0.25 else low
    scaled = tau_kept * log_weights
    # Cut at the upper tenth: below it only the ratios matter.
    keep_rate = (scaled - scaled.quantile(0.9)).clamp_max(0).exp()
    kept_rows = (
        (torch.rand(len(held), generator=stream) < keep_rate).nonzero().flatten()
    )
    random_rows = torch.randperm(len(held), generator=stream)[: len(kept_rows)]
    at_random = torch.tensor(
        [
            mutual_information_gap(codes[rows], held.factors[rows])
            for rows in (
                torch.randperm(len(held), generator=stream)[: len(kept_rows)]
                for _ in range(10)
            )
        ]
    )
    disentangled = []
    for name, z, factors in (
        ("as encoded", codes, held.factors),
        (
            f"thinned by the energy at τ = {tau_kept:.2g}, {len(kept_rows)} kept",
            codes[kept_rows],
            held.factors[kept_rows],
        ),
        ("as many kept at random", codes[random_rows], held.factors[random_rows]),
        (
            f"after {settings.chain_steps} steps",
            sprite_space.split(moved)[1],
            held.factors,
        ),
    ):
        scores = dci(z, factors, seed=seed, n_trees=settings.trees)
        disentangled.append(
            {
                "codes": name,
                "MIG": f"{mutual_information_gap(z, factors):.3f}",
                "disentanglement": f"{scores.disentanglement:.3f}",
                "completeness": f"{scores.completeness:.3f}",
                "informativeness": f"{scores.informativeness:.3f}",
                "sd of the codes": f"{z.std():.2f}",
            }
        )
    table(
        disentangled,
        f"{len(held):,} held-out images of {sprites_test.title}, β = 4, six latent dimensions; one seed",
    )
    record("disentangled", disentangled)
    record("effective_share", whole_share)
    record("tau_kept", tau_kept)
    record("mig_at_random", [at_random.mean().item(), at_random.std().item()])
    change = float(disentangled[3]["MIG"]) - float(disentangled[0]["MIG"])
    say(
        (
            f"This VAE's codes are hardly disentangled to begin with (MIG {disentangled[0]['MIG']}), so there is little to lose, and the informativeness is the figure to read: what the codes tell of the factors. "
            if float(disentangled[0]["MIG"]) < 0.15
            else ""
        )
        + f"The chain changes the MIG by {change:+.3f}, from {disentangled[0]['MIG']}, and the informativeness from {disentangled[0]['informativeness']} to {disentangled[3]['informativeness']}. "
        f"The whole energy's weights are worth {100 * whole_share:.2g} % of these sprites"
        + (
            f", too few to score; at τ = {tau_kept:.2g} they are worth a quarter. "
            if tau_kept < 1
            else ", enough to score as they are. "
        )
        + f"Thinned so, the MIG is {disentangled[1]['MIG']}; of ten random choices of as many it is {at_random.mean():.3f} ± {at_random.std():.3f} (standard deviation), so that the energy's choice is "
        + (
            "no different from chance. "
            if abs(float(disentangled[1]["MIG"]) - at_random.mean())
            < 2.5 * at_random.std()
            else "not a random one: it favours some factors' values. "
        )
        + "The energy acts on pictures, not on axes; nothing in it rewards a code for following one factor."
    )

# %% [markdown]
# **Traversals.** One code moves from −2.5 to 2.5, the others stay where a sprite put them. Left: the VAE's decoder. Right: the same codes
# after a chain that began there.

# %%
if study("sprite-traversals"):
    values = torch.linspace(-2.5, 2.5, 9)
    tracks = codes[0].repeat(6, 9, 1)
    for j in range(6):
        tracks[j, :, j] = values
    tracks = tracks.flatten(0, 1)
    begin = torch.cat(
        (torch.randn(len(tracks), math.prod(sprites.shape), generator=stream), tracks),
        1,
    )
    ends = sample(
        sprite_space,
        begin,
        half_step_langevin(settings.eta),
        settings.chain_steps,
        generator=stream,
    ).x
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for ax, (label, state) in zip(
        axes,
        (("VAE", begin), (f"after {settings.chain_steps} steps", ends)),
        strict=True,
    ):
        image_grid(sprite_joint.images(state, mean=True), label, columns=9, ax=ax)
    _ = fig.suptitle(
        f"Six codes (rows), from −2.5 to 2.5; decoder means ({sprites.title})"
    )

# %% tags=["hide-input"]
if ship:
    for name, kind, model, trained, told in (
        ("vaebm_mnist", "digits", joint, run, recoveries),
        ("vaebm_faces", "faces", face_joint, face_run, face_rescues),
    ):
        mine = next(c.values for c in quality if c.name == kind and c.seed == seed)
        checkpoints.save(
            name,
            model,
            {
                "part": "10_vaebm",
                "profile": profile,
                "seed": seed,
                "rescues": len(told),
                "vae_steps": budgets[kind][0],
                **card_facts(
                    trained,
                    kernel=trained.module.config.kernel,
                    steps=test_steps,
                    start="ε from N(0, I), decoder means shown",
                ),
                "metrics": {
                    "frechet_distance": {
                        "value": round(mine["means"], 2),
                        "features": judges[kind],
                        "images": settings.n_eval,
                        "shown": "decoder means",
                    },
                    "frechet_distance_vae": {
                        "value": round(mine["vae_means"], 2),
                        "features": judges[kind],
                        "images": settings.n_eval,
                        "shown": "decoder means",
                    },
                },
                "less_by_percent_in_each_seed": [round(v, 1) for v in gains[kind]],
                "known_faults": "x(ε) carries the decoder's noise; longer chains than in training drift along the energy",
            },
            dtype=torch.float16,
        )

# %% [markdown]
# ## Reported, long run, this run

# %% tags=["hide-input"]
record(
    "digits_vae",
    next(
        (
            c.values["vae_means"]
            for c in quality
            if c.name == "digits" and c.diverged is None
        ),
        None,
    ),
)
record(
    "digits_vaebm",
    next(
        (
            c.values["means"]
            for c in quality
            if c.name == "digits" and c.diverged is None
        ),
        None,
    ),
)
record(
    "faces_vae",
    next(
        (
            c.values["vae_means"]
            for c in quality
            if c.name == "faces" and c.diverged is None
        ),
        None,
    ),
)
record(
    "faces_vaebm",
    next(
        (
            c.values["means"]
            for c in quality
            if c.name == "faces" and c.diverged is None
        ),
        None,
    ),
)
kept = report.kept("10_vaebm", profile)
kept_records = {} if kept is None else kept["records"]
three = report.comparison(kept_records, profile)
table(
    [
        three("data", "data_names", "CIFAR-10, CelebA-64, stacked MNIST", "{}"),
        three("optimiser steps of stage 2", "train_steps", "30,000", "{:,}"),
        three("… seconds", "train_seconds", form="{:.0f}"),
        three("Fréchet distance, digits, first seed: VAE", "digits_vae"),
        three("… VAEBM", "digits_vaebm"),
        three("Fréchet distance, faces, first seed: VAE", "faces_vae"),
        three(
            "… VAEBM",
            "faces_vaebm",
            "about 5.31 (CelebA-64), 12.19 (CIFAR-10, persistent): Inception",
        ),
        three("modes of 1,000", "vaebm_modes", "about 1,000", "{:,}"),
        three("… KL to uniform (nats)", "vaebm_kl", "about 0.087", "{:.3f}"),
        three(
            "toy: error of the exact energy (standard errors)", "toy/exact: E + ½‖ε‖²"
        ),
        three("… without the determinant", "toy/without the determinant"),
    ],
    "Distances here are in the features of the workbook's own classifiers and not comparable with the paper's, which stand here for scale.",
)
record("notebook_seconds", time.perf_counter() - started)

# %% [markdown]
# ## What breaks, and how to rescue it
#
# - **The energy only learns to see noise.** Distances of x fall, those of the means do not. Add the decoder's σ to the data, or make σ smaller.
# - **ε_z runs away.** Its spread after a chain is far above one: the step is too large for how steep the energy has become. Smaller η, fewer steps,
#   a spectral penalty, or a smaller rate.
# - **It explodes.** Keep checkpoints; `train_vaebm` goes back to the last one with half the rate, and says so.
# - **The VAE changed although it was frozen.** Batch norm in training mode updates its averages without any gradient. `VAEBM.train()` leaves
#   the VAE in evaluation mode.
# - **HMC accepts nothing.** An energy in reduced precision is too rough for an acceptance test. Use `fast=True` for Langevin only.
# - **In $(x, z)$ the pixels move and the code lags behind.** The spring 1/σ². Walk in ε.
#
# ## Questions
#
# 1. Derive {eq}`eq-epsilon-energy` for a prior $\mathcal N(m, \mathrm{diag}\, r^2)$. Where does $r$ remain?
# 2. For which decoders does the energy without the determinant sample the right density after all?
# 3. The energy is trained on noisy pictures, and decoder means are shown. What density do the means have, and is it $h$'s?
# 4. Let the VAE be perfect. What does {eq}`eq-vaebm-gradient` do, with exact samples and with short chains that begin at the VAE?
# 5. A GAN's discriminator could weigh a VAE's draws as well. What would rejection sampling with $e^{-E}$ cost, and why is a chain cheaper?
# 6. The text gives $\nabla_\theta \log Z$ with $x$ and $z$ held fixed. Write it with ε held fixed. Which of its samples does stage 2 already have,
#    and where does this gradient push the VAE's draws?
#
# ## Further reading
#
# - Xiao et al. {cite}`xiao2021vaebm`: the model, and its ablations.
# - Kingma and Welling {cite}`kingma2013vae` for stage 1; Nijkamp et al. {cite}`nijkamp2020anatomy` for what short chains teach an energy.
# - Neal {cite}`neal2011hmc`: why a change of variables can be worth more than a better kernel.
# - Metz et al. {cite}`metz2017unrolled`: counting a thousand modes.
