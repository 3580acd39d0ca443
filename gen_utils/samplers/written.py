"""Kernels as text and back: a card says with which sampler a model is drawn, and the text is what is run."""

from __future__ import annotations

import ast
from typing import Any

from .denoising import Ancestral, AnnealedLangevin, NoiseLevels, ProbabilityFlow
from .hmc import HMC
from .langevin import Langevin, ProximalLangevin
from .mala import MALA
from .protocol import Kernel
from .schedules import constant, geometric, power_decay

_KERNELS = (Langevin, ProximalLangevin, MALA, HMC, ProbabilityFlow, Ancestral, AnnealedLangevin)
_SETTINGS = (constant, geometric, power_decay, NoiseLevels)
_KNOWN: dict[str, Any] = {kind.__name__: kind for kind in (*_KERNELS, *_SETTINGS)}


def read_kernel(text: str) -> Kernel:
    """The kernel that ``repr`` wrote, such as "Langevin(step_size=10.0, noise=0.005)". Nothing else is evaluated.

    Raises:
        ValueError: a text that is not a kernel of this package with plain settings.
    """
    try:
        kernel = _built(ast.parse(text, mode="eval").body)
    except (SyntaxError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{text!r} is not a kernel, such as Langevin(step_size=10.0, noise=0.005) ({error})") from None
    if not isinstance(kernel, Kernel):
        raise ValueError(f"{text!r} is not a kernel; known: {', '.join(_KNOWN)}")
    return kernel


def _built(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        given = {str(word.arg): _built(word.value) for word in node.keywords}
        return _KNOWN[node.func.id](*(_built(value) for value in node.args), **given)
    return ast.literal_eval(node)
