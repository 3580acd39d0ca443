"""Training the judges: the networks in whose features samples are measured, on real data only.

A new training gives a new network, whose distances compare with nobody's: see ``evaluation.feature_networks``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .. import checkpoints
from ..data import ImageSet, load_images, to_float
from ..models import FaceFeatures, ResNetClassifier, SmallClassifier
from ..training import ClassifierTraining, FitConfig, Run, fit
from .face_features import LEARNT, FaceFeatureTraining


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
    config = FitConfig(**settings, seed=seed, name=name)
    run = fit(ClassifierTraining(network, **optimiser), train, config=config, resume=True)
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


def train_face_features(data_root: str | None = None, *, seed: int = 0, max_steps: int = 1000) -> Run:
    """Train the judge of faces on real Bitmoji and CelebA at 64×64 and ship it as ``face_features``.

    A new training gives a new network, whose distances compare with nobody's: see ``evaluation.feature_networks``.

    Raises:
        DataError: Bitmoji or CelebA is missing.
    """
    torch.manual_seed(seed)
    drawn, photographed = (load_images(n, root=data_root, stand_in=False, size=64) for n in ("bitmoji", "celeba"))
    both = torch.cat((drawn.images, drawn.images, photographed.images))  # drawn faces are fewer: each twice
    train = ImageSet(both, None, (), "faces", f"{drawn.title} and {photographed.title}")
    optimiser: dict[str, Any] = dict(lr=3e-3, weight_decay=1e-2, temperature=0.2, weight=2.0, max_shift=6)
    settings: dict[str, Any] = dict(max_steps=max_steps, batch_size=64, precision="bf16-mixed")
    network = FaceFeatures().to(memory_format=torch.channels_last)  # a quarter faster, the same numbers
    config = FitConfig(**settings, seed=seed, name="face_features")
    run = fit(FaceFeatureTraining(network, **optimiser), train, config=config, resume=True)
    last = {name: sum(run.curve(name)[1][-10:]) / len(run.curve(name)[1][-10:]) for name in ("recognised", "grading")}
    card = {
        "part": "every part that measures faces at 64×64",
        "data": train.title,
        "images": len(drawn) + len(photographed),
        "profile": "laptop",
        "seed": seed,
        "seconds": round(run.seconds),
        "steps": run.steps,
        "settings": {**settings, **optimiser, "schedule": "one cycle", "learnt_damage": list(LEARNT)},
        "metrics": {
            "recognised": {"value": round(last["recognised"], 3), "of": 127, "on": "training batches"},
            "grading_nats": {"value": round(last["grading"], 4), "on": "training batches"},
        },
        "command": "python -m gen_utils models train face_features --data path/to/data",
        "known_faults": "has seen aligned faces on plain grounds only; four of the corruptions it is tested on were in "
        "its training",
    }  # fmt: skip
    checkpoints.save("face_features", network, card, dtype=torch.float16)
    return run
