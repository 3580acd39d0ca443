"""Training a generator against a critic, whatever they play for."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from ..base.precision import full
from ..data import ImageSet, to_float
from ..losses import squared_gradient
from ..models.modes import frozen
from .adversaries import Adversary, EnergyBased, NonSaturating, Relativistic, Wasserstein, WassersteinGP
from .augment import DiffAugment
from .demands import demand_labels, demand_shape
from .fit import fit
from .run import FitConfig, Run
from .streams import stream_of_process

__all__ = [
    "Adversary",
    "DiffAugment",
    "EnergyBased",
    "GANConfig",
    "GANTraining",
    "NonSaturating",
    "Relativistic",
    "Wasserstein",
    "WassersteinGP",
    "binarise",
    "train_gan",
]


@dataclass(frozen=True)
class GANConfig:
    """The recipe.

    Attributes:
        objective: what is played for; it brings the optimisers and the number of critic steps.
        ema: decay of the moving average of the generator's weights that is sampled from; 0 samples the weights as
            they are. It starts from a short memory, min(ema, (1 + t) / (10 + t)) at generator step t.
        augment: what changes all pictures that the critic sees, data and fakes; None shows them as they are.
        decay: "constant", or "linear": both learning rates fall to zero over the second half of the run.
        seed: of the inputs and of what the objective and ``augment`` draw; the order of the data is
            ``FitConfig.seed``'s.
    """

    objective: Adversary = field(default_factory=NonSaturating)
    ema: float = 0.995
    augment: DiffAugment | None = None
    decay: str = "constant"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is at least 0 and less than 1, got {self.ema}")
        if self.decay not in ("constant", "linear"):
            raise ValueError(f'decay is "constant" or "linear", got {self.decay!r}')


class GANTraining(L.LightningModule):
    """A generator z -> (B, C, H, W) and a critic, trained in turns; ``sampler`` is the generator's moving average.

    **What a step is.** One training step is one *generator* step with the critic steps before it, and ``max_steps``,
    ``checkpoint_every`` and a callback's ``global_step`` count those. So a batch holds the images of all the critic
    steps: ``FitConfig.batch_size`` is the size of one, times ``objective.critic_steps`` (``train_gan`` multiplies).

    **Labels.** A generator with ``n_classes`` gets the labels of the batch's images for its fakes, and its critic
    judges both under them.

    Both optimisers, the moving average, the step and the random stream are in the checkpoint.

    Logs ``critic_loss``, ``generator_loss``, ``wasserstein`` (mean score of data minus that of fakes; an estimate of
    W₁ up to the critic's Lipschitz constant), ``gradient`` (mean norm of the critic's gradient at data, per unit of a
    pixel in [-1, 1]) and the objective's penalties.
    """

    generator: Any  # with draw and n_classes

    def __init__(self, generator: nn.Module, critic: nn.Module, config: GANConfig) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.critic, self.config = generator, critic, config
        self.sampler = copy.deepcopy(generator).requires_grad_(False).eval()
        self.noise = torch.Generator().manual_seed(config.seed)

    def forward(self, z: Tensor) -> Tensor:
        return self.sampler(z)

    def train(self, mode: bool = True) -> GANTraining:
        super().train(mode)
        self.sampler.eval()  # batch norm's averages of the moving average are averages too
        return self

    def check_data(self, images: ImageSet) -> None:
        for network in (self.generator, self.critic):
            if shape := getattr(network, "image_shape", None):
                demand_shape(images, shape)
        if self.generator.n_classes:
            demand_labels(images, self.generator.n_classes, "a conditional generator")

    def on_fit_start(self) -> None:
        # The stream lives where the networks do; a resume brings its state along (see below).
        self.noise = stream_of_process(self.noise, self.device, self.global_rank)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        make = self.config.objective.optimiser
        return [make(self.critic.parameters()), make(self.generator.parameters())]

    def training_step(self, batch: tuple[Tensor, ...], _) -> None:
        objective, images = self.config.objective, batch[0]
        labels = batch[1] if self.generator.n_classes else None
        if len(images) % objective.critic_steps:
            raise ValueError(f"a batch of {len(images)} images cannot be divided among {objective.critic_steps} steps")
        # The plain critic optimiser: Lightning counts the steps of its wrapped ones, and only the generator's count.
        critic_optimiser, _ = self.optimizers(use_pl_optimizer=False)
        _, generator_optimiser = self.optimizers()
        self._set_rates(critic_optimiser, generator_optimiser)
        parts = [None] * objective.critic_steps if labels is None else labels.chunk(objective.critic_steps)
        for chunk, wanted in zip(images.chunk(objective.critic_steps), parts, strict=True):
            real = to_float(chunk)
            # One critic of pictures for data and fakes: under the same labels, where there are labels.
            critic = self.critic if wanted is None else self.critic.given(wanted)
            with torch.no_grad():
                fake = self._fakes(len(real), wanted)
            loss, told = objective.critic_loss(critic, self._seen(real), self._seen(fake), self.noise)
            critic_optimiser.zero_grad()
            self.manual_backward(loss)
            critic_optimiser.step()
            objective.after_critic_step(self.critic)

        with frozen(self.critic):  # its weights' gradients are not wanted now; they cost a third of the step
            fake = self._fakes(len(real), wanted)
            generator_loss = objective.generator_loss(critic, self._seen(real), self._seen(fake))
            generator_optimiser.zero_grad()
            self.manual_backward(generator_loss)
            generator_optimiser.step()
            self._average()
            if (self.global_step % self.trainer.log_every_n_steps) == 0:
                told["gradient"] = self._gradient(critic, real)
        self.log_dict({"critic_loss": loss.detach(), "generator_loss": generator_loss.detach(), **told})

    def _fakes(self, n: int, labels: Tensor | None) -> Tensor:
        """(n, *event), in the precision of the data: penalties compare gradients at both."""
        return full(self.generator(self.generator.draw(n, self.noise, labels=labels)))

    def _seen(self, x: Tensor) -> Tensor:
        """(B, *event) as the critic sees it."""
        return x if self.config.augment is None else self.config.augment(x, self.noise)

    def _set_rates(self, *optimisers: torch.optim.Optimizer) -> None:
        done = self.global_step / self.trainer.max_steps
        factor = 1.0 if self.config.decay == "constant" else min(1.0, 2 * (1 - done))
        for optimiser in optimisers:
            for group in getattr(optimiser, "optimizer", optimiser).param_groups:
                group["lr"] = self.config.objective.lr * factor

    @torch.no_grad()
    def _average(self) -> None:
        step = self.global_step  # already counts this one
        keep = min(self.config.ema, (1 + step) / (10 + step))
        for mean, now in zip(self.sampler.state_dict().values(), self.generator.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - keep)
            else:
                mean.copy_(now)

    def _gradient(self, critic: nn.Module, real: Tensor) -> Tensor:
        x = real.detach().requires_grad_()
        return squared_gradient(self.config.objective.score(critic, x), x, create_graph=False).sqrt().mean()

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["noise"] = self.noise.get_state()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.noise.set_state(checkpoint["noise"].cpu())


def binarise(images: Tensor) -> Tensor:
    """Images in [-1, 1] of any shape -> uint8, 0 below zero and 255 from zero on."""
    return (images >= 0).to(torch.uint8) * 255


def train_gan(
    generator: nn.Module,
    critic: nn.Module,
    train: ImageSet,
    *,
    recipe: GANConfig,
    config: FitConfig,
    callbacks: Sequence[Callback] = (),
    resume: bool = True,
) -> Run:
    """Train copies of both networks; ``run.module.sampler`` is what to sample from.

    Args:
        generator, critic: left as they are.
        config: ``max_steps`` counts generator steps, ``batch_size`` the images of one pass through a network.
        resume: goes on from ``run_dir/last.ckpt`` when there is one; a finished run is loaded.

    Raises:
        TrainingDiverged: a loss stopped being finite.
        ValueError: a conditional generator without labels in the data, or without a critic of as many classes.
    """
    classes = getattr(generator, "n_classes", 0)
    if classes != getattr(critic, "n_classes", 0):
        raise ValueError(
            f"the generator has {classes} classes, the critic {getattr(critic, 'n_classes', 0)}: give both as many"
        )
    module = GANTraining(copy.deepcopy(generator), copy.deepcopy(critic), recipe)
    per_step, config = config.batch_size, replace(config, batch_size=config.batch_size * recipe.objective.critic_steps)
    if config.strategy in ("auto", "ddp") and (str(config.devices) != "1" or config.num_nodes > 1):
        # Each loss has gradients for one of the two networks; plain DDP waits for those of both.
        config = replace(config, strategy="ddp_find_unused_parameters_true")
    run = fit(module, train, config=config, resume=resume, callbacks=callbacks)
    return replace(run, settings={**run.settings, "batch_size": per_step})
