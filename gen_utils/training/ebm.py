"""Training an energy-based model by contrastive divergence with short Langevin chains."""

from __future__ import annotations

from dataclasses import dataclass, field

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import to_float, to_uint8
from ..losses import contrastive_divergence
from ..models.conditional_energy import classify
from ..samplers import ClassBuffer, Langevin, ReplayBuffer, UniformStart, sample
from ..samplers.kernels import energy_only
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
        decay: "cosine" to zero over ``max_steps``, or a factor an epoch.
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
    decay: str | float = 0.97
    grad_norm: float | None = 0.1
    fast: bool = True
    seed: int = 0


class EBMTraining(L.LightningModule):
    """Contrastive divergence for any energy module with an ``event_shape``.

    An energy with ``n_classes`` is conditional, E(x, y): its chains run under the labels of the data beside
    them, and the buffer keeps the classes apart.

    Logs ``loss``, ``contrast`` (mean energy of data minus that of negatives), ``energy_real`` and
    ``energy_fake``, for kernels with a test ``accept_rate``; in validation ``val_contrast``, against uniform
    noise, and for conditional energies ``val_accuracy`` of arg min_y E(x, y).
    """

    def __init__(self, energy: nn.Module, config: EBMConfig) -> None:
        super().__init__()
        self.energy, self.config = energy, config
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

    def training_step(self, batch: tuple[Tensor, ...], _) -> Tensor:
        config, labels = self.config, self._labels(batch)
        real = to_float(batch[0])
        if config.data_noise:
            jitter = torch.randn(real.shape, generator=self.noise, device=real.device)
            real = real.add_(jitter, alpha=config.data_noise).clamp_(-1, 1)
        fake = self.negatives(len(real), labels)
        energies = self.energy if labels is None else self.energy.class_energies
        if config.joint_pass:
            real_out, fake_out = energies(torch.cat((real, fake))).chunk(2)
        else:
            real_out, fake_out = energies(real), energies(fake)
        if labels is None:
            energy_real, energy_fake = real_out, fake_out
        else:
            energy_real, energy_fake = (e.gather(1, labels[:, None]).squeeze(1) for e in (real_out, fake_out))
        loss = contrastive_divergence(energy_real, energy_fake, config.alpha)
        if config.classify:
            wrong = F.cross_entropy(-real_out, labels)
            loss = loss + config.classify * wrong
            self.log("cross_entropy", wrong.detach())
        real_mean, fake_mean = energy_real.detach().mean(), energy_fake.detach().mean()
        self.log_dict(
            {"loss": loss, "contrast": real_mean - fake_mean, "energy_real": real_mean, "energy_fake": fake_mean}
        )
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], _) -> None:
        real, labels = to_float(batch[0]), self._labels(batch)
        # Its own stream: validating more often must not change what training does.
        stream = torch.Generator(real.device).manual_seed(self.config.seed)
        noise = UniformStart(self.energy.event_shape).draw(len(real), generator=stream)
        energy = self.energy if labels is None else self.energy.given(labels)
        energy_real, energy_noise = energy_only(energy, real), energy_only(energy, noise)
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

    def configure_optimizers(self) -> dict:
        config = self.config
        optimizer = torch.optim.Adam(self.energy.parameters(), lr=config.lr, betas=config.betas)
        if config.decay == "cosine":
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.trainer.max_steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, config.decay)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}

    def configure_gradient_clipping(self, optimizer, *args, **kwargs) -> None:
        if self.config.grad_norm is not None:
            nn.utils.clip_grad_norm_(self.energy.parameters(), self.config.grad_norm)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["buffer"] = self.buffer.state_dict()
        checkpoint["noise"] = self.noise.get_state()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.buffer.load_state_dict(checkpoint["buffer"])
        self.noise.set_state(checkpoint["noise"].cpu())


class EBMWatch(Callback):
    """Looks at the model every so many steps: a chain from noise, and the energies of outliers.

    Attributes:
        strips: one (K, n_chains, C, H, W) uint8 tensor a look, the states of fresh chains.
        energies: one dictionary a look, name -> mean energy, for data and for each outlier.
        steps: the optimiser step of each look.

    The looks are part of the checkpoint, so a resumed or finished run still shows them all (and keeps
    to the chain length it began with).
    """

    _kept = ("steps", "strips", "energies", "n_steps", "n_kept")

    def __init__(
        self, every: int, probes: dict[str, Tensor], *, n_chains: int = 4, n_steps: int = 256, n_kept: int = 8
    ) -> None:
        self.every, self.probes = every, probes
        self.n_chains, self.n_steps, self.n_kept = n_chains, n_steps, n_kept
        self.steps: list[int] = []
        self.strips: list[Tensor] = []
        self.energies: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, module, *args) -> None:
        if trainer.global_step % self.every == 0:
            self.look(trainer, module)

    def look(self, trainer, module) -> None:
        config, energy = module.config, module.energy
        # A stream of its own, the same at every look: the strips show one and the same start maturing.
        stream = torch.Generator(module.device).manual_seed(config.seed)
        x0 = UniformStart(energy.event_shape).draw(self.n_chains, generator=stream)
        total = energy  # what the probes are measured with
        if module.n_classes is not None:
            total = energy.marginal
            energy = energy.given(torch.arange(self.n_chains, device=module.device) % module.n_classes)
        keep = self.n_steps // self.n_kept
        chain = sample(energy, x0, config.kernel, self.n_steps, keep_every=keep, generator=stream, fast=config.fast)
        self.steps.append(trainer.global_step)
        self.strips.append(to_uint8(chain.path).cpu())
        self.energies.append({n: float(energy_only(total, x.to(module.device)).mean()) for n, x in self.probes.items()})
        from torchvision.utils import make_grid  # torchvision is slow to import

        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                film = self.strips[-1].transpose(0, 1).flatten(0, 1)
                picture = make_grid(film, nrow=self.n_kept)
                logger.experiment.add_image("chains", picture, trainer.global_step)
                buffer = to_uint8(module.buffer.images[-64:]).cpu()
                if len(buffer):
                    logger.experiment.add_image("buffer", make_grid(buffer), trainer.global_step)

    def state_dict(self) -> dict:
        return {name: getattr(self, name) for name in self._kept}

    def load_state_dict(self, state: dict) -> None:
        for name in self._kept:
            setattr(self, name, state[name])
