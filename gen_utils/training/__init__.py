"""LightningModules, one file a model, and ``fit``, which trains any of them."""

from .classifier import ClassifierTraining
from .ebm import EBMConfig, EBMTraining, EBMWatch
from .fit import FitConfig, Run, TrainingDiverged, fit, run_folder

__all__ = [
    "ClassifierTraining",
    "EBMConfig",
    "EBMTraining",
    "EBMWatch",
    "FitConfig",
    "Run",
    "TrainingDiverged",
    "fit",
    "run_folder",
]
