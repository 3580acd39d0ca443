"""Training a variational auto-encoder, by the ELBO or by a weighted squared error."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.nn import functional as F

from ..base.settings import not_negative, positive
from ..data import ImageSet, to_float
from ..losses import beta_elbo
from ..models.pixels import dequantise
from .demands import demand_shape
from .rates import StepRate, cosine


class VAETraining(StepRate):
    """Adam with a cosine decay on reconstruction + β · KL.

    Logs ``loss`` (what is minimised), ``reconstruction``, ``kl`` (nats an image), ``mse`` (always in units of [-1, 1])
    and ``sigma``; in validation the same with ``val_`` before it.

    Args:
        model: a VAE with ``prior``, ``posterior``, ``likelihood`` and ``pixels`` (see ``models.vae``).
        beta: weight of the KL divergence.
        objective: "elbo": the reconstruction is -log p(x | z), in nats an image, and β = 1 is the ELBO. "mse": it is
            the mean squared error over all pixels, as many programs have it; β then is no longer a pure number (see
            ``implied_sigma``).
        dequantised: add uniform noise of one grey level, so that a density of x bounds the probability of the bytes.
            A discretised or binary likelihood wants the levels themselves: False.
        binarised: in training, draw every pixel anew as black or white, white with the probability of its grey level.
            A fixed draw is learnt by heart; validation takes its images as they are, so give it a fixed draw.
        lr: Adam's first learning rate.

    Raises:
        ValueError: an unknown objective; a range of pixels that is none, or one for the ELBO, whose unit is nats;
            pixels both dequantised and binarised, or dequantised for a likelihood of levels.

    Source of the fresh draws: Burda et al. (2016), IWAE.
    """

    model: Any  # a VAE: prior, posterior, likelihood, and pixels that know their σ

    def __init__(
        self,
        model: nn.Module,
        *,
        beta: float = 1.0,
        objective: str = "elbo",
        pixel_range: tuple[float, float] = (-1.0, 1.0),
        dequantised: bool = True,
        binarised: bool = False,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        if dequantised and binarised:
            raise ValueError("pixels are either dequantised or binarised: a density has no black and white")
        if objective not in ("elbo", "mse"):
            raise ValueError(f'objective is "elbo" or "mse", got {objective!r}')
        black, white = pixel_range
        if not (math.isfinite(white - black) and black < white):
            raise ValueError(f"pixel_range is (black, white) with black below white, got {pixel_range!r}")
        if objective == "elbo" and (black, white) != (-1.0, 1.0):
            raise ValueError('pixel_range is the unit of a squared error: it belongs to objective="mse"')
        positive(lr=lr)
        not_negative(beta=beta)
        pixels: Any = model.pixels
        self._levels = objective == "elbo" and pixels.kind != "gaussian"  # a probability, not a density
        if self._levels and dequantised:
            raise ValueError(f"a {pixels.kind} likelihood is of the grey levels themselves: dequantised=False")
        self.model, self.beta, self.objective, self.lr = model, beta, objective, lr
        self.dequantised, self.binarised = dequantised, binarised
        self.pixel_range = (float(black), float(white))

    def check_data(self, images: ImageSet) -> None:
        demand_shape(images, self.model.shape)
        grey = (images.images > 0) & (images.images < 255)
        if self._levels and self.model.pixels.kind == "bernoulli" and not self.binarised and grey.any():
            raise ValueError(
                f"a Bernoulli likelihood is of black and white pixels, and {images.title!r} has grey ones; "
                "binarise the images, or say binarised=True"
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def terms(self, images: Tensor) -> dict[str, Tensor]:
        """Loss and its parts for bytes (B, C, H, W), at one draw of the posterior."""
        x = dequantise(images) if self.dequantised else to_float(images)
        posterior = self.model.posterior(x)
        kl = kl_divergence(posterior, self.model.prior().expand(posterior.batch_shape))
        likelihood = self.model.likelihood(posterior.rsample())
        mse = F.mse_loss(likelihood.mean, x)
        if self.training and self.model.pixels.rule == "calibrated":
            self.model.pixels.calibrate(mse)  # before it is used: the best σ for this batch's errors is a constant
            likelihood = self.model.pixels.recalibrated(likelihood)
        if self.objective == "mse":
            black, white = self.pixel_range
            reconstruction = mse * ((white - black) / 2) ** 2  # the network's own range is two wide
            loss = reconstruction + self.beta * kl.mean()
        else:
            log_likelihood = likelihood.log_prob(x)
            loss, reconstruction = beta_elbo(log_likelihood, kl, self.beta), -log_likelihood.mean()
        parts = {"loss": loss, "reconstruction": reconstruction, "kl": kl.mean(), "mse": mse}
        return {**parts, "sigma": self.model.pixels.sigma}

    def training_step(self, batch: tuple[Tensor, ...], _) -> Tensor:
        images = batch[0]
        if self.binarised:
            images = (torch.rand(images.shape, device=images.device) < images / 255).to(torch.uint8) * 255
        terms = self.terms(images)
        self.log_dict({name: value.detach() for name, value in terms.items()})
        return terms["loss"]

    def validation_step(self, batch: tuple[Tensor, ...], _) -> None:
        terms = self.terms(batch[0])
        self.log_dict({f"val_{name}": value for name, value in terms.items()}, batch_size=len(batch[0]))

    def learning_rate(self, step: int) -> float:
        return self.lr * cosine(step, self.trainer.max_steps)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=self.lr)


def implied_sigma(beta: float, n_dims: int) -> float:
    """The σ whose ELBO has the same optimum as mean squared error + β · KL: √(β D / 2), in the units of the pixels.

    -log N(x; x̂, σ²) = ‖x - x̂‖² / 2σ² + a constant; divided by D / 2σ² that is the mean squared error, and the KL's
    weight becomes 2σ² / D.

    Raises:
        ValueError: a β or a number of dimensions that is not positive.
    """
    if not beta > 0 or n_dims < 1:
        raise ValueError(f"beta and n_dims must be positive, got {beta} and {n_dims}")
    return (beta * n_dims / 2) ** 0.5
