"""Training the judge of faces without labels: recognise an image that was moved, and say how badly one was damaged."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import to_float
from ..data.moves import mirrored_and_shifted
from ..evaluation import corruptions
from ..models import FaceFeatures
from ..training.rates import StepRate, one_cycle

LEARNT = ("blur", "noise", "averages of two", "patchwork of two")  # the other corruptions are kept for the test


class FaceFeatureTraining(StepRate):
    """Two tasks on one feature vector, each with a head of its own that is thrown away after training.

    1. *Which one is it?* Two copies of an image, each mirrored or not and shifted, must be more alike than any two
       images of the batch: the normalised temperature-scaled cross-entropy of SimCLR (Chen et al., 2020). There is no
       change of colour and no blur among the moves, because features that are blind to these could not judge them.
    2. *What is wrong with it?* A third copy is damaged in one of four ways; one output a way says how badly.

    Logs ``loss``, ``contrastive``, ``grading`` (nats) and ``recognised``, the share of images whose copy is nearest.

    Args:
        temperature: of the contrastive task.
        weight: of the grading task; the other has 1.
        max_shift: pixels.
    """

    def __init__(
        self,
        network: FaceFeatures,
        *,
        lr: float = 3e-3,
        weight_decay: float = 1e-2,
        temperature: float = 0.2,
        weight: float = 2.0,
        max_shift: int = 6,
    ) -> None:
        super().__init__()
        self.network, self.lr, self.weight_decay = network, lr, weight_decay
        self.temperature, self.weight, self.max_shift = temperature, weight, max_shift
        d = network.num_features
        self.projection = nn.Sequential(nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, d))
        self.grades = nn.Sequential(nn.Linear(d, 2 * d), nn.SiLU(), nn.Linear(2 * d, len(LEARNT)))

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def training_step(self, batch: tuple[Tensor, ...], _) -> Tensor:
        images = batch[0]
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            damaged, grades = damage(to_float(self._moved(images)))
            views = torch.cat((to_float(self._moved(images)), to_float(self._moved(images)), damaged))
        first, second, third = self.network(views).chunk(3)
        contrastive, recognised = nt_xent(self.projection(first), self.projection(second), self.temperature)
        # The whole copies are graded too: nothing is wrong with them.
        outputs = self.grades(torch.cat((first, third)))
        grading = F.binary_cross_entropy_with_logits(outputs.float(), torch.cat((torch.zeros_like(grades), grades)))
        loss = contrastive + self.weight * grading
        self.log_dict({"loss": loss, "contrastive": contrastive, "grading": grading, "recognised": recognised})
        return loss

    def _moved(self, images: Tensor) -> Tensor:
        return mirrored_and_shifted(images, self.max_shift)

    def learning_rate(self, step: int) -> float:
        return self.lr * one_cycle(step, self.trainer.max_steps)[0]

    def momentum(self, step: int) -> float:
        return one_cycle(step, self.trainer.max_steps)[1]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Contrastive loss of two copies (B, d) of B images, and the share of copies that find each other.

    Each of the 2 B vectors is compared by its cosine with the other 2 B - 1; the right answer is its own copy.

    Source: Chen et al. (2020), SimCLR, equation 1.
    """
    b = len(first)
    z = F.normalize(torch.cat((first, second)).float(), dim=1)
    alike = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    target = torch.arange(2 * b, device=z.device).roll(b)
    return F.cross_entropy(alike, target), (alike.argmax(1) == target).float().mean()


def damage(x: Tensor) -> tuple[Tensor, Tensor]:
    """Every image damaged in one of the ``LEARNT`` ways: the images, and their grades (B, 4) in [0, 1]."""
    way = torch.randint(len(LEARNT), (len(x),), device=x.device)
    strength = torch.rand(len(x), device=x.device).square()  # slight damage is commoner: it is the harder to see
    out, grades = x.clone(), x.new_zeros(len(x), len(LEARNT))
    for k, name in enumerate(LEARNT):
        here = (way == k).nonzero().squeeze(1)
        if len(here) > 1:  # two are needed for an average
            out[here] = corruptions.CORRUPTIONS[name](x[here], strength[here])
            grades[here, k] = strength[here].sqrt()
    return out, grades
