"""Looking at a model while it trains: callbacks that measure, draw or keep something every so many steps.

What a watch has seen is part of the checkpoint, so that a resumed or finished run still shows all its looks. A look
draws from a stream of its own: looking more often must not change the training.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from ..base.settings import whole
from ..data import to_uint8
from ..samplers import UniformStart, sample
from ..samplers.protocol import energy_only


class Watch(Callback):
    """Looks every ``every`` optimiser steps. A subclass says what a look is, and names in ``_kept`` what it keeps.

    Attributes:
        steps: the optimiser step of each look.
    """

    _kept: tuple[str, ...] = ("steps",)

    def __init__(self, every: int) -> None:
        whole(1, every=every)
        self.every = every
        self.steps: list[int] = []

    def look(self, trainer, module) -> None:
        """One look at the model; ``steps`` has its step already."""
        raise NotImplementedError

    def on_train_batch_end(self, trainer, module, *args) -> None:
        if trainer.global_step % self.every == 0:
            self.steps.append(trainer.global_step)
            self.look(trainer, module)

    def __identity__(self) -> dict:
        """The settings: what it has seen already does not make it another watch."""
        return {name: value for name, value in vars(self).items() if name not in self._kept}

    def state_dict(self) -> dict:
        return {name: getattr(self, name) for name in self._kept}

    def load_state_dict(self, state: dict) -> None:
        for name in self._kept:
            setattr(self, name, state[name])


class EBMWatch(Watch):
    """A chain from noise, and the energies of outliers.

    Args:
        every: steps between two looks.
        probes: name -> images (N, C, H, W) in [-1, 1] whose mean energy is followed.
        n_chains, n_steps, n_kept: how many chains, how long, how many states of each are kept.

    Attributes:
        strips: one (K, n_chains, C, H, W) uint8 tensor a look, the states of fresh chains.
        energies: one dictionary a look, name -> mean energy, for data and for each outlier.
    """

    _kept = ("steps", "strips", "energies")

    def __init__(
        self, every: int, probes: dict[str, Tensor], *, n_chains: int = 4, n_steps: int = 256, n_kept: int = 8
    ) -> None:
        super().__init__(every)
        whole(1, n_chains=n_chains, n_kept=n_kept)
        if n_steps < n_kept:
            raise ValueError(f"a chain of {n_steps} steps has no {n_kept} states to keep; take n_steps >= n_kept")
        self.probes, self.n_chains, self.n_steps, self.n_kept = probes, n_chains, n_steps, n_kept
        self.strips: list[Tensor] = []
        self.energies: list[dict[str, float]] = []

    def look(self, trainer, module) -> None:
        config, energy = module.config, module.energy
        # The same stream at every look: the strips show one and the same start maturing.
        stream = torch.Generator(module.device).manual_seed(config.seed)
        x0 = UniformStart(energy.event_shape).draw(self.n_chains, generator=stream)
        total = energy  # what the probes are measured with
        if module.n_classes is not None:
            total = energy.marginal
            energy = energy.given(torch.arange(self.n_chains, device=module.device) % module.n_classes)
        keep = self.n_steps // self.n_kept
        chain = sample(energy, x0, config.kernel, self.n_steps, keep_every=keep, generator=stream, fast=config.fast)
        self.strips.append(to_uint8(chain.path).cpu())
        self.energies.append({n: float(energy_only(total, x.to(module.device)).mean()) for n, x in self.probes.items()})
        from torchvision.utils import make_grid  # torchvision is slow to import

        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                film = self.strips[-1].transpose(0, 1).flatten(0, 1)
                logger.experiment.add_image("chains", make_grid(film, nrow=self.n_kept), trainer.global_step)
                buffer = to_uint8(module.buffer.images[-64:]).cpu()
                if len(buffer):
                    logger.experiment.add_image("buffer", make_grid(buffer), trainer.global_step)


class SampleWatch(Watch):
    """One number a look, of ``n`` samples: a subclass says which.

    Args:
        every: steps between two looks.
        measure: uint8 images (n, C, H, W) -> a number, such as a Fréchet distance.
        n: how many samples.

    Attributes:
        values: one entry a look.
        pictures: (25, C, H, W) uint8 of each look.
    """

    _kept = ("steps", "values", "pictures")

    def __init__(self, every: int, measure: Callable[[Tensor], float], n: int) -> None:
        super().__init__(every)
        if n < 2:
            raise ValueError(f"a look needs n >= 2 samples, got {n}")
        self.measure, self.n = measure, n
        self.values: list[float] = []
        self.pictures: list[Tensor] = []

    def samples(self, module) -> Tensor:
        """(n, C, H, W) uint8."""
        raise NotImplementedError

    def look(self, trainer, module) -> None:
        images = self.samples(module).cpu()
        if len(images) < 2:  # a buffer that is still empty
            self.steps.pop()
            return
        self.values.append(float(self.measure(images)))
        self.pictures.append(images[:25].clone())


class QualityWatch(SampleWatch):
    """``SampleWatch`` for energies.

    Args:
        n_steps: length of fresh chains from uniform noise; None measures the newest negatives of training instead,
            which cost nothing and flatter the model.
        draw: the module -> images, floats in [-1, 1] or uint8; in place of both. It must draw from a stream of its own.
    """

    def __init__(
        self,
        every: int,
        measure: Callable[[Tensor], float],
        n: int,
        *,
        n_steps: int | None = None,
        draw: Callable[..., Tensor] | None = None,
    ) -> None:
        super().__init__(every, measure, n)
        self.n_steps, self.draw = n_steps, draw

    def samples(self, module) -> Tensor:
        if self.draw is not None:
            images = self.draw(module)
            return images if images.dtype == torch.uint8 else to_uint8(images)
        if self.n_steps is None:
            return to_uint8(module.buffer.newest(self.n))
        stream = torch.Generator(module.device).manual_seed(module.config.seed)
        x0 = UniformStart(module.energy.event_shape).draw(self.n, generator=stream)
        kernel, fast = module.config.kernel, module.config.fast
        return to_uint8(sample(module.energy, x0, kernel, self.n_steps, generator=stream, fast=fast).x)


class ChainWatch(SampleWatch):
    """``SampleWatch`` for a VAEBM: fresh chains of the training's own length in ε-space, always from the same ε.

    Args:
        mean: measure the decoder's means instead of x(ε).
    """

    def __init__(self, every: int, measure: Callable[[Tensor], float], n: int, *, mean: bool = True) -> None:
        super().__init__(every, measure, n)
        self.mean = mean

    def samples(self, module) -> Tensor:
        config, joint = module.config, module.joint
        stream = torch.Generator(module.device).manual_seed(config.seed)
        eps = joint.start().draw(self.n, generator=stream)
        eps = sample(joint.in_epsilon(), eps, config.kernel, config.n_steps, generator=stream, fast=config.fast).x
        return to_uint8(joint.images(eps, mean=self.mean))


class GeneratorWatch(SampleWatch):
    """``SampleWatch`` for a generator's moving average, always from the same inputs; ``every`` counts generator steps.

    Args:
        finish: images in [-1, 1] -> uint8: ``to_uint8`` when None, or ``binarise``.
    """

    def __init__(
        self,
        every: int,
        measure: Callable[[Tensor], float],
        n: int,
        *,
        finish: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(every, measure, n)
        self.finish = finish or to_uint8

    def samples(self, module) -> Tensor:
        stream = torch.Generator(module.device).manual_seed(module.config.seed + 1)
        return self.finish(module.sampler.sample(self.n, stream))
