"""Who races whom in ``time_to_quality.py``: three chapters' models, by the original recipe and by the workbook's."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from list_buffer import BOX, CLIP, NOISE, STEP, ListBuffer
from quality_clock import Clock, Measure, trained
from torch import Tensor

from gen_utils import checkpoints
from gen_utils.data import ImageSet, load_images, to_float, to_uint8
from gen_utils.evaluation.classification import logits_of
from gen_utils.evaluation.frechet import extract_features, frechet_distance
from gen_utils.losses import contrastive_divergence
from gen_utils.models import SmallEnergy, SmoothClassifier, StridedEnergy, TenLayerEnergy
from gen_utils.samplers import MALA, GaussianStart, Langevin, ProximalLangevin, UniformStart, sample
from gen_utils.training import EBMConfig, EBMTraining, FitConfig, fit
from gen_utils.training.classifier import ClassifierTraining
from gen_utils.training.jem import JEMConfig, JEMTraining

BATCH = 64
COLD = Langevin(STEP, noise=NOISE, grad_clip=CLIP, bounds=BOX)  # the sampler of Parts A and B
Points = list[dict]


@dataclass(frozen=True)
class Contender:
    """One training: ``run(looks, budget)`` takes seconds at which to measure and seconds in all."""

    name: str
    looks: tuple[float, ...]
    run: Callable[[list[float], float], Points]


@dataclass(frozen=True)
class Recipe:
    """One of the workbook's trainings: the module, made anew at each call, and how its samples are measured."""

    make: Callable[[], EBMTraining]
    images: ImageSet
    data: FitConfig
    measure: Measure


@dataclass(frozen=True)
class Contest:
    """One model's contenders, and how their samples are measured.

    Attributes:
        told: what is measured, in words.
        contenders: first ours with a minute, then ours with five, last the original.
        recipe: given seconds of training, what ours trains.
        goal: a Fréchet distance that ours aims at in five minutes; None where none was set.
    """

    title: str
    judge: str
    told: str
    contenders: tuple[Contender, ...]
    recipe: Callable[[float], Recipe]
    goal: float | None = None


def mnist(root: str | None, n: int, seed: int) -> Contest:
    """Part B's energy: sections B3 and B4 as the assignment writes them; and Part B's recipe."""
    images = load_images("mnist", root=root, stand_in=False)
    distance = _distance(load_images("mnist", "test", root=root, stand_in=False), "digit_classifier")

    def measure(energy) -> dict[str, float]:
        return {"frechet": distance(_fresh(energy, COLD, n, 256))}

    def written(looks: list[float], budget: float) -> Points:
        return _list_loop(images, Clock(looks, measure), seed)

    def recipe(budget: float) -> Recipe:
        config = EBMConfig(n_steps=20, lr=5e-4, decay="cosine", grad_norm=1.0, seed=seed)
        data = FitConfig(1, batch_size=BATCH, seed=seed)
        return Recipe(lambda: EBMTraining(SmallEnergy(), config), images, data, measure)

    def ours(looks: list[float], budget: float) -> Points:
        it = recipe(budget)
        return trained(it.make, images, it.data, Clock(looks, measure), budget, trial=60)

    return Contest(
        "Part B's energy, MNIST",
        "digit_classifier",
        f"{n:,} fresh 256-step chains from uniform noise",
        (
            Contender("ours, planned for 60 s", (30, 60), ours),
            Contender("ours, planned for 300 s", (75, 150, 300), ours),
            Contender("as the assignment writes it", (60, 150, 300, 600), written),
        ),
        recipe,
        goal=25,
    )


