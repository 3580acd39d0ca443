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
# # Discrete auto-encoders, clusters and pseudo-labels
#
# Can a picture be written in words? This chapter trains a network that turns every image into a 7×7 grid of
# **{term}`tokens <token>`**, numbers from a learnt vocabulary, and paints the image back from the tokens alone. Then we
# take the labels away and ask what the tokens know: do images of one class fall into one cluster? Can a
# classifier be trained on clusters instead of labels? Everything is done twice, for digits and for
# clothes, by the same functions.
#
# ```{admonition} What you will learn
# - how a VQ-VAE learns a codebook without a gradient, and what keeps its codes alive (E1);
# - how the Gumbel-softmax makes a discrete choice differentiable (E1);
# - how to choose a number of clusters, and how far to trust the choice (E2);
# - how clusters become pseudo-labels, for data the clustering has never seen (E3), and what a classifier makes of them (E4);
# - how to judge clusters honestly: matchings, percentages, a baseline on raw pixels (E5);
# - beyond the assignment: how few labels are enough, and how tokens *generate*.
# ```
#
# **Before you start.** You need convolutions and backpropagation, and you should know what an {term}`auto-encoder` is. Nothing
# of the earlier chapters is required; terms that others teach are linked to the glossary.
#
# **Time and hardware.**
#
# | profile | data | what happens | time |
# |---|---|---|---|
# | `quick` | built-in 8×8 digits and drawn garments | the training of the chapter, short; the studies are shown from the long run | about a minute and a half, one core |
# | `laptop` | MNIST and Fashion-MNIST, 60,000 images each | all results; k-means over three seeds, networks with one | 46 minutes on one of two busy cores |
# | `full` | the same | wider networks, longer training | one GPU (not yet measured) |

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
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional as F

from gen_utils import checkpoints, report
from gen_utils.base.frontend import can_show_widgets
from gen_utils.checks import dvae_clustering as checks
from gen_utils.data import load_images, to_float, to_uint8
from gen_utils.evaluation import clustering
from gen_utils.evaluation.frechet import extract_features, frechet_distance
from gen_utils.evaluation.token_features import (
    one_hot_tokens,
    token_histograms,
    tokens_and_latents,
)
from gen_utils.explorers.codebook import (
    code_pictures,
    codebook_explorer,
    draw_tokens,
    swap_token,
)
from gen_utils.models import VQVAE, GumbelVAE, SmallClassifier, TokenPrior
from gen_utils.models.vqvae import Decoder, Encoder
from gen_utils.plotting import curves, image_grid, plt, use_style
from gen_utils.plotting.clusters import (
    coloured_points,
    number_matrix,
    silhouette_curves,
)
from gen_utils.profiles import choose
from gen_utils.report import record, say, table
from gen_utils.training import (
    ClassifierTraining,
    FitConfig,
    GumbelTraining,
    TokenPriorTraining,
    VQVAETraining,
    fit,
    token_set,
)
from gen_utils.training.cards import card_facts

# %% tags=["parameters"]
profile = "quick"  # quick, laptop or full
data_root = ""  # where the data are; empty means $GEN_DATA_ROOT, else ./data
seed = 0
ship = False  # True writes the trained models to checkpoints/

# %% tags=["hide-input"]
settings = choose(
    profile,
    quick=dict(
        data=("digits", "garments"),
        limit=None,  # images of each, training and held out
        n_codes=64,
        width=24,
        vq_steps=200,
        gumbel_steps=120,
        revival_steps=200,  # of the codebook alone
        ablation_steps=None,  # a study, which quick does not run
        n_draws=20_000,  # of a choice among three
        classifier_steps=70,
        classifier_width=12,
        prior_steps=200,
        prior_width=32,
        ks=(2, 5, 10, 20),
        seeds=2,
        n_cluster=700,  # images in the scan over K
        n_silhouette=350,  # of them in each silhouette
        n_tsne=350,
        label_counts=(10, 30),
        n_samples=100,
    ),
    laptop=dict(
        data=("mnist", "fashion_mnist"),
        limit=None,
        n_codes=256,
        width=32,
        vq_steps=1500,
        gumbel_steps=800,
        revival_steps=200,
        ablation_steps=150,
        n_draws=20_000,
        classifier_steps=2000,
        classifier_width=24,
        prior_steps=3000,
        prior_width=96,
        ks=(2, 5, 8, 10, 12, 15, 20, 30),
        seeds=3,
        n_cluster=5000,
        n_silhouette=2000,
        n_tsne=1500,
        label_counts=(10, 30, 100, 300),
        n_samples=1000,
    ),
    full=dict(
        data=("mnist", "fashion_mnist"),
        limit=None,
        n_codes=256,
        width=128,
        vq_steps=20_000,
        gumbel_steps=20_000,
        revival_steps=200,
        ablation_steps=2000,
        n_draws=20_000,
        classifier_steps=4000,
        classifier_width=64,
        prior_steps=20_000,
        prior_width=192,
        ks=(2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50),
        seeds=5,
        n_cluster=20_000,
        n_silhouette=5000,
        n_tsne=5000,
        label_counts=(10, 30, 100, 300, 1000),
        n_samples=5000,
    ),
    smoke=dict(  # in tests: every line runs, nothing is learnt
        limit=300,
        width=8,
        vq_steps=3,
        gumbel_steps=3,
        revival_steps=4,
        ablation_steps=1,
        n_draws=100,
        classifier_width=4,
        classifier_steps=2,
        prior_width=16,
        prior_steps=2,
        ks=(2, 10),
        n_cluster=200,
        n_silhouette=100,
        n_tsne=100,
        label_counts=(10,),
        n_samples=40,
    ),
)
use_style()
study = report.studies("06_dvae_clustering", profile)
torch.manual_seed(seed)
started = time.perf_counter()
seeds = range(seed, seed + settings.seeds)

# %% [markdown]
# ## Where we are going
#
# These pictures were never photographed or written by anybody. A small network drew 49 tokens, one after the other,
# and the decoder of a {term}`VQ-VAE` painted them. Both models ship with the workbook.

# %% tags=["hide-input"]
ours = ("mnist", "fashion_mnist")  # the data of the models that ship
if all(f"token_prior_{name}" in checkpoints.names() for name in ours):
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    for ax, name in zip(axes, ours, strict=True):
        prior = checkpoints.load(f"token_prior_{name}")
        painter = checkpoints.load(f"vqvae_{name}")
        stream = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            drawn = painter.decode_tokens(prior.sample(50, generator=stream))
        image_grid(
            drawn,
            f"Drawn from the shipped models, trained on {prior.card['data']}",
            columns=10,
            ax=ax,
        )
else:
    say("*The models that ship are not here yet; the chapter makes its own.*")

# %% [markdown]
# ## The data
#
# Two sets of small grey images, ten classes each. The auto-encoders never see a label.

# %%
data, held_out, titles = {}, {}, {}
for name in settings.data:
    data[name] = load_images(name, "train", limit=settings.limit, root=data_root)
    held_out[name] = load_images(name, "test", limit=settings.limit, root=data_root)
    titles[name] = data[name].title
record("data", list(titles.values()))

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 2.4))
for ax, name in zip(axes, data, strict=True):
    image_grid(
        data[name].images[:60],
        f"{titles[name]}: training images",
        columns=12,
        ax=ax,
    )
say(
    "; ".join(
        f"{len(data[name]):,} images for training and {len(held_out[name]):,} held out from **{titles[name]}**"
        for name in data
    )
    + "."
)

# %% [markdown]
# ## From pictures to tokens (E1)
#
# An ordinary auto-encoder squeezes an image through a few real numbers. A **VQ-VAE** {cite}`oord2017vqvae` squeezes it
# through a few *choices*. Its encoder makes a grid of 7×7 vectors $z$. Each of them is replaced by the nearest of $K$
# learnt vectors $e_1, \dots, e_K$, the **{term}`codebook`**:
#
# ```{math}
# :label: eq-vq-nearest
# t_{ij} = \arg\min_k \lVert z_{ij} - e_k \rVert^2, \qquad q_{ij} = e_{t_{ij}} .
# ```
#
# The decoder paints from $q$. So the whole image is 49 whole numbers, the tokens $t$.
#
# **How small is that?** With $K$ codes a token carries $\log_2 K$ bits.

# %%
bits = 49 * np.log2(settings.n_codes)
say(
    f"49 tokens out of {settings.n_codes} are {bits:.0f} bits, {bits / 8:.0f} bytes. "
    f"The image has 784 bytes: {784 * 8 / bits:.0f} times as many."
)

# %% [markdown]
# ```{exercise-start} The nearest code
# :label: ex-vq-nearest
# ```
# *Goal: turn vectors into tokens without a large tensor of differences. About 10 minutes, 2 points.*
#
# Return the index of the nearest code for every vector, {eq}`eq-vq-nearest`. A grid of distances between all $N$ vectors
# and all $K$ codes is fine; a tensor $(N, K, D)$ of all differences would be large.


# %% tags=["exercise"]
def nearest_code(vectors, codebook):
    """Vectors (N, D), codebook (K, D) -> indices (N,)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-vq-nearest
# :class: dropdown
# ```
# $\lVert v - e\rVert^2 = \lVert v\rVert^2 - 2\,v \cdot e + \lVert e\rVert^2$. The first term is the same for every code, so
# the smallest of the rest decides. One matrix product does the work.


# %% tags=["solution"]
def nearest_code(vectors, codebook):
    """Vectors (N, D), codebook (K, D) -> indices (N,)."""
    return (codebook.square().sum(1) - 2 * vectors @ codebook.T).argmin(1)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.nearest_code(nearest_code)

# %% [markdown]
# ### A gradient through a choice
#
# How does the encoder learn? The picture's error flows back through the decoder to $q$, and there it stops: moving
# $z$ a little does not change which code is nearest, so the derivative of $q$ with respect to $z$ is zero almost
# everywhere. The **{term}`straight-through estimator`** {cite}`bengio2013estimating` pretends that the quantiser is the identity:
# forwards the code, backwards the gradient as it is. That is wrong, but it is less wrong the nearer $z$ is to its code. So the
# loss pulls it there:
#
# ```{math}
# :label: eq-vq-loss
# \mathcal L = \lVert x - \hat x \rVert^2 + \beta\, \lVert z - \operatorname{sg}(q) \rVert^2 ,
# ```
#
# where $\operatorname{sg}$ stops the gradient. The second term is the **commitment** of the encoder to its codes; we keep
# the paper's $\beta = 0.25$.

# %% [markdown]
# ```{exercise-start} Straight through
# :label: ex-vq-straight
# ```
# *Goal: let a gradient pass where the derivative is zero. About 10 minutes, 1 point.*
#
# Return a tensor with the value of `code` whose gradient goes to `z` unchanged, and not to `code`. One line. Any shape will do.


# %% tags=["exercise"]
def straight_through(z, code):
    """The value of code (B, D, h, w) with the gradient of z (B, D, h, w)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-vq-straight
