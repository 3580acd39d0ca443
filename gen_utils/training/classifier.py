"""Training a classifier: the course's judge of samples, and the start of JEM."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from .. import checkpoints
from ..data import load_images, to_float
from ..models import ResNetClassifier, SmallClassifier
from .fit import FitConfig, Run, fit, run_folder


class ClassifierTraining(L.LightningModule):
    """Cross-entropy, Adam and a one-cycle learning rate; logs ``loss``, ``val_loss`` and ``val_accuracy``."""

    def __init__(self, classifier: nn.Module, *, lr: float = 2e-3, weight_decay: float = 1e-4) -> None:
        super().__init__()
        self.classifier, self.lr, self.weight_decay = classifier, lr, weight_decay
        self.val_accuracy = MulticlassAccuracy(classifier.config["n_classes"], average="micro")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x)

    def training_step(self, batch: tuple[Tensor, Tensor], _) -> Tensor:
        loss = F.cross_entropy(self.classifier(to_float(batch[0])), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _) -> None:
        logits = self.classifier(to_float(batch[0]))
        self.val_accuracy(logits, batch[1])
        self.log("val_loss", F.cross_entropy(logits, batch[1]), batch_size=len(logits))
        self.log("val_accuracy", self.val_accuracy)

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.classifier.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=self.trainer.max_steps + 1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train_digit_classifier(data_root: str | None = None, *, seed: int = 0, max_steps: int = 1875) -> Run:
    """Train the course's judge of digits on real MNIST (four epochs) and ship it as ``digit_classifier``.

    Raises:
        DataError: MNIST is missing; a judge trained on a stand-in would judge nothing.
    """
    torch.manual_seed(seed)
    return _train_judge(
        "digit_classifier", "mnist", SmallClassifier(), "digits", data_root, seed, dict(lr=2e-3, weight_decay=1e-4),
        dict(max_steps=max_steps, batch_size=128),
    )  # fmt: skip


def train_persian_classifier(data_root: str | None = None, *, seed: int = 0, max_steps: int = 1300) -> Run:
    """Train the judge of Persian digits on real Hoda digits (ten epochs of 17,000) and ship ``persian_classifier``.

    Raises:
        DataError: Hoda is missing.
    """
    torch.manual_seed(seed)
    # Shifts of a pixel: Hoda's glyphs are centred by their box, a generator's need not be.
    return _train_judge(
        "persian_classifier", "persian_digits", SmallClassifier(), "Persian digits", data_root, seed,
        dict(lr=2e-3, weight_decay=1e-2), dict(max_steps=max_steps, batch_size=128, crop=1),
    )  # fmt: skip


def train_cifar_classifier(data_root: str | None = None, *, seed: int = 0, max_steps: int = 2340) -> Run:
    """Train the judge of small colour images on real CIFAR-10 (six epochs) and ship it as ``cifar_classifier``.

    Raises:
        DataError: CIFAR-10 is missing.
    """
    torch.manual_seed(seed)
    # bfloat16 halves the time where the processor multiplies it natively; elsewhere it is slow but right.
    return _train_judge(
        "cifar_classifier", "cifar10", ResNetClassifier(), "ten kinds of things in photographs", data_root, seed,
        dict(lr=3e-3, weight_decay=5e-2),
        dict(max_steps=max_steps, batch_size=128, flip=True, crop=4, precision="bf16-mixed"),
    )  # fmt: skip


def _train_judge(
    name: str, dataset: str, network: nn.Module, knows: str, data_root, seed: int, optimiser: dict, settings: dict
) -> Run:
    train = load_images(dataset, root=data_root, stand_in=False)
    test = load_images(dataset, "test", root=data_root, stand_in=False)
    folder = run_folder(name, seed=seed, **optimiser, **settings)
    run = fit(
        ClassifierTraining(network, **optimiser), train, config=FitConfig(**settings, seed=seed, run_dir=folder),
        resume=True,
    )  # fmt: skip
    with torch.no_grad():
        guesses = torch.cat([network(to_float(x)).argmax(1) for x in test.images.split(500)])
    accuracy = (guesses == test.labels).double().mean().item()
    card = {
        "part": "every part that measures images of this kind",
        "data": train.title,
        "images": len(train),
        "profile": "laptop",
        "seed": seed,
        "seconds": round(run.seconds),
        "steps": run.steps,
        "settings": {**settings, **optimiser, "schedule": "one cycle"},
        "metrics": {"test_accuracy": {"value": round(accuracy, 4), "images": len(test)}},
        "command": f"python -m gen_utils models train {name} --data path/to/data",
        "known_faults": f"knows only {knows}: it puts anything else confidently into one of ten classes",
    }
    checkpoints.save(name, network, card, dtype=torch.float16 if dataset == "cifar10" else None)
    return run
