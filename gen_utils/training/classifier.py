"""Training a classifier: a judge of samples, and the start of JEM."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from ..base.precision import full
from ..base.settings import not_negative, positive
from ..data import ImageSet, to_float
from .demands import demand_labels, demand_shape
from .rates import StepRate, one_cycle


class ClassifierTraining(StepRate):
    """Cross-entropy, Adam and a one-cycle learning rate; logs ``loss``, ``val_loss`` and ``val_accuracy``."""

    classifier: Any  # with its n_classes in ``config``

    def __init__(self, classifier: nn.Module, *, lr: float = 2e-3, weight_decay: float = 1e-4) -> None:
        super().__init__()
        positive(lr=lr)
        not_negative(weight_decay=weight_decay)
        self.classifier, self.lr, self.weight_decay = classifier, lr, weight_decay
        self.val_accuracy = MulticlassAccuracy(classifier.config["n_classes"], average="micro")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x)

    def check_data(self, images: ImageSet) -> None:
        settings = self.classifier.config
        demand_shape(images, (settings.get("channels"), settings.get("size"), settings.get("size")))
        demand_labels(images, settings["n_classes"])

    def training_step(self, batch: tuple[Tensor, Tensor], _) -> Tensor:
        loss = F.cross_entropy(full(self.classifier(to_float(batch[0]))), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _) -> None:
        logits = full(self.classifier(to_float(batch[0])))
        self.val_accuracy(logits, batch[1])
        self.log("val_loss", F.cross_entropy(logits, batch[1]), batch_size=len(logits))
        self.log("val_accuracy", self.val_accuracy)

    def learning_rate(self, step: int) -> float:
        return self.lr * one_cycle(step, self.trainer.max_steps)[0]

    def momentum(self, step: int) -> float:
        return one_cycle(step, self.trainer.max_steps)[1]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.classifier.parameters(), lr=self.lr, weight_decay=self.weight_decay)