# :class: dropdown
# ```
# Write `code` as `z` plus a difference, and detach the difference: to the gradient it is a constant.


# %% tags=["solution"]
def straight_through(z, code):
    """The value of code (B, D, h, w) with the gradient of z (B, D, h, w)."""
    return z + (code - z).detach()


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.straight_through(straight_through)

# %% [markdown]
# ### A codebook that follows
#
# And how do the codes learn? {eq}`eq-vq-loss` gives them no gradient. (The original loss has a third term, $\lVert \operatorname{sg}(z) - q \rVert^2$, that pulls the
# codes to their vectors.) Here they do what the centres of k-means do:
# each moves to the mean of the vectors that chose it. A batch is small, so the mean is a **moving average**. For each code
# keep a count $n_k$ and a sum $m_k$:
#
# ```{math}
# :label: eq-vq-ema
# n_k \leftarrow \gamma\, n_k + (1 - \gamma)\, \bigl|\{i : t_i = k\}\bigr|, \qquad
# m_k \leftarrow \gamma\, m_k + (1 - \gamma) \sum_{i : t_i = k} z_i, \qquad
# e_k = \frac{m_k}{\tilde n_k} .
# ```
#
# Here $i$ runs over all vectors of the batch, and $\gamma = 0.99$. A code that nobody chooses sees both $n_k$ and $m_k$ shrink to nothing, so the count is smoothed first:
# with $n = \sum_k n_k$, $\tilde n_k = (n_k + \epsilon)\, n / (n + K\epsilon)$.
#
# **Where do the averages start?** At $n_k = 1$ and $m_k = e_k$: then {eq}`eq-vq-ema` holds from the beginning.
# Several public codes start the counts at 0. In the first step every code that is not chosen is then divided
# by next to nothing and flies off, and it never comes back.

# %% [markdown]
# ```{exercise-start} One step of the moving averages
# :label: ex-vq-ema
# ```
# *Goal: let codes follow their vectors, those that nobody chose too. About 15 minutes, 2 points.*
#
# Write {eq}`eq-vq-ema` for one batch, the smoothed counts $\tilde n_k$ included. `tokens` says which code each vector chose; some codes are chosen by none.


# %% tags=["exercise"]
def ema_update(counts, sums, vectors, tokens, decay, eps):
    """(K,), (K, D), (N, D), (N,) -> the new codebook (K, D), counts (K,), sums (K, D)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-vq-ema
# :class: dropdown
# ```
# `one_hot` turns the tokens into a table of zeros and ones, $N \times K$. Its column sums are the counts of the batch, and its
# transpose times the vectors gives the sum of the vectors of each code. Codes that nobody chose get zeros from both, and fade.


# %% tags=["solution"]
def ema_update(counts, sums, vectors, tokens, decay, eps):
    """(K,), (K, D), (N, D), (N,) -> the new codebook (K, D), counts (K,), sums (K, D)."""
    chosen = F.one_hot(tokens, len(counts)).to(vectors.dtype)
    counts = decay * counts + (1 - decay) * chosen.sum(0)
    sums = decay * sums + (1 - decay) * chosen.T @ vectors
    n = counts.sum()
    smooth = (counts + eps) * n / (n + len(counts) * eps)
    return sums / smooth[:, None], counts, sums


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.ema_update(ema_update)

# %% [markdown]
# **How far does a code fly whose count began at 0?** Two codes at distance 1 from the origin; a batch of 64 vectors chooses the first and
# never the second.

# %%
pair = torch.eye(2)
batch, chosen = (
    torch.randn(64, 2, generator=torch.Generator().manual_seed(seed)),
    torch.zeros(64, dtype=torch.long),
)
moved = {
    count: float(
        ema_update(torch.full((2,), count), pair.clone(), batch, chosen, 0.99, 1e-5)[0][
            1
        ].norm()
    )
    for count in (1.0, 0.0)
}
say(
    f"After one step the unused code is {moved[1.0]:.2f} from the origin when the counts began at 1, and {moved[0.0]:,.0f} when they began at 0."
)
record("unused_code", {str(count): far for count, far in moved.items()})

# %% [markdown]
# ### How many codes are in use?
#
# A codebook of $K$ vectors is worth little if only five are ever chosen. Counting the used ones is too kind: a code
# used once counts as much as one used always. The **{term}`perplexity`** weighs them. With $p_k$ the share of code $k$,
#
# ```{math}
# :label: eq-perplexity
# \operatorname{perplexity} = \exp\Bigl(-\sum_k p_k \log p_k\Bigr),
# ```
#
# between 1 (always the same) and $K$ (all equally often).

# %% [markdown]
# ```{exercise-start} Perplexity over an epoch
# :label: ex-vq-perplexity
# ```
# *Goal: count the codes that matter. About 10 minutes, 1 point.*
#
# Return the perplexity of a whole epoch. `counts[b, k]` says how often its batch $b$ used code $k$. Beware of codes that were never
# used.


# %% tags=["exercise"]
def perplexity(counts):
    """Counts (n_batches, K) -> a scalar in [1, K]."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-vq-perplexity
# :class: dropdown
# ```
# Add up the batches first. The mean of the batches' perplexities is another, smaller number, because a single batch uses
# fewer codes. And $0 \log 0$ is 0 in the limit, but NaN on a computer: `xlogy` knows better.


# %% tags=["solution"]
def perplexity(counts):
    """Counts (n_batches, K) -> a scalar in [1, K]."""
    share = counts.sum(0) / counts.sum()
    return torch.exp(-torch.special.xlogy(share, share).sum())


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.perplexity(perplexity)

# %% [markdown]
# ### The algorithm
#
# ```{prf:algorithm} Training a VQ-VAE with a codebook of moving averages
# :label: alg-vqvae
# **Inputs** images; encoder, decoder; codebook $e$ of $K$ vectors; $\beta$; $\gamma$
#
# 1. encode the first batch; run a few steps of k-means on its vectors; the centres are $e$; set $n_k = 1$, $m_k = e_k$
# 2. repeat, for a batch $x$:
#    1. $z \leftarrow$ encoder$(x)$; tokens $t$ and codes $q$ by {eq}`eq-vq-nearest`
#    2. $\hat x \leftarrow$ decoder of $q$, straight through to $z$
#    3. one Adam step on {eq}`eq-vq-loss`
#    4. move the codebook by {eq}`eq-vq-ema`
#    5. a code whose count $n_k$ has fallen below ½ is dead: put it on a random $z$ of this batch, with $n_k = 1$
# 3. until the budget is spent
# ```
#
# With your functions it fits on a page. Here it is, for a few steps and without the revival:


# %%
def train_by_hand(images, n_steps, n_codes=32, batch_size=64):
    """The training algorithm from the exercises' functions alone."""
    stream = torch.Generator().manual_seed(seed)
    encoder, decoder = Encoder(1, 8, 16, 1), Decoder(1, 8, 16, 1)
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(weights, lr=2e-3)
    codebook, errors = None, []
    for _ in range(n_steps):
        index = torch.randint(len(images), (batch_size,), generator=stream)
        x = to_float(images[index])
        z = encoder(x)
        vectors = z.detach().movedim(1, -1).flatten(0, 2)  # (B·7·7, D)
        if codebook is None:
            start = torch.randperm(len(vectors), generator=stream)[:n_codes]
            codebook = vectors[start]
            counts, sums = torch.ones(n_codes), codebook.clone()
        tokens = nearest_code(vectors, codebook)
        code = codebook[tokens].reshape(batch_size, 7, 7, 8).movedim(-1, 1)
        error = F.mse_loss(decoder(straight_through(z, code)), x)
        loss = error + 0.25 * F.mse_loss(z, code)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        codebook, counts, sums = ema_update(counts, sums, vectors, tokens, 0.99, 1e-5)
        errors.append(error.item() / 4)  # from [-1, 1] to [0, 1]
    used = torch.bincount(tokens, minlength=n_codes)[None].float()
    return errors, perplexity(used), encoder


by_hand, in_use, hand_encoder = train_by_hand(data[settings.data[0]].images, 40)
say(
    f"Forty steps of your own code: the squared error went from {by_hand[0]:.3f} to {by_hand[-1]:.3f} a pixel (in [0, 1]), "
    f"and the last batch used its 32 codes with a perplexity of {in_use:.1f}."
)

# %% [markdown]
# ### A code that will not live
#
# Step 5 is still missing. A code that begins far from all vectors is chosen by none. Its count shrinks by $\gamma$ a step, and after
# 69 steps it is below ½, since $0.99^{69} = 0.4998$: the code is dead, and is put on a vector of the batch. Here is step 4 and step 5 together, from your own two functions.
# `picks` holds random places in the batch: the first dead code goes to `vectors[picks[0]]`, the second to `vectors[picks[1]]`, and so on. It runs, by
# its counts no code stays dead, and it is better than nothing. **It has one bug.**


# %%
def suspect_codebook_step(codebook, counts, sums, vectors, picks, decay, threshold):
    """(K, D), (K,), (K, D), (N, D), places (K,) -> the new codebook, counts, sums."""
    tokens = nearest_code(vectors, codebook)
    codebook, counts, sums = ema_update(counts, sums, vectors, tokens, decay, 1e-5)
    dead = counts < threshold
    n_dead = int(dead.sum())
    codebook[dead] = vectors[picks[:n_dead]]
    counts[dead] = 1.0
    return codebook, counts, sums


# %% [markdown]
# ```{exercise-start} Find the bug
# :label: ex-vq-bug
# ```
# *Goal: find the fault in a training step that runs, and even helps. About 15 minutes, 2 points.*
#
# Hand in the mended codebook step. It gets the same arguments and returns the same three things; leave the arguments as they were. A single step looks
# right: follow a code that was just revived through the next one.


