"""Shipped networks as a page can read them: a script that holds the layers in order, and their numbers as one text.

book/_static/benches/network.js builds them again. Its maps are channels-last, so weights are turned round here.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ... import checkpoints
from ...samplers.written import read_kernel

Shape = tuple[int, ...]  # (C, H, W) of a map, (N,) of a vector

PACKED_FROM = 2_900_000  # letters: a larger text is deflated; a bench's data are at most 3 MB

# What of a model a bench uses, by the name that its script then has; other models are used whole.
PIECES: dict[str, Callable[[Any], nn.Module]] = {
    "digit_classifier": lambda model: nn.Sequential(model.body, model.head),
    "vaebm_mnist.energy": lambda model: model.energy.net,
    "vaebm_mnist.encoder": lambda model: model.vae.encoder,
    "vaebm_mnist.decoder": lambda model: nn.Sequential(model.vae.decoder, nn.Tanh()),
    "vae_celeba.decoder": lambda model: nn.Sequential(model.decoder, nn.Tanh()),
    "vqvae_mnist.encoder": lambda model: model.encoder,
    "vqvae_mnist.decoder": lambda model: model.decoder,
}


def script(name: str) -> str:
    """The script of one network: ``ebm_mnist``, or ``vaebm_mnist.decoder`` for a piece of a model.

    Raises:
        ValueError: it has a layer that the benches do not know.
    """
    model = checkpoints.load(name.split(".")[0])
    written = json.dumps(described(piece(model, name), event_shape(model, name)) | _facts(model), separators=(",", ":"))
    return f'BENCHES.networks["{name}"] = {written};\n'


def piece(model: Any, name: str) -> nn.Module:
    """The layers of a model that go by a name."""
    return PIECES.get(name, lambda model: model.net)(model)


def event_shape(model: Any, name: str) -> Shape:
    """What a network takes: (C, H, W), or (N,)."""
    if name.endswith("decoder"):
        quantizer = getattr(model, "quantizer", None)
        return (getattr(model, "vae", model).latent,) if quantizer is None else (quantizer.codebook.shape[1], 7, 7)
    if hasattr(model, "latent_dim"):
        return (model.latent_dim + model.n_classes,)
    return getattr(model, "image_shape", None) or getattr(model, "event_shape", None) or (1, 28, 28)


def _facts(model: Any) -> dict:
    """What else a bench wants to know: the sampler of the card, a codebook, the decoder's σ."""
    facts: dict[str, Any] = {}
    if sampler := model.card.get("sampler"):
        kernel = read_kernel(sampler["kernel"])
        facts["sampler"] = {"written": sampler["kernel"], "steps": sampler["steps"], **vars(kernel)}
    if quantizer := getattr(model, "quantizer", None):
        facts["codebook"] = _text(quantizer.codebook.flatten(), half=False)
    if pixels := getattr(getattr(model, "vae", model), "pixels", None):
        facts["sigma"] = float(pixels.sigma)
    return facts


def described(net: nn.Module, shape: Shape) -> dict:
    """{"shape", "layers", "weights"} of a network that takes one input of this shape.

    Numbers that float16 holds exactly, as those of most checkpoints, are written so; others in float32.
    """
    tensors: list[Tensor] = []
    layers, _ = _layers(net, tuple(shape), tensors)
    numbers = torch.cat([tensor.detach().float().flatten() for tensor in tensors]) if tensors else torch.empty(0)
    half = bool((numbers.half().float() == numbers).all())
    return {"shape": list(shape), "layers": layers, "weights": _text(numbers, half=half)}


def _text(numbers: Tensor, *, half: bool) -> dict:
    kind = "float16" if half else "float32"
    data = numbers.detach().cpu().numpy().astype(np.dtype(kind).newbyteorder("<")).tobytes()
    text = {"type": kind, "count": numbers.numel(), "checksum": zlib.adler32(data)}
    if len(data) * 4 / 3 > PACKED_FROM:  # each number's first bytes, then their second ones: signs and exponents repeat
        planes = np.frombuffer(data, np.uint8).reshape(numbers.numel(), -1).T
        return text | {"packed": True, "data": base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()}
    return text | {"data": base64.b64encode(data).decode()}


