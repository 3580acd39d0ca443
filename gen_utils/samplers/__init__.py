"""Samplers: kernels (what a step does), schedules, starts (where chains begin), and ``sample``.

Pure functions over tensors: this package imports nothing else of the project.
"""

from .chain import Chain, ChainDiverged, fast_copy, sample
from .class_buffer import ClassBuffer
from .hmc import HMC, leapfrog
from .kernels import State
from .langevin import Langevin, ProximalLangevin
from .mala import MALA
from .schedules import constant, geometric, power_decay
from .starts import GaussianStart, ReplayBuffer, UniformStart
from .warmup import warm_up

__all__ = [
    "HMC",
    "MALA",
    "Chain",
    "ChainDiverged",
    "ClassBuffer",
    "GaussianStart",
    "Langevin",
    "ProximalLangevin",
    "ReplayBuffer",
    "State",
    "UniformStart",
    "constant",
    "fast_copy",
    "geometric",
    "leapfrog",
    "power_decay",
    "sample",
    "warm_up",
]