# %% tags=["exercise"]
def mended_codebook_step(codebook, counts, sums, vectors, picks, decay, threshold):
    """(K, D), (K,), (K, D), (N, D), places (K,) -> the new codebook, counts, sums."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-vq-bug
# :class: dropdown
# ```
# The codebook is not what the next step starts from: it is computed anew, as $m_k / \tilde n_k$. The revived code has its new place and a count of 1, but still the sum $m_k$
# of its dead self, which is about half of the vector where it died. So in the next step it jumps there. All three must agree: $e_k$ = `vectors[...]`, $n_k = 1$ and $m_k = n_k e_k$.


# %% tags=["solution"]
def mended_codebook_step(codebook, counts, sums, vectors, picks, decay, threshold):
    """(K, D), (K,), (K, D), (N, D), places (K,) -> the new codebook, counts, sums."""
    tokens = nearest_code(vectors, codebook)
    codebook, counts, sums = ema_update(counts, sums, vectors, tokens, decay, 1e-5)
    dead = counts < threshold
    n_dead = int(dead.sum())
    codebook[dead] = vectors[picks[:n_dead]]
    counts[dead] = 1.0
    sums[dead] = codebook[dead]
    return codebook, counts, sums


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.mended_codebook_step(mended_codebook_step)

# %% [markdown]
# **What did the bug do?** The encoder of your forty steps stays as it is, and 32 codes that begin at random follow its vectors. Three ways, with the same batches: without
# revival (a threshold of 0), the step as given, and yours.


# %%
def follow(step, vectors, n_steps, threshold, n_codes=32, size=3136):
    """The codebook alone: codes chosen and codes alive at every step, and the final squared distance to the nearest code."""
    stream = torch.Generator().manual_seed(seed)
    codebook = torch.randn(n_codes, vectors.shape[1], generator=stream)
    counts, sums, chosen, alive = torch.ones(n_codes), codebook.clone(), [], []
    for _ in range(n_steps):
        batch = vectors[torch.randint(len(vectors), (size,), generator=stream)]
        picks = torch.randint(size, (n_codes,), generator=stream)
        codebook, counts, sums = step(
            codebook, counts, sums, batch, picks, 0.99, threshold
        )
        tokens = nearest_code(batch, codebook)
        chosen.append(len(set(tokens.tolist())))
        alive.append(int((counts >= 0.5).sum()))
    return chosen, alive, float((batch - codebook[tokens]).square().sum(1).mean())


with torch.no_grad():
    hand_latents = hand_encoder(to_float(data[settings.data[0]].images[:1000]))
    hand_latents = hand_latents.movedim(1, -1).flatten(0, 2)
followed = {
    name: follow(step, hand_latents, settings.revival_steps, threshold)
    for name, step, threshold in (
        ("no revival", mended_codebook_step, 0.0),
        ("as given", suspect_codebook_step, 0.5),
        ("mended", mended_codebook_step, 0.5),
    )
}

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
for ax, column, what in zip(
    axes, (1, 0), ("alive by their own count", "chosen by some vector"), strict=True
):
    for name, found in followed.items():
        ax.plot(found[column], "--" if name == "mended" else "-", label=name)
    ax.set(title=f"Codes {what}, of 32", xlabel="step of the codebook")
axes[1].legend()
table(
    [
        {
            "codebook step": name,
            "alive by their count": alive[-1],
            "chosen by some vector": chosen[-1],
            "squared distance to the nearest code": f"{far:.3f}",
        }
        for name, (chosen, alive, far) in followed.items()
    ],
    f"After {settings.revival_steps} steps on vectors of {titles[settings.data[0]]}, 32 codes from a random start",
)
record(
    "revival",
    {
        name: [alive[-1], chosen[-1], far]
        for name, (chosen, alive, far) in followed.items()
    },
)

# %% [markdown]
# On the left the bug cannot be seen: by their counts, all revived codes live. On the right they are asked for. With the bug a revived code stands on a vector for one step, then
# jumps away, and lives on where hardly anybody is, until its count has faded once more. A curve of the loss would have looked healthy: it falls. **Watch what the codes are for,
# not the number that the code keeps about itself.**

# %% [markdown]
# ## Training the VQ-VAE (E1)
#
# From here on the package's tested version takes over: the same algorithm with logs, checkpoints and resuming. Encoder and
# decoder are two strided convolutions and two residual blocks each; the codes have 16 numbers. One function trains on
# either data set.


# %%
def train(module, name, data, held_out, steps, batch_size=128):
    """Fit a module; an unfinished run goes on, a finished one is loaded."""
    config = FitConfig(
        steps,
        batch_size=batch_size,
        seed=seed,
        name=f"{name}_{data.name}",
        checkpoint_every=100,
        validate_every=max(1, steps // 4),
    )
    return fit(module, data, held_out, config=config, resume=True)


def train_vqvae(data, held_out, steps=settings.vq_steps, batch_size=128, **changes):
    """A VQ-VAE of this profile's size with some settings changed."""
    shape = {"n_codes": settings.n_codes, "width": settings.width, **changes}
    torch.manual_seed(seed)
    module = VQVAETraining(VQVAE(**shape), lr=2e-3)
    return train(module, "vqvae", data, held_out, steps, batch_size)


vq_runs = {name: train_vqvae(data[name], held_out[name]) for name in settings.data}
vq = {name: run.module.model for name, run in vq_runs.items()}

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3))
curves(
    {titles[name]: run.curve("mse") for name, run in vq_runs.items()},
    "Training error of the VQ-VAE",
    smooth=max(1, settings.vq_steps // 300),
    ylabel="MSE in [0, 1]",
    ax=axes[0],
)
axes[0].set_yscale("log")
curves(
    {titles[name]: run.curve("val_perplexity") for name, run in vq_runs.items()},
    f"Perplexity on held-out images, of {settings.n_codes} codes",
    ylabel="perplexity",
    ax=axes[1],
)
for ax in axes:
    ax.legend(fontsize=7)


# %% tags=["hide-input"]
def reconstruct(model, images):
    """uint8 images through their tokens and back, as uint8."""
    with torch.no_grad():
        return torch.cat(
            [to_uint8(model.reconstruct(to_float(x))) for x in images.split(500)]
        )


def judge_tokens(model, images):
    """MSE in [0, 1], perplexity and codes in use over a whole set of images."""
    tokens, _ = tokens_and_latents(model, images)
    used = torch.bincount(tokens.flatten(), minlength=len(model.codebook))
    error = (reconstruct(model, images).float() - images.float()).div(255).square()
    return {
        "mse": float(error.mean()),
        "perplexity": float(perplexity(used[None].float())),
        "codes": int((used > 0).sum()),
    }


def show_reconstructions(models, what):
    """Held-out images above their reconstructions, both data sets."""
    _, axes = plt.subplots(2, 1, figsize=(9, 2.9))
    for ax, (name, model) in zip(axes, models.items(), strict=True):
        some = held_out[name].images[:16]
        image_grid(
            torch.cat((some, reconstruct(model, some))),
            f"{titles[name]}: held-out images and their reconstructions by the {what}",
            columns=16,
            ax=ax,
        )


show_reconstructions(vq, "VQ-VAE")
vq_scores = {name: judge_tokens(vq[name], held_out[name].images) for name in vq}
for name, score in vq_scores.items():
    say(
        f"**{titles[name]}**, VQ-VAE, {vq_runs[name].steps:,} steps in {vq_runs[name].seconds:.0f} s: "
        f"mean squared error {score['mse']:.4f} on held-out images (pixels in [0, 1]); "
        f"{score['codes']} of {settings.n_codes} codes in use, perplexity {score['perplexity']:.0f}."
    )
record("vq", {titles[name]: score for name, score in vq_scores.items()})
record("vq_seconds", {titles[n]: run.seconds for n, run in vq_runs.items()})

# %% [markdown]
# ### What keeps the codes alive?
#
# Codes begin at k-means centres of the first batch, and dead codes are revived. **Are both precautions needed?** Leave out one, then both,
# for a short training, and look at the codes in use.

# %%
if study("codes-alive"):
    variants = {
        "the recipe": {},
        "no revival": {"revive_below": 0.0},
        "random start": {"init": "normal"},
        "random start, no revival": {"init": "normal", "revive_below": 0.0},
    }
    ablation = []
    for name in settings.data:
        for variant, changes in variants.items():
            short = train_vqvae(
                data[name], None, settings.ablation_steps, 64, **changes
            )
            some = held_out[name].images[:2000]
            score = judge_tokens(short.module.model, some)
            ablation.append(
                {
                    "data": titles[name],
                    "variant": variant,
                    "MSE": f"{score['mse']:.4f}",
                    "codes in use": score["codes"],
                    "perplexity": f"{score['perplexity']:.0f}",
                }
            )
    record("ablation", ablation)
    table(
        ablation,
        f"{settings.ablation_steps} steps of batch 64 each, {settings.n_codes} codes, measured on up to 2,000 held-out images",
    )

    def told(column, variant):
        """A column under one variant, one phrase a data set."""
        return " and ".join(
            f"{row[column]} ({row['data']})"
            for row in ablation
            if row["variant"] == variant
        )

    say(
        f"Codes in use, of {settings.n_codes}. The recipe: {told('codes in use', 'the recipe')}. Without revival: {told('codes in use', 'no revival')}. With revival from a random start: {told('codes in use', 'random start')}. "
        f"With neither: {told('codes in use', 'random start, no revival')}. And the squared errors, with revival: from the data {told('MSE', 'the recipe')}, from a random start {told('MSE', 'random start')}."
    )

# %% [markdown]
# A code that is far from every latent is chosen by none, so it has nothing to follow and stays where it is. A start from the data avoids
# that for the first batch only: the encoder learns, the latents move on, and codes are left behind. Revival is what puts them back, at any time; what the
# start adds to it, the squared errors say.

# %% [markdown]
# ## The other way: a relaxed choice (E1)
#
# The {term}`Gumbel-softmax` dVAE keeps probabilities. Its encoder gives $K$ logits $a_k$ at every place. A random choice
# with the probabilities $\operatorname{softmax}(a)$ can be drawn by adding Gumbel noise and taking the largest:
#
# ```{math}
# :label: eq-gumbel-max
# \arg\max_k\, (a_k + g_k), \qquad g_k = -\log(-\log u_k), \quad u_k \sim U(0, 1).
# ```
#
# Now the randomness is outside, and only the arg max is in the gradient's way. Replace it by a softmax with temperature $\tau$
# {cite}`jang2017gumbel,maddison2017concrete`:
#
# ```{math}
# :label: eq-gumbel-softmax
# y_k = \frac{\exp\bigl((a_k + g_k)/\tau\bigr)}{\sum_j \exp\bigl((a_j + g_j)/\tau\bigr)} .
# ```
#
# The decoder gets the mixture $\sum_k y_k e_k$, and everything, the codebook too, learns by ordinary gradients.

# %% [markdown]
# ```{exercise-start} A choice, and its relaxation
# :label: ex-gumbel
# ```
# *Goal: draw from a softmax by adding noise, and make the draw soft. About 15 minutes, 2 points.*
#
# Return two things, along the last axis: the choice of {eq}`eq-gumbel-max`, whole numbers of shape (...), and the weights of {eq}`eq-gumbel-softmax`.
# `uniform` holds the $u_k$, so that the check can be exact. `torch.rand` gives an exact 0 now and then, whose logarithm is infinite: raise every $u_k$ to at least
# $10^{-30}$ first. A gradient must flow from the weights to the logits.


# %% tags=["exercise"]
def gumbel_draw(logits, temperature, uniform):
    """Logits (..., K), τ and uniform numbers (..., K) -> choices (...), weights (..., K)."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-gumbel
# :class: dropdown
# ```
# The temperature divides the noise as well. Dividing the logits alone would change which code is chosen, and with it the
# distribution; dividing both only sharpens the answer. So one noisy sum serves for both.


# %% tags=["solution"]
def gumbel_draw(logits, temperature, uniform):
    """Logits (..., K), τ and uniform numbers (..., K) -> choices (...), weights (..., K)."""
    gumbel = -torch.log(-torch.log(uniform.clamp(min=1e-30)))
    noisy = logits + gumbel
    return noisy.argmax(-1), torch.softmax(noisy / temperature, dim=-1)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.gumbel_draw(gumbel_draw)

# %% [markdown]
# **What does the temperature do?** Three choices with probabilities 0.6, 0.3 and 0.1, eight draws at four temperatures.

# %% tags=["hide-input"]
odds = torch.tensor([0.6, 0.3, 0.1])
stream = torch.Generator().manual_seed(seed)
u = torch.rand((4000, 3), generator=stream)
fig, axes = plt.subplots(1, 4, figsize=(9, 2.2), sharey=True)
for ax, tau in zip(axes, (10.0, 1.0, 0.25, 1 / 16), strict=True):
    y = gumbel_draw(odds.log(), tau, u)[1]
    bottom = torch.zeros(8)
    for k in range(3):
        ax.bar(range(8), y[:8, k], bottom=bottom, label=f"choice {k + 1}")
        bottom = bottom + y[:8, k]
    ax.set(title=f"τ = {tau:g}", xlabel="draw", xticks=[])
axes[0].set_ylabel("weights")
axes[-1].legend(fontsize=7, frameon=True, loc="lower right")
largest = [
    float(gumbel_draw(odds.log(), tau, u)[1].max(1).values.mean())
    for tau in (10.0, 1.0, 1 / 16)
]
share = (gumbel_draw(odds.log(), 1.0, u)[0] == 0).double().mean()
say(
    f"Hot, every draw is a grey mixture (the largest weight is {largest[0]:.2f} on average); cold, it is a choice ({largest[2]:.2f}). "
    f"At every temperature the largest weight falls on the first choice in {share:.1%} of 4,000 draws: its probability is 60 %."
)

# %% [markdown]
# **And what does it do to the gradient?** That can be measured, because for a few choices the true gradient is known. Let $f_k$ be the loss that results when code $k$ is
# chosen, and $p = \operatorname{softmax}(a)$. The loss to be expected is
#
# ```{math}
# :label: eq-choice-loss
# F(a) = \sum_k p_k\, f_k .
# ```
#
# Training wants $\nabla_a F$. With 256 codes at each of 49 places nobody can compute it: the decoder would have to run once for each of $256^{49}$ grids. With three codes at one place it takes a pencil.

# %% [markdown]
# ```{exercise-start} The gradient of a choice
# :label: ex-choice-gradient
# ```
# *Goal: know the gradient that an estimator should have. About 15 minutes, 2 points.*
#
# Differentiate {eq}`eq-choice-loss` with respect to the logits, with a pencil, and return $\nabla_a F$ along the last axis. Logits may lie hundreds of nats apart. (Autograd would give the
# numbers, too, but not the formula, and the formula says what a logit is pushed by.)


# %% tags=["exercise"]
def choice_gradient(logits, values):
    """Logits a (..., K) and losses f (..., K) -> the gradient (..., K) of the expected loss."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-choice-gradient
# :class: dropdown
# ```
# $\partial p_k / \partial a_j = p_k (\delta_{kj} - p_j)$, so that $\partial F / \partial a_j = p_j (f_j - F)$: a logit is pushed down by how much worse its code is than
# the average, as often as it is chosen. The numbers sum to zero.


# %% tags=["solution"]
def choice_gradient(logits, values):
    """Logits a (..., K) and losses f (..., K) -> the gradient (..., K) of the expected loss."""
    p = torch.softmax(logits, dim=-1)
    average = (p * values).sum(-1, keepdim=True)
    return p * (values - average)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.choice_gradient(choice_gradient)

# %% [markdown]
# Three codes in the plane, a decoder that does nothing, and the squared distance to a point as the loss. **Predict before you run:** your formula says what the mean gradient
# should be. Which temperature is further from it on average (*bias*), the hot or the cold? And which scatters more from draw to draw (*standard deviation*)?
#
# Beside the relaxed weights stands their common variant: forwards the hard choice, backwards the weights' gradient, by your `straight_through`. Its decoder sees true codes only.

# %%
three_codes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
aim = torch.tensor([0.5, 0.1])
losses = (three_codes - aim).square().sum(1)
exact = torch.as_tensor(choice_gradient(odds.log(), losses)).float()
u = torch.rand((settings.n_draws, 3), generator=stream)
taus = (4.0, 2.0, 1.0, 0.5, 0.25, 1 / 8, 1 / 16, 1 / 32)


def estimated(tau, hard):
    """The gradient that each draw gives, (n_draws, 3)."""
    logits = odds.log().expand(len(u), 3).clone().requires_grad_()
    choice, weights = gumbel_draw(logits, tau, u)
    if hard:
        weights = straight_through(weights, F.one_hot(choice, 3).float())
    loss = (weights @ three_codes - aim).square().sum(1)
    return torch.autograd.grad(loss.sum(), logits)[0]


found = {}
for kind, hard in (("relaxed", False), ("straight through", True)):
    for tau in taus:
        each = estimated(tau, hard)
        found[kind, tau] = {
            "mean": each.mean(0),
            "bias": float((each.mean(0) - exact).norm() / exact.norm()),
            "spread": float(each.std(0).norm() / exact.norm()),
            "silent": float((each.norm(dim=1) < 0.01 * exact.norm()).double().mean()),
        }

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 2.9))
for ax, key, title in zip(
    axes,
    ("bias", "spread"),
    ("Bias of the mean gradient", "Standard deviation of one draw"),
    strict=True,
):
    for kind in ("relaxed", "straight through"):
        ax.plot(taus, [found[kind, tau][key] for tau in taus], "o-", ms=4, label=kind)
    ax.set(xscale="log", yscale="log", xlabel="temperature τ", title=title)
    ax.set_xticks(taus, ["4", "2", "1", "½", "¼", "⅛", "1/16", "1/32"])
    ax.minorticks_off()
