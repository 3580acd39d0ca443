"""Training an energy-based model by contrastive divergence with short Langevin chains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.precision import full
from ..base.settings import not_negative, positive, whole
from ..data import ImageSet, to_float
from ..losses import contrastive_divergence
from ..models.conditional_energy import classify
from ..samplers import ClassBuffer, Langevin, ReplayBuffer, UniformStart, sample
from ..samplers.protocol import energy_only
from .demands import demand_labels, demand_shape
from .rates import StepRate, cosine
from .streams import stream_of_process


@dataclass(frozen=True)
class EBMConfig:
    """The recipe. The defaults are section B3 and B4's, in which only the speed was changed.

    Attributes:
        kernel, n_steps: the chain that makes the negatives; any kernel will do.
        restart: chance that a negative starts from noise and not from the buffer; 1.0 means no buffer.
        capacity: of the buffer.
        alpha: weight of the squared energies.
        classify: weight of the cross-entropy of the labels under exp(-E(x, y)); for conditional energies, which
            learn to compare classes only if something compares them.
        joint_pass: score data and samples in one forward pass. It matters only to a network with batch norm.
        data_noise: standard deviation of Gaussian noise on the data (units of [-1, 1]).
        lr, betas: Adam's. β1 = 0 because the two terms of the loss fight: momentum would carry on
            in a direction that the new negatives have just made wrong.
        warmup: optimiser steps in which the learning rate grows from zero.
        decay: "cosine" to zero over ``max_steps``, "constant", or a factor an epoch.
        grad_norm: bound on the norm of the parameters' gradient; None for none.
        fast: run the chain in the machine's fastest arithmetic.
        seed: of the chain's and the data's noise.
    """

    kernel: Langevin = field(default_factory=lambda: Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0)))
    n_steps: int = 60
    restart: float = 0.05
    capacity: int = 8192
    alpha: float = 0.1
    classify: float = 0.0
    joint_pass: bool = True
    data_noise: float = 0.005
    lr: float = 1e-4
    betas: tuple[float, float] = (0.0, 0.999)
    warmup: int = 0
    decay: str | float = 0.97
    grad_norm: float | None = 0.1
    fast: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        whole(0, n_steps=self.n_steps)
        whole(1, capacity=self.capacity)
        positive(lr=self.lr, **({} if self.grad_norm is None else {"grad_norm": self.grad_norm}))
        not_negative(alpha=self.alpha, classify=self.classify, data_noise=self.data_noise, warmup=self.warmup)
        if not 0 <= self.restart <= 1:
            raise ValueError(f"restart is between 0 and 1, got {self.restart!r}")
        if self.decay not in ("cosine", "constant") and not (isinstance(self.decay, (int, float)) and self.decay > 0):
            raise ValueError(f'decay is "cosine", "constant" or a factor an epoch, got {self.decay!r}')


class EBMTraining(StepRate):
    """Contrastive divergence for any energy module with an ``event_shape``.

    An energy with ``n_classes`` is conditional, E(x, y): its chains run under the labels of the data beside
    them, and the buffer keeps the classes apart.

    Logs ``loss``, ``contrast`` (mean energy of data minus that of negatives), ``energy_real``,
    ``energy_fake`` and ``lr``, for kernels with a test ``accept_rate``; in validation ``val_contrast``, against uniform
    noise, and for conditional energies ``val_accuracy`` of arg min_y E(x, y).

    Args:
        energy: it is changed.
        lr_factor: the learning rate is multiplied by it; a rescue lowers it after a divergence.
    """

    energy: Any  # with an event_shape; a conditional one with n_classes, given, class_energies

    def __init__(self, energy: nn.Module, config: EBMConfig, *, lr_factor: float = 1.0) -> None:
        super().__init__()
        self.energy, self.config, self.lr_factor = energy, config, lr_factor
        self.n_classes = getattr(energy, "n_classes", None)
        if config.classify and self.n_classes is None:
            raise ValueError("classify weighs the labels of a conditional energy, and this energy takes no labels")
        shape, capacity, restart = energy.event_shape, config.capacity, config.restart
        if self.n_classes is None:
            self.buffer = ReplayBuffer(shape, capacity, restart)
        else:
            self.buffer = ClassBuffer(shape, self.n_classes, capacity, restart)
        self.noise = torch.Generator().manual_seed(config.seed)

    def forward(self, x: Tensor) -> Tensor:
        return self.energy(x)

    def check_data(self, images: ImageSet) -> None:
        demand_shape(images, self.energy.event_shape)
        if self.n_classes is not None:
            demand_labels(images, self.n_classes, "a conditional energy")

    def on_fit_start(self) -> None:
        # The stream lives where the chains run; a resume brings its state along (see below).
        self.noise = stream_of_process(self.noise, self.device, self.global_rank)

    def negatives(self, n: int, labels: Tensor | None = None) -> Tensor:
        """(n, C, H, W): finished chains, which also enter the buffer.

        Args:
            labels: (n,) the classes the chains run under, for a conditional energy.
        """
        config = self.config
        energy = self.energy if labels is None else self.energy.given(labels)
        named = {} if labels is None else {"labels": labels}
        x0 = self.buffer.draw(n, **named, generator=self.noise).to(self.device)
        chain = sample(energy, x0, config.kernel, config.n_steps, generator=self.noise, fast=config.fast)
        self.buffer.push(chain.x, **named)
        if self._trainer is not None and chain.accept_rate < 1:
            self.log("accept_rate", chain.accept_rate)
        return chain.x

    def noisy(self, real: Tensor) -> Tensor:
        """Data (B, C, H, W) with a little noise, in the box where chains live; changes its argument."""
        if not self.config.data_noise:
            return real
        jitter = torch.randn(real.shape, generator=self.noise, device=real.device)
        return real.add_(jitter, alpha=self.config.data_noise).clamp_(-1, 1)

    def score(self, function: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """``function`` of data and of samples, in one pass or in two (``config.joint_pass``)."""
        if self.config.joint_pass:
            return function(torch.cat((real, fake))).chunk(2)
        return function(real), function(fake)

    def training_step(self, batch: tuple[Tensor, ...], _) -> Tensor:
        config, labels = self.config, self._labels(batch)
        real = self.noisy(to_float(batch[0]))
        fake = self.negatives(len(real), labels)
        real_out, fake_out = self.score(self.energy if labels is None else self.energy.class_energies, real, fake)
        if labels is None:
            energy_real, energy_fake = real_out, fake_out
        else:
            energy_real, energy_fake = (e.gather(1, labels[:, None]).squeeze(1) for e in (real_out, fake_out))
        loss = contrastive_divergence(energy_real, energy_fake, config.alpha)
        if config.classify:
            wrong = F.cross_entropy(-full(real_out), labels)
            loss = loss + config.classify * wrong
            self.log("cross_entropy", wrong.detach())
        self.log("loss", loss.detach())
        self.log_contrast(energy_real, energy_fake)
        return loss

    def log_contrast(self, energy_real: Tensor, energy_fake: Tensor) -> Tensor:
        """Log both mean energies and their difference, which is returned, a scalar; energies (B,)."""
        real_mean, fake_mean = full(energy_real.detach()).mean(), full(energy_fake.detach()).mean()
        contrast = real_mean - fake_mean
        self.log_dict({"contrast": contrast, "energy_real": real_mean, "energy_fake": fake_mean})
        return contrast

    def validation_step(self, batch: tuple[Tensor, ...], _) -> None:
        real, labels = to_float(batch[0]), self._labels(batch)
        # Its own stream: validating more often must not change what training does.
        stream = torch.Generator(real.device).manual_seed(self.config.seed)
        noise = UniformStart(self.energy.event_shape).draw(len(real), generator=stream)
        energy = self.energy if labels is None else self.energy.given(labels)
        energy_real, energy_noise = (full(energy_only(energy, x)) for x in (real, noise))
        values = {"val_contrast": energy_real.mean() - energy_noise.mean(), "val_energy_real": energy_real.mean()}
        if labels is not None:
            values["val_accuracy"] = (classify(self.energy, real) == labels).float().mean()
        self.log_dict(values, batch_size=len(real))

    def _labels(self, batch: tuple[Tensor, ...]) -> Tensor | None:
        if self.n_classes is None:
            return None
        if len(batch) < 2:
            raise ValueError("a conditional energy is trained on images with labels, and these have none")
        return batch[1]

    def learning_rate(self, step: int) -> float:
        """Adam's rate at an optimiser step, from 0."""
        config = self.config
        rate = config.lr * self.lr_factor * min(1.0, (step + 1) / max(1, config.warmup))
        if config.decay == "constant":
            return rate
        if config.decay == "cosine":
            return rate * cosine(step, self.trainer.max_steps)
        return rate * config.decay ** (step // max(1, self.trainer.num_training_batches))

    def on_train_batch_start(self, *_) -> None:
        super().on_train_batch_start()
        self.log("lr", self.learning_rate(self.global_step))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.energy.parameters(), lr=self.config.lr, betas=self.config.betas)

    def configure_gradient_clipping(self, optimizer, *args, **kwargs) -> None:
        if self.config.grad_norm is not None:
            nn.utils.clip_grad_norm_(self.energy.parameters(), self.config.grad_norm)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["buffer"] = self.buffer.state_dict()
        checkpoint["noise"] = self.noise.get_state()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.buffer.load_state_dict(checkpoint["buffer"])
        self.noise.set_state(checkpoint["noise"].cpu())
