"""Networks only: no training, no data. Each keeps its constructor's arguments in ``config``."""

from .analytic import Banana, DoubleWell, Gaussian, GaussianMixture, Ring, eight_gaussians
from .classifier import SmallClassifier
from .energy import SmallEnergy

__all__ = [
    "Banana",
    "DoubleWell",
    "Gaussian",
    "GaussianMixture",
    "Ring",
    "SmallClassifier",
    "SmallEnergy",
    "eight_gaussians",
]