def bitmoji(root: str | None, n: int, seed: int) -> Contest:
    """Part A: ten pooled layers with batch norm, MALA from noise, no penalty, as written; and Part A's recipe.

    The original is trained by the package too, so that it loses nothing by a slow loop. 350 chains at most, as in Part
    A: 400 steps of each are dear.
    """
    n = min(n, 350)
    images = load_images("bitmoji", size=32, root=root, stand_in=False)
    distance = _distance(images, "cifar_classifier")
    data = FitConfig(1, batch_size=BATCH, seed=seed, flip=True)

    def of(network, config: EBMConfig) -> Recipe:
        measure: Measure = lambda energy: {"frechet": distance(_fresh(energy, config.kernel, n, 400))}  # noqa: E731
        return Recipe(lambda: EBMTraining(network(), config), images, data, measure)

    def compete(it: Recipe, looks: list[float], budget: float) -> Points:
        return trained(it.make, images, data, Clock(looks, it.measure), budget, trial=12)

    def written(looks: list[float], budget: float) -> Points:
        config = EBMConfig(
            kernel=ClampedMALA(0.01), n_steps=10, restart=1.0, capacity=BATCH, alpha=0.0, data_noise=0.0, lr=2e-4,
            betas=(0.5, 0.999), decay=1.0, grad_norm=None, joint_pass=False, seed=seed,
        )  # fmt: skip
        return compete(of(lambda: TenLayerEnergy(size=32, width=32), config), looks, budget)

    def recipe(budget: float) -> Recipe:
        config = EBMConfig(
            kernel=COLD, n_steps=30, capacity=4096, data_noise=0.02, lr=4e-4, decay="cosine", grad_norm=1.0, seed=seed
        )
        return of(lambda: StridedEnergy(size=32, widths=[48, 96, 192, 192], stem=48), config)

    def ours(looks: list[float], budget: float) -> Points:
        return compete(recipe(budget), looks, budget)

    return Contest(
        "Part A's energy, Bitmoji at 32×32",
        "cifar_classifier",
        f"{n:,} fresh 400-step chains from uniform noise, each by the sampler of its training",
        (
            Contender("ours, planned for 60 s", (30, 60), ours),
            Contender("ours, planned for 300 s", (60, 150, 300), ours),
            Contender("as the assignment writes it", (60, 300), written),
        ),
        recipe,
    )


