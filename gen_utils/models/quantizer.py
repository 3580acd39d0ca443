"""The vector quantiser: a codebook, the nearest code, and the moving averages by which the codes follow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..base.precision import full, without_autocast


def nearest_code(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Vectors (N, D), codebook (K, D) -> (N,) int64, the index of the code at the smallest Euclidean distance.

    In float32 at least, whatever autocast says: in bfloat16 every fourth vector would get another code.
    """
    vectors, codebook = full(vectors), full(codebook)
    # ‖v - e‖² = ‖v‖² - 2 v·e + ‖e‖², and the first term is the same for every code. The others are differences of
    # nearly equal numbers where the codes are far from the origin and near to each other: so they are centred.
    centre = codebook.mean(0)
    vectors, codebook = vectors - centre, codebook - centre
    with without_autocast(vectors):
        return (codebook.square().sum(1) - 2 * vectors @ codebook.T).argmin(1)


def ema_update(
    counts: Tensor, sums: Tensor, vectors: Tensor, tokens: Tensor, decay: float = 0.99, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of the moving averages: each code goes towards the mean of the vectors that chose it.

    Args:
        counts: (K,) moving average of how many vectors a batch gives to each code, 1 at the start.
        sums: (K, D) moving average of the sum of those vectors, the codebook itself at the start.
        vectors: (N, D), the encoder's output; tokens: (N,) the codes they chose.
        eps: Laplace smoothing of the counts, so that a code nobody chooses is not divided by zero.

    Returns:
        the new codebook (K, D), counts (K,) and sums (K, D).

    Source: van den Oord et al. (2017), appendix A.1; the smoothing is the reference code's.
    """
    n_codes = len(counts)
    used = torch.bincount(tokens, minlength=n_codes).to(counts.dtype)
    total = torch.zeros_like(sums).index_add_(0, tokens, vectors)
    counts = decay * counts + (1 - decay) * used
    sums = decay * sums + (1 - decay) * total
    n = counts.sum()
    smooth = (counts + eps) / (n + n_codes * eps) * n
    return sums / smooth[:, None], counts, sums


def kmeans_centres(vectors: Tensor, n: int, n_steps: int = 10) -> Tensor:
    """A few steps of Lloyd's algorithm from random rows: (N, D) -> (n, D). An empty cluster keeps its centre."""
    middle = vectors.mean(0)  # sums of numbers far from the origin would lose their last digits
    vectors = vectors - middle
    centres = vectors[torch.randperm(len(vectors))[:n].to(vectors.device)].clone()
    for _ in range(n_steps):
        tokens = nearest_code(vectors, centres)
        used = torch.bincount(tokens, minlength=n).to(vectors.dtype)
        total = torch.zeros_like(centres).index_add_(0, tokens, vectors)
        centres = torch.where(used[:, None] > 0, total / used[:, None].clamp(min=1), centres)
    return centres + middle


class VectorQuantizer(nn.Module):
    """Replaces latents by their nearest codes; in training the codes follow the latents.

    Args:
        n_codes, code_dim: the codebook is (n_codes, code_dim).
        decay: of the moving averages.
        revive_below: a code whose moving count (vectors a batch) falls below this starts again at a random latent of
            the batch; 0 lets codes die.
        init: "kmeans" (a few Lloyd steps on the first training batch), "data" (random latents of it) or "normal"
            (standard normal numbers, whatever the latents look like).
    """

    codebook: Tensor  # (n_codes, code_dim)
    counts: Tensor  # (n_codes,), moving average
    sums: Tensor  # (n_codes, code_dim), moving average
    ready: Tensor  # a scalar, bool: the codebook has been initialised

    def __init__(
        self, n_codes: int, code_dim: int, *, decay: float = 0.99, revive_below: float = 0.5, init: str = "kmeans"
    ) -> None:
        super().__init__()
        if init not in ("kmeans", "data", "normal"):
            raise ValueError(f"unknown init {init!r}; known: kmeans, data, normal")
        self.decay, self.revive_below, self.init = decay, revive_below, init
        # Counts of 1 and sums equal to the codebook agree with each other. Counts of 0 would not: after one step a code
        # that was not chosen would be a small sum divided by almost nothing, far from every latent.
        self.register_buffer("codebook", torch.randn(n_codes, code_dim))
        self.register_buffer("counts", torch.ones(n_codes))
        self.register_buffer("sums", self.codebook.clone())
        self.register_buffer("ready", torch.tensor(init == "normal"))

    def nearest(self, z: Tensor) -> Tensor:
        """Latents (B, D, h, w) -> tokens (B, h, w) int64."""
        return nearest_code(_rows(z), self.codebook).reshape(len(z), *z.shape[2:])

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, D, h, w) -> codes (B, D, h, w), without gradient, and tokens (B, h, w).

        In training mode the codebook is initialised by the first batch, and moved *after* it was used.

        Raises:
            ValueError: the first batch has fewer latent vectors than the codebook has codes.
        """
        with torch.no_grad():
            if self.training and not self.ready:
                self._initialise(_rows(z))
            tokens = self.nearest(z)
            code = self.codebook[tokens].movedim(-1, 1)
            if self.training:
                self._follow(_rows(z), tokens.flatten())
        return code, tokens

    def _initialise(self, vectors: Tensor) -> None:
        n_codes = len(self.codebook)
        if len(vectors) < n_codes:
            raise ValueError(
                f"the first batch has {len(vectors)} latent vectors and cannot initialise {n_codes} codes; "
                "use a larger batch_size or fewer codes"
            )
        self._set(kmeans_centres(vectors, n_codes, n_steps=10 if self.init == "kmeans" else 0))
        self.ready.fill_(True)

    def _set(self, codebook: Tensor) -> None:
        self.codebook.copy_(codebook)
        self.counts.fill_(1.0)
        self.sums.copy_(codebook)

    def _follow(self, vectors: Tensor, tokens: Tensor) -> None:
        codebook, counts, sums = ema_update(self.counts, self.sums, vectors, tokens, self.decay)
        dead = counts < self.revive_below
        if dead.any():
            fresh = vectors[torch.randint(len(vectors), (int(dead.sum()),)).to(vectors.device)]
            codebook[dead], counts[dead], sums[dead] = fresh, 1.0, fresh
        self.codebook.copy_(codebook)
        self.counts.copy_(counts)
        self.sums.copy_(sums)


def _rows(z: Tensor) -> Tensor:
    """(B, D, h, w) -> (B·h·w, D) in float32: moving averages of half-precision numbers would stand still."""
    return z.detach().movedim(1, -1).flatten(0, -2).float()


def perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy of the codes' shares: how many codes, used evenly, would be as varied. In 1..K.

    Args:
        counts: (K,) how often each code was used, over everything that is to be judged. The mean of the batches'
            perplexities is another, smaller number: a batch uses fewer codes than an epoch.

    Raises:
        ValueError: no code was used at all.
    """
    if counts.sum() <= 0:
        raise ValueError("the perplexity of no tokens is not defined; count some first")
    share = counts.double() / counts.sum()
    return torch.exp(-torch.special.xlogy(share, share).sum())
