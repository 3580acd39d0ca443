"""Training a denoiser, or an energy whose gradient denoises, at all noise levels at once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..base.settings import positive, whole
from ..data import ImageSet, to_float
from .demands import demand_labels, demand_shape
from .rates import StepRate, cosine
from .score_losses import denoising_loss
from .streams import stream_of_process


@dataclass(frozen=True)
class DenoisingConfig:
    """The recipe.

    Attributes:
        level_mean, level_spread: of ln σ, which is drawn from a normal distribution for every picture.
        lr: Adam's first rate, which falls to zero along a cosine; warmup: steps in which it grows from zero.
        average: the longest memory of the averaged weights, in steps; a tenth of the steps made so far is its bound.
        grad_norm: bound on the norm of the parameters' gradient.
        seed: of the levels and the noise.

    Source: Karras et al. (2022), who have -1.2 and 1.2; digits are decided at larger levels.
    """

    level_mean: float = -0.8
    level_spread: float = 1.3
    lr: float = 2e-3
    warmup: int = 100
    average: int = 500
    grad_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        positive(level_spread=self.level_spread, lr=self.lr, grad_norm=self.grad_norm)
        whole(0, warmup=self.warmup)
        whole(1, average=self.average)


class DenoisingTraining(StepRate):
    """Denoising score matching for a ``ScoreUNet`` or an ``EnergyUNet``; ``averaged`` is the network to draw with.

    Logs ``loss`` (one where the data are taken for a Gaussian) and ``lr``; in validation ``val_loss`` of the averaged
    weights, at the same levels and with the same noise each time.

    Args:
        model: with ``denoise``, ``sigma_data`` and ``event_shape``; it is changed. One with ``n_classes`` gets the
            labels of the data.
    """

    model: Any
    averaged: Any

    def __init__(self, model: nn.Module, config: DenoisingConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.averaged = copy.deepcopy(model).requires_grad_(False)
        self.noise = torch.Generator().manual_seed(config.seed)

    def check_data(self, images: ImageSet) -> None:
        demand_shape(images, self.model.event_shape)
        if getattr(self.model, "n_classes", 0):
            demand_labels(images, self.model.n_classes, "a denoiser of classes")

    def on_train_start(self) -> None:
        self.noise = stream_of_process(self.noise, self.device, self.global_rank)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.averaged.denoise(x, sigma)

    def loss(self, model: Any, batch: tuple[Tensor, ...], stream: torch.Generator) -> Tensor:
        """Of bytes (B, C, H, W), with labels (B,) where the model asks for them; levels and noise from the stream."""
        clean = to_float(batch[0])
        if getattr(model, "n_classes", 0):
            model = model.given(batch[1])
        draw = {"generator": stream, "device": stream.device}
        level = (self.config.level_mean + self.config.level_spread * torch.randn(len(clean), **draw)).exp()
        noise = torch.randn(clean.shape, **draw)
        return denoising_loss(model, clean, noise.to(clean), level.to(clean), sigma_data=model.sigma_data)

    def training_step(self, batch: tuple[Tensor, ...], _) -> Tensor:
        loss = self.loss(self.model, batch, self.noise)
        self.log_dict({"loss": loss.detach(), "lr": self.learning_rate(self.global_step)})
        return loss

    @torch.no_grad()
    def on_train_batch_end(self, *_) -> None:
        memory = min(self.config.average, 1 + self.global_step / 10)
        for mean, weight in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(weight, 1 / memory)

    def validation_step(self, batch: tuple[Tensor, ...], index: int) -> None:
        stream = torch.Generator(self.device).manual_seed(index)
        self.log("val_loss", self.loss(self.averaged, batch, stream), batch_size=len(batch[0]))

    def learning_rate(self, step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, self.config.warmup))
        return self.config.lr * rise * cosine(step, self.trainer.max_steps)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=self.config.lr, betas=(0.9, 0.99))

    def configure_gradient_clipping(self, optimizer, *args, **kwargs) -> None:
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["noise"] = self.noise.get_state()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.noise.set_state(checkpoint["noise"].cpu())
