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
# # The classifier that is also a density
#
# A classifier turns a picture into ten numbers, and softmax turns those into probabilities. On the way it throws
# something away: add a constant to all ten numbers and the probabilities do not notice. {term}`JEM` {cite}`grathwohl2020jem`
# gives that lost number a meaning. It is an {term}`energy`, so the same network, without one more weight, is a density of
# pictures. In this chapter you turn a trained classifier into such a model, see what that costs and what it buys, and
# test the improvements of JEM++ {cite}`yang2021jempp` one by one instead of believing them.
#
# ```{admonition} What you will learn
# - how logits hold three things at once: $p(y \mid x)$, an energy $E(x)$ and energies $E(x, y)$ (D2);
# - how to train for two aims without losing the first (D1–D3), and what to do when training diverges;
# - what starts, bounded steps and a box are worth, in a 2×2×2 experiment over three seeds (D4, D5);
# - why a loop of the published code is a single step, and how to prove it;
# - how to measure calibration, outlier detection and robustness, with intervals (D6).
# ```
#
# **Before you start.** Part B: contrastive divergence, Langevin steps, the {term}`replay buffer`. Cross-entropy and softmax.
#
# **Time and hardware.**
#
# | profile | data | what happens | time |
# |---|---|---|---|
# | `quick` | built-in digits | the joint training, short; the studies are shown from the long run | about a minute, one core |
# | `laptop` | MNIST | all experiments, the ablation over three seeds | two hours in all on one of two busy cores: joint training 29 minutes, the ablation about 75 |
# | `full` | CIFAR-10 | ResNet-18 without norm, long training | a day, one GPU (not yet measured) |

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
import time

import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

from gen_utils import checkpoints, report
from gen_utils.checks import jem as checks
from gen_utils.data import load_images, to_float, to_uint8
from gen_utils.evaluation.attacks import robust_accuracy
from gen_utils.evaluation.classification import (
    fit_temperature,
    logits_of,
    outlier_scores,
    reliability,
)
from gen_utils.evaluation.controls import controls
from gen_utils.evaluation.frechet import (
    extract_features,
    frechet_distance,
    frechet_interval,
)
from gen_utils.evaluation.intervals import bootstrap, wilson
from gen_utils.evaluation.outliers import auroc
from gen_utils.experiments.sweep import summary, sweep
from gen_utils.models import JointEnergy, ResNetClassifier, SmoothClassifier
from gen_utils.plotting import chain_strip, curves, image_grid, plt, use_style
from gen_utils.profiles import choose
from gen_utils.report import record, say, table
from gen_utils.samplers import (
    GaussianStart,
    Langevin,
    ProximalLangevin,
    UniformStart,
    sample,
)
from gen_utils.training import (
    ClassifierTraining,
    FitConfig,
    TrainingDiverged,
    fit,
)
from gen_utils.training.cards import card_facts
from gen_utils.training.jem import JEMConfig, train_jem
from gen_utils.training.watches import QualityWatch

# %% tags=["parameters"]
profile = "quick"  # quick, laptop or full
data_root = ""  # where the data are; empty means $GEN_DATA_ROOT, else ./data
seed = 0
ship = False  # True writes the trained model to checkpoints/

# %% tags=["hide-input"]
settings = choose(
    profile,
    quick=dict(
        data="digits",
        judge="digit_classifier",
        outliers=("fashion_mnist", "persian_digits"),
        width=8,
        resnet=None,
        batch_size=32,
        classifier_steps=250,
        flip=False,
        crop=0,
        train_steps=600,
        chain_steps=6,
        lr=1e-3,
        warmup=20,
        capacity=512,
        looks=4,
        hand_steps=40,
        study_n=280,  # the features are 256: fewer images have no covariance
        seeds=1,
        study_steps=None,
        study_looks=None,
        rescue_steps=None,  # of studies, which quick does not run
        n_eval=280,
        per_class=28,
        sample_steps=20,
        study_draw=None,
        lengths=(5, 20, 80),
        n_outliers=100,
        n_attack=40,
        attack_steps=8,
        resamples=20,
    ),
    laptop=dict(
        data="mnist",
        judge="digit_classifier",
        outliers=("fashion_mnist", "persian_digits"),
        width=16,
        resnet=None,
        batch_size=64,
        classifier_steps=1800,
        flip=False,
        crop=0,
        train_steps=10_000,
        chain_steps=10,
        lr=5e-4,
        warmup=100,
        capacity=4096,
        looks=6,
        hand_steps=150,
        study_steps=800,
        study_looks=8,
        study_n=500,
        seeds=3,
        rescue_steps=300,
        n_eval=2000,
        per_class=100,
        sample_steps=160,
        study_draw=40,
        lengths=(10, 40, 160, 640),
        n_outliers=2000,
        n_attack=500,
        attack_steps=20,
        resamples=200,
    ),
    full=dict(
        data="cifar10",
        judge="cifar_classifier",
        outliers=("celeba", "bitmoji"),
        width=None,
        resnet=(64, 128, 256, 512),
        batch_size=64,
        classifier_steps=16_000,
        flip=True,
        crop=4,
        train_steps=120_000,
        chain_steps=10,
        lr=1e-4,
        warmup=1000,
        capacity=10_000,
        looks=8,
        hand_steps=150,
        study_steps=6000,
        study_looks=12,
        study_n=1000,
        seeds=3,
        rescue_steps=1000,
        n_eval=10_000,
        per_class=500,
        sample_steps=240,
        study_draw=60,
        lengths=(10, 60, 240, 960),
        n_outliers=5000,
        n_attack=1000,
        attack_steps=40,
        resamples=200,
    ),
    smoke=dict(  # in tests: every line runs, nothing is learnt
        width=4,
        classifier_steps=10,
        train_steps=8,
        looks=2,
        hand_steps=3,
        study_steps=2,
        study_looks=1,
        study_n=20,
        rescue_steps=8,
        n_eval=60,
        per_class=2,
        sample_steps=3,
        study_draw=3,
        lengths=(1, 2, 4),
        n_outliers=40,
        n_attack=10,
        attack_steps=2,
        resamples=5,
    ),
)
use_style()
study = report.studies("05_jem", profile)
torch.manual_seed(seed)
started = time.perf_counter()
box = (-1.0, 1.0)

# %% [markdown]
# ## Where we are going
#
# Ten columns, one class a column, from a network that was trained to classify *and* to be a density.

# %%
judge = checkpoints.load(settings.judge)
shipped = checkpoints.load("jem_mnist") if "jem_mnist" in checkpoints.names() else None
if shipped is None:
    say(
        "*No trained joint model is here yet: run this notebook with `ship = True` to make one. The chapter goes on without it.*"
    )
else:
    accuracy = shipped.card["metrics"]["test_accuracy"]["value"]
    say(
        f"The shipped model: {shipped.card['parameters']:,} weights, {accuracy:.1%} right on {shipped.card['data']}. "
        "The last cells of this chapter show its samples, and the long run's measures beside this run's."
    )

# %% [markdown]
# ## The data

# %%
everything = load_images(settings.data, "train", root=data_root)
train_images, val_images = everything.split(0.95, 0.05, seed=seed)
test_images = load_images(settings.data, "test", root=data_root)
shape = train_images.shape
image_grid(train_images.images[:45], f"{everything.title}: training images", columns=15)
record("data", everything.title)
say(
    f"{len(train_images):,} images of **{everything.title}** to train on, {len(val_images):,} to watch training by, and "
    f"{len(test_images):,} for the final figures, which nothing below is tuned on."
)

# %% [markdown]
# ## A classifier to begin with (D1)
#
# On digits: four convolutions of stride 2 with SiLU, two dense layers, ten {term}`logits <logit>`, Part B's energy with ten
# outputs. Two things are missing on purpose, because a chain will later follow this network's gradient *with respect
# to the picture*: there is no ReLU, whose gradient is constant between kinks, and no batch norm.
#
# **What is wrong with batch norm here?** Let us ask a network that has it. The {term}`judge` of this workbook, a classifier with
# batch norm, gets one and the same picture in two batches, once in training mode and once in evaluation mode.

