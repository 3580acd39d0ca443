"""LightningModules, one file a model, and ``fit``, which trains any of them."""

from .classifier import ClassifierTraining
from .ebm import EBMConfig, EBMTraining
from .fit import fit
from .guards import TrainingDiverged
from .run import FitConfig, Run
from .vae import VAETraining, implied_sigma
from .vqvae import GumbelTraining, TokenPriorTraining, VQVAETraining, token_set
from .watches import EBMWatch

__all__ = [
    "ClassifierTraining",
    "EBMConfig",
    "EBMTraining",
    "EBMWatch",
    "FitConfig",
    "GumbelTraining",
    "Run",
    "TokenPriorTraining",
    "TrainingDiverged",
    "VAETraining",
    "VQVAETraining",
    "fit",
    "implied_sigma",
    "token_set",
]
