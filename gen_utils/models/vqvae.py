"""Two discrete auto-encoders on one encoder and one decoder: a VQ-VAE and a Gumbel-softmax dVAE.

Both turn an image into a grid of tokens, small integers, and back: ``tokens``, ``codebook``, ``embed`` and
``decode_tokens`` mean the same in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.precision import full
from .quantizer import VectorQuantizer
from .shapes import refuse_other


class _Residual(nn.Module):
    """x plus a 3×3 and a 1×1 convolution of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Encoder(nn.Sequential):
    """(B, channels, H, W) -> (B, out, H/4, W/4): two strided convolutions, residual blocks, a 1×1 convolution."""

    def __init__(self, channels: int, out: int, width: int, n_blocks: int) -> None:
        super().__init__(
            nn.Conv2d(channels, width // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
            *(_Residual(width) for _ in range(n_blocks)),
            nn.ReLU(),
            nn.Conv2d(width, out, 1),
        )
        self._channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Raises ValueError for images whose sides 4 does not divide: they would come back smaller."""
        refuse_other(x, self._channels, None, None)
        if x.shape[2] % 4 or x.shape[3] % 4:
            raise ValueError(
                f"this network halves images twice, so that 4 must divide their sides, got {tuple(x.shape)}"
            )
        return super().forward(x)


class Decoder(nn.Sequential):
    """(B, code_dim, h, w) -> (B, channels, 4h, 4w), the encoder turned round; no bound on the output."""

    def __init__(self, channels: int, code_dim: int, width: int, n_blocks: int) -> None:
        super().__init__(
            nn.Conv2d(code_dim, width, 3, padding=1),
            *(_Residual(width) for _ in range(n_blocks)),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width // 2, channels, 4, stride=2, padding=1),
        )


class _TokenModel(nn.Module):
    """What both models do with tokens. ``codebook`` (n_codes, code_dim), ``decoder`` and ``tokens`` are the child's."""

    codebook: Tensor
    decoder: Decoder

    def tokens(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] -> (B, H/4, W/4) int64."""
        raise NotImplementedError

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (B, h, w) -> their codebook vectors (B, code_dim, h, w).

        Raises:
            IndexError: a token that the codebook does not have.
        """
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < len(self.codebook):
            raise IndexError(f"tokens must be in 0..{len(self.codebook) - 1}, got {tokens.min()}..{tokens.max()}")
        return self.codebook[tokens].movedim(-1, 1)

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens (B, h, w) int64 -> images (B, C, H, W), about in [-1, 1]."""
        return self.decoder(self.embed(tokens))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) in [-1, 1] -> their reconstructions through tokens, clamped to [-1, 1]."""
        return self.decode_tokens(self.tokens(x)).clamp(-1, 1)


@dataclass(frozen=True)
class Quantised:
    """What a training step of the VQ-VAE needs: ``z`` and ``code`` are (B, D, h, w), ``tokens`` (B, h, w)."""

    reconstruction: Tensor
    z: Tensor  # the encoder's output
    code: Tensor  # its nearest codebook vectors, without gradient
    tokens: Tensor


class VQVAE(_TokenModel):
    """A VQ-VAE: the encoder's output is replaced by the nearest of ``n_codes`` vectors, which follow by EMA.

    Args:
        channels: of the images; n_codes, code_dim: the codebook's K and D.
        width, n_blocks: of encoder and decoder.
        decay, revive_below, init: see ``VectorQuantizer``.

    Source: van den Oord et al. (2017); the exponential moving averages are in its appendix A.1.
    """

    def __init__(
        self,
        channels: int = 1,
        n_codes: int = 128,
        code_dim: int = 16,
        width: int = 64,
        n_blocks: int = 2,
        decay: float = 0.99,
        revive_below: float = 0.5,
        init: str = "kmeans",
    ) -> None:
        super().__init__()
        self.config = {
            "channels": channels, "n_codes": n_codes, "code_dim": code_dim, "width": width, "n_blocks": n_blocks,
            "decay": decay, "revive_below": revive_below, "init": init,
        }  # fmt: skip
        self.encoder = Encoder(channels, code_dim, width, n_blocks)
        self.quantizer = VectorQuantizer(n_codes, code_dim, decay=decay, revive_below=revive_below, init=init)
        self.decoder = Decoder(channels, code_dim, width, n_blocks)

    @property
    def codebook(self) -> Tensor:
        """(n_codes, code_dim)."""
        return self.quantizer.codebook

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> continuous latents (B, code_dim, H/4, W/4), before the quantiser."""
        return self.encoder(x)

    def tokens(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, H/4, W/4) int64, the index of the nearest code at each place."""
        return self.quantizer.nearest(self.encode(x))

    def forward(self, x: Tensor) -> Quantised:
        """One pass; in training mode the codebook moves, after it was used.

        Raises:
            ValueError: the first training batch has fewer latent vectors than the codebook has codes.
        """
        z = self.encode(x)
        code, tokens = self.quantizer(z)
        return Quantised(self.decoder(straight_through(z, code)), z, code, tokens)


class GumbelVAE(_TokenModel):
    """A discrete VAE: the encoder gives logits over ``n_codes``, and a Gumbel-softmax sample mixes the codebook.

    Args:
        channels, n_codes, code_dim, width, n_blocks: as for ``VQVAE``; the codebook is an ordinary parameter.
        norm: batch norm of the logits, one mean and variance a code. Without it a handful of codes win the first steps,
            and the others hardly get a gradient again.

    Source: Jang et al. (2017) and Maddison et al. (2017) for the relaxation; Ramesh et al. (2021) for the dVAE.
    """

    def __init__(
        self,
        channels: int = 1,
        n_codes: int = 128,
        code_dim: int = 16,
        width: int = 64,
        n_blocks: int = 2,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.config = {
            "channels": channels, "n_codes": n_codes, "code_dim": code_dim, "width": width, "n_blocks": n_blocks,
            "norm": norm,
        }  # fmt: skip
        self.encoder = Encoder(channels, n_codes, width, n_blocks)
        self.norm = nn.BatchNorm2d(n_codes) if norm else nn.Identity()
        self.codebook = nn.Parameter(torch.randn(n_codes, code_dim))
        self.decoder = Decoder(channels, code_dim, width, n_blocks)

    def logits(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, H/4, W/4, n_codes), unnormalised log-probabilities."""
        return full(self.norm(self.encoder(x))).movedim(1, -1)

    def tokens(self, x: Tensor) -> Tensor:
        """The likeliest code at each place, (B, H/4, W/4) int64."""
        return self.logits(x).argmax(-1)

    def forward(self, x: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Reconstruction (B, C, H, W) and logits (B, h, w, n_codes): soft samples in training, hard codes in eval."""
        logits = self.logits(x)
        if not self.training:
            return self.decode_tokens(logits.argmax(-1)), logits
        uniform = torch.rand_like(logits)
        weights = gumbel_softmax(logits, temperature, uniform)
        return self.decoder((weights @ self.codebook).movedim(-1, 1)), logits


def straight_through(z: Tensor, code: Tensor) -> Tensor:
    """The value of ``code`` with the gradient of ``z``; both (B, D, h, w).

    The quantiser's derivative is zero almost everywhere; copying the decoder's gradient to the encoder, as if the
    quantiser were the identity, is van den Oord et al. (2017), section 3.2, after Bengio et al. (2013).
    """
    return z + (code - z).detach()


def gumbel_softmax(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """A relaxed one-hot sample of softmax(logits) along the last axis.

    Args:
        logits: (..., K); temperature: τ > 0, one-hot as τ → 0 and uniform as τ → ∞.
        uniform: (..., K) numbers from U(0, 1), the only randomness.

    Returns:
        (..., K), non-negative, summing to one; its argmax has exactly the probabilities softmax(logits).

    Source: Jang et al. (2017), equation 2.
    """
    # Zeros do occur in float32, and log 0 would put -inf here; a one is rounded away by the same bounds.
    tiny = torch.finfo(uniform.dtype).tiny
    gumbel = -torch.log(-torch.log(uniform.clamp(tiny, 1 - torch.finfo(uniform.dtype).eps)))
    return F.softmax((logits + gumbel) / temperature, dim=-1)
