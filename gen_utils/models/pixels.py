"""What a decoder's output means: distributions over pixels in [-1, 1], and the way from bytes to numbers.

A density of x and a probability of grey levels are different things. ``dequantise`` and ``DiscretisedLogistic`` are the
two ways between them.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, constraints
from torch.nn import functional as F

from ..base.precision import full

KINDS = ("gaussian", "bernoulli", "discretised_logistic")


def dequantise(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """uint8 0..255 -> float32 x = (i + u)/128 - 1 in [-1, 1), with u uniform in [0, 1).

    A level is a cell of width 1/128. The log of a density's mean over the cell is the level's log-probability up to
    log 128, and Jensen puts the mean of the log density below it: log p(i) >= E_u log p(x) - D log 128, in nats.

    Source: Theis et al. (2016), section 3.1.
    """
    device = images.device if generator is None else generator.device
    noise = torch.rand(images.shape, generator=generator, device=device).to(images.device)
    return (images.float() + noise).div_(128).sub_(1)


class _Levels(constraints.Constraint):
    """x is one of ``levels`` equally spaced values from -1 to 1."""

    is_discrete = True

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def check(self, value: Tensor) -> Tensor:
        place = (value + 1) * ((self.levels - 1) / 2)
        return (value.abs() <= 1 + 1e-6) & ((place - place.round()).abs() < 1e-2)


def _refuse_other_levels(value: Tensor, support: constraints.Constraint, known: str) -> None:
    wrong = ~support.check(value)
    if wrong.any():
        raise ValueError(f"{known}, got {int(wrong.sum())} others in {wrong.numel()}, such as {value[wrong][0]:.3g}")


class PixelBernoulli(Distribution):
    """Black or white: x = 1 with probability sigmoid(logits), else -1.

    Raises (from ``log_prob``):
        ValueError: pixels that are neither -1 nor 1; binarise grey images first.
    """

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {"logits": constraints.real}

    @property
    def support(self) -> constraints.Constraint:
        return _Levels(2)

    @property
    def mean(self) -> Tensor:
        """2 sigmoid(logits) - 1, between black and white."""
        return torch.tanh(self.logits / 2)

    @property
    def variance(self) -> Tensor:
        return 1 - self.mean.square()

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            p = self.logits.sigmoid().expand(self._extended_shape(torch.Size(sample_shape)))
            return torch.bernoulli(p).mul_(2).sub_(1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            _refuse_other_levels(value, self.support, "a Bernoulli likelihood is of pixels -1 and 1 (binarise)")
        return F.logsigmoid(value * self.logits)  # σ(l) for x = 1, σ(-l) for x = -1


class DiscretisedLogistic(Distribution):
    """A logistic distribution cut into cells around x = 2i/(levels - 1) - 1; the outer cells reach to infinity.

    Its ``log_prob`` is the log-probability of a grey level, in nats: at most 0, and summing to one over the levels.

    Args:
        loc, scale: of the logistic, in units of [-1, 1].
        levels: 256 for bytes.

    Source: Kingma et al. (2016); Salimans et al. (2017), section 2.1, for the outer cells.
    """

    def __init__(self, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {"loc": constraints.real, "scale": constraints.positive}

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        return _Levels(self.levels)

    @property
    def mean(self) -> Tensor:
        """The logistic's centre; the mean of the cut one differs a little near -1 and 1."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The uncut logistic's."""
        return self.scale.square() * (math.pi**2 / 3)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            u = torch.rand(self._extended_shape(torch.Size(sample_shape)), device=self.loc.device, dtype=self.loc.dtype)
            x = self.loc + self.scale * torch.logit(u, eps=1e-6)
            half = (self.levels - 1) / 2
            return ((x.clamp(-1, 1) + 1) * half).round() / half - 1

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            _refuse_other_levels(value, self.support, f"this likelihood is of {self.levels} grey levels in [-1, 1]")
        half = 1 / (self.levels - 1)
        above, below = (value + half - self.loc) / self.scale, (value - half - self.loc) / self.scale
        # σ(a) - σ(b) = σ(a) σ(-b) (1 - exp(b - a)): no difference of nearly equal numbers, however far the pixel is.
        inside = torch.log(-torch.expm1(below - above))
        bottom, top = value < -1 + half, value > 1 - half
        under, over = F.logsigmoid(above), F.logsigmoid(-below)
        return torch.where(bottom, under, torch.where(top, over, under + over + inside))


class PixelLikelihood(nn.Module):
    """Turns a decoder's output (B, C, H, W) into a distribution over images in [-1, 1].

    Args:
        kind: "gaussian", "bernoulli" (x is -1 or 1), or "discretised_logistic" (x is one of 256 levels).
        sigma: the Gaussian's standard deviation, or the logistic's scale, the same for all pixels. A number keeps it
            fixed; "learnt" makes its logarithm a parameter; "calibrated" sets its square to the mean squared error,
            which is the value that maximises the likelihood (``calibrate``; Gaussian only).

    Raises:
        ValueError: an unknown kind, or a sigma that is neither positive nor one of the two words.

    Source of the calibrated σ: Rybkin et al. (2021).
    """

    log_sigma: Tensor  # a scalar: a parameter when it is learnt, else a buffer
    n_calibrations: Tensor  # a scalar, int64

    def __init__(self, kind: str = "gaussian", sigma: float | str = 1.0) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"unknown likelihood {kind!r}; known: {', '.join(KINDS)}")
        words = {"gaussian": ("learnt", "calibrated"), "discretised_logistic": ("learnt",)}.get(kind, ())
        if not (sigma in words if isinstance(sigma, str) else isinstance(sigma, Real) and 0 < sigma < math.inf):
            raise ValueError(f"sigma of a {kind} likelihood is a positive number{' or ' * bool(words)}"
                             f"{' or '.join(words)}, got {sigma!r}")  # fmt: skip
        self.kind, self.rule = kind, sigma if isinstance(sigma, str) else "fixed"
        start = torch.tensor(math.log(0.5 if isinstance(sigma, str) else sigma))
        if self.rule == "learnt":
            self.log_sigma = nn.Parameter(start)
        else:
            self.register_buffer("log_sigma", start)
        self.register_buffer("n_calibrations", torch.zeros((), dtype=torch.int64))

    @property
    def sigma(self) -> Tensor:
        """A positive scalar, in units of [-1, 1]."""
        return self.log_sigma.exp()

    def forward(self, out: Tensor) -> Independent:
        """A distribution whose log_prob of images (B, C, H, W) is (B,), in nats."""
        out = full(out)
        if self.kind == "bernoulli":
            pixels = PixelBernoulli(out)
        elif self.kind == "gaussian":
            pixels = Normal(torch.tanh(out), self.sigma)
        else:
            pixels = DiscretisedLogistic(torch.tanh(out), self.sigma)
        return Independent(pixels, out.ndim - 1)

    def recalibrated(self, likelihood: Independent) -> Independent:
        """A Gaussian likelihood that was made before the last ``calibrate``, with the σ of now."""
        return Independent(Normal(likelihood.mean, self.sigma), likelihood.reinterpreted_batch_ndims)

    @torch.no_grad()
    def calibrate(self, squared_error: Tensor) -> None:
        """Move σ² towards a batch's mean squared error: the mean of the first 50 batches, then a moving average."""
        self.n_calibrations += 1
        variance, weight = self.sigma.square(), 1 / min(int(self.n_calibrations), 50)
        self.log_sigma.copy_(0.5 * torch.log(variance + weight * (squared_error.detach() - variance)))