axes[0].fill_between(
    taus,
    [1e-3] * len(taus),
    [found["relaxed", tau]["spread"] / settings.n_draws**0.5 for tau in taus],
    color="black",
    alpha=0.12,
    lw=0,
)
axes[0].set(ylabel="÷ length of the exact gradient", ylim=(0.01, 3))
axes[1].legend()
_ = fig.suptitle(
    f"Gradients of {settings.n_draws:,} draws; grey: what chance alone makes of the relaxed ones' bias",
    fontsize=10,
)


def vector(v):
    """'(−0.34, 0.07, 0.26)'."""
    return "(" + ", ".join(f"{x:.2f}" for x in v.tolist()) + ")"


def draws_needed(row):
    """So many that the error of their mean is no larger than the bias, as far as our draws can tell."""
    n = max(1.0, (row["spread"] / row["bias"]) ** 2)
    most = settings.n_draws // 4  # beyond, the bias cannot be told from chance
    return f"{n:,.0f}" if n < most else f"more than {most:,}"


table(
    [
        {
            "τ": f"{tau:g}",
            "exact (yours)": vector(exact),
            **{
                f"mean, {kind}": vector(found[kind, tau]["mean"])
                for kind in ("relaxed", "straight through")
            },
            "relaxed: draws until noise = bias": draws_needed(found["relaxed", tau]),
            "draws with hardly any gradient": f"{found['relaxed', tau]['silent']:.0%}",
        }
        for tau in taus
    ],
    "Three codes with probabilities 0.6, 0.3, 0.1",
)
record(
    "gumbel_gradient",
    {
        f"{kind}, {tau:g}": [row["bias"], row["spread"]]
        for (kind, tau), row in found.items()
    },
)

# %% [markdown]
# Hot, every draw has nearly the same gradient, and it is the wrong one: that of a mixture, which the decoder will never get at test time. Cold, the mean is right, but it is carried by a
# few draws with enormous gradients, while most say nothing. So it is the *variance* that makes a cold training hard: no single draw is lying, but one must average many. That is why the temperature falls
# during training, and why it does not fall to zero. Straight through is no way out here: it shows the decoder true codes, and pays with more of both.

# %% [markdown]
# Training starts at $\tau = 1$ and cools to $1/16$, as the published dVAE does {cite}`ramesh2021dalle`. The loss is the
# negative {term}`evidence lower bound <ELBO>`: squared error over $2\sigma^2$, plus $w$ times the divergence
# $\sum_{ij} \mathrm{KL}(\mathrm{softmax}(a_{ij}) \,\Vert\, \text{uniform})$ of the encoder's probabilities over codes from equal ones. Its weight $w$ rises from 0 to 1. (Even
# at 1 the loss is not quite the bound: its first term is an average over relaxed samples, its second belongs to hard choices.) (σ is 0.1 in pixels from −1 to 1: it says how many nats a squared error is worth against the divergence.) To judge the model, and to make tokens, we take the largest logit.
#
# The encoder's logits pass through a batch norm before anything else, so that at the start every code is chosen about equally often. Further down
# is a run without it.


# %%
def train_gumbel(data, held_out, steps=settings.gumbel_steps, **changes):
    """A Gumbel-softmax dVAE with the same encoder and decoder."""
    shape = {"n_codes": settings.n_codes, "width": settings.width, **changes}
    torch.manual_seed(seed)
    module = GumbelTraining(GumbelVAE(**shape), lr=3e-3)
    return train(module, "gumbel", data, held_out, steps, batch_size=64)


gumbel_runs = {name: train_gumbel(data[name], held_out[name]) for name in settings.data}
gumbel = {name: run.module.model for name, run in gumbel_runs.items()}

# %% tags=["hide-input"]
show_reconstructions(gumbel, "Gumbel-softmax dVAE")
gumbel_scores = {
    name: judge_tokens(gumbel[name], held_out[name].images) for name in gumbel
}
record("gumbel", {titles[name]: s for name, s in gumbel_scores.items()})
table(
    [
        {
            "data": titles[name],
            "model": model,
            "steps × batch": size,
            "MSE": f"{score['mse']:.4f}",
            "codes in use": f"{score['codes']} of {settings.n_codes}",
            "perplexity": f"{score['perplexity']:.0f}",
        }
        for name in settings.data
        for model, size, score in (
            ("VQ-VAE", f"{settings.vq_steps:,} × 128", vq_scores[name]),
            (
                "Gumbel-softmax dVAE",
                f"{settings.gumbel_steps:,} × 64",
                gumbel_scores[name],
            ),
        )
    ],
    "The two discrete auto-encoders on held-out images, hard tokens, MSE of pixels in [0, 1]",
)

# %%
ratio = {name: gumbel_scores[name]["mse"] / vq_scores[name]["mse"] for name in vq}
say(
    "The dVAE's error is "
    + " and ".join(
        f"{value:.1f} times the VQ-VAE's on {titles[name]}"
        for name, value in ratio.items()
    )
    + ". The comparison is of two budgets as much as of two methods: the VQ-VAE saw "
    f"{settings.vq_steps * 128 / (settings.gumbel_steps * 64):.1f} times as many images. "
    "Its hard tokens use "
    + " and ".join(
        f"{score['codes']} codes with a perplexity of {score['perplexity']:.0f}, the VQ-VAE's {vq_scores[name]['codes']} with {vq_scores[name]['perplexity']:.0f} ({titles[name]})"
        for name, score in gumbel_scores.items()
    )
    + ". The rest of the chapter uses the VQ-VAE's tokens."
)

