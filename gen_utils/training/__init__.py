"""LightningModules, one file a model, and ``fit``, which trains any of them."""

from .classifier import ClassifierTraining
from .ebm import EBMConfig, EBMTraining, EBMWatch
from .fit import FitConfig, Run, TrainingDiverged, fit, run_folder
from .vae import VAETraining, implied_sigma
from .vqvae import GumbelTraining, TokenPriorTraining, VQVAETraining, token_set

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
    "run_folder",
    "token_set",
]
