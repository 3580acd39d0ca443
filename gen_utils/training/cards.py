"""What a card says of a run, taken from the objects that ran: data, time, settings, sampler."""

from __future__ import annotations

import dataclasses

from torch import nn

from ..base.plain import not_finite, plain
from ..samplers import Kernel
from .run import FitConfig, Run

_OF_THE_RUN = ("batch_size", "flip", "crop", "precision")


def settings_of(module: nn.Module, config: FitConfig) -> dict:
    """The recipe as plain values: the module's ``config``, or its own plain attributes, and what ``fit`` was told."""
    recipe = getattr(module, "config", None)
    if dataclasses.is_dataclass(recipe):
        told = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    else:
        told = {name: value for name, value in vars(module).items() if not name.startswith("_") and _plain(value)}
        told = {name: value for name, value in told.items() if name not in _LIGHTNINGS}
    told |= {name: getattr(config, name) for name in _OF_THE_RUN}
    return {name: _written(value) for name, value in told.items()}


def card_facts(run: Run, *, kernel: Kernel | None = None, steps: int | None = None, start: str | None = None) -> dict:
    """Data, images, seed, seconds, steps and settings of a run; with a kernel also how the model is to be drawn.

    Args:
        kernel, steps, start: the sampler that drew the card's figures: its kernel, its length, and where its chains
            begin, in words. ``shipped`` draws by what is written here.
    """
    told = {
        "data": run.data,
        "images": run.images,
        "seconds": round(run.seconds),
        "steps": run.steps,
        "settings": run.settings,
    }
    if kernel is not None:
        told["sampler"] = {"kernel": repr(kernel), "steps": steps, "start": start}
    return told


def _plain(value: object) -> bool:
    value = plain(value)
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _written(value: object) -> object:
    """JSON has no word for a bound that is infinite: it is spelt, like all that is not plain."""
    return plain(value) if _plain(value) and not list(not_finite(plain(value))) else repr(value)


_LIGHTNINGS = ("training", "prepare_data_per_node", "allow_zero_length_dataloader_with_multiple_devices")