# %% [markdown]
# **What does the batch norm do?** The same short training with it and without.

# %%
if study("batch-norm"):
    norms = []
    for name in settings.data:
        for norm in (True, False):
            short = train_gumbel(data[name], None, settings.ablation_steps, norm=norm)
            score = judge_tokens(short.module.model, held_out[name].images[:2000])
            norms.append(
                {
                    "data": titles[name],
                    "batch norm": "with" if norm else "without",
                    "MSE": f"{score['mse']:.4f}",
                    "codes in use": score["codes"],
                    "perplexity": f"{score['perplexity']:.1f}",
                }
            )
    record("gumbel_norm", norms)
    table(
        norms,
        f"Gumbel-softmax dVAE, {settings.ablation_steps} steps of batch 64, hard tokens of up to 2,000 held-out images",
    )
    ratios = [
        b["codes in use"] / a["codes in use"]
        for a, b in zip(norms[::2], norms[1::2], strict=True)
    ]
    say(
        "Without it "
        + " and ".join(
            f"{b['codes in use']} codes are in use on {b['data']} (with it: {a['codes in use']})"
            for a, b in zip(norms[::2], norms[1::2], strict=True)
        )
        + (
            ". A few codes that happen to be good in the first steps take everything, and the others hardly get a gradient again."
            if max(ratios) < 0.7
            else ". In so short a run it makes no clear difference to the codes in use."
        )
        + " The squared error is lower "
        + " and ".join(
            f"{'with' if float(a['MSE']) < float(b['MSE']) else 'without'} it on {b['data']}"
            for a, b in zip(norms[::2], norms[1::2], strict=True)
        )
        + ": after so few steps, using many codes and painting well are not yet the same."
    )

# %% [markdown]
# ## What does a code mean?
#
# Fill the whole grid with one code and decode it: that is the code's texture. Then change a single token of a real image and see how
# far the change reaches.

# %% tags=["hide-input"]
all_tokens, all_latents = {}, {}
for name in settings.data:
    all_tokens[name], all_latents[name] = tokens_and_latents(
        vq[name], data[name].images
    )
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2))
for ax, name in zip(axes, settings.data, strict=True):
    used = torch.bincount(all_tokens[name].flatten(), minlength=settings.n_codes)
    common = used.argsort(descending=True)[:60]
    image_grid(
        code_pictures(vq[name], common, (7, 7)),
        f"{titles[name]}: the commonest codes",
        columns=12,
        ax=ax,
    )

# %% tags=["hide-input"]
place = (3, 3)
fig, axes = plt.subplots(2, 10, figsize=(9, 2.5))
reach = {}
for row, name in zip(axes, settings.data, strict=True):
    x = to_float(held_out[name].images[:1])
    with torch.no_grad():
        tokens = vq[name].tokens(x)[0]
        before = vq[name].decode_tokens(tokens[None]).clamp(-1, 1)
    used = torch.bincount(all_tokens[name].flatten(), minlength=settings.n_codes)
    codes = used.argsort(descending=True)[:8]
    after = swap_token(vq[name], tokens, *place, codes)
    changed = ((after - before).abs() > 0.1).any(0)[0]
    lines = changed.any(1).nonzero().flatten()
    reach[name] = int(lines[-1] - lines[0] + 1) if len(lines) else 0
    draw_tokens(tokens, row[0], mark=place)
    pictures = torch.cat((before, after))
    for ax, picture, label in zip(
        row[1:],
        pictures,
        ["as it is", *(f"→ {k}" for k in codes.tolist())],
        strict=True,
    ):
        ax.imshow(picture[0], cmap="gray", vmin=-1, vmax=1)
        ax.set_title(label, fontsize=8)
        ax.axis("off")
_ = fig.suptitle(
    f"One token swapped: {' (above) and '.join(titles[n] for n in settings.data)} (below)",
    fontsize=10,
)

# %%
say(
    "A token stands for 4×4 pixels, but the decoder looks at its neighbours too: the swaps above change pixels over a height of "
    + " and ".join(f"{value} pixels ({titles[name]})" for name, value in reach.items())
    + ". What a code paints depends on its surroundings. It is a letter rather than a stamp."
)

# %% [markdown]
# In JupyterLab the next cell shows sliders over image, place and code. The printed page has no kernel; the picture above stands in.

# %%
if can_show_widgets():
    from IPython.display import display

    first = settings.data[0]
    display(
        codebook_explorer(
            vq[first], to_float(held_out[first].images[:50]), titles[first]
        )
    )
else:
    say(
        "*The explorer needs a live notebook: open this chapter with "
        "`make lab` and run this cell.*"
    )

# %% [markdown]
# ## Clusters (E2)
#
# Now forget the labels. **Do the tokens know the classes?** K-means needs vectors, and there are several ways to make one from an image:
#
# - **quantised latents**: the 49 code vectors in a row, $49 \times 16$ numbers;
# - **token histogram**: how often each code occurs, wherever it is (square roots, so that the background does not drown the rest);
# - **one-hot tokens**: 49 blocks of $K$ numbers, one of them 1 and the rest 0; the squared distance is twice the number of places where two grids differ;
# - and, as baselines, **raw pixels** and their **first 50 principal components**.


# %%
def represent(images, tokens, latents, pca):
    """Every representation of the same images, by name: (N, d) each."""
    pixels = images.flatten(1).float().div(255).numpy()
    return {
        "raw pixels": pixels,
        "PCA of pixels": pca.transform(pixels).astype(np.float32),
        "quantised latents": latents,
        "token histograms": token_histograms(tokens, settings.n_codes),
        "one-hot tokens": one_hot_tokens(tokens, settings.n_codes),
    }


subset, pcas, features = {}, {}, {}
for name in settings.data:
    picks = np.random.default_rng(seed).permutation(len(data[name]))
    subset[name] = np.sort(picks[: settings.n_cluster])
    some = data[name].images[subset[name]]
    pcas[name] = PCA(50, random_state=seed).fit(
        some.flatten(1).float().div(255).numpy()
    )
    features[name] = represent(
        some,
        all_tokens[name][subset[name]],
        all_latents[name][subset[name]],
        pcas[name],
    )

# %% [markdown]
# How many clusters? The **{term}`silhouette`** of a point compares its mean distance $a$ to its own cluster with its mean
# distance $b$ to the nearest other one {cite}`rousseeuw1987silhouettes`:
#
# ```{math}
# :label: eq-silhouette
# s = \frac{b - a}{\max(a, b)} \in [-1, 1] .
# ```
#
# Our rule, fixed before looking: *the best K is the one with the largest mean silhouette, averaged over the seeds*. Each seed draws its own
# start for k-means and its own points for the silhouette.

# %%
scans = {
    name: {
        kind: clustering.scan_k(x, settings.ks, seeds, n=settings.n_silhouette)
        for kind, x in features[name].items()
    }
    for name in settings.data
}
best = {
    name: {kind: clustering.best_k(rows) for kind, rows in scans[name].items()}
    for name in scans
}

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6))
for ax, name in zip(axes, scans, strict=True):
    silhouette_curves(scans[name], ax, title=titles[name])
axes[1].legend(fontsize=7)
_ = fig.suptitle(
    f"Silhouette ({settings.n_silhouette:,} of {settings.n_cluster:,} images); bands: {settings.seeds} seeds, rings: best K",
    fontsize=10,
)


# %%
def mean_silhouette(name, kind, k):
    """Over the seeds."""
    return np.mean([r["silhouette"] for r in scans[name][kind] if r["k"] == k])


for name in scans:
    chosen = best[name]["quantised latents"]
    say(
        f"**{titles[name]}**: the rule chooses "
        + ", ".join(f"K = {k} for {kind}" for kind, k in best[name].items())
        + f". For the quantised latents the mean silhouette is {mean_silhouette(name, 'quantised latents', chosen):.3f} "
        f"at K = {chosen} and {mean_silhouette(name, 'quantised latents', 10):.3f} at K = 10, the number of classes."
    )
highest = max(
    mean_silhouette(name, kind, best[name][kind])
    for name in scans
    for kind in scans[name]
)
say(
    f"The highest of all these means is {highest:.3f}; well separated groups would come near 1."
)
record("best_k", {titles[name]: value for name, value in best.items()})
record(
    "silhouette",
    {
        titles[name]: {
            kind: [[k, float(mean_silhouette(name, kind, k))] for k in settings.ks]
            for kind in scans[name]
        }
        for name in scans
    },
)

# %% [markdown]
# A silhouette near 0 says that a point is about as far from the next cluster as from its own: there are no
# gaps between the clusters. Then the rule gives *an* answer, but the data do not insist on it; and when that answer is the smallest K that was
# tried, the rule only says that it ran into the end of the list. So we
# go on with two numbers of clusters: the rule's, and ten, the number of classes.
#
# ## What are the clusters worth? (E5)
#
# Cluster 3 has nothing to do with class 3; the numbers are arbitrary. To call clusters right or wrong, match them one-to-one with the
# classes so that as many points as possible are right. The **{term}`Hungarian algorithm <Hungarian accuracy>`**
# {cite}`kuhn1955hungarian` finds that matching.

# %% [markdown]
# ```{exercise-start} Hungarian accuracy
# :label: ex-hungarian
# ```
# *Goal: score clusters whose numbers mean nothing. About 15 minutes, 2 points.*
#
# Return the share of points that are right under the best one-to-one matching. The numbers of clusters and of classes may differ; points
# of an unmatched cluster are wrong. `linear_sum_assignment` of SciPy is imported; `.tolist()` turns a tensor into plain numbers.


# %% tags=["exercise"]
def hungarian_accuracy(clusters, labels):
    """Tensors (N,), (N,) of whole numbers -> a share in [0, 1]."""
    raise NotImplementedError


# %% [markdown]
# ```{exercise-end}
# ```

# %% [markdown] tags=["solution"]
# ```{solution-start} ex-hungarian
# :class: dropdown
# ```
# Count how often each pair of cluster and class occurs; the matching picks at most one entry a row and a column, so that their sum is
# largest. The table need not be square.


# %% tags=["solution"]
def hungarian_accuracy(clusters, labels):
    """Tensors (N,), (N,) of whole numbers -> a share in [0, 1]."""
    counts = np.zeros((int(clusters.max()) + 1, int(labels.max()) + 1))
    for cluster, label in zip(clusters, labels, strict=True):
        counts[cluster, label] += 1
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return counts[rows, columns].sum() / len(labels)


# %% [markdown] tags=["solution"]
# ```{solution-end}
# ```

# %% tags=["check"]
checks.hungarian_accuracy(hungarian_accuracy)

# %% [markdown]
# Two more scores need no matching: **{term}`NMI`**, the information $I$ that cluster and class share, scaled to [0, 1] as $2I / (H_{\text{cluster}} + H_{\text{class}})$, and
# **ARI**, the agreement over pairs of points, 0 for chance. We take scikit-learn's.
#
# **Which representation clusters best?** Ten clusters each, compared with the true labels.


