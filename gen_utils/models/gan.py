"""Generators and critics of adversarial training: images 28, 32 or 64 wide, and points in the plane."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .conditional_energy import Given
from .modes import evaluating
from .shapes import refuse_other

NORMS = ("batch", "instance", "none")
CRITIC_NORMS = (*NORMS, "spectral")
INITS = ("dcgan", "he")
LATENTS = ("normal", "uniform")


class _Latent(nn.Module):
    """What all generators share: where their input comes from, and samples without a gradient."""

    latent_dim: int
    latent: str
    n_classes: int = 0

    def draw(self, n: int, generator: torch.Generator | None = None, *, labels: Tensor | None = None) -> Tensor:
        """(n, latent_dim) inputs: N(0, 1) or uniform on [-1, 1], on the network's device.

        With classes (n, latent_dim + n_classes): the label follows as a one-hot vector, each equally likely where
        ``labels`` (n,) does not say.

        Raises:
            ValueError: labels for a generator that has no classes.
        """
        device = next(self.parameters()).device
        draw = torch.rand if self.latent == "uniform" else torch.randn
        z = draw(n, self.latent_dim, generator=generator, device=device)
        z = 2 * z - 1 if self.latent == "uniform" else z
        if not self.n_classes:
            if labels is not None:
                raise ValueError("this generator has no classes to ask for")
            return z
        if labels is None:
            labels = torch.randint(self.n_classes, (n,), generator=generator, device=device)
        return torch.cat((z, nn.functional.one_hot(labels.to(device), self.n_classes).to(z.dtype)), 1)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None, *, batch_size: int = 500) -> Tensor:
        """(n, *event) samples in eval mode, the network's mode left as it was found."""
        with evaluating(self):
            return torch.cat([self(z) for z in self.draw(n, generator).split(batch_size)])


class Generator(_Latent):
    """Transposed convolutions from a vector to an image: z (B, latent_dim) -> (B, C, H, W) in [-1, 1] through tanh.

    A dense layer makes a small map (7×7 for 28, 4×4 for 32 and 64); every transposed convolution doubles it and
    halves the channels. As in DCGAN, normalisation everywhere but at the output.

    Args:
        image_shape: (C, H, H); H is 28, 32, 64 or another number that halvings bring to between 4 and 7.
        width: channels before the last layer.
        norm: "batch", "instance" or "none".
        init: "dcgan", N(0, 0.02) for weights and N(1, 0.02) for batch norm's scales; "he", N(0, 2 / fan in).
        latent: "normal" or "uniform" on [-1, 1]: what ``draw`` draws.
        leak: slope of the activation below zero; 0 is ReLU, DCGAN's.
        n_classes: of a conditional generator, whose input ends in a one-hot label; 0 for one without labels.

    Raises:
        ValueError: an image that is not square or of another size; an unknown norm, init or latent.

    Source: Radford, Metz and Chintala (2016); labels as inputs: Mirza and Osindero (2014).
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        latent_dim: int = 64,
        width: int = 32,
        *,
        norm: str = "batch",
        init: str = "dcgan",
        latent: str = "normal",
        leak: float = 0.0,
        n_classes: int = 0,
    ) -> None:
        super().__init__()
        _known(norm=(norm, NORMS), init=(init, INITS), latent=(latent, LATENTS))
        channels, size = _square(image_shape)
        self.config = {
            "image_shape": list(image_shape), "latent_dim": latent_dim, "width": width,
            "norm": norm, "init": init, "latent": latent, "leak": leak, "n_classes": n_classes,
        }  # fmt: skip
        self.image_shape, self.latent_dim, self.latent = tuple(image_shape), latent_dim, latent
        self.n_classes = n_classes
        start, doublings = size, 0
        while start > 7 and start % 2 == 0:
            start, doublings = start // 2, doublings + 1
        if not 4 <= start <= 7 or not doublings:
            raise ValueError(f"{size} pixels cannot be halved to between 4 and 7; use 28, 32 or 64")
        wide = width * 2 ** (doublings - 1)
        layers: list[nn.Module] = [
            nn.Linear(latent_dim + n_classes, wide * start * start),
            nn.Unflatten(1, (wide, start, start)),
            *_normed(wide, norm),
            nn.LeakyReLU(leak),
        ]
        for _ in range(doublings - 1):
            layers += [nn.ConvTranspose2d(wide, wide // 2, 4, stride=2, padding=1), *_normed(wide // 2, norm)]
            layers += [nn.LeakyReLU(leak)]
            wide //= 2
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(wide, channels, 4, stride=2, padding=1), nn.Tanh())
        _initialise(self, init, leak)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent_dim + n_classes) -> (B, C, H, W) in [-1, 1]."""
        refuse_other(z, self.latent_dim + self.n_classes, what="inputs")
        return self.net(z)