def _layers(module: nn.Module, shape: Shape, tensors: list[Tensor]) -> tuple[list[dict], Shape]:
    """The layers of a module for an input of a shape, and the shape of its output; appends its numbers in order."""
    size = math.prod(shape)
    match module:
        case nn.Sequential():
            every = []
            for child in module:
                layers, shape = _layers(child, shape, tensors)
                every += layers
            return every, shape
        case nn.Conv2d() | nn.ConvTranspose2d():
            return _convolution(module, shape, tensors)
        case nn.Linear():
            weight = module.weight
            if len(shape) == 3:  # after Flatten: PyTorch's order is channels-first
                channels, height, width = shape
                weight = weight.reshape(-1, channels, height, width).movedim(1, -1)
            tensors += [weight, module.bias]
            layer = {"op": "linear", "from": module.in_features, "to": module.out_features, "bias": True}
            return [layer], (module.out_features,)
        case nn.BatchNorm2d() | nn.BatchNorm1d():
            assert module.running_mean is not None and module.running_var is not None  # trained: it has statistics
            tensors += [module.weight, module.bias] if module.affine else []
            tensors += [module.running_mean, module.running_var]
            layer = {"op": "norm", "n": size, "channels": module.num_features, "affine": module.affine}
            return [layer | {"eps": module.eps}], shape
        case nn.AdaptiveAvgPool2d():
            channels, side = shape[0], shape[1]
            layer = {"op": "pool", "channels": channels, "side": side, "out": module.output_size}
            return [layer], (channels, module.output_size, module.output_size)
        case nn.Flatten():
            return [], shape  # what follows is a Linear, which turns its weights round
        case nn.Unflatten():
            return [], _turned_before(module, tensors)
        case nn.LeakyReLU():
            return [{"op": "leaky", "n": size, "slope": module.negative_slope}], shape
        case nn.ReLU() | nn.SiLU() | nn.Tanh() | nn.Sigmoid():
            return [{"op": type(module).__name__.lower(), "n": size}], shape
    if type(module).__name__ == "_Residual" and isinstance(module.body, nn.Sequential):
        body, after = _layers(module.body, shape, tensors)
        assert after == shape
        return [{"op": "residual", "n": size, "body": body}], shape
    raise ValueError(f"benches have no layer for {module}")


def _turned_before(unflatten: nn.Unflatten, tensors: list[Tensor]) -> Shape:
    """Turn the rows of the dense layer before it round, so that its output is channels-last."""
    channels, height, width = (int(n) for n in unflatten.unflattened_size)
    for i in (-2, -1):  # its weight, its bias
        rows = tensors[i].reshape(channels, height, width, -1).permute(1, 2, 0, 3)
        tensors[i] = rows.reshape(tensors[i].shape)
    return channels, height, width


def _convolution(layer: nn.Conv2d | nn.ConvTranspose2d, shape: Shape, tensors: list[Tensor]) -> tuple[list, Shape]:
    up = isinstance(layer, nn.ConvTranspose2d)
    side, kernel, stride, padding = shape[1], layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    out = (side - 1) * stride - 2 * padding + kernel if up else (side + 2 * padding - kernel) // stride + 1
    before = {"channels": layer.in_channels, "side": side}
    after = {"channels": layer.out_channels, "side": out}
    # (small's channels, large's channels, kernel, kernel) in both cases; the large map's channels come last here.
    tensors.append(layer.weight.movedim(1, -1))
    if layer.bias is not None:
        tensors.append(layer.bias)
    described = {
        "op": "convolution",
        "large": after if up else before,
        "small": before if up else after,
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "up": up,
        "bias": layer.bias is not None,
    }
    return [described], (layer.out_channels, out, out)
