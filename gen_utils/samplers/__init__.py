"""Samplers: kernels (what a step does), schedules, starts (where chains begin), and ``sample``.

Pure functions over tensors: this package imports nothing of the project but ``base``.
"""

from .buffers import ClassBuffer, ReplayBuffer
from .chain import Chain, ChainDiverged, sample
from .denoising import Ancestral, AnnealedLangevin, NoiseLevels, ProbabilityFlow
from .fast import fast_copy
from .hmc import HMC, leapfrog
from .langevin import Langevin, ProximalLangevin
from .mala import MALA
from .protocol import Energy, Kernel, Start, State, frozen
from .schedules import constant, geometric, power_decay
from .starts import GaussianStart, UniformStart
from .tamed import TamedLangevin
from .tempering import ParallelTempering
from .warmup import warm_up

__all__ = [
    "HMC",
    "MALA",
    "Ancestral",
    "AnnealedLangevin",
    "Chain",
    "ChainDiverged",
    "ClassBuffer",
    "Energy",
    "GaussianStart",
    "Kernel",
    "Langevin",
    "NoiseLevels",
    "ParallelTempering",
    "ProbabilityFlow",
    "ProximalLangevin",
    "ReplayBuffer",
    "Start",
    "State",
    "TamedLangevin",
    "UniformStart",
    "constant",
    "fast_copy",
    "frozen",
    "geometric",
    "leapfrog",
    "power_decay",
    "sample",
    "warm_up",
]
