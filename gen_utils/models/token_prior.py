"""An autoregressive prior over grids of tokens: a tiny causal transformer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.precision import full
from .modes import evaluating
from .shapes import refuse_other


class TokenPrior(nn.Module):
    """p(t) = Π p(t_i | t_<i) over the tokens of a grid, read row by row.

    Args:
        n_codes: how many values a token can have.
        grid: (h, w) of the grid.
        width, n_layers, n_heads: of the transformer.
        dropout: in training; the token grids of a data set are few, and a prior can learn them by heart.

    Source: the factorisation of a VQ-VAE's prior is van den Oord et al. (2017), section 3.3 (with a PixelCNN); causal
    attention is Vaswani et al. (2017).
    """

    def __init__(
        self,
        n_codes: int = 128,
        grid: tuple[int, int] = (7, 7),
        width: int = 96,
        n_layers: int = 3,
        n_heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.config = {
            "n_codes": n_codes, "grid": list(grid), "width": width, "n_layers": n_layers, "n_heads": n_heads,
            "dropout": dropout,
        }  # fmt: skip
        self.n_codes, self.grid = n_codes, tuple(grid)
        self.embedding = nn.Embedding(n_codes + 1, width)  # the last entry says "begin"
        self.place = nn.Parameter(0.02 * torch.randn(math.prod(grid), width))
        layer = nn.TransformerEncoderLayer(
            width, n_heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, n_layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, n_codes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, n) int64, n ≤ h·w -> logits (B, n, n_codes); those at i depend on the tokens before i alone."""
        begin = torch.full_like(tokens[:, :1], self.n_codes)
        return self._logits(torch.cat((begin, tokens[:, :-1]), 1))

    def _logits(self, shifted: Tensor) -> Tensor:
        n = shifted.shape[1]
        mask = torch.full((n, n), -torch.inf, device=shifted.device).triu(1)
        x = self.embedding(shifted) + self.place[:n]
        return self.head(self.body(x, mask=mask, is_causal=True))

    def log_prob(self, tokens: Tensor) -> Tensor:
        """Tokens (B, h, w) -> (B,) nats.

        Raises:
            ValueError: another grid, of which the first tokens alone would be judged.
        """
        refuse_other(tokens, *self.grid, what="tokens")
        flat = tokens.flatten(1)
        nll = F.cross_entropy(full(self(flat)).movedim(-1, 1), flat, reduction="none")
        return -nll.sum(1)

    @torch.no_grad()
    def sample(self, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Draw n grids (n, h, w), token by token.

        Args:
            temperature: divides the logits; 1 samples the model itself, less gives likelier and less varied grids.
        """
        with evaluating(self):
            tokens = torch.full((n, 1), self.n_codes, device=self.place.device)
            for _ in range(math.prod(self.grid)):
                probability = F.softmax(self._logits(tokens)[:, -1] / temperature, dim=-1)
                tokens = torch.cat((tokens, torch.multinomial(probability, 1, generator=generator)), 1)
        return tokens[:, 1:].reshape(n, *self.grid)