class Critic(nn.Module):
    """Strided convolutions and one dense layer: an image (B, C, H, W) -> (B,), a logit or a score, unbounded.

    The sigmoid of a discriminator belongs to its loss, where it cannot overflow.

    Args:
        image_shape: (C, H, H).
        width: channels of the first convolution; each further one doubles them.
        layers: convolutions of stride 2; None takes as many as bring the map to 4×4 or less.
        norm: "batch", "instance" or "none", never at the first layer. A penalty on the gradient of one image's score
            wants "none" or "instance": with batch norm the score depends on the other images. "spectral" divides the
            weights of every layer by their largest singular value, found by one step of power iteration a pass in
            training mode.
        init: as for ``Generator``.
        n_classes: of a conditional critic: to the score comes the features' product with a vector for the label.

    Raises:
        ValueError: an image that is not square, more layers than it can be halved, an unknown norm or init.

    Source of the label's term: Miyato and Koyama (2018), the projection discriminator; of the spectral norm:
    Miyato et al. (2018).
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        width: int = 32,
        *,
        layers: int | None = None,
        norm: str = "none",
        init: str = "dcgan",
        n_classes: int = 0,
    ) -> None:
        super().__init__()
        _known(norm=(norm, CRITIC_NORMS), init=(init, INITS))
        channels, size = _square(image_shape)
        self.config = {
            "image_shape": list(image_shape), "width": width, "layers": layers, "norm": norm, "init": init,
            "n_classes": n_classes,
        }  # fmt: skip
        self.image_shape, self.n_classes = tuple(image_shape), n_classes
        body, size, wide = _downwards(channels, size, width, layers, norm)
        self.net = nn.Sequential(*body, nn.Flatten(), nn.Linear(wide * size * size, 1))
        self.by_class = nn.Linear(wide * size * size, n_classes, bias=False) if n_classes else None
        _initialise(self, init, 0.2)
        if norm == "spectral":
            _bound_every_layer(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, C, H, W) in [-1, 1], with classes also labels (B,) -> (B,) scores, high where it believes in it."""
        refuse_other(x, *self.image_shape)
        if self.by_class is None:
            return self.net(x).squeeze(1)
        if labels is None:
            raise ValueError("this critic judges images under a label: pass labels (B,)")
        features = self.net[:-1](x)
        return self.net[-1](features).squeeze(1) + self.by_class(features).gather(1, labels[:, None]).squeeze(1)

    def given(self, labels: Tensor) -> Given:
        """x -> the score of x under its label: what the losses of ``training.adversaries`` want."""
        return Given(self, labels)


