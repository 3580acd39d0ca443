"""Training a classifier that is also a density: cross-entropy plus contrastive divergence of its logsumexp."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from ..base.precision import full
from ..base.settings import not_negative, positive
from ..data import ImageSet, to_float
from ..losses import joint_loss
from ..models import JointEnergy
from ..models.modes import evaluating
from ..samplers import Langevin, ProximalLangevin, ReplayBuffer
from .demands import demand_labels, demand_shape
from .ebm import EBMConfig, EBMTraining
from .guards import refuse_runaway
from .rescue import Recovery, fit_with_rescue
from .run import FitConfig, Run


@dataclass(frozen=True)
class JEMConfig(EBMConfig):
    """The recipe; what is not named here is ``EBMConfig``'s, with other defaults.

    Attributes:
        weight: λ of the generative term; the cross-entropy has weight 1.
        max_contrast: nats. A mean energy of data and one of samples further apart than this is a divergence, long
            before the loss stops being finite: chains no longer reach where the energy is low.
    """

    kernel: Langevin | ProximalLangevin = field(
        default_factory=lambda: ProximalLangevin(1.0, max_step=0.1, bounds=(-1.0, 1.0))
    )
    n_steps: int = 10
    capacity: int = 10_000
    alpha: float = 0.0
    data_noise: float = 0.03
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    decay: str = "cosine"
    grad_norm: float | None = 1.0
    weight: float = 1.0
    max_contrast: float = 1000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(weight=self.weight)
        positive(max_contrast=self.max_contrast)
        if self.decay not in ("cosine", "constant"):
            raise ValueError(f'decay is "cosine" or "constant", got {self.decay!r}')


class JEMTraining(EBMTraining):
    """A classifier (B, C, H, W) -> (B, K), trained jointly; ``energy`` is the same network read as E(x).

    **Batch norm.** Chains run with the network in eval mode: a layer with running statistics uses those, so that an
    image's energy depends on that image alone. In training mode it would use the statistics of the chains themselves,
    and the energy of one chain would change with its neighbours. Networks without norm layers have no such choice.

    Logs ``loss``, ``cross_entropy``, ``accuracy`` (of the batch), ``contrast``, ``energy_real``, ``energy_fake`` and
    ``lr``; in validation ``val_accuracy``, ``val_loss`` (cross-entropy, nats) and ``val_energy``.

    Args:
        classifier: trained or not; it is changed.
        start: where fresh chains begin; uniform noise when None, for JEM++ a ``GaussianStart``.
        lr_factor: the learning rate is multiplied by it; ``train_jem`` lowers it after a divergence.
    """

    config: JEMConfig

    def __init__(
        self,
        classifier: nn.Module,
        config: JEMConfig,
        event_shape: Sequence[int],
        *,
        start=None,
        lr_factor: float = 1.0,
    ) -> None:
        super().__init__(JointEnergy(classifier, tuple(event_shape)), config, lr_factor=lr_factor)
        self.buffer = ReplayBuffer(tuple(event_shape), config.capacity, config.restart, start)
        self.start = self.buffer.start
        self.val_accuracy = MulticlassAccuracy(classifier.config["n_classes"], average="micro")

    @property
    def classifier(self) -> Any:
        """The network that is being trained."""
        return self.energy.classifier

    def check_data(self, images: ImageSet) -> None:
        demand_shape(images, self.energy.event_shape)
        demand_labels(images, self.classifier.config["n_classes"], "a joint model")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x)

    def negatives(self, n: int, labels: Tensor | None = None) -> Tensor:
        """(n, C, H, W): finished chains on E(x), which also enter the buffer; the network samples in eval mode."""
        with evaluating(self.energy):
            return super().negatives(n)

    def training_step(self, batch: tuple[Tensor, ...], _) -> Tensor:
        config = self.config
        if len(batch) < 2:
            raise ValueError("a joint model is trained on images with labels, and these have none")
        real, labels = self.noisy(to_float(batch[0])), batch[1]
        fake = self.negatives(len(real))
        logits_real, logits_fake = map(full, self.score(self.classifier, real, fake))
        loss = joint_loss(logits_real, labels, logits_fake, config.weight, config.alpha)
        with torch.no_grad():
            self.log_dict(
                {
                    "loss": loss.detach(),
                    "cross_entropy": F.cross_entropy(logits_real, labels),
                    "accuracy": (logits_real.argmax(1) == labels).float().mean(),
                }
            )
            contrast = self.log_contrast(-logits_real.logsumexp(1), -logits_fake.logsumexp(1))
        refuse_runaway(contrast, config.max_contrast, self.global_step)
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], _) -> None:
        logits = full(self.classifier(to_float(batch[0])))
        self.val_accuracy(logits, batch[1])
        self.log("val_accuracy", self.val_accuracy)
        values = {"val_loss": F.cross_entropy(logits, batch[1]), "val_energy": -logits.logsumexp(1).mean()}
        self.log_dict(values, batch_size=len(logits))


def train_jem(
    classifier: nn.Module,
    train: ImageSet,
    val: ImageSet | None = None,
    *,
    recipe: JEMConfig,
    config: FitConfig,
    start=None,
    callbacks: Sequence[Callback] = (),
    max_recoveries: int = 3,
    shrink: float = 0.5,
) -> tuple[Run, list[Recovery]]:
    """Fine-tune a copy of the classifier; a run that diverges goes on from its last good checkpoint, more slowly.

    After a divergence the last checkpoint is restored and the learning rate multiplied by ``shrink``. A run that
    diverges again before it has written a new checkpoint had a sick one: it begins again from the classifier. What
    happened is kept in ``run_dir/recoveries.json``, so that a killed run resumes bit for bit, and a finished one is
    loaded, whether it diverged on its way or not.

    Args:
        classifier: pretrained; left as it is.
        start: where fresh chains begin, see ``JEMTraining``.
        callbacks: as for ``fit``; their states come back with the checkpoint.
        max_recoveries: so many divergences are forgiven.

    Returns:
        The run and its recoveries, the first one first.

    Raises:
        TrainingDiverged: it diverged once more than forgiven; the message tells of the earlier ones.
    """
    return fit_with_rescue(
        lambda factor: JEMTraining(copy.deepcopy(classifier), recipe, train.shape, start=start, lr_factor=factor),
        train,
        val,
        config=config,
        seed=recipe.seed,
        callbacks=callbacks,
        max_recoveries=max_recoveries,
        shrink=shrink,
    )
