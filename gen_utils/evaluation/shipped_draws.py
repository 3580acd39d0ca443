"""How each shipped model draws its pictures: the samplers behind the cards, the gallery and the measures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from .. import checkpoints
from ..data import load_images, to_float, to_uint8
from ..models import JointEnergy
from ..samplers import GaussianStart, Langevin, ProximalLangevin, UniformStart, sample

BOX = (-1.0, 1.0)
DESCENT = Langevin(step_size=10.0, noise=0.005, grad_clip=0.03, bounds=BOX)
PROXIMAL = ProximalLangevin(1.0, max_step=0.1, noise=0.01, bounds=BOX)


def labels_asked(n: int) -> Tensor:
    """(n,) the classes that conditional models are asked for: 0, 1, …, 9, 0, 1, …"""
    return torch.arange(n) % 10


def draw(model: nn.Module, n: int, *, data_root: str | None = None, seed: int = 1) -> Tensor:
    """n pictures of a shipped model, uint8 (n, C, H, W): nothing is selected, nothing repeated.

    Args:
        model: as ``checkpoints.load`` gives it.
        data_root: where real data are; only JEM (its class Gaussians) and the VQ-VAEs (which draw nothing by
            themselves: held-out images, and under each row of ten its reconstructions) need them.

    Raises:
        ValueError: a model that draws no pictures.
        DataError: the data that the model's draws begin with are missing.
    """
    name = model.card["name"]
    if name not in DRAWS:
        raise ValueError(f"{name} draws no pictures; those that do: {', '.join(DRAWS)}")
    return to_uint8(DRAWS[name](model, n, torch.Generator().manual_seed(seed), data_root))


def _chains(steps: int) -> Callable:
    def run(model: nn.Module, n: int, stream: torch.Generator, _root) -> Tensor:
        start = UniformStart(model.event_shape).draw(n, generator=stream)
        return sample(model, start, DESCENT, steps, generator=stream, fast=True).x

    return run


def _on_request(model: nn.Module, n: int, stream: torch.Generator, _root) -> Tensor:
    start = UniformStart(model.event_shape).draw(n, generator=stream)
    return sample(model.given(labels_asked(n)), start, DESCENT, 256, generator=stream, fast=True).x


def _joint(model: nn.Module, n: int, stream: torch.Generator, root) -> Tensor:
    train = load_images("mnist", root=root, stand_in=False).split(0.95, 0.05, seed=model.card["seed"])[0]
    start = GaussianStart.fit(train.images, train.labels).draw(n, labels=labels_asked(n), generator=stream)
    energy = JointEnergy(model, train.shape).given(labels_asked(n))
    return sample(energy, start, PROXIMAL, 40, generator=stream, fast=True).x


@torch.no_grad()
def _decoded(model: nn.Module, n: int, stream: torch.Generator, _root) -> Tensor:
    decoder = checkpoints.load(model.card["decoder"])
    return torch.cat([decoder.decode_tokens(part) for part in model.sample(n, generator=stream).split(500)])


@torch.no_grad()
def _rebuilt(dataset: str) -> Callable:
    def run(model: nn.Module, n: int, stream: torch.Generator, root) -> Tensor:
        held_out = load_images(dataset, "test", root=root, stand_in=False)
        order = torch.randperm(len(held_out), generator=stream)[: -(-n // 2)]
        x = to_float(held_out.images[order])
        rows = zip(x.split(10), model.reconstruct(x).split(10), strict=True)
        return torch.cat([part for row in rows for part in row])[:n]

    return run


def _generated(model: nn.Module, n: int, stream: torch.Generator, _root) -> Tensor:
    return model.sample(n, generator=stream)


def _binary(model: nn.Module, n: int, stream: torch.Generator, _root) -> Tensor:
    return torch.where(model.sample(n, generator=stream) >= 0, 1.0, -1.0)  # Part F's threshold


def refined(model: nn.Module, n: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
    """n draws of a VAEBM's VAE, and the same after its chains, both as decoder means in [-1, 1]."""
    from ..training.vaebm import half_step_langevin

    settings = model.card["settings"]
    eps = model.start().draw(n, generator=stream)
    kernel = half_step_langevin(settings["eta"])
    ends = [
        sample(model.in_epsilon(), part, kernel, settings["test_steps"], generator=stream, fast=True).x
        for part in eps.split(500)
    ]
    return model.images(eps, mean=True), model.images(torch.cat(ends), mean=True)


DRAWS: dict[str, Callable] = {
    "ebm_mnist": _chains(256),
    "ebm_bitmoji": _chains(400),
    "ebm_digits_conditional": _on_request,
    "ebm_cifar": _chains(400),
    "jem_mnist": _joint,
    "vqvae_mnist": _rebuilt("mnist"),
    "vqvae_fashion_mnist": _rebuilt("fashion_mnist"),
    "token_prior_mnist": _decoded,
    "token_prior_fashion_mnist": _decoded,
    "gan_persian_digits": _binary,
    "dcgan_bitmoji": _generated,
    "vae_celeba": _generated,
    "vaebm_mnist": lambda model, n, stream, _root: refined(model, n, stream)[1],
    "vaebm_faces": lambda model, n, stream, _root: refined(model, n, stream)[1],
}


def save_picture(name: str, data_root: str | None = None) -> Path | None:
    """``checkpoints/NAME.png``, four rows of ten draws: for the card, the book and the README. None for a judge.

    Raises:
        CannotWrite: the disk is full or read-only; the old picture is still there.
    """
    from ..plotting import mosaic  # brings matplotlib: only for this

    if name not in DRAWS:
        return None
    picture = Image.fromarray(mosaic(draw(checkpoints.load(name), 40, data_root=data_root), 10, gap=1))
    scale = 1 if picture.width > 500 else 2
    data = io.BytesIO()
    picture.resize((scale * picture.width, scale * picture.height), Image.NEAREST).save(data, "PNG", optimize=True)
    path = checkpoints.FOLDER / f"{name}.png"
    checkpoints.write_atomically(path, data.getvalue())
    return path