def jem(root: str | None, n: int, seed: int) -> Contest:
    """Part D: JEM from scratch with its published settings; and a classifier first, then Part D's joint training."""
    images = load_images("mnist", root=root, stand_in=False)
    test = load_images("mnist", "test", root=root, stand_in=False)
    distance, judge = _distance(test, "digit_classifier"), checkpoints.load("digit_classifier")
    labels, shape = torch.arange(10).repeat(n // 10), (1, 28, 28)
    data = FitConfig(1, batch_size=BATCH, seed=seed)

    def measure(kernel, start, n_steps: int) -> Measure:
        def of(energy) -> dict[str, float]:
            stream = torch.Generator().manual_seed(10)
            x = start.draw(len(labels), labels=labels, generator=stream)
            drawn = to_uint8(sample(energy.given(labels), x, kernel, n_steps, generator=stream, fast=True).x)
            as_asked = logits_of(judge, drawn).argmax(1) == labels
            right = logits_of(energy.classifier, test).argmax(1) == test.labels
            return {"frechet": distance(drawn), "as_asked": _percent(as_asked), "accuracy": _percent(right)}

        return of

    def published(looks: list[float], budget: float) -> Points:
        kernel = Langevin(1.0, noise=0.01)
        config = JEMConfig(kernel=kernel, n_steps=20, lr=1e-4, warmup=1000, decay="constant", grad_norm=None, seed=seed)
        clock = Clock(looks, measure(kernel, UniformStart(shape), 200))
        return trained(
            lambda: JEMTraining(SmoothClassifier(width=16), config, shape), images, data, clock, budget, trial=60
        )

    def recipe(budget: float) -> Recipe:
        start = GaussianStart.fit(images.images, images.labels)
        classifier = _classifier(images, int(6 * budget), seed)
        kernel = ProximalLangevin(1.0, max_step=0.1, noise=0.01, bounds=BOX)
        config = JEMConfig(kernel=kernel, n_steps=10, capacity=4096, lr=5e-4, warmup=100, betas=(0.0, 0.999), seed=seed)
        make = lambda: JEMTraining(classifier(), config, shape, start=start)  # noqa: E731
        return Recipe(make, images, data, measure(kernel, start, 40))

    def ours(looks: list[float], budget: float) -> Points:
        begin = time.perf_counter()
        it = recipe(budget)
        spent = time.perf_counter() - begin
        return trained(it.make, images, data, Clock(looks, it.measure, spent), budget - spent, trial=60)

    return Contest(
        "Part D's joint model, MNIST",
        "digit_classifier",
        f"{len(labels):,} chains on request, E(x, y): ours 40 steps from class Gaussians, JEM's 200 from uniform noise",
        (
            Contender("ours, planned for 60 s", (30, 60), ours),
            Contender("ours, planned for 300 s", (90, 150, 300), ours),
            Contender("JEM as published", (60, 150, 300), published),
        ),
        recipe,
    )


CONTESTS = {"mnist": mnist, "bitmoji": bitmoji, "jem": jem}


@dataclass(frozen=True)
class ClampedMALA:
    """MALA as the original assignment has it: the acceptance test first, then a clamp to the box (Part A)."""

    step_size: float

    def init(self, energy, x):
        return MALA(self.step_size).init(energy, x)

    def step(self, energy, state, t, n_steps, generator):
        state = MALA(self.step_size).step(energy, state, t, n_steps, generator)
        inside = self.init(energy, state.x.clamp(*BOX))
        return state._replace(x=inside.x, energy=inside.energy, grad=inside.grad)


def _list_loop(images: ImageSet, clock: Clock, seed: int) -> Points:
    """The assignment's own training: a Python list of old samples, 60 steps a chain, learning rate 1e-4."""
    torch.manual_seed(seed)
    random.seed(seed)
    energy = SmallEnergy()
    optimiser = torch.optim.Adam(energy.parameters(), lr=1e-4, betas=(0.0, 0.999))
    held, step = ListBuffer(torch.rand((BATCH, 1, 28, 28)) * 2 - 1), 0
    clock.start()
    while True:
        for index in torch.randperm(len(images)).split(BATCH):
            if len(index) < BATCH:
                continue
            real = to_float(images.images[index])
            real = (real + 0.005 * torch.randn(real.shape)).clamp(*BOX)
            fake = held.negatives(energy, BATCH, 60)
            loss = contrastive_divergence(*energy(torch.cat((real, fake))).chunk(2), 0.1)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(energy.parameters(), 0.1)
            optimiser.step()
            step += 1
            if not clock.tick(energy, step):
                return clock.points
        for group in optimiser.param_groups:
            group["lr"] *= 0.97


def _classifier(images: ImageSet, n_steps: int, seed: int) -> Callable[[], SmoothClassifier]:
    """Train Part D's classifier; what makes a copy of it."""
    torch.manual_seed(seed)
    module = ClassifierTraining(SmoothClassifier(width=16), lr=3e-3, weight_decay=1e-2)
    with tempfile.TemporaryDirectory() as folder:
        fit(module, images, config=FitConfig(n_steps, 128, seed, folder, checkpoint_every=n_steps))

    def copy() -> SmoothClassifier:
        network = SmoothClassifier(width=16)
        network.load_state_dict(module.classifier.state_dict())
        return network

    return copy


def _distance(real: ImageSet, judge: str) -> Callable[[Tensor], float]:
    """Fréchet distance of images to the real ones, in a shipped classifier's features."""
    network = checkpoints.load(judge)
    features = extract_features(network, real)
    return lambda images: frechet_distance(features, extract_features(network, images))


def _fresh(energy, kernel, n: int, n_steps: int) -> Tensor:
    """(n, C, H, W) uint8: chains from uniform noise, always the same."""
    stream = torch.Generator().manual_seed(10)
    start = UniformStart(energy.event_shape).draw(n, generator=stream)
    parts = [sample(energy, x, kernel, n_steps, generator=stream, fast=True).x for x in start.split(250)]
    return to_uint8(torch.cat(parts))


def _percent(hits: Tensor) -> float:
    return 100 * hits.double().mean().item()