# %%
def agreement(clusters, truth):
    """NMI and ARI by the package, accuracy by your function; and how far the package's accuracy is from yours."""
    theirs = clustering.agreement(clusters, truth)
    own = float(
        hungarian_accuracy(
            torch.from_numpy(clusters).long(), torch.from_numpy(truth).long()
        )
    )
    return {**theirs, "accuracy": own, "gap": abs(own - theirs["accuracy"])}


quality = {}
for name in settings.data:
    truth = data[name].labels[subset[name]].numpy()
    quality[name] = {
        kind: [agreement(row["clusters"], truth) for row in rows if row["k"] == 10]
        for kind, rows in scans[name].items()
    }


def spread(values, form="{:.3f}"):
    """Mean and range over the seeds, as text."""
    low, high = form.format(min(values)), form.format(max(values))
    return f"{form.format(np.mean(values))} ({low} to {high})"


table(
    [
        {
            "data": titles[name],
            "representation": kind,
            **{
                title: spread([score[key] for score in scores])
                for key, title in (
                    ("nmi", "NMI"),
                    ("ari", "ARI"),
                    ("accuracy", "Hungarian accuracy"),
                )
            },
        }
        for name in quality
        for kind, scores in quality[name].items()
    ],
    f"Ten clusters of {settings.n_cluster:,} training images against the true labels: mean (range) over {settings.seeds} seeds",
)
gaps = [
    score["gap"]
    for kinds in quality.values()
    for scores in kinds.values()
    for score in scores
]
say(
    f"The accuracies are your function's. The package's differ by {max(gaps):.0e} at most in {len(gaps)} clusterings."
)
record("hungarian_gap", max(gaps))
record(
    "agreement",
    {
        titles[name]: {
            kind: {
                key: [float(score[key]) for score in scores]
                for key in ("nmi", "ari", "accuracy")
            }
            for kind, scores in quality[name].items()
        }
        for name in quality
    },
)


# %%
def verdict(name):
    """Which representations beat raw pixels beyond the range of the seeds, in NMI and in accuracy."""
    pixels, better, worse = quality[name]["raw pixels"], [], []
    for kind in ("quantised latents", "token histograms", "one-hot tokens"):
        ours = quality[name][kind]
        keys = ("nmi", "accuracy")
        if all(min(s[k] for s in ours) > max(s[k] for s in pixels) for k in keys):
            better.append(kind)
        elif all(max(s[k] for s in ours) < min(s[k] for s in pixels) for k in keys):
            worse.append(kind)
    return better, worse


for name in quality:
    better, worse = verdict(name)
    same = [
        k
        for k in ("quantised latents", "token histograms", "one-hot tokens")
        if k not in better + worse
    ]
    parts = [
        f"{text}: {', '.join(kinds)}"
        for text, kinds in (
            ("better than raw pixels in every seed, by NMI and by accuracy", better),
            ("worse in every seed", worse),
            ("not told apart by these seeds", same),
        )
        if kinds
    ]
    say(f"**{titles[name]}**. {'; '.join(parts).capitalize()}.")
record("beats_pixels", {titles[name]: verdict(name)[0] for name in quality})


def mean_of(name, kind, key):
    """Mean over the seeds."""
    return float(np.mean([row[key] for row in quality[name][kind]]))


for name in quality:
    order = sorted(quality[name], key=lambda kind: -mean_of(name, kind, "accuracy"))
    say(
        f"{titles[name]}, mean accuracy and NMI: "
        + "; ".join(
            f"{kind} {mean_of(name, kind, 'accuracy'):.2f} and {mean_of(name, kind, 'nmi'):.2f}"
            for kind in order
        )
        + "."
    )
if not any(verdict(name)[0] for name in quality):
    say(
        "**No representation by tokens beats raw pixels in every seed, on either data set.** We had hoped for one that does."
    )

# %% [markdown]
# What should one expect? The VQ-VAE was asked to *paint*, and painting needs to know where the ink is. Its tokens are a
# shorter way of writing the same picture, with the same positions: a 1 that leans to the left and one that leans to the right share few tokens, and few
# pixels too. A histogram forgets the positions, and with them most of the shape. Methods that cluster much better add something that says which
# differences do not matter; deep embedded clustering, for instance, trains the encoder for the clusters {cite}`xie2016dec`.
#
# ## Pseudo-labels (E3)
#
# A cluster's number can serve as a label. For training images it comes from k-means itself. For a new image, take the cluster with the **nearest
# centroid**: the same rule, so it is consistent. We cluster the quantised latents of *all* training images, with the rule's K and with ten.


# %%
def pseudo_label(name, k):
    """Centroids fitted on the training latents, and cluster numbers for training and held-out images."""
    model = clustering.kmeans(all_latents[name], k, seed=seed, n_init=3, minibatch=True)
    _, new = tokens_and_latents(vq[name], held_out[name].images)
    centroids = model.cluster_centers_
    return {
        "k": k,
        "centroids": centroids,
        "train": clustering.nearest_centroid(all_latents[name], centroids),
        "test": clustering.nearest_centroid(new, centroids),
        "latents": new,
    }


pseudo = {name: {} for name in settings.data}
for name in settings.data:
    for k in sorted({best[name]["quantised latents"], 10}):
        pseudo[name][k] = pseudo_label(name, k)

# %% [markdown]
# **Would the held-out images have been split the same way?** Cluster them on their own, without the training data, and compare
# with the {term}`pseudo-labels <pseudo-label>` they got.


# %%
def spread_around(x, centroids):
    """Mean squared distance to the nearest centroid: what k-means makes small."""
    return float(
        np.square(x - centroids[clustering.nearest_centroid(x, centroids)])
        .sum(1)
        .mean()
    )


consistency = []
for name in pseudo:
    for k, found in pseudo[name].items():
        alone = clustering.kmeans(
            found["latents"], k, seed=seed, n_init=3, minibatch=True
        )  # as the training images were
        shares = [
            np.bincount(found[s], minlength=k) / len(found[s])
            for s in ("train", "test")
        ]
        consistency.append(
            {
                "data": titles[name],
                "K": k,
                "largest difference of a cluster's share": f"{abs(shares[0] - shares[1]).max():.3f}",
                "agreement with a clustering of their own": f"{clustering.hungarian_accuracy(alone.labels_, found['test']):.3f}",
                "squared distance to the centroids, ÷ with their own": f"{spread_around(found['latents'], found['centroids']) / spread_around(found['latents'], alone.cluster_centers_):.3f}",
            }
        )
table(consistency, "Pseudo-labels of held-out images by the nearest centroid")
record("consistency", consistency)

# %% [markdown]
# Compare the columns. Shares that hardly differ say that held-out images fall into the clusters as the training images did. An agreement well
# below 1 beside a ratio near 1 says that k-means has several solutions which are about equally good. With ten clusters it is so; with two there is less room, and from training to training of the VQ-VAE
# the two clusterings may nearly agree. The centroids are then a convention, and fixing them once, on the training data, is
# what makes a pseudo-label mean the same thing tomorrow.
#
# ## What is in a cluster? (E5)

# %% [markdown]
# **How much of each true class is in each cluster?** A row a cluster, in per cent of its images, so that each row sums to 100.

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 4.2))
purest = {}
for ax, name in zip(axes, settings.data, strict=True):
    found, truth = pseudo[name][10]["test"], held_out[name].labels
    share = clustering.percentages(found, truth.numpy(), 10, 10)
    purest[name] = share.max(1)
    number_matrix(
        share,
        ax,
        columns=held_out[name].classes,
        xlabel="true class",
        ylabel="cluster",
        title=titles[name],
    )
_ = fig.suptitle(
    "Percentage of each class inside each of ten clusters (held-out images)",
    fontsize=10,
)

# %%
for name, share in purest.items():
    say(
        f"**{titles[name]}**: {int((share > 80).sum())} of ten clusters are more than 80 % one class, "
        f"and {int((share < 50).sum())} have no class with half of their images."
    )

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 4.2))
mistakes = {}
for ax, name in zip(axes, settings.data, strict=True):
    found, truth = pseudo[name][10], held_out[name].labels.numpy()
    # The clusters are named on the training images, the counts are of held-out ones.
    names = clustering.name_clusters(found["train"], data[name].labels.numpy(), 10, 10)
    confusion = clustering.contingency(truth, names[found["test"]], 10, 10)
    number_matrix(
        confusion,
        ax,
        rows=held_out[name].classes,
        columns=held_out[name].classes,
        xlabel="pseudo-label, matched",
        ylabel="true class",
        title=titles[name],
    )
    wrong = confusion - np.diag(np.diag(confusion))
    mistakes[name] = np.unravel_index(wrong.argmax(), wrong.shape)
_ = fig.suptitle(
    "Confusion of true and pseudo-labels, ten clusters (held-out images)", fontsize=10
)

# %%
for name, (i, j) in mistakes.items():
    found, truth = pseudo[name][10], held_out[name].labels.numpy()
    classes = held_out[name].classes
    names = clustering.name_clusters(found["train"], data[name].labels.numpy(), 10, 10)
    inside = np.bincount(truth[names[found["test"]] == j], minlength=10)
    main = int(inside.argmax())
    say(
        f"**{titles[name]}**: the most frequent confusion is a {classes[i]} in the cluster that is called {classes[j]}. "
        + (
            f"That cluster holds more images of class {classes[main]} ({inside[main]}) than of its name ({inside[j]}): the one-to-one matching had to call it something, since another cluster took the better name. "
            if main != j
            else f"That cluster holds {inside[j]} of its own class and {inside[i]} of the other: their ink is alike enough for k-means. "
        )
    )
record(
    "confused",
    {titles[name]: [int(v) for v in pair] for name, pair in mistakes.items()},
)

# %% [markdown]
# **What does it look like?** t-SNE {cite}`maaten2008tsne` draws the first 30 principal components of the quantised latents in the plane so that neighbours stay neighbours. It knows neither labels nor clusters; we only
# colour its points. Distances between far groups mean nothing in such a picture.

# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 2, figsize=(9, 8.4))
for row, name in zip(axes, settings.data, strict=True):
    n = min(settings.n_tsne, len(held_out[name]))
    x = pseudo[name][10]["latents"][:n]
    x = PCA(30, random_state=seed).fit_transform(x)
    flat = TSNE(2, init="pca", random_state=seed, perplexity=30).fit_transform(x)
    coloured_points(
        flat,
        held_out[name].labels[:n].numpy(),
        row[0],
        names=held_out[name].classes,
        title=f"{titles[name]}: by true class",
    )
    coloured_points(
        flat,
        pseudo[name][10]["test"][:n],
        row[1],
        names=[str(i) for i in range(10)],
        title=f"{titles[name]}: by cluster",
    )

