"""Training the second stage of a VAEBM: the energy alone, the VAE frozen, negatives from short chains in ε-space."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.precision import without_autocast
from ..base.settings import not_negative, positive
from ..data import ImageSet, to_float
from ..losses import contrastive_divergence
from ..models.vaebm import VAEBM
from ..samplers import HMC, MALA, Langevin, ReplayBuffer, sample
from .demands import demand_shape
from .ebm import EBMConfig, EBMTraining
from .guards import refuse_runaway
from .rescue import Recovery, fit_with_rescue
from .run import FitConfig, Run


def half_step_langevin(step_size: float, grad_clip: float | None = None) -> Langevin:
    """ε ← ε - (η/2) ∇U(ε) + √η ξ: the form of the VAEBM paper, which is temperature 1.

    Source: Xiao et al. (2021), VAEBM, the Langevin update of their background section.
    """
    return Langevin(step_size / 2, noise=math.sqrt(step_size), grad_clip=grad_clip)


@dataclass(frozen=True)
class VAEBMConfig(EBMConfig):
    """The recipe; what is not named here is ``EBMConfig``'s, with other defaults.

    Attributes:
        kernel, n_steps: the chain in ε-space that makes the negatives.
        restart: chance that a negative starts from a fresh draw of the VAE; 1.0, the default, keeps no chains.
        data_noise: standard deviation of Gaussian noise on the data. Chains leave noise of about s(z) on their x; data
            without any are told from it by noise alone, and an energy that only learns to see noise costs the whole
            budget. Here data are not clamped afterwards, as x(ε) is not either.
        spectral: weight of the sum of the layers' largest singular values, which keeps the energy from growing steep.
        max_contrast: nats. Mean energies of data and of samples further apart than this are a divergence.
    """

    kernel: Langevin | MALA | HMC = field(default_factory=lambda: half_step_langevin(1e-2))
    n_steps: int = 10
    restart: float = 1.0
    alpha: float = 0.0
    data_noise: float = 0.0
    lr: float = 1e-3
    betas: tuple[float, float] = (0.0, 0.999)
    decay: str = "cosine"
    grad_norm: float | None = 1.0
    spectral: float = 0.0
    max_contrast: float = 1000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(spectral=self.spectral)
        positive(max_contrast=self.max_contrast)
        if self.decay not in ("cosine", "constant"):
            raise ValueError(f'decay is "cosine" or "constant", got {self.decay!r}')


class SpectralPenalty(nn.Module):
    """The sum of the largest singular values of a network's convolutions and dense layers, a kernel as one matrix.

    One power iteration a call, from where the last call ended: the weights move little between two steps, so that the
    estimate follows them. Its vectors are buffers, so a resumed run goes on with the same ones.

    Source: the spectral regularisation of Xiao et al. (2021), VAEBM; power iteration as in Miyato et al. (2018).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
        self._layers = (layers,)  # in a tuple: the network's parameters are not this module's
        for i, layer in enumerate(layers):
            stream = torch.Generator().manual_seed(i)
            self.register_buffer(f"u{i}", F.normalize(torch.randn(len(layer.weight), generator=stream), dim=0))

    def forward(self) -> Tensor:
        """A scalar."""
        total = 0.0
        for i, layer in enumerate(self._layers[0]):
            matrix, u = layer.weight.flatten(1), getattr(self, f"u{i}")
            with without_autocast(u):
                with torch.no_grad():
                    v = F.normalize(matrix.T @ u, dim=0)
                    u.copy_(F.normalize(matrix @ v, dim=0))
                # u is copied: the next call changes it, and backward still needs this one.
                total = total + u.clone() @ matrix @ v
        return total