# %%
with torch.no_grad():
    normed = copy.deepcopy(judge)  # training mode changes running averages
    one = to_float(test_images.images[:1])
    friends = to_float(test_images.images[1:32])
    strangers = (
        torch.rand(friends.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    )
    levels = {}
    for mode in (True, False):
        energies = [
            -normed.train(mode)(torch.cat((one, others))).logsumexp(1)[0].item()
            for others in (friends, strangers)
        ]
        levels["training mode" if mode else "evaluation mode"] = energies
table(
    [
        {
            "network": name,
            "E(x) among real pictures": f"{a:.2f}",
            "E(x) among noise": f"{b:.2f}",
            "difference": f"{abs(a - b):.2g}",
        }
        for name, (a, b) in levels.items()
    ],
    f"One picture's energy and its company ({test_images.title}, {settings.judge})",
)
record("norm_gap_train", abs(levels["training mode"][0] - levels["training mode"][1]))
record(
    "norm_gap_eval", abs(levels["evaluation mode"][0] - levels["evaluation mode"][1])
)
say(
    f"In training mode the same picture's energy moves by {abs(levels['training mode'][0] - levels['training mode'][1]):.2f} "
    "nats when its companions change; in evaluation mode it does not. So a chain in training mode walks on an energy that "
    "depends on all the other chains."
)

# %% [markdown]
# JEM drops batch norm {cite}`grathwohl2020jem`. JEM++ keeps it, and its published code samples in training mode
# {cite}`yang2021jempp`. **Our policy:** no batch norm in the networks of this chapter, and the training code samples in
# evaluation mode whatever network it is given, so that $E(x)$ is a function of $x$.


# %%
def new_classifier():
    """An untrained network of this profile."""
    if settings.resnet:
        return ResNetClassifier(
            channels=shape[0], widths=settings.resnet, blocks=2, norm="none"
        )
    return SmoothClassifier(channels=shape[0], size=shape[1], width=settings.width)


torch.manual_seed(seed)
classifier_run = fit(
    ClassifierTraining(new_classifier(), lr=3e-3, weight_decay=1e-2),
    train_images,
    val_images,
    config=FitConfig(
        settings.classifier_steps,
        batch_size=128,
        seed=seed,
        flip=settings.flip,
        crop=settings.crop,
        name="jem_classifier",
        checkpoint_every=500,
        validate_every=max(1, settings.classifier_steps // 6),
        log_every=1 if settings.classifier_steps <= 200 else 10,
    ),
    resume=True,
)
classifier = classifier_run.module.classifier


def n_right(network, images):
    """How many of a labelled set are classified right."""
    return int((logits_of(network, images).argmax(1) == images.labels).sum())


def share(k, n):
    """'98.7 % (98.5–98.9)': a share with Wilson's 95 % interval."""
    low, high = wilson(k, n)
    return f"{k / n:.1%} ({low:.1%}–{high:.1%})"


right_before = n_right(classifier, test_images)
n_test = len(test_images)
parameters = sum(p.numel() for p in classifier.parameters())
say(
    f"{parameters:,} weights, {classifier_run.steps:,} steps, **{classifier_run.seconds:.0f} s**: "
    f"**{share(right_before, n_test)}** of the test images of {test_images.title} are classified right (95 % interval)."
)
record("classifier_accuracy", right_before / n_test)
record("classifier_seconds", classifier_run.seconds)

# %% tags=["hide-input"]
photo_judge = checkpoints.read_card("cifar_classifier")
say(
    "The other half of D1, a ResNet-18 on CIFAR-10, is this chapter's `full` profile, which has not been run yet. What is known of the like: "
    f"the workbook's own judge of photographs, a smaller ResNet with batch norm, is right on {photo_judge['metrics']['test_accuracy']['value']:.1%} of CIFAR-10's test images (its card)."
)

# %% [markdown]
# ## The energy inside (D2)
#
# Let $f(x)[y]$ be the logit of class $y$. The classifier reads $p(y \mid x) = e^{f(x)[y]} / \sum_k e^{f(x)[k]}$. Now read
# the same logits as an unnormalised *joint* density:
#
# ```{math}
# :label: eq-jem-joint
# p(x, y) = \frac{e^{f(x)[y]}}{Z}, \qquad E(x, y) = -f(x)[y].
# ```
#
# Sum over the classes, and the density of the picture alone appears:
#
# ```{math}
# :label: eq-jem-marginal
# p(x) = \sum_y p(x, y) = \frac{\sum_y e^{f(x)[y]}}{Z}, \qquad E(x) = -\log \sum_y e^{f(x)[y]} .
# ```
#
# Divide the first by the second. $Z$ cancels, and softmax is back: $\log p(y \mid x) = E(x) - E(x, y)$. So nothing about
# the classifier changes. Only the number that softmax cancels, $\log \sum_y e^{f(x)[y]}$, has got a meaning.

# %% [markdown]
# ```{exercise-start} The energy of a picture
# :label: ex-joint-energy
# ```
# *Goal: read an energy off the logits of any classifier. About 5 minutes, 1 point.*
#
# Return $E(x)$ of {eq}`eq-jem-marginal` for a batch of logits. Large logits must not overflow, and a gradient must flow back to
# the logits: soon a chain will follow it.


# %% tags=["exercise"]
def joint_energy(logits):
    """Logits (B, K) -> energies (B,)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-joint-energy
# :class: dropdown
# ```
# `torch.logsumexp` subtracts the largest logit before it exponentiates. Whoever applies `log_softmax` first gets zero for
# every picture: normalising over $y$ is exactly what throws $p(x)$ away.


# %% tags=["solution"]
def joint_energy(logits):
    """Logits (B, K) -> energies (B,)."""
    return -torch.logsumexp(logits, dim=1)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.joint_energy(joint_energy)

# %% [markdown]
# **So what does a classifier's $E(x)$ say?** The other way round: suppose you may choose it. You have a trained classifier, you like its
# $p(y \mid x)$, and for every picture somebody names an energy.

# %% [markdown]
# ```{exercise-start} What the softmax cannot see
# :label: ex-unseen-energy
# ```
# *Goal: change the density of a classifier and leave every one of its answers as it is. About 10 minutes, 2 points.*
#
# Return logits that give every picture the same $p(y \mid x)$ as the given ones, and exactly the wanted energy $E(x)$ of
# {eq}`eq-jem-marginal`. There is only one such set of logits. They may lie hundreds of nats apart.


# %% tags=["exercise"]
def with_energies(logits, energies):
    """Logits (B, K) and wanted energies (B,) -> logits (B, K)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-unseen-energy
# :class: dropdown
# ```
# The same number may be added to all logits of a picture; softmax cancels it. First add $E(x)$ as it is: the logits become
# $\log p(y \mid x)$, whose logsumexp is zero. Then subtract the energy that is wanted.


# %% tags=["solution"]
def with_energies(logits, energies):
    """Logits (B, K) and wanted energies (B,) -> logits (B, K)."""
    return logits.log_softmax(1) - energies[:, None]


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.with_energies(with_energies)

# %% [markdown]
# **What does this cost the classifier?** Your function gives it three other energies: every energy turned round, one energy for all
# pictures, and one that holds noise for likelier than any digit. We measure what a classifier is judged by, and beside it how well $E(x)$ tells test
# images from noise: the AUROC, the chance that noise has the higher energy. (The {term}`ECE` measures whether its confidence is honest; more of it
# below.)

# %%
noise = UniformStart(shape).draw(
    min(500, n_test), generator=torch.Generator().manual_seed(seed)
)
f_test, f_noise = (
    logits_of(classifier, test_images),
    logits_of(classifier, noise),
)
e_test, e_noise = joint_energy(f_test), joint_energy(f_noise)
wishes = {
    "as trained": (e_test, e_noise),
    "turned round": (-e_test, -e_noise),
    "one for all": (torch.zeros_like(e_test), torch.zeros_like(e_noise)),
    "noise is likeliest": (e_test, (e_test.min() - 1).expand_as(e_noise)),
}
rows = []
for name, (want, want_noise) in wishes.items():
    f, g = with_energies(f_test, want), with_energies(f_noise, want_noise)
    inside, outside = (joint_energy(v).round(decimals=6) for v in (f, g))
    rows.append(
        {
            "energy": name,
            "accuracy": f"{(f.argmax(1) == test_images.labels).double().mean():.4%}",
            "cross-entropy (nats)": f"{F.cross_entropy(f, test_images.labels):.6f}",
            "ECE (%)": f"{100 * reliability(f, test_images.labels).ece:.4f}",
            "mean E, test images": f"{inside.mean():.2f}",
            "mean E, noise": f"{outside.mean():.2f}",
            "AUROC of E(x)": f"{auroc(inside, outside):.3f}",
        }
    )
record("unseen_energy", rows)
table(
    rows,
    f"One classifier with four energies ({test_images.title}, {len(noise)} pictures of noise)",
)

# %% [markdown]
# Accuracy, cross-entropy and calibration are the same to the last digit, and the energy says whatever was ordered. So the training that made this
# classifier cannot have preferred one of the four: its loss does not see the difference. The energy that a plain classifier ends with is left over
# from where its weights began and which way the optimiser went. That is why a plain classifier is no density, and why the second aim below is needed.

# %% [markdown]
# **Does a plain classifier already know what digits look like?** It has an energy, whether anybody trained it or not. So
# we ask it: chains go down $E(x)$ from real test pictures and from noise.


# %%
def plain(x):
    """Pictures (B, C, H, W) -> E(x) of the classifier, by your function."""
    return joint_energy(classifier(x))


stream = torch.Generator().manual_seed(seed)
places = {
    "real": to_float(test_images.images[:20]),
    "noise": UniformStart(shape).draw(20, generator=stream),
}
gentle = ProximalLangevin(1.0, max_step=0.1, bounds=box)
fallen = {
    name: sample(plain, x, gentle, 40, keep_every=8, generator=stream)
    for name, x in places.items()
}
for name, chain in fallen.items():
    chain_strip(
        torch.cat((places[name][None], chain.path)),
        [0, 8, 16, 24, 32, 40],
        f"Down the plain classifier's energy, from {name} ({test_images.title})",
        n_chains=2,
    )
real_level = plain(places["real"]).mean().item()
made_level = fallen["noise"].energy[-1].mean().item()
made_sure = classifier(fallen["noise"].x).softmax(1).amax(1).mean().item()
say(
    f"Real pictures have a mean energy of {real_level:.1f}. The chains from noise end at {made_level:.1f}, "
    + (
        f"**{real_level - made_level:.1f} nats lower**: the classifier holds its own inventions for likelier than the data. "
        if made_level < real_level
        else f"{made_level - real_level:.1f} nats higher. "
    )
    + f"It is {made_sure:.1%} sure, on average, which class they are. Cross-entropy never asked for anything else."
)
record("plain_gap", real_level - made_level)
with torch.no_grad():
    gap = (
        (plain(places["real"]) - JointEnergy(classifier, shape)(places["real"]))
        .abs()
        .max()
        .item()
    )
say(
    f"The chains went down **your** `joint_energy`. The package's `JointEnergy`, which takes over below, differs from it by {gap:.0e} at most."
)

# %% [markdown]
# ## Two aims, one loss (D2, D3)
#
# Maximum likelihood for the joint density splits into two terms,
#
# ```{math}
# :label: eq-jem-split
# -\log p(x, y) = -\log p(y \mid x) - \log p(x) ,
# ```
#
# the cross-entropy and the likelihood of the picture. The first has an exact gradient. The second has Part B's:
# energies of data down, energies of the model's own samples $x^-$ up. With a weight $\lambda$:
#
# ```{math}
# :label: eq-jem-loss
# \mathcal L = \overline{-\log p(y \mid x^+)} + \lambda \left( \overline{E(x^+)} - \overline{E(x^-)} \right).
# ```
#
# JEM uses $\lambda = 1$. Why split at all, when $E(x, y)$ of data and of samples would do? At $\lambda = 1$ the two data terms even
# add up to $E(x^+, y^+)$, as without the split. What the split changes: negatives come from $p(x)$ and need no labels; and
# the bias of short chains sits in one term alone, while $p(y \mid x)$ keeps an exact gradient. Having the terms apart also
# lets one turn $\lambda$ down, which JEM does not do.

# %% [markdown]
# ```{exercise-start} The joint loss
# :label: ex-joint-loss
# ```
# *Goal: train one network for two aims. About 10 minutes, 2 points.*
#
# Write {eq}`eq-jem-loss` for the logits of data and of finished chains. All bars are means over the batch. Training follows the gradient of your
# result: it must reach the logits of the data, by both terms, and those of the chains. You will train with it below.


# %% tags=["exercise"]
def joint_loss(logits_real, labels, logits_fake, weight):
    """Logits (B, K), labels (B,), logits (B', K), λ -> a scalar to minimise."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-joint-loss
# :class: dropdown
# ```
# With $\lambda = 1$ the logsumexp of the data cancels between the two terms, and what is left pulls up the right class's
# logit alone: the gradient of $-\log p(x, y)$. (`tests/test_joint_loss.py` checks it.)


# %% tags=["solution"]
def joint_loss(logits_real, labels, logits_fake, weight):
    """Logits (B, K), labels (B,), logits (B', K), λ -> a scalar to minimise."""
    contrast = joint_energy(logits_real).mean() - joint_energy(logits_fake).mean()
    return F.cross_entropy(logits_real, labels) + weight * contrast


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.joint_loss(joint_loss)

# %% [markdown]
# The samples $x^-$ come from short chains $x \leftarrow x - \eta \nabla E(x) + \sigma \xi$. At temperature one the noise
# would be $\sigma = \sqrt{2\eta}$. Neither JEM nor JEM++ does that. What their authors run is far colder, $T = \sigma^2 / 2\eta$:
#
# | | η | σ | steps | bounds | chains begin | T |
# |---|---|---|---|---|---|---|
# | JEM | 1 | 0.01 | 20 | none | buffer of 10,000, 5 % noise | $5 \cdot 10^{-5}$ |
# | JEM++ | 0.2, five times | 0 | 10 | gradient ±1, $x \in [-1, 1]$ | buffer of 10,000, 5 % class Gaussians | 0 |
#
# At $T = 0$ a chain is a descent, and its end depends on its beginning alone. What JEM++ samples from is therefore not
# $p(x)$; it is whatever lies downhill of its starts. This makes the starts important.
#
# ## Better starts: one Gaussian a class (D4)
#
# Instead of noise, JEM++ begins chains at draws from $\mathcal N(\mu_y, \Sigma_y)$, mean and covariance of each class's
# training pictures, with $y$ drawn at random. Some pixels are always black, so $\Sigma_y$ is singular, and a small jitter
# on its diagonal repairs that.

# %% [markdown]
# ```{exercise-start} Draws from class Gaussians
# :label: ex-gaussian-starts
# ```
# *Goal: draw from a Gaussian whose pixels know of each other. About 15 minutes, 2 points.*
#
# Return draws from the Gaussians of the wanted classes. Row $b$ of the result is $\mu_y + L_y z_b$ for $y$ = `wanted[b]`, where $L_y L_y^\top = \Sigma_y + \text{jitter} \cdot I$
# is a Cholesky factorisation and $\Sigma_y$ the covariance of the class's images as `torch.cov` computes it.


# %% tags=["exercise"]
def gaussian_starts(images, labels, wanted, z, jitter):
    """Images (N, D), labels (N,), wanted labels (B,), normal z (B, D) -> (B, D)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-gaussian-starts
# :class: dropdown
# ```
# $L z$ has covariance $L L^\top = \Sigma$. The product $\Sigma z$ would have $\Sigma^2$. Mind that `torch.cov` wants
# variables in rows. The package's `GaussianStart` does this for all classes and clamps the draws to $[-1, 1]$.


# %% tags=["solution"]
def gaussian_starts(images, labels, wanted, z, jitter):
    """Images (N, D), labels (N,), wanted labels (B,), normal z (B, D) -> (B, D)."""
    starts = torch.empty_like(z)
    for y in wanted.unique():
        own = images[labels == y]
        covariance = torch.cov(own.T) + jitter * torch.eye(own.shape[1])
        factor = torch.linalg.cholesky(covariance)
        rows = wanted == y
        starts[rows] = own.mean(0) + z[rows] @ factor.T
    return starts


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.gaussian_starts(gaussian_starts)

# %% [markdown]
# **What does a class's Gaussian look like?** Your function draws ten starts of each class, clamped to $[-1, 1]$. The package draws with the same $z$.

# %%
gaussians = GaussianStart.fit(train_images.images, train_images.labels)
n_classes = len(train_images.classes)


def asked(per_class):
    """Labels 0, 1, …, 9, 0, 1, …: rows of one of each class."""
    return torch.arange(n_classes).repeat(per_class)


def seen_as(images):
    """The judge's guesses for uint8 images."""
    return logits_of(judge, images).argmax(1)


stream = torch.Generator().manual_seed(seed + 1)
hundred = asked(10)
z = torch.randn((len(hundred), math.prod(shape)), generator=stream)
flat = to_float(train_images.images).flatten(1)
own_starts = gaussian_starts(flat, train_images.labels, hundred, z, 1e-4)
own_starts = torch.as_tensor(own_starts).float().clamp(-1, 1).reshape(-1, *shape)
image_grid(
    to_uint8(own_starts[: 5 * n_classes]),
    f"Your class Gaussians, no network: column k is class k\n({train_images.title})",
    columns=n_classes,
    width=6,
)
stream = torch.Generator().manual_seed(seed + 1)
theirs = gaussians.draw(len(hundred), labels=hundred, generator=stream)
say(
    f"Your draws and the package's differ by {(own_starts - theirs).abs().max():.0e} at most: single precision rounds, in double it is 1e-6. `GaussianStart` goes on from here; your hundred "
    "draws will be the first chains of a training further down."
)
record("starts_gap", (own_starts - theirs).abs().max().item())

# %%
stream = torch.Generator().manual_seed(seed + 1)
raw_labels = asked(settings.per_class)
raw = to_uint8(gaussians.draw(len(raw_labels), labels=raw_labels, generator=stream))
raw_seen = int((seen_as(raw) == raw_labels).sum())
real_features = extract_features(judge, test_images)


def distance(images):
    """Fréchet distance of uint8 images to the test images, in the judge's features."""
    return frechet_distance(real_features, extract_features(judge, images))


raw_distance = distance(raw)
say(
    f"**Before any network is asked**, the judge (`{settings.judge}`) sees {share(raw_seen, len(raw))} of these blurs as the class "
    f"they were drawn for; their Fréchet distance is {raw_distance:.0f} ({len(raw):,} images, {settings.judge} features). "
    "Whatever a model scores that starts its chains here has to be compared with these two numbers."
)
record("gaussians_as_asked", raw_seen / len(raw))
record("gaussians_frechet", raw_distance)

# %% [markdown]
# ## Bounded steps: proximal SGLD (D4)
#
# While an energy is being trained it grows cliffs, and one steep place throws a chain out of the world of pictures. Where should a step go, then?
# Ask for the best place nearby. Near $x$ the energy is about $E(x) + g \cdot (x' - x)$ with the gradient $g = \nabla E(x)$, and
# the further $x'$ is, the less this is to be trusted. So
#
# ```{math}
# :label: eq-proximal
# x \leftarrow \arg\min_{x'} \; g \cdot (x' - x) + \frac{1}{2 \eta} \lVert x' - x \rVert^2
# \qquad \text{over all } x' \in [-1, 1]^D \text{ with } |x'_i - x_i| \le c \text{ for every pixel } i .
# ```
#
# Without the two conditions the derivative of the sum, $g + (x' - x)/\eta$, is zero at $x' = x - \eta g$: the plain step down the energy. JEM++ adds
# both: no pixel leaves the range of pictures, and no pixel moves further than $c$ at once.

# %% [markdown]
# ```{exercise-start} The proximal step
# :label: ex-proximal
# ```
# *Goal: turn a minimisation with bounds into one line of code. About 15 minutes, 2 points.*
#
# Return the minimiser of {eq}`eq-proximal`, with $\eta$ = `step_size`, $c$ = `max_step`; `grad` is $g$, and `x` lies in $[-1, 1]$. No search is
# needed. What is minimised is a sum over the pixels, and so are the conditions separate: for one pixel, draw the parabola and the two intervals. Leave `x` as it is.


# %% tags=["exercise"]
def proximal_step(x, grad, step_size, max_step):
    """States and gradients (B, C, H, W) -> states after one bounded step in [-1, 1]."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-proximal
# :class: dropdown
# ```
# One pixel has a parabola with its lowest point at $x_i - \eta g_i$, and an interval: what $[x_i - c, x_i + c]$ and $[-1, 1]$ have in common. A parabola is
# lowest at the point of the interval that is nearest to its own lowest point. For an interval that is a clamp, and a clamp to the one and then to the
# other is a clamp to both, since $x_i$ lies in both. So: multiply, clamp the move, clamp the state. Clamping the gradient at $c$ and multiplying afterwards
# would bound the move by $\eta c$.


# %% tags=["solution"]
def proximal_step(x, grad, step_size, max_step):
    """States and gradients (B, C, H, W) -> states after one bounded step in [-1, 1]."""
    return (x - (step_size * grad).clamp(-max_step, max_step)).clamp(-1, 1)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.proximal_step(proximal_step)

# %% [markdown]
# The box's clamp is what gave the step its name: the *proximal operator* of a set is the nearest point of the set. The bound $c$ is a *trust
# region*. (The published code clamps the gradient at $\pm a$ and multiplies afterwards, which is the same step with $c = \eta a$. The next section follows the
# code.)
#
# **Your functions are already a generative model's engine.** Your hundred starts, your energy on the logits of the trained joint model that ships
# with the workbook, your step: forty times. The package's kernel walks beside it.

# %%
fits = shipped is not None and shape == (1, 28, 28)
lens = shipped if fits else classifier  # whose energy is looked at
lens_name = (
    f"shipped joint model, {shipped.card['data']}"
    if fits
    else f"classifier, {train_images.title}"
)


def gradient(network, x):
    """∇E(x) of the network's joint energy, by autograd."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(joint_energy(network(x)).sum(), x)[0]


x, path = own_starts, [own_starts]
for k in range(40):
    x = torch.as_tensor(proximal_step(x, gradient(lens, x), 1.0, 0.1)).float()
    if k % 8 == 7:
        path.append(x)
kernel = ProximalLangevin(1.0, max_step=0.1, bounds=box)
walked = sample(JointEnergy(lens, shape), own_starts, kernel, 40).x
chain_strip(
    torch.stack(path),
    [0, 8, 16, 24, 32, 40],
    f"Your starts, energy and steps\n({lens_name})",
    n_chains=4,
)
as_class = logits_of(judge, to_uint8(x)).argmax(1)
say(
    f"After forty steps the judge sees {share(int((as_class == hundred).sum()), len(x))} of them as the class whose Gaussian they began in. "
    f"The package's chains end {(walked - x).abs().mean():.0e} a pixel away from yours."
)
record("own_chain_gap", (walked - x).abs().mean().item())

# %% [markdown]
# ## A loop that is one step
#
# JEM++ has a third idea, for speed, borrowed from adversarial training {cite}`zhang2019yopo`. A full gradient is dear, a
# gradient through the first layer alone is cheap. So compute $g = \partial E / \partial h$ at the first layer's output
# $h = W x + b$ once, freeze it, and take $N$ *inner* steps in which only the first layer is differentiated anew. The
# published code has $N = 5$ of size 0.2.
#
# ```{math}
# :label: eq-inner
# x_{i+1} = \mathrm{clamp}_{[-1,1]}\bigl(x_i - \eta\, \mathrm{clamp}_{\pm a}(u_i)\bigr),
# \qquad u_i = \nabla_x\, g^\top (W x + b) \text{ at } x = x_i, \qquad i = 0, \dots, N - 1 .
# ```
#
# **Where does it end?** Predict it first: no loop, no autograd.

# %% [markdown]
# ```{exercise-start} The inner loop as one step
# :label: ex-one-step
# ```
# *Goal: see what a loop computes without running it. About 15 minutes, 2 points.*
#
# Return $x_N$ of {eq}`eq-inner` without a loop, for $\eta$ = `step_size`, $a$ = `clip` and $N$ = `n_inner`. `weight` is $W$ with shape (H, D),
# `grad_out` is $g$ for each row, and `x` lies in $[-1, 1]$.


# %% tags=["exercise"]
def one_step(x, weight, grad_out, step_size, n_inner, clip):
    """States (B, D), W (H, D), g (B, H) -> states (B, D) after n_inner inner steps."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-one-step
# :class: dropdown
# ```
# $W^\top g$ for rows is `grad_out @ weight`. Clip first: each inner step clips its own gradient.


# %% tags=["solution"]
def one_step(x, weight, grad_out, step_size, n_inner, clip):
    """States (B, D), W (H, D), g (B, H) -> states (B, D) after n_inner inner steps."""
    downhill = (grad_out @ weight).clamp(-clip, clip)
    return (x - n_inner * step_size * downhill).clamp(-1, 1)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.one_step(one_step)

# %% [markdown]
# ```{prf:theorem} The inner loop
# :label: thm-inner
# Let the first layer be affine, $h = Wx + b$, and let $x_0$ be in the box. The $N$ inner steps {eq}`eq-inner` end where one step of size $N \eta$ ends.
# ```
#
# ```{prf:proof}
# The gradient of $g^\top (W x + b)$ with respect to $x$ is $W^\top g$. It does not contain $x$, so all $u_i$ are the same, and
# so are the clamped steps $d = \eta\, \mathrm{clamp}_{\pm a}(W^\top g)$. Look at one pixel. It moves by $-d$ every time, always in
# one direction, until it meets the wall and stays there. After $N$ steps it is at $x_0 - N d$ or at the wall, whichever
# comes first, which is $\mathrm{clamp}_{[-1,1]}(x_0 - N d)$.
# ```
#
# A convolution is affine in its input, so that this holds for our networks.
#
# **Is the real loop where you predict it to be?** We take the first convolution of the trained joint model apart: fed with one lit pixel after the other, it shows
# the columns of its matrix $W$. From sixteen of your starts, your function predicts where $N$ inner steps of size 0.2 end, and autograd walks them.


# %%
def first_layer(network):
    """The first convolution of either network of this chapter."""
    return next(m for m in network.modules() if isinstance(m, nn.Conv2d))


def frozen_gradient(network, x):
    """∂E/∂h at the output of the first layer."""
    kept = []
    handle = first_layer(network).register_forward_hook(
        lambda m, i, out: kept.append(out)
    )
    energy = joint_energy(network(x.requires_grad_())).sum()
    handle.remove()
    return torch.autograd.grad(energy, kept[0])[0]


def matrix_of(layer):
    """The weight (H, D) of a convolution written as a matrix."""
    pixels = torch.eye(math.prod(shape)).reshape(-1, *shape)
    with torch.no_grad():
        return (layer(pixels) - layer(torch.zeros(1, *shape))).flatten(1).T


x0 = own_starts[:16]
layer, g = first_layer(lens), frozen_gradient(lens, x0.clone())
matrix = (
    matrix_of(layer) if math.prod(shape) < 1000 else None
)  # gigabytes for a photograph
rows, inner_gap = [], 0.0
for n_inner in (1, 5, 20, 100):
    x_loop = x0.clone()
    for _ in range(n_inner):
        at = x_loop.detach().requires_grad_()
        (u,) = torch.autograd.grad((layer(at) * g).sum(), at)
        x_loop = (x_loop - 0.2 * u.clamp(-1, 1)).clamp(-1, 1).detach()
    if matrix is not None:
        x_once = one_step(x0.flatten(1), matrix, g.flatten(1), 0.2, n_inner, 1.0)
        x_once = torch.as_tensor(x_once).float().reshape(x0.shape)
    else:  # u is Wᵀg
        x_once = (x0 - n_inner * 0.2 * u.clamp(-1, 1)).clamp(-1, 1)
    inner_gap = max(inner_gap, (x_loop - x_once).abs().max().item())
    rows.append(
        {
            "inner steps N": n_inner,
            "mean move, predicted": f"{(x_once - x0).abs().mean():.4f}",
            "measured": f"{(x_loop - x0).abs().mean():.4f}",
            "on the walls, predicted": f"{(x_once.abs() == 1).double().mean():.1%}",
            "measured ": f"{(x_loop.abs() == 1).double().mean():.1%}",
            "largest difference of a pixel": f"{(x_loop - x_once).abs().max():.0e}",
        }
    )
record("inner", rows)
record("inner_gap", inner_gap)
table(
    rows,
    f"N inner steps of 0.2 with the gradient frozen: your prediction and the loop ({lens_name})",
)

say(
    f"The clip never acts here: the largest gradient of a pixel is {u.abs().max():.2f}, the clip ±1. What stops pixels is the wall."
    if u.abs().max() < 1
    else f"The clip holds back {(u.abs() > 1).double().mean():.1%} of the pixels."
)

# %% [markdown]
# Prediction and loop agree up to rounding, for every $N$: the loop computes nothing that one multiplication by $N$ would not. **Then what is a frozen gradient
# worth?** Beside $N$ inner steps, which cost one gradient, we walk $N$ outer steps of 0.2, each with a fresh one.

# %%
with torch.no_grad():
    e_start = joint_energy(lens(x0)).mean().item()
rows, x_outer, n_walked = [], x0, 0
for n_steps in (5, 20, 100):
    for _ in range(n_steps - n_walked):
        x_outer = (x_outer - 0.2 * gradient(lens, x_outer).clamp(-1, 1)).clamp(-1, 1)
    n_walked = n_steps
    x_inner = (x0 - n_steps * 0.2 * gradient(lens, x0).clamp(-1, 1)).clamp(-1, 1)
    with torch.no_grad():
        falls = [
            e_start - joint_energy(lens(x)).mean().item() for x in (x_inner, x_outer)
        ]
    rows.append(
        {
            "steps N": n_steps,
            "E falls by, inner (1 gradient)": f"{falls[0]:.3f}",
            "E falls by, outer (N gradients)": f"{falls[1]:.3f}",
        }
    )
record("inner_outer", rows)
table(rows, f"From your starts at a mean energy of {e_start:.2f} nats ({lens_name})")

# %% [markdown]
# For twenty steps, one gradient goes as far as a fresh one each time; over a hundred, the fresh ones go further. That says that 0.2 is a
# small step; a single step of 1.0 would have done, and no inner loop. So the speed-up that the paper reports must come from its ten outer steps in
# place of JEM's twenty, and from the better starts.

# %% [markdown]
# ## Joint training (D2, D3)
#
# ```{prf:algorithm} Joint training with class-wise starts and proximal steps
# :label: alg-jem
# **Inputs** labelled data; classifier $f$; class Gaussians; buffer $\mathcal B$; λ
#
# 1. repeat
#    1. draw a labelled batch $(x^+, y)$; add a little Gaussian noise; clamp to $[-1, 1]$
#    2. draw starts: 95 % from $\mathcal B$, 5 % from class Gaussians (all, while $\mathcal B$ is empty)
#    3. take $M$ steps {eq}`eq-proximal` on $E(x)$, giving $x^-$; push $x^-$ into $\mathcal B$
#    4. take one Adam step on {eq}`eq-jem-loss`, the gradient's norm bounded
#    5. every so often: measure the accuracy on held-out images, and write a checkpoint
#    6. if anything is not finite, or energies of data and samples run apart: back to the last good checkpoint, with half
#       the step
# 2. until the budget is spent
# ```
#
# In the experiments all kernels keep a little noise, σ = 0.01, so that they differ in their bounds alone: the proximal step has two of them, on the move and on the
# state, and each can be had without the other. Step 6 is
# there because divergence is the first thing every user of JEM meets. `train_jem` does it, and reports it.

# %%
recipe = dict(
    n_steps=settings.chain_steps,
    capacity=settings.capacity,
    lr=settings.lr,
    warmup=settings.warmup,
    betas=(0.0, 0.999),
    data_noise=0.03,
    weight=1.0,
)
KERNELS = {
    "SGLD": Langevin(1.0, noise=0.01),
    "SGLD in the box": Langevin(1.0, noise=0.01, bounds=box),
    "bounded steps": ProximalLangevin(1.0, max_step=0.1, noise=0.01),
    "proximal": ProximalLangevin(1.0, max_step=0.1, noise=0.01, bounds=box),
}
STARTS = {"noise": UniformStart(shape), "class Gaussians": gaussians}


def train_joint(
    max_steps,
    *,
    name,
    run_seed=seed,
    kernel="proximal",
    start="class Gaussians",
    watchers=(),
    forgiven=3,
    **changes,
):
    """Fine-tune the classifier jointly; a finished run is loaded, an unfinished one goes on, a diverging one is rescued."""
    chosen = {**recipe, **changes}
    return train_jem(
        classifier,
        train_images,
        val_images,
        recipe=JEMConfig(kernel=KERNELS[kernel], **chosen, seed=run_seed),
        config=FitConfig(
            max_steps,
            batch_size=settings.batch_size,
            seed=run_seed,
            name=name,
            flip=settings.flip,
            checkpoint_every=max(10, max_steps // 10),
            validate_every=max(1, max_steps // settings.looks),
            log_every=1 if max_steps <= 200 else 10,
        ),
        start=STARTS[start],
        callbacks=list(watchers),
        max_recoveries=forgiven,
    )


# %% [markdown]
# **With your four functions it fits on a page.** Fresh chains begin at your hundred draws, and a buffer keeps the newest ends. The package trains beside it, from
# the same classifier, with the same settings, at a quarter of the learning rate that follows: a buffer that is still filling holds few chains, and these are easily led astray. It draws other batches, so the curves can run together, but not on top of each other.


# %%
def train_by_hand(n_steps, batch_size=settings.batch_size):
    """Joint training by the exercises' functions alone: the network, and a row (cross-entropy, contrast) a step."""
    stream = torch.Generator().manual_seed(seed)
    network, chains, rows = copy.deepcopy(classifier), own_starts[:0], []
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.0, 0.999))
    for step in range(n_steps):
        index = torch.randint(len(train_images), (batch_size,), generator=stream)
        real, labels = to_float(train_images.images[index]), train_images.labels[index]
        real = (real + 0.03 * torch.randn(real.shape, generator=stream)).clamp(-1, 1)
        begun = chains if len(chains) else own_starts
        x = begun[torch.randint(len(begun), (batch_size,), generator=stream)]
        other = torch.randint(len(own_starts), (batch_size,), generator=stream)
        fresh = torch.rand(batch_size, generator=stream) < 0.05
        x[fresh] = own_starts[other[fresh]]
        for _ in range(settings.chain_steps):
            x = torch.as_tensor(
                proximal_step(x, gradient(network, x), 1.0, 0.1)
            ).float()
            x = (x + 0.01 * torch.randn(x.shape, generator=stream)).clamp(-1, 1)
        chains = torch.cat((chains, x))[-settings.capacity :]
        logits, logits_fake = network(real), network(x)
        loss = joint_loss(logits, labels, logits_fake, 1.0)
        optimizer.param_groups[0]["lr"] = (
            settings.lr / 4 * min(1.0, (step + 1) / settings.warmup)
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        wrong = F.cross_entropy(logits, labels).item()
        rows.append((wrong, loss.item() - wrong))
    return network, rows


by_hand, hand_rows = train_by_hand(settings.hand_steps)
beside, _ = train_joint(
    settings.hand_steps, name="jem_by_hand", decay="constant", lr=settings.lr / 4
)

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 2.9))
for ax, column, (key, title) in zip(
    axes,
    zip(*hand_rows, strict=True),
    (
        ("cross_entropy", "Cross-entropy"),
        ("contrast", "Contrast, E(data) − E(samples)"),
    ),
    strict=True,
):
    curves(
        {
            "by hand": (range(1, len(column) + 1), column),
            "the package": beside.curve(key),
        },
        title,
        ylabel="nats",
        smooth=max(1, settings.hand_steps // 30),
        ax=ax,
    )
_ = fig.suptitle(
    f"{settings.hand_steps} steps of joint training ({train_images.title})"
)
say(
    f"After {settings.hand_steps} steps of batch {settings.batch_size}: {share(n_right(by_hand, test_images), n_test)} of the test images right by your training, "
    f"{share(n_right(beside.module.classifier, test_images), n_test)} by the package's, {share(right_before, n_test)} before."
)
record("by_hand_accuracy", n_right(by_hand, test_images) / n_test)

# %% [markdown]
# From here on the package trains: longer, with a larger buffer, with logs, checkpoints and the rescue of step 6.

# %%
watch = QualityWatch(settings.train_steps // settings.looks, distance, settings.study_n)
run, recoveries = train_joint(settings.train_steps, name="jem", watchers=[watch])
joint = run.module.classifier
right_after = n_right(joint, test_images)
say(
    f"{run.steps:,} steps of batch {settings.batch_size} on {train_images.title} in **{run.seconds / 60:.1f} minutes** "
    f"({1000 * run.seconds / run.steps:.0f} ms a step). Test accuracy: **{share(right_after, n_test)}** after joint training, "
    f"{share(right_before, n_test)} before: a change of {100 * (right_after - right_before) / n_test:+.2f} points. "
    + (
        f"It diverged {len(recoveries)} time(s): "
        + "; ".join(map(str, recoveries))
        + "."
        if recoveries
        else "It did not diverge."
    )
)
record("train_seconds", run.seconds)
record("train_steps", run.steps)
record("joint_accuracy", right_after / n_test)
record("recoveries", [str(r) for r in recoveries])

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(9.6, 3))
smooth = max(1, len(run.curve("loss")[0]) // 40)
curves(
    {"cross-entropy": run.curve("cross_entropy"), "contrast": run.curve("contrast")},
    f"Both terms ({train_images.title})",
    smooth=smooth,
    ylabel="nats",
    ax=axes[0],
)
curves(
    {"data": run.curve("energy_real"), "samples": run.curve("energy_fake")},
    "Mean energy",
    smooth=smooth,
    ylabel="nats",
    ax=axes[1],
)
curves(
    {"joint training": run.curve("val_accuracy")},
    f"Held-out accuracy, {len(val_images):,} images",
    ax=axes[2],
)
axes[2].axhline(
    n_right(classifier, val_images) / len(val_images), color="black", lw=0.8, ls="--"
)
say(
    f"Watched on {len(val_images):,} held-out images, the accuracy went from {run.curve('val_accuracy')[1][0]:.3f} at the first "
    f"look to {run.curve('val_accuracy')[1][-1]:.3f} at the last. The dashed line is the classifier before."
)

# %% tags=["hide-input"]
chain_strip(
    torch.stack([pictures[:6] for pictures in watch.pictures]),
    watch.steps,
    f"New negatives as the model ages ({train_images.title}); each look shows other chains",
    xlabel="optimiser step",
)
curves(
    {f"newest {settings.study_n} negatives": (watch.steps, watch.values)},
    f"Negatives in training ({train_images.title})",
    ylabel="Fréchet distance",
)
plt.gca().axhline(
    raw_distance, color="black", lw=0.8, ls="--", label="class Gaussians alone"
)
_ = plt.gca().legend()

# %% [markdown]
# ## Digits on request (D5)
#
# To draw class $y$, begin at its Gaussian and go down $E(x, y) = -f(x)[y]$.


# %%
def draw(
    network,
    per_class,
    n_steps,
    *,
    kernel="proximal",
    start="class Gaussians",
    stream_seed=seed + 2,
):
    """Chains on E(x, y), per_class of each class: uint8 images and the labels asked for."""
    labels = asked(per_class)
    stream = torch.Generator().manual_seed(stream_seed)
    x = STARTS[start].draw(len(labels), labels=labels, generator=stream)
    energy = JointEnergy(network, shape).given(labels)
    return to_uint8(
        sample(energy, x, KERNELS[kernel], n_steps, generator=stream, fast=True).x
    ), labels


def coverage(images):
    """exp of the entropy of the judge's guesses: as many classes, evenly drawn, would be as varied."""
    shares = seen_as(images).bincount(minlength=n_classes).double() / len(images)
    return torch.special.entr(shares).sum().exp().item()


pictures, labels = draw(joint, settings.per_class, settings.sample_steps)
agree = seen_as(pictures) == labels
newest = to_uint8(run.module.buffer.newest(settings.n_eval))
n_pictures = len(pictures)
image_grid(
    pictures[:100],
    f"This run ({profile}, {train_images.title}): column k was asked for class k, {settings.sample_steps} steps, not selected",
    columns=n_classes,
    width=6,
)
compared = {
    **controls(train_images, n_pictures, seed=seed),
    "newest negatives, this run": newest[:n_pictures],
    "class Gaussians alone": raw,
    "on request, this run": pictures,
}
compared.pop("one Gaussian a class")  # "class Gaussians alone" are such draws
told = {
    "class Gaussians alone": share(raw_seen, len(raw)),
    "on request, this run": share(int(agree.sum()), n_pictures),
}
quality, spread = {}, {}
for name, x in compared.items():
    features = extract_features(judge, x)
    quality[name] = frechet_distance(real_features, features)
    spread[name] = frechet_interval(real_features, features, n=settings.resamples)
quality_rows = [
    {
        "images": name,
        "n": len(compared[name]),
        "Fréchet distance": f"{quality[name]:.1f}",
        "95 % interval, bias taken out": "{:.1f} to {:.1f}".format(*spread[name]),
        "seen as asked": told.get(name, "–"),
        "classes covered": "as asked"
        if name in told
        else f"{coverage(compared[name]):.2f}",
    }
    for name in sorted(quality, key=quality.get)
]
table(
    quality_rows,
    f"Against the test images of {test_images.title}, {settings.judge} features",
)
sample_distance = quality["on request, this run"]
better = agree.double().mean().item() > raw_seen / len(raw)
say(
    f"The judge sees **{share(int(agree.sum()), n_pictures)}** of the samples as the class asked for, against {share(raw_seen, len(raw))} "
    f"of the Gaussian blurs they began as. So the chains {'add to' if better else 'do not add to'} what the starts bring, by this measure; "
    f"in Fréchet distance they go from {raw_distance:.0f} to {sample_distance:.0f}."
)
record("samples_as_asked", agree.double().mean().item())
record("samples_n", n_pictures)
record("samples_frechet", sample_distance)
record("quality", {name: [quality[name], *spread[name]] for name in quality})

# %% tags=["hide-input"]
class_rows = [
    {
        "class": train_images.classes[k],
        "seen as asked": f"{agree[labels == k].double().mean():.0%}",
        "Gaussians alone": f"{(seen_as(raw[raw_labels == k]) == k).double().mean():.0%}",
    }
    for k in range(n_classes)
]
table(class_rows, f"{settings.per_class} samples of each class ({train_images.title})")
record("classes", class_rows)

# %% [markdown]
# ### How long should the chain be that draws? (D5)
#
# Training takes a few steps a chain, and lets the chains of the buffer live on. Nothing says that a fresh chain is finished after so few. **What becomes of digits on request if their
# chains go on?** Too short, and they are still the blurs they began as; too long, and they leave the region that training has shaped (Part B shows what becomes of other energies). The
# distances of this table are to *training* images, since a length is chosen by them; the table above has the test images.

# %% tags=["hide-input"]
train_features = extract_features(judge, train_images.images[: settings.n_eval])
labels_asked = asked(settings.per_class)
stream = torch.Generator().manual_seed(seed + 3)
x = gaussians.draw(len(labels_asked), labels=labels_asked, generator=stream)
asked_energy = JointEnergy(joint, shape).given(labels_asked)
length_rows, length_pictures, done = [], [], 0
for length in (0, *settings.lengths):
    if length > done:
        x = sample(
            asked_energy,
            x,
            KERNELS["proximal"],
            length - done,
            generator=stream,
            fast=True,
        ).x
        done = length
    images = to_uint8(x)
    features = extract_features(judge, images)
    low, high = frechet_interval(train_features, features, n=settings.resamples)
    with torch.no_grad():
        level = asked_energy(x).mean().item()
    length_rows.append(
        {
            "steps": length,
            "Fréchet distance": frechet_distance(train_features, features),
            "low": low,
            "high": high,
            "seen as asked": (seen_as(images) == labels_asked).double().mean().item(),
            "mean energy (nats)": level,
        }
    )
    length_pictures.append(images[:n_classes])
table(
    [
        {
            "steps": row["steps"],
            "Fréchet distance": f"{row['Fréchet distance']:.1f}",
            "95 % interval, bias taken out": f"{row['low']:.1f} to {row['high']:.1f}",
            "seen as asked": f"{row['seen as asked']:.1%}",
            "mean E(x, y) (nats)": f"{row['mean energy (nats)']:.1f}",
        }
        for row in length_rows
    ],
    f"{len(labels_asked):,} chains from class Gaussians, against {len(train_features):,} training images of {everything.title}; step 0 is the start",
)
image_grid(
    torch.cat(length_pictures),
    f"One row a length ({', '.join(str(row['steps']) for row in length_rows)} steps), the same chains ({train_images.title})",
    columns=n_classes,
    width=6,
)
nearest = min(length_rows, key=lambda row: row["Fréchet distance"])
last_length = length_rows[-1]
say(
    f"The nearest samples come after **{nearest['steps']} steps** (distance {nearest['Fréchet distance']:.1f}, {nearest['seen as asked']:.1%} as asked). "
    + (
        "The longest chains are the nearest; how far that goes on, this table does not say."
        if nearest is last_length
        else f"After {last_length['steps']} steps the distance is {last_length['Fréchet distance']:.1f}: "
        + (
            "clearly further away again. These chains do not settle at the data either; a length is part of the model."
            if last_length["low"] > nearest["high"]
            else "no clear difference from the best."
        )
    )
)
record("lengths", length_rows)

# %% [markdown]
# ## What are the two improvements worth? (D4)
#
# **The question.** JEM++ changes the starts and the step together, and its step has two bounds. Which of the three helps, and with what? A 2×2×2 experiment
# answers: *where chains begin* (noise, or class Gaussians; both with a buffer and 5 % fresh starts), *whether a pixel's move is bounded*, and *whether the state is kept in the
# box* $[-1, 1]$. Without either bound the step is JEM's {term}`SGLD`; with both it is {term}`proximal <proximal step>`. Everything else is the same: the classifier they
# begin with, the step size, the noise, $M$ steps a chain, the number of optimiser steps. (A run that is rescued
# goes on with half the learning rate, and is no longer quite the same experiment: the table counts the rescues.) Three more rows ask further questions:
#
# - *no buffer*: class Gaussians and proximal steps, but every chain begins afresh, as the assignment words it;
# - *JEM's own chains*: noise, SGLD, 20 steps a chain, and half the optimiser steps, so that it spends as many gradient calls;
# - *JEM's own optimiser too*: its rate $10^{-4}$ and $\beta_1 = 0.9$ besides.
#
# What of the published recipes is *not* in this table: both papers train a Wide-ResNet-28-10 on CIFAR-10 for 150 to 200 epochs, from scratch, where we fine-tune a trained small network. JEM++ takes its
# gradient in an inner loop with $\eta = 0.2$, clamps it at ±1, so that a step moves a pixel by up to 0.2 {cite}`yang2021jempp`, adds no noise, keeps batch norm, and trains by SGD with momentum at a rate of 0.1. Our bound is 0.1.
#
# - *accuracy* on the test set;
# - *Fréchet distance* of samples drawn on request, each by its own start and kernel, in the features of the
#   judge, never of the model itself; *seen as asked* by the judge; *classes covered*, of ten, by the newest negatives;
# - *Fréchet distance of the newest negatives*, which is not comparable across starts: 5 % of them restarted $M$ steps ago, and a start of
#   noise is then still noise, which alone costs more than all the rest;
# - *steps and seconds to quality*: when samples on request, drawn at every look, first come closer than half the distance of the class
#   Gaussians alone. The unit is a look; the seconds include the looks, and leave out what a rescue threw away;
# - *rescues*: divergences that were caught and survived. A run that needed more than three counts as not finished.


# %%
def joint_study(seed, kernel, start, steps, chain, restart=0.05, lr=None, beta1=0.0):
    """Fine-tune briefly from one start with one kernel; accuracy, quality, speed, stability."""
    per_class = max(1, settings.study_n // n_classes)
    looks = QualityWatch(
        max(1, steps // settings.study_looks),
        distance,
        settings.study_n,
        draw=lambda module: draw(
            module.classifier,
            per_class,
            settings.study_draw,
            kernel=kernel,
            start=start,
        )[0],
    )
    trained, rescued = train_joint(
        steps,
        name="jem_study",
        run_seed=seed,
        kernel=kernel,
        start=start,
        n_steps=chain,
        restart=restart,
        lr=settings.lr if lr is None else lr,
        betas=(beta1, 0.999),
        watchers=[looks],
    )
    network = trained.module.classifier
    images, wanted = draw(
        network, per_class, settings.study_draw, kernel=kernel, start=start
    )
    newest = to_uint8(trained.module.buffer.newest(settings.study_n))
    reached = next(
        (
            s
            for s, v in zip(looks.steps, looks.values, strict=True)
            if v < raw_distance / 2
        ),
        None,
    )
    contrast = torch.tensor(trained.curve("contrast")[1])
    return {
        "accuracy": 100 * n_right(network, test_images) / n_test,
        "frechet": distance(images),
        "negatives": distance(newest),
        "agreement": 100 * (seen_as(images) == wanted).double().mean().item(),
        "coverage": coverage(newest),
        "reached": reached,
        "reached_seconds": None
        if reached is None
        else reached * trained.seconds / trained.steps,
        "largest": contrast.abs().max().item(),
        "rescues": len(rescued),
        "ms": 1000 * trained.seconds / trained.steps,
        "curve": [looks.steps, looks.values],
        "images": images[: 2 * n_classes],
    }


if study("starts-and-steps"):
    cells = {
        f"{start}, {kernel}": dict(
            start=start,
            kernel=kernel,
            chain=settings.chain_steps,
            steps=settings.study_steps,
        )
        for start in STARTS
        for kernel in KERNELS
    }
    cells["class Gaussians, proximal, no buffer"] = {
        **cells["class Gaussians, proximal"],
        "restart": 1.0,
    }
    cells["JEM's own chains: noise, SGLD, twice M"] = dict(
        start="noise",
        kernel="SGLD",
        chain=2 * settings.chain_steps,
        steps=settings.study_steps // 2,
    )
    cells["JEM's own optimiser too"] = {
        **cells["JEM's own chains: noise, SGLD, twice M"],
        "lr": 1e-4,
        "beta1": 0.9,
    }
    outcome = sweep(
        "jem_study",
        joint_study,
        cells,
        seeds=range(seed, seed + settings.seeds),
    )
    columns = {
        "accuracy (%)": "accuracy",
        "Fréchet, on request": "frechet",
        "Fréchet, negatives": "negatives",
        "seen as asked (%)": "agreement",
        "classes covered": "coverage",
        "steps to quality": "reached",
        "seconds to quality": "reached_seconds",
        "largest contrast logged (nats)": "largest",
        "rescues": "rescues",
        "ms a step": "ms",
    }
    study_rows = summary(outcome, columns, first="starts, kernel")
    for row, name in zip(study_rows, cells, strict=True):
        if row["steps to quality"] is None:
            row["steps to quality"] = row["seconds to quality"] = "not reached"
        arrived = [
            c.values.get("reached")
            for c in outcome
            if c.name == name and c.diverged is None
        ]
        row["arrived"] = f"{sum(a is not None for a in arrived)} of {settings.seeds}"
    table(
        study_rows,
        f"{settings.study_steps} optimiser steps each on {train_images.title}, M = {settings.chain_steps} (JEM's own: half the steps, twice M), mean ± standard deviation over {settings.seeds} seed(s), "
        f"{settings.study_n} samples of {settings.study_draw} steps. The contrast of a step that diverges is not among the logged ones: read it with the rescues",
    )
    record("study", study_rows)
    record("study_n", settings.study_n)

# %% tags=["hide-input"]
if study("starts-and-steps-pictures"):
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.9))
    for name in cells:
        here = [c for c in outcome if c.name == name and c.diverged is None]
        if here:
            xs = here[0].values["curve"][0]
            ys = torch.tensor([c.values["curve"][1] for c in here])
            (line,) = left.plot(xs, ys.mean(0), "o-", ms=3, label=name)
            left.fill_between(
                xs, ys.amin(0), ys.amax(0), alpha=0.15, color=line.get_color(), lw=0
            )
            right.plot(
                [c.values["accuracy"] for c in here],
                [c.values["frechet"] for c in here],
                "o",
                label=name,
            )
    left.axhline(raw_distance / 2, color="black", lw=0.8, ls="--")
    left.set(
        xlabel="optimiser step",
        ylabel="Fréchet distance",
        yscale="log",
        title="On request, look by look; bands: all seeds",
    )
    right.axvline(100 * right_before / n_test, color="black", lw=0.8, ls="--")
    right.set(
        xlabel="test accuracy (%)",
        ylabel="Fréchet distance, on request",
        yscale="log",
        title="The two aims; a dot a seed",
    )
    fig.legend(
        *left.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        fontsize=8,
    )
    _ = fig.suptitle(
        f"Starts × kernel ({train_images.title}); dashed: the quality aimed at, the classifier before"
    )

    fig, axes = plt.subplots(len(cells), 1, figsize=(6, 1.5 * len(cells)))
    for ax, name in zip(axes, cells, strict=True):
        first = next(c for c in outcome if c.name == name)
        if first.tensors:
            image_grid(first.tensors["images"], columns=n_classes, ax=ax)
        ax.set_title(
            name + ("" if first.diverged is None else ": diverged"), fontsize=9
        )
        ax.axis("off")
    _ = fig.suptitle(
        f"On request, classes 0 to 9, seed {seed}\n({train_images.title})", fontsize=10
    )

# %% tags=["hide-input"]
if study("starts-and-steps-in-words"):

    def mean_of(name, key):
        """Mean over the seeds that finished, or NaN."""
        found = [
            c.values[key]
            for c in outcome
            if c.name == name and c.diverged is None and c.values.get(key) is not None
        ]
        return sum(found) / len(found) if found else math.nan

    def rescued_of(kernel):
        """Rescues of all runs with one kernel, and how many runs they were."""
        runs = [
            c
            for c in outcome
            if c.name in {f"{s}, {kernel}" for s in STARTS} and c.diverged is None
        ]
        return f"{sum(c.values['rescues'] for c in runs)} in {len(runs)} runs"

    def values_of(name, key):
        """One number a seed that finished."""
        return [
            c.values[key]
            for c in outcome
            if c.name == name and c.diverged is None and c.values.get(key) is not None
        ]

    def change(a, b, key):
        """The difference of two cells' means, and the half-width of its 95 % interval by Welch's t."""
        one, two = (
            torch.tensor(values_of(n, key), dtype=torch.float64) for n in (a, b)
        )
        if min(len(one), len(two)) < 2:
            return mean_of(b, key) - mean_of(a, key), math.inf
        parts = one.var() / len(one), two.var() / len(two)
        freedom = float(sum(parts)) ** 2 / max(
            sum(
                float(v) ** 2 / (len(x) - 1)
                for v, x in zip(parts, (one, two), strict=True)
            ),
            1e-30,
        )
        return float(two.mean() - one.mean()), float(
            stats.t.ppf(0.975, max(1.0, freedom)) * sum(parts) ** 0.5
        )

    FACTORS = {
        "Class Gaussians in place of noise": [
            (f"noise, {k}", f"class Gaussians, {k}", k) for k in KERNELS
        ],
        "A bound on the move": [
            (f"{s}, {a}", f"{s}, {b}", f"{s}, {told}")
            for s in STARTS
            for a, b, told in (
                ("SGLD", "bounded steps", "no box"),
                ("SGLD in the box", "proximal", "box"),
            )
        ],
        "The box": [
            (f"{s}, {a}", f"{s}, {b}", f"{s}, {told}")
            for s in STARTS
            for a, b, told in (
                ("SGLD", "SGLD in the box", "no bound"),
                ("bounded steps", "proximal", "bounded move"),
            )
        ],
    }
    effects, effect_rows = [], []
    for factor, pairs in FACTORS.items():
        for a, b, told in pairs:
            row = {"what is added": factor, "where": told}
            for heading, key in (
                ("Fréchet distance, on request", "frechet"),
                ("accuracy (%)", "accuracy"),
            ):
                by, half = change(a, b, key)
                row[heading] = (
                    f"{mean_of(a, key):.1f} → {mean_of(b, key):.1f} ({by:+.1f} ± {half:.1f})"
                    + ("" if abs(by) > half else ", not told apart")
                )
                effects.append([factor, told, key, by, half])
            effect_rows.append(row)
    table(
        effect_rows,
        f"What one change does, everything else equal: mean → mean (difference ± half of its 95 % interval, by Welch's t over {settings.seeds} seed(s) a cell)",
    )
    record("effects", effects)

    def clear_in(factor, key):
        """In how many of the four places a change is clear, and in which direction."""
        found = [(by, half) for f, _, k, by, half in effects if (f, k) == (factor, key)]
        down = sum(by < -half for by, half in found)
        up = sum(by > half for by, half in found)
        return f"lower in {down}, higher in {up} of {len(found)} places"

    say(
        "Counting clear differences only: "
        + "; ".join(
            f"**{factor[0].lower()}{factor[1:]}** makes the distance {clear_in(factor, 'frechet')}, and the accuracy {clear_in(factor, 'accuracy')}"
            for factor in FACTORS
        )
        + f". Rescues: {', '.join(f'{k} {rescued_of(k)}' for k in KERNELS)}. "
        + (
            f"{len(lost)} run(s) diverged for good: {', '.join(sorted({c.name for c in lost}))}."
            if (lost := [c for c in outcome if c.diverged is not None])
            else "No run was lost."
        )
    )

    good = [n for n in cells if not math.isnan(mean_of(n, "frechet"))]
    if good:
        best = min(good, key=lambda n: mean_of(n, "frechet"))
        full_name = "class Gaussians, proximal"
        start_effect = mean_of(full_name, "frechet") - mean_of(
            "noise, proximal", "frechet"
        )
        say(
            f"**Do we agree with the paper?** It reports better samples, a higher accuracy and stable training from the two together. "
            f"Here, on {train_images.title} and a small budget, the best samples on request come from *{best}* "
            f"(distance {mean_of(best, 'frechet'):.0f}, accuracy {mean_of(best, 'accuracy'):.1f} %); the paper's combination has {mean_of(full_name, 'frechet'):.0f} "
            f"and {mean_of(full_name, 'accuracy'):.1f} %, JEM's start and kernel at the same M {mean_of('noise, SGLD', 'frechet'):.0f} and {mean_of('noise, SGLD', 'accuracy'):.1f} %. "
            f"With proximal steps, the class Gaussians change the distance by {start_effect:+.0f} and the accuracy by {mean_of(full_name, 'accuracy') - mean_of('noise, proximal', 'accuracy'):+.1f} points: "
            + (
                (
                    "they buy accuracy, not closer samples. "
                    if mean_of(full_name, "accuracy")
                    > mean_of("noise, proximal", "accuracy")
                    else "they do not help here. "
                )
                if start_effect > 0
                else "they help, though the raw Gaussians "
                f"already have {raw_distance:.0f} ({len(raw)} images), so that part of it is given before any training. "
            )
            + "The paper's own figures are for photographs, where class Gaussians are blurs of colour."
        )

# %% [markdown]
# ## A run that diverges, and is rescued
#
# **What does it look like?** We provoke it: a learning rate twenty-five times ours, and SGLD without bounds. A
# contrast beyond 500 nats is called a divergence here (elsewhere beyond 1,000).

# %%
if study("divergence"):
    try:
        wild_run, wild = train_joint(
            settings.rescue_steps,
            name="jem_rescue",
            kernel="SGLD",
            start="noise",
            lr=25 * settings.lr,
            warmup=0,
            max_contrast=500.0,
            forgiven=8,
        )
        end = f"the run finished its {wild_run.steps} steps, accuracy {n_right(wild_run.module.classifier, test_images) / n_test:.1%}"
    except TrainingDiverged as error:
        wild, end = None, f"it gave up: {str(error).rstrip('.')}"
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
            f"Rescues of a run that was set up to fail ({train_images.title}); step 0 is the classifier before joint training",
        )
    say(f"Rescues: {len(wild)}; {end}." if wild is not None else f"Too wild: {end}.")
    record("provoked", None if wild is None else len(wild))

# %% [markdown]
# ## What is it good for? (D6)
#
# The classifier is compared with the joint model it became. Intervals are 95 %: Wilson's for shares, the {term}`bootstrap`
# otherwise. They tell what another test set would change, not what another training run would.
#
# ### Calibration
#
# **When it says 90 %, is it right nine times in ten?** Sort the test images by confidence into bins, and compare in each
# bin the mean confidence with the share that is right {cite}`guo2017calibration`. The expected calibration error, ECE, is
# the mean size of this gap over the bins, each weighted by its share of the $N$ pictures:
#
# ```{math}
# :label: eq-ece
# \mathrm{ECE} = \sum_k \frac{n_k}{N}\, \bigl| \mathrm{acc}_k - \mathrm{conf}_k \bigr| ,
# ```
#
# with $n_k$ pictures in bin $k$, $\mathrm{acc}_k$ the share of them that is right, and $\mathrm{conf}_k$ their mean confidence. A small test set makes it too high, because a bin of few pictures has a gap by
# chance, however well {term}`calibrated <calibration>` the classifier is. Our bootstrap interval corrects for this, so it
# may lie below the ECE.

# %% [markdown]
# ```{exercise-start} The expected calibration error
# :label: ex-ece
# ```
# *Goal: measure whether a confidence can be taken at its word. About 15 minutes, 2 points.*
#
# Write {eq}`eq-ece`. Its $n$ = `n_bins` bins are $[\frac{k}{n}, \frac{k+1}{n})$, the last one closed. Empty bins count nothing.


# %% tags=["exercise"]
def ece(confidence, correct, n_bins):
    """Confidences (N,), right or wrong (N,) bool -> a scalar in [0, 1]."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-ece
# :class: dropdown
# ```
# The absolute value goes around each bin's gap. Taken around the total, too much confidence here would hide too little
# there.


# %% tags=["solution"]
def ece(confidence, correct, n_bins):
    """Confidences (N,), right or wrong (N,) bool -> a scalar in [0, 1]."""
    place = (confidence * n_bins).long().clamp(max=n_bins - 1)
    total = confidence.new_zeros(())
    for k in place.unique():
        here = place == k
        gap = correct[here].double().mean() - confidence[here].mean()
        total = total + here.double().mean() * gap.abs()
    return total


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.ece(ece)

# %% [markdown]
# **How honest is the shipped model, and how much of the answer is the number of bins?**


# %%
def sure_and_right(logits):
    """Confidences (N,) of the test images, and whether the guess is right (N,)."""
    confidence, guess = logits.softmax(1).max(1)
    return confidence, guess == test_images.labels


confidence, correct = sure_and_right(logits_of(lens, test_images))
fig, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True)
for ax, n_bins in zip(axes, (5, 15, 60), strict=True):
    place = (confidence * n_bins).long().clamp(max=n_bins - 1)
    used = place.unique()
    heights = [correct[place == k].double().mean().item() for k in used]
    ax.bar((used + 0.5) / n_bins, heights, 1 / n_bins, alpha=0.6)
    ax.plot([0, 1], [0, 1], color="black", lw=0.8, ls="--")
    ax.set(
        title=f"{n_bins} bins: ECE {100 * float(ece(confidence, correct, n_bins)):.2f} %",
        xlabel="confidence",
        xlim=(0, 1),
    )
axes[0].set_ylabel("share that is right")
_ = fig.suptitle(
    f"{lens_name[0].upper()}{lens_name[1:]}, on {n_test:,} test images of {test_images.title}"
)
counted = {n: float(ece(confidence, correct, n)) for n in (1, 5, 15, 60, 1000)}
say(
    "ECE by your function: "
    + ", ".join(
        f"{100 * value:.2f} % with {n} bin{'s' if n > 1 else ''}"
        for n, value in counted.items()
    )
    + ". More bins split pictures whose gaps had cancelled, and leave each bin fewer pictures, hence more chance. Figures are comparable only at one number of bins."
)
record("ece_by_bins", {str(n): value for n, value in counted.items()})

# %% [markdown]
# A fair comparison has two more parties: each model with its logits divided by one number, its temperature, fitted on held-out
# images. {term}`Temperature scaling <temperature scaling>` costs nothing, changes no decision, and is the usual cure for
# confidence on a wrong scale.

# %%
temperatures = {
    name: fit_temperature(logits_of(network, val_images), val_images.labels)
    for name, network in (("classifier", classifier), ("JEM", joint))
}
test_logits = {}
for name, network in (("classifier", classifier), ("JEM", joint)):
    test_logits[name] = logits_of(network, test_images)
    test_logits[f"{name}, scaled"] = test_logits[name] / temperatures[name]
fig, axes = plt.subplots(1, 4, figsize=(9.8, 3.2), sharey=True)
calibration_rows, eces = [], {}
for ax, (name, logits) in zip(axes, test_logits.items(), strict=True):
    bins = reliability(logits, test_images.labels)
    eces[name] = float(ece(*sure_and_right(logits), 15))
    low, high = bootstrap(
        lambda f, y: reliability(f, y).ece,
        (logits, test_images.labels),
        n=settings.resamples,
        bounds=(0, 1),
    )
    wrong = F.cross_entropy(logits, test_images.labels).item()
    n_good = int((logits.argmax(1) == test_images.labels).sum())
    calibration_rows.append(
        {
            "model": name,
            "ECE (%)": f"{100 * eces[name]:.2f} ({100 * low:.2f}–{100 * high:.2f})",
            "cross-entropy (nats)": f"{wrong:.4f}",
            "mean confidence": f"{logits.softmax(1).amax(1).mean():.3%}",
            "accuracy": f"{n_good / n_test:.2%}",
        }
    )
    record(f"ece/{name}", eces[name])
    used = bins.count > 0
    ax.plot([0, 1], [0, 1], color="black", lw=0.8, ls="--")
    ax.plot(bins.confidence[used], bins.accuracy[used], "o-", ms=4)
    for c, a, k in zip(
        bins.confidence[used], bins.accuracy[used], bins.count[used], strict=True
    ):
        low, high = wilson(round(float(a * k)), int(k))
        ax.plot([c, c], [low, high], color="gray", lw=1)
    ax.set(title=f"{name}\nECE {100 * eces[name]:.2f} %", xlabel="confidence")
axes[0].set_ylabel("share that is right")
_ = fig.suptitle(f"Reliability on {test_images.title}; grey: 95 % intervals of a bin")

# %% tags=["hide-input"]
table(
    calibration_rows,
    f"Calibration on {n_test:,} test images of {test_images.title}, 15 bins; ECE by your function",
)
record("calibration", calibration_rows)
ece_gap = max(
    abs(eces[name] - reliability(f, test_images.labels).ece)
    for name, f in test_logits.items()
)
record("ece_gap", ece_gap)
confidence_gap = (
    test_logits["JEM"].softmax(1).amax(1).mean().item() - right_after / n_test
)
ends = {
    row["model"]: [
        float(v) for v in row["ECE (%)"].split("(")[1].rstrip(")").split("–")
    ]
    for row in calibration_rows
}
apart = ends["JEM"][0] > ends["classifier"][1] or ends["JEM"][1] < ends["classifier"][0]
t_joint = temperatures["JEM"]
say(
    f"Joint training {'lowers' if eces['JEM'] < eces['classifier'] else '**raises**'} the ECE: {100 * eces['classifier']:.2f} % before, {100 * eces['JEM']:.2f} % after"
    + (
        ", with intervals that do not touch. "
        if apart
        else ", with intervals that overlap. "
    )
    + f"The joint model is {'over' if confidence_gap > 0 else 'under'}confident: its mean confidence is {abs(100 * confidence_gap):.2f} points "
    f"{'above' if confidence_gap > 0 else 'below'} its accuracy. **Why?** Divide its logits by T = {t_joint:.2f} and its ECE is {100 * eces['JEM, scaled']:.2f} % "
    f"(the classifier's, at T = {temperatures['classifier']:.2f}: {100 * eces['classifier, scaled']:.2f} %). "
    + (
        "So the order in which it is sure and unsure is nearly right; the scale of its logits is not. "
        if eces["JEM, scaled"] < eces["JEM"] / 2
        else "One number does not mend it. "
    )
    + (
        "A likely reason is the contrast: it holds the energies of data and samples close together, and with them the differences between logits, which cross-entropy alone would let grow. "
        if t_joint < 1
        else ""
    )
    + (
        "JEM's authors report the opposite, a lower ECE than their classifier's; theirs was overconfident to begin with, on harder data."
        if eces["JEM"] > eces["classifier"]
        else "JEM's authors report a lower ECE, too."
    )
)

# %% [markdown]
# ### Outliers
#
# **Does $p(x)$ know when a picture does not belong?** Three scores: $\log p(x)$ up to its constant; the confidence
# $\max_y p(y \mid x)$, which every classifier has; and minus the length of $\nabla \log p(x)$, JEM's proposal: a picture of high
# density with little mass around it sits where the density changes fast. The AUROC is the chance that a test image scores higher than an outlier: 1 is perfect, ½
# is blind.

# %%
n_out = min(settings.n_outliers, n_test)
inside = to_float(test_images.images[:n_out])
stream = torch.Generator().manual_seed(seed + 3)
sets = {
    "uniform noise": UniformStart(shape).draw(n_out, generator=stream),
    "blends of two test images": (
        inside + inside[torch.randperm(n_out, generator=stream)]
    )
    / 2,
}
for name in settings.outliers:
    other = load_images(name, "test", root=data_root, limit=n_out, size=shape[1])
    sets[other.title] = other.scaled()
outlier_rows = []
models_compared = {"classifier": classifier, "JEM": joint}
inliers = {
    name: outlier_scores(network, inside) for name, network in models_compared.items()
}
for kind, x in sets.items():
    for name, network in models_compared.items():
        scores = outlier_scores(network, x)
        row = {"outliers": kind, "model": name}
        for key, outside in scores.items():
            # High scores are inliers, high energies outliers.
            value = auroc(-inliers[name][key], -outside)
            low, high = bootstrap(
                lambda a, b: auroc(-a, -b),
                (inliers[name][key],),
                (outside,),
                n=settings.resamples,
                bounds=(0, 1),
            )
            row[key] = f"{value:.3f} ({low:.3f}–{high:.3f})"
            record(f"auroc/{kind}/{name}/{key}", value)
        outlier_rows.append(row)
table(outlier_rows, f"AUROC against {n_out:,} test images of {test_images.title}")
record("outliers", outlier_rows)


# %% tags=["hide-input"]
def middle(model, key):
    """Mean AUROC over the outlier sets."""
    return sum(
        float(r[key].split()[0]) for r in outlier_rows if r["model"] == model
    ) / len(sets)


score_names = list(inliers["JEM"])
ranked = sorted(score_names, key=lambda k: -middle("JEM", k))
worst = min(
    (r for r in outlier_rows if r["model"] == "JEM"),
    key=lambda r: float(r["log p(x)"].split()[0]),
)
say(
    "Averaged over the sets, classifier → JEM: "
    + "; ".join(
        f"{k} {middle('classifier', k):.3f} → {middle('JEM', k):.3f}"
        for k in score_names
    )
    + f". For the joint model the best score is *{ranked[0]}*; log p(x) is weakest on *{worst['outliers']}* ({worst['log p(x)']}). "
    "Blends are the instructive case: made of nothing but test images, they are no images of a class."
)


def limits(row, key):
    """The ends of a row's interval."""
    return [float(v) for v in row[key].split("(")[1].rstrip(")").split("–")]


pairs = {
    kind: [
        next(r for r in outlier_rows if (r["outliers"], r["model"]) == (kind, m))
        for m in ("classifier", "JEM")
    ]
    for kind in sets
}
up = [
    k
    for k, (a, b) in pairs.items()
    if limits(b, "log p(x)")[0] > limits(a, "log p(x)")[1]
]
down = [
    k
    for k, (a, b) in pairs.items()
    if limits(b, "log p(x)")[1] < limits(a, "log p(x)")[0]
]
say(
    f"**Does joint training make log p(x) a better alarm?** With intervals that do not touch, it is better on {', '.join(up) or 'no set'} and worse on {', '.join(down) or 'no set'}. "
    + (
        "The paper compares log p(x) with other densities, not with the plain classifier's logsumexp; this comparison is ours. A likelihood rewards what is simple and common in the data, strokes on a dark ground, and a short training "
        "has taught it little else; the classifier's logsumexp is a confidence in disguise."
        if len(down) > len(up)
        else ""
    )
)

# %% [markdown]
# ### Attacks
#
# **Is it harder to fool?** A projected gradient attack (PGD) {cite}`madry2018towards` changes each picture within a ball so as to
# make the classifier wrong. Two balls: each pixel may change by at most $r$ ($\ell_\infty$), or the whole change has length at
# most $r$ ($\ell_2$). Radii are in the units of pixels in $[-1, 1]$; half of them are the usual units of $[0, 1]$.
# The attack climbs the *margin* (the largest wrong logit minus the right one), not the cross-entropy, whose gradient vanishes in floating point where a network is
# very sure: otherwise a steep model would look robust by hiding its gradient {cite}`athalye2018obfuscated`.

# %%
n_attack = min(settings.n_attack, n_test)
victims, truth = to_float(test_images.images[:n_attack]), test_images.labels[:n_attack]
radii = {
    "linf": (0.0, 0.1, 0.2, 0.4, 0.6),
    "l2": (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0),
}
if settings.resnet:
    radii = {
        "linf": (0.0, 1 / 127.5, 2 / 127.5, 4 / 127.5, 8 / 127.5),
        "l2": (0.0, 0.25, 0.5, 1.0, 2.0),
    }
attack_rows, survived = [], {}
for norm, values in radii.items():
    for radius in values:
        row = {"norm": norm, "radius": f"{radius:.3g}"}
        for name, network in models_compared.items():
            k = robust_accuracy(
                network,
                victims,
                truth,
                radius,
                norm=norm,
                n_steps=settings.attack_steps,
                generator=torch.Generator().manual_seed(seed),
            )
            survived[norm, radius, name] = k
            row[name] = share(k, n_attack)
        attack_rows.append(row)
table(
    attack_rows,
    f"Right and not fooled: {n_attack} test images of {test_images.title}, {settings.attack_steps} steps of attack, one random start",
)
record("attacks", attack_rows)

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
for ax, (norm, values) in zip(axes, radii.items(), strict=True):
    for name in models_compared:
        counts = [survived[norm, r, name] for r in values]
        (line,) = ax.plot(
            values, [k / n_attack for k in counts], "o-", ms=4, label=name
        )
        bounds = [wilson(k, n_attack) for k in counts]
        ax.fill_between(
            values, *zip(*bounds, strict=True), alpha=0.2, color=line.get_color(), lw=0
        )
    ax.set(
        xlabel="radius (pixels in [−1, 1])",
        title={"linf": "$\\ell_\\infty$", "l2": "$\\ell_2$"}[norm],
    )
axes[0].set_ylabel("accuracy under attack")
axes[0].legend()
_ = fig.suptitle(
    f"PGD on {n_attack} test images of {test_images.title}; bands: 95 % intervals"
)
wins = [
    (norm, r)
    for norm, values in radii.items()
    for r in values[1:]
    if wilson(survived[norm, r, "JEM"], n_attack)[0]
    > wilson(survived[norm, r, "classifier"], n_attack)[1]
]
losses_ = [
    (norm, r)
    for norm, values in radii.items()
    for r in values[1:]
    if wilson(survived[norm, r, "JEM"], n_attack)[1]
    < wilson(survived[norm, r, "classifier"], n_attack)[0]
]
n_radii = sum(len(values) - 1 for values in radii.values())
say(
    f"Of {n_radii} attacks, the joint model withstands **{len(wins)}** better than the classifier and **{len(losses_)}** worse, with intervals that do "
    f"not touch; the other {n_radii - len(wins) - len(losses_)} are undecided. It was never trained on an attacked picture. This is one attack from one random start, "
    "so the figures are upper bounds of the true robustness, for both models."
)

# %% [markdown]
# ## The shipped model
#
# **What does the model that ships draw?** It was trained on MNIST; its chains begin at the Gaussians of this run's data.

# %% tags=["hide-input"]
if shipped is not None and shape == (1, 28, 28):
    usual = shipped.card["sampler"]["steps"]
    shown, _ = draw(shipped, 10, usual)
    image_grid(
        shown,
        f"The shipped model ({shipped.card['data']}): column k was asked for class k, {usual} steps from {train_images.title}'s class Gaussians",
        columns=10,
        width=6,
    )

# %% tags=["hide-input"]
if ship:
    weakest = min(class_rows, key=lambda r: float(r["seen as asked"].rstrip("%")))
    checkpoints.save(
        "jem_mnist",
        joint,
        {
            "part": "05_jem",
            "profile": profile,
            "seed": seed,
            "classifier": classifier_run.settings | {"steps": classifier_run.steps},
            **card_facts(
                run,
                kernel=KERNELS["proximal"],
                steps=settings.sample_steps,
                start="class Gaussians",
            ),
            "metrics": {
                "test_accuracy": {
                    "value": round(right_after / n_test, 4),
                    "images": n_test,
                },
                "samples_as_asked": {
                    "value": round(agree.double().mean().item(), 4),
                    "images": n_pictures,
                    "judge": settings.judge,
                },
                "frechet_distance": {
                    "value": round(sample_distance, 2),
                    "features": settings.judge,
                    "images": n_pictures,
                    "chain_steps": settings.sample_steps,
                    "start": "class Gaussians",
                },
                "ece": {"value": round(eces["JEM"], 5), "images": n_test},
            },
            "known_faults": (
                f"class {weakest['class']} is least often seen as asked ({weakest['seen as asked']}); "
                if weakest["seen as asked"] != "100%"
                else ""
            )
            + f"mean confidence {test_logits['JEM'].softmax(1).amax(1).mean():.1%} at {right_after / n_test:.1%} accuracy; samples depend on their Gaussian starts",
        },
    )

# %% [markdown]
# ## Reported, long run, this run (D5)

# %% tags=["hide-input"]
kept = report.kept("05_jem", profile)
kept_records = {} if kept is None else kept["records"]
three = report.comparison(kept_records, profile)
table(
    [
        three("data", "data", "CIFAR-10", "{}"),
        three("accuracy of the classifier alone", "classifier_accuracy", form="{:.4f}"),
        three(
            "accuracy of the joint model",
            "joint_accuracy",
            "0.929 (JEM); about 0.935 (JEM++, M = 10)",
            "{:.4f}",
        ),
        three(
            "optimiser steps", "train_steps", "200 epochs, about 150,000 (JEM)", "{:,}"
        ),
        three("training time (s)", "train_seconds", "36 GPU-hours (JEM)", "{:.0f}"),
        three(
            "Fréchet distance, on request",
            "samples_frechet",
            "about 38 (JEM), 37 (JEM++, of the buffer): Inception, not comparable",
        ),
        three("… of the class Gaussians alone", "gaussians_frechet"),
        three("samples seen as asked", "samples_as_asked", form="{:.3f}"),
        three("… class Gaussians alone", "gaussians_as_asked", form="{:.3f}"),
        three("ECE, classifier", "ece/classifier", form="{:.4f}"),
        three("ECE, joint model", "ece/JEM", form="{:.4f}"),
        three("… logits scaled", "ece/JEM, scaled", form="{:.4f}"),
        three(
            "AUROC of log p(x), Fashion-MNIST: classifier",
            lambda r: next(
                (
                    v
                    for k, v in r.items()
                    if k.startswith("auroc/Fashion")
                    and k.endswith("/classifier/log p(x)")
                ),
                None,
            ),
            form="{:.3f}",
        ),
        three(
            "… joint model",
            lambda r: next(
                (
                    v
                    for k, v in r.items()
                    if k.startswith("auroc/Fashion") and k.endswith("/JEM/log p(x)")
                ),
                None,
            ),
            form="{:.3f}",
        ),
        three(
            "AUROC of max p(y|x), Fashion-MNIST: joint model",
            lambda r: next(
                (
                    v
                    for k, v in r.items()
                    if k.startswith("auroc/Fashion") and k.endswith("/JEM/max p(y|x)")
                ),
                None,
            ),
            "about 0.89 (JEM), 0.94 (JEM++): CIFAR-10 against SVHN",
            "{:.3f}",
        ),
        three(
            "inner loop against one step, largest difference",
            "inner_gap",
            form="{:.1e}",
        ),
    ],
    f"Fréchet distances here are in {settings.judge} features. The papers' are in Inception features on photographs and stand here for scale only.",
)
record("notebook_seconds", time.perf_counter() - started)

# %% [markdown]
# ## What breaks, and how to rescue it
#
# - **It diverges after a while.** The authors' own experience. Go back to a checkpoint and take a smaller step
#   (`train_jem` does); longer chains, the penalty `alpha`, or bounded steps help it not to happen.
# - **The accuracy falls.** λ is too large for the budget, or chains so short that the contrast is never near zero: the
#   generative term then has a gradient that points nowhere and never shrinks.
# - **Samples look like their starts.** At temperature zero a chain keeps what it begins with. Compare with the raw
#   Gaussians, as above, before you praise the model.
# - **Wonderful robustness.** Suspect the attack: look for vanishing gradients, and let the radius grow until nothing
#   survives. If something does, the attack is broken.
# - **The classes of the samples are uneven.** Draw on request, or restart more often.
#
# ## Questions
#
# 1. Add a constant to all logits of one picture. Which of $p(y \mid x)$, $p(x)$, $p(x, y)$ change? And if the constant is the
#    same for every picture?
# 2. With $\lambda = 1$ and perfect samples, {eq}`eq-jem-loss` is maximum likelihood of $p(x, y)$. Would you expect a
#    classifier trained so to have a lower or a higher test error than one trained on $p(y \mid x)$ alone? When?
# 3. The theorem needs the start in the box. Construct a start outside for which loop and single step differ.
# 4. Add noise inside the inner loop. What single step has the same distribution, when no clamp acts?
# 5. ECE depends on the number of bins. What happens with one bin, and with so many that every picture is alone in its own?
# 6. An AUROC far *below* ½ is worse than guessing. What does it say about the density, for each of the three scores, and why is turning the score
#    round not a cure?
#
# ## Further reading
#
# - Grathwohl et al. {cite}`grathwohl2020jem`: the idea, and everything it was claimed to be good for.
# - Yang and Ji {cite}`yang2021jempp`: JEM++, the starts and the proximal steps.
# - Guo et al. {cite}`guo2017calibration`: why modern networks are overconfident, and the one-number cure.
# - Nalisnick et al. {cite}`nalisnick2019know`: why densities fail as outlier detectors.
# - Athalye et al. {cite}`athalye2018obfuscated`: how attacks on robust-looking models fail, and how to fix the attack.
