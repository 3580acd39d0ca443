"""Training the two discrete auto-encoders, and the prior over their tokens."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base.settings import not_negative, positive
from ..data import ImageSet, to_float
from ..losses import discrete_elbo, kl_to_uniform, vq_loss
from ..models import VQVAE, GumbelVAE, TokenPrior
from ..models.modes import evaluating
from ..models.quantizer import perplexity
from .demands import demand_shape
from .rates import StepRate, cosine, one_cycle


class _CodeWatch(StepRate):
    """Validation of both models: MSE in [0, 1], and the perplexity over the whole of the validation set."""

    model: VQVAE | GumbelVAE
    val_counts: Tensor

    def __init__(self, model: VQVAE | GumbelVAE, lr: float) -> None:
        super().__init__()
        positive(lr=lr)
        self.model, self.lr = model, lr
        self.register_buffer("val_counts", torch.zeros(model.config["n_codes"], dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.model.reconstruct(x)

    def check_data(self, images: ImageSet) -> None:
        demand_shape(images, (self.model.config["channels"], None, None))
        _, height, width = images.shape
        if height % 4 or width % 4:
            raise ValueError(
                f"the network halves images twice, so that 4 must divide their sides, and {images.title!r} has "
                f"{height} × {width}; load them in another size"
            )

    def on_validation_epoch_start(self) -> None:
        self.val_counts.zero_()

    def validation_step(self, batch: tuple[Tensor, ...], _) -> None:
        x = to_float(batch[0])
        tokens = self.model.tokens(x)
        self.val_counts += torch.bincount(tokens.flatten(), minlength=len(self.val_counts))
        # Pixels in [-1, 1] are twice as far apart as in [0, 1], their squares four times.
        mse = F.mse_loss(self.model.decode_tokens(tokens).clamp(-1, 1), x) / 4
        self.log("val_mse", mse, batch_size=len(x))

    def on_validation_epoch_end(self) -> None:
        self.log("val_perplexity", perplexity(self.val_counts).float())
        self.log("val_codes", (self.val_counts > 0).sum().float())

    def learning_rate(self, step: int) -> float:
        return self.lr * cosine(step, self.trainer.max_steps)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=self.lr)


class VQVAETraining(_CodeWatch):
    """Adam on the squared error and the commitment; the codebook follows inside the model.

    Logs ``loss``, ``mse`` (in [0, 1]) and ``commitment``; in validation ``val_mse`` (clamped to [0, 1]),
    ``val_perplexity`` and ``val_codes`` (codes in use), the last two over the whole validation set.

    Args:
        beta: weight of the commitment; lr: Adam's, decaying to zero along a cosine.
    """

    def __init__(self, model: VQVAE, *, beta: float = 0.25, lr: float = 1e-3) -> None:
        super().__init__(model, lr)
        not_negative(beta=beta)
        self.beta = beta

    def training_step(self, batch: tuple[Tensor, ...], _) -> Tensor:
        x = to_float(batch[0])
        out = self.model(x)
        loss = vq_loss(x, out.reconstruction, out.z, out.code, self.beta)
        commitment = F.mse_loss(out.z.detach(), out.code)
        self.log_dict({"loss": loss, "mse": (loss.detach() - self.beta * commitment) / 4, "commitment": commitment})
        return loss


class GumbelTraining(_CodeWatch):
    """Adam on the negative ELBO with relaxed samples; temperature and KL weight move during training.

    Logs ``loss`` (nats an image), ``mse`` (of the soft samples, in [0, 1]), ``kl`` (nats an image) and
    ``temperature``; in validation, with hard codes, the same as ``VQVAETraining``.

    Args:
        sigma, beta: see ``discrete_elbo``; beta is reached after ``ramp`` of the steps, from 0 on a straight line.
        coldest: the temperature falls from 1 to this along a cosine, over ``ramp`` of the steps.
    """

    def __init__(
        self,
        model: GumbelVAE,
        *,
        sigma: float = 0.1,
        beta: float = 1.0,
        coldest: float = 1 / 16,
        ramp: float = 0.75,
        lr: float = 1e-3,
    ) -> None:
        super().__init__(model, lr)
        positive(sigma=sigma, coldest=coldest, ramp=ramp)
        not_negative(beta=beta)
        self.sigma, self.beta, self.coldest, self.ramp = sigma, beta, coldest, ramp

    def schedule(self) -> tuple[float, float]:
        """Temperature and KL weight at the present step; both follow from the step alone, so a resume finds them."""
        done = min(1.0, self.global_step / (self.ramp * self.trainer.max_steps))
        warmth = 0.5 * (1 + math.cos(math.pi * done))
        return self.coldest + (1 - self.coldest) * warmth, self.beta * done

    def training_step(self, batch: tuple[Tensor, ...], _) -> Tensor:
        x = to_float(batch[0])
        temperature, beta = self.schedule()
        reconstruction, logits = self.model(x, temperature)
        loss = discrete_elbo(x, reconstruction, logits, sigma=self.sigma, beta=beta).mean()
        self.log_dict(
            {
                "loss": loss,
                "mse": F.mse_loss(reconstruction.detach(), x) / 4,
                "kl": kl_to_uniform(logits.detach()).mean(),
                "temperature": temperature,
            }
        )
        return loss


class TokenPriorTraining(StepRate):
    """Maximum likelihood for the prior; its "images" are token grids (see ``token_set``).

    Logs ``nll`` and ``val_nll``, nats an image.
    """

    def __init__(self, prior: TokenPrior, *, lr: float = 2e-3) -> None:
        super().__init__()
        positive(lr=lr)
        self.prior, self.lr = prior, lr

    def check_data(self, images: ImageSet) -> None:
        demand_shape(images, (1, *self.prior.grid))
        if (most := int(images.images.max())) >= self.prior.n_codes:
            raise ValueError(
                f"a prior of {self.prior.n_codes} codes knows the tokens 0..{self.prior.n_codes - 1}, got {most}"
            )

    def forward(self, tokens: Tensor) -> Tensor:
        return self.prior.log_prob(tokens)

    def training_step(self, batch: tuple[Tensor, ...], _) -> Tensor:
        nll = -self.prior.log_prob(batch[0][:, 0].long()).mean()
        self.log("nll", nll)
        return nll / math.prod(self.prior.grid)  # a mean over tokens, so that the gradient's scale is the usual one

    def validation_step(self, batch: tuple[Tensor, ...], _) -> None:
        self.log("val_nll", -self.prior.log_prob(batch[0][:, 0].long()).mean(), batch_size=len(batch[0]))

    def learning_rate(self, step: int) -> float:
        return self.lr * one_cycle(step, self.trainer.max_steps, rise=0.1)[0]

    def momentum(self, step: int) -> float:
        return one_cycle(step, self.trainer.max_steps, rise=0.1)[1]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.prior.parameters(), lr=self.lr, weight_decay=0.01)


@torch.no_grad()
def token_set(model: VQVAE | GumbelVAE, images: ImageSet, *, batch_size: int = 500) -> ImageSet:
    """The images as token grids: an ``ImageSet`` whose bytes (N, 1, h, w) are tokens, for ``TokenPriorTraining``.

    Raises:
        ValueError: more than 256 codes, which do not fit into a byte.
    """
    if len(model.codebook) > 256:
        raise ValueError(f"an ImageSet holds bytes; {len(model.codebook)} codes do not fit into one")
    device = next(model.parameters()).device
    with evaluating(model):
        parts = [model.tokens(to_float(x.to(device))).cpu() for x in images.images.split(batch_size)]
    return replace(images, images=torch.cat(parts).to(torch.uint8).unsqueeze(1))