class VAEBMTraining(EBMTraining):
    """Contrastive divergence for the energy of a VAEBM. The VAE has no gradient, and stays in eval mode.

    Logs ``loss``, ``contrast`` (mean energy of data minus that of negatives, nats), ``energy_real``, ``energy_fake``,
    ``spectral`` where it is penalised, and ``lr``.

    Args:
        joint: its energy is changed, its VAE is not.
        lr_factor: the learning rate is multiplied by it; ``train_vaebm`` lowers it after a divergence.
    """

    config: VAEBMConfig

    def __init__(self, joint: VAEBM, config: VAEBMConfig, *, lr_factor: float = 1.0) -> None:
        super().__init__(joint.energy, config, lr_factor=lr_factor)
        if self.n_classes is not None:
            raise ValueError("the energy of a VAEBM takes images alone, not images with labels")
        joint.vae.requires_grad_(False)
        self.joint = joint
        self.buffer = ReplayBuffer(joint.event_shape, config.capacity, config.restart, joint.start())
        self.spectral = SpectralPenalty(joint.energy)

    def check_data(self, images: ImageSet) -> None:
        demand_shape(images, self.joint.image_shape)

    def negatives(self, n: int, labels: Tensor | None = None) -> Tensor:
        """(n, C, H, W): x(ε) of finished chains. Their ε enter the buffer, if one is used."""
        config = self.config
        space = self.joint.in_epsilon()
        eps = self.buffer.draw(n, generator=self.noise).to(self.device)
        chain = sample(space, eps, config.kernel, config.n_steps, generator=self.noise, fast=config.fast)
        if config.restart < 1:
            self.buffer.push(chain.x)
        if self._trainer is not None and chain.accept_rate < 1:
            self.log("accept_rate", chain.accept_rate)
        with torch.no_grad():
            return space.decode(chain.x)[0]

    def noisy(self, real: Tensor) -> Tensor:
        """Data with a little noise, not clamped afterwards: x(ε) is not either."""
        if not self.config.data_noise:
            return real
        jitter = torch.randn(real.shape, generator=self.noise, device=real.device)
        return real.add_(jitter, alpha=self.config.data_noise)

    def training_step(self, batch: tuple[Tensor, ...], _) -> Tensor:
        config = self.config
        real = self.noisy(to_float(batch[0]))
        energy_real, energy_fake = self.score(self.energy, real, self.negatives(len(real)))
        loss = contrastive_divergence(energy_real, energy_fake, config.alpha)
        if config.spectral:
            steepness = self.spectral()
            loss = loss + config.spectral * steepness
            self.log("spectral", steepness.detach())
        self.log("loss", loss.detach())
        refuse_runaway(self.log_contrast(energy_real, energy_fake), config.max_contrast, self.global_step)
        return loss


def train_vaebm(
    vae: nn.Module,
    energy: nn.Module,
    train: ImageSet,
    *,
    recipe: VAEBMConfig,
    config: FitConfig,
    callbacks: Sequence[Callback] = (),
    max_recoveries: int = 3,
    shrink: float = 0.5,
) -> tuple[Run, list[Recovery]]:
    """Train a copy of the energy on top of a frozen copy of the VAE; a diverging run is rescued.

    Training "will eventually explode", its authors warn. After a divergence the last good checkpoint is restored and
    the learning rate multiplied by ``shrink`` (see ``fit_with_rescue``).

    Args:
        vae: trained, with a Gaussian decoder; left as it is. energy: untrained; left as it is.
        callbacks: as for ``fit``.
        max_recoveries: so many divergences are forgiven.

    Returns:
        The run, whose ``module.joint`` is the trained VAEBM, and its recoveries.

    Raises:
        TrainingDiverged: it diverged once more than forgiven.
    """

    def make(factor: float) -> VAEBMTraining:
        return VAEBMTraining(VAEBM(copy.deepcopy(vae), copy.deepcopy(energy)), recipe, lr_factor=factor)

    return fit_with_rescue(
        make, train, config=config, seed=recipe.seed, callbacks=callbacks, max_recoveries=max_recoveries, shrink=shrink
    )