# %% [markdown]
# Where the two pictures in a row have the same islands in one colour each, clusters are classes. Where an island has two colours on the right, k-means has cut
# a class in two; where one colour on the right covers two islands, it has merged them.
#
# ## A classifier without labels (E4)
#
# Train the same network for as many steps on the true labels, and again on the pseudo-labels, with the rule's K and with ten. Then ask each about held-out
# images. Clusters are translated into classes by what they hold in the *training* set. K clusters name at most K classes: with K = 2 no more than about 20 % can be right,
# however good the clusters are. Read that row by its agreement column.


# %%
def train_classifier(images, held_out, steps):
    """A small CNN on whatever labels ``images`` carries."""
    n_classes, width = int(images.labels.max()) + 1, settings.classifier_width
    torch.manual_seed(seed)
    network = SmallClassifier(n_classes=n_classes, width=width)
    module = ClassifierTraining(network, lr=4e-3)
    return train(module, "classifier", images, held_out, steps)


def guess(network, images):
    """The most likely class of every uint8 image, (N,)."""
    with torch.no_grad():
        return torch.cat(
            [network(to_float(x)).argmax(1) for x in images.split(500)]
        ).numpy()


judges, answers, classified = {}, {}, []
for name in settings.data:
    truth = held_out[name].labels.numpy()
    run = train_classifier(data[name], held_out[name], settings.classifier_steps)
    judges[name] = run.module.classifier
    answers[name] = {"labels": guess(judges[name], held_out[name].images)}
    classified.append(
        {
            "data": titles[name],
            "trained on": "true labels",
            "accuracy": f"{(answers[name]['labels'] == truth).mean():.4f}",
            "agrees with its own labels": f"{(answers[name]['labels'] == truth).mean():.4f}",
            "nearest centroid's accuracy": "–",
        }
    )
    for k, found in pseudo[name].items():
        labelled = replace(data[name], labels=torch.from_numpy(found["train"]))
        new = replace(held_out[name], labels=torch.from_numpy(found["test"]))
        run = train_classifier(labelled, new, settings.classifier_steps)
        said = guess(run.module.classifier, held_out[name].images)
        names = clustering.name_clusters(
            found["train"], data[name].labels.numpy(), k, 10
        )
        answers[name][k] = names[said]
        classified.append(
            {
                "data": titles[name],
                "trained on": f"{k} clusters",
                "accuracy": f"{(names[said] == truth).mean():.4f}",
                "agrees with its own labels": f"{(said == found['test']).mean():.4f}",
                "nearest centroid's accuracy": f"{(names[found['test']] == truth).mean():.4f}",
            }
        )
record("classified", classified)
record("classifier_steps", settings.classifier_steps)
table(classified, "The classifiers on held-out images (accuracy: true classes)")

# %%
by_training = {(row["data"], row["trained on"]): row for row in classified}
for name in settings.data:
    ten = by_training[titles[name], "10 clusters"]
    copied, right, taught = (
        float(ten[key])
        for key in (
            "agrees with its own labels",
            "accuracy",
            "nearest centroid's accuracy",
        )
    )
    whole = float(by_training[titles[name], "true labels"]["accuracy"])
    say(
        f"**{titles[name]}**: trained on ten pseudo-labels, the network gives {copied:.1%} of held-out images the label that the nearest centroid gives. "
        f"It is right about the true class of {right:.1%}; its teacher, the nearest centroid, of {taught:.1%}. Trained on true labels it reaches {whole:.1%}."
    )

# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 2, figsize=(9, 8.6))
for row, name in zip(axes, settings.data, strict=True):
    truth = held_out[name].labels.numpy()
    for ax, key, what in (
        (row[0], "labels", "true labels"),
        (row[1], 10, "ten pseudo-labels"),
    ):
        number_matrix(
            clustering.contingency(truth, answers[name][key], 10, 10),
            ax,
            rows=held_out[name].classes,
            columns=held_out[name].classes,
            title=f"{titles[name]}:\ntrained on {what}",
            xlabel="the classifier says",
            ylabel="true class",
        )

# %% [markdown]
# A classifier trained on pseudo-labels copies its teacher, errors included. It cannot learn from the labels what the clusters do not know. What it may add is its own prior, that
# small shifts of an image do not matter; whether that helps here, the columns *accuracy* and *nearest centroid's accuracy* say.
#
# ## How few labels are enough?
#
# Clusters are free, labels cost money. **If we may ask for the labels of only $n$ images, which $n$ should we ask for?** One plan: make $n$ clusters, ask for the label of the image
# nearest to each centroid, and give it to the whole cluster. The plain plan: ask for $n$ random images, and label the others like their nearest labelled neighbour. The two
# differ twice, in *which* images are asked for and in how a label spreads, so a third plan stands between them: ask for the centroids' images, and go by the nearest. All see the
# same vectors.


# %%
def one_label_a_cluster(x, y, x_new, n, s):
    """n clusters, each named after the image nearest to its centroid; classes for new images."""
    model = clustering.kmeans(x, n, seed=s, minibatch=True)
    centres = model.cluster_centers_
    asked = clustering.nearest_centroid(centres, x)  # the nearest image of each
    return y[asked][clustering.nearest_centroid(x_new, centres)]


def random_labels(x, y, x_new, n, s):
    """n random labelled images; every new image copies its nearest one."""
    asked = np.random.default_rng(s).choice(len(x), n, replace=False)
    return KNeighborsClassifier(1).fit(x[asked], y[asked]).predict(x_new)


def central_labels(x, y, x_new, n, s):
    """The images nearest to n centroids are labelled; every new image copies its nearest one."""
    centres = clustering.kmeans(x, n, seed=s, minibatch=True).cluster_centers_
    asked = clustering.nearest_centroid(centres, x)
    return KNeighborsClassifier(1).fit(x[asked], y[asked]).predict(x_new)


plans = {
    "one label a cluster": one_label_a_cluster,
    "central images, nearest": central_labels,
    "random labels": random_labels,
}
efficiency = {}
for name in settings.data:
    y = data[name].labels[subset[name]].numpy()
    new_tokens, _ = tokens_and_latents(vq[name], held_out[name].images[:2000])
    new = represent(
        held_out[name].images[:2000],
        new_tokens,
        pseudo[name][10]["latents"][:2000],
        pcas[name],
    )
    truth = held_out[name].labels[:2000].numpy()
    for kind in ("quantised latents", "raw pixels"):
        x = features[name][kind]
        for plan, function in plans.items():
            efficiency[name, kind, plan] = [
                [
                    float((function(x, y, new[kind], n, s) == truth).mean())
                    for s in seeds
                ]
                for n in settings.label_counts
            ]

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for ax, name in zip(axes, settings.data, strict=True):
    for (which, kind, plan), values in efficiency.items():
        if which == name:
            line, style = (
                ("C0", "C1")[kind == "raw pixels"],
                {
                    "one label a cluster": "-",
                    "central images, nearest": ":",
                    "random labels": "--",
                }[plan],
            )
            ax.plot(
                settings.label_counts,
                [np.mean(v) for v in values],
                style,
                color=line,
                marker="o",
                ms=3,
                label=f"{kind}, {plan}",
            )
            ax.fill_between(
                settings.label_counts,
                [min(v) for v in values],
                [max(v) for v in values],
                color=line,
                alpha=0.12,
                lw=0,
            )
    ax.set(xscale="log", xlabel="labels asked for", title=titles[name])
    ax.set_xticks(settings.label_counts, [str(n) for n in settings.label_counts])
    ax.minorticks_off()
axes[0].set_ylabel("accuracy on held-out images")
axes[1].legend(fontsize=7)
_ = fig.suptitle(f"Label efficiency; bands: {settings.seeds} seeds", fontsize=10)
record(
    "label_efficiency",
    {
        f"{titles[name]}, {kind}, {plan}": [
            [n, float(np.mean(v))]
            for n, v in zip(settings.label_counts, values, strict=True)
        ]
        for (name, kind, plan), values in efficiency.items()
    },
)

# %%
for name in settings.data:
    told = []
    for i in (0, -1):  # the smallest and the largest number of labels
        one, central, plain = (
            np.mean(efficiency[name, "quantised latents", plan][i]) for plan in plans
        )
        told.append(
            f"{settings.label_counts[i]} labels: {one:.1%} for one a cluster, {central:.1%} for the same images and the nearest of them, {plain:.1%} for random ones"
        )
    say(f"**{titles[name]}**, quantised latents. " + "; ".join(told) + ".")

# %% [markdown]
# ## Drawing new pictures: a prior over tokens
#
# A VQ-VAE by itself cannot generate: random tokens are not a picture. It needs a distribution over token grids. By the chain rule every such distribution is a product of
# one choice after the other,
#
# ```{math}
# :label: eq-token-prior
# p(t) = \prod_{i=1}^{49} p(t_i \mid t_1, \dots, t_{i-1}),
# ```
#
# read row by row. We take a tiny causal transformer {cite}`vaswani2017attention`: two layers, and a mask that lets place $i$ see only the places before it. It is trained by maximum
# likelihood, so its loss is honest: nats an image, to be compared with simpler ideas about the same tokens.


# %%
def train_prior(tokens, held_out_tokens, steps=settings.prior_steps):
    """A causal transformer over token grids."""
    shape = {
        "n_codes": settings.n_codes,
        "width": settings.prior_width,
        "n_layers": 2,
        "dropout": 0.0,
    }
    torch.manual_seed(seed)
    module = TokenPriorTraining(TokenPrior(**shape), lr=4e-3)
    return train(module, "prior", tokens, held_out_tokens, steps, batch_size=64)


grids = {n: token_set(vq[n], data[n]) for n in settings.data}
new_grids = {n: token_set(vq[n], held_out[n]) for n in settings.data}
prior_runs = {n: train_prior(grids[n], new_grids[n]) for n in settings.data}
priors = {name: run.module.prior for name, run in prior_runs.items()}


# %% [markdown]
# **How much does a token know about the next?** Four distributions over grids, from ignorant to informed: all codes equally likely; one histogram of codes for all places; a histogram for every
# place; the transformer. The figure is the mean of $-\log p(t)$ over held-out images. All but the first are fitted on the training tokens.


# %%
def histogram(tokens):
    """Log shares of the codes at each place, one added to every count: (49, K)."""
    flat = tokens.images.flatten(1).long()
    pairs = flat + settings.n_codes * torch.arange(
        49
    )  # one number for each place and code
    counts = torch.bincount(pairs.flatten(), minlength=49 * settings.n_codes)
    counts = counts.reshape(49, settings.n_codes).double() + 1
    return (counts / counts.sum(1, keepdim=True)).log()


def draw_places(log_share, n, generator):
    """n grids whose places are independent."""
    picks = torch.multinomial(log_share.exp(), n, replacement=True, generator=generator)
    return picks.T.reshape(n, 7, 7)


