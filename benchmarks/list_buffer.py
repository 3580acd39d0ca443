"""The sampler many courses teach, for the benchmarks: a Python list of images, backward() through the network."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

STEP, NOISE, CLIP, BOX = 10.0, 0.005, 0.03, (-1.0, 1.0)  # section B3
CAPACITY, RESTART = 8192, 0.05


class ListBuffer:
    """Old samples in a list, and chains from them.

    Args:
        held: (N, C, H, W) to begin with.
        freeze: switch the parameters' gradients off during the chain. Left on, every backward pass computes them as
            well, and throws them away.
    """

    def __init__(self, held: Tensor, *, freeze: bool = True) -> None:
        self.held, self.freeze = list(held.clone().split(1)), freeze

    def negatives(self, energy: nn.Module, n: int, n_steps: int) -> Tensor:
        """(n, C, H, W): the ends of n chains, which enter the list."""
        old = self.held[0]
        n_new = sum(random.random() < RESTART for _ in range(n))
        fresh = torch.rand((n_new, *old.shape[1:]), device=old.device) * 2 - 1
        images = torch.cat([fresh, *random.choices(self.held, k=n - n_new)]).detach().requires_grad_()
        required = [parameter.requires_grad for parameter in energy.parameters()]
        for parameter in energy.parameters():
            parameter.requires_grad_(not self.freeze)
        noise = torch.empty_like(images)
        for _ in range(n_steps):
            noise.normal_(0, NOISE)
            images.data.add_(noise).clamp_(*BOX)
            energy(images).sum().backward()
            images.grad.clamp_(-CLIP, CLIP)
            images.data.add_(images.grad, alpha=-STEP).clamp_(*BOX)
            images.grad.zero_()
        for parameter, before in zip(energy.parameters(), required, strict=True):
            parameter.requires_grad_(before)
            parameter.grad = None
        self.held = (list(images.detach().split(1)) + self.held)[:CAPACITY]
        return images.detach()