class AutoencoderEnergy(nn.Module):
    """EBGAN's discriminator: an auto-encoder whose squared error is the energy of an image.

    Args:
        image_shape: (C, H, H), H as for ``Generator``.
        width: channels of the encoder's first convolution and the decoder's last.
        code_dim: size of the code between them; small, or the auto-encoder copies anything.
        norm: inside both halves.
        init: as for ``Generator``.

    Source: Zhao, Mathieu and LeCun (2017), "Energy-based generative adversarial networks".
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        width: int = 32,
        *,
        code_dim: int = 32,
        norm: str = "batch",
        init: str = "dcgan",
    ) -> None:
        super().__init__()
        _known(norm=(norm, NORMS), init=(init, INITS))
        channels, size = _square(image_shape)
        self.config = {
            "image_shape": list(image_shape), "width": width, "code_dim": code_dim, "norm": norm, "init": init,
        }  # fmt: skip
        self.image_shape = tuple(image_shape)
        body, size, wide = _downwards(channels, size, width, None, norm)
        self.encoder = nn.Sequential(*body, nn.Flatten(), nn.Linear(wide * size * size, code_dim))
        self.decoder = Generator(image_shape, code_dim, width, norm=norm, init=init)
        _initialise(self.encoder, init, 0.2)

    def encode(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, code_dim)."""
        refuse_other(x, *self.image_shape)
        return self.encoder(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> reconstructions (B, C, H, W) in [-1, 1]."""
        return self.decoder(self.encode(x))

    def energy(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,): mean squared error over the pixels, low where the image is known."""
        return (self(x) - x).square().flatten(1).mean(1)


class ToyGenerator(_Latent):
    """A small dense network z (B, latent_dim) -> points (B, 2)."""

    def __init__(self, latent_dim: int = 2, width: int = 64, depth: int = 2, *, latent: str = "normal") -> None:
        super().__init__()
        _known(latent=(latent, LATENTS))
        self.config = {"latent_dim": latent_dim, "width": width, "depth": depth, "latent": latent}
        self.latent_dim, self.latent = latent_dim, latent
        self.net = _dense(latent_dim, width, depth, 2)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent_dim) -> (B, 2)."""
        return self.net(z)


class ToyCritic(nn.Module):
    """A small dense network on points (B, 2) -> scores (B,)."""

    def __init__(self, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.config = {"width": width, "depth": depth}
        self.net = _dense(2, width, depth, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2) -> (B,)."""
        return self.net(x).squeeze(1)


def _known(**chosen: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, allowed) in chosen.items():
        if value not in allowed:
            raise ValueError(f"{name} is one of {', '.join(allowed)}, got {value!r}")


def _square(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    channels, height, width = image_shape
    if height != width:
        raise ValueError(f"images must be square, got {height}×{width}")
    return channels, height


def _bound_every_layer(module: nn.Module) -> None:
    for layer in list(module.modules()):
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            spectral_norm(layer)


def _normed(channels: int, norm: str) -> list[nn.Module]:
    if norm in ("none", "spectral"):
        return []
    return [nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels, affine=True)]


def _downwards(channels: int, size: int, width: int, layers: int | None, norm: str) -> tuple[list, int, int]:
    """Convolutions of stride 2 with LeakyReLU; also the side and the channels of what comes out."""
    body: list[nn.Module] = []
    wide, n = channels, 0
    while (size > 4) if layers is None else (n < layers):
        if size < 2:
            raise ValueError(f"{layers} layers of stride 2 are more than the image can be halved")
        out = width * 2**n
        # The first layer is left without a norm, as in DCGAN: it would hide the image's own brightness.
        body += [nn.Conv2d(wide, out, 4, stride=2, padding=1), *(_normed(out, norm) if n else []), nn.LeakyReLU(0.2)]
        wide, size, n = out, size // 2, n + 1
    return body, size, wide


def _dense(n_in: int, width: int, depth: int, n_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(n_in, width), nn.LeakyReLU(0.2)]
        n_in = width
    return nn.Sequential(*layers, nn.Linear(n_in, n_out))


def _initialise(module: nn.Module, init: str, leak: float) -> None:
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            if init == "dcgan":
                nn.init.normal_(layer.weight, 0.0, 0.02)
            elif isinstance(layer, nn.ConvTranspose2d):
                # An output pixel of a 4×4 kernel with stride 2 sees a quarter of the kernel: its fan in.
                taps = layer.weight[0, 0].numel() / (layer.stride[0] * layer.stride[1])
                nn.init.normal_(layer.weight, 0.0, (2 / ((1 + leak**2) * layer.in_channels * taps)) ** 0.5)
            else:
                nn.init.kaiming_normal_(layer.weight, leak)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, (nn.BatchNorm2d, nn.InstanceNorm2d)):
            if init == "dcgan":
                nn.init.normal_(layer.weight, 1.0, 0.02)
            else:
                nn.init.ones_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