nats, drawn = {}, {}
for name in settings.data:
    stream = torch.Generator().manual_seed(seed)
    n = settings.n_samples
    by_place = histogram(grids[name])
    everywhere = by_place.exp().mean(0).log().expand(49, -1)
    uniform = torch.full_like(by_place, -np.log(settings.n_codes))
    flat = new_grids[name].images.flatten(1).long()
    places = torch.arange(49)
    with torch.no_grad():
        informed = torch.cat(
            [
                priors[name].log_prob(t.long())
                for t in new_grids[name].images[:, 0].split(500)
            ]
        )
    nats[name] = {
        "all codes equally likely": 49 * np.log(settings.n_codes),
        "one histogram": -float(everywhere[places, flat].sum(1).mean()),
        "a histogram for every place": -float(by_place[places, flat].sum(1).mean()),
        "the transformer": -float(informed.mean()),
    }
    token_draws = {
        "all codes equally likely": draw_places(uniform, n, stream),
        "a histogram for every place": draw_places(by_place, n, stream),
        "the transformer": priors[name].sample(n, generator=stream),
    }
    with torch.no_grad():
        drawn[name] = {
            kind: torch.cat(
                [to_uint8(vq[name].decode_tokens(t)) for t in tokens.split(500)]
            )
            for kind, tokens in token_draws.items()
        }
    drawn[name]["reconstructions"] = reconstruct(
        vq[name], held_out[name].images[n : 2 * n]
    )
    drawn[name]["other real images"] = data[name].images[:n]

# %% tags=["hide-input"]
fig, axes = plt.subplots(4, 2, figsize=(9, 4.6))
for column, name in zip(axes.T, settings.data, strict=True):
    for ax, kind in zip(
        column,
        (
            "reconstructions",
            "the transformer",
            "a histogram for every place",
            "all codes equally likely",
        ),
        strict=True,
    ):
        image_grid(drawn[name][kind][:28], kind, columns=14, ax=ax)
_ = fig.suptitle(
    f"Decoded tokens, not selected: {' (left), '.join(titles[n] for n in settings.data)} (right)",
    fontsize=10,
)

# %% [markdown]
# To measure the pictures we use the classifier that this chapter trained on true labels: the {term}`Fréchet distance` {cite}`heusel2017fid` between generated and held-out images in its features. Compare
# it only with figures of the same classifier and the same number of images. The reconstructions, of other held-out images than those they are compared with, show about what a perfect prior would reach with this decoder.

# %%
generation = []
for name in settings.data:
    real = extract_features(judges[name], held_out[name])[: settings.n_samples]
    for kind, images in drawn[name].items():
        value = frechet_distance(real, extract_features(judges[name], images))
        generation.append(
            {
                "data": titles[name],
                "pictures": kind,
                "nats an image": f"{nats[name][kind]:.1f}"
                if kind in nats[name]
                else "–",
                "Fréchet distance": f"{value:.3g}",
            }
        )
record("generation", generation)
record("nats", {titles[name]: value for name, value in nats.items()})
table(
    generation,
    f"{settings.n_samples:,} pictures of each kind against held-out images, features of this run's classifiers",
)

# %%
for name, value in nats.items():
    per_token = np.exp(value["the transformer"] / 49)
    say(
        f"**{titles[name]}**: {value['all codes equally likely']:.0f} nats for ignorance, {value['one histogram']:.0f} for one histogram, "
        f"{value['a histogram for every place']:.0f} for a histogram at every place, {value['the transformer']:.0f} for the transformer: as if each token were a choice "
        f"between {per_token:.0f} codes and not {settings.n_codes}. These are nats of *tokens*; they say nothing of the pixels' likelihood."
    )

# %% tags=["hide-input"]
if ship:
    machine_free = {"profile": profile, "seed": seed, "part": "06_dvae_clustering"}
    for name in settings.data:
        card = {
            **machine_free,
            **card_facts(vq_runs[name]),
            "metrics": {
                "test_mse": {
                    "value": round(vq_scores[name]["mse"], 5),
                    "images": len(held_out[name]),
                    "unit": "pixels in [0, 1]",
                },
                "perplexity": {
                    "value": round(vq_scores[name]["perplexity"], 1),
                    "images": len(held_out[name]),
                },
            },
            "known_faults": "reconstructions are a little soft; tokens hold positions, so clusters of them follow ink, not meaning",
        }
        checkpoints.save(f"vqvae_{name}", vq[name], card)
        distance = [
            float(row["Fréchet distance"])
            for row in generation
            if (row["data"], row["pictures"]) == (titles[name], "the transformer")
        ]
        card = {
            **machine_free,
            **card_facts(prior_runs[name]),
            "metrics": {
                "test_nats": {
                    "value": round(nats[name]["the transformer"], 2),
                    "images": len(held_out[name]),
                    "unit": "nats an image, of tokens",
                },
                "frechet_distance": {
                    "value": distance[0],
                    "features": "a classifier trained in the same run",
                    "images": settings.n_samples,
                },
            },
            "decoder": f"vqvae_{name}",
            "known_faults": "short training: some samples are no class at all; only fits the tokens of the model named as its decoder",
        }
        checkpoints.save(f"token_prior_{name}", priors[name], card, dtype=torch.float16)

# %% [markdown]
# ## Reported, long run, this run

# %% tags=["hide-input"]
record("notebook_seconds", time.perf_counter() - started)
kept = report.kept("06_dvae_clustering", profile)
kept_records = {} if kept is None else kept["records"]
now = report.recorded()


def find(records, *path, form="{:.3f}"):
    """A value inside the records, as text, or a dash."""
    for step in path:
        try:
            records = records[step]
        except (KeyError, IndexError, TypeError):
            return "–"
    values = records if isinstance(records, list) else [records]
    return form.format(float(np.mean([float(v) for v in values])))


def row_of(records, key, **wanted):
    """The first row of a recorded table with these entries."""
    return next((r for r in records.get(key, ()) if wanted.items() <= r.items()), {})


rows = []
about = {  # what the sources report, k-means into ten clusters
    "MNIST": ("about 0.50", "about 53 %"),
    "Fashion-MNIST": ("–", "–"),
}
for i, original in enumerate(about):
    there = (kept_records.get("data") or [None, None])[i]
    pairs = [(kept_records, there), (now, titles[settings.data[i]])]

    def add(quantity, reported, values, data=original):
        long = {} if kept is None else {"long run": values[0]}
        rows.append(
            {
                "quantity": quantity,
                "data": data,
                "reported": reported,
                **long,
                f"this run ({profile})": values[1],
            }
        )

    add("data of the column", original, [t or "–" for _, t in pairs])
    add(
        "VQ-VAE: MSE in [0, 1]",
        "–",
        [find(r, "vq", t, "mse", form="{:.4f}") for r, t in pairs],
    )
    add(
        "VQ-VAE: perplexity",
        "–",
        [find(r, "vq", t, "perplexity", form="{:.0f}") for r, t in pairs],
    )
    add(
        "dVAE: MSE in [0, 1]",
        "–",
        [find(r, "gumbel", t, "mse", form="{:.4f}") for r, t in pairs],
    )
    add(
        "raw pixels: NMI",
        about[original][0],
        [find(r, "agreement", t, "raw pixels", "nmi") for r, t in pairs],
    )
    add(
        "raw pixels: Hungarian accuracy",
        about[original][1],
        [
            find(r, "agreement", t, "raw pixels", "accuracy", form="{:.1%}")
            for r, t in pairs
        ],
    )
    for kind in ("quantised latents", "token histograms", "one-hot tokens"):
        add(
            f"{kind}: NMI",
            "–",
            [find(r, "agreement", t, kind, "nmi") for r, t in pairs],
        )
        add(
            f"{kind}: Hungarian accuracy",
            "–",
            [
                find(r, "agreement", t, kind, "accuracy", form="{:.1%}")
                for r, t in pairs
            ],
        )
    for kind in ("true labels", "10 clusters"):
        add(
            f"classifier on {kind}: accuracy",
            "–",
            [
                find(
                    row_of(r, "classified", **{"data": t, "trained on": kind}),
                    "accuracy",
                    form="{:.1%}",
                )
                for r, t in pairs
            ],
        )
    add(
        "prior: nats an image",
        "–",
        [find(r, "nats", t, "the transformer", form="{:.1f}") for r, t in pairs],
    )
    add(
        "prior: Fréchet distance (each run's own classifier and number of images: do not compare across)",
        "–",
        [
            find(
                row_of(r, "generation", data=t, pictures="the transformer"),
                "Fréchet distance",
                form="{:.3g}",
            )
            for r, t in pairs
        ],
    )
if kept is not None:
    say(
        f"Long run: profile `{kept['profile']}`, {kept['date']}, {kept['machine']['cpu']}."
    )
table(
    rows,
    "Scores of clusterings: ten clusters, training images, mean over the seeds",
)

# %% [markdown]
# The reported figures are for k-means on all of MNIST's pixels, from a secondary source, which is why they come with "about". For scale: an auto-encoder with k-means on its
# latents is reported at about 82 % Hungarian accuracy on MNIST, and deep embedded clustering {cite}`xie2016dec`, which trains the encoder for the clusters, at about 84 %.
#
# ## What breaks, and how to rescue it
#
# - **A perplexity of 3.** The codebook has collapsed. Look at the codes in use after the first hundred steps: start from the data and revive dead codes.
# - **The perplexity is fine, the pictures are grey.** The decoder ignores the codes, or the latents run away from them: watch the commitment, which should settle.
# - **Codes at a distance of $10^5$.** The counts began at 0.
# - **The dVAE paints well in training and badly in evaluation.** It was still hot at the end: soft mixtures carry more than hard choices do. Cool it further, and judge only with hard tokens.
# - **The silhouette prefers K = 2.** It likes few, wide clusters when there are no gaps. Report it; do not bend the rule until it says ten.
# - **Pseudo-labels of the test set are shuffled.** You clustered the test set anew. Keep the centroids.
# - **The sum of the percentages is 100 in the wrong direction.** Rows answer "what is in this cluster?", columns "where did this class go?"; say which you show.
#
# ## Questions
#
# 1. One-hot tokens make all pairs of different codes equally far apart. Where would that be better than the distance of the code vectors, and where worse?
# 2. The Hungarian accuracy of 20 clusters on ten classes cannot reach 100 %. What is the most it can reach if every class splits evenly into two pure clusters? What is the NMI then?
# 3. Shift every image to the right, by two pixels and then by four. Which of the five representations changes least, measured against the distance between two images, and why?
# 4. The prior's nats per image depend on the tokens. Could a worse VQ-VAE have a better prior? What would you compare instead?
# 5. A classifier trained on pseudo-labels can be *more* accurate than the pseudo-labels. How is that possible?
#
# ## Further reading
#
# - van den Oord et al., *Neural Discrete Representation Learning* {cite}`oord2017vqvae`: the VQ-VAE; its appendix has the moving averages.
# - Razavi et al. {cite}`razavi2019vqvae2`: two levels of tokens and large priors.
# - Jang et al. {cite}`jang2017gumbel` and Maddison et al. {cite}`maddison2017concrete`: the same relaxation, found twice.
# - Ramesh et al. {cite}`ramesh2021dalle`: a dVAE's tokens as half of a language for text and pictures.
# - Xie et al. {cite}`xie2016dec`: encoders trained to make clusters.
